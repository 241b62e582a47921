"""The fixity check: what was read is what is said, within the budget, oldest first; nothing is called damaged that could not be read."""

import os
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from archive_service import clock
from archive_service.errors import ConfigurationInvalid
from archive_service.models import Aip, AipCopy, Event, EventType, FixityRun, Incident, Job, JobKind
from archive_service.preservation.fixity import FixityPlan, check_location, location_health, scheduled_plan
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from tests.pipeline import Archive


def stored_file(service: Service, record_id: str, location: str = "kho-1") -> Path:
    """Returns the file of the record's first AIP at a filesystem location."""
    with service.database.read() as session:
        key = session.scalars(select(Aip.store_key).where(Aip.record_id == UUID(record_id))).one()
    root = service.settings.data_dir / "storage" / location
    return next(path for path in root.rglob(key.rsplit("/", 1)[-1]) if path.is_file())


def flip(path: Path, at: int = 1000) -> None:
    """Changes one byte in place, as a bad disk does."""
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def copies(archive: Archive) -> dict[str, AipCopy]:
    with archive.service.database.read() as session:
        return {copy.location: copy for copy in session.scalars(select(AipCopy))}


def run(archive: Archive, location: str = "kho-1", **plan) -> FixityRun:
    return check_location(archive.service, location, FixityPlan(**plan), at=clock.unique_now())


def test_an_intact_copy_is_read_to_its_end_and_dated(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    before = copies(archive)
    seen: list[tuple[int, int]] = []
    minutes = check_location(
        archive.service, "kho-1", FixityPlan(), at=clock.unique_now(), progress=lambda *done: seen.append(done)
    )
    after = copies(archive)
    assert (minutes.intact, minutes.damaged, minutes.missing, minutes.not_checked) == (1, 0, 0, 0)
    assert minutes.ended_because == "all-read"
    assert seen == [(minutes.bytes_read, 1)]
    assert after["kho-1"].verified_at > before["kho-1"].verified_at
    assert after["kho-2"].verified_at == before["kho-2"].verified_at
    with archive.service.database.read() as session:
        event = session.scalars(select(Event).where(Event.type == EventType.FIXITY_CHECKED)).one()
        assert (event.subject_id, event.detail["intact"]) == ("kho-1", 1)
        assert session.scalars(select(Aip.size_bytes)).one() == minutes.bytes_read


@pytest.mark.parametrize(("harm", "state"), [("flip", "DAMAGED"), ("cut", "DAMAGED"), ("remove", "MISSING")])
def test_harm_is_recorded_with_incident_events_and_repair_job(
    archive: Archive, dossiers: Path, harm: str, state: str
) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    path = stored_file(archive.service, record_id)
    if harm == "flip":
        flip(path)
    elif harm == "cut":
        path.chmod(0o600)
        os.truncate(path, 100)
    else:
        path.unlink()
    verified_at = copies(archive)["kho-1"].verified_at
    minutes = run(archive)
    run(archive)
    assert (minutes.intact, minutes.damaged + minutes.missing) == (0, 1)
    copy = copies(archive)["kho-1"]
    assert (copy.state, copy.verified_at) == (state, verified_at), "the date is that of the last good read"
    with archive.service.database.read() as session:
        incident = session.scalars(select(Incident)).one()
        assert (incident.found, incident.status, incident.location) == (state, "OPEN", "kho-1")
        types = list(session.scalars(select(Event.type).where(Event.subject_kind.in_(["incident", "record"]))))
        assert types.count(EventType.RECORD_COPY_DAMAGED) == types.count(EventType.INCIDENT_OPENED) == 1
        assert session.scalars(select(Job.subject).where(Job.kind == JobKind.REPAIR_COPY)).one() == str(copy.aip_id)
        health = {item.location: item for item in location_health(session)}
    assert (health["kho-1"].not_intact, health["kho-1"].open_incidents) == (1, 1)
    assert (health["kho-2"].not_intact, health["kho-2"].copies) == (0, 1)


def test_what_could_not_be_read_is_neither_damaged_nor_intact(archive: Archive, dossiers: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    path = stored_file(archive.service, record_id)
    path.unlink()
    path.symlink_to("/nonexistent")
    before = copies(archive)["kho-1"]
    minutes = run(archive)
    after = copies(archive)["kho-1"]
    assert (minutes.not_checked, minutes.intact, minutes.damaged, minutes.missing) == (1, 0, 0, 0)
    assert minutes.problems[0]["outcome"] == "could_not_check"
    assert (after.state, after.verified_at) == (before.state, before.verified_at)
    with archive.service.database.read() as session:
        assert session.scalars(select(Incident)).first() is None


def test_the_budget_ends_a_run_and_the_oldest_goes_first(archive: Archive, dossiers: Path) -> None:
    for number in range(3):
        folder = minimal_dossier(dossiers / str(number), code=f"000.00.16.H56-250314-100{number}").folder
        archive.archive(folder)
    with archive.service.database.read() as session:
        rows = session.execute(select(AipCopy.id).where(AipCopy.location == "kho-1").order_by(AipCopy.verified_at))
        order = [row.id for row in rows]
    read = []
    for _ in range(4):
        before = dict(_verified(archive))
        minutes = run(archive, budget_bytes=1)
        assert (minutes.ended_because, minutes.intact) == ("budget", 1)
        read += [copy_id for copy_id, at in _verified(archive).items() if at != before[copy_id]]
    assert read == [*order, order[0]]


def _verified(archive: Archive) -> dict[UUID, object]:
    with archive.service.database.read() as session:
        return dict(session.execute(select(AipCopy.id, AipCopy.verified_at).where(AipCopy.location == "kho-1")).all())


def test_without_budget_a_sample_is_still_read(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    minutes = run(archive, budget_bytes=0, sample_copies=3)
    assert (minutes.ended_because, minutes.intact) == ("budget", 1)
    assert run(archive, budget_bytes=0).intact == 0


def test_the_days_budget_is_shared_by_its_runs_and_young_copies_are_not_due(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    at = clock.unique_now()
    budget = archive.service.settings.fixity_bytes_per_day
    plan = scheduled_plan(archive.service, "kho-1", at=at)
    assert plan.budget_bytes == budget
    assert check_location(archive.service, "kho-1", FixityPlan(not_read_since=plan.not_read_since), at=at).intact == 0
    read = run(archive).bytes_read
    assert scheduled_plan(archive.service, "kho-1", at=clock.unique_now()).budget_bytes == budget - read
    tomorrow = clock.unique_now() + timedelta(days=1, minutes=1)
    assert scheduled_plan(archive.service, "kho-1", at=tomorrow).budget_bytes == budget


def test_an_unknown_location_is_refused(archive: Archive) -> None:
    with pytest.raises(ConfigurationInvalid, match="kho-9"):
        run(archive, "kho-9")


def test_the_state_of_a_record_that_is_no_longer_kept_is_left_alone(archive: Archive, dossiers: Path) -> None:
    from archive_service.lifecycle import transition
    from archive_service.models import Record, State
    from tests.builders import TESTER

    record_id = archive.archive(minimal_dossier(dossiers).folder)
    stored_file(archive.service, record_id).unlink()
    with archive.service.database.write() as session:
        record = session.get_one(Record, UUID(record_id))
        for state in (State.UNDER_REVIEW, State.DESTROYING):
            transition(session, record, state, agent=TESTER, at=clock.unique_now())
    minutes = run(archive, sample_copies=2)
    assert (minutes.missing, minutes.intact) == (0, 0)
    assert copies(archive)["kho-1"].state == "INTACT"
