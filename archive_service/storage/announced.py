"""Reading a source that must turn out to be what was announced: one pass, hashed on the way, never far past its end."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from archive_service.digests import Digest, RunningDigest, chunks
from archive_service.errors import DigestMismatch

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Memory(io.RawIOBase):
    """Bytes in memory as a file; they are not copied as `io.BytesIO` would."""

    def __init__(self, content: memoryview) -> None:
        super().__init__()
        self._content = content
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        part = self._content[self._position : self._position + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._content)}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position


class HashedBytes(io.BufferedReader):
    """Bytes in memory with the digest that was taken as they were written there, so that no location hashes them once more.

    What a location then holds is read back and hashed all the same.
    """

    def __init__(self, content: bytes | memoryview, digest: Digest) -> None:
        """Takes the bytes, which stay where they are, and their digest."""
        self.content = memoryview(content)
        self.digest = digest
        super().__init__(_Memory(self.content))


class AnnouncedSource:
    """A source with the digest and size it was announced with; held while one `put` reads it."""

    def __init__(self, name: str, source: BinaryIO, *, expected: Digest, size_bytes: int) -> None:
        """Takes the source at its present position; `name` is for messages."""
        self._name = name
        self._source = source
        self._hashed = source if isinstance(source, HashedBytes) and source.tell() == 0 else None
        self._running = RunningDigest(expected.algorithm)
        self._read_bytes = 0
        self.expected = expected
        self.size_bytes = size_bytes

    def whole(self) -> memoryview | None:
        """Returns the bytes, at most one more than announced, where they stand in memory already; otherwise nothing is read."""
        if self._hashed is None:
            return None
        content = self._hashed.content[: self.size_bytes + 1]
        self._read_bytes = len(content)
        return content

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Yields the bytes, at most one more than announced."""
        whole = self.whole()
        if whole is not None:
            yield whole
            return
        for chunk in chunks(self._source, limit_bytes=self.size_bytes + 1):
            self._read_bytes += len(chunk)
            self._running.update(chunk)
            yield chunk

    def parts(self, part_bytes: int) -> Iterator[bytes]:
        """Yields the bytes in parts of exactly `part_bytes`, the last one shorter."""
        part = bytearray()
        for chunk in self.chunks():
            part += chunk
            while len(part) >= part_bytes:
                with memoryview(part) as whole, whole[:part_bytes] as first:
                    body = bytes(first)
                del part[:part_bytes]
                yield body
        if part:
            yield bytes(part)

    def require_as_announced(self) -> None:
        """Compares what was read to its end with what was announced.

        Raises:
            DigestMismatch: other size or digest.
        """
        if self._read_bytes != self.size_bytes:
            found = "more" if self._read_bytes > self.size_bytes else str(self._read_bytes)
            raise DigestMismatch(f"{self._name}: expected {self.size_bytes} bytes, the source has {found}")
        digest = self._hashed.digest if self._hashed is not None else self._running.digest()
        if digest != self.expected:
            raise DigestMismatch(f"{self._name}: expected {self.expected}, the source has {digest}")


def same_bytes(present: BinaryIO, *, expected: Digest, size_bytes: int) -> bool:
    """Returns whether `present` has the expected digest and size; it is not read far past `size_bytes`."""
    running = RunningDigest(expected.algorithm)
    for chunk in chunks(present, limit_bytes=size_bytes + 1):
        running.update(chunk)
    return running.size_bytes == size_bytes and running.digest() == expected
