"""Reading ZIP archives from outside, strictly: every structure is read by our own code and compared with every other.

A ZIP describes each entry twice (local header, central directory) and readers differ in whom they believe; an archive
in which the two disagree shows different files to different tools. Such archives are refused, not interpreted. Problems
are values; only reading an entry's bytes raises. Nothing is ever extracted to a path named by the archive.
"""

import os
import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import BinaryIO, Final

from archive_service.digests import CHUNK_BYTES
from archive_service.errors import PackageInvalid
from archive_service.findings import Finding

STORED: Final = 0
DEFLATED: Final = 8
FLAG_ENCRYPTED: Final = 1
FLAG_DESCRIPTOR: Final = 1 << 3
FLAG_STRONG_ENCRYPTION: Final = 1 << 6
FLAG_UTF8: Final = 1 << 11
FLAG_MASKED: Final = 1 << 13

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_ZIP64_LOCATOR: Final = struct.Struct("<4sIQI")
_ZIP64_END: Final = struct.Struct("<4sQ2H2I4Q")
_LIMIT_32: Final = 0xFFFFFFFF
_LIMIT_16: Final = 0xFFFF
_COMMENT_MAX: Final = 0xFFFF
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\\\x7f]")
_UNIX: Final = 3
_ZIP64_EXTRA: Final = 1

CENTRAL_BYTES_MAX: Final = 256 * 1024 * 1024
"""Largest central directory read into memory: 250,000 entries with names of 1,000 bytes."""


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One entry as both headers describe it."""

    name: str
    flags: int
    method: int
    crc: int
    compressed_bytes: int
    size_bytes: int
    header_offset: int
    data_offset: int
    mode: int
    """Unix file mode, 0 when the archive was not made on Unix."""
    plain: bool
    """Whether the headers carry nothing but what the entry needs: no extra field except ZIP64, no comment."""
    dos_time: tuple[int, int]

    @property
    def is_folder(self) -> bool:
        """Whether this is an entry for a folder."""
        return self.name.endswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipLimits:
    """How large an archive may be; beyond any of these it is refused before anything is unpacked."""

    max_entries: int = 250_000
    """Twice the largest dossier that is tested (100,000 files)."""
    max_total_bytes: int = 64 * 1024**3
    """Sum of unpacked sizes."""
    max_ratio: int = 250
    """Unpacked to packed size of one entry; office files and XML stay below 100, a bomb is near 1,000."""
    ratio_floor_bytes: int = 1024 * 1024
    """Entries smaller than this unpacked are not judged by ratio."""
    max_dossier_json_bytes: int = 128 * 1024**2
    """Read in one piece; a dossier of 100,000 components takes about 40 MB."""


DEFAULT_LIMITS: Final = ZipLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipIndex:
    """What an archive holds, and every way in which it is not a sound archive."""

    members: Sequence[ZipMember]
    findings: Sequence[Finding]
    contiguous: bool
    """Whether the entries fill the archive without a byte between them, from its first byte to the central
    directory."""
    size_bytes: int


class _Malformed(Exception):
    """The structure at hand cannot be read."""


def read_index(archive: BinaryIO, limits: ZipLimits = DEFAULT_LIMITS) -> ZipIndex:
    """Reads and compares all headers of an archive; all findings at once. Reads no entry's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    size_bytes = archive.seek(0, os.SEEK_END)
    try:
        count, start, length, end = _find_central(archive, size_bytes)
        if count > limits.max_entries:
            finding = Finding(
                code="PACKAGE_TOO_MANY_ENTRIES", location="", params={"count": count, "limit": limits.max_entries}
            )
            return ZipIndex(members=(), findings=[finding], contiguous=False, size_bytes=size_bytes)
        members, findings = _read_members(archive, count, start, length)
    except _Malformed as exc:
        finding = Finding(code="PACKAGE_ZIP_UNREADABLE", location="", params={"reason": str(exc)})
        return ZipIndex(members=(), findings=[finding], contiguous=False, size_bytes=size_bytes)
    findings += _member_findings(members, limits)
    spans = sorted((member.header_offset, member.data_offset + member.compressed_bytes) for member in members)
    overlap = any(left[1] > right[0] for left, right in pairwise(spans)) or (bool(spans) and spans[-1][1] > start)
    if overlap:
        findings.append(Finding(code="PACKAGE_ENTRIES_OVERLAP", location=""))
    joined = [0, *(stop for _, stop in spans)] == [*(begin for begin, _ in spans), start] and start + length == end
    return ZipIndex(members=members, findings=findings, contiguous=joined, size_bytes=size_bytes)


