"""Legacy Office files as compound files (OLE): damage, encryption, macros, embedded files, told by streams and their first records.

Word, Excel and PowerPoint keep macros and passwords in different places (MS-DOC, MS-XLS, MS-PPT); names of storages alone do not tell.
Layout and the text are not judged.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from archive_service.formats import cfb
from archive_service.formats.limits import MIB, Limits
from archive_service.formats.office_password import opens_without_asking
from archive_service.formats.report import Notes, named

_EMBEDDED_OLE: Final = re.compile(r"ObjectPool/[^/]+|MBD[0-9A-F]+", re.IGNORECASE)
"""Objects inside Word, and inside Excel (MS-DOC 2.1.10, MS-XLS 2.1.7)."""
_VBA_STORAGES: Final = frozenset({"_VBA_PROJECT", "_VBA_PROJECT_CUR", "MACROS"})
_BOOK_BYTES: Final = 16 * MIB
"""Records of a workbook are read in this much of its stream: what matters stands before the cells."""
_SLIDES_BYTES: Final = 64 * MIB
"""Longest stream of slides that is read: each saving may have put the newest document at its end. Pictures have a stream of their own."""

# Word (MS-DOC 2.5.2, flags of FibBase)
_FIB_BYTES: Final = 12
_FIB_ENCRYPTED: Final = 0x0100
_FIB_WRITE_RESERVED: Final = 0x0400 | 0x0800
"""Read-only recommended, and a password for changing."""

# records of Excel (MS-XLS 2.3)
_BOF: Final = 0x0809
_XLS_EOF: Final = 0x000A
_FILEPASS: Final = 0x002F
_BOUND_SHEET: Final = 0x0085
_MACRO_SHEET: Final = 1
_RECORD_BYTES: Final = 256
"""How much of a record is looked at: the longest is FilePass."""
_PROTECTING: Final = frozenset({0x0012, 0x0019, 0x005B})
"""Protect, WinProtect, FileSharing: in force when their first number is not zero."""
_WRITE_PROTECT: Final = 0x0086

# records of PowerPoint (MS-PPT 2.13.24)
_SLIDES: Final = "PowerPoint Document"
_PPT_DOCUMENT: Final = 0x03E8
_PPT_LISTS: Final = frozenset({0x07D0, 0x03FF, 0x0409})
"""DocInfoList, VBAInfo, ExObjList: containers that are gone into."""
_PPT_VBA: Final = 0x0400
_PPT_OBJECTS: Final = frozenset({0x0FCC, 0x0FEE})
"""ExOleEmbedContainer, ExControlContainer."""
_PPT_ENCRYPTED: Final = 0xF3D1C4DF
"""Token of the Current User stream of a file with a password (MS-PPT 2.3.2)."""


@dataclass(slots=True)
class _Found:
    """What the records of a document say."""

    locked_by: str = ""
    """Name of the program whose password protects the file."""
    macros: list[str] = field(default_factory=list)
    embedded: list[str] = field(default_factory=list)
    restricted: str = ""
    """Where the file asks programs not to edit."""


def check_compound(path: Path, notes: Notes, limits: Limits) -> None:
    """Checks a legacy Office file, or an encrypted OOXML file, which is a compound file too."""
    try:
        with path.open("rb") as source:
            directory = cfb.read_directory(source, path.stat().st_size, max_entries=limits.package_entries)
            _judge(directory, notes)
    except cfb.CompoundFileDamaged as exc:
        notes.broken(str(exc))


def _judge(directory: cfb.Directory, notes: Notes) -> None:
    names = [entry.path for entry in directory.entries]
    books = [_workbook(directory, name, notes) for name in ("Workbook", "Book")]
    told = [_word(directory), *books, _slides(directory, notes)]
    reason = _encrypted({name.upper() for name in names}, told)
    if reason:
        notes.find("FORMAT_ENCRYPTED", reason=reason)
        return
    macros = [name for name in names if name.rsplit("/", 1)[-1].upper() in _VBA_STORAGES]
    macros += [mark for found in told for mark in found.macros]
    embedded = [*filter(_EMBEDDED_OLE.fullmatch, names), *(mark for found in told for mark in found.embedded)]
    notes.tell_contents(macros, embedded)
    restricted = [found.restricted for found in told if found.restricted]
    if restricted:
        notes.find("FORMAT_EDITING_RESTRICTED", where=named(restricted))
    notes.checked.append("compound file directory")


def _encrypted(names: set[str], told: list[_Found]) -> str | None:
    """Returns why the file cannot be read; only streams of the root count, an embedded file has its own."""
    if "ENCRYPTEDPACKAGE" in names:
        return "EncryptedPackage: OOXML protected by a password"
    if "\tDRMCONTENT" in names:
        return "DRMContent: protected by rights management"
    if "ENCRYPTEDSUMMARY" in names:
        return "PowerPoint file protected by a password"
    program = next((found.locked_by for found in told if found.locked_by), "")
    return f"{program} file protected by a password" if program else None


def _word(directory: cfb.Directory) -> _Found:
    found = _Found()
    start = directory.start_of("WordDocument", _FIB_BYTES)
    if len(start) == _FIB_BYTES:
        (flags,) = struct.unpack_from("<H", start, 10)
        found.locked_by = "Word" if flags & _FIB_ENCRYPTED else ""
        found.restricted = "WordDocument" if flags & _FIB_WRITE_RESERVED else ""
    return found


def _workbook(directory: cfb.Directory, name: str, notes: Notes) -> _Found:
    """Reads the workbook stream; a file for two versions of Excel has both `Book` and `Workbook`."""
    found = _Found()
    for kind, content in _globals(directory.start_of(name, _BOOK_BYTES)):
        if kind == _FILEPASS and opens_without_asking(content):
            found.restricted = name
            notes.unchecked("Excel macro sheets", "the records are written under a password that every program knows")
            return found
        if kind == _FILEPASS:
            found.locked_by = "Excel"
        elif kind == _BOUND_SHEET and len(content) > 5 and content[5] == _MACRO_SHEET:  # noqa: PLR2004 - lbPlyPos, hsState, dt
            found.macros.append("Excel 4.0 macro sheet")
        elif kind == _WRITE_PROTECT or (kind in _PROTECTING and any(content[:2])):
            found.restricted = name
    return found


def _globals(book: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the records of a workbook's first substream, which tells of passwords and sheets (MS-XLS 2.1.7.20.3)."""
    at = 0
    while at + 4 <= len(book):
        kind, length = struct.unpack_from("<HH", book, at)
        if (at == 0 and kind != _BOF) or kind == _XLS_EOF:
            return
        yield kind, book[at + 4 : at + 4 + min(length, _RECORD_BYTES)]
        at += 4 + length


