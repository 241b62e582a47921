"""A clock that jumps an hour back between two runs of the service: what was stored before and after is kept, sealed, checked and rebuilt."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from archive_service import clock
from archive_service.db import Database
from archive_service.models import Aip, AipCopy, Event, Incident
from archive_service.packaging.verify import Outcome
from archive_service.preservation.check_store import check_store
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.rebuild import rebuild
from archive_service.preservation.repair import repair_aip
from archive_service.preservation.seal import seal_log, verify_history
from archive_service.preservation.statehash import table_hashes
from archive_service.samples.small import minimal_dossier
from tests.pipeline import Archive
from tests.preservation.test_fixity import flip, stored_file

CODE = "000.00.16.H56-250314-0001"


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """The clock is the same for every engine."""
    opened = Database(sqlite_url)
    yield opened
    opened.close()


def jump_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart on a host whose clock was put right."""
    ahead = clock.now
    monkeypatch.setattr(clock, "now", lambda: ahead() - timedelta(hours=1))
    monkeypatch.setattr(clock, "_last", datetime.min.replace(tzinfo=UTC))


def test_nothing_is_lost_when_the_clock_jumps_an_hour_back(
    archive: Archive, dossiers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = archive.service
    first = archive.archive(minimal_dossier(dossiers, code=CODE).folder)
    seal_log(service, at=clock.unique_now())
    assert check_location(service, "kho-1", FixityPlan(), at=clock.unique_now()).intact == 1
    jump_back(monkeypatch)
    more = minimal_dossier(dossiers / "more", code=CODE, record_status="SUPPLEMENT", title="Bổ sung")
    assert archive.archive(more.folder) == first
    second = archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0002").folder)
    flip(stored_file(service, second))
    minutes = check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
    assert (minutes.damaged, minutes.intact) == (1, 1), (
        "the copy that was read in what is the future now is not due yet"
    )
    with service.database.read() as session:
        damaged = session.scalars(select(Aip.id).where(Aip.record_id == UUID(second))).one()
    repair_aip(service, damaged)
    seal_log(service, at=clock.unique_now())
    with service.database.read() as session:
        assert session.scalars(select(Incident.status)).all() == ["REPAIRED"]
        assert session.scalars(select(AipCopy.state).distinct()).all() == ["INTACT"]
        times = session.scalars(select(Event.at).order_by(Event.seq)).all()
        assert times != sorted(times), "the jump is in the log as it was"
        expected = table_hashes(session)
    assert verify_history(service) > 0
    keys, target = known_keys(service.settings), Database(f"sqlite:///{tmp_path / 'rebuilt.db'}")
    for store in service.stores.values():
        found = check_store(store, keys, at=clock.now())
        assert (found.outcome, found.problems) == (Outcome.PASSED, [])
    report = rebuild(service.stores["kho-2"], target, keys, at=clock.unique_now())
    with target.read() as session:
        assert table_hashes(session, up_to_seq=report.last_seq) == expected
    target.close()
