"""Small files made by code: sound ones of each kind, and one for each way a file can fail."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pikepdf
from pikepdf import Array, Dictionary, Name
from PIL import Image

from archive_service.dossier import Component, Origin, Role

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/">
<pdfaid:part>1</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance></rdf:Description>
</rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
GREY_PROFILE_BYTES = 132
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def component(role: Role = Role.SUBMITTED, origin: Origin = Origin.UPLOADED_SIGNED, title: str = "Đơn") -> Component:
    return Component(
        id="c1", path="c1.bin", role=role, origin=origin, title=title, type_code="01", sha256="0" * 64, size_bytes=1
    )


DIGITISED = component(Role.DIGITISED, Origin.DIGITISED)


# ---------------------------------------------------------------- marked-up text


def svg(content: str) -> bytes:
    return f'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">{content}</svg>'.encode()


def rtf(content: str) -> bytes:
    return rb"{\rtf1\ansi\deff0 {\fonttbl{\f0 Times;}}\f0 " + content.encode() + rb"\par}"


# ---------------------------------------------------------------- PDF


def pdf(change: Callable[[pikepdf.Pdf], None] | None = None, *, claim: bool = False, **save) -> bytes:
    """A one-page PDF; with `claim` a PDF/A-1b that keeps its promise."""
    document = pikepdf.new()
    document.add_blank_page(page_size=(595, 842))
    if claim:
        document.Root.Metadata = pikepdf.Stream(document, XMP.encode(), Type=Name.Metadata, Subtype=Name.XML)
    if change:
        change(document)
    out = io.BytesIO()
    options = {"object_stream_mode": pikepdf.ObjectStreamMode.disable, "min_version": "1.4"} | save
    document.save(out, fix_metadata_version=False, **options)
    return out.getvalue()


def scanned(dpi: int = 200, *, grey: bool = False, text: bool = True, claim: bool = True) -> bytes:
    """A page covered by an image, with an invisible text layer, as a scanner with OCR makes it."""
    size = (int(8 * dpi), int(10 * dpi))
    colours = 1 if grey else 3

    def change(document: pikepdf.Pdf) -> None:
        page = document.pages[0]
        page.obj.MediaBox = Array([0, 0, 576, 720])
        image = pikepdf.Stream(
            document,
            bytes(size[0] * size[1] * colours),
            Type=Name.XObject,
            Subtype=Name.Image,
            Width=size[0],
            Height=size[1],
            ColorSpace=Name.DeviceGray if grey else Name.DeviceRGB,
            BitsPerComponent=8,
        )
        font = document.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
        page.obj.Resources = Dictionary(XObject=Dictionary(I=image), Font=Dictionary(F=font))
        words = b"BT 3 Tr /F 10 Tf 10 10 Td (Don de nghi) Tj ET" if text else b""
        page.obj.Contents = pikepdf.Stream(document, b"q 576 0 0 720 0 0 cm /I Do Q " + words)
        profile = bytearray(GREY_PROFILE_BYTES)
        profile[12:20], profile[36:40] = (b"mntrGRAY" if grey else b"mntrRGB "), b"acsp"
        document.Root.OutputIntents = Array(
            [
                Dictionary(
                    Type=Name.OutputIntent,
                    S=Name.GTS_PDFA1,
                    OutputConditionIdentifier="x",
                    DestOutputProfile=pikepdf.Stream(document, bytes(profile)),
                )
            ]
        )

    return pdf(change, claim=claim, compress_streams=True)


def with_script(document: pikepdf.Pdf) -> None:
    document.Root.OpenAction = Dictionary(S=Name.JavaScript, JS="app.alert(1)")


def with_attachment(document: pikepdf.Pdf) -> None:
    document.attachments["ghi-chu.txt"] = b"xin chao"


def with_missing_object(document: pikepdf.Pdf) -> None:
    document.Root.XXExtra = document.make_indirect(Dictionary(A=1))


def with_font(document: pikepdf.Pdf) -> None:
    named = Dictionary(Type=Name.Font, Subtype=Name.TrueType, BaseFont=Name.AAAAAA)
    document.pages[0].obj.Resources = Dictionary(Font=Dictionary(F=document.make_indirect(named)))


def east_asian_font_pdf() -> bytes:
    """A font named in GBK, as Word on a Chinese Windows writes it: names are bytes, not UTF-8."""
    return pdf(with_font).replace(b"/AAAAAA", b"/#CB#CE")


def encrypted_pdf(user: str) -> bytes:
    return pdf(encryption=pikepdf.Encryption(owner="chu", user=user, R=6))


def repairable_pdf() -> bytes:
    """Complete, but startxref points beside the table."""
    content = pdf()
    at = content.rindex(b"startxref") + len(b"startxref\n")
    return content[:at] + b"7" + content[at:]


# ---------------------------------------------------------------- images


def image(kind: str, *, dpi: int | None = 300, mode: str = "RGB", size: tuple[int, int] = (200, 300)) -> bytes:
    out = io.BytesIO()
    picture = Image.effect_noise(size, 60).convert(mode)
    picture.save(out, kind, **({"dpi": (dpi, dpi)} if dpi else {}))
    return out.getvalue()


def tiff_without_width() -> bytes:
    """A TIFF whose first directory entry, the width, carries another tag: decoders trip over it in their own ways."""
    content = bytearray(image("TIFF"))
    (directory,) = struct.unpack_from("<I", content, 4)
    struct.pack_into("<H", content, directory + 2, 7)
    return bytes(content)


# ---------------------------------------------------------------- packages


def package(
    entries: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED, stored: tuple[str, ...] = ()
) -> bytes:
    """A ZIP of these entries; those named in `stored` are not compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in entries.items():
            method = zipfile.ZIP_STORED if name in stored else compression
            archive.writestr(zipfile.ZipInfo(name, (2025, 3, 14, 8, 0, 0)), content, method)
    return out.getvalue()


