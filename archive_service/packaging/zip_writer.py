"""A deterministic writer of ZIP archives with stored entries (APPNOTE 6.3.x), ZIP64 where sizes need it.

Python's zipfile is not used for writing: it adds the current time and its own version fields, seeks, and cannot give
the digest of the
archive while writing it. Here the outer SHA-256 is taken in the one pass that writes, which needs each entry's CRC-32
before its bytes: `java.util.zip.ZipInputStream` refuses stored entries that carry their CRC in a data descriptor, so
descriptors are not an option.

The CRC is known when the caller took it at intake, or when the entry fits in memory. Only a large file without one is
written first, its header patched, and its range of the archive read once more for the outer digest.
"""

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO, Final, Self

from archive_service.digests import CHUNK_BYTES, Digest, RunningDigest, chunks, digest_bytes
from archive_service.errors import DigestMismatch, UnsafeKey

_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_CENTRAL_HEADER: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_ZIP64_END: Final = struct.Struct("<4sQ2H2I4Q")
_ZIP64_LOCATOR: Final = struct.Struct("<4sIQI")

_VERSION_STORED: Final = 20
_VERSION_ZIP64: Final = 45
_MADE_BY_UNIX: Final = 3 << 8
_FLAG_UTF8: Final = 1 << 11
_STORED: Final = 0
_MODE_0644: Final = 0o100644 << 16
_LIMIT_32: Final = 0xFFFFFFFF
_LIMIT_16: Final = 0xFFFF
_SPOOL_BYTES: Final = 8 * CHUNK_BYTES
"""Generated metadata larger than this goes through a temporary file: memory stays bounded at any number of
documents."""
_GATHER_BYTES: Final = 128 * 1024
"""Pieces smaller than this are gathered into one write."""
_NAME_BYTES_MAX: Final = 1024
"""Longer entry names break common tools and never arise from our own naming."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AipEntry:
    """One file inside the package."""

    path: str
    """Path in the ZIP, beginning with the package folder."""
    component_id: str | None
    offset: int
    """Of the first data byte in the ZIP: with `size_bytes` this is the range that serves the file straight from the
    object (D4)."""
    size_bytes: int
    digest: Digest


def dos_time(at: datetime) -> tuple[int, int]:
    """Returns MS-DOS time and date of `at` in UTC, held inside the format's range 1980-2107; resolution two seconds."""
    moment = at.astimezone(UTC)
    year = min(max(moment.year, 1980), 2107)
    return (
        moment.hour << 11 | moment.minute << 5 | moment.second // 2,
        (year - 1980) << 9 | moment.month << 5 | moment.day,
    )


