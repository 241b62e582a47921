"""Changing the log's signing key, and which key signed which seals (order and crashes: `log_keys`)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.audit import Agent, append_event
from archive_service.evidence.checkpoint import NoteKey, parse_vkey
from archive_service.models import Event, EventType, LogSeal
from archive_service.preservation.log_keys import known_keys, log_signer, make_next_signer, next_signer
from archive_service.preservation.seal import seal_log
from archive_service.service import Service
from archive_service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPeriod:
    """Which seals a key signed alone or as the last one."""

    key: NoteKey
    first_seal: int
    last_seal: int | None
    """None while it is in force. The seal in which the key changed is signed by both."""
    since: datetime | None
    """Time of the event that brought the key; None for the first one."""
    until: datetime | None

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "key": self.key.vkey(),
            "first_seal": self.first_seal,
            "last_seal": self.last_seal,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
        }


def rotate_key(service: Service, *, agent: Agent, reason: str, at: datetime) -> list[LogSeal]:
    """Makes a new key and seals the change with the old and the new one; returns the seals made. A change that was cut off goes on.

    Raises:
        StoreUnavailable: a location could not be written; run again to go on.
        LogRolledBack, LogForked, LogKeyDiffers: storage and database disagree; nothing was sealed.
    """
    begun = next_signer(service.settings) is not None
    made = seal_log(service, at=at)
    if begun and next_signer(service.settings) is None:
        return made  # a change that was sealed, but not ended, has ended
    old, following = log_signer(service.settings), make_next_signer(service.settings)
    with service.database.write() as session:
        if not any(event.detail["new_key"] == following.key.vkey() for event in _rotations(session)):
            append_event(
                session,
                EventType.LOG_KEY_ROTATED,
                subject_kind="archive",
                subject_id="log",
                agency=None,
                agent=agent,
                at=at,
                detail={"old_key": old.key.vkey(), "new_key": following.key.vkey(), "reason": reason},
            )
    return [*made, *seal_log(service, at=at)]


def key_periods(session: Session, settings: Settings) -> list[KeyPeriod]:
    """Returns every key the log has had, oldest first, as far as its changes are sealed."""
    query = select(LogSeal.ordinal, LogSeal.first_seq, LogSeal.last_seq).where(LogSeal.state == "SEALED")
    seals = session.execute(query.order_by(LogSeal.ordinal)).all()
    changes = [
        (event, ordinal)
        for event in _rotations(session)
        for ordinal, first, last in seals
        if first <= event.seq <= last
    ]
    if not changes:
        return [
            KeyPeriod(key=key, first_seal=1, last_seal=None, since=None, until=None) for key in known_keys(settings)[:1]
        ]
    found = []
    first_seal, since = 1, None
    for event, ordinal in changes:
        key = parse_vkey(event.detail["old_key"])
        found.append(KeyPeriod(key=key, first_seal=first_seal, last_seal=ordinal, since=since, until=event.at))
        first_seal, since = ordinal, event.at
    newest = parse_vkey(changes[-1][0].detail["new_key"])
    return [*found, KeyPeriod(key=newest, first_seal=first_seal, last_seal=None, since=since, until=None)]


def _rotations(session: Session) -> list[Event]:
    query = select(Event).where(Event.type == EventType.LOG_KEY_ROTATED)
    return list(session.scalars(query.order_by(Event.seq)))
