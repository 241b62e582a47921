"""PDF/A file structure: header, trailer, cross-reference table, object syntax, implementation limits (6.1).

Looked at in the raw bytes where qpdf forgives what PDF/A does not. Clauses are those of ISO 19005-1; limits are those of each part.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pikepdf

from archive_service.formats.pdfa_xmp import Problem
from archive_service.formats.view import FileView

_HEADER: Final = re.compile(rb"%PDF-\d\.\d(\r\n|\r|\n)")
_LATER_HEADER: Final = re.compile(rb"%PDF-1\.[0-7](\r\n|\r|\n)")
_COMMENT: Final = re.compile(rb"%[\x80-\xff]{4}")
_XREF: Final = re.compile(rb"xref(?:\r\n|\r|\n)\d+ \d+ ?(?:\r\n|\r|\n)")
_ENDOBJ: Final = re.compile(rb"[^\r\n]endobj\b")
_STREAM: Final = re.compile(rb">>(?:[\0\t\n\f\r ]|%[^\r\n]*[\r\n])*stream")
_LENGTH: Final = re.compile(rb"/Length\s+(\d{1,12})(?:\s+(\d{1,5})\s+R\b)?")
_OBJECT: Final = re.compile(rb"(\d{1,8})\s+(\d{1,5})\s+obj\Z")
_ENDSTREAM: Final = re.compile(rb"(\r\n|\r|\n|)endstream")
_DICTIONARY_BYTES: Final = 8 * 1024
"""How far before its end a stream's dictionary is looked for."""
_MAX_STREAMS: Final = 100_000
_END_OF_FILE: Final = b"%%EOF"
_TABLE_BYTES: Final = 20 * 200_000
_LEXED_BYTES: Final = 64 * 1024 * 1024
"""Larger files are not searched for object syntax."""
_MAX_SECTIONS: Final = 100

_LITERAL_OR_HEX: Final = re.compile(rb"\((?:[^()\\]|\\.|\([^()]*\))*\)|<<|>>|<([^<>]*)>|%[^\r\n]*", re.DOTALL)
_HEX: Final = re.compile(rb"[0-9A-Fa-f\s\0]*")

MAX_INTEGER: Final = 2**31 - 1
MAX_REAL: Final = 32767.0
MAX_STRING: Final = 65535
MAX_NAME: Final = 127
MAX_ARRAY: Final = 8191
MAX_DICTIONARY: Final = 4095
MAX_LATER_REAL: Final = 3.403e38
MAX_LATER_STRING: Final = 32767
MAX_LATER_OBJECTS: Final = 8_388_607


def file_problems(pdf: pikepdf.Pdf, path: Path, part: int) -> Iterator[Problem]:
    """Yields what is wrong with the file's outer form."""
    with FileView(path) as view:
        yield from _header(view, part)
        yield from _cross_references(view, part)
        if view.size <= _LEXED_BYTES:
            content = view.part(0, view.size)
            yield from _syntax(content)
            yield from _stream_keywords(content, pdf)
        yield from _after_end(view)
    if "/ID" not in pdf.trailer:
        yield "6.1.3", "the trailer has no ID"
    if "/Encrypt" in pdf.trailer:
        yield "6.1.3", "the file is encrypted"
    if part > 1 and len(pdf.objects) > MAX_LATER_OBJECTS:
        yield "6.1.12", "more than 8388607 indirect objects"
    if part == 1 and "/OCProperties" in pdf.Root:
        yield "6.1.13", "optional content"


def _header(view: FileView, part: int) -> Iterator[Problem]:
    start = view.part(0, 128)
    header = (_HEADER if part == 1 else _LATER_HEADER).match(start)
    if header is None:
        yield "6.1.2", "the file does not start with a PDF header"
        return
    if not _COMMENT.match(start, header.end()):
        yield "6.1.2", "no comment with four bytes above 127 after the header"


def _cross_references(view: FileView, part: int) -> Iterator[Problem]:
    """Follows the cross-reference tables from the end of the file back to the first; parts 2 and 3 allow streams in their place."""
    tail = view.part(max(0, view.size - 2048), view.size)
    found = re.findall(rb"startxref\s+(\d+)", tail)
    offset = int(found[-1]) if found else -1
    visited: set[int] = set()
    while 0 <= offset < view.size and offset not in visited and len(visited) < _MAX_SECTIONS:
        visited.add(offset)
        table = view.part(offset, offset + _TABLE_BYTES)
        if not table.startswith(b"xref"):
            if part == 1:
                yield "6.1.4", "a cross-reference stream instead of a table"
            return
        if not _XREF.match(table):
            yield "6.1.4", "the xref keyword or a subsection header is wrongly spaced"
        entries, _, trailer = table.partition(b"trailer")
        for line in re.split(rb"\r\n|\r|\n", entries)[1:]:
            stripped = line.strip()
            if stripped and not re.fullmatch(rb"\d+ \d+ ?|\d{10} \d{5} [nf] ?", line):
                yield "6.1.4", "a line of the cross-reference table is wrongly spaced"
                break
        previous = re.search(rb"/Prev\s+(\d+)", trailer[:4096].split(b"startxref")[0])
        if part == 1 and b"/XRefStm" in trailer[:4096].split(b"startxref")[0]:
            yield "6.1.4", "a cross-reference stream beside the table"
        offset = int(previous[1]) if previous else -1


def _syntax(content: bytes) -> Iterator[Problem]:
    text = _without_streams(content)
    if _ENDOBJ.search(text):
        yield "6.1.8", "endobj is not at the start of a line"
    yield from hex_problems(text)


