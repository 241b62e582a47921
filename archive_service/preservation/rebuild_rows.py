"""The rows of one stored AIP, from the AIP itself and the sealed events about it: what `transfer.store` wrote, written again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from archive_service.findings import Severity
from archive_service.followup import enqueue
from archive_service.ids import derived_id, new_id, record_id
from archive_service.ingest.submissions import PushedDossier, describe, read_dossier
from archive_service.models import (
    TRANSITIONS,
    Aip,
    AipCopy,
    Component,
    Decision,
    Event,
    EventType,
    JobKind,
    Record,
    RecordTerm,
    RetentionAssignment,
    SignatureVerdict,
    State,
    Submission,
    SubmissionFinding,
)
from archive_service.packaging.aip_reader import AipMetadata
from archive_service.rules import retention
from archive_service.textfold import index_terms

STORED_EVENTS: Final = (EventType.RECORD_ACCESSIONED, EventType.RECORD_VERSION_ADDED)
_RECORD_STATES: Final[Mapping[EventType, State]] = {
    event: to for (_, to), event in TRANSITIONS.items() if event.value.startswith("record.")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAip:
    """One AIP object as found at the location."""

    key: str
    version_id: str | None
    sha256: str
    size_bytes: int
    metadata: AipMetadata
    location: str
    read_at: datetime


def stored_event(session: Session, metadata: AipMetadata) -> Event | None:
    """Returns the sealed event that says this AIP was stored; None when it happened after the last seal."""
    record = record_id(metadata.dossier.archiving_agency, metadata.dossier.dossier_code)
    query = select(Event).where(
        Event.subject_kind == "record", Event.subject_id == str(record), Event.type.in_(STORED_EVENTS)
    )
    return next((event for event in session.scalars(query) if event.detail.get("aip") == metadata.objid), None)


def add_rows(session: Session, found: StoredAip, stored: Event | None) -> None:
    """Adds every row of one AIP; the caller has compared its digest with `stored`. An AIP that is there already is left."""
    aip_id = derived_id("aip", found.metadata.objid)
    if session.get(Aip, aip_id) is not None:
        return
    pushed = read_dossier(found.metadata.dossier_json)
    stored_at = stored.at if stored is not None else found.metadata.at
    submission = _submission(session, found, pushed, stored_at)
    record = _record(session, found, submission, stored_at)
    submission.record_id = record.id
    session.add(
        Aip(
            id=aip_id,
            record_id=record.id,
            submission_id=submission.id,
            version=found.metadata.version,
            objid=found.metadata.objid,
            store_key=found.key,
            sha256=found.sha256,
            size_bytes=found.size_bytes,
            csip_version=str(found.metadata.csip_version),
            packaged_at=submission.decided_at or found.metadata.at,
        )
    )
    session.flush()
    _components(session, found, submission.id, aip_id)
    _checks(session, found.metadata, submission.id)
    _copies(session, found, stored, aip_id)
    _retention(session, record, found.metadata, stored_at)
    _terms(session, record, found.metadata)
    # What the documents say is read again from them: it is derived, and not in the state hash.
    enqueue(session, JobKind.EXTRACT_TEXT, aip_id, at=found.read_at)


def _submission(session: Session, found: StoredAip, pushed: PushedDossier, stored_at: datetime) -> Submission:
    intake = found.metadata.intake
    severities = [finding["severity"] for finding in found.metadata.findings]
    submission = Submission(
        id=UUID(intake["submission_id"]),
        state=State.STORED,
        form=intake["form"],
        source_system=intake["source_system"],
        sent_at=_time(intake["sent_at"]),
        opened_at=_time(intake["received_at"]) or stored_at,
        completed_at=_time(intake["completed_at"]),
        checked_at=_time(intake["checked_at"]),
        decided_at=found.metadata.at,
        stored_at=stored_at,
        error_count=severities.count(Severity.ERROR.value),
        warning_count=severities.count(Severity.WARNING.value),
        retention=dict(found.metadata.retention),
    )
    describe(submission, pushed)
    submission.received_count = submission.component_count
    submission.policies = intake["policies"]
    submission = session.merge(submission)  # a restored database may hold it as still on its way
    session.flush()
    _decision(session, submission)
    return submission


def _decision(session: Session, submission: Submission) -> None:
    query = select(Event).where(
        Event.subject_kind == "submission",
        Event.subject_id == str(submission.id),
        Event.type == EventType.SUBMISSION_APPROVED,
    )
    event = session.scalars(query).one_or_none()
    if event is None:
        return
    batch = event.detail.get("batch_id")
    submission.decided_at = event.at
    session.add(
        Decision(
            submission_id=submission.id,
            kind="approve",
            reason=event.detail["reason"],
            agent_id=event.agent_id,
            agent_name=event.agent_name,
            decided_at=event.at,
            batch_id=UUID(batch) if batch else None,
        )
    )


def _record(session: Session, found: StoredAip, submission: Submission, stored_at: datetime) -> Record:
    dossier, version = found.metadata.dossier, found.metadata.version
    key = record_id(dossier.archiving_agency, dossier.dossier_code)
    record = session.get(Record, key)
    if record is None:
        record = Record(
            id=key,
            state=record_state(session, key),
            dossier_code=dossier.dossier_code,
            archive_file_code=f"{found.metadata.archive_code}.{dossier.dossier_code}",
            archiving_agency=dossier.archiving_agency,
            stored_at=stored_at,
            current_version=0,
            size_bytes=0,
            component_count=0,
            retention_kind="UNMATCHED",
        )
        session.add(record)
    if version > record.current_version:
        for name in ("settling_agency", "receiving_agency", "procedure_code", "procedure_name", "field", "title"):
            setattr(record, name, getattr(submission, name))
        record.applicant_name = dossier.applicant.name
        record.outcome, record.access_mode = dossier.outcome.value, dossier.access_mode
        record.closed_at, record.current_version = dossier.closed_at, version
    record.stored_at = min(record.stored_at, stored_at)
    record.component_count += submission.component_count
    record.size_bytes += submission.size_bytes
    session.flush()
    return record


def record_state(session: Session, key: UUID) -> State:
    """Returns the state a record's events lead to."""
    query = select(Event.type).where(
        Event.subject_kind == "record", Event.subject_id == str(key), Event.type.in_(list(_RECORD_STATES))
    )
    last = session.scalars(query.order_by(Event.seq.desc()).limit(1)).one_or_none()
    return State.STORED if last is None else _RECORD_STATES[last]


