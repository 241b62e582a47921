"""Sealing: events and AIP digests become leaves of one Merkle log, under a signed checkpoint, time-stamped where an authority is configured.

Order (DESIGN section 6): which events → commit 1 (PREPARED) → segment, leaves, root, checkpoint, time-stamp, Evidence Records → commit 2
(signed) → written to every location and read back → commit 3 (SEALED, tiles). After a crash the same events give the same segment and root;
what commit 2 holds (the time-stamp's bytes) is used again, never asked for again. Readers see SEALED seals only.

Which events are final: on SQLite writers queue up, so all that is visible is. On PostgreSQL a lower seq may still be in an open transaction;
the SHARE lock on `event` waits until every transaction that has inserted an event has ended and keeps others out while the highest seq is
read, which takes as long as the longest of them, at most `LOCK_WAIT_S`. Gaps (rolled back) stay gaps for ever.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.digests import RunningDigest, digest_bytes
from archive_service.errors import ArchiveError, StoreUnavailable
from archive_service.evidence import merkle
from archive_service.evidence.checkpoint import Checkpoint, NoteSigner, parse_note, sign_checkpoint, sign_note
from archive_service.evidence.errors import CheckpointInvalid
from archive_service.models import Event, EventType, LogSeal, LogTile
from archive_service.placement import stores_in_use
from archive_service.preservation.log_keys import finish_rotation, log_signer, next_signer
from archive_service.preservation.log_lines import event_lines
from archive_service.preservation.log_objects import (
    FIRST_PREVIOUS,
    AipPlace,
    ObjectDigest,
    SealNote,
    leaves_of_event,
    segment_header,
)
from archive_service.preservation.log_stamps import SealedTree, evidence_object, stamp
from archive_service.preservation.log_storage import (
    LogForked,
    LogObject,
    compare_with_storage,
    in_memory,
    write_seal,
)
from archive_service.service import Service
from archive_service.settings import Settings

MAX_EVENTS: Final = 50_000
"""Events in one seal: some tens of megabytes, so that a seal's objects stay easy to hold and to check."""
LOCK_WAIT_S: Final = 20
"""PostgreSQL: how long sealing waits for open transactions before it gives up until the next try."""

Progress = Callable[[int, int], None]
"""(leaves sealed, seals) so far."""


class LogKeyDiffers(ArchiveError):
    """The last seal was signed by another key: this process has the wrong key, or the key was lost. Nothing is sealed."""

    code = "LOG_KEY_DIFFERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    """A seal's segment and what follows from it."""

    segment: LogObject
    tree_size: int
    root: bytes
    places: tuple[tuple[int, AipPlace], ...]
    tiles: dict[tuple[int, int], bytes]


def seal_log(service: Service, *, at: datetime, progress: Progress = lambda _leaves, _seals: None) -> list[LogSeal]:
    """Seals every event there is now and returns the seals made; none when nothing is new. Idempotent.

    Raises:
        StoreUnavailable: a location could not be written or read, or open transactions did not end; try again.
        LogRolledBack, LogForked, LogKeyDiffers: storage and database disagree; a person must look, nothing was sealed.
    """
    made: list[LogSeal] = []
    while True:
        last = _last_sealed(service)
        signer = _signer_in_force(service.settings, last)
        pending = _prepared(service)
        compare_with_storage(
            stores_in_use(service),
            last.ordinal if last else 0,
            last.note if last else None,
            next_is_signed=pending is not None and pending.checkpoint is not None,
        )
        pending = pending or _prepare(service, at=at)
        if pending is None:
            return made
        signers = _signers(service, pending, signer)
        made.append(_finish(service, pending, last, signers, at=at))
        progress(made[-1].tree_size or 0, len(made))


def _last_sealed(service: Service) -> LogSeal | None:
    query = select(LogSeal).where(LogSeal.state == "SEALED").order_by(LogSeal.ordinal.desc()).limit(1)
    with service.database.read() as session:
        return session.scalars(query).one_or_none()


def _prepared(service: Service) -> LogSeal | None:
    with service.database.read() as session:
        return session.scalars(select(LogSeal).where(LogSeal.state == "PREPARED")).one_or_none()


