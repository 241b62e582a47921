"""The sealed log back into a database: events, tiles and seals first, then what the lines carry besides."""

import json
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from itertools import islice
from typing import Any, BinaryIO, Final, cast
from uuid import UUID

from sqlalchemy import Date, Table, Update, Uuid, bindparam, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from archive_service.db import UtcDateTime
from archive_service.digests import RunningDigest, chunks, digest_bytes
from archive_service.evidence import merkle
from archive_service.evidence.checkpoint import NoteKey, parse_checkpoint, parse_note
from archive_service.models import (
    Aip,
    AipCopy,
    AipEvidence,
    CertifiedCopy,
    Component,
    Event,
    EventType,
    FixityRun,
    Incident,
    LogSeal,
    LogTile,
    ObjectCopy,
    Rendition,
    RetentionReview,
    RetentionReviewItem,
)
from archive_service.prepared import Prepared
from archive_service.preservation.log_objects import (
    AIP_EVENTS,
    FIRST_PREVIOUS,
    MAX_LINE_BYTES,
    AipPlace,
    LogObjectInvalid,
    ObjectDigest,
    SealNote,
    object_key,
    read_line,
)
from archive_service.preservation.log_storage import read_seal_note
from archive_service.preservation.log_trust import LogTrust
from archive_service.preservation.rebuild_storage import STORAGE_EVENTS, take_in_storage
from archive_service.storage.port import Store

_BATCH: Final = 1000
_INCIDENT_ENDS: Final = {
    EventType.INCIDENT_REPAIRED: "REPAIRED",
    EventType.INCIDENT_RECOVERED: "RECOVERED",
    EventType.INCIDENT_UNREPAIRABLE: None,
}
_TOLD: Final = frozenset(
    kind.value
    for kind in (
        EventType.SUBMISSION_STORED,
        EventType.COPY_ISSUED,
        EventType.COPY_CANCELLED,
        EventType.RECORD_FELL_DUE,
        EventType.RECORD_RENDITION_MADE,
        EventType.INCIDENT_OPENED,
        EventType.FIXITY_CHECKED,
        *_INCIDENT_ENDS,
    )
)
"""Events that other rows follow from."""
_ADD_EVENTS: Final = Prepared(insert(cast("Table", Event.__table__)).inline())
_EVIDENCE: Final = cast("Table", AipEvidence.__table__)
_AGAIN: Final = (
    update(_EVIDENCE)
    .where(_EVIDENCE.c.aip_id == bindparam("b_aip_id"))
    .values({name: bindparam(f"b_{name}") for name in ("leaf_index", "leaf", "seal")})
)
_STAMPED: Final = (
    update(_EVIDENCE)
    .where(_EVIDENCE.c.aip_id == bindparam("b_aip_id"))
    .values(stamped_by=bindparam("b_seal"), evidence_record=bindparam("b_record"))
)


