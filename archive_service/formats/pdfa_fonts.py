"""Fonts under PDF/A-2 and PDF/A-3: dictionaries, CMaps, TrueType tables, Unicode values, undefined glyphs (ISO 19005-2, 6.2.11).

Font programs are opened for their table directory only: glyph widths, outlines and the completeness of CharSet and CIDSet are not looked at.
"""

import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

import pikepdf

from archive_service.formats.pdf import name_text
from archive_service.formats.pdfa_xmp import Problem

_SIMPLE: Final = frozenset({"/Type1", "/MMType1", "/TrueType", "/Type3"})
_STANDARD: Final = frozenset(
    {"/Courier", "/Courier-Bold", "/Courier-Oblique", "/Courier-BoldOblique", "/Helvetica", "/Helvetica-Bold",
     "/Helvetica-Oblique", "/Helvetica-BoldOblique", "/Times-Roman", "/Times-Bold", "/Times-Italic", "/Times-BoldItalic",
     "/Symbol", "/ZapfDingbats"}
)  # fmt: skip
_ENCODINGS: Final = frozenset({"/MacRomanEncoding", "/MacExpertEncoding", "/WinAnsiEncoding"})
_PROGRAMS: Final = frozenset({"/Type1C", "/CIDFontType0C", "/OpenType"})
_IDENTITY: Final = frozenset({"/Identity-H", "/Identity-V"})
_ORDERINGS: Final[Mapping[str, str]] = {
    "GB1": "GB-EUC GBpc-EUC GBK-EUC GBKp-EUC GBK2K UniGB-UCS2 UniGB-UTF16",
    "CNS1": "B5pc HKscs-B5 ETen-B5 ETenms-B5 CNS-EUC UniCNS-UCS2 UniCNS-UTF16",
    "Japan1": "83pv-RKSJ 90ms-RKSJ 90msp-RKSJ 90pv-RKSJ Add-RKSJ EUC Ext-RKSJ UniJIS-UCS2 UniJIS-UCS2-HW UniJIS-UTF16",
    "Korea1": "KSC-EUC KSCms-UHC KSCms-UHC-HW KSCpc-EUC UniKS-UCS2 UniKS-UTF16",
}
"""Predefined CMaps without their writing mode, by character collection (ISO 32000-1 table 118)."""
_PREDEFINED: Final[Mapping[str, str]] = {
    **{
        f"/{name}-{mode}": ordering for ordering, names in _ORDERINGS.items() for name in names.split() for mode in "HV"
    },
    "/H": "Japan1",
    "/V": "Japan1",
}
_SYMBOLIC: Final = 4
_CMAP_BYTES: Final = 4 * 1024 * 1024
_MAX_MAPPED: Final = 200_000
_WMODE: Final = re.compile(rb"/WMode\s+(\d+)\s+def\b")
_USES: Final = re.compile(rb"(/[^\s/<>()\[\]{}%]+)\s+usecmap\b")
_BLOCKS: Final = re.compile(rb"beginbf(char|range)\b(.*?)\bendbf", re.DOTALL)
_TOKEN: Final = re.compile(rb"<([0-9A-Fa-f\s]*)>|([\[\]])")
_NO_CHARACTER: Final = frozenset({b"\0\0", b"\xfe\xff", b"\xff\xfe"})
_NOT_A_NAME: Final = re.compile(r"/(?:g|gid|cid|glyph|index|c|a)\d+", re.IGNORECASE)
"""Names that font tools give to glyphs; no list of glyph names has them."""


def later_font_problems(font: Any, codes: set[int], level: str, *, visible: bool) -> Iterator[Problem]:
    """Yields what is wrong with a font under part 2 or 3.

    Args:
        font: its dictionary.
        codes: character codes shown with it.
        level: conformance level, `a`, `b` or `u`.
        visible: whether it renders text; an OCR layer's font need not be embedded.
    """
    kind = str(font.get("/Subtype"))
    yield from _dictionary(font, kind)
    if kind == "/Type0":
        yield from _composite(font, codes)
    elif len(codes) > 0 and _undefined(font) & codes:
        yield "6.2.11.8", "text that shows the undefined glyph"
    if kind == "/TrueType" and visible:
        yield from _truetype(font)
    if level in {"a", "u"} and visible:
        yield from unicode_problems(font, kind, codes)


# ---------------------------------------------------------------- dictionaries (6.2.11.2)


def _dictionary(font: Any, kind: str) -> Iterator[Problem]:
    if font.get("/Type") != "/Font":
        yield "6.2.11.2", "a font dictionary without its type"
    if kind not in _SIMPLE | {"/Type0"}:
        yield "6.2.11.2", "a font of unknown kind"
    if kind != "/Type3" and not isinstance(font.get("/BaseFont"), pikepdf.Name):
        yield "6.2.11.2", "a font without BaseFont"
    elif kind != "/Type3" and not is_utf8(font["/BaseFont"]):
        yield "6.1.8", "a font whose name is not UTF-8"
    if kind in _SIMPLE and not (kind == "/Type1" and name_text(font.get("/BaseFont")) in _STANDARD):
        yield from _widths(font)
    program = _descriptor(font).get("/FontFile3")
    if isinstance(program, pikepdf.Stream) and str(program.get("/Subtype")) not in _PROGRAMS:
        yield "6.2.11.2", "a font program whose kind is not told"


