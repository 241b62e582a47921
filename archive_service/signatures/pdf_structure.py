"""What the difference analysis of a PDF does not look at: the byte range's gap, the file's tail, the form's shared resources.

Each closes a way of showing other content under a signature that verifies:
  - The gap must be the signature value and nothing else. pyHanko compares lengths only, so a value kept elsewhere, padded to fit,
    makes a partly signed file look wholly signed.
  - Bytes after the last known revision belong to no cross-reference table. Readers that repair files show them all the same
    (incremental-saving attack).
  - Objects that no cross-reference of the updates points at are shown by readers that find a reason to rebuild the cross-references.
  - A hybrid file (a table, and a cross-reference stream for newer readers) may show two readers two contents, or place its stream
    behind what was signed. Word writes such files, so they are held to one content instead of being refused.
  - Fonts and defaults of the interactive form decide how every field looks; pyHanko lets them change with any update.
  - So it does with title, author, subject and keywords, which readers show above the page and archives take over.
"""

import mmap
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from lxml import etree
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.decode_limits import DecodePurpose
from pyhanko.pdf_utils.misc import PdfReadError
from pyhanko.pdf_utils.reader import HistoricalResolver, PdfFileReader
from pyhanko.pdf_utils.xref import XRefCache
from pyhanko.sign.validation import EmbeddedPdfSignature

TAIL_BYTES: Final = 1024 * 1024
"""How much of a tail is read to see whether it is more than white space."""
SHARED_FORM_KEYS: Final = ("/DR", "/DA", "/NeedAppearances", "/XFA", "/Q")
"""Entries of the interactive form that decide how its fields look."""
_DESCRIPTION: Final = {
    "Title": ("http://purl.org/dc/elements/1.1/", "title"),
    "Author": ("http://purl.org/dc/elements/1.1/", "creator"),
    "Subject": ("http://purl.org/dc/elements/1.1/", "description"),
    "Keywords": ("http://ns.adobe.com/pdf/1.3/", "Keywords"),
}
"""Entry of the document information dictionary -> property of XMP that says the same (ISO 19005-2 table 1)."""
MAX_COMPARED: Final = 2000
"""Objects compared in the form's resources; what is larger counts as changed."""
MAX_COMPARE_DEPTH: Final = 30
"""Nesting followed while comparing."""

_HEX_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")
_EOF: Final = b"%%EOF"
_OBJECT: Final = re.compile(rb"(?<![0-9])[0-9]{1,10}[\x00\t\n\f\r ]+[0-9]{1,5}[\x00\t\n\f\r ]+obj(?![A-Za-z])")
_NOT_SPACE: Final = re.compile(rb"[^\x00\t\n\f\r ]")
_NO_FORM: Final[Any] = {}


def gap_is_the_value(embedded: EmbeddedPdfSignature, stream: BinaryIO) -> bool:
    """Returns whether the byte range leaves out the hexadecimal signature value, angle brackets included, and nothing else."""
    ranges = [int(value) for value in embedded.byte_range]
    if len(ranges) != 4 or min(ranges) < 0:  # noqa: PLR2004 - two ranges of offset and length
        return False
    value: Any = embedded.pkcs7_content
    start, end = ranges[1], ranges[2]
    if end - start != len(value) * 2 + 2:
        return False
    stream.seek(start)
    written = stream.read(end - start)
    inside = written[1:-1]
    if written[:1] != b"<" or written[-1:] != b">" or not _HEX_DIGITS.issuperset(inside):
        return False
    return bytes.fromhex(inside.decode("ascii")) == bytes(value)


def covers_to_the_end(embedded: EmbeddedPdfSignature, stream: BinaryIO) -> bool:
    """Returns whether the second range ends where the file does."""
    ranges = [int(value) for value in embedded.byte_range]
    return stream.seek(0, 2) == ranges[-2] + ranges[-1]


def unaccounted_tail(embedded: EmbeddedPdfSignature, reader: PdfFileReader, stream: BinaryIO) -> bool:
    """Returns whether bytes follow the last revision that the cross-references know of."""
    known = reader.xrefs.total_revisions
    if embedded.signed_revision + 1 < known:
        ends = [reader.xrefs.get_xref_container_info(number).end_location for number in range(known)]
        stream.seek(max(ends))
        _, mark, tail = stream.read(TAIL_BYTES).partition(_EOF)
        return not mark or bool(tail.strip())
    ranges = [int(value) for value in embedded.byte_range]
    stream.seek(ranges[-2] + ranges[-1])
    return bool(stream.read(TAIL_BYTES).strip())


def hidden_objects(embedded: EmbeddedPdfSignature, reader: PdfFileReader, stream: BinaryIO) -> bool:
    """Returns whether an object stands behind the signed part that no cross-reference of a later revision points at."""
    ranges = [int(value) for value in embedded.byte_range]
    end = ranges[-2] + ranges[-1]
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = {match.start() for match in _OBJECT.finditer(content, end)}
        known = set(_places(reader, embedded.signed_revision + 1)) if found else set()
        for place in known:
            start = _NOT_SPACE.search(content, place) if place < len(content) else None
            found.discard(start.start() if start else place)
    return bool(found)


def _places(reader: PdfFileReader, first: int) -> Iterator[int]:
    """Yields where the cross-references of revisions say that objects stand, their own streams included."""
    for number in range(first, reader.xrefs.total_revisions):
        data = reader.xrefs.get_xref_data(number)
        yield from (place for _, place in data.standard_xrefs.values())
        yield reader.xrefs.get_xref_container_info(number).start_location


