"""A store in a folder: the embedded default, and the reference for what the port means.

Layout below the root:

    objects/aip/@1f0/1f0c…/1.zip        the bytes, read-only; the path is the key
    locks/aip/@1f0/1f0c…/1.zip@lock     retain-until and legal hold, only where one was ever set
    .lock                               serialises changes of locks and deletions between processes

A part of 16 or more characters gets a fan-out folder `@` + its first three characters before it, so that millions of
record ids do not share one folder. `@` cannot stand in a key, so the mapping is one to one and the key can be read
back from the path.

The file system gives no object lock: retention and holds are kept by this module's `delete`
(`LockEnforcement.SERVICE`). An unreadable lock file, or one that does not have the digest it states, counts as locked.
"""

import errno
import fcntl
import io
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from uuid import UUID

from archive_service import clock
from archive_service.digests import Digest, canonical_json, digest_bytes
from archive_service.errors import (
    Conflict,
    Retained,
    StoredObjectDiffers,
    StoredObjectMissing,
    StoreUnavailable,
    UnsafeKey,
)
from archive_service.storage import durable
from archive_service.storage.announced import AnnouncedSource, same_bytes
from archive_service.storage.past_cache import PastCacheReader, is_worth
from archive_service.storage.port import (
    Capabilities,
    LockEnforcement,
    ObjectLock,
    StoredObject,
    StoreKey,
    store_key,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FAN_OUT_MARK: Final = "@"
FAN_OUT_FROM_CHARACTERS: Final = 16
"""Parts at least this long are ids or digests and numerous; shorter ones ("aip", "1.zip") are names and few."""
FAN_OUT_CHARACTERS: Final = 3
"""4,096 folders for hex ids: ten million records make 2,400 entries in each."""

LOCK_SUFFIX: Final = "@lock"
"""Cannot be the end of a key either: the lock of one key is never in the way of another."""

_LOCK_FIELDS: Final = {"key", "legal_hold", "retain_until"}

_NOT_THERE: Final = {errno.ENOENT, errno.ENOTDIR}
_NO_LOCK: Final = ObjectLock(retain_until=None, legal_hold=False)

_log = logging.getLogger(__name__)


class FilesystemStore:
    """A `Store` below one folder. Safe for any number of threads and processes on one host, or over NFSv4."""

    def __init__(self, name: str, root: Path, *, now: Callable[[], datetime] = clock.now) -> None:
        """Takes the folder into use, making it when missing.

        Args:
            name: the location's name.
            root: the folder; nothing else may write below it.
            now: the clock that `delete` holds retention dates against.

        Raises:
            StoreUnavailable: the folder cannot be made.
        """
        self._name = name
        self._root = root
        self._objects = root / "objects"
        self._locks = root / "locks"
        self._now = now
        for folder in (self._objects, self._locks):
            durable.make_directories(folder, root=root)

    @property
    def name(self) -> str:
        """The location's name."""
        return self._name

    def is_there(self) -> bool:
        """Returns whether the folder that was taken into use is still there: a disk may have been unmounted since."""
        return self._objects.is_dir() and self._locks.is_dir()

    @property
    def capabilities(self) -> Capabilities:
        """Locks kept by this service, no versions."""
        return Capabilities(
            immutable_until=True,
            legal_hold=True,
            lock_enforcement=LockEnforcement.SERVICE,
            server_side_digest=False,
            versioned=False,
            seekable=True,
        )

    def put(
        self,
        key: StoreKey,
        source: BinaryIO,
        *,
        expected: Digest,
        size_bytes: int,
        retain_until: datetime | None = None,
    ) -> StoredObject:
        """See `Store.put`. The lock is written before the object becomes visible, so it is never there unlocked."""
        target = self._object_path(key)
        with durable.os_errors("look for", key):
            present = durable.status_if_any(target)
        if present is not None and stat.S_ISDIR(present.st_mode):
            raise UnsafeKey(f"{key} is the beginning of other keys at {self._name}")
        if present is None:
            with durable.DurableFile(target, mode=durable.OBJECT_MODE, root=self._objects) as writing:
                _write(writing, AnnouncedSource(key, source, expected=expected, size_bytes=size_bytes))
                self._retain(key, retain_until)
                with suppress(Conflict):  # another writer was faster: compared below
                    writing.commit(drop_cache=True)
                    with self._missing(key):
                        return _stored_object(key, target, sha256=expected)
        try:
            return self._existing(key, expected=expected, size_bytes=size_bytes, retain_until=retain_until)
        except StoredObjectMissing as exc:
            raise StoreUnavailable(f"{self._name}: {key} was there a moment ago and is not now; try again") from exc

    def supersede(
        self,
        key: StoreKey,
        source: BinaryIO,
        *,
        expected: Digest,
        size_bytes: int,
        retain_until: datetime | None = None,
    ) -> StoredObject:
        """See `Store.supersede`: one rename, the lock file stays as it is or is extended."""
        target = self._object_path(key)
        self._status(key)
        with durable.DurableFile(target, mode=durable.OBJECT_MODE, root=self._objects, replace=True) as writing:
            _write(writing, AnnouncedSource(key, source, expected=expected, size_bytes=size_bytes))
            self._retain(key, retain_until)
            writing.commit(drop_cache=True)
        return replace(self._status(key), sha256=expected)

    def _existing(
        self, key: StoreKey, *, expected: Digest, size_bytes: int, retain_until: datetime | None
    ) -> StoredObject:
        """Returns the object already there if it has the expected bytes, durable even if its writer had died."""
        with self.open(key) as present:
            if not same_bytes(present, expected=expected, size_bytes=size_bytes):
                raise StoredObjectDiffers(f"{self._name} holds other bytes under {key}", location=self._name, key=key)
        target = self._object_path(key)
        durable.make_directories(target.parent, root=self._objects)
        durable.sync_directory(target.parent)
        self._retain(key, retain_until)
        with self._missing(key):
            return _stored_object(key, target, sha256=expected)

    def open(
        self,
        key: StoreKey,
        *,
        offset: int = 0,
        length: int | None = None,
        version_id: str | None = None,
        past_cache: bool = False,
    ) -> BinaryIO:
        """See `Store.open`. The reader is seekable within the range."""
        if offset < 0 or (length is not None and length < 0):
            raise ValueError(f"range {offset}+{length}")
        self._refuse_version(key, version_id)
        with self._missing(key), _unsafe_link(key):
            raw = durable.open_regular(self._object_path(key))
        with durable.os_errors("read", key):
            size = os.fstat(raw.fileno()).st_size
        end = size if length is None else min(size, offset + length)
        reader = _ObjectReader(raw, key, offset, max(offset, end), past_cache=past_cache)
        return io.BufferedReader(reader, buffer_size=durable.BUFFER_BYTES)

    def stat(self, key: StoreKey, *, version_id: str | None = None) -> StoredObject:
        """See `Store.stat`."""
        self._refuse_version(key, version_id)
        return self._status(key)

    def list(self, prefix: str = "", *, start_after: StoreKey | None = None) -> Iterator[StoredObject]:
        """See `Store.list`. The order is that of the folders, fan-out included."""
        after = self._object_path(start_after).relative_to(self._objects).parts if start_after else ()
        yield from self._walk(self._objects, "", prefix, after)

    def inventory(self, prefix: str = "", *, start_after: StoreKey | None = None) -> Iterator[StoredObject]:
        """See `Store.inventory`: without versions the same as `list`."""
        return self.list(prefix, start_after=start_after)

    def versions(self, key: StoreKey) -> tuple[StoredObject, ...]:
        """See `Store.versions`: one or none."""
        try:
            return (self._status(key),)
        except StoredObjectMissing:
            return ()

    def lock(self, key: StoreKey, *, version_id: str | None = None) -> ObjectLock:
        """See `Store.lock`."""
        self.stat(key, version_id=version_id)
        return self._read_lock(key)

    def retain_until(self, key: StoreKey, until: datetime, version_id: str | None = None) -> None:
        """See `Store.retain_until`."""
        self.stat(key, version_id=version_id)
        self._retain(key, until)

    def set_legal_hold(self, key: StoreKey, on: bool, *, version_id: str | None = None) -> None:  # noqa: FBT001
        """See `Store.set_legal_hold`."""
        with self._exclusive():
            self.stat(key, version_id=version_id)
            self._write_lock(key, replace(self._read_lock(key), legal_hold=on))

    def delete(self, key: StoreKey, *, version_id: str | None, disposition: UUID) -> None:
        """See `Store.delete`. The bytes go before the lock file, so that a crash leaves nothing unlocked."""
        if version_id is not None:
            raise ValueError(f"{self._name} has no versions, got {version_id!r} for {key}")
        target = self._object_path(key)
        with self._exclusive():
            if not self.versions(key):
                durable.remove(target)  # makes an earlier removal durable that died before its flush
                return
            lock = self._read_lock(key)
            if lock.legal_hold:
                raise Retained(f"{key} at {self._name} is under legal hold")
            if lock.retain_until is not None and lock.retain_until > clock.require_aware(self._now()):
                raise Retained(f"{key} at {self._name} is locked until {lock.retain_until.isoformat()}")
            durable.remove(target)
            durable.remove(self._lock_path(key))
        _log.warning("deleted %s at %s under disposition %s", key, self._name, disposition)

    def sweep_unfinished(self, *, older_than: datetime) -> int:
        """See `Store.sweep_unfinished`: removes temporary files."""
        return durable.sweep_temporaries(self._root, older_than=clock.require_aware(older_than))

    # -- paths and walking

    def _object_path(self, key: StoreKey) -> Path:
        return durable.safe_join(self._objects, _fanned_out(store_key(key)))

    def _lock_path(self, key: StoreKey) -> Path:
        return durable.safe_join(self._locks, _fanned_out(store_key(key)) + LOCK_SUFFIX)

    def _status(self, key: StoreKey) -> StoredObject:
        with self._missing(key):
            return _stored_object(key, self._object_path(key))

    def _walk(self, folder: Path, logical: str, prefix: str, after: tuple[str, ...]) -> Iterator[StoredObject]:
        """Yields objects below `folder`, whose keys start with `logical`, in path order, skipping all up to `after`."""
        with durable.os_errors("list", folder.name):
            try:
                names = sorted(entry.name for entry in folder.iterdir())
            except FileNotFoundError:  # deleted while listing
                return
        for name in names:
            if name.startswith(durable.TEMPORARY_PREFIX) or (after and name < after[0]):
                continue
            rest = after[1:] if after and name == after[0] else ()
            if after and name == after[0] and not rest:  # the very object listing had reached
                continue
            key = logical + name.removeprefix(FAN_OUT_MARK)
            if not (key.startswith(prefix) or prefix.startswith(key)):
                continue
            yield from self._entry(folder / name, key, prefix, rest)

    def _entry(self, path: Path, key: str, prefix: str, after: tuple[str, ...]) -> Iterator[StoredObject]:
        if path.is_dir() and not path.is_symlink():
            below = key.rpartition("/")[0] + "/" if path.name.startswith(FAN_OUT_MARK) else key + "/"
            yield from self._walk(path, below.removeprefix("/"), prefix, after)
        elif key.startswith(prefix):
            try:
                with self._missing(key):
                    found = _stored_object(StoreKey(key), path)
            except StoredObjectMissing:  # deleted while listing
                return
            yield found

    # -- locks

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Holds the store's one lock: changes of locks and deletions never interleave, across processes."""
        with durable.os_errors("lock", self._name):
            descriptor = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            with durable.os_errors("lock", self._name):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            with suppress(OSError):  # the lock is given back even when closing reports an error
                os.close(descriptor)

    def _retain(self, key: StoreKey, until: datetime | None) -> None:
        """Extends the lock; an earlier date changes nothing."""
        if until is None:
            return
        wanted = clock.require_aware(until).astimezone(UTC)
        with self._exclusive():
            present = self._read_lock(key)
            if present.retain_until is None or present.retain_until < wanted:
                self._write_lock(key, replace(present, retain_until=wanted))

    def _read_lock(self, key: StoreKey) -> ObjectLock:
        try:
            with durable.os_errors("read lock of", key):
                content = _content_if_any(self._lock_path(key))
            if content is None:
                return _NO_LOCK
            return _lock_in(content, key)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise Retained(f"the lock file of {key} at {self._name} is unreadable, which counts as locked") from exc

    def _write_lock(self, key: StoreKey, lock: ObjectLock) -> None:
        until = None if lock.retain_until is None else lock.retain_until.isoformat()
        content = {"key": key, "legal_hold": lock.legal_hold, "retain_until": until}
        with durable.DurableFile(self._lock_path(key), replace=True, root=self._locks) as writing:
            writing.write(_lock_file(content))
            writing.commit()

    # -- errors

    def _refuse_version(self, key: StoreKey, version_id: str | None) -> None:
        if version_id is not None:
            raise StoredObjectMissing(f"{self._name} has no versions; {key} version {version_id!r} is not here")

    @contextmanager
    def _missing(self, key: str) -> Iterator[None]:
        """Turns "no such file" into `StoredObjectMissing`, and only that; other system errors keep their meaning."""
        try:
            yield
        except OSError as exc:
            if exc.errno in _NOT_THERE:
                raise StoredObjectMissing(f"{self._name} holds nothing under {key}") from exc
            raise durable.translated_error("read", key, exc) from exc


def _write(writing: durable.DurableFile, announced: AnnouncedSource) -> None:
    whole = announced.whole()
    if whole is not None:
        writing.write_whole(whole)
    else:
        for chunk in announced.chunks():
            writing.write(chunk)
    announced.require_as_announced()


class _ObjectReader(io.RawIOBase):
    """Reads a range of an object; system errors come out in the port's terms."""

    def __init__(self, raw: io.FileIO, key: str, start: int, end: int, *, past_cache: bool) -> None:
        super().__init__()
        self._direct = PastCacheReader(raw.fileno()) if past_cache and is_worth(end - start) else None
        self._raw = raw
        self._key = key
        self._start = start
        self._end = end
        self._position = start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._end - self._position)]
        with durable.os_errors("read", self._key):
            if self._direct is not None and len(view):
                count = self._direct.readinto(view, self._position)
            else:
                count = os.preadv(self._raw.fileno(), [view], self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        if base + offset < self._start:
            raise ValueError(f"seek before the start of {self._key}")
        self._position = base + offset
        return self._position - self._start

    def tell(self) -> int:
        return self._position - self._start

    def close(self) -> None:
        super().close()
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.close()
        with durable.os_errors("close", self._key):
            self._raw.close()


def _fanned_out(key: StoreKey) -> str:
    """Returns the relative path of `key`."""
    parts = []
    for part in key.split("/"):
        if len(part) >= FAN_OUT_FROM_CHARACTERS:
            parts.append(FAN_OUT_MARK + part[:FAN_OUT_CHARACTERS])
        parts.append(part)
    return "/".join(parts)


def _lock_in(content: bytes, key: str) -> ObjectLock:
    """Returns what a lock file says.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not what was written for this key.
    """
    raw = json.loads(content)
    stated, until = raw.pop("sha256", None), raw["retain_until"]
    written = _lock_file(raw) if stated is not None else _lock_file_before(raw)
    if raw.keys() != _LOCK_FIELDS or raw["key"] != key or content != written:
        raise ValueError("it is another key's, or its digest is another")
    return ObjectLock(
        retain_until=None if until is None else clock.require_aware(datetime.fromisoformat(until)),
        legal_hold=bool(raw["legal_hold"]),
    )


def _lock_file(content: dict[str, Any]) -> bytes:
    """Returns the bytes of a lock file: readable JSON with a digest of itself, so that a changed byte never shortens a lock unseen."""
    return json.dumps({**content, "sha256": _digest_of_lock(content)}, indent=1).encode()


def _lock_file_before(content: dict[str, Any]) -> bytes:
    """Returns the bytes of a lock file as they were before it had a digest; the next change of the lock gives it one."""
    return json.dumps(content, indent=1).encode()


def _digest_of_lock(content: dict[str, Any]) -> str:
    return digest_bytes(canonical_json(content)).hex


def _content_if_any(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _stored_object(key: StoreKey, path: Path, *, sha256: Digest | None = None) -> StoredObject:
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a regular file", key)
    return StoredObject(
        key=key,
        size_bytes=status.st_size,
        version_id=None,
        sha256=sha256,
        modified_at=durable.modified_at(status),
    )


@contextmanager
def _unsafe_link(key: str) -> Iterator[None]:
    """Turns "is a symbolic link" into `UnsafeKey`: an object is never one."""
    try:
        yield
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise UnsafeKey(f"{key} is a symbolic link") from exc
        raise
