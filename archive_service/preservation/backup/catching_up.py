"""After a restore: what happened since the backup, from storage, which knows it.

The sealed log at the locations is ahead of a restored database, and sealing refuses to go on until both agree. Seal by seal, each verified
by its signature and root, the missing events come in (those the backup had already are compared), then the AIPs stored since, then the
rows that the log's lines carry. Nothing in storage is changed. What storage does not know is said, not guessed: pushes acknowledged
after the backup and not stored must be sent again.
"""

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO, Final
from uuid import UUID

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.orm import Session

from archive_service.db import Database
from archive_service.digests import digest_bytes
from archive_service.errors import ArchiveError
from archive_service.evidence import merkle
from archive_service.evidence.checkpoint import NoteKey, parse_checkpoint
from archive_service.evidence.ers_asn1 import parse_evidence_record
from archive_service.models import (
    Aip,
    Component,
    Decision,
    Event,
    EventType,
    LogSeal,
    LogTile,
    Record,
    SignatureVerdict,
    State,
    Submission,
    SubmissionFinding,
)
from archive_service.models.states import IN_FLIGHT
from archive_service.preservation.log_objects import (
    FIRST_PREVIOUS,
    MAX_LINE_BYTES,
    LogObjectInvalid,
    SealNote,
    read_line,
)
from archive_service.preservation.log_storage import LogForked, read_seal_note, seal_ordinals
from archive_service.preservation.package_reading import read_package
from archive_service.preservation.rebuild_log import fetched, segment_file, take_in_rows
from archive_service.preservation.rebuild_rows import add_rows, package_problem, record_states, sealed_of
from archive_service.service import Service
from archive_service.storage.port import Store, StoredObject

NAMED_MAX: Final = 1000
_RECORDS_AT_ONCE: Final = 500


@dataclass(slots=True, kw_only=True)
class CaughtUp:
    """What came in from storage, and what could not."""

    location: str | None = None
    """Where the newest seals were; None when no location is ahead."""
    seals: int = 0
    events: int = 0
    aips: list[str] = field(default_factory=list)
    """Keys of the AIPs stored since the backup."""
    problems: list[str] = field(default_factory=list)
    """Objects that are not what they should be, locations that did not answer."""
    to_send_again: list[str] = field(default_factory=list)
    """Pushes opened after the backup and not stored: dossier codes or submission ids; their bytes are nowhere."""
    undecided: list[str] = field(default_factory=list)
    """Submissions that the log says were decided after the backup and are shown as waiting again: a person must decide again."""


def catch_up(service: Service, keys: tuple[NoteKey, ...]) -> CaughtUp:
    """Brings a restored database up to what storage holds. Safe to repeat; goes on after the last seal taken in.

    Raises:
        LogForked: the database and a location tell different histories.
        LogObjectInvalid, CheckpointInvalid: the log at the location is damaged or signed by another key.
        StoreUnavailable: the location does not answer; run again.
    """
    found = CaughtUp()
    known = _last_seal(service.database)
    ahead = {name: max(seal_ordinals(store), default=0) for name, store in sorted(service.stores.items())}
    first_new = _first_event_after(service.database, known)
    source = max(ahead, key=lambda name: ahead[name], default=None)
    if source is not None and ahead[source] > known:
        found.location = source
        for ordinal in range(known + 1, ahead[source] + 1):
            with service.database.write() as session:
                found.events += _take_in(session, service.stores[source], ordinal, keys)
            found.seals += 1
        _set_next_seq(service.database)
    for name, store in sorted(service.stores.items()):
        _take_in_aips(service, name, store, found)
    if found.location is not None:
        for ordinal in range(known + 1, ahead[found.location] + 1):
            with service.database.write() as session:
                take_in_rows(session, service.stores[found.location], ordinal, keys)
        _compare_with_events(service.database, first_new, found)
    return found


def _last_seal(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.max(LogSeal.ordinal)).where(LogSeal.state == "SEALED")) or 0


