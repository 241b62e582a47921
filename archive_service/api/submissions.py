"""Pushing dossiers: open, upload, complete, follow; and deciding on them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.access.findings import (
    FIRST_TOLD,
    finding_count,
    finding_page,
    findings_of,
    verdict_count,
    verdict_page,
)
from archive_service.access.submissions import (
    SubmissionQuery,
    Worst,
    decision_on,
    find_scoped_submission,
    list_submissions,
)
from archive_service.api.dependencies import After, ListSize, PageSize, PrincipalDep, ServiceDep, principal_of
from archive_service.api.streams import body_chunks, whole_body
from archive_service.digests import RunningDigest
from archive_service.errors import BadRequest, DigestMismatch, TooLarge
from archive_service.identity.permissions import Permission, Principal
from archive_service.ids import new_id
from archive_service.ingest.packages import PACKAGE_NAME, open_package
from archive_service.ingest.submissions import Origin, open_submission, read_dossier
from archive_service.ingest.uploads import (
    ComponentUpload,
    ExpectedComponent,
    complete,
    count_staged,
    expected_component,
    note_refused,
    waiting_components,
    withdraw,
)
from archive_service.models import SignatureVerdict, State, Submission
from archive_service.service import Service
from archive_service.transfer.decisions import DecisionKind, decide, decide_many

router = APIRouter(prefix="/api/v1", tags=["submissions"])


def _origin(request: Request, principal: Principal) -> Origin:
    sent = request.headers.get("X-Sent-At")
    try:
        sent_at = clock.require_aware(datetime.fromisoformat(sent)).astimezone(UTC) if sent else None
    except (ValueError, OverflowError):
        raise BadRequest(
            "X-Sent-At is not an ISO 8601 time with zone",
            problems=[{"location": "header/X-Sent-At", "reason": "malformed"}],
        ) from None
    return Origin(principal=principal, source_system=principal.name, sent_at=sent_at)


@router.post("/submissions", status_code=HTTPStatus.CREATED)
async def post_submission(
    request: Request, service: ServiceDep, principal: PrincipalDep, *, again: Annotated[bool, Query()] = False
) -> JSONResponse:
    """Opens a submission from dossier.json; the same content again gives the same submission."""
    content = await whole_body(request, limit_bytes=service.settings.max_dossier_json_bytes)
    return await run_in_threadpool(_open, request, service, principal, content, again=again)


def _open(request: Request, service: Service, principal: Principal, content: bytes, *, again: bool) -> JSONResponse:
    principal.require(Permission.SUBMISSION_PUSH)
    pushed = read_dossier(content)
    principal.require(Permission.SUBMISSION_PUSH, pushed.dossier.archiving_agency, pushed.dossier.settling_agency)
    opened = open_submission(
        service.database,
        service.staging,
        pushed,
        _origin(request, principal),
        at=clock.unique_now(),
        again=again,
        stores=service.stores,
    )
    body = _submission_body(service, principal, opened.submission_id, with_findings=False)
    body["uploads"] = _uploads(service, opened.submission_id)
    return JSONResponse(body, status_code=HTTPStatus.CREATED if opened.created else HTTPStatus.OK)


def _uploads(service: Service, submission_id: UUID) -> list[dict[str, str]]:
    with service.database.read_prepared() as work:
        waiting = list(waiting_components(work, service.staging, submission_id))
    return [{"component_id": name, "url": f"/api/v1/submissions/{submission_id}/components/{name}"} for name in waiting]


@router.put("/submissions/{submission_id}/components/{component_id}", status_code=HTTPStatus.NO_CONTENT)
async def put_component(submission_id: UUID, component_id: str, request: Request, service: ServiceDep) -> Response:
    """Takes the bytes of one component; repeatable."""
    chunks = body_chunks(request, limit_bytes=service.settings.max_component_bytes)
    # A small body, as most are, is taken in one go, caller's check included: a change of thread costs more than all else here.
    begun = [chunk for _ in range(2) if (chunk := await anext(chunks, b""))]
    whole = len(begun) < 2  # noqa: PLR2004 - the second chunk says that there is more
    started = await run_in_threadpool(_take, service, request, submission_id, component_id, begun, whole=whole)
    if isinstance(started, ComponentUpload):
        try:
            async for chunk in chunks:
                await run_in_threadpool(started.write, chunk)
            await run_in_threadpool(started.finish, service.database)
        except (DigestMismatch, TooLarge) as exc:
            await run_in_threadpool(note_refused, service.database, service.staging, started.expected, exc)
            raise
        finally:
            await run_in_threadpool(started.abort)
    elif started is not None:
        async for chunk in chunks:
            started.update(chunk)
        started.require_equal()
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _take(
    service: Service,
    request: Request,
    submission_id: UUID,
    component_id: str,
    begun: Sequence[bytes],
    *,
    whole: bool,
) -> "ComponentUpload | _Comparison | None":
    """Takes the first chunks of a component; returns what takes the rest, None when that was all."""
    principal = principal_of(request)
    with service.database.read_prepared() as work:
        expected = expected_component(work, service.staging, submission_id, component_id, principal)
    if expected.already_received:
        comparison = _Comparison(expected)
        for chunk in begun:
            comparison.update(chunk)
        if not whole:
            return comparison
        comparison.require_equal()
        return None
    try:
        return _upload(service, expected, begun, whole=whole)
    except (DigestMismatch, TooLarge) as exc:
        note_refused(service.database, service.staging, expected, exc)
        raise


def _upload(
    service: Service, expected: ExpectedComponent, begun: Sequence[bytes], *, whole: bool
) -> ComponentUpload | None:
    upload = ComponentUpload(service.staging, expected, limit_bytes=service.settings.max_component_bytes)
    try:
        for chunk in begun:
            upload.write(chunk)
        if whole:
            upload.finish(service.database)
    except BaseException:
        upload.abort()
        raise
    return None if whole else upload


class _Comparison:
    """Compares bytes sent again with the declared ones; nothing is written."""

    def __init__(self, expected: ExpectedComponent) -> None:
        self._expected = expected
        self._running = RunningDigest()

    def update(self, chunk: bytes) -> None:
        """Takes the next bytes; what comes after more than the declared size makes no difference."""
        if self._running.size_bytes <= self._expected.size_bytes:
            self._running.update(chunk)

    def require_equal(self) -> None:
        """Refuses other bytes.

        Raises:
            DigestMismatch: these are other bytes.
        """
        expected = self._expected
        if self._running.size_bytes != expected.size_bytes or self._running.digest() != expected.digest:
            raise DigestMismatch(
                f"component {expected.component_id} ({expected.path}) was received already and these are other bytes",
                component_id=expected.component_id,
                path=expected.path,
            )


@router.post("/submissions/{submission_id}/complete", status_code=HTTPStatus.ACCEPTED)
def post_complete(submission_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Ends the upload and queues the checks; repeatable."""
    with service.database.write_prepared() as work:
        complete(work, service.staging, submission_id, principal=principal, at=clock.unique_now())
    return _submission_body(service, principal, submission_id, with_findings=False)


