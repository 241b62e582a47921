"""The check writes findings, facts and state in one transaction; a second run of the same job changes nothing."""

from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

from archive_service import clock
from archive_service.audit import events_of, software
from archive_service.db import Database
from archive_service.digests import CHUNK_BYTES
from archive_service.identity.permissions import operator
from archive_service.ingest.check import check_submission
from archive_service.ingest.checkers import InlineCheckers
from archive_service.ingest.findings import stored_findings
from archive_service.ingest.submissions import Origin, find_submission, open_submission, read_dossier
from archive_service.ingest.uploads import ComponentUpload, complete, expected_component
from archive_service.models import Component, EventType, Job, JobKind, State, SubmissionFinding
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from archive_service.settings import Settings

AGENT = software("tests")


@pytest.fixture
def service(settings: Settings, database: Database) -> Service:
    return Service(settings=settings, database=database)


def _received(service: Service, folder: Path) -> UUID:
    pushed = read_dossier((folder / "dossier.json").read_bytes())
    origin = Origin(principal=operator(AGENT), source_system="tests", sent_at=None)
    submission_id = open_submission(
        service.database, service.staging, pushed, origin, at=clock.unique_now()
    ).submission_id
    for component in pushed.dossier.components:
        with service.database.read_prepared() as work:
            expected = expected_component(work, service.staging, submission_id, component.id, operator(AGENT))
        upload = ComponentUpload(service.staging, expected, limit_bytes=CHUNK_BYTES)
        upload.write((folder / component.path).read_bytes())
        upload.finish(service.database)
    with service.database.write() as session:
        complete(session, service.staging, submission_id, principal=operator(AGENT), at=clock.unique_now())
    return submission_id


def _facts(service: Service, submission_id: UUID) -> tuple[object, ...]:
    with service.database.read() as session:
        submission = find_submission(session, submission_id)
        return (
            submission.state,
            submission.checked_at,
            submission.policies,
            submission.retention,
            [finding.as_json() for finding in stored_findings(session, submission_id)],
            session.scalar(select(func.count()).select_from(SubmissionFinding)),
            [event.type for event in events_of(session, [("submission", submission_id)])],
        )


def test_a_second_check_changes_nothing(service: Service, tmp_path: Path) -> None:
    submission_id = _received(service, minimal_dossier(tmp_path).folder)
    check_submission(service, submission_id, InlineCheckers(), at=clock.unique_now())
    first = _facts(service, submission_id)
    assert first[0] is State.AWAITING_APPROVAL
    check_submission(service, submission_id, InlineCheckers(), at=clock.unique_now())
    assert _facts(service, submission_id) == first


def test_every_reason_is_told_at_once_and_the_bytes_are_let_go(service: Service, tmp_path: Path) -> None:
    folder = minimal_dossier(
        tmp_path, outcome="result_returned", procedure_code="x", due_at="2020-01-01T00:00:00+07:00"
    ).folder
    submission_id = _received(service, folder)
    check_submission(service, submission_id, InlineCheckers(), at=clock.unique_now())
    with service.database.read() as session:
        submission = find_submission(session, submission_id)
        findings = stored_findings(session, submission_id)
        jobs = session.scalars(select(Job.kind).where(Job.subject == str(submission_id))).all()
        events = events_of(session, [("submission", submission_id)])
    assert submission.state is State.REJECTED
    errors = {finding.code for finding in findings if finding.severity == "error"}
    assert {"DATE_ORDER", "APOLOGY_MISSING"} <= errors
    assert submission.error_count == sum(finding.severity == "error" for finding in findings)
    assert [finding.severity for finding in findings] == sorted(
        (finding.severity for finding in findings), key=["error", "warning", "info"].index
    )
    assert JobKind.DISCARD_STAGING in jobs
    assert events[-1].type is EventType.SUBMISSION_REJECTED
    assert len(errors) > 2, "rules, formats and signatures each had their say"
    assert errors | {"PROCEDURE_CODE_UNUSUAL"} <= set(events[-1].detail["codes"])


def test_what_was_found_of_each_file_is_kept(service: Service, tmp_path: Path) -> None:
    submission_id = _received(service, minimal_dossier(tmp_path).folder)
    check_submission(service, submission_id, InlineCheckers(), at=clock.unique_now())
    with service.database.read() as session:
        rows = session.scalars(select(Component).order_by(Component.ordinal)).all()
    assert [(row.mime, row.puid, row.format_version) for row in rows] == [("application/pdf", "fmt/18", "1.4")] * 3
    for row in rows:
        assert row.facts is not None
        assert row.facts["pages"] == 1
        assert row.facts["checked"]
