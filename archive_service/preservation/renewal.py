"""Renewal of evidence (R037; RFC 4998 5): before a time-stamp's certificates or algorithms end, a newer one covers it.

Order: what is due → which records one renewal covers (1) → for a hash-tree renewal every AIP read again, digests kept as they come → hash tree
→ time-stamp (2) → object with the new parts to every location, read back → rows, batches and event (3). One renewal is under way at a time.
After a crash the same renewal goes on: what (1) fixed and (2) asked for is used again, so the same bytes come out; two workers make the same
object, and the slower finds (3) done. The Evidence Records made before stay as they are, in the database and at every location.

No time-stamp to be had: the renewal waits, says so louder the less time is left (event, log, metrics) and is tried again.
"""

import hashlib
import logging
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import append_event, software
from archive_service.digests import Digest, DigestAlgorithm, canonical_json, sha256
from archive_service.errors import StoreUnavailable
from archive_service.evidence.algorithms import AlgorithmPolicy, load_algorithm_policy
from archive_service.evidence.errors import EvidenceRecordInvalid, TimestampUnavailable
from archive_service.evidence.ers_asn1 import parse_evidence_record
from archive_service.evidence.evidence_record import (
    HashTree,
    Unit,
    archive_timestamp,
    chain_unit,
    hashtree_renewal_unit,
    renew_hashtree,
)
from archive_service.evidence.renewal import RenewalKind, RenewalPlan, RenewalState, replacement_digest
from archive_service.evidence.timestamps import ASN1_NAMES, TimestampToken, parse_token
from archive_service.evidence.tsa_client import obtain_timestamp
from archive_service.models import (
    AipEvidence,
    EventType,
    EvidenceBatch,
    EvidenceRenewal,
    LogSeal,
    RenewedRecord,
)
from archive_service.placement import stores_in_use
from archive_service.preservation import renewal_members as membership
from archive_service.preservation.evidence_batches import (
    RENEWAL,
    add_missing_batches,
    append,
    batch_name,
    batch_of,
    chain_tokens,
    live_batches,
    new_batch,
    planned,
    record_of_aip,
    record_of_checkpoint,
)
from archive_service.preservation.log_objects import object_key, ordinal_of, utc_text
from archive_service.preservation.log_stamps import configured_authorities
from archive_service.preservation.log_storage import in_memory, write_seal
from archive_service.service import Service

RENEWAL_TYPE: Final = "archive-log-renewal/1"
MAX_BATCHES: Final = 10_000
"""Batches under one time-stamp renewal: each adds some 10 KB to its object."""
MAX_RECORDS: Final = 2000
"""Records of one hash-tree renewal: its object then has some 30 MB, and little is read twice after a crash."""
URGENCIES: Final = ("", "delayed", "urgent", "critical", "overdue")
"""How loudly a renewal that waits for a time-stamp is reported, in order."""
_AGENT: Final = software("renewal")
_LEVELS: Final = {"delayed": logging.WARNING, "urgent": logging.ERROR}
_log = logging.getLogger(__name__)

Progress = Callable[[str, int], None]
"""(what, done so far)."""


class RenewalDelayed(StoreUnavailable):
    """No time-stamp authority answered, so evidence that is due was not renewed; tried again, reported by urgency."""

    code = "EVIDENCE_RENEWAL_DELAYED"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueBatch:
    """A batch and when it must be renewed."""

    name: str
    plan: RenewalPlan


def batch_plans(session: Session, policy: AlgorithmPolicy, *, at: datetime) -> list[DueBatch]:
    """Returns the plan of every live batch, the one that ends first first."""
    found = [DueBatch(name=batch_name(batch), plan=planned(batch, policy, at)) for batch in live_batches(session)]
    return sorted(found, key=lambda due: (due.plan.ends_at, due.name))


def renew_evidence(
    service: Service,
    *,
    at: datetime,
    policy: AlgorithmPolicy | None = None,
    progress: Progress = lambda _what, _done: None,
) -> list[EvidenceRenewal]:
    """Renews all evidence that is due and returns the renewals made; none when nothing is due. Idempotent.

    Raises:
        RenewalDelayed: no time-stamp was to be had; try again.
        StoreUnavailable: a location could not be written; try again.
        ConfigurationInvalid: no digest algorithm is left to renew with.
    """
    policy = policy or load_algorithm_policy()
    made: list[EvidenceRenewal] = []
    with service.database.write() as session:
        add_missing_batches(session)
    _fill_in(service)
    while True:
        row = _prepared(service) or _prepare(service, policy, [item.ordinal for item in made], at=at)
        if row is None:
            return made
        work = _finish_timestamps if row.kind == RenewalKind.TIMESTAMP else _finish_hashtree
        finished = work(service, row, policy, at, progress)
        if finished is not None:
            made.append(finished)
        progress("renewals", len(made))


