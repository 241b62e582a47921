"""Compound files (MS-CFB, "OLE"): the directory and the beginning of streams, read with bounds.

No PyPI package of the chosen set reads them, and only names and the first records of streams are needed.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, Final

SIGNATURE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_END: Final = 0xFFFFFFFC
"""Sector numbers from here on are marks (free, end of chain, FAT, DIFAT), not sectors."""
_ENTRY_BYTES: Final = 128
_HEADER_DIFAT: Final = 109
_ROOT: Final = 5
_STORAGE: Final = 1
_NONE: Final = 0xFFFFFFFF
_MINI_SECTOR: Final = 64
"""Bytes of a sector of the mini stream, where streams below the cutoff live (MS-CFB 2.2)."""


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


class _Sectors:
    """The sectors of one open file and their allocation table."""

    def __init__(self, source: BinaryIO, size: int, sector_bytes: int) -> None:
        self.source = source
        self.size = size
        self.bytes = sector_bytes
        self.fat: list[int] = []
        """Numbers of the sectors that hold the allocation table."""
        self._table = lru_cache(maxsize=1024)(self._read_table)

    def read(self, number: int) -> bytes:
        offset = (number + 1) * self.bytes
        if number >= _END or offset >= self.size:
            raise CompoundFileDamaged(f"cut short: sector {number} lies past the end")
        self.source.seek(offset)
        return self.source.read(self.bytes)

    def _read_table(self, index: int) -> tuple[int, ...]:
        return struct.unpack(f"<{self.bytes // 4}I", self.read(self.fat[index]).ljust(self.bytes, b"\xff"))

    def after(self, number: int) -> int:
        """Returns the sector that follows in a chain."""
        index, within = divmod(number, self.bytes // 4)
        if index >= len(self.fat):
            raise CompoundFileDamaged(f"sector {number} is not in the allocation table")
        return self._table(index)[within]

    def chain(self, first: int, bound: int) -> list[int]:
        """Returns the numbers of a chain's sectors, at most `bound` of them."""
        numbers: list[int] = []
        number = first
        while number < _END and len(numbers) < bound:
            numbers.append(number)
            number = self.after(number)
        return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The entries of a compound file that is still open."""

    entries: tuple[Entry, ...]
    sectors: _Sectors
    mini_cutoff: int
    mini_fat: int
    """First sector of the mini stream's allocation table."""
    mini_stream: int
    """First sector of the mini stream."""

    def start_of(self, path: str, length: int) -> bytes:
        """Returns the first bytes of a stream; empty when it is absent.

        Raises:
            CompoundFileDamaged: its sectors lead out of the file.
        """
        for entry in self.entries:
            if entry.path == path and not entry.is_storage:
                wanted = min(length, entry.size_bytes)
                small = entry.size_bytes < self.mini_cutoff
                return self._small(entry.first_sector, wanted) if small else self._ordinary(entry.first_sector, wanted)
        return b""

    def _ordinary(self, first: int, wanted: int) -> bytes:
        numbers = self.sectors.chain(first, -(-wanted // self.sectors.bytes))
        return b"".join(self.sectors.read(number) for number in numbers)[:wanted]

    def _small(self, first: int, wanted: int) -> bytes:
        """Follows a stream through the mini stream (MS-CFB 2.4)."""
        most = self.sectors.size // self.sectors.bytes + 1
        homes, tables = self.sectors.chain(self.mini_stream, most), self.sectors.chain(self.mini_fat, most)
        parts: list[bytes] = []
        number = first
        while number < _END and len(parts) * _MINI_SECTOR < wanted:
            home, within = divmod(number * _MINI_SECTOR, self.sectors.bytes)
            table, place = divmod(number, self.sectors.bytes // 4)
            if home >= len(homes) or table >= len(tables):
                raise CompoundFileDamaged("cut short: the mini stream ends before a stream in it")
            parts.append(self.sectors.read(homes[home])[within : within + _MINI_SECTOR])
            following = self.sectors.read(tables[table]).ljust(self.sectors.bytes, b"\xff")
            (number,) = struct.unpack_from("<I", following, place * 4)
        return b"".join(parts)[:wanted]


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
    cutoff, mini_fat = struct.unpack_from("<II", header, 56)
    sectors = _Sectors(source, size, 1 << shift)
    if size < sectors.bytes * 2:
        raise CompoundFileDamaged("cut short: no sector after the header")
    sectors.fat = _fat_sectors(header, sectors)
    raw = b"".join(map(sectors.read, _directory_chain(sectors, first, max_entries)))
    root, entries = _entries(raw, max_entries)
    for entry in entries:
        starts = (entry.first_sector + 1) * sectors.bytes
        if not entry.is_storage and entry.size_bytes >= cutoff and starts >= size:
            raise CompoundFileDamaged(f"cut short: stream {entry.path} starts past the end")
    return Directory(entries=entries, sectors=sectors, mini_cutoff=cutoff, mini_fat=mini_fat, mini_stream=root)


def _fat_sectors(header: bytes, sectors: _Sectors) -> list[int]:
    """Returns the numbers of the FAT sectors, from the header and the DIFAT chain."""
    numbers = list(struct.unpack_from(f"<{_HEADER_DIFAT}I", header, 76))
    (following, count) = struct.unpack_from("<II", header, 68)
    for _ in range(min(count, sectors.size // sectors.bytes)):
        if following >= _END:
            break
        part = sectors.read(following).ljust(sectors.bytes, b"\xff")
        *more, following = struct.unpack(f"<{sectors.bytes // 4}I", part)
        numbers += more
    return [number for number in numbers if number < _END]


def _directory_chain(sectors: _Sectors, first: int, max_entries: int) -> list[int]:
    bound = max_entries * _ENTRY_BYTES // sectors.bytes + 1
    numbers = sectors.chain(first, bound + 1)
    if len(numbers) > bound:
        raise CompoundFileDamaged("the directory's chain loops or is too long")
    if not numbers:
        raise CompoundFileDamaged("no directory")
    return numbers


def _entries(raw: bytes, max_entries: int) -> tuple[int, tuple[Entry, ...]]:
    """Walks the directory's trees, giving each entry its full path; returns the root's first sector and the entries."""
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
    return nodes[0].start, tuple(sorted(found, key=lambda entry: entry.path))


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
