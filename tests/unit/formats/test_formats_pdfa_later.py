"""PDF/A-2 and PDF/A-3: a file that keeps each rule, and one that breaks it and nothing else."""

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from pikepdf import Array, Dictionary, Name, Stream, String

from archive_service.formats.limits import DEFAULT
from archive_service.formats.pdfa import structural_problems
from archive_service.formats.pdfa_fonts import to_unicode, truetype_encodings
from tests.unit.formats import format_files as files

AS_MADE = {"stream_decode_level": pikepdf.StreamDecodeLevel.none, "compress_streams": False}
Change = Callable[[pikepdf.Pdf], None]
WORDS = b"BT /F 12 Tf 50 700 Td <00010002> Tj ET"
TO_UNICODE = b"2 beginbfchar <0001> <0041> <0002> <0111> endbfchar"
SYMBOLIC, NOT_SYMBOLIC = 4, 32


def profile(space: bytes = b"RGB ", kind: bytes = b"mntr", version: int = 2) -> bytes:
    """The header of an ICC profile (ICC.1, 7.2)."""
    header = bytearray(132)
    header[8], header[12:16], header[16:20], header[36:40] = version, kind, space, b"acsp"
    return bytes(header)


def metadata(part: int, level: str = "B", inner: str = "") -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/">'
        f"<pdfaid:part>{part}</pdfaid:part><pdfaid:conformance>{level}</pdfaid:conformance></rdf:Description>{inner}"
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def program(*encodings: tuple[int, int]) -> bytes:
    """A TrueType program of one table, its character map (ISO/IEC 14496-22, 5.2.1)."""
    cmap = struct.pack(">HH", 0, len(encodings)) + b"".join(struct.pack(">HHI", *one, 12) for one in encodings)
    return struct.pack(">IHHHH", 0x10000, 1, 16, 0, 0) + struct.pack(">4sIII", b"cmap", 0, 28, len(cmap)) + cmap


def jpx(*, channels: int = 3, depth: int = 7, colours: tuple[bytes, ...] = (b"\1\0\0\0\0\0\x10",)) -> bytes:
    """The boxes of a JPEG 2000 file without its code stream (ISO/IEC 15444-1, annex I)."""
    header = files.box(b"ihdr", struct.pack(">IIHBBBB", 8, 8, channels, depth, 7, 0, 0))
    header += b"".join(files.box(b"colr", colour) for colour in colours)
    return (
        b"\0\0\0\x0cjP  \r\n\x87\n" + files.box(b"ftyp", b"jp2 ") + files.box(b"jp2h", header) + files.box(b"jp2c", b"")
    )


def honest(document: pikepdf.Pdf, part: int = 2, level: str = "B") -> None:
    """Gives a document what every PDF/A-2 has: identification, an output intent, text in an embedded font."""
    document.Root.Metadata = Stream(document, metadata(part, level), Type=Name.Metadata, Subtype=Name.XML)
    intent = Dictionary(Type=Name.OutputIntent, S=Name.GTS_PDFA1, OutputConditionIdentifier=String("x"))
    intent.DestOutputProfile = document.make_indirect(Stream(document, profile(), N=3))
    document.Root.OutputIntents = Array([intent])
    descriptor = Dictionary(
        Type=Name.FontDescriptor, FontName=Name.A, Flags=SYMBOLIC, FontFile2=Stream(document, program((3, 0)))
    )
    descendant = Dictionary(
        Type=Name.Font, Subtype=Name.CIDFontType2, BaseFont=Name.A, CIDToGIDMap=Name.Identity, FontDescriptor=descriptor,
        CIDSystemInfo=Dictionary(Registry=String("Adobe"), Ordering=String("Identity"), Supplement=0),
    )  # fmt: skip
    font = Dictionary(
        Type=Name.Font, Subtype=Name.Type0, BaseFont=Name.A, Encoding=Name("/Identity-H"), DescendantFonts=Array([descendant]),
        ToUnicode=Stream(document, TO_UNICODE),
    )  # fmt: skip
    page = document.pages[0].obj
    page.Resources = Dictionary(Font=Dictionary(F=document.make_indirect(font)))
    page.Contents = Stream(document, WORDS)


