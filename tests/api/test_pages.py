"""Pages over HTTP on both engines: who may see what, forms, languages, escaping, lists that reach their end."""

import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert, select

from archive_service import clock
from archive_service.api.dependencies import SESSION_COOKIE as API_SESSION_COOKIE
from archive_service.audit import software
from archive_service.findings import Finding
from archive_service.followup import enqueue
from archive_service.identity.accounts import Person, create_account, find_account
from archive_service.identity.permissions import Grant
from archive_service.identity.setup import create_setup_link
from archive_service.ids import new_id
from archive_service.ingest.findings import finding_rows
from archive_service.jobs import queue
from archive_service.models import (
    BrowserSession,
    Job,
    JobKind,
    RoleName,
    State,
    Submission,
    SubmissionFinding,
)
from archive_service.retention.review import review_due
from archive_service.samples.small import minimal_dossier
from archive_service.web.visitors import FORM_COOKIE, SESSION_COOKIE
from tests.builders import advance, new_record, new_submission
from tests.pipeline import Archive

PASSWORD = "Mật-khẩu-thử-1"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HOSTILE = "<script>alert('x')</script>"
AGENCY = "000.00.01.H40"


class Browser:
    """A person with a browser: keeps cookies, fills in the tokens of forms, does not follow redirects by itself."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.http: httpx.Client = archive.http
        self.http.cookies.clear()
        self.http.follow_redirects = False

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers={**BROWSER, **headers})

    def post(self, path: str, seen_on: str, **fields: Any) -> httpx.Response:
        token = self.token(seen_on)
        return self.http.post(path, data={"csrf": token, **fields}, headers=BROWSER)

    def token(self, path: str) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.get(path).text)
        assert found, f"no form on {path}"
        return found[1]

    def sign_in(self, username: str, password: str = PASSWORD, next_path: str = "/") -> httpx.Response:
        return self.post("/sign-in", "/sign-in", username=username, password=password, next=next_path)


def person(
    archive: Archive, username: str, *roles: RoleName, agency: str | None = None, must_change: bool = False
) -> Browser:
    """Makes an account and returns its signed-in browser."""
    with archive.service.database.write() as session:
        create_account(
            session,
            Person(username=username, display_name=f"Người {username}"),
            password=PASSWORD,
            grants=[Grant(role=role, agency=agency) for role in roles],
            agent=software("tests"),
            at=clock.now(),
            must_change_password=must_change,
        )
    browser = Browser(archive)
    assert browser.sign_in(username).status_code == 303
    return browser


def waiting(archive: Archive, *, title: str = "Hồ sơ chờ duyệt", agency: str = AGENCY, **values: Any) -> str:
    """Adds a submission that awaits approval and returns its id."""
    at = clock.unique_now()
    with archive.service.database.write() as session:
        row = new_submission(
            session,
            at,
            title=title,
            archiving_agency=agency,
            dossier_code=values.pop("dossier_code", f"000.00.16.H40-{at:%H%M%S%f}"),
            component_count=1,
            received_count=1,
            **values,
        )
        advance(session, row, State.AWAITING_APPROVAL, at)
        return str(row.id)


def state_of(archive: Archive, submission_id: str) -> State:
    with archive.service.database.read() as session:
        return session.get_one(Submission, UUID(submission_id)).state


# ------------------------------------------------------------------ signing in


def test_pages_and_api_read_the_same_cookie() -> None:
    assert SESSION_COOKIE == API_SESSION_COOKIE


def test_a_stranger_is_sent_to_sign_in_and_comes_back(archive: Archive) -> None:
    browser = Browser(archive)
    answer = browser.get("/records?q=an")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Frecords%3Fq%3Dan")
    with archive.service.database.write() as session:
        create_account(
            session,
            Person(username="lan", display_name="Lan"),
            password=PASSWORD,
            grants=[Grant(role=RoleName.OFFICER, agency=None)],
            agent=software("tests"),
            at=clock.now(),
            must_change_password=False,
        )
    answer = browser.sign_in("lan", next_path="/records?q=an")
    assert (answer.status_code, answer.headers["location"]) == (303, "/records?q=an")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert browser.get("/records?q=an").status_code == 200


def test_a_refused_sign_in_gives_no_reason_and_no_session(archive: Archive) -> None:
    browser = person(archive, "lan", RoleName.OFFICER)
    browser.http.cookies.clear()
    wrong = browser.sign_in("lan", "sai")
    unknown = browser.sign_in("ai-do", "sai")
    assert wrong.status_code == unknown.status_code == 403
    assert "không đúng" in wrong.text
    without_name = [re.sub(r'value="[^"]*"', "", answer.text) for answer in (wrong, unknown)]
    assert without_name[0] == without_name[1]
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y"]
)
def test_signing_in_never_leads_to_another_host(archive: Archive, target: str) -> None:
    person(archive, "lan", RoleName.OFFICER)
    browser = Browser(archive)
    assert browser.sign_in("lan", next_path=target).headers["location"] == "/"


def test_signing_out_ends_the_session(archive: Archive) -> None:
    browser = person(archive, "lan", RoleName.OFFICER)
    cookie = browser.http.cookies[SESSION_COOKIE]
    assert browser.post("/sign-out", "/").headers["location"] == "/sign-in"
    browser.http.cookies.set(SESSION_COOKIE, cookie)
    assert browser.get("/").status_code == 303


def test_a_first_password_must_be_changed_before_anything_else(archive: Archive) -> None:
    browser = person(archive, "moi", RoleName.OFFICER, must_change=True)
    assert browser.get("/records").headers["location"] == "/password"
    refused = browser.post("/password", "/password", current=PASSWORD, password="ngắn", again="ngắn")
    assert refused.status_code == 422
    assert "ký tự" in refused.text
    different = browser.post("/password", "/password", current=PASSWORD, password="Một-mật-khẩu-2", again="khác")
    assert "không giống nhau" in different.text
    done = browser.post("/password", "/password", current=PASSWORD, password="Một-mật-khẩu-2", again="Một-mật-khẩu-2")
    assert done.status_code == 303
    assert "Đã đổi mật khẩu" in browser.get("/").text
    assert "Đã đổi mật khẩu" not in browser.get("/").text, "a message is shown once"


def test_the_first_administrator_is_made_once(archive: Archive) -> None:
    with archive.service.database.write() as session:
        secret = create_setup_link(session, at=clock.now())
    browser = Browser(archive)
    path = f"/setup/{secret}"
    assert "dùng được một lần" in browser.get(path).text
    fields = {"username": "Trưởng", "display_name": "An", "password": PASSWORD, "again": PASSWORD}
    assert browser.post(path, path, **fields).status_code == 422
    assert browser.post(path, path, **{**fields, "username": "truong"}).headers["location"] == "/sign-in"
    assert "Đã tạo quản trị viên đầu tiên" in browser.get("/sign-in").text
    assert browser.get(path).status_code == 403
    assert browser.sign_in("truong").status_code == 303
    with archive.service.database.read() as session:
        assert find_account(session, "truong").display_name == "An"


def test_no_form_is_taken_without_its_token(archive: Archive) -> None:
    submission_id = waiting(archive)
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    fields = {"submission": submission_id, "decision": "approve"}
    for csrf in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "không phải ascii"}):
        answer = browser.http.post("/decisions", data={**fields, **csrf}, headers=BROWSER)
        assert answer.status_code == 403
        assert "text/html" in answer.headers["content-type"]
        assert "chưa có gì được thực hiện" in answer.text
    assert state_of(archive, submission_id) is State.AWAITING_APPROVAL


def test_a_sign_in_form_from_elsewhere_is_refused(archive: Archive) -> None:
    browser = person(archive, "lan", RoleName.OFFICER)
    browser.http.cookies.clear()
    fields = {"username": "lan", "password": PASSWORD}
    assert browser.http.post("/sign-in", data={**fields, "csrf": "0" * 64}, headers=BROWSER).status_code == 403
    browser.http.cookies.set(FORM_COOKIE, "1" * 64)
    assert browser.http.post("/sign-in", data={**fields, "csrf": "0" * 64}, headers=BROWSER).status_code == 403


def test_every_form_that_changes_something_carries_a_token(archive: Archive) -> None:
    submission_id = waiting(archive)
    browser = person(archive, "lan", RoleName.ARCHIVIST, RoleName.ADMIN, RoleName.COPY_OFFICER)
    for path in ("/", "/submissions", f"/submissions/{submission_id}", "/records", "/retention", "/jobs", "/password"):
        page = browser.get(path)
        assert page.status_code == 200, path
        for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", page.text, re.DOTALL):
            assert 'name="csrf"' in form, (path, form[:200])


# ------------------------------------------------------------------ what every page has


def test_pages_are_not_kept_and_load_nothing_from_elsewhere(archive: Archive) -> None:
    submission_id = waiting(archive)
    browser = person(archive, "lan", RoleName.ARCHIVIST, RoleName.RECORDS_HEAD)
    paths = [
        "/",
        "/submissions",
        f"/submissions/{submission_id}",
        "/records",
        "/retention",
        "/jobs",
        "/verify",
        "/verify/ABC",
    ]
    for path in paths:
        page = browser.get(path)
        assert page.headers["cache-control"] == "no-store", path
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert not re.search(r"(src|href|action)=\"(https?:)?//", page.text), path
        assert not re.search(r"<script(?![^>]* src=)|<style|\son[a-z]+=\"|\sstyle=\"", page.text), path
        assert '<html lang="vi">' in page.text
        for asset in set(re.findall(r"\"(/static/[^\"]+)\"", page.text)):
            answer = browser.get(asset)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]


def test_an_asset_of_another_version_is_not_kept(archive: Archive) -> None:
    browser = Browser(archive)
    assert browser.get("/static/000000000000/app.css").headers["cache-control"] == "no-cache"
    assert browser.get("/static/000000000000/..%2fassets.py").status_code == 404
    assert browser.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_hostile_texts_stay_texts(archive: Archive) -> None:
    submission_id = waiting(archive, title=HOSTILE, applicant_name=HOSTILE, procedure_name=HOSTILE)
    with archive.service.database.write() as session:
        new_record(
            session,
            clock.now(),
            dossier_code="000.00.16.H40-260101-0001",
            title=HOSTILE,
            applicant_name=HOSTILE,
            procedure_name=HOSTILE,
        )
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    paths = (
        "/",
        "/submissions",
        f"/submissions/{submission_id}",
        "/records",
        f"/records?q={HOSTILE}",
        f"/verify/{HOSTILE}",
    )
    for path in paths:
        page = browser.get(path).text
        assert HOSTILE not in page, path
    assert HOSTILE in unescape(browser.get("/records").text)


def test_vietnamese_first_whatever_the_browser_prefers_then_english_by_choice(archive: Archive) -> None:
    browser = Browser(archive)
    page = browser.get("/sign-in", **{"Accept-Language": "en-US,en;q=0.9,vi;q=0.5"})
    assert '<html lang="vi">' in page.text
    assert "Đăng nhập" in page.text
    answer = browser.post("/language", "/sign-in", language="en", next="/sign-in?next=%2Fjobs")
    assert answer.headers["location"] == "/sign-in?next=%2Fjobs"
    assert "Sign in" in browser.get("/sign-in").text
    browser.post("/language", "/sign-in", language="fr", next="/sign-in")
    assert "Sign in" in browser.get("/sign-in").text


def test_errors_are_pages_for_people_and_problems_for_programs(archive: Archive) -> None:
    browser = Browser(archive)
    page = browser.get("/khong-co")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "Không tìm thấy" in page.text
    program = archive.http.get("/khong-co", headers={"Accept": "application/json"})
    assert program.headers["content-type"] == "application/problem+json"
    api = browser.get("/api/v1/records")
    assert (api.status_code, api.headers["content-type"]) == (401, "application/problem+json")


def test_what_is_not_allowed_says_so_in_the_page_design(archive: Archive) -> None:
    browser = person(archive, "can-bo", RoleName.OFFICER)
    for path in ("/submissions", "/jobs", "/retention"):
        page = browser.get(path)
        assert page.status_code == 403, path
        assert "Bạn không có quyền" in page.text
    home = browser.get("/").text
    assert 'href="/records"' in home
    assert 'href="/submissions"' not in home
    assert 'href="/jobs"' not in home


# ------------------------------------------------------------------ the queue


def test_a_return_needs_a_reason(archive: Archive) -> None:
    submission_id = waiting(archive)
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    answer = browser.post(
        "/decisions", "/submissions", submission=submission_id, decision="return", back="/submissions"
    )
    assert "Cần ghi lý do" in browser.get(answer.headers["location"]).text
    assert state_of(archive, submission_id) is State.AWAITING_APPROVAL
    browser.post("/decisions", "/submissions", submission=submission_id, decision="return", reason="Thiếu tờ khai")
    page = browser.get(f"/submissions/{submission_id}").text
    assert state_of(archive, submission_id) is State.RETURNED
    assert "Lý do: Thiếu tờ khai" in page


def test_other_agencies_are_neither_seen_nor_decided_on(archive: Archive) -> None:
    mine, other = waiting(archive), waiting(archive, title="Của cơ quan khác", agency="000.00.02.H41")
    with archive.service.database.write() as session:
        hidden = new_record(
            session,
            clock.now(),
            dossier_code="000.00.16.H40-260101-0002",
            agency="000.00.02.H41",
            settling_agency="000.00.02.H41",
        )
        secret = new_record(
            session,
            clock.now(),
            dossier_code="000.00.16.H40-260101-0003",
            agency=AGENCY,
            access_mode="03",
            title="Hồ sơ mật",
        )
    browser = person(archive, "lan", RoleName.OFFICER, agency=AGENCY)
    assert browser.get(f"/records/{hidden.id}").status_code == 404
    assert browser.get(f"/records/{secret.id}").status_code == 404
    assert "Hồ sơ mật" not in browser.get("/records").text
    browser = person(archive, "hoa", RoleName.ARCHIVIST, agency=AGENCY)
    page = browser.get("/submissions").text
    assert mine in page
    assert other not in page
    assert browser.get(f"/submissions/{other}").status_code == 404
    assert browser.get(f"/submissions/{other}/findings").status_code == 404
    browser.post("/decisions", "/submissions", submission=other, decision="approve")
    assert state_of(archive, other) is State.AWAITING_APPROVAL
    assert other not in browser.get(f"/submissions/status?row={other}").text


def test_a_mistyped_address_leads_nowhere(archive: Archive) -> None:
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    for path in ("/records/not-an-id", "/submissions/0193", "/retention/-"):
        answer = browser.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "NOT_FOUND" in answer.text
    assert browser.get("/records?cursor=bịa").status_code == 422


def test_a_page_that_refreshes_itself_does_not_keep_its_session_alive(archive: Archive) -> None:
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    with archive.service.database.write() as session:
        row = session.scalars(select(BrowserSession)).one()
        before = row.last_seen_at = row.last_seen_at - timedelta(minutes=30)
    assert browser.get("/submissions/status").status_code == 200
    with archive.service.database.read() as session:
        assert session.scalars(select(BrowserSession)).one().last_seen_at == before
    browser.get("/submissions")
    with archive.service.database.read() as session:
        assert session.scalars(select(BrowserSession)).one().last_seen_at > before


def test_lists_reach_every_row_once(archive: Archive) -> None:
    at = clock.now()
    with archive.service.database.write() as session:
        codes = {new_record(session, at, dossier_code=f"000.00.16.H40-{n:012x}").dossier_code for n in range(117)}
    browser = person(archive, "lan", RoleName.OFFICER)
    seen: list[str] = []
    path: str | None = "/records"
    while path:
        page = browser.get(path).text
        seen += re.findall(r"<code>(000\.00\.16\.H40-[0-9a-f]{12})</code>", page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = unescape(following[1]) if following else None
    assert len(seen) == len(set(seen)) == 117
    assert set(seen) == codes


def test_nothing_found_says_what_to_do(archive: Archive) -> None:
    browser = person(archive, "lan", RoleName.OFFICER)
    assert "Kho chưa có hồ sơ nào" in browser.get("/records").text
    assert "Thử ít từ hơn" in browser.get("/records?q=khongco").text
    assert browser.get("/records?cursor=bịa").status_code == 422


def test_a_parked_job_is_shown_with_its_error_and_run_again(archive: Archive) -> None:
    at = clock.now()
    with archive.service.database.write() as session:
        job_id = enqueue(session, JobKind.SWEEP_STAGING, "vùng tạm", at=at)
        claimed = queue.claim(session, "tests", at, 60)
        assert claimed is not None
        queue.park(session, claimed, "Traceback\nStoreFull: <hết chỗ>", at)
    auditor = person(archive, "kiem-tra", RoleName.AUDITOR)
    page = auditor.get("/jobs").text
    assert "StoreFull: &lt;hết chỗ&gt;" in page
    assert "/requeue" not in page
    assert auditor.post(f"/jobs/{job_id}/requeue", "/jobs").status_code == 403
    admin = person(archive, "quan-tri", RoleName.ADMIN)
    assert "/requeue" in admin.get("/jobs").text
    assert admin.post(f"/jobs/{job_id}/requeue", "/jobs").headers["location"] == "/jobs"
    assert "Đã đưa lại vào hàng đợi" in admin.get("/jobs").text
    with archive.service.database.read() as session:
        assert session.get_one(Job, job_id).state.value == "READY"
    again = admin.post(f"/jobs/{job_id}/requeue", "/jobs")
    assert "trái với dữ liệu" in admin.get(again.headers["location"]).text


def test_a_record_page_shows_everything_and_a_copy_is_issued_once_and_cancelled(
    archive: Archive, tmp_path: Path
) -> None:
    record_id = archive.archive(minimal_dossier(tmp_path, title="Hồ sơ trọn vẹn").folder)
    browser = person(archive, "lan", RoleName.OFFICER, RoleName.COPY_OFFICER)
    path = f"/records/{record_id}"
    page = unescape(browser.get(path).text)
    for text in ("Hồ sơ trọn vẹn", "kho-1", "kho-2", "khớp mã băm của gói", "Vào kho lưu trữ", "Bộ quy tắc", "01/01/"):
        assert text in page, text
    shown = browser.get(f"{path}?view=c01").text
    frame = re.search(r'<iframe[^>]* src="([^"]+)"', shown)
    assert frame
    content = browser.get(frame[1])
    assert (content.status_code, content.headers["content-type"]) == (200, "application/pdf")
    assert content.headers["content-disposition"].startswith("inline")

    request_id = re.search(r'name="request_id" value="([^"]+)"', page)
    assert request_id
    fields = {
        "request_id": request_id[1],
        "component_id": "c01",
        "purpose": "Nộp hồ sơ",
        "recipient": "Bà Lan",
        "place": "Hà Nội",
        "position": "Lưu trữ viên",
    }
    for _ in range(2):
        answer = browser.post(f"{path}/copies", path, **fields)
        assert answer.headers["location"] == f"{path}#copies"
    page = browser.get(path).text
    assert re.search(r"Đã cấp bản sao y số 1/\d{4}", page)
    codes = re.findall(r'href="/verify/([0-9A-Z]{16})"', page)
    assert len(codes) == 1, "the same form twice is one copy"

    public = Browser(archive)
    answer = public.get(f"/verify?code={codes[0][:8].lower()}-{codes[0][8:]}")
    assert answer.headers["location"] == f"/verify/{codes[0]}"
    page = public.get(f"/verify/{codes[0]}").text
    assert "có thật và còn giá trị" in page
    assert "Bà Lan" not in page
    assert "Hồ sơ trọn vẹn" not in page
    assert "Không có bản sao y nào" in public.get("/verify/AAAABBBBCCCCDDDD").text

    browser.sign_in("lan")
    cancel = re.search(r'action="(/copies/[^"]+/cancel)"', browser.get(path).text)
    assert cancel
    assert browser.post(cancel[1], path, reason=" ").status_code == 422
    browser.post(cancel[1], path, reason="Sai tên")
    assert "Sai tên" in browser.get(path).text
    page = public.get(f"/verify/{codes[0]}").text
    assert "đã bị hủy" in page
    assert "Sai tên" not in page


def test_a_copy_without_purpose_is_refused_with_a_message(archive: Archive, tmp_path: Path) -> None:
    record_id = archive.archive(minimal_dossier(tmp_path).folder)
    browser = person(archive, "lan", RoleName.COPY_OFFICER)
    path = f"/records/{record_id}"
    fields = {
        "request_id": "0e9c4c0e-0d70-4f2e-9f0e-6a3f0a3c8a11",
        "component_id": "c01",
        "recipient": "Bà Lan",
        "place": "Huế",
    }
    browser.post(f"{path}/copies", path, **fields)
    page = browser.get(path).text
    assert "chưa đúng hoặc còn thiếu" in page
    assert "<li>Mục đích</li><li>Chức vụ người sao</li>" in page


def test_who_may_only_search_sees_no_way_to_read(archive: Archive, tmp_path: Path) -> None:
    record_id = archive.archive(minimal_dossier(tmp_path).folder)
    auditor = person(archive, "kiem-tra", RoleName.AUDITOR)
    page = auditor.get(f"/records/{record_id}?view=c01").text
    assert "Vào kho lưu trữ" in page
    assert "<iframe" not in page
    assert "/content" not in page
    assert "/aip" not in page
    assert f'action="/records/{record_id}/copies"' not in page
    refused = auditor.post(
        f"/records/{record_id}/copies",
        "/",
        request_id=str(new_id()),
        component_id="c01",
        purpose="a",
        recipient="b",
        place="c",
        position="d",
    )
    assert "không có quyền" in auditor.get(refused.headers["location"]).text


def test_findings_are_told_with_place_and_basis_and_identity_numbers_are_masked(archive: Archive) -> None:
    submission_id = waiting(archive, error_count=0, warning_count=2)
    numbers = "UID=CCCD:019089526866, CMND 012345678"
    with archive.service.database.write() as session:
        found = [
            Finding(code="VIRUS_NOT_SCANNED", location="c01", params={"reason": HOSTILE, "reason_vi": HOSTILE}),
            Finding(code="VIRUS_NOT_SCANNED", location="c02", params={"reason": numbers, "reason_vi": numbers}),
        ]
        session.execute(insert(SubmissionFinding), finding_rows(UUID(submission_id), found))
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    for path in (f"/submissions/{submission_id}", f"/submissions/{submission_id}/findings"):
        page = browser.get(path).text
        assert HOSTILE not in page
        assert "VIRUS_NOT_SCANNED" in page
        assert "QCVN" in page
        assert "019089526866" not in page
        assert "012345678" not in page
        assert "•866" in page
    fragment = browser.get(f"/submissions/{submission_id}/findings", **{"HX-Request": "true"}).text
    assert "<html" not in fragment
    assert "VIRUS_NOT_SCANNED" in fragment


def test_retention_pages_show_what_is_due_and_what_has_no_rule(archive: Archive) -> None:
    at = clock.now()
    due = clock.today() - timedelta(days=1)
    with archive.service.database.write() as session:
        new_record(
            session,
            at,
            dossier_code="000.00.16.H40-260101-0004",
            title="Đã tới hạn",
            retention_kind="YEARS",
            retention_due_on=due,
        )
        new_record(
            session, at, dossier_code="000.00.16.H40-260101-0005", title="Không quy tắc", retention_kind="UNMATCHED"
        )
        new_record(session, at, dossier_code="000.00.16.H40-260101-0006", title="Giữ mãi")
    review_due(archive.service.database, on=clock.today(), at=at)
    browser = person(archive, "lan", RoleName.RECORDS_HEAD)
    page = browser.get("/retention").text
    assert "Đã tới hạn" in page
    assert "Không quy tắc" in page
    assert "Giữ mãi" not in page
    review = re.search(r'href="(/retention/[0-9a-f-]{36})"', page)
    assert review
    listed = browser.get(review[1]).text
    assert "Đã tới hạn" in listed
    assert "Không quy tắc" not in listed
    assert browser.get(f"/retention/{new_id()}").status_code == 404