def _components(session: Session, found: StoredAip, submission_id: UUID, aip_id: UUID) -> None:
    files = {file.component_id: file for file in found.metadata.files}
    entries = {entry.component_id: entry for entry in found.metadata.entries if entry.component_id is not None}
    rows = []
    for ordinal, component in enumerate(found.metadata.dossier.components, start=1):
        file, entry = files[component.id], entries[component.id]
        rows.append(
            {
                "submission_id": submission_id,
                "ordinal": ordinal,
                "component_id": component.id,
                "path": component.path,
                "role": component.role.value,
                "origin": component.origin.value,
                "title": component.title,
                "declared_sha256": component.sha256.lower(),
                "declared_size_bytes": component.size_bytes,
                "mime": file.mime,
                "puid": file.puid,
                "format_name": file.format_name,
                "format_version": file.format_version,
                "aip_id": aip_id,
                "entry_path": entry.path,
                "entry_offset": entry.offset,
            }
        )
    session.execute(insert(Component), rows)


def _checks(session: Session, metadata: AipMetadata, submission_id: UUID) -> None:
    findings = [
        {
            "submission_id": submission_id,
            "ordinal": ordinal,
            "code": finding["code"],
            "severity": Severity(finding["severity"]),
            "location": finding["location"],
            "params": finding["params"],
        }
        for ordinal, finding in enumerate(metadata.findings, start=1)
    ]
    verdicts = [
        _verdict(submission_id, component_id, ordinal, report)
        for component_id, reports in metadata.signature_reports.items()
        for ordinal, report in enumerate(reports, start=1)
    ]
    for table, rows in ((SubmissionFinding, findings), (SignatureVerdict, verdicts)):
        if rows:
            session.execute(insert(table), rows)


def _verdict(submission_id: UUID, component_id: str, ordinal: int, report: Mapping[str, Any]) -> dict[str, Any]:
    signer = report["signer"]
    return {
        "submission_id": submission_id,
        "component_id": component_id,
        "ordinal": ordinal,
        "kind": report["kind"],
        "indication": report["indication"],
        "sub_indication": report["sub_indication"],
        "level": report["level"],
        "signer": signer[:500] if signer else None,
        "signing_time": _time(report["signing_time"]),
        "report": dict(report),
    }


def _copies(session: Session, found: StoredAip, stored: Event | None, aip_id: UUID) -> None:
    """The copy that was read is INTACT; the others are known from the event only and say so until fixity has read them."""
    session.add(
        AipCopy(
            id=new_id(),
            aip_id=aip_id,
            location=found.location,
            version_id=found.version_id,
            read_back_sha256=found.sha256,
            verified_at=found.read_at,
            state="INTACT",
        )
    )
    for copy in stored.detail["copies"] if stored is not None else ():
        if copy["location"] != found.location and stored is not None:
            session.add(
                AipCopy(
                    id=new_id(),
                    aip_id=aip_id,
                    location=copy["location"],
                    read_back_sha256=copy["read_back_sha256"],
                    verified_at=stored.at,
                    state="UNREAD",
                )
            )


def _retention(session: Session, record: Record, metadata: AipMetadata, at: datetime) -> None:
    assignment = retention.from_json(metadata.retention)
    session.add(
        RetentionAssignment(
            record_id=record.id,
            ordinal=metadata.version,
            kind=assignment.kind.value,
            due_on=assignment.due_on,
            assigned_at=at,
            assignment=dict(metadata.retention),
        )
    )
    session.flush()
    rows = session.execute(
        select(RetentionAssignment.kind, RetentionAssignment.due_on).where(RetentionAssignment.record_id == record.id)
    )
    weight = {"PERMANENT": 2, "UNMATCHED": 1, "YEARS": 0}  # the longest wins (R062), unmatched is kept (R064)
    longest = max(rows, key=lambda row: (weight[row.kind], row.due_on or date.max))
    record.retention_kind, record.retention_due_on = longest.kind, longest.due_on


def _terms(session: Session, record: Record, metadata: AipMetadata) -> None:
    known = set(session.scalars(select(RecordTerm.term).where(RecordTerm.record_id == record.id)))
    terms = index_terms(metadata.dossier.dossier_code, metadata.dossier.title, metadata.dossier.applicant.name)
    fresh = [{"term": term, "record_id": record.id} for term in terms if term not in known]
    if fresh:
        session.execute(insert(RecordTerm), fresh)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