def _prepared(service: Service) -> EvidenceRenewal | None:
    with service.database.read() as session:
        return session.scalars(select(EvidenceRenewal).where(EvidenceRenewal.state == "PREPARED")).one_or_none()


def _prepare(service: Service, policy: AlgorithmPolicy, made: list[int], *, at: datetime) -> EvidenceRenewal | None:
    """Fixes what the next renewal covers (commit 1)."""
    beyond = _highest_stored(service)
    try:
        with service.database.write() as session:
            due = [item for item in batch_plans(session, policy, at=at) if item.plan.state is not RenewalState.NOT_DUE]
            due = [item for item in due if not _made_now(batch_of(session, item.name), made)]
            ordinal = max(beyond, session.scalar(select(func.max(EvidenceRenewal.ordinal))) or 0) + 1
            return _hashtree_row(session, due, ordinal, policy, at) or _timestamp_row(session, due, ordinal, at)
    except IntegrityError:
        return _prepared(service)  # another process was faster


def _made_now(batch: EvidenceBatch, made: list[int]) -> bool:
    """Returns whether this run has renewed a batch already: an authority with a short certificate must not keep it going for ever."""
    return batch.renewed_by in made or (batch.source == RENEWAL and batch.ordinal in made)


def _highest_stored(service: Service) -> int:
    """Returns the highest number of a renewal at any location: one that the database does not know keeps its number (after a rebuild)."""
    return max(
        (ordinal_of(item.key) for store in service.stores.values() for item in store.list("log/renewals/")), default=0
    )


def _fill_in(service: Service) -> None:
    """Copies renewals to locations that lack them, such as new ones, from those that have them."""
    with service.database.read() as session:
        query = select(EvidenceRenewal.ordinal, EvidenceRenewal.object_sha256)
        done = {ordinal: digest for ordinal, digest in session.execute(query) if digest}
    stores = stores_in_use(service)
    present = {name: {ordinal_of(item.key) for item in store.list("log/renewals/")} for name, store in stores.items()}
    for name, store in stores.items():
        for ordinal in sorted(set(done) - present[name]):
            key = object_key("renewals", ordinal)
            source = next((stores[other] for other in sorted(present) if ordinal in present[other]), None)
            if source is None:
                _log.critical("renewal %d of evidence is at no location", ordinal)
                continue
            with source.open(key) as content:
                store.put(key, content, expected=sha256(done[ordinal]), size_bytes=source.stat(key).size_bytes)


def _timestamp_row(session: Session, due: Sequence[DueBatch], ordinal: int, at: datetime) -> EvidenceRenewal | None:
    wanted = [item for item in due if item.plan.kind is RenewalKind.TIMESTAMP]
    if not wanted:
        return None
    hash_name = batch_of(session, wanted[0].name).hash_name
    names = [item.name for item in wanted if batch_of(session, item.name).hash_name == hash_name][:MAX_BATCHES]
    return _add(session, ordinal, RenewalKind.TIMESTAMP, hash_name, names, wanted[0].plan.ends_at, at)


def _hashtree_row(
    session: Session, due: Sequence[DueBatch], ordinal: int, policy: AlgorithmPolicy, at: datetime
) -> EvidenceRenewal | None:
    wanted = [item for item in due if item.plan.kind is RenewalKind.HASH_TREE]
    subjects: list[membership.Member] = []
    names = []
    for item in wanted:
        batch = batch_of(session, item.name)
        found = membership.members(session, batch, limit=MAX_RECORDS - len(subjects), left_out_since=at)
        if found:
            names.append(item.name)
            subjects += found
        if len(subjects) >= MAX_RECORDS:
            break
    if not subjects:
        return None
    hash_name = ASN1_NAMES[replacement_digest(policy, at=at, lead=policy.margins.lead)]
    row = _add(session, ordinal, RenewalKind.HASH_TREE, hash_name, names, wanted[0].plan.ends_at, at)
    session.add_all(
        RenewedRecord(renewal=ordinal, position=position, aip_id=aip_id, seal=seal)
        for position, (aip_id, seal) in enumerate(subjects)
    )
    session.flush()
    return row


def _add(
    session: Session, ordinal: int, kind: RenewalKind, hash_name: str, names: list[str], ends_at: datetime, at: datetime
) -> EvidenceRenewal:
    row = EvidenceRenewal(
        ordinal=ordinal,
        kind=kind.value,
        state="PREPARED",
        hash_name=hash_name,
        batches=names,
        urgency="",
        ends_at=ends_at,
        prepared_at=at,
    )
    session.add(row)
    session.flush()
    return row