def read_member(archive: BinaryIO, member: ZipMember) -> Iterator[bytes]:
    """Yields the unpacked bytes of an entry, checked against its size and CRC-32; never more than its stated size.

    Raises:
        PackageInvalid: the bytes are not what the headers say; `fields["finding"]` is the finding.
        OSError: the file cannot be read.
    """
    crc = 0
    total = 0
    try:
        for chunk in _unpacked(archive, member):
            total += len(chunk)
            if total > member.size_bytes:
                raise _corrupt(member, "larger than its header says")
            crc = zlib.crc32(chunk, crc)
            yield chunk
    except zlib.error as exc:
        raise _corrupt(member, str(exc)) from exc
    if total != member.size_bytes:
        raise _corrupt(member, f"{total} bytes, its header says {member.size_bytes}")
    if crc != member.crc:
        raise _corrupt(member, f"CRC-32 {crc:08x}, its header says {member.crc:08x}")


def name_findings(name: str) -> list[Finding]:
    """Returns what makes `name` unsafe as a relative path on some operating system."""
    findings: list[Finding] = []
    if _FORBIDDEN.search(name):
        findings.append(Finding(code="PACKAGE_PATH_FORBIDDEN_CHARACTER", location=_shown(name)))
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        findings.append(Finding(code="PACKAGE_PATH_ABSOLUTE", location=_shown(name)))
    parts = name.rstrip("/").replace("\\", "/").split("/")
    if ".." in parts or "." in parts or "" in parts[1:]:
        findings.append(Finding(code="PACKAGE_PATH_TRAVERSAL", location=_shown(name)))
    return findings


def collision_findings(names: Sequence[str]) -> list[Finding]:
    """Returns a finding for each name that stands twice on some file system (case, Unicode normalisation)."""
    findings: list[Finding] = []
    exact: set[str] = set()
    folded: dict[str, str] = {}
    for name in names:
        if name in exact:
            findings.append(Finding(code="PACKAGE_NAME_DUPLICATE", location=_shown(name)))
            continue
        exact.add(name)
        other = folded.setdefault(fold(name), name)
        if other is not name:
            findings.append(
                Finding(code="PACKAGE_NAME_COLLISION", location=_shown(name), params={"other": _shown(other)})
            )
    return findings


def fold(name: str) -> str:
    """Returns the form under which two names are one file somewhere: case-folded, composed, no folder slash."""
    name = name.rstrip("/")
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _shown(name: str) -> str:
    """Returns a name fit for a report: control characters escaped, at most 200 characters."""
    if name.isprintable():
        return name[:200]
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in name[:200])


def _corrupt(member: ZipMember, reason: str) -> PackageInvalid:
    finding = Finding(code="PACKAGE_ENTRY_CORRUPT", location=_shown(member.name), params={"reason": reason})
    return PackageInvalid(f"{_shown(member.name)}: {reason}", finding=finding)


def _unpacked(archive: BinaryIO, member: ZipMember) -> Iterator[bytes]:
    left = member.compressed_bytes
    archive.seek(member.data_offset)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == DEFLATED else None
    position = member.data_offset
    while left > 0:
        archive.seek(position)  # another entry may have been read between two chunks
        chunk = archive.read(min(CHUNK_BYTES, left))
        if not chunk:
            raise _corrupt(member, "the archive ends inside it")
        left -= len(chunk)
        position += len(chunk)
        if inflate is None:
            yield chunk
            continue
        while chunk and not inflate.eof:
            part = inflate.decompress(chunk, CHUNK_BYTES)
            if part:
                yield part
            chunk = inflate.unconsumed_tail
    if inflate is not None:
        if not inflate.eof:
            raise _corrupt(member, "its compressed data is cut off")
        if inflate.unused_data:
            raise _corrupt(member, "bytes follow its compressed data")


