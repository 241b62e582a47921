"""PDF: readable without repair, not encrypted, no hidden programs or files, fonts embedded, PDF/A claim seen.

Every object of the current revision is visited once. Reading is done by qpdf (pikepdf) without its repair first; a
file that needs repair is told from one that is beyond it. Signatures are another package's matter. PDF/A claims are
tested in pdfa.py, page content (resolution, colour, text layer) is measured in pdf_pages.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pikepdf
from lxml import etree
from pikepdf import ObjectType

from archive_service.formats.limits import Limits
from archive_service.formats.report import Notes, named, shorten

PDF_ERRORS: Final = (
    pikepdf.PdfError,
    pikepdf.DataDecodingError,
    pikepdf.ForeignObjectError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    RuntimeError,  # RecursionError among them
    NotImplementedError,
    OverflowError,
    MemoryError,
)
"""What pikepdf raises on odd or hostile files (LESSONS 1, STANDARDS 1.4); caught where one file is read, nowhere
else."""

PDFA_NAMESPACE: Final = "http://www.aiim.org/pdfa/ns/id/"

_BENIGN: Final = re.compile(r"reported number of objects|extraneous whitespace|xref entry for the xref stream itself")
"""Warnings of qpdf about slips that every reader copes with in the same way."""
_TAIL_BYTES: Final = 2048
_INTERESTING: Final = re.compile(
    rb"/(?:JavaScript|JS|Launch|ImportData|EF|XFA|RichMedia|FontDescriptor|Movie|3D)\b"
    rb"|/Subtype /Image\b|/Type /Font\b"
)
_SCRIPT_ACTIONS: Final = frozenset({"/JavaScript", "/Launch", "/ImportData", "/Rendition"})
_FONT_FILES: Final = ("/FontFile", "/FontFile2", "/FontFile3")
_MAX_DEPTH: Final = 20
"""Nesting of direct objects followed inside one indirect object."""
_MAX_XMP_BYTES: Final = 4 * 1024 * 1024


def check_pdf(path: Path, notes: Notes, limits: Limits) -> pikepdf.Pdf | None:
    """Checks a PDF's structure; returns it open for further checks, or None when that would be pointless.

    Adds the facts `pdf_version`, `pages`, `pdfa_claim`, `encrypted`, `tagged`, `revisions`, `fonts`,
    `fonts_not_embedded`, `images`, `signature_fields`.
    """
    if path.stat().st_size > limits.pdf_bytes:
        notes.unchecked("PDF structure", f"larger than {limits.pdf_bytes} bytes")
        return None
    pdf = _open(path, notes)
    if pdf is None:
        return None
    try:
        _describe(pdf, notes, limits)
        _survey(pdf, notes, limits)
        _tell_warnings(pdf, notes)
    except PDF_ERRORS as exc:
        notes.broken(_reason(exc, path))
        pdf.close()
        return None
    notes.checked.append(f"PDF structure (qpdf {pikepdf.__libqpdf_version__})")
    return pdf


def check_streams(pdf: pikepdf.Pdf, path: Path, notes: Notes) -> None:
    """Decodes every stream (qpdf's own syntax check): finds damage inside page contents and object streams."""
    try:
        problems = [shorten(str(problem).replace(str(path), "")) for problem in pdf.check_pdf_syntax()]
    except PDF_ERRORS as exc:
        problems = [_reason(exc, path)]
    serious = [problem.lstrip(" :,") for problem in problems if not _BENIGN.search(problem)]
    notes.checked.append("PDF streams decoded")
    if serious and not notes.has("FORMAT_REPAIRED_ON_READING", "FORMAT_BROKEN"):
        notes.broken(serious[0])


def _open(path: Path, notes: Notes) -> pikepdf.Pdf | None:
    try:
        pdf = pikepdf.open(path, attempt_recovery=False, suppress_warnings=True)
    except pikepdf.PasswordError:
        notes.find("FORMAT_ENCRYPTED", reason="a password is needed to open it")
        return None
    except PDF_ERRORS as exc:
        if "encrypt" in str(exc).lower():
            notes.find("FORMAT_ENCRYPTED", reason=_reason(exc, path))
            return None
        return _reopen(path, notes, _reason(exc, path))
    if pdf.is_encrypted:
        notes.find("FORMAT_ENCRYPTED", reason="opens without a password, but its use is restricted")
        notes.facts["encrypted"] = True
    return pdf


def _reopen(path: Path, notes: Notes, first: str) -> pikepdf.Pdf | None:
    """Opens with repair; a file that still has its end and its pages is odd, any other is damaged."""
    try:
        pdf = pikepdf.open(path, attempt_recovery=True, suppress_warnings=True)
        pages = len(pdf.pages)
    except PDF_ERRORS as exc:
        notes.broken(_reason(exc, path))
        return None
    if pages and _has_end(path):
        notes.find("FORMAT_REPAIRED_ON_READING", reason=first)
        return pdf
    notes.broken(first)
    pdf.close()
    return None


def _has_end(path: Path) -> bool:
    with path.open("rb") as source:
        source.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return b"%%EOF" in source.read()


def _reason(exc: BaseException, path: Path) -> str:
    """Returns the library's words without the path, which differs from run to run."""
    text = str(exc) or type(exc).__name__
    return shorten(text.replace(str(path), "").lstrip(" :,"))


def _describe(pdf: pikepdf.Pdf, notes: Notes, limits: Limits) -> None:
    notes.facts["pdf_version"] = pdf.pdf_version
    notes.facts["pages"] = len(pdf.pages)
    root = pdf.Root
    notes.facts["tagged"] = "/StructTreeRoot" in root
    if not len(pdf.pages):
        notes.broken("no pages")
    claim = pdfa_claim(pdf)
    if claim:
        notes.facts["pdfa_claim"] = claim
    if len(pdf.pages) > limits.pdf_pages:
        notes.over_limit("pages", f"{limits.pdf_pages} pages")


def xmp_packet(pdf: pikepdf.Pdf) -> bytes | None:
    """Returns the document's XMP metadata; None when it has none or more than can be read."""
    metadata = pdf.Root.get("/Metadata")
    if not isinstance(metadata, pikepdf.Stream):
        return None
    packet = bytes(metadata.read_bytes())
    return packet if len(packet) <= _MAX_XMP_BYTES else None


def xmp_tree(packet: bytes) -> etree._Element | None:
    """Parses XMP with entities, DTDs and network off; None when it is not well-formed."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(_utf8(packet).strip(), parser)
    except (etree.XMLSyntaxError, ValueError):
        return None


_XMP_ENCODINGS: Final = (
    (re.compile(rb"(?:\0\0\xfe\xff)?\0\0\0<"), "utf-32-be"),
    (re.compile(rb"(?:\xff\xfe\0\0)?<\0\0\0"), "utf-32-le"),
    (re.compile(rb"(?:\xfe\xff)?\0<"), "utf-16-be"),
    (re.compile(rb"(?:\xff\xfe)?<\0"), "utf-16-le"),
)


def _utf8(packet: bytes) -> bytes:
    """Returns a packet in UTF-8; XMP may be in any Unicode encoding, told by its first characters."""
    encoding = next((name for start, name in _XMP_ENCODINGS if start.match(packet)), "utf-8")
    return (
        packet.decode(encoding, "strict").replace("\ufeff", "").strip("\0").encode() if encoding != "utf-8" else packet
    )


def pdfa_claim(pdf: pikepdf.Pdf) -> str | None:
    """Returns the PDF/A part and conformance level the metadata claims, such as `1b`, `2u`, `4`; None for no claim."""
    packet = xmp_packet(pdf)
    if packet is None:
        return None
    tree = xmp_tree(packet)
    if tree is None:
        return None
    part = conformance = ""
    for element in tree.iter():
        part = part or _xmp_property(element, "part")
        conformance = conformance or _xmp_property(element, "conformance")
    return f"{part}{conformance.lower()}" if part else None


def _xmp_property(element: etree._Element, name: str) -> str:
    qualified = f"{{{PDFA_NAMESPACE}}}{name}"
    value = element.text if element.tag == qualified else element.get(qualified)
    return shorten(str(value), 10) if value else ""


# ---------------------------------------------------------------- every object once


def _survey(pdf: pikepdf.Pdf, notes: Notes, limits: Limits) -> None:
    """Visits every object of the current revision for scripts, embedded files, fonts and images."""
    scripts: list[str] = []
    embedded: list[str] = []
    fonts: dict[str, bool] = {}
    images = 0
    objects = pdf.objects
    if len(objects) > limits.pdf_objects:
        notes.over_limit("PDF objects", f"{limits.pdf_objects} objects")
        return
    for obj in objects:
        kind = getattr(obj, "_type_code", None)  # numbers come as Python's; isinstance is several times slower
        if kind is ObjectType.stream:
            raw = obj.stream_dict.unparse()
        elif kind is ObjectType.dictionary or kind is ObjectType.array:
            raw = obj.unparse(resolved=True)
        else:
            continue
        if not _INTERESTING.search(raw):
            continue
        number = obj.objgen[0]
        for part in _dictionaries(obj, 0):
            scripts.extend(f"object {number} {what}" for what in _script(part))
            embedded.extend(_embedded(part))
            images += part.get("/Subtype") == "/Image"
            fonts.update(_font(part))
    _tell_survey(notes, scripts, embedded, fonts)
    notes.facts["images"] = images


def _dictionaries(obj: Any, depth: int) -> Iterator[Any]:  # pikepdf.Object in its many forms
    """Yields a dictionary or stream dictionary and those nested directly in it; references are not followed."""
    kind = obj._type_code  # noqa: SLF001
    if depth > _MAX_DEPTH:
        return
    if kind is ObjectType.stream:
        obj, kind = obj.stream_dict, ObjectType.dictionary
    if kind is ObjectType.dictionary:
        yield obj
        values = [value for _, value in obj.items()]
    elif kind is ObjectType.array:
        values = list(obj)
    else:
        return
    for value in values:
        if isinstance(value, pikepdf.Object) and not value.is_indirect:
            yield from _dictionaries(value, depth + 1)


def name_text(value: Any) -> str:  # a pikepdf name or string, or text
    """Returns a name or string as text; what is no UTF-8 is taken as Latin-1. Names hold any bytes, those of many East Asian fonts do."""
    try:
        return str(value)
    except UnicodeDecodeError:
        return bytes(value).decode("latin-1")


def _script(part: Any) -> Iterator[str]:  # a pikepdf dictionary
    action = part.get("/S")
    if isinstance(action, pikepdf.Name) and name_text(action) in _SCRIPT_ACTIONS:
        if name_text(action) != "/Rendition" or "/JS" in part:
            yield name_text(action)[1:]
    elif "/JS" in part:
        yield "JS"
    if "/XFA" in part:
        yield "XFA"


def _embedded(part: Any) -> Iterator[str]:
    if "/EF" in part:
        label = part.get("/UF", part.get("/F", "?"))
        yield name_text(label)
    elif part.get("/Subtype") in {"/RichMedia", "/3D", "/Movie"} and "/Rect" in part:
        yield name_text(part["/Subtype"])[1:]


def _font(part: Any) -> Iterator[tuple[str, bool]]:
    """Yields a font's name and whether its program is in the file; composite fonts are told by their descendants."""
    if part.get("/Type") != "/Font" and "/FontDescriptor" not in part:
        return
    subtype = name_text(part.get("/Subtype", ""))
    if subtype in {"/Type0", "/Type3"}:
        return
    descriptor = part.get("/FontDescriptor")
    embedded = isinstance(descriptor, pikepdf.Dictionary) and any(name in descriptor for name in _FONT_FILES)
    yield shorten(name_text(part.get("/BaseFont", "/?"))[1:], 80), embedded


def _tell_survey(notes: Notes, scripts: list[str], embedded: list[str], fonts: dict[str, bool]) -> None:
    if scripts:
        notes.find("FORMAT_SCRIPT", where=named(scripts))
    if embedded:
        notes.find("FORMAT_EMBEDDED_FILES", count=len(embedded), where=named(embedded))
    notes.facts["fonts"] = [*sorted(fonts)[:100]]
    notes.facts["fonts_not_embedded"] = [*sorted(name for name, there in fonts.items() if not there)[:100]]


def _tell_warnings(pdf: pikepdf.Pdf, notes: Notes) -> None:
    told = [shorten(str(warning)) for warning in pdf.get_warnings()]
    serious = [text for text in told if not _BENIGN.search(text)]
    if serious and not notes.has("FORMAT_REPAIRED_ON_READING"):
        notes.find("FORMAT_REPAIRED_ON_READING", reason=shorten(re.sub(r"^[^,(:]*(?=[,(:])[ ,:]*", "", serious[0])))
    notes.facts["pdf_warnings"] = len(told)
