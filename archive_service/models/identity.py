"""Who may do what (DESIGN D14): accounts of people, tokens of systems, roles scoped to agencies, server-side sessions."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from archive_service.db import UtcDateTime
from archive_service.ids import new_id
from archive_service.models.base import Base, SerialColumn, token


class RoleName(StrEnum):
    """Roles of DESIGN D14."""

    SUBMITTER = "submitter"
    ARCHIVIST = "archivist"
    RECORDS_HEAD = "records_head"
    COUNCIL = "council"
    OFFICER = "officer"
    COPY_OFFICER = "copy_officer"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Account(Base):
    """A person; one account is one person (R136)."""

    __tablename__ = "account"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    username: Mapped[str] = mapped_column(String(100), unique=True)
    display_name: Mapped[str] = mapped_column(String(200))
    position: Mapped[str | None] = mapped_column(String(200))
    password_hash: Mapped[str] = mapped_column(String(300))
    must_change_password: Mapped[bool] = mapped_column(Boolean, default=False)
    disabled: Mapped[bool] = mapped_column(Boolean, default=False)
    failed_sign_ins: Mapped[int] = mapped_column(Integer, default=0)
    locked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_signed_in_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_failed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class SignInBrake(Base):
    """Wrong passwords counted for a source address, or for a name that is no account; forgotten after a quiet time."""

    __tablename__ = "sign_in_brake"
    __table_args__ = (Index("ix_sign_in_brake_last_failed_at", "last_failed_at"),)

    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    """`source:<address>` or `name:<some bits of a hash>`; never what was typed."""
    failed_sign_ins: Mapped[int] = mapped_column(Integer)
    locked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_failed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class RoleGrant(Base):
    """One role of an account, in one agency or in all (agency NULL)."""

    __tablename__ = "role_grant"
    __table_args__ = (
        Index("ix_role_grant_account_id", "account_id"),
        UniqueConstraint("account_id", "role", "agency"),
    )

    id: Mapped[int] = mapped_column(SerialColumn, primary_key=True, autoincrement=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    role: Mapped[RoleName] = mapped_column(token(RoleName, "role"))
    agency: Mapped[str | None] = mapped_column(String(40))


class ApiToken(Base):
    """A system's token; only its SHA-256 is kept (the token itself has 256 random bits)."""

    __tablename__ = "api_token"
    __table_args__ = (CheckConstraint("length(token_sha256) = 64", name="token_sha256"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200))
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[RoleName] = mapped_column(token(RoleName, "token_role"))
    agency: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class BrowserSession(Base):
    """A signed-in browser; the cookie holds a random value of which only the SHA-256 is kept."""

    __tablename__ = "browser_session"
    __table_args__ = (Index("ix_browser_session_expires_at", "expires_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    cookie_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    csrf_token: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SetupLink(Base):
    """A one-time link that lets the first administrator choose a name and password; only its hash is kept."""

    __tablename__ = "setup_link"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    secret_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
