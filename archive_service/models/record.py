"""Records as archived (OAIS AIP): the record, its package versions, their copies, retention, and the search terms."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Date, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from archive_service.db import UtcDateTime
from archive_service.ids import new_id
from archive_service.models.base import Base, SerialColumn, TermColumn, token
from archive_service.models.states import State


class Record(Base):
    """One archived dossier. The id is derived from archiving agency and dossier code, so a rebuild finds the same one."""

    __tablename__ = "record"
    __table_args__ = (
        UniqueConstraint("archiving_agency", "dossier_code"),
        Index("ix_record_stored", "stored_at", "id"),
        Index("ix_record_agency_stored", "archiving_agency", "stored_at", "id"),
        Index("ix_record_state_stored", "state", "stored_at", "id"),
        Index("ix_record_due", "retention_due_on", "id"),
        CheckConstraint("retention_kind <> 'YEARS' OR retention_due_on IS NOT NULL", name="due_when_years"),
        CheckConstraint("retention_kind = 'YEARS' OR retention_due_on IS NULL", name="no_due_unless_years"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[State] = mapped_column(token(State, "record_state"))
    dossier_code: Mapped[str] = mapped_column(String(100))
    archive_file_code: Mapped[str] = mapped_column(String(200))
    """arcFileCode of TT 05/2025: archive code and dossier code."""
    archiving_agency: Mapped[str] = mapped_column(String(40))
    settling_agency: Mapped[str] = mapped_column(String(40))
    receiving_agency: Mapped[str] = mapped_column(String(40))
    procedure_code: Mapped[str] = mapped_column(String(100))
    procedure_name: Mapped[str] = mapped_column(String(1000))
    field: Mapped[str] = mapped_column(String(1000))
    title: Mapped[str] = mapped_column(String(1000))
    applicant_name: Mapped[str] = mapped_column(String(1000))
    outcome: Mapped[str] = mapped_column(String(40))
    access_mode: Mapped[str] = mapped_column(String(2))
    closed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    stored_at: Mapped[datetime] = mapped_column(UtcDateTime)
    current_version: Mapped[int] = mapped_column(Integer)
    component_count: Mapped[int] = mapped_column(Integer)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    retention_kind: Mapped[str] = mapped_column(String(20))
    """PERMANENT, YEARS or UNMATCHED (kept and flagged, R064)."""
    retention_due_on: Mapped[date | None] = mapped_column(Date)
    """First day on which the record may be reviewed for disposal; NULL is never due."""


class Aip(Base):
    """One archival package version of a record: one object (DESIGN D4)."""

    __tablename__ = "aip"
    __table_args__ = (
        UniqueConstraint("record_id", "version"),
        UniqueConstraint("submission_id"),
        CheckConstraint("length(sha256) = 64", name="sha256"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    record_id: Mapped[UUID] = mapped_column(ForeignKey("record.id", ondelete="RESTRICT"))
    submission_id: Mapped[UUID] = mapped_column(ForeignKey("submission.id", ondelete="RESTRICT"))
    version: Mapped[int] = mapped_column(Integer)
    objid: Mapped[str] = mapped_column(String(200))
    store_key: Mapped[str] = mapped_column(String(500))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    csip_version: Mapped[str] = mapped_column(String(10))
    packaged_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AipCopy(Base):
    """One copy of an AIP on one location; `verified_at` is when it was last read back with the right digest."""

    __tablename__ = "aip_copy"
    __table_args__ = (
        UniqueConstraint("aip_id", "location"),
        Index("ix_aip_copy_location_verified", "location", "verified_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    aip_id: Mapped[UUID] = mapped_column(ForeignKey("aip.id", ondelete="RESTRICT"))
    location: Mapped[str] = mapped_column(String(100))
    version_id: Mapped[str | None] = mapped_column(String(300))
    read_back_sha256: Mapped[str] = mapped_column(String(64))
    verified_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[str] = mapped_column(String(20), default="INTACT")
    """INTACT, DAMAGED, MISSING as last seen; UNREAD after a rebuild; REMOVING and REMOVED where a retired location was emptied."""
    locked_until: Mapped[date | None] = mapped_column(Date)
    """Civil date at whose beginning the location's Object Lock ends, as last told to it; NULL = not known to be locked."""


