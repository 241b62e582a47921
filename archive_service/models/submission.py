"""Submissions (OAIS SIP): one push of one dossier, its components as declared and as received, what the checks found, who decided."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from archive_service.db import UtcDateTime
from archive_service.dossier import RecordStatus
from archive_service.findings import Severity
from archive_service.ids import new_id
from archive_service.models.base import Base, SerialColumn, token
from archive_service.models.states import State

UQ_SUBMISSION_IN_FLIGHT = "uq_submission_in_flight"
"""At most one unfinished push per dossier code and archive."""
UQ_SUBMISSION_NEW = "uq_submission_new"
"""At most one NEW push per dossier code and archive that was not refused (R002)."""


class Submission(Base):
    """One push. What dossier.json says is copied into columns that lists and filters need; the bytes as received are staged."""

    __tablename__ = "submission"
    __table_args__ = (
        Index(
            UQ_SUBMISSION_IN_FLIGHT,
            "archiving_agency",
            "dossier_code",
            unique=True,
            sqlite_where=text(
                "state IN ('RECEIVING', 'CHECKING', 'AWAITING_APPROVAL', 'APPROVED') AND dossier_code IS NOT NULL"
            ),
            postgresql_where=text(
                "state IN ('RECEIVING', 'CHECKING', 'AWAITING_APPROVAL', 'APPROVED') AND dossier_code IS NOT NULL"
            ),
        ),
        Index(
            UQ_SUBMISSION_NEW,
            "archiving_agency",
            "dossier_code",
            unique=True,
            sqlite_where=text(
                "state NOT IN ('REJECTED', 'RETURNED') AND record_status = 'NEW' AND dossier_code IS NOT NULL"
            ),
            postgresql_where=text(
                "state NOT IN ('REJECTED', 'RETURNED') AND record_status = 'NEW' AND dossier_code IS NOT NULL"
            ),
        ),
        Index("ix_submission_state_opened", "state", "opened_at", "id"),
        Index("ix_submission_opened", "opened_at", "id"),
        Index("ix_submission_agency_state_opened", "archiving_agency", "state", "opened_at", "id"),
        Index("ix_submission_worst_state_opened", "worst_severity", "state", "opened_at", "id"),
        Index("ix_submission_field_state_opened", "field", "state", "opened_at", "id"),
        Index("ix_submission_dossier_code", "dossier_code", "archiving_agency"),
        Index("ix_submission_content", "content_sha256"),
        CheckConstraint("content_sha256 IS NULL OR length(content_sha256) = 64", name="content_sha256"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    state: Mapped[State] = mapped_column(token(State, "submission_state"))
    form: Mapped[str] = mapped_column(String(20))
    """`dossier` (dossier.json and single uploads) or `package` (one-shot ZIP)."""
    dossier_code: Mapped[str | None] = mapped_column(String(100))
    archiving_agency: Mapped[str | None] = mapped_column(String(40))
    settling_agency: Mapped[str | None] = mapped_column(String(40))
    receiving_agency: Mapped[str | None] = mapped_column(String(40))
    procedure_code: Mapped[str | None] = mapped_column(String(100))
    procedure_name: Mapped[str | None] = mapped_column(String(1000))
    field: Mapped[str | None] = mapped_column(String(1000))
    title: Mapped[str | None] = mapped_column(String(1000))
    applicant_name: Mapped[str | None] = mapped_column(String(1000))
    outcome: Mapped[str | None] = mapped_column(String(40))
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    access_mode: Mapped[str | None] = mapped_column(String(2))
    record_status: Mapped[RecordStatus | None] = mapped_column(token(RecordStatus, "submission_record_status"))
    content_sha256: Mapped[str | None] = mapped_column(String(64))
    """Digest of the canonical dossier.json, which names every file's digest: the identity of the content."""
    source_system: Mapped[str] = mapped_column(String(200))
    """Name of the token or account that pushed (R001)."""
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    checked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stored_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    component_count: Mapped[int] = mapped_column(Integer, default=0)
    received_count: Mapped[int] = mapped_column(Integer, default=0)
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    error_count: Mapped[int] = mapped_column(Integer, default=0)
    warning_count: Mapped[int] = mapped_column(Integer, default=0)
    worst_severity: Mapped[int] = mapped_column(
        Integer, Computed("CASE WHEN error_count > 0 THEN 2 WHEN warning_count > 0 THEN 1 ELSE 0 END"), deferred=True
    )
    """2 with errors, 1 with warnings, 0 with neither: kept by the database, for the queue's filter."""
    policies: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Id, version and digest of every policy and rule set the checks used (R145)."""
    retention: Mapped[dict[str, Any] | None]
    """Retention assignment proposed by the rules at check time, for the approver to see."""
    record_id: Mapped[UUID | None]
    """The record it became, set with STORED; no foreign key because record and submission would point at each other through the AIP."""


class Component(Base):
    """One file of a dossier: what the sender declared, what was received, what it was found to be, where it lies in the AIP."""

    __tablename__ = "component"
    __table_args__ = (
        UniqueConstraint("submission_id", "component_id"),
        UniqueConstraint("submission_id", "ordinal"),
        Index("ix_component_aip_id", "aip_id", "ordinal"),
        CheckConstraint("length(declared_sha256) = 64", name="declared_sha256"),
    )

    id: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    submission_id: Mapped[UUID] = mapped_column(ForeignKey("submission.id", ondelete="RESTRICT"))
    ordinal: Mapped[int] = mapped_column(Integer)
    """Place in dossier.json, from 1; also names the staged file."""
    component_id: Mapped[str] = mapped_column(String(100))
    path: Mapped[str] = mapped_column(String(1000))
    role: Mapped[str] = mapped_column(String(40))
    origin: Mapped[str] = mapped_column(String(40))
    title: Mapped[str] = mapped_column(String(1000))
    declared_sha256: Mapped[str] = mapped_column(String(64))
    declared_size_bytes: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Set once the bytes with the declared digest are durable in staging."""
    crc32: Mapped[int | None] = mapped_column(BigInteger)
    """Taken in the same read as the digest, so that the packager can write the ZIP entry in one pass."""
    mime: Mapped[str | None] = mapped_column(String(200))
    puid: Mapped[str | None] = mapped_column(String(40))
    format_name: Mapped[str | None] = mapped_column(String(300))
    format_version: Mapped[str | None] = mapped_column(String(60))
    facts: Mapped[dict[str, Any] | None]
    """What the format checks measured (pages, dpi, PDF/A claim …) and what was not checked."""
    aip_id: Mapped[UUID | None] = mapped_column(ForeignKey("aip.id", ondelete="RESTRICT"))
    entry_path: Mapped[str | None] = mapped_column(String(1200))
    entry_offset: Mapped[int | None] = mapped_column(BigInteger)
    """Offset of the first content byte inside the AIP object: one range read serves the component (DESIGN D4)."""