def is_utf8(name: Any) -> bool:
    """Whether the bytes of a name are UTF-8, as those of fonts and colourants must be (6.1.8)."""
    try:
        bytes(name).decode()
    except UnicodeDecodeError:
        return False
    return True


def _widths(font: Any) -> Iterator[Problem]:
    first, last, widths = font.get("/FirstChar"), font.get("/LastChar"), font.get("/Widths")
    if not isinstance(first, int) or not isinstance(last, int):
        yield "6.2.11.2", "a font without first or last character"
    elif not isinstance(widths, pikepdf.Array) or len(widths) != last - first + 1:
        yield "6.2.11.2", "a font whose widths are missing or not as many as its characters"


def _descriptor(font: Any) -> Any:
    """Returns the font descriptor, of the descendant for a composite font; an empty dictionary when there is none."""
    owner = _descendant(font) if font.get("/Subtype") == "/Type0" else font
    descriptor = owner.get("/FontDescriptor")
    return descriptor if isinstance(descriptor, pikepdf.Dictionary) else pikepdf.Dictionary()


def _descendant(font: Any) -> Any:
    descendants = font.get("/DescendantFonts")
    first = descendants[0] if isinstance(descendants, pikepdf.Array) and len(descendants) else None
    return first if isinstance(first, pikepdf.Dictionary) else pikepdf.Dictionary()


# ---------------------------------------------------------------- composite fonts (6.2.11.3)


def _composite(font: Any, codes: set[int]) -> Iterator[Problem]:
    encoding, descendant = font.get("/Encoding"), _descendant(font)
    system = descendant.get("/CIDSystemInfo")
    if isinstance(encoding, pikepdf.Stream):
        yield from _embedded_cmap(encoding, system)
    elif str(encoding) in _IDENTITY:
        if 0 in codes:
            yield "6.2.11.8", "text that shows the undefined glyph"
    elif str(encoding) not in _PREDEFINED:
        yield "6.2.11.3.3", "a CMap that is neither predefined nor embedded"
    elif isinstance(system, pikepdf.Dictionary) and not _is_of(system, _PREDEFINED[str(encoding)]):
        yield "6.2.11.3.1", "a CIDFont of another character collection than its CMap"


def _is_of(system: Any, ordering: str) -> bool:
    return str(system.get("/Registry")) == "Adobe" and str(system.get("/Ordering")) == ordering


def _embedded_cmap(cmap: Any, system: Any) -> Iterator[Problem]:
    content = bytes(cmap.read_bytes())[:_CMAP_BYTES]
    told = _WMODE.search(content)
    if int(cmap.get("/WMode", 0)) != (int(told[1][:3]) if told else 0):
        yield "6.2.11.3.3", "a CMap whose writing mode differs from its dictionary's"
    used = [str(cmap["/UseCMap"])] if isinstance(cmap.get("/UseCMap"), pikepdf.Name) else []
    used += [name.decode("latin-1") for name in _USES.findall(content)]
    if any(name not in _PREDEFINED and name not in _IDENTITY for name in used):
        yield "6.2.11.3.3", "a CMap that uses another which is not predefined"
    own = cmap.get("/CIDSystemInfo")
    both = isinstance(own, pikepdf.Dictionary) and isinstance(system, pikepdf.Dictionary)
    if both and int(system.get("/Supplement", 0)) < int(own.get("/Supplement", 0)):
        yield "6.2.11.3.1", "a CIDFont with an older supplement than its CMap"


# ---------------------------------------------------------------- TrueType (6.2.11.6), undefined glyphs (6.2.11.8)


def _truetype(font: Any) -> Iterator[Problem]:
    descriptor = _descriptor(font)
    program = descriptor.get("/FontFile2")
    if not isinstance(program, pikepdf.Stream):
        return
    tables = truetype_encodings(bytes(program.read_bytes()))
    if tables is None:
        return
    encoding = font.get("/Encoding")
    if int(descriptor.get("/Flags", 0)) & _SYMBOLIC:
        if len(tables) != 1 and (3, 0) not in tables:
            yield "6.2.11.6", "a symbolic TrueType font program with neither one nor the symbol encoding"
    elif not tables:
        yield "6.2.11.6", "a TrueType font program without encodings"
    elif isinstance(encoding, pikepdf.Dictionary) and "/Differences" in encoding and (3, 1) not in tables:
        yield "6.2.11.6", "a TrueType font with differences whose program has no Unicode encoding"


