"""Speed of preservation: prints one JSON object. Run: python -m tests.bench.bench_preservation [events] [dossiers].

Sealing is timed with real events in SQLite and two locations in folders; fixity, check-store and rebuild on small dossiers taken all the
way, so their figures are objects a second, not bytes.
"""

import json
import platform
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import insert

from archive_service import clock
from archive_service.application import create_app
from archive_service.db import Database
from archive_service.models import Event, EventType
from archive_service.preservation.check_store import check_store
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.rebuild import rebuild
from archive_service.preservation.seal import seal_log, verify_history
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service, open_service
from archive_service.settings import load_settings
from tests.pipeline import Archive

PAGE = 5000


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = clock.monotonic_s()
    result = work()
    return round(clock.monotonic_s() - start, 2), result


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
    seal_s, made = timed(lambda: seal_log(service, at=clock.unique_now()))
    history_s, leaves = timed(lambda: verify_history(service))
    return {"leaves": leaves, "seals": len(made), "seal_s": seal_s, "verify_history_s": history_s}


def store_figures(service: Service, folder: Path, count: int) -> dict[str, Any]:
    with TestClient(create_app(service)) as http:
        archive = Archive(service=service, http=http)
        for number in range(count):
            archive.archive(minimal_dossier(folder / "dossiers", code=f"000.00.16.H56-250314-{number:04d}").folder)
    seal_log(service, at=clock.unique_now())
    keys, store = known_keys(service.settings), service.stores["kho-1"]
    fixity_s, _ = timed(lambda: check_location(service, "kho-1", FixityPlan(), at=clock.unique_now()))
    check_s, found = timed(lambda: check_store(store, keys, at=clock.now()))
    target = Database(f"sqlite:///{folder / 'rebuilt.db'}")
    rebuild_s, report = timed(lambda: rebuild(store, target, keys, at=clock.unique_now()))
    target.close()
    return {
        "aips": report.aips,
        "fixity_aips_per_s": round(count / max(fixity_s, 0.01), 1),
        "check_store_s": check_s,
        "check_store_outcome": found.outcome.value,
        "rebuild_s": rebuild_s,
        "rebuild_events": report.last_seq,
        "rebuild_complete": report.complete,
    }


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    dossiers = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    figures: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    with tempfile.TemporaryDirectory() as name:
        for part in ("seal", "store"):
            folder = Path(name) / part
            service = open_service(load_settings({}, data_dir=folder), migrate=True)
            figures[part] = (
                seal_figures(service, events) if part == "seal" else store_figures(service, folder, dossiers)
            )
            service.close()
            figures[f"peak_rss_mib_after_{part}"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
