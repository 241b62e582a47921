"""Checks of files in worker processes with hard limits, so that a hostile file stops neither the queue nor the service.

A file that hangs or kills its worker gives a finding and `not checked`; the worker is replaced. Workers start anew
(spawn) and stay, so the price of a process is paid once; one check costs about 1 ms more than inline.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from archive_service.dossier import Component
from archive_service.errors import StoreUnavailable
from archive_service.findings import Finding
from archive_service.formats.check import check_file
from archive_service.formats.identify import Identification, extension_of, load
from archive_service.formats.limits import DEFAULT, Limits
from archive_service.formats.phrases import vietnamese
from archive_service.formats.policy import FormatPolicy
from archive_service.formats.report import FormatReport, shorten
from archive_service.formats.sandbox import Limited, LimitedWorker, Outcome


def check_plainly(
    path: Path, name: str, component: Component | None, policy: FormatPolicy, limits: Limits, depth: str | None
) -> FormatReport:
    """Calls `check_file` with arguments by position, as a worker gets them."""
    return check_file(path, name=name, component=component, policy=policy, limits=limits, depth=depth)


class FormatPool:
    """Worker processes for `check_file`; safe to use from many threads, each call takes a free worker or waits.

    With `workers=0` checks run in the calling process, without limits of time and memory: for tests and small tools.
    """

    def __init__(self, *, workers: int, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._free: SimpleQueue[LimitedWorker] = SimpleQueue()
        self._all = [LimitedWorker(memory_limit_bytes=limits.memory_bytes, prepare=load) for _ in range(workers)]
        self._closing = threading.Lock()
        for worker in self._all:
            self._free.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every worker."""
        with self._closing:
            for worker in self._all:
                worker.close()

    def check(
        self,
        path: Path,
        *,
        name: str,
        component: Component | None,
        policy: FormatPolicy,
        limits: Limits | None = None,
        depth: str | None = None,
    ) -> FormatReport:
        """Checks one file like `check_file`, within hard limits of time and memory.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        bounds = limits or self._limits
        arguments = (path, name, component, policy, bounds, depth)
        if not self._all:
            return check_plainly(*arguments)
        result = self._run(check_plainly, arguments, bounds, _size_of(path))
        if result.outcome is Outcome.DONE and result.value is not None:
            return result.value
        if result.outcome is Outcome.RAISED and result.reason.startswith(StoreUnavailable.__name__):
            raise StoreUnavailable(result.reason)
        return _unfinished(result, component.id if component else name, name, policy)

    def _run(
        self, func: Callable[..., FormatReport], arguments: tuple[object, ...], limits: Limits, size_bytes: int
    ) -> Limited[FormatReport]:
        worker = self._free.get()
        try:
            return worker.run(
                func,
                arguments,
                time_limit_s=limits.wall_s(size_bytes),
                cpu_limit_s=limits.cpu_s(size_bytes),
                memory_bytes=limits.memory_for(size_bytes),
            )
        finally:
            self._free.put(worker)


def _size_of(path: Path) -> int:
    """Returns the size, 0 for a file that is not there; the check itself says so."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _because(reason: str) -> dict[str, str]:
    return {"reason": reason, "reason_vi": vietnamese(reason)}


def _unfinished(result: Limited[FormatReport], location: str, name: str, policy: FormatPolicy) -> FormatReport:
    """Returns the report on a file whose check did not come to an end."""
    if result.outcome is Outcome.TIMEOUT:
        found = Finding(
            code="FORMAT_CHECK_TIMEOUT", location=location, params={"seconds": result.reason.removesuffix(" s")}
        )
    else:
        found = Finding(code="FORMAT_CHECK_CRASHED", location=location, params=_because(shorten(result.reason)))
    weighed = policy.weigh(found)
    return FormatReport(
        identification=Identification(
            mime="application/octet-stream",
            puid=None,
            format_name="unknown",
            format_version=None,
            basis="none",
            warnings=(f"the check did not come to an end: {result.outcome} {result.reason}",),
            pronom_release="",
            libmagic_version=None,
            extension=extension_of(name),
            by_content=False,
        ),
        findings=(weighed,) if weighed else (),
        facts={},
        not_checked=(f"format: {result.outcome} {result.reason}",),
    )
