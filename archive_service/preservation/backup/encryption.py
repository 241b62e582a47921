"""The age encryption format, version 1 (age-encryption.org/v1, C2SP), streaming in bounded memory.

A published format with several independent programs, so that a backup opens without this one: `age -d -i key.txt backup.age`. Each file has
its own random file key, wrapped for every X25519 recipient or for one passphrase (scrypt); the content follows in chunks of 64 KiB
under ChaCha20-Poly1305, numbered, the last one marked, so that a changed, missing, moved or cut-off piece is noticed when it is read.

A server that makes backups needs the recipient only (`age1…`); who restores needs the identity (`AGE-SECRET-KEY-1…`), kept elsewhere (R122).
"""

import hashlib
import hmac
import io
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from archive_service.errors import ArchiveError, ConfigurationInvalid
from archive_service.preservation.backup import bech32

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

VERSION_LINE: Final = b"age-encryption.org/v1\n"
CHUNK_BYTES: Final = 64 * 1024
TAG_BYTES: Final = 16
FILE_KEY_BYTES: Final = 16
NONCE_BYTES: Final = 16
SCRYPT_LOG2: Final = 16
"""Work of a passphrase: 64 MiB and a fifth of a second, on every guess too. What is read may ask for up to `SCRYPT_LOG2_MAX`."""
SCRYPT_LOG2_MAX: Final = 20
MAX_HEADER_BYTES: Final = 16 * 1024
"""A header with a hundred recipients; a longer one is not ours."""
_X25519_LABEL: Final = b"age-encryption.org/v1/X25519"
_SCRYPT_LABEL: Final = b"age-encryption.org/v1/scrypt"
_RECIPIENT_PREFIX: Final = "age"
_IDENTITY_PREFIX: Final = "age-secret-key-"
_STANZA: Final = re.compile(rb"-> (X25519|scrypt) ([^\n]+)\n([A-Za-z0-9+/]{43})\n")


class BackupKeyWrong(ArchiveError):
    """None of the keys given opens this backup, or the passphrase is another one. Nothing was read or changed."""

    code = "BACKUP_KEY_WRONG"


class BackupDamaged(ArchiveError):
    """A backup's bytes were changed: the message says where. Nothing was restored; use another backup."""

    code = "BACKUP_DAMAGED"


class BackupTruncated(BackupDamaged):
    """The end of a backup is missing, as after a copy that was cut off. Nothing was restored; use another backup."""

    code = "BACKUP_TRUNCATED"


# ------------------------------------------------------------------ keys


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who can open a backup: the public half of a key."""

    public: bytes

    def __str__(self) -> str:
        return bech32.encode(_RECIPIENT_PREFIX, self.public)


@dataclass(frozen=True, slots=True)
class Identity:
    """The secret half of a key."""

    secret: bytes = field(repr=False)

    @property
    def recipient(self) -> Recipient:
        """The public half."""
        return Recipient(X25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw())

    def text(self) -> str:
        """Returns the text form, to be kept secret."""
        return bech32.encode(_IDENTITY_PREFIX, self.secret).upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What opens backups: identities, a passphrase, or the file key that the writer of this very file still holds."""

    identities: tuple[Identity, ...] = ()
    passphrase: bytes | None = field(default=None, repr=False)
    file_key: bytes | None = field(default=None, repr=False)


def generate_identity() -> Identity:
    """Returns a new key."""
    return Identity(X25519PrivateKey.generate().private_bytes_raw())


def parse_recipient(text: str) -> Recipient:
    """Returns the recipient of its text `age1…`.

    Raises:
        ConfigurationInvalid: not such a text.
    """
    return Recipient(_key(text, _RECIPIENT_PREFIX, "a recipient (age1…)"))


def parse_identities(text: str) -> tuple[Identity, ...]:
    """Returns the identities of a key file: one a line, empty lines and lines starting with # left out.

    Raises:
        ConfigurationInvalid: a line is no identity, or there is none.
    """
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigurationInvalid("the key file holds no identity (AGE-SECRET-KEY-1…)")
    return tuple(Identity(_key(line, _IDENTITY_PREFIX, "an identity (AGE-SECRET-KEY-1…)")) for line in keys)


def _key(text: str, prefix: str, what: str) -> bytes:
    try:
        found, content = bech32.decode(text.strip())
    except ValueError as exc:
        raise ConfigurationInvalid(f"not {what}: {exc}") from exc
    if found != prefix or len(content) != 32:  # noqa: PLR2004 - X25519 keys
        raise ConfigurationInvalid(f"not {what}: it starts with {found[:20]!r}")
    return content


