"""Packaging and storing an approved submission: one AIP, every copy of the policy written and read back, then one commit.

Write order (DESIGN section 6): AIP to staging, fsync → copy 1..n, create-only and locked → read back each → one transaction with state,
copies, offsets, retention, events and the jobs for copies that come later. The commit is the sole commit point; before it a crash leaves
objects that the retry finds with the same key and the same bytes. "Stored" is said only when every copy the policy wants before it was read
back with the right digest (R013, LESSONS 10).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import append_event, software
from archive_service.digests import Digest
from archive_service.dossier import Dossier
from archive_service.errors import ArchiveError, StoreUnavailable
from archive_service.followup import enqueue
from archive_service.formats.rendition import may_be_rendered
from archive_service.ids import derived_id, record_id
from archive_service.ingest.submissions import find_submission
from archive_service.legal_hold import holds_on
from archive_service.lifecycle import locked_submission, transition
from archive_service.models import (
    Aip,
    AipCopy,
    Component,
    EventType,
    JobKind,
    Record,
    RecordTerm,
    RetentionAssignment,
    State,
    Submission,
)
from archive_service.packaging.aip import BuiltAip, build_aip
from archive_service.packaging.content import AipContent
from archive_service.placement import placement
from archive_service.rules import retention
from archive_service.service import Service
from archive_service.storage.durable import durable_file
from archive_service.storage.lock_dates import beginning_of, lock_date
from archive_service.storage.port import ReadBackOutcome, read_back, store_key
from archive_service.textfold import index_terms
from archive_service.transfer.package import aip_content

AIP_STAGED_NAME: Final = "aip.zip"
_AGENT: Final = software("transfer")


class CopyNotVerified(ArchiveError):
    """A copy just written could not be read back with the right bytes; the record is not stored and the job is tried again."""

    code = "COPY_NOT_VERIFIED"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCopy:
    """A copy that was read back from its location with the right digest."""

    location: str
    version_id: str | None
    digest: Digest
    verified_at: datetime
    locked_until: date | None
    """As told to the location when the copy was written (Object Lock)."""


def store_submission(service: Service, submission_id: UUID) -> None:
    """Packages and stores an approved submission; idempotent, so a second run after any crash ends in the same state.

    Raises:
        StoreUnavailable: a location could not be written or read now; try again.
        StoredObjectDiffers: a location holds other bytes under the key: an alarm, nothing was overwritten.
        CopyNotVerified: a copy was read back with other bytes.
    """
    with service.database.read() as session:
        submission = find_submission(session, submission_id)
        if submission.state is not State.APPROVED:
            return
        content = aip_content(session, service.staging, submission, service.settings)
        where = placement(service, session)
        due_on = _due_on(session, content, submission)
    staged = service.staging.path(submission_id, AIP_STAGED_NAME)
    with durable_file(staged, replace=True) as target:
        built = build_aip(content, target)
    key = object_key(content.dossier, built)
    level = int(content.dossier.access_mode)
    verified = [_copy(service, submission_id, location, key, built, due_on) for location in where.before_stored(level)]
    with service.database.write() as session:
        at = clock.unique_now()
        _commit_stored(session, submission_id, content, built, key, verified, at=at)
        if where.later(level):
            enqueue(session, JobKind.COPY_PACKAGE, derived_id("aip", built.objid), at=at)
        if service.settings.renditions and any(may_be_rendered(file.component.path) for file in content.files):
            later = at + timedelta(seconds=service.settings.rendition_delay_s)
            enqueue(session, JobKind.MAKE_RENDITIONS, derived_id("aip", built.objid), at=at, run_at=later)
        if service.settings.text_search:
            later = at + timedelta(seconds=service.settings.rendition_delay_s)
            enqueue(session, JobKind.EXTRACT_TEXT, derived_id("aip", built.objid), at=at, run_at=later)


def object_key(dossier: Dossier, built: BuiltAip) -> str:
    """Returns the storage key of an AIP: agency, year the work ended, a part of its UUID, file name.

    Never shared between packages (LESSONS 16); the part of the UUID keeps folders small on file systems.
    """
    year, uuid = clock.civil_date(dossier.closed_at).year, built.file_name.removesuffix(".zip")[-36:]
    return f"aip/{dossier.archiving_agency}/{year}/{uuid[:2]}/{built.file_name}"


def _due_on(session: Session, content: AipContent, submission: Submission) -> date | None:
    """Returns when the record falls due, this package included: the longer of what it had and what this one brings."""
    key = record_id(content.dossier.archiving_agency, content.dossier.dossier_code)
    query = select(Record.retention_kind, Record.retention_due_on).where(Record.id == key)
    assignment = retention.from_json(submission.retention)
    known = [(kind, due_on) for kind, due_on in session.execute(query)]
    return max([*known, (assignment.kind.value, assignment.due_on)], key=lambda each: _weight(*each))[1]


def _copy(
    service: Service, submission_id: UUID, location: str, key: str, built: BuiltAip, due_on: date | None
) -> VerifiedCopy:
    """Writes one copy, locked from its first moment where the location locks, and reads it back."""
    store = service.stores[location]
    until = lock_date(service.layout.locations[location], due_on, on=clock.today())
    with service.staging.path(submission_id, AIP_STAGED_NAME).open("rb") as source:
        stored = store.put(
            store_key(key),
            source,
            expected=built.digest,
            size_bytes=built.size_bytes,
            retain_until=beginning_of(until) if until else None,
        )
    answer = read_back(
        store, store_key(key), expected=built.digest, size_bytes=built.size_bytes, version_id=stored.version_id
    )
    if answer.outcome is ReadBackOutcome.COULD_NOT_CHECK:
        raise StoreUnavailable(f"copy on {location} could not be read back: {answer.reason}", location=location)
    if answer.outcome is not ReadBackOutcome.INTACT or answer.digest is None:
        raise CopyNotVerified(f"copy on {location} is {answer.outcome}: {answer.reason}", location=location)
    return VerifiedCopy(
        location=location,
        version_id=stored.version_id,
        digest=answer.digest,
        verified_at=clock.now(),
        locked_until=until,
    )


def _commit_stored(
    session: Session,
    submission_id: UUID,
    content: AipContent,
    built: BuiltAip,
    key: str,
    verified: Sequence[VerifiedCopy],
    *,
    at: datetime,
) -> None:
    submission = locked_submission(session, submission_id)
    if submission.state is not State.APPROVED:
        return
    record = _accession(session, content, submission, at=at)
    aip = _add_aip(session, record, submission, content, built, key)
    session.add_all(
        AipCopy(
            aip_id=aip.id,
            location=copy.location,
            version_id=copy.version_id,
            read_back_sha256=copy.digest.hex,
            verified_at=copy.verified_at,
            state="INTACT",
            locked_until=copy.locked_until,
        )
        for copy in verified
    )
    session.flush()
    _note_offsets(session, submission_id, aip.id, built)
    submission.stored_at = at
    submission.record_id = record.id
    detail = {
        "record_id": str(record.id),
        "aip": aip.objid,
        "version": aip.version,
        "sha256": aip.sha256,
        "size_bytes": aip.size_bytes,
        "copies": [{"location": copy.location, "read_back_sha256": copy.digest.hex} for copy in verified],
    }
    transition(session, submission, State.STORED, agent=_AGENT, at=at, detail=detail)
    append_event(
        session,
        EventType.RECORD_ACCESSIONED if aip.version == 1 else EventType.RECORD_VERSION_ADDED,
        subject_kind="record",
        subject_id=record.id,
        agency=record.archiving_agency,
        agent=_AGENT,
        at=at,
        detail=detail,
    )
    _assign_retention(session, record, submission, at=at)
    if aip.version > 1 or holds_on(session, record.id):
        enqueue(session, JobKind.APPLY_LOCKS, record.id, at=at)
    enqueue(session, JobKind.DISCARD_STAGING, submission_id, at=at)


def _accession(session: Session, content: AipContent, submission: Submission, *, at: datetime) -> Record:
    dossier = content.dossier
    record = session.get(Record, record_id(dossier.archiving_agency, dossier.dossier_code), with_for_update=True)
    if record is None:
        record = Record(
            id=record_id(dossier.archiving_agency, dossier.dossier_code),
            state=State.STORED,
            dossier_code=dossier.dossier_code,
            archive_file_code=f"{content.archive_code}.{dossier.dossier_code}",
            archiving_agency=dossier.archiving_agency,
            stored_at=at,
            size_bytes=0,
            component_count=0,
            retention_kind="UNMATCHED",
        )
        session.add(record)
    record.settling_agency = dossier.settling_agency
    record.receiving_agency = dossier.receiving_agency
    record.procedure_code = dossier.procedure_code
    record.procedure_name = dossier.procedure_name
    record.field = dossier.field
    record.title = dossier.title
    record.applicant_name = dossier.applicant.name
    record.outcome = dossier.outcome.value
    record.access_mode = dossier.access_mode
    record.closed_at = dossier.closed_at
    record.current_version = content.version
    record.component_count += submission.component_count
    record.size_bytes += submission.size_bytes
    session.flush()
    _index(session, record, dossier)
    return record


def _index(session: Session, record: Record, dossier: Dossier) -> None:
    known = set(session.scalars(select(RecordTerm.term).where(RecordTerm.record_id == record.id)))
    terms = index_terms(dossier.dossier_code, dossier.title, dossier.applicant.name)
    fresh = [{"term": term, "record_id": record.id} for term in terms if term not in known]
    if fresh:
        session.execute(insert(RecordTerm), fresh)


def _add_aip(
    session: Session, record: Record, submission: Submission, content: AipContent, built: BuiltAip, key: str
) -> Aip:
    aip = Aip(
        id=derived_id("aip", built.objid),
        record_id=record.id,
        submission_id=submission.id,
        version=content.version,
        objid=built.objid,
        store_key=key,
        sha256=built.digest.hex,
        size_bytes=built.size_bytes,
        csip_version=content.csip_version,
        packaged_at=content.at,
    )
    session.add(aip)
    session.flush()
    return aip


def _note_offsets(session: Session, submission_id: UUID, aip_id: UUID, built: BuiltAip) -> None:
    statement = (
        update(Component)
        .where(
            Component.__table__.c.submission_id == bindparam("b_submission"),
            Component.__table__.c.component_id == bindparam("b_component"),
        )
        .values(aip_id=aip_id, entry_path=bindparam("b_path"), entry_offset=bindparam("b_offset"))
    )
    rows = [
        {
            "b_submission": submission_id,
            "b_component": entry.component_id,
            "b_path": entry.path,
            "b_offset": entry.offset,
        }
        for entry in built.entries
        if entry.component_id is not None
    ]
    session.connection().execute(statement, rows)


def _assign_retention(session: Session, record: Record, submission: Submission, *, at: datetime) -> None:
    assignment = retention.from_json(submission.retention)
    earlier = select(func.count()).select_from(RetentionAssignment).where(RetentionAssignment.record_id == record.id)
    ordinal = (session.scalar(earlier) or 0) + 1
    session.add(
        RetentionAssignment(
            record_id=record.id,
            ordinal=ordinal,
            kind=assignment.kind.value,
            due_on=assignment.due_on,
            assigned_at=at,
            assignment=submission.retention or {},
        )
    )
    if ordinal == 1 or _weight(assignment.kind.value, assignment.due_on) > _weight(
        record.retention_kind, record.retention_due_on
    ):
        record.retention_kind, record.retention_due_on = assignment.kind.value, assignment.due_on
    append_event(
        session,
        EventType.RECORD_RETENTION_ASSIGNED,
        subject_kind="record",
        subject_id=record.id,
        agency=record.archiving_agency,
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


def _weight(kind: str, due_on: date | None) -> tuple[int, date]:
    """Orders retention of package versions: the longest wins (R062), and what no rule matched is kept rather than let go (R064)."""
    return {"PERMANENT": 2, "UNMATCHED": 1, "YEARS": 0}[kind], due_on or date.max
