"""Text for search: the text layer of PDFs, the text of Office packages, plain text. Bounded; never for evidence.

pypdfium2 is not thread-safe (STANDARDS 1.19), so one lock guards it; run it in a worker process where that matters.
Text is NFC, as the index expects it.
"""

import threading
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from lxml import etree

from archive_service.formats.container import ZIP_ERRORS
from archive_service.formats.limits import DEFAULT, MIB, Limits

_MAX_CHARACTERS: Final = 5_000_000
"""More text than this in one file makes search no better; a 1,000-page book has 2 million characters."""
_PART_BYTES: Final = 64 * MIB
_OOXML_PARTS: Final = ("word/", "xl/sharedstrings", "xl/worksheets/", "ppt/slides/", "ppt/notesslides/")
_BREAKS: Final = frozenset({"p", "br", "tab", "h", "si", "row", "table-row", "line-break"})
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


def extract_text(path: Path, mime: str, *, limits: Limits = DEFAULT) -> ExtractedText:
    """Returns the text of a file of media type `mime`, at most five million characters."""
    if mime == "application/pdf":
        return _pdf(path, limits)
    if mime.startswith(("application/vnd.openxmlformats", "application/vnd.oasis", "application/vnd.ms-")):
        return _package(path, limits)
    if mime.startswith("text/") or mime in {"application/json", "application/xml"}:
        return _plain(path, limits)
    return ExtractedText(text="", complete=False, reason=f"no text is taken from {mime}")


def _result(pieces: Iterator[str]) -> ExtractedText:
    kept: list[str] = []
    left = _MAX_CHARACTERS
    for piece in pieces:
        kept.append(piece[:left])
        left -= len(piece)
        if left <= 0:
            break
    text = unicodedata.normalize("NFC", "".join(kept)).replace("\0", "")
    return ExtractedText(
        text=text, complete=left > 0, reason="" if left > 0 else f"more than {_MAX_CHARACTERS} characters"
    )


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
            return _result(_pdf_pages(document, limits))
        except (pypdfium2.PdfiumError, ValueError, UnicodeDecodeError) as exc:
            return ExtractedText(text="", complete=False, reason=str(exc))
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
            return _result(piece for entry in parts for piece in _part_text(package.read(entry)))
    except (*ZIP_ERRORS, etree.XMLSyntaxError) as exc:
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
        content = source.read(min(limits.text_bytes, 4 * _MAX_CHARACTERS))
    encoding = "utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    return _result(iter([content.decode(encoding, "replace")]))
