"""Follow-up work as a row in the same transaction (DESIGN D6, STYLE 12): stages call `enqueue`, workers in jobs/ claim what is there."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.ids import new_id
from archive_service.models import Job, JobKind, JobState


def enqueue(
    session: Session,
    kind: JobKind,
    subject: UUID | str,
    *,
    at: datetime,
    payload: dict[str, Any] | None = None,
    run_at: datetime | None = None,
) -> UUID:
    """Adds a job in the caller's transaction and returns its id; an open job of the same kind and subject is returned instead.

    Args:
        session: An open write transaction.
        kind: What there is to do.
        subject: What it is about; at most one open job per kind and subject.
        at: Now, aware UTC.
        payload: JSON value for the job's function.
        run_at: Not before this time; default `at`.
    """
    open_job = select(Job.id).where(
        Job.kind == kind, Job.subject == str(subject), Job.state.in_([JobState.READY, JobState.RUNNING])
    )
    existing = session.scalars(open_job).first()
    if existing is not None:
        return existing
    job = Job(
        id=new_id(),
        kind=kind,
        subject=str(subject),
        payload=payload or {},
        state=JobState.READY,
        run_at=run_at or at,
        created_at=at,
    )
    session.add(job)
    session.flush()
    return job.id
