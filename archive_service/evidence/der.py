"""BER to DER, without knowing the schema: definite lengths, whole strings, sorted sets, canonical booleans.

RFC 4998 hashes the DER encoding of time-stamps and chains, and software differs in whether it hashes what it received
or a DER form of it. So hashing here tries the bytes as they stand and then this normal form. What a schema alone
could tell (implicitly tagged sets, omitted defaults) is left as it is, as other implementations leave it.
"""

from collections.abc import Iterator
from typing import Final

from archive_service.evidence.errors import EvidenceInvalid

MAX_DEPTH: Final = 64
"""Deepest nesting that is followed; a CMS time-stamp has about 20 levels."""
_LONG_TAG: Final = 0x1F
_CONSTRUCTED: Final = 0x20
_INDEFINITE: Final = 0x80
_BOOLEAN: Final = 0x01
_SET: Final = 0x31
_STRINGS: Final = frozenset({0x04, 0x0C, 0x13, 0x14, 0x16, 0x1A, 0x1B, 0x1C, 0x1E})
"""Universal string types that BER may cut into pieces (X.690 8.7, 8.23); BIT STRING in pieces is refused."""
_MAX_LENGTH_OCTETS: Final = 4


class MalformedEncoding(EvidenceInvalid):
    """Bytes that are not a BER encoding."""

    code = "ENCODING_MALFORMED"


def to_der(content: bytes) -> bytes:
    """Returns the DER form of one BER value.

    Raises:
        MalformedEncoding: not exactly one BER value, or nested too deep.
    """
    encoded, end = _value(content, 0, 0)
    if end != len(content):
        raise MalformedEncoding(f"{len(content) - end} bytes after the value")
    return encoded


def first_value(content: bytes) -> bytes:
    """Returns the bytes of the first BER value in `content`, as they stand.

    Raises:
        MalformedEncoding: no complete value.
    """
    return content[: _value(content, 0, 0)[1]]


def elements(content: bytes) -> tuple[bytes, ...]:
    """Returns the encodings, as they stand, of the values inside one constructed BER value.

    Raises:
        MalformedEncoding: not a constructed value.
    """
    tag, at, length = _header(content, 0)
    if not tag[0] & _CONSTRUCTED:
        raise MalformedEncoding("a primitive value has no elements")
    found = []
    while not _ends(content, at, None if length is None else len(content)):
        end = _value(content, at, 1)[1]
        found.append(content[at:end])
        at = end
    return tuple(found)


def encode(tag: bytes, body: bytes) -> bytes:
    """Returns a DER value of identifier octets `tag` and contents `body`."""
    if len(body) < _INDEFINITE:
        return tag + bytes([len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return tag + bytes([_INDEFINITE | len(length)]) + length + body


def _header(content: bytes, at: int) -> tuple[bytes, int, int | None]:
    """Returns identifier octets, offset of the contents and their length; None for the indefinite form."""
    try:
        start = at
        at += 1
        if content[start] & _LONG_TAG == _LONG_TAG:
            while content[at] & _INDEFINITE:
                at += 1
            at += 1
        first = content[at]
    except IndexError:
        raise MalformedEncoding("the encoding ends early") from None
    tag = content[start:at]
    at += 1
    if first < _INDEFINITE:
        return tag, at, first
    if first == _INDEFINITE:
        return tag, at, None
    octets = first & ~_INDEFINITE
    if octets > _MAX_LENGTH_OCTETS or at + octets > len(content):
        raise MalformedEncoding("a length that is too long")
    return tag, at + octets, int.from_bytes(content[at : at + octets], "big")


def _value(content: bytes, at: int, depth: int) -> tuple[bytes, int]:
    """Returns the DER form of the value at `at` and the offset after it."""
    if depth > MAX_DEPTH:
        raise MalformedEncoding(f"nested deeper than {MAX_DEPTH} levels")
    tag, at, length = _header(content, at)
    end = None if length is None else at + length
    if end is not None and end > len(content):
        raise MalformedEncoding("the encoding ends early")
    if not tag[0] & _CONSTRUCTED:
        if end is None:
            raise MalformedEncoding("a primitive value of indefinite length")
        return encode(tag, _primitive(tag, content[at:end])), end
    parts = []
    while not _ends(content, at, end):
        part, at = _value(content, at, depth + 1)
        parts.append(part)
    return _constructed(tag, parts), at + (2 if end is None else 0)


def _ends(content: bytes, at: int, end: int | None) -> bool:
    if end is None:
        return content[at : at + 2] == b"\x00\x00"
    if at > end:
        raise MalformedEncoding("a value reaches beyond the one around it")
    return at == end


def _primitive(tag: bytes, body: bytes) -> bytes:
    if tag[0] == _BOOLEAN and body not in {b"\x00", b""}:
        return b"\xff"
    return body


def _constructed(tag: bytes, parts: list[bytes]) -> bytes:
    if tag[0] == _SET:
        parts = sorted(parts)
    elif tag[0] & ~_CONSTRUCTED in _STRINGS:
        return encode(bytes([tag[0] & ~_CONSTRUCTED]), b"".join(_bodies(parts)))
    return encode(tag, b"".join(parts))


def _bodies(parts: list[bytes]) -> Iterator[bytes]:
    for part in parts:
        _, at, length = _header(part, 0)
        yield part[at : None if length is None else at + length]