# ------------------------------------------------------------------ time-stamp renewal


def _finish_timestamps(
    service: Service, row: EvidenceRenewal, policy: AlgorithmPolicy, at: datetime, _progress: Progress
) -> EvidenceRenewal | None:
    with service.database.read() as session:
        if session.get_one(EvidenceRenewal, row.ordinal).state == "DONE":
            return None  # another worker was faster
        batches = [batch_of(session, name) for name in row.batches]
    units: list[Unit] = [chain_unit(row.hash_name, chain_tokens(batch)) for batch in batches]
    distinct = {unit: position for position, unit in enumerate(dict.fromkeys(units))}
    tree = HashTree(_algorithm(row.hash_name), tuple(distinct))
    row, token = _stamped(service, row, tree, policy, at)
    new = {name: archive_timestamp(tree, distinct[unit], token) for name, unit in zip(row.batches, units, strict=True)}
    digest = _write(service, row, [{"batch": name, "archive_timestamp": _b64(value)} for name, value in new.items()])

    def rows(session: Session) -> dict[str, Any]:
        for name, value in new.items():
            append(batch_of(session, name), value, row.ordinal)
        return {"records": sum(membership.count(session, batch_of(session, name)) for name in new)}

    return _commit(service, row, digest, rows)


# ------------------------------------------------------------------ hash-tree renewal


def _finish_hashtree(
    service: Service, row: EvidenceRenewal, policy: AlgorithmPolicy, at: datetime, progress: Progress
) -> EvidenceRenewal | None:
    algorithm = _algorithm(row.hash_name)
    membership.read_again(service, row.ordinal, algorithm, progress)
    with service.database.read() as session:
        if session.get_one(EvidenceRenewal, row.ordinal).state == "DONE":
            return None  # another worker was faster
        rows = _rows(session, row.ordinal)
        read = [item for item in rows if item.digest is not None]
        older = [parse_evidence_record(_present_record(session, item)) for item in read]
    new: dict[int, bytes] = {}
    if read:
        digests = [[Digest(algorithm, item.digest or "")] for item in read]
        units = [hashtree_renewal_unit(record, value) for record, value in zip(older, digests, strict=True)]
        tree = HashTree(algorithm, units)
        row, token = _stamped(service, row, tree, policy, at)
        for place, (item, record, value) in enumerate(zip(read, older, digests, strict=True)):
            new[item.position] = renew_hashtree(record, value, tree, place, token)
    digest = _write(service, row, [_line(item, new.get(item.position)) for item in rows]) if new else None
    return _commit(service, row, digest, lambda session: _take_over(session, row, new))


def _rows(session: Session, ordinal: int) -> Sequence[RenewedRecord]:
    query = select(RenewedRecord).where(RenewedRecord.renewal == ordinal).order_by(RenewedRecord.position)
    return session.scalars(query).all()


def _present_record(session: Session, item: RenewedRecord) -> bytes:
    if item.aip_id is not None:
        found = record_of_aip(session, session.get_one(AipEvidence, item.aip_id))
    else:
        found = record_of_checkpoint(session, session.get_one(LogSeal, item.seal))
    if found is None:
        raise EvidenceRecordInvalid(
            f"renewal {item.renewal} covers {item.aip_id or item.seal}, which has no Evidence Record"
        )
    return found


def _line(item: RenewedRecord, record: bytes | None) -> dict[str, Any]:
    return {
        "position": item.position,
        "aip": None if item.aip_id is None else str(item.aip_id),
        "seal": item.seal,
        "digest": item.digest,
        "left_out": item.left_out,
        "record": None if record is None else _b64(record),
    }


def _take_over(session: Session, row: EvidenceRenewal, new: dict[int, bytes]) -> dict[str, Any]:
    for item in _rows(session, row.ordinal):
        item.record = new.get(item.position)
    if row.token is not None:
        session.add(new_batch(RENEWAL, row.ordinal, parse_token(row.token)))
    session.flush()
    retire_empty(session, row)
    left_out = [item for item in _rows(session, row.ordinal) if item.left_out is not None]
    return {"records": len(new), "left_out": [str(item.aip_id or item.seal) for item in left_out][:1000]}


def retire_empty(session: Session, row: EvidenceRenewal) -> None:
    """Marks the batches that a hash-tree renewal has taken the last record from."""
    for name in row.batches:
        batch = batch_of(session, name)
        if not membership.count(session, batch, kept_only=True):
            batch.retired_by = row.ordinal


# ------------------------------------------------------------------ time-stamp, object, commit


