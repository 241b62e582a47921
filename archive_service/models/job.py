"""Jobs are rows (DESIGN D6): inserted in the transaction that makes them necessary, claimed with a lease, parked after too many tries."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from archive_service.db import UtcDateTime
from archive_service.ids import new_id
from archive_service.models.base import Base, SerialColumn, token


class JobState(StrEnum):
    """Where a job stands."""

    READY = "READY"
    RUNNING = "RUNNING"
    DONE = "DONE"
    PARKED = "PARKED"


class JobKind(StrEnum):
    """What there is to do; each kind has one idempotent function in jobs/."""

    CHECK_SUBMISSION = "check-submission"
    STORE_SUBMISSION = "store-submission"
    DISCARD_STAGING = "discard-staging"
    SWEEP_STAGING = "sweep-staging"
    REVIEW_RETENTION = "review-retention"
    PRUNE_JOBS = "prune-jobs"
    CHECK_FIXITY = "check-fixity"
    REPAIR_COPY = "repair-copy"
    SEAL_LOG = "seal-log"
    RENEW_EVIDENCE = "renew-evidence"
    REPAIR_OBJECT = "repair-object"
    MAKE_RENDITIONS = "make-renditions"
    MAKE_BACKUP = "make-backup"
    DRILL_RESTORE = "drill-restore"
    EXTRACT_TEXT = "extract-text"
    COPY_PACKAGE = "copy-package"
    MOVE_COPIES = "move-copies"
    APPLY_LOCKS = "apply-locks"
    APPLY_HOLD = "apply-hold"
    RECONCILE_STORAGE = "reconcile-storage"
    KEEP_STORAGE = "keep-storage"


class Job(Base):
    """One piece of follow-up work."""

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_claim", "state", "run_at", "id"),
        Index(
            "uq_job_open",
            "kind",
            "subject",
            unique=True,
            sqlite_where=text("state IN ('READY', 'RUNNING')"),
            postgresql_where=text("state IN ('READY', 'RUNNING')"),
        ),
        CheckConstraint("(state = 'RUNNING') = (lease_until IS NOT NULL)", name="lease_when_running"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[JobKind] = mapped_column(token(JobKind, "job_kind", closed=False))
    subject: Mapped[str] = mapped_column(String(200))
    """What the job is about; at most one open job per kind and subject."""
    payload: Mapped[dict[str, Any]]
    state: Mapped[JobState] = mapped_column(token(JobState, "job_state"))
    run_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ScheduledRun(Base):
    """One planned run of a scheduled task; the unique key makes two schedulers harmless."""

    __tablename__ = "scheduled_run"
    __table_args__ = (UniqueConstraint("task", "scheduled_for"),)

    id: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    task: Mapped[str] = mapped_column(String(100))
    scheduled_for: Mapped[datetime] = mapped_column(UtcDateTime)
    job_id: Mapped[UUID]
