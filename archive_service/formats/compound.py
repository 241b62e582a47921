"""Legacy Office files as compound files (OLE): damage, encryption, macros, embedded files, told by streams and their first records.

Word, Excel and PowerPoint keep macros and passwords in different places (MS-DOC, MS-XLS, MS-PPT); names of storages alone do not tell.
Layout and the text are not judged.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from archive_service.formats import cfb
from archive_service.formats.limits import MIB, Limits
from archive_service.formats.report import Notes

_FIB_ENCRYPTED: Final = 0x0100
_EMBEDDED_OLE: Final = re.compile(r"ObjectPool/[^/]+|MBD[0-9A-Fa-f]+")
"""Objects inside Word, and inside Excel (MS-DOC 2.1.10, MS-XLS 2.1.7)."""
_VBA_STORAGES: Final = frozenset({"_VBA_PROJECT", "_VBA_PROJECT_CUR", "Macros"})
_STREAM_BYTES: Final = 32 * MIB
"""Records are read in this much of a stream; what matters stands before pictures and cells."""
_MAX_RECORDS: Final = 200_000

# records of Excel (MS-XLS 2.3)
_BOF: Final = 0x0809
_XLS_EOF: Final = 0x000A
_FILEPASS: Final = 0x002F
_BOUND_SHEET: Final = 0x0085
_MACRO_SHEET: Final = 1

# records of PowerPoint (MS-PPT 2.13.24)
_PPT_DOCUMENT: Final = 0x03E8
_PPT_LISTS: Final = frozenset({0x07D0, 0x03FF, 0x0409})
"""DocInfoList, VBAInfo, ExObjList: containers that are gone into."""
_PPT_VBA: Final = 0x0400
_PPT_OLE: Final = 0x0FCC
_PPT_ENCRYPTED: Final = 0xF3D1C4DF
"""Token of the Current User stream of a file with a password (MS-PPT 2.3.2)."""


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
    leaves = {name.rsplit("/", 1)[-1] for name in names}
    book = _stream(directory, "Workbook") or _stream(directory, "Book")
    reason = _encrypted(directory, leaves, book)
    if reason:
        notes.find("FORMAT_ENCRYPTED", reason=reason)
        return
    slides = _stream(directory, "PowerPoint Document")
    macros = [name for name in names if name.rsplit("/", 1)[-1] in _VBA_STORAGES]
    macros += [*_macro_sheets(book), *_slide_macros(slides)]
    notes.tell_contents(macros, [*filter(_EMBEDDED_OLE.fullmatch, names), *_slide_objects(slides)])
    notes.checked.append("compound file directory")


def _stream(directory: cfb.Directory, name: str) -> bytes:
    return directory.start_of(name, _STREAM_BYTES)


def _encrypted(directory: cfb.Directory, leaves: set[str], book: bytes) -> str | None:
    if "EncryptedPackage" in leaves:
        return "EncryptedPackage: OOXML protected by a password"
    user = directory.start_of("Current User", 16)
    marked = len(user) == 16 and struct.unpack_from("<I", user, 12)[0] == _PPT_ENCRYPTED  # noqa: PLR2004 - CurrentUserAtom
    if marked or "EncryptedSummary" in leaves:
        return "PowerPoint file protected by a password"
    word = directory.start_of("WordDocument", 12)
    if len(word) == 12 and struct.unpack_from("<H", word, 10)[0] & _FIB_ENCRYPTED:  # noqa: PLR2004 - MS-DOC FibBase
        return "Word file protected by a password"
    return "Excel file protected by a password" if any(kind == _FILEPASS for kind, _ in _globals(book)) else None


def _globals(book: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the records of a workbook's first substream, which tells of passwords and sheets (MS-XLS 2.1.7.20.3)."""
    at = 0
    for number in range(_MAX_RECORDS):
        if at + 4 > len(book):
            return
        kind, length = struct.unpack_from("<HH", book, at)
        if (number == 0 and kind != _BOF) or kind == _XLS_EOF:
            return
        yield kind, book[at + 4 : at + 4 + length]
        at += 4 + length


def _macro_sheets(book: bytes) -> list[str]:
    """Returns sheets of Excel 4.0 macros, which run without any VBA (MS-XLS 2.4.28)."""
    return [
        "Excel 4.0 macro sheet"
        for kind, content in _globals(book)
        if kind == _BOUND_SHEET and len(content) > 5 and content[5] == _MACRO_SHEET  # noqa: PLR2004 - lbPlyPos, hsState, dt
    ]


def _slide_records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the records of document containers; others, such as slides, are passed over (MS-PPT 2.3.1)."""
    waiting = [(0, len(content), True)]
    seen = 0
    while waiting:
        at, end, top = waiting.pop()
        while at + 8 <= end and seen < _MAX_RECORDS:
            seen += 1
            kind, length = struct.unpack_from("<HI", content, at + 2)
            start, at = at + 8, at + 8 + length
            if kind == _PPT_DOCUMENT if top else kind in _PPT_LISTS:
                waiting.append((start, min(at, end), False))
            elif not top:
                yield kind, content[start : start + min(length, 16)]


def _slide_macros(content: bytes) -> list[str]:
    """Returns a mark when a presentation says that it has macros (VBAInfoAtom, MS-PPT 2.4.11)."""
    told = [
        body
        for kind, body in _slide_records(content)
        if kind == _PPT_VBA and len(body) >= 8  # noqa: PLR2004 - persistIdRef, fHasMacros
    ]
    return ["VBA project"] if any(struct.unpack_from("<I", body, 4)[0] for body in told) else []


def _slide_objects(content: bytes) -> list[str]:
    return [f"OLE object {number}" for number, _ in enumerate(_embeddings(content), start=1)]


def _embeddings(content: bytes) -> list[int]:
    return [kind for kind, _ in _slide_records(content) if kind == _PPT_OLE]
