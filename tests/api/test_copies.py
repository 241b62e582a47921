"""Certified paper copies over HTTP: numbered once, repeatable, cancelled with a reason, and a public answer that names nobody."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pypdfium2
import pytest
import zxingcpp
from sqlalchemy import update

from archive_service.digests import digest_bytes
from archive_service.ids import new_id
from archive_service.models import CertifiedCopy, RoleName
from archive_service.samples.small import minimal_dossier
from tests.api.test_pages import person
from tests.crash.worlds import staged_entries
from tests.pipeline import Archive

REQUEST: dict[str, Any] = {
    "component_id": "c01",
    "purpose": "Nộp hồ sơ vay vốn",
    "recipient": "Bà Lê Thị Hồng",
    "place": "Hải Dương",
    "position": "Chuyên viên",
}
PUBLIC = {
    "status",
    "code",
    "form",
    "number",
    "year",
    "agency",
    "issued_at",
    "pages",
    "original_sha256",
    "cancelled_at",
}


@pytest.fixture
def record_id(archive: Archive, tmp_path: Path) -> str:
    return archive.archive(minimal_dossier(tmp_path / "dossiers").folder)


def _issue(archive: Archive, record_id: str, *, agency: str | None = None, **changes: Any) -> Any:
    return archive.call(
        "POST", f"records/{record_id}/copies", role=RoleName.COPY_OFFICER, agency=agency, json=REQUEST | changes
    )


def _pdf(archive: Archive, copy: dict[str, Any], **rest: Any) -> Any:
    return archive.call("GET", copy["pdf_url"], role=RoleName.OFFICER, **rest)


def test_a_copy_is_numbered_stored_twice_and_handed_out(archive: Archive, record_id: str) -> None:
    answer = _issue(archive, record_id)
    copy = answer.json()
    assert (answer.status_code, copy["number"], copy["completed"]) == (201, 1, True)
    pdf = _pdf(archive, copy)
    assert digest_bytes(pdf.content).hex == copy["pdf_sha256"]
    assert len(pypdfium2.PdfDocument(pdf.content)) == copy["pages"]
    stored = list(archive.service.settings.data_dir.rglob(f"{copy['number']:06d}-{copy['verify_code']}.pdf"))
    assert [path.read_bytes() for path in stored] == [pdf.content] * 2
    assert staged_entries(archive.service) == []
    events = archive.call("GET", f"records/{record_id}/events", role=RoleName.OFFICER).json()["items"]
    assert [event["type"] for event in events[-2:]] == ["copy.issued", "copy.read"]


def test_the_qr_code_leads_to_the_public_answer(archive: Archive, record_id: str) -> None:
    copy = _issue(archive, record_id).json()
    picture = pypdfium2.PdfDocument(_pdf(archive, copy).content)[0].render(scale=200 / 72).to_pil()
    (code,) = zxingcpp.read_barcodes(picture)
    address, _, data = code.text.partition("#")
    assert address == f"http://127.0.0.1:8000/verify/{copy['verify_code']}"
    assert dict(parse_qsl(data))["hs"] == "000.00.16.H56-250314-0042"
    answer = archive.http.get(f"/api/v1/verify/{address.rsplit('/', 1)[-1]}").json()
    assert (answer["status"], answer["number"], answer["pages"]) == ("valid", 1, copy["pages"])


def test_the_public_answer_names_nobody(archive: Archive, record_id: str) -> None:
    copy = _issue(archive, record_id).json()
    answer = archive.http.get(f"/api/v1/verify/{copy['verify_code']}")
    assert answer.json().keys() == PUBLIC
    for private in (
        "Đặng Quốc Ưng",
        "Lê Thị Hồng",
        "copy_officer",
        "vay vốn",
        "Đơn",
        "000.00.16.H56-250314-0042",
        record_id,
    ):
        assert private not in json.dumps(answer.json(), ensure_ascii=False), private
    unknown = archive.http.get("/api/v1/verify/2222222222222222")
    assert (unknown.status_code, unknown.json()["status"]) == (200, "unknown")
    assert unknown.json().keys() == PUBLIC
    assert {value for key, value in unknown.json().items() if key not in {"status", "code"}} == {None}


def test_a_code_is_read_as_people_type_it(archive: Archive, record_id: str) -> None:
    code = _issue(archive, record_id).json()["verify_code"]
    typed = "-".join((code[:4], code[4:8], code[8:12], code[12:])).lower()
    for text in (typed, f" {code[:8]} {code[8:]} "):
        assert archive.http.get(f"/api/v1/verify/{text}").json()["status"] == "valid"


def test_the_same_request_gives_the_same_copy(archive: Archive, record_id: str) -> None:
    request_id = str(new_id())
    first, second = (_issue(archive, record_id, request_id=request_id).json() for _ in range(2))
    assert first == second
    other = _issue(archive, record_id, request_id=request_id, component_id="c02")
    assert (other.status_code, other.json()["code"]) == (409, "CONFLICT")
    assert [row["number"] for row in _listed(archive, record_id)] == [1]


def _listed(archive: Archive, record_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = archive.call("GET", f"records/{record_id}/copies", role=RoleName.OFFICER).json()[
        "items"
    ]
    return items


def test_concurrent_requests_take_different_numbers(archive: Archive, record_id: str) -> None:
    archive.headers(RoleName.COPY_OFFICER)
    gate = threading.Barrier(4)

    def issue(_: int) -> int:
        gate.wait()
        number: int = _issue(archive, record_id).json()["number"]
        return number

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(issue, range(4))) == [1, 2, 3, 4]


def test_each_agency_and_year_has_its_own_series(archive: Archive, record_id: str, tmp_path: Path) -> None:
    dossier = minimal_dossier(
        tmp_path / "others",
        code="000.00.16.H40-250314-0001",
        archiving_agency="H40",
        procedure_code="1.002891.000.00.00.H40",
    )
    elsewhere = archive.archive(dossier.folder)
    assert [_issue(archive, record_id).json()["number"] for _ in range(2)] == [1, 2]
    assert _issue(archive, elsewhere).json()["number"] == 1
    with archive.service.database.write() as session:
        session.execute(
            update(CertifiedCopy).where(CertifiedCopy.agency == "H56.16").values(year=CertifiedCopy.year - 1)
        )
    assert _issue(archive, record_id).json()["number"] == 1
    assert _issue(archive, elsewhere).json()["number"] == 2


def test_the_copies_of_a_record_are_listed_page_by_page(archive: Archive, record_id: str) -> None:
    numbers = [_issue(archive, record_id).json()["number"] for _ in range(3)]
    seen: list[int] = []
    cursor: str | None = None
    for _ in range(3):
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = archive.call("GET", f"records/{record_id}/copies", role=RoleName.OFFICER, params=params).json()
        seen += [copy["number"] for copy in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == numbers[::-1]


def test_a_cancelled_copy_says_so_from_then_on(archive: Archive, record_id: str) -> None:
    copy = _issue(archive, record_id).json()
    url = f"copies/{copy['id']}/cancel"
    empty = archive.call("POST", url, role=RoleName.COPY_OFFICER, json={"reason": " "})
    assert (empty.status_code, empty.json()["code"]) == (422, "BAD_REQUEST")
    first = archive.call("POST", url, role=RoleName.COPY_OFFICER, json={"reason": "in sai"}).json()
    again = archive.call("POST", url, role=RoleName.COPY_OFFICER, json={"reason": "khác"}).json()
    assert first == again
    assert first["cancel_reason"] == "in sai"
    answer = archive.http.get(f"/api/v1/verify/{copy['verify_code']}").json()
    assert (answer["status"], answer["cancelled_at"]) == ("cancelled", first["cancelled_at"])
    assert "in sai" not in json.dumps(answer, ensure_ascii=False)


@pytest.mark.parametrize("role", [RoleName.OFFICER, RoleName.ARCHIVIST, RoleName.SUBMITTER, RoleName.ADMIN])
def test_only_copy_officers_issue(archive: Archive, record_id: str, role: RoleName) -> None:
    answer = archive.call("POST", f"records/{record_id}/copies", role=role, json=REQUEST)
    assert (answer.status_code, answer.json()["code"]) == (403, "NOT_PERMITTED")


def test_a_request_is_judged_as_a_whole_after_who_sends_it(archive: Archive, record_id: str) -> None:
    url = f"records/{record_id}/copies"
    assert archive.call("POST", url, role=RoleName.OFFICER, json={}).status_code == 403
    answer = archive.call("POST", url, role=RoleName.COPY_OFFICER, json={})
    places = {problem["location"] for problem in answer.json()["problems"]}
    needed = ("component_id", "purpose", "recipient", "place", "position")
    assert (answer.status_code, places) == (422, {f"body/{name}" for name in needed})
    schemas = archive.http.get("/openapi.json").json()["components"]["schemas"]
    assert set(schemas["CopyBody"]["required"]) == set(needed)


def test_copies_keep_to_the_agency(archive: Archive, record_id: str) -> None:
    assert _issue(archive, record_id, agency="H40").status_code == 404
    copy = _issue(archive, record_id).json()
    for path in (f"copies/{copy['id']}", copy["pdf_url"], f"records/{record_id}/copies"):
        assert archive.call("GET", path, role=RoleName.OFFICER, agency="H40").status_code == 404, path


def test_who_sees_the_register_alone_gets_no_pages_of_the_original(archive: Archive, record_id: str) -> None:
    copy = _issue(archive, record_id).json()
    assert archive.call("GET", f"copies/{copy['id']}", role=RoleName.AUDITOR).status_code == 200
    for method in ("GET", "HEAD"):
        for agency in (None, "H56.16"):
            answer = archive.call(method, copy["pdf_url"], role=RoleName.AUDITOR, agency=agency)
            assert answer.status_code == 403
            assert b"%PDF" not in answer.content
    assert _pdf(archive, copy).content.startswith(b"%PDF")
    page = person(archive, "thanh-tra", RoleName.AUDITOR).get(f"/records/{record_id}").text
    assert copy["verify_code"] in page
    assert copy["pdf_url"] not in page
    assert copy["pdf_url"] in person(archive, "can-bo", RoleName.OFFICER).get(f"/records/{record_id}").text


@pytest.mark.parametrize(
    "changes",
    [{name: " "} for name in ("purpose", "recipient", "place", "position")]
    + [{"place": "x\u200by"}, {"recipient": "x" * 500}, {"purpose": "x" * 1001}, {"request_id": "x"}],
)
def test_a_request_that_cannot_be_printed_takes_no_number(
    archive: Archive, record_id: str, changes: dict[str, str]
) -> None:
    answer = _issue(archive, record_id, **changes)
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")
    assert _issue(archive, record_id).json()["number"] == 1


def test_a_copy_of_a_damaged_original_is_not_made(archive: Archive, record_id: str) -> None:
    for path in archive.service.settings.data_dir.rglob("*.zip"):
        content = path.read_bytes()
        path.chmod(0o640)
        path.write_bytes(content.replace(b"%PDF-1.4", b"%PDF-1.5"))
    answer = _issue(archive, record_id)
    assert (answer.status_code, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
    (row,) = _listed(archive, record_id)
    assert (row["completed"], row["pdf_sha256"]) == (False, None)
    assert _pdf(archive, row).status_code == 404
    assert archive.http.get(f"/api/v1/verify/{row['verify_code']}").json()["status"] == "unknown"
    assert staged_entries(archive.service) == []
