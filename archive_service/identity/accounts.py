"""Accounts of people (R136: one person, one account): creation, password, roles, and checking a sign-in.

A sign-in says nothing about why it was refused, takes as long for an unknown name as for a wrong password, and after
repeated failures makes further tries wait (brake.py). The reason is in the event log only.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, exists, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from archive_service.audit import Agent, append_event, software
from archive_service.db import Database
from archive_service.errors import BadRequest, Conflict, NotFound
from archive_service.identity.brake import brake_row, count_failure, name_key, paused, paused_until, source_key
from archive_service.identity.passwords import (
    PasswordPolicy,
    hash_password,
    load_policy,
    needs_rehash,
    password_refused,
    refuse_weak,
    verify_password,
)
from archive_service.identity.permissions import ROLE_ACCESS, Grant, Principal
from archive_service.models import Account, BrowserSession, EventType, RoleGrant, SignInBrake

USERNAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{1,99}", re.ASCII)
"""User names are plain ASCII in lower case, so that no two look alike; e-mail addresses fit."""

MAX_PASSWORD_CHARS: Final = 4096
"""A sign-in with more is refused before it is hashed."""

_PART: Final = software("identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom an account is for."""

    username: str
    """Folded to lower case."""
    display_name: str
    """The person's name as it appears on decisions and copies."""
    position: str | None = None
    """The person's office, as printed under a signature."""


def create_account(
    session: Session,
    person: Person,
    *,
    password: str,
    grants: Iterable[Grant],
    agent: Agent,
    at: datetime,
    must_change_password: bool = True,
    policy: PasswordPolicy | None = None,
) -> Account:
    """Creates an account and records who did it.

    Args:
        session: An open write transaction.
        person: Whom it is for.
        password: A first password; the person must choose another unless `must_change_password` is False.
        grants: Roles and where they hold.
        agent: Who creates the account.
        at: Now, aware UTC.
        must_change_password: Whether the first sign-in leads to choosing a password (QCVN 12 3.7.2).
        policy: Password policy; default the newest `qcvn12`.

    Raises:
        BadRequest: the user name is malformed, the name empty, or the password does not fit the policy.
        Conflict: the user name is taken.
    """
    folded = fold_username(person.username)
    if not USERNAME.fullmatch(folded):
        raise BadRequest("not a user name", problems=[{"location": "username", "reason": "malformed"}])
    if not person.display_name.strip():
        raise BadRequest("a name is needed", problems=[{"location": "display_name", "reason": "empty"}])
    refuse_weak(policy or load_policy(), password, username=folded)
    account = Account(
        username=folded,
        display_name=person.display_name.strip(),
        position=person.position,
        password_hash=hash_password(password),
        must_change_password=must_change_password,
        disabled=False,
        failed_sign_ins=0,
        created_at=at,
    )
    try:
        with session.begin_nested():
            session.add(account)
    except IntegrityError as exc:
        raise Conflict(f"the user name {folded} is taken", username=folded) from exc
    written = _write_grants(session, account.id, grants)
    _record(session, EventType.ACCOUNT_CREATED, account.id, agent, at, username=folded, grants=written)
    return account


def set_password(
    session: Session,
    account_id: UUID,
    password: str,
    *,
    agent: Agent,
    at: datetime,
    must_change_password: bool = True,
    policy: PasswordPolicy | None = None,
) -> None:
    """Gives an account a new password, lifts a lock and ends every browser session of the account.

    Raises:
        NotFound: no such account.
        BadRequest: the password does not fit the policy.
    """
    account = locked_account(session, account_id)
    refuse_weak(policy or load_policy(), password, username=account.username)
    _store_password(session, account, hash_password(password), must_change=must_change_password, keep=None)
    _record(session, EventType.ACCOUNT_CHANGED, account_id, agent, at, changed=["password"])