class SubmissionFinding(Base):
    """One finding of the checks on a submission."""

    __tablename__ = "submission_finding"
    __table_args__ = (UniqueConstraint("submission_id", "ordinal"),)

    id: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    submission_id: Mapped[UUID] = mapped_column(ForeignKey("submission.id", ondelete="RESTRICT"))
    ordinal: Mapped[int] = mapped_column(Integer)
    code: Mapped[str] = mapped_column(String(100))
    severity: Mapped[Severity] = mapped_column(token(Severity, "finding_severity"))
    location: Mapped[str] = mapped_column(String(1200))
    params: Mapped[dict[str, Any]]


class SignatureVerdict(Base):
    """One signature of one component and the verdict on it; the full report is kept as JSON and in the AIP (R030-R035)."""

    __tablename__ = "signature_verdict"
    __table_args__ = (UniqueConstraint("submission_id", "component_id", "ordinal"),)

    id: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    submission_id: Mapped[UUID] = mapped_column(ForeignKey("submission.id", ondelete="RESTRICT"))
    component_id: Mapped[str] = mapped_column(String(100))
    ordinal: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(20))
    indication: Mapped[str] = mapped_column(String(20))
    sub_indication: Mapped[str | None] = mapped_column(String(60))
    level: Mapped[str | None] = mapped_column(String(10))
    signer: Mapped[str | None] = mapped_column(String(500))
    signing_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    report: Mapped[dict[str, Any]]


class Decision(Base):
    """A person's decision on a submission, with reason; never changed."""

    __tablename__ = "decision"
    __table_args__ = (
        UniqueConstraint("submission_id"),
        Index("ix_decision_batch_id", "batch_id"),
        CheckConstraint("kind IN ('approve', 'return', 'reject')", name="kind"),
        CheckConstraint("kind = 'approve' OR length(reason) > 0", name="reason"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    submission_id: Mapped[UUID] = mapped_column(ForeignKey("submission.id", ondelete="RESTRICT"))
    kind: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str] = mapped_column(Text)
    agent_id: Mapped[str] = mapped_column(String(100))
    agent_name: Mapped[str] = mapped_column(String(200))
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime)
    batch_id: Mapped[UUID | None]
    """Same for all decisions taken in one act on many submissions."""