class ZipWriter:
    """Writes entries one after the other and knows the archive's digest and size when finished.

    The target must be empty and at its beginning. It must be seekable and readable only when a large file without CRC
    is added. Use as a context manager: the central directory grows beside the target, in memory while it is small.
    """

    def __init__(self, target: BinaryIO, *, at: datetime) -> None:
        self._target = target
        self._times = dos_time(at)
        self._running = RunningDigest()
        self._gathered = bytearray()
        self.size_bytes = 0
        """Of the archive so far."""
        self._records = bytearray()
        """Of the central directory; what is more than `_SPOOL_BYTES` stands in a file."""
        self._spooled: BinaryIO | None = None
        self._names: set[int] = set()
        """Hashes of the names: of 200,000 the names themselves would be the larger part of all that is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._spooled is not None:
            self._spooled.close()

    def add_bytes(self, path: str, content: bytes, *, component_id: str | None = None) -> AipEntry:
        """Adds an entry held in memory."""
        return self._add_known(path, content, zlib.crc32(content), digest_bytes(content), component_id)

    def add_parts(self, path: str, parts: Iterable[bytes]) -> AipEntry:
        """Adds an entry generated piece by piece: held until its CRC is known for its header, in a file when it is large."""
        coming = iter(parts)
        held = bytearray()
        for part in coming:
            held += part
            if len(held) > _SPOOL_BYTES:
                return self._add_spooled(path, chain((bytes(held),), coming))
        return self.add_bytes(path, bytes(held))

    def _add_spooled(self, path: str, parts: Iterable[bytes]) -> AipEntry:
        crc = 0
        running = RunningDigest()
        with TemporaryFile() as spool:
            for part in parts:
                crc = zlib.crc32(part, crc)
                running.update(part)
                spool.write(part)
            spool.seek(0)
            offset = self._header(path, crc, running.size_bytes)
            self._copy(spool)
        return AipEntry(
            path=path, component_id=None, offset=offset, size_bytes=running.size_bytes, digest=running.digest()
        )

    def add_stream(
        self, path: str, parts: Iterable[bytes], *, expected: Digest, size_bytes: int, crc32: int
    ) -> AipEntry:
        """Adds an entry whose size, digest and CRC-32 are known, piece by piece and without a temporary file.

        Raises:
            DigestMismatch: what came is not what was expected. The archive written so far is void.
        """
        offset = self._header(path, crc32, size_bytes)
        crc, running = 0, RunningDigest()
        for part in parts:
            crc = zlib.crc32(part, crc)
            running.update(part)
            self._put(part)
        _refuse_difference(path, expected, size_bytes, running.digest(), running.size_bytes)
        if crc != crc32:
            raise DigestMismatch(f"{path}: CRC-32 {crc:08x}, expected {crc32:08x}")
        return AipEntry(path=path, component_id=None, offset=offset, size_bytes=size_bytes, digest=expected)

    def add_file(
        self,
        path: str,
        source: Path | str,
        *,
        expected: Digest,
        size_bytes: int,
        crc32: int | None,
        component_id: str | None,
    ) -> AipEntry:
        """Adds the bytes of a file, read once and compared with what they must be.

        Raises:
            DigestMismatch: the file's size, SHA-256 or CRC-32 is not the expected one. The archive written so far is
            void. OSError: the file cannot be read or the target cannot be written.
        """
        if size_bytes <= CHUNK_BYTES:
            content = _read_whole(source, size_bytes)
            digest = digest_bytes(content)
            _refuse_difference(source, expected, size_bytes, digest, len(content))
            return self._add_known(path, content, zlib.crc32(content), expected, component_id)
        with Path(source).open("rb", buffering=0) as opened:
            if crc32 is None:
                return self._add_unknown(path, opened, source, expected, size_bytes, component_id)
            offset = self._header(path, crc32, size_bytes)
            crc, running = self._copy_checked(opened, limit_bytes=size_bytes)
            surplus = len(opened.read(1) or b"")
        _refuse_difference(source, expected, size_bytes, running.digest(), running.size_bytes + surplus)
        if crc != crc32:
            raise DigestMismatch(
                f"{Path(source).name}: CRC-32 {crc:08x}, expected {crc32:08x}", component_id=component_id
            )
        return AipEntry(path=path, component_id=component_id, offset=offset, size_bytes=size_bytes, digest=expected)

    def finish(self) -> tuple[Digest, int]:
        """Writes the central directory; returns the archive's SHA-256 and size in bytes."""
        start = self.size_bytes
        if self._spooled is not None:
            self._spooled.seek(0)
            self._copy(self._spooled)
        self._put(self._records)
        self._put(end_records(len(self._names), start, self.size_bytes - start))
        self._flush()
        return self._running.digest(), self.size_bytes

    # ------------------------------------------------------------ pieces

    def _put(self, content: bytes | bytearray) -> None:
        """Writes and hashes; small pieces (headers, metadata) are gathered first, as each write and update has its price."""
        self.size_bytes += len(content)
        if len(content) < _GATHER_BYTES:
            self._gathered += content
            if len(self._gathered) < _GATHER_BYTES:
                return
            content = b""
        self._flush()
        if content:
            self._target.write(content)
            self._running.update(content)

    def _flush(self) -> None:
        if self._gathered:
            self._target.write(self._gathered)
            self._running.update(memoryview(self._gathered))
            self._gathered = bytearray()

    def _copy(self, source: IO[bytes]) -> None:
        while chunk := source.read(CHUNK_BYTES):
            self._put(chunk)

    def _copy_checked(self, source: BinaryIO, *, limit_bytes: int) -> tuple[int, RunningDigest]:
        crc = 0
        running = RunningDigest()
        for chunk in chunks(source, limit_bytes=limit_bytes):
            crc = zlib.crc32(chunk, crc)
            running.update(chunk)
            self._put(chunk)
        return crc, running

    def _add_known(self, path: str, content: bytes, crc: int, digest: Digest, component_id: str | None) -> AipEntry:
        offset = self._header(path, crc, len(content))
        self._put(content)
        return AipEntry(path=path, component_id=component_id, offset=offset, size_bytes=len(content), digest=digest)

    def _add_unknown(
        self,
        path: str,
        opened: BinaryIO,
        source: Path | str,
        expected: Digest,
        size_bytes: int,
        component_id: str | None,
    ) -> AipEntry:
        name = self._claim(path)
        self._flush()
        begin = self.size_bytes
        header = local_header(name, 0, size_bytes, self._times)
        self._target.write(header)
        crc = 0
        running = RunningDigest()
        for chunk in chunks(opened, limit_bytes=size_bytes + 1):
            crc = zlib.crc32(chunk, crc)
            running.update(chunk)
            self._target.write(chunk)
        _refuse_difference(source, expected, size_bytes, running.digest(), running.size_bytes)
        self._target.seek(begin)
        self._target.write(local_header(name, crc, size_bytes, self._times))
        self._target.flush()
        self._target.seek(begin)
        for chunk in chunks(self._target, limit_bytes=len(header) + size_bytes):
            self._running.update(chunk)
        self._record(central_header(name, crc, size_bytes, begin, self._times))
        self.size_bytes = begin + len(header) + size_bytes
        return AipEntry(
            path=path, component_id=component_id, offset=begin + len(header), size_bytes=size_bytes, digest=expected
        )

    def _record(self, header: bytes) -> None:
        self._records += header
        if len(self._records) > _SPOOL_BYTES:
            if self._spooled is None:
                self._spooled = TemporaryFile()  # noqa: SIM115 - closed by __exit__
            self._spooled.write(self._records)
            self._records.clear()

    def _claim(self, path: str) -> bytes:
        name = path.encode()
        known = hash(name)
        if known in self._names or len(name) > _NAME_BYTES_MAX:
            raise UnsafeKey(f"entry name {path[:200]!r} stands twice or is too long")
        self._names.add(known)
        return name

    def _header(self, path: str, crc: int, size_bytes: int) -> int:
        name = self._claim(path)
        self._record(central_header(name, crc, size_bytes, self.size_bytes, self._times))
        self._put(local_header(name, crc, size_bytes, self._times))
        return self.size_bytes


