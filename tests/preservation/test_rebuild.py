"""Rebuild: from any one location into an empty database of either kind, equal by the state hash; what cannot be had is said."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from archive_service import clock
from archive_service.application import create_app
from archive_service.db import Database
from archive_service.errors import Conflict, StoreUnavailable
from archive_service.evidence.algorithms import load_algorithm_policy
from archive_service.evidence.local_tsa import create_local_tsa
from archive_service.models import (
    Aip,
    AipCopy,
    Event,
    EventType,
    Job,
    JobKind,
    MoveState,
    Record,
    RoleName,
    StorageLocation,
)
from archive_service.placement import placement
from archive_service.preservation import rebuild as rebuilding
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.log_storage import LogRolledBack
from archive_service.preservation.moves import add_location, empty_location, put_back, retire_location
from archive_service.preservation.rebuild import RebuildReport, rebuild
from archive_service.preservation.renewal import renew_evidence
from archive_service.preservation.repair import repair_aip
from archive_service.preservation.seal import seal_log, verify_history
from archive_service.preservation.statehash import state_hash, table_hashes
from archive_service.retention.review import review_due
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from tests.pipeline import Archive
from tests.preservation.places import AGENT, archive_numbered, folder, later, layout_file, opened_with
from tests.preservation.places import run as move_copies
from tests.preservation.test_fixity import flip, stored_file
from tests.preservation.test_object_copies import add_rendition
from tests.unit.evidence.tsa_server import TsaServer


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """An empty database without schema."""
    if request.param == "sqlite":
        opened = Database(f"sqlite:///{tmp_path / 'rebuilt.db'}")
        yield opened
        opened.close()
        return
    server = request.getfixturevalue("postgres_server")
    url = server.create()
    opened = Database(url.render_as_string(hide_password=False))
    yield opened
    opened.close()
    server.drop(url)


def a_life(archive: Archive, dossiers: Path) -> list[str]:
    """Everything a record can go through by now, sealed in three seals, the second time-stamped, its evidence renewed in the third."""
    service = archive.service
    ids = [archive.archive(minimal_dossier(dossiers, code=f"000.00.16.H56-250314-000{n}").folder) for n in range(2)]
    supplement = minimal_dossier(
        dossiers / "more", code="000.00.16.H56-250314-0000", record_status="SUPPLEMENT", title="Bổ sung"
    )
    archive.archive(supplement.folder)
    seal_log(service, at=clock.unique_now())
    contents = archive.call("GET", f"records/{ids[1]}", role=RoleName.OFFICER).json()["contents"]
    body = {
        "component_id": contents[0]["id"],
        "purpose": "vay vốn",
        "recipient": "Nguyễn Văn Đức",
        "place": "Huế",
        "position": "Văn thư",
    }
    for number in range(2):
        issued = archive.call("POST", f"records/{ids[1]}/copies", role=RoleName.COPY_OFFICER, json=body)
        assert issued.status_code == 201, issued.text
        if number:
            path = f"copies/{issued.json()['id']}/cancel"
            assert archive.call("POST", path, role=RoleName.COPY_OFFICER, json={"reason": "in nhầm"}).status_code == 200
    add_rendition(service, ids[1])
    flip(stored_file(service, ids[1]))
    check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
    with service.database.read() as session:
        aip_id = session.scalars(select(Aip.id).where(Aip.record_id == UUID(ids[1]))).one()
    repair_aip(service, aip_id)
    review_due(service.database, on=date(1990, 1, 1), at=clock.unique_now())  # finds nothing, as on most nights
    review_due(service.database, on=date(2200, 1, 1), at=clock.unique_now())
    _places_and_holds(archive, ids)
    at = clock.now()
    with TsaServer(create_local_tsa(valid_from=at), at).running() as tsa:
        settings = service.settings.model_copy(update={"tsa_url": tsa.url})
        stamping = Service(settings=settings, database=service.database)
        seal_log(stamping, at=clock.unique_now())
        policy = load_algorithm_policy()
        soon = {**policy.digests, "sha256": (at + timedelta(days=90)).date()}
        assert renew_evidence(stamping, at=at, policy=replace(policy, digests=soon))
    seal_log(service, at=clock.unique_now())
    return ids


def _places_and_holds(archive: Archive, ids: list[str]) -> None:
    """A location is looked through for what it lacks; one record is held, another was."""
    service = archive.service
    with service.database.read() as session:
        agency = session.get_one(Record, UUID(ids[0])).archiving_agency
    for record_id in ids:
        body = {"agency": agency, "reason": "điều tra", "legal_basis": "QĐ 1/2026", "record_ids": [record_id]}
        hold_id = archive.call("POST", "holds", role=RoleName.RECORDS_HEAD, json=body).json()["id"]
    released = {"reason": "đã đóng"}
    archive.call("POST", f"holds/{hold_id}/release", role=RoleName.RECORDS_HEAD, json=released)
    move = add_location(service, "kho-1", agent=AGENT, at=clock.unique_now())
    assert move_copies(archive, move).state is MoveState.DONE


def run(archive: Archive, target: Database, location: str = "kho-2") -> RebuildReport:
    service = archive.service
    return rebuild(service.stores[location], target, known_keys(service.settings), at=clock.unique_now())


def test_a_rebuilt_database_has_the_same_state(archive: Archive, dossiers: Path, empty: Database) -> None:
    ids = a_life(archive, dossiers)
    with archive.service.database.read() as session:
        tables, before = table_hashes(session), state_hash(session)
    assert not [name for name, digest in tables.items() if digest.startswith("0 ") and name != "signature_verdict"]
    report = run(archive, empty)
    with empty.read() as session:
        assert table_hashes(session, up_to_seq=report.last_seq) == tables
    assert report.state_hash == before
    assert (report.complete, report.unsealed, report.aips, report.seals) == (True, [], 3, 3)
    with empty.read() as session:  # what the documents say is derived again
        waiting = session.scalars(select(Job.subject).where(Job.kind == JobKind.EXTRACT_TEXT)).all()
        assert set(waiting) == {str(aip_id) for aip_id in session.scalars(select(Aip.id))}
    rebuilt = Service(settings=archive.service.settings, database=empty)
    assert verify_history(rebuilt) > 0
    _goes_on(rebuilt, archive, ids, dossiers)


def _goes_on(rebuilt: Service, archive: Archive, ids: list[str], dossiers: Path) -> None:
    """The rebuilt database serves, checks, takes in more and seals on; the old one is then the one that was left behind."""
    from fastapi.testclient import TestClient

    with TestClient(create_app(rebuilt), raise_server_exceptions=False) as http:
        served = Archive(service=rebuilt, http=http)
        assert served.call("GET", f"records/{ids[0]}", role=RoleName.OFFICER).json()["aips"][1]["version"] in {1, 2}
        assert served.call("GET", f"records/{ids[0]}/aip", role=RoleName.ARCHIVIST).status_code == 200
        for location in ("kho-1", "kho-2"):
            assert check_location(rebuilt, location, FixityPlan(), at=clock.unique_now()).intact == 6
        served.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0009").folder)
        (made,) = seal_log(rebuilt, at=clock.unique_now())
        assert made.ordinal == 4
        with rebuilt.database.read() as session:
            assert session.scalars(select(AipCopy.state).distinct()).all() == ["INTACT"]
    with pytest.raises(LogRolledBack, match="seal 4"):
        seal_log(archive.service, at=clock.unique_now())


def test_locations_that_came_and_went_are_rebuilt(archive: Archive, dossiers: Path, empty: Database) -> None:
    ids = [archive.archive(minimal_dossier(dossiers, code=f"000.00.16.H56-250314-000{n}").folder) for n in range(2)]
    places = [folder(archive.service.settings.data_dir, name) for name in ("kho-1", "kho-2", "kho-3", "kho-4")]
    layout = layout_file(dossiers / "four.toml", places, copies=["kho-1", "kho-2", "kho-3"])
    with opened_with(archive, layout) as opened:
        for change in (add_location, retire_location, put_back):
            move = change(opened.service, "kho-3", agent=AGENT, at=clock.unique_now())
            assert move_copies(opened, move).state is MoveState.DONE
        move_copies(opened, retire_location(opened.service, "kho-1", agent=AGENT, at=clock.unique_now()))
        move_copies(opened, empty_location(opened.service, "kho-1", agent=AGENT, at=later(93)))
        seal_log(opened.service, at=clock.unique_now())
        with opened.service.database.read() as session:
            tables = table_hashes(session)
        report = run(opened, empty, "kho-3")
        with empty.read() as session:
            assert table_hashes(session, up_to_seq=report.last_seq) == tables
            states = {row.name: row.state.value for row in session.scalars(select(StorageLocation))}
            assert states == {"kho-1": "EMPTIED", "kho-3": "ACTIVE"}
            query = select(AipCopy.location, AipCopy.state).order_by(AipCopy.location, AipCopy.aip_id)
            assert [tuple(row) for row in session.execute(query)] == [
                *[("kho-1", "REMOVED")] * len(ids),
                *[("kho-2", "UNREAD")] * len(ids),
                *[("kho-3", "INTACT")] * len(ids),
            ]
        rebuilt = Service(settings=opened.service.settings, database=empty)
        with empty.read() as session:
            assert placement(rebuilt, session).copies(1) == ("kho-2", "kho-3")


def test_what_was_stored_after_the_last_seal_is_taken_in_and_named(
    archive: Archive, dossiers: Path, empty: Database
) -> None:
    archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0001").folder)
    seal_log(archive.service, at=clock.unique_now())
    late = archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0002").folder)
    report = run(archive, empty, "kho-1")
    assert len(report.unsealed) == 1
    assert (report.complete, report.aips) == (True, 2)
    with empty.read() as session:
        assert session.get_one(Record, UUID(late)).current_version == 1
        told = session.scalars(select(Event).where(Event.type == EventType.ARCHIVE_REBUILT)).one()
        assert told.detail["unsealed"] == report.unsealed


@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_an_aip_that_is_not_what_was_sealed_is_left_out_and_named(
    archive: Archive, dossiers: Path, empty: Database, harm: str
) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    seal_log(archive.service, at=clock.unique_now())
    path = stored_file(archive.service, record_id)
    if harm == "flip":
        flip(path, 2000)
    else:
        path.unlink()
    report = run(archive, empty, "kho-1")
    assert not report.complete
    assert (len(report.damaged), len(report.missing)) == (int(harm == "flip"), 1)
    with empty.read() as session:
        assert session.scalar(select(func.count()).select_from(Record)) == 0


@pytest.mark.parametrize("kind", ["segments", "evidence", "checkpoints", "seals"])
def test_a_damaged_log_is_refused(archive: Archive, empty: Database, dossiers: Path, kind: str) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    seal_log(archive.service, at=clock.unique_now())
    folder = archive.service.settings.data_dir / "storage" / "kho-1" / "objects" / "log" / kind
    flip(next(path for path in folder.rglob("0*.*")), 100)
    with pytest.raises(Exception, match=r"seal|signature|note|base64|signed") as caught:
        run(archive, empty, "kho-1")
    assert type(caught.value).__name__ in {"LogObjectInvalid", "CheckpointInvalid"}
    with empty.read() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 0, "nothing of a refused seal stays"
    assert run(archive, empty, "kho-2").complete, "the other location still serves"


def test_a_database_with_records_is_refused(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    seal_log(archive.service, at=clock.unique_now())
    with pytest.raises(Conflict, match="not empty"):
        run(archive, archive.service.database)


def test_a_rebuild_that_was_cut_off_goes_on(
    archive: Archive, dossiers: Path, empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        archive_numbered(archive, dossiers, number)
        seal_log(archive.service, at=clock.unique_now())
    with archive.service.database.read() as session:
        before = state_hash(session)
    monkeypatch.setattr(rebuilding, "BATCH", 1)
    seen: list[tuple[str, int]] = []

    def cut(stage: str, done: int) -> None:
        seen.append((stage, done))
        if (stage, done) in {("seals", 2), ("aips", 2)} and seen.count((stage, done)) == 1:
            raise StoreUnavailable("cut off")

    keys, store = known_keys(archive.service.settings), archive.service.stores["kho-1"]
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="cut off"):
            rebuild(store, empty, keys, at=clock.unique_now(), progress=cut)
    report = rebuild(store, empty, keys, at=clock.unique_now(), progress=cut)
    assert (report.state_hash, report.complete, report.aips) == (before, True, 4)
    assert [done for stage, done in seen if stage == "aips"] == [1, 2, 3, 4], "nothing was read twice"
    assert json.dumps(report.as_json())
