"""Whether large dossiers go through in flat memory: 20,000 small files and one file of 3 GB; when asked for, 100,000 files and one of 20 GB.

Received, checked, stored in two copies that are read back; sealed; verified; rebuilt into an empty database. One large file goes further:
both locations checked from their bytes, fixity, its last megabyte and its whole package over HTTP, a dispute package. Each step runs in a
process of its own, which prints its largest resident set. `bucket` is one file of 6 GB on PostgreSQL and two S3 buckets (SeaweedFS).

Needs about four times the dossier's size on disk, one large file six times; a compressing file system makes little of it. Run as
`python -m tests.bench.bench_large [many|huge|very-many|very-huge|bucket ...] [--scale 0.1]`; TMPDIR says where.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from archive_service import clock
from archive_service.db import Database
from archive_service.digests import CHUNK_BYTES, RunningDigest
from archive_service.ingest.check import check_submission
from archive_service.ingest.checkers import InlineCheckers
from archive_service.ingest.findings import stored_findings
from archive_service.ingest.staging_upkeep import discard_staging
from archive_service.ingest.submissions import find_submission
from archive_service.models import State
from archive_service.packaging.verify import Outcome, verify_aip
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.rebuild import rebuild
from archive_service.preservation.seal import seal_log
from archive_service.preservation.statehash import state_hash
from archive_service.samples.small import SampleFile, small_head, tiny_pdf, write_json
from archive_service.service import open_service
from archive_service.settings import load_settings
from archive_service.transfer.store import store_submission
from tests.bench.bench_pipeline import Costs, WithoutSignatures, approve, receive
from tests.bench.large_steps import STEPS, stored
from tests.postgres_server import running_server
from tests.storage.conftest import admin_client
from tests.storage.seaweed import ACCESS_KEY, SECRET_KEY, SeaweedServer

SCENARIOS: Final = {
    "many": (20_000, 2_000),
    "huge": (1, 3 * 1000**3),
    "very-many": (100_000, 1_000),
    "very-huge": (1, 20 * 1000**3),
    "bucket": (1, 6 * 1000**3),
}
"""Files and bytes of each."""
USUAL: Final = ("many", "huge")
_NOISE_BYTES: Final = 4096
"""Noise that repeats so soon that a compressing file system has room for the largest."""


def peak_mib() -> int:
    """Largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def through(folder: Path, data: Path) -> dict[str, Any]:
    """Takes one dossier all the way and returns cost and peak memory after each stage.

    Raises:
        RuntimeError: it was not stored.
    """
    costs, peaks = Costs(), {"start": peak_mib()}
    service = open_service(load_settings(data_dir=data), migrate=True)
    with costs.of("receive"):
        submission_id = receive(service, folder)
    peaks["receive"] = peak_mib()
    with costs.of("check"):
        check_submission(service, submission_id, WithoutSignatures(InlineCheckers()), at=clock.unique_now())
    peaks["check"] = peak_mib()
    with service.database.read() as session:
        if find_submission(session, submission_id).state is not State.AWAITING_APPROVAL:
            reasons = [finding.as_json() for finding in stored_findings(session, submission_id, limit=3)]
            raise RuntimeError(f"refused: {reasons}")
    approve(service, submission_id)
    with costs.of("store"):
        store_submission(service, submission_id)
    peaks["store"] = peak_mib()
    discard_staging(service, submission_id, at=clock.now())
    with service.database.read() as session:
        state = find_submission(session, submission_id).state
    if state is not State.STORED:
        raise RuntimeError(f"it is {state}")
    return {"peak_mib": peaks, "stages": costs.per(1)}


def sealed(data: Path) -> dict[str, Any]:
    """Seals what happened."""
    service = open_service(load_settings(data_dir=data), migrate=False)
    seals = seal_log(service, at=clock.unique_now())
    service.close()
    return {"seals": len(seals)}


def verified(data: Path) -> dict[str, Any]:
    """Verifies the package as it lies at the first location.

    Raises:
        RuntimeError: it is damaged.
    """
    (package,) = (data / "storage" / "kho-1" / "objects" / "aip").rglob("*.zip")
    report = verify_aip(package)
    if report.outcome is Outcome.FAILED:
        raise RuntimeError(f"damaged: {[check.as_json() for check in report.checks]}")
    return {"package_bytes": report.size_bytes}


def rebuilt(data: Path) -> dict[str, Any]:
    """Rebuilds a database from the second location and compares it.

    Raises:
        RuntimeError: it is another.
    """
    service = open_service(load_settings(data_dir=data), migrate=False)
    target = Database(f"sqlite:///{data / 'rebuilt.db'}")
    report = rebuild(service.stores["kho-2"], target, known_keys(service.settings), at=clock.unique_now())
    with service.database.read() as session:
        before = state_hash(session, up_to_seq=report.last_seq)
    target.close()
    service.close()
    if not report.complete or report.state_hash != before:
        raise RuntimeError(f"not the same: {report.as_json()}")
    return {"state_hash": before}


LATER: Final = {"seal": sealed, "verify": verified, "rebuild": rebuilt}
"""What is done with the stored package, by its name, each in a process of its own."""


def cost_of(name: str, data: Path) -> dict[str, Any]:
    """Does one of `LATER` and returns what it costs."""
    started_s, cpu_s = clock.monotonic_s(), time.process_time()
    found = LATER[name](data)
    costs = {"seconds": round(clock.monotonic_s() - started_s, 1), "cpu_s": round(time.process_time() - cpu_s, 1)}
    return {**costs, "peak_mib": peak_mib(), **found}