def change_own_password(
    database: Database,
    account_id: UUID,
    *,
    current: str,
    new: str,
    at: datetime,
    keep_session: UUID | None = None,
    policy: PasswordPolicy | None = None,
) -> None:
    """Lets a person choose a password by proving the present one; every other browser session of theirs ends.

    Hashing takes place outside the transaction. Opens its own transactions, so a refused attempt is recorded too.

    Raises:
        NotFound: no such account.
        BadRequest: the present password is wrong, or the new one equals it or does not fit the policy.
        SignInsPaused: too many wrong passwords for this account.
    """
    policy = policy or load_policy()
    with database.read() as session:
        found = session.get(Account, account_id)
        if found is None:
            raise NotFound(f"account {account_id} not found")
        seen, username = found.password_hash, found.username
    verified = len(current) <= MAX_PASSWORD_CHARS and verify_password(seen, current)
    with database.write() as session:
        account = locked_account(session, account_id)
        attempt = _Attempt(counted=account, origin=None, source=None, at=at, policy=policy)
        until = _waits_until(attempt)
        if until is not None:
            _record_failure(session, attempt, "locked")
        elif not verified:
            _fail(session, attempt, "wrong-password")
    if until is not None:
        raise paused(until, at)
    if not verified:
        raise password_refused("wrong", policy=policy)
    if current == new:
        raise password_refused("unchanged", policy=policy)
    refuse_weak(policy, new, username=username)
    fresh = hash_password(new)
    with database.write() as session:
        account = locked_account(session, account_id)
        if account.password_hash != seen:
            raise password_refused("wrong", policy=policy)
        _store_password(session, account, fresh, must_change=False, keep=keep_session)
        own = Agent(id=f"account:{account_id}", name=account.display_name)
        _record(session, EventType.ACCOUNT_CHANGED, account_id, own, at, changed=["password"])


def set_grants(session: Session, account_id: UUID, grants: Iterable[Grant], *, agent: Agent, at: datetime) -> None:
    """Replaces the roles of an account; takes effect with its next request.

    Raises:
        NotFound: no such account.
    """
    locked_account(session, account_id)
    before = [_grant_json(grant) for grant in grants_of(session, account_id)]
    session.execute(delete(RoleGrant).where(RoleGrant.account_id == account_id))
    after = _write_grants(session, account_id, grants)
    _record(session, EventType.ACCOUNT_CHANGED, account_id, agent, at, changed=["grants"], before=before, after=after)


def set_disabled(session: Session, account_id: UUID, *, disabled: bool, agent: Agent, at: datetime) -> None:
    """Disables an account, ending its browser sessions, or enables it again, which also restarts its idle time.

    Raises:
        NotFound: no such account.
    """
    account = locked_account(session, account_id)
    account.disabled = disabled
    if disabled:
        session.execute(delete(BrowserSession).where(BrowserSession.account_id == account_id))
    else:
        account.last_signed_in_at = at
        account.failed_sign_ins = 0
        account.locked_until = None
    _record(session, EventType.ACCOUNT_CHANGED, account_id, agent, at, changed=["disabled"], disabled=disabled)


def disable_idle_accounts(session: Session, *, at: datetime, policy: PasswordPolicy | None = None) -> int:
    """Disables every account not used for the policy's idle time (R136) and returns how many."""
    border = at - timedelta(days=(policy or load_policy()).idle_disable_days)
    used_at = func.coalesce(Account.last_signed_in_at, Account.created_at)
    idle = session.scalars(select(Account.id).where(Account.disabled.is_(False), used_at < border)).all()
    for account_id in idle:
        _disable_idle(session, locked_account(session, account_id), at)
    return len(idle)


def any_account(session: Session) -> bool:
    """Returns whether there is any account at all."""
    return bool(session.scalar(select(exists().select_from(Account))))


def find_account(session: Session, username: str) -> Account:
    """Returns the account of a user name.

    Raises:
        NotFound: there is none.
    """
    account = session.scalars(select(Account).where(Account.username == fold_username(username))).one_or_none()
    if account is None:
        raise NotFound(f"no account {username}")
    return account


