"""Events: the append-only history of everything (PREMIS events, ISO 16175 audit). The database refuses UPDATE, DELETE and TRUNCATE."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from archive_service.db import UtcDateTime
from archive_service.models.base import Base, SerialColumn, token
from archive_service.models.states import EventType


class Event(Base):
    """One thing that happened: what, to which subject, by whom, when."""

    __tablename__ = "event"
    __table_args__ = (
        Index("ix_event_subject", "subject_kind", "subject_id", "seq"),
        Index("ix_event_at", "at", "seq"),
        Index("ix_event_agency_seq", "agency", "seq"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    type: Mapped[EventType] = mapped_column(token(EventType, "event_type", closed=False))
    subject_kind: Mapped[str] = mapped_column(String(40))
    subject_id: Mapped[str] = mapped_column(String(100))
    agency: Mapped[str | None] = mapped_column(String(40))
    agent_id: Mapped[str] = mapped_column(String(100))
    """`account:<id>`, `token:<id>` or `software:<part>`."""
    agent_name: Mapped[str] = mapped_column(String(200))
    detail: Mapped[dict[str, Any]]
