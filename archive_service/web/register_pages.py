"""Registers on pages: every certified copy ever issued, and the audit log, newest first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy import select, union_all
from sqlalchemy.orm import Session

from archive_service.access.pages import MAX_NUMBER, newest_first
from archive_service.access.records import record_scope
from archive_service.copies.register import list_copies
from archive_service.copies.verification import typed_code
from archive_service.identity.permissions import Permission, in_scope
from archive_service.models import CertifiedCopy, Event, Record, Submission
from archive_service.web.templating import render
from archive_service.web.timeline import TimelineEntry, timeline
from archive_service.web.visitors import MemberDep, Visitor

router = APIRouter(include_in_schema=False)

PAGE: Final = 50
_DOSSIER: Final[Mapping[str, tuple[str, Permission]]] = MappingProxyType(
    {
        "submission": ("/submissions/", Permission.SUBMISSION_READ),
        "record": ("/records/", Permission.RECORD_SEARCH),
    }
)
"""Subjects of events that belong to a dossier: where their page is, and who may see it."""


@router.get("/copies")
def get_copies(
    request: Request, visitor: MemberDep, code: Annotated[str, Query(max_length=200)] = "", cursor: str | None = None
) -> Response:
    """Shows the register of certified copies; a verification code finds its row."""
    wanted = typed_code(code)
    with visitor.service.database.read() as session:
        page = list_copies(session, visitor.principal, verify_code=wanted or None, cursor=cursor, limit=PAGE)
        records = _records(session, visitor, page.items)
        return render(request, visitor, "copies.html", page=page, records=records, code=wanted, cursor=cursor)


def _records(session: Session, visitor: Visitor, copies: Iterable[CertifiedCopy]) -> dict[UUID, Record]:
    """Returns the records of the copies that the person may open."""
    if not visitor.principal.may(Permission.RECORD_SEARCH):
        return {}
    query = select(Record).where(
        Record.id.in_({copy.record_id for copy in copies}), record_scope(visitor.principal, Permission.RECORD_SEARCH)
    )
    return {record.id: record for record in session.scalars(query)}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One event of the log."""

    event: Event
    told: TimelineEntry
    link: str | None
    """Page of its subject."""


@router.get("/audit")
def get_audit(
    request: Request,
    visitor: MemberDep,
    subject: Annotated[str, Query(max_length=100)] = "",
    cursor: Annotated[int | None, Query(ge=1, le=MAX_NUMBER)] = None,
) -> Response:
    """Shows the audit log within the person's agencies; a dossier's code, or the id of its record or submission, narrows it to that dossier."""
    visitor.principal.require(Permission.AUDIT_READ)
    subject = subject.strip()
    statement = select(Event).where(in_scope(visitor.principal, Permission.AUDIT_READ, Event.agency))
    with visitor.service.database.read() as session:
        if subject:
            # The kind is named so that the index of subjects is used.
            ids = _subjects(session, subject)
            statement = statement.where(Event.subject_kind.in_(list(_DOSSIER)), Event.subject_id.in_(ids))
        page = newest_first(session, statement, Event.seq, cursor=cursor, limit=PAGE)
        rows = _lines(page.items, visitor)
        return render(request, visitor, "audit.html", rows=rows, next=page.next, subject=subject, cursor=cursor)


def _subjects(session: Session, text: str) -> list[str]:
    """Returns the ids under which events of a dossier stand; the events themselves are kept to the person's agencies."""
    found = session.scalars(
        union_all(
            select(Submission.id).where(Submission.dossier_code == text),
            select(Record.id).where(Record.dossier_code == text),
        )
    )
    return [text, *map(str, found)]


def _lines(events: Sequence[Event], visitor: Visitor) -> list[AuditLine]:
    told = timeline(events, visitor.language)
    return [
        AuditLine(event=event, told=entry, link=_link(event, visitor))
        for event, entry in zip(events, told, strict=True)
    ]


def _link(event: Event, visitor: Visitor) -> str | None:
    place, permission = _DOSSIER.get(event.subject_kind, ("", Permission.AUDIT_READ))
    return f"{place}{event.subject_id}" if place and visitor.principal.may(permission) else None
