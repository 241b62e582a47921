"""Archived records: search, and one record with its documents, signatures, retention, history and copies."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.access import records as access
from archive_service.access.pages import MAX_NUMBER, last_first
from archive_service.access.snippets import find_snippets
from archive_service.access.text_index import available, terms_of
from archive_service.audit import events_of
from archive_service.copies import register
from archive_service.errors import NotFound
from archive_service.identity.permissions import Permission, Principal
from archive_service.ids import new_id
from archive_service.legal_hold import holds_on
from archive_service.models import Account, CertifiedCopy, Component, Record, SignatureVerdict, State
from archive_service.models.states import RECORD_STATES
from archive_service.renditions.standing import standings
from archive_service.rules import retention
from archive_service.web.queue import verdicts_of
from archive_service.web.templating import render
from archive_service.web.timeline import timeline
from archive_service.web.visitors import MemberDep

router = APIRouter(include_in_schema=False)

PAGE: Final = 50
COMPONENTS: Final = 200
_EVENTS: Final = 200
SeenNumber = Annotated[int, Query(ge=0, le=MAX_NUMBER)]
_ISSUED: Final = 200
"""Certified copies shown, the last issued first; the API lists all."""
_VERDICTS: Final = 500
_COPYABLE: Final = frozenset({"application/pdf", "image/jpeg", "image/png", "image/tiff"})
"""What has pages; the stage that renders copies has the last word."""
_SHOWN_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif"})
_SHOWN_FRAMES: Final = frozenset({"application/pdf", "text/plain"})


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None


@router.get("/records")
def get_records(
    request: Request,
    visitor: MemberDep,
    q: Annotated[str, Query(max_length=200)] = "",
    state: str = "",
    procedure: Annotated[str, Query(max_length=100)] = "",
    agency: Annotated[str, Query(max_length=40)] = "",
    due_before: Annotated[str, Query(max_length=10)] = "",
    cursor: str | None = None,
) -> Response:
    """Searches records by code, title, applicant and what their documents say; without words, lists the last stored."""
    states = {value.value for value in RECORD_STATES}
    query = access.RecordQuery(
        anywhere=q.strip() or None,
        state=State(state) if state in states else None,
        procedure_code=procedure.strip() or None,
        archiving_agency=agency.strip() or None,
        due_before=_date(due_before),
        cursor=cursor,
        limit=PAGE,
    )
    with visitor.service.database.read() as session:
        page = access.list_records(session, query, visitor.principal)
        typed = {"q": q, "state": state, "procedure": procedure, "agency": agency, "due_before": due_before}
        return render(
            request,
            visitor,
            "records.html",
            page=page,
            typed=typed,
            snippets=find_snippets(session, [row.id for row in page.items], terms_of(q), visitor.principal),
            searches_content=visitor.principal.may(Permission.RECORD_READ),
            has_index=available(session),
            cursor=cursor,
            filtered=any(value for name, value in typed.items() if name != "q"),
            states=sorted(states),
        )


@router.get("/records/{record_id}")
def get_record(
    record_id: UUID,
    request: Request,
    visitor: MemberDep,
    view: Annotated[str | None, Query(max_length=100)] = None,
    after: SeenNumber = 0,
    events_after: SeenNumber = 0,
) -> Response:
    """Shows one record; `view` names the component to show in the page."""
    principal = visitor.principal
    with visitor.service.database.read() as session:
        record = access.find_record(session, record_id, principal, Permission.RECORD_SEARCH)
        aips = access.versions(session, record_id)
        if not aips:
            raise NotFound(f"record {record_id} has no package")
        components = access.components(session, aips[0].id, after=after, limit=COMPONENTS + 1)
        events = events_of(
            session,
            [("record", record_id), *(("submission", aip.submission_id) for aip in aips)],
            after_seq=events_after,
            limit=_EVENTS + 1,
        )
        assignments = access.assignments(session, record_id)
        assignment = retention.from_json(assignments[0].assignment) if assignments else None
        may = _abilities(principal, record)
        return render(
            request,
            visitor,
            "record.html",
            record=record,
            aips=aips,
            copies=access.copies(session, [aip.id for aip in aips]),
            components=components[:COMPONENTS],
            more_components=components[COMPONENTS - 1].ordinal if len(components) > COMPONENTS else None,
            copyable=[component for component in components[:COMPONENTS] if component.mime in _COPYABLE],
            texts=access.texts(session, components[:COMPONENTS]),
            renditions=standings(session, components[:COMPONENTS], visitor.service.settings),
            verdicts=_verdicts(session, aips[0].submission_id),
            holds=holds_on(session, record_id),
            assignment=assignment,
            explanation=retention.explain(assignment, visitor.language) if assignment else [],
            timeline=timeline(events[:_EVENTS], visitor.language),
            more_events=events[_EVENTS - 1].seq if len(events) > _EVENTS else None,
            issued=_issued(session, record_id) if may["copy_read"] else [],
            may=may,
            shown=_shown(session, record, view) if view and may["read"] else None,
            frames=_SHOWN_FRAMES,
            images=_SHOWN_IMAGES,
            position=_position(session, principal) if may["issue"] else "",
            request_id=new_id(),
        )


def _issued(session: Session, record_id: UUID) -> Sequence[CertifiedCopy]:
    copies = register.copies_of(record_id)
    return last_first(session, copies, CertifiedCopy.issued_at, CertifiedCopy.id, cursor=None, limit=_ISSUED).items


def _abilities(principal: Principal, record: Record) -> dict[str, bool]:
    wanted = {
        "read": Permission.RECORD_READ,
        "issue": Permission.COPY_ISSUE,
        "copy_read": Permission.COPY_READ,
        "copy_cancel": Permission.COPY_CANCEL,
    }
    agencies = (record.archiving_agency, record.settling_agency)
    return {
        name: principal.may(permission, *agencies, access_mode=record.access_mode)
        for name, permission in wanted.items()
    }


def _shown(session: Session, record: Record, component_id: str) -> Component:
    return access.component(session, record.id, component_id)[1]


def _verdicts(session: Session, submission_id: UUID) -> dict[str, list[SignatureVerdict]]:
    query = (
        select(SignatureVerdict)
        .where(SignatureVerdict.submission_id == submission_id)
        .order_by(SignatureVerdict.component_id, SignatureVerdict.ordinal)
        .limit(_VERDICTS)
    )
    return verdicts_of(session.scalars(query))


def _position(session: Session, principal: Principal) -> str:
    kind, _, account_id = principal.id.partition(":")
    account = session.get(Account, UUID(account_id)) if kind == "account" else None
    return (account.position or "") if account else ""
