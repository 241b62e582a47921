"""Checks in worker processes: one per core, each with hard limits of time and memory.

pyHanko can be driven into long loops or large allocations by hostile files (STANDARDS 1.4). A worker that runs over its time, its
memory or that dies costs one file an INDETERMINATE verdict with the reason; the pool starts another and goes on.

Life of a task: `submit` hands it to an idle worker over a pipe → the worker answers → the result is given to the future. When the
answer is late the worker is killed and the future gets the INDETERMINATE result. A task is never tried twice.

Two clocks run. Processor time ends what spins, and is the same on a busy machine. Wall time ends what sleeps or makes the machine swap:
10 s for a small file, and as much more as reading a large one may take.
"""

import math
import multiprocessing
import os
import queue
import resource
import signal
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from archive_service.signatures.policy import SignaturePolicy
from archive_service.signatures.report import (
    Indication,
    Reason,
    SignatureCheck,
    SignatureKind,
    SignatureReport,
    SubIndication,
)
from archive_service.signatures.trust import TrustStore
from archive_service.signatures.validate import KnownExistence, validate_file

MIB: Final = 1024 * 1024
DEFAULT_TIME_LIMIT_S: Final = 10.0
"""Wall time of one check of a small file; what it is waiting for, processor or disk, does not matter."""
WALL_S_PER_MIB: Final = 0.1
"""Wall time that each MiB of the files to be read adds: a slow disk on a busy machine still gives 10 MiB a second."""
DEFAULT_MEMORY_LIMIT_BYTES: Final = 1024 * MIB
"""Most address space of one worker, however large the file: 150 MB of code and libraries, the rest for one file."""
CPU_BASE_S: Final = 3.0
"""Processor time for a small file: an honest signature takes 20 to 80 ms, and what a hostile one can cost is this."""
CPU_S_PER_MIB: Final = 0.3
"""Processor time that each of the first `PARSED_MIB` of the file adds: as much of a file is structure at most."""
PARSED_MIB: Final = 20
"""What is more in a larger file is taken for content, which is only digested."""
CPU_S_PER_DIGESTED_MIB: Final = 0.02
"""Processor time that each MiB of content adds, in the file or beside it: it may be digested several times at 250 MiB a second."""
MEMORY_BASE_BYTES: Final = 350 * MIB
"""Address space that the check of a small file may add."""
MEMORY_PER_BYTE: Final = 12
"""Address space that each byte of the file adds: a tree of XML is ten times its text."""
DEFAULT_MAX_TASKS: Final = 500
"""A worker is replaced after this many files, so that a leak in a library stays small."""
_UTIME: Final = 11
"""Place of the user time in /proc/PID/stat, counted after the command's name; the system time follows."""
START_LIMIT_S: Final = 60.0
"""Importing pyHanko takes half a second; a machine under load needs longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureTask:
    """One file to check; the arguments of `validate_file`."""

    path: Path
    mime: str
    trust: TrustStore
    at: datetime
    policy: SignaturePolicy
    siblings: Mapping[str, Path] = field(default_factory=dict)
    known_poes: tuple[KnownExistence, ...] = ()

    def wall_limit_s(self, base: float) -> float:
        """Returns the wall time for this task by the size of its files: `base` for small ones."""
        return base + WALL_S_PER_MIB * self._read_mib()

    def cpu_limit_s(self, base: float) -> float:
        """Returns the processor time for this task by the size of its files, never more than its wall time."""
        parsed = CPU_S_PER_MIB * min(_size_of(self.path) / MIB, PARSED_MIB)
        own = CPU_BASE_S + parsed + CPU_S_PER_DIGESTED_MIB * self._read_mib()
        return min(own, self.wall_limit_s(base))

    def _read_mib(self) -> float:
        return sum(_size_of(path) for path in (self.path, *self.siblings.values())) / MIB


def _size_of(path: Path) -> int:
    """Returns the size, 0 for a file that is not there; the check itself says so."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    done: int = 0


