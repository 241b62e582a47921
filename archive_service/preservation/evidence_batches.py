"""Evidence Records as they are now: the record that was made, and what renewals have added to it since.

All records of a seal share one time-stamp, so a time-stamp renewal adds the same archive time-stamp to each of them. It is kept once, with
the batch, and put into a record when the record is asked for: renewing a million records costs as much as renewing their seals. A hash-tree
renewal gives each record a chain of its own; its records are a new batch.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from archive_service.evidence.algorithms import AlgorithmPolicy
from archive_service.evidence.der import elements, encode
from archive_service.evidence.ers_asn1 import SEQUENCE_TAG, parse_archive_timestamp, parse_evidence_record
from archive_service.evidence.evidence_record import with_appended
from archive_service.evidence.renewal import EvidenceLifetime, RenewalKind, RenewalPlan, plan_renewal, token_lifetime
from archive_service.evidence.timestamps import TimestampToken, parse_token
from archive_service.models import AipEvidence, EvidenceBatch, LogSeal, RenewedRecord

SEAL: Final = "seal"
RENEWAL: Final = "renewal"


def batch_name(batch: EvidenceBatch) -> str:
    """Returns a batch's name in renewals and their objects, such as `seal:3`."""
    return f"{batch.source}:{batch.ordinal}"


def batch_of(session: Session, name: str) -> EvidenceBatch:
    """Returns the batch of a name."""
    source, _, ordinal = name.partition(":")
    return session.get_one(EvidenceBatch, (source, int(ordinal)))


def add_missing_batches(session: Session) -> int:
    """Adds the batch of each finished seal with a time-stamp that has none yet; returns how many. Safe to repeat."""
    known = select(EvidenceBatch.ordinal).where(EvidenceBatch.source == SEAL)
    query = select(LogSeal.ordinal, LogSeal.timestamp).where(
        LogSeal.state == "SEALED", LogSeal.timestamp.is_not(None), LogSeal.ordinal.not_in(known)
    )
    rows = session.execute(query.order_by(LogSeal.ordinal)).all()
    for ordinal, record in rows:
        session.add(new_batch(SEAL, ordinal, parse_evidence_record(record or b"").last.token))
    session.flush()
    return len(rows)


def new_batch(source: str, ordinal: int, token: TimestampToken) -> EvidenceBatch:
    """Returns the row of a batch that begins with `token`."""
    batch = EvidenceBatch(source=source, ordinal=ordinal, token=token.encoded, appended=b"", hash_name=token.hash_name)
    set_lifetime(batch, token)
    return batch


def set_lifetime(batch: EvidenceBatch, token: TimestampToken) -> None:
    """Takes over from its newest time-stamp until when a batch's evidence holds."""
    lifetime = token_lifetime(token, batch.hash_name)
    batch.stamped_at, batch.expires_at = token.gen_time, lifetime.expires_at
    batch.key_algorithm, batch.key_bits = lifetime.key_algorithm, lifetime.key_bits
    batch.signature_hash_name = lifetime.signature_hash_name


def append(batch: EvidenceBatch, archive_timestamp: bytes, renewal: int) -> None:
    """Adds a renewal's archive time-stamp to the chain of every record of a batch."""
    batch.appended += archive_timestamp
    batch.renewed_by = renewal
    set_lifetime(batch, parse_archive_timestamp(archive_timestamp).token)


def appended_timestamps(batch: EvidenceBatch) -> tuple[bytes, ...]:
    """Returns the encoded archive time-stamps that renewals have added."""
    return elements(encode(SEQUENCE_TAG, batch.appended)) if batch.appended else ()


def chain_tokens(batch: EvidenceBatch) -> list[TimestampToken]:
    """Returns the tokens of the batch's newest chain, oldest first."""
    added = [parse_archive_timestamp(content).token for content in appended_timestamps(batch)]
    return [parse_token(batch.token), *added]


def planned(batch: EvidenceBatch, policy: AlgorithmPolicy, at: datetime) -> RenewalPlan:
    """Returns when and how a batch must be renewed next.

    A time-stamp that never had the whole lead time to live is renewed when half of its life is over; else it would be renewed every day.
    """
    lifetime = EvidenceLifetime(
        hash_name=batch.hash_name,
        expires_at=batch.expires_at,
        key_algorithm=batch.key_algorithm,
        key_bits=batch.key_bits,
        signature_hash_name=batch.signature_hash_name,
    )
    plan = plan_renewal(lifetime, policy=policy, at=at, lead=policy.margins.lead)
    half = (plan.ends_at - batch.stamped_at) / 2
    if plan.kind is RenewalKind.TIMESTAMP and timedelta(0) < half < policy.margins.lead:
        return plan_renewal(lifetime, policy=policy, at=at, lead=half)
    return plan


def live_batches(session: Session) -> Iterator[EvidenceBatch]:
    """Yields the batches that still have records of their own."""
    query = select(EvidenceBatch).where(EvidenceBatch.retired_by.is_(None))
    yield from session.scalars(query.order_by(EvidenceBatch.source, EvidenceBatch.ordinal))


# ------------------------------------------------------------------ records as they are now


def record_of_aip(session: Session, evidence: AipEvidence) -> bytes | None:
    """Returns an AIP's Evidence Record with all renewals; None while there is no time-stamp."""
    newest = _newest(session, RenewedRecord.aip_id == evidence.aip_id)
    if newest is not None:
        return composed(session, newest.record or b"", RENEWAL, newest.renewal)
    if evidence.evidence_record is None or evidence.stamped_by is None:
        return None
    return composed(session, evidence.evidence_record, SEAL, evidence.stamped_by)


def record_of_checkpoint(session: Session, seal: LogSeal) -> bytes | None:
    """Returns the Evidence Record of a seal's checkpoint with all renewals; None without a time-stamp."""
    newest = _newest(session, RenewedRecord.seal == seal.ordinal)
    if newest is not None:
        return composed(session, newest.record or b"", RENEWAL, newest.renewal)
    return None if seal.timestamp is None else composed(session, seal.timestamp, SEAL, seal.ordinal)


def composed(session: Session, record: bytes, source: str, ordinal: int) -> bytes:
    """Returns a record as it was made, with what time-stamp renewals added to its batch."""
    batch = session.get(EvidenceBatch, (source, ordinal))
    if batch is None or not batch.appended:
        return record
    return with_appended(parse_evidence_record(record), appended_timestamps(batch))


def _newest(session: Session, which: ColumnElement[bool]) -> RenewedRecord | None:
    query = select(RenewedRecord).where(which, RenewedRecord.record.is_not(None))
    return session.scalars(query.order_by(RenewedRecord.renewal.desc()).limit(1)).one_or_none()
