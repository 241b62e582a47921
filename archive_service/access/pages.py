"""Keyset pagination: a cursor names the last row seen, so page 10,000 costs what page 1 costs (LESSONS 43, 46)."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, tuple_
from sqlalchemy.orm import QueryableAttribute, Session

from archive_service.clock import require_aware
from archive_service.errors import BadRequest

Row = TypeVar("Row")
Key = TypeVar("Key")

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_NUMBER = 2**63 - 1
"""Largest serial number of a row; a larger one as cursor would be an error of the database instead of an answer."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of a page: its sort time and id."""

    at: datetime
    id: UUID

    def encode(self) -> str:
        """Returns the opaque form callers hand back."""
        return base64.urlsafe_b64encode(json.dumps([self.at.isoformat(), str(self.id)]).encode()).decode().rstrip("=")


def decode_cursor(text: str | None) -> Cursor | None:
    """Reads a cursor.

    Raises:
        BadRequest: not one of ours.
    """
    if not text:
        return None
    try:
        at, row_id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return Cursor(require_aware(datetime.fromisoformat(at)).astimezone(UTC), UUID(row_id))
    except (ValueError, TypeError, binascii.Error, AttributeError, OverflowError, RecursionError):
        raise BadRequest(
            "cursor is not one this service gave", problems=[{"location": "cursor", "reason": "malformed"}]
        ) from None


def comes_after(
    seen: Cursor, at: QueryableAttribute[datetime], row_id: QueryableAttribute[UUID]
) -> ColumnElement[bool]:
    """Returns the condition of the rows after the last one seen, by falling time and id.

    Time and id are compared as one value: with `OR` both engines go through every row that was on a page before.
    """
    return tuple_(at, row_id) < tuple_(seen.at, seen.id)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One page of a list, newest first, and the cursor of the next (None at the end)."""

    items: Sequence[Row]
    next: str | None

    def as_json(self, row: Callable[[Row], Any]) -> dict[str, Any]:
        """Returns the page as the API answers it, each item as `row` makes it."""
        return {"items": [row(item) for item in self.items], "next": self.next}


def cut(rows: Sequence[Row], limit: int, cursor: Callable[[Row], object]) -> Page[Row]:
    """Returns the first `limit` of `rows`, of which one more was asked for, with the cursor of the last unless all are shown."""
    return Page(items=rows[:limit], next=str(cursor(rows[limit - 1])) if len(rows) > limit else None)


def last_first(
    session: Session,
    statement: Select[Row],
    at: QueryableAttribute[datetime],
    row_id: QueryableAttribute[UUID],
    *,
    cursor: str | None,
    limit: int,
) -> Page[Row]:
    """Returns a page of the rows of `statement` by falling time, those of one moment by id.

    Args:
        session: Any session.
        statement: Selects one mapped class, with its conditions but without order.
        at: Its time column.
        row_id: Its id column.
        cursor: As the page before named it; None for the first page.
        limit: Most rows.

    Raises:
        BadRequest: a cursor that is not ours.
    """
    seen = decode_cursor(cursor)
    if seen is not None:
        statement = statement.where(comes_after(seen, at, row_id))
    rows = session.scalars(statement.order_by(at.desc(), row_id.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda row: Cursor(getattr(row, at.key), getattr(row, row_id.key)).encode())


def newest_first(
    session: Session,
    statement: Select[Row],
    key: QueryableAttribute[Key],
    *,
    cursor: Key | None,
    limit: int,
) -> Page[Row]:
    """Returns a page of the rows of `statement` by falling `key`, below the key `cursor` of the last row seen.

    Args:
        session: Any session.
        statement: Selects one mapped class, with its conditions but without order.
        key: Its unique column that grows with time: an id of ours (UUIDv7), a serial number, a day.
        cursor: As the page before named it; None for the first page.
        limit: Most rows.
    """
    if cursor is not None:
        statement = statement.where(key < cursor)
    rows = session.scalars(statement.order_by(key.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda row: getattr(row, key.key))


def page_size(limit: int | None) -> int:
    """Returns the page size asked for, `DEFAULT_LIMIT` when none was.

    Raises:
        BadRequest: out of bounds; a page shorter than asked for would look like the end of a list.
    """
    if limit is None:
        return DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise BadRequest(
            f"limit must be 1 to {MAX_LIMIT}, not {limit}", problems=[{"location": "limit", "reason": "out of bounds"}]
        )
    return limit
