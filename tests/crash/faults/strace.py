"""Fault injection with strace: a system error or SIGKILL at the n-th call of one system call of one operation.

The operation runs in a child that waits until strace has attached, so that only the operation's own calls are counted.
The child tells the outcome by its exit code, as writing a line could itself be the call that fails.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

PROJECT: Final = Path(__file__).resolve().parents[3]
LIMIT_S: Final = 60

DONE: Final = 0
REFUSED: Final = 10
"""The operation raised an `ArchiveError`."""
LEAKED: Final = 11
"""The operation raised something else."""
KILLED: Final = -9

_CALL: Final = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")
_NOT_ABOUT_FILES: Final = frozenset(
    {"brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "futex", "getpid", "gettid", "exit_group", "getrandom"}
    | {"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "restart_syscall", "sched_yield", "clock_gettime"}
)


@dataclass(frozen=True, slots=True)
class Call:
    """The n-th call of a system call during an operation."""

    name: str
    nth: int

    def __str__(self) -> str:
        return f"{self.name}#{self.nth}"


def why_not() -> str | None:
    """Returns why strace cannot be used here, None when it can."""
    if shutil.which("strace") is None:
        return "no program `strace`"
    with subprocess.Popen(["sleep", str(LIMIT_S)]) as target:
        try:
            command = ["strace", "-o", "/dev/null", "-p", str(target.pid), "-e", "inject=fsync:error=EIO"]
            with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
                first = b"" if tracer.stderr is None else tracer.stderr.readline()
                target.kill()
        finally:
            target.kill()
    return None if b"attached" in first else f"strace may not attach: {first.decode()}"


class Rehearsal:
    """A process that forks one child per operation; a context manager."""

    def __init__(self, module: str) -> None:
        command = [sys.executable, "-m", module]
        self._server = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._server.kill()
        self._server.communicate()

    def calls_of(self, operation: str, folder: Path) -> list[tuple[Call, str]]:
        """Runs the operation untouched and returns its system calls about files, in order, with their arguments."""
        log = folder.with_name(folder.name + ".strace")
        code = self._run(operation, folder, ["-o", str(log), "-y"])
        if code != DONE:
            raise AssertionError(f"{operation} failed without any fault: exit code {code}")
        return _parsed(log.read_text(encoding="utf-8", errors="replace"))

    def run_with_fault(self, operation: str, folder: Path, call: Call, fault: str) -> int:
        """Runs the operation with `fault` ("error=EIO" or "signal=KILL") at `call`; returns the exit code."""
        inject = f"inject={call.name}:{fault}:when={call.nth}"
        return self._run(operation, folder, ["-o", "/dev/null", "-e", inject])

    def _run(self, operation: str, folder: Path, options: list[str]) -> int:
        pid = int(self._ask(f"{operation} {folder}"))
        with subprocess.Popen(["strace", "-p", str(pid), *options], stderr=subprocess.PIPE) as tracer:
            if tracer.stderr is None or b"attached" not in (first := tracer.stderr.readline()):
                raise AssertionError(f"strace did not attach: {first!r}")
            code = int(self._ask("go"))
            tracer.wait(timeout=LIMIT_S)
        return code

    def _ask(self, line: str) -> str:
        if self._server.stdin is None or self._server.stdout is None:
            raise AssertionError
        self._server.stdin.write(line + "\n")
        self._server.stdin.flush()
        return self._server.stdout.readline()


def _parsed(log: str) -> list[tuple[Call, str]]:
    counts: dict[str, int] = {}
    found = []
    for match in filter(None, map(_CALL.match, log.splitlines())):
        name, arguments = match.groups()
        counts[name] = counts.get(name, 0) + 1
        waiting = name == "read" and counts[name] == 1  # for the start
        if name not in _NOT_ABOUT_FILES and not waiting:
            found.append((Call(name, counts[name]), arguments))
    return found