def problems(
    folder: Path,
    change: Change | None = None,
    *,
    part: int = 2,
    level: str = "b",
    rewrite: Callable[[bytes], bytes] = lambda made: made.replace(b"/Crypa", b"/Crypt"),  # qpdf writes no Crypt filter
) -> list[tuple[str, str]]:
    def build(document: pikepdf.Pdf) -> None:
        honest(document, part, level.upper())
        if change:
            change(document)

    made = files.pdf(build, object_stream_mode=pikepdf.ObjectStreamMode.generate, **AS_MADE)
    path = files.write(folder, "a.pdf", rewrite(made))
    with pikepdf.open(path, suppress_warnings=True) as pdf:
        return list(structural_problems(pdf, path, part, DEFAULT, level=level))


# ---------------------------------------------------------------- small changes


def content(text: bytes, **resources: Dictionary) -> Change:
    """Lets the page show this."""

    def change(document: pikepdf.Pdf) -> None:
        page = document.pages[0].obj
        page.Contents = Stream(document, WORDS + b" " + text)
        for kind, entries in resources.items():
            page.Resources[f"/{kind}"] = entries

    return change


def painted(**state: Any) -> Change:
    """Lets the page use this graphics state."""
    return content(b"/G gs", ExtGState=Dictionary(G=Dictionary(**state)))


def coloured(make: Callable[[pikepdf.Pdf], object]) -> Change:
    """Lets the page use this colour space."""

    def change(document: pikepdf.Pdf) -> None:
        content(b"/C cs", ColorSpace=Dictionary(C=make(document)))(document)

    return change


def image(data: bytes = b"\0" * 3, **entries: Any) -> Change:
    def change(document: pikepdf.Pdf) -> None:
        shape = {"Type": Name.XObject, "Subtype": Name.Image, "Width": 1, "Height": 1}
        drawn = Stream(document, data, **{"ColorSpace": Name.DeviceRGB, "BitsPerComponent": 8} | shape | entries)
        content(b"/I Do", XObject=Dictionary(I=drawn))(document)

    return change


def jpeg2000(data: bytes) -> Change:
    def change(document: pikepdf.Pdf) -> None:
        shape = {"Type": Name.XObject, "Subtype": Name.Image, "Width": 8, "Height": 8}
        drawn = Stream(document, data, Filter=Name.JPXDecode, **shape)
        content(b"/I Do", XObject=Dictionary(I=drawn))(document)

    return change


def root(key: str, value: Any) -> Change:
    return lambda document: document.Root.__setitem__(f"/{key}", value)


def page(key: str, value: Any) -> Change:
    return lambda document: document.pages[0].obj.__setitem__(f"/{key}", value)


def font(key: str, value: object, *, inner: bool = False) -> Change:
    def change(document: pikepdf.Pdf) -> None:
        shown = document.pages[0].obj.Resources.Font.F
        owner = shown.DescendantFonts[0] if inner else shown
        if value is None:
            del owner[f"/{key}"]
        else:
            owner[f"/{key}"] = value

    return change


def unmapped(values: bytes | None) -> Change:
    def change(document: pikepdf.Pdf) -> None:
        shown = document.pages[0].obj.Resources.Font.F
        del shown["/ToUnicode"]
        if values is not None:
            shown.ToUnicode = Stream(document, values)

    return change


def truetype(flags: int, *encodings: tuple[int, int], **entries: Any) -> Change:
    def change(document: pikepdf.Pdf) -> None:
        descriptor = Dictionary(
            Type=Name.FontDescriptor, FontName=Name.B, Flags=flags, FontFile2=Stream(document, program(*encodings))
        )
        given: dict[str, Any] = {
            "Type": Name.Font,
            "Subtype": Name.TrueType,
            "BaseFont": Name.B,
            "FirstChar": 65,
            "LastChar": 66,
        }
        given |= {"Widths": Array([500, 500]), "FontDescriptor": descriptor} | entries
        simple = Dictionary(**{key: value for key, value in given.items() if value is not None})
        document.pages[0].obj.Resources.Font.S = simple
        document.pages[0].obj.Contents = Stream(document, b"BT /S 9 Tf (AB) Tj ET")

    return change


def annotated(**entries: Any) -> Change:
    def change(document: pikepdf.Pdf) -> None:
        given: dict[str, Any] = {
            "Type": Name.Annot,
            "Subtype": Name.Square,
            "F": 4,
            "Rect": Array([0, 0, 9, 9]),
        } | entries
        if "AP" not in given:
            given["AP"] = Dictionary(
                N=Stream(document, b"", Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 9, 9]))
            )
        document.pages[0].obj.Annots = Array(
            [Dictionary(**{key: value for key, value in given.items() if value is not None})]
        )

    return change


