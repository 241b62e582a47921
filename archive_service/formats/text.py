"""Text for search: the text layer of PDFs, the text of Office packages, XML and plain text. Bounded; never for evidence.

pypdfium2 is not thread-safe (STANDARDS 1.19), so one lock guards it; run it in a worker process where that matters.
Text is NFC, as the index expects it. What was read before a file turned out to be broken is kept, with the reason.
"""

import threading
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from lxml import etree

from archive_service.formats.container import ZIP_ERRORS
from archive_service.formats.limits import DEFAULT, MIB, Limits

MAX_CHARACTERS: Final = 2_000_000
"""More text than this in one file makes search no better; a book of 1,000 pages has as much."""
_PART_BYTES: Final = 64 * MIB
_OOXML_PARTS: Final = ("word/", "xl/sharedstrings", "xl/worksheets/", "ppt/slides/", "ppt/notesslides/")
_BREAKS: Final = frozenset({"p", "br", "tab", "h", "si", "row", "table-row", "line-break"})
_MARKED_UP: Final = frozenset({"text/rtf", "text/html"})
"""Kinds of text whose bytes are mostly not words of the document."""
_NOT_WORDS: Final = str.maketrans("", "", "\0\u00ad\ufffe\uffff")
"""NUL, which PostgreSQL refuses; soft hyphens and what PDFium puts at a hyphen that breaks a word."""
_TEXT_TAGS: Final = frozenset({"t", "v"})

_pdfium = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractedText:
    """Text of one file, or why there is none."""

    text: str
    complete: bool
    """False when a limit cut the text short or a part could not be read."""
    reason: str = ""
    """Why the text is missing or incomplete."""


def takes_text(mime: str) -> bool:
    """Returns whether text is taken from files of this media type."""
    return mime == "application/pdf" or _is_package(mime) or _is_xml(mime) or _is_plain(mime)


def extract_text(path: Path, mime: str, *, limits: Limits = DEFAULT) -> ExtractedText:
    """Returns the text of a file of media type `mime`, at most `MAX_CHARACTERS`."""
    if mime == "application/pdf":
        return _pdf(path, limits)
    if _is_package(mime):
        return _package(path, limits)
    if _is_xml(mime):
        return _xml(path, limits)
    if _is_plain(mime):
        return _plain(path, limits)
    return ExtractedText(text="", complete=False, reason=f"no text is taken from {mime}")


def _is_package(mime: str) -> bool:
    return mime.startswith(("application/vnd.openxmlformats", "application/vnd.oasis", "application/vnd.ms-"))


def _is_xml(mime: str) -> bool:
    return mime in {"application/xml", "text/xml"} or mime.endswith("+xml")


def _is_plain(mime: str) -> bool:
    return (mime.startswith("text/") and mime not in _MARKED_UP) or mime == "application/json"


def _result(pieces: Iterator[str], errors: tuple[type[Exception], ...] = ()) -> ExtractedText:
    kept: list[str] = []
    left, reason = MAX_CHARACTERS, ""
    try:
        for piece in pieces:
            kept.append(piece[:left])
            left -= len(piece)
            if left <= 0:
                reason = f"more than {MAX_CHARACTERS} characters"
                break
    except errors as exc:
        reason = str(exc) or type(exc).__name__
    # A broken font map gives halves of surrogate pairs, which no database takes.
    whole = "".join(kept).encode("utf-8", "replace").decode("utf-8")
    text = unicodedata.normalize("NFC", whole.translate(_NOT_WORDS))
    return ExtractedText(text=text, complete=not reason, reason=reason)


# ---------------------------------------------------------------- PDF


def _pdf(path: Path, limits: Limits) -> ExtractedText:
    import pypdfium2

    if path.stat().st_size > limits.pdf_bytes:
        return ExtractedText(text="", complete=False, reason=f"larger than {limits.pdf_bytes} bytes")
    with _pdfium:
        try:
            document = pypdfium2.PdfDocument(path)
        except (pypdfium2.PdfiumError, OSError, ValueError) as exc:
            return ExtractedText(text="", complete=False, reason=str(exc))
        try:
            return _result(_pdf_pages(document, limits), (pypdfium2.PdfiumError, ValueError, UnicodeDecodeError))
        finally:
            document.close()


