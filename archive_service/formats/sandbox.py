"""Running risky work on one file with hard limits of time and memory: in a fresh process, or an outside command.

A worker is started anew (spawn), never forked: Siegfried's Go runtime does not survive a fork, and a crash or an
endless loop in a C library takes only that worker with it. Results come back through a pipe, bounded by the reader.
"""

import contextlib
import math
import multiprocessing
import os
import pickle  # results of our own worker function only
import resource
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from archive_service.scratch import Scratch, use_as_process_scratch

T = TypeVar("T")

_GRACE_S: Final = 2.0
"""How long a killed process may take to go."""


_START_S: Final = 60.0
"""How long a new worker may take to be ready, on a machine under load."""


class Outcome(StrEnum):
    """How a limited run ended."""

    DONE = "done"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    RAISED = "raised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited(Generic[T]):
    """The result of a limited run."""

    outcome: Outcome
    value: T | None = None
    reason: str = ""
    """Signal, exit code or exception; empty when done."""


def run_limited(
    func: Callable[..., T], args: tuple[Any, ...], *, time_limit_s: float, memory_limit_bytes: int
) -> Limited[T]:
    """Calls `func(*args)` in a fresh process and returns its value; never raises for what happens there.

    `func` is a module-level function, arguments and value can be pickled. The memory limit is on address space beyond
    what the started interpreter has; the time limit is wall time, and as much CPU time again is refused by the kernel.
    """
    worker = LimitedWorker(memory_limit_bytes=memory_limit_bytes)
    try:
        return worker.run(func, args, time_limit_s=time_limit_s)
    finally:
        worker.close()


class LimitedWorker:
    """One process that does limited work again and again; it is replaced after a crash or a timeout.

    Starting an interpreter costs about 0.1 s, so a caller with many files keeps a worker per thread.
    """

    def __init__(self, *, memory_limit_bytes: int, prepare: Callable[[], None] | None = None) -> None:
        self._memory = memory_limit_bytes
        self._prepare = prepare
        """Run in the worker before its memory is limited: loads what reserves address space of its own."""
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._scratch: Scratch | None = None
        """The worker's temporary files: it may be killed at any moment, so this process owns their folder."""
        self._lock = threading.Lock()

    def run(
        self,
        func: Callable[..., T],
        args: tuple[Any, ...],
        *,
        time_limit_s: float,
        cpu_limit_s: float | None = None,
        memory_bytes: int | None = None,
    ) -> Limited[T]:
        """Calls `func(*args)` in the worker.

        Args:
            func: what to call.
            args: its arguments.
            time_limit_s: wall time.
            cpu_limit_s: processor time, kept by the kernel; it alone is fair on a loaded machine. None = no limit of its own.
            memory_bytes: address space this call may add, never more than the worker's; None = the worker's.
        """
        with self._lock:
            try:
                pipe = self._started()
                pipe.send((func, args, cpu_limit_s, memory_bytes))
                if not pipe.poll(time_limit_s):
                    self._stop()
                    return Limited(outcome=Outcome.TIMEOUT, reason=f"{time_limit_s:g} s")
                outcome, value = pipe.recv()
            except (EOFError, OSError):
                reason = self._reap()
                if reason == signal.SIGXCPU.name and cpu_limit_s is not None:
                    return Limited(outcome=Outcome.TIMEOUT, reason=f"{cpu_limit_s:g} s")
                return Limited(outcome=Outcome.CRASHED, reason=reason)
            if outcome is Outcome.RAISED:
                return Limited(outcome=outcome, reason=value)
            return Limited(outcome=Outcome.DONE, value=value)

    def close(self) -> None:
        """Ends the worker."""
        with self._lock:
            self._stop()

    def _reap(self) -> str:
        """Ends a worker that went away and says how it ended."""
        reason = "no worker"
        if self._process is not None:
            self._process.join(_GRACE_S)
            reason = _how_it_ended(self._process.exitcode)
        self._stop()
        return reason

    def _started(self) -> Connection:
        if self._process is None or self._pipe is None or not self._process.is_alive():
            self._stop()
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            self._scratch = Scratch()
            arguments = (theirs, self._memory, self._prepare, self._scratch.path)
            self._process = context.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
            theirs.close()
            self._pipe = ours
            if ours.poll(_START_S):  # the time limit is for the work, not for starting an interpreter
                ours.recv()
        return self._pipe

    def _stop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join(_GRACE_S)
            self._process.close()
        if self._scratch is not None:
            self._scratch.close()
        self._process = self._pipe = self._scratch = None


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _serve(pipe: Connection, memory_limit_bytes: int, prepare: Callable[[], None] | None, scratch: Path) -> None:
    """The worker's loop: limited by the kernel, deaf to the terminal's interrupt, gone when its parent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_as_process_scratch(scratch)
    tempfile.tempdir = str(scratch)  # what libraries leave goes with it
    if prepare is not None:
        prepare()
    with contextlib.suppress(ValueError, OSError):
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_limit_bytes, used + memory_limit_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        pipe.send("ready")
    while True:
        try:
            func, args, cpu_limit_s, memory_bytes = pipe.recv()
        except (EOFError, OSError):
            return
        limit_this_process(cpu_limit_s, memory_bytes)
        try:
            answer = (Outcome.DONE, func(*args))
            message = pickle.dumps(answer)
        except Exception as exc:  # noqa: BLE001 - the border: whatever it was, the parent is told
            message = pickle.dumps((Outcome.RAISED, f"{type(exc).__name__}: {exc}"[:500]))
        try:
            pipe.send_bytes(message)
        except OSError:
            return


def limit_this_process(cpu_limit_s: float | None, memory_bytes: int | None) -> None:
    """Sets this process's soft limits for one piece of work, counted from what it has used so far.

    At the limit of processor time the kernel ends the process (SIGXCPU); over the limit of memory allocation fails.
    """
    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = hard if cpu_limit_s is None else math.ceil(used.ru_utime + used.ru_stime + cpu_limit_s)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
        if memory_bytes is not None:
            _, most = resource.getrlimit(resource.RLIMIT_AS)
            taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
            wanted = taken + memory_bytes
            resource.setrlimit(resource.RLIMIT_AS, (wanted if most < 0 else min(wanted, most), most))


# ---------------------------------------------------------------- outside commands


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRun:
    """How an outside command ended."""

    code: int | None
    output: bytes
    """Standard output, up to the bound."""
    reason: str
    """Why it gave nothing to go by; empty when it ended by itself."""


def run_command(
    arguments: Sequence[str],
    *,
    time_limit_s: float,
    output_bytes: int,
    memory_limit_bytes: int | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> CommandRun:
    """Runs a command in a process group of its own; at the time limit the whole group is killed.

    Standard output goes to a temporary file, so a talkative command cannot fill memory.
    """
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - arguments are a list, no shell
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=dict(environment) if environment is not None else None,
                cwd=folder,
            )
        except OSError as exc:
            return CommandRun(code=None, output=b"", reason=str(exc))
        if memory_limit_bytes is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                resource.prlimit(process.pid, resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))
        reason = ""
        try:
            process.wait(timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            reason = f"stopped after {time_limit_s:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return CommandRun(code=process.returncode, output=output.read(output_bytes), reason=reason)