def attached(data: bytes, *, linked: bool = True, subtype: str | None = "text/xml", **entries: Any) -> Change:
    def change(document: pikepdf.Pdf) -> None:
        stream = Stream(document, data, Type=Name.EmbeddedFile)
        if subtype:
            stream.Subtype = Name(f"/{subtype}")
        given: dict[str, Any] = {
            "Type": Name.Filespec,
            "F": String("a"),
            "UF": String("a"),
            "AFRelationship": Name.Data,
        } | entries
        given["EF"] = Dictionary(F=document.make_indirect(stream))
        specification = document.make_indirect(
            Dictionary(**{key: value for key, value in given.items() if value is not None})
        )
        document.Root.Names = Dictionary(EmbeddedFiles=Dictionary(Names=Array([String("a"), specification])))
        if linked:
            document.Root.AF = Array([specification])

    return change


def layers(make: Callable[[Array], Dictionary]) -> Change:
    def change(document: pikepdf.Pdf) -> None:
        groups = Array([document.make_indirect(Dictionary(Type=Name.OCG, Name=String(name))) for name in "ab"])
        document.Root.OCProperties = Dictionary(OCGs=groups, D=make(groups))

    return change


def described(inner: str) -> Change:
    return lambda document: document.Root.__setitem__(
        "/Metadata", Stream(document, metadata(2, "B", inner), Type=Name.Metadata, Subtype=Name.XML)
    )


def without_intent(document: pikepdf.Pdf) -> None:
    del document.Root["/OutputIntents"]


def both(*changes: Change) -> Change:
    def change(document: pikepdf.Pdf) -> None:
        for one in changes:
            one(document)

    return change


def spot(document: pikepdf.Pdf, name: str, tint: bytes = b"{0 0}") -> Array:
    function = Stream(document, tint, FunctionType=4, Domain=Array([0, 1]), Range=Array([0, 1, 0, 1, 0, 1]))
    return Array([Name.Separation, Name(f"/{name}"), Name.DeviceRGB, function])


def several(document: pikepdf.Pdf, count: int, attributes: Dictionary) -> Array:
    names = Array([Name(f"/S{number}") for number in range(count)])
    return Array([Name.DeviceN, names, Name.DeviceRGB, spot(document, "x")[3], attributes])


def icc(components: int = 3, **header: Any) -> Callable[[pikepdf.Pdf], Array]:
    return lambda document: Array([Name.ICCBased, Stream(document, profile(**header), N=components)])


EXTENSION = (
    '<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/" '
    'xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#" '
    'xmlns:q="urn:q"><q:so>1</q:so><pdfaExtension:schemas><rdf:{0}><rdf:li rdf:parseType="Resource">'
    "<pdfaSchema:schema>Q</pdfaSchema:schema><pdfaSchema:namespaceURI>urn:q</pdfaSchema:namespaceURI>"
    "<pdfaSchema:prefix>q</pdfaSchema:prefix><pdfaSchema:property><rdf:Seq><rdf:li {1}>"
    "<pdfaProperty:name>so</pdfaProperty:name>{3}<pdfaProperty:category>{2}</pdfaProperty:category>"
    "<pdfaProperty:description>Số</pdfaProperty:description></rdf:li></rdf:Seq></pdfaSchema:property></rdf:li></rdf:{0}>"
    "</pdfaExtension:schemas></rdf:Description>"
)
RESOURCE, VALUE_TYPE = 'rdf:parseType="Resource"', "<pdfaProperty:valueType>Text</pdfaProperty:valueType>"
OWN = '<rdf:Description rdf:about="" xmlns:{0}="{1}"><{0}:{2}>{3}</{0}:{2}></rdf:Description>'
XMP = "http://ns.adobe.com/xap/1.0/"

