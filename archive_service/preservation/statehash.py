"""One hash over everything the archive must be able to rebuild: equal before and after, or something was lost (R122).

Covered: records, AIPs, copies (where, which digest), stored submissions with components, findings, verdicts and decision, retention,
search terms, register of certified copies, renditions, retention reviews, events, seals and evidence with its renewals,
incidents and fixity minutes, storage locations in their lifecycle, legal holds.

Not covered, because not kept in storage or made again: accounts, tokens, sessions, jobs, submissions that were never stored; numbers of
certified copies that were never completed; reviews in which nothing fell due; row ids without meaning; text taken from components and the
copies of renditions and certified copies; and of a copy its last check and its version id, which are facts about the location.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Date, LargeBinary, Table, Uuid, select, true, type_coerce
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from archive_service.db import UtcDateTime
from archive_service.digests import canonical_json
from archive_service.models import (
    Aip,
    AipCopy,
    AipEvidence,
    Base,
    CertifiedCopy,
    Component,
    Decision,
    Event,
    EvidenceBatch,
    EvidenceRenewal,
    FixityRun,
    Hold,
    HoldRecord,
    Incident,
    LogSeal,
    Record,
    RecordTerm,
    Rendition,
    RenewedRecord,
    RetentionAssignment,
    RetentionReview,
    RetentionReviewItem,
    SignatureVerdict,
    StorageLocation,
    Submission,
    SubmissionFinding,
)
from archive_service.preservation.log_objects import utc_text

STATE_VERSION: Final = "archive-state/1"
_PAGE: Final = 1000
_STORED: Final = select(Submission.id).where(Submission.record_id.is_not(None))
_RENEWED: Final = select(EvidenceRenewal.ordinal).where(EvidenceRenewal.state == "DONE")

_OMITTED: Final[Mapping[type[Base], frozenset[str]]] = {
    AipCopy: frozenset({"id", "verified_at", "version_id", "state", "locked_until"}),
    Component: frozenset({"id"}),
    SubmissionFinding: frozenset({"id"}),
    SignatureVerdict: frozenset({"id"}),
    Decision: frozenset({"id"}),
    RetentionAssignment: frozenset({"id"}),
    RetentionReviewItem: frozenset({"id"}),
    Incident: frozenset({"copy_id", "object_copy_id"}),
    LogSeal: frozenset({"sealed_at"}),
    Rendition: frozenset({"copies"}),
}
"""Columns that a rebuild cannot or need not give back; everything else counts."""
_ONLY: Final[Mapping[type[Base], ColumnElement[bool]]] = {
    Submission: Submission.record_id.is_not(None),
    Component: Component.submission_id.in_(_STORED),
    SubmissionFinding: SubmissionFinding.submission_id.in_(_STORED),
    SignatureVerdict: SignatureVerdict.submission_id.in_(_STORED),
    Decision: Decision.submission_id.in_(_STORED),
    CertifiedCopy: CertifiedCopy.completed_at.is_not(None),
    FixityRun: FixityRun.finished_at.is_not(None),
    RetentionReview: RetentionReview.due_count > 0,
    LogSeal: LogSeal.state == "SEALED",
    EvidenceBatch: (EvidenceBatch.source == "renewal") | EvidenceBatch.renewed_by.is_not(None),
    EvidenceRenewal: EvidenceRenewal.state == "DONE",
    RenewedRecord: RenewedRecord.renewal.in_(_RENEWED),
}
_ORDER: Final[Sequence[tuple[type[Base], tuple[str, ...]]]] = (
    (Record, ("id",)),
    (Aip, ("id",)),
    (AipCopy, ("aip_id", "location")),
    (Submission, ("id",)),
    (Component, ("submission_id", "ordinal")),
    (SubmissionFinding, ("submission_id", "ordinal")),
    (SignatureVerdict, ("submission_id", "component_id", "ordinal")),
    (Decision, ("submission_id",)),
    (RetentionAssignment, ("record_id", "ordinal")),
    (RecordTerm, ("record_id", "term")),
    (CertifiedCopy, ("id",)),
    (Rendition, ("aip_id", "component_id")),
    (RetentionReview, ("id",)),
    (RetentionReviewItem, ("record_id", "due_on")),
    (Incident, ("id",)),
    (FixityRun, ("id",)),
    (LogSeal, ("ordinal",)),
    (AipEvidence, ("leaf_index",)),
    (EvidenceRenewal, ("ordinal",)),
    (EvidenceBatch, ("source", "ordinal")),
    (RenewedRecord, ("renewal", "position")),
    (StorageLocation, ("name",)),
    (Hold, ("id",)),
    (HoldRecord, ("hold_id", "record_id")),
    (Event, ("seq",)),
)
"""Tables and the key their rows are read by; rows are hashed as a sum, so no engine's order of text matters."""


def state_hash(session: Session, *, up_to_seq: int | None = None) -> str:
    """Returns the canonical state hash (hex) of a database, the same on SQLite and PostgreSQL.

    Args:
        session: Any session; for an exact answer nothing should be written meanwhile.
        up_to_seq: Count events up to this one only; default all.
    """
    whole = hashlib.sha256(STATE_VERSION.encode())
    for name, digest in table_hashes(session, up_to_seq=up_to_seq).items():
        whole.update(f"\n{name} {digest}".encode())
    return whole.hexdigest()


def table_hashes(session: Session, *, up_to_seq: int | None = None) -> dict[str, str]:
    """Returns for each table the number of its rows and their hash, to see where two states differ."""
    found = {}
    for model, key in _ORDER:
        count, total = 0, 0
        for row in _rows(session, model, key, _which(model, up_to_seq)):
            total = (total + int.from_bytes(hashlib.sha256(row).digest())) % (1 << 256)
            count += 1
        found[model.__tablename__] = f"{count} {total:064x}"
    return found


def _which(model: type[Base], up_to_seq: int | None) -> ColumnElement[bool]:
    if model is Event and up_to_seq is not None:
        return Event.seq <= up_to_seq
    return _ONLY.get(model, true())


def _rows(session: Session, model: type[Base], key: tuple[str, ...], where: ColumnElement[bool]) -> Iterator[bytes]:
    table = model.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{model.__name__} is not mapped to a table")
    columns = [column for column in table.columns if column.name not in _OMITTED.get(model, ())]
    names = [column.name for column in columns]
    # What a value becomes follows from its column, so it is found once for each column and not for each of very many values.
    forms = [(name, form) for name, form in zip(names, map(_form, columns), strict=True) if form is not None]
    query = select(*map(_as_text, columns)).where(where).order_by(*(table.columns[name] for name in key))
    for row in session.execute(query, execution_options={"yield_per": _PAGE}):
        values = dict(zip(names, row, strict=True))
        for name, form in forms:
            if values[name] is not None:
                values[name] = form(values[name])
        yield canonical_json(values)


def _as_text(column: Column[Any]) -> ColumnElement[Any]:
    """Returns a column, one of UUIDs as their text: nobody needs the objects here."""
    return type_coerce(column, Uuid(as_uuid=False)) if isinstance(column.type, Uuid) else column


def _form(column: Column[Any]) -> Callable[[Any], Any] | None:
    """Returns what makes the JSON form of a column's values; None where they are JSON already."""
    return next((form for kind, form in _FORMS if isinstance(column.type, kind)), None)


_FORMS: Final[Sequence[tuple[type[TypeEngine[Any]], Callable[[Any], Any]]]] = (
    (UtcDateTime, utc_text),
    (Date, date.isoformat),
    (LargeBinary, bytes.hex),
)
