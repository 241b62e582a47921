"""The approval queue: submissions by state, their findings, and all there is to know about one."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from archive_service.access.findings import finding_count, finding_page, findings_of
from archive_service.access.pages import MAX_NUMBER, Page
from archive_service.access.submissions import (
    SubmissionQuery,
    Worst,
    choices,
    count_by_state,
    decision_on,
    find_scoped_submission,
    list_submissions,
)
from archive_service.audit import events_of
from archive_service.findings import Finding, definition
from archive_service.identity.permissions import Permission, in_scope
from archive_service.models import Component, SignatureVerdict, State, Submission, SubmissionFinding
from archive_service.rules import retention
from archive_service.web.templating import render
from archive_service.web.timeline import timeline
from archive_service.web.visitors import MemberDep, OnlookerDep, Visitor

router = APIRouter(include_in_schema=False)

PAGE: Final = 50
MAX_WATCHED: Final = 200
"""Rows whose state a page asks for when it refreshes."""
_COMPONENTS: Final = 200
_EVENTS: Final = 200
_SHOWN_FRAMES: Final = frozenset({"application/pdf"})
_SHOWN_IMAGES: Final = frozenset({"image/jpeg", "image/png"})
ALL_STATES: Final = "ALL"
TABS: Final = (
    State.AWAITING_APPROVAL,
    State.CHECKING,
    State.APPROVED,
    State.RETURNED,
    State.REJECTED,
    State.STORED,
    State.RECEIVING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFilter:
    """What the queue is narrowed to, as typed or chosen."""

    code: str
    worst: str
    agency: str
    field: str

    @property
    def narrows(self) -> bool:
        """Whether anything but a code is chosen."""
        return bool(self.worst or self.agency or self.field)

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of a page's address that say the same."""
        values = {"code": self.code, "worst": self.worst, "agency": self.agency, "field": self.field}
        return {name: value for name, value in values.items() if value}

    def query(self, *states: State, cursor: str | None = None) -> SubmissionQuery:
        """Returns the query for a page of it."""
        return SubmissionQuery(
            states=states,
            dossier_code=self.code or None,
            archiving_agency=self.agency or None,
            field=self.field or None,
            worst=Worst(self.worst) if self.worst in {worst.value for worst in Worst} else None,
            cursor=cursor,
            limit=PAGE,
        )


def queue_filter(
    code: Annotated[str, Query(max_length=100)] = "",
    worst: Annotated[str, Query(max_length=20)] = "",
    agency: Annotated[str, Query(max_length=40)] = "",
    field: Annotated[str, Query(max_length=1000)] = "",
) -> QueueFilter:
    """Returns what a request narrows the queue to."""
    return QueueFilter(code=code.strip(), worst=worst, agency=agency.strip(), field=field.strip())


AfterPlace = Annotated[int, Query(ge=0, le=MAX_NUMBER)]
FilterDep = Annotated[QueueFilter, Depends(queue_filter)]


@router.get("/submissions")
def get_queue(
    request: Request,
    visitor: MemberDep,
    chosen: FilterDep,
    state: str = State.AWAITING_APPROVAL.value,
    cursor: str | None = None,
) -> Response:
    """Shows submissions in one state, or all."""
    visitor.principal.require(Permission.SUBMISSION_READ)
    wanted = State(state) if state in {tab.value for tab in TABS} else None
    query = chosen.query(*([wanted] if wanted else []), cursor=cursor)
    with visitor.service.database.read() as session:
        page = list_submissions(session, query, visitor.principal)
        return render(
            request,
            visitor,
            "queue.html",
            page=page,
            state=wanted.value if wanted else ALL_STATES,
            chosen=chosen,
            choices=choices(session, query, visitor.principal),
            cursor=cursor,
            tabs=[tab.value for tab in TABS],
            counts=_counts(session, visitor, query),
            verdicts=_verdict_counts(session, [row.id for row in page.items]),
            assignment=_assignment,
            may_decide=wanted in {None, State.AWAITING_APPROVAL}
            and visitor.principal.may(Permission.SUBMISSION_DECIDE),
        )


def _counts(session: Session, visitor: Visitor, query: SubmissionQuery) -> dict[str, int]:
    return {state.value: count for state, count in count_by_state(session, visitor.principal, query).items()}


