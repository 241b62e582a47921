"""Is it alive, is it ready, what does it count; the job queue and the audit log."""

from datetime import date
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import Row, and_, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from archive_service import clock, migrations
from archive_service.access.pages import cut, newest_first
from archive_service.access.records import record_scope
from archive_service.access.reviews import ReviewLine, find_review, list_reviews
from archive_service.api.dependencies import After, ListSize, PageSize, PrincipalDep, ServiceDep
from archive_service.api.preservation import add_gauges
from archive_service.api.records import event_page
from archive_service.errors import ArchiveError, ConfigurationInvalid
from archive_service.identity.permissions import Permission, in_scope
from archive_service.ingest.trust_anchors import trust_notices
from archive_service.jobs import queue
from archive_service.models import (
    Event,
    EventType,
    Job,
    JobState,
    Record,
    RetentionReviewItem,
    Submission,
)
from archive_service.service import Service
from archive_service.storage.filesystem import FilesystemStore

router = APIRouter(tags=["system"])


@router.api_route("/healthz", methods=["GET", "HEAD"], response_class=PlainTextResponse)
def healthz() -> PlainTextResponse:
    """Says that the process answers."""
    return PlainTextResponse("ok")


@router.api_route("/readyz", methods=["GET", "HEAD"])
def readyz(service: ServiceDep) -> JSONResponse:
    """Says whether the service can do its work: database at the right schema, storage locations configured and their folders there."""
    problems = _database_problems(service) + _storage_problems(service)
    notices: tuple[str, ...] = ()
    try:
        notices = trust_notices(service.settings)
    except ConfigurationInvalid as exc:
        problems.append(f"trust store: {exc}")
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return JSONResponse({"ready": not problems, "problems": problems, "notices": notices}, status_code=status)


def _database_problems(service: Service) -> list[str]:
    try:
        current = migrations.current_revision(service.database)
    except SQLAlchemyError:
        return ["the database does not answer"]
    head = migrations.head_revision()
    return [] if current == head else [f"the database is at revision {current}, this code needs {head}"]


def _storage_problems(service: Service) -> list[str]:
    try:
        stores = service.stores
    except ArchiveError as exc:
        return [exc.message]
    if not stores:
        return ["no storage location"]
    # A bucket is not asked here: a probe that waits for the network would make a slow store look like a dead service.
    folders = {name: store for name, store in stores.items() if isinstance(store, FilesystemStore)}
    return [
        f"storage location {name}: its folder is not there" for name, store in folders.items() if not store.is_there()
    ]


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(service: ServiceDep) -> PlainTextResponse:
    """Returns counts in the Prometheus text format; numbers only, no names or codes."""
    registry = CollectorRegistry()
    submissions = Gauge("archive_submissions", "Submissions by state", ["state"], registry=registry)
    records = Gauge("archive_records", "Records by state", ["state"], registry=registry)
    jobs = Gauge("archive_jobs", "Jobs by kind and state", ["kind", "state"], registry=registry)
    oldest = Gauge("archive_oldest_ready_job_seconds", "Age of the oldest job that waits", registry=registry)
    with service.database.read() as session:
        for state, count in session.execute(select(Submission.state, func.count()).group_by(Submission.state)):
            submissions.labels(state.value).set(count)
        for state, count in session.execute(select(Record.state, func.count()).group_by(Record.state)):
            records.labels(state.value).set(count)
        for kind, job_state, count in session.execute(
            select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)
        ):
            jobs.labels(kind.value, job_state.value).set(count)
        add_gauges(registry, session, at=clock.now())
        waiting = session.scalar(select(func.min(Job.run_at)).where(Job.state == JobState.READY))
        _backups(session, registry)
    oldest.set(max(0.0, (clock.now() - waiting).total_seconds()) if waiting else 0.0)
    return PlainTextResponse(generate_latest(registry).decode(), media_type=CONTENT_TYPE_LATEST)


