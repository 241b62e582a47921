"""The only writer of files that must survive: temporary in the target folder, fsync, publish, fsync folder.

A file written here is either absent under its name or there in full, whatever instant the process dies or the power
fails; a return means it is durable. Nothing else opens files for writing under a store or staging root (STYLE 16; a
house-rule test holds it).

What POSIX does not promise and we rely on the file system for: that a rename or link is atomic towards a crash (ext4,
xfs, btrfs, zfs and NFSv4 servers keep it), and that a disk does not lie about a flush. A failed fsync is never
repeated on the same file: the kernel may have dropped the pages and would then report success; the temporary is
thrown away and the caller writes anew.
"""

import errno
import io
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from archive_service.errors import ArchiveError, Conflict, StoreFull, StoreUnavailable, UnsafeKey
from archive_service.storage import past_cache
from archive_service.storage.port import StoreAccessDenied

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

TEMPORARY_PREFIX: Final = ".tmp-"
"""Names of unfinished files start so; no key or component id can (they start with a letter or digit)."""

_TEMPORARY: Final = re.compile(re.escape(TEMPORARY_PREFIX) + r"[0-9a-f]{32}")

BUFFER_BYTES: Final = 64 * 1024
"""Small pieces are gathered to this; larger ones, as everything streamed is, pass without being copied once more."""

FILE_MODE: Final = 0o640
OBJECT_MODE: Final = 0o440
"""Archived objects are read-only even for their owner: a stray write by another program fails instead of damaging a
record."""
DIRECTORY_MODE: Final = 0o750

_NO_NAMES: Final = frozenset({"", ".", ".."})
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}

_KNOWN_DURABLE_MAX: Final = 100_000
"""Bound of the memory of folders whose place in their parent this process has flushed: about 20 MB at worst."""
_known_durable: set[str] = set()
_known_durable_lock = threading.Lock()


def translated_error(action: str, name: str, exc: OSError) -> ArchiveError:
    """Returns the domain error for a system error; `name` is a name, not a path, as messages travel to callers."""
    message = f"{action} {name}: {exc.strerror or exc}"
    if exc.errno in _NO_ROOM:
        return StoreFull(message)
    if exc.errno == errno.ENOTDIR:
        return UnsafeKey(f"{message}: a part of the path is a file")
    if exc.errno in _REFUSED:
        return StoreAccessDenied(message)
    return StoreUnavailable(message)