def _at(archive: BinaryIO, offset: int, length: int) -> bytes:
    archive.seek(offset)
    content = archive.read(length)
    if len(content) != length:
        raise _Malformed("the archive is cut off")
    return content


def _find_central(archive: BinaryIO, size_bytes: int) -> tuple[int, int, int, int]:
    """Returns entry count, offset and length of the central directory, and where the end records begin."""
    window = min(size_bytes, _END.size + _COMMENT_MAX)
    tail = _at(archive, size_bytes - window, window)
    found = len(tail)
    while (found := tail.rfind(b"PK\5\6", 0, found)) >= 0:
        if found + _END.size <= len(tail) and found + _END.size + _END.unpack_from(tail, found)[7] == len(tail):
            break
    else:
        raise _Malformed("no end of central directory: not a ZIP archive, or cut off")
    position = size_bytes - window + found
    _, disk, start_disk, here, count, length, start, _ = _END.unpack_from(tail, found)
    if (disk, start_disk) != (0, 0) or here != count:
        raise _Malformed("an archive in several volumes")
    end = position
    if count == _LIMIT_16 or _LIMIT_32 in {length, start}:
        count, start, length, end = _zip64_central(archive, position, (count, start, length))
    if length > CENTRAL_BYTES_MAX or start + length > end:
        raise _Malformed("the central directory does not fit into the archive")
    return count, start, length, end


def _zip64_central(archive: BinaryIO, position: int, plain: tuple[int, int, int]) -> tuple[int, int, int, int]:
    if position < _ZIP64_LOCATOR.size:
        return (*plain, position)
    locator = _at(archive, position - _ZIP64_LOCATOR.size, _ZIP64_LOCATOR.size)
    sign, _, offset, disks = _ZIP64_LOCATOR.unpack(locator)
    if sign != b"PK\6\7":
        return (*plain, position)
    if disks > 1 or offset + _ZIP64_END.size > position:
        raise _Malformed("the ZIP64 end record is out of place")
    fields = _ZIP64_END.unpack(_at(archive, offset, _ZIP64_END.size))
    if fields[0] != b"PK\6\6" or fields[6] != fields[7]:
        raise _Malformed("the ZIP64 end record is malformed")
    return fields[7], fields[9], fields[8], offset


def _read_members(archive: BinaryIO, count: int, start: int, length: int) -> tuple[list[ZipMember], list[Finding]]:
    central = memoryview(_at(archive, start, length))
    members: list[ZipMember] = []
    findings: list[Finding] = []
    position = 0
    for _ in range(count):
        if position + _CENTRAL.size > length:
            raise _Malformed("the central directory is shorter than its entry count")
        fields = _CENTRAL.unpack_from(central, position)
        position += _CENTRAL.size
        after = position + fields[10] + fields[11] + fields[12]
        if fields[0] != b"PK\1\2" or after > length:
            raise _Malformed("the central directory is malformed")
        raw_name = bytes(central[position : position + fields[10]])
        extra = bytes(central[position + fields[10] : position + fields[10] + fields[11]])
        member = _member(archive, fields, raw_name, extra, start, findings)
        if member is not None:
            members.append(member)
        position = after
    if position != length:
        raise _Malformed("bytes follow the last entry of the central directory")
    return members, findings