def _backups(session: Session, registry: CollectorRegistry) -> None:
    """When a backup was last read back, and when a drill last passed; absent where that never was, so that an alert on age fires."""
    passed = Event.detail["outcome"].as_string() == "PASSED"
    for name, text, which in (
        ("archive_last_backup_timestamp_seconds", "When a backup was last made", Event.type == EventType.BACKUP_MADE),
        (
            "archive_last_restore_drill_timestamp_seconds",
            "When a restore drill last passed",
            and_(Event.type == EventType.BACKUP_DRILLED, passed),
        ),
    ):
        at = session.scalar(select(Event.at).where(which).order_by(Event.seq.desc()).limit(1))
        if at is not None:
            Gauge(name, text, registry=registry).set(at.timestamp())


@router.get("/api/v1/jobs")
def get_jobs(
    service: ServiceDep,
    principal: PrincipalDep,
    state: JobState | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: UUID | None = None,
) -> dict[str, Any]:
    """Lists jobs, newest first; parked ones carry their error."""
    principal.require(Permission.JOB_READ)
    statement = select(Job) if state is None else select(Job).where(Job.state == state)
    with service.database.read() as session:
        return newest_first(session, statement, Job.id, cursor=cursor, limit=limit).as_json(_job)


def _job(job: Job) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "kind": job.kind.value,
        "subject": job.subject,
        "state": job.state.value,
        "attempts": job.attempts,
        "run_at": job.run_at.isoformat(),
        "created_at": job.created_at.isoformat(),
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "last_error": job.last_error,
    }


@router.post("/api/v1/jobs/{job_id}/requeue")
def post_requeue(job_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Gives a parked job another round of tries."""
    principal.require(Permission.JOB_REQUEUE)
    with service.database.write() as session:
        queue.requeue(session, job_id, agent=principal.agent, at=clock.unique_now())
        return _job(session.get_one(Job, job_id))


@router.get("/api/v1/audit/events")
def get_audit(
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 200,
    cursor: After = 0,
) -> dict[str, Any]:
    """Returns the audit log in order of entry, within the caller's agencies."""
    principal.require(Permission.AUDIT_READ)
    statement = select(Event).where(in_scope(principal, Permission.AUDIT_READ, Event.agency), Event.seq > cursor)
    with service.database.read() as session:
        events = session.scalars(statement.order_by(Event.seq).limit(limit + 1)).all()
        return event_page(events, limit)


@router.get("/api/v1/retention/reviews")
def get_reviews(
    service: ServiceDep, principal: PrincipalDep, limit: ListSize = None, cursor: str | None = None
) -> dict[str, Any]:
    """Lists the scheduled retention reviews, newest first, with how many records of the caller's agencies each found due."""
    with service.database.read() as session:
        return list_reviews(session, principal, cursor=cursor, limit=limit).as_json(_review)


def _review(line: ReviewLine) -> dict[str, Any]:
    return {
        "id": str(line.id),
        "on": line.on.isoformat(),
        "made_at": line.made_at.isoformat(),
        "due": line.due_count,
    }


@router.get("/api/v1/retention/reviews/{review_id}")
def get_review(
    review_id: UUID,
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 200,
    cursor: UUID | None = None,
) -> dict[str, Any]:
    """Lists the records a review found due, within the caller's agencies."""
    statement = (
        select(RetentionReviewItem.record_id, Record.dossier_code, Record.title, RetentionReviewItem.due_on)
        .join(Record, Record.id == RetentionReviewItem.record_id)
        .where(
            RetentionReviewItem.review_id == review_id,
            record_scope(principal, Permission.RETENTION_READ),
        )
        .order_by(RetentionReviewItem.record_id)
        .limit(limit + 1)
    )
    if cursor is not None:
        statement = statement.where(RetentionReviewItem.record_id > cursor)
    with service.database.read() as session:
        find_review(session, review_id, principal)
        rows = session.execute(statement).all()
        return cut(rows, limit, lambda row: row.record_id).as_json(_due_row)


def _due_row(row: Row[UUID, str, str, date]) -> dict[str, Any]:
    return {
        "record_id": str(row.record_id),
        "dossier_code": row.dossier_code,
        "title": row.title,
        "due_on": row.due_on.isoformat(),
    }
