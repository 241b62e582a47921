"""What stands before, after or across a file's own format: data nobody looks at, and files that are two things at once.

A reader of one format skips what it does not know, so a PDF can carry a ZIP behind its end mark and an image can be an archive for
another program. Such a file is kept, but an archivist is told that a part of it was not looked at.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from archive_service.formats.report import Notes
from archive_service.formats.view import FileView

HEAD_BYTES: Final = 1024
"""How far from the start PDF readers look for a header (ISO 32000-1 annex H.3, note 13)."""
_BLANK: Final = b"\0 \t\r\n\f\x1a"
_PDF_HEADER: Final = re.compile(rb"%PDF-[12]\.\d")
_PDF_END: Final = b"%%EOF"
_MARKUP: Final = re.compile(rb"<(?:!doctype\s+html|html|head|body|script|svg)[\s>]", re.IGNORECASE)
_ZIP_END: Final = b"PK\x05\x06"
_ZIP_END_BYTES: Final = 22
_ZIP_COMMENT_MAX: Final = 0xFFFF
_ZIP_LOCAL: Final = b"PK\x03\x04"
_PNG_END: Final = b"IEND\xaeB\x60\x82"
_JPEG_END: Final = b"\xff\xd9"
_OFFICE: Final = ("application/vnd.openxmlformats", "application/vnd.oasis")


def look_around(content: FileView, mime: str, notes: Notes) -> None:
    """Adds FORMAT_LEADING_DATA, FORMAT_TRAILING_DATA and FORMAT_POLYGLOT."""
    if not content.size:
        return
    head = content.part(0, HEAD_BYTES)
    package = head.startswith((_ZIP_LOCAL, _ZIP_END)) or mime == "application/zip" or mime.startswith(_OFFICE)
    if mime == "application/pdf":
        _before_pdf(head, notes)
    elif _PDF_HEADER.search(head) and mime != "application/zip":
        notes.find("FORMAT_POLYGLOT", other="PDF")
    if package:
        _around_package(content, notes)
    elif _ends_as_zip(content):
        notes.find("FORMAT_POLYGLOT", other="ZIP")
    elif mime in _END_OF:
        end = _END_OF[mime](content)
        rest = content.stripped_length(end, _BLANK) if end >= 0 else 0
        if rest:
            notes.find("FORMAT_TRAILING_DATA", count=rest)
    notes.checked.append("data around the format")


def _before_pdf(head: bytes, notes: Notes) -> None:
    found = _PDF_HEADER.search(head)
    before = head[: found.start()] if found else b""
    if before.strip(_BLANK) and not before.startswith(b"\xef\xbb\xbf"):
        notes.find("FORMAT_LEADING_DATA", count=len(before))
    if _MARKUP.search(head):
        notes.find("FORMAT_POLYGLOT", other="HTML")


def _ends_as_zip(content: FileView) -> bool:
    """Returns whether the file ends as a ZIP does: an archive's end record whose comment reaches exactly to the end."""
    place = _zip_end(content)
    return place >= 0 and _after_zip_end(content, place) == content.size


def _zip_end(content: FileView) -> int:
    return content.rfind(_ZIP_END, max(0, content.size - _ZIP_END_BYTES - _ZIP_COMMENT_MAX))


def _after_zip_end(content: FileView, place: int) -> int:
    return place + _ZIP_END_BYTES + int.from_bytes(content.part(place + 20, place + 22), "little")


def _around_package(content: FileView, notes: Notes) -> None:
    place = _zip_end(content)
    if place < 0:
        return
    if content.part(0, 4) not in {_ZIP_LOCAL, _ZIP_END}:
        notes.find("FORMAT_LEADING_DATA", count=max(0, content.find(_ZIP_LOCAL)))
    rest = content.stripped_length(_after_zip_end(content, place), _BLANK)
    if rest:
        notes.find("FORMAT_TRAILING_DATA", count=rest)


def _after(mark: bytes) -> Callable[[FileView], int]:
    """Returns a function that tells where the last `mark` ends, -1 where there is none."""

    def end(content: FileView) -> int:
        place = content.rfind(mark)
        return place + len(mark) if place >= 0 else -1

    return end


def _riff_end(content: FileView) -> int:
    return 8 + int.from_bytes(content.part(4, 8), "little") if content.part(0, 4) == b"RIFF" else -1


_END_OF: Final[Mapping[str, Callable[[FileView], int]]] = {
    "application/pdf": _after(_PDF_END),
    "image/jpeg": _after(_JPEG_END),
    "image/png": _after(_PNG_END),
    "image/webp": _riff_end,
}
"""Where a format's own data ends, by media type; -1 where that cannot be told."""
