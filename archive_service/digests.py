"""Digests as values, and one way to compute them: streaming, once, in the read that is done anyway.

ETag and MD5 are never content identity (DESIGN D3). SHA-256 is what TT 05/2025 packages carry and is the fastest of the SHA-2 family
on processors with SHA extensions.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, Final

CHUNK_BYTES: Final = 1024 * 1024
"""Most bytes held of a stream at a time: keeps memory flat."""
_READ_BYTES: Final = 128 * 1024
"""Size of one read: stays in the processor's cache from being read until it is hashed, which larger ones do not (up to a third slower)."""


class DigestAlgorithm(StrEnum):
    """Digest algorithms by their PREMIS / METS CHECKSUMTYPE token."""

    SHA_256 = "SHA-256"
    SHA_384 = "SHA-384"
    SHA_512 = "SHA-512"


_ITEMS_TOGETHER: Final = 500
"""Items of a list that are made into text at a time."""

_HEX_LENGTH: Final = {DigestAlgorithm.SHA_256: 64, DigestAlgorithm.SHA_384: 96, DigestAlgorithm.SHA_512: 128}
_HASHLIB: Final = {
    DigestAlgorithm.SHA_256: hashlib.sha256,
    DigestAlgorithm.SHA_384: hashlib.sha384,
    DigestAlgorithm.SHA_512: hashlib.sha512,
}
_is_lower_hex: Final = re.compile(r"[0-9a-f]*", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest value with its algorithm.

    Raises:
        ValueError: `hex` is not lower-case hex of the algorithm's length.
    """

    algorithm: DigestAlgorithm
    hex: str

    def __post_init__(self) -> None:
        if len(self.hex) != _HEX_LENGTH[self.algorithm] or _is_lower_hex(self.hex) is None:
            raise ValueError(f"not a {self.algorithm} digest in lower-case hex: {self.hex[:140]!r}")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def raw(self) -> bytes:
        """The digest's bytes."""
        return bytes.fromhex(self.hex)


def sha256(hex_value: str) -> Digest:
    """Returns a SHA-256 digest value; upper-case hex from a sender is folded.

    Raises:
        ValueError: not 64 hex digits.
    """
    return Digest(DigestAlgorithm.SHA_256, hex_value.lower())


class RunningDigest:
    """A digest and a byte count taken while bytes pass by."""

    def __init__(self, algorithm: DigestAlgorithm = DigestAlgorithm.SHA_256) -> None:
        self._algorithm = algorithm
        self._state = _HASHLIB[algorithm]()
        self.size_bytes = 0

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes."""
        self._state.update(chunk)
        self.size_bytes += len(chunk)

    def digest(self) -> Digest:
        """Returns the digest of all bytes so far."""
        return Digest(self._algorithm, self._state.hexdigest())


def digest_bytes(content: bytes, algorithm: DigestAlgorithm = DigestAlgorithm.SHA_256) -> Digest:
    """Returns the digest of `content`."""
    return Digest(algorithm, _HASHLIB[algorithm](content).hexdigest())


def chunks(source: BinaryIO, *, limit_bytes: int | None = None) -> Iterator[bytes]:
    """Yields the bytes of `source` in chunks of at most `CHUNK_BYTES`, at most `limit_bytes` in all."""
    left = limit_bytes
    while left is None or left > 0:
        chunk = source.read(_READ_BYTES if left is None else min(_READ_BYTES, left))
        if not chunk:
            return
        if left is not None:
            left -= len(chunk)
        yield chunk


def digest_stream(source: BinaryIO) -> tuple[Digest, int]:
    """Returns SHA-256 digest and size in bytes of a stream read to its end."""
    running = RunningDigest()
    for chunk in chunks(source):
        running.update(chunk)
    return running.digest(), running.size_bytes


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
"""Made once: `json.dumps` with arguments makes an encoder for each call."""


def canonical_json(value: Any) -> bytes:  # JSON values are Any by nature
    """Returns the one byte form of a JSON value that is hashed: UTF-8, sorted keys, no spaces, no NaN.

    Strings are not normalised: what was received is what is hashed.

    Raises:
        ValueError: the value holds NaN, infinity or a lone surrogate.
    """
    return _CANONICAL.encode(value).encode()


def canonical_parts(value: Any) -> Iterator[bytes]:  # JSON values are Any by nature
    """Yields `canonical_json` in pieces, an object's long lists some items at a time: the text of 100,000 components is never held whole.

    Raises:
        ValueError: as `canonical_json`.
    """
    if not isinstance(value, dict):
        yield canonical_json(value)
        return
    before = b"{"
    for name in sorted(value):
        yield before + canonical_json(name) + b":"
        member = value[name]
        yield from _list_parts(member) if isinstance(member, list) else (canonical_json(member),)
        before = b","
    yield b"}" if value else b"{}"


def _list_parts(items: list[Any]) -> Iterator[bytes]:
    before = b"["
    for start in range(0, len(items), _ITEMS_TOGETHER):
        yield before + canonical_json(items[start : start + _ITEMS_TOGETHER])[1:-1]
        before = b","
    yield b"]" if items else b"[]"
