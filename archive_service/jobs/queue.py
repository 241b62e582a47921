"""The job queue in the database: claim with a lease, heartbeat, finish, retry, park (DESIGN D6, STYLE 12).

A job is done at least once: when a lease runs out, another worker takes the job over, so every job's function is
idempotent. What a worker writes about a job is guarded by its claim (owner and attempt number): one that was
overtaken gets `LeaseLost` and changes nothing. Leases compare the clocks of hosts; keep those within a few seconds of
each other (NTP), far below the lease.
"""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Table, bindparam, delete, false, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from archive_service.audit import Agent, append_event, software
from archive_service.db import Work
from archive_service.errors import Conflict, LeaseLost, NotFound
from archive_service.models import EventType, Job, JobKind, JobState
from archive_service.prepared import Prepared

BACKOFF_FIRST_S: Final = 2.0
"""Pause before the second try."""
BACKOFF_MAX_S: Final = 3600.0
"""Longest pause: a store that was away for a day is tried again within the hour after it is back."""
BACKOFF_JITTER: Final = 0.25
"""Pauses differ by up to this share, so that jobs that failed together do not come back together (LESSONS 42)."""
MAX_ERROR_CHARS: Final = 8000
"""Longest error text kept with a job: the end of a traceback says what happened."""
TAKEOVER_BATCH: Final = 100

_PART: Final = software("worker")
_random: Final = secrets.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job as handed to one worker."""

    id: UUID
    kind: JobKind
    subject: str
    payload: dict[str, Any]
    attempts: int
    """This try's number, from 1; with the owner it identifies the claim."""
    owner: str
    lease_until: datetime


def claim(
    work: Work, owner: str, at: datetime, lease_s: float, kinds: Collection[JobKind] | None = None
) -> ClaimedJob | None:
    """Takes the job that has been due longest, in one statement for both engines; None when there is none.

    Args:
        work: An open write transaction; the claim holds once it commits.
        owner: Name of this worker, unique among all that run.
        at: Now, aware UTC.
        lease_s: How long the claim holds without heartbeat, in seconds.
        kinds: Only jobs of these kinds; None for every kind.
    """
    values = {"b_at": at, "b_owner": owner, "b_until": at + timedelta(seconds=lease_s)}
    row = _claiming(_named(kinds)).first(work, values)
    if row is None:
        return None
    return ClaimedJob(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        payload=row.payload,
        attempts=row.attempts,
        owner=owner,
        lease_until=row.lease_until,
    )


def anything_due(work: Work, at: datetime, kinds: Collection[JobKind] | None = None) -> bool:
    """Returns whether `claim` would find something. Only reads, so an idle worker does not take SQLite's write lock."""
    return _looking(_named(kinds)).first(work, {"b_at": at}) is not None


def _named(kinds: Collection[JobKind] | None) -> tuple[JobKind, ...] | None:
    return None if kinds is None else tuple(sorted(kinds))


def _due(kinds: tuple[JobKind, ...] | None) -> list[ColumnElement[bool]]:
    of_kind = [] if kinds is None else [or_(false(), *(Job.kind == kind for kind in kinds))]
    return [Job.state == JobState.READY, Job.run_at <= bindparam("b_at"), *of_kind]


@lru_cache(maxsize=16)
def _looking(kinds: tuple[JobKind, ...] | None) -> Prepared:
    return Prepared(select(Job.id).where(*_due(kinds)).limit(1))


@lru_cache(maxsize=16)
def _claiming(kinds: tuple[JobKind, ...] | None) -> Prepared:
    """Builds the claim once for each set of kinds: the building costs more than the claim."""
    # `=` with a scalar subquery, not IN: PostgreSQL then runs the locking subquery exactly once.
    oldest = select(Job.id).where(*_due(kinds)).order_by(Job.run_at, Job.id).limit(1).with_for_update(skip_locked=True)
    return Prepared(
        update(_JOB)
        .where(_JOB.c.id == oldest.scalar_subquery(), _JOB.c.state == JobState.READY)
        .values(
            state=JobState.RUNNING,
            lease_owner=bindparam("b_owner"),
            lease_until=bindparam("b_until"),
            attempts=_JOB.c.attempts + 1,
        )
        .returning(_JOB.c.id, _JOB.c.kind, _JOB.c.subject, _JOB.c.payload, _JOB.c.attempts, _JOB.c.lease_until)
    )


