"""The storage operations that crash tests run in children: `python -m tests.crash.faults.storage_operations`."""

import io
import logging
import os
import random
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from archive_service.digests import digest_bytes
from archive_service.errors import ArchiveError
from archive_service.storage.announced import HashedBytes
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import store_key
from archive_service.storage.staging import StagingArea
from tests.crash.faults import strace

KEY: Final = store_key("aip/1f0c1c3e-4f6b-5f0a-9c57-3d2f7a1be5d4/1.zip")
BYTES: Final = random.Random(7).randbytes(300_000)  # noqa: S311 - repeatable, not secret
DIGEST: Final = digest_bytes(BYTES)
UNTIL: Final = datetime(2099, 1, 1, tzinfo=UTC)
SUBMISSION: Final = UUID("0192f0a0-0000-7000-8000-000000000001")
NAME: Final = "don-dang-ky.pdf"
DISPOSITION: Final = UUID("0b9d4f1e-58a2-4c57-9d6a-2f0d8f2c7e11")


def put(folder: Path) -> None:
    FilesystemStore("kho-1", folder).put(KEY, io.BytesIO(BYTES), expected=DIGEST, size_bytes=len(BYTES))


def put_from_memory(folder: Path) -> None:
    """Bytes that are in memory go past the page cache."""
    source = HashedBytes(BYTES, DIGEST)
    FilesystemStore("kho-1", folder).put(KEY, source, expected=DIGEST, size_bytes=len(BYTES))


def put_again(folder: Path) -> None:
    """A retry, after the first writer may have died just before its last flush."""
    put(folder)


def put_locked(folder: Path) -> None:
    FilesystemStore("kho-1", folder).put(
        KEY, io.BytesIO(BYTES), expected=DIGEST, size_bytes=len(BYTES), retain_until=UNTIL
    )


def hold(folder: Path) -> None:
    FilesystemStore("kho-1", folder).set_legal_hold(KEY, True)


def delete(folder: Path) -> None:
    FilesystemStore("kho-1", folder).delete(KEY, version_id=None, disposition=DISPOSITION)


def receive(folder: Path) -> None:
    pieces = [BYTES[:100_000], BYTES[100_000:]]
    StagingArea(folder).receive(SUBMISSION, NAME, pieces, limit_bytes=len(BYTES), expected=DIGEST)


OPERATIONS: Final[dict[str, Callable[[Path], None]]] = {
    each.__name__: each for each in (put, put_from_memory, put_again, put_locked, hold, delete, receive)
}


def prepare(operation: str, folder: Path) -> None:
    """Makes what the operation needs to find: the store, and the object where it is about one."""
    if operation == "receive":
        StagingArea(folder)
        return
    FilesystemStore("kho-1", folder)
    if operation in {"put_again", "hold", "delete"}:
        put(folder)


def _outcome(operation: str, folder: Path) -> int:
    try:
        OPERATIONS[operation](folder)
    except ArchiveError:
        return strace.REFUSED
    except Exception:  # noqa: BLE001 - this is what the test looks for
        return strace.LEAKED
    return strace.DONE


def _child(operation: str, folder: Path) -> tuple[int, int]:
    """Forks a child that waits for a byte before it does the operation; returns its id and where to write the byte.

    The child's id is told only once the child has nothing left to do but wait: a tracer attached earlier would count, and fail, the
    child's own tidying up instead of the operation.
    """
    wait, go = os.pipe()
    ready, tidied = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.write(tidied, b"!")
        os.read(wait, 1)
        os._exit(_outcome(operation, folder))
    os.close(wait)
    os.read(ready, 1)
    os.close(ready)
    os.close(tidied)
    return pid, go


def serve() -> None:
    """Per line "OPERATION FOLDER": answers with the child's id, waits for a line, lets it run, answers its exit code.

    Everything is rehearsed first, so that no child imports anything while its calls are counted.
    """
    logging.disable()
    for operation in OPERATIONS:
        with tempfile.TemporaryDirectory() as elsewhere:
            prepare(operation, Path(elsewhere, "kho"))
            OPERATIONS[operation](Path(elsewhere, "kho"))
    for line in iter(sys.stdin.readline, ""):
        operation, _, folder = line.rstrip("\n").partition(" ")
        pid, go = _child(operation, Path(folder))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        sys.stdin.readline()
        os.write(go, b"!")
        os.close(go)
        _pid, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
