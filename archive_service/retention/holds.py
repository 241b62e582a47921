"""Legal holds: placing and releasing orders that freeze records (R069, R087). A hold always wins, over dates and over decisions.

The rows change in the caller's transaction, under the lock of every record concerned, so a destruction or hand-over that runs at the same time
comes either before the hold or finds it. The locks at the storage locations follow by a job. What a hold covers stands in events, one for the
order and one for each record, and is rebuilt from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.audit import append_event
from archive_service.errors import BadRequest, Conflict, NotFound
from archive_service.followup import enqueue
from archive_service.identity.permissions import Permission, Principal
from archive_service.ids import record_id
from archive_service.legal_hold import holds_on, require_unheld
from archive_service.models import EventType, Hold, HoldRecord, JobKind, Record, State

MAX_RECORDS: Final = 10_000
"""Records of one order: they are locked together in one transaction."""
_LONGEST: Final = {"reason": 2000, "legal_basis": 1000}
_PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOrder:
    """An order to hold records of one archiving agency."""

    agency: str
    reason: str
    legal_basis: str
    """The order: number, date, issuer."""
    record_ids: tuple[UUID, ...] = ()
    dossier_codes: tuple[str, ...] = ()
    in_advance: bool = False
    """Whether dossier codes may be held that are not archived yet; the hold then meets the record when it comes."""


def place_hold(session: Session, order: HoldOrder, principal: Principal, *, at: datetime) -> Hold:
    """Places a hold on the records of an order and returns it.

    Raises:
        BadRequest: no reason, no legal basis, no record, or too many.
        NotFound: a record is not there, or not of this agency; all of them are named and nothing is held.
        Conflict: a record has been destroyed or handed over.
        NotPermitted: the principal may not hold records of this agency.
    """
    principal.require(Permission.HOLD_PLACE, order.agency)
    _require_stated(order)
    wanted = _wanted(session, order)
    hold = Hold(
        agency=order.agency,
        reason=order.reason.strip(),
        legal_basis=order.legal_basis.strip(),
        placed_at=at,
        placed_by=principal.agent.id,
        placed_by_name=principal.agent.name,
    )
    session.add(hold)
    session.flush()
    stated = {"reason": hold.reason, "legal_basis": hold.legal_basis, "records": len(wanted)}
    _tell(session, EventType.HOLD_PLACED, "hold", hold.id, hold, principal, at, stated)
    for key, code in sorted(wanted.items()):
        session.add(HoldRecord(hold_id=hold.id, record_id=key, dossier_code=code))
        detail = {"hold_id": str(hold.id), "dossier_code": code, "legal_basis": hold.legal_basis}
        _tell(session, EventType.RECORD_HELD, "record", key, hold, principal, at, detail)
    enqueue(session, JobKind.APPLY_HOLD, hold.id, at=at)
    return hold


def _require_stated(order: HoldOrder) -> None:
    problems = []
    for name, longest in _LONGEST.items():
        text = str(getattr(order, name)).strip()
        if not text:
            problems.append({"location": name, "reason": "empty"})
        if len(text) > longest:
            problems.append({"location": name, "reason": f"longer than {longest} characters"})
    count = len(order.record_ids) + len(order.dossier_codes)
    if not 0 < count <= MAX_RECORDS:
        problems.append({"location": "records", "reason": f"{count} records; 1 to {MAX_RECORDS} are held by one order"})
    if problems:
        raise BadRequest("a hold needs a reason, its legal basis and records", problems=problems)


def _wanted(session: Session, order: HoldOrder) -> dict[UUID, str]:
    """Returns the records to hold with their dossier codes, every row locked in the order of ids."""
    by_code: dict[UUID, str] = {record_id(order.agency, code): code for code in order.dossier_codes}
    asked = sorted({*order.record_ids, *by_code})
    found: dict[UUID, str] = {}
    ended = []
    for start in range(0, len(asked), _PAGE):
        query = select(Record).where(
            Record.id.in_(asked[start : start + _PAGE]), Record.archiving_agency == order.agency
        )
        query = query.order_by(Record.id).with_for_update().execution_options(populate_existing=True)
        for record in session.scalars(query):
            found[record.id] = record.dossier_code
            if record.state in {State.DESTROYED, State.HANDED_OVER}:
                ended.append(f"{record.dossier_code} is {record.state}")
    if order.in_advance:
        found = {**by_code, **found}
    unknown = [by_code.get(key, str(key)) for key in asked if key not in found]
    if unknown:
        raise NotFound(f"not archived by {order.agency}: {', '.join(unknown[:50])}", unknown=unknown)
    if ended:
        raise Conflict(f"too late to hold: {', '.join(ended[:50])}")
    return found


def release_hold(session: Session, hold_id: UUID, principal: Principal, *, reason: str, at: datetime) -> Hold:
    """Releases a hold by another order (R069). Repeating it changes nothing. Other holds on the same records stay.

    Raises:
        BadRequest: no reason.
        NotFound: no such hold in the principal's scope.
    """
    reason = reason.strip()
    if not reason or len(reason) > _LONGEST["reason"]:
        raise BadRequest("a release needs a reason", problems=[{"location": "reason", "reason": "empty or too long"}])
    hold = session.get(Hold, hold_id, with_for_update=True)
    if hold is None or not principal.may(Permission.HOLD_PLACE, hold.agency):
        principal.require(Permission.HOLD_PLACE)
        raise NotFound(f"hold {hold_id} not found")
    if hold.released_at is not None:
        return hold
    hold.released_at, hold.release_reason = at, reason
    hold.released_by, hold.released_by_name = principal.agent.id, principal.agent.name
    _tell(session, EventType.HOLD_RELEASED, "hold", hold.id, hold, principal, at, {"reason": reason})
    query = select(HoldRecord).where(HoldRecord.hold_id == hold.id).order_by(HoldRecord.record_id)
    for row in session.scalars(query):
        detail = {"hold_id": str(hold.id), "reason": reason}
        _tell(session, EventType.RECORD_HOLD_RELEASED, "record", row.record_id, hold, principal, at, detail)
    enqueue(session, JobKind.APPLY_HOLD, f"{hold.id}:released", at=at)  # a job of its own beside one that still places
    return hold


def _tell(
    session: Session,
    event: EventType,
    kind: str,
    subject: UUID,
    hold: Hold,
    principal: Principal,
    at: datetime,
    detail: Mapping[str, object],
) -> None:
    append_event(
        session,
        event,
        subject_kind=kind,
        subject_id=subject,
        agency=hold.agency,
        agent=principal.agent,
        at=at,
        detail=dict(detail),
    )


def held_among(session: Session, record_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Returns which of the records are held, for lists."""
    query = select(HoldRecord.record_id).join(Hold, Hold.id == HoldRecord.hold_id)
    query = query.where(HoldRecord.record_id.in_(record_ids), Hold.released_at.is_(None))
    return frozenset(session.scalars(query))


__all__ = ["MAX_RECORDS", "HoldOrder", "held_among", "holds_on", "place_hold", "release_hold", "require_unheld"]