def list_accounts(session: Session) -> list[tuple[Account, tuple[Grant, ...]]]:
    """Returns every account with its roles, by user name: what a review of accounts looks at (R136)."""
    roles: dict[UUID, list[Grant]] = {}
    for row in session.scalars(select(RoleGrant).order_by(RoleGrant.id)):
        roles.setdefault(row.account_id, []).append(Grant(role=row.role, agency=row.agency))
    accounts = session.scalars(select(Account).order_by(Account.username))
    return [(account, tuple(roles.get(account.id, ()))) for account in accounts]


def locked_account(session: Session, account_id: UUID) -> Account:
    """Returns the account, locked for this transaction, as it is now.

    Raises:
        NotFound: no such account.
    """
    query = select(Account).where(Account.id == account_id).with_for_update()
    account = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if account is None:
        raise NotFound(f"account {account_id} not found")
    return account


def grants_of(session: Session, account_id: UUID) -> tuple[Grant, ...]:
    """Returns the roles of an account."""
    rows = session.scalars(select(RoleGrant).where(RoleGrant.account_id == account_id).order_by(RoleGrant.id))
    return tuple(Grant(role=row.role, agency=row.agency) for row in rows)


def principal_of(session: Session, account: Account) -> Principal:
    """Returns the principal for a signed-in account."""
    grants = grants_of(session, account.id)
    agent = Agent(id=f"account:{account.id}", name=account.display_name)
    return Principal(id=agent.id, name=agent.name, agent=agent, grants=grants, access=access_of(grants))


def access_of(grants: Iterable[Grant]) -> frozenset[str]:
    """Returns the access modes that any of the grants opens."""
    return frozenset().union(*(ROLE_ACCESS[grant.role] for grant in grants))


def check_sign_in(
    database: Database,
    *,
    username: str,
    password: str,
    at: datetime,
    source: str | None = None,
    policy: PasswordPolicy | None = None,
) -> UUID | None:
    """Returns the account that name and password belong to, or None when the sign-in is refused.

    Opens its own short transactions: hashing takes tens of milliseconds and must not hold one open, and a refused
    attempt is recorded although the request fails.

    Args:
        database: Where accounts are.
        username: As typed.
        password: As typed.
        at: Now, aware UTC.
        source: Network address of the caller; failures are counted for it too.
        policy: Password policy; default the newest `qcvn12`.

    Raises:
        SignInsPaused: too many failures of this name or from this source; the right password has to wait as well.
    """
    policy = policy or load_policy()
    folded = fold_username(username)
    with database.read() as session:
        found = session.scalars(select(Account).where(Account.username == folded[:100])).one_or_none()
        seen = (found.id, found.password_hash) if found else None
    fits = len(password) <= MAX_PASSWORD_CHARS
    verified = verify_password(seen[1] if seen else None, password if fits else "") and fits
    fresh_hash = hash_password(password) if seen and verified and needs_rehash(seen[1]) else None
    with database.write() as session:
        # Source before name, in every process: nobody waits for the other's row while holding the own.
        origin = brake_row(session, source_key(source), at) if source else None
        account = locked_account(session, seen[0]) if seen else None
        counted = account or brake_row(session, name_key(folded), at)
        attempt = _Attempt(counted=counted, origin=origin, source=source, at=at, policy=policy)
        until = _waits_until(attempt)
        if until is not None:
            _record_failure(session, attempt, "locked")
        elif account is None or seen is None:
            _fail(session, attempt, "unknown-name")
        elif _accepted(session, account, attempt, verified=verified and account.password_hash == seen[1]):
            account.failed_sign_ins, account.locked_until = 0, None
            account.last_signed_in_at = max(at, account.last_signed_in_at or at)
            account.password_hash = fresh_hash or account.password_hash
            return account.id
    if until is not None:
        raise paused(until, at)
    return None