def _after_end(view: FileView) -> Iterator[Problem]:
    end = view.rfind(_END_OF_FILE)
    rest = view.part(end + len(_END_OF_FILE), end + len(_END_OF_FILE) + 3) if end >= 0 else b""
    if rest not in {b"", b"\r", b"\n", b"\r\n"}:
        yield "6.1.3", "data after the end-of-file marker"


def _stream_keywords(content: bytes, pdf: pikepdf.Pdf) -> Iterator[Problem]:
    """Yields streams whose keywords are not on lines of their own, or whose length is not that of their bytes (6.1.7)."""
    at = 0
    for _ in range(_MAX_STREAMS):
        found = _STREAM.search(content, at)
        if found is None:
            return
        start = found.end()
        line_end = 2 if content.startswith(b"\r\n", start) else int(content.startswith((b"\n", b"\r"), start))
        if not line_end or (content.startswith(b"\r", start) and line_end == 1):
            yield "6.1.7", "the stream keyword is not followed by an end of line"
        length = _told_length(content, found.start(), pdf)
        end = _ENDSTREAM.match(content, start + line_end + length) if length is not None else None
        if end is None:
            place = content.find(b"endstream", start)
            if place < 0:
                return
            if length is not None:
                yield "6.1.7", "a stream whose Length is not that of its bytes"
            at = place + len(b"endstream")
            continue
        if not end[1] and content[end.start() - 1 : end.start()] not in {b"\r", b"\n"}:
            yield "6.1.7", "the endstream keyword is not at the start of a line"
        at = end.end()


def _told_length(content: bytes, stop: int, pdf: pikepdf.Pdf) -> int | None:
    """Returns the Length of the dictionary that ends at `stop`; None when it cannot be told, or no cross-reference leads to the stream."""
    first = content.rfind(b"obj", max(0, stop - _DICTIONARY_BYTES), stop)
    owner = _OBJECT.search(content, max(0, first - 24), first + 3) if first >= 0 else None
    told = _LENGTH.findall(content, first, stop + 2) if owner else []
    if owner is None or len(told) != 1:
        return None
    if not isinstance(pdf.get_object((int(owner[1]), int(owner[2]))), pikepdf.Stream):
        return None
    number, generation = told[0]
    if not generation:
        return int(number)
    value: Any = pdf.get_object((int(number), int(generation)))  # a number comes as Python's
    return value if isinstance(value, int) else None


def _without_streams(content: bytes) -> bytes:
    """Returns a file without what stands between `stream` and `endstream`, whose bytes would read like syntax."""
    kept: list[bytes] = []
    at = 0
    while (start := content.find(b"stream", at)) >= 0:
        stop = content.find(b"endstream", start + 6)
        if stop < 0:
            break
        kept.append(content[at : start + 6])
        at = stop + 9
    kept.append(content[at:])
    return b"\n".join(kept)


def hex_problems(text: bytes) -> Iterator[Problem]:
    """Yields what is wrong with hexadecimal strings in object syntax or page content (6.1.6)."""
    for match in _LITERAL_OR_HEX.finditer(text):
        content = match[1]
        if content is None:
            continue
        if not _HEX.fullmatch(content):
            yield "6.1.6", "a hexadecimal string holds other characters"
            return
        if len(re.sub(rb"[\s\0]", b"", content)) % 2:
            yield "6.1.6", "a hexadecimal string has an odd number of digits"
            return


def value_problems(value: Any, part: int, depth: int = 0) -> Iterator[Problem]:  # any pikepdf or Python value
    """Yields implementation limits of a part that a value and the direct values in it exceed (6.1.12; parts 2 and 3: 6.1.13)."""
    if depth > 20:  # noqa: PLR2004 - direct nesting deeper than this is not met
        return
    if isinstance(value, pikepdf.Object):
        yield from _object_problems(value, part, depth)
    elif isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        yield from _number_problems(value, part)


def _number_problems(value: float | Decimal, part: int) -> Iterator[Problem]:
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            yield "6.1.12", "an integer out of range"
    elif abs(float(value)) > (MAX_REAL if part == 1 else MAX_LATER_REAL):
        yield "6.1.12", "a real number out of range"


def _name_problems(name: bytes) -> Iterator[Problem]:
    if len(name) - 1 > MAX_NAME:
        yield "6.1.12", "a name longer than 127 bytes"


def _object_problems(value: pikepdf.Object, part: int, depth: int) -> Iterator[Problem]:
    if isinstance(value, pikepdf.Name):
        yield from _name_problems(bytes(value))
    elif isinstance(value, pikepdf.String):
        most = MAX_STRING if part == 1 else MAX_LATER_STRING
        if len(bytes(value)) > most:
            yield "6.1.12", f"a string longer than {most} bytes"
    elif isinstance(value, pikepdf.Array):
        if part == 1 and len(value) > MAX_ARRAY:
            yield "6.1.12", "an array of more than 8191 elements"
        yield from _direct_problems(list(value), part, depth)
    elif isinstance(value, (pikepdf.Dictionary, pikepdf.Stream)):
        entries = dict(value.items())
        if part == 1 and len(entries) > MAX_DICTIONARY:
            yield "6.1.12", "a dictionary of more than 4095 entries"
        for key in entries:
            yield from _name_problems(key.encode("utf-8", "surrogateescape"))
        yield from _direct_problems(list(entries.values()), part, depth)


def _direct_problems(values: list[Any], part: int, depth: int) -> Iterator[Problem]:
    for item in values:
        if not (isinstance(item, pikepdf.Object) and item.is_indirect):
            yield from value_problems(item, part, depth + 1)
