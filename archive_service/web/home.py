"""The start page: what waits for this person, and what needs a look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.access.records import RecordQuery, list_records, record_scope
from archive_service.access.storage_overview import count_open_incidents
from archive_service.access.submissions import FindingCount, SubmissionQuery, count_by_state
from archive_service.access.submissions import waiting as waiting_submissions
from archive_service.access.trends import DayFigures, figures_by_day
from archive_service.errors import ConfigurationInvalid
from archive_service.findings import definition
from archive_service.identity.permissions import Permission, Principal, in_scope
from archive_service.ingest.trust_anchors import trust_notices
from archive_service.jobs import queue
from archive_service.models import JobState, Record, State, Submission
from archive_service.settings import Settings
from archive_service.web.templating import render
from archive_service.web.visitors import MemberDep

router = APIRouter(include_in_schema=False)

DUE_SOON: Final = timedelta(days=365)
"""How far ahead the start page looks for records whose period ends."""
_SHOWN: Final = 5
_DAYS: Final = 14
"""Days whose figures the start page draws."""
_FINDINGS: Final = 6
"""Kinds of finding it draws."""
_LOOKED_AT: Final = 1000
"""Waiting submissions whose findings are counted, those that wait longest first."""
_CHART_STATES: Final = (
    State.RECEIVING,
    State.CHECKING,
    State.AWAITING_APPROVAL,
    State.APPROVED,
    State.STORED,
    State.RETURNED,
    State.REJECTED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of the chart: a state, how many, and how long the bar is."""

    state: str
    count: int
    share: float
    """Of the longest bar, 0 to 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What the start page shows; None where the person may not see it."""

    bars: tuple[Bar, ...] | None
    days: Sequence[DayFigures] | None
    findings: Sequence[FindingCount]
    """Of those that await this person's decision, the worst kinds first."""
    awaiting: int
    oldest: Sequence[Submission]
    latest: Sequence[Record]
    due_soon: int | None
    unmatched: int | None
    parked: int | None
    incidents: int | None


@router.get("/")
def get_home(request: Request, visitor: MemberDep) -> Response:
    """Shows what waits."""
    with visitor.service.database.read() as session:
        waiting = waiting_for(session, visitor.principal)
    nobody_trusted = _nobody_trusted(visitor.service.settings)
    return render(request, visitor, "home.html", waiting=waiting, nobody_trusted=nobody_trusted, definition=definition)


def _nobody_trusted(settings: Settings) -> bool:
    try:
        return bool(trust_notices(settings))
    except ConfigurationInvalid:
        return True  # a store that cannot be read trusts nobody; /readyz says why


def waiting_for(session: Session, principal: Principal) -> Waiting:
    """Returns what waits for this person."""
    reads = principal.may(Permission.SUBMISSION_READ)
    counts = count_by_state(session, principal) if reads else {}
    return Waiting(
        bars=bars_of(counts) if reads else None,
        days=figures_by_day(session, principal, until=clock.today(), days=_DAYS) if reads else None,
        findings=_findings(session, principal) if principal.may(Permission.SUBMISSION_DECIDE) else (),
        awaiting=counts.get(State.AWAITING_APPROVAL, 0),
        oldest=_oldest(session, principal) if principal.may(Permission.SUBMISSION_DECIDE) else (),
        latest=_latest(session, principal) if principal.may(Permission.RECORD_SEARCH) else (),
        due_soon=_due_soon(session, principal) if principal.may(Permission.RETENTION_READ) else None,
        unmatched=_unmatched(session, principal) if principal.may(Permission.RETENTION_READ) else None,
        parked=queue.count_jobs(session)[JobState.PARKED] if principal.may(Permission.JOB_READ) else None,
        incidents=count_open_incidents(session, principal) if principal.may(Permission.INCIDENT_READ) else None,
    )


def bars_of(counts: Mapping[State, int]) -> tuple[Bar, ...]:
    """Returns the chart's bars in the order of a dossier's way."""
    longest = max([counts.get(state, 0) for state in _CHART_STATES], default=0) or 1
    return tuple(
        Bar(state=state.value, count=counts.get(state, 0), share=round(100 * counts.get(state, 0) / longest, 2))
        for state in _CHART_STATES
    )


def _oldest(session: Session, principal: Principal) -> Sequence[Submission]:
    query = select(Submission).where(
        Submission.state == State.AWAITING_APPROVAL,
        in_scope(principal, Permission.SUBMISSION_DECIDE, Submission.archiving_agency),
    )
    return session.scalars(query.order_by(Submission.opened_at, Submission.id).limit(_SHOWN)).all()


def _findings(session: Session, principal: Principal) -> Sequence[FindingCount]:
    return waiting_submissions(session, SubmissionQuery(), principal, limit=_LOOKED_AT).findings[:_FINDINGS]


def _latest(session: Session, principal: Principal) -> Sequence[Record]:
    return list_records(session, RecordQuery(limit=_SHOWN), principal).items


def _due_soon(session: Session, principal: Principal) -> int:
    scope = record_scope(principal, Permission.RETENTION_READ)
    query = select(func.count()).where(scope, Record.retention_due_on < clock.today() + DUE_SOON)
    return session.scalar(query) or 0


def _unmatched(session: Session, principal: Principal) -> int:
    scope = record_scope(principal, Permission.RETENTION_READ)
    query = select(func.count()).where(scope, Record.retention_kind == "UNMATCHED")
    return session.scalar(query) or 0