def local_header(name: bytes, crc: int, size_bytes: int, times: tuple[int, int]) -> bytes:
    """Returns the one local header that this archive form has for an entry."""
    large = size_bytes >= _LIMIT_32
    extra = struct.pack("<2H2Q", 1, 16, size_bytes, size_bytes) if large else b""
    shown = _LIMIT_32 if large else size_bytes
    version = _VERSION_ZIP64 if large else _VERSION_STORED
    head = (b"PK\3\4", version, _FLAG_UTF8, _STORED, *times, crc)
    return _LOCAL_HEADER.pack(*head, shown, shown, len(name), len(extra)) + name + extra


def central_header(name: bytes, crc: int, size_bytes: int, header_offset: int, times: tuple[int, int]) -> bytes:
    """Returns the one central directory header that this archive form has for an entry."""
    values: list[int] = []
    size = size_bytes
    offset = header_offset
    if size_bytes >= _LIMIT_32:
        values += [size_bytes, size_bytes]
        size = _LIMIT_32
    if header_offset >= _LIMIT_32:
        values.append(header_offset)
        offset = _LIMIT_32
    extra = struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""
    version = _VERSION_ZIP64 if values else _VERSION_STORED
    head = (b"PK\1\2", _MADE_BY_UNIX | version, version, _FLAG_UTF8, _STORED, *times, crc)
    tail = (size, size, len(name), len(extra), 0, 0, 0, _MODE_0644, offset)
    return _CENTRAL_HEADER.pack(*head, *tail) + name + extra


def end_records(count: int, start: int, size_bytes: int) -> bytes:
    """Returns what stands after the central directory of `count` entries and `size_bytes`, which begins at `start`."""
    end = _END.pack(
        b"PK\5\6",
        0,
        0,
        min(count, _LIMIT_16),
        min(count, _LIMIT_16),
        min(size_bytes, _LIMIT_32),
        min(start, _LIMIT_32),
        0,
    )
    if count < _LIMIT_16 and start < _LIMIT_32 and size_bytes < _LIMIT_32:
        return end
    made_by = _MADE_BY_UNIX | _VERSION_ZIP64
    record = _ZIP64_END.pack(b"PK\6\6", 44, made_by, _VERSION_ZIP64, 0, 0, count, count, size_bytes, start)
    return record + _ZIP64_LOCATOR.pack(b"PK\6\7", 0, start + size_bytes, 1) + end


def _read_whole(source: Path | str, size_bytes: int) -> bytes:
    """Returns a small file's bytes, one more than expected if it has more; opened without Python's buffering layers."""
    descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        content = os.read(descriptor, size_bytes + 1)
        while len(content) <= size_bytes and (more := os.read(descriptor, size_bytes + 1 - len(content))):
            content += more
    finally:
        os.close(descriptor)
    return content


def _refuse_difference(source: Path | str, expected: Digest, size_bytes: int, digest: Digest, size_read: int) -> None:
    if size_read != size_bytes:
        raise DigestMismatch(f"{Path(source).name}: {size_read} bytes or more, expected {size_bytes}")
    if digest != expected:
        raise DigestMismatch(f"{Path(source).name}: {digest}, expected {expected}")
