"""Follow-up work as a row in the same transaction (DESIGN D6, STYLE 12): stages call `enqueue`, workers in jobs/ claim what is there."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Table, bindparam, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.sql.dml import ReturningInsert

from archive_service.db import Work, engine_of
from archive_service.ids import new_id
from archive_service.models import Job, JobKind, JobState
from archive_service.prepared import Prepared


def enqueue(
    session: Work,
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
    values = {
        "id": new_id(),
        "kind": kind,
        "subject": str(subject),
        "payload": payload or {},
        "state": JobState.READY,
        "run_at": run_at or at,
        "attempts": 0,
        "created_at": at,
    }
    while True:
        added = _ADD[engine_of(session)].first(session, values)
        if added is not None:
            return UUID(str(added.id))
        existing = _OPEN.first(session, {"kind": kind, "subject": values["subject"]})
        if existing is not None:
            return UUID(str(existing.id))
        # Done by a worker between the two statements (PostgreSQL): the job is needed anew.


def enqueue_each(session: Work, kind: JobKind, subjects: Iterable[UUID | str], *, at: datetime) -> None:
    """Adds a job for each subject that has no open one of this kind, in one statement: for many at once."""
    same = {"kind": kind, "payload": {}, "state": JobState.READY, "run_at": at, "attempts": 0, "created_at": at}
    rows = [{**same, "id": new_id(), "subject": str(subject)} for subject in subjects]
    _ADD_EACH[engine_of(session)].run_each(session, rows)


def _add_each(insert: Callable[[Table], PostgresInsert | SqliteInsert]) -> PostgresInsert | SqliteInsert:
    open_jobs = text("state IN ('READY', 'RUNNING')")
    return insert(_JOB).on_conflict_do_nothing(index_elements=["kind", "subject"], index_where=open_jobs)


def _add(insert: Callable[[Table], PostgresInsert | SqliteInsert]) -> ReturningInsert[UUID]:
    return _add_each(insert).returning(_JOB.c.id)


_JOB: Final = cast("Table", Job.__table__)
_ADD: Final = {"sqlite": Prepared(_add(sqlite.insert)), "postgresql": Prepared(_add(postgresql.insert))}
"""One statement: the index `uq_job_open` decides whether there is an open job already, also between two callers."""
_ADD_EACH: Final = {"sqlite": Prepared(_add_each(sqlite.insert)), "postgresql": Prepared(_add_each(postgresql.insert))}
_OPEN: Final = Prepared(
    select(Job.id).where(
        Job.kind == bindparam("kind"), Job.subject == bindparam("subject"), text("state IN ('READY', 'RUNNING')")
    )
)
