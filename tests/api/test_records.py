"""Reading the archive: lists within scope, search as people type, bytes by range and never wrong ones, history and retention."""

import base64
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from archive_service.digests import digest_bytes
from archive_service.models import EventType, RoleName
from archive_service.samples.small import SampleFile, minimal_dossier, small_head, tiny_pdf, write_dossier
from tests.api.test_pages import person
from tests.builders import new_record
from tests.pipeline import Archive

LARGE_BYTES = 9 * 1024 * 1024
"""More than what is checked in memory before it is served."""


@pytest.fixture
def dossier(tmp_path: Path) -> Path:
    return minimal_dossier(tmp_path / "dossiers").folder


def _large_dossier(target: Path) -> Path:
    files = [
        SampleFile(
            id=f"c0{number}",
            path=f"c0{number}.pdf",
            role=role,
            origin="issued",
            title="Tài liệu",
            content=tiny_pdf(role, filler=bytes(size)),
        )
        for number, (role, size) in enumerate(
            [("application_form", LARGE_BYTES), ("receipt", 1), ("control_sheet", 1)], start=1
        )
    ]
    write_dossier(target, small_head("000.00.16.H56-250314-0077"), files)
    return target


def _get(archive: Archive, path: str, **rest: Any) -> Any:
    return archive.call("GET", path, role=rest.pop("role", RoleName.OFFICER), **rest)


def _content(record_id: str, component_id: str = "c01") -> str:
    return f"records/{record_id}/components/{component_id}/content"


def _object(archive: Archive, record_id: str, location: str) -> Path:
    key = _get(archive, f"records/{record_id}").json()["aips"][0]["store_key"]
    name = key.rsplit("/", 1)[-1]
    (path,) = (found for found in archive.service.settings.data_dir.rglob(name) if location in found.parts)
    return path


