"""Repair: a damaged or missing copy is rebuilt from a copy that was verified in this same run, or nothing is touched (R121).

Order: read every copy of the AIP now → no intact one: say so loudly and stop → damaged bytes put aside at the same location and read back
→ that fact committed → damaged object deleted (the incident's id is the disposition in the store's log: no record is disposed of, its bytes
are replaced), or superseded where a lock keeps it → good bytes put, create-only, hashed on the way → read back → commit. After a crash at
any point the next run reads again and goes on from what it finds; the bytes put aside are never deleted here.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, BinaryIO, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import append_event, software
from archive_service.digests import Digest, sha256
from archive_service.errors import DigestMismatch, Retained, StoredObjectDiffers, StoreUnavailable
from archive_service.followup import enqueue
from archive_service.models import Aip, AipCopy, EventType, Incident, JobKind, ObjectCopy, Record
from archive_service.preservation.fixity import COPY_STATE, GONE, KEPT_STATES, held_copy, note_intact, open_incident
from archive_service.preservation.object_copies import copies_of, open_incident_of, record_of
from archive_service.preservation.silence import silence_over
from archive_service.service import Service
from archive_service.storage.lock_dates import beginning_of, lock_date
from archive_service.storage.port import ReadBack, ReadBackOutcome, Store, StoreKey, read_back, store_key

_AGENT: Final = software("repair")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """Stored bytes and the record they belong to: an AIP, a rendition or a certified copy."""

    name: str
    key: StoreKey
    digest: Digest
    size_bytes: int
    record: Record
    copies: tuple[AipCopy | ObjectCopy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One copy as it was read in this run."""

    copy: AipCopy | ObjectCopy
    answer: ReadBack
    read_at: datetime


def repair_aip(service: Service, aip_id: UUID) -> Sequence[Incident]:
    """Reads every copy of an AIP and repairs those that are damaged or missing; returns the incidents concerned. Idempotent.

    Raises:
        StoreUnavailable: a copy could not be checked or a location not written now; try again.
    """
    with service.database.read() as session:
        aip = session.get_one(Aip, aip_id)
        query = select(AipCopy).where(AipCopy.aip_id == aip_id, AipCopy.state.not_in(GONE)).order_by(AipCopy.location)
        stored = _Stored(
            name=aip.objid,
            key=store_key(aip.store_key),
            digest=sha256(aip.sha256),
            size_bytes=aip.size_bytes,
            record=session.get_one(Record, aip.record_id),
            copies=tuple(session.scalars(query)),
        )
    return _repair_all(service, stored)


def repair_object(service: Service, subject: str) -> Sequence[Incident]:
    """Does the same for a rendition or certified copy, named `<kind>:<id>`. Idempotent.

    Raises:
        StoreUnavailable: a copy could not be checked or a location not written now; try again.
    """
    kind, _, subject_id = subject.partition(":")
    with service.database.read() as session:
        copies = copies_of(session, kind, UUID(subject_id))
        if not copies:
            return ()
        stored = _Stored(
            name=copies[0].store_key,
            key=store_key(copies[0].store_key),
            digest=sha256(copies[0].sha256),
            size_bytes=copies[0].size_bytes,
            record=record_of(session, copies[0]),
            copies=tuple(copies),
        )
    return _repair_all(service, stored)


def _repair_all(service: Service, stored: _Stored) -> Sequence[Incident]:
    if stored.record.state not in KEPT_STATES:
        return ()
    found = [_read(service, stored, copy) for copy in stored.copies]
    incidents = [incident for item in found if (incident := _note(service, stored.record, item)) is not None]
    bad = [item for item in found if item.answer.outcome in {ReadBackOutcome.DAMAGED, ReadBackOutcome.MISSING}]
    good = [item for item in found if item.answer.outcome is ReadBackOutcome.INTACT]
    unchecked = [item for item in found if item.answer.outcome is ReadBackOutcome.COULD_NOT_CHECK]
    if bad and good:
        for item in bad:
            _repair(service, stored, item, good[0])
    elif bad and not unchecked:
        _no_good_copy(service, stored, bad)
    if unchecked:
        reasons = "; ".join(f"{item.copy.location}: {item.answer.reason}" for item in unchecked)
        raise StoreUnavailable(f"copies of {stored.name} could not be checked: {reasons}")
    with service.database.read() as session:
        ids = [incident.id for incident in incidents]
        return session.scalars(select(Incident).where(Incident.id.in_(ids)).order_by(Incident.location)).all()


def _read(service: Service, stored: _Stored, copy: AipCopy | ObjectCopy) -> _Found:
    store = service.stores.get(copy.location)
    if store is None:
        reason = f"location {copy.location} is not configured"
        answer = ReadBack(outcome=ReadBackOutcome.COULD_NOT_CHECK, reason=reason, digest=None, size_bytes=0)
    else:
        answer = read_back(
            store,
            stored.key,
            expected=stored.digest,
            size_bytes=stored.size_bytes,
            version_id=copy.version_id,
        )
    return _Found(copy=copy, answer=answer, read_at=clock.now())


