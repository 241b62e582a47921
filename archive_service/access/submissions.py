"""Finding and listing submissions within the caller's scope, newest first."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from archive_service.access.pages import Page, last_first, page_size
from archive_service.errors import NotFound
from archive_service.findings import Severity
from archive_service.identity.permissions import Permission, Principal, in_scope
from archive_service.models import Decision, Event, EventType, State, Submission, SubmissionFinding

MAX_CHOICES: Final = 100
"""Agencies and fields offered as filters, those with most submissions first."""


class Worst(StrEnum):
    """The worst finding of a submission, as lists are filtered by it."""

    ERROR = "error"
    WARNING = "warning"
    NONE = "none"


_RANKS: Final[Mapping[Worst, int]] = MappingProxyType({Worst.ERROR: 2, Worst.WARNING: 1, Worst.NONE: 0})
"""As the database keeps it, see `Submission.worst_severity`."""


_SEVERITIES: Final = (Severity.ERROR, Severity.WARNING, Severity.INFO)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionQuery:
    """What to list."""

    states: tuple[State, ...] = ()
    dossier_code: str | None = None
    archiving_agency: str | None = None
    field: str | None = None
    """Field of the procedure (lĩnh vực), exactly as dossiers name it."""
    worst: Worst | None = None
    cursor: str | None = None
    limit: int | None = None


def list_submissions(session: Session, query: SubmissionQuery, principal: Principal) -> Page[Submission]:
    """Returns a page of submissions, last opened first.

    Raises:
        BadRequest: a malformed cursor.
        NotPermitted: the principal may see submissions nowhere.
    """
    principal.require(Permission.SUBMISSION_READ)
    limit = page_size(query.limit)
    statement = select(Submission).where(*_filters(query, principal))
    return last_first(session, statement, Submission.opened_at, Submission.id, cursor=query.cursor, limit=limit)


def find_scoped_submission(
    session: Session, submission_id: UUID, principal: Principal, permission: Permission
) -> Submission:
    """Returns a submission the principal may use in this way; one out of scope is not found.

    Raises:
        NotFound: no such submission, or none in the principal's scope.
        NotPermitted: the principal has the permission nowhere.
    """
    principal.require(permission)
    statement = select(Submission).where(
        Submission.id == submission_id,
        in_scope(principal, permission, Submission.archiving_agency, Submission.settling_agency),
    )
    submission = session.scalars(statement).one_or_none()
    if submission is None:
        raise NotFound(f"submission {submission_id} not found")
    return submission


WITHDRAWN: Final = "withdrawn"
"""Kind of the end that a sender itself put to its push."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingAct:
    """What a person or a sender decided on a submission, with the reason given."""

    kind: str
    """`approve`, `return` or `reject`; `withdrawn` when its sender took it back."""
    reason: str
    agent_name: str
    decided_at: datetime


def decision_on(session: Session, submission: Submission) -> EndingAct | None:
    """Returns the decision on a submission, or its sender's withdrawal; None when there was neither."""
    decision = session.scalars(select(Decision).where(Decision.submission_id == submission.id)).one_or_none()
    if decision is not None:
        return EndingAct(
            kind=decision.kind,
            reason=decision.reason,
            agent_name=decision.agent_name,
            decided_at=decision.decided_at,
        )
    if submission.state is not State.REJECTED:
        return None
    query = select(Event).where(
        Event.subject_kind == "submission",
        Event.subject_id == str(submission.id),
        Event.type == EventType.SUBMISSION_WITHDRAWN,
    )
    event = session.scalars(query).first()
    if event is None:
        return None
    return EndingAct(
        kind=WITHDRAWN, reason=event.detail.get("reason", ""), agent_name=event.agent_name, decided_at=event.at
    )


