"""Submissions in which malware was found: refused, their bytes set aside, never stored, removed after a while.

Order: the check refuses the submission and commits the finding → the folder is moved from staging to quarantine in one rename, readable
for the service's account alone → the event. After a crash the next run finds the folder in one of the two places and goes on.
"""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, exists, select
from sqlalchemy.orm import Session

from archive_service.audit import append_event, software
from archive_service.db import Work
from archive_service.models import Event, EventType, Submission, SubmissionFinding
from archive_service.prepared import Prepared
from archive_service.service import Service
from archive_service.storage import durable

INFECTED: Final = "VIRUS_FOUND"
_AGENT: Final = software("quarantine")
_KIND: Final = "submission"


def is_infected(session: Work, submission_id: UUID) -> bool:
    """Returns whether the check found malware in a submission."""
    return _INFECTED.first(session, {"submission": submission_id}) is not None


_INFECTED: Final = Prepared(
    select(SubmissionFinding.ordinal)
    .where(SubmissionFinding.submission_id == bindparam("submission"), SubmissionFinding.code == INFECTED)
    .limit(1)
)


def quarantine(service: Service, submission_id: UUID, *, at: datetime) -> None:
    """Moves the staged bytes of an infected submission into quarantine and records it; safe to repeat.

    Raises:
        StoreUnavailable: the folder could not be moved; repeat.
    """
    source = service.settings.staging_dir / str(submission_id)
    target = service.settings.quarantine_dir / str(submission_id)
    durable.make_directories(target.parent)
    with durable.os_errors("move to quarantine", str(submission_id)):
        target.parent.chmod(0o700)
        if source.is_dir() and not target.exists():
            for entry in sorted(source.iterdir()):
                if entry.is_symlink():
                    entry.unlink()
                else:
                    entry.chmod(0o600)
            source.rename(target)
    durable.sync_directory(target.parent)
    durable.sync_directory(source.parent)
    if target.is_dir():
        with service.database.write() as session:
            _record(session, submission_id, at=at)


def _record(session: Session, submission_id: UUID, *, at: datetime) -> None:
    if _happened(session, submission_id, EventType.SUBMISSION_QUARANTINED):
        return
    query = select(SubmissionFinding).where(
        SubmissionFinding.submission_id == submission_id, SubmissionFinding.code == INFECTED
    )
    found = session.scalars(query.order_by(SubmissionFinding.ordinal)).all()
    detail = {"infected": [{"component": row.location, "signature": row.params.get("signature")} for row in found]}
    _append(session, submission_id, EventType.SUBMISSION_QUARANTINED, detail, at=at)


def _happened(session: Session, submission_id: UUID, event_type: EventType) -> bool:
    query = exists().where(
        Event.subject_kind == _KIND, Event.subject_id == str(submission_id), Event.type == event_type
    )
    return bool(session.scalar(select(query)))


def _append(
    session: Session, submission_id: UUID, event_type: EventType, detail: dict[str, Any], *, at: datetime
) -> None:
    submission = session.get(Submission, submission_id)
    append_event(
        session,
        event_type,
        subject_kind=_KIND,
        subject_id=submission_id,
        agency=submission.archiving_agency if submission else None,
        agent=_AGENT,
        at=at,
        detail=detail,
    )


def sweep_quarantine(service: Service, *, at: datetime) -> int:
    """Removes what has been in quarantine longer than configured, each with an event; returns how many submissions."""
    folder, removed = service.settings.quarantine_dir, 0
    if not folder.is_dir():
        return 0
    oldest = at - timedelta(days=service.settings.quarantine_days)
    with durable.os_errors("list", folder.name):
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    for entry in entries:
        submission_id = UUID(entry.name)
        with service.database.read() as session:
            moved = select(Event.at).where(
                Event.subject_kind == _KIND,
                Event.subject_id == str(submission_id),
                Event.type == EventType.SUBMISSION_QUARANTINED,
            )
            since = session.scalar(moved)
        if since is None or since >= oldest:
            continue
        durable.remove_flat_folder(entry)
        with service.database.write() as session:
            _append(session, submission_id, EventType.SUBMISSION_QUARANTINE_ENDED, {"since": since.isoformat()}, at=at)
        removed += 1
    return removed