def _note(service: Service, record: Record, item: _Found) -> Incident | None:
    """Writes what was read of one copy; returns its incident, where it has one."""
    if item.answer.outcome is ReadBackOutcome.COULD_NOT_CHECK:
        return None
    with service.database.write() as session:
        held = _held(session, item)
        held.state = COPY_STATE[item.answer.outcome]
        if item.answer.outcome is not ReadBackOutcome.INTACT:
            return open_incident(
                session, held, record.id, record.archiving_agency, notice=item.answer.reason, at=item.read_at
            )
        held.verified_at = item.read_at
        silence_over(session, held.id)
        incident = open_incident_of(session, held)
        if incident is None:
            return None
        incident.cause = "the fault has passed: the same bytes were read intact"
        incident.remedy = "none needed"
        incident.status, incident.closed_at = "RECOVERED", item.read_at
        _tell(session, EventType.INCIDENT_RECOVERED, incident, record, at=item.read_at)
        return incident


def _repair(service: Service, stored: _Stored, item: _Found, good: _Found) -> None:
    store = service.stores[item.copy.location]
    with service.database.read() as session:
        incident = _incident(session, item)
    until = _locked_until(service, store, stored, item)
    remedy = f"rebuilt from the copy at {good.copy.location}, verified in the same run, and read back"
    try:
        if item.answer.outcome is ReadBackOutcome.DAMAGED:
            _put_aside(service, store, stored, item, incident)
        if item.answer.outcome is ReadBackOutcome.DAMAGED and not _deleted(store, stored, item, incident):
            version_id = _supersede(service, store, stored, good, until)
            remedy += "; the damaged bytes are locked there and were superseded, not deleted"
        else:
            version_id = _put_good(service, store, stored, good, until)
    except Retained as exc:
        _refused(service, stored.record, incident.id, exc.message)
        return
    answer = read_back(
        store,
        stored.key,
        expected=stored.digest,
        size_bytes=stored.size_bytes,
        version_id=version_id,
    )
    if answer.outcome is not ReadBackOutcome.INTACT or answer.digest is None:
        raise StoreUnavailable(f"the repaired copy on {store.name} is {answer.outcome}: {answer.reason}")
    at = clock.unique_now()
    with service.database.write() as session:
        held = _held(session, item)
        held.version_id = version_id
        if isinstance(held, AipCopy):
            held.locked_until = until
            enqueue(session, JobKind.APPLY_LOCKS, stored.record.id, at=at)  # the hold, where there is one
        note_intact(held, answer.digest.hex, at)
        closed = session.get_one(Incident, incident.id, with_for_update=True)
        closed.cause = f"{closed.found} at {store.name}: {closed.notice}"
        closed.remedy = remedy
        closed.source_location = good.copy.location
        closed.status, closed.closed_at = "REPAIRED", at
        _tell(session, EventType.INCIDENT_REPAIRED, closed, stored.record, at=at)


def _put_aside(service: Service, store: Store, stored: _Stored, item: _Found, incident: Incident) -> None:
    """Keeps the damaged bytes under a key of the incident and their digest: they may be all that is left of an investigation."""
    digest, size_bytes = _digest_now(store, stored, item)
    key = store_key(f"quarantine/{incident.id}/{digest}/{stored.key.rsplit('/', 1)[-1]}")
    with store.open(stored.key, version_id=item.copy.version_id) as damaged:
        kept = store.put(key, damaged, expected=sha256(digest), size_bytes=size_bytes)
    answer = read_back(store, key, expected=sha256(digest), size_bytes=size_bytes, version_id=kept.version_id)
    if answer.outcome is not ReadBackOutcome.INTACT:
        raise StoreUnavailable(f"damaged bytes could not be put aside at {store.name}: {answer.reason}")
    with service.database.write() as session:
        session.get_one(Incident, incident.id, with_for_update=True).quarantine_key = key


def _digest_now(store: Store, stored: _Stored, item: _Found) -> tuple[str, int]:
    """Returns digest and size of the damaged bytes, and refuses when they are no longer damaged: another repair was faster."""
    from archive_service.digests import digest_stream

    with store.open(stored.key, version_id=item.copy.version_id) as source:
        digest, size_bytes = digest_stream(source)
    if digest == stored.digest:
        raise StoreUnavailable(f"the copy of {stored.name} at {store.name} changed while it was being repaired")
    return digest.hex, size_bytes


