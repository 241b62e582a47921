"""Files made to cost a checker time or memory: each is small, and none may cost more than the limits allow."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache, partial

from asn1crypto import cms

from tests.unit.signatures.pki_fixtures import World, sign_cms, sign_pdf

MIB = 1024 * 1024
SIG = "http://www.w3.org/2000/09/xmldsig#"


def pdf(objects: list[bytes], *, extra: bytes = b"") -> bytes:
    """A PDF with these objects, numbered from 1; the first is the catalogue."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    where = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R %s>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, extra, where)
    return bytes(out)


def stream(content: bytes, extra: bytes = b"") -> bytes:
    """A stream object."""
    return b"<< /Length %d %s>>\nstream\n%s\nendstream" % (len(content), extra, content)


CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
PAGES = b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>"


def bomb(size: int, byte: bytes = b" ") -> bytes:
    """`size` equal bytes, packed in pieces so that making them takes little memory."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(byte * MIB) for _ in range(size // MIB)) + packer.flush()


def deep_page_tree(depth: int) -> bytes:
    """Every page node holds one more."""
    nodes = [
        b"<< /Type /Pages /Count 1 /Kids [%d 0 R] /Parent %d 0 R >>" % (n + 3, max(1, n + 1)) for n in range(depth)
    ]
    return pdf([CATALOG, *nodes, b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 9 9] >>" % (depth + 1)])


def endless_page_tree(fan: int) -> bytes:
    """Page nodes that hold each other, many times."""
    kids = b" ".join([b"2 0 R"] * fan)
    return pdf([CATALOG, b"<< /Type /Pages /Count %d /Kids [%s] >>" % (fan, kids)])


def nested_arrays(depth: int) -> bytes:
    """An array of arrays of arrays."""
    return pdf([CATALOG, PAGES, PAGE, stream(b""), b"[" * depth + b"]" * depth])


def flate_bomb(layers: int, size: int) -> bytes:
    """A page whose content unpacks, layer by layer, to far more than it is."""
    content = bomb(size)
    for _ in range(layers - 1):
        content = zlib.compress(content, 9)
    filters = b"/Filter [%s] " % b" ".join([b"/FlateDecode"] * layers)
    return pdf([CATALOG, PAGES, PAGE, stream(content, filters)])


def object_stream_bomb(size: int) -> bytes:
    """Objects in a compressed stream that is mostly white space."""
    packed = bomb(size)
    holder = stream(packed, b"/Type /ObjStm /N 100000 /First 900000 /Filter /FlateDecode ")
    return pdf([CATALOG, PAGES, PAGE, stream(b""), holder])


def long_content(size: int) -> bytes:
    """A page that draws for ever."""
    return pdf(
        [
            CATALOG,
            PAGES,
            PAGE,
            stream(zlib.compress(b"q 1 0 0 1 0 0 cm BT ET Q " * (size // 25), 9), b"/Filter /FlateDecode "),
        ]
    )


def looping_updates() -> bytes:
    """Cross-references that name each other as previous."""
    first = pdf([CATALOG, PAGES, PAGE, stream(b"")])
    where = first.rindex(b"xref\n0 ")
    return first.replace(b"/Root", b"/Prev %d /Root" % where)


def many_updates(count: int) -> bytes:
    """A file updated again and again."""
    out = bytearray(sign_pdf(world(), party=world().plain))
    for _ in range(count):
        prev = int(out[out.rindex(b"startxref") + 9 :].split()[0])
        where = len(out)
        out += b"xref\n3 1\n%010d 00000 n \ntrailer\n<< /Size 12 /Root 1 0 R /Prev %d >>\nstartxref\n%d\n%%%%EOF\n" % (
            125,
            prev,
            where,
        )
    return bytes(out)


def many_signatures(count: int) -> bytes:
    """A form of signature fields that all hold the same value."""
    value = sign_cms(world(), b"x", party=world().plain).hex().encode()
    signature = (
        b"<< /Type /Sig /Filter /Adobe.PPKLite /SubFilter /ETSI.CAdES.detached /ByteRange [0 9 20 9] /Contents <%s> >>"
        % value
    )
    fields = [b"<< /FT /Sig /T (S%d) /V 5 0 R >>" % number for number in range(count)]
    listed = b" ".join(b"%d 0 R" % (number + 6) for number in range(count))
    catalog = b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /SigFlags 3 /Fields [%s] >> >>" % listed
    return pdf([catalog, PAGES, PAGE, stream(b""), signature, *fields])


def field_tree(depth: int) -> bytes:
    """Form fields that hold each other in a circle, with a signature somewhere in the bytes."""
    kids = b" ".join([b"6 0 R"] * depth)
    catalog = b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /SigFlags 3 /Fields [5 0 R] >> >>"
    fields = [
        b"<< /T (a) /FT /Sig /Kids [%s] >>" % kids,
        b"<< /T (b) /FT /Sig /Kids [%s] >>" % kids.replace(b"6", b"5"),
    ]
    return pdf([catalog, PAGES, PAGE, stream(b""), *fields, b"<< /Type /Sig /ByteRange [0 1 2 3] /Contents <00> >>"])


def deep_xml(depth: int) -> bytes:
    """Elements in elements."""
    return b"<?xml version='1.0'?>" + b"<a>" * depth + b"</a>" * depth


def signed_looking_xml(count: int) -> bytes:
    """A signature whose references all name an element of many."""
    reference = (
        '<Reference URI="#x"><Transforms><Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></Transforms>'
        '<DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><DigestValue>AAAA</DigestValue></Reference>'
    )
    info = (
        '<SignedInfo><CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
        '<SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"/>'
        + reference * 100
        + "</SignedInfo>"
    )
    signature = f"<Signature xmlns='{SIG}'>{info}<SignatureValue>AAAA</SignatureValue></Signature>"
    body = "".join(f"<e n='{number}'/>" for number in range(count))
    return f"<?xml version='1.0'?><r><x Id='x'>{body}</x>{signature * 50}</r>".encode()


def many_attributes(count: int) -> bytes:
    """One element with very many attributes and namespaces."""
    names = " ".join(f"a{number}='1' xmlns:n{number}='urn:{number}'" for number in range(count))
    return f"<?xml version='1.0'?><r {names}/>".encode()


def laughing() -> bytes:
    """Entities that hold each other."""
    entities = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10 if n else 'ha'}'>" for n in range(12))
    return f"<?xml version='1.0'?><!DOCTYPE r [{entities}]><r>&e11;</r>".encode()


def nested_der(depth: int) -> bytes:
    """Sequences in sequences, under the head of a signature file."""
    inner = b""
    for _ in range(depth):
        size = len(inner)
        inner = (b"\x30" + (bytes([size]) if size < 128 else b"\x83" + size.to_bytes(3, "big"))) + inner
    return der_signed(inner)


def der_signed(content: bytes) -> bytes:
    """A CMS head around any content."""
    body = b"\xa0\x84" + len(content).to_bytes(4, "big") + content
    body = bytes.fromhex("06092a864886f70d010702") + body
    return b"\x30\x84" + len(body).to_bytes(4, "big") + body


def huge_revocation_list(count: int) -> bytes:
    """A signature with a revocation list of very many entries."""
    entry = bytes.fromhex("301302021234170d3231303630313030303030305a")
    raw = cms.ContentInfo.load(sign_cms(world(), b"x", detached=False))
    parts = raw["content"]
    items = b"".join(
        parts[name].dump() for name in ("version", "digest_algorithms", "encap_content_info", "certificates")
    )
    blob = b"\x30\x84" + (count * len(entry)).to_bytes(4, "big") + entry * count
    return der_signed(
        b"\x30\x84"
        + (len(items) + len(blob) + 6 + len(parts["signer_infos"].dump())).to_bytes(4, "big")
        + items
        + b"\xa1\x84"
        + len(blob).to_bytes(4, "big")
        + blob
        + parts["signer_infos"].dump()
    )


def package(entries: Mapping[str, bytes]) -> bytes:
    """A ZIP with these entries."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


