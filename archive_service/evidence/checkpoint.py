"""Signed notes and log checkpoints in the C2SP formats, so that existing witness and monitor tooling reads them.

- signed note: https://c2sp.org/signed-note@v1.0.0 (text, blank line, signature lines "— <name> <base64(key id ||
  signature)>")
- checkpoint: https://c2sp.org/tlog-checkpoint@v1.0.0 (origin, size, root, optional extension lines)
- witness cosignature: https://c2sp.org/tlog-cosignature@v1.0.0, the Ed25519 type

Signatures by keys we do not know are kept and written back unchanged (witness cosignatures, key rotation); they never
count as verified. Private keys are held by the caller; nothing here stores one.
"""

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from archive_service.clock import require_aware
from archive_service.evidence.errors import CheckpointInvalid

ED25519: Final = 0x01
"""Signature type byte: Ed25519 over the note text (signed-note)."""
COSIGNATURE_V1: Final = 0x04
"""Signature type byte: time-stamped Ed25519 witness cosignature (tlog-cosignature)."""
MAX_NOTE_BYTES: Final = 1_000_000
"""Longest note that is parsed; the same bound as golang.org/x/mod/sumdb/note."""
MAX_SIGNATURES: Final = 100
"""Most signature lines that are parsed: signed-note demands at least 16, x/mod/sumdb/note reads 100."""
MAX_TREE_SIZE: Final = (1 << 63) - 1
_SIGNATURE_PREFIX: Final = "— "
_KEY_ID_BYTES: Final = 4
_ED25519_BYTES: Final = 32
_ED25519_SIGNATURE_BYTES: Final = 64
_ROOT_BYTES: Final = 32
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