def _first_event_after(database: Database, ordinal: int) -> int:
    with database.read() as session:
        return (session.scalar(select(LogSeal.last_seq).where(LogSeal.ordinal == ordinal)) or 0) + 1


def _set_next_seq(database: Database) -> None:
    """Events added from now on must follow the ones taken in; SQLite's AUTOINCREMENT knows by itself."""
    if not database.is_sqlite:
        with database.write() as session:
            session.execute(text("SELECT setval(pg_get_serial_sequence('event', 'seq'), (SELECT max(seq) FROM event))"))


# ------------------------------------------------------------------ one seal


def _take_in(session: Session, store: Store, ordinal: int, keys: tuple[NoteKey, ...]) -> int:
    """Verifies a seal, adds its events that are not there yet, its tiles and its row; returns how many events came in."""
    note, note_bytes = read_seal_note(store, ordinal, keys)
    before = session.get(LogSeal, ordinal - 1)
    if note.previous != (digest_bytes((before.note or "").encode()).hex if before else FIRST_PREVIOUS):
        raise LogForked(f"seal {ordinal} at {store.name} does not follow the last seal of the database")
    checkpoint_text = fetched(store, "checkpoints", ordinal, note.checkpoint).decode()
    signed = parse_checkpoint(checkpoint_text)
    signed.verify(keys)
    tiles: dict[tuple[int, int], bytes] = {}
    log = merkle.LogAppender(
        (before.tree_size or 0) if before else 0,
        lambda level, number: (
            session.scalar(select(LogTile.hashes).where(LogTile.level == level, LogTile.number == number)) or b""
        ),
        lambda level, number, hashes: tiles.__setitem__((level, number), hashes),
    )
    with segment_file(store, note) as segment:
        header, added = _events(session, segment, note, log)
    if (log.size, log.flush()) != (signed.checkpoint.size, signed.checkpoint.root):
        raise LogObjectInvalid(f"the events of seal {ordinal} do not give the signed root")
    for (level, number), hashes in tiles.items():
        session.merge(LogTile(level=level, number=number, hashes=hashes))
    _seal_row(session, store, note, note_bytes, header, checkpoint_text, log)
    return added


def _events(session: Session, segment: BinaryIO, note: SealNote, log: merkle.LogAppender) -> tuple[dict[str, Any], int]:
    header: dict[str, Any] = json.loads(segment.readline(MAX_LINE_BYTES))
    added = 0
    while line := segment.readline(MAX_LINE_BYTES):
        read = read_line(note.origin, line.removesuffix(b"\n"))
        log.append(merkle.leaf_hash(read.leaf))
        if read.place is not None:
            log.append(merkle.leaf_hash(read.place.leaf))
        event = read.value["event"]
        row = {**event, "at": datetime.fromisoformat(event["at"]), "type": EventType(event["type"])}
        known = session.get(Event, read.value["seq"])
        if known is None:
            session.execute(insert(Event), [{**row, "seq": read.value["seq"]}])
            added += 1
        elif any(getattr(known, name) != value for name, value in row.items()):
            raise LogForked(f"event {read.value['seq']} of the database is not the one sealed at the location")
    return header, added


def _seal_row(
    session: Session,
    store: Store,
    note: SealNote,
    note_bytes: bytes,
    header: dict[str, Any],
    checkpoint: str,
    log: merkle.LogAppender,
) -> None:
    evidence = json.loads(fetched(store, "evidence", note.ordinal, note.evidence).split(b"\n", 1)[0])
    stamp = evidence["checkpoint_record"] and b64decode(evidence["checkpoint_record"])
    prepared_at = datetime.fromisoformat(evidence["prepared_at"])
    values = {
        "ordinal": note.ordinal,
        "state": "SEALED",
        "first_seq": header["first_seq"],
        "last_seq": header["last_seq"],
        "tree_size_before": header["tree_size_before"],
        "tree_size": log.size,
        "root": log.root().hex(),
        "checkpoint": checkpoint,
        "note": note_bytes.decode(),
        "timestamp": stamp or None,
        "timestamp_at": parse_evidence_record(stamp).last.token.gen_time if stamp else None,
        "timestamp_problem": evidence["timestamp_problem"],
        "prepared_at": prepared_at,
        "sealed_at": prepared_at,
    }
    session.merge(LogSeal(**values))  # the backup may hold this seal as PREPARED
    session.flush()


