"""Keeping records: runs of the fixity check and its minutes, incidents and their remedy, the sealed log and its evidence, rebuilds."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from archive_service.db import UtcDateTime
from archive_service.ids import new_id
from archive_service.models.base import Base


class FixityRun(Base):
    """Minutes of one run of the fixity check on one location (R120): what was read and what was found."""

    __tablename__ = "fixity_run"
    __table_args__ = (Index("ix_fixity_run_location_started", "location", "started_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    location: Mapped[str] = mapped_column(String(100))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """NULL while it runs, and for ever when it was cut off: what it had read until then counts."""
    budget_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """What it was allowed to read; NULL for no limit."""
    bytes_read: Mapped[int] = mapped_column(BigInteger, default=0)
    intact: Mapped[int] = mapped_column(Integer, default=0)
    damaged: Mapped[int] = mapped_column(Integer, default=0)
    missing: Mapped[int] = mapped_column(Integer, default=0)
    not_checked: Mapped[int] = mapped_column(Integer, default=0)
    ended_because: Mapped[str] = mapped_column(String(40), default="")
    """`all-read`, `budget`, `time`, `location-silent` or empty while unfinished."""
    problems: Mapped[list[Any]] = mapped_column(default=list)
    """The first problems, each with AIP, outcome and reason; every damaged or missing copy also has its event and incident."""


class Incident(Base):
    """A copy that was found damaged or missing (R121): notice, cause, remedy. Never deleted."""

    __tablename__ = "incident"
    __table_args__ = (
        Index(
            "uq_incident_open",
            "copy_id",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index(
            "uq_incident_object_open",
            "object_copy_id",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index("ix_incident_opened", "opened_at", "id"),
        CheckConstraint("(copy_id IS NULL) <> (object_copy_id IS NULL)", name="subject"),
        CheckConstraint("status IN ('OPEN', 'REPAIRED', 'RECOVERED', 'NO_GOOD_COPY', 'REFUSED')", name="status"),
        CheckConstraint("(closed_at IS NULL) = (status NOT IN ('REPAIRED', 'RECOVERED'))", name="closed"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    copy_id: Mapped[UUID | None] = mapped_column(ForeignKey("aip_copy.id", ondelete="RESTRICT"))
    """The AIP's copy; NULL when it is about another object."""
    object_copy_id: Mapped[UUID | None] = mapped_column(ForeignKey("object_copy.id", ondelete="RESTRICT"))
    """The copy of a rendition or of a certified copy's PDF."""
    aip_id: Mapped[UUID] = mapped_column(ForeignKey("aip.id", ondelete="RESTRICT"))
    """The AIP, or the one the object was made from."""
    location: Mapped[str] = mapped_column(String(100))
    found: Mapped[str] = mapped_column(String(20))
    """DAMAGED, MISSING, or UNREADABLE: it could not be checked again and again."""
    status: Mapped[str] = mapped_column(String(20))
    """OPEN, REPAIRED, RECOVERED (read intact later, nothing done), NO_GOOD_COPY, REFUSED (the location forbids the remedy)."""
    notice: Mapped[str] = mapped_column(Text)
    """What was found, as read."""
    cause: Mapped[str] = mapped_column(Text, default="")
    remedy: Mapped[str] = mapped_column(Text, default="")
    source_location: Mapped[str | None] = mapped_column(String(100))
    """The location whose copy was verified in the same run and used."""
    quarantine_key: Mapped[str | None] = mapped_column(String(500))
    """Where the damaged bytes were put aside at the same location."""
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ObjectCopy(Base):
    """One copy, at one location, of a stored object that is no AIP: a rendition or a certified copy's PDF. Its bytes never change."""

    __tablename__ = "object_copy"
    __table_args__ = (
        UniqueConstraint("store_key", "location"),
        Index("ix_object_copy_location_verified", "location", "verified_at"),
        CheckConstraint("kind IN ('rendition', 'certified-copy')", name="kind"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str] = mapped_column(String(20))
    subject_id: Mapped[UUID]
    """Id of the rendition or certified copy."""
    aip_id: Mapped[UUID] = mapped_column(ForeignKey("aip.id", ondelete="RESTRICT"))
    location: Mapped[str] = mapped_column(String(100))
    version_id: Mapped[str | None] = mapped_column(String(300))
    store_key: Mapped[str] = mapped_column(String(500))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(20), default="INTACT")
    """INTACT, DAMAGED, MISSING as last seen; UNREAD after a rebuild."""
    verified_at: Mapped[datetime] = mapped_column(UtcDateTime)