def _pdf_pages(document: "object", limits: Limits) -> Iterator[str]:
    for number in range(min(len(document), limits.pdf_pages)):  # type: ignore[arg-type] # pypdfium2 is untyped
        page = document[number]  # type: ignore[index] # pypdfium2 is untyped
        layer = page.get_textpage()
        try:
            yield layer.get_text_range().replace("\r\n", "\n") + "\n"
        finally:
            layer.close()
            page.close()


# ---------------------------------------------------------------- Office packages


def _package(path: Path, limits: Limits) -> ExtractedText:
    try:
        with zipfile.ZipFile(path) as package:
            entries = package.infolist()
            if len(entries) > limits.package_entries:
                return ExtractedText(text="", complete=False, reason=f"more than {limits.package_entries} entries")
            parts = [entry for entry in entries if _has_text(entry.filename.lower())]
            if any(entry.file_size > _PART_BYTES for entry in parts):
                return ExtractedText(text="", complete=False, reason=f"a part is larger than {_PART_BYTES} bytes")
            pieces = (piece for entry in parts for piece in _part_text(package.read(entry)))
            return _result(pieces, (*ZIP_ERRORS, etree.XMLSyntaxError))
    except ZIP_ERRORS as exc:
        return ExtractedText(text="", complete=False, reason=str(exc))


def _has_text(name: str) -> bool:
    return name == "content.xml" or (name.startswith(_OOXML_PARTS) and name.endswith(".xml") and "_rels" not in name)


def _part_text(content: bytes) -> Iterator[str]:
    """Yields the text of one XML part, with a line break where a paragraph or cell row ends."""
    events = etree.iterparse(
        BytesIO(content), events=("end",), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    for _, element in events:
        if not isinstance(element.tag, str):
            continue
        qualified = etree.QName(element)
        opendocument = "opendocument" in (qualified.namespace or "")
        if opendocument and qualified.localname in _BREAKS:
            yield "".join(element.itertext()) + "\n"
            element.clear()
        elif qualified.localname in _TEXT_TAGS and not opendocument:
            yield element.text or ""
        elif qualified.localname in _BREAKS:
            yield "\n"
            element.clear()


# ---------------------------------------------------------------- plain text


def _plain(path: Path, limits: Limits) -> ExtractedText:
    with path.open("rb") as source:
        content = source.read(min(limits.text_bytes, 4 * MAX_CHARACTERS))
    encoding = "utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    return _result(iter([content.decode(encoding, "replace")]))


def _xml(path: Path, limits: Limits) -> ExtractedText:
    """Text between the tags, attributes left out; e-forms keep what people wrote there."""
    if path.stat().st_size > limits.xml_bytes:
        return ExtractedText(text="", complete=False, reason=f"larger than {limits.xml_bytes} bytes")
    with path.open("rb") as source:
        return _result(_xml_pieces(source), (etree.XMLSyntaxError, OSError))


class _Words:
    """Takes character data from the parser; an element's end ends a line."""

    def __init__(self) -> None:
        self.waiting: list[str] = []

    def data(self, text: str) -> None:
        """Takes text between tags."""
        self.waiting.append(text)

    def end(self, _tag: str) -> None:
        """Takes the end of an element."""
        self.waiting.append("\n")

    def close(self) -> None:
        """Takes the end of the document."""


def _xml_pieces(source: BinaryIO) -> Iterator[str]:
    words = _Words()
    parser = etree.XMLParser(  # type: ignore[call-overload] # the stub wants methods a target may leave out
        target=words, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    for chunk in iter(lambda: source.read(MIB), b""):
        parser.feed(chunk)
        yield from words.waiting
        words.waiting.clear()
    parser.close()
    yield from words.waiting