class RetentionAssignment(Base):
    """What a rule set decided for a record, with everything needed to explain it later; rows are only added (R060-R068, R145)."""

    __tablename__ = "retention_assignment"
    __table_args__ = (UniqueConstraint("record_id", "ordinal"),)

    id: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    record_id: Mapped[UUID] = mapped_column(ForeignKey("record.id", ondelete="RESTRICT"))
    ordinal: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(20))
    due_on: Mapped[date | None] = mapped_column(Date)
    assigned_at: Mapped[datetime] = mapped_column(UtcDateTime)
    assignment: Mapped[dict[str, Any]]


class RecordTerm(Base):
    """Inverted index for search by code, title and applicant: folded words (no marks, đ as d) and the words as written."""

    __tablename__ = "record_term"

    term: Mapped[str] = mapped_column(TermColumn, primary_key=True)
    record_id: Mapped[UUID] = mapped_column(ForeignKey("record.id", ondelete="RESTRICT"), primary_key=True)


class RetentionReview(Base):
    """One run of the scheduled review: which day it looked at and how much fell due; the records are listed in `RetentionReviewItem`."""

    __tablename__ = "retention_review"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    on: Mapped[date] = mapped_column(Date, unique=True)
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_count: Mapped[int] = mapped_column(Integer)


class RetentionReviewItem(Base):
    """One record that a review found due; a record is listed once per due date."""

    __tablename__ = "retention_review_item"
    __table_args__ = (
        UniqueConstraint("record_id", "due_on"),
        Index("ix_retention_review_item_review_id", "review_id", "record_id"),
    )

    id: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    review_id: Mapped[UUID] = mapped_column(ForeignKey("retention_review.id", ondelete="RESTRICT"))
    record_id: Mapped[UUID] = mapped_column(ForeignKey("record.id", ondelete="RESTRICT"))
    due_on: Mapped[date] = mapped_column(Date)


class CertifiedCopy(Base):
    """Register of certified paper copies (R104-R108): number in the yearly series, what was copied, whether still valid."""

    __tablename__ = "certified_copy"
    __table_args__ = (
        UniqueConstraint("agency", "year", "number"),
        UniqueConstraint("verify_code"),
        Index("ix_certified_copy_record_id", "record_id", "issued_at"),
        Index("ix_certified_copy_issued", "issued_at", "id"),
        CheckConstraint("(cancelled_at IS NULL) = (cancel_reason IS NULL)", name="cancelled"),
        CheckConstraint("(completed_at IS NULL) = (pdf_sha256 IS NULL)", name="completed"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    verify_code: Mapped[str] = mapped_column(String(40))
    agency: Mapped[str] = mapped_column(String(40))
    year: Mapped[int] = mapped_column(Integer)
    number: Mapped[int] = mapped_column(Integer)
    form: Mapped[str] = mapped_column(String(20))
    """SAO Y, SAO LỤC or TRÍCH SAO (NĐ 30/2020 Đ25)."""
    record_id: Mapped[UUID] = mapped_column(ForeignKey("record.id", ondelete="RESTRICT"))
    aip_id: Mapped[UUID] = mapped_column(ForeignKey("aip.id", ondelete="RESTRICT"))
    component_id: Mapped[str] = mapped_column(String(100))
    original_sha256: Mapped[str] = mapped_column(String(64))
    purpose: Mapped[str] = mapped_column(String(1000))
    recipient: Mapped[str] = mapped_column(String(1000))
    place: Mapped[str] = mapped_column(String(200))
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """Time of conversion as printed; the number is taken at this moment."""
    issued_by: Mapped[str] = mapped_column(String(100))
    issuer_name: Mapped[str] = mapped_column(String(200))
    issuer_position: Mapped[str] = mapped_column(String(200))
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the PDF was stored and read back; a copy without it was never handed out."""
    page_count: Mapped[int | None] = mapped_column(Integer)
    pdf_sha256: Mapped[str | None] = mapped_column(String(64))
    pdf_size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    store_key: Mapped[str | None] = mapped_column(String(500))
    cancelled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancel_reason: Mapped[str | None] = mapped_column(String(1000))
