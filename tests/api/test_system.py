"""Health, counts, the queue and the audit log; every failure a problem without a stack trace, nothing acknowledged that was not committed."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from archive_service import clock
from archive_service.api.errors import PROBLEM_TYPE
from archive_service.api.streams import MAX_WHOLE_BODY_BYTES
from archive_service.db import Driver
from archive_service.followup import enqueue
from archive_service.ids import new_id
from archive_service.ingest.trust_anchors import NO_ANCHORS_NOTICE
from archive_service.models import JobKind, RoleName
from archive_service.samples.pki import TestPki
from archive_service.samples.small import minimal_dossier
from tests.builders import new_record
from tests.crash.worlds import event_counts, only_submission, open_jobs
from tests.pipeline import Archive


@pytest.fixture
def dossier(tmp_path: Path) -> Path:
    return minimal_dossier(tmp_path / "dossiers").folder


@contextmanager
def _commits_fail(archive: Archive) -> Iterator[None]:
    """The database takes every statement and then loses the connection at COMMIT."""

    def fail(_connection: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    event.listen(archive.service.database.engine, "commit", fail)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Driver, "commit", fail)  # transactions of prepared statements
            yield
    finally:
        event.remove(archive.service.database.engine, "commit", fail)


# ------------------------------------------------------------------ health and counts


def test_a_healthy_service_says_so_to_anyone(archive: Archive) -> None:
    assert archive.http.get("/healthz").text == "ok"
    answer = archive.http.get("/readyz")
    assert (answer.status_code, answer.json()["ready"], answer.json()["problems"]) == (200, True, [])


def test_an_empty_trust_store_is_said_until_there_is_an_anchor(archive: Archive) -> None:
    assert archive.http.get("/readyz").json()["notices"] == [NO_ANCHORS_NOTICE]
    TestPki.create(1, at=clock.now()).write_trust(archive.service.settings.resolved_trust_dir)
    assert archive.http.get("/readyz").json()["notices"] == []


def test_a_database_of_another_revision_is_not_ready(archive: Archive) -> None:
    with archive.service.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    answer = archive.http.get("/readyz")
    assert answer.status_code == 503
    assert "revision 0000" in answer.json()["problems"][0]
    assert archive.http.get("/healthz").status_code == 200


def test_locations_that_cannot_be_opened_are_not_ready(archive: Archive, tmp_path: Path) -> None:
    settings = archive.service.settings.model_copy(update={"locations": tmp_path / "missing.toml"})
    object.__setattr__(archive.service, "settings", settings)
    answer = archive.http.get("/readyz")
    assert answer.status_code == 503
    assert "missing.toml" in answer.json()["problems"][0]


def test_a_location_whose_folder_is_gone_is_not_ready(archive: Archive) -> None:
    assert archive.http.get("/readyz").status_code == 200
    folder = archive.service.settings.data_dir / "storage" / "kho-2"
    folder.rename(folder.with_name("elsewhere"))
    answer = archive.http.get("/readyz")
    assert (answer.status_code, answer.json()["problems"]) == (503, ["storage location kho-2: its folder is not there"])
    folder.with_name("elsewhere").rename(folder)
    assert archive.http.get("/readyz").status_code == 200


def test_metrics_count_and_name_nobody(archive: Archive, dossier: Path) -> None:
    archive.push(dossier)
    lines = archive.http.get("/metrics").text
    assert 'archive_submissions{state="CHECKING"} 1.0' in lines
    assert 'archive_jobs{kind="check-submission",state="READY"} 1.0' in lines
    archive.work()
    lines = archive.http.get("/metrics").text
    assert 'archive_submissions{state="AWAITING_APPROVAL"} 1.0' in lines
    assert "archive_oldest_ready_job_seconds 0.0" in lines
    assert "000.00.16.H56-250314-0042" not in lines
    assert "Ưng" not in lines


# ------------------------------------------------------------------ queue and audit log


def _parked(archive: Archive) -> str:
    with archive.service.database.write() as session:
        job_id = enqueue(session, JobKind.STORE_SUBMISSION, new_id(), at=clock.now())
    archive.work()
    return str(job_id)


def test_a_parked_job_tells_its_error_and_is_queued_again_by_the_administrator(archive: Archive) -> None:
    job_id = _parked(archive)
    (job,) = archive.call("GET", "jobs", role=RoleName.ARCHIVIST, params={"state": "PARKED"}).json()["items"]
    assert (job["id"], job["kind"]) == (job_id, "store-submission")
    assert job["last_error"].startswith("NOT_FOUND: ")
    refused = archive.call("POST", f"jobs/{job_id}/requeue", role=RoleName.ARCHIVIST)
    assert refused.status_code == 403
    again = archive.call("POST", f"jobs/{job_id}/requeue", role=RoleName.ADMIN).json()
    assert (again["state"], again["attempts"], again["finished_at"]) == ("READY", 0, None)
    twice = archive.call("POST", f"jobs/{job_id}/requeue", role=RoleName.ADMIN)
    assert (twice.status_code, twice.json()["code"]) == (409, "CONFLICT")
    assert archive.call("POST", f"jobs/{new_id()}/requeue", role=RoleName.ADMIN).status_code == 404
    events = archive.call("GET", "audit/events", role=RoleName.ADMIN).json()["items"]
    assert [item["type"] for item in events if item["subject"] == f"job:{job_id}"] == ["job.parked", "job.requeued"]


def test_the_audit_log_is_paged_and_scoped(archive: Archive, dossier: Path) -> None:
    archive.archive(dossier)
    seen: list[int] = []
    cursor: int | None = 0
    while cursor is not None:
        page = archive.call("GET", "audit/events", role=RoleName.AUDITOR, params={"limit": 2, "cursor": cursor}).json()
        seen += [item["seq"] for item in page["items"]]
        cursor = page["next"]
    assert seen == sorted(set(seen))
    assert len(seen) >= 7
    elsewhere = archive.call("GET", "audit/events", role=RoleName.AUDITOR, agency="H40").json()["items"]
    assert {item["type"] for item in elsewhere} == {"token.created"}, "only the token of this test is in that agency"
    assert archive.call("GET", "audit/events", role=RoleName.OFFICER).status_code == 403


def test_retention_reviews_are_listed(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    with archive.service.database.write() as session:
        session.execute(text("UPDATE record SET retention_kind = 'YEARS', retention_due_on = '2020-01-01'"))
        enqueue(session, JobKind.REVIEW_RETENTION, "now", at=clock.now(), payload={"on": "2026-01-02"})
    archive.work()
    (review,) = archive.call("GET", "retention/reviews", role=RoleName.ARCHIVIST).json()["items"]
    assert (review["on"], review["due"]) == ("2026-01-02", 1)
    url = f"retention/reviews/{review['id']}"
    (item,) = archive.call("GET", url, role=RoleName.ARCHIVIST).json()["items"]
    assert (item["record_id"], item["due_on"]) == (record_id, "2020-01-01")
    assert archive.call("GET", url, role=RoleName.ARCHIVIST, agency="H40").json()["items"] == []
    assert archive.call("GET", url, role=RoleName.OFFICER).status_code == 403


@pytest.mark.parametrize("path", [f"retention/reviews/{UUID(int=1)}", f"storage/reconciliations/{UUID(int=1)}/drifts"])
def test_what_was_never_made_has_no_results(archive: Archive, path: str) -> None:
    answer = archive.call("GET", path, role=RoleName.ARCHIVIST)
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


def test_a_review_names_no_record_that_is_closed_to_the_role(archive: Archive, at: datetime) -> None:
    with archive.service.database.write() as session:
        for number, mode in enumerate(("01", "02", "03")):
            code = f"000.00.16.H40-251120-{number:04d}"
            record = new_record(session, at, dossier_code=code, access_mode=mode)
            record.retention_kind, record.retention_due_on = "YEARS", date(2020, 1, 1)
        enqueue(session, JobKind.REVIEW_RETENTION, "now", at=clock.now(), payload={"on": "2026-01-02"})
    archive.work()
    named: dict[RoleName, tuple[int, int]] = {}
    for role in (RoleName.ARCHIVIST, RoleName.AUDITOR):
        (review,) = archive.call("GET", "retention/reviews", role=role).json()["items"]
        items = archive.call("GET", f"retention/reviews/{review['id']}", role=role).json()["items"]
        named[role] = review["due"], len(items)
    assert named == {RoleName.ARCHIVIST: (3, 3), RoleName.AUDITOR: (2, 2)}


def test_who_may_see_no_submissions_is_told_so(archive: Archive) -> None:
    for role in RoleName:
        sees = role in {RoleName.SUBMITTER, RoleName.ARCHIVIST, RoleName.RECORDS_HEAD, RoleName.AUDITOR}
        assert archive.call("GET", "submissions", role=role).status_code == (200 if sees else 403), role


# ------------------------------------------------------------------ problems


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nowhere", 404, "NOT_FOUND"),
        ("GET", "/api/v1/records/not-a-uuid", 422, "BAD_REQUEST"),
        ("GET", "/api/v1/records?limit=many", 422, "BAD_REQUEST"),
        ("GET", "/api/v1/records?cursor=%00", 422, "BAD_REQUEST"),
        ("DELETE", "/api/v1/records", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/v1/records?due_before=0", 422, "BAD_REQUEST"),
        ("GET", "/api/v1/records?due_before=2025-01-01T00:00:00", 422, "BAD_REQUEST"),
        ("POST", "/api/v1/decisions", 422, "BAD_REQUEST"),
    ],
)
def test_every_refusal_is_a_problem(archive: Archive, method: str, path: str, status: int, code: str) -> None:
    answer = archive.call(method, path, role=RoleName.ARCHIVIST)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM_TYPE)
    assert (answer.json()["status"], answer.json()["code"]) == (status, code)
    assert answer.json()["type"] == f"urn:archive-service:problem:{code.lower()}"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/api/v1/submissions", "GET, POST"),
        ("POST", "/api/v1/records", "GET"),
        ("PUT", "/healthz", "GET, HEAD"),
        ("DELETE", f"/api/v1/records/{UUID(int=1)}/aip", "GET, HEAD"),
        ("DELETE", "/sign-in", "GET, POST"),
    ],
)
def test_a_refused_method_names_every_other(archive: Archive, method: str, path: str, allowed: str) -> None:
    answer = archive.http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_ask_without_wanting_a_body(archive: Archive, path: str) -> None:
    answer = archive.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe{}", b"[" * 10_000, b""])
def test_a_body_that_is_no_json_is_a_malformed_request(archive: Archive, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = archive.call("POST", "decisions", role=RoleName.ARCHIVIST, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "records?dossier_code=%00", None),
        ("GET", "submissions?archiving_agency=a%00b", None),
        ("GET", f"records/{UUID(int=1)}/components/%00/content", None),
        ("POST", "holds", {"agency": "a\0", "reason": "r", "legal_basis": "b", "dossier_codes": ["x\0"]}),
    ],
)
def test_a_value_no_database_holds_is_never_a_passing_problem(
    archive: Archive, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = archive.call(method, path, role=RoleName.RECORDS_HEAD, json=body)
    assert answer.status_code in {200, 404, 422}
    if answer.status_code != 200:
        assert answer.json()["code"] in {"BAD_REQUEST", "NOT_FOUND"}


def test_a_name_no_database_holds_signs_nobody_in(archive: Archive) -> None:
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', archive.http.get("/sign-in").text)
    assert token is not None
    answer = archive.http.post("/sign-in", data={"username": "a\0", "password": "b", "csrf": token[1]})
    assert answer.status_code in {403, 422}


def _in_parts(total: int) -> Iterator[bytes]:
    for _ in range(total // 1000):
        yield b" " * 1000


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v1/decisions", "application/json"),
        ("/sign-in", "application/x-www-form-urlencoded"),
        ("/sign-in", "multipart/form-data; boundary=x"),
        ("/trust", "multipart/form-data; boundary=x"),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_nobody_makes_the_service_read_a_large_body(archive: Archive, path: str, kind: str, *, declared: bool) -> None:
    start = (
        b'--x\r\nContent-Disposition: form-data; name="certificate"; filename="f"\r\n\r\n'
        if "multipart" in kind
        else b""
    )
    length = MAX_WHOLE_BODY_BYTES + 1_000_000
    body = start + b" " * length if declared else chain([start], _in_parts(length))
    answer = archive.http.post(path, content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")
    assert answer.headers["content-type"] == PROBLEM_TYPE


def test_what_an_order_may_hold_fits(archive: Archive) -> None:
    codes = [f"{number:05d}".ljust(100, "x") for number in range(10_000)]
    order = {"agency": "H56.16", "reason": "r", "legal_basis": "b", "dossier_codes": codes}
    answer = archive.call("POST", "holds", role=RoleName.RECORDS_HEAD, json=order)
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer arch_wrong", "Basic YTpi"])
def test_who_is_not_known_is_told_how_to_sign_in(archive: Archive, header: str | None) -> None:
    answer = archive.http.get("/api/v1/records", headers={"Authorization": header} if header else {})
    assert (answer.status_code, answer.json()["code"]) == (401, "NOT_SIGNED_IN")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == PROBLEM_TYPE


def test_a_fault_of_ours_shows_no_stack_trace(archive: Archive) -> None:
    app = archive.http.app
    assert isinstance(app, FastAPI)

    def fault() -> Any:
        raise RuntimeError("a path of ours: /srv/archive/secret")

    app.add_api_route("/api/v1/fault", fault)
    answer = archive.http.get("/api/v1/fault")
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM_TYPE)
    assert answer.json()["code"] == "INTERNAL_ERROR"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_database_that_fails_is_a_passing_problem(archive: Archive) -> None:
    headers = archive.headers(RoleName.ARCHIVIST)
    with archive.service.database.write() as session:
        session.execute(text("DROP TABLE submission_finding"))
        session.execute(text("ALTER TABLE record_term RENAME TO record_term_gone"))
    answer = archive.http.get("/api/v1/records?q=x", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
    assert "record_term" not in answer.text
    assert "SELECT" not in answer.text


# ------------------------------------------------------------------ commits that fail


def test_what_was_not_committed_is_not_acknowledged(archive: Archive, dossier: Path) -> None:
    archive.headers(RoleName.SUBMITTER)
    with _commits_fail(archive):
        opened = archive.open(dossier)
    assert (opened.status_code, opened.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
    assert archive.call("GET", "submissions").json()["items"] == []
    assert list(archive.service.settings.staging_dir.iterdir()) == []

    submission_id = archive.open(dossier).json()["id"]
    component = json.loads((dossier / "dossier.json").read_bytes())["components"][0]
    url = f"submissions/{submission_id}/components/{component['id']}"
    with _commits_fail(archive):  # a file is acknowledged for standing in staging; no row says so
        assert archive.call("PUT", url, content=(dossier / component["path"]).read_bytes()).status_code == 204
    assert archive.submission(submission_id)["received"] == 1

    archive.upload(dossier, submission_id)
    with _commits_fail(archive):
        assert archive.call("POST", f"submissions/{submission_id}/complete").status_code == 503
    assert archive.submission(submission_id)["state"] == "RECEIVING"
    assert open_jobs(archive.service) == []
    assert archive.push(dossier) == submission_id
    assert set(event_counts(archive.service, "submission", submission_id).values()) == {1}


def test_a_decision_that_was_not_committed_is_not_made(archive: Archive, dossier: Path) -> None:
    submission_id = archive.push(dossier)
    archive.work()
    archive.headers(RoleName.ARCHIVIST)
    with _commits_fail(archive):
        assert archive.decide(submission_id).status_code == 503
    assert only_submission(archive.service).state == "AWAITING_APPROVAL"
    assert open_jobs(archive.service) == []


def test_bytes_are_not_given_when_the_read_cannot_be_logged(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    archive.headers(RoleName.OFFICER)
    with _commits_fail(archive):
        answer = archive.call("GET", f"records/{record_id}/components/c01/content", role=RoleName.OFFICER)
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM_TYPE)
