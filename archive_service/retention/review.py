"""The scheduled retention review, first version: lists every record whose period ended, once per due date (R080, R071).

Listing changes nothing about a record: it stays stored until people decide. A record without due date (permanent, or matched by no rule) is
never due (R064, LESSONS 32).
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Select, and_, exists, insert, select
from sqlalchemy.orm import Session

from archive_service.audit import record_event, software
from archive_service.db import Database
from archive_service.models import EventType, Record, RetentionReview, RetentionReviewItem, State

BATCH: Final = 500
"""Records listed in one transaction: a review of a million due records never holds the database."""
_AGENT: Final = software("retention-review")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewResult:
    """What a run of the review found."""

    review_id: UUID
    on: date
    newly_listed: int


def review_due(database: Database, *, on: date, at: datetime) -> ReviewResult:
    """Lists what fell due up to the civil date `on`; running it again lists only what is new.

    Args:
        database: Where records are.
        on: The civil date of the review; a record is due on its due date itself.
        at: Now.
    """
    with database.write() as session:
        review = session.scalars(select(RetentionReview).where(RetentionReview.on == on)).one_or_none()
        if review is None:
            review = RetentionReview(on=on, made_at=at, due_count=0)
            session.add(review)
            session.flush()
        review_id = review.id
    listed = 0
    while True:
        with database.write() as session:
            count = _list_batch(session, review_id, on=on, at=at)
        listed += count
        if count < BATCH:
            return ReviewResult(review_id=review_id, on=on, newly_listed=listed)


def _list_batch(session: Session, review_id: UUID, *, on: date, at: datetime) -> int:
    due = session.execute(_newly_due(on).limit(BATCH)).all()
    if not due:
        return 0
    session.execute(
        insert(RetentionReviewItem),
        [{"review_id": review_id, "record_id": row.id, "due_on": row.retention_due_on} for row in due],
    )
    for row in due:
        record_event(
            session,
            EventType.RECORD_FELL_DUE,
            row.id,
            row.archiving_agency,
            agent=_AGENT,
            at=at,
            detail={"due_on": row.retention_due_on.isoformat(), "review_id": str(review_id)},
        )
    review = session.get_one(RetentionReview, review_id, with_for_update=True)
    review.due_count += len(due)
    return len(due)


def _newly_due(on: date) -> Select[UUID, date | None, str]:
    listed = exists().where(
        and_(RetentionReviewItem.record_id == Record.id, RetentionReviewItem.due_on == Record.retention_due_on)
    )
    return (
        select(Record.id, Record.retention_due_on, Record.archiving_agency)
        .where(
            Record.state == State.STORED,
            Record.retention_due_on.is_not(None),
            Record.retention_due_on <= on,
            ~listed,
        )
        .order_by(Record.retention_due_on, Record.id)
    )
