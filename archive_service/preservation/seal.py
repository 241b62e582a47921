"""Sealing: events and AIP digests become leaves of one Merkle log, under a signed checkpoint, time-stamped where an authority is configured.

Order (DESIGN section 6): which events → commit 1 (PREPARED) → segment, leaves, root, checkpoint, time-stamp, Evidence Records → commit 2
(signed) → written to every location and read back → commit 3 (SEALED, tiles). After a crash the same events give the same segment and root;
what commit 2 holds (the time-stamp's bytes) is used again, never asked for again. Readers see SEALED seals only.

Which events are final: on SQLite writers queue up, so all that is visible is. On PostgreSQL a lower seq may still be in an open transaction;
the SHARE lock on `event` waits until every transaction that has inserted an event has ended and keeps others out while the highest seq is
read, which takes as long as the longest of them, at most `LOCK_WAIT_S`. Gaps (rolled back) stay gaps for ever.
"""

import tempfile
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.digests import Digest, DigestAlgorithm, RunningDigest, canonical_json, digest_bytes, sha256
from archive_service.errors import ArchiveError, ConfigurationInvalid, StoreUnavailable
from archive_service.evidence import merkle
from archive_service.evidence.checkpoint import Checkpoint, NoteSigner, parse_note, sign_checkpoint, sign_note
from archive_service.evidence.errors import CheckpointInvalid, TimestampUnavailable
from archive_service.evidence.evidence_record import HashTree, initial_record
from archive_service.evidence.token_trust import load_anchors
from archive_service.evidence.tsa_client import ObtainedTimestamp, TimestampAuthority, obtain_timestamp
from archive_service.models import Aip, AipEvidence, Event, LogSeal, LogTile
from archive_service.preservation.log_keys import log_signer
from archive_service.preservation.log_lines import event_lines
from archive_service.preservation.log_objects import (
    EVIDENCE_TYPE,
    FIRST_PREVIOUS,
    AipPlace,
    ObjectDigest,
    SealNote,
    leaves_of_line,
    segment_header,
    utc_text,
)
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
MAX_STAMPED: Final = 100_000
"""AIPs under one time-stamp; those beyond wait for the next seal."""
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
    signer = log_signer(service.settings)
    made: list[LogSeal] = []
    while True:
        last = _last_sealed(service)
        _require_same_key(last, signer)
        pending = _prepared(service)
        compare_with_storage(
            service.stores,
            last.ordinal if last else 0,
            last.note if last else None,
            next_is_signed=pending is not None and pending.checkpoint is not None,
        )
        pending = pending or _prepare(service, at=at)
        if pending is None:
            return made
        made.append(_finish(service, pending, last, signer, at=at))
        progress(made[-1].tree_size or 0, len(made))


def _last_sealed(service: Service) -> LogSeal | None:
    query = select(LogSeal).where(LogSeal.state == "SEALED").order_by(LogSeal.ordinal.desc()).limit(1)
    with service.database.read() as session:
        return session.scalars(query).one_or_none()


def _prepared(service: Service) -> LogSeal | None:
    with service.database.read() as session:
        return session.scalars(select(LogSeal).where(LogSeal.state == "PREPARED")).one_or_none()


def _require_same_key(last: LogSeal | None, signer: NoteSigner) -> None:
    if last is None or last.note is None:
        return
    try:
        parse_note(last.note).verify([signer.key])
    except CheckpointInvalid as exc:
        raise LogKeyDiffers(f"seal {last.ordinal} was not signed by {signer.key.vkey()}: {exc.message}") from exc


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


def _finish(service: Service, row: LogSeal, last: LogSeal | None, signer: NoteSigner, *, at: datetime) -> LogSeal:
    with tempfile.TemporaryFile(dir=service.settings.data_dir) as target:
        built = _build(service, row, target)
        checkpoint = sign_checkpoint(
            Checkpoint(origin=service.settings.log_origin, size=built.tree_size, root=built.root), [signer]
        ).to_text()
        if row.checkpoint is None:
            row = _sign(service, row, built, checkpoint, at=at)
        if row.checkpoint != checkpoint:
            raise LogForked(f"seal {row.ordinal}: the events no longer give the root that was signed")
        objects = [
            built.segment,
            in_memory("evidence", _evidence_object(service, row)),
            in_memory("checkpoints", checkpoint.encode()),
        ]
        note = _note(service.settings, row, last, objects, signer)
        write_seal(service.stores, row.ordinal, [*objects, in_memory("seals", note.encode())])
    return _commit_sealed(service, row, built, note)


def _build(service: Service, row: LogSeal, target: BinaryIO) -> _Built:
    """Derives segment, leaves and root from the events; the same events give the same bytes."""
    origin = service.settings.log_origin
    running = RunningDigest()
    tiles: dict[tuple[int, int], bytes] = {}
    places: list[tuple[int, AipPlace]] = []

    def put(line: bytes) -> None:
        running.update(line + b"\n")
        target.write(line + b"\n")

    with service.database.read() as session:
        log = merkle.LogAppender(
            row.tree_size_before,
            lambda level, number: _tile(session, level, number),
            lambda level, number, hashes: tiles.__setitem__((level, number), hashes),
        )
        put(segment_header(origin, row.ordinal, row.first_seq, row.last_seq, row.tree_size_before))
        for _, line in event_lines(session, row.first_seq, row.last_seq):
            put(line)
            leaf, place = leaves_of_line(origin, line, just_made=True)
            log.append(merkle.leaf_hash(leaf))
            if place is not None:
                places.append((log.append(merkle.leaf_hash(place.leaf)), place))
        root = log.flush()
    segment = LogObject(kind="segments", content=target, digest=running.digest(), size_bytes=running.size_bytes)
    return _Built(segment=segment, tree_size=log.size, root=root, places=tuple(places), tiles=tiles)


