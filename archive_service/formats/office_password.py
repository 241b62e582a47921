"""Whether an old Excel file opens without asking: Excel encrypts a workbook whose structure is protected under a password it always tries.

Such a file is encrypted in name only, and every program that reads Excel files knows the password (MS-XLS 2.2.10). Only the verifier of the
FilePass record is computed; nothing is decrypted.
"""

import hashlib
import struct
from collections.abc import Callable
from typing import Final

_DEFAULT: Final = "VelvetSweatshop"
_XOR, _RC4 = 0, 1
_RC4_VERSION: Final = (1, 1)
_CRYPTO_API_MINOR: Final = 2
_SALT_BYTES: Final = 16
_SHORT_KEY_BYTES: Final = 5
"""A key of 40 bits is filled up with zeros to 128 (MS-OFFCRYPTO 2.3.5.2)."""
_KEY_BYTES: Final = 16


def opens_without_asking(filepass: bytes) -> bool:
    """Returns whether the default password fits a FilePass record (MS-XLS 2.4.117)."""
    try:
        (kind,) = struct.unpack_from("<H", filepass)
        if kind == _XOR:
            (verifier,) = struct.unpack_from("<H", filepass, 4)
            return int(verifier) == _xor_verifier(_DEFAULT)
        if kind != _RC4:
            return False
        version = struct.unpack_from("<HH", filepass, 2)
        if version == _RC4_VERSION:
            return _fits_rc4(filepass[6:])
        return version[1] == _CRYPTO_API_MINOR and _fits_crypto_api(filepass[6:])
    except struct.error:
        return False


def _xor_verifier(password: str) -> int:
    """Returns the verifier of a password for XOR obfuscation (MS-OFFCRYPTO 2.3.7.1)."""
    verifier = 0
    for byte in reversed([len(password), *password.encode("ascii")]):
        verifier = ((verifier >> 14 & 1) | (verifier << 1 & 0x7FFF)) ^ byte
    return verifier ^ 0xCE4B


def _fits_rc4(content: bytes) -> bool:
    """Office binary document RC4 (MS-OFFCRYPTO 2.3.6): salt, encrypted verifier, encrypted hash of it."""
    salt, verifier, told = struct.unpack_from("<16s16s16s", content)
    start = _md5(_DEFAULT.encode("utf-16-le"))[:_SHORT_KEY_BYTES]
    middle = _md5((start + salt) * 16)[:_SHORT_KEY_BYTES]
    return _verified(_md5(middle + bytes(4)), verifier, told, _md5)


def _fits_crypto_api(content: bytes) -> bool:
    """RC4 CryptoAPI (MS-OFFCRYPTO 2.3.5): flags, header, salt, encrypted verifier, encrypted hash of it."""
    (header_bytes,) = struct.unpack_from("<I", content, 4)
    (key_bits,) = struct.unpack_from("<I", content, 8 + 16)
    salt_bytes, salt, verifier, _, told = struct.unpack_from("<I16s16sI20s", content, 8 + header_bytes)
    if salt_bytes != _SALT_BYTES:
        return False
    key = _sha1(_sha1(salt + _DEFAULT.encode("utf-16-le")) + bytes(4))[: (key_bits or 40) // 8]
    return _verified(key.ljust(_KEY_BYTES, b"\0") if len(key) == _SHORT_KEY_BYTES else key, verifier, told, _sha1)


def _verified(key: bytes, verifier: bytes, told: bytes, digest: Callable[[bytes], bytes]) -> bool:
    if not key:
        return False
    plain = _rc4(key, verifier + told)
    return digest(plain[: len(verifier)]) == plain[len(verifier) :]


def _rc4(key: bytes, content: bytes) -> bytes:
    """Returns the few bytes of a verifier deciphered; the standard library has no RC4."""
    state = list(range(256))
    swap = 0
    for index in range(256):
        swap = (swap + state[index] + key[index % len(key)]) % 256
        state[index], state[swap] = state[swap], state[index]
    out = bytearray()
    swap = 0
    for number, byte in enumerate(content, start=1):
        index = number % 256
        swap = (swap + state[index]) % 256
        state[index], state[swap] = state[swap], state[index]
        out.append(byte ^ state[(state[index] + state[swap]) % 256])
    return bytes(out)


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def _sha1(content: bytes) -> bytes:
    return hashlib.sha1(content, usedforsecurity=False).digest()
