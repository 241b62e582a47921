"""What packaging costs: prints one JSON object per scenario. Run as `python -m tests.bench.bench_packaging [scenario ...]`.

Each scenario runs in a process of its own, so that the peak of its memory is its own. CPU time is of the whole process, kernel
included. Not a test: nothing is asserted, numbers are for comparing runs on one machine.
"""

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from archive_service.clock import monotonic_s
from archive_service.packaging.aip import build_aip
from archive_service.packaging.aip_reader import read_metadata
from archive_service.packaging.verify import verify_aip
from tests.unit.packaging.dossiers import content_of, write_folder

MEBIBYTE = 1024 * 1024
REPEATS = 200


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _measured(into: dict[str, Any], name: str, times: int = 1) -> Iterator[None]:
    wall, cpu = monotonic_s(), _cpu_s()
    yield
    into[f"{name}_wall_ms"] = round((monotonic_s() - wall) * 1000 / times, 2)
    into[f"{name}_cpu_ms"] = round((_cpu_s() - cpu) * 1000 / times, 2)


def _usual(folder: Path) -> dict[str, Any]:
    """The usual dossier: 8 files, 1.5 MB."""
    content = content_of(folder, write_folder(folder, 8, size_bytes=190_000))
    found: dict[str, Any] = {"files": 8, "bytes": 8 * 190_000}
    path = folder.parent / "aip.zip"

    def build() -> None:
        with path.open("w+b") as target:
            build_aip(content, target)

    build()
    with _measured(found, "build", REPEATS):
        for _ in range(REPEATS):
            build()
    with _measured(found, "verify", REPEATS // 10):
        for _ in range(REPEATS // 10):
            verify_aip(path)
    with _measured(found, "read_metadata", REPEATS // 10):
        for _ in range(REPEATS // 10):
            read_metadata(path)
    return found


def _one_pass(folder: Path, count: int, size_bytes: int) -> dict[str, Any]:
    paths = write_folder(folder, count, size_bytes=min(size_bytes, 2000))
    if size_bytes > MEBIBYTE:
        with paths[0].open("r+b") as grown:
            grown.truncate(size_bytes)
    content = _content(folder, paths)
    found: dict[str, Any] = {"files": count, "bytes_each": size_bytes, "rss_before_mib": round(_peak_mib())}
    path = folder.parent / "aip.zip"
    with _measured(found, "build"), path.open("w+b") as target:
        build_aip(content, target)
    found["rss_after_build_mib"] = round(_peak_mib())
    found["package_bytes"] = path.stat().st_size
    with _measured(found, "verify"):
        found["outcome"] = verify_aip(path).outcome.value
    found["rss_after_verify_mib"] = round(_peak_mib())
    return found


def _content(folder: Path, paths: list[Path]) -> Any:
    """As in the tests, but a grown file is hashed as a stream and dossier.json says so."""
    from archive_service.digests import digest_stream  # used for large files only

    described = json.loads((folder / "dossier.json").read_bytes())
    sizes = []
    for component, path in zip(described["components"], paths, strict=True):
        if path.stat().st_size != component["size_bytes"]:
            with path.open("rb") as source:
                digest, size_bytes = digest_stream(source)
            component |= {"sha256": digest.hex, "size_bytes": size_bytes}
        sizes.append(component["size_bytes"])
    (folder / "dossier.json").write_text(json.dumps(described), encoding="utf-8")
    return content_of(folder, paths)


def _many(folder: Path) -> dict[str, Any]:
    """20,000 small files."""
    return _one_pass(folder, 20_000, 1000)


def _huge(folder: Path) -> dict[str, Any]:
    """One file of 1 GiB without a known CRC."""
    return _one_pass(folder, 1, 1024 * MEBIBYTE)


SCENARIOS: dict[str, Callable[[Path], dict[str, Any]]] = {"usual": _usual, "many": _many, "huge": _huge}


def main() -> None:
    """Runs one scenario here, or each in its own process."""
    if len(sys.argv) == 3 and sys.argv[1] == "--here":
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "dossier"
            folder.mkdir()
            result = SCENARIOS[sys.argv[2]](folder)
        print(json.dumps({"scenario": sys.argv[2], **result}))  # noqa: T201 - its purpose
        return
    for scenario in sys.argv[1:] or SCENARIOS:
        subprocess.run([sys.executable, "-m", "tests.bench.bench_packaging", "--here", scenario], check=True)


if __name__ == "__main__":
    main()
