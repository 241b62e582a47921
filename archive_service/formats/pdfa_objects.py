"""PDF/A objects: output intents, fonts, annotations, actions, forms (6.1.10-6.1.12, 6.2.2, 6.3, 6.5, 6.6, 6.9).

Clauses are those of ISO 19005-1, also for parts 2 and 3, where `pdfa_later.CLAUSES` gives theirs.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import pikepdf
from pikepdf import ObjectType

from archive_service.formats.pdf import name_text
from archive_service.formats.pdfa_file import value_problems
from archive_service.formats.pdfa_xmp import Problem

_ICC_SPACES: Final = {b"RGB ": "RGB", b"CMYK": "CMYK", b"GRAY": "Gray"}
_ICC_CLASSES: Final = frozenset({b"prtr", b"mntr"})
_ICC_HEADER: Final = 128
_ANNOTATIONS: Final = frozenset(
    {
        "/Text", "/Link", "/FreeText", "/Line", "/Square", "/Circle", "/Highlight", "/Underline", "/Squiggly",
        "/StrikeOut", "/Stamp", "/Ink", "/Popup", "/Widget", "/PrinterMark", "/TrapNet",
    }
)  # fmt: skip
_LATER_ANNOTATIONS: Final = frozenset({"/Polygon", "/PolyLine", "/Caret", "/Redact", "/Watermark", "/FileAttachment"})
_FORBIDDEN_ACTIONS: Final = frozenset(
    {"/Launch", "/Sound", "/Movie", "/ResetForm", "/ImportData", "/JavaScript", "/Hide", "/SetState", "/NOP", "/Rendition",
     "/Trans", "/SetOCGState", "/GoTo3DView"}
)  # fmt: skip
_NAMED: Final = frozenset({"/NextPage", "/PrevPage", "/FirstPage", "/LastPage"})
_PRINT, _HIDDEN_BITS, _TOGGLE_NO_VIEW = 4, 1 | 2 | 32, 256
_FONT_FILES: Final = ("/FontFile", "/FontFile2", "/FontFile3")
_PREDEFINED_CMAPS: Final = frozenset({"/Identity-H", "/Identity-V"})
_SUBSET: Final = re.compile(r"/[A-Z]{6}\+")
_SYMBOLIC: Final = 4
_MAX_CID: Final = 65535
_CID_RANGES: Final = re.compile(rb"begincid(?:range|char)(.*?)endcid(?:range|char)", re.DOTALL)


def output_intent(pdf: pikepdf.Pdf) -> tuple[str | None, list[Problem]]:
    """Returns the colour space of the PDF/A output intent's profile, and what is wrong with the intents (6.2.2)."""
    problems: list[Problem] = []
    space: str | None = None
    profiles = set()
    for intent in pdf.Root.get("/OutputIntents", []):
        profile = intent.get("/DestOutputProfile")
        if isinstance(profile, pikepdf.Stream):
            profiles.add(profile.objgen)
        if intent.get("/S") != "/GTS_PDFA1":
            continue
        if not isinstance(profile, pikepdf.Stream):
            problems.append(("6.2.2", "an output intent without a profile"))
            continue
        space, problem = _profile(bytes(profile.read_bytes()[:_ICC_HEADER]))
        problems += [("6.2.2", problem)] if problem else []
    if len(profiles) > 1:
        problems.append(("6.2.2", "output intents with different profiles"))
    return space, problems


def _profile(header: bytes) -> tuple[str | None, str | None]:
    if len(header) < _ICC_HEADER or header[36:40] != b"acsp":
        return None, "the output profile is no ICC profile"
    if header[12:16] not in _ICC_CLASSES:
        return None, "the output profile is neither of a printer nor of a monitor"
    space = _ICC_SPACES.get(header[16:20])
    return space, None if space else "the output profile is not RGB, CMYK or grey"


# ---------------------------------------------------------------- every object


def object_problems(pdf: pikepdf.Pdf, part: int) -> Iterator[Problem]:
    """Yields what is wrong with single objects, whether or not a page uses them."""
    for obj in pdf.objects:
        kind = getattr(obj, "_type_code", None)  # numbers come as Python's
        yield from value_problems(obj, part)
        if kind is ObjectType.stream:
            yield from _stream(obj)
        if kind in {ObjectType.dictionary, ObjectType.stream}:
            yield from _action(obj)
            if "/EF" in obj and part == 1:
                yield "6.1.11", "an embedded file"
            if obj.get("/Type") == "/CMap":
                yield from _cmap(obj)
    yield from _document(pdf, part)