def _slides(directory: cfb.Directory, notes: Notes) -> _Found:
    found = _Found()
    user = directory.start_of("Current User", 16)
    if len(user) == 16 and struct.unpack_from("<I", user, 12)[0] == _PPT_ENCRYPTED:  # noqa: PLR2004 - CurrentUserAtom
        found.locked_by = "PowerPoint"
        return found
    if directory.size_of(_SLIDES) > _SLIDES_BYTES:
        notes.unchecked("macros and embedded files", f"larger than {_SLIDES_BYTES} bytes")
        return found
    for kind, content in _slide_records(directory.start_of(_SLIDES, _SLIDES_BYTES)):
        if kind in _PPT_OBJECTS:
            found.embedded.append(f"OLE object {len(found.embedded) + 1}")
        elif kind == _PPT_VBA and len(content) >= 8 and struct.unpack_from("<I", content, 4)[0]:  # noqa: PLR2004 - persistIdRef, fHasMacros
            found.macros = ["VBA project"]
    return found


def _slide_records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the records of document containers; others, such as slides, are passed over (MS-PPT 2.3.1)."""
    waiting = [(0, len(content), True)]
    while waiting:
        at, end, top = waiting.pop()
        while at + 8 <= end:
            kind, length = struct.unpack_from("<HI", content, at + 2)
            start, at = at + 8, at + 8 + length
            if kind == _PPT_DOCUMENT if top else kind in _PPT_LISTS:
                waiting.append((start, min(at, end), False))
            elif not top:
                yield kind, content[start : start + min(length, 16)]