# ------------------------------------------------------------------ header


def _wrapped_for(file_key: bytes, recipient: Recipient) -> bytes:
    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient.public))
    return b"-> X25519 " + _b64(share) + b"\n" + _body(_x25519_key(shared, share, recipient), file_key)


def _x25519_key(shared: bytes, share: bytes, recipient: Recipient) -> bytes:
    return _hkdf(shared, share + recipient.public, _X25519_LABEL)


def _wrapped_by(file_key: bytes, passphrase: bytes) -> bytes:
    salt = os.urandom(16)
    head = b"-> scrypt " + _b64(salt) + b" " + str(SCRYPT_LOG2).encode() + b"\n"
    return head + _body(_scrypt_key(passphrase, salt, SCRYPT_LOG2), file_key)


def _scrypt_key(passphrase: bytes, salt: bytes, log2: int) -> bytes:
    n = 1 << log2
    return hashlib.scrypt(passphrase, salt=_SCRYPT_LABEL + salt, n=n, r=8, p=1, maxmem=2 * 128 * 8 * n, dklen=32)


def _body(wrap_key: bytes, file_key: bytes) -> bytes:
    return _b64(ChaCha20Poly1305(wrap_key).encrypt(bytes(12), file_key, None)) + b"\n"


def _opened(header: bytes, keys: Keys) -> bytes | None:
    """Returns the file key that one of the keys opens; None when none does."""
    for kind, arguments, body in _STANZA.findall(header):
        parts = arguments.split(b" ")
        for wrap_key in _wrap_keys(kind, parts, keys):
            try:
                return ChaCha20Poly1305(wrap_key).decrypt(bytes(12), _unb64(body), None)
            except InvalidTag:
                continue
    return None


def _wrap_keys(kind: bytes, arguments: Sequence[bytes], keys: Keys) -> list[bytes]:
    first = _unb64(arguments[0])
    if kind == b"X25519" and len(first) == 32:  # noqa: PLR2004 - an X25519 share
        found = []
        for identity in keys.identities:
            shared = X25519PrivateKey.from_private_bytes(identity.secret).exchange(
                X25519PublicKey.from_public_bytes(first)
            )
            found.append(_x25519_key(shared, first, identity.recipient))
        return found
    log2 = int(arguments[1]) if len(arguments) > 1 and arguments[1].isdigit() else SCRYPT_LOG2_MAX + 1
    if kind == b"scrypt" and keys.passphrase is not None and log2 <= SCRYPT_LOG2_MAX:
        return [_scrypt_key(keys.passphrase, first, log2)]
    return []


def _header_mac(file_key: bytes, header: bytes) -> bytes:
    return hmac.digest(_hkdf(file_key, None, b"header"), header, hashlib.sha256)


