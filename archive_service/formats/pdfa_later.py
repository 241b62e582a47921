"""What PDF/A-2 and PDF/A-3 ask of a document's objects beside what part 1 asks too (ISO 19005-2:2011 and 19005-3:2012).

Clauses are those of part 2; part 3 numbers its own alike and differs in 6.8 alone.
"""

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pikepdf
from pikepdf import ObjectType

from archive_service.formats.pdf import PDF_ERRORS, pdfa_claim
from archive_service.formats.pdfa_objects import appearance_problems
from archive_service.formats.pdfa_xmp import Problem

_FILTERS: Final = frozenset(
    {"/ASCIIHexDecode", "/ASCII85Decode", "/FlateDecode", "/RunLengthDecode", "/CCITTFaxDecode", "/JBIG2Decode", "/DCTDecode",
     "/JPXDecode", "/Crypt", "/LZWDecode"}
)  # fmt: skip
"""ISO 32000-1 table 6; LZW is told by the checks that part 1 shares."""
_BOXES: Final = ("/MediaBox", "/CropBox", "/BleedBox", "/TrimBox", "/ArtBox")
_LEAST_SIDE, _LONGEST_SIDE = 3, 14_400
_PERMISSIONS: Final = frozenset({"/UR3", "/DocMDP"})
_DIGEST_KEYS: Final = ("/DigestLocation", "/DigestMethod", "/DigestValue")
_WITHOUT_APPEARANCE: Final = frozenset({"/Popup", "/Link"})
_MEDIA_TYPE: Final = re.compile(r"[-\w+.]+/[-\w+.]+")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
_EMBEDDED_BYTES: Final = 64 * 1024 * 1024
"""Larger embedded files are not opened to see whether they claim to be PDF/A."""
_ICC_VERSION_AT, _ICC_NEXT_VERSION = 8, b"\5"
_MAX_SPECIFICATIONS: Final = 50
"""Embedded files looked at."""
_MAX_GROUPS: Final = 100_000

CLAUSES: Final[Mapping[str, str]] = {
    "6.1.7": "6.1.7.1", "6.1.8": "6.1.9", "6.1.10": "6.1.7.2", "6.1.12": "6.1.13",
    "6.2.2": "6.2.3", "6.2.3.2": "6.2.4.2", "6.2.3.3": "6.2.4.3", "6.2.4": "6.2.8.1", "6.2.5": "6.2.9.1", "6.2.6": "6.2.9.2",
    "6.2.7": "6.2.9.3", "6.2.8": "6.2.5", "6.2.9": "6.2.6", "6.2.10": "6.2.2",
    "6.3.3": "6.2.11.3.1", "6.3.3.1": "6.2.11.3.1", "6.3.3.2": "6.2.11.3.2", "6.3.3.3": "6.2.11.3.3", "6.3.4": "6.2.11.4.1",
    "6.3.7": "6.2.11.6",
    "6.5.2": "6.3.1", "6.5.3": "6.3.2", "6.6.1": "6.5.1", "6.6.2": "6.5.2", "6.9": "6.4.1",
    "6.7.2": "6.6.2.1", "6.7.5": "6.6.2.1", "6.7.8": "6.6.2.3.3", "6.7.9": "6.6.2.1", "6.7.11": "6.6.4",
    "6.8.2.2": "6.7.2.2", "6.8.3.3": "6.7.3.3", "6.8.4": "6.7.4", "6.3.8": "6.2.11.7.2",
}  # fmt: skip
"""Clause of part 1 → where parts 2 and 3 ask the same; others kept their number."""


def later_problems(pdf: pikepdf.Pdf, part: int) -> Iterator[Problem]:
    """Yields what is wrong with a document's objects under part 2 or 3."""
    associated: set[tuple[int, int]] = set()
    specifications: list[Any] = []
    for obj in pdf.objects:
        kind = getattr(obj, "_type_code", None)  # numbers come as Python's
        if kind is ObjectType.stream:
            yield from _filters(obj)
        if kind in {ObjectType.dictionary, ObjectType.stream}:
            if "/EF" in obj:
                specifications.append(obj)
            associated.update(_associated(obj.get("/AF")))
    for specification in specifications[:_MAX_SPECIFICATIONS]:
        yield from _embedded(specification, part, associated)
    yield from _catalogue(pdf.Root)
    yield from _permissions(pdf.Root.get("/Perms"))
    yield from _optional_content(pdf.Root.get("/OCProperties"))


