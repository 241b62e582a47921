"""The storage port: what every storage location promises, as one Protocol, and the read-back that proves a copy.

The docstrings of `Store` are the contract; tests/storage/contract.py is the same contract as tests, run by every
backend.

Identity of bytes is our own SHA-256, computed in the read that is done anyway. ETags, MD5 and whatever digest a
server reports are never used in its place (DESIGN D3). "Stored" is said only after `read_back` or `read_back_alike`
answered INTACT (R013).
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import BinaryIO, ClassVar, Final, NewType, Protocol
from uuid import UUID

from archive_service.digests import Digest, RunningDigest, chunks
from archive_service.errors import ArchiveError, StoredObjectMissing, StoreUnavailable, UnsafeKey

StoreKey = NewType("StoreKey", str)
"""A checked key: made by `store_key` only."""

KEY_MAX_BYTES: Final = 800
"""Longest key. S3 allows 1,024 bytes; the rest is left for a location's own prefix."""

COMPONENT_MAX_BYTES: Final = 200
"""Longest part between two slashes. Linux file systems allow 255 bytes; the rest is left for temporary names and side
files."""

_COMPONENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


class StoreRefused(ArchiveError):
    """A storage location refuses a request for a lasting reason that the message names; an operator must look."""

    code: ClassVar[str] = "STORE_REFUSED"


class StoreAccessDenied(StoreRefused):
    """A storage location refuses the service's credentials or file permissions: an operator must act, not a retry."""

    code: ClassVar[str] = "STORE_ACCESS_DENIED"


class StoreThrottled(StoreUnavailable):
    """A storage location asks the service to slow down; worth retrying later."""

    code: ClassVar[str] = "STORE_THROTTLED"


class StoreTimedOut(StoreUnavailable):
    """A storage location did not answer in time; what was asked may or may not have happened. Worth retrying."""

    code: ClassVar[str] = "STORE_TIMED_OUT"