def take_in_seal(session: Session, store: Store, ordinal: int, trust: LogTrust) -> LogSeal:
    """Verifies one seal from its objects and adds its events, tiles and seal row; `trust` has accepted the seal before.

    Raises:
        StoredObjectMissing: an object is not there.
        LogObjectInvalid: an object differs from the note, the chain is broken, or the events do not give the signed root.
        CheckpointInvalid: a signature is false, or by a key that is not in force.
    """
    note, note_bytes = read_seal_note(store, ordinal, trust.keys)
    before = session.get(LogSeal, ordinal - 1)
    if note.previous != (digest_bytes((before.note or "").encode()).hex if before else FIRST_PREVIOUS):
        raise LogObjectInvalid(f"seal {ordinal} does not follow the seal before it")
    checkpoint_text = fetched(store, "checkpoints", ordinal, note.checkpoint).decode()
    checkpoint = parse_checkpoint(checkpoint_text)
    tiles: dict[tuple[int, int], bytes] = {}
    size_before = (before.tree_size or 0) if before else 0
    log = merkle.LogAppender(
        size_before,
        lambda level, number: _tile(session, level, number),
        lambda level, number, hashes: tiles.__setitem__((level, number), hashes),
    )
    with segment_file(store, note) as segment:
        header, rotations = _events(session, segment, note.origin, log)
    trust.accept(parse_note(note_bytes), rotations)
    checkpoint.verify(trust.keys)
    if (log.size, log.flush()) != (checkpoint.checkpoint.size, checkpoint.checkpoint.root):
        raise LogObjectInvalid(f"the events of seal {ordinal} do not give the signed root")
    if (header["ordinal"], header["origin"], header["tree_size_before"]) != (ordinal, note.origin, size_before):
        raise LogObjectInvalid(f"the segment of seal {ordinal} is of another place in the log")
    for (level, number), hashes in tiles.items():
        session.merge(LogTile(level=level, number=number, hashes=hashes))
    evidence = json.loads(first_line(store, ordinal, note.evidence))
    stamp = evidence["checkpoint_record"] and b64decode(evidence["checkpoint_record"])
    row = LogSeal(
        ordinal=ordinal,
        state="SEALED",
        first_seq=header["first_seq"],
        last_seq=header["last_seq"],
        tree_size_before=size_before,
        tree_size=log.size,
        root=log.root().hex(),
        checkpoint=checkpoint_text,
        note=note_bytes.decode(),
        timestamp=stamp or None,
        timestamp_at=_stamped_at(stamp) if stamp else None,
        timestamp_problem=evidence["timestamp_problem"],
        prepared_at=datetime.fromisoformat(evidence["prepared_at"]),
        sealed_at=datetime.fromisoformat(evidence["prepared_at"]),
    )
    session.add(row)
    session.flush()
    return row


def _stamped_at(record: bytes) -> datetime:
    from archive_service.evidence.ers_asn1 import parse_evidence_record  # ASN.1 is loaded where there are time-stamps

    return parse_evidence_record(record).last.token.gen_time


def resumed_trust(session: Session, keys: tuple[NoteKey, ...]) -> LogTrust:
    """Returns the trust to go on with after the seals that a rebuild has taken in already."""
    trust = LogTrust(keys)
    last = session.scalars(select(LogSeal).order_by(LogSeal.ordinal.desc()).limit(1)).one_or_none()
    if last is not None and last.note is not None:
        query = select(Event.detail).where(Event.type == EventType.LOG_KEY_ROTATED).order_by(Event.seq)
        trust.resume(parse_note(last.note), session.scalars(query).all())
    return trust


def _tile(session: Session, level: int, number: int) -> bytes:
    return session.scalar(select(LogTile.hashes).where(LogTile.level == level, LogTile.number == number)) or b""


