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
MINI_CUTOFF: Final = 4096
"""Streams below this size live in the mini stream, in sectors of 64 bytes; no other cutoff is allowed (MS-CFB 2.2)."""


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
        self.count = -(-size // sector_bytes)
        """Most sectors the file can have."""
        self.fat: list[int] = []
        """Numbers of the sectors that hold the allocation table."""
        self._table = lru_cache(maxsize=64)(self._read_table)

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

    def chain(self, first: int, bound: int | None = None) -> list[int]:
        """Returns the numbers of a chain's sectors, at most `bound` of them.

        Raises:
            CompoundFileDamaged: the chain leaves the allocation table, or has more sectors than the file.
        """
        numbers: list[int] = []
        number = first
        while number < _END and (bound is None or len(numbers) < bound):
            if len(numbers) > self.count:
                raise CompoundFileDamaged("a chain of sectors loops")
            numbers.append(number)
            number = self.after(number)
        return numbers


class _MiniStream:
    """The stream in which streams below the cutoff live, 64 bytes at a time, with an allocation table of its own (MS-CFB 2.4)."""

    def __init__(self, sectors: _Sectors, first: int, first_of_table: int) -> None:
        self._sectors = sectors
        self._homes = sectors.chain(first)
        self._tables = sectors.chain(first_of_table)
        self._read = lru_cache(maxsize=64)(sectors.read)

    def start_of(self, first: int, wanted: int) -> bytes:
        """Returns the first bytes of a stream."""
        parts: list[bytes] = []
        number = first
        while number < _END and len(parts) * _MINI_SECTOR < wanted:
            home, within = divmod(number * _MINI_SECTOR, self._sectors.bytes)
            table, place = divmod(number, self._sectors.bytes // 4)
            if home >= len(self._homes) or table >= len(self._tables):
                raise CompoundFileDamaged("cut short: the mini stream ends before a stream in it")
            parts.append(self._read(self._homes[home])[within : within + _MINI_SECTOR])
            following = self._read(self._tables[table]).ljust(self._sectors.bytes, b"\xff")
            (number,) = struct.unpack_from("<I", following, place * 4)
        return b"".join(parts)[:wanted]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The entries of a compound file that is still open."""

    entries: tuple[Entry, ...]
    sectors: _Sectors
    mini: _MiniStream

    def start_of(self, path: str, length: int) -> bytes:
        """Returns the first bytes of a stream; empty when it is absent. Names are compared as MS-CFB 2.6.4 says, without case.

        Raises:
            CompoundFileDamaged: its sectors lead out of the file, or end before it does.
        """
        entry = self._stream(path)
        return self.read(entry, length) if entry else b""

    def read(self, entry: Entry, length: int) -> bytes:
        """Returns the first bytes of a stream.

        Raises:
            CompoundFileDamaged: its sectors lead out of the file, or end before it does.
        """
        wanted = min(length, entry.size_bytes)
        if entry.size_bytes < MINI_CUTOFF:
            found = self.mini.start_of(entry.first_sector, wanted)
        else:
            numbers = self.sectors.chain(entry.first_sector, -(-wanted // self.sectors.bytes))
            found = b"".join(map(self.sectors.read, numbers))[:wanted]
        if len(found) < wanted:
            raise CompoundFileDamaged(f"cut short: stream {entry.path} ends early")
        return found

    def size_of(self, path: str) -> int:
        """Returns a stream's bytes; 0 when it is absent."""
        entry = self._stream(path)
        return entry.size_bytes if entry else 0

    def _stream(self, path: str) -> Entry | None:
        wanted = path.upper()
        return next((entry for entry in self.entries if entry.path.upper() == wanted and not entry.is_storage), None)


def read_directory(source: BinaryIO, size: int, *, max_entries: int) -> Directory:
    """Reads header, allocation table and directory, and follows every stream through the table.

    Raises:
        CompoundFileDamaged: a sector number points outside the file, a chain loops or ends before its stream, or the header is wrong.
    """
    header = source.read(512)
    if len(header) < 512 or not header.startswith(SIGNATURE):  # noqa: PLR2004 - header size, MS-CFB 2.2
        raise CompoundFileDamaged("no compound file header")
    (shift,) = struct.unpack_from("<H", header, 30)
    if shift not in {9, 12}:
        raise CompoundFileDamaged(f"sector shift {shift}")
    (first,) = struct.unpack_from("<I", header, 48)
    cutoff, mini_fat = struct.unpack_from("<II", header, 56)
    if cutoff != MINI_CUTOFF:
        raise CompoundFileDamaged(f"mini stream cutoff {cutoff}")
    sectors = _Sectors(source, size, 1 << shift)
    if size < sectors.bytes * 2:
        raise CompoundFileDamaged("cut short: no sector after the header")
    sectors.fat = _fat_sectors(header, sectors)
    raw = b"".join(map(sectors.read, _directory_chain(sectors, first, max_entries)))
    root, entries = _entries(raw, max_entries)
    directory = Directory(entries=entries, sectors=sectors, mini=_MiniStream(sectors, root, mini_fat))
    _follow(directory)
    return directory


def _follow(directory: Directory) -> None:
    """Follows every stream to its end: damage behind the beginning shows too, and a sector belongs to one stream only."""
    sectors = directory.sectors
    taken = bytearray(sectors.count)
    for entry in directory.entries:
        if entry.is_storage:
            continue
        if entry.size_bytes < MINI_CUTOFF:
            directory.read(entry, entry.size_bytes)
            continue
        needed = -(-entry.size_bytes // sectors.bytes)
        numbers = sectors.chain(entry.first_sector, needed) if needed <= sectors.count else []
        if len(numbers) < needed:
            raise CompoundFileDamaged(f"cut short: stream {entry.path} ends early")
        rest = entry.size_bytes - (needed - 1) * sectors.bytes
        ends = max((numbers[-1] + 1) * sectors.bytes + rest, (max(numbers[:-1], default=-2) + 2) * sectors.bytes)
        if ends > sectors.size:
            raise CompoundFileDamaged(f"cut short: stream {entry.path} lies past the end")
        for number in numbers:
            if taken[number]:
                raise CompoundFileDamaged(f"stream {entry.path} loops, or has a sector of another")
            taken[number] = 1


def _fat_sectors(header: bytes, sectors: _Sectors) -> list[int]:
    """Returns the numbers of the FAT sectors, from the header and the DIFAT chain."""
    numbers = list(struct.unpack_from(f"<{_HEADER_DIFAT}I", header, 76))
    (following,) = struct.unpack_from("<I", header, 68)
    per_sector = sectors.bytes // 4
    for _ in range(sectors.count // per_sector // (per_sector - 1) + 1):  # what can tell of every sector of the file
        if following >= _END:
            break
        part = sectors.read(following).ljust(sectors.bytes, b"\xff")
        *more, following = struct.unpack(f"<{per_sector}I", part)
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
