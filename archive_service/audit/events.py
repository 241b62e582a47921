"""Appending events (PREMIS event and agent, R133) and reading the history of a subject.

Events are only ever added: the database refuses UPDATE, DELETE and TRUNCATE on both engines (alembic/versions).
Detail never holds secrets or the bytes of a record; identity numbers of persons stay out of it (R141).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert, or_, select
from sqlalchemy.orm import Session

from archive_service.db import Work
from archive_service.models import Event, EventType
from archive_service.prepared import Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Who acts: a person, a system or a part of this software (PREMIS agent)."""

    id: str
    """`account:<uuid>`, `token:<uuid>` or `software:<part>`."""
    name: str


def software(part: str) -> Agent:
    """Returns the agent for a part of this software acting by itself."""
    return Agent(id=f"software:{part}", name=f"archive-service {part}")


def append_event(
    session: Work,
    event_type: EventType,
    *,
    subject_kind: str,
    subject_id: UUID | str,
    agency: str | None,
    agent: Agent,
    at: datetime,
    detail: dict[str, Any] | None = None,
) -> None:
    """Adds one event in the caller's transaction.

    Args:
        session: An open write transaction.
        event_type: What happened.
        subject_kind: Table-like kind of the subject: `submission`, `record`, `account`, `token`, `copy`, `job`.
        subject_id: The subject's id.
        agency: Archiving agency for scoping, or None for what concerns no agency.
        agent: Who did it.
        at: When, aware UTC.
        detail: JSON value with what belongs to this event type.
    """
    values = {
        "at": at,
        "type": event_type,
        "subject_kind": subject_kind,
        "subject_id": str(subject_id),
        "agency": agency,
        "agent_id": agent.id,
        "agent_name": agent.name,
        "detail": detail or {},
    }
    _APPEND.run(session, values)


_APPEND: Final = Prepared(insert(Event.__table__).inline())  # type: ignore[arg-type]
"""At once and in the order of the calls, without a row object: nobody changes an event, and nothing refers to one."""


def record_event(
    session: Work,
    event_type: EventType,
    record_id: UUID,
    agency: str,
    *,
    agent: Agent,
    at: datetime,
    detail: dict[str, Any],
) -> None:
    """Adds one event about a record; `agency` is the one that archives it. See `append_event`."""
    append_event(
        session,
        event_type,
        subject_kind="record",
        subject_id=record_id,
        agency=agency,
        agent=agent,
        at=at,
        detail=detail,
    )


def events_of(
    session: Session, subjects: Iterable[tuple[str, UUID | str]], *, after_seq: int = 0, limit: int = 200
) -> Sequence[Event]:
    """Returns the events of the subjects in order of entry, at most `limit`, after `after_seq` (keyset)."""
    wanted = [(Event.subject_kind == kind) & (Event.subject_id == str(subject_id)) for kind, subject_id in subjects]
    query = select(Event).where(or_(*wanted), Event.seq > after_seq).order_by(Event.seq).limit(limit)
    return session.scalars(query).all()