_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.'
    'wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
    'relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/'
    'officeDocument" Target="word/document.xml"/></Relationships>'
)
_DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/'
    '2006/main"><w:body><w:p><w:r><w:t>Đơn đề nghị cấp giấy chứng nhận</w:t></w:r></w:p></w:body></w:document>'
)


def docx(more: dict[str, bytes] | None = None) -> bytes:
    entries = {"[Content_Types].xml": _TYPES.encode(), "_rels/.rels": _RELATIONS.encode()}
    return package(entries | {"word/document.xml": _DOCUMENT.encode()} | (more or {}))


def remote_template() -> bytes:
    relation = (
        b'<Relationships xmlns="x"><Relationship Id="r" Type="http://x/attachedTemplate" Target="http://example.com/t.dotm" '
        b'TargetMode="External"/></Relationships>'
    )
    return docx({"word/_rels/settings.xml.rels": relation})


def damaged_docx() -> bytes:
    """The document part has one byte changed, so its checksum is wrong."""
    content = bytearray(docx())
    at = content.index(b"word/document.xml") + len(b"word/document.xml") + 20
    content[at] ^= 0xFF
    return bytes(content)


def compound(streams: list[str]) -> bytes:
    """A compound file (OLE) with empty-looking streams of the given names, each of 4096 bytes."""
    names = ["Root Entry", *streams]
    data_sectors = 8 * len(streams)
    directory_sectors = (len(names) + 3) // 4
    first_data = 1 + directory_sectors
    fat = [0xFFFFFFFD]
    fat += [index + 2 for index in range(directory_sectors - 1)] + [0xFFFFFFFE]
    for stream in range(len(streams)):
        start = first_data + 8 * stream
        fat += [start + index + 1 for index in range(7)] + [0xFFFFFFFE]
    fat += [0xFFFFFFFF] * (128 - len(fat))
    header = OLE + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(10)
    header += struct.pack("<IIIIIIIII", 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0, 0)
    header += struct.pack("<I", 0xFFFFFFFF) * 108
    entries = b""
    for index, name in enumerate(names):
        encoded = name.encode("utf-16-le") + b"\0\0"
        right = index + 1 if 0 < index < len(names) - 1 else 0xFFFFFFFF
        child = 1 if index == 0 else 0xFFFFFFFF
        start = first_data + 8 * (index - 1) if index else 0xFFFFFFFE
        entries += encoded.ljust(64, b"\0") + struct.pack("<HBB", len(encoded), 5 if index == 0 else 2, 1)
        entries += struct.pack("<III", 0xFFFFFFFF, right, child) + bytes(36)
        entries += struct.pack("<IQ", start, 4096 if index else 0)
    entries = entries.ljust(directory_sectors * 512, b"\0")
    return header + struct.pack("<128I", *fat) + entries + bytes(512 * data_sectors)


# ---------------------------------------------------------------- audio, video


def wav(seconds: float, *, rate: int = 22050, bits: int = 16) -> bytes:
    block = bits // 8
    data = bytes(int(seconds * rate) * block)
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * block, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def mp3(frames: int, *, kbps: int = 128) -> bytes:
    """MPEG-1 layer III, 44.1 kHz, silent frames of a constant bit rate."""
    index = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320].index(kbps)
    frame = bytes([0xFF, 0xFB, index << 4, 0xC4]).ljust(144000 * kbps // 44100, b"\0")
    return frame * frames


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def mp4(*, seconds: int, payload: int, kind: bytes = b"vide") -> bytes:
    """An MP4 of one track whose `mdat` has `payload` bytes."""
    mvhd = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, seconds * 1000) + bytes(80))
    mdhd = box(b"mdhd", struct.pack(">IIIII", 0, 0, 0, 1000, seconds * 1000) + bytes(4))
    hdlr = box(b"hdlr", bytes(8) + kind + bytes(13))
    stsz = box(b"stsz", struct.pack(">III", 0, payload, 1))
    trak = box(b"trak", box(b"mdia", mdhd + hdlr + box(b"minf", box(b"stbl", stsz))))
    return box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + box(b"moov", mvhd + trak) + box(b"mdat", bytes(payload))


# ---------------------------------------------------------------- text


XML_EXTERNAL = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
XML_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(12))
    + b"]><a>&m;</a>"
)
JSON = json.dumps({"ho_ten": "Nguyễn Văn Ánh"}, ensure_ascii=False).encode()


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path
