"""A group of worker processes: one per core, restarted when they crash, stopped together.

Processes are spawned, not forked: a fork would share database connections and locks of threads. A worker process also
stops when its parent is gone, even killed; what it was doing is taken over when its lease ends.
"""

import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from archive_service import clock
from archive_service.db import Database
from archive_service.jobs.worker import Registry, run_worker
from archive_service.settings import Settings

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

MAX_DEFAULT_WORKERS: Final = 4
"""Workers started by default even on a large machine: beyond that a single host's disk is what is short."""
STOP_GRACE_S: Final = 30.0
"""How long a stopping worker may take to finish its job; after that it is killed and the lease does the rest."""
RESTART_FIRST_S: Final = 1.0
RESTART_MAX_S: Final = 60.0
HEALTHY_AFTER_S: Final = 60.0
"""A worker that lived this long starts again at once when it dies."""
_LOOK_EVERY_S: Final = 0.5
_ASKED_TO_STOP: Final = frozenset({0, -signal.SIGTERM, -signal.SIGINT})
"""Exit codes of a worker that was told to stop; by signal when it had not yet got so far as to catch it. With a signal to the whole
process group the workers end before the group's parent says so: that is no fault to report."""
GARBAGE_AFTER_OBJECTS: Final = 20_000
"""How many more objects than before make the garbage collector look for circles; chosen by trial, not derived."""

logger = logging.getLogger(__name__)


def worker_count(settings: Settings) -> int:
    """Returns how many worker processes to start: as configured, or one per core this process may use, at most 4."""
    return settings.workers or min(len(os.sched_getaffinity(0)), MAX_DEFAULT_WORKERS)


class _Slot:
    """One place in the group and the process in it."""

    def __init__(self) -> None:
        self.process: SpawnProcess | None = None
        self.started_s = 0.0
        self.start_at_s = 0.0
        self.pause_s = RESTART_FIRST_S


class WorkerGroup:
    """Keeps `count` worker processes running between `start` and `stop`.

    Args:
        settings: Handed to every worker.
        load_registry: A function of a module that returns the registry; called in the worker process.
        count: Number of processes; default `worker_count`.
        prepare: A function of a module called first in each process, for logging.
    """

    def __init__(
        self,
        settings: Settings,
        load_registry: Callable[[], Registry],
        *,
        count: int | None = None,
        prepare: Callable[[Settings], None] | None = None,
    ) -> None:
        self._arguments = (settings, load_registry, prepare)
        self._slots = [_Slot() for _ in range(worker_count(settings) if count is None else count)]
        self._context = multiprocessing.get_context("spawn")
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="worker-group", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the processes and watches over them."""
        for slot in self._slots:
            self._start(slot)
        self._watcher.start()

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Asks every worker to stop after its job, and kills what has not stopped after `grace_s` seconds."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        running = [slot.process for slot in self._slots if slot.process is not None and slot.process.is_alive()]
        for process in running:
            process.terminate()
        deadline_s = clock.monotonic_s() + grace_s
        for process in running:
            process.join(max(0.0, deadline_s - clock.monotonic_s()))
            if process.is_alive():
                logger.warning("worker process %s did not stop in %.0f s and is killed", process.pid, grace_s)
                process.kill()
                process.join()

    def pids(self) -> list[int]:
        """Returns the process ids of the workers that run now."""
        processes = [slot.process for slot in self._slots]
        return [process.pid for process in processes if process is not None and process.is_alive() and process.pid]

    def _start(self, slot: _Slot) -> None:
        slot.process = self._context.Process(target=_work, args=self._arguments, name="archive-worker")
        slot.process.start()
        slot.started_s = clock.monotonic_s()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            sentinels = [slot.process.sentinel for slot in self._slots if slot.process is not None]
            if sentinels:
                wait(sentinels, timeout=_LOOK_EVERY_S)
            else:
                self._stopping.wait(_LOOK_EVERY_S)
            for slot in self._slots:
                self._look_after(slot)

    def _look_after(self, slot: _Slot) -> None:
        now_s = clock.monotonic_s()
        if slot.process is not None and not slot.process.is_alive():
            slot.process.join()
            healthy = now_s - slot.started_s >= HEALTHY_AFTER_S
            slot.pause_s = RESTART_FIRST_S if healthy else slot.pause_s
            slot.start_at_s = now_s + slot.pause_s
            text = "worker process %s ended with %s; a new one starts in %.0f s"
            asked = slot.process.exitcode in _ASKED_TO_STOP
            logger.log(
                logging.INFO if asked else logging.ERROR, text, slot.process.pid, slot.process.exitcode, slot.pause_s
            )
            slot.pause_s = min(slot.pause_s * 2, RESTART_MAX_S)
            slot.process = None
        elif slot.process is None and now_s >= slot.start_at_s and not self._stopping.is_set():
            self._start(slot)


def _work(
    settings: Settings, load_registry: Callable[[], Registry], prepare: Callable[[Settings], None] | None
) -> None:
    """The worker process."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if prepare is not None:
        prepare(settings)
    threading.Thread(target=_stop_with_parent, args=(stop,), name="parent-watch", daemon=True).start()
    database = Database(settings.resolved_database_url)
    try:
        registry = load_registry()
        settle_memory()
        run_worker(database, settings, registry, stop)
    finally:
        database.close()


def settle_memory() -> None:
    """Tells the garbage collector that what is loaded now stays, and to look for garbage less often: jobs leave little that needs it."""
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER_OBJECTS, *gc.get_threshold()[1:])


def _stop_with_parent(stop: threading.Event) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        stop.set()
