"""Attacks on signed PDFs, built from their descriptions in the literature, and honest files that look like them.

Families and names are those of the published surveys: incremental saving, signature wrapping and universal signature forgery
(Mladenov et al. 2019), shadow attacks (Mainka et al. 2021), attacks on certified documents (Rohlmann et al. 2021). Every attack
takes a signed file and returns it changed; the honest files are made by signing.
"""

# pyHanko leaves much untyped that this generator calls
# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type,union-attr,no-any-return"

import re
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

from tests.unit.signatures.pki_fixtures import World, add_page_text, blank_pdf, sign_pdf

Attack = Callable[[World], bytes]

EVIL = b"BT /F1 40 Tf 72 500 Td (GIA MAO) Tj ET"
CATALOG, PAGES, CONTENT, PAGE = 1, 2, 3, 4
"""Object numbers of `blank_pdf`."""


def stream(content: bytes, extra: bytes = b"") -> bytes:
    """A stream object's text."""
    return b"<< /Length %d %s>>\nstream\n%s\nendstream" % (len(content), extra, content)


def object_text(pdf: bytes, number: int) -> bytes:
    """The last definition of an object, as written."""
    found = re.findall(rb"(?<![0-9])%d 0 obj\n(.*?)\nendobj" % number, pdf, re.DOTALL)
    return bytes(found[-1])


def startxref(pdf: bytes) -> int:
    """The last startxref."""
    return int(re.findall(rb"startxref\s+(\d+)", pdf)[-1])


