"""Daily housekeeping: what is only bookkeeping goes, so that the queue stays as fast as at first (LESSONS 2, 48)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select

from archive_service import clock
from archive_service.db import Database
from archive_service.identity.accounts import disable_idle_accounts
from archive_service.identity.brake import sweep_brakes
from archive_service.identity.passwords import load_policy
from archive_service.identity.sessions import SessionLimits, sweep_sessions
from archive_service.jobs.queue import prune_done
from archive_service.jobs.worker import JobContext
from archive_service.models import ScheduledRun

KEEP_DONE_DAYS: Final = 30
"""How long a done job stays to be looked at. What the job did is in the event log for ever."""
KEEP_RUNS_DAYS: Final = 400
"""How long planned runs are known: longer than the longest pause between two, or one would be planned again."""
BATCH: Final = 1000
"""Rows per transaction: short enough that nobody waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What one run removed or changed."""

    jobs: int
    scheduled_runs: int
    sessions: int
    accounts_disabled: int


def prune_jobs(context: JobContext) -> None:
    """The job function of `JobKind.PRUNE_JOBS`; idempotent."""
    limits = SessionLimits.of(idle_min=context.settings.session_idle_min, max_h=context.settings.session_max_h)
    pruned = prune(context.database, at=clock.now(), limits=limits, between_batches=context.check_stop)
    context.progress(str(pruned))


def prune(
    database: Database, *, at: datetime, limits: SessionLimits, between_batches: Callable[[], None] = lambda: None
) -> Pruned:
    """Deletes old done jobs and planned runs and ended browser sessions, and disables idle accounts.

    Args:
        database: Where they are.
        at: Now, aware UTC.
        limits: How long browser sessions live.
        between_batches: Called between transactions; may raise to stop early.
    """
    jobs = 0
    while True:
        with database.write() as session:
            gone = prune_done(session, at - timedelta(days=KEEP_DONE_DAYS), limit=BATCH)
        jobs += gone
        if gone < BATCH:
            break
        between_batches()
    runs = _prune_runs(database, at)
    with database.write() as session:
        sessions = sweep_sessions(session, at=at, limits=limits)
        disabled = disable_idle_accounts(session, at=at)
        sweep_brakes(session, at=at, policy=load_policy())
    return Pruned(jobs=jobs, scheduled_runs=runs, sessions=sessions, accounts_disabled=disabled)


def _prune_runs(database: Database, at: datetime) -> int:
    old = select(ScheduledRun.id).where(ScheduledRun.scheduled_for < at - timedelta(days=KEEP_RUNS_DAYS)).limit(BATCH)
    with database.write() as session:
        return len(
            session.scalars(delete(ScheduledRun).where(ScheduledRun.id.in_(old)).returning(ScheduledRun.id)).all()
        )