class os_errors:  # noqa: N801 - used as a function; a generator would cost more than most of the calls it stands around
    """Turns the `OSError`s of the block into `StoreFull`, `StoreAccessDenied` or `StoreUnavailable`."""

    __slots__ = ("_action", "_name")

    def __init__(self, action: str, name: str) -> None:
        """Takes what is being done, and the name of what it is done to."""
        self._action = action
        self._name = name

    def __enter__(self) -> None:
        """Begins the block."""

    def __exit__(
        self, _kind: type[BaseException] | None, exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Raises the domain error for a system error."""
        if isinstance(exc, OSError):
            raise translated_error(self._action, self._name, exc) from exc


def safe_join(root: Path, relative: str) -> Path:
    """Returns the path of `relative` below `root`, refusing every way out of it.

    Below a root no folder may be a symbolic link, wherever it leads; the root itself may be reached through some.

    Raises:
        UnsafeKey: absolute, or with NUL, backslash, an empty part, "." or "..", or through a symbolic link.
    """
    parts = relative.split("/")
    if "\0" in relative or "\\" in relative or not _NO_NAMES.isdisjoint(parts):
        raise UnsafeKey(f"path {relative!r} is not allowed")
    folder = os.fspath(root)
    for part in parts[:-1]:
        folder = f"{folder}/{part}"
        with os_errors("look at", part):
            status = status_if_any(folder)
        if status is None:  # nor is there anything below it
            break
        if stat.S_ISLNK(status.st_mode):
            raise UnsafeKey(f"path {relative!r} leads through the symbolic link {part!r}")
    return Path(f"{os.fspath(root)}/{relative}")


def status_if_any(path: str | Path) -> os.stat_result | None:
    """Returns the status of what stands under `path`, a symbolic link not followed; None when there is nothing.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def sync_directory(directory: str | Path) -> None:
    """Makes the entries of a folder durable.

    Raises:
        StoreUnavailable: the flush failed.
    """
    with os_errors("flush folder", os.path.basename(directory)):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_directories(directory: str | Path, *, root: Path | None = None) -> None:
    """Makes `directory` and its missing parents, each durable in its parent.

    A folder that exists already may have been made a moment ago by another process that has not flushed it yet. With
    `root` the place of every folder below `root` in its parent is therefore flushed once per process, so that what is
    published there cannot lose its path.

    Raises:
        StoreUnavailable: a folder could not be made or flushed.
    """
    wanted = os.fspath(directory)
    missing = []
    current = wanted
    with os_errors("look at folder", os.path.basename(wanted)):
        while not _is_folder(current):
            missing.append(current)
            current = os.path.dirname(current) or os.curdir
    if not missing and wanted in _known_durable:
        return
    for folder in reversed(missing):
        with os_errors("make folder", os.path.basename(folder)), suppress(FileExistsError):  # another writer was faster
            os.mkdir(folder, DIRECTORY_MODE)
    unflushed = set(missing)
    if root is not None:
        unflushed |= set(_below(os.fspath(root), wanted)) - _known_durable
    for parent in sorted({os.path.dirname(folder) or os.curdir for folder in unflushed}, key=len):
        sync_directory(parent)
    with _known_durable_lock:
        if len(_known_durable) + len(unflushed) > _KNOWN_DURABLE_MAX:
            _known_durable.clear()
        _known_durable.update(unflushed)


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _below(root: str, folder: str) -> Iterator[str]:
    """Yields `folder` and its parents up to, and without, `root`."""
    while folder.startswith(f"{root}/"):
        yield folder
        folder = os.path.dirname(folder)


class _TemporaryFile(io.FileIO):
    """The raw temporary: its write errors are domain errors and so differ from errors of whatever is being read."""

    def write(self, chunk: "ReadableBuffer", /) -> int:
        """Writes what the system takes at once."""
        with os_errors("write", "temporary file"):
            return super().write(chunk)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves the position."""
        with os_errors("seek in", "temporary file"):
            return super().seek(offset, whence)

    def tell(self) -> int:
        """Returns the position."""
        with os_errors("seek in", "temporary file"):
            return super().tell()


def _open_temporary(folder: str) -> tuple[str, int]:
    """Returns path and descriptor of a new temporary in `folder`, for nobody else to read until it is finished.

    Its name is random, so a leftover of a crash never stands in the way.
    """
    path = f"{folder}/{TEMPORARY_PREFIX}{secrets.token_hex(16)}"
    with os_errors("make temporary file in", os.path.basename(folder)):
        return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


class DurableFile:
    """A file that becomes visible under its name only by `commit`.

    Bytes go in by `write`, one piece after the other, or through `.file`, which is seekable and readable; not by both.
    """

    def __init__(
        self, target: str | Path, *, replace: bool = False, mode: int = FILE_MODE, root: Path | None = None
    ) -> None:
        """Opens the temporary, making missing folders.

        Args:
            target: the name it will have.
            replace: put it in the place of an existing file; otherwise an existing one is never touched.
            mode: permission bits of the finished file.
            root: see `make_directories`.

        Raises:
            StoreUnavailable: the folder cannot be written.
        """
        self.target = target
        folder, self.name = os.path.split(target)
        self._folder = folder or os.curdir
        self._replace = replace
        self._mode = mode
        self._finished = False
        self._file: BinaryIO | None = None
        make_directories(self._folder, root=root)
        self._temporary, self._descriptor = _open_temporary(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.abort()

    def write(self, piece: bytes | memoryview) -> None:
        """Appends bytes, without gathering small pieces.

        Raises:
            StoreFull: no room.
            StoreUnavailable: any other system error.
        """
        with os_errors("write", "temporary file"):
            written = os.write(self._descriptor, piece)
            while written < len(piece):
                piece = memoryview(piece)[written:]
                written = os.write(self._descriptor, piece)

    def write_whole(self, content: memoryview) -> None:
        """Writes all there is in one piece, past the system's cache where that is possible.

        Raises:
            StoreFull: no room.
            StoreUnavailable: any other system error.
        """
        with os_errors("write", "temporary file"):
            if len(content) >= past_cache.FROM_BYTES and past_cache.write_past_cache(self._descriptor, content):
                return
        self.write(content)

    @property
    def file(self) -> BinaryIO:
        """The file that is being written."""
        if self._file is None:
            raw = _TemporaryFile(self._descriptor, "r+b", closefd=False)
            self._file = io.BufferedRandom(raw, buffer_size=BUFFER_BYTES)
        return self._file

    def commit(self, *, drop_cache: bool = False) -> None:
        """Makes the bytes durable and the name visible, in this order.

        An error before publishing leaves nothing behind. If only the last step, flushing the folder, fails, the whole
        file is visible but may be lost with the power; it is not taken back, since another writer of the same bytes
        may have seen it and relied on it.

        Args:
            drop_cache: ask the system to forget the pages, so that reading back meets the disk and not memory.

        Raises:
            Conflict: the target exists (only without `replace`).
            StoreFull: no room.
            StoreUnavailable: any other system error.
        """
        try:
            with os_errors("write", self.name):
                if self._file is not None:
                    self._file.flush()
                os.fchmod(self._descriptor, self._mode)
                os.fsync(self._descriptor)
                if drop_cache:
                    with suppress(OSError):  # advice only; a file system may not know it
                        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                self._close()
                self._publish()
        finally:
            self.abort()
        sync_directory(self._folder)

    def _publish(self) -> None:
        if self._replace:
            os.replace(self._temporary, self.target)
            self._finished = True
            return
        try:
            os.link(self._temporary, self.target, follow_symlinks=False)
        except FileExistsError as exc:
            raise Conflict(f"{self.name} exists already") from exc

    def _close(self) -> None:
        """Closes once: the system may give the same number to another file at once."""
        try:
            if self._file is not None:
                self._file.close()
        finally:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def abort(self) -> None:
        """Throws the temporary away; nothing happens after `commit`, and calling it twice is harmless."""
        if self._finished:
            return
        self._finished = True
        with suppress(OSError, ArchiveError):  # closing flushes what is left; it is being thrown away
            self._close()
        with suppress(OSError):  # left for `sweep_temporaries`
            os.unlink(self._temporary)


@contextmanager
def durable_file(target: Path, *, replace: bool = False, mode: int = FILE_MODE) -> Iterator[BinaryIO]:
    """Yields a seekable file that becomes visible as `target`, durable, when the block ends without an exception.

    After an exception nothing is left, and an existing target is as it was.

    Raises:
        Conflict: the target exists (only without `replace`).
        StoreFull: no room.
        StoreUnavailable: any other system error.
    """
    with DurableFile(target, replace=replace, mode=mode) as writing:
        yield writing.file
        writing.commit()


def remove(path: Path) -> bool:
    """Removes a file durably; returns whether there was one.

    Raises:
        StoreUnavailable: it could not be removed, or the removal not made durable.
    """
    with os_errors("remove", path.name):
        try:
            path.unlink()
            found = True
        except (FileNotFoundError, NotADirectoryError):
            found = False
        there = path.parent.is_dir()
    if there:  # also when the file is absent: an earlier removal may have died before its flush
        sync_directory(path.parent)
    return found


def remove_flat_folder(folder: Path) -> None:
    """Removes a folder that holds files only, durably; absent already = done.

    Symbolic links in it are removed, not followed.

    Raises:
        StoreUnavailable: something in it is a folder, could not be removed, or appeared meanwhile; repeat.
    """
    with os_errors("remove", folder.name), suppress(FileNotFoundError):
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):  # another remover was faster
                os.unlink(f"{folder}/{name}")
        os.rmdir(folder)
    sync_directory(folder.parent)


def newest_change(folder: Path) -> datetime | None:
    """Returns when the folder or anything directly in it last changed; None when it is gone."""
    newest = None
    with os_errors("look at", folder.name), suppress(FileNotFoundError):
        newest = modified_at(folder.lstat())
        for entry in folder.iterdir():
            with suppress(FileNotFoundError):  # finished or removed meanwhile
                newest = max(newest, modified_at(entry.lstat()))
    return newest


def sweep_temporaries(root: Path, *, older_than: datetime) -> int:
    """Removes unfinished files of writers that died, below `root`; returns how many.

    `older_than` must lie further back than any write can take, or a living writer loses its work (it then reports an
    error).
    """
    swept = 0
    for folder, _folders, names in os.walk(root, followlinks=False):
        for name in filter(_TEMPORARY.fullmatch, names):
            path = Path(folder, name)
            with os_errors("sweep", name), suppress(FileNotFoundError):  # its writer may finish meanwhile
                if modified_at(path.lstat()) < older_than:
                    path.unlink()
                    swept += 1
    return swept


def modified_at(status: os.stat_result) -> datetime:
    """Returns the modification time of a file as aware UTC."""
    return datetime.fromtimestamp(status.st_mtime, UTC)


def open_regular(path: Path) -> io.FileIO:
    """Opens a regular file for reading, following no symbolic link at its last step.

    Raises:
        FileNotFoundError: no such file, or something that is not a regular file.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a regular file", path.name)
    return io.FileIO(descriptor, "r")