class CopySilence(Base):
    """How long a copy could not be checked; the row goes when the copy is read, whatever is found."""

    __tablename__ = "copy_silence"

    copy_id: Mapped[UUID] = mapped_column(primary_key=True)
    """Id of the AIP's or object's copy."""
    since: Mapped[datetime] = mapped_column(UtcDateTime)
    runs: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(Text)
    """The last one."""


class LogSeal(Base):
    """One seal of the log: a run of events made final by a signed checkpoint. PREPARED fixes which events; SEALED is durable everywhere."""

    __tablename__ = "log_seal"
    __table_args__ = (
        UniqueConstraint("first_seq"),
        Index(
            "uq_log_seal_prepared",
            "state",
            unique=True,
            sqlite_where=text("state = 'PREPARED'"),
            postgresql_where=text("state = 'PREPARED'"),
        ),
        CheckConstraint("state IN ('PREPARED', 'SEALED')", name="state"),
        CheckConstraint("state = 'PREPARED' OR (checkpoint IS NOT NULL AND note IS NOT NULL)", name="sealed"),
    )

    ordinal: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """From 1, without gaps; names the objects in storage."""
    state: Mapped[str] = mapped_column(String(10))
    first_seq: Mapped[int] = mapped_column(BigInteger)
    last_seq: Mapped[int] = mapped_column(BigInteger)
    tree_size_before: Mapped[int] = mapped_column(BigInteger)
    tree_size: Mapped[int | None] = mapped_column(BigInteger)
    root: Mapped[str | None] = mapped_column(String(64))
    checkpoint: Mapped[str | None] = mapped_column(Text)
    """Signed checkpoint (C2SP note)."""
    note: Mapped[str | None] = mapped_column(Text)
    """Signed list of the seal's objects with their digests, chained to the one before."""
    timestamp: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Evidence Record of the checkpoint's text (RFC 4998), which holds the RFC 3161 token; NULL = no time-stamp."""
    timestamp_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    timestamp_problem: Mapped[str | None] = mapped_column(Text)
    """Why there is no time-stamp."""
    prepared_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sealed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class LogTile(Base):
    """Hashes of the log, 256 to a tile (C2SP tlog-tiles); the last tile of each level grows, full ones never change."""

    __tablename__ = "log_tile"

    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hashes: Mapped[bytes] = mapped_column(LargeBinary)


class AipEvidence(Base):
    """Where an AIP stands in the log, and its Evidence Record once a time-stamp was to be had."""

    __tablename__ = "aip_evidence"
    __table_args__ = (
        UniqueConstraint("leaf_index"),
        Index("ix_aip_evidence_stamped", "stamped_by", "leaf_index"),
    )

    aip_id: Mapped[UUID] = mapped_column(ForeignKey("aip.id", ondelete="RESTRICT"), primary_key=True)
    leaf_index: Mapped[int] = mapped_column(BigInteger)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    seal: Mapped[int] = mapped_column(ForeignKey("log_seal.ordinal", ondelete="RESTRICT"))
    """The first seal whose tree holds the leaf."""
    stamped_by: Mapped[int | None] = mapped_column(ForeignKey("log_seal.ordinal", ondelete="RESTRICT"))
    """The seal whose time-stamp covers the AIP; NULL = no Evidence Record."""
    evidence_record: Mapped[bytes | None] = mapped_column(LargeBinary)


