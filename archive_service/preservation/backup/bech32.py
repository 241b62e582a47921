"""Bech32 (BIP 173), the text form of age keys: a checksum that finds typing mistakes. Without Bitcoin's limit of 90 characters."""

from collections.abc import Iterable
from typing import Final

_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_LENGTH: Final = 6


def encode(prefix: str, content: bytes) -> str:
    """Returns the lower-case text of `content` under a lower-case prefix."""
    values = list(_regrouped(content, 8, 5, pad=True))
    remainder = _checksum([*_expanded(prefix), *values, *[0] * _CHECKSUM_LENGTH]) ^ 1
    values += [remainder >> 5 * (_CHECKSUM_LENGTH - 1 - place) & 31 for place in range(_CHECKSUM_LENGTH)]
    return f"{prefix}1{''.join(_ALPHABET[value] for value in values)}"


def decode(text: str) -> tuple[str, bytes]:
    """Returns prefix (lower case) and content.

    Raises:
        ValueError: mixed case, a foreign character, a false checksum or padding.
    """
    if text.lower() != text and text.upper() != text:
        raise ValueError("upper and lower case are mixed")
    prefix, separator, rest = text.lower().rpartition("1")
    if not prefix or not separator or len(rest) < _CHECKSUM_LENGTH:
        raise ValueError("not a Bech32 text")
    values = [_ALPHABET.index(char) for char in rest]  # ValueError for a foreign character
    if _checksum([*_expanded(prefix), *values]) != 1:
        raise ValueError("the checksum is false")
    return prefix, bytes(_regrouped(values[:-_CHECKSUM_LENGTH], 5, 8, pad=False))


def _expanded(prefix: str) -> list[int]:
    return [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]


def _checksum(values: Iterable[int]) -> int:
    state = 1
    for value in values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for place, part in enumerate(_GENERATOR):
            state ^= part if top >> place & 1 else 0
    return state


def _regrouped(values: Iterable[int], width: int, into: int, *, pad: bool) -> Iterable[int]:
    held, bits = 0, 0
    for value in values:
        held, bits = held << width | value, bits + width
        while bits >= into:
            bits -= into
            yield held >> bits & (1 << into) - 1
        held &= (1 << bits) - 1
    if pad and bits:
        yield held << into - bits & (1 << into) - 1
    elif not pad and (bits >= width or held):
        raise ValueError("the padding is false")