class SignatureInFile(EmbeddedPdfSignature):
    """pyHanko's signature, which refuses every hybrid file; this one refuses those that are not what they seem."""

    def _enforce_hybrid_xref_policy(self) -> None:
        ranges = [int(value) for value in self.byte_range]
        if not _one_content(self.reader.xrefs, self.signed_revision, ranges[-2] + ranges[-1]):
            raise PdfReadError("a hybrid file with two contents, or with cross-references that were not signed")


def _one_content(xrefs: XRefCache, signed_revision: int, signed_bytes: int) -> bool:
    """Returns whether every hybrid section is signed and names no object that the tables place elsewhere."""
    placed: dict[int, tuple[int, int]] = {}
    for number in range(xrefs.total_revisions):
        data = xrefs.get_xref_data(number)
        placed = {key: place for key, place in placed.items() if key not in data.freed} | data.standard_xrefs
        if data.hybrid is None:
            continue
        added = data.hybrid.xref_data
        if number > signed_revision or data.hybrid.meta_info.end_location > signed_bytes:
            return False
        if any(key in placed for key in added.xrefs_in_objstm):
            return False
        if any(placed.get(key, place) != place for key, place in added.standard_xrefs.items()):
            return False
    return True


def form_looks_changed(embedded: EmbeddedPdfSignature, reader: PdfFileReader) -> bool:
    """Returns whether the form's shared resources differ between the signed revision and the newest."""
    signed = reader.get_historical_root(embedded.signed_revision)
    before, after = _form(signed), _form(reader.root)
    budget = [MAX_COMPARED]
    return any(not _same(before.get(key), after.get(key), budget, 0) for key in SHARED_FORM_KEYS)


def description_changed(embedded: EmbeddedPdfSignature, reader: PdfFileReader) -> bool:
    """Returns whether title, author, subject or keywords differ between the signed revision and the newest.

    What was not said at all before counts when it differs from the other of the two places that say it (the document information
    dictionary and the XMP metadata), so that metadata written anew with the same content is no change.
    """
    signed = _described(reader.get_historical_resolver(embedded.signed_revision))
    newest = _described(reader.get_historical_resolver(reader.xrefs.total_revisions - 1))
    return any(not values <= signed.get(name, frozenset()) for name, values in newest.items())


def _described(revision: HistoricalResolver) -> dict[str, frozenset[str]]:
    """Returns what a revision says of the document, from both places."""
    found: dict[str, set[str]] = {}
    view: Any = revision.trailer_view
    info: Any = _resolved(view["/Info"]) if "/Info" in view else None
    for name in _DESCRIPTION if isinstance(info, generic.DictionaryObject) else ():
        value = _resolved(info.get(f"/{name}"))
        if value:
            found.setdefault(name, set()).add(" ".join(str(value).split()))
    root: Any = revision.root
    metadata = _resolved(root.get("/Metadata"))
    if isinstance(metadata, generic.StreamObject):
        for name, value in _described_in_xmp(metadata.read_data(DecodePurpose.XMP_METADATA)):
            found.setdefault(name, set()).add(value)
    return {name: frozenset(values) for name, values in found.items()}


def _described_in_xmp(content: bytes) -> Iterator[tuple[str, str]]:
    """Yields name and text of what XMP says; what is not XML says nothing (difference analysis refuses such metadata)."""
    try:
        root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.LxmlError:
        return
    for name, (namespace, local) in _DESCRIPTION.items():
        for element in root.iter(f"{{{namespace}}}{local}"):
            text = " ".join(" ".join(element.itertext()).split())
            if text:
                yield name, text
        for element in root.iter():
            text = " ".join(element.get(f"{{{namespace}}}{local}", "").split()) if isinstance(element.tag, str) else ""
            if text:
                yield name, text


def _form(root: generic.DictionaryObject) -> Any:  # pyHanko's dictionary, or an empty one
    form = _resolved(root.get("/AcroForm"))
    return form if isinstance(form, generic.DictionaryObject) else _NO_FORM


def _same(before: Any, after: Any, budget: list[int], depth: int) -> bool:
    """Compares two PDF objects by what they hold, references followed in the revision each belongs to."""
    budget[0] -= 1
    if budget[0] <= 0 or depth > MAX_COMPARE_DEPTH:
        return False
    before, after = _resolved(before), _resolved(after)
    if isinstance(before, generic.DictionaryObject) and isinstance(after, generic.DictionaryObject):
        return _same_dictionary(before, after, budget, depth)
    if isinstance(before, generic.ArrayObject) and isinstance(after, generic.ArrayObject):
        pairs = zip(list(before), list(after), strict=False)
        return len(before) == len(after) and all(_same(one, other, budget, depth + 1) for one, other in pairs)
    return type(before) is type(after) and bool(before == after)


def _same_dictionary(
    before: generic.DictionaryObject, after: generic.DictionaryObject, budget: list[int], depth: int
) -> bool:
    if isinstance(before, generic.StreamObject) or isinstance(after, generic.StreamObject):
        both = isinstance(before, generic.StreamObject) and isinstance(after, generic.StreamObject)
        if not both or before.encoded_data != after.encoded_data:  # type: ignore[attr-defined] # both are streams here
            return False
    keys = set(before) | set(after)
    return all(_same(before.get(key), after.get(key), budget, depth + 1) for key in keys - {"/Parent", "/P"})


def _resolved(value: Any) -> Any:
    reference: Any = value  # pyHanko leaves this method untyped
    return reference.get_object() if isinstance(value, generic.IndirectObject) else value