def _document(pdf: pikepdf.Pdf, part: int) -> Iterator[Problem]:
    names = pdf.Root.get("/Names")
    if part == 1 and isinstance(names, pikepdf.Dictionary) and "/EmbeddedFiles" in names:
        yield "6.1.11", "embedded files"
    if isinstance(names, pikepdf.Dictionary) and "/JavaScript" in names:
        yield "6.6.1", "document scripts"
    if "/AA" in pdf.Root:
        yield "6.6.2", "additional actions of the document"


def _stream(obj: Any) -> Iterator[Problem]:
    filters = obj.get("/Filter")
    names = list(filters) if isinstance(filters, pikepdf.Array) else [filters]
    if any("/LZW" in name_text(name) for name in names if isinstance(name, pikepdf.Name)):
        yield "6.1.10", "LZW compression"
    if any(key in obj for key in ("/F", "/FFilter", "/FDecodeParms")) and obj.get("/Type") != "/XRef":
        yield "6.1.7", "a stream kept in another file"


def _action(obj: Any) -> Iterator[Problem]:
    for candidate in (obj, obj.get("/A"), obj.get("/OpenAction")):
        if not isinstance(candidate, pikepdf.Dictionary):
            continue
        kind = candidate.get("/S")
        if not isinstance(kind, pikepdf.Name):
            continue
        if str(kind) in _FORBIDDEN_ACTIONS:
            yield "6.6.1", f"action {str(kind)[1:]}"
        elif kind == "/Named" and str(candidate.get("/N")) not in _NAMED:
            yield "6.6.1", "a named action that is not one of the four"


def _cmap(obj: Any) -> Iterator[Problem]:
    for block in _CID_RANGES.findall(bytes(obj.read_bytes())):
        lines = [line.split() for line in block.strip().splitlines()]
        if any(line and line[-1].isdigit() and int(line[-1]) > _MAX_CID for line in lines):
            yield "6.1.12", "a character identifier above 65535"
            return


# ---------------------------------------------------------------- fonts that are used


def font_problems(font: Any, part: int) -> Iterator[Problem]:
    """Yields what is wrong with a font that shows visible text (6.3)."""
    kind = str(font.get("/Subtype"))
    if kind == "/Type0":
        yield from _composite(font, part)
    elif kind != "/Type3":
        descriptor = font.get("/FontDescriptor")
        if not _embedded(descriptor):
            yield "6.3.4", "a font that is not embedded"
            return
        name = name_text(font.get("/BaseFont", ""))
        if part == 1 and kind in {"/Type1", "/MMType1"} and _SUBSET.match(name) and not _listed(descriptor):
            yield "6.3.5", "a Type 1 subset whose CharSet is missing or incomplete"
        if kind == "/TrueType":
            yield from _truetype(font, descriptor)


def _embedded(descriptor: Any) -> bool:
    return isinstance(descriptor, pikepdf.Dictionary) and any(
        isinstance(descriptor.get(key), pikepdf.Stream) for key in _FONT_FILES
    )


def _listed(descriptor: Any) -> bool:
    """Whether CharSet names every glyph of an embedded Type 1 program that is kept in clear or CFF form."""
    charset = descriptor.get("/CharSet")
    return charset is not None and bool(str(charset).strip())


def _truetype(font: Any, descriptor: Any) -> Iterator[Problem]:
    symbolic = int(descriptor.get("/Flags", 0)) & _SYMBOLIC
    encoding: Any = font.get("/Encoding")
    if symbolic and encoding is not None:
        yield "6.3.7", "a symbolic TrueType font with an encoding"
    elif not symbolic:
        base = encoding.get("/BaseEncoding") if isinstance(encoding, pikepdf.Dictionary) else encoding
        if str(base) not in {"/MacRomanEncoding", "/WinAnsiEncoding"}:
            yield "6.3.7", "a TrueType font that is neither symbolic nor in a standard encoding"