def appended(
    pdf: bytes,
    objects: Mapping[int, bytes],
    *,
    root: int = CATALOG,
    prev: int | None = None,
    offsets: Mapping[int, int] | None = None,
    table: bool = True,
    trailer: bool = True,
) -> bytes:
    """The file with an incremental update written by hand, so that each part of it can be left out."""
    out = bytearray(pdf if pdf.endswith(b"\n") else pdf + b"\n")
    places = dict(offsets or {})
    for number, body in objects.items():
        places[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    if not table:
        return bytes(out)
    where = len(out)
    out += b"xref\n"
    for number in sorted(places):
        out += b"%d 1\n%010d 00000 n \n" % (number, places[number])
    if not trailer:
        return bytes(out)
    size = max(*places, 20, root) + 1
    before = startxref(pdf) if prev is None else prev
    out += b"trailer\n<< /Size %d /Root %d 0 R /Prev %d >>\nstartxref\n%d\n%%%%EOF\n" % (size, root, before, where)
    return bytes(out)


def signed(world: World, **options: object) -> bytes:
    """A file signed by a certificate that names no status service, so that it passes without further material."""
    return sign_pdf(world, party=world.plain, **options)


def contents_span(pdf: bytes) -> tuple[int, int]:
    """Where the signature value stands, angle brackets included."""
    start = pdf.rindex(b"/Contents <30") + len(b"/Contents ")
    return start, pdf.index(b">", start) + 1


def rewritten(change: Callable[[IncrementalPdfFileWriter], None]) -> Callable[[bytes], bytes]:
    """An update made by a PDF library."""

    def apply(pdf: bytes) -> bytes:
        writer = IncrementalPdfFileWriter(BytesIO(pdf))
        change(writer)
        out = BytesIO()
        writer.write(out)
        return out.getvalue()

    return apply


def dictionary(**entries: object) -> generic.DictionaryObject:
    """A PDF dictionary."""
    return generic.DictionaryObject({generic.NameObject(f"/{key}"): value for key, value in entries.items()})


def name(text: str) -> generic.NameObject:
    """A PDF name."""
    return generic.NameObject(text)


def numbers(*values: int) -> generic.ArrayObject:
    """A PDF array of numbers."""
    return generic.ArrayObject(map(generic.NumberObject, values))


# ------------------------------------------------------------------ incremental saving


def other_catalog(pdf: bytes) -> bytes:
    """A new catalogue with pages of its own beside the old signature field."""
    page = (
        object_text(pdf, PAGE)
        .replace(b"/Contents 3 0 R", b"/Contents 14 0 R")
        .replace(b"/Parent 2 0 R", b"/Parent 12 0 R")
    )
    catalog = object_text(pdf, CATALOG).replace(b"/Pages 2 0 R", b"/Pages 12 0 R")
    pages = b"<< /Type /Pages /Count 1 /Kids [13 0 R] >>"
    return appended(pdf, {11: catalog, 12: pages, 13: page, 14: stream(EVIL)}, root=11)


def copied_signature(pdf: bytes) -> bytes:
    """The signature dictionary written again in the update, as if it belonged to the newest revision."""
    return appended(pdf, {CONTENT: stream(EVIL), 9: object_text(pdf, 9)})


def xref_stream_update(pdf: bytes) -> bytes:
    """The update's cross-references in a stream, the signed ones in a table."""
    out = bytearray(pdf)
    place = len(out)
    out += b"%d 0 obj\n%s\nendobj\n" % (CONTENT, stream(EVIL))
    where = len(out)
    rows = b"".join(bytes([1]) + offset.to_bytes(4, "big") + bytes(1) for offset in (place, where))
    head = b"/Type /XRef /Index [3 1 15 1] /W [1 4 1] /Size 16 /Root 1 0 R /Prev %d " % startxref(pdf)
    out += b"15 0 obj\n%s\nendobj\nstartxref\n%d\n%%%%EOF\n" % (stream(rows, head), where)
    return bytes(out)


def looped(pdf: bytes) -> bytes:
    """An update whose previous cross-references are its own."""
    changed = appended(pdf, {CONTENT: stream(EVIL)}, prev=0)
    return changed.replace(b"/Prev 0 >>", b"/Prev %d >>" % startxref(changed))


def hidden_before_update(pdf: bytes) -> bytes:
    """Content that no cross-reference knows of, before an update that adds validation data and nothing else."""
    hidden = appended(pdf, {CONTENT: stream(EVIL)}, table=False)
    catalog = object_text(pdf, CATALOG).rstrip().removesuffix(b">>")
    return appended(hidden, {CATALOG: catalog + b"/DSS 51 0 R >>", 51: b"<< /Type /DSS /Certs [] >>"})


INCREMENTAL: Mapping[str, Callable[[bytes], bytes]] = {
    "update": lambda pdf: appended(pdf, {CONTENT: stream(EVIL)}),
    "update without table": lambda pdf: appended(pdf, {CONTENT: stream(EVIL)}, table=False),
    "update without trailer": lambda pdf: appended(pdf, {CONTENT: stream(EVIL)}, trailer=False),
    "update with a bare end mark": lambda pdf: appended(pdf, {CONTENT: stream(EVIL)}, table=False) + b"%%EOF\n",
    "update with a trailer but no table": lambda pdf: (
        appended(pdf, {CONTENT: stream(EVIL)}, table=False)
        + b"trailer\n<< /Size 20 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % startxref(pdf)
    ),
    "update with startxref 0": lambda pdf: (
        appended(pdf, {CONTENT: stream(EVIL)}, table=False) + b"startxref\n0\n%%EOF\n"
    ),
    "other catalogue": other_catalog,
    "copied signature": copied_signature,
    "cross-reference stream": xref_stream_update,
    "previous table skipped": lambda pdf: appended(
        pdf, {CONTENT: stream(EVIL)}, prev=int(re.findall(rb"startxref\s+(\d+)", pdf)[0])
    ),
    "cross-reference loop": looped,
    "content freed": lambda pdf: appended(pdf, {}, offsets={CONTENT: 0}),
    "text over the page": add_page_text,
    "hidden before validation data": hidden_before_update,
    "prefix before the header": lambda pdf: b"%!PS-Adobe\n" + pdf,
    "second document after the first": lambda pdf: pdf + blank_pdf("GIA MAO"),
}


# ------------------------------------------------------------------ signature wrapping


def wrapped(*, value_first: bool) -> Callable[[bytes], bytes]:
    """The second signed part moved to the end of the file; what lies between is the attacker's."""

    def apply(pdf: bytes) -> bytes:
        start, end = contents_span(pdf)
        value = pdf[start:end].rstrip(b">").rstrip(b"0") + b"00>"
        injected = b"/Type /Sig >>\nendobj\n%d 0 obj\n%s\nendobj\n" % (CONTENT, stream(EVIL))
        length, tail = start, pdf[end:]
        moved = len(pdf) + 500
        ranges = b" /ByteRange [0 %d %d %d] /SubFilter /ETSI.CAdES.detached /Filter /Adobe.PPKLite " % (
            length,
            moved,
            len(tail),
        )
        middle = value + ranges + injected if value_first else ranges + b"/Contents " + value + injected
        between = pdf[:start] + middle
        return between.ljust(moved, b" ") + tail

    return apply


def gap_elsewhere(pdf: bytes) -> bytes:
    """The value in a compressed object after the signed part, padded so that all lengths still add up to the file's.

    What the byte range leaves out is no longer the value; a check by lengths alone would call the whole file signed.
    """
    start, end = contents_span(pdf)
    value = bytes.fromhex(pdf[start + 1 : end - 1].decode()).rstrip(b"\0")
    field = object_text(pdf, 8).replace(b"/V 9 0 R", b"/V 30 0 R")
    ranges = re.findall(rb"/ByteRange \[[^]]*\]", pdf)[-1]
    length = (end - start) + 3000
    for _ in range(6):  # the update's own length decides how long the value must be
        padded = value.ljust((length - 2) // 2, b"\0")
        dictionary_text = (
            b"<< /Type /Sig /Filter /Adobe.PPKLite /SubFilter /ETSI.CAdES.detached %s /Contents <%s> >>"
            % (ranges, padded.hex().encode())
        )
        packed = zlib.compress(b"30 0 " + dictionary_text, 9)
        holder = stream(packed, b"/Type /ObjStm /N 1 /First 5 /Filter /FlateDecode ")
        out = bytearray(pdf)
        places = {}
        for number, body in ((CONTENT, stream(EVIL)), (8, field), (31, holder)):
            places[number] = len(out)
            out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        where = len(out)

        def row(kind: int, first: int, second: int) -> bytes:
            return bytes([kind]) + first.to_bytes(4, "big") + bytes([second])

        rows = (
            row(1, places[CONTENT], 0) + row(1, places[8], 0) + row(2, 31, 0) + row(1, places[31], 0) + row(1, where, 0)
        )
        head = b"/Type /XRef /Index [3 1 8 1 30 3] /W [1 4 1] /Size 33 /Root 1 0 R /Prev %d " % startxref(pdf)
        out += b"32 0 obj\n%s\nendobj\nstartxref\n%d\n%%%%EOF" % (stream(rows, head), where)
        wanted = (end - start) + len(out) - len(pdf)
        if wanted == length:
            return bytes(out)
        length = wanted + wanted % 2
        out += b"\n" * (length - wanted)
    return bytes(out.ljust(len(pdf) + length - (end - start), b"\n"))


def second_value(pdf: bytes) -> bytes:
    """Two /Contents in one dictionary, the second inside what the byte range leaves out."""
    start, end = contents_span(pdf)
    value = pdf[start:end].rstrip(b">").rstrip(b"0") + b"00>"
    return pdf[:start] + (value + b" /Contents <00>").ljust(end - start) + pdf[end:]


def filler_in_gap(pdf: bytes) -> bytes:
    """A shortened value and other text in the place that the byte range leaves out."""
    start, end = contents_span(pdf)
    value = pdf[start:end].rstrip(b">").rstrip(b"0") + b"00>"
    return pdf[:start] + (value + b" /Name (Nguoi khac ky)").ljust(end - start) + pdf[end:]


WRAPPING: Mapping[str, Callable[[bytes], bytes]] = {
    "value, then moved part": wrapped(value_first=True),
    "moved part, then value": wrapped(value_first=False),
    "gap elsewhere": gap_elsewhere,
    "second value": second_value,
    "filler in the gap": filler_in_gap,
}


# ------------------------------------------------------------------ universal signature forgery

FORGED_VALUES: Mapping[str, bytes | None] = {
    "as it was": None,
    "missing": b"/Xontents <00>",
    "null": b"/Contents null",
    "empty": b"/Contents <>",
    "zero": b"/Contents <00>",
    "short": b"/Contents <3080>",
}
FORGED_RANGES: Mapping[str, bytes | None] = {
    "as it was": None,
    "missing": b"/ByteRangx [0 1]",
    "null": b"/ByteRange null",
    "empty": b"/ByteRange []",
    "zero": b"/ByteRange [0 0 0 0]",
    "negative": b"/ByteRange [0 -1 -1 5]",
    "odd": b"/ByteRange [0 10 20]",
    "overlapping": b"/ByteRange [0 900 100 900]",
    "past the end": b"/ByteRange [0 10 20 99999999]",
    "six numbers": b"/ByteRange [0 10 20 10 40 10]",
}


def forged(pdf: bytes, value: str, ranges: str) -> bytes:
    """The page changed and the signature dictionary without what it could be checked by."""
    pdf = pdf.replace(b"Quyet dinh", b"Quyet DINH", 1)
    new_value, new_ranges = FORGED_VALUES[value], FORGED_RANGES[ranges]
    if new_value is not None:
        start, end = contents_span(pdf)
        start -= len(b"/Contents ")
        pdf = pdf[:start] + new_value.ljust(end - start) + pdf[end:]
    if new_ranges is not None:
        start = pdf.rindex(b"/ByteRange [")
        end = pdf.index(b"]", start) + 1
        room = len(pdf[start:].split(b"/Type", 1)[0])
        pdf = pdf[:start] + new_ranges.ljust(room) + pdf[start + room :] if end else pdf
    return pdf


# ------------------------------------------------------------------ shadow attacks and changes of what is shown


def shadow_pdf() -> bytes:
    """A file prepared by its author: a second content stream that nothing shows yet, and a form field."""
    writer = IncrementalPdfFileWriter(BytesIO(blank_pdf()))
    writer.add_object(generic.StreamObject(stream_data=EVIL))
    appearance = generic.StreamObject(
        dict_data={name("/Subtype"): name("/Form"), name("/BBox"): numbers(0, 0, 200, 20)},
        stream_data=b"BT /F1 12 Tf (1000) Tj ET",
    )
    field = dictionary(
        FT=name("/Tx"),
        T=generic.pdf_string("SoTien"),
        V=generic.pdf_string("1000"),
        Type=name("/Annot"),
        Subtype=name("/Widget"),
        Rect=numbers(50, 600, 250, 620),
        AP=dictionary(N=writer.add_object(appearance)),
    )
    reference = writer.add_object(field)
    form = dictionary(Fields=generic.ArrayObject([reference]), DA=generic.pdf_string("/F1 12 Tf"))
    writer.root["/AcroForm"] = writer.add_object(form)
    writer.update_root()
    page = writer.root["/Pages"]["/Kids"][0]
    page["/Annots"] = generic.ArrayObject([reference])
    writer.update_container(page)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def switched(pdf: bytes) -> bytes:
    """Hide and replace: only a cross-reference changes, to an object that was signed but never shown."""
    hidden = pdf.index(EVIL)
    place = pdf.rindex(b" 0 obj", 0, hidden)
    place = pdf.rindex(b"\n", 0, place) + 1
    body = pdf[place : pdf.index(b"endobj", hidden)]
    number = int(body.split(b" ", 1)[0])
    del number
    changed = object_text(pdf, PAGE)
    return appended(pdf, {PAGE: changed.replace(b"/Contents 3 0 R", b"/Contents %d 0 R" % int(body.split(b" ", 1)[0]))})


def _field(writer: IncrementalPdfFileWriter) -> generic.DictionaryObject:
    return next(f.get_object() for f in writer.root["/AcroForm"]["/Fields"] if f.get_object()["/FT"] == "/Tx")


def _page(writer: IncrementalPdfFileWriter) -> generic.DictionaryObject:
    return writer.root["/Pages"]["/Kids"][0]


@rewritten
def value_changed(writer: IncrementalPdfFileWriter) -> None:
    """The value of a form field."""
    entry = _field(writer)
    entry["/V"] = generic.pdf_string("9999")
    writer.update_container(entry)


@rewritten
def appearance_changed(writer: IncrementalPdfFileWriter) -> None:
    """What a form field shows, its value left as it was."""
    entry = _field(writer)
    form = {name("/Subtype"): name("/Form"), name("/BBox"): numbers(0, 0, 500, 800)}
    entry["/AP"] = dictionary(N=writer.add_object(generic.StreamObject(dict_data=form, stream_data=EVIL)))
    writer.update_container(entry)


@rewritten
def overlay_field(writer: IncrementalPdfFileWriter) -> None:
    """A new form field over the page."""
    form = {name("/Subtype"): name("/Form"), name("/BBox"): numbers(0, 0, 500, 800)}
    field = dictionary(
        FT=name("/Tx"),
        T=generic.pdf_string("LopPhu"),
        V=generic.pdf_string("GIA MAO"),
        Type=name("/Annot"),
        Subtype=name("/Widget"),
        Rect=numbers(0, 0, 595, 842),
        AP=dictionary(N=writer.add_object(generic.StreamObject(dict_data=form, stream_data=EVIL))),
    )
    reference = writer.add_object(field)
    fields_of = writer.root["/AcroForm"]["/Fields"]
    fields_of.append(reference)
    writer.update_container(fields_of)
    page = _page(writer)
    page["/Annots"] = generic.ArrayObject([*page["/Annots"], reference])
    writer.update_container(page)


def page_entry(**entries: object) -> Callable[[bytes], bytes]:
    """Entries of the first page set anew."""

    def change(writer: IncrementalPdfFileWriter) -> None:
        page = _page(writer)
        for key, value in entries.items():
            page[f"/{key}"] = value
        writer.update_container(page)

    return rewritten(change)


def catalog_entry(**entries: object) -> Callable[[bytes], bytes]:
    """Entries of the catalogue set anew."""

    def change(writer: IncrementalPdfFileWriter) -> None:
        for key, value in entries.items():
            writer.root[f"/{key}"] = value
        writer.update_root()

    return rewritten(change)


def form_entry(**entries: object) -> Callable[[bytes], bytes]:
    """Entries of the interactive form set anew."""

    def change(writer: IncrementalPdfFileWriter) -> None:
        form = writer.root["/AcroForm"]
        for key, value in entries.items():
            form[f"/{key}"] = value
        writer.update_container(form)

    return rewritten(change)


@rewritten
def information(writer: IncrementalPdfFileWriter) -> None:
    """The title that readers show above the page."""
    writer.set_info(writer.add_object(dictionary(Title=generic.pdf_string("QUYET DINH KHAC"))))


def metadata(pdf: bytes) -> bytes:
    """The title in the metadata, where newer readers look first."""
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="QUYET DINH KHAC"/></rdf:RDF></x:xmpmeta>'
    )
    catalog = re.sub(rb"/Metadata \d+ 0 R", b"", object_text(pdf, CATALOG)).rstrip()
    changed = catalog.removesuffix(b">>") + b"/Metadata 40 0 R >>"
    return appended(pdf, {CATALOG: changed, 40: stream(xmp, b"/Type /Metadata /Subtype /XML ")})


def invisible_field(**entries: object) -> Callable[[bytes], bytes]:
    """A signature field without area, as validation data brings one, that carries more than that."""

    def change(writer: IncrementalPdfFileWriter) -> None:
        field = dictionary(FT=name("/Sig"), T=generic.pdf_string("An"), Type=name("/Annot"), Rect=numbers(0, 0, 0, 0))
        field.update(dictionary(**{"Subtype": name("/Widget"), **entries}))
        reference = writer.add_object(field)
        listed = writer.root["/AcroForm"]["/Fields"]
        listed.append(reference)
        writer.update_container(listed)
        page = _page(writer)
        page["/Annots"] = generic.ArrayObject([*page["/Annots"], reference])
        writer.update_container(page)

    return rewritten(change)


SCRIPT = dictionary(S=name("/JavaScript"), JS=generic.pdf_string("app.alert(1)"))

SHADOW: Mapping[str, Callable[[bytes], bytes]] = {
    "content switched to a signed object": switched,
    "field value": value_changed,
    "field appearance": appearance_changed,
    "overlaid field": overlay_field,
    "font swapped": page_entry(
        Resources=dictionary(
            Font=dictionary(F1=dictionary(Type=name("/Font"), Subtype=name("/Type1"), BaseFont=name("/Symbol")))
        )
    ),
    "page turned": page_entry(Rotate=generic.NumberObject(180)),
    "page cropped": page_entry(CropBox=numbers(0, 0, 10, 10)),
    "page enlarged": page_entry(MediaBox=numbers(0, 0, 5950, 8420)),
    "layers added": catalog_entry(OCProperties=dictionary(D=dictionary(BaseState=name("/OFF")))),
    "script on opening": catalog_entry(
        OpenAction=dictionary(S=name("/JavaScript"), JS=generic.pdf_string("app.alert(1)"))
    ),
    "scripts by name": catalog_entry(Names=dictionary(JavaScript=dictionary(Names=generic.ArrayObject()))),
    "file attached": catalog_entry(Names=dictionary(EmbeddedFiles=dictionary(Names=generic.ArrayObject()))),
    "dynamic form": form_entry(XFA=generic.pdf_string("<xdp/>")),
    "appearances to be made anew": form_entry(NeedAppearances=generic.BooleanObject(True)),
    "title": information,
    "title in the metadata": metadata,
    "script in a signature field": invisible_field(A=SCRIPT),
    "script at a signature field": invisible_field(AA=dictionary(PV=SCRIPT)),
    "link that is a signature field": invisible_field(Subtype=name("/Link")),
    "form fonts": form_entry(DR=dictionary(Font=dictionary(F1=dictionary(BaseFont=name("/Symbol"))))),
}


# ------------------------------------------------------------------ certified documents


def annotation(subtype: str, **entries: object) -> Callable[[bytes], bytes]:
    """An annotation added to the page: the evil-annotation attack."""

    def change(writer: IncrementalPdfFileWriter) -> None:
        form = {name("/Subtype"): name("/Form"), name("/BBox"): numbers(0, 0, 500, 800)}
        note = dictionary(
            Type=name("/Annot"),
            Subtype=name(subtype),
            Rect=numbers(50, 400, 500, 750),
            Contents=generic.pdf_string("GIA TRI KHAC"),
            AP=dictionary(N=writer.add_object(generic.StreamObject(dict_data=form, stream_data=EVIL))),
            **entries,
        )
        page = _page(writer)
        page["/Annots"] = generic.ArrayObject([*page["/Annots"], writer.add_object(note)])
        writer.update_container(page)

    return rewritten(change)


@rewritten
def sneaky_field(writer: IncrementalPdfFileWriter) -> None:
    """An unsigned signature field with an appearance that covers the page: the sneaky-signature attack."""
    form = {name("/Subtype"): name("/Form"), name("/BBox"): numbers(0, 0, 500, 800)}
    field = dictionary(
        FT=name("/Sig"),
        T=generic.pdf_string("ChuKy"),
        Type=name("/Annot"),
        Subtype=name("/Widget"),
        Rect=numbers(0, 0, 595, 842),
        AP=dictionary(N=writer.add_object(generic.StreamObject(dict_data=form, stream_data=EVIL))),
    )
    reference = writer.add_object(field)
    listed = writer.root["/AcroForm"]["/Fields"]
    listed.append(reference)
    writer.update_container(listed)
    page = _page(writer)
    page["/Annots"] = generic.ArrayObject([*page["/Annots"], reference])
    writer.update_container(page)


def sneaky_signature(pdf: bytes) -> bytes:
    """A second signature by nobody anyone knows, made after what was changed."""
    stranger = World(tag="ke la")
    return sign_pdf(stranger, sneaky_field(pdf), party=stranger.plain, field_name="ChuKy2")


CERTIFIED: Mapping[str, Callable[[bytes], bytes]] = {
    **{
        f"annotation {kind}": annotation(f"/{kind}")
        for kind in ("FreeText", "Stamp", "Redact", "Text", "Highlight", "Popup", "Link")
    },
    "annotation Ink": annotation("/Ink", InkList=generic.ArrayObject([numbers(0, 0, 500, 800)])),
    "field of a signature": sneaky_field,
    "signature of a stranger": sneaky_signature,
}
