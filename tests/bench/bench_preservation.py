"""Speed of preservation: prints one JSON object.

Run: python -m tests.bench.bench_preservation [events] [dossiers] [large dossiers] [--more], where `--more` adds sets so large that the start
of a process decides nothing: 1,500 packages of 1.5 MB and 8 of 250 MB.

Sealing is timed with real events in SQLite and two locations in folders, once with events alone and once with AIPs stamped by a time-stamp
authority. Verify, fixity, check-store and rebuild read real packages, and are held against `sha256sum` with one process per core on the same
files, all in memory, by processor time (which other work on the machine changes less) and by the clock; both with all processes they start.
`rebuild` is the whole command, its start included, in a process of its own: what this benchmark has loaded its reading processes would load,
too. `start` is that command where there is one small package to read.
"""

import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import insert

from archive_service import clock
from archive_service.application import create_app
from archive_service.digests import digest_bytes
from archive_service.models import Event, EventType
from archive_service.packaging.verify import Outcome, verify_aip
from archive_service.preservation.check_store import check_store
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.seal import seal_log, verify_history
from archive_service.samples.small import minimal_dossier, tiny_pdf
from archive_service.service import Service, open_service
from archive_service.settings import load_settings
from tests.pipeline import Archive

PAGE = 5000
PR_SET_CHILD_SUBREAPER = 36


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = clock.monotonic_s()
    result = work()
    return round(clock.monotonic_s() - start, 2), result


def cpu_s() -> float:
    """Processor time of this process and its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def rated(work: Callable[[], Any], size_bytes: int) -> dict[str, float]:
    cpu, start = cpu_s(), clock.monotonic_s()
    work()
    cpu, wall = cpu_s() - cpu, clock.monotonic_s() - start
    mb = size_bytes / 1e6
    return {"cpu_mb_per_s": round(mb / max(cpu, 0.001), 1), "wall_mb_per_s": round(mb / max(wall, 0.001), 1)}


def cost_of(command: list[str]) -> dict[str, float]:
    """Runs a command and returns its cost, with whatever it leaves behind: a process that outlives its parent is adopted and waited for."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    start = clock.monotonic_s()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = clock.monotonic_s() - start
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": wall}


def rebuild_command(service: Service, target: Path) -> dict[str, float]:
    """Runs `archive-service rebuild` in a process of its own and returns its cost."""
    words = ["rebuild", "--from", "kho-1", "--into", f"sqlite:///{target}", "--data", str(service.settings.data_dir)]
    command = [
        sys.executable,
        "-m",
        "tests.bench.bench_preservation",
        "--cost-of",
        sys.executable,
        "-m",
        "archive_service",
        *words,
    ]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    target.unlink()
    cost: dict[str, float] = json.loads(answer)
    return cost


def rates(cost: dict[str, float], size_bytes: int) -> dict[str, float]:
    return {f"{kind}_mb_per_s": round(size_bytes / 1e6 / max(cost[f"{kind}_s"], 0.001), 1) for kind in ("cpu", "wall")}


def add_events(service: Service, count: int) -> None:
    at = clock.now()
    row = {
        "at": at,
        "type": EventType.RECORD_VIEWED,
        "subject_kind": "record",
        "subject_id": "0" * 36,
        "agency": "H56.16",
        "agent_id": "account:0",
        "agent_name": "Nguyễn Thị Lưu Trữ",
        "detail": {"component_id": "c01"},
    }
    for _ in range(0, count, PAGE):
        with service.database.write() as session:
            session.execute(insert(Event), [row] * PAGE)


def seal_figures(service: Service, count: int) -> dict[str, Any]:
    add_events(service, count)
    cpu = cpu_s()
    seal_s, made = timed(lambda: seal_log(service, at=clock.unique_now()))
    cpu = cpu_s() - cpu
    history_s, leaves = timed(lambda: verify_history(service))
    figures = {"leaves": leaves, "seals": len(made), "seal_s": seal_s, "seal_cpu_s": round(cpu, 2)}
    return {**figures, "verify_history_s": history_s}


