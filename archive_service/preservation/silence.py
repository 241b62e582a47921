"""Copies that could not be checked again and again: neither intact nor damaged, so somebody must look (LESSONS 42)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from archive_service.audit import append_event, software
from archive_service.models import AipCopy, CopySilence, EventType, ObjectCopy
from archive_service.preservation.object_copies import open_incident_of

UNREADABLE: Final = "UNREADABLE"
"""What an incident says of a copy that was not read."""
_AGENT: Final = software("fixity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a copy may stay unchecked before it becomes an incident."""

    runs: int
    """So many runs in which it could not be checked, one after the other."""
    age: timedelta
    """Or so long since the first of them."""


def silence_is_too_long(session: Session, copy_id: UUID, patience: Patience, reason: str, *, at: datetime) -> bool:
    """Notes that a copy could not be checked once more and returns whether that is too often or too long."""
    row = session.get(CopySilence, copy_id, with_for_update=True)
    if row is None:
        row = CopySilence(copy_id=copy_id, since=at, runs=0, reason=reason)
        session.add(row)
    row.runs, row.reason = row.runs + 1, reason
    session.flush()
    return row.runs >= patience.runs or at - row.since >= patience.age


def silence_over(session: Session, copy_id: UUID) -> None:
    """Notes that a copy was read, whatever was found."""
    row = session.get(CopySilence, copy_id)
    if row is not None:
        session.delete(row)


def silence_ended(session: Session, held: AipCopy | ObjectCopy, record_id: UUID, agency: str, *, at: datetime) -> None:
    """Notes that a copy was read intact, and closes the incident that its silence had become."""
    silence_over(session, held.id)
    incident = open_incident_of(session, held)
    if incident is None or incident.found != UNREADABLE:
        return
    incident.cause, incident.remedy = "it could not be read for a while", "none needed: it was read intact again"
    incident.status, incident.closed_at = "RECOVERED", at
    detail = {
        "aip_id": str(incident.aip_id),
        "location": incident.location,
        "found": incident.found,
        "status": incident.status,
        "notice": incident.notice,
        "cause": incident.cause,
        "remedy": incident.remedy,
        "source_location": None,
        "quarantine_key": None,
        "record_id": str(record_id),
    }
    append_event(
        session,
        EventType.INCIDENT_RECOVERED,
        subject_kind="incident",
        subject_id=incident.id,
        agency=agency,
        agent=_AGENT,
        at=at,
        detail=detail,
    )