def count_by_state(session: Session, principal: Principal, query: SubmissionQuery | None = None) -> dict[State, int]:
    """Returns how many submissions stand in each state, within the principal's scope; a query's states do not narrow it."""
    everywhere = replace(query, states=()) if query else SubmissionQuery()
    statement = (
        select(Submission.state, func.count()).where(*_filters(everywhere, principal)).group_by(Submission.state)
    )
    return {state: count for state, count in session.execute(statement)}  # noqa: C416 - rows are not pairs to the type checker


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a list can be narrowed to, with how many submissions that leaves; each without regard to its own present choice."""

    worst: Mapping[Worst, int]
    agencies: Mapping[str, int]
    fields: Mapping[str, int]


def choices(session: Session, query: SubmissionQuery, principal: Principal) -> Choices:
    """Returns what the list of a query can be narrowed to."""
    worst = _counts(session, Submission.worst_severity, replace(query, worst=None), principal)
    agencies = _counts(session, Submission.archiving_agency, replace(query, archiving_agency=None), principal)
    fields = _counts(session, Submission.field, replace(query, field=None), principal)
    return Choices(
        worst={name: worst[rank] for name, rank in _RANKS.items() if rank in worst}, agencies=agencies, fields=fields
    )


def _counts(
    session: Session, column: Any, query: SubmissionQuery, principal: Principal
) -> dict[Any, int]:  # a column and its values
    statement = select(column, func.count()).where(*_filters(query, principal), column.is_not(None)).group_by(column)
    rows = session.execute(statement.order_by(func.count().desc(), column).limit(MAX_CHOICES))
    return {value: count for value, count in rows}  # noqa: C416 - rows are not pairs to the type checker


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingCount:
    """How many submissions have a kind of finding."""

    code: str
    severity: Severity
    submissions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Submissions a person may decide on in one act, those that wait longest first, and what there is to know about all of them."""

    ids: Sequence[UUID]
    total: int
    """How many wait in all; more than `ids` when they are too many for one act."""
    size_bytes: int
    worst: Mapping[Worst, int]
    agencies: Mapping[str, int]
    fields: Mapping[str, int]
    findings: Sequence[FindingCount]
    """The worst kinds first, then the most frequent."""


def waiting(session: Session, query: SubmissionQuery, principal: Principal, *, limit: int) -> Waiting:
    """Returns the submissions of a query that await this person's decision, at most `limit`."""
    only = replace(query, states=(State.AWAITING_APPROVAL,))
    clauses = [
        *_filters(only, principal),
        in_scope(principal, Permission.SUBMISSION_DECIDE, Submission.archiving_agency),
    ]
    chosen = select(Submission.id).where(*clauses).order_by(Submission.opened_at, Submission.id).limit(limit).subquery()
    columns = (
        Submission.id,
        Submission.size_bytes,
        Submission.worst_severity,
        Submission.archiving_agency,
        Submission.field,
    )
    rows = session.execute(
        select(*columns).join(chosen, chosen.c.id == Submission.id).order_by(Submission.opened_at, Submission.id)
    ).all()
    kind = SubmissionFinding.code, SubmissionFinding.severity
    found = (
        select(*kind, func.count(SubmissionFinding.submission_id.distinct()))
        .join(chosen, chosen.c.id == SubmissionFinding.submission_id)
        .group_by(*kind)
    )
    findings = [
        FindingCount(code=code, severity=severity, submissions=n) for code, severity, n in session.execute(found)
    ]
    ranks = Counter(row.worst_severity for row in rows)
    return Waiting(
        ids=[row.id for row in rows],
        total=session.scalar(select(func.count()).select_from(Submission).where(*clauses)) or 0,
        size_bytes=sum(row.size_bytes or 0 for row in rows),
        worst={name: ranks[rank] for name, rank in _RANKS.items() if ranks[rank]},
        agencies=_most_first(row.archiving_agency for row in rows),
        fields=_most_first(row.field for row in rows),
        findings=sorted(findings, key=lambda row: (_SEVERITIES.index(row.severity), -row.submissions, row.code)),
    )


def _most_first(values: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(value for value in values if value).most_common(MAX_CHOICES))


def _filters(query: SubmissionQuery, principal: Principal) -> list[ColumnElement[bool]]:
    clauses = [in_scope(principal, Permission.SUBMISSION_READ, Submission.archiving_agency, Submission.settling_agency)]
    if query.states:
        clauses.append(Submission.state.in_(query.states))
    if query.worst is not None:
        clauses.append(Submission.worst_severity == _RANKS[query.worst])
    exact = (
        (Submission.dossier_code, query.dossier_code),
        (Submission.archiving_agency, query.archiving_agency),
        (Submission.field, query.field),
    )
    return [*clauses, *(column == value for column, value in exact if value)]
