"""The first administrator: a one-time link, printed once by `serve` while there is no account.

The link proves that its bearer reads the server's output. It is worth nothing once any account exists.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from archive_service.audit import software
from archive_service.errors import NotPermitted
from archive_service.identity.accounts import Person, any_account, create_account
from archive_service.identity.permissions import Grant
from archive_service.models import Account, RoleName, SetupLink

VALID_FOR: Final = timedelta(hours=24)
"""Long enough to set a server up in a working day; the next start prints a new link."""

FIRST_ROLES: Final = (
    RoleName.ADMIN,
    RoleName.ARCHIVIST,
    RoleName.RECORDS_HEAD,
    RoleName.COPY_OFFICER,
)
"""An office of one person can work at once. A larger one takes roles away when it adds people (segregation of duties,
R132)."""


def create_setup_link(session: Session, *, at: datetime) -> str | None:
    """Returns the secret of a new setup link, or None when there is an account already. Earlier unused links end."""
    if any_account(session):
        return None
    session.execute(delete(SetupLink).where(SetupLink.used_at.is_(None)))
    secret = secrets.token_urlsafe(32)
    session.add(SetupLink(secret_sha256=_digest(secret), created_at=at, expires_at=at + VALID_FOR))
    session.flush()
    return secret


def check_setup_link(session: Session, secret: str, *, at: datetime) -> None:
    """Refuses unless the link may be used at `at`; for showing its page.

    Raises:
        NotPermitted: unknown, used or past its end, or there is an account already.
    """
    link = session.scalars(select(SetupLink).where(SetupLink.secret_sha256 == _digest(secret))).one_or_none()
    if link is None or link.used_at is not None or at >= link.expires_at or any_account(session):
        raise NotPermitted("the setup link is not valid any more; restart the service for a new one")


def consume_setup_link(session: Session, secret: str, person: Person, *, password: str, at: datetime) -> Account:
    """Creates the first administrator and uses the link up, in the caller's transaction.

    Raises:
        NotPermitted: unknown, used or past its end, or there is an account already.
        BadRequest: user name or password do not fit; the link stays valid.
    """
    # Locks every link, so that of two people with links of two starts only one gets through.
    every = select(SetupLink).order_by(SetupLink.id).with_for_update()
    links = session.scalars(every.execution_options(populate_existing=True)).all()
    check_setup_link(session, secret, at=at)
    account = create_account(
        session,
        person,
        password=password,
        grants=[Grant(role=role, agency=None) for role in FIRST_ROLES],
        agent=software("setup"),
        at=at,
        must_change_password=False,
    )
    for link in links:
        link.used_at = at
    return account


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