def _events(
    session: Session, segment: BinaryIO, origin: str, log: merkle.LogAppender
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Adds a segment's events; returns its header and the details of events that change the log's key."""
    header: dict[str, Any] = json.loads(segment.readline(MAX_LINE_BYTES))
    rows: list[dict[str, Any]] = []
    rotations: list[dict[str, Any]] = []
    for line in _lines(segment):
        read = read_line(origin, line)
        log.append(merkle.leaf_hash(read.leaf))
        if read.place is not None:
            log.append(merkle.leaf_hash(read.place.leaf))
        event = read.value["event"]
        at, kind = datetime.fromisoformat(event["at"]), EventType(event["type"])
        if kind is EventType.LOG_KEY_ROTATED:
            rotations.append(event["detail"])
        rows.append({**event, "seq": read.value["seq"], "at": at, "type": kind})
        if len(rows) == _BATCH:
            _ADD_EVENTS.run_each(session, rows)
            rows = []
    _ADD_EVENTS.run_each(session, rows)
    return header, rotations


def _lines(segment: BinaryIO) -> Iterator[bytes]:
    while line := segment.readline(MAX_LINE_BYTES):
        yield line.removesuffix(b"\n")


def fetched(store: Store, kind: str, ordinal: int, expected: ObjectDigest) -> bytes:
    """Returns an object's bytes, compared with what the note says.

    Raises:
        StoredObjectMissing: it is not there.
        LogObjectInvalid: it differs.
    """
    with store.open(object_key(kind, ordinal)) as source:
        content = b"".join(chunks(source, limit_bytes=expected.size_bytes + 1))
    if ObjectDigest(sha256=digest_bytes(content).hex, size_bytes=len(content)) != expected:
        raise LogObjectInvalid(f"{object_key(kind, ordinal)} at {store.name} is not what its seal says")
    return content


def segment_file(store: Store, note: SealNote) -> BinaryIO:
    """Returns a seal's segment as a temporary file at its start, compared with the note.

    Raises:
        StoredObjectMissing: it is not there.
        LogObjectInvalid: it differs.
    """
    return object_file(store, "segments", note.ordinal, note.segment)


def object_file(store: Store, kind: str, ordinal: int, expected: ObjectDigest) -> BinaryIO:
    """Returns a log object as a temporary file at its start, compared with what is expected.

    Raises:
        StoredObjectMissing: it is not there.
        LogObjectInvalid: it differs.
    """
    target: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    running = RunningDigest()
    with store.open(object_key(kind, ordinal)) as source:
        for chunk in chunks(source, limit_bytes=expected.size_bytes + 1):
            running.update(chunk)
            target.write(chunk)
    if ObjectDigest(sha256=running.digest().hex, size_bytes=running.size_bytes) != expected:
        target.close()
        raise LogObjectInvalid(f"{object_key(kind, ordinal)} at {store.name} is not what its seal says")
    target.seek(0)
    return target


def first_line(store: Store, ordinal: int, expected: ObjectDigest) -> bytes:
    """Returns the header of a seal's evidence object, the whole of it compared with the note first."""
    with object_file(store, "evidence", ordinal, expected) as lines:
        return lines.readline(MAX_LINE_BYTES)


# ------------------------------------------------------------------ what the lines carry besides events


@dataclass(slots=True)
class _Waiting:
    """Rows of many lines, for one call each."""

    session: Session
    places: list[dict[str, Any]] = field(default_factory=list)
    """Columns of `AipEvidence`."""
    facts: dict[tuple[str, ...], list[dict[str, Any]]] = field(default_factory=dict)
    """Columns of `Component` to change, by their names."""
    count: int = 0

    def add_place(self, place: AipPlace, leaf_index: int, seal: int) -> None:
        """Takes where an AIP stands in the log."""
        self.places.append({"aip_id": place.aip_id, "leaf_index": leaf_index, "leaf": place.leaf, "seal": seal})
        self._one_more()

    def add_facts(self, submission_id: UUID, components: list[dict[str, Any]]) -> None:
        """Takes what was found out about components."""
        for row in components:
            rows = self.facts.setdefault(tuple(row), [])
            rows.append({f"b_{name}": value for name, value in _typed(Component, row).items()})
            rows[-1]["b_submission_id"] = submission_id
            self._one_more()

    def _one_more(self) -> None:
        self.count += 1
        if self.count == _BATCH:
            self.write()

    def write(self) -> None:
        """Writes what has gathered; what was there already is written over with the same."""
        connection = self.session.connection()
        if self.places:
            ids = [row["aip_id"] for row in self.places]
            stored = set(connection.execute(select(Aip.id).where(Aip.id.in_(ids))).scalars())
            known = set(connection.execute(select(AipEvidence.aip_id).where(AipEvidence.aip_id.in_(stored))).scalars())
            fresh = [row for row in self.places if row["aip_id"] in stored - known]
            again = [
                {f"b_{name}": value for name, value in row.items()} for row in self.places if row["aip_id"] in known
            ]
            if fresh:
                connection.execute(insert(_EVIDENCE), fresh)
            if again:
                connection.execute(_AGAIN, again)
        for names, rows in self.facts.items():
            if len(names) > 1:
                connection.execute(_facts(names), rows)
        self.places, self.facts, self.count = [], {}, 0


@cache
def _facts(names: tuple[str, ...]) -> Update:
    """Returns the change of a component's columns; made once for each set of them."""
    columns = Component.__table__.c
    return (
        update(Component)
        .where(
            columns.submission_id == bindparam("b_submission_id"), columns.component_id == bindparam("b_component_id")
        )
        .values({name: bindparam(f"b_{name}") for name in names if name != "component_id"})
    )


def take_in_rows(session: Session, store: Store, ordinal: int, keys: tuple[NoteKey, ...]) -> None:
    """Adds the rows of a seal that refer to records: components' facts, copies, reviews, incidents, evidence. Safe to repeat."""
    note, _ = read_seal_note(store, ordinal, keys)
    waiting = _Waiting(session)
    with segment_file(store, note) as segment:
        leaf_index = int(json.loads(segment.readline(MAX_LINE_BYTES))["tree_size_before"])
        for line in _lines(segment):
            leaf_index += 1
            value = json.loads(line)
            event = value["event"]
            if event["type"] in AIP_EVENTS:
                place = read_line(note.origin, line).place
                if place is not None:
                    waiting.add_place(place, leaf_index, ordinal)
                leaf_index += 1
            if event["type"] in _TOLD:
                _one(session, event, value.get("rows", {}), waiting)
            if event["type"] in STORAGE_EVENTS:
                take_in_storage(session, event)
            if event["type"] == EventType.EVIDENCE_RENEWED.value:
                from archive_service.preservation.rebuild_evidence import (
                    take_in_renewal,
                )  # with all that makes renewals

                waiting.write()
                take_in_renewal(session, store, event["detail"], datetime.fromisoformat(event["at"]))
    waiting.write()
    session.flush()
    connection = session.connection()
    with object_file(store, "evidence", ordinal, note.evidence) as lines:
        lines.readline(MAX_LINE_BYTES)
        records = ({"b_seal": ordinal, **_record(json.loads(line))} for line in _lines(lines))
        while some := list(islice(records, _BATCH)):
            connection.execute(_STAMPED, some)


def _record(item: dict[str, Any]) -> dict[str, Any]:
    return {"b_aip_id": UUID(item["aip"]), "b_record": b64decode(item["record"])}


def _one(session: Session, event: dict[str, Any], rows: dict[str, Any], waiting: _Waiting) -> None:  # parsed JSON
    kind, at = EventType(event["type"]), datetime.fromisoformat(event["at"])
    if "components" in rows:
        waiting.add_facts(UUID(event["subject_id"]), rows["components"])
    if "certified_copy" in rows and session.get(Aip, UUID(rows["certified_copy"]["aip_id"])) is not None:
        session.merge(CertifiedCopy(**_typed(CertifiedCopy, rows["certified_copy"])))
        session.flush()
    if "rendition" in rows and session.get(Aip, UUID(rows["rendition"]["aip_id"])) is not None:
        _rendition(session, event["detail"], rows["rendition"])
    if kind is EventType.COPY_CANCELLED:
        copy = session.get(CertifiedCopy, UUID(event["detail"]["copy_id"]))
        if copy is not None:
            copy.cancelled_at, copy.cancel_reason = at, event["detail"]["reason"]
    if "review" in rows:
        _review(session, event, rows["review"])
    if kind is EventType.INCIDENT_OPENED or kind in _INCIDENT_ENDS:
        _incident(session, event, kind, at)
    if kind is EventType.FIXITY_CHECKED:
        _minutes(session, event, at)


def _rendition(session: Session, detail: dict[str, Any], row: dict[str, Any]) -> None:
    """Adds a rendition; where its copies were first is known from the event, that they are there now from the next fixity check."""
    copies = [
        {
            "location": location,
            "version_id": None,
            "read_back_sha256": row["sha256"],
            "verified_at": row["made_at"],
        }
        for location in detail["locations"]
    ]
    session.merge(Rendition(**_typed(Rendition, row), copies=copies))
    session.flush()


def _review(session: Session, event: dict[str, Any], review: dict[str, Any]) -> None:
    key, due_on = UUID(review["id"]), date.fromisoformat(event["detail"]["due_on"])
    row = session.get(RetentionReview, key)
    if row is None:
        row = RetentionReview(
            id=key, on=date.fromisoformat(review["on"]), made_at=datetime.fromisoformat(review["made_at"]), due_count=0
        )
        session.add(row)
        session.flush()
    known = select(RetentionReviewItem.id).where(
        RetentionReviewItem.record_id == UUID(event["subject_id"]), RetentionReviewItem.due_on == due_on
    )
    if session.scalar(known) is None:
        session.add(RetentionReviewItem(review_id=key, record_id=UUID(event["subject_id"]), due_on=due_on))
        row.due_count += 1
        session.flush()


def _incident(session: Session, event: dict[str, Any], kind: EventType, at: datetime) -> None:
    key, detail = UUID(event["subject_id"]), event["detail"]
    incident = session.get(Incident, key)
    if kind is EventType.INCIDENT_OPENED and incident is None:
        copy_id, object_copy_id = _copy_of(session, detail, at)
        if copy_id is not None or object_copy_id is not None:
            session.add(
                Incident(
                    id=key,
                    copy_id=copy_id,
                    object_copy_id=object_copy_id,
                    aip_id=UUID(detail["aip_id"]),
                    location=detail["location"],
                    found=detail["found"],
                    status="OPEN",
                    notice=detail["notice"],
                    cause="",
                    remedy="",
                    opened_at=at,
                )
            )
            session.flush()
    elif incident is not None and kind is not EventType.INCIDENT_OPENED:
        incident.status, incident.cause, incident.remedy = detail["status"], detail["cause"], detail["remedy"]
        incident.found, incident.notice = detail["found"], detail["notice"]
        incident.source_location, incident.quarantine_key = detail["source_location"], detail["quarantine_key"]
        incident.closed_at = at if _INCIDENT_ENDS[kind] else None
        session.flush()


def _copy_of(session: Session, detail: dict[str, Any], at: datetime) -> tuple[UUID | None, UUID | None]:
    """Returns the copy an incident is about: an AIP's, or that of another object, whose row is made when there is none."""
    aip_id, location = UUID(detail["aip_id"]), detail["location"]
    if "object" not in detail:
        query = select(AipCopy.id).where(AipCopy.aip_id == aip_id, AipCopy.location == location)
        return session.scalar(query), None
    thing = detail["object"]
    if session.get(Aip, aip_id) is None:
        return None, None
    known = select(ObjectCopy).where(ObjectCopy.store_key == thing["store_key"], ObjectCopy.location == location)
    row = session.scalars(known).one_or_none()
    if row is None:
        values = {**thing, "subject_id": UUID(thing["subject_id"])}
        row = ObjectCopy(aip_id=aip_id, location=location, state="UNREAD", verified_at=at, **values)
        session.add(row)
        session.flush()
    return None, row.id


def _minutes(session: Session, event: dict[str, Any], at: datetime) -> None:
    detail = dict(event["detail"])
    run_id, started_at = UUID(detail.pop("run_id")), datetime.fromisoformat(detail.pop("started_at"))
    session.merge(FixityRun(id=run_id, location=event["subject_id"], started_at=started_at, finished_at=at, **detail))


def _typed(model: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Returns JSON values as the types of a model's columns."""
    kinds = _kinds(model.__table__)
    return {name: _value(kinds[name], value) for name, value in values.items()}


@cache
def _kinds(table: Table) -> dict[str, TypeEngine[Any]]:
    return {column.name: column.type for column in table.columns}


def _value(kind: TypeEngine[Any], value: Any) -> Any:  # a JSON value
    if not isinstance(value, str):
        return value
    if isinstance(kind, UtcDateTime):
        return datetime.fromisoformat(value)
    if isinstance(kind, Date):
        return date.fromisoformat(value)
    return UUID(value) if isinstance(kind, Uuid) else value
