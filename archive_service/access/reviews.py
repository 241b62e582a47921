"""Retention reviews as a principal may see them: each with how many records within the principal's agencies it found due."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import Row, ScalarSelect, Select, func, select
from sqlalchemy.orm import Session

from archive_service.access.pages import Page, page_size
from archive_service.access.records import record_scope
from archive_service.errors import BadRequest, NotFound
from archive_service.identity.permissions import ACCESS_MODES, ROLE_ACCESS, Permission, Principal
from archive_service.models import Record, RetentionReview, RetentionReviewItem


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewLine:
    """One review."""

    id: UUID
    on: date
    """The day it looked at."""
    made_at: datetime
    due_count: int
    """Records it found due, within the reader's agencies."""


def list_reviews(
    session: Session, principal: Principal, *, cursor: str | None = None, limit: int | None = None
) -> Page[ReviewLine]:
    """Returns a page of reviews, newest first; the cursor is the day of the last one.

    Raises:
        NotPermitted: the principal may see retention nowhere.
        BadRequest: a malformed cursor or a page size out of bounds.
    """
    principal.require(Permission.RETENTION_READ)
    size = page_size(limit)
    query = _reviews(principal)
    if cursor is not None:
        query = query.where(RetentionReview.on < _day(cursor))
    rows = session.execute(query.order_by(RetentionReview.on.desc()).limit(size + 1)).all()
    lines = [_line(row) for row in rows[:size]]
    return Page(items=lines, next=lines[-1].on.isoformat() if len(rows) > size else None)


def find_review(session: Session, review_id: UUID, principal: Principal) -> ReviewLine:
    """Returns one review.

    Raises:
        NotPermitted: the principal may see retention nowhere.
        NotFound: no such review.
    """
    principal.require(Permission.RETENTION_READ)
    row = session.execute(_reviews(principal).where(RetentionReview.id == review_id)).one_or_none()
    if row is None:
        raise NotFound(f"no review {review_id}")
    return _line(row)


def _line(row: Row[UUID, date, datetime, int]) -> ReviewLine:
    return ReviewLine(id=row.id, on=row.on, made_at=row.made_at, due_count=row.due)


def _reviews(principal: Principal) -> Select[UUID, date, datetime, int]:
    due = RetentionReview.due_count if _sees_every_record(principal) else _due_within(principal)
    return select(RetentionReview.id, RetentionReview.on, RetentionReview.made_at, due.label("due"))


def _sees_every_record(principal: Principal) -> bool:
    return any(
        grant.agency is None
        and grant.gives(Permission.RETENTION_READ)
        and ROLE_ACCESS[grant.role] & principal.access == ACCESS_MODES
        for grant in principal.grants
    )


def _due_within(principal: Principal) -> ScalarSelect[int]:
    return (
        select(func.count())
        .select_from(RetentionReviewItem)
        .join(Record, Record.id == RetentionReviewItem.record_id)
        .where(
            RetentionReviewItem.review_id == RetentionReview.id,
            record_scope(principal, Permission.RETENTION_READ),
        )
        .correlate(RetentionReview)
        .scalar_subquery()
    )


def _day(cursor: str) -> date:
    try:
        return date.fromisoformat(cursor)
    except ValueError:
        problems = [{"location": "cursor", "reason": "malformed"}]
        raise BadRequest("cursor is not one this service gave", problems=problems) from None