class EvidenceBatch(Base):
    """Evidence Records that share their newest chain's time-stamps: those of one seal, or of one hash-tree renewal. Renewed together."""

    __tablename__ = "evidence_batch"
    __table_args__ = (CheckConstraint("source IN ('seal', 'renewal')", name="source"),)

    source: Mapped[str] = mapped_column(String(10), primary_key=True)
    ordinal: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """Of the seal or renewal."""
    token: Mapped[bytes] = mapped_column(LargeBinary)
    """The chain's first time-stamp token."""
    appended: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    """Archive time-stamps (RFC 4998 4.1, DER, one after the other) that time-stamp renewals added to the chain since."""
    renewed_by: Mapped[int | None] = mapped_column(Integer)
    """The last time-stamp renewal."""
    retired_by: Mapped[int | None] = mapped_column(Integer)
    """The hash-tree renewal that took its last record over; nothing is renewed here any more."""
    stamped_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """Time of the newest time-stamp."""
    hash_name: Mapped[str] = mapped_column(String(20))
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """First end of validity in the newest time-stamp's certificate path; NULL when it is not known."""
    key_algorithm: Mapped[str | None] = mapped_column(String(40))
    key_bits: Mapped[int | None] = mapped_column(Integer)
    signature_hash_name: Mapped[str] = mapped_column(String(20))


class EvidenceRenewal(Base):
    """One renewal of many Evidence Records under one time-stamp (RFC 4998 5). PREPARED fixes what it covers, DONE is durable everywhere."""

    __tablename__ = "evidence_renewal"
    __table_args__ = (
        Index(
            "uq_evidence_renewal_prepared",
            "state",
            unique=True,
            sqlite_where=text("state = 'PREPARED'"),
            postgresql_where=text("state = 'PREPARED'"),
        ),
        CheckConstraint("state IN ('PREPARED', 'DONE')", name="state"),
        CheckConstraint("kind IN ('timestamp-renewal', 'hash-tree-renewal')", name="kind"),
        CheckConstraint("state = 'PREPARED' OR object_sha256 IS NOT NULL", name="done"),
    )

    ordinal: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """From 1; names the object in storage."""
    kind: Mapped[str] = mapped_column(String(30))
    state: Mapped[str] = mapped_column(String(10))
    hash_name: Mapped[str] = mapped_column(String(20))
    """Digest algorithm of the new hash tree."""
    batches: Mapped[list[Any]] = mapped_column(default=list)
    """Time-stamp renewal: the batches it covers, as `seal:3`, in the tree's order."""
    token: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Asked for once, never again."""
    authority: Mapped[str | None] = mapped_column(String(500))
    problem: Mapped[str | None] = mapped_column(Text)
    """Why the last try gave no time-stamp."""
    urgency: Mapped[str] = mapped_column(String(10), default="")
    """The most urgent level that was reported while it was delayed."""
    ends_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When the first of what it covers loses its value."""
    object_sha256: Mapped[str | None] = mapped_column(String(64))
    """Of the object at every location; empty when nothing could be renewed because nothing could be read."""
    prepared_at: Mapped[datetime] = mapped_column(UtcDateTime)
    done_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RenewedRecord(Base):
    """A hash-tree renewal's part for one AIP or checkpoint: the digest taken when it was read again, and its new Evidence Record."""

    __tablename__ = "renewed_record"
    __table_args__ = (
        Index("ix_renewed_record_aip", "aip_id", "renewal"),
        Index("ix_renewed_record_seal", "seal", "renewal"),
        CheckConstraint("(aip_id IS NULL) <> (seal IS NULL)", name="subject"),
    )

    renewal: Mapped[int] = mapped_column(
        ForeignKey("evidence_renewal.ordinal", ondelete="RESTRICT"), primary_key=True, autoincrement=False
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    aip_id: Mapped[UUID | None] = mapped_column(ForeignKey("aip.id", ondelete="RESTRICT"))
    seal: Mapped[int | None] = mapped_column(ForeignKey("log_seal.ordinal", ondelete="RESTRICT"))
    """The seal whose checkpoint it is about."""
    digest: Mapped[str | None] = mapped_column(String(128))
    """In the renewal's algorithm; NULL until read."""
    left_out: Mapped[str | None] = mapped_column(Text)
    """Why it could not be renewed: no intact copy was found."""
    record: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The whole Evidence Record with its new chain; earlier ones stay where they are."""


class Rebuild(Base):
    """How far a rebuild of this database from storage has come; its last row says what it found."""

    __tablename__ = "rebuild"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    location: Mapped[str] = mapped_column(String(100))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seals_done: Mapped[int] = mapped_column(Integer, default=0)
    last_key: Mapped[str | None] = mapped_column(String(500))
    """The last AIP object taken in, in the location's listing order."""
    objects_done: Mapped[int] = mapped_column(Integer, default=0)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