def fold_username(username: str) -> str:
    """Returns the form of a user name that is stored and compared."""
    return username.strip().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One try to prove a password."""

    counted: Account | SignInBrake
    """The account, or the row of a name that is none."""
    origin: SignInBrake | None
    """The row of the source address, where one is known."""
    source: str | None
    at: datetime
    policy: PasswordPolicy

    @property
    def subject(self) -> UUID | str:
        """What events are about. The name as typed is not recorded: people type passwords into that field."""
        return self.counted.id if isinstance(self.counted, Account) else "unknown"


def _waits_until(attempt: _Attempt) -> datetime | None:
    rows = (attempt.counted, attempt.origin)
    waits = [paused_until(row, attempt.at, attempt.policy) for row in rows if row is not None]
    return max((until for until in waits if until is not None), default=None)


def _accepted(session: Session, account: Account, attempt: _Attempt, *, verified: bool) -> bool:
    if account.disabled or not verified:
        _fail(session, attempt, "disabled" if account.disabled else "wrong-password")
        return False
    idle_border = attempt.at - timedelta(days=attempt.policy.idle_disable_days)
    if (account.last_signed_in_at or account.created_at) < idle_border:
        _disable_idle(session, account, attempt.at)
        _record_failure(session, attempt, "idle")
        return False
    return True


def _fail(session: Session, attempt: _Attempt, reason: str) -> None:
    """Records a failure and counts it for the name and for the source."""
    _record_failure(session, attempt, reason)
    policy, at = attempt.policy, attempt.at
    wait_s = count_failure(attempt.counted, at, policy, allowed=policy.failures_before_lock)
    if wait_s is not None:
        failures = attempt.counted.failed_sign_ins
        _record(session, EventType.ACCOUNT_LOCKED, attempt.subject, _PART, at, lock_s=wait_s, failures=failures)
    if attempt.origin is None:
        return
    wait_s = count_failure(attempt.origin, at, policy, allowed=policy.source_failures_before_lock)
    if wait_s is not None:
        detail = {"lock_s": wait_s, "failures": attempt.origin.failed_sign_ins, "source": attempt.source}
        _record(session, EventType.ACCOUNT_LOCKED, "unknown", _PART, at, **detail)


def _record_failure(session: Session, attempt: _Attempt, reason: str) -> None:
    kind = EventType.ACCOUNT_SIGN_IN_FAILED
    _record(session, kind, attempt.subject, _PART, attempt.at, reason=reason, source=attempt.source)


def _disable_idle(session: Session, account: Account, at: datetime) -> None:
    account.disabled = True
    session.execute(delete(BrowserSession).where(BrowserSession.account_id == account.id))
    _record(
        session, EventType.ACCOUNT_CHANGED, account.id, _PART, at, changed=["disabled"], disabled=True, reason="idle"
    )


def _store_password(
    session: Session, account: Account, password_hash: str, *, must_change: bool, keep: UUID | None
) -> None:
    account.password_hash = password_hash
    account.must_change_password = must_change
    account.failed_sign_ins, account.locked_until = 0, None
    others = delete(BrowserSession).where(BrowserSession.account_id == account.id)
    session.execute(others if keep is None else others.where(BrowserSession.id != keep))


def _write_grants(session: Session, account_id: UUID, grants: Iterable[Grant]) -> list[dict[str, str | None]]:
    # A dict keeps one of each: NULL agencies are not equal to each other for a unique constraint.
    unique = list(dict.fromkeys(grants))
    session.add_all(RoleGrant(account_id=account_id, role=grant.role, agency=grant.agency) for grant in unique)
    session.flush()
    return [_grant_json(grant) for grant in unique]


def _grant_json(grant: Grant) -> dict[str, str | None]:
    return {"role": grant.role.value, "agency": grant.agency}


def _record(
    session: Session, event_type: EventType, account_id: UUID | str, agent: Agent, at: datetime, **detail: Any
) -> None:  # detail values are JSON
    append_event(
        session,
        event_type,
        subject_kind="account",
        subject_id=account_id,
        agency=None,
        agent=agent,
        at=at,
        detail=detail,
    )
