"""One worker: claims a job, runs its function, settles it; and keeps the lease alive meanwhile.

No transaction is open while a function runs; one whose work ends with a transaction may end its job in that as well
(`JobContext.end`). What went wrong decides what happens next:

* `StoreUnavailable`, a database that is away, and every exception that is not an `ArchiveError` are taken as passing:
another try after a
  pause, parked after `job_max_attempts`.
* any other `ArchiveError` will be the same next time: parked at once with the error.
* `LeaseLost`: somebody else has the job; nothing is written.
* `StopRequestedError` (raised by `JobContext.check_stop`): the worker is stopping, the job goes back untried.
"""

import logging
import os
import secrets
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.db import Database, Work
from archive_service.errors import ArchiveError, LeaseLost, StoreUnavailable
from archive_service.jobs import queue
from archive_service.jobs.lease import Lease
from archive_service.jobs.queue import ClaimedJob
from archive_service.models import JobKind, JobState
from archive_service.settings import Settings

DATABASE_AWAY_MAX_S: Final = 30.0
"""Longest pause between looks at a database that does not answer."""

logger = logging.getLogger(__name__)


class StopRequestedError(Exception):
    """A job's function noticed that the worker is stopping; the job goes back to the queue untried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """What a job's function gets. The function opens its own transactions, keeps them short, and is idempotent."""

    database: Database
    settings: Settings
    job: ClaimedJob
    stop: threading.Event
    """Set when the worker is to stop: finish soon or call `check_stop`."""
    lease: Lease

    def check_lease(self) -> None:
        """Ends the function when its lease is gone; call it before a step that others could be doing too.

        Raises:
            LeaseLost: another worker may hold the job.
        """
        self.lease.check()

    def check_stop(self) -> None:
        """Ends the function when the worker is stopping; call it between steps of long work.

        Raises:
            StopRequestedError: the worker is stopping.
            LeaseLost: another worker may hold the job.
        """
        if self.stop.is_set():
            raise StopRequestedError
        self.lease.check()

    def hold_lease(self, session: Session) -> None:
        """Makes the caller's transaction commit only under the lease: locks the job row in it.

        Raises:
            LeaseLost: another worker holds the job.
        """
        queue.hold(session, self.job)

    def end(self, work: Work) -> None:
        """Notes in the caller's transaction, the last one of the function, that the job is done: both are committed together.

        Raises:
            LeaseLost: another worker holds the job; what the transaction did before is not to be committed.
        """
        queue.finish(work, self.job, clock.now())
        self.lease.job_ended = True

    def progress(self, note: str, done: int | None = None, total: int | None = None) -> None:
        """Writes a log line about how far the work is."""
        logger.info("job progress: %s", note, extra=_fields(self.job) | {"done": done, "total": total})


JobFunction = Callable[[JobContext], None]
Registry = Mapping[JobKind, JobFunction]
"""Which function does which kind of job. A worker claims only kinds it has a function for."""


