"""Renditions: a PDF/A made from an Office or image component, kept as an object of its own beside the package it was made from."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from archive_service.db import UtcDateTime
from archive_service.ids import new_id
from archive_service.models.base import Base


class Rendition(Base):
    """One rendition, written once: how it was made and what our own checks found it to be (R020)."""

    __tablename__ = "rendition"
    __table_args__ = (
        UniqueConstraint("aip_id", "component_id"),
        CheckConstraint("length(sha256) = 64", name="sha256"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    aip_id: Mapped[UUID] = mapped_column(ForeignKey("aip.id", ondelete="RESTRICT"))
    component_id: Mapped[str] = mapped_column(String(100))
    store_key: Mapped[str] = mapped_column(String(500))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    flavour: Mapped[str] = mapped_column(String(10))
    """PDF/A flavour the file claims, such as `2b`."""
    conforms: Mapped[bool] = mapped_column(Boolean)
    """Whether the claim held in the check named by `checker`."""
    checker: Mapped[str] = mapped_column(String(200))
    problems: Mapped[list[Any]] = mapped_column(default=list)
    page_count: Mapped[int] = mapped_column(Integer)
    copies: Mapped[list[Any]] = mapped_column(default=list)
    """Location, version id, digest and time of reading back of each copy."""
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)


class RenditionFailure(Base):
    """The last try that gave no rendition of a component, with its reason; gone once there is one."""

    __tablename__ = "rendition_failure"

    aip_id: Mapped[UUID] = mapped_column(ForeignKey("aip.id", ondelete="RESTRICT"), primary_key=True)
    component_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    reason: Mapped[str] = mapped_column(String(500))
    failed_at: Mapped[datetime] = mapped_column(UtcDateTime)