BROKEN = [
    ("6.1.7.2", image(Filter=Name.KhongCo)),
    ("6.1.7.2", image(Filter=Name.Crypa, DecodeParms=Dictionary(Name=Name.Rieng))),
    ("6.1.10", content(b"BI /W 1 /H 1 /BPC 8 /CS /G /F /Crypt ID x EI")),
    ("6.1.12", root("Perms", Dictionary(Khac=Dictionary()))),
    ("6.1.12", root("Perms", Dictionary(DocMDP=Dictionary(Reference=Array([Dictionary(DigestValue=String("x"))]))))),
    ("6.1.13", root("Dai", String("x" * 32768))),
    ("6.1.13", root("Lon", 2**31)),
    ("6.1.13", page("CropBox", Array([0, 0, 2, 842]))),
    ("6.1.13", page("TrimBox", Array([0, 0, 20_000, 842]))),
    ("6.2.3", lambda document: document.Root.OutputIntents[0].__setitem__("/DestOutputProfileRef", Dictionary())),
    ("6.2.3", lambda document: document.Root.OutputIntents[0].__setitem__("/DestOutputProfile", Stream(document, profile(version=5), N=3))),
    ("6.2.4.2", coloured(icc(kind=b"link"))),
    ("6.2.4.2", coloured(icc(version=5))),
    ("6.2.4.2", coloured(icc(components=4))),
    ("6.2.4.3", content(b"0 0 0 1 k")),
    ("6.2.4.3", page("Group", Dictionary(S=Name.Transparency, CS=Name.DeviceCMYK))),
    ("6.2.4.4", coloured(lambda document: several(document, 2, Dictionary(Colorants=Dictionary(S0=spot(document, "S0")))))),
    ("6.2.5", painted(TR=Name.Identity)),
    ("6.2.5", painted(HTP=Array([0, 0]))),
    ("6.2.5", painted(HT=Dictionary(HalftoneType=6))),
    ("6.2.5", painted(HT=Dictionary(HalftoneType=1, HalftoneName=String("x")))),
    ("6.2.6", content(b"/Dep ri")),
    ("6.2.8.1", image(BitsPerComponent=3)),
    ("6.2.8.1", image(Interpolate=True)),
    ("6.2.8.3", jpeg2000(jpx(channels=2))),
    ("6.2.8.3", jpeg2000(jpx(depth=40))),
    ("6.2.8.3", jpeg2000(jpx(colours=(b"\1\0\0\0\0\0\x10", b"\1\0\0\0\0\0\x11")))),
    ("6.2.8.3", jpeg2000(jpx(colours=(b"\5\0\0",)))),
    ("6.2.8.3", jpeg2000(jpx(colours=(b"\1\0\0\0\0\0\x13",)))),
    ("6.2.4.3", jpeg2000(jpx(channels=4, colours=(b"\1\0\0\0\0\0\x0c",)))),
    ("6.2.10", painted(BM=Name.TronLan)),
    ("6.2.10", both(without_intent, painted(ca=0.5))),
    ("6.2.11.2", font("Type", Name.Phong)),
    ("6.2.11.2", truetype(SYMBOLIC, (3, 0), Widths=Array([500]))),
    ("6.2.11.2", truetype(SYMBOLIC, (3, 0), FirstChar=None)),
    ("6.2.11.3.1", both(font("Encoding", Name("/UniJIS-UCS2-H")))),
    ("6.2.11.3.2", font("CIDToGIDMap", None, inner=True)),
    ("6.2.11.3.3", font("Encoding", Name("/Rieng-H"))),
    ("6.2.11.6", truetype(SYMBOLIC, (1, 0), (3, 1))),
    ("6.2.11.6", truetype(NOT_SYMBOLIC, Encoding=Name.WinAnsiEncoding)),
    ("6.2.11.6", truetype(SYMBOLIC, (3, 0), Encoding=Name.WinAnsiEncoding)),
    ("6.2.11.6", truetype(NOT_SYMBOLIC, (1, 0), Encoding=Dictionary(BaseEncoding=Name.WinAnsiEncoding, Differences=Array([65, Name.A])))),
    ("6.2.11.8", content(b"BT /F 9 Tf 3 Tr <0000> Tj ET")),
    ("6.3.1", annotated(Subtype=Name.Screen)),
    ("6.3.2", annotated(F=4 | 256)),
    ("6.3.2", annotated(F=None)),
    ("6.3.3", annotated(AP=None)),
    ("6.4.1", root("AcroForm", Dictionary(Fields=Array([]), NeedAppearances=True))),
    ("6.4.2", root("AcroForm", Dictionary(Fields=Array([]), XFA=String("x")))),
    ("6.4.2", root("NeedsRendering", True)),
    ("6.5.1", root("OpenAction", Dictionary(S=Name.SetOCGState))),
    ("6.5.2", page("AA", Dictionary())),
    ("6.6.2.3.1", described(OWN.format("q", "urn:q", "so", "1"))),
    ("6.6.2.3.1", described(OWN.format("xmp", XMP, "KhongCo", "1"))),
    ("6.6.2.3.1", described(OWN.format("xmp", XMP, "CreateDate", "hom qua"))),
    ("6.6.2.3.3", described(EXTENSION.format("Seq", RESOURCE, "internal", VALUE_TYPE))),
    ("6.6.2.3.3", described(EXTENSION.format("Bag", RESOURCE, "rieng", VALUE_TYPE))),
    ("6.6.2.3.3", described(EXTENSION.format("Bag", RESOURCE, "internal", ""))),
    ("6.6.4", lambda document: root("Metadata", Stream(document, metadata(2, "Q"), Type=Name.Metadata, Subtype=Name.XML))(document)),
    ("6.8", attached(b"<a/>")),
    ("6.8", attached(files.pdf())),
    ("6.8", attached(files.pdf(claim=True), UF=None)),
    ("6.9", layers(lambda groups: Dictionary(Order=groups))),
    ("6.9", layers(lambda groups: Dictionary(Name=String("x"), Order=Array([groups[0]])))),
    ("6.9", layers(lambda _groups: Dictionary(Name=String("x"), AS=Array([])))),
    ("6.10", root("Names", Dictionary(AlternatePresentations=Dictionary()))),
    ("6.10", page("PresSteps", Dictionary())),
    ("6.11", root("Requirements", Array([]))),
]  # fmt: skip
KEPT = [
    None,
    image(Filter=Name.Crypa, DecodeParms=Dictionary(Name=Name.Identity)),
    root("Perms", Dictionary(DocMDP=Dictionary(Type=Name.Sig))),
    root("Lon", 40_000.5),
    root("Nhieu", Array([1] * 9000)),
    coloured(icc()),
    coloured(lambda document: spot(document, "Do")),
    coloured(lambda document: several(document, 2, Dictionary(Colorants=Dictionary(S0=spot(document, "S0"), S1=spot(document, "S1"))))),
    painted(ca=0.5, BM=Name.Multiply),
    painted(HT=Dictionary(HalftoneType=1)),
    image(SMask=Name("/None")),
    jpeg2000(jpx()),
    jpeg2000(jpx(colours=(b"\1\0\1\0\0\0\x10", b"\1\0\0\0\0\0\x11"))),
    both(without_intent, painted(ca=0.5), page("Group", Dictionary(S=Name.Transparency, CS=Array([Name.CalGray, Dictionary()])))),
    truetype(SYMBOLIC, (3, 0)),
    truetype(NOT_SYMBOLIC, (3, 1), Encoding=Name.WinAnsiEncoding),
    annotated(),
    annotated(Subtype=Name.Link, AP=None),
    annotated(Subtype=Name.Stamp, AP=None, Rect=Array([0, 0, 0, 0])),
    annotated(Subtype=Name.FileAttachment),
    unmapped(None),  # level b asks for no Unicode values
    described(OWN.format("xmp", XMP, "Rating", "3")),
    described(EXTENSION.format("Bag", RESOURCE, "external", VALUE_TYPE)),
    attached(files.pdf(claim=True), subtype=None, AFRelationship=None, linked=False),
    layers(lambda groups: Dictionary(Name=String("x"), Order=Array([groups[0], Array([groups[1]])]))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("clause", "change"), BROKEN, ids=[f"{clause} {number}" for number, (clause, _) in enumerate(BROKEN)]
)
def test_one_broken_rule_is_told_under_its_clause(clause, change, tmp_path):
    assert {where for where, _ in problems(tmp_path, change)} == {clause}


@pytest.mark.parametrize("change", KEPT, ids=range(len(KEPT)))
def test_what_part_2_allows_breaks_no_rule(change, tmp_path):
    assert problems(tmp_path, change) == []


@pytest.mark.parametrize(
    ("clause", "rewrite"),
    [
        ("6.1.2", lambda made: made.replace(b"%PDF-1.", b"%PDF-2.", 1)),
        ("6.1.3", lambda made: made + b"x"),
        ("6.1.7.1", lambda made: made.replace(b"/Length %d" % len(WORDS), b"/Length %d" % (len(WORDS) - 1))),
        (
            "6.1.8",
            lambda made: made.replace(b"/BaseFont /A\n", b"/BaseFont/#CB").replace(b"/BaseFont /A ", b"/BaseFont/#CB"),
        ),
        ("6.1.7.1", lambda made: made.replace(b"ET\nendstream", b"ET endstream")),
        ("6.1.7.1", lambda made: made.replace(b"stream\nBT", b"stream\rBT")),
        ("6.1.7.1", lambda made: made.replace(b"/Length %d" % len(WORDS), b"/Length %d/F(x)" % len(WORDS))),
    ],
)
def test_broken_syntax(clause, rewrite, tmp_path):
    assert {where for where, _ in problems(tmp_path, rewrite=rewrite)} == {clause}


def test_what_may_stand_at_the_end(tmp_path):
    for end in (b"", b"\r", b"\n", b"\r\n"):
        made = partial(_ended, end)
        assert problems(tmp_path, rewrite=made) == []


def _ended(end: bytes, made: bytes) -> bytes:
    return made.rstrip() + end


def test_a_form_has_its_own_resources(tmp_path):
    for own in (False, True):

        def change(document: pikepdf.Pdf, *, own: bool = own) -> None:
            form = Stream(document, WORDS, Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 9, 9]))
            if own:
                form.Resources = Dictionary(Font=document.pages[0].obj.Resources.Font)
            content(b"/X Do", XObject=Dictionary(X=form))(document)

        assert {clause for clause, _ in problems(tmp_path, change)} == (set() if own else {"6.2.2"})


