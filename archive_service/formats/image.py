"""Images: complete, of a sane size, and at full depth decoded to the last pixel.

At standard depth nothing is decoded: JPEG is walked marker by marker to the scan and must end with EOI, PNG is walked
chunk by chunk with every CRC, GIF must have its trailer; sizes and resolution come from the headers. At full depth
Pillow decodes every frame. An image above `Limits.image_pixels` is never decoded.
"""

import struct
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO, Final

from PIL import Image, UnidentifiedImageError

from archive_service.formats.limits import Limits
from archive_service.formats.report import Notes

MAX_FRAMES: Final = 2_000
"""Pages of a TIFF or frames of a GIF that are visited."""

_DECODE_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
)
"""What Pillow's decoders raise on damaged files, seen while fuzzing."""

_DECODED: Final = frozenset({"image/jpeg", "image/png", "image/tiff", "image/gif", "image/bmp", "image/webp"})
"""Formats that every build of Pillow reads; one of these that it does not know is damaged."""

_BITS: Final = {
    "1": 1,
    "L": 8,
    "P": 8,
    "I;16": 16,
    "I": 32,
    "F": 32,
    "LA": 16,
    "RGB": 24,
    "YCbCr": 24,
    "LAB": 24,
    "HSV": 24,
}
_COLOUR_MODES: Final = frozenset({"RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "P", "PA"})


def check_image(path: Path, mime: str, notes: Notes, limits: Limits, *, decode: bool) -> None:
    """Checks an image file; adds `width_px`, `height_px`, `dpi`, `mode`, `bits_per_pixel`, `colour`, `frames`."""
    with path.open("rb") as source:
        problem = _structure(source, path.stat().st_size)
    if problem:
        notes.broken(problem)
        return
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Pillow warns about metadata it cannot read and about large sizes, which we test
        try:
            with Image.open(path) as image:
                _describe(image, notes)
                if image.width * image.height > limits.image_pixels:
                    notes.over_limit("image pixels", f"{limits.image_pixels} pixels")
                elif decode:
                    _decode(image, notes, limits)
                else:
                    notes.skipped("image pixels", "not decoded at this depth")
        except Image.DecompressionBombError:
            notes.over_limit("image pixels", f"{limits.image_pixels} pixels")
        except UnidentifiedImageError:
            if mime in _DECODED:
                notes.broken("no decoder recognises it")
            else:
                notes.unchecked("image", "no decoder for this format")
        except _DECODE_ERRORS as exc:
            notes.broken(str(exc) or type(exc).__name__)


def _describe(image: Image.Image, notes: Notes) -> None:
    notes.facts.update(
        width_px=image.width,
        height_px=image.height,
        mode=image.mode,
        bits_per_pixel=_BITS.get(image.mode, 8 * len(image.getbands())),
        colour=image.mode in _COLOUR_MODES,
        frames=int(getattr(image, "n_frames", 1)) if image.format != "MPO" else 1,
    )
    dpi = image.info.get("dpi")
    if isinstance(dpi, tuple) and len(dpi) == 2:  # noqa: PLR2004 - horizontal, vertical
        notes.facts["dpi"] = round(float(min(dpi)), 1)
    notes.checked.append("image structure")


def _decode(image: Image.Image, notes: Notes, limits: Limits) -> None:
    total = 0
    for number in range(min(int(getattr(image, "n_frames", 1)), MAX_FRAMES)):
        if number:
            image.seek(number)
        total += image.width * image.height
        if total > limits.image_pixels:
            notes.over_limit("image pixels", f"{limits.image_pixels} pixels in all frames")
            return
        image.load()
    notes.checked.append("image pixels decoded")


# ---------------------------------------------------------------- structure without decoding


def _structure(source: BinaryIO, size: int) -> str | None:
    """Returns what is wrong with the file's frame of markers or chunks, or None."""
    head = source.read(16)
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg(source, size)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(source, size)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _gif(source, size)
    return None


_SOS: Final = 0xDA
_EOI: Final = 0xD9
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_TAIL_BYTES: Final = 64 * 1024
"""Cameras append thumbnails and notes after EOI; it is looked for in this much of the end."""


def _jpeg(source: BinaryIO, size: int) -> str | None:
    source.seek(2)
    while True:
        marker = source.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:  # noqa: PLR2004 - a marker is FF xx
            return f"no JPEG marker at byte {source.tell() - len(marker)}"
        if marker[1] == 0xFF:  # noqa: PLR2004 - fill byte
            source.seek(-1, 1)
            continue
        if marker[1] == _SOS:
            break
        if marker[1] == _EOI:
            return "JPEG ends before any image data"
        if marker[1] in _STANDALONE:
            continue
        length = source.read(2)
        if len(length) < 2 or (step := int.from_bytes(length, "big")) < 2 or source.tell() + step - 2 > size:  # noqa: PLR2004
            return "JPEG segment runs past the end of the file"
        source.seek(step - 2, 1)
    start = max(source.tell(), size - _TAIL_BYTES)
    source.seek(start)
    return None if b"\xff\xd9" in source.read(_TAIL_BYTES) else "JPEG has no end marker: cut short"


def _png(source: BinaryIO, size: int) -> str | None:
    source.seek(8)
    seen_data = False
    while True:
        header = source.read(8)
        if len(header) < 8:  # noqa: PLR2004 - length and type
            return "PNG has no IEND chunk: cut short"
        length, kind = int.from_bytes(header[:4], "big"), header[4:]
        if source.tell() + length + 4 > size:
            return f"PNG chunk {kind.decode('latin-1')} runs past the end of the file"
        crc = zlib.crc32(kind)
        while length:
            part = source.read(min(length, _TAIL_BYTES))
            crc = zlib.crc32(part, crc)
            length -= len(part)
        if int.from_bytes(source.read(4), "big") != crc:
            return f"PNG chunk {kind.decode('latin-1')} has a wrong checksum"
        seen_data |= kind == b"IDAT"
        if kind == b"IEND":
            return None if seen_data else "PNG has no image data"


def _gif(source: BinaryIO, size: int) -> str | None:
    source.seek(max(0, size - _TAIL_BYTES))
    return None if source.read().rstrip(b"\0").endswith(b";") else "GIF has no trailer: cut short"
