"""Numbers of signature algorithms that asn1crypto does not know by name, with the digest each goes by (NIST CSOR, arc sigAlgs; RFC 8702)."""

from typing import Final

_ARC: Final = "2.16.840.1.101.3.4.3"
_SHA3: Final = ("sha3_224", "sha3_256", "sha3_384", "sha3_512")


def _numbered(first: int, *digests: str) -> dict[str, str]:
    return {f"{_ARC}.{number}": digest for number, digest in enumerate(digests, start=first)}


RSA_SHA3: Final = _numbered(13, *_SHA3)
"""RSA (PKCS #1 v1.5) with SHA-3: hashlib's name of the digest by number."""
NIST_DIGESTS: Final = _numbered(3, "sha384", "sha512") | _numbered(5, *_SHA3) | _numbered(9, *_SHA3) | RSA_SHA3
"""The same of all of them: DSA with SHA-384 and SHA-512; DSA, ECDSA and RSA with SHA-3."""