# ---------------------------------------------------------------- keys


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteKey:
    """A key that verifies note signatures."""

    name: str
    """Key name: non-empty, without Unicode spaces and "+"; for a log the same as its origin."""
    signature_type: int
    """`ED25519` for a log, `COSIGNATURE_V1` for a witness."""
    public_key: bytes
    """Raw Ed25519 public key, 32 bytes."""

    def __post_init__(self) -> None:
        _require_name(self.name)
        if self.signature_type not in {ED25519, COSIGNATURE_V1}:
            raise CheckpointInvalid(f"note key {self.name}: signature type {self.signature_type:#04x} is not supported")
        if len(self.public_key) != _ED25519_BYTES:
            raise CheckpointInvalid(f"note key {self.name}: {len(self.public_key)} bytes are not an Ed25519 public key")

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256(name || LF || signature type || public key)."""
        return _key_id(self.name, bytes([self.signature_type]) + self.public_key)

    def vkey(self) -> str:
        """Returns the verifier key line `<name>+<key id hex>+<base64(type || public key)>`."""
        encoded = base64.b64encode(bytes([self.signature_type]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSigner:
    """A private note key. Its text form must be kept secret; `repr` never shows it."""

    name: str
    signature_type: int
    private_key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"NoteSigner({self.key.vkey()})"

    @property
    def key(self) -> NoteKey:
        """The public half."""
        public = self.private_key.public_key().public_bytes_raw()
        return NoteKey(name=self.name, signature_type=self.signature_type, public_key=public)

    def skey(self) -> str:
        """Returns the secret text form `PRIVATE+KEY+<name>+<key id hex>+<base64(type || seed)>`."""
        encoded = base64.b64encode(bytes([self.signature_type]) + self.private_key.private_bytes_raw()).decode()
        return f"PRIVATE+KEY+{self.name}+{self.key.key_id.hex()}+{encoded}"


def generate_signer(name: str, *, signature_type: int = ED25519) -> NoteSigner:
    """Returns a new random signing key for `name`.

    Raises:
        CheckpointInvalid: the name or type is not allowed.
    """
    signer = NoteSigner(name=name, signature_type=signature_type, private_key=Ed25519PrivateKey.generate())
    signer.key  # noqa: B018 - checks name and type
    return signer


def parse_vkey(text: str) -> NoteKey:
    """Returns the key of a verifier key line.

    Raises:
        CheckpointInvalid: malformed, of an unsupported type, or the key id does not belong to the key.
    """
    name, key_id, material = _split_key(text, "verifier key")
    key = NoteKey(name=name, signature_type=material[0], public_key=material[1:])
    if key.key_id != key_id:
        raise CheckpointInvalid(f"verifier key {name}: key id is {key.key_id.hex()}, the line says {key_id.hex()}")
    return key


def parse_skey(text: str) -> NoteSigner:
    """Returns the signing key of its secret text form. No error message repeats key material.

    Raises:
        CheckpointInvalid: malformed, of an unsupported type, or the key id does not belong to the key.
    """
    prefix = "PRIVATE+KEY+"
    if not text.startswith(prefix):
        raise CheckpointInvalid("a signing key begins with PRIVATE+KEY+")
    name, key_id, material = _split_key(text[len(prefix) :], "signing key")
    if len(material) != 1 + _ED25519_BYTES:
        raise CheckpointInvalid(f"signing key {name}: an Ed25519 seed has {_ED25519_BYTES} bytes")
    private_key = Ed25519PrivateKey.from_private_bytes(material[1:])
    signer = NoteSigner(name=name, signature_type=material[0], private_key=private_key)
    if signer.key.key_id != key_id:
        raise CheckpointInvalid(
            f"signing key {name}: key id is {signer.key.key_id.hex()}, the line says {key_id.hex()}"
        )
    return signer


def _split_key(text: str, what: str) -> tuple[str, bytes, bytes]:
    parts = text.strip("\n").split("+", 2)
    if len(parts) != 3 or re.fullmatch(r"[0-9a-f]{8}", parts[1], re.ASCII) is None:  # noqa: PLR2004
        raise CheckpointInvalid(f"a {what} is <name>+<8 hex digits>+<base64>")
    _require_name(parts[0])
    material = _base64(parts[2], what)
    if not material:
        raise CheckpointInvalid(f"a {what} without key material")
    return parts[0], bytes.fromhex(parts[1]), material


def _key_id(name: str, material: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + material).digest()[:_KEY_ID_BYTES]


def _require_name(name: str) -> None:
    if not name or "+" in name or any(char.isspace() or not char.isprintable() for char in name):
        raise CheckpointInvalid(
            f"note key name {name[:80]!r}: must be non-empty, without spaces, control characters or '+'"
        )


# ---------------------------------------------------------------- notes


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line, verified or not."""

    name: str
    key_id: bytes
    signature: bytes
    """What follows the key id; for a cosignature time stamp and signature."""

    def line(self) -> str:
        """Returns the line as it stands in a note, with its newline."""
        return f"{_SIGNATURE_PREFIX}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"

    def by(self, key: NoteKey) -> bool:
        """Returns whether the line claims to be by `key`."""
        return self.name == key.name and self.key_id == key.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedNote:
    """A text with its signature lines. Not trusted until `verify` has named the keys that signed it."""

    text: str
    """Ends with a newline; this is what is signed."""
    signatures: tuple[NoteSignature, ...]

    def to_text(self) -> str:
        """Returns the note; parsing it again gives an equal value."""
        return self.text + "\n" + "".join(signature.line() for signature in self.signatures)

    def verify(self, keys: Iterable[NoteKey]) -> tuple["VerifiedSignature", ...]:
        """Returns the signatures by known keys, all of them good.

        Signatures by other keys are ignored, as signed-note demands.

        Raises:
            CheckpointInvalid: a signature that claims a known key is false, or none is by a known key.
        """
        verified = tuple(
            _verify_signature(self.text, signature, key)
            for key in keys
            for signature in self.signatures
            if signature.by(key)
        )
        if not verified:
            names = ", ".join(signature.name for signature in self.signatures)
            raise CheckpointInvalid(f"no signature by a known key; signed by {names or 'nobody'}")
        return verified

    def with_signatures(self, added: Iterable[NoteSignature]) -> "SignedNote":
        """Returns the note with further signatures; present ones stay, exact repeats are dropped."""
        merged = dict.fromkeys((*self.signatures, *added))
        return SignedNote(text=self.text, signatures=tuple(merged))


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSignature:
    """A signature that was found good."""

    key: NoteKey
    at: datetime | None
    """Time a witness states in its cosignature; a plain note signature states none."""