def _damage(path: Path, content: bytes) -> None:
    """Flips a byte in the middle of the first place where `content` begins."""
    whole = bytearray(path.read_bytes())
    start = whole.find(content[:600])
    assert start > 0
    whole[start + len(content) // 2] ^= 1
    path.chmod(0o640)
    path.write_bytes(whole)


# ------------------------------------------------------------------ lists and search


def test_records_are_paged_by_key_without_gap_or_repeat(archive: Archive, at: datetime) -> None:
    with archive.service.database.write() as session:
        rows = [
            new_record(
                session,
                at,
                dossier_code=f"000.00.16.H40-251120-{number:04d}",
                stored_at=at + timedelta(hours=number // 3),
            )
            for number in range(23)
        ]
        expected = [str(row.id) for row in sorted(rows, key=lambda row: (row.stored_at, row.id), reverse=True)]
    seen: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor:
        answer = _get(archive, "records", params={"limit": 5} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["id"] for item in answer["items"]]
        cursor, pages = answer["next"], pages + 1
    assert (seen, pages) == (expected, 5)


def _forged(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "bnVsbA",
        "WzEsMl0",
        "WyIyMDI1LTAxLTAxVDAwOjAwOjAwIiwgIjAiXQ",
        _forged(["0001-01-01T00:00:00+14:00", str(UUID(int=0))]),
        _forged(["9999-12-31T23:59:59-14:00", str(UUID(int=0))]),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
    ],
    ids=str.__len__,
)
def test_a_cursor_of_somebody_else_is_refused(archive: Archive, cursor: str) -> None:
    answer = _get(archive, "records", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")


def test_search_finds_with_and_without_marks(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)

    def found(text: str) -> list[str]:
        return [item["id"] for item in _get(archive, "records", params={"q": text}).json()["items"]]

    for text in ("Đặng Quốc Ưng", "dang quoc ung", "ĐẶNG", "dang", "quốc", "ho so dang ky", "0042", "hộ kinh"):
        assert found(text) == [record_id], text
    for text in ("Đàng", "dangg", "quòc ung", "nguyen", "Đặng Nguyễn"):
        assert found(text) == [], text


def test_filters_narrow_a_list(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    code = json.loads((dossier / "dossier.json").read_bytes())["dossier_code"]
    for params, there in (
        ({"dossier_code": code}, True),
        ({"dossier_code": code[:-1]}, False),
        ({"state": "STORED"}, True),
        ({"state": "DESTROYED"}, False),
        ({"archiving_agency": "H56.16"}, True),
        ({"procedure_code": "1.002891.000.00.00.H56"}, True),
        ({"due_before": "1990-01-01"}, False),
    ):
        items = _get(archive, "records", params=params).json()["items"]
        assert [item["id"] for item in items] == ([record_id] if there else []), params


def test_an_officer_sees_only_the_agency_s_records(archive: Archive, at: datetime) -> None:
    with archive.service.database.write() as session:
        mine, theirs = new_record(session, at, agency="H56.16"), new_record(session, at, agency="H40")
        ids = str(mine.id), str(theirs.id)
    assert [item["id"] for item in _get(archive, "records", agency="H56.16").json()["items"]] == [ids[0]]
    for path in ("", "/components", "/events", "/retention", "/aip", "/components/c01/content"):
        answer = _get(archive, f"records/{ids[1]}{path}", agency="H56.16", role=RoleName.ARCHIVIST)
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND"), path


def test_a_secret_record_is_hidden_from_officers_and_not_from_archivists(archive: Archive, at: datetime) -> None:
    with archive.service.database.write() as session:
        secret = str(new_record(session, at, access_mode="03").id)
    assert _get(archive, "records").json()["items"] == []
    assert _get(archive, f"records/{secret}").status_code == 404
    listed = _get(archive, "records", role=RoleName.ARCHIVIST).json()["items"]
    assert [item["id"] for item in listed] == [secret]


def test_a_submitter_reads_no_records(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    for path in ("records", f"records/{record_id}", _content(record_id), f"records/{record_id}/aip"):
        assert _get(archive, path, role=RoleName.SUBMITTER).status_code == 403, path


# ------------------------------------------------------------------ one record


def test_a_record_tells_its_packages_copies_and_contents(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    record = _get(archive, f"records/{record_id}").json()
    described = json.loads((dossier / "dossier.json").read_bytes())
    assert (record["title"], record["access_mode"], record["components"]) == (described["title"], "02", 3)
    assert [part["sha256"] for part in record["contents"]] == [part["sha256"] for part in described["components"]]
    assert {part["puid"] for part in record["contents"]} == {"fmt/18"}
    paged = _get(archive, f"records/{record_id}/components", params={"limit": 2}).json()
    rest = _get(archive, f"records/{record_id}/components", params={"limit": 2, "cursor": paged["next"]}).json()
    ids = [part["id"] for part in paged["items"] + rest["items"]]
    assert ids == ["c01", "c02", "c03"]


@pytest.mark.parametrize(
    "path", ["components?cursor={}", "events?cursor={}", "components?version={}", "aip?version={}"]
)
def test_a_number_larger_than_any_row_has_is_refused(archive: Archive, dossier: Path, path: str) -> None:
    record_id = archive.archive(dossier)
    assert _get(archive, f"records/{record_id}/{path.format(2**63)}").status_code == 422


def test_the_history_begins_with_the_push(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    _get(archive, _content(record_id))
    types: list[str] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = _get(archive, f"records/{record_id}/events", params={"limit": 3, "cursor": cursor}).json()
        types += [event["type"] for event in page["items"]]
        cursor = page["next"]
    assert types == [
        "submission.opened",
        "submission.completed",
        "submission.checked",
        "submission.approved",
        "submission.stored",
        "record.accessioned",
        "record.retention-assigned",
        "record.component-read",
    ]


def test_retention_is_explained_in_words(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    answer = _get(archive, f"records/{record_id}/retention").json()
    (assignment,) = answer["assignments"]
    assert (assignment["kind"], assignment["due_on"]) == (answer["kind"], answer["due_on"])
    assert assignment["explanation_vi"]
    assert assignment["explanation_en"]
    assert assignment["explanation_vi"] != assignment["explanation_en"]


# ------------------------------------------------------------------ bytes


def test_a_component_is_served_whole_as_it_was_pushed(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    pushed = (dossier / "c01.pdf").read_bytes()
    answer = _get(archive, _content(record_id))
    assert (answer.status_code, answer.content) == (200, pushed)
    assert answer.headers["etag"] == f'"{digest_bytes(pushed).hex}"'
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = archive.call("HEAD", _content(record_id), role=RoleName.OFFICER)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(pushed)))


@pytest.mark.parametrize("large", [False, True])
def test_ranges_are_exact(archive: Archive, tmp_path: Path, dossier: Path, large: bool) -> None:  # noqa: FBT001
    folder = _large_dossier(tmp_path / "large") if large else dossier
    record_id = archive.archive(folder)
    pushed = (folder / "c01.pdf").read_bytes()
    size = len(pushed)
    for header, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=5-99", 5, 99),
        ("bytes=100-", 100, size - 1),
        ("bytes=-7", size - 7, size - 1),
        (f"bytes=-{size + 5}", 0, size - 1),
        (f"bytes=10-{size + 100}", 10, size - 1),
    ):
        answer = _get(archive, _content(record_id), headers={"Range": header})
        assert answer.status_code == 206, header
        assert answer.content == pushed[first : last + 1], header
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert answer.headers["content-length"] == str(last - first + 1)


def test_ranges_that_cannot_be_are_refused_or_ignored(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    size = (dossier / "c01.pdf").stat().st_size
    for header in (f"bytes={size}-", "bytes=9-3", "bytes=-0"):
        answer = _get(archive, _content(record_id), headers={"Range": header})
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}"), header
        assert answer.headers["content-type"] == "application/problem+json"
    for header in ("bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=x-y"):
        assert _get(archive, _content(record_id), headers={"Range": header}).status_code == 200, header


def test_conditions_on_the_etag(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    etag = _get(archive, _content(record_id)).headers["etag"]
    part = {"Range": "bytes=0-3"}
    assert _get(archive, _content(record_id), headers=part | {"If-Range": etag}).status_code == 206
    assert _get(archive, _content(record_id), headers=part | {"If-Range": '"other"'}).status_code == 200
    unchanged = _get(archive, _content(record_id), headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    for header in ("*", f"W/{etag}", f'"x", {etag}', f'W/"x",W/{etag}'):
        assert _get(archive, _content(record_id), headers={"If-None-Match": header}).status_code == 304, header
    for header in ('"x"', f"{etag[:-1]}", 'W/"x"'):
        assert _get(archive, _content(record_id), headers={"If-None-Match": header}).status_code == 200, header
    for header, status in (("*", 200), (etag, 200), (f'"x", {etag}', 200), ('"x"', 412), (f"W/{etag}", 412)):
        assert _get(archive, _content(record_id), headers={"If-Match": header}).status_code == status, header
    assert _get(archive, _content(record_id), headers={"Range": "BYTES=0-3"}).status_code == 206
    head = archive.call("HEAD", _content(record_id), role=RoleName.OFFICER, headers=part)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str((dossier / "c01.pdf").stat().st_size))


def test_the_package_is_downloaded_as_it_is_stored(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    stored = _object(archive, record_id, "kho-1").read_bytes()
    answer = _get(archive, f"records/{record_id}/aip")
    assert answer.content == stored == _object(archive, record_id, "kho-2").read_bytes()
    assert answer.headers["etag"] == f'"{digest_bytes(stored).hex}"'


def test_every_read_of_bytes_is_an_event(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    _get(archive, _content(record_id, "c02"))
    _get(archive, f"records/{record_id}/aip")
    archive.call("HEAD", _content(record_id), role=RoleName.OFFICER)
    events = _get(archive, f"records/{record_id}/events").json()["items"][-2:]
    assert [event["type"] for event in events] == [EventType.RECORD_COMPONENT_READ, EventType.RECORD_PACKAGE_READ]
    assert events[0]["detail"]["component_id"] == "c02"
    assert events[0]["agent"]["name"] == "officer None"


# ------------------------------------------------------------------ damaged copies


@pytest.mark.parametrize("large", [False, True])
def test_a_damaged_copy_is_passed_over(archive: Archive, tmp_path: Path, dossier: Path, large: bool) -> None:  # noqa: FBT001
    folder = _large_dossier(tmp_path / "large") if large else dossier
    record_id = archive.archive(folder)
    pushed = (folder / "c01.pdf").read_bytes()
    package = _object(archive, record_id, "kho-2").read_bytes()
    _damage(_object(archive, record_id, "kho-1"), pushed)
    middle = len(pushed) // 2
    part = _get(archive, _content(record_id), headers={"Range": f"bytes={middle - 3}-{middle + 3}"})
    assert (part.status_code, part.content) == (206, pushed[middle - 3 : middle + 4])
    assert _get(archive, _content(record_id)).content == pushed
    assert _get(archive, f"records/{record_id}/aip").content == package


@pytest.mark.parametrize("large", [False, True])
def test_wrong_bytes_are_never_served(archive: Archive, tmp_path: Path, dossier: Path, large: bool) -> None:  # noqa: FBT001
    folder = _large_dossier(tmp_path / "large") if large else dossier
    record_id = archive.archive(folder)
    pushed = (folder / "c01.pdf").read_bytes()
    for location in ("kho-1", "kho-2"):
        _damage(_object(archive, record_id, location), pushed)
    for path, headers in (
        (_content(record_id), {}),
        (_content(record_id), {"Range": "bytes=0-9"}),
        (f"records/{record_id}/aip", {}),
    ):
        answer = _get(archive, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "STORE_UNAVAILABLE"), path
        assert answer.headers["content-type"] == "application/problem+json"
    events = _get(archive, f"records/{record_id}/events").json()["items"]
    assert not [event for event in events if event["type"].endswith("-read")], "nothing was given to anybody"
    assert _get(archive, _content(record_id, "c02")).content == (folder / "c02.pdf").read_bytes()


def test_a_missing_copy_is_passed_over(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    _object(archive, record_id, "kho-1").unlink()
    assert _get(archive, _content(record_id)).content == (dossier / "c01.pdf").read_bytes()
    _object(archive, record_id, "kho-2").unlink()
    assert _get(archive, _content(record_id)).status_code == 503


@pytest.mark.parametrize("typed", ["%", "\x00", "…", "- , .", "%_"])
def test_what_holds_no_word_finds_nothing(archive: Archive, dossier: Path, typed: str) -> None:
    archive.archive(dossier)
    answer = _get(archive, "records", params={"q": typed})
    assert (answer.status_code, answer.json()["items"]) == (200, [])
    for blank in ("", "  "):
        assert len(_get(archive, "records", params={"q": blank}).json()["items"]) == 1
    page = person(archive, "lan", RoleName.OFFICER).get("/records?q=%25").text
    assert "/records/0" not in page
