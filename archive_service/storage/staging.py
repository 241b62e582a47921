"""Staging: where uploads and packages under construction wait until a row, then a stored copy, takes over.

Layout: `<root>/<submission uuid>/<name>`, flat. Names are component ids that we checked, never paths a sender wrote.
A file appears under its name only complete, hashed and durable; the row that mentions it is committed after that
(DESIGN section 6). What has no row is removed by `sweep`, by age.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self
from uuid import UUID

from archive_service.digests import Digest, DigestAlgorithm, RunningDigest
from archive_service.errors import DigestMismatch, TooLarge, UnsafeKey
from archive_service.storage import durable

NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""Component ids as DESIGN section 5 allows them."""

_SUBMISSION: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """A complete, durable file in staging."""

    place: str
    digest: Digest
    """SHA-256 taken while the bytes came in."""
    size_bytes: int

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.place)


class StagedWriter:
    """Takes the bytes of one file as they arrive, one chunk at a time, from a synchronous or an asynchronous loop.

    Use as a context manager: leaving without `commit` throws everything away.
    """

    def __init__(
        self,
        writing: durable.DurableFile,
        *,
        expected: Digest | None,
        size_bytes: int | None,
        limit_bytes: int,
    ) -> None:
        self._writing = writing
        self._running = RunningDigest(expected.algorithm if expected else DigestAlgorithm.SHA_256)
        self._expected = expected
        self._size_bytes = size_bytes
        self._limit_bytes = limit_bytes if size_bytes is None else min(limit_bytes, size_bytes)

    @property
    def size_bytes(self) -> int:
        """Bytes taken so far."""
        return self._running.size_bytes

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes.

        Raises:
            DigestMismatch: more bytes than the declared size.
            TooLarge: more bytes than the limit.
            StoreFull: no room.
        """
        total = self._running.size_bytes + len(chunk)
        if total > self._limit_bytes:
            name = self._writing.name
            if self._size_bytes is not None and total > self._size_bytes:
                raise DigestMismatch(f"{name}: more than the declared {self._size_bytes} bytes")
            raise TooLarge(f"{name}: more than {self._limit_bytes} bytes")
        self._running.update(chunk)
        self._writing.write(chunk)

    def commit(self) -> StagedFile:
        """Compares with what was declared and makes the file visible and durable, in the place of an earlier one.

        Raises:
            DigestMismatch: other size or digest; nothing was kept, an earlier file is as it was.
            StoreFull: no room.
            StoreUnavailable: another system error.
        """
        name, digest, size = self._writing.name, self._running.digest(), self._running.size_bytes
        if self._size_bytes is not None and size != self._size_bytes:
            raise DigestMismatch(f"{name}: expected {self._size_bytes} bytes, got {size}")
        if self._expected is not None and digest != self._expected:
            raise DigestMismatch(f"{name}: expected {self._expected}, got {digest}")
        self._writing.commit()
        return StagedFile(place=os.fspath(self._writing.target), digest=digest, size_bytes=size)

    def abort(self) -> None:
        """Throws everything away; harmless after `commit`."""
        self._writing.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.abort()


class StagingArea:
    """The staging folder, for any number of threads and processes; of two writers of a name the last to commit wins."""

    def __init__(self, root: Path) -> None:
        """Takes the folder into use, making it when missing.

        Raises:
            StoreUnavailable: the folder cannot be made.
        """
        self._root = root
        self._root_text = os.fspath(root)
        durable.make_directories(root)

    def folder(self, submission_id: UUID) -> str:
        """Returns the folder of a submission's files, whether it is there or not.

        Raises:
            UnsafeKey: it is a symbolic link.
            StoreUnavailable: it cannot be looked at.
        """
        folder = f"{self._root_text}/{submission_id}"
        with durable.os_errors("look at", "staging"):
            status = durable.status_if_any(folder)
        if status is not None and stat.S_ISLNK(status.st_mode):
            raise UnsafeKey(f"the staging folder of {submission_id} is a symbolic link")
        return folder

    def path(self, submission_id: UUID, name: str) -> Path:
        """Returns where the file is or will be; says nothing of whether it is there.

        Raises:
            UnsafeKey: `name` is not a component id.
        """
        return Path(self._place(submission_id, name))

    def _place(self, submission_id: UUID, name: str) -> str:
        if not NAME_PATTERN.fullmatch(name):
            raise UnsafeKey(f"name {name[:120]!r} is not allowed in staging")
        return f"{self.folder(submission_id)}/{name}"

    def writer(
        self,
        submission_id: UUID,
        name: str,
        *,
        limit_bytes: int,
        expected: Digest | None = None,
        size_bytes: int | None = None,
    ) -> StagedWriter:
        """Starts receiving a file.

        Args:
            submission_id: whose file.
            name: component id.
            limit_bytes: refuse more than this.
            expected: the declared digest, if any.
            size_bytes: the declared size, if any.

        Raises:
            UnsafeKey: `name` is not a component id.
            TooLarge: the declared size is over the limit.
            StoreUnavailable: the folder cannot be written.
        """
        target = self._place(submission_id, name)
        if size_bytes is not None and size_bytes > limit_bytes:
            raise TooLarge(f"{name}: {size_bytes} bytes declared, at most {limit_bytes} are taken")
        writing = durable.DurableFile(target, replace=True, root=self._root)
        return StagedWriter(writing, expected=expected, size_bytes=size_bytes, limit_bytes=limit_bytes)

    def receive(
        self,
        submission_id: UUID,
        name: str,
        chunks: Iterable[bytes],
        *,
        limit_bytes: int,
        expected: Digest | None = None,
        size_bytes: int | None = None,
    ) -> StagedFile:
        """Receives a whole file; see `writer` for arguments and errors, and for asynchronous sources."""
        with self.writer(
            submission_id, name, limit_bytes=limit_bytes, expected=expected, size_bytes=size_bytes
        ) as writing:
            for chunk in chunks:
                writing.write(chunk)
            return writing.commit()

    def discard(self, submission_id: UUID) -> None:
        """Removes all files of a submission; absent already = done.

        Raises:
            StoreUnavailable: something could not be removed; repeat.
        """
        folder = durable.safe_join(self._root, str(submission_id))
        durable.remove_flat_folder(folder)

    def sweep(self, older_than: datetime, keep: Callable[[UUID], bool]) -> tuple[UUID, ...]:
        """Removes submissions untouched since `older_than` that `keep` does not want, and unfinished files of that age.

        `keep` asks the database whether a row still needs the files. Returns the submissions removed.

        Raises:
            StoreUnavailable: something could not be removed; repeat.
        """
        swept = []
        with durable.os_errors("list", self._root.name):
            names = sorted(entry.name for entry in self._root.iterdir() if _SUBMISSION.fullmatch(entry.name))
        for name in names:
            newest = durable.newest_change(self._root / name)
            if newest is not None and newest < older_than and not keep(UUID(name)):
                self.discard(UUID(name))
                swept.append(UUID(name))
        durable.sweep_temporaries(self._root, older_than=older_than)
        return tuple(swept)