def heartbeat(work: Work, job: ClaimedJob, at: datetime, lease_s: float) -> datetime:
    """Extends the lease and returns its new end.

    Raises:
        LeaseLost: another worker has the job, or it is no longer running.
    """
    until = at + timedelta(seconds=lease_s)
    _change_own(work, job, lease_until=until)
    return until


def hold(work: Work, job: ClaimedJob) -> None:
    """Locks the job row in the caller's transaction, so that what it commits is committed under a lease still held.

    Raises:
        LeaseLost: another worker has the job, or it is no longer running.
    """
    if _HELD.first(work, _own(job)) is None:
        raise _lost(job)


def finish(work: Work, job: ClaimedJob, at: datetime) -> None:
    """Notes that the job is done.

    Raises:
        LeaseLost: another worker has the job, or it is no longer running.
    """
    _change_own(work, job, state=JobState.DONE, finished_at=at, lease_owner=None, lease_until=None, last_error=None)


def release(work: Work, job: ClaimedJob, at: datetime) -> None:
    """Gives the job back untried, for a worker that stops.

    Raises:
        LeaseLost: another worker has the job, or it is no longer running.
    """
    _change_own(
        work, job, state=JobState.READY, run_at=at, lease_owner=None, lease_until=None, attempts=job.attempts - 1
    )


def retry(work: Work, job: ClaimedJob, error: str, at: datetime, *, max_attempts: int) -> JobState:
    """Puts the job back for a later try, or parks it when it has had its tries; returns which.

    Raises:
        LeaseLost: another worker has the job, or it is no longer running.
    """
    if job.attempts >= max_attempts:
        park(work, job, error, at)
        return JobState.PARKED
    run_at = at + timedelta(seconds=backoff_s(job.attempts))
    _change_own(
        work,
        job,
        state=JobState.READY,
        run_at=run_at,
        lease_owner=None,
        lease_until=None,
        last_error=_shortened(error),
    )
    return JobState.READY


def park(work: Work, job: ClaimedJob, error: str, at: datetime) -> None:
    """Sets the job aside for an operator, with the error visible and an event.

    Raises:
        LeaseLost: another worker has the job, or it is no longer running.
    """
    _change_own(
        work,
        job,
        state=JobState.PARKED,
        finished_at=at,
        lease_owner=None,
        lease_until=None,
        last_error=_shortened(error),
    )
    _record_parked(work, job.id, job.kind, job.subject, job.attempts, error, at)