class Withdrawal(BaseModel):
    """Why a sender takes a submission back."""

    reason: Annotated[str, Field(max_length=2000)] = "withdrawn by sender"


@router.post("/submissions/{submission_id}/withdraw", status_code=HTTPStatus.OK)
def post_withdraw(
    submission_id: UUID, body: Withdrawal, service: ServiceDep, principal: PrincipalDep
) -> dict[str, Any]:
    """Ends a submission that is still being uploaded, so that the code can be pushed with other content."""
    with service.database.write() as session:
        find_scoped_submission(session, submission_id, principal, Permission.SUBMISSION_PUSH)
        withdraw(session, submission_id, agent=principal.agent, at=clock.unique_now(), reason=body.reason)
    return _submission_body(service, principal, submission_id)


@router.post("/packages", status_code=HTTPStatus.ACCEPTED)
async def post_package(
    request: Request, service: ServiceDep, principal: PrincipalDep, *, again: Annotated[bool, Query()] = False
) -> JSONResponse:
    """Takes a one-shot ZIP of a dossier folder; the same dossier again gives the same submission."""
    principal.require(Permission.SUBMISSION_PUSH)
    origin = _origin(request, principal)  # before anything is staged
    submission_id = new_id()
    limit = service.settings.max_package_bytes
    writer = await run_in_threadpool(service.staging.writer, submission_id, PACKAGE_NAME, limit_bytes=limit)
    try:
        async for chunk in body_chunks(request, limit_bytes=limit):
            await run_in_threadpool(writer.write, chunk)
        staged = await run_in_threadpool(writer.commit)
    except BaseException:
        await run_in_threadpool(writer.abort)
        await run_in_threadpool(service.staging.discard, submission_id)
        raise
    opened = await run_in_threadpool(
        open_package,
        service,
        submission_id,
        staged,
        origin,
        at=clock.unique_now(),
        again=again,
    )
    body = await run_in_threadpool(_submission_body, service, principal, opened.submission_id, with_findings=False)
    return JSONResponse(body, status_code=HTTPStatus.ACCEPTED)