def truetype_encodings(program: bytes) -> list[tuple[int, int]] | None:
    """Returns platform and encoding of each subtable of a font program's `cmap`; None when it is no TrueType program."""
    try:
        count = struct.unpack_from(">4xH", program)[0]
        for index in range(count):
            tag, _, offset, _ = struct.unpack_from(">4sIII", program, 12 + 16 * index)
            if tag == b"cmap":
                (subtables,) = struct.unpack_from(">2xH", program, offset)
                return [struct.unpack_from(">HH", program, offset + 4 + 8 * number) for number in range(subtables)]
    except struct.error:
        return None
    return []


def _undefined(font: Any) -> set[int]:
    """Returns the codes of a simple font that its encoding maps to the undefined glyph."""
    encoding = font.get("/Encoding")
    differences = encoding.get("/Differences") if isinstance(encoding, pikepdf.Dictionary) else None
    return {code for code, name in _differences(differences) if name == "/.notdef"}


def _differences(differences: Any) -> Iterator[tuple[int, str]]:
    code = 0
    for item in differences if isinstance(differences, pikepdf.Array) else []:
        if isinstance(item, pikepdf.Name):
            yield code, name_text(item)
            code += 1
        else:
            code = int(item)


# ---------------------------------------------------------------- Unicode (6.2.11.7.2; part 1, 6.3.8)


def unicode_problems(font: Any, kind: str, codes: set[int]) -> Iterator[Problem]:
    """Yields what is wrong with the Unicode values of the characters shown; clauses are those of part 2."""
    mapping = font.get("/ToUnicode")
    if mapping is None:
        if _needs_mapping(font, kind, codes):
            yield "6.2.11.7.2", "a font whose characters have no Unicode values"
        return
    if not isinstance(mapping, pikepdf.Stream):
        return
    values = to_unicode(bytes(mapping.read_bytes())[:_CMAP_BYTES], codes)
    if any(value in _NO_CHARACTER for value in values.values()):
        yield "6.2.11.7.2", "a character whose Unicode value is none (0, FEFF or FFFE)"
    if codes - values.keys() and _needs_mapping(font, kind, codes - values.keys()):
        yield "6.2.11.7.2", "a character without a Unicode value"


def _needs_mapping(font: Any, kind: str, codes: set[int]) -> bool:
    """Whether nothing but a ToUnicode entry can tell the characters of these codes."""
    encoding = font.get("/Encoding")
    if kind == "/Type0":
        system = _descendant(font).get("/CIDSystemInfo")
        known = isinstance(system, pikepdf.Dictionary) and any(_is_of(system, ordering) for ordering in _ORDERINGS)
        return not known and str(encoding) not in _PREDEFINED
    if isinstance(encoding, pikepdf.Name):
        return kind == "/Type3" or str(encoding) not in _ENCODINGS
    if isinstance(encoding, pikepdf.Dictionary):
        named = dict(_differences(encoding.get("/Differences")))
        return any(_NOT_A_NAME.fullmatch(named.get(code, "")) for code in codes)
    return kind in {"/TrueType", "/Type3"} and bool(codes)


def to_unicode(content: bytes, wanted: set[int]) -> dict[int, bytes]:
    """Returns the Unicode values, in UTF-16BE, that a ToUnicode CMap gives the wanted codes."""
    ordered = sorted(wanted)
    found: dict[int, bytes] = {}
    left = _MAX_MAPPED
    for kind, block in _BLOCKS.findall(content):
        tokens = [bracket or bytes.fromhex(text.decode("ascii")) for text, bracket in _even(block)]
        for code, value in islice(_chars(tokens) if kind == b"char" else _ranges(tokens, ordered), left):
            left -= 1
            if code in wanted:
                found[code] = value
    return found


def _even(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields hexadecimal strings made even, and brackets."""
    for text, bracket in _TOKEN.findall(block):
        digits = re.sub(rb"\s", b"", text)
        yield digits + b"0" * (len(digits) % 2), bracket


def _chars(tokens: list[bytes]) -> Iterator[tuple[int, bytes]]:
    for code, value in zip(tokens[::2], tokens[1::2], strict=False):
        yield int.from_bytes(code, "big"), value


def _ranges(tokens: list[bytes], wanted: list[int]) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 < len(tokens):
        first, last = int.from_bytes(tokens[at], "big"), int.from_bytes(tokens[at + 1], "big")
        if tokens[at + 2] == b"[":
            stop = next((place for place in range(at + 3, len(tokens)) if tokens[place] == b"]"), len(tokens))
            yield from zip(range(first, last + 1), tokens[at + 3 : stop], strict=False)
            at = stop + 1
            continue
        start = tokens[at + 2]
        for code in wanted[bisect_left(wanted, first) : bisect_right(wanted, last)]:
            value = int.from_bytes(start, "big") + code - first
            yield code, value.to_bytes(max(len(start), (value.bit_length() + 7) // 8), "big")
        at += 3
