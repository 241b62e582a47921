"""The rows of a package that was stored and read back: record, search terms, package, copies, offsets, retention, events, next job.

All in the one transaction that says STORED (DESIGN section 6). What is held in memory does not grow with the number of files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select, update

from archive_service.audit import record_event, software
from archive_service.db import Work
from archive_service.digests import Digest
from archive_service.dossier import Dossier
from archive_service.dossier_columns import coded_columns, record_columns
from archive_service.followup import enqueue
from archive_service.ids import derived_id, new_id, record_id
from archive_service.lifecycle import LockedSubmission, lock_submission, transition
from archive_service.models import (
    Aip,
    AipCopy,
    Component,
    EventType,
    HoldRecord,
    JobKind,
    Record,
    RecordTerm,
    RetentionAssignment,
    State,
    Submission,
)
from archive_service.packaging.aip import BuiltAip
from archive_service.packaging.content import AipContent
from archive_service.prepared import Prepared
from archive_service.rules import retention
from archive_service.textfold import index_terms

_AGENT: Final = software("transfer")
_ROWS_AT_ONCE: Final = 1000
"""Rows given to the database in one call: what is held for it does not grow with the number of files."""

# Statements are made once: making one costs about as much as running it. Rows go in as columns: nobody holds them as objects here.
_HELD: Final = Prepared(
    select(Record.component_count, Record.size_bytes, Record.retention_kind, Record.retention_due_on)
    .where(Record.id == bindparam("record"))
    .with_for_update()
)
_CHANGE: Final = update(Record).where(Record.id == bindparam("b_record"))
_TERMS: Final = Prepared(select(RecordTerm.term).where(RecordTerm.record_id == bindparam("record")))
_ASSIGNED: Final = Prepared(
    select(func.count().label("count"))
    .select_from(RetentionAssignment)
    .where(RetentionAssignment.record_id == bindparam("record"))
)
_UNDER_HOLD: Final = Prepared(select(HoldRecord.record_id).where(HoldRecord.record_id == bindparam("record")).limit(1))
_BECAME: Final = Prepared(
    update(Submission).where(Submission.id == bindparam("b_submission")).values(record_id=bindparam("b_record"))
)
_LIES_AT: Final = Prepared(
    update(Component)
    .where(Component.submission_id == bindparam("b_submission"), Component.component_id == bindparam("b_component"))
    .values(aip_id=bindparam("b_aip"), entry_path=bindparam("b_path"), entry_offset=bindparam("b_offset"))
)
_ADD_RECORD: Final = Prepared(insert(Record).inline())
_ADD_TERMS: Final = Prepared(insert(RecordTerm).inline())
_ADD_ASSIGNMENT: Final = Prepared(insert(RetentionAssignment).inline())
_ADD_AIP: Final = Prepared(insert(Aip).inline())
_ADD_COPIES: Final = Prepared(insert(AipCopy).inline())


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCopy:
    """A copy that was read back from its location with the right digest."""

    location: str
    version_id: str | None
    digest: Digest
    verified_at: datetime
    locked_until: date | None
    """As told to the location when the copy was written (Object Lock)."""


def write_stored_rows(
    work: Work,
    submission_id: UUID,
    content: AipContent,
    built: BuiltAip,
    key: str,
    verified: Sequence[VerifiedCopy],
    *,
    at: datetime,
) -> None:
    """Writes them, unless another worker has already.

    Raises:
        NotFound: no such submission.
    """
    submission = lock_submission(work, submission_id)
    if submission.state is not State.APPROVED:
        return
    record = record_id(content.dossier.archiving_agency, content.dossier.dossier_code)
    aip = derived_id("aip", built.objid)
    assignment = retention.from_json(content.retention)
    _accession(work, record, content, submission, assignment, at=at)
    _ADD_AIP.run(work, _aip_row(aip, record, submission_id, content, built, key))
    _ADD_COPIES.run_each(work, [_copy_row(aip, copy) for copy in verified])
    _note_offsets(work, submission_id, aip, built)
    _BECAME.run(work, {"b_submission": submission_id, "b_record": record})
    detail = {
        "record_id": str(record),
        "aip": built.objid,
        "version": content.version,
        "sha256": built.digest.hex,
        "size_bytes": built.size_bytes,
        "copies": [{"location": copy.location, "read_back_sha256": copy.digest.hex} for copy in verified],
    }
    transition(work, submission, State.STORED, agent=_AGENT, at=at, detail=detail)
    agency = content.dossier.archiving_agency
    added = EventType.RECORD_ACCESSIONED if content.version == 1 else EventType.RECORD_VERSION_ADDED
    record_event(work, added, record, agency, agent=_AGENT, at=at, detail=detail)
    record_event(
        work,
        EventType.RECORD_RETENTION_ASSIGNED,
        record,
        agency,
        agent=_AGENT,
        at=at,
        detail={
            "kind": assignment.kind.value,
            "due_on": assignment.due_on.isoformat() if assignment.due_on else None,
            "rule_set": assignment.rule_set_id,
            "rule_set_version": assignment.rule_set_version,
            "rule_set_digest": assignment.rule_set_digest,
            "rule_id": assignment.deciding_rule_id,
        },
    )
    # Its earlier packages are kept as long; a hold is on all of them, and may have been placed before the first came.
    if content.version > 1 or _UNDER_HOLD.first(work, {"record": record}):
        enqueue(work, JobKind.APPLY_LOCKS, record, at=at)
    enqueue(work, JobKind.DISCARD_STAGING, submission_id, at=at)


def _accession(
    work: Work,
    record: UUID,
    content: AipContent,
    submission: LockedSubmission,
    assignment: retention.RetentionAssignment,
    *,
    at: datetime,
) -> None:
    """Writes the record, its search terms and its retention; a further version changes what the newest one says of it."""
    held = _HELD.first(work, {"record": record})
    kind, due_on = assignment.kind.value, assignment.due_on
    described = record_columns(content.dossier, content.version)
    if held is None:
        counted = {"component_count": submission.component_count, "size_bytes": submission.size_bytes}
        fixed = {"id": record, "state": State.STORED, "stored_at": at}
        fixed |= coded_columns(content.dossier, content.archive_code)
        _ADD_RECORD.run(work, fixed | described | counted | {"retention_kind": kind, "retention_due_on": due_on})
    else:
        changed: dict[str, Any] = {
            "component_count": held.component_count + submission.component_count,
            "size_bytes": held.size_bytes + submission.size_bytes,
        }
        if kept_for(kind, due_on) > kept_for(held.retention_kind, held.retention_due_on):
            changed |= {"retention_kind": kind, "retention_due_on": due_on}
        Prepared(_CHANGE.values({**described, **changed})).run(work, {"b_record": record})
    _index(work, record, content.dossier, known=held is not None)
    earlier = 0 if held is None else _ASSIGNED.first(work, {"record": record}).count
    _ADD_ASSIGNMENT.run(
        work,
        {
            "record_id": record,
            "ordinal": earlier + 1,
            "kind": kind,
            "due_on": due_on,
            "assigned_at": at,
            "assignment": content.retention,
        },
    )


def _index(work: Work, record: UUID, dossier: Dossier, *, known: bool) -> None:
    present = {row.term for row in _TERMS.rows(work, {"record": record})} if known else set()
    terms = index_terms(dossier.dossier_code, dossier.title, dossier.applicant.name)
    fresh = [{"term": term, "record_id": record} for term in terms if term not in present]
    _ADD_TERMS.run_each(work, fresh)


def _aip_row(
    aip: UUID, record: UUID, submission_id: UUID, content: AipContent, built: BuiltAip, key: str
) -> dict[str, Any]:
    return {
        "id": aip,
        "record_id": record,
        "submission_id": submission_id,
        "version": content.version,
        "objid": built.objid,
        "store_key": key,
        "sha256": built.digest.hex,
        "size_bytes": built.size_bytes,
        "csip_version": content.csip_version,
        "packaged_at": content.at,
    }


def _copy_row(aip: UUID, copy: VerifiedCopy) -> dict[str, Any]:
    return {
        "id": new_id(),
        "aip_id": aip,
        "location": copy.location,
        "version_id": copy.version_id,
        "read_back_sha256": copy.digest.hex,
        "verified_at": copy.verified_at,
        "state": "INTACT",
        "locked_until": copy.locked_until,
    }


def _note_offsets(work: Work, submission_id: UUID, aip: UUID, built: BuiltAip) -> None:
    components = (entry for entry in built.entries if entry.component_id is not None)
    while some := list(islice(components, _ROWS_AT_ONCE)):
        _LIES_AT.run_each(
            work,
            [
                {
                    "b_submission": submission_id,
                    "b_component": entry.component_id,
                    "b_aip": aip,
                    "b_path": entry.path,
                    "b_offset": entry.offset,
                }
                for entry in some
            ],
        )


def kept_for(kind: str, due_on: date | None) -> tuple[int, date]:
    """Orders retention of package versions: the longest wins (R062), and what no rule matched is kept rather than let go (R064)."""
    return {"PERMANENT": 2, "UNMATCHED": 1, "YEARS": 0}[kind], due_on or date.max
