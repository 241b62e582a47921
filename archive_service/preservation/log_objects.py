"""What the sealed log writes to storage: names and byte forms, derived from events alone, so that sealing again gives the same bytes.

For each seal, numbered from 1, every location holds four objects, written in this order:

    log/segments/<n/1000>/<n>.jsonl     a header line, then one canonical JSON line per event in order of seq
    log/evidence/<n/1000>/<n>.jsonl     a header line, then the Evidence Records made with this seal's time-stamp
    log/checkpoints/<n/1000>/<n>.txt    signed checkpoint (C2SP tlog-checkpoint) over all leaves so far
    log/seals/<n/1000>/<n>.note         signed note with the digests of the three and of the note before: the seal is there or it is not

Leaves follow from segment lines: each event is one leaf over the digest of its line; an event that says an AIP was stored is followed by
the AIP's leaf. A line carries besides the event the rows that no AIP carries (`rows`), so that a rebuild finds them.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from archive_service.digests import canonical_json, digest_bytes, sha256
from archive_service.errors import ArchiveError
from archive_service.evidence.leaves import LEAF_VERSION, AipLeaf, AuditEventLeaf, LeafKind, leaf_bytes
from archive_service.ids import NAMESPACE, derived_id
from archive_service.models import EventType
from archive_service.storage.port import StoreKey, store_key

SEGMENT_TYPE: Final = "archive-log-segment/1"
EVIDENCE_TYPE: Final = "archive-log-evidence/1"
NOTE_TYPE: Final = "archive-seal/1"
FIRST_PREVIOUS: Final = "0" * 64
"""Stands for the note before the first."""
MAX_LINE_BYTES: Final = 256 * 1024 * 1024
"""One event with the facts of 100,000 components stays below this; a longer line is not ours."""
AIP_EVENTS: Final = (EventType.RECORD_ACCESSIONED.value, EventType.RECORD_VERSION_ADDED.value)
_SUFFIX: Final = {"segments": "jsonl", "evidence": "jsonl", "checkpoints": "txt", "seals": "note", "renewals": "jsonl"}
_PER_FOLDER: Final = 1000
_NAMESPACE: Final = NAMESPACE.bytes


class LogObjectInvalid(ArchiveError):
    """An object of the sealed log is not in its documented form, or does not agree with the others."""

    code = "LOG_OBJECT_INVALID"


def object_key(kind: str, ordinal: int) -> StoreKey:
    """Returns the key of a seal's object; `kind` is segments, evidence, checkpoints or seals."""
    return store_key(f"log/{kind}/{ordinal // _PER_FOLDER:06d}/{ordinal:09d}.{_SUFFIX[kind]}")


def ordinal_of(key: str) -> int:
    """Returns the number of the seal that an object belongs to.

    Raises:
        LogObjectInvalid: not the key of a log object.
    """
    name = key.rsplit("/", 1)[-1].partition(".")[0]
    if not name.isdecimal():
        raise LogObjectInvalid(f"{key} is not an object of the log")
    return int(name)


def utc_text(at: datetime) -> str:
    """Returns a time in the one form used in log objects: UTC, microseconds, Z."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return f"{at.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def segment_header(origin: str, ordinal: int, first_seq: int, last_seq: int, tree_size_before: int) -> bytes:
    """Returns the first line of a segment, without line end."""
    return canonical_json(
        {
            "type": SEGMENT_TYPE,
            "origin": origin,
            "ordinal": ordinal,
            "first_seq": first_seq,
            "last_seq": last_seq,
            "tree_size_before": tree_size_before,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AipPlace:
    """An AIP's leaf as a segment line gives it."""

    aip_id: UUID
    record_id: UUID
    version: int
    sha256: str
    leaf: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLine:
    """One line of a segment: what it says, the event's leaf and, where the event says that an AIP was stored, the AIP's."""

    value: dict[str, Any]
    leaf: bytes
    place: AipPlace | None


