"""What a hash-tree renewal covers, and reading it again: each AIP once, old and new digest in the same pass, from any copy that is intact."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from archive_service.digests import DigestAlgorithm, RunningDigest, chunks, digest_bytes
from archive_service.errors import ArchiveError, StoreUnavailable
from archive_service.models import (
    Aip,
    AipCopy,
    AipEvidence,
    EvidenceBatch,
    EvidenceRenewal,
    LogSeal,
    Record,
    RenewedRecord,
)
from archive_service.preservation.fixity import KEPT_STATES
from archive_service.service import Service
from archive_service.storage.port import store_key

Member = tuple[UUID | None, int | None]
"""(AIP, None) or (None, seal whose checkpoint it is)."""
_PAGE: Final = 20
"""AIPs read between two commits."""


def members(session: Session, batch: EvidenceBatch, *, limit: int, left_out_since: datetime) -> list[Member]:
    """Returns AIPs of kept records and checkpoints whose newest Evidence Record is of this batch.

    Args:
        session: An open session.
        batch: The batch.
        limit: Most members returned.
        left_out_since: Those that a renewal prepared at or after this time could not read are left out, so that a run ends.
    """
    found: list[Member] = []
    for query in (_checkpoints(batch), _aips(batch, kept_only=True)):
        subject = query.selected_columns[0]
        given_up = (
            select(RenewedRecord.position)
            .join(EvidenceRenewal, EvidenceRenewal.ordinal == RenewedRecord.renewal)
            .where(_same(subject), RenewedRecord.left_out.is_not(None), EvidenceRenewal.prepared_at >= left_out_since)
        )
        rows = session.scalars(query.where(~exists(given_up)).order_by(subject).limit(limit - len(found)))
        found += [(row, None) if isinstance(row, UUID) else (None, row) for row in rows]
    return found


def count(session: Session, batch: EvidenceBatch, *, kept_only: bool = False) -> int:
    """Returns how many Evidence Records a batch has now; `kept_only` leaves out those of destroyed records."""
    queries = (_checkpoints(batch), _aips(batch, kept_only=kept_only))
    return sum(session.scalar(select(func.count()).select_from(query.subquery())) or 0 for query in queries)


def _aips(batch: EvidenceBatch, *, kept_only: bool) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]] = select(AipEvidence.aip_id)
    if kept_only:
        query = query.join(Aip, Aip.id == AipEvidence.aip_id).join(Record, Record.id == Aip.record_id)
        query = query.where(Record.state.in_(KEPT_STATES))
    if batch.source == "seal":
        return query.where(AipEvidence.stamped_by == batch.ordinal, ~_renewed(AipEvidence.aip_id, after=0))
    return query.where(_in(batch, AipEvidence.aip_id), ~_renewed(AipEvidence.aip_id, after=batch.ordinal))


def _checkpoints(batch: EvidenceBatch) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]] = select(LogSeal.ordinal)
    if batch.source == "seal":
        return query.where(
            LogSeal.ordinal == batch.ordinal, LogSeal.timestamp.is_not(None), ~_renewed(LogSeal.ordinal, after=0)
        )
    return query.where(_in(batch, LogSeal.ordinal), ~_renewed(LogSeal.ordinal, after=batch.ordinal))


def _same(
    subject: Any, row: Any = RenewedRecord
) -> ColumnElement[bool]:  # columns of either kind, and an alias of the class
    column = row.aip_id if getattr(subject, "name", "") == "aip_id" else row.seal
    return column == subject  # type: ignore[no-any-return]


def _renewed(subject: Any, *, after: int) -> ColumnElement[bool]:  # a column
    other = aliased(RenewedRecord)
    return exists().where(_same(subject, other), other.renewal > after, other.record.is_not(None))


def _in(batch: EvidenceBatch, subject: Any) -> ColumnElement[bool]:  # a column
    other = aliased(RenewedRecord)
    return exists().where(_same(subject, other), other.renewal == batch.ordinal, other.record.is_not(None))


# ------------------------------------------------------------------ reading again


def read_again(
    service: Service, ordinal: int, algorithm: DigestAlgorithm, progress: Callable[[str, int], None]
) -> None:
    """Gives every member of a renewal its digest in the new algorithm, or the reason why it has none; goes on where it was cut off.

    Raises:
        StoreUnavailable: no intact copy of an AIP was found, but not every copy could be read; try again.
    """
    done = 0
    waiting = (
        select(RenewedRecord)
        .where(RenewedRecord.renewal == ordinal, RenewedRecord.digest.is_(None), RenewedRecord.left_out.is_(None))
        .order_by(RenewedRecord.position)
        .limit(_PAGE)
    )
    while True:
        with service.database.read() as session:
            page = session.scalars(waiting).all()
            found = {item.position: _source(session, item) for item in page}
        if not page:
            return
        results = {item.position: _digest(service, found[item.position], algorithm) for item in page}
        with service.database.write() as session:
            for position, (digest, left_out) in results.items():
                row = session.get_one(RenewedRecord, (ordinal, position), with_for_update=True)
                row.digest, row.left_out = digest, left_out
        done += len(page)
        progress("read again", done)


Source = tuple[Aip, list[AipCopy]] | str


def _source(session: Session, item: RenewedRecord) -> Source:
    """Returns an AIP and its copies, or a checkpoint's text."""
    if item.aip_id is None:
        return session.get_one(LogSeal, item.seal).checkpoint or ""
    copies = select(AipCopy).where(AipCopy.aip_id == item.aip_id).order_by(AipCopy.state != "INTACT", AipCopy.location)
    return session.get_one(Aip, item.aip_id), list(session.scalars(copies))


def _digest(service: Service, source: Source, algorithm: DigestAlgorithm) -> tuple[str | None, str | None]:
    if isinstance(source, str):
        return digest_bytes(source.encode(), algorithm).hex, None
    aip, copies = source
    problems = []
    silent = False
    for copy in copies:
        store = service.stores.get(copy.location)
        if store is None:
            problems.append(f"{copy.location}: not configured")
            continue
        old, new = RunningDigest(), RunningDigest(algorithm)
        try:
            with store.open(store_key(aip.store_key), version_id=copy.version_id) as content:
                for chunk in chunks(content, limit_bytes=aip.size_bytes + 1):
                    old.update(chunk)
                    new.update(chunk)
        except ArchiveError as exc:
            silent = silent or isinstance(exc, StoreUnavailable)
            problems.append(f"{copy.location}: {exc.message}")
            continue
        if (old.digest().hex, old.size_bytes) == (aip.sha256, aip.size_bytes):
            return new.digest().hex, None
        problems.append(f"{copy.location}: damaged")
    if silent:
        raise StoreUnavailable(f"no intact copy of {aip.objid} could be read now: {'; '.join(problems)}")
    return None, "; ".join(problems) or "no copy is left"
