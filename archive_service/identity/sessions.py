"""Browser sessions: kept on the server, named by a random cookie of which only the SHA-256 is stored.

A session ends when it was idle too long, when it is too old, on sign-out, and when the account's password changes or
the account is disabled. The cookie is new after every sign-in, so one planted before is worth nothing. Changing
requests carry the session's CSRF token.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from archive_service.audit import Agent, append_event
from archive_service.db import Database
from archive_service.errors import NotPermitted, NotSignedIn
from archive_service.identity.accounts import check_sign_in, principal_of
from archive_service.identity.permissions import Principal
from archive_service.models import Account, BrowserSession, EventType

TOUCH_EVERY: Final = timedelta(minutes=1)
"""How exactly the last use is known: a page with twenty requests writes once, not twenty times."""

_RANDOM_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """How long a session lives."""

    idle: timedelta
    absolute: timedelta

    @classmethod
    def of(cls, *, idle_min: int, max_h: int) -> "SessionLimits":
        """Returns the limits from the settings `session_idle_min` and `session_max_h`."""
        return cls(idle=timedelta(minutes=idle_min), absolute=timedelta(hours=max_h))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A browser that is signed in."""

    session_id: UUID
    principal: Principal
    csrf_token: str
    must_change_password: bool
    """The person sees nothing but the page to choose a password."""
    touch_due: bool
    """Whether `touch_session` should be called; reading alone changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSession:
    """A session just opened."""

    session_id: UUID
    account_id: UUID
    cookie: str
    """The cookie's value, given out this once."""
    csrf_token: str
    expires_at: datetime


def sign_in(
    database: Database,
    *,
    username: str,
    password: str,
    at: datetime,
    limits: SessionLimits,
    old_cookie: str | None = None,
    source: str | None = None,
) -> OpenedSession | None:
    """Signs a person in with name and password; None when refused, with the reason in the event log only.

    Opens its own transactions (see `check_sign_in`).

    Args:
        database: Where accounts and sessions are.
        username: As typed.
        password: As typed.
        at: Now, aware UTC.
        limits: How long the session may live.
        old_cookie: The cookie the browser came with; its session ends.
        source: Network address of the caller, for the event.
    """
    account_id = check_sign_in(database, username=username, password=password, at=at, source=source)
    if account_id is None:
        return None
    with database.write() as session:
        if old_cookie is not None:
            session.execute(delete(BrowserSession).where(BrowserSession.cookie_sha256 == _digest(old_cookie)))
        return open_session(session, account_id, at=at, limits=limits, source=source)


def open_session(
    session: Session, account_id: UUID, *, at: datetime, limits: SessionLimits, source: str | None = None
) -> OpenedSession:
    """Opens a session for an account that has proved who it is, and records the sign-in.

    Raises:
        NotSignedIn: the account is gone or disabled.
    """
    account = session.get(Account, account_id)
    if account is None or account.disabled:
        raise NotSignedIn("the account cannot sign in")
    cookie = secrets.token_urlsafe(_RANDOM_BYTES)
    row = BrowserSession(
        cookie_sha256=_digest(cookie),
        account_id=account_id,
        csrf_token=secrets.token_hex(_RANDOM_BYTES),
        created_at=at,
        last_seen_at=at,
        expires_at=at + limits.absolute,
    )
    session.add(row)
    session.flush()
    _record(session, EventType.ACCOUNT_SIGNED_IN, account, at, source=source)
    return OpenedSession(
        session_id=row.id, account_id=account_id, cookie=cookie, csrf_token=row.csrf_token, expires_at=row.expires_at
    )


def authenticate_session(session: Session, cookie: str, at: datetime, *, limits: SessionLimits) -> SignedIn:
    """Returns who is signed in with this cookie.

    Only reads, so it works in a read-only transaction; the caller extends the idle time with `touch_session` when
    `touch_due`.

    Raises:
        NotSignedIn: no such session, it ended, or the account is disabled.
    """
    query = select(BrowserSession, Account).join(Account).where(BrowserSession.cookie_sha256 == _digest(cookie))
    found = session.execute(query).one_or_none()
    if found is None:
        raise NotSignedIn("no session")
    row, account = found
    if account.disabled or has_ended(row, at, limits):
        raise NotSignedIn("the session has ended")
    return SignedIn(
        session_id=row.id,
        principal=principal_of(session, account),
        csrf_token=row.csrf_token,
        must_change_password=account.must_change_password,
        touch_due=at - row.last_seen_at >= TOUCH_EVERY,
    )


def has_ended(row: BrowserSession, at: datetime, limits: SessionLimits) -> bool:
    """Returns whether a session is over at `at`.

    Both ends are checked against the limits in force now. A session from the future (the clock was set back) ends too
    once it is further ahead than it could live: otherwise it would live for ever.
    """
    return (
        at >= row.expires_at
        or at >= row.created_at + limits.absolute
        or at >= row.last_seen_at + limits.idle
        or row.created_at > at + limits.absolute
    )


def touch_session(session: Session, session_id: UUID, *, at: datetime) -> None:
    """Notes that the session is in use; never moves the time back."""
    later = update(BrowserSession).where(BrowserSession.id == session_id, BrowserSession.last_seen_at < at)
    session.execute(later.values(last_seen_at=at))


def check_csrf(signed_in: SignedIn, given: str | None) -> None:
    """Refuses a changing request that does not carry the session's CSRF token.

    Raises:
        NotPermitted: none or another one was sent.
    """
    if given is None or not hmac.compare_digest(signed_in.csrf_token.encode(), given.encode()):
        raise NotPermitted("the form is not from this session; load the page again")


def sign_out(session: Session, cookie: str, *, at: datetime) -> None:
    """Ends the session of this cookie; does nothing when there is none."""
    query = select(BrowserSession, Account).join(Account).where(BrowserSession.cookie_sha256 == _digest(cookie))
    found = session.execute(query).one_or_none()
    if found is not None:
        row, account = found
        session.delete(row)
        _record(session, EventType.ACCOUNT_SIGNED_OUT, account, at)


def sweep_sessions(session: Session, *, at: datetime, limits: SessionLimits) -> int:
    """Deletes sessions that ended and returns how many."""
    ended = or_(
        BrowserSession.expires_at <= at,
        BrowserSession.last_seen_at <= at - limits.idle,
        BrowserSession.created_at <= at - limits.absolute,
        BrowserSession.created_at > at + limits.absolute,
    )
    ids = session.scalars(delete(BrowserSession).where(ended).returning(BrowserSession.id)).all()
    return len(ids)


def _record(session: Session, event_type: EventType, account: Account, at: datetime, **detail: str | None) -> None:
    agent = Agent(id=f"account:{account.id}", name=account.display_name)
    append_event(
        session,
        event_type,
        subject_kind="account",
        subject_id=account.id,
        agency=None,
        agent=agent,
        at=at,
        detail=dict(detail),
    )


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