def read_line(origin: str, line: bytes) -> SegmentLine:
    """Returns what a line from storage says; only the canonical form is accepted.

    Raises:
        LogObjectInvalid: not a line of a segment.
    """
    try:
        value = json.loads(line)
        if canonical_json(value) != line:
            raise LogObjectInvalid("a line that is not in canonical form")
        event = AuditEventLeaf(
            event_id=derived_id("log-event", origin, str(int(value["seq"]))),
            event_type=str(value["event"]["type"]),
            occurred_at=datetime.fromisoformat(value["event"]["at"]),
            event_digest=digest_bytes(line),
        )
        place = _aip_place(value["event"]["detail"]) if event.event_type in AIP_EVENTS else None
        return SegmentLine(value=value, leaf=leaf_bytes(event), place=place)
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise LogObjectInvalid(f"not a line of a segment: {type(exc).__name__} {exc}") from exc


def leaves_of_event(origin: str, seq: int, fields: dict[str, Any], line: bytes) -> tuple[bytes, AipPlace | None]:
    """Returns the leaves of a line that this program has just made from `fields`: the same as `read_line` gives, without parsing.

    The time in `fields` is in the form of `utc_text`, so the leaf is put together from text; a test compares the two ways.
    """
    event_id = derived_id_text("log-event", origin, str(seq))
    kind: str = fields["type"]
    leaf = (
        f'{LEAF_VERSION} {LeafKind.AUDIT_EVENT}\n{{"event_digest":"SHA-256:{hashlib.sha256(line).hexdigest()}","event_id":"{event_id}",'
        f'"event_type":"{kind}","occurred_at":"{fields["at"]}"}}'
    )
    return leaf.encode(), _aip_place(fields["detail"]) if kind in AIP_EVENTS else None


def derived_id_text(kind: str, *parts: str) -> str:
    """Returns `str(derived_id(kind, *parts))`, without making the UUID: once for each event ever sealed."""
    name = "".join(f"{len(part)}:{part};" for part in (kind, *parts))
    value = bytearray(hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    value[6] = value[6] & 0x0F | 0x50
    value[8] = value[8] & 0x3F | 0x80
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _aip_place(detail: dict[str, Any]) -> AipPlace:  # parsed JSON
    leaf = AipLeaf(
        record_id=UUID(detail["record_id"]),
        version=int(detail["version"]),
        aip_digest=sha256(detail["sha256"]),
        size_bytes=int(detail["size_bytes"]),
    )
    return AipPlace(
        aip_id=derived_id("aip", detail["aip"]),
        record_id=leaf.record_id,
        version=leaf.version,
        sha256=leaf.aip_digest.hex,
        leaf=leaf_bytes(leaf),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDigest:
    """Digest and size of one object."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SealNote:
    """What a seal's signed note says."""

    origin: str
    ordinal: int
    previous: str
    """SHA-256 of the note before, as stored."""
    segment: ObjectDigest
    evidence: ObjectDigest
    checkpoint: ObjectDigest

    def objects(self) -> Iterator[tuple[str, ObjectDigest]]:
        """Yields kind and digest of the three objects, in the order they are written."""
        yield "segments", self.segment
        yield "evidence", self.evidence
        yield "checkpoints", self.checkpoint

    def to_text(self) -> str:
        """Returns the note's text."""
        lines = [NOTE_TYPE, self.origin, str(self.ordinal), self.previous]
        for name, item in (("segment", self.segment), ("evidence", self.evidence), ("checkpoint", self.checkpoint)):
            lines.append(f"{name} {item.sha256} {item.size_bytes}")
        return "".join(f"{line}\n" for line in lines)


def parse_seal_note(text: str) -> SealNote:
    """Returns what a note's text says; only the canonical text is accepted.

    Raises:
        LogObjectInvalid: not the text of a seal.
    """
    try:
        kind, origin, ordinal, previous, *rest, _end = text.split("\n")
        digests = [line.split(" ") for line in rest]
        note = SealNote(
            origin=origin,
            ordinal=int(ordinal),
            previous=previous,
            **{name: ObjectDigest(sha256=value, size_bytes=int(size)) for name, value, size in digests},
        )
    except (ValueError, TypeError) as exc:
        raise LogObjectInvalid(f"not a seal: {exc}") from exc
    if kind != NOTE_TYPE or note.to_text() != text:
        raise LogObjectInvalid(f"not a seal of form {NOTE_TYPE}")
    return note