# ------------------------------------------------------------------ AIPs


def _take_in_aips(service: Service, name: str, store: Store, found: CaughtUp) -> None:
    try:
        for item in store.list("aip/"):
            with service.database.read() as session:
                known = session.scalar(select(Aip.id).where(Aip.store_key == item.key))
            if known is None:
                _take_in_aip(service, store, item, found)
    except ArchiveError as exc:
        found.problems.append(f"{name}: {exc.code}: {exc.message}")


def _take_in_aip(service: Service, store: Store, item: StoredObject, found: CaughtUp) -> None:
    aip = read_package(store, item)
    if isinstance(aip, str):
        found.problems.append(f"{store.name}: {item.key}: {aip}")
        return
    with service.database.read() as session:
        sealed = sealed_of(session, [aip])
    problem = package_problem(store, aip, sealed.get(aip.objid))
    if problem:
        found.problems.append(f"{store.name}: {item.key}: {problem}")
        return
    with service.database.write() as session:
        _make_room(session, aip.submission_id)
        add_rows(session, [aip], sealed)
    found.aips.append(str(item.key))


def _make_room(session: Session, submission_id: UUID) -> None:
    """Removes what hangs on a submission that was still on its way in the backup and is stored now: the AIP carries all of it."""
    known = session.get(Submission, submission_id)
    if known is None or State(known.state) not in IN_FLIGHT:
        return
    for table in (Component, SubmissionFinding, SignatureVerdict, Decision):
        session.execute(delete(table).where(table.submission_id == submission_id))
    session.flush()
    session.expire_all()


# ------------------------------------------------------------------ what rows say against what events say


def _compare_with_events(database: Database, first_seq: int, found: CaughtUp) -> None:
    """Brings records to the state their events lead to, and names submissions of which only events are left."""
    with database.write() as session:
        for touched in _records_touched(session, first_seq):
            for key, state in record_states(session, touched).items():
                if touched[key].state is not state:
                    touched[key].state = state
        for event in session.scalars(_submission_events(first_seq), execution_options={"yield_per": NAMED_MAX}):
            submission = session.get(Submission, UUID(event.subject_id))
            name = str(event.detail.get("dossier_code") or event.subject_id)
            if submission is None and event.type is EventType.SUBMISSION_OPENED:
                found.to_send_again.append(name)
            elif submission is not None and event.type in _ENDS and State(submission.state) in IN_FLIGHT:
                found.undecided.append(name)


_ENDS: Final = (
    EventType.SUBMISSION_REJECTED,
    EventType.SUBMISSION_REFUSED,
    EventType.SUBMISSION_RETURNED,
    EventType.SUBMISSION_APPROVED,
    EventType.SUBMISSION_WITHDRAWN,
)


def _submission_events(first_seq: int) -> Any:  # a Select of events
    kinds = (EventType.SUBMISSION_OPENED, *_ENDS)
    return select(Event).where(Event.seq >= first_seq, Event.type.in_(kinds)).order_by(Event.seq)


def _records_touched(session: Session, first_seq: int) -> Iterator[dict[UUID, Record]]:
    """Yields the records that events speak of, some at a time, by id."""
    query = select(Event.subject_id).where(Event.seq >= first_seq, Event.subject_kind == "record").distinct()
    subjects = iter(session.scalars(query).all())
    while some := list(islice(subjects, _RECORDS_AT_ONCE)):
        records = session.scalars(select(Record).where(Record.id.in_([UUID(subject) for subject in some])))
        yield {record.id: record for record in records}