class LockEnforcement(StrEnum):
    """Who stops a locked object from being deleted."""

    SERVER = "server"
    """The storage server, also against this service's own credentials."""
    SERVICE = "service"
    """This service's delete only; an operator with access to the disk can get round it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a location can do; callers look here instead of calling and being refused."""

    immutable_until: bool
    """Objects can be locked until a date (`retain_until` works)."""
    legal_hold: bool
    """Objects can be held without a date (`set_legal_hold` works)."""
    lock_enforcement: LockEnforcement
    """How strong a lock is; without meaning when neither kind of lock is offered."""
    server_side_digest: bool
    """The server compares what arrives with the SHA-256 sent along and refuses a difference."""
    versioned: bool
    """Each object has a version id and `delete` needs it."""
    seekable: bool
    """What `open` returns can be read here and there, at no cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One version of one object as the location reports it."""

    key: StoreKey
    size_bytes: int
    version_id: str | None
    """The server's version id; None at a location without versions."""
    sha256: Digest | None
    """The digest recorded when the object was written, None where the location keeps none. A record, not a check: see
    `read_back`."""
    modified_at: datetime
    """When the location took it in, by the location's own clock."""
    delete_marker: bool = False
    """Not bytes but a mark that hides the versions below it; only `versions` and `inventory` report these."""
    newest: bool = True
    """Whether a reader that names no version gets this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectLock:
    """What keeps one version of an object from being deleted."""

    retain_until: datetime | None
    """Aware UTC; None when no date was ever set. May lie in the past."""
    legal_hold: bool


class Store(Protocol):
    """A write-once object store at one location.

    Any method may raise `StoreUnavailable` (with `StoreTimedOut`, `StoreThrottled`, `StoreFull`): a passing fault,
    worth retrying; every method may be repeated safely. `StoreRefused` (with `StoreAccessDenied`): a lasting one.
    `UnsafeKey`: the key was not made by `store_key`.
    """

    @property
    def name(self) -> str:
        """The location's name in the configuration, for messages, metrics and the copies table."""

    @property
    def capabilities(self) -> Capabilities:
        """What this location can do; may ask the server once."""

    def put(
        self,
        key: StoreKey,
        source: BinaryIO,
        *,
        expected: Digest,
        size_bytes: int,
        retain_until: datetime | None = None,
    ) -> StoredObject:
        """Writes a new object, create-only; on return it is durable, complete and locked until `retain_until`.

        When the key exists its bytes are read and hashed: the same digest and size give the existing object back (its
        lock extended to `retain_until`), without `source` being read; a retry after a crash thus succeeds. Nothing is
        ever overwritten. `source` is read once from its present position, in bounded memory.

        Raises:
            DigestMismatch: `source` has another digest or size than expected; nothing was stored.
            StoredObjectDiffers: the key holds other bytes; they were left as they are.
            StoreFull: no room; nothing was stored.
        """

    def supersede(
        self,
        key: StoreKey,
        source: BinaryIO,
        *,
        expected: Digest,
        size_bytes: int,
        retain_until: datetime | None = None,
    ) -> StoredObject:
        """Puts good bytes in the place of damaged ones that are locked and so cannot be deleted; for repair only.

        With versions: a new version, locked from its first moment; the damaged one stays below it for as long as it is
        locked. Without: the bytes are replaced in one step and the lock stays on them. The caller has just read the
        present bytes, found them damaged and put them aside. Repeating it is harmless: one version more of the same bytes.

        Raises:
            DigestMismatch: `source` has another digest or size than expected; nothing was stored.
            StoredObjectMissing: nothing is there to supersede: use `put`.
        """

    def open(
        self,
        key: StoreKey,
        *,
        offset: int = 0,
        length: int | None = None,
        version_id: str | None = None,
        past_cache: bool = False,
    ) -> BinaryIO:
        """Returns a reader (a context manager) of `length` bytes from byte `offset`; to the end when `length` is None.

        With `past_cache` the bytes are those the location holds, not what this host remembers of them, as far as that can be told apart.
        A range past the end gives what there is, possibly nothing. Without `version_id` the newest version is read.
        Read errors come out of the reader as the exceptions of this contract. The reader is seekable where
        `capabilities.seekable` says so.

        Raises:
            StoredObjectMissing: no such key or version.
            ValueError: negative offset or length.
        """

    def stat(self, key: StoreKey, *, version_id: str | None = None) -> StoredObject:
        """Returns the newest (or the named) version without reading its bytes.

        Raises:
            StoredObjectMissing: no such key or version.
        """

    def list(self, prefix: str = "", *, start_after: StoreKey | None = None) -> Iterator[StoredObject]:
        """Yields the newest version of every object whose key starts with `prefix`, in bounded memory.

        The order is the location's own and does not change; `start_after` continues after that key in it. Nothing that
        was there all the time is left out; a server may give a key near `start_after` once more. Objects written or
        deleted meanwhile may or may not appear. Unfinished writes never do.
        """

    def inventory(self, prefix: str = "", *, start_after: StoreKey | None = None) -> Iterator[StoredObject]:
        """Yields every version of every object whose key starts with `prefix`, delete markers too, in bounded memory.

        All that belongs to one key comes together. Otherwise as `list`.
        """

    def versions(self, key: StoreKey) -> tuple[StoredObject, ...]:
        """Returns every version under exactly this key, delete markers too; empty when there is none.

        This is how absence is proven after destruction: an empty answer means nothing is left that could be brought
        back.
        """

    def lock(self, key: StoreKey, *, version_id: str | None = None) -> ObjectLock:
        """Returns what locks the object.

        Raises:
            StoredObjectMissing: no such key or version.
        """

    def retain_until(self, key: StoreKey, until: datetime, version_id: str | None = None) -> None:
        """Locks the object until `until` (aware). Locks are only extended: an earlier date changes nothing.

        Only where `capabilities.immutable_until`.

        Raises:
            StoredObjectMissing: no such key or version.
            ValueError: `until` is naive.
        """

    def set_legal_hold(self, key: StoreKey, on: bool, *, version_id: str | None = None) -> None:  # noqa: FBT001
        """Sets or lifts a hold that has no date. Independent of `retain_until`. Only where `capabilities.legal_hold`.

        Raises:
            StoredObjectMissing: no such key or version.
        """

    def delete(self, key: StoreKey, *, version_id: str | None, disposition: UUID) -> None:
        """Deletes exactly this version of exactly this key; there is no delete by prefix. Absent already = done.

        `version_id` must be given at a versioned location and be None at one without. `disposition` names the
        approved decision and is written to the log with the deletion. The caller re-checks holds and decision in its
        own transaction first (DESIGN D11); a lock at the location is the second, independent guard.

        Raises:
            Retained: retention or a legal hold at the location forbids it.
            ValueError: version id missing or superfluous.
        """

    def sweep_unfinished(self, *, older_than: datetime) -> int:
        """Removes what writers that died left unfinished before `older_than` (aware); returns how many.

        Unfinished writes are never visible and only cost room. `older_than` must lie further back than any write takes.
        """