def _member(
    archive: BinaryIO, fields: tuple[int, ...], raw_name: bytes, extra: bytes, start: int, findings: list[Finding]
) -> ZipMember | None:
    name = _decoded(raw_name, fields[3], findings)
    size_bytes, compressed, offset, zip64_only = _zip64_values(extra, fields[9], fields[8], fields[16])
    if offset + _LOCAL.size > start:
        raise _Malformed("an entry begins outside the archive")
    local = _LOCAL.unpack(_at(archive, offset, _LOCAL.size))
    if local[0] != b"PK\3\4":
        raise _Malformed("an entry has no local header where the central directory says")
    tail = _at(archive, offset + _LOCAL.size, local[9] + local[10])
    local_size, local_compressed, _, local_zip64_only = _zip64_values(tail[local[9] :], local[8], local[7], 0)
    differs = tail[: local[9]] != raw_name or local[3] != fields[4] or (local[2] ^ fields[3]) & ~FLAG_DESCRIPTOR
    if not local[2] & FLAG_DESCRIPTOR:
        differs = differs or (local[6], local_compressed, local_size) != (fields[7], compressed, size_bytes)
    if differs:
        findings.append(Finding(code="PACKAGE_HEADERS_DISAGREE", location=_shown(name)))
    data_offset = offset + _LOCAL.size + local[9] + local[10]
    if data_offset + compressed > start:
        raise _Malformed(f"entry {_shown(name)} reaches into the central directory")
    return ZipMember(
        name=name,
        flags=fields[3],
        method=fields[4],
        crc=fields[7],
        compressed_bytes=size_bytes if compressed == size_bytes else compressed,  # one object for both
        size_bytes=size_bytes,
        header_offset=offset,
        data_offset=data_offset,
        mode=fields[15] >> 16 if fields[1] >> 8 == _UNIX else 0,
        plain=zip64_only and local_zip64_only and fields[12] == 0,
        dos_time=_dos_time(fields[5], fields[6]),
    )


@lru_cache(64)
def _dos_time(time: int, date: int) -> tuple[int, int]:
    """Returns both as one value, the same object for the many entries of one time."""
    return time, date


def _decoded(raw_name: bytes, flags: int, findings: list[Finding]) -> str:
    try:
        return raw_name.decode()
    except UnicodeDecodeError:
        name = raw_name.decode("cp437")
        findings.append(
            Finding(code="PACKAGE_NAME_ENCODING", location=_shown(name), params={"utf8": bool(flags & FLAG_UTF8)})
        )
        return name


def _zip64_values(extra: bytes, size_bytes: int, compressed: int, offset: int) -> tuple[int, int, int, bool]:
    """Returns size, packed size and offset with ZIP64 values put in, and whether there was no other extra field."""
    values = [size_bytes, compressed, offset]
    only = True
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        body = extra[position + 4 : position + 4 + length]
        position += 4 + length
        if kind != _ZIP64_EXTRA:
            only = False
            continue
        wanted = [index for index, value in enumerate(values) if value == _LIMIT_32]
        if len(body) < 8 * len(wanted):
            raise _Malformed("a ZIP64 field is too short")
        for place, index in enumerate(wanted):
            values[index] = struct.unpack_from("<Q", body, 8 * place)[0]
    return values[0], values[1], values[2], only and position == len(extra)


def _member_findings(members: Sequence[ZipMember], limits: ZipLimits) -> list[Finding]:
    findings: list[Finding] = []
    for member in members:
        findings += name_findings(member.name)
        findings += _kind_findings(member)
        packed = max(member.compressed_bytes, 1)
        if member.size_bytes > limits.ratio_floor_bytes and member.size_bytes > limits.max_ratio * packed:
            ratio = member.size_bytes // packed
            findings.append(
                Finding(
                    code="PACKAGE_ZIP_BOMB",
                    location=_shown(member.name),
                    params={"ratio": ratio, "limit": limits.max_ratio},
                )
            )
    findings += collision_findings([member.name for member in members])
    total = sum(member.size_bytes for member in members)
    if total > limits.max_total_bytes:
        params = {"size_bytes": total, "limit_bytes": limits.max_total_bytes}
        findings.append(Finding(code="PACKAGE_TOO_LARGE", location="", params=params))
    return findings


def _kind_findings(member: ZipMember) -> list[Finding]:
    location = _shown(member.name)
    if member.flags & (FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED):
        return [Finding(code="PACKAGE_ENTRY_ENCRYPTED", location=location)]
    if member.method not in {STORED, DEFLATED}:
        return [Finding(code="PACKAGE_METHOD_UNSUPPORTED", location=location, params={"method": member.method})]
    if member.method == STORED and member.size_bytes != member.compressed_bytes:
        return [Finding(code="PACKAGE_HEADERS_DISAGREE", location=location)]
    kind = stat.S_IFMT(member.mode)
    if kind == stat.S_IFLNK:
        return [Finding(code="PACKAGE_SYMLINK", location=location)]
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return [Finding(code="PACKAGE_NOT_A_FILE", location=location)]
    return []