# ---------------------------------------------------------------- streams


def _filters(stream: Any) -> Iterator[Problem]:
    names = _several(stream.get("/Filter"))
    parameters = _several(stream.get("/DecodeParms"))
    for index, name in enumerate(names):
        if str(name) not in _FILTERS:
            yield "6.1.7.2", "a filter that PDF does not define"
        elif name == "/Crypt":
            settings = parameters[index] if index < len(parameters) else None
            used = settings.get("/Name", "/Identity") if isinstance(settings, pikepdf.Dictionary) else "/Identity"
            if used != "/Identity":
                yield "6.1.7.2", "a Crypt filter that is not Identity"


def _several(value: Any) -> list[Any]:
    """Returns the elements of an array, or the value itself as one; nothing for an absent one."""
    if value is None:
        return []
    return list(value) if isinstance(value, pikepdf.Array) else [value]


# ---------------------------------------------------------------- embedded files (6.8)


def _associated(entry: Any) -> Iterator[tuple[int, int]]:
    for specification in _several(entry):
        if isinstance(specification, pikepdf.Dictionary) and specification.is_indirect:
            yield specification.objgen


def _embedded(specification: Any, part: int, associated: set[tuple[int, int]]) -> Iterator[Problem]:
    if "/F" not in specification or "/UF" not in specification:
        yield "6.8", "a file specification of an embedded file without F and UF"
    files = specification["/EF"]
    streams = list(files.values()) if isinstance(files, pikepdf.Dictionary) else []
    if part == 2:  # noqa: PLR2004 - part 2 allows PDF/A alone, part 3 any file that says what it is
        for stream in streams:
            if isinstance(stream, pikepdf.Stream) and not _claims_pdfa(stream):
                yield "6.8", "an embedded file that is not PDF/A"
        return
    if "/AFRelationship" not in specification:
        yield "6.8", "an embedded file that does not say how it is related (AFRelationship)"
    if specification.is_indirect and specification.objgen not in associated:
        yield "6.8", "an embedded file that is not associated with anything (AF)"
    for stream in streams:
        media_type = stream.get("/Subtype") if isinstance(stream, pikepdf.Stream) else None
        if media_type is None or not _MEDIA_TYPE.fullmatch(str(media_type)[1:]):
            yield "6.8", "an embedded file without a media type"


def _claims_pdfa(stream: pikepdf.Stream) -> bool:
    """Whether an embedded file is PDF/A-1 or PDF/A-2 by its own metadata; too large to be opened counts as yes."""
    content = bytes(stream.read_bytes())
    if len(content) > _EMBEDDED_BYTES:
        return True
    try:
        with pikepdf.open(io.BytesIO(content), suppress_warnings=True) as pdf:
            return (pdfa_claim(pdf) or "")[:1] in {"1", "2"}
    except PDF_ERRORS:
        return False


# ---------------------------------------------------------------- the catalogue


def _catalogue(root: Any) -> Iterator[Problem]:
    for intent in _several(root.get("/OutputIntents")):
        yield from _intent(intent)
    if root.get("/NeedsRendering", False):
        yield "6.4.2", "the document asks to be rendered by its form"
    if "/Requirements" in root:
        yield "6.11", "requirements on the reading program"
    names = root.get("/Names")
    if isinstance(names, pikepdf.Dictionary) and "/AlternatePresentations" in names:
        yield "6.10", "alternate presentations"


def _intent(intent: Any) -> Iterator[Problem]:
    if "/DestOutputProfileRef" in intent:
        yield "6.2.3", "an output intent whose profile is in another file"
    profile = intent.get("/DestOutputProfile")
    header = bytes(profile.read_bytes()[: _ICC_VERSION_AT + 1]) if isinstance(profile, pikepdf.Stream) else b""
    if header[_ICC_VERSION_AT:] >= _ICC_NEXT_VERSION:
        yield "6.2.3", "an output intent with a profile of a later version"


