"""Bytes of archived records, served from the package object by range (DESIGN D4), from whichever copy is good.

What is served whole is checked: a small component is read and hashed before its first byte goes out, and a damaged copy is passed over for
the next one; of a large one, or of a package, the last chunk is held back until the digest of all is right, so that a receiver never
gets a complete but wrong file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from archive_service.digests import Digest, RunningDigest, chunks, digest_bytes, sha256
from archive_service.errors import DigestMismatch, StoredObjectMissing, StoreUnavailable
from archive_service.models import Aip, AipCopy, Component
from archive_service.storage.port import Store, store_key

CHECK_FIRST_BYTES: Final = 8 * 1024 * 1024
"""Up to this size a whole read is checked before it is answered; it is held in memory once."""


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
        StoreUnavailable: no copy can be read now.
        StoredObjectMissing: no copy is there.
        DigestMismatch: no copy has the right bytes.
    """
    last = source.size_bytes - 1 if last is None else last
    whole = first == 0 and last == source.size_bytes - 1
    if whole and source.size_bytes <= CHECK_FIRST_BYTES:
        return iter((_checked(stores, source),))
    if whole:
        return _primed(_whole(stores, source))
    return _primed(_part(stores, source, first, last))


def _checked(stores: Mapping[str, Store], source: StoredRange) -> bytes:
    problems: list[str] = []
    for location, version_id in source.locations:
        try:
            with stores[location].open(
                store_key(source.store_key), offset=source.offset, length=source.size_bytes, version_id=version_id
            ) as stored:
                content = b"".join(chunks(stored))
        except (StoredObjectMissing, StoreUnavailable) as exc:
            problems.append(f"{location}: {exc.message}")
            continue
        if digest_bytes(content) == source.digest:
            return content
        problems.append(f"{location}: bytes do not have the digest {source.digest}")
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
            with stores[location].open(
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