def _composite(font: Any, part: int) -> Iterator[Problem]:
    descendants = font.get("/DescendantFonts")
    if not isinstance(descendants, pikepdf.Array) or not len(descendants):
        yield "6.3.3", "a composite font without descendant"
        return
    descendant: Any = descendants[0]
    descriptor = descendant.get("/FontDescriptor")
    if not _embedded(descriptor):
        yield "6.3.4", "a font that is not embedded"
        return
    if descendant.get("/Subtype") == "/CIDFontType2" and descendant.get("/CIDToGIDMap") is None:
        yield "6.3.3.2", "a CIDFont without CIDToGIDMap"
    encoding: Any = font.get("/Encoding")
    if isinstance(encoding, pikepdf.Stream):
        yield from _compatible(encoding.get("/CIDSystemInfo"), descendant.get("/CIDSystemInfo"))
    elif str(encoding) not in _PREDEFINED_CMAPS and part == 1:
        yield "6.3.3.3", "a CMap that is not embedded"
    if part == 1 and _SUBSET.match(name_text(descendant.get("/BaseFont", ""))):
        cid_set = descriptor.get("/CIDSet")
        if not isinstance(cid_set, pikepdf.Stream) or not any(cid_set.read_bytes()):
            yield "6.3.5", "a CIDFont subset whose CIDSet is missing or empty"


def _compatible(one: Any, other: Any) -> Iterator[Problem]:
    for key in ("/Registry", "/Ordering"):
        if one is not None and other is not None and str(one.get(key)) != str(other.get(key)):
            yield "6.3.3.1", f"{key[1:]} of CMap and CIDFont differ"


# ---------------------------------------------------------------- pages, annotations, forms


def page_problems(page: pikepdf.Page, part: int) -> Iterator[Problem]:
    """Yields what is wrong with a page's dictionary and annotations (6.4, 6.5, 6.6.2, 6.9)."""
    group = page.obj.get("/Group")
    if part == 1 and isinstance(group, pikepdf.Dictionary) and group.get("/S") == "/Transparency":
        yield "6.4", "a transparency group"
    if part > 1 and "/AA" in page.obj:
        yield "6.6.2", "additional actions of a page"
    for annotation in page.obj.get("/Annots", []):
        if isinstance(annotation, pikepdf.Dictionary):
            yield from _annotation(annotation, part)


def _annotation(annotation: Any, part: int) -> Iterator[Problem]:
    kind = str(annotation.get("/Subtype"))
    if kind not in _ANNOTATIONS and not (part > 1 and kind in _LATER_ANNOTATIONS):
        yield "6.5.2", f"annotation {kind[1:]}"
    if kind != "/Popup":
        flags = int(annotation.get("/F", 0))
        hidden = _HIDDEN_BITS if part == 1 else _HIDDEN_BITS | _TOGGLE_NO_VIEW
        if not flags & _PRINT or flags & hidden:
            yield "6.5.3", "an annotation that is hidden or not printed"
    if part == 1 and float(annotation.get("/CA", 1)) != 1:
        yield "6.5.3", "an annotation with opacity"
    if part == 1:
        yield from appearance_problems(annotation, "6.5.3")
    if kind == "/Widget":
        yield from _widget(annotation, part)


def appearance_problems(annotation: Any, clause: str) -> Iterator[Problem]:
    """Yields what is wrong with an annotation's appearances, under the clause of the part in question."""
    kind = str(annotation.get("/Subtype"))
    appearance = annotation.get("/AP")
    if not isinstance(appearance, pikepdf.Dictionary):
        return
    if set(appearance.keys()) - {"/N"}:
        yield clause, "an appearance other than the normal one"
    normal = appearance.get("/N")
    button = kind == "/Widget" and _inherited(annotation, "/FT") == "/Btn"
    if normal is not None and isinstance(normal, pikepdf.Stream) == button:
        yield clause, "a normal appearance of the wrong kind"


def _inherited(field: Any, key: str) -> Any:
    for _ in range(20):
        if not isinstance(field, pikepdf.Dictionary):
            return None
        if key in field:
            return field[key]
        field = field.get("/Parent")
    return None


def _widget(annotation: Any, part: int) -> Iterator[Problem]:
    if "/AA" in annotation or "/AA" in annotation.get("/Parent", pikepdf.Dictionary()):
        yield "6.6.2", "additional actions of a form field"
    if "/A" in annotation:
        yield "6.9", "a form field with an action"
    if part == 1 and "/AP" not in annotation:
        yield "6.9", "a form field without an appearance"


def form_problems(pdf: pikepdf.Pdf, part: int) -> Iterator[Problem]:
    """Yields what is wrong with the interactive form (6.9; XFA under parts 2 and 3: 6.4.2)."""
    form = pdf.Root.get("/AcroForm")
    if not isinstance(form, pikepdf.Dictionary):
        return
    if form.get("/NeedAppearances", False):
        yield "6.9", "appearances left to the reader"
    if "/XFA" in form:
        yield "6.9" if part == 1 else "6.4.2", "an XFA form"
