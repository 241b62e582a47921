"""Repair: from a copy verified in the same run, or not at all."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from archive_service import clock
from archive_service.digests import digest_bytes
from archive_service.errors import StoreUnavailable
from archive_service.models import Aip, AipCopy, Event, EventType, Incident
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.repair import repair_aip
from archive_service.samples.small import minimal_dossier
from archive_service.storage.port import store_key
from tests.pipeline import Archive
from tests.preservation.places import layout_file, opened_with
from tests.preservation.test_fixity import copies, flip, stored_file


def aip_of(archive: Archive, record_id: str) -> Aip:
    with archive.service.database.read() as session:
        return session.scalars(select(Aip).where(Aip.record_id == UUID(record_id))).one()


@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_a_bad_copy_is_rebuilt_and_read_back(archive: Archive, dossiers: Path, harm: str) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    aip, path = aip_of(archive, record_id), stored_file(archive.service, record_id)
    good = path.read_bytes()
    if harm == "flip":
        flip(path)
    else:
        path.unlink()
    damaged = path.read_bytes() if path.exists() else None
    check_location(archive.service, "kho-1", FixityPlan(), at=clock.unique_now())
    (incident,) = repair_aip(archive.service, aip.id)
    assert path.read_bytes() == good
    assert (incident.status, incident.source_location) == ("REPAIRED", "kho-2")
    assert incident.closed_at is not None
    assert incident.remedy
    assert incident.cause
    assert copies(archive)["kho-1"].state == "INTACT"
    if damaged is None:
        assert incident.quarantine_key is None
    else:
        with archive.service.stores["kho-1"].open(store_key(str(incident.quarantine_key))) as kept:
            assert kept.read() == damaged
    with archive.service.database.read() as session:
        types = set(session.scalars(select(Event.type)))
    assert {EventType.INCIDENT_OPENED, EventType.INCIDENT_REPAIRED} <= types
    assert repair_aip(archive.service, aip.id) == [], "nothing is left to do"


def test_with_no_good_copy_nothing_is_touched(
    archive: Archive, dossiers: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    aip = aip_of(archive, record_id)
    paths = [stored_file(archive.service, record_id, name) for name in ("kho-1", "kho-2")]
    flip(paths[0], 500)
    flip(paths[1], 600)
    before = [digest_bytes(path.read_bytes()) for path in paths]
    incidents = repair_aip(archive.service, aip.id)
    repair_aip(archive.service, aip.id)
    assert [incident.status for incident in incidents] == ["NO_GOOD_COPY", "NO_GOOD_COPY"]
    assert [digest_bytes(path.read_bytes()) for path in paths] == before
    assert "NO GOOD COPY" in caplog.text
    with archive.service.database.read() as session:
        told = session.scalars(select(Event).where(Event.type == EventType.INCIDENT_UNREPAIRABLE)).all()
        assert len(told) == 2, "said once for each copy"
        assert all(row.closed_at is None for row in session.scalars(select(Incident)))


def test_a_copy_that_cannot_be_read_is_no_source_and_no_target(archive: Archive, dossiers: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    aip = aip_of(archive, record_id)
    first, second = (stored_file(archive.service, record_id, name) for name in ("kho-1", "kho-2"))
    flip(first)
    damaged = first.read_bytes()
    second.unlink()
    second.symlink_to("/nonexistent")
    with pytest.raises(StoreUnavailable, match="kho-2"):
        repair_aip(archive.service, aip.id)
    assert first.read_bytes() == damaged
    with archive.service.database.read() as session:
        assert session.scalars(select(Incident.status)).one() == "OPEN", "not given up: a copy may still be good"


def test_a_fault_that_passed_closes_its_incident_without_remedy(archive: Archive, dossiers: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    path = stored_file(archive.service, record_id)
    away = path.with_name("away")
    path.rename(away)
    check_location(archive.service, "kho-1", FixityPlan(), at=clock.unique_now())
    away.rename(path)
    (incident,) = repair_aip(archive.service, aip_of(archive, record_id).id)
    assert (incident.status, incident.quarantine_key) == ("RECOVERED", None)
    with archive.service.database.read() as session:
        assert session.scalars(select(AipCopy.state).where(AipCopy.location == "kho-1")).one() == "INTACT"


@pytest.mark.parametrize("lock", ["hold", "date"])
def test_a_locked_damaged_object_is_superseded_and_its_bytes_stay_put_aside(
    archive: Archive, dossiers: Path, lock: str
) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    aip, path = aip_of(archive, record_id), stored_file(archive.service, record_id)
    store, key = archive.service.stores["kho-1"], store_key(aip.store_key)
    good = path.read_bytes()
    if lock == "hold":
        store.set_legal_hold(key, True)
    else:
        store.retain_until(key, clock.now() + timedelta(days=1))
    before = store.lock(key)
    flip(path)
    damaged = path.read_bytes()
    (incident,) = repair_aip(archive.service, aip.id)
    assert incident.status == "REPAIRED"
    assert "superseded" in incident.remedy
    assert path.read_bytes() == good
    assert store.lock(key) == before, "locked as it was"
    with store.open(store_key(str(incident.quarantine_key))) as aside:
        assert aside.read() == damaged


def test_where_the_lock_cannot_be_read_nothing_is_touched(archive: Archive, dossiers: Path, tmp_path: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    aip, path = aip_of(archive, record_id), stored_file(archive.service, record_id)
    folder = archive.service.settings.data_dir / "storage" / "kho-1"
    archive.service.stores["kho-1"].set_legal_hold(store_key(aip.store_key), True)
    (lock_file,) = (folder / "locks").rglob("*@lock")
    lock_file.chmod(0o640)
    lock_file.write_text("{", encoding="utf-8")
    flip(path)
    damaged = path.read_bytes()
    locations = [
        {"name": name, "kind": "filesystem", "path": str(folder.parent / name), "lock_mode": "GOVERNANCE"}
        for name in ("kho-1", "kho-2")
    ]
    with opened_with(archive, layout_file(tmp_path / "locked.toml", locations)) as opened:
        (incident,) = repair_aip(opened.service, aip.id)
    assert (incident.status, incident.closed_at) == ("REFUSED", None)
    assert path.read_bytes() == damaged
