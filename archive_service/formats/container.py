"""ZIP files, alone or as the shell of an Office package: what can be said without unpacking to disk.

Names that leave the folder, links, bombs and encryption are found in the central directory; damage by reading entries.
"""

import lzma
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Final

from archive_service.digests import CHUNK_BYTES
from archive_service.formats.limits import Limits
from archive_service.formats.report import Notes, named

ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    LookupError,
    OSError,
    ValueError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)
"""What zipfile raises on damaged or odd archives."""

_ENCRYPTED_FLAG: Final = 0x1
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
_ARCHIVE_HEADS: Final = (
    b"PK\x03\x04",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x1f\x8b\x08",
    b"BZh",
    b"\xfd7zXZ\x00",
)
"""How ZIP (Office files too), 7z, RAR, gzip, bzip2 and xz begin."""
_HEAD_BYTES: Final = 8


def open_zip(path: Path, notes: Notes, limits: Limits) -> zipfile.ZipFile | None:
    """Opens a ZIP whose directory is safe to work with; otherwise says why and returns None."""
    try:
        package = zipfile.ZipFile(path)
    except ZIP_ERRORS as exc:
        notes.broken(str(exc))
        return None
    if _safe(package, notes, limits):
        return package
    package.close()
    return None


def _safe(package: zipfile.ZipFile, notes: Notes, limits: Limits) -> bool:
    entries = package.infolist()
    notes.facts["entries"] = len(entries)
    unpacked = sum(entry.file_size for entry in entries)
    notes.facts["unpacked_bytes"] = unpacked
    encrypted = [entry.filename for entry in entries if entry.flag_bits & _ENCRYPTED_FLAG]
    if encrypted:
        notes.find("FORMAT_ENCRYPTED", reason=named(encrypted))
        return False
    reason = _unsafe(entries, unpacked, limits)
    if reason:
        notes.find("FORMAT_ARCHIVE_UNSAFE", reason=reason)
    return reason is None


def _unsafe(entries: list[zipfile.ZipInfo], unpacked: int, limits: Limits) -> str | None:
    if len(entries) > limits.package_entries:
        return f"more than {limits.package_entries} entries"
    if unpacked > limits.package_unpacked_bytes:
        return f"unpacks to {unpacked} bytes"
    leaving = [entry.orig_filename for entry in entries if _leaves(entry)]
    if leaving:
        return f"names that leave the folder, or links: {named(leaving)}"
    twice = len(entries) - len({entry.filename for entry in entries})
    if twice:
        return f"{twice} names stand twice"
    bombs = [
        entry.filename
        for entry in entries
        if entry.file_size > limits.ratio_from_bytes and entry.file_size > limits.package_ratio * entry.compress_size
    ]
    return f"unpacks more than {limits.package_ratio} times: {named(bombs)}" if bombs else None


def _leaves(entry: zipfile.ZipInfo) -> bool:
    name = entry.orig_filename.replace("\\", "/")
    parts = name.split("/")
    return (
        name.startswith("/")
        or ".." in parts
        or ":" in parts[0]
        or "\0" in name
        or stat.S_ISLNK(entry.external_attr >> 16)
    )


def check_zip(path: Path, notes: Notes, limits: Limits) -> None:
    """Checks a ZIP file that is a component by itself; every entry is read once, within limits."""
    package = open_zip(path, notes, limits)
    if package is None:
        return
    with package:
        if not read_entries(package, notes, limits):
            return
        notes.checked.append("ZIP entries")
        within = _archives_within(package)
        if within:
            notes.unchecked("archives within the archive", f"{named(within)}: not opened")


def _archives_within(package: zipfile.ZipFile) -> list[str]:
    """Returns the entries that are archives themselves; what they would unpack to, nobody looked at."""
    found = []
    for entry in package.infolist():
        if entry.compress_type in _METHODS:
            with package.open(entry) as source:
                found += [entry.filename] if source.read(_HEAD_BYTES).startswith(_ARCHIVE_HEADS) else []
    return found


def read_entries(package: zipfile.ZipFile, notes: Notes, limits: Limits) -> bool:
    """Reads every entry for its checksum; returns whether all are sound."""
    left = limits.package_unpacked_bytes
    for entry in package.infolist():
        if entry.compress_type not in _METHODS:
            notes.unchecked("ZIP entry", f"{entry.filename}: compression method {entry.compress_type}")
            continue
        try:
            with package.open(entry) as source:
                while chunk := source.read(CHUNK_BYTES):
                    left -= len(chunk)
                    if left < 0:  # more than the directory declared
                        notes.find("FORMAT_ARCHIVE_UNSAFE", reason="unpacks to more than it declares")
                        return False
        except ZIP_ERRORS as exc:
            notes.broken(f"{entry.filename}: {exc}")
            return False
    return True