def _tile(session: Session, level: int, number: int) -> bytes:
    return session.scalar(select(LogTile.hashes).where(LogTile.level == level, LogTile.number == number)) or b""


# ------------------------------------------------------------------ time-stamp and Evidence Records


def _sign(service: Service, row: LogSeal, built: _Built, checkpoint: str, *, at: datetime) -> LogSeal:
    """Asks for the time-stamp and commits what can be made only once (commit 2)."""
    digests = {place.aip_id: sha256(place.sha256) for _, place in built.places}
    with service.database.read() as session:
        waiting = select(AipEvidence.aip_id, Aip.sha256).join(Aip, Aip.id == AipEvidence.aip_id)
        rows = session.execute(
            waiting.where(AipEvidence.stamped_by.is_(None)).order_by(AipEvidence.leaf_index).limit(MAX_STAMPED)
        )
        digests |= {aip_id: sha256(digest) for aip_id, digest in rows}
    units = list(digests.items())[:MAX_STAMPED]
    tree = HashTree(
        DigestAlgorithm.SHA_256, [(digest_bytes(checkpoint.encode()).raw,), *((item.raw,) for _, item in units)]
    )
    obtained, problem = _timestamp(service.settings, tree.root, at=at)
    with service.database.write() as session:
        held = session.get_one(LogSeal, row.ordinal, with_for_update=True)
        if held.checkpoint is not None:
            return held  # another worker was faster: its time-stamp counts
        places = [
            {"aip_id": place.aip_id, "leaf_index": index, "leaf": place.leaf, "seal": row.ordinal}
            for index, place in built.places
        ]
        if places:
            session.execute(insert(AipEvidence), places)
        held.checkpoint, held.tree_size, held.root = checkpoint, built.tree_size, built.root.hex()
        held.timestamp_problem = problem
        if obtained is not None:
            held.timestamp, held.timestamp_at = initial_record(tree, 0, obtained.token), obtained.token.gen_time
            session.flush()
            for position, (aip_id, _) in enumerate(units, start=1):
                evidence = session.get_one(AipEvidence, aip_id)
                evidence.stamped_by = row.ordinal
                evidence.evidence_record = initial_record(tree, position, obtained.token)
        return held


def _timestamp(settings: Settings, digest: Digest, *, at: datetime) -> tuple[ObtainedTimestamp | None, str | None]:
    """Returns a time-stamp over `digest`, or why there is none; a missing one never stops sealing, it is made up for by a later seal."""
    try:
        authorities = configured_authorities(settings)
        if not authorities:
            return None, "no time-stamp authority is configured"
        return obtain_timestamp(digest, authorities, at=at), None
    except TimestampUnavailable as exc:
        return None, exc.message


def configured_authorities(settings: Settings) -> tuple[TimestampAuthority, ...]:
    """Returns the time-stamp authorities in the order they are asked.

    Raises:
        ConfigurationInvalid: the file of anchors cannot be read.
    """
    urls = [url.strip() for url in (settings.tsa_url or "").split(",") if url.strip()]
    try:
        anchors = load_anchors(settings.tsa_anchors.read_bytes()) if settings.tsa_anchors else ()
    except OSError as exc:
        raise ConfigurationInvalid(f"tsa_anchors {settings.tsa_anchors}: {exc.strerror}") from exc
    return tuple(TimestampAuthority(name=url, url=url, anchors=anchors) for url in urls)


def _evidence_object(service: Service, row: LogSeal) -> bytes:
    header = {
        "type": EVIDENCE_TYPE,
        "ordinal": row.ordinal,
        "prepared_at": utc_text(row.prepared_at),
        "timestamp_problem": row.timestamp_problem,
        "checkpoint_record": None if row.timestamp is None else b64encode(row.timestamp).decode(),
    }
    lines = [canonical_json(header)]
    with service.database.read() as session:
        query = select(AipEvidence).where(AipEvidence.stamped_by == row.ordinal).order_by(AipEvidence.leaf_index)
        for item in session.scalars(query):
            record = b64encode(item.evidence_record or b"").decode()
            lines.append(canonical_json({"aip": str(item.aip_id), "leaf_index": item.leaf_index, "record": record}))
    return b"".join(line + b"\n" for line in lines)


def _note(settings: Settings, row: LogSeal, last: LogSeal | None, objects: list[LogObject], signer: NoteSigner) -> str:
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
    return sign_note(note.to_text(), [signer]).to_text()


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
            for _, line in event_lines(session, seal.first_seq, seal.last_seq):
                leaf, place = leaves_of_line(origin, line, just_made=True)
                log.extend(merkle.leaf_hash(content) for content in (leaf, place.leaf if place else None) if content)
        if (log.size, log.root().hex()) != (seal.tree_size, seal.root):
            raise LogForked(f"the events of seal {seal.ordinal} are not those that were sealed")
        progress(log.size, seal.ordinal)
    return log.size