def _signer_in_force(settings: Settings, last: LogSeal | None) -> NoteSigner:
    """Returns the key that follows from the last seal; a rotation whose seal is there, but not its end, is ended here.

    Raises:
        LogKeyDiffers: the last seal was signed by none of the keys at hand.
    """
    signer = log_signer(settings)
    if last is None or last.note is None:
        return signer
    note = parse_note(last.note)
    following = next_signer(settings)
    if following is not None and any(line.by(following.key) for line in note.signatures):
        note.verify([following.key])
        return finish_rotation(settings)
    try:
        note.verify([signer.key])
    except CheckpointInvalid as exc:
        raise LogKeyDiffers(f"seal {last.ordinal} was not signed by {signer.key.vkey()}: {exc.message}") from exc
    return signer


def _signers(service: Service, row: LogSeal, signer: NoteSigner) -> list[NoteSigner]:
    """Returns who signs a seal: the key in force, and the next one too when the seal holds the event of its rotation."""
    query = select(Event.detail).where(
        Event.type == EventType.LOG_KEY_ROTATED, Event.seq >= row.first_seq, Event.seq <= row.last_seq
    )
    with service.database.read() as session:
        rotations = session.scalars(query).all()
    if not rotations:
        return [signer]
    following = next_signer(service.settings)
    if following is None or rotations[-1]["new_key"] != following.key.vkey():
        raise LogKeyDiffers(
            f"seal {row.ordinal} holds a change of the log's key, and the new key is not in the folder of keys"
        )
    return [signer, following]


def _prepare(service: Service, *, at: datetime) -> LogSeal | None:
    """Fixes which events the next seal holds (commit 1)."""
    try:
        with service.database.write() as session:
            if not service.database.is_sqlite:
                session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'"))
                session.execute(text("LOCK TABLE event IN SHARE MODE"))
            return _add_prepared(session, at)
    except IntegrityError:
        return _prepared(service)  # another process was faster
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) == "55P03":  # lock_not_available
            raise StoreUnavailable(f"transactions that wrote events did not end within {LOCK_WAIT_S} s") from exc
        raise


def _add_prepared(session: Session, at: datetime) -> LogSeal | None:
    last = session.scalars(select(LogSeal).order_by(LogSeal.ordinal.desc()).limit(1)).one_or_none()
    if last is not None and last.state != "SEALED":
        return last
    sealed_seq = last.last_seq if last else 0
    newest = select(Event.seq).where(Event.seq > sealed_seq).order_by(Event.seq).limit(MAX_EVENTS).subquery()
    last_seq = session.scalar(select(func.max(newest.c.seq)))
    if last_seq is None:
        return None
    row = LogSeal(
        ordinal=last.ordinal + 1 if last else 1,
        state="PREPARED",
        first_seq=sealed_seq + 1,
        last_seq=last_seq,
        tree_size_before=(last.tree_size or 0) if last else 0,
        prepared_at=at,
    )
    session.add(row)
    session.flush()
    return row


def _finish(
    service: Service, row: LogSeal, last: LogSeal | None, signers: list[NoteSigner], *, at: datetime
) -> LogSeal:
    with (
        tempfile.TemporaryFile(dir=service.settings.data_dir) as target,
        tempfile.TemporaryFile(dir=service.settings.data_dir) as records,
    ):
        built = _build(service, row, target)
        checkpoint = sign_checkpoint(
            Checkpoint(origin=service.settings.log_origin, size=built.tree_size, root=built.root), signers
        ).to_text()
        if row.checkpoint is None:
            made = SealedTree(
                checkpoint=checkpoint, tree_size=built.tree_size, root=built.root.hex(), places=built.places
            )
            row = stamp(service, row, made, at=at)
        if row.checkpoint != checkpoint:
            raise LogForked(f"seal {row.ordinal}: the events no longer give the root that was signed")
        objects = [
            built.segment,
            evidence_object(service, row, records),
            in_memory("checkpoints", checkpoint.encode()),
        ]
        note = _note(service.settings, row, last, objects, signers)
        write_seal(stores_in_use(service), row.ordinal, [*objects, in_memory("seals", note.encode())])
    return _commit_sealed(service, row, built, note)


