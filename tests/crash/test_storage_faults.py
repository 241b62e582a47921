"""EIO, then SIGKILL, at every system call of every write the filesystem store and staging do.

Afterwards either nothing or the whole is visible, what was acknowledged is there, and simply doing it again succeeds.
"""

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from archive_service import clock
from archive_service.digests import digest_bytes
from archive_service.errors import Retained
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import ReadBackOutcome, read_back
from archive_service.storage.staging import StagingArea
from tests.conftest import NotRun
from tests.crash.faults import storage_operations as operations
from tests.crash.faults import strace


@pytest.fixture(scope="module")
def rehearsal(not_run: NotRun) -> Iterator[strace.Rehearsal]:
    reason = strace.why_not()
    if reason is not None:
        not_run("strace", reason)
    with strace.Rehearsal("tests.crash.faults.storage_operations") as running:
        yield running


def _after_put(folder: Path, *, acknowledged: bool) -> None:
    store = FilesystemStore("kho-1", folder)
    outcome = read_back(store, operations.KEY, expected=operations.DIGEST, size_bytes=len(operations.BYTES)).outcome
    listed = [each.key for each in store.list()]
    if outcome is ReadBackOutcome.MISSING:
        assert not acknowledged
        assert listed == []
    else:
        assert outcome is ReadBackOutcome.INTACT
        assert listed == [operations.KEY]


def _after_put_locked(folder: Path, *, acknowledged: bool) -> None:
    _after_put(folder, acknowledged=acknowledged)
    store = FilesystemStore("kho-1", folder)
    if store.versions(operations.KEY):  # never there unlocked
        with pytest.raises(Retained):
            operations.delete(folder)


def _after_put_again(folder: Path, *, acknowledged: bool) -> None:  # noqa: ARG001 - it was there before
    _after_put(folder, acknowledged=True)


def _after_hold(folder: Path, *, acknowledged: bool) -> None:
    held = FilesystemStore("kho-1", folder).lock(operations.KEY).legal_hold
    assert held or not acknowledged
    _after_put(folder, acknowledged=True)


def _after_delete(folder: Path, *, acknowledged: bool) -> None:
    gone = FilesystemStore("kho-1", folder).versions(operations.KEY) == ()
    assert gone or not acknowledged
    _after_put(folder, acknowledged=False)


def _after_receive(folder: Path, *, acknowledged: bool) -> None:
    path = StagingArea(folder).path(operations.SUBMISSION, operations.NAME)
    assert path.exists() or not acknowledged
    if path.exists():
        assert digest_bytes(path.read_bytes()) == operations.DIGEST


AFTER: dict[str, Callable[..., None]] = {
    "put": _after_put,
    "put_from_memory": _after_put,
    "put_again": _after_put_again,
    "put_locked": _after_put_locked,
    "hold": _after_hold,
    "delete": _after_delete,
    "receive": _after_receive,
}


@pytest.mark.parametrize("fault", ["error=EIO", "signal=KILL"])
@pytest.mark.parametrize("operation", AFTER)
def test_a_fault_at_any_system_call(rehearsal: strace.Rehearsal, operation: str, fault: str, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    operations.prepare(operation, plain)
    calls = rehearsal.calls_of(operation, plain)
    AFTER[operation](plain, acknowledged=True)
    assert {"fsync", "openat"} <= {call.name for call, _arguments in calls}
    codes = []
    for number, (call, arguments) in enumerate(calls):
        folder = tmp_path / f"{number}-{call}"
        operations.prepare(operation, folder)
        code = rehearsal.run_with_fault(operation, folder, call, fault)
        codes.append(code)
        told = code in {strace.DONE, strace.REFUSED, strace.KILLED}
        assert told, f"{call}({arguments}: exit code {code}, so something else than an ArchiveError came out"
        AFTER[operation](folder, acknowledged=code == strace.DONE)
        if operation != "delete" or FilesystemStore("kho-1", folder).versions(operations.KEY):
            operations.OPERATIONS[operation](folder)
        AFTER[operation](folder, acknowledged=True)
        _no_leftovers(operation, folder)
    sys.stdout.write(f"{operation} {fault}: {len(calls)} system calls, exit codes {sorted(set(codes))}\n")
    assert (strace.KILLED if fault == "signal=KILL" else strace.REFUSED) in codes


def _no_leftovers(operation: str, folder: Path) -> None:
    """The sweep takes everything that is not the result."""
    later = clock.now() + timedelta(hours=1)
    if operation == "receive":
        StagingArea(folder).sweep(later, lambda _submission: True)
    else:
        FilesystemStore("kho-1", folder).sweep_unfinished(older_than=later)
    assert list(folder.rglob(".tmp-*")) == []


def test_a_repeated_put_flushes_every_folder_again(rehearsal: strace.Rehearsal, tmp_path: Path) -> None:
    folder = tmp_path / "kho"
    operations.prepare("put_again", folder)
    flushed = [arguments for call, arguments in rehearsal.calls_of("put_again", folder) if call.name == "fsync"]
    part = operations.KEY.split("/")[1]
    for path in ("objects", "objects/aip", f"objects/aip/@{part[:3]}", f"objects/aip/@{part[:3]}/{part}"):
        assert any(f"<{folder}/{path}>" in arguments for arguments in flushed), f"{path} was not flushed"


@pytest.mark.parametrize("operation", ["put", "put_from_memory"])
def test_the_order_of_a_put(rehearsal: strace.Rehearsal, tmp_path: Path, operation: str) -> None:
    """What no killed process can show: bytes are flushed before the name appears, the name before success is said."""
    folder = tmp_path / "kho"
    operations.prepare(operation, folder)
    steps = [(call.name, arguments) for call, arguments in rehearsal.calls_of(operation, folder)]

    def at(names: set[str], text: str) -> list[int]:
        return [number for number, (name, arguments) in enumerate(steps) if name in names and text in arguments]

    written, flushed = at({"write", "pwrite64"}, ".tmp-"), at({"fsync"}, ".tmp-")
    published = at({"link", "linkat"}, ".tmp-")
    folder_flushed = at({"fsync"}, f"/{operations.KEY.split('/')[1]}>")
    assert len(flushed) == len(published) == len(folder_flushed) == 1
    assert written[-1] < flushed[0] < published[0] < folder_flushed[0]
    made = [arguments.split('"')[1] for name, arguments in steps if name.startswith("mkdir")]
    assert len(made) == 3
    for directory in made:
        assert at({"fsync"}, f"<{directory.rpartition('/')[0]}>"), f"the parent of {directory} was not flushed"
