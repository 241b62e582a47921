"""Speed of preservation: prints one JSON object. Run: python -m tests.bench.bench_preservation [events] [dossiers] [large dossiers].

Sealing is timed with real events in SQLite and two locations in folders, once with events alone and once with AIPs stamped by a time-stamp
authority. Verify, fixity, check-store and rebuild read real packages of 1.5 MB (and of 100 MB), and are held against `sha256sum` with one
process per core on the same files, by processor time (which other work on the machine does not change) and by the clock.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import insert

from archive_service import clock
from archive_service.application import create_app
from archive_service.db import Database
from archive_service.digests import digest_bytes
from archive_service.models import Event, EventType
from archive_service.packaging.verify import Outcome, verify_aip
from archive_service.preservation.check_store import check_store
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.rebuild import rebuild
from archive_service.preservation.seal import seal_log, verify_history
from archive_service.samples.small import minimal_dossier, tiny_pdf
from archive_service.service import Service, open_service
from archive_service.settings import load_settings
from tests.pipeline import Archive

PAGE = 5000


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
    target = Database(f"sqlite:///{folder / 'rebuilt.db'}")
    figures: dict[str, Any] = {
        "aips": len(files),
        "bytes": total,
        "sha256sum": rated(lambda: sha256sum(files), total),
        "verify": rated(lambda: verified(files), total),
        "fixity": rated(lambda: check_location(service, "kho-1", FixityPlan(), at=clock.unique_now()), total),
        "check_store": rated(lambda: check_store(store, keys, at=clock.now()), total),
        "rebuild": rated(lambda: rebuild(store, target, keys, at=clock.unique_now()), total),
    }
    target.close()
    for name in ("verify", "fixity", "check_store", "rebuild"):
        for kind in ("cpu", "wall"):
            rate = f"{kind}_mb_per_s"
            figures[name][f"{kind}_ratio_to_sha256sum"] = round(figures[name][rate] / figures["sha256sum"][rate], 2)
    return figures


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    usual = int(sys.argv[2]) if len(sys.argv) > 2 else 300  # so many that the start of processes counts little
    large = int(sys.argv[3]) if len(sys.argv) > 3 else 4
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    figures: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine(), "load": load}
    parts: dict[str, Callable[[Service, Path], dict[str, Any]]] = {
        "seal": lambda service, _folder: seal_figures(service, events),
        "usual": lambda service, folder: store_figures(service, folder, usual, 1_500_000),
        "large": lambda service, folder: store_figures(service, folder, large, 100_000_000),
    }
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
