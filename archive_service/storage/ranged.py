"""A stored object as a seekable file: a ZIP's directory and one entry cost a few kilobytes, the whole of it few requests.

Reads that follow each other ask for ever longer ranges, so that an object of 20 GB takes some hundreds of requests and not hundreds of
thousands; a read elsewhere begins small again. Nothing is kept but what is being read.
"""

import io
import tempfile
from typing import TYPE_CHECKING, BinaryIO, Final

from archive_service.digests import chunks
from archive_service.storage import durable
from archive_service.storage.port import Store, StoreKey

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES: Final = 64 * 1024
"""Asked for at a place that is read for the first time; a ZIP directory of a thousand entries fits."""
RANGE_MAX_BYTES: Final = 64 * 1024 * 1024
"""Most that one request asks for: what breaks in it is taken up again by the store's own reader, and the next begins with a new account."""
COPIED_MAX_BYTES: Final = 1024 * 1024 * 1024
"""Largest object copied to disk where its location cannot seek: a package of many small files costs one request instead of one for each."""


class _RangedObject(io.RawIOBase):
    def __init__(self, store: Store, key: StoreKey, size_bytes: int, version_id: str | None) -> None:
        super().__init__()
        self._store, self._key, self._size_bytes, self._version_id = store, key, size_bytes, version_id
        self._position = 0
        self._source: BinaryIO | None = None
        self._next = 0
        """Where what `_source` gives next stands."""
        self._end = 0
        """Where `_source` ends."""
        self._range_bytes = 0
        """How much the last request asked for."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size_bytes - self._position)
        if wanted <= 0:
            return 0
        content = self._opened(wanted).read(min(wanted, self._end - self._position))
        view[: len(content)] = content
        self._position += len(content)
        self._next = self._position
        return len(content)

    def _opened(self, wanted: int) -> BinaryIO:
        """Returns a reader that stands at the position: the one at hand, or that of a new range, longer where the last was read to its end."""
        follows = self._source is not None and self._position == self._next
        if self._source is not None and follows and self._next < self._end:
            return self._source
        self._leave()
        self._range_bytes = min(2 * self._range_bytes, RANGE_MAX_BYTES) if follows else 0
        self._range_bytes = max(self._range_bytes, wanted)
        length = min(self._range_bytes, self._size_bytes - self._position)
        self._source = self._store.open(self._key, offset=self._position, length=length, version_id=self._version_id)
        self._next, self._end = self._position, self._position + length
        return self._source

    def _leave(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def close(self) -> None:
        self._leave()
        super().close()


def seekable(store: Store, key: StoreKey, *, size_bytes: int, version_id: str | None = None) -> io.BufferedReader:
    """Returns a stored object as a buffered, seekable file.

    Reading raises what `Store.open` raises.
    """
    return io.BufferedReader(_RangedObject(store, key, size_bytes, version_id), BLOCK_BYTES)


def opened_anywhere(store: Store, key: StoreKey, version_id: str | None = None) -> BinaryIO:
    """Returns an object to be read from its start and then here and there: where it lies if its location can seek.

    Where it cannot, an object of at most `COPIED_MAX_BYTES` is copied into a file without a name, and a larger one is read by ranges, all of
    the version that is the newest now; no copy of it is made.

    Raises:
        StoredObjectMissing: it is not there.
        StoreUnavailable: the location does not answer, or there is no room for a copy.
    """
    if store.capabilities.seekable:
        return store.open(key, version_id=version_id)
    found = store.stat(key, version_id=version_id)
    if found.size_bytes > COPIED_MAX_BYTES:
        return seekable(store, key, size_bytes=found.size_bytes, version_id=found.version_id)
    with (
        durable.os_errors(f"copy into {tempfile.gettempdir()}", key),
        store.open(key, version_id=found.version_id) as source,
    ):
        target: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        target.writelines(chunks(source))
        target.seek(0)
    return target