def _permissions(permissions: Any) -> Iterator[Problem]:
    if not isinstance(permissions, pikepdf.Dictionary):
        return
    if set(permissions.keys()) - _PERMISSIONS:
        yield "6.1.12", "permissions other than UR3 and DocMDP"
    signature = permissions.get("/DocMDP")
    references = signature.get("/Reference") if isinstance(signature, pikepdf.Dictionary) else None
    for reference in _several(references):
        if isinstance(reference, pikepdf.Dictionary) and any(key in reference for key in _DIGEST_KEYS):
            yield "6.1.12", "a signature reference with a digest of its own"


def _optional_content(properties: Any) -> Iterator[Problem]:
    if not isinstance(properties, pikepdf.Dictionary):
        return
    groups = {group.objgen for group in _several(properties.get("/OCGs")) if isinstance(group, pikepdf.Dictionary)}
    configurations = [properties.get("/D"), *_several(properties.get("/Configs"))]
    names: list[str] = []
    for configuration in configurations:
        if not isinstance(configuration, pikepdf.Dictionary):
            continue
        name = configuration.get("/Name")
        if not isinstance(name, pikepdf.String) or not str(name):
            yield "6.9", "an optional content configuration without a name"
        else:
            names.append(str(name))
        if "/AS" in configuration:
            yield "6.9", "optional content that changes by itself (AS)"
        if "/Order" in configuration and groups - set(_ordered(configuration["/Order"])):
            yield "6.9", "an order of optional content that leaves groups out"
    if len(names) > len(set(names)):
        yield "6.9", "two optional content configurations of the same name"


def _ordered(order: Any) -> Iterator[tuple[int, int]]:
    waiting = _several(order)
    for _ in range(_MAX_GROUPS):
        if not waiting:
            return
        item = waiting.pop()
        if isinstance(item, pikepdf.Array):
            waiting += list(item)
        elif isinstance(item, pikepdf.Dictionary):
            yield item.objgen


# ---------------------------------------------------------------- pages and annotations


def later_page_problems(page: pikepdf.Page) -> Iterator[Problem]:
    """Yields what is wrong with a page's dictionary and annotations under part 2 or 3."""
    for key in _BOXES:
        box = page.obj.get(key)
        if isinstance(box, pikepdf.Array) and len(box) == 4 and not _within(box):  # noqa: PLR2004 - two corners
            yield "6.1.13", "a page boundary shorter than 3 or longer than 14400 units"
    if "/PresSteps" in page.obj:
        yield "6.10", "a page with presentation steps"
    for annotation in _several(page.obj.get("/Annots")):
        if isinstance(annotation, pikepdf.Dictionary):
            yield from _annotation(annotation)


def _within(box: Any) -> bool:
    left, bottom, right, top = (float(value) for value in box)
    return all(_LEAST_SIDE <= side <= _LONGEST_SIDE for side in (abs(right - left), abs(top - bottom)))


def _annotation(annotation: Any) -> Iterator[Problem]:
    kind = annotation.get("/Subtype")
    appearance = annotation.get("/AP")
    if not isinstance(appearance, pikepdf.Dictionary):
        if str(kind) not in _WITHOUT_APPEARANCE and not has_no_size(annotation):
            yield "6.3.3", f"annotation {str(kind)[1:]} without an appearance"
        return
    yield from appearance_problems(annotation, "6.3.3")


def has_no_size(annotation: Any) -> bool:
    """Whether an annotation covers nothing, as an invisible signature does (6.3.3)."""
    box = [float(value) for value in annotation.get("/Rect", [0, 0, 1, 1])]
    return box[0] == box[2] and box[1] == box[3]


# ---------------------------------------------------------------- logical structure, level a of every part


def structure_problems(pdf: pikepdf.Pdf) -> Iterator[Problem]:
    """Yields what a file of level a lacks; clauses are those of part 1 (6.8)."""
    marks = pdf.Root.get("/MarkInfo")
    if not isinstance(marks, pikepdf.Dictionary) or not marks.get("/Marked", False):
        yield "6.8.2.2", "the document does not say that it is tagged"
    if not isinstance(pdf.Root.get("/StructTreeRoot"), pikepdf.Dictionary):
        yield "6.8.3.3", "no structure tree"
    language = pdf.Root.get("/Lang")
    if language is not None and str(language) and not _LANGUAGE.fullmatch(str(language)):
        yield "6.8.4", "the document's language is no language tag"
