"""Text of components for search: derived from what is stored, made again at any time, and no part of what a rebuild compares.

The words themselves stand in an index of the database's own kind beside these tables (`access.text_index`): a tsvector with a GIN index on
PostgreSQL, an FTS5 table on SQLite.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from archive_service.db import UtcDateTime
from archive_service.models.base import Base, SerialColumn, token


class TextStatus(StrEnum):
    """What is known of a component's text."""

    EXTRACTED = "EXTRACTED"
    NO_TEXT = "NO_TEXT"
    """It was read to the end and holds no text: a scan without a text layer, an empty sheet."""
    NOT_CHECKED = "NOT_CHECKED"
    """Its text could not be read; the reason is kept."""


class ComponentText(Base):
    """What came of reading one component's text."""

    __tablename__ = "component_text"
    __table_args__ = (UniqueConstraint("aip_id", "component_id"),)

    id: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    aip_id: Mapped[UUID] = mapped_column(ForeignKey("aip.id", ondelete="RESTRICT"))
    component_id: Mapped[str] = mapped_column(String(100))
    status: Mapped[TextStatus] = mapped_column(token(TextStatus, "component_text_status"))
    reason: Mapped[str] = mapped_column(String(500))
    """Why there is no text, or not all of it."""
    characters: Mapped[int] = mapped_column(Integer)
    complete: Mapped[bool] = mapped_column(Boolean)
    extracted_at: Mapped[datetime] = mapped_column(UtcDateTime)


class TextPiece(Base):
    """A run of one component's text, short enough to be shown in part and indexed whole; neighbours overlap by a few words."""

    __tablename__ = "text_piece"
    __table_args__ = (
        UniqueConstraint("text_id", "ordinal"),
        Index("ix_text_piece_record", "record_id", "id"),
        CheckConstraint("ordinal >= 1", name="ordinal"),
    )

    id: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    text_id: Mapped[int] = mapped_column(ForeignKey("component_text.id", ondelete="CASCADE"))
    record_id: Mapped[UUID] = mapped_column(ForeignKey("record.id", ondelete="RESTRICT"))
    ordinal: Mapped[int] = mapped_column(Integer)
    content: Mapped[str] = mapped_column(Text)