@router.get("/submissions/{submission_id}")
def get_submission(submission_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Returns a submission with its state, its findings and the verdicts on its signatures, the first of many with the address of the rest."""
    return _submission_body(service, principal, submission_id)


@router.get("/submissions")
def get_submissions(
    service: ServiceDep,
    principal: PrincipalDep,
    state: State | None = None,
    dossier_code: str | None = None,
    archiving_agency: str | None = None,
    field: str | None = None,
    worst: Worst | None = None,
    limit: ListSize = None,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Lists submissions, last opened first; `worst` is the severity of the worst finding: error, warning or none."""
    query = SubmissionQuery(
        states=(state,) if state else (),
        dossier_code=dossier_code,
        archiving_agency=archiving_agency,
        field=field,
        worst=worst,
        limit=limit,
        cursor=cursor,
    )
    with service.database.read() as session:
        page = list_submissions(session, query, principal)
        return page.as_json(lambda submission: _row(service, submission))


def _row(service: Service, submission: Submission) -> dict[str, Any]:
    receiving = submission.state is State.RECEIVING
    return {
        "id": str(submission.id),
        "dossier_code": submission.dossier_code,
        "title": submission.title,
        "state": submission.state.value,
        "record_id": str(submission.record_id) if submission.record_id else None,
        "form": submission.form,
        "archiving_agency": submission.archiving_agency,
        "procedure_code": submission.procedure_code,
        "applicant_name": submission.applicant_name,
        "record_status": submission.record_status.value if submission.record_status else None,
        "source_system": submission.source_system,
        "opened_at": submission.opened_at.isoformat(),
        "components": submission.component_count,
        "received": count_staged(service.staging, submission.id) if receiving else submission.received_count,
        "size_bytes": submission.size_bytes,
        "errors": submission.error_count,
        "warnings": submission.warning_count,
    }


def _submission_body(
    service: Service, principal: Principal, submission_id: UUID, *, with_findings: bool = True
) -> dict[str, Any]:
    with service.database.read() as session:
        submission = find_scoped_submission(session, submission_id, principal, Permission.SUBMISSION_READ)
        body = _row(service, submission)
        if not with_findings:
            return body
        decision = decision_on(session, submission)
        return {
            **body,
            "sent_at": submission.sent_at.isoformat() if submission.sent_at else None,
            "completed_at": submission.completed_at.isoformat() if submission.completed_at else None,
            "checked_at": submission.checked_at.isoformat() if submission.checked_at else None,
            "decided_at": submission.decided_at.isoformat() if submission.decided_at else None,
            "stored_at": submission.stored_at.isoformat() if submission.stored_at else None,
            **_told(session, submission_id),
            "policies": submission.policies,
            "retention": submission.retention,
            "decision": None
            if decision is None
            else {
                "decision": decision.kind,
                "reason": decision.reason,
                "agent": decision.agent_name,
                "at": decision.decided_at.isoformat(),
            },
        }


def _told(session: Session, submission_id: UUID) -> dict[str, Any]:
    """Returns the first findings and verdicts, how many there are, and where the rest is."""
    findings, verdicts = finding_page(session, submission_id), verdict_page(session, submission_id)
    address = f"/api/v1/submissions/{submission_id}"
    more_findings, more_verdicts = findings.next is not None, verdicts.next is not None
    return {
        "findings": [finding.as_json() for finding in findings_of(findings.items)],
        "finding_count": finding_count(session, submission_id) if more_findings else len(findings.items),
        "findings_next": f"{address}/findings?cursor={findings.next}" if more_findings else None,
        "signatures": [_verdict(verdict) for verdict in verdicts.items],
        "signature_count": verdict_count(session, submission_id) if more_verdicts else len(verdicts.items),
        "signatures_next": f"{address}/signatures?cursor={verdicts.next}" if more_verdicts else None,
    }


def _verdict(verdict: SignatureVerdict) -> dict[str, Any]:
    return {"component_id": verdict.component_id, **verdict.report}


@router.get("/submissions/{submission_id}/findings")
def get_findings(
    submission_id: UUID, service: ServiceDep, principal: PrincipalDep, limit: PageSize = FIRST_TOLD, cursor: After = 0
) -> dict[str, Any]:
    """Lists the findings of a submission in the order of the check, errors first."""
    with service.database.read() as session:
        find_scoped_submission(session, submission_id, principal, Permission.SUBMISSION_READ)
        page = finding_page(session, submission_id, after=cursor, limit=limit)
        return {"items": [finding.as_json() for finding in findings_of(page.items)], "next": page.next}


@router.get("/submissions/{submission_id}/signatures")
def get_signatures(
    submission_id: UUID,
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = FIRST_TOLD,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Lists the verdicts on the signatures of a submission by component."""
    with service.database.read() as session:
        find_scoped_submission(session, submission_id, principal, Permission.SUBMISSION_READ)
        return verdict_page(session, submission_id, cursor=cursor, limit=limit).as_json(_verdict)


class DecisionBody(BaseModel):
    """A decision on one submission."""

    decision: DecisionKind
    reason: Annotated[str, Field(max_length=2000)] = ""


class BulkDecisionBody(DecisionBody):
    """The same decision on many submissions."""

    submission_ids: Annotated[list[UUID], Field(min_length=1)]


@router.post("/submissions/{submission_id}/decision")
def post_decision(
    submission_id: UUID, body: DecisionBody, service: ServiceDep, principal: PrincipalDep
) -> dict[str, Any]:
    """Approves, returns or rejects one submission that awaits approval."""
    with service.database.write() as session:
        find_scoped_submission(session, submission_id, principal, Permission.SUBMISSION_DECIDE)
        decide(session, submission_id, body.decision, principal=principal, reason=body.reason, at=clock.unique_now())
    return _submission_body(service, principal, submission_id)


@router.post("/decisions")
def post_decisions(body: BulkDecisionBody, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Decides on many submissions; each stands on its own and is reported."""
    principal.require(Permission.SUBMISSION_DECIDE)
    batch = decide_many(
        service.database,
        body.submission_ids,
        body.decision,
        principal=principal,
        reason=body.reason,
        at=clock.unique_now(),
    )
    return {
        "results": [
            {
                "submission_id": str(result.submission_id),
                "decided": result.decided,
                "state": result.state,
                "repeated": result.repeated,
                "code": result.error_code,
                "detail": result.message,
            }
            for result in batch.results
        ]
    }
