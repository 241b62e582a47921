"""What a leaf of the log says, in one canonical byte form, and the proof bundle that a third party checks offline.

Canonical form, version 1: UTF-8 bytes of

    archive-log-leaf/1 <kind> LF <canonical JSON>

where `<kind>` is `audit-event` or `aip`, LF is 0x0A, and the JSON object is in the canonical form of
`digests.canonical_json` (sorted keys, no spaces, no escapes beyond JSON's own). Times are UTC with microseconds and
"Z". A leaf never holds personal data: of an audit event it holds the digest of the event's canonical JSON, of an AIP
the digest of its bytes, so a proof can be handed out and content can be destroyed without touching the log. The log
hashes these bytes as `merkle.leaf_hash(leaf)`.

A new form gets a new version number; old leaves are never rewritten.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from archive_service.clock import require_aware
from archive_service.digests import Digest, DigestAlgorithm, canonical_json
from archive_service.evidence import merkle
from archive_service.evidence.checkpoint import (
    MAX_NOTE_BYTES,
    NoteKey,
    SignedCheckpoint,
    parse_checkpoint,
)
from archive_service.evidence.checks import Check, Verification, failed, passed, undecided
from archive_service.evidence.errors import CheckpointInvalid, LogProofInvalid, ProofInvalid

LEAF_VERSION: Final = "archive-log-leaf/1"
PROOF_TYPE: Final = "archive-log-proof/1"
TLOG_PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_LEAF_BYTES: Final = 4096
"""A leaf holds identifiers and one digest; anything longer is not ours."""
MAX_PROOF_BYTES: Final = 2 * MAX_NOTE_BYTES + 64 * 1024
"""Longest proof bundle that is parsed: two checkpoints of the greatest length and the hashes."""


class LeafKind(StrEnum):
    """What a leaf attests."""

    AUDIT_EVENT = "audit-event"
    AIP = "aip"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEventLeaf:
    """An audit event, by its digest."""

    event_id: UUID
    event_type: str
    occurred_at: datetime
    event_digest: Digest
    """Over `canonical_json` of the whole event as stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AipLeaf:
    """One version of a record's AIP, by the digest of its ZIP's bytes."""

    record_id: UUID
    version: int
    """AIP version within the record, from 1."""
    aip_digest: Digest
    size_bytes: int


Leaf = AuditEventLeaf | AipLeaf


def leaf_bytes(leaf: Leaf) -> bytes:
    """Returns the canonical bytes of a leaf (form described in the module).

    Raises:
        ValueError: a naive time.
    """
    match leaf:
        case AuditEventLeaf():
            return _encoded(
                LeafKind.AUDIT_EVENT,
                {
                    "event_id": str(leaf.event_id),
                    "event_type": leaf.event_type,
                    "occurred_at": _utc(leaf.occurred_at),
                    "event_digest": str(leaf.event_digest),
                },
            )
        case AipLeaf():
            return _encoded(
                LeafKind.AIP,
                {
                    "record_id": str(leaf.record_id),
                    "version": leaf.version,
                    "aip_digest": str(leaf.aip_digest),
                    "size_bytes": leaf.size_bytes,
                },
            )


def parse_leaf(content: bytes) -> Leaf:
    """Returns the leaf of its canonical bytes; only the canonical form is accepted.

    Raises:
        LogProofInvalid: not a leaf of a known version and kind in canonical form.
    """
    head, newline, body = content.partition(b"\n")
    version, _, kind = head.partition(b" ")
    if len(content) > MAX_LEAF_BYTES or not newline or version != LEAF_VERSION.encode():
        raise LogProofInvalid(f"not a leaf of form {LEAF_VERSION}: {content[:60]!r}")
    try:
        leaf = _leaf_of(kind.decode(), json.loads(body))
        canonical = leaf_bytes(leaf)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise LogProofInvalid(f"leaf of kind {kind[:40]!r}: {exc}") from exc
    if canonical != content:
        raise LogProofInvalid("a leaf that is not in canonical form")
    return leaf


def _leaf_of(kind: str, fields: Mapping[str, Any]) -> Leaf:  # parsed JSON
    if kind == LeafKind.AUDIT_EVENT:
        return AuditEventLeaf(
            event_id=UUID(fields["event_id"]),
            event_type=fields["event_type"],
            occurred_at=datetime.fromisoformat(fields["occurred_at"]),
            event_digest=_digest(fields["event_digest"]),
        )
    if kind == LeafKind.AIP:
        return AipLeaf(
            record_id=UUID(fields["record_id"]),
            version=fields["version"],
            aip_digest=_digest(fields["aip_digest"]),
            size_bytes=fields["size_bytes"],
        )
    raise LogProofInvalid(f"unknown leaf kind {kind[:40]!r}")


