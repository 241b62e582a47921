"""JPEG 2000 images inside PDF/A-2 and later: what the headers of the image file say (ISO 19005-2, 6.2.8.3).

Only boxes before the code stream are read; the code stream itself is not decoded. Boxes: ISO/IEC 15444-1 annex I.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from archive_service.formats.pdfa_xmp import Problem

_CLAUSE: Final = "6.2.8.3"
_SIGNATURE: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_CHANNELS: Final = frozenset({1, 3, 4})
_METHODS: Final = frozenset({1, 2, 3})
_ENUM_CIEJAB: Final = 19
ENUM_CMYK: Final = 12
_MAX_DEPTH: Final = 38
_VARIES: Final = 255
_MAX_BOXES: Final = 1000


@dataclass(slots=True)
class JpxHeader:
    """What the header boxes of one image say."""

    channels: int = 0
    depths: set[int] = field(default_factory=set)
    """Bits of a sample, per component."""
    colours: list[tuple[int, int, int]] = field(default_factory=list)
    """Method, approximation and enumerated colour space (0 for a profile) of each colour specification."""


def read_header(content: bytes) -> JpxHeader | None:
    """Returns the header of a JPEG 2000 file; None for a bare code stream or anything else."""
    if not content.startswith(_SIGNATURE):
        return None
    header = JpxHeader()
    for kind, start, end in _boxes(content, 0, len(content)):
        if kind == b"jp2h":
            _read_boxes(content, start, end, header)
            return header
    return None


def jpx_problems(header: JpxHeader, *, own_colour: bool) -> Iterator[Problem]:
    """Yields what is wrong with an image's header; with `own_colour` the PDF gives the colour space and the image's is not used."""
    if header.channels not in _CHANNELS:
        yield _CLAUSE, f"a JPEG 2000 image of {header.channels} colour channels"
    if any(not 1 <= depth <= _MAX_DEPTH for depth in header.depths):
        yield _CLAUSE, "a JPEG 2000 image with more than 38 bits a sample"
    if len(header.depths) > 1:
        yield _CLAUSE, "a JPEG 2000 image whose channels differ in depth"
    if own_colour:
        return
    if len(header.colours) > 1 and sum(approximation == 1 for _, approximation, _ in header.colours) != 1:
        yield _CLAUSE, "a JPEG 2000 image with several colour specifications, not one of which is marked as exact"
    if any(method not in _METHODS for method, _, _ in header.colours):
        yield _CLAUSE, "a JPEG 2000 image with a colour specification of unknown method"
    if any(space == _ENUM_CIEJAB for _, _, space in header.colours):
        yield _CLAUSE, "a JPEG 2000 image in CIEJab"


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields kind, start and end of the content of each box."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", content, start)
        inner = start + 8
        if length == 1 and inner + 8 <= end:
            (length,) = struct.unpack_from(">Q", content, inner)
            inner += 8
        stop = end if length == 0 else start + length
        if stop < inner or stop > end:
            return
        yield kind, inner, stop
        start = stop


def _read_boxes(content: bytes, start: int, end: int, header: JpxHeader) -> None:
    for kind, inner, stop in _boxes(content, start, end):
        body = content[inner:stop]
        if kind == b"ihdr" and len(body) >= 14:  # noqa: PLR2004 - height, width, channels, depth, 3 flags
            header.channels = int.from_bytes(body[8:10], "big")
            if body[10] != _VARIES:
                header.depths.add((body[10] & 0x7F) + 1)
        elif kind == b"bpcc":
            header.depths.update((value & 0x7F) + 1 for value in body)
        elif kind == b"colr" and len(body) >= 3:  # noqa: PLR2004 - method, precedence, approximation
            space = int.from_bytes(body[3:7], "big") if body[0] == 1 else 0
            header.colours.append((body[0], body[2], space))
        elif kind == b"cdef" and len(body) >= 2:  # noqa: PLR2004 - count
            kinds = [int.from_bytes(body[at + 2 : at + 4], "big") for at in range(2, len(body) - 5, 6)]
            header.channels -= sum(meaning != 0 for meaning in kinds)
