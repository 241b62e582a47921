"""Where records are kept and what keeps them there: locations in their lifecycle, moves of copies, legal holds, comparisons with the stores."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Float,
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
from archive_service.ids import new_id
from archive_service.models.base import Base, SerialColumn, token


class LocationState(StrEnum):
    """Where a storage location stands. One without a row was configured from the beginning and is ACTIVE."""

    FILLING = "FILLING"
    """Gets every new package, and by a move those stored before."""
    ACTIVE = "ACTIVE"
    RETIRING = "RETIRING"
    """Gets nothing new; a move makes sure that enough verified copies are elsewhere."""
    RETIRED = "RETIRED"
    """Counts no longer; its bytes stay as the way back (R124)."""
    EMPTIED = "EMPTIED"
    """Its copies were removed and read back as gone."""


class StorageLocation(Base):
    """Where a location stands now; its history is events of subject `location`."""

    __tablename__ = "storage_location"
    __table_args__ = (CheckConstraint("(state = 'RETIRED') = (keep_until IS NOT NULL)", name="kept_while_retired"),)

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    state: Mapped[LocationState] = mapped_column(token(LocationState, "location_state"))
    since: Mapped[datetime] = mapped_column(UtcDateTime)
    keep_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """RETIRED only: before this nothing may be removed, so that the location can be put back in use (R124)."""


class MovePurpose(StrEnum):
    """What a move is for."""

    FILL = "FILL"
    """Every package the policy wants at the location gets a copy there."""
    RETIRE = "RETIRE"
    """Every package of the location gets enough copies elsewhere, each read back since the move began."""
    EMPTY = "EMPTY"
    """Copies at a retired location are removed, as far as locks and holds allow."""


class MoveState(StrEnum):
    """Where a move stands."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DONE = "DONE"
    STOPPED = "STOPPED"
    """Given up because the location was put back in use."""


class StorageMove(Base):
    """One move of copies and how far it is; a worker goes on after `last_id`."""

    __tablename__ = "storage_move"
    __table_args__ = (
        Index(
            "uq_storage_move_open",
            "location",
            unique=True,
            sqlite_where=text("state IN ('RUNNING', 'PAUSED')"),
            postgresql_where=text("state IN ('RUNNING', 'PAUSED')"),
        ),
        Index("ix_storage_move_started", "started_at", "id"),
        CheckConstraint("(finished_at IS NULL) = (state IN ('RUNNING', 'PAUSED'))", name="finished"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    location: Mapped[str] = mapped_column(String(100))
    purpose: Mapped[MovePurpose] = mapped_column(token(MovePurpose, "move_purpose"))
    state: Mapped[MoveState] = mapped_column(token(MoveState, "move_state"))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_by: Mapped[str] = mapped_column(String(200))
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    step: Mapped[str] = mapped_column(String(20), default="aip")
    """What is being moved: `aip`, then `rendition`, then `certified-copy`."""
    last_id: Mapped[UUID | None]
    """The last object done in this step."""
    rounds: Mapped[int] = mapped_column(Integer, default=1)
    """Times the walk began anew, because something came in meanwhile or could not be done."""
    total: Mapped[int] = mapped_column(BigInteger, default=0)
    """Objects to be done, as counted when the move began."""
    total_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    done: Mapped[int] = mapped_column(BigInteger, default=0)
    done_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    left_over: Mapped[int] = mapped_column(BigInteger, default=0)
    """Objects of this round that could not be done; `problems` says why for the first."""
    problems: Mapped[list[Any]] = mapped_column(default=list)
    worked_s: Mapped[float] = mapped_column(Float, default=0.0)
    """Time workers spent on it, in seconds; with `done_bytes` it gives the rate."""


class Hold(Base):
    """One legal hold (R069): records frozen by an order until it is released by another. Rows are never deleted."""

    __tablename__ = "hold"
    __table_args__ = (
        Index("ix_hold_placed", "placed_at", "id"),
        Index("ix_hold_agency_placed", "agency", "placed_at", "id"),
        CheckConstraint(
            "(released_at IS NULL) = (released_by IS NULL) AND (released_at IS NULL) = (release_reason IS NULL)",
            name="released",
        ),
        CheckConstraint("length(reason) > 0 AND length(legal_basis) > 0", name="stated"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    agency: Mapped[str] = mapped_column(String(40))
    """The archiving agency whose records are held."""
    reason: Mapped[str] = mapped_column(String(2000))
    legal_basis: Mapped[str] = mapped_column(String(1000))
    """The order: number, date, issuer."""
    placed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    placed_by: Mapped[str] = mapped_column(String(100))
    placed_by_name: Mapped[str] = mapped_column(String(200))
    released_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    released_by: Mapped[str | None] = mapped_column(String(100))
    released_by_name: Mapped[str | None] = mapped_column(String(200))
    release_reason: Mapped[str | None] = mapped_column(String(2000))


class HoldRecord(Base):
    """A record under a hold. Refers to no row: a dossier may be held before it is archived, and a rebuild must never lose a hold."""

    __tablename__ = "hold_record"
    __table_args__ = (Index("ix_hold_record_record_id", "record_id", "hold_id"),)

    hold_id: Mapped[UUID] = mapped_column(ForeignKey("hold.id", ondelete="RESTRICT"), primary_key=True)
    record_id: Mapped[UUID] = mapped_column(primary_key=True)
    dossier_code: Mapped[str] = mapped_column(String(100))


class Reconciliation(Base):
    """One comparison of the database with one location: how far it is and what it counted."""

    __tablename__ = "reconciliation"
    __table_args__ = (Index("ix_reconciliation_started", "started_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    location: Mapped[str] = mapped_column(String(100))
    apply: Mapped[bool] = mapped_column(Boolean)
    """Whether what may be mended (locks extended, holds set, missing copies reported for repair) is mended."""
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    step: Mapped[str] = mapped_column(String(20), default="copies")
    """`copies`: what the database knows is looked for; then `objects`: what the location holds is looked up."""
    last_id: Mapped[UUID | None]
    last_key: Mapped[str | None] = mapped_column(String(1024))
    copies: Mapped[int] = mapped_column(BigInteger, default=0)
    """Copies looked for so far."""
    objects: Mapped[int] = mapped_column(BigInteger, default=0)
    """Object versions looked up so far."""
    not_checked: Mapped[int] = mapped_column(BigInteger, default=0)
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Drifts found, by kind."""


class StorageDrift(Base):
    """One difference between the database and a location."""

    __tablename__ = "storage_drift"
    __table_args__ = (
        UniqueConstraint("reconciliation_id", "key", "kind", "version_id"),
        Index("ix_storage_drift_reconciliation", "reconciliation_id", "id"),
    )

    id: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    reconciliation_id: Mapped[UUID] = mapped_column(ForeignKey("reconciliation.id", ondelete="RESTRICT"))
    kind: Mapped[str] = mapped_column(String(30))
    key: Mapped[str] = mapped_column(String(1024))
    version_id: Mapped[str] = mapped_column(String(300), default="")
    record_id: Mapped[UUID | None]
    detail: Mapped[str] = mapped_column(Text)
    mended: Mapped[bool] = mapped_column(Boolean, default=False)
    """Whether it was mended, and the mending was read back from the location."""
