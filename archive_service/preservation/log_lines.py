"""Events as the lines of a log segment, with the rows that no AIP carries: register of copies, format facts, retention reviews.

Only what never changes after its event goes into a line, so a line made again is the same line: a certified copy without its later
cancellation (which is an event of its own), a component's facts after storing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, inspect, select
from sqlalchemy.orm import Session

from archive_service.digests import canonical_json
from archive_service.models import CertifiedCopy, Component, Event, EventType, Rendition, RetentionReview
from archive_service.preservation.log_objects import utc_text

_PAGE: Final = 500
COMPONENT_FACTS: Final = (
    "component_id",
    "received_at",
    "crc32",
    "mime",
    "puid",
    "format_name",
    "format_version",
    "facts",
)
"""Columns of a component that its AIP does not carry, or not in the same words."""
_WITH_ROWS: Final = frozenset(
    {
        EventType.SUBMISSION_STORED,
        EventType.COPY_ISSUED,
        EventType.RECORD_FELL_DUE,
        EventType.RECORD_RENDITION_MADE,
    }
)
_LATER: Final = frozenset({"cancelled_at", "cancel_reason"})
_PLACES: Final = frozenset({"copies"})
"""Of a rendition: copies move; where they were first is in the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLine:
    """One event as a segment has it."""

    seq: int
    fields: dict[str, Any]
    """The line's `event`."""
    line: bytes


def event_lines(session: Session, first_seq: int, last_seq: int) -> Iterator[EventLine]:
    """Yields every event in the range with its canonical line, in order; a page of plain rows is held at a time."""
    after = first_seq - 1
    while True:
        query = select(*inspect(Event).columns).where(Event.seq > after, Event.seq <= last_seq)
        page = session.execute(query.order_by(Event.seq).limit(_PAGE)).all()
        if not page:
            return
        for event in page:
            fields = {
                "at": utc_text(event.at),
                "type": event.type.value,
                "subject_kind": event.subject_kind,
                "subject_id": event.subject_id,
                "agency": event.agency,
                "agent_id": event.agent_id,
                "agent_name": event.agent_name,
                "detail": event.detail,
            }
            value = {"seq": event.seq, "event": fields}
            if event.type in _WITH_ROWS and (rows := _rows(session, event)):
                value["rows"] = rows
            yield EventLine(seq=event.seq, fields=fields, line=canonical_json(value))
        after = page[-1].seq
        session.expunge_all()


def _rows(session: Session, event: Row[Any]) -> dict[str, Any]:
    if event.type is EventType.SUBMISSION_STORED:
        query = select(Component).where(Component.submission_id == UUID(event.subject_id)).order_by(Component.ordinal)
        return {
            "components": [
                {name: plain(getattr(row, name)) for name in COMPONENT_FACTS} for row in session.scalars(query)
            ]
        }
    if event.type is EventType.COPY_ISSUED:
        copy = session.get(CertifiedCopy, UUID(event.detail["copy_id"]))
        if copy is not None:
            columns = inspect(CertifiedCopy).columns.keys()
            return {"certified_copy": {name: plain(getattr(copy, name)) for name in columns if name not in _LATER}}
    if event.type is EventType.RECORD_RENDITION_MADE:
        key, component_id = UUID(event.detail["aip_id"]), event.detail["component_id"]
        made = select(Rendition).where(Rendition.aip_id == key, Rendition.component_id == component_id)
        rendition = session.scalars(made).one_or_none()
        if rendition is not None and rendition.sha256 == event.detail["sha256"]:
            columns = inspect(Rendition).columns.keys()
            return {"rendition": {name: plain(getattr(rendition, name)) for name in columns if name not in _PLACES}}
    if event.type is EventType.RECORD_FELL_DUE:
        review = session.get(RetentionReview, UUID(event.detail["review_id"]))
        if review is not None:
            return {"review": {"id": str(review.id), "on": review.on.isoformat(), "made_at": utc_text(review.made_at)}}
    return {}


def plain(value: Any) -> Any:  # a column's value
    """Returns a column's value in its JSON form."""
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