def _build(service: Service, row: LogSeal, target: BinaryIO) -> _Built:
    """Derives segment, leaves and root from the events; the same events give the same bytes."""
    origin = service.settings.log_origin
    running = RunningDigest()
    tiles: dict[tuple[int, int], bytes] = {}
    places: list[tuple[int, AipPlace]] = []

    def put(line: bytes) -> None:
        running.update(line)
        target.write(line)

    with service.database.read() as session:
        log = merkle.LogAppender(
            row.tree_size_before,
            lambda level, number: _tile(session, level, number),
            lambda level, number, hashes: tiles.__setitem__((level, number), hashes),
        )
        put(segment_header(origin, row.ordinal, row.first_seq, row.last_seq, row.tree_size_before) + b"\n")
        for event in event_lines(session, row.first_seq, row.last_seq):
            put(event.line + b"\n")
            leaf, place = leaves_of_event(origin, event.seq, event.fields, event.line)
            log.append(merkle.leaf_hash(leaf))
            if place is not None:
                places.append((log.append(merkle.leaf_hash(place.leaf)), place))
        root = log.flush()
    segment = LogObject(kind="segments", content=target, digest=running.digest(), size_bytes=running.size_bytes)
    return _Built(segment=segment, tree_size=log.size, root=root, places=tuple(places), tiles=tiles)


def _tile(session: Session, level: int, number: int) -> bytes:
    return session.scalar(select(LogTile.hashes).where(LogTile.level == level, LogTile.number == number)) or b""


def _note(
    settings: Settings, row: LogSeal, last: LogSeal | None, objects: list[LogObject], signers: list[NoteSigner]
) -> str:
    segment, evidence, checkpoint = (
        ObjectDigest(sha256=item.digest.hex, size_bytes=item.size_bytes) for item in objects
    )
    previous = digest_bytes(last.note.encode()).hex if last is not None and last.note is not None else FIRST_PREVIOUS
    note = SealNote(
        origin=settings.log_origin,
        ordinal=row.ordinal,
        previous=previous,
        segment=segment,
        evidence=evidence,
        checkpoint=checkpoint,
    )
    return sign_note(note.to_text(), signers).to_text()


# ------------------------------------------------------------------ commit


def _commit_sealed(service: Service, row: LogSeal, built: _Built, note: str) -> LogSeal:
    with service.database.write() as session:
        held = session.get_one(LogSeal, row.ordinal, with_for_update=True)
        if held.state == "SEALED":
            return held  # another worker wrote the same bytes and was faster
        for (level, number), hashes in built.tiles.items():
            session.merge(LogTile(level=level, number=number, hashes=hashes))
        held.state, held.note, held.sealed_at = "SEALED", note, clock.unique_now()
        return held


# ------------------------------------------------------------------ the database against its own log


def verify_history(service: Service, *, progress: Progress = lambda _leaves, _seals: None) -> int:
    """Derives the whole log from the database's events again and compares it with every checkpoint; returns the leaves compared.

    Raises:
        LogForked: events were changed, removed or added below what is sealed.
    """
    origin = service.settings.log_origin
    tiles: dict[tuple[int, int], bytes] = {}
    log = merkle.LogAppender(
        0, lambda *at: tiles[at], lambda level, number, hashes: tiles.__setitem__((level, number), hashes)
    )
    with service.database.read() as session:
        seals = session.scalars(select(LogSeal).where(LogSeal.state == "SEALED").order_by(LogSeal.ordinal)).all()
    for seal in seals:
        with service.database.read() as session:
            for event in event_lines(session, seal.first_seq, seal.last_seq):
                leaf, place = leaves_of_event(origin, event.seq, event.fields, event.line)
                log.append(merkle.leaf_hash(leaf))
                if place is not None:
                    log.append(merkle.leaf_hash(place.leaf))
        if (log.size, log.root().hex()) != (seal.tree_size, seal.root):
            raise LogForked(f"the events of seal {seal.ordinal} are not those that were sealed")
        progress(log.size, seal.ordinal)
    return log.size