def _encoded(kind: LeafKind, fields: Mapping[str, Any]) -> bytes:  # a JSON object
    return f"{LEAF_VERSION} {kind}\n".encode() + canonical_json(fields)


def _utc(at: datetime) -> str:
    return require_aware(at).astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _digest(text: str) -> Digest:
    algorithm, _, hex_value = text.partition(":")
    return Digest(DigestAlgorithm(algorithm), hex_value)


# ---------------------------------------------------------------- proof bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """Proof that an earlier checkpoint's tree is a prefix of the bundle's tree."""

    earlier: SignedCheckpoint
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """All that shows offline that a leaf stands in the log."""

    leaf: bytes
    """The leaf's canonical bytes."""
    index: int
    inclusion_proof: tuple[bytes, ...]
    checkpoint: SignedCheckpoint
    """Its size is the tree size the inclusion proof leads to."""
    consistency: Consistency | None = None

    @property
    def tree_size(self) -> int:
        """Leaves in the tree the proof leads to."""
        return self.checkpoint.checkpoint.size

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON form; hashes and leaf are base64, checkpoints their note text."""
        return {
            "type": PROOF_TYPE,
            "leaf": _b64(self.leaf),
            "leaf_index": self.index,
            "tree_size": self.tree_size,
            "inclusion_proof": [_b64(value) for value in self.inclusion_proof],
            "checkpoint": self.checkpoint.to_text(),
            "consistency": None
            if self.consistency is None
            else {
                "checkpoint": self.consistency.earlier.to_text(),
                "proof": [_b64(value) for value in self.consistency.proof],
            },
        }

    def to_bytes(self) -> bytes:
        """Returns the JSON as a readable file."""
        return (json.dumps(self.as_json(), ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()

    def to_tlog_proof(self) -> str:
        """Returns the C2SP tlog-proof text, for other people's tools; the leaf is its extra field."""
        hashes = "".join(f"{_b64(value)}\n" for value in self.inclusion_proof)
        head = f"{TLOG_PROOF_HEADER}\nextra {_b64(self.leaf)}\nindex {self.index}\n"
        return f"{head}{hashes}\n{self.checkpoint.to_text()}"


def prove(
    leaf: bytes,
    index: int,
    log: merkle.LogReader,
    checkpoint: SignedCheckpoint,
    *,
    earlier: SignedCheckpoint | None = None,
) -> LogProof:
    """Returns the proof bundle of a leaf at the size of `checkpoint`, consistency from `earlier` included.

    Raises:
        ProofInvalid: no such leaf at that size, or `earlier` is larger.
        TilesIncomplete: stored hashes are missing.
    """
    size = checkpoint.checkpoint.size
    consistency = None
    if earlier is not None:
        consistency = Consistency(earlier=earlier, proof=log.consistency_proof(earlier.checkpoint.size, size))
    return LogProof(
        leaf=leaf,
        index=index,
        inclusion_proof=log.inclusion_proof(index, size),
        checkpoint=checkpoint,
        consistency=consistency,
    )


def parse_log_proof(content: bytes) -> LogProof:
    """Returns a proof bundle of its JSON bytes, strictly parsed, not verified.

    Raises:
        LogProofInvalid: not a bundle of a known version.
    """
    if len(content) > MAX_PROOF_BYTES:
        raise LogProofInvalid(f"a log proof of {len(content)} bytes; at most {MAX_PROOF_BYTES} are read")
    try:
        return _proof_of(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, CheckpointInvalid) as exc:
        raise LogProofInvalid(f"not a log proof: {type(exc).__name__} {exc}") from exc


def _proof_of(fields: Mapping[str, Any]) -> LogProof:  # parsed JSON
    if fields["type"] != PROOF_TYPE:
        raise LogProofInvalid(f"proof type {str(fields['type'])[:60]!r}, {PROOF_TYPE} is read")
    raw = fields["consistency"]
    proof = LogProof(
        leaf=_raw(fields["leaf"]),
        index=_whole(fields["leaf_index"]),
        inclusion_proof=_hashes(fields["inclusion_proof"]),
        checkpoint=parse_checkpoint(_text(fields["checkpoint"])),
        consistency=None
        if raw is None
        else Consistency(earlier=parse_checkpoint(_text(raw["checkpoint"])), proof=_hashes(raw["proof"])),
    )
    if _whole(fields["tree_size"]) != proof.tree_size:
        raise LogProofInvalid(f"tree size {fields['tree_size']}, the checkpoint says {proof.tree_size}")
    return proof


