"""A faster reading of hexadecimal PDF strings for pyHanko, which reads them byte by byte.

A signature value is some ten thousand digits and is read several times per check, once for every revision looked at: a quarter of
the time a signed PDF costs. Digits up to the closing bracket are taken in one piece here; whatever else stands there (white space,
comments, errors) goes to pyHanko's own reader from the start, so that nothing is read otherwise than before.
"""

import binascii
from io import SEEK_CUR
from typing import Any, BinaryIO, Final

from pyhanko.pdf_utils import generic

FIRST_BYTES: Final = 512
"""Most strings are digests and identifiers of 32 digits."""
CHUNK_BYTES: Final = 64 * 1024
"""What is read of a longer one at a time."""

_DIGITS: Final = b"0123456789abcdefABCDEF"
_MODULE: Final[Any] = generic  # its functions are untyped, and one of them is exchanged
ORIGINAL: Final = _MODULE.read_hex_string_from_stream
"""pyHanko's own reader."""


def read_hex_string(stream: BinaryIO) -> Any:
    """Returns the string object at the stream's place, as pyHanko's reader does, and leaves the stream after it."""
    start = stream.tell()
    stream.read(1)
    pieces: list[bytes] = []
    while chunk := stream.read(CHUNK_BYTES if pieces else FIRST_BYTES):
        end = chunk.find(b">")
        piece = chunk if end < 0 else chunk[:end]
        if piece.translate(None, _DIGITS):
            break
        pieces.append(piece)
        if end >= 0:
            stream.seek(end + 1 - len(chunk), SEEK_CUR)
            digits = b"".join(pieces)
            return _MODULE.pdf_string(binascii.unhexlify(digits + b"0" if len(digits) % 2 else digits))
    stream.seek(start)
    return ORIGINAL(stream)


def install() -> None:
    """Makes pyHanko use `read_hex_string`."""
    _MODULE.read_hex_string_from_stream = read_hex_string
