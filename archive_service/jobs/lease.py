"""Keeping claims alive while their jobs' functions run: one thread in each process for all of them.

Most jobs take a few milliseconds and need no heartbeat at all; a thread for each would cost more than claiming it.
"""

import logging
import threading
from types import TracebackType
from typing import Final, Self

from sqlalchemy.exc import DBAPIError

from archive_service import clock
from archive_service.db import Database
from archive_service.errors import LeaseLost
from archive_service.jobs import queue
from archive_service.jobs.queue import ClaimedJob

HEARTBEATS_PER_LEASE: Final = 3
"""One may be lost without losing the lease."""

logger = logging.getLogger(__name__)


class Lease:
    """A claim that is kept alive from another thread for as long as this context lasts."""

    def __init__(self, database: Database, job: ClaimedJob, lease_s: float) -> None:
        self._database = database
        self._job = job
        self._lease_s = lease_s
        self._sure_until_s = clock.monotonic_s() + lease_s
        self._lost = False
        self._beating = threading.Lock()
        self.beat_at_s = self._sure_until_s - lease_s + lease_s / HEARTBEATS_PER_LEASE
        """When the next heartbeat is due."""
        self.job_ended = False
        """The job's function has noted its end in a transaction of its own: nothing is left to be written."""

    def __enter__(self) -> Self:
        _keeper.keep(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        _keeper.let_go(self)
        with self._beating:  # a heartbeat under way is waited for: none comes after what follows
            self._lost = True

    def check(self) -> None:
        """Raises `LeaseLost` when the claim was taken over or could not be renewed in time."""
        # A clock that never steps back decides here: the wall clock of this host may jump while the job runs.
        if self._lost or clock.monotonic_s() >= self._sure_until_s:
            raise LeaseLost(f"lease on job {self._job.id} is gone", job=str(self._job.id))

    def beat(self) -> None:
        """Renews the claim; what goes wrong is for `check` to tell."""
        asked_s = clock.monotonic_s()
        self.beat_at_s = asked_s + self._lease_s / HEARTBEATS_PER_LEASE
        with self._beating:
            if self._lost:
                return
            try:
                with self._database.write_prepared() as work:
                    queue.heartbeat(work, self._job, clock.now(), self._lease_s)
            except LeaseLost:
                self._lost = True
            except DBAPIError as exc:
                logger.warning("heartbeat failed: %s", exc.orig, extra={"job_id": str(self._job.id)})
            else:
                self._sure_until_s = asked_s + self._lease_s


class _Keeper:
    """The thread that renews leases, started with the first one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._kept: set[Lease] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at_s = float("inf")

    def keep(self, lease: Lease) -> None:
        """Renews the lease from now on; the thread is woken only when it would sleep past the first heartbeat."""
        with self._changed:
            self._kept.add(lease)
            if self._thread is None or not self._thread.is_alive():  # the first, or the first after a fork
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
            elif lease.beat_at_s < self._wakes_at_s:
                self._changed.notify_all()

    def let_go(self, lease: Lease) -> None:
        """Renews the lease no more."""
        with self._changed:
            self._kept.discard(lease)

    def _run(self) -> None:
        while True:
            for lease in self._due():
                lease.beat()

    def _due(self) -> list[Lease]:
        """Returns the leases whose heartbeat is due, having waited until there was one or the next."""
        with self._changed:
            self._wakes_at_s = min((lease.beat_at_s for lease in self._kept), default=float("inf"))
            pause_s = self._wakes_at_s - clock.monotonic_s()
            if pause_s > 0:
                self._changed.wait(None if self._wakes_at_s == float("inf") else pause_s)
            now_s = clock.monotonic_s()
            return [lease for lease in self._kept if lease.beat_at_s <= now_s]


_keeper: Final = _Keeper()
