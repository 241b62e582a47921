"""Seeing legal holds: lists within the caller's agencies, the records of one, and what a record's page shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from archive_service.access.pages import Page, last_first, page_size
from archive_service.errors import NotFound
from archive_service.identity.permissions import Permission, Principal, in_scope
from archive_service.models import Hold, HoldRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldQuery:
    """What to list."""

    open_only: bool = False
    record_id: UUID | None = None
    cursor: str | None = None
    limit: int | None = None


def list_holds(session: Session, query: HoldQuery, principal: Principal) -> Page[Hold]:
    """Returns a page of holds, last placed first, within the principal's agencies.

    Raises:
        NotPermitted: the principal may see holds nowhere.
        BadRequest: a malformed cursor or limit.
    """
    principal.require(Permission.HOLD_READ)
    limit = page_size(query.limit)
    statement = select(Hold).where(in_scope(principal, Permission.HOLD_READ, Hold.agency))
    if query.open_only:
        statement = statement.where(Hold.released_at.is_(None))
    if query.record_id is not None:
        statement = statement.where(
            exists().where(HoldRecord.hold_id == Hold.id, HoldRecord.record_id == query.record_id)
        )
    return last_first(session, statement, Hold.placed_at, Hold.id, cursor=query.cursor, limit=limit)


def find_hold(session: Session, hold_id: UUID, principal: Principal) -> Hold:
    """Returns a hold in the principal's scope.

    Raises:
        NotFound: no such hold, or none in scope.
        NotPermitted: the principal may see holds nowhere.
    """
    principal.require(Permission.HOLD_READ)
    statement = select(Hold).where(Hold.id == hold_id, in_scope(principal, Permission.HOLD_READ, Hold.agency))
    hold = session.scalars(statement).one_or_none()
    if hold is None:
        raise NotFound(f"hold {hold_id} not found")
    return hold


def held_records(
    session: Session, hold_id: UUID, *, after: UUID | None = None, limit: int = 200
) -> Sequence[HoldRecord]:
    """Returns the records of a hold in the order of their ids, after `after` (keyset)."""
    statement = select(HoldRecord).where(HoldRecord.hold_id == hold_id)
    if after is not None:
        statement = statement.where(HoldRecord.record_id > after)
    return session.scalars(statement.order_by(HoldRecord.record_id).limit(limit)).all()