CONTENT_TYPES = (
    b"<?xml version='1.0'?><Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'>"
    b"<Default Extension='xml' ContentType='application/xml'/><Override PartName='/word/document.xml' "
    b"ContentType='application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml'/></Types>"
)


def zip_bomb(size: int) -> bytes:
    """A Word file with a part that unpacks to very much."""
    return package({"[Content_Types].xml": CONTENT_TYPES, "_rels/.rels": b"<a/>", "word/document.xml": bytes(size)})


def many_entries(count: int) -> bytes:
    """A ZIP of very many files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.txt", b"")
    return out.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A picture of very many pixels in few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bomb(8 * MIB, b"\0")) + chunk(b"IEND", b"")


def looping_tiff(count: int) -> bytes:
    """A TIFF whose directories follow each other in a circle of many."""
    out = bytearray(b"II*\0" + (8).to_bytes(4, "little"))
    for number in range(count):
        following = 8 + 18 * ((number + 1) % count)
        out += struct.pack("<HHHII", 1, 256, 4, 1, 1) + following.to_bytes(4, "little")
    return bytes(out)


def font_bomb(size: int) -> bytes:
    """A page with an embedded font program that unpacks to very much."""
    page = PAGE.replace(b"/Contents", b"/Resources << /Font << /F1 5 0 R >> >> /Contents")
    font = (
        b"<< /Type /Font /Subtype /TrueType /BaseFont /A /FirstChar 0 /LastChar 0 /Widths [0] /FontDescriptor 6 0 R >>"
    )
    descriptor = b"<< /Type /FontDescriptor /FontName /A /Flags 4 /FontFile2 7 0 R >>"
    return pdf(
        [
            CATALOG,
            PAGES,
            page,
            stream(b"BT /F1 9 Tf (a) Tj ET"),
            font,
            descriptor,
            stream(bomb(size), b"/Filter /FlateDecode "),
        ]
    )


@cache
def world() -> World:
    """The authorities of signed hostile files."""
    return World(tag="hostile files")


FILES: Mapping[str, Callable[[], bytes]] = {
    "deep page tree.pdf": partial(deep_page_tree, 20_000),
    "endless page tree.pdf": partial(endless_page_tree, 5_000),
    "nested arrays.pdf": partial(nested_arrays, 100_000),
    "flate bomb.pdf": partial(flate_bomb, 1, 1024 * MIB),
    "layered bomb.pdf": partial(flate_bomb, 3, 1024 * MIB),
    "object stream bomb.pdf": partial(object_stream_bomb, 512 * MIB),
    "long content.pdf": partial(long_content, 64 * MIB),
    "looping updates.pdf": looping_updates,
    "many updates.pdf": partial(many_updates, 3_000),
    "many signatures.pdf": partial(many_signatures, 5_000),
    "field tree.pdf": partial(field_tree, 40),
    "font bomb.pdf": partial(font_bomb, 512 * MIB),
    "deep.xml": partial(deep_xml, 100_000),
    "attributes.xml": partial(many_attributes, 20_000),
    "references.xml": partial(signed_looking_xml, 20_000),
    "entities.xml": laughing,
    "nested.p7m": partial(nested_der, 20_000),
    "revocation list.p7m": partial(huge_revocation_list, 200_000),
    "bomb.docx": partial(zip_bomb, 256 * MIB),
    "entries.zip": partial(many_entries, 30_000),
    "pixels.png": partial(huge_png, 100_000, 100_000),
    "pixels below the limit.png": partial(huge_png, 19_000, 19_000),
    "circle.tif": partial(looping_tiff, 5_000),
}