def _hkdf(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def _b64(content: bytes) -> bytes:
    return b64encode(content).rstrip(b"=")


def _unb64(text: bytes) -> bytes:
    try:
        content = b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError as exc:
        raise BackupDamaged(f"the header is not in its form: {exc}") from exc
    if _b64(content) != text:
        raise BackupDamaged("the header is not in its form: base64 with superfluous bits")
    return content


# ------------------------------------------------------------------ content


class EncryptingWriter(io.RawIOBase):
    """Encrypts what is written to it into `target`; `finish` writes the last chunk, without which the file cannot be read."""

    def __init__(self, target: BinaryIO, recipients: Sequence[Recipient], *, passphrase: bytes | None = None) -> None:
        """Writes the header.

        Raises:
            ConfigurationInvalid: neither recipients nor a passphrase, or both: the format allows a passphrase only alone.
        """
        if bool(recipients) == (passphrase is not None):
            raise ConfigurationInvalid(
                "a backup is encrypted for recipients (age1…) or with a passphrase: give one of them"
            )
        self.file_key = os.urandom(FILE_KEY_BYTES)
        stanzas = [_wrapped_for(self.file_key, recipient) for recipient in recipients]
        stanzas += [_wrapped_by(self.file_key, passphrase)] if passphrase is not None else []
        header = VERSION_LINE + b"".join(stanzas) + b"---"
        nonce = os.urandom(NONCE_BYTES)
        self._cipher = ChaCha20Poly1305(_hkdf(self.file_key, nonce, b"payload"))
        self._target = target
        self._held = bytearray()
        self._chunks = 0
        target.write(header + b" " + _b64(_header_mac(self.file_key, header)) + b"\n" + nonce)

    def writable(self) -> bool:
        """Says that this is for writing."""
        return True

    def write(self, content: "ReadableBuffer", /) -> int:
        """Takes the next bytes; a full chunk waits until more comes, because the last one is marked."""
        view = memoryview(content).cast("B")
        self._held += view
        while len(self._held) > CHUNK_BYTES:
            self._put(bytes(self._held[:CHUNK_BYTES]), last=False)
            del self._held[:CHUNK_BYTES]
        return len(view)

    def finish(self) -> None:
        """Writes the last chunk."""
        self._put(bytes(self._held), last=True)
        self._held.clear()

    def _put(self, chunk: bytes, *, last: bool) -> None:
        self._target.write(self._cipher.encrypt(_nonce(self._chunks, last=last), chunk, None))
        self._chunks += 1


class DecryptingReader(io.RawIOBase):
    """Reads what an age file holds, chunk by chunk, each authenticated before a byte of it is given out."""

    def __init__(self, source: BinaryIO, keys: Keys) -> None:
        """Reads and authenticates the header.

        Raises:
            BackupKeyWrong: no key opens it.
            BackupDamaged, BackupTruncated: the header was changed or is not one.
        """
        header, mac = _read_header(source)
        file_key = keys.file_key or _opened(header, keys)
        if file_key is None:
            raise BackupKeyWrong("none of the keys given opens this backup")
        if not hmac.compare_digest(_header_mac(file_key, header), mac):
            raise BackupDamaged("the header was changed")
        nonce = source.read(NONCE_BYTES)
        if len(nonce) != NONCE_BYTES:
            raise BackupTruncated("the backup ends in its header")
        self._cipher = ChaCha20Poly1305(_hkdf(file_key, nonce, b"payload"))
        self._source = source
        self._next = self._read_chunk()
        self._plain = memoryview(b"")
        self._chunks = 0
        self._done = False

    def readable(self) -> bool:
        """Says that this is for reading."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fills the buffer with the next bytes.

        Raises:
            BackupDamaged, BackupTruncated: a chunk does not authenticate, or there is none where there must be one.
        """
        if not self._plain and not self._done:
            self._plain = memoryview(self._open_next())
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._plain))
        target[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _open_next(self) -> bytes:
        sealed, self._next = self._next, self._read_chunk()
        last = not self._next
        plain = self._try(sealed, last=last)
        if plain is None:
            if last and self._try(sealed, last=False) is not None:
                raise BackupTruncated(f"the backup ends after {self._chunks + 1} chunks, its last one is missing")
            at = self._chunks * CHUNK_BYTES
            kind = BackupTruncated if last and len(sealed) <= TAG_BYTES else BackupDamaged
            raise kind(f"the bytes from {at} on were changed" + (" or cut off" if last else ""))
        self._chunks += 1
        self._done = last
        return plain

    def _try(self, sealed: bytes, *, last: bool) -> bytes | None:
        try:
            return self._cipher.decrypt(_nonce(self._chunks, last=last), sealed, None)
        except InvalidTag:
            return None

    def _read_chunk(self) -> bytes:
        wanted, parts = CHUNK_BYTES + TAG_BYTES, []
        while wanted and (part := self._source.read(wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11) + bytes([last])


def _read_header(source: BinaryIO) -> tuple[bytes, bytes]:
    """Returns the header up to and with `---`, and its MAC."""
    lines = [source.readline(MAX_HEADER_BYTES)]
    if lines[0] != VERSION_LINE:
        kind = BackupTruncated if VERSION_LINE.startswith(lines[0]) else BackupDamaged
        raise kind("not a file of the form age-encryption.org/v1")
    while not lines[-1].startswith(b"---"):
        lines.append(source.readline(MAX_HEADER_BYTES))
        if not lines[-1].endswith(b"\n") or sum(map(len, lines)) > MAX_HEADER_BYTES:
            raise BackupTruncated("the backup ends in its header")
    mac = lines.pop()
    if not re.fullmatch(rb"--- [A-Za-z0-9+/]{43}\n", mac):
        raise BackupDamaged("the header was changed")
    return b"".join(lines) + b"---", _unb64(mac[4:-1])
