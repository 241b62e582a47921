"""Locations, later copies and legal holds back from their events: what happened to them stands there and nowhere else."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.models import Aip, AipCopy, EventType, Hold, HoldRecord, LocationState, StorageLocation

_STATE_CHANGES: Final = frozenset(
    {
        EventType.LOCATION_ADDED,
        EventType.LOCATION_FILLED,
        EventType.LOCATION_RETIREMENT_BEGUN,
        EventType.LOCATION_RETIRED,
        EventType.LOCATION_PUT_BACK,
        EventType.LOCATION_EMPTIED,
    }
)
STORAGE_EVENTS: Final = frozenset(
    kind.value
    for kind in (
        *_STATE_CHANGES,
        EventType.RECORD_COPY_ADDED,
        EventType.RECORD_COPY_REMOVED,
        EventType.HOLD_PLACED,
        EventType.RECORD_HELD,
        EventType.HOLD_RELEASED,
    )
)
"""Types of the events that rows of storage follow from."""


def take_in_storage(session: Session, event: dict[str, Any]) -> None:
    """Applies one event to the rows of storage; all others change nothing. Safe to repeat from any earlier event on, in order.

    A copy that was read intact keeps that; one that only an event tells of is UNREAD until the fixity check has read it.

    Args:
        session: An open write transaction.
        event: The event as its line in the log has it.
    """
    kind, at, detail = EventType(event["type"]), datetime.fromisoformat(event["at"]), event["detail"]
    if kind in _STATE_CHANGES:
        _location(session, event["subject_id"], detail, at)
    elif kind in {EventType.RECORD_COPY_ADDED, EventType.RECORD_COPY_REMOVED}:
        _copy(session, kind, detail, at)
    elif kind is EventType.HOLD_PLACED:
        _hold(session, event, at)
    elif kind is EventType.RECORD_HELD:
        key = {"hold_id": UUID(detail["hold_id"]), "record_id": UUID(event["subject_id"])}
        if session.get(HoldRecord, key) is None:
            session.add(HoldRecord(**key, dossier_code=detail["dossier_code"]))
            session.flush()
    elif kind is EventType.HOLD_RELEASED:
        hold = session.get_one(Hold, UUID(event["subject_id"]))
        if hold.released_at is None:
            hold.released_at, hold.release_reason = at, detail["reason"]
            hold.released_by, hold.released_by_name = event["agent_id"], event["agent_name"]
            session.flush()


def _location(session: Session, name: str, detail: dict[str, Any], at: datetime) -> None:
    row = session.get(StorageLocation, name)
    if row is None:
        row = StorageLocation(name=name)
        session.add(row)
    row.state, row.since = LocationState(detail["state"]), at
    row.keep_until = datetime.fromisoformat(detail["keep_until"]) if detail["keep_until"] else None
    session.flush()


def _copy(session: Session, kind: EventType, detail: dict[str, Any], at: datetime) -> None:
    aip_id = UUID(detail["aip_id"])
    if session.get(Aip, aip_id) is None:
        return
    query = select(AipCopy).where(AipCopy.aip_id == aip_id, AipCopy.location == detail["location"])
    row = session.scalars(query).one_or_none()
    if kind is EventType.RECORD_COPY_REMOVED:
        if row is not None:
            row.state = "REMOVED"
    elif row is None:
        digest = detail["read_back_sha256"]
        session.add(
            AipCopy(
                aip_id=aip_id,
                location=detail["location"],
                read_back_sha256=digest,
                verified_at=at,
                state="UNREAD",
            )
        )
    elif row.state == "REMOVED":
        row.state, row.verified_at = "UNREAD", at
    session.flush()


def _hold(session: Session, event: dict[str, Any], at: datetime) -> None:
    key, detail = UUID(event["subject_id"]), event["detail"]
    if session.get(Hold, key) is None:
        session.add(
            Hold(
                id=key,
                agency=event["agency"],
                reason=detail["reason"],
                legal_basis=detail["legal_basis"],
                placed_at=at,
                placed_by=event["agent_id"],
                placed_by_name=event["agent_name"],
            )
        )
        session.flush()