def _hashes(values: Any) -> tuple[bytes, ...]:  # parsed JSON
    if not isinstance(values, list) or len(values) > merkle.MAX_PROOF_HASHES:
        raise LogProofInvalid("a proof is a list of at most 128 hashes")
    return tuple(_raw(value) for value in values)


def _raw(value: Any) -> bytes:  # parsed JSON
    try:
        return base64.b64decode(_text(value), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise LogProofInvalid("leaf and hashes are base64") from exc


def _text(value: Any) -> str:  # parsed JSON
    if not isinstance(value, str):
        raise LogProofInvalid(f"a text is needed, not {type(value).__name__}")
    return value


def _whole(value: Any) -> int:  # parsed JSON
    if type(value) is not int or value < 0:
        raise LogProofInvalid("index and size are whole numbers")
    return value


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


# ---------------------------------------------------------------- verifying


def verify_log_proof(proof: LogProof, keys: Iterable[NoteKey], *, expected: Sequence[Digest] = ()) -> Verification:
    """Checks a proof bundle with nothing but the log's and witnesses' public keys.

    Steps:
      1. the leaf is in canonical form and speaks of one of `expected` (the digest of the object in hand), when given
      2. the checkpoint is signed by a known key of the log; known witnesses' cosignatures are good
      3. the inclusion proof leads from the leaf to the checkpoint's root (RFC 9162 2.1.3.2)
      4. the earlier checkpoint, when given, is signed too, of the same log, and its tree is a prefix (RFC 9162 2.1.4.2)

    The caller must obtain `keys` from where it trusts (a key that comes in the same package proves only integrity),
    and must itself compute the expected digest from the object's bytes.
    """
    trusted = tuple(keys)
    checks = [_check_leaf(proof.leaf, expected)]
    checks.append(_check_signed(proof.checkpoint, trusted, "checkpoint"))
    checks.append(_check_inclusion(proof))
    if proof.consistency is not None:
        checks.append(_check_signed(proof.consistency.earlier, trusted, "earlier checkpoint"))
        checks.append(_check_consistency(proof.checkpoint, proof.consistency))
    return Verification(checks=tuple(checks))


def _check_leaf(leaf: bytes, expected: Sequence[Digest]) -> Check:
    step = "log-proof 1 leaf"
    try:
        parsed = parse_leaf(leaf)
    except LogProofInvalid as exc:
        return failed(step, "EVIDENCE_LEAF_MALFORMED", "leaf", detail=exc.message)
    stated = parsed.aip_digest if isinstance(parsed, AipLeaf) else parsed.event_digest
    if expected and stated not in expected:
        return failed(step, "EVIDENCE_LEAF_OTHER_OBJECT", "leaf", stated=str(stated), expected=str(expected[0]))
    return passed(step, "leaf")


def _check_signed(checkpoint: SignedCheckpoint, keys: tuple[NoteKey, ...], subject: str) -> Check:
    step = "log-proof 2 checkpoint signature"
    if not any(
        line.by(key) and key.name == checkpoint.checkpoint.origin for line in checkpoint.note.signatures for key in keys
    ):
        return undecided(step, "EVIDENCE_CHECKPOINT_KEY_UNKNOWN", subject, origin=checkpoint.checkpoint.origin)
    try:
        checkpoint.verify(keys)
    except CheckpointInvalid as exc:
        return failed(step, "EVIDENCE_CHECKPOINT_SIGNATURE_FALSE", subject, detail=exc.message)
    return passed(step, subject)


def _check_inclusion(proof: LogProof) -> Check:
    step = "RFC 9162 2.1.3.2 inclusion"
    try:
        merkle.verify_inclusion(
            leaf=merkle.leaf_hash(proof.leaf),
            index=proof.index,
            size=proof.tree_size,
            proof=proof.inclusion_proof,
            root=proof.checkpoint.checkpoint.root,
        )
    except ProofInvalid as exc:
        return failed(step, "EVIDENCE_INCLUSION_FALSE", "inclusion proof", detail=exc.message)
    return passed(step, "inclusion proof")


def _check_consistency(later: SignedCheckpoint, consistency: Consistency) -> Check:
    step = "RFC 9162 2.1.4.2 consistency"
    first, second = consistency.earlier.checkpoint, later.checkpoint
    if first.origin != second.origin:
        detail = f"{first.origin} / {second.origin}"
        return failed(step, "EVIDENCE_CONSISTENCY_FALSE", "consistency proof", detail=detail)
    try:
        merkle.verify_consistency(
            first=first.size,
            second=second.size,
            first_root=first.root,
            second_root=second.root,
            proof=consistency.proof,
        )
    except ProofInvalid as exc:
        return failed(step, "EVIDENCE_CONSISTENCY_FALSE", "consistency proof", detail=exc.message)
    return passed(step, "consistency proof")