def _verdict_counts(session: Session, submission_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    query = (
        select(SignatureVerdict.submission_id, SignatureVerdict.indication, func.count())
        .where(SignatureVerdict.submission_id.in_(submission_ids))
        .group_by(SignatureVerdict.submission_id, SignatureVerdict.indication)
    )
    found: dict[UUID, dict[str, int]] = {}
    for submission_id, indication, count in session.execute(query):
        found.setdefault(submission_id, {})[indication] = count
    return found


def _assignment(value: dict[str, Any] | None) -> retention.RetentionAssignment | None:
    return retention.from_json(value) if value else None


@router.get("/submissions/status")
def get_status(
    request: Request,
    visitor: OnlookerDep,
    chosen: FilterDep,
    row: Annotated[list[UUID] | None, Query(max_length=MAX_WATCHED)] = None,
) -> Response:
    """Returns counts and the present states of rows on a page, to be swapped in without touching what is selected."""
    visitor.principal.require(Permission.SUBMISSION_READ)
    scope = in_scope(
        visitor.principal, Permission.SUBMISSION_READ, Submission.archiving_agency, Submission.settling_agency
    )
    with visitor.service.database.read() as session:
        query = select(Submission.id, Submission.state).where(Submission.id.in_(row or []), scope)
        states = {submission_id: state.value for submission_id, state in session.execute(query)}
        counts = _counts(session, visitor, chosen.query())
    return render(request, visitor, "queue_status.html", states=states, counts=counts, tabs=[tab.value for tab in TABS])


@router.get("/submissions/{submission_id}/findings")
def get_findings(submission_id: UUID, request: Request, visitor: MemberDep, cursor: AfterPlace = 0) -> Response:
    """Returns findings of one submission, as a fragment for the queue or as a page of its own that leads on to the next."""
    with visitor.service.database.read() as session:
        submission = find_scoped_submission(session, submission_id, visitor.principal, Permission.SUBMISSION_READ)
        page = finding_page(session, submission_id, after=cursor)
        return render(
            request,
            visitor,
            "findings_fragment.html" if request.headers.get("HX-Request") else "findings.html",
            submission=submission,
            findings=findings_of(page.items),
            more=_more(session, submission_id, page, before=cursor),
            definition=definition,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """What a page of findings does not show."""

    first: int
    """Place of the first finding shown, counted from 1."""
    last: int
    total: int
    address: str | None
    """Of the next page; None at the end."""


def _more(session: Session, submission_id: UUID, page: Page[SubmissionFinding], *, before: int = 0) -> More | None:
    """Returns what a page does not show; None when it shows everything."""
    if page.next is None and not before:
        return None
    address = f"/submissions/{submission_id}/findings?cursor={page.next}" if page.next else None
    total = finding_count(session, submission_id)
    return More(first=before + 1, last=before + len(page.items), total=total, address=address)


@router.get("/submissions/{submission_id}")
def get_submission(
    submission_id: UUID,
    request: Request,
    visitor: MemberDep,
    view: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Shows one submission with everything an approver needs; `view` names the component to show in the page."""
    with visitor.service.database.read() as session:
        submission = find_scoped_submission(session, submission_id, visitor.principal, Permission.SUBMISSION_READ)
        page = finding_page(session, submission_id)
        findings = findings_of(page.items)
        components = session.scalars(
            select(Component)
            .where(Component.submission_id == submission_id)
            .order_by(Component.ordinal)
            .limit(_COMPONENTS)
        ).all()
        verdicts = session.scalars(
            select(SignatureVerdict)
            .where(SignatureVerdict.submission_id == submission_id)
            .order_by(SignatureVerdict.component_id, SignatureVerdict.ordinal)
            .limit(_COMPONENTS)
        ).all()
        assignment = _assignment(submission.retention)
        ids = {component.component_id for component in components}
        may_decide = submission.state is State.AWAITING_APPROVAL and visitor.principal.may(
            Permission.SUBMISSION_DECIDE, submission.archiving_agency
        )
        may_open = may_decide and visitor.principal.may(
            Permission.SUBMISSION_DECIDE, submission.archiving_agency, access_mode=submission.access_mode
        )
        return render(
            request,
            visitor,
            "submission.html",
            submission=submission,
            findings=findings,
            more=_more(session, submission_id, page),
            findings_of=_by_component(findings, ids),
            definition=definition,
            components=components,
            verdicts=verdicts,
            verdicts_of=verdicts_of(verdicts),
            shown=next((row for row in components if row.component_id == view), None) if may_open else None,
            frames=_SHOWN_FRAMES,
            images=_SHOWN_IMAGES,
            may_open=may_open,
            titles={component.component_id: component.title for component in components},
            decision=decision_on(session, submission),
            assignment=assignment,
            explanation=retention.explain(assignment, visitor.language) if assignment else [],
            timeline=timeline(events_of(session, [("submission", submission_id)], limit=_EVENTS), visitor.language),
            may_decide=may_decide,
        )


def _by_component(findings: Sequence[Finding], ids: Collection[str]) -> dict[str, list[Finding]]:
    """Returns the findings that are about one file each, by its id."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        name = finding.location.split("/", 1)[0]
        if name in ids:
            found.setdefault(name, []).append(finding)
    return found


def verdicts_of(verdicts: Iterable[SignatureVerdict]) -> dict[str, list[SignatureVerdict]]:
    """Returns verdicts by the component they are about, in order."""
    found: dict[str, list[SignatureVerdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.component_id, []).append(verdict)
    return found
