"""A stored object as a seekable file: each read is one range read, so a ZIP's directory and one entry cost a few kilobytes."""

import io
from typing import TYPE_CHECKING, Final

from archive_service.storage.port import Store, StoreKey

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES: Final = 64 * 1024
"""Read at a time; a ZIP directory of a thousand entries fits."""


class _RangedObject(io.RawIOBase):
    def __init__(self, store: Store, key: StoreKey, size_bytes: int, version_id: str | None) -> None:
        self._store, self._key, self._size_bytes, self._version_id = store, key, size_bytes, version_id
        self._position = 0

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
        length = min(len(view), self._size_bytes - self._position)
        if length <= 0:
            return 0
        with self._store.open(self._key, offset=self._position, length=length, version_id=self._version_id) as source:
            content = source.read(length)
        view[: len(content)] = content
        self._position += len(content)
        return len(content)


def seekable(store: Store, key: StoreKey, *, size_bytes: int, version_id: str | None = None) -> io.BufferedReader:
    """Returns a stored object as a buffered, seekable file.

    Reading raises what `Store.open` raises.
    """
    return io.BufferedReader(_RangedObject(store, key, size_bytes, version_id), BLOCK_BYTES)
