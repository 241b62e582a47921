"""Compound files (MS-CFB, "OLE"): the directory and the first bytes of streams, read with bounds.

No PyPI package of the chosen set reads them, and only names and a few header bytes are needed.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

SIGNATURE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_END: Final = 0xFFFFFFFC
"""Sector numbers from here on are marks (free, end of chain, FAT, DIFAT), not sectors."""
_ENTRY_BYTES: Final = 128
_HEADER_DIFAT: Final = 109
_ROOT: Final = 5
_STORAGE: Final = 1
_NONE: Final = 0xFFFFFFFF


class CompoundFileDamaged(Exception):
    """The bytes are not a readable compound file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A storage or stream."""

    path: str
    """Names from the root joined with `/`."""
    is_storage: bool
    first_sector: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The entries of a compound file that is still open."""

    entries: tuple[Entry, ...]
    source: BinaryIO
    sector_bytes: int
    mini_cutoff: int

    def start_of(self, path: str, length: int) -> bytes:
        """Returns the first bytes, within one sector, of a stream in ordinary sectors; empty when absent."""
        for entry in self.entries:
            if entry.path == path and not entry.is_storage and entry.size_bytes >= self.mini_cutoff:
                self.source.seek((entry.first_sector + 1) * self.sector_bytes)
                return self.source.read(min(length, self.sector_bytes, entry.size_bytes))
        return b""


def read_directory(source: BinaryIO, size: int, *, max_entries: int) -> Directory:
    """Reads header, FAT chain of the directory, and the directory.

    Raises:
        CompoundFileDamaged: a sector number points outside the file, a chain loops, or the header is wrong.
    """
    header = source.read(512)
    if len(header) < 512 or not header.startswith(SIGNATURE):  # noqa: PLR2004 - header size, MS-CFB 2.2
        raise CompoundFileDamaged("no compound file header")
    (shift,) = struct.unpack_from("<H", header, 30)
    if shift not in {9, 12}:
        raise CompoundFileDamaged(f"sector shift {shift}")
    (first,) = struct.unpack_from("<I", header, 48)
    (cutoff,) = struct.unpack_from("<I", header, 56)
    sector = 1 << shift
    if size < sector * 2:
        raise CompoundFileDamaged("cut short: no sector after the header")
    fat_sectors = _fat_sectors(source, header, sector, size)
    raw = b"".join(_chain(source, first, fat_sectors, sector, size, max_entries * _ENTRY_BYTES // sector + 1))
    entries = _entries(raw, max_entries)
    for entry in entries:
        if not entry.is_storage and entry.size_bytes >= cutoff and (entry.first_sector + 2) * sector > size + sector:
            raise CompoundFileDamaged(f"cut short: stream {entry.path} starts past the end")
    return Directory(entries=entries, source=source, sector_bytes=sector, mini_cutoff=cutoff)


def _sector(source: BinaryIO, number: int, sector: int, size: int) -> bytes:
    offset = (number + 1) * sector
    if number >= _END or offset >= size:
        raise CompoundFileDamaged(f"cut short: sector {number} lies past the end")
    source.seek(offset)
    return source.read(sector)


def _fat_sectors(source: BinaryIO, header: bytes, sector: int, size: int) -> list[int]:
    """Returns the numbers of the FAT sectors, from the header and the DIFAT chain."""
    numbers = list(struct.unpack_from(f"<{_HEADER_DIFAT}I", header, 76))
    (following, count) = struct.unpack_from("<II", header, 68)
    for _ in range(min(count, size // sector)):
        if following >= _END:
            break
        part = _sector(source, following, sector, size).ljust(sector, b"\xff")
        *more, following = struct.unpack(f"<{sector // 4}I", part)
        numbers += more
    return [number for number in numbers if number < _END]


def _chain(source: BinaryIO, first: int, fat: list[int], sector: int, size: int, bound: int) -> list[bytes]:
    parts: list[bytes] = []
    per_sector = sector // 4
    number = first
    while number < _END:
        if len(parts) > bound:
            raise CompoundFileDamaged("the directory's chain loops or is too long")
        parts.append(_sector(source, number, sector, size))
        index, within = divmod(number, per_sector)
        if index >= len(fat):
            raise CompoundFileDamaged(f"sector {number} is not in the allocation table")
        table = _sector(source, fat[index], sector, size).ljust(sector, b"\xff")
        (number,) = struct.unpack_from("<I", table, within * 4)
    if not parts:
        raise CompoundFileDamaged("no directory")
    return parts


def _entries(raw: bytes, max_entries: int) -> tuple[Entry, ...]:
    """Walks the directory's trees, giving each entry its full path."""
    count = min(len(raw) // _ENTRY_BYTES, max_entries)
    nodes = [_node(raw, index) for index in range(count)]
    if not nodes or nodes[0].kind != _ROOT:
        raise CompoundFileDamaged("no root storage")
    found: list[Entry] = []
    seen: set[int] = set()
    waiting = [(nodes[0].child, "")]
    while waiting:
        index, folder = waiting.pop()
        if index == _NONE or index in seen or index >= count:
            continue
        seen.add(index)
        node = nodes[index]
        path = f"{folder}{node.name}"
        found.append(Entry(path=path, is_storage=node.kind == _STORAGE, first_sector=node.start, size_bytes=node.size))
        waiting += [(node.left, folder), (node.right, folder)]
        if node.kind == _STORAGE:
            waiting.append((node.child, f"{path}/"))
    return tuple(sorted(found, key=lambda entry: entry.path))


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    kind: int
    left: int
    right: int
    child: int
    start: int
    size: int


def _node(raw: bytes, index: int) -> _Node:
    at = index * _ENTRY_BYTES
    (name_bytes, kind) = struct.unpack_from("<HB", raw, at + 64)
    name = raw[at : at + max(0, min(name_bytes, 64) - 2)].decode("utf-16-le", "replace")
    left, right, child = struct.unpack_from("<III", raw, at + 68)
    start, size = struct.unpack_from("<II", raw, at + 116)
    return _Node(name, kind, left, right, child, start, size)
