"""Passwords: the policy as data, and hashing with Argon2id (RFC 9106).

A password is normalised to NFKC first, so that Vietnamese letters typed with one keyboard sign in on another.
"""

import secrets
import threading
import unicodedata
from functools import cache
from typing import Annotated, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from pydantic import BaseModel, ConfigDict, Field

from archive_service.errors import BadRequest, ConfigurationInvalid
from archive_service.resources import profiles_dir
from archive_service.rules.rule_files import read, versioned_path

DEFAULT_POLICY: Final = "qcvn12"
MAX_CONCURRENT_HASHES: Final = 4
"""Each takes 64 MiB: a flood of sign-ins waits instead of filling the memory."""

_hasher: Final = PasswordHasher()
_slots: Final = threading.BoundedSemaphore(MAX_CONCURRENT_HASHES)


class PasswordPolicy(BaseModel):
    """What a password must be and what happens to accounts that fail or rest; a file under profiles/passwords."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    version: str
    basis: str
    min_length: Annotated[int, Field(ge=1)]
    character_classes: Annotated[int, Field(ge=1, le=4)]
    max_length: Annotated[int, Field(ge=16)]
    idle_disable_days: Annotated[int, Field(ge=1)]
    failures_before_lock: Annotated[int, Field(ge=1)]
    source_failures_before_lock: Annotated[int, Field(ge=1)]
    failure_window_s: Annotated[int, Field(ge=1)]
    lock_s: Annotated[int, Field(ge=1)]
    lock_max_s: Annotated[int, Field(ge=1)]


def load_policy(policy_id: str = DEFAULT_POLICY, version: str | None = None) -> PasswordPolicy:
    """Returns the newest (or the named) version of a password policy.

    Raises:
        ConfigurationInvalid: no such policy or not a valid one.
    """
    folder = profiles_dir() / "passwords"
    if policy_id not in {path.name for path in folder.glob("*")}:
        raise ConfigurationInvalid(f"no password policy {policy_id!r} in {folder}")
    policy, _ = read(versioned_path(folder / policy_id, version), PasswordPolicy)
    return policy


_REASONS: Final = {
    "too-short": (
        "Mật khẩu phải có ít nhất {min_length} ký tự.",
        "The password needs at least {min_length} characters.",
    ),
    "too-long": ("Mật khẩu dài quá {max_length} ký tự.", "The password is longer than {max_length} characters."),
    "too-few-classes": (
        "Mật khẩu phải có đủ {character_classes} loại: chữ thường, chữ hoa, chữ số, ký tự đặc biệt.",
        "The password needs {character_classes} of: lower case, upper case, digit, other character.",
    ),
    "contains-username": ("Mật khẩu không được chứa tên đăng nhập.", "The password must not contain the user name."),
    "unchanged": ("Mật khẩu mới phải khác mật khẩu cũ.", "The new password must differ from the old one."),
    "wrong": ("Mật khẩu hiện tại không đúng.", "The current password is wrong."),
}


def refuse_weak(policy: PasswordPolicy, password: str, *, username: str) -> None:
    """Refuses a password that the policy does not allow, with every reason at once.

    Raises:
        BadRequest: with `problems` of location `password`, a reason token and its text in `vi` and `en`.
    """
    text = _normalised(password)
    classes = (
        any(char.islower() for char in text),
        any(char.isupper() for char in text),
        any(char.isdigit() for char in text),
        any(not char.isalnum() for char in text),
    )
    wrong = {
        "too-short": len(text) < policy.min_length,
        "too-long": len(text) > policy.max_length,
        "too-few-classes": sum(classes) < policy.character_classes,
        "contains-username": username.casefold() in text.casefold(),
    }
    reasons = [reason for reason, applies in wrong.items() if applies]
    if reasons:
        raise password_refused(*reasons, policy=policy)


def password_refused(*reasons: str, policy: PasswordPolicy) -> BadRequest:
    """Returns the error for a password refused for these reason tokens."""
    limits = policy.model_dump()
    problems = [
        {"location": "password", "reason": reason, "vi": vi.format(**limits), "en": en.format(**limits)}
        for reason in reasons
        for vi, en in (_REASONS[reason],)
    ]
    return BadRequest("the password does not fit the policy: " + ", ".join(reasons), problems=problems)


def hash_password(password: str) -> str:
    """Returns the Argon2id hash in PHC string format, with a fresh salt."""
    with _slots:
        return _hasher.hash(_normalised(password))


def verify_password(password_hash: str | None, password: str) -> bool:
    """Returns whether the password belongs to the hash; None (no such account) takes as long and is false."""
    try:
        with _slots:
            _hasher.verify(_hash_of_nobody() if password_hash is None else password_hash, _normalised(password))
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def needs_rehash(password_hash: str) -> bool:
    """Returns whether the hash was made with weaker parameters than today's."""
    return _hasher.check_needs_rehash(password_hash)


@cache
def _hash_of_nobody() -> str:
    return _hasher.hash(secrets.token_hex(32))


def _normalised(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