def sign_note(text: str, signers: Sequence[NoteSigner], *, at: datetime | None = None) -> SignedNote:
    """Returns `text` signed by each of `signers`.

    Args:
        text: Ends with a newline, without other control characters.
        signers: Keys that sign, in order.
        at: Time stated in cosignatures; needed when a signer is a witness.

    Raises:
        CheckpointInvalid: the text cannot be a note's text, or a witness key signs without `at`.
    """
    _require_text(text)
    return SignedNote(text=text, signatures=tuple(_sign(text, signer, at) for signer in signers))


def parse_note(content: str | bytes) -> SignedNote:
    """Returns the parts of a signed note, strictly, without verifying anything.

    Raises:
        CheckpointInvalid: not a signed note.
    """
    text = _decoded(content)
    at = text.rfind("\n\n")
    if at < 0 or not text.endswith("\n"):
        raise CheckpointInvalid("a signed note is a text, an empty line and signature lines, each ended by a newline")
    body, block = text[: at + 1], text[at + 2 :]
    _require_text(body)
    lines = block.split("\n")[:-1]
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise CheckpointInvalid(f"{len(lines)} signature lines; 1 to {MAX_SIGNATURES} are read")
    return SignedNote(text=body, signatures=tuple(_parse_signature(line) for line in lines))


def _decoded(content: str | bytes) -> str:
    try:
        raw = content.encode() if isinstance(content, str) else content
        if len(raw) > MAX_NOTE_BYTES:
            raise CheckpointInvalid(f"a note of {len(raw)} bytes; at most {MAX_NOTE_BYTES} are read")
        return raw.decode()
    except UnicodeError as exc:
        raise CheckpointInvalid("a note is valid UTF-8") from exc


def _require_text(text: str) -> None:
    if not text.endswith("\n") or text == "\n":
        raise CheckpointInvalid("a note's text is not empty and ends with a newline")
    if any(char < " " and char != "\n" for char in text):
        raise CheckpointInvalid("a note has no control characters but newline")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise CheckpointInvalid("a note is valid UTF-8")


def _parse_signature(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_SIGNATURE_PREFIX).partition(" ")
    if not line.startswith(_SIGNATURE_PREFIX) or not space:
        raise CheckpointInvalid(f"not a signature line: {line[:120]!r}")
    _require_name(name)
    raw = _base64(encoded, f"signature line of {name}")
    if len(raw) <= _KEY_ID_BYTES:
        raise CheckpointInvalid(f"signature line of {name}: {len(raw)} bytes hold no signature")
    return NoteSignature(name=name, key_id=raw[:_KEY_ID_BYTES], signature=raw[_KEY_ID_BYTES:])