def generate(folder: Path, files: int, size: int) -> None:
    """Writes a dossier that is accepted: form, receipt and control sheet, then `files` papers of `size` bytes (one: plain noise)."""
    parts = [
        SampleFile(id=role, path=f"{role}.pdf", role=role, origin="issued", title=role, content=tiny_pdf(role))
        for role in ("application_form", "receipt", "control_sheet")
    ]
    described = []
    for part in parts:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / part.path).write_bytes(part.content)
        described.append(part.described())
    suffix = "pdf" if files > 1 else "bin"
    for number in range(files):
        path = f"files/{number // 1000:03}/{number:06}.{suffix}"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        running = RunningDigest()
        with (folder / path).open("wb") as out:
            for chunk in _content(number, files, size):
                running.update(chunk)
                out.write(chunk)
        blank = SampleFile(
            id=f"f{number:06}",
            path=path,
            role="submitted",
            origin="uploaded_scan",
            title=f"Tệp số {number}",
            content=b"",
        )
        described.append(blank.described() | {"sha256": running.digest().hex, "size_bytes": running.size_bytes})
    write_json(folder, small_head("000.00.16.H56-250314-0042") | {"components": described})


def _content(number: int, files: int, size: int) -> Iterator[bytes]:
    if files > 1:
        yield tiny_pdf(f"{number}", filler=os.urandom(max(1, size - 800)))
        return
    block = bytes(8) + os.urandom(_NOISE_BYTES) * (CHUNK_BYTES // _NOISE_BYTES)
    for start in range(0, size, CHUNK_BYTES):
        yield block[: min(CHUNK_BYTES, size - start)]


def main() -> None:
    """Runs one stage here, or every scenario asked for in processes of its own."""
    words = sys.argv[1:]
    if words[:1] == ["--through"]:
        print(json.dumps(through(Path(words[1]), Path(words[2]))))  # noqa: T201
        return
    if words[:1] == ["--later"]:
        print(json.dumps(cost_of(words[1], Path(words[2]))))  # noqa: T201
        return
    if words[:1] == ["--generate"]:
        generate(Path(words[1]), int(words[2]), int(words[3]))
        return
    scale = float(words[words.index("--scale") + 1]) if "--scale" in words else 1.0
    for name in [word for word in words if word in SCENARIOS] or USUAL:
        files, size = SCENARIOS[name]
        scaled = (int(files * scale), size) if files > 1 else (files, int(size * scale))
        with tempfile.TemporaryDirectory() as scratch, _place(Path(scratch), buckets=name == "bucket"):
            told = _run(scratch, *scaled)
        result = {"benchmark": "large", "scenario": name, "files": scaled[0], "bytes_each": scaled[1], **told}
        print(json.dumps(result))  # noqa: T201


def _run(scratch: str, files: int, size: int) -> dict[str, Any]:
    _self("--generate", f"{scratch}/dossier", str(files), str(size))
    result: dict[str, Any] = json.loads(_self("--through", f"{scratch}/dossier", f"{scratch}/data"))
    shutil.rmtree(f"{scratch}/dossier")
    for name in LATER if files > 1 else ("seal",):
        result[name] = json.loads(_self("--later", name, f"{scratch}/data"))
    if files == 1:
        package = stored(Path(scratch, "data"))
        for name, step in STEPS.items():
            result[name] = step(package)
            print(f"{name}: {json.dumps(result[name])}", file=sys.stderr, flush=True)  # noqa: T201 - these take minutes
    return result | {"load_average": os.getloadavg()[0]}


@contextmanager
def _place(scratch: Path, *, buckets: bool) -> Iterator[None]:
    """SQLite and two folders, or PostgreSQL and two buckets, by the settings that all processes of the block read."""
    if not buckets:
        yield
        return
    server = SeaweedServer(scratch / "seaweed")
    server.start()
    try:
        with running_server() as databases:
            layout = _layout(server, scratch, ("s3-1", "s3-2"))
            url = databases.create().render_as_string(hide_password=False)
            os.environ |= {"ARCHIVE_DATABASE_URL": url, "ARCHIVE_LOCATIONS": str(layout)}
            yield
    finally:
        server.kill()
        for name in ("ARCHIVE_DATABASE_URL", "ARCHIVE_LOCATIONS"):
            os.environ.pop(name, None)


def _layout(server: SeaweedServer, scratch: Path, names: tuple[str, ...]) -> Path:
    """Makes a bucket for each name and returns the file that describes them."""
    for kind, text in (("access_key_file", ACCESS_KEY), ("secret_key_file", SECRET_KEY)):
        (scratch / kind).write_text(text, encoding="utf-8")
    lines = []
    for name in names:
        admin_client(server).create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
        lines += ["[[locations]]", f'name = "{name}"', 'kind = "s3"', f'bucket = "{name}"', 'lock_mode = "GOVERNANCE"']
        lines += [f'endpoint_url = "{server.endpoint_url}"', "[locations.credentials]"]
        lines += [f'{kind} = "{scratch / kind}"' for kind in ("access_key_file", "secret_key_file")]
    lines += ["[[policies]]", 'name = "default"', f"copies = {json.dumps(names)}"]
    path = scratch / "locations.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _self(*words: str) -> str:
    command = [sys.executable, "-m", "tests.bench.bench_large", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
