"""Two workers at once on the same seal, the same repair, the same location: what comes of it is what one would have made."""

import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from sqlalchemy import select

from archive_service import clock
from archive_service.db import Database
from archive_service.errors import ArchiveError
from archive_service.models import Aip, AipCopy, Event, EventType, Incident, LogSeal
from archive_service.packaging.verify import Outcome
from archive_service.preservation.check_store import check_store
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.repair import repair_aip
from archive_service.preservation.seal import seal_log, verify_history
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from tests.pipeline import Archive
from tests.preservation.places import archive_numbered
from tests.preservation.test_fixity import flip, stored_file


def together(service: Service, work: Callable[[Service], object]) -> list[BaseException]:
    """Does the work twice at the same time, each as a worker with connections of its own; returns what was raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(2)

    def one() -> None:
        mine = Service(settings=service.settings, database=Database(service.database.url))
        start.wait()
        try:
            work(mine)
        except BaseException as exc:  # noqa: BLE001 - looked at by the test
            raised.append(exc)
        finally:
            mine.close()

    workers = [threading.Thread(target=one) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return raised


def require_sound(service: Service) -> None:
    for store in service.stores.values():
        found = check_store(store, known_keys(service.settings), at=clock.now())
        assert (found.outcome, found.problems) == (Outcome.PASSED, [])


def test_two_seal_at_once(archive: Archive, dossiers: Path) -> None:
    service = archive.service
    for number in range(2):
        archive_numbered(archive, dossiers, number)
    raised = together(service, lambda mine: seal_log(mine, at=clock.unique_now()))
    assert [exc for exc in raised if not isinstance(exc, ArchiveError)] == []
    seal_log(service, at=clock.unique_now())
    with service.database.read() as session:
        seals = session.scalars(select(LogSeal).order_by(LogSeal.ordinal)).all()
        assert {seal.state for seal in seals} == {"SEALED"}
        newest = session.scalars(select(Event.seq).order_by(Event.seq.desc())).first()
        assert [seal.first_seq for seal in seals] == [1, *(seal.last_seq + 1 for seal in seals[:-1])]
        assert seals[-1].last_seq == newest
    assert verify_history(service) > 0
    require_sound(service)


def test_two_repair_at_once(archive: Archive, dossiers: Path) -> None:
    service = archive.service
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    path = stored_file(service, record_id)
    good = path.read_bytes()
    flip(path)
    damaged = path.read_bytes()
    with service.database.read() as session:
        aip_id = session.scalars(select(Aip.id).where(Aip.record_id == UUID(record_id))).one()
    raised = together(service, lambda mine: repair_aip(mine, aip_id))
    assert [exc for exc in raised if not isinstance(exc, ArchiveError)] == []
    repair_aip(service, aip_id)
    assert path.read_bytes() == good
    aside = [item.read_bytes() for item in path.parents[6].rglob("quarantine/**/*.zip")]
    assert aside == [damaged], "kept once"
    with service.database.read() as session:
        assert {incident.status for incident in session.scalars(select(Incident))} <= {"REPAIRED", "RECOVERED"}
        assert session.scalars(select(AipCopy.state).distinct()).all() == ["INTACT"]
    seal_log(service, at=clock.unique_now())
    require_sound(service)


def test_two_check_a_location_at_once(archive: Archive, dossiers: Path) -> None:
    service = archive.service
    ids = [archive.archive(minimal_dossier(dossiers, code=f"000.00.16.H56-250314-000{n}").folder) for n in range(3)]
    flip(stored_file(service, ids[1]))
    raised = together(service, lambda mine: check_location(mine, "kho-1", FixityPlan(), at=clock.unique_now()))
    assert raised == []
    with service.database.read() as session:
        opened = session.scalars(select(Event).where(Event.type == EventType.INCIDENT_OPENED)).all()
        assert len(opened) == len(session.scalars(select(Incident)).all()) == 1
        states = session.scalars(select(AipCopy.state).where(AipCopy.location == "kho-1").order_by(AipCopy.state)).all()
        assert states == ["DAMAGED", "INTACT", "INTACT"]