def _locked_until(service: Service, store: Store, stored: _Stored, item: _Found) -> date | None:
    """Returns until when a new object is to be locked: packages as their retention says, objects of the archive's own not at all."""
    if isinstance(item.copy, ObjectCopy):
        return None
    return lock_date(service.layout.locations[store.name], stored.record.retention_due_on, on=clock.today())


def _deleted(store: Store, stored: _Stored, item: _Found, incident: Incident) -> bool:
    """Deletes damaged bytes that were put aside; returns False where a lock or hold at the location keeps them."""
    try:
        store.delete(stored.key, version_id=item.copy.version_id, disposition=incident.id)
    except Retained:
        return False
    return True


def _put_good(service: Service, store: Store, stored: _Stored, good: _Found, until: date | None) -> str | None:
    with _good_bytes(service, stored, good) as source:
        try:
            return store.put(
                stored.key,
                source,
                expected=stored.digest,
                size_bytes=stored.size_bytes,
                retain_until=beginning_of(until) if until else None,
            ).version_id
        except StoredObjectDiffers:
            if not store.capabilities.versioned:
                raise
    return _supersede(service, store, stored, good, until)  # other bytes lie under the key; versions keep them


def _supersede(service: Service, store: Store, stored: _Stored, good: _Found, until: date | None) -> str | None:
    """Puts good bytes over locked ones, unless an earlier run that was cut off has done so already."""
    newest = store.stat(stored.key).version_id
    answer = read_back(store, stored.key, expected=stored.digest, size_bytes=stored.size_bytes, version_id=newest)
    if answer.outcome is ReadBackOutcome.INTACT:
        return newest
    with _good_bytes(service, stored, good) as source:
        return store.supersede(
            stored.key,
            source,
            expected=stored.digest,
            size_bytes=stored.size_bytes,
            retain_until=beginning_of(until) if until else None,
        ).version_id


@contextmanager
def _good_bytes(service: Service, stored: _Stored, good: _Found) -> Iterator[BinaryIO]:
    source_store = service.stores[good.copy.location]
    try:
        with source_store.open(stored.key, version_id=good.copy.version_id) as source:
            yield source
    except DigestMismatch as exc:
        raise StoreUnavailable(
            f"the good copy at {source_store.name} changed while it was read: {exc.message}"
        ) from exc


def _refused(service: Service, record: Record, incident_id: UUID, reason: str) -> None:
    _log.critical("incident %s: the location forbids the remedy: %s", incident_id, reason)
    _unrepairable(service, record, incident_id, "REFUSED", f"the location forbids replacing the object: {reason}")


def _no_good_copy(service: Service, stored: _Stored, bad: Sequence[_Found]) -> None:
    places = ", ".join(f"{item.copy.location}: {item.answer.outcome}" for item in bad)
    record = stored.record
    _log.critical("NO GOOD COPY of %s (record %s) is left: %s. Nothing was touched.", stored.name, record.id, places)
    for item in bad:
        with service.database.read() as session:
            incident_id = _incident(session, item).id
        _unrepairable(service, record, incident_id, "NO_GOOD_COPY", f"no intact copy is left ({places})")


def _held(session: Session, item: _Found) -> AipCopy | ObjectCopy:
    held = held_copy(session, item.copy.id, is_object=isinstance(item.copy, ObjectCopy))
    if held is None:
        raise StoreUnavailable(f"the copy at {item.copy.location} was given up while it was being repaired")
    return held


def _incident(session: Session, item: _Found) -> Incident:
    found = open_incident_of(session, item.copy)
    if found is None:
        raise StoreUnavailable(
            f"the incident of the copy at {item.copy.location} was closed while it was being repaired"
        )
    return found


def _unrepairable(service: Service, record: Record, incident_id: UUID, status: str, why: str) -> None:
    """Says once, by event, that an incident needs a person; saying it again changes nothing."""
    at = clock.unique_now()
    with service.database.write() as session:
        incident = session.get_one(Incident, incident_id, with_for_update=True)
        if incident.status == status:
            return
        incident.status, incident.cause = status, why
        incident.remedy = "none possible here: nothing was touched; a person must decide"
        _tell(session, EventType.INCIDENT_UNREPAIRABLE, incident, record, at=at)


def _tell(session: Session, event_type: EventType, incident: Incident, record: Record, *, at: datetime) -> None:
    detail: dict[str, Any] = {
        "aip_id": str(incident.aip_id),
        "location": incident.location,
        "found": incident.found,
        "status": incident.status,
        "notice": incident.notice,
        "cause": incident.cause,
        "remedy": incident.remedy,
        "source_location": incident.source_location,
        "quarantine_key": incident.quarantine_key,
        "record_id": str(record.id),
    }
    append_event(
        session,
        event_type,
        subject_kind="incident",
        subject_id=incident.id,
        agency=record.archiving_agency,
        agent=_AGENT,
        at=at,
        detail=detail,
    )
