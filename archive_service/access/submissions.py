"""Finding and listing submissions within the caller's scope, newest first."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from archive_service.access.pages import Cursor, Page, decode_cursor, page_size
from archive_service.errors import NotFound
from archive_service.identity.permissions import Permission, Principal, in_scope
from archive_service.models import State, Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionQuery:
    """What to list."""

    states: tuple[State, ...] = ()
    dossier_code: str | None = None
    archiving_agency: str | None = None
    cursor: str | None = None
    limit: int | None = None


def list_submissions(session: Session, query: SubmissionQuery, principal: Principal) -> Page[Submission]:
    """Returns a page of submissions, last opened first.

    Raises:
        BadRequest: a malformed cursor.
    """
    limit = page_size(query.limit)
    statement = select(Submission).where(
        in_scope(principal, Permission.SUBMISSION_READ, Submission.archiving_agency, Submission.settling_agency)
    )
    if query.states:
        statement = statement.where(Submission.state.in_(query.states))
    if query.dossier_code:
        statement = statement.where(Submission.dossier_code == query.dossier_code)
    if query.archiving_agency:
        statement = statement.where(Submission.archiving_agency == query.archiving_agency)
    cursor = decode_cursor(query.cursor)
    if cursor is not None:
        statement = statement.where(
            or_(Submission.opened_at < cursor.at, and_(Submission.opened_at == cursor.at, Submission.id < cursor.id))
        )
    rows = session.scalars(statement.order_by(Submission.opened_at.desc(), Submission.id.desc()).limit(limit + 1)).all()
    items = rows[:limit]
    more = len(rows) > limit
    return Page(items=items, next=Cursor(items[-1].opened_at, items[-1].id).encode() if more else None)


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


def count_by_state(session: Session, principal: Principal) -> dict[State, int]:
    """Returns how many submissions stand in each state, within the principal's scope."""
    statement = (
        select(Submission.state, func.count())
        .where(in_scope(principal, Permission.SUBMISSION_READ, Submission.archiving_agency, Submission.settling_agency))
        .group_by(Submission.state)
    )
    return {state: count for state, count in session.execute(statement)}  # noqa: C416 - rows are not pairs to the type checker