def test_separations_of_one_name_that_differ(tmp_path):
    def change(document: pikepdf.Pdf) -> None:
        one, same, other = spot(document, "Do"), spot(document, "Do"), spot(document, "Do", b"{1 1}")
        content(b"/A cs /B cs", ColorSpace=Dictionary(A=one, B=other if differ else same))(document)

    for differ in (False, True):
        assert bool(problems(tmp_path, change)) is differ


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (TO_UNICODE, set()),
        (b"1 beginbfrange <0001> <0002> <0041> endbfrange", set()),
        (b"1 beginbfrange <0001> <0002> [<0041> <0042>] endbfrange", set()),
        (None, {"6.2.11.7.2"}),
        (b"1 beginbfchar <0001> <0041> endbfchar", {"6.2.11.7.2"}),
        (b"2 beginbfchar <0001> <0000> <0002> <0041> endbfchar", {"6.2.11.7.2"}),
        (b"2 beginbfchar <0001> <FEFF> <0002> <0041> endbfchar", {"6.2.11.7.2"}),
        (b"3 beginbfchar <0000> <0000> <0001> <0041> <0002> <0042> endbfchar", set()),  # not shown
    ],
)
def test_level_u_asks_for_unicode_values(values, expected, tmp_path):
    assert {clause for clause, _ in problems(tmp_path, unmapped(values), level="u")} == expected


