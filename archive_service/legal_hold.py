"""Is a record under legal hold? The one place that answers it; whoever destroys, removes or hands over asks here (R069, R087)."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.errors import Retained
from archive_service.models import Hold, HoldRecord, State

FROZEN_BY_HOLD: Final = frozenset({State.DESTROYING, State.DESTROYED, State.HANDED_OVER})
"""States a held record cannot reach; the database refuses them too (R069, R087)."""


class RecordHeld(Retained):
    """The record is under legal hold: it is neither destroyed nor moved away until the hold is released (R069)."""

    code = "RECORD_HELD"


def holds_on(session: Session, record_id: UUID) -> Sequence[Hold]:
    """Returns the open legal holds of a record, oldest first. Whoever destroys or hands over asks here, in the same transaction."""
    query = select(Hold).join(HoldRecord, HoldRecord.hold_id == Hold.id)
    query = query.where(HoldRecord.record_id == record_id, Hold.released_at.is_(None))
    return session.scalars(query.order_by(Hold.placed_at, Hold.id)).all()


def require_unheld(session: Session, record_id: UUID) -> None:
    """Refuses when a hold is open on the record; the caller has locked the record's row, as placing a hold does.

    Raises:
        RecordHeld: a hold is open.
    """
    holds = holds_on(session, record_id)
    if holds:
        orders = "; ".join(hold.legal_basis for hold in holds)
        raise RecordHeld(f"record {record_id} is under legal hold: {orders}", holds=[str(hold.id) for hold in holds])