class SignaturePool:
    """Worker processes that check signatures; with `workers=0` the calling thread does it."""

    def __init__(
        self,
        workers: int,
        *,
        time_limit_s: float = DEFAULT_TIME_LIMIT_S,
        memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
        max_tasks: int = DEFAULT_MAX_TASKS,
    ) -> None:
        self._time_limit_s = time_limit_s
        self._memory_limit_bytes = memory_limit_bytes
        self._max_tasks = max_tasks
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._tasks: queue.Queue[tuple[SignatureTask, Future[SignatureCheck]] | None] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"signature-worker-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: SignatureTask) -> Future[SignatureCheck]:
        """Queues a check; the future's result is always a SignatureCheck, except for OSError on the file itself."""
        future: Future[SignatureCheck] = Future()
        if self._threads:
            self._tasks.put((task, future))
            return future
        try:
            future.set_result(_run(task))
        except OSError as exc:
            future.set_exception(exc)
        return future

    def check(self, tasks: Iterable[SignatureTask]) -> list[SignatureCheck]:
        """Checks files in parallel and returns their results in order.

        Raises:
            OSError: a file cannot be read.
        """
        return [future.result() for future in [self.submit(task) for task in tasks]]

    def close(self) -> None:
        """Finishes queued work and stops the workers."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self) -> None:
        """One thread drives one worker process; it starts the process lazily and replaces it when it fails or grows old."""
        worker: _Worker | None = None
        while (item := self._tasks.get()) is not None:
            task, future = item
            if worker is None or worker.done >= self._max_tasks:
                _stop(worker)
                worker = self._start()
            outcome = _ask(worker, task, self._time_limit_s) if worker else "the worker process did not start"
            if isinstance(outcome, str):
                _stop(worker)
                worker = None
                future.set_result(stopped(task, outcome))
            elif isinstance(outcome, OSError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        _stop(worker)

    def _start(self) -> _Worker | None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, self._memory_limit_bytes), name="signature-worker", daemon=True
        )
        process.start()
        theirs.close()
        worker = _Worker(process=process, pipe=ours)
        try:
            ready = ours.poll(START_LIMIT_S) and ours.recv() == "ready"
        except (EOFError, OSError):
            ready = False
        if not ready:
            _stop(worker)
            return None
        return worker


def _ask(worker: _Worker, task: SignatureTask, time_limit_s: float) -> SignatureCheck | OSError | str:
    """Returns the worker's answer, or in words why there is none."""
    cpu_limit_s = task.cpu_limit_s(time_limit_s)
    wall_s = task.wall_limit_s(time_limit_s)
    used_s = _cpu_used_s(worker)
    try:
        worker.pipe.send((task, cpu_limit_s))
        if not worker.pipe.poll(wall_s):
            return f"longer than {wall_s:.3g} s, of which {_cpu_used_s(worker) - used_s:.1f} s of processor time"
        worker.done += 1
        answer: SignatureCheck | OSError | str = worker.pipe.recv()
    except (EOFError, ConnectionError, OSError):
        worker.process.join(timeout=1)
        if worker.process.exitcode == -signal.SIGXCPU:
            return f"longer than {cpu_limit_s:.3g} s of processor time"
        return f"the worker process ended with code {worker.process.exitcode}"
    return answer


def _cpu_used_s(worker: _Worker) -> float:
    """Returns the processor time a worker has used so far: it tells a file that spins from a machine that is too busy."""
    try:
        fields = (
            Path(f"/proc/{worker.process.pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()
        )
    except OSError:
        return 0.0
    return (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / os.sysconf("SC_CLK_TCK")


def _stop(worker: _Worker | None) -> None:
    if worker is None:
        return
    worker.pipe.close()
    worker.process.kill()
    worker.process.join()
    worker.process.close()


def _work(pipe: Connection, memory_limit_bytes: int) -> None:
    """Runs in the worker process: imports everything once, then answers one task after the other."""
    from archive_service.signatures import cades, containers, pades, xades

    del cades, containers, pades, xades
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))
    try:
        pipe.send("ready")
        while True:
            task, cpu_limit_s = pipe.recv()
            pipe.send(_answer(task, cpu_limit_s, memory_limit_bytes))
    except (EOFError, ConnectionError):
        return  # whoever asked is gone, at start-up or between two tasks: nobody is left to be told


def _answer(task: SignatureTask, cpu_limit_s: float, memory_limit_bytes: int) -> SignatureCheck | OSError | str:
    """Returns the check's result, or what went wrong in a form that crosses the process boundary."""
    _limit(cpu_limit_s, MEMORY_BASE_BYTES + MEMORY_PER_BYTE * _size_of(task.path), memory_limit_bytes)
    try:
        return _run(task)
    except OSError as exc:
        return OSError(exc.errno, str(exc))
    except MemoryError:
        return f"more than {memory_limit_bytes} bytes of memory"
    except Exception as exc:  # noqa: BLE001 - the process boundary: whatever a library raises becomes a stated reason
        return f"{type(exc).__name__}: {exc}"[:300]


def _limit(cpu_limit_s: float, memory_bytes: int, most_memory_bytes: int) -> None:
    """Sets this worker's soft limits for one task, counted from what it has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime + cpu_limit_s), hard))
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (min(taken + memory_bytes, most_memory_bytes), most_memory_bytes))


def _run(task: SignatureTask) -> SignatureCheck:
    return validate_file(
        task.path,
        mime=task.mime,
        trust=task.trust,
        at=task.at,
        policy=task.policy,
        siblings=task.siblings,
        known_poes=task.known_poes,
    )


def stopped(task: SignatureTask, detail: str) -> SignatureCheck:
    """Returns the result for a file whose check was stopped: INDETERMINATE, never silence."""
    kind = SignatureKind.PADES if task.mime == "application/pdf" else SignatureKind.CADES
    kind = SignatureKind.XMLDSIG if task.mime.endswith("xml") else kind
    report = SignatureReport(
        kind=kind,
        indication=Indication.INDETERMINATE,
        sub_indication=SubIndication.GENERIC,
        reasons=(Reason(code="PROCESS_KILLED", params={"detail": detail}),),
        level=None,
        judged_at=task.at,
        policy_id=task.policy.id,
        policy_version=task.policy.version,
        policy_digest=task.policy.digest,
        trust_digest=task.trust.digest,
    )
    return SignatureCheck(reports=(report,), not_checked=(f"PROCESS_KILLED: {detail}",))