def _base64(text: str, what: str) -> bytes:
    """Decodes standard base64 with padding; refuses any text that is not the one encoding of its bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise CheckpointInvalid(f"{what}: not base64") from exc
    if base64.b64encode(raw).decode() != text:
        raise CheckpointInvalid(f"{what}: base64 with stray bits")
    return raw


def _sign(text: str, signer: NoteSigner, at: datetime | None) -> NoteSignature:
    key = signer.key
    if signer.signature_type == COSIGNATURE_V1:
        if at is None:
            raise CheckpointInvalid(f"{signer.name} is a witness key: a cosignature states its time")
        seconds = int(require_aware(at).timestamp())
        signature = struct.pack(">Q", seconds) + signer.private_key.sign(_cosigned(text, seconds))
    else:
        signature = signer.private_key.sign(text.encode())
    return NoteSignature(name=signer.name, key_id=key.key_id, signature=signature)


def _cosigned(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _verify_signature(text: str, line: NoteSignature, key: NoteKey) -> VerifiedSignature:
    signature, message, at = line.signature, text.encode(), None
    if key.signature_type == COSIGNATURE_V1:
        if len(signature) != 8 + _ED25519_SIGNATURE_BYTES:
            raise CheckpointInvalid(f"cosignature by {key.name} has {len(signature)} bytes")
        seconds: int = struct.unpack(">Q", signature[:8])[0]
        signature, message = signature[8:], _cosigned(text, seconds)
        at = _cosigned_at(seconds, key.name)
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as exc:
        raise CheckpointInvalid(f"the signature by {key.name} ({key.key_id.hex()}) is false") from exc
    return VerifiedSignature(key=key, at=at)


def _cosigned_at(seconds: int, name: str) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, ValueError, OSError) as exc:
        raise CheckpointInvalid(f"cosignature by {name}: no such time {seconds}") from exc


# ---------------------------------------------------------------- checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log's tree head: origin, size and root, unsigned.

    Raises:
        CheckpointInvalid: a field cannot stand in a checkpoint.
    """

    origin: str
    """Unique identity of the log, by custom a schema-less URL."""
    size: int
    """Number of leaves."""
    root: bytes
    """RFC 6962 root at `size`, 32 bytes."""
    extensions: tuple[str, ...] = ()
    """Opaque further lines; ours has none (tlog-checkpoint advises against them)."""

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_TREE_SIZE:
            raise CheckpointInvalid(f"tree size {self.size} is outside 0..2^63-1")
        if len(self.root) != _ROOT_BYTES:
            raise CheckpointInvalid(f"a root hash has {_ROOT_BYTES} bytes, not {len(self.root)}")
        if any(not line or "\n" in line for line in (self.origin, *self.extensions)):
            raise CheckpointInvalid("origin and extension lines are single, non-empty lines")
        _require_text(self.to_text())

    def to_text(self) -> str:
        """Returns the note text that is signed."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def parse_checkpoint_text(text: str) -> Checkpoint:
    """Returns the checkpoint that a note's text states.

    Raises:
        CheckpointInvalid: the text is not a checkpoint.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop():  # noqa: PLR2004 - origin, size, root and the end
        raise CheckpointInvalid("a checkpoint has at least three lines, each ended by a newline")
    origin, size, root, *extensions = lines
    if _DECIMAL.fullmatch(size) is None:
        raise CheckpointInvalid(f"tree size {size[:40]!r} is not a decimal without leading zeroes")
    return Checkpoint(origin=origin, size=int(size), root=_base64(root, "root hash"), extensions=tuple(extensions))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint with its signatures; nothing is verified by parsing."""

    checkpoint: Checkpoint
    note: SignedNote

    def to_text(self) -> str:
        """Returns the signed note."""
        return self.note.to_text()

    def verify(self, keys: Iterable[NoteKey]) -> tuple[VerifiedSignature, ...]:
        """Returns the good signatures by known keys, one of them by the log itself (its key name is the origin).

        Raises:
            CheckpointInvalid: a known key's signature is false, or the log's own is missing.
        """
        verified = self.note.verify(keys)
        if not any(found.key.name == self.checkpoint.origin for found in verified):
            raise CheckpointInvalid(f"no signature by a known key of the log {self.checkpoint.origin}")
        return verified

    def cosigned(self, cosignatures: Iterable[NoteSignature]) -> "SignedCheckpoint":
        """Returns the checkpoint with further signature lines, such as those a witness answers with."""
        return SignedCheckpoint(checkpoint=self.checkpoint, note=self.note.with_signatures(cosignatures))


def sign_checkpoint(
    checkpoint: Checkpoint, signers: Sequence[NoteSigner], *, at: datetime | None = None
) -> SignedCheckpoint:
    """Returns `checkpoint` signed by each of `signers`; `at` is stated in witness cosignatures only.

    The caller must make sure that it never signs two checkpoints of one log that are not consistent.

    Raises:
        CheckpointInvalid: a witness key signs without `at`.
    """
    return SignedCheckpoint(checkpoint=checkpoint, note=sign_note(checkpoint.to_text(), signers, at=at))


def parse_checkpoint(content: str | bytes) -> SignedCheckpoint:
    """Returns a signed checkpoint, strictly parsed, not verified.

    Raises:
        CheckpointInvalid: not a signed checkpoint.
    """
    note = parse_note(content)
    return SignedCheckpoint(checkpoint=parse_checkpoint_text(note.text), note=note)


def parse_signature_lines(content: str | bytes) -> tuple[NoteSignature, ...]:
    """Returns the signature lines that a witness answers with (tlog-witness `add-checkpoint`).

    Raises:
        CheckpointInvalid: a line is not a signature line.
    """
    lines = _decoded(content).split("\n")
    if lines.pop() or not 1 <= len(lines) <= MAX_SIGNATURES:
        raise CheckpointInvalid(f"1 to {MAX_SIGNATURES} signature lines, each ended by a newline, are needed")
    return tuple(_parse_signature(line) for line in lines)