def test_level_a_asks_for_tags(tmp_path):
    assert {clause for clause, _ in problems(tmp_path, level="a")} == {"6.7.2.2", "6.7.3.3"}
    tagged = both(
        root("MarkInfo", Dictionary(Marked=True)), root("StructTreeRoot", Dictionary(Type=Name.StructTreeRoot))
    )
    assert problems(tmp_path, tagged, level="a") == []
    assert {
        clause for clause, _ in problems(tmp_path, both(tagged, root("Lang", String("tiếng Việt"))), level="a")
    } == {"6.7.4"}


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (attached(b"<a/>"), True),
        (attached(b"<a/>", AFRelationship=None), False),
        (attached(b"<a/>", subtype=None), False),
        (attached(b"<a/>", linked=False), False),
    ],
)
def test_part_3_takes_any_file_that_says_what_it_is(change, kept, tmp_path):
    found = problems(tmp_path, change, part=3)
    assert {clause for clause, _ in found} == (set() if kept else {"6.8"})


def test_font_tables_of_hostile_files():
    assert truetype_encodings(b"\0\1\0\0\xff\xff") is None
    assert truetype_encodings(program((3, 1))) == [(3, 1)]
    assert truetype_encodings(program()[:12] + bytes(16)) is None or truetype_encodings(bytes(12)) == []
    ranges = b"1 beginbfrange " + b"<0000> <FFFF> <0041> " * 50_000 + b" endbfrange"
    assert len(to_unicode(ranges, set(range(65536)))) <= 65536
    assert to_unicode(b"1 beginbfrange <0001> <0002> [<0041> endbfrange", {1, 2}) == {1: b"\0A"}
