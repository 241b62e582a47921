"""The brake on guessing passwords (QCVN 12:2026/BCA 3.7.2, R136): after some failures, further tries wait, longer each time.

Counted per account, per source address, and per name that is no account, so that a refusal does not tell which names
exist. The counts are rows, locked while they are judged: several processes brake as one. Every wait ends by itself
after `lock_max_s` at most, so nobody is kept out for ever; an administrator or the command line lifts one at once by
setting a password.
"""

import hashlib
import ipaddress
import math
from datetime import datetime, timedelta
from typing import ClassVar, Final

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from archive_service.errors import ArchiveError
from archive_service.identity.passwords import PasswordPolicy
from archive_service.models import Account, SignInBrake

NAME_BITS: Final = 20
"""Of a typed name's hash are kept: enough to tell names apart, too few to find out what was typed, which may have been a password."""
IPV6_PREFIX: Final = 64
"""One IPv6 customer has at least this much to try from."""


class SignInsPaused(ArchiveError):
    """Too many wrong passwords: tries are refused for a while, even with the right one. `retry_after_s` says for how long."""

    code: ClassVar[str] = "TOO_MANY_SIGN_INS"


def paused(until: datetime, at: datetime) -> SignInsPaused:
    """Returns the refusal of a try at `at` where tries count again from `until`."""
    wait_s = max(1, math.ceil((until - at).total_seconds()))
    return SignInsPaused(f"too many wrong passwords; try again in {wait_s} s", retry_after_s=wait_s)


def name_key(folded: str) -> str:
    """Returns the row's key for a user name that is no account."""
    return f"name:{int.from_bytes(hashlib.sha256(folded.encode()).digest()[:4]) >> (32 - NAME_BITS):05x}"


def source_key(source: str) -> str:
    """Returns the row's key for a caller's address."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return f"source:{source}"[:100]
    if address.version == 4:  # noqa: PLR2004 - the protocol's number
        return f"source:{address}"
    return f"source:{ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False)}"


def brake_row(session: Session, key: str, at: datetime) -> SignInBrake:
    """Returns the row of a key, locked for this transaction; made where there is none."""
    query = select(SignInBrake).where(SignInBrake.key == key).with_for_update()
    query = query.execution_options(populate_existing=True)
    row = session.scalars(query).one_or_none()
    if row is not None:
        return row
    fresh = SignInBrake(key=key, failed_sign_ins=0, last_failed_at=at)
    try:
        with session.begin_nested():
            session.add(fresh)
    except IntegrityError:
        return session.scalars(query).one()  # another process made it meanwhile
    return fresh


def paused_until(row: Account | SignInBrake, at: datetime, policy: PasswordPolicy) -> datetime | None:
    """Returns until when the row's failures make tries wait, or None when they do not.

    A wait that ends later than any can was set by a clock that ran ahead and does not count.
    """
    until = row.locked_until
    return until if until is not None and at < until <= at + timedelta(seconds=policy.lock_max_s) else None


def count_failure(row: Account | SignInBrake, at: datetime, policy: PasswordPolicy, *, allowed: int) -> int | None:
    """Counts one failure and returns for how many seconds tries wait from now on, or None when they do not.

    Args:
        row: Whose failure.
        at: Now, aware UTC.
        policy: How long waits are, and after how long a quiet time (`failure_window_s`) failures are forgotten.
        allowed: From this many failures on, tries wait.
    """
    quiet_since = max(filter(None, (row.last_failed_at, row.locked_until)), default=at)
    if at - quiet_since > timedelta(seconds=policy.failure_window_s):
        row.failed_sign_ins = 0
    row.failed_sign_ins += 1
    row.last_failed_at = at
    beyond = row.failed_sign_ins - allowed
    if beyond < 0:
        return None
    wait_s: int = min(policy.lock_s * 2 ** min(beyond, 30), policy.lock_max_s)
    row.locked_until = at + timedelta(seconds=wait_s)
    return wait_s


def sweep_brakes(session: Session, *, at: datetime, policy: PasswordPolicy) -> int:
    """Deletes the rows whose failures are forgotten by now, and returns how many."""
    border = at - timedelta(seconds=policy.failure_window_s + policy.lock_max_s)
    old = delete(SignInBrake).where(SignInBrake.last_failed_at < border).returning(SignInBrake.key)
    return len(session.scalars(old.execution_options(synchronize_session=False)).all())