def worker_name() -> str:
    """Returns a name no other worker has: host, process and a random part."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(4)}"


def run_worker(
    database: Database, settings: Settings, registry: Registry, stop: threading.Event, *, owner: str | None = None
) -> None:
    """Works on jobs until `stop` is set; the job at hand is finished, or given back if its function calls `check_stop`.

    A database that does not answer is waited for. Everything else a job can do wrong ends up in the job's row.

    Args:
        database: Where the queue is.
        settings: Lease, poll pause and number of tries.
        registry: Functions by kind.
        stop: Set it to end the loop.
        owner: Name of this worker; default a fresh one.
    """
    owner = owner or worker_name()
    next_takeover_s = clock.monotonic_s()
    away_s = 1.0
    worked = False
    while not stop.is_set():
        try:
            if clock.monotonic_s() >= next_takeover_s:
                _take_back(database, settings)
                next_takeover_s = clock.monotonic_s() + settings.job_lease_s / 2
            worked = run_next(database, settings, registry, stop, owner=owner, busy=worked)
        except DBAPIError as exc:
            logger.warning("database does not answer, next look in %.0f s: %s", away_s, exc.orig)
            stop.wait(away_s)
            away_s = min(away_s * 2, DATABASE_AWAY_MAX_S)
            continue
        away_s = 1.0
        if not worked:
            stop.wait(settings.job_poll_s)


def run_next(
    database: Database,
    settings: Settings,
    registry: Registry,
    stop: threading.Event,
    *,
    owner: str,
    busy: bool = False,
) -> bool:
    """Claims and runs one job; returns False when none was due. With `busy` it claims without looking first: there was work a moment ago."""
    kinds = list(registry)
    if not busy:
        with database.read_prepared() as work:
            if not queue.anything_due(work, clock.now(), kinds):
                return False
    with database.write_prepared() as work:
        job = queue.claim(work, owner, clock.now(), settings.job_lease_s, kinds)
    if job is None:
        return False
    with Lease(database, job, settings.job_lease_s) as lease:
        context = JobContext(database=database, settings=settings, job=job, stop=stop, lease=lease)
        failure = _run(registry[job.kind], context)
    if failure is not None or not lease.job_ended:
        _settle(database, settings, job, failure)
    return True


def _take_back(database: Database, settings: Settings) -> None:
    with database.write() as session:
        count = queue.release_expired(session, clock.now(), max_attempts=settings.job_max_attempts)
    if count:
        logger.warning("took back %d jobs of silent workers", count)


def _run(function: JobFunction, context: JobContext) -> Exception | None:
    started_s = clock.monotonic_s()
    logger.info("job started", extra=_fields(context.job))
    try:
        function(context)
    except Exception as exc:  # noqa: BLE001 - a fault in one job must reach its row, not end the worker
        return exc
    logger.info("job done", extra=_fields(context.job) | {"took_s": round(clock.monotonic_s() - started_s, 3)})
    return None


def _settle(database: Database, settings: Settings, job: ClaimedJob, failure: Exception | None) -> None:
    try:
        with database.write_prepared() as work:
            _write_outcome(work, settings, job, failure)
    except LeaseLost as exc:
        logger.warning("job was taken over: %s", exc, extra=_fields(job))


def _write_outcome(work: Work, settings: Settings, job: ClaimedJob, failure: Exception | None) -> None:
    at = clock.now()
    if failure is None:
        queue.finish(work, job, at)
    elif isinstance(failure, StopRequestedError):
        queue.release(work, job, at)
        logger.info("job given back", extra=_fields(job))
    elif isinstance(failure, LeaseLost):
        logger.warning("job stopped without its lease: %s", failure, extra=_fields(job))
    elif is_permanent(failure):
        queue.park(work, job, describe(failure), at)
        logger.error("job parked: %s", failure, extra=_fields(job))
    else:
        state = queue.retry(work, job, describe(failure), at, max_attempts=settings.job_max_attempts)
        level = logging.ERROR if state is JobState.PARKED else logging.WARNING
        logger.log(level, "job failed and is %s: %r", state, failure, extra=_fields(job))


def is_permanent(failure: Exception) -> bool:
    """Returns whether trying again cannot help: the service said no, for a reason that does not pass by itself."""
    return isinstance(failure, ArchiveError) and not isinstance(failure, StoreUnavailable)


def describe(failure: Exception) -> str:
    """Returns the error text for the job's row: code and message, or the traceback of what is no `ArchiveError`."""
    if isinstance(failure, ArchiveError):
        return f"{failure.code}: {failure.message}"
    return "".join(traceback.format_exception(failure))


def _fields(job: ClaimedJob) -> dict[str, object]:
    return {"job_id": str(job.id), "job_kind": job.kind.value, "job_subject": job.subject, "attempt": job.attempts}
