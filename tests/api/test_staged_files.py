"""Files before the decision: opened by whoever decides, while it is to be decided, exactly as received, and every opening is recorded."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from archive_service.models import Component, Event, EventType, RoleName, SubmissionFinding
from archive_service.samples.small import SampleFile, minimal_dossier, small_head, tiny_pdf, write_dossier
from tests.api.test_pages import person
from tests.pipeline import Archive

AGENCY = "H56.16"


@pytest.fixture
def dossier(tmp_path: Path) -> Path:
    return minimal_dossier(tmp_path / "dossiers").folder


def _checked(archive: Archive, folder: Path) -> str:
    submission_id = archive.push(folder)
    archive.work()
    assert archive.submission(submission_id)["state"] == "AWAITING_APPROVAL"
    return submission_id


def _get(archive: Archive, submission_id: str, component_id: str = "c01", **rest: Any) -> Any:
    path = f"submissions/{submission_id}/components/{component_id}/content"
    return archive.call(rest.pop("method", "GET"), path, role=rest.pop("role", RoleName.ARCHIVIST), **rest)


def _reads(archive: Archive) -> list[Event]:
    with archive.service.database.read() as session:
        query = select(Event).where(Event.type == EventType.SUBMISSION_FILE_READ).order_by(Event.seq)
        return list(session.scalars(query))


def test_an_approver_opens_a_file_as_it_was_received(archive: Archive, dossier: Path) -> None:
    submission_id = _checked(archive, dossier)
    pushed = (dossier / "c01.pdf").read_bytes()
    answer = _get(archive, submission_id, agency=AGENCY, params={"inline": True})
    assert (answer.status_code, answer.content) == (200, pushed)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"].startswith("inline;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none';")
    part = _get(archive, submission_id, headers={"Range": "bytes=5-99"})
    assert (part.status_code, part.content) == (206, pushed[5:100])
    assert part.headers["content-disposition"].startswith("attachment;")
    assert _get(archive, submission_id, headers={"Range": f"bytes={len(pushed)}-"}).status_code == 416
    head = _get(archive, submission_id, method="HEAD")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(pushed)))
    events = _reads(archive)
    assert [(event.subject_id, event.agency, event.detail["component_id"]) for event in events[:2]] == [
        (submission_id, AGENCY, "c01")
    ] * 2
    listed = archive.call("GET", f"submissions/{submission_id}/components", role=RoleName.ARCHIVIST).json()["items"]
    assert [item["id"] for item in listed] == ["c01", "c02", "c03"]
    assert archive.call("GET", listed[0]["url"], role=RoleName.ARCHIVIST).content == pushed


@pytest.mark.parametrize(
    ("mime", "disposition"),
    [
        ("text/html", "attachment"),
        ("image/svg+xml", "attachment"),
        ("text/plain", "attachment"),
        ("image/png", "inline"),
        (None, "attachment"),
    ],
)
def test_only_pages_and_pictures_are_shown_and_nothing_runs(
    archive: Archive, dossier: Path, mime: str | None, disposition: str
) -> None:
    submission_id = _checked(archive, dossier)
    with archive.service.database.write() as session:
        query = select(Component).where(Component.submission_id == UUID(submission_id), Component.component_id == "c01")
        session.scalars(query).one().mime = mime
    answer = _get(archive, submission_id, params={"inline": True})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].split(";")[0] == disposition
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["content-type"].split(";")[0] == (mime or "application/octet-stream")


@pytest.mark.parametrize(
    ("role", "agency", "status"),
    [
        (RoleName.SUBMITTER, None, 403),
        (RoleName.AUDITOR, None, 403),
        (RoleName.ADMIN, None, 403),
        (RoleName.ARCHIVIST, "H40", 404),
        (RoleName.RECORDS_HEAD, AGENCY, 200),
    ],
)
def test_only_who_may_decide_opens(
    archive: Archive, dossier: Path, role: RoleName, agency: str | None, status: int
) -> None:
    submission_id = _checked(archive, dossier)
    assert _get(archive, submission_id, role=role, agency=agency).status_code == status
    assert len(_reads(archive)) == (status == 200)


def test_the_decision_ends_it(archive: Archive, dossier: Path) -> None:
    submission_id = _checked(archive, dossier)
    archive.decide(submission_id, "return", "thiếu giấy")
    answer = _get(archive, submission_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert _reads(archive) == []


def test_a_file_that_is_gone_or_changed_is_never_served(archive: Archive, dossier: Path) -> None:
    submission_id = _checked(archive, dossier)
    pushed = (dossier / "c01.pdf").read_bytes()
    assert _get(archive, submission_id).status_code == 200
    (staged,) = (
        path
        for path in archive.service.settings.staging_dir.rglob("*")
        if path.is_file() and path.read_bytes() == pushed
    )
    staged.chmod(0o640)
    staged.write_bytes(pushed[:-1] + b"!")
    answer = _get(archive, submission_id)
    assert (answer.status_code, answer.json()["code"]) == (503, "STORED_OBJECT_MISSING")
    staged.unlink()
    assert _get(archive, submission_id).status_code == 503
    assert _get(archive, submission_id, "c99").status_code == 404
    assert len(_reads(archive)) == 1


def test_a_large_file_comes_in_parts(archive: Archive, tmp_path: Path) -> None:
    content = tiny_pdf("lớn", filler=bytes(3 * 1024 * 1024))
    files = [
        SampleFile(id=f"c0{n}", path=f"c0{n}.pdf", role=role, origin="issued", title="Tài liệu", content=body)
        for n, (role, body) in enumerate(
            [("application_form", content), ("receipt", tiny_pdf("b")), ("control_sheet", tiny_pdf("c"))], start=1
        )
    ]
    write_dossier(tmp_path, small_head("000.00.16.H56-250314-0079"), files)
    submission_id = _checked(archive, tmp_path)
    assert _get(archive, submission_id).content == content
    assert _get(archive, submission_id, headers={"Range": "bytes=-7"}).content == content[-7:]


def test_the_review_page_shows_findings_and_the_file_side_by_side(archive: Archive, dossier: Path) -> None:
    submission_id = _checked(archive, dossier)
    with archive.service.database.write() as session:
        session.add(
            SubmissionFinding(
                submission_id=UUID(submission_id),
                ordinal=900,
                code="SIGNATURE_MISSING",
                severity="warning",
                location="c02",
                params={"role": "receipt"},
            )
        )
    page = person(archive, "luu-tru", RoleName.ARCHIVIST).get(f"/submissions/{submission_id}?view=c01").text
    assert f'src="/api/v1/submissions/{submission_id}/components/c01/content?inline=1"' in page
    second = page[page.index("<code>c02</code>") : page.index("<code>c03</code>")]
    assert "Cảnh báo" in second
    assert "không ký số" in second
    auditor = person(archive, "kiem-tra", RoleName.AUDITOR).get(f"/submissions/{submission_id}?view=c01").text
    assert "/content" not in auditor
