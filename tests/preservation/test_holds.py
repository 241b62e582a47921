"""Legal holds: placed and released by the records head, within an agency, found by whoever ends a record, and kept by the database itself."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from archive_service import clock
from archive_service.audit import software
from archive_service.errors import ArchiveError
from archive_service.ids import record_id as record_id_of
from archive_service.legal_hold import RecordHeld, holds_on
from archive_service.lifecycle import transition
from archive_service.models import EventType, Hold, Record, RoleName, State
from archive_service.retention.holds import held_among
from archive_service.samples.small import minimal_dossier
from archive_service.storage.port import store_key
from tests.api.test_pages import person
from tests.pipeline import Archive
from tests.preservation.places import events_about
from tests.preservation.test_repair import aip_of

CODE = "000.00.16.H56-250314-0001"


@pytest.fixture
def stored(archive: Archive, dossiers: Path) -> tuple[Archive, str, str]:
    """An archive with one record, its id and agency."""
    record_id = archive.archive(minimal_dossier(dossiers, code=CODE).folder)
    with archive.service.database.read() as session:
        agency = session.get_one(Record, UUID(record_id)).archiving_agency
    return archive, record_id, agency


def order(agency: str, **changes: Any) -> dict[str, Any]:
    return {"agency": agency, "reason": "Tòa án yêu cầu", "legal_basis": "QĐ 12/2026/QĐ-TA", **changes}


def place(archive: Archive, body: dict[str, Any], **rest: Any) -> Any:
    return archive.call("POST", "holds", role=rest.pop("role", RoleName.RECORDS_HEAD), json=body, **rest)


def move_on(archive: Archive, record_id: str, to: State) -> None:
    with archive.service.database.write() as session:
        record = session.get_one(Record, UUID(record_id))
        transition(session, record, to, agent=software("tests"), at=clock.unique_now())


def test_a_hold_is_seen_on_the_page_of_the_record(stored: tuple[Archive, str, str]) -> None:
    archive, record_id, agency = stored
    browser = person(archive, "lan", RoleName.OFFICER)
    assert "QĐ 12/2026/QĐ-TA" not in browser.get(f"/records/{record_id}").text
    assert place(archive, order(agency, dossier_codes=[CODE])).status_code == 201
    page = browser.get(f"/records/{record_id}").text
    assert "Tạm dừng hủy, chuyển giao" in page
    assert "QĐ 12/2026/QĐ-TA" in page


def test_a_hold_is_placed_seen_and_released(stored: tuple[Archive, str, str]) -> None:
    archive, record_id, agency = stored
    placed = place(archive, order(agency, dossier_codes=[CODE]))
    assert placed.status_code == 201, placed.text
    hold_id = placed.json()["id"]
    listed = archive.call("GET", "holds?open=true", role=RoleName.ARCHIVIST).json()
    assert [item["id"] for item in listed["items"]] == [hold_id]
    by_record = archive.call("GET", f"holds?record_id={record_id}", role=RoleName.COUNCIL).json()["items"]
    assert [item["legal_basis"] for item in by_record] == ["QĐ 12/2026/QĐ-TA"]
    records = archive.call("GET", f"holds/{hold_id}/records", role=RoleName.AUDITOR).json()["items"]
    assert records == [{"record_id": record_id, "dossier_code": CODE}]
    with archive.service.database.read() as session:
        assert held_among(session, [UUID(record_id), uuid4()]) == {UUID(record_id)}
    body = {"reason": "Vụ án đã đóng"}
    released = archive.call("POST", f"holds/{hold_id}/release", role=RoleName.RECORDS_HEAD, json=body).json()
    assert released["release_reason"] == "Vụ án đã đóng"
    again = archive.call("POST", f"holds/{hold_id}/release", role=RoleName.RECORDS_HEAD, json={"reason": "khác"})
    assert again.json() == released, "repeating changes nothing"
    assert archive.call("GET", "holds?open=true", role=RoleName.ARCHIVIST).json()["items"] == []
    assert len(events_about(archive, record_id, "record.held")) == 1
    assert len(events_about(archive, record_id, "record.hold-released")) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"reason": " "}, 422),
        ({"legal_basis": ""}, 422),
        ({"dossier_codes": []}, 422),
        ({"reason": "x" * 2001}, 422),
        ({"dossier_codes": ["000.00.16.H56-250314-0404"]}, 404),
        ({"record_ids": [str(uuid4())]}, 404),
        ({"colour": "red"}, 422),
    ],
    ids=["no-reason", "no-basis", "no-records", "too-long", "unknown-code", "unknown-record", "unknown-field"],
)
def test_an_order_that_is_not_complete_holds_nothing(
    stored: tuple[Archive, str, str], changes: dict[str, Any], status: int
) -> None:
    archive, record_id, agency = stored
    answer = place(archive, order(agency, **{"dossier_codes": [CODE], **changes}))
    assert answer.status_code == status, answer.text
    with archive.service.database.read() as session:
        assert not holds_on(session, UUID(record_id))


def test_only_the_records_head_of_the_agency_may(stored: tuple[Archive, str, str]) -> None:
    archive, record_id, agency = stored
    body = order(agency, dossier_codes=[CODE])
    for role in (RoleName.ARCHIVIST, RoleName.ADMIN, RoleName.OFFICER, RoleName.COUNCIL):
        assert place(archive, body, role=role).status_code == 403, role
    assert place(archive, body, agency="H99.1").status_code == 403
    hold_id = place(archive, body, agency=agency).json()["id"]
    for verb in ("GET", "POST"):
        path = f"holds/{hold_id}" + ("/release" if verb == "POST" else "")
        rest = {"json": {"reason": "không phải việc của tôi"}} if verb == "POST" else {}
        other = archive.call(verb, path, role=RoleName.RECORDS_HEAD, agency="H99.1", **rest)
        assert other.status_code == 404, "another agency's hold is not told to exist"
    assert archive.call("GET", "holds", role=RoleName.RECORDS_HEAD, agency="H99.1").json()["items"] == []
    foreign = place(archive, order("H99.1", record_ids=[record_id]))
    assert foreign.status_code == 404, "a record of another agency is not held by this one's order"


def test_the_list_has_pages(stored: tuple[Archive, str, str]) -> None:
    archive, _, agency = stored
    made = [place(archive, order(agency, dossier_codes=[CODE], reason=f"lý do {n}")).json()["id"] for n in range(5)]
    seen, cursor = [], ""
    while True:
        page = archive.call("GET", f"holds?limit=2&cursor={cursor}", role=RoleName.AUDITOR).json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert seen == made[::-1]


def test_a_dossier_is_held_before_it_is_archived(stored: tuple[Archive, str, str], dossiers: Path) -> None:
    archive, _, agency = stored
    code = "000.00.16.H56-250314-0777"
    assert place(archive, order(agency, dossier_codes=[code])).status_code == 404
    assert place(archive, order(agency, dossier_codes=[code], in_advance=True)).status_code == 201
    record_id = archive.archive(minimal_dossier(dossiers / "late", code=code).folder)
    assert UUID(record_id) == record_id_of(agency, code)
    archive.work()
    for store in archive.service.stores.values():
        assert store.lock(store_key(aip_of(archive, record_id).store_key)).legal_hold


def test_a_held_record_reaches_no_end(stored: tuple[Archive, str, str]) -> None:
    archive, record_id, agency = stored
    hold_id = place(archive, order(agency, dossier_codes=[CODE])).json()["id"]
    move_on(archive, record_id, State.UNDER_REVIEW)
    for to in (State.DESTROYING, State.HANDED_OVER):
        with pytest.raises(RecordHeld, match="QĐ 12/2026"):
            move_on(archive, record_id, to)
    archive.call("POST", f"holds/{hold_id}/release", role=RoleName.RECORDS_HEAD, json={"reason": "xong"})
    move_on(archive, record_id, State.DESTROYING)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE record SET state = 'DESTROYING' WHERE id = :record", "legal hold"),
        ("UPDATE record SET state = 'HANDED_OVER' WHERE id = :record", "legal hold"),
        ("DELETE FROM hold_record WHERE record_id = :record", "refuses DELETE"),
        ("UPDATE hold_record SET dossier_code = 'x' WHERE record_id = :record", "refuses UPDATE"),
        ("DELETE FROM hold WHERE id = :hold", "refuses DELETE"),
    ],
    ids=["destroy", "hand-over", "unlist", "relist", "forget"],
)
def test_not_even_sql_by_hand_gets_round_a_hold(stored: tuple[Archive, str, str], statement: str, said: str) -> None:
    archive, record_id, agency = stored
    hold_id = place(archive, order(agency, dossier_codes=[CODE])).json()["id"]
    names = {"record": UUID(record_id), "hold": UUID(hold_id)}
    values = {key: value.hex if archive.service.database.is_sqlite else value for key, value in names.items()}
    values = {key: value for key, value in values.items() if f":{key}" in statement}
    with pytest.raises(Exception, match=said), archive.service.database.write() as session:
        session.execute(text(statement), values)


def test_a_released_hold_is_final(stored: tuple[Archive, str, str]) -> None:
    archive, _, agency = stored
    hold_id = UUID(place(archive, order(agency, dossier_codes=[CODE])).json()["id"])
    archive.call("POST", f"holds/{hold_id}/release", role=RoleName.RECORDS_HEAD, json={"reason": "xong"})
    with pytest.raises(Exception, match="final"), archive.service.database.write() as session:
        session.get_one(Hold, hold_id).reason = "khác"


def test_of_a_hold_and_a_destruction_at_once_one_sees_the_other(stored: tuple[Archive, str, str]) -> None:
    """Whatever the order, no record ends destroyed while held."""
    archive, record_id, agency = stored
    move_on(archive, record_id, State.UNDER_REVIEW)
    start = threading.Barrier(2)

    def destroy() -> str:
        start.wait()
        try:
            for to in (State.DESTROYING, State.DESTROYED):
                move_on(archive, record_id, to)
        except ArchiveError as exc:
            return exc.code
        return "DESTROYED"

    def hold() -> int:
        start.wait()
        return int(place(archive, order(agency, dossier_codes=[CODE])).status_code)

    archive.headers(RoleName.RECORDS_HEAD)
    with ThreadPoolExecutor(2) as pool:
        destroyed, placed = pool.submit(destroy), pool.submit(hold)
        outcome = destroyed.result(), placed.result()
    assert outcome in {("RECORD_HELD", 201), ("DESTROYED", 409)}


def test_the_locations_hold_too_until_the_last_order_is_released(stored: tuple[Archive, str, str]) -> None:
    archive, record_id, agency = stored
    key = store_key(aip_of(archive, record_id).store_key)

    def held() -> set[bool]:
        return {store.lock(key).legal_hold for store in archive.service.stores.values()}

    holds = [place(archive, order(agency, dossier_codes=[CODE])).json()["id"] for _ in range(2)]
    archive.work()
    assert held() == {True}
    for hold_id, expected in zip(holds, (True, False), strict=True):
        archive.call("POST", f"holds/{hold_id}/release", role=RoleName.RECORDS_HEAD, json={"reason": "xong"})
        archive.work()
        assert held() == {expected}


def test_releasing_while_the_placing_job_still_waits_ends_released(stored: tuple[Archive, str, str]) -> None:
    archive, record_id, agency = stored
    hold_id = place(archive, order(agency, dossier_codes=[CODE])).json()["id"]
    archive.call("POST", f"holds/{hold_id}/release", role=RoleName.RECORDS_HEAD, json={"reason": "nhầm"})
    archive.work()
    key = store_key(aip_of(archive, record_id).store_key)
    assert not archive.service.stores["kho-1"].lock(key).legal_hold
    with archive.service.database.read() as session:
        assert EventType.HOLD_RELEASED in {event.type for event in _events(session, hold_id)}


def _events(session: Any, hold_id: str) -> Any:
    from archive_service.models import Event

    return session.scalars(select(Event).where(Event.subject_kind == "hold", Event.subject_id == hold_id)).all()