def _stamped(
    service: Service, row: EvidenceRenewal, tree: HashTree, policy: AlgorithmPolicy, at: datetime
) -> tuple[EvidenceRenewal, TimestampToken]:
    """Returns the renewal with its token, asking for one when there is none yet (commit 2)."""
    if row.token is None:
        try:
            authorities = configured_authorities(service.settings)
            obtained = obtain_timestamp(tree.root, authorities, at=at)
        except TimestampUnavailable as exc:
            _delayed(service, row, policy, exc.message, at=at)
            raise RenewalDelayed(f"renewal {row.ordinal} waits for a time-stamp: {exc.message}") from exc
        with service.database.write() as session:
            held = session.get_one(EvidenceRenewal, row.ordinal, with_for_update=True)
            if held.token is None:
                held.token, held.authority, held.problem = obtained.token.encoded, obtained.authority, None
        row = held
    return row, parse_token(row.token or b"")


def urgency(ends_at: datetime, policy: AlgorithmPolicy, at: datetime) -> str:
    """Returns how pressing a renewal is that could not be done now."""
    left = ends_at - at
    if left.total_seconds() < 0:
        return "overdue"
    if left < policy.margins.critical:
        return "critical"
    return "urgent" if left < policy.margins.urgent else "delayed"


def _delayed(service: Service, row: EvidenceRenewal, policy: AlgorithmPolicy, reason: str, *, at: datetime) -> None:
    """Notes why a renewal waits; an event tells it each time it becomes more pressing, the log every time."""
    level = urgency(row.ends_at, policy, at)
    _log.log(
        _LEVELS.get(level, logging.CRITICAL),
        "renewal %d of evidence is %s, it ends %s: %s",
        row.ordinal,
        level,
        row.ends_at.isoformat(),
        reason,
    )
    with service.database.write() as session:
        held = session.get_one(EvidenceRenewal, row.ordinal, with_for_update=True)
        held.problem = reason
        if URGENCIES.index(level) <= URGENCIES.index(held.urgency):
            return
        held.urgency = level
        detail = {"ordinal": row.ordinal, "urgency": level, "ends_at": utc_text(row.ends_at), "reason": reason}
        append_event(
            session,
            EventType.EVIDENCE_RENEWAL_DELAYED,
            subject_kind="archive",
            subject_id=f"renewal-{row.ordinal}",
            agency=None,
            agent=_AGENT,
            at=clock.unique_now(),
            detail=detail,
        )


def _write(service: Service, row: EvidenceRenewal, lines: Sequence[dict[str, Any]]) -> str:
    """Writes the renewal's object to every location, reads it back and returns its SHA-256."""
    header = {
        "type": RENEWAL_TYPE,
        "ordinal": row.ordinal,
        "kind": row.kind,
        "hash_name": row.hash_name,
        "prepared_at": utc_text(row.prepared_at),
        "token": _b64(row.token or b""),
    }
    content = b"".join(canonical_json(line) + b"\n" for line in _all(header, lines))
    item = in_memory("renewals", content)
    write_seal(stores_in_use(service), row.ordinal, [item])
    return item.digest.hex


def _all(header: dict[str, Any], lines: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield header
    yield from lines


def _commit(
    service: Service, row: EvidenceRenewal, digest: str | None, change: Callable[[Session], dict[str, Any]]
) -> EvidenceRenewal | None:
    """Makes the renewal count (commit 3); None when another worker was faster."""
    at = clock.unique_now()
    with service.database.write() as session:
        held = session.get_one(EvidenceRenewal, row.ordinal, with_for_update=True)
        if held.state == "DONE":
            return None
        told = change(session)
        held.state, held.done_at, held.object_sha256 = "DONE", at, digest or ""
        held.problem, held.urgency = None, ""
        detail = {
            "ordinal": row.ordinal,
            "kind": row.kind,
            "hash_name": row.hash_name,
            "batches": row.batches,
            "authority": row.authority,
            "ends_at": utc_text(row.ends_at),
            "prepared_at": utc_text(row.prepared_at),
            "key": object_key("renewals", row.ordinal),
            "sha256": digest,
            **told,
        }
        append_event(
            session,
            EventType.EVIDENCE_RENEWED,
            subject_kind="archive",
            subject_id=f"renewal-{row.ordinal}",
            agency=None,
            agent=_AGENT,
            at=at,
            detail=detail,
        )
        return held


def _algorithm(hash_name: str) -> DigestAlgorithm:
    for algorithm, name in ASN1_NAMES.items():
        if name == hash_name:
            return algorithm
    raise EvidenceRecordInvalid(f"evidence over {hashlib.new(hash_name).name} is not renewed by time-stamp")


def _b64(content: bytes) -> str:
    return b64encode(content).decode()
