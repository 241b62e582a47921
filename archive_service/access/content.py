"""Bytes of archived records, served from the package object by range (DESIGN D4), from whichever copy is good.

Nothing is served from a copy whose bytes were not found right, and a damaged copy is passed over for the next one. A small object is read
and hashed before its first byte goes out, also for a range of it. A large one is read through once more before, unless this process did
so a short while ago; when it is then served whole, its last chunk is held back until the digest of what went out is right, so that a
receiver never gets a complete but wrong file even if the copy was damaged in between.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from archive_service import clock
from archive_service.digests import Digest, RunningDigest, chunks, digest_bytes, sha256
from archive_service.errors import DigestMismatch, StoredObjectMissing, StoreUnavailable
from archive_service.models import Aip, AipCopy, Component
from archive_service.storage.port import Store, store_key

CHECK_FIRST_BYTES: Final = 8 * 1024 * 1024
"""Up to this size an object is checked before every answer; it is held in memory once."""
FOUND_INTACT_FOR_S: Final = 300.0
"""How long a larger object counts as found right: a reader paging through a film must not have it read through for each range."""
_REMEMBERED_MAX: Final = 10_000
"""Bound of the memory of one store's objects found right."""
_found_intact: WeakKeyDictionary[Store, dict[tuple[object, ...], float]] = WeakKeyDictionary()
_found_intact_lock = threading.Lock()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRange:
    """A run of bytes inside a stored object, with the digest of the whole run."""

    store_key: str
    offset: int
    size_bytes: int
    digest: Digest
    locations: tuple[tuple[str, str | None], ...]
    """Location name and version id of each copy, best first."""


def component_range(aip: Aip, component: Component, copies: Sequence[AipCopy]) -> StoredRange:
    """Returns where a component's bytes lie."""
    if component.entry_offset is None:
        raise StoredObjectMissing(f"component {component.component_id} has no place in package {aip.objid}")
    return StoredRange(
        store_key=aip.store_key,
        offset=component.entry_offset,
        size_bytes=component.declared_size_bytes,
        digest=sha256(component.declared_sha256),
        locations=_best_first(copies),
    )


def package_range(aip: Aip, copies: Sequence[AipCopy]) -> StoredRange:
    """Returns where a whole package lies."""
    return StoredRange(
        store_key=aip.store_key,
        offset=0,
        size_bytes=aip.size_bytes,
        digest=sha256(aip.sha256),
        locations=_best_first(copies),
    )


def _best_first(copies: Sequence[AipCopy]) -> tuple[tuple[str, str | None], ...]:
    ordered = sorted(copies, key=lambda copy: (copy.state != "INTACT", copy.location))
    return tuple((copy.location, copy.version_id) for copy in ordered)


def stream(
    stores: Mapping[str, Store], source: StoredRange, *, first: int = 0, last: int | None = None
) -> Iterator[bytes]:
    """Yields bytes `first` to `last` (inclusive, relative to the range's start) of a stored range.

    The first chunk is read before this function's iterator is handed over to an answer, so that a missing copy becomes an error answer
    and not a broken one.

    Raises:
        StoreUnavailable: no copy can be read now with the right bytes.
        DigestMismatch: while a large object is served whole: its copy was damaged since it was found right.
    """
    last = source.size_bytes - 1 if last is None else last
    if source.size_bytes <= CHECK_FIRST_BYTES:
        return iter((_checked(stores, source)[first : last + 1],))
    if (first, last) == (0, source.size_bytes - 1):
        return _primed(_whole(stores, source))
    return _primed(_part(stores, source, first, last))


def _checked(stores: Mapping[str, Store], source: StoredRange) -> bytes:
    problems: list[str] = []
    for location, version_id in source.locations:
        try:
            with _store(stores, location).open(
                store_key(source.store_key), offset=source.offset, length=source.size_bytes, version_id=version_id
            ) as stored:
                content = b"".join(chunks(stored))
        except (StoredObjectMissing, StoreUnavailable) as exc:
            problems.append(f"{location}: {exc.message}")
            continue
        if digest_bytes(content) == source.digest:
            return content
        problems.append(_damaged(location, source))
    raise _unreadable(source, problems)


def _whole(stores: Mapping[str, Store], source: StoredRange) -> Iterator[bytes]:
    running = RunningDigest()
    held = b""
    for chunk in _part(stores, source, 0, source.size_bytes - 1):
        running.update(chunk)
        if held:
            yield held
        held = chunk
    if running.digest() != source.digest:
        raise DigestMismatch(
            f"{source.store_key}: stored bytes do not have the digest {source.digest}; the answer is cut short"
        )
    yield held


def _part(stores: Mapping[str, Store], source: StoredRange, first: int, last: int) -> Iterator[bytes]:
    problems: list[str] = []
    position = first
    for location, version_id in source.locations:
        try:
            if not _is_intact(_store(stores, location), source, version_id):
                problems.append(_damaged(location, source))
                continue
            with _store(stores, location).open(
                store_key(source.store_key),
                offset=source.offset + position,
                length=last - position + 1,
                version_id=version_id,
            ) as stored:
                for chunk in chunks(stored):
                    position += len(chunk)
                    yield chunk
            if position == last + 1:
                return
            problems.append(f"{location}: ends {last + 1 - position} bytes early")
        except (StoredObjectMissing, StoreUnavailable) as exc:
            problems.append(f"{location}: {exc.message}")
    raise _unreadable(source, problems)


def _store(stores: Mapping[str, Store], location: str) -> Store:
    try:
        return stores[location]
    except KeyError:
        raise StoreUnavailable(f"location {location} is not configured") from None


def _is_intact(store: Store, source: StoredRange, version_id: str | None) -> bool:
    """Reads a copy of the range through and compares digests, unless that was done a short while ago."""
    place = source.store_key, version_id, source.offset, source.size_bytes, source.digest
    with _found_intact_lock:
        known = _found_intact.setdefault(store, {})
        if known.get(place, float("-inf")) > clock.monotonic_s() - FOUND_INTACT_FOR_S:
            return True
    running = RunningDigest()
    with store.open(
        store_key(source.store_key), offset=source.offset, length=source.size_bytes, version_id=version_id
    ) as stored:
        for chunk in chunks(stored):
            running.update(chunk)
    if running.digest() != source.digest:
        return False
    with _found_intact_lock:
        if len(known) >= _REMEMBERED_MAX:
            known.clear()
        known[place] = clock.monotonic_s()
    return True


def _damaged(location: str, source: StoredRange) -> str:
    _log.error(
        "copy of %s at %s is damaged at bytes %d+%d", source.store_key, location, source.offset, source.size_bytes
    )
    return f"{location}: bytes do not have the digest {source.digest}"


def _unreadable(source: StoredRange, problems: Sequence[str]) -> StoreUnavailable:
    return StoreUnavailable(
        f"no copy of {source.store_key} can be read: {'; '.join(problems) or 'no copies are known'}"
    )


def _primed(source: Iterator[bytes]) -> Iterator[bytes]:
    first = next(source, b"")

    def rest() -> Iterator[bytes]:
        yield first
        yield from source

    return rest()
