"""The sealed log at the locations: writing a seal's objects, reading them, and comparing what is there with the database.

The newest seal at any location is what an operator cannot take back by restoring an old database: a database that knows less was rolled
back, one that says otherwise was forked. Both stop sealing until a person has looked.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from archive_service.digests import Digest, RunningDigest, chunks, digest_bytes, sha256
from archive_service.errors import ArchiveError, StoredObjectDiffers, StoredObjectMissing, StoreUnavailable
from archive_service.evidence.checkpoint import NoteKey, parse_note
from archive_service.preservation.log_objects import (
    LogObjectInvalid,
    ObjectDigest,
    SealNote,
    object_key,
    ordinal_of,
    parse_seal_note,
)
from archive_service.storage.port import ReadBackOutcome, Store, read_back

MAX_NOTE_BYTES: Final = 16 * 1024
"""A seal's note has seven lines and a few signatures."""
_log = logging.getLogger(__name__)


class LogRolledBack(ArchiveError):
    """A location holds seals that the database knows nothing of: the database is older than the log. Nothing is sealed."""

    code = "LOG_ROLLED_BACK"


class LogForked(ArchiveError):
    """A location holds another seal than the database under the same number: two histories. Nothing is sealed."""

    code = "LOG_FORKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogObject:
    """One object to write: its bytes are read once for each location."""

    kind: str
    content: BinaryIO
    """Seekable."""
    digest: Digest
    size_bytes: int


def in_memory(kind: str, content: bytes) -> LogObject:
    """Returns a small object."""
    import io

    return LogObject(kind=kind, content=io.BytesIO(content), digest=digest_bytes(content), size_bytes=len(content))


def write_seal(stores: Mapping[str, Store], ordinal: int, objects: list[LogObject]) -> None:
    """Writes a seal's objects to every location, in order, and reads each back.

    Raises:
        LogForked: a location holds other bytes.
        StoreUnavailable: a location could not be written or read now.
    """
    for name in sorted(stores):
        for item in objects:
            _write(stores[name], ordinal, item)


def _write(store: Store, ordinal: int, item: LogObject) -> None:
    key = object_key(item.kind, ordinal)
    item.content.seek(0)
    try:
        stored = store.put(key, item.content, expected=item.digest, size_bytes=item.size_bytes)
    except StoredObjectDiffers as exc:
        _log.critical("seal %d at %s differs from the database: %s", ordinal, store.name, exc.message)
        raise LogForked(f"{key} at {store.name} holds other bytes than the database gives") from exc
    answer = read_back(store, key, expected=item.digest, size_bytes=item.size_bytes, version_id=stored.version_id)
    if answer.outcome is not ReadBackOutcome.INTACT:
        raise StoreUnavailable(f"{key} at {store.name} is {answer.outcome}: {answer.reason}", location=store.name)


def read_object(store: Store, kind: str, ordinal: int, *, limit_bytes: int) -> bytes:
    """Returns an object's bytes.

    Raises:
        StoredObjectMissing: it is not there.
        LogObjectInvalid: it is larger than `limit_bytes`.
    """
    with store.open(object_key(kind, ordinal)) as source:
        content = b"".join(chunks(source, limit_bytes=limit_bytes + 1))
    if len(content) > limit_bytes:
        raise LogObjectInvalid(f"{object_key(kind, ordinal)} at {store.name} is longer than {limit_bytes} bytes")
    return content


def read_seal_note(store: Store, ordinal: int, keys: tuple[NoteKey, ...]) -> tuple[SealNote, bytes]:
    """Returns a seal's note, its signature verified, and its bytes.

    Raises:
        StoredObjectMissing: no such seal.
        LogObjectInvalid: malformed, of another number, or not in canonical form.
        CheckpointInvalid: malformed, or no good signature by one of `keys`.
    """
    content = read_object(store, "seals", ordinal, limit_bytes=MAX_NOTE_BYTES)
    signed = parse_note(content)
    note = parse_seal_note(signed.text)
    if signed.to_text().encode() != content or note.ordinal != ordinal:
        raise LogObjectInvalid(f"seal {ordinal} at {store.name} is not in canonical form or has another number")
    if not any(found.key.name == note.origin for found in signed.verify(keys)):
        raise LogObjectInvalid(f"seal {ordinal} at {store.name} is not signed by a known key")
    return note, content


def seal_ordinals(store: Store, *, after: int = 0) -> Iterator[int]:
    """Yields the numbers of the seals at a location that are above `after`, in the location's order."""
    start_after = object_key("seals", after) if after else None
    for item in store.list("log/seals/", start_after=start_after):
        ordinal = ordinal_of(item.key)
        if ordinal > after:
            yield ordinal


def compare_with_storage(
    stores: Mapping[str, Store], last: int, last_note: str | None, *, next_is_signed: bool
) -> None:
    """Compares the newest seals at every location with the database, and fills in what a location lacks.

    Args:
        stores: All locations.
        last: Number of the database's last finished seal; 0 for none.
        last_note: Its note as the database holds it.
        next_is_signed: Whether the database has signed seal `last` + 1 already (an unfinished one).

    Raises:
        LogRolledBack: a location knows seals that the database does not.
        LogForked: a location's last seal differs from the database's.
    """
    allowed = last + 1 if next_is_signed else last
    for name in sorted(stores):
        beyond = next((number for number in seal_ordinals(stores[name], after=last) if number > allowed), None)
        if beyond is not None:
            _log.critical("%s holds seal %d, the database knows %d: it was rolled back", name, beyond, last)
            raise LogRolledBack(f"{name} holds seal {beyond}, the database's last is {last}", location=name)
    if not last or last_note is None:
        return
    for name in sorted(stores):
        try:
            held = read_object(stores[name], "seals", last, limit_bytes=MAX_NOTE_BYTES)
        except StoredObjectMissing:
            _fill_in(stores, name, last)
            continue
        if held != last_note.encode():
            _log.critical("seal %d at %s is not the database's: two histories", last, name)
            raise LogForked(f"seal {last} at {name} is not the one the database holds", location=name)


def _fill_in(stores: Mapping[str, Store], name: str, last: int) -> None:
    """Copies every seal that a location lacks, such as a new location, from the others."""
    missing = [number for number in range(1, last + 1) if not stores[name].versions(object_key("seals", number))]
    for ordinal in missing:
        for kind in ("segments", "evidence", "checkpoints", "seals"):
            _copy(stores, name, kind, ordinal)
    _log.warning("%d seals were copied to %s, which lacked them", len(missing), name)


def _copy(stores: Mapping[str, Store], name: str, kind: str, ordinal: int) -> None:
    key = object_key(kind, ordinal)
    for other in sorted(set(stores) - {name}):
        try:
            wanted = _digest(stores[other], ordinal, kind)
            with stores[other].open(key) as source:
                stores[name].put(key, source, expected=sha256(wanted.sha256), size_bytes=wanted.size_bytes)
        except (StoredObjectMissing, LogObjectInvalid):
            continue
        return
    raise StoreUnavailable(f"{key} is missing at {name} and no other location has it")


def _digest(store: Store, ordinal: int, kind: str) -> ObjectDigest:
    if kind != "seals":
        note = parse_seal_note(parse_note(read_object(store, "seals", ordinal, limit_bytes=MAX_NOTE_BYTES)).text)
        return dict(note.objects())[kind]
    running = RunningDigest()
    with store.open(object_key(kind, ordinal)) as source:
        for chunk in chunks(source):
            running.update(chunk)
    return ObjectDigest(sha256=running.digest().hex, size_bytes=running.size_bytes)
