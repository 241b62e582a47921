"""Reading what lies at a location with one process per core: results in order, as many in memory as are being read, none left behind.

Digests let go of the interpreter's lock, parsing does not: a location is read, hashed and parsed in processes of their own, each with the
store opened anew, while the caller writes what comes of it. The processes come from one that has loaded what they work with and nothing
else (forkserver): no thread, lock or connection of the caller's gets into them, and the loading is paid once.
"""

import gc
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any, Final, TypeVar

from archive_service.errors import ArchiveError
from archive_service.storage.port import Store, StoredObject

UNIT_BYTES: Final = 64 * 1024 * 1024
"""Objects that one process takes at a time have at most so many bytes together, or are one: the last unit keeps the others waiting briefly."""
_UNITS_AHEAD: Final = 2
"""Units of each process that may be read and wait for the caller; bounds memory."""
_LOADED: Final = (__name__, "archive_service.preservation.package_reading", "archive_service.storage.filesystem")
"""What nearly every process works with."""

_T = TypeVar("_T")
Unit = Sequence[StoredObject]


class ReadingEnded(ArchiveError):
    """A process that read packages ended by itself (memory ran out, or one of the packages named brings it down); run again to go on."""

    code = "READING_ENDED"


def start_loading() -> None:
    """Lets what reading processes work with be loaded beside whatever the caller does before it reads; calling it is never needed."""
    if len(os.sched_getaffinity(0)) > 1:
        _context()
        forkserver.ensure_running()


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED))
    return context


def units(listed: Iterable[StoredObject], most: int) -> Iterator[list[StoredObject]]:
    """Yields objects in their order, as many together as one process takes at a time: at most `most`, and `UNIT_BYTES`."""
    unit: list[StoredObject] = []
    size_bytes = 0
    for item in listed:
        if unit and (len(unit) >= most or size_bytes + item.size_bytes > UNIT_BYTES):
            yield unit
            unit, size_bytes = [], 0
        unit.append(item)
        size_bytes += item.size_bytes
    if unit:
        yield unit


def read_units(work: Callable[[Store, Unit], _T], store: Store, wanted: Iterable[Unit]) -> Generator[tuple[Unit, _T]]:
    """Yields each unit with what `work` made of it, in order.

    Args:
        work: A function of a module; it and its result travel between processes.
        store: The location; a single unit is read in the calling process.
        wanted: Taken from as the work goes on.

    Raises:
        ReadingEnded: a process ended by itself.
        ArchiveError: as `work` raises them.
    """
    following = iter(wanted)
    first = list(islice(following, 2))
    processes = len(os.sched_getaffinity(0))
    if len(first) < 2 or processes == 1:  # noqa: PLR2004 - nothing to share out
        for unit in chain(first, following):
            yield unit, work(store, unit)
        return
    waiting: deque[tuple[Unit, Future[_T]]] = deque()
    pool = ProcessPoolExecutor(processes, mp_context=_context(), initializer=_begin, initargs=(store,))
    try:
        for unit in chain(first, following):
            waiting.append((unit, _given(pool, work, unit)))
            if len(waiting) > processes * _UNITS_AHEAD:
                yield _next(waiting)
        while waiting:
            yield _next(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _given(pool: ProcessPoolExecutor, work: Callable[[Store, Unit], _T], unit: Unit) -> Future[_T]:
    """Gives a unit to the processes; the answer of units given to processes that have ended is that they have."""
    try:
        return pool.submit(_in_process, work, unit)
    except BrokenProcessPool as exc:
        broken: Future[_T] = Future()
        broken.set_exception(exc)
        return broken


def _next(waiting: deque[tuple[Unit, Future[_T]]]) -> tuple[Unit, _T]:
    unit, future = waiting.popleft()
    try:
        return unit, future.result()
    except BrokenProcessPool as exc:
        raise ReadingEnded(
            f"a reading process ended by itself; the first object not read is {unit[0].key}", key=str(unit[0].key)
        ) from exc


# ------------------------------------------------------------------ in a process

_process: dict[str, Any] = {}
"""The store of a reading process."""


def _begin(store: Store) -> None:
    gc.freeze()  # what was loaded before stays, and the pages it lies in stay shared
    _process["store"] = store
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_process(work: Callable[[Store, Unit], _T], unit: Unit) -> _T:
    return work(_process["store"], unit)
