"""API tokens of systems: `arch_` and 256 random bits, of which only the SHA-256 is kept.

A plain hash is enough here because nobody can guess 256 random bits; the prefix lets secret scanners find a token
that leaked.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from archive_service.audit import Agent, append_event
from archive_service.db import Work
from archive_service.errors import BadRequest, NotFound, NotSignedIn
from archive_service.identity.permissions import ROLE_ACCESS, Grant, Principal
from archive_service.models import ApiToken, EventType, RoleName
from archive_service.prepared import Prepared

TOKEN: Final = re.compile(r"arch_[A-Za-z0-9_-]{43}", re.ASCII)
_RANDOM_BYTES: Final = 32


def create_token(
    session: Session,
    *,
    name: str,
    role: RoleName,
    agency: str | None,
    agent: Agent,
    at: datetime,
    expires_at: datetime | None = None,
) -> str:
    """Creates a token and returns its text, which is never shown again.

    Args:
        session: An open write transaction.
        name: What the token is for; becomes the name of the agent in events and the source system of pushes (R001).
        role: Its one role.
        agency: Agency code the role holds in, compared exactly; None for all.
        agent: Who creates it.
        at: Now, aware UTC.
        expires_at: End of validity; None for none.

    Raises:
        BadRequest: the name is empty, or the token would have ended already.
    """
    if not name.strip():
        raise BadRequest("a token needs a name", problems=[{"location": "name", "reason": "empty"}])
    if expires_at is not None and expires_at <= at:
        raise BadRequest("the token would have ended already", problems=[{"location": "expires_at", "reason": "past"}])
    text = f"arch_{secrets.token_urlsafe(_RANDOM_BYTES)}"
    row = ApiToken(
        name=name.strip(), token_sha256=_digest(text), role=role, agency=agency, created_at=at, expires_at=expires_at
    )
    session.add(row)
    session.flush()
    detail = {"name": row.name, "role": role.value, "expires_at": expires_at.isoformat() if expires_at else None}
    append_event(
        session,
        EventType.TOKEN_CREATED,
        subject_kind="token",
        subject_id=row.id,
        agency=agency,
        agent=agent,
        at=at,
        detail=detail,
    )
    return text


_PRESENTED: Final = Prepared(
    select(ApiToken.id, ApiToken.name, ApiToken.role, ApiToken.agency, ApiToken.revoked_at, ApiToken.expires_at).where(
        ApiToken.token_sha256 == bindparam("sha256")
    )
)
"""Columns, built once: asked with every request of a system."""


def verify_token(work: Work, token: str, at: datetime) -> Any:
    """Returns the token's columns when it is valid at `at`, else None."""
    if not TOKEN.fullmatch(token):
        return None
    row = _PRESENTED.first(work, {"sha256": _digest(token)})
    if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= at):
        return None
    return row


def authenticate_token(work: Work, token: str, at: datetime) -> Principal:
    """Returns the principal a bearer token stands for.

    Raises:
        NotSignedIn: unknown, revoked or past its end; the message does not say which.
    """
    row = verify_token(work, token, at)
    if row is None:
        raise NotSignedIn("the token is not valid")
    agent = Agent(id=f"token:{row.id}", name=row.name)
    grants = (Grant(role=row.role, agency=row.agency),)
    return Principal(id=agent.id, name=agent.name, agent=agent, grants=grants, access=ROLE_ACCESS[row.role])


def revoke_token(session: Session, token_id: UUID, *, agent: Agent, at: datetime) -> None:
    """Ends a token at once; repeating it changes nothing.

    Raises:
        NotFound: no such token.
    """
    row = session.get(ApiToken, token_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound(f"token {token_id} not found")
    if row.revoked_at is None:
        row.revoked_at = at
        append_event(
            session,
            EventType.TOKEN_REVOKED,
            subject_kind="token",
            subject_id=row.id,
            agency=row.agency,
            agent=agent,
            at=at,
        )


def list_tokens(session: Session) -> Sequence[ApiToken]:
    """Returns every token, newest first, revoked ones included; none holds its text."""
    return session.scalars(select(ApiToken).order_by(ApiToken.created_at.desc(), ApiToken.id.desc())).all()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