def store_key(text: str) -> StoreKey:
    """Returns `text` as a key after checking it.

    Keys are one or more parts of ASCII letters, digits, ".", "_" and "-" joined by "/"; a part starts with a letter
    or digit. So no key can be absolute, empty, climb with "..", carry NUL or a backslash, look like a temporary file,
    or mean two things on two systems.

    Raises:
        UnsafeKey: anything else, or too long.
    """
    if len(text) > KEY_MAX_BYTES:
        raise UnsafeKey(f"key of {len(text)} characters: at most {KEY_MAX_BYTES} are allowed")
    for part in text.split("/"):
        if len(part) > COMPONENT_MAX_BYTES or not _COMPONENT.fullmatch(part):
            raise UnsafeKey(f"key {text!r}: part {part!r} is not allowed")
    return StoreKey(text)


class ReadBackOutcome(StrEnum):
    """What reading a copy back told. Could-not-check is never damage and never success (LESSONS 42)."""

    INTACT = "intact"
    DAMAGED = "damaged"
    MISSING = "missing"
    COULD_NOT_CHECK = "could_not_check"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBack:
    """The result of reading one copy from its first to its last byte."""

    outcome: ReadBackOutcome
    reason: str
    """What was found, in one sentence for the operator; empty when intact."""
    digest: Digest | None
    """What the bytes hash to; None when they could not be read to the end."""
    size_bytes: int
    """Bytes read."""


def read_back(
    store: Store, key: StoreKey, *, expected: Digest, size_bytes: int, version_id: str | None = None
) -> ReadBack:
    """Reads a whole copy and compares size and digest with what is expected; what it meets at the store never raises.

    Reads on past an unexpected size only far enough to know of it, so that a swollen object costs no more than a good
    one.
    """
    running = RunningDigest(expected.algorithm)
    try:
        with store.open(key, version_id=version_id, past_cache=True) as source:
            for chunk in chunks(source, limit_bytes=size_bytes + 1):
                running.update(chunk)
    except StoredObjectMissing as exc:
        return ReadBack(outcome=ReadBackOutcome.MISSING, reason=exc.message, digest=None, size_bytes=0)
    except ArchiveError as exc:
        reason = f"{exc.code}: {exc.message}"
        return ReadBack(
            outcome=ReadBackOutcome.COULD_NOT_CHECK, reason=reason, digest=None, size_bytes=running.size_bytes
        )
    return _compared(running, expected, size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlace:
    """Where one copy stands."""

    store: Store
    key: StoreKey
    version_id: str | None


def read_back_alike(places: Sequence[CopyPlace], *, expected: Digest, size_bytes: int) -> list[ReadBack]:
    """Reads whole copies of the same bytes back side by side; an answer for each place, as `read_back` gives it.

    The first copy is hashed and every other one is compared with it byte by byte: equal bytes have an equal digest, and comparing
    takes a tenth of the time of hashing. Whatever is amiss with any of them, each is read back and hashed by itself.
    """
    try:
        alike = _hashed_alike(places, expected=expected, size_bytes=size_bytes)
    except ArchiveError:  # which copy it was, and why, is told below
        alike = None
    if alike is not None:
        return [alike] * len(places)
    return [
        read_back(place.store, place.key, expected=expected, size_bytes=size_bytes, version_id=place.version_id)
        for place in places
    ]


def _hashed_alike(places: Sequence[CopyPlace], *, expected: Digest, size_bytes: int) -> ReadBack | None:
    """Returns the answer that holds for all copies when they are alike and intact, else None."""
    if not places:
        return None
    running = RunningDigest(expected.algorithm)
    with ExitStack() as opened:
        first, *others = [
            opened.enter_context(place.store.open(place.key, version_id=place.version_id, past_cache=True))
            for place in places
        ]
        for chunk in chunks(first, limit_bytes=size_bytes + 1):
            running.update(chunk)
            if any(other.read(len(chunk)) != chunk for other in others):
                return None
        if any(other.read(1) for other in others):
            return None
    answer = _compared(running, expected, size_bytes)
    return answer if answer.outcome is ReadBackOutcome.INTACT else None


def _compared(running: RunningDigest, expected: Digest, size_bytes: int) -> ReadBack:
    """Returns the verdict on bytes that were read to the end."""
    found = running.digest()
    if running.size_bytes > size_bytes:
        reason, digest = f"longer than the expected {size_bytes} bytes", None
    elif running.size_bytes < size_bytes:
        reason, digest = f"{running.size_bytes} bytes, expected {size_bytes}", found
    elif found != expected:
        reason, digest = f"digest {found}, expected {expected}", found
    else:
        return ReadBack(outcome=ReadBackOutcome.INTACT, reason="", digest=found, size_bytes=running.size_bytes)
    return ReadBack(outcome=ReadBackOutcome.DAMAGED, reason=reason, digest=digest, size_bytes=running.size_bytes)