def release_expired(session: Session, at: datetime, *, max_attempts: int) -> int:
    """Takes back jobs whose worker fell silent, and returns how many.

    The first takeover is at once; after that the job waits as after an error, and after `max_attempts` it is parked:
    a job that kills its worker must not kill every worker in turn.
    """
    expired = (
        select(Job)
        .where(Job.state == JobState.RUNNING, Job.lease_until < at)
        .order_by(Job.lease_until)
        .limit(TAKEOVER_BATCH)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    rows = session.scalars(expired).all()
    for row in rows:
        error = f"worker {row.lease_owner} fell silent in try {row.attempts}; its lease ended {row.lease_until}"
        parked = row.attempts >= max_attempts
        pause_s = backoff_s(row.attempts - 1) if row.attempts > 1 and not parked else 0.0
        row.state = JobState.PARKED if parked else JobState.READY
        row.run_at = at + timedelta(seconds=pause_s)
        row.finished_at = at if parked else None
        row.lease_owner, row.lease_until, row.last_error = None, None, error
        if parked:
            _record_parked(session, row.id, row.kind, row.subject, row.attempts, error, at)
    session.flush()
    return len(rows)


def requeue(session: Session, job_id: UUID, *, agent: Agent, at: datetime) -> None:
    """Puts a parked job back with all its tries, and records who did it.

    Raises:
        NotFound: no such job.
        Conflict: the job is not parked, or the same work is queued again already.
    """
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise NotFound(f"job {job_id} not found")
    if job.state is not JobState.PARKED:
        raise Conflict(f"job {job_id} is {job.state}, not parked", state=job.state.value)
    again = (
        update(Job)
        .where(Job.id == job_id)
        .values(state=JobState.READY, attempts=0, run_at=at, finished_at=None)
        .execution_options(synchronize_session=False)
    )
    try:
        with session.begin_nested():
            session.execute(again)
    except IntegrityError as exc:
        raise Conflict(f"{job.kind} for {job.subject} is queued already", kind=job.kind.value) from exc
    session.expire(job)
    detail = {"kind": job.kind.value, "subject": job.subject}
    append_event(
        session,
        EventType.JOB_REQUEUED,
        subject_kind="job",
        subject_id=job_id,
        agency=None,
        agent=agent,
        at=at,
        detail=detail,
    )


def list_jobs(session: Session, state: JobState, *, after: UUID | None = None, limit: int = 100) -> Sequence[Job]:
    """Returns jobs in a state by id, which is by time of entry, after job `after` (keyset)."""
    query = select(Job).where(Job.state == state).order_by(Job.id).limit(limit)
    return session.scalars(query if after is None else query.where(Job.id > after)).all()


def count_jobs(session: Session) -> dict[JobState, int]:
    """Returns how many jobs are in each state that is not DONE."""
    query = select(Job.state, func.count()).where(Job.state != JobState.DONE).group_by(Job.state)
    counts = {row[0]: row[1] for row in session.execute(query)}
    return {state: counts.get(state, 0) for state in (JobState.READY, JobState.RUNNING, JobState.PARKED)}


def prune_done(session: Session, before: datetime, *, limit: int) -> int:
    """Deletes up to `limit` jobs done before a time, and returns how many. Parked jobs stay to be looked at."""
    old = select(Job.id).where(Job.state == JobState.DONE, Job.finished_at < before).limit(limit)
    gone = delete(Job).where(Job.id.in_(old)).returning(Job.id).execution_options(synchronize_session=False)
    return len(session.scalars(gone).all())


def backoff_s(attempts: int, jitter: float | None = None) -> float:
    """Returns the pause after try number `attempts`, in seconds: doubling, with jitter, at most `BACKOFF_MAX_S`.

    Args:
        attempts: Tries so far, from 1.
        jitter: A share from -1 to 1 of `BACKOFF_JITTER`; default random.
    """
    share = _random.uniform(-1, 1) if jitter is None else jitter
    pause_s = min(BACKOFF_FIRST_S * 2.0 ** min(attempts - 1, 40), BACKOFF_MAX_S / (1 + BACKOFF_JITTER))
    return pause_s * (1 + BACKOFF_JITTER * share)


def _own(job: ClaimedJob) -> dict[str, Any]:
    return {"b_id": job.id, "b_owner": job.owner, "b_attempts": job.attempts}


_JOB: Final = cast("Table", Job.__table__)
_IS_OWN: Final = (
    (_JOB.c.id == bindparam("b_id"))
    & (_JOB.c.state == JobState.RUNNING)
    & (_JOB.c.lease_owner == bindparam("b_owner"))
    & (_JOB.c.attempts == bindparam("b_attempts"))
)
_HELD: Final = Prepared(select(_JOB.c.id).where(_IS_OWN).with_for_update())


@lru_cache(maxsize=16)
def _changing(columns: tuple[str, ...]) -> Prepared:
    return Prepared(update(_JOB).where(_IS_OWN).values({name: bindparam(name) for name in columns}))


def _change_own(work: Work, job: ClaimedJob, **values: Any) -> None:  # column values
    if _changing(tuple(values)).run(work, values | _own(job)) != 1:
        raise _lost(job)


def _lost(job: ClaimedJob) -> LeaseLost:
    return LeaseLost(f"{job.owner} does not hold job {job.id} (try {job.attempts}) any more", job=str(job.id))


def _record_parked(
    work: Work, job_id: UUID, kind: JobKind, subject: str, attempts: int, error: str, at: datetime
) -> None:
    # The last line alone: a traceback is for the operator's page, not for the history that is kept for ever.
    last_line = error.strip().splitlines()[-1][:500] if error.strip() else ""
    detail = {"kind": kind.value, "subject": subject, "attempts": attempts, "error": last_line}
    append_event(
        work,
        EventType.JOB_PARKED,
        subject_kind="job",
        subject_id=job_id,
        agency=None,
        agent=_PART,
        at=at,
        detail=detail,
    )


def _shortened(error: str) -> str:
    return error if len(error) <= MAX_ERROR_CHARS else f"… {error[-MAX_ERROR_CHARS:]}"