def filled(folder: Path, size_bytes: int) -> Path:
    """Makes a dossier's files so large that together they have about `size_bytes`."""
    path = folder / "dossier.json"
    dossier = json.loads(path.read_bytes())
    for part in dossier["components"]:
        content = tiny_pdf(part["title"], filler=os.urandom(size_bytes // len(dossier["components"])))
        (folder / part["path"]).write_bytes(content)
        part["sha256"], part["size_bytes"] = digest_bytes(content).hex, len(content)
    path.write_text(json.dumps(dossier, ensure_ascii=False))
    return folder


def sha256sum(files: list[Path]) -> None:
    """Reads the files with one `sha256sum` per core."""
    cores = os.cpu_count() or 1
    parts = [files[number::cores] for number in range(cores)]
    running = [subprocess.Popen(["sha256sum", *part], stdout=subprocess.DEVNULL) for part in parts if part]
    if any(process.wait() for process in running):
        raise RuntimeError("sha256sum failed")


def verified(files: list[Path]) -> None:
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for report in pool.map(verify_aip, files):
            if report.outcome is Outcome.FAILED:
                raise RuntimeError(f"{report.path} is damaged")


def store_figures(service: Service, folder: Path, count: int, size_bytes: int) -> dict[str, Any]:
    with TestClient(create_app(service)) as http:
        archive = Archive(service=service, http=http)
        for number in range(count):
            code = f"000.00.16.H56-250314-{number:04d}"
            archive.archive(filled(minimal_dossier(folder / "dossiers", code=code).folder, size_bytes))
    seal_log(service, at=clock.unique_now())
    keys, store = known_keys(service.settings), service.stores["kho-1"]
    files = sorted((service.settings.data_dir / "storage" / "kho-1").rglob("*.zip"))
    total = sum(path.stat().st_size for path in files)
    sha256sum(files)  # so that all of them find the files in memory
    figures: dict[str, Any] = {
        "aips": len(files),
        "bytes": total,
        "sha256sum": rated(lambda: sha256sum(files), total),
        "verify": rated(lambda: verified(files), total),
        "fixity": rated(lambda: check_location(service, "kho-1", FixityPlan(), at=clock.unique_now()), total),
        "check_store": rated(lambda: check_store(store, keys, at=clock.now()), total),
        "rebuild": rates(rebuild_command(service, folder / "rebuilt.db"), total),
    }
    for name in ("verify", "fixity", "check_store", "rebuild"):
        for kind in ("cpu", "wall"):
            rate = f"{kind}_mb_per_s"
            figures[name][f"{kind}_ratio_to_sha256sum"] = round(figures[name][rate] / figures["sha256sum"][rate], 2)
    return figures


def start_figures(service: Service, folder: Path) -> dict[str, Any]:
    with TestClient(create_app(service)) as http:
        Archive(service=service, http=http).archive(minimal_dossier(folder / "dossiers").folder)
    seal_log(service, at=clock.unique_now())
    return {name: round(value, 2) for name, value in rebuild_command(service, folder / "command.db").items()}


def main() -> None:
    if sys.argv[1:2] == ["--cost-of"]:
        sys.stdout.write(json.dumps(cost_of(sys.argv[2:])))
        return
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    events, usual, large = [*numbers, *(100_000, 300, 4)[len(numbers) :]]
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    figures: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine(), "load": load}
    parts: dict[str, Callable[[Service, Path], dict[str, Any]]] = {
        "seal": lambda service, _folder: seal_figures(service, events),
        "start": start_figures,
        "usual": lambda service, folder: store_figures(service, folder, usual, 1_500_000),
        "large": lambda service, folder: store_figures(service, folder, large, 100_000_000),
    }
    if "--more" in sys.argv:
        parts["usual_1500"] = lambda service, folder: store_figures(service, folder, 1500, 1_500_000)
        parts["large_8"] = lambda service, folder: store_figures(service, folder, 8, 250_000_000)
    with tempfile.TemporaryDirectory() as name:
        for part, work in parts.items():
            folder = Path(name) / part
            service = open_service(load_settings({}, data_dir=folder), migrate=True)
            figures[part] = work(service, folder)
            service.close()
            figures[f"peak_rss_mib_after_{part}"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
