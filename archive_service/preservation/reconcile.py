"""Comparing the database with what a location really holds, in both directions, and mending what may be mended (LESSONS 3: 7).

First every copy the database knows is looked for by its key and version: is it there, of the right size, the newest, locked long enough, held?
Then every version the location holds is looked up: is it known, does something hide it? Both walk page by page from a cursor that is
committed with what was found, so a comparison of any size goes on where it was cut off. Digests are the fixity check's business.

Mended with `apply`: locks are extended, holds set, missing copies handed to repair; each mending is read back from the location. Never: locks
shortened, holds lifted, anything deleted or overwritten.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from itertools import groupby, islice
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Select, insert, select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import append_event, software
from archive_service.errors import ArchiveError, NotFound, StoredObjectMissing
from archive_service.legal_hold import holds_on
from archive_service.models import (
    Aip,
    AipCopy,
    CertifiedCopy,
    EventType,
    Incident,
    LogSeal,
    Reconciliation,
    Record,
    Rendition,
    StorageDrift,
)
from archive_service.preservation.fixity import GONE, KEPT_STATES, open_incident
from archive_service.preservation.log_objects import ordinal_of
from archive_service.service import Service
from archive_service.storage.locations import LocationSpec
from archive_service.storage.lock_dates import beginning_of, lock_date
from archive_service.storage.port import ObjectLock, Store, StoredObject, StoreKey, store_key

BATCH: Final = 100
"""Copies looked for between two commits."""
KEYS: Final = 1000
"""Keys looked up between two commits: as many as S3 lists at once."""
DRIFTS_TOLD: Final = 200
"""Drifts named in the event of a comparison; all of them stand in their table."""
_AGENT: Final = software("reconcile")


class DriftKind(StrEnum):
    """Ways in which database and location differ."""

    COPY_MISSING = "copy-missing"
    """The database says it is there, the location holds nothing under key and version. Repair makes it anew."""
    WRONG_SIZE = "wrong-size"
    NOT_NEWEST = "not-newest"
    """A reader without a version id gets another version than the one on record."""
    NOT_LOCKED = "not-locked"
    LOCK_TOO_SHORT = "lock-too-short"
    HOLD_MISSING = "hold-missing"
    HOLD_LEFT = "hold-left"
    """Held at the location although no order holds the record. Only reported: a person lifts it."""
    HIDDEN = "hidden"
    """A delete marker lies on top: listings and readers without version id find nothing."""
    UNKNOWN_OBJECT = "unknown-object"
    OTHER_VERSION = "other-version"
    """A further version under a known key, such as damaged bytes that were superseded under lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference."""

    kind: DriftKind
    key: str
    detail: str
    version_id: str | None = None
    record_id: UUID | None = None
    mended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    id: UUID
    record_id: UUID
    agency: str
    key: StoreKey
    version_id: str | None
    size_bytes: int
    state: str
    due_on: date | None
    kept: bool
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    copy: _Copy
    drifts: tuple[Drift, ...] = ()
    not_checked: str = ""
    locked_until: date | None = None


Progress = Callable[[Reconciliation], None]


def begin_reconciliation(service: Service, location: str, *, apply: bool, at: datetime) -> UUID:
    """Returns the unfinished comparison of a location, or begins one.

    Raises:
        NotFound: no such location.
    """
    if location not in service.layout.locations:
        raise NotFound(f"no storage location {location!r}; there are {', '.join(sorted(service.layout.locations))}")
    query = select(Reconciliation).where(
        Reconciliation.location == location, Reconciliation.finished_at.is_(None), Reconciliation.apply == apply
    )
    with service.database.write() as session:
        row = session.scalars(query.order_by(Reconciliation.started_at.desc()).limit(1)).one_or_none()
        if row is None:
            row = Reconciliation(location=location, apply=apply, started_at=at, counts={})
            session.add(row)
            session.flush()
        return row.id


def reconcile(
    service: Service,
    run_id: UUID,
    *,
    progress: Progress = lambda _run: None,
    check: Callable[[], None] = lambda: None,
) -> Reconciliation:
    """Works on a comparison to its end and returns it; one that was cut off goes on after its last batch.

    Raises:
        NotFound: no such comparison.
        StoreUnavailable: the location cannot be listed now; run again to go on.
    """
    while True:
        check()
        with service.database.read() as session:
            run = session.get(Reconciliation, run_id)
        if run is None:
            raise NotFound(f"comparison {run_id} not found")
        if run.finished_at is not None:
            return run
        if run.step == "copies":
            progress(_copies_batch(service, run))
        else:
            progress(_objects_batch(service, run))


# ------------------------------------------------------------------ what the database knows


def _copies_batch(service: Service, run: Reconciliation) -> Reconciliation:
    with service.database.read() as session:
        rows = session.execute(_copies_after(run)).all()
        copies = [_copy(session, row) for row in rows]
    store, spec = service.stores[run.location], service.layout.locations[run.location]
    looked = [_look(store, spec, copy, apply=run.apply) for copy in copies]
    with service.database.write() as session:
        held = _same(session, run)
        if held is None:
            return session.get_one(Reconciliation, run.id)
        held.copies += len(copies)
        held.not_checked += sum(bool(each.not_checked) for each in looked)
        for each in looked:
            _note_looked(session, held, each)
        if copies:
            held.last_id = copies[-1].id
        else:
            held.step = "objects"
        return held


def _copies_after(run: Reconciliation) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]] = (
        select(
            AipCopy.id,
            AipCopy.version_id,
            AipCopy.state,
            Aip.record_id,
            Aip.store_key,
            Aip.size_bytes,
            Record.archiving_agency,
            Record.retention_due_on,
            Record.state.label("record_state"),
        )
        .join(Aip, Aip.id == AipCopy.aip_id)
        .join(Record, Record.id == Aip.record_id)
        .where(AipCopy.location == run.location, AipCopy.state.not_in(GONE), Record.state.in_(KEPT_STATES))
    )
    if run.last_id is not None:
        query = query.where(AipCopy.id > run.last_id)
    return query.order_by(AipCopy.id).limit(BATCH)


def _copy(session: Session, row: Row[Any]) -> _Copy:
    return _Copy(
        id=row.id,
        record_id=row.record_id,
        agency=row.archiving_agency,
        key=store_key(row.store_key),
        version_id=row.version_id,
        size_bytes=row.size_bytes,
        state=row.state,
        due_on=row.retention_due_on,
        kept=row.record_state in KEPT_STATES,
        held=bool(holds_on(session, row.record_id)),
    )


def _look(store: Store, spec: LocationSpec, copy: _Copy, *, apply: bool) -> _Looked:
    """Looks for one copy; a location that cannot say leaves it unchecked, which is no drift and no success."""
    try:
        found = store.stat(copy.key, version_id=copy.version_id)
        drifts = list(_of_object(copy, found))
        until = lock_date(spec, copy.due_on, on=clock.today())
        lock = store.lock(copy.key, version_id=found.version_id if store.capabilities.versioned else None)
        drifts += _of_lock(store, copy, found, lock, until, apply=apply)
    except StoredObjectMissing as exc:
        drift = _drift(copy, DriftKind.COPY_MISSING, exc.message)
        return _Looked(copy=copy, drifts=(drift,))
    except ArchiveError as exc:
        return _Looked(copy=copy, not_checked=f"{exc.code}: {exc.message}")
    short = {DriftKind.NOT_LOCKED, DriftKind.LOCK_TOO_SHORT}
    good = all(drift.mended for drift in drifts if drift.kind in short)
    return _Looked(copy=copy, drifts=tuple(drifts), locked_until=until if good else None)


def _drift(copy: _Copy, kind: DriftKind, detail: str, *, mended: bool = False) -> Drift:
    return Drift(
        kind=kind, key=copy.key, version_id=copy.version_id, detail=detail, record_id=copy.record_id, mended=mended
    )


def _of_object(copy: _Copy, found: StoredObject) -> Iterator[Drift]:
    if found.size_bytes != copy.size_bytes:
        yield _drift(copy, DriftKind.WRONG_SIZE, f"{found.size_bytes} bytes, the package has {copy.size_bytes}")


def _of_lock(
    store: Store, copy: _Copy, found: StoredObject, lock: ObjectLock, until: date | None, *, apply: bool
) -> Iterator[Drift]:
    version_id = found.version_id if store.capabilities.versioned else None
    if until is not None and (lock.retain_until is None or lock.retain_until < beginning_of(until)):
        kind = DriftKind.NOT_LOCKED if lock.retain_until is None else DriftKind.LOCK_TOO_SHORT
        had = lock.retain_until.isoformat() if lock.retain_until else "nothing"
        end = beginning_of(until)

        def extend() -> bool:
            store.retain_until(copy.key, end, version_id)
            now = store.lock(copy.key, version_id=version_id).retain_until
            return now is not None and now >= end

        mended, problem = _mend(extend) if apply else (False, "")
        detail = f"locked until {had}, wanted until {until.isoformat()}{problem}"
        yield _drift(copy, kind, detail, mended=mended)
    if not store.capabilities.legal_hold:
        return
    if copy.held and not lock.legal_hold:

        def hold() -> bool:
            store.set_legal_hold(copy.key, True, version_id=version_id)
            return store.lock(copy.key, version_id=version_id).legal_hold

        mended, problem = _mend(hold) if apply else (False, "")
        yield _drift(copy, DriftKind.HOLD_MISSING, f"the record is under legal hold{problem}", mended=mended)
    if lock.legal_hold and not copy.held:
        yield _drift(copy, DriftKind.HOLD_LEFT, "held here, but no order holds the record")


def _mend(work: Callable[[], bool]) -> tuple[bool, str]:
    """Returns whether a mending was read back, and what kept it from being done; the drift is told either way."""
    try:
        return work(), ""
    except ArchiveError as exc:
        return False, f"; not mended: {exc.code} {exc.message}"


def _note_looked(session: Session, run: Reconciliation, looked: _Looked) -> None:
    _add(session, run, looked.drifts)
    row = session.get(AipCopy, looked.copy.id, with_for_update=True)
    if row is None or row.version_id != looked.copy.version_id:
        return  # repaired or removed meanwhile: what was seen says nothing about it now
    if looked.locked_until is not None and (row.locked_until is None or row.locked_until < looked.locked_until):
        row.locked_until = looked.locked_until
    missing = [drift for drift in looked.drifts if drift.kind is DriftKind.COPY_MISSING]
    if missing and run.apply and row.state not in GONE:
        row.state = "MISSING"
        copy = looked.copy
        open_incident(session, row, copy.record_id, copy.agency, notice=missing[0].detail, at=clock.unique_now())


# ------------------------------------------------------------------ what the location holds


def _objects_batch(service: Service, run: Reconciliation) -> Reconciliation:
    store = service.stores[run.location]
    after = StoreKey(run.last_key) if run.last_key else None
    groups = groupby(store.inventory("", start_after=after), key=lambda each: each.key)
    batch = [(key, list(found)) for key, found in islice(groups, KEYS)]
    with service.database.read() as session:
        drifts = list(_of_packages(session, run.location, [item for item in batch if item[0].startswith("aip/")]))
        drifts += _of_others(session, [item for item in batch if not item[0].startswith("aip/")])
    with service.database.write() as session:
        held = _same(session, run)
        if held is None:
            return session.get_one(Reconciliation, run.id)
        _add(session, held, drifts)
        held.objects += sum(len(found) for _, found in batch)
        if batch:
            held.last_key = batch[-1][0]
        else:
            _finish(session, held)
        return held


_Found = tuple[StoreKey, list[StoredObject]]


def _of_packages(session: Session, location: str, batch: Sequence[_Found]) -> Iterator[Drift]:
    query = (
        select(Aip.store_key, Aip.record_id, AipCopy.version_id)
        .join(AipCopy, AipCopy.aip_id == Aip.id)
        .where(Aip.store_key.in_([key for key, _ in batch]), AipCopy.location == location)
        .where(AipCopy.state.not_in(GONE))
    )
    known = {row.store_key: row for row in session.execute(query)}
    for key, found in batch:
        row = known.get(key)
        if row is None:
            sizes = ", ".join(f"{each.size_bytes} bytes" for each in found if not each.delete_marker) or "delete marker"
            yield Drift(kind=DriftKind.UNKNOWN_OBJECT, key=key, detail=f"no copy on record here: {sizes}")
            continue
        yield from _of_versions(row.record_id, row.version_id, key, found)


def _of_versions(record_id: UUID, version_id: str | None, key: str, found: Sequence[StoredObject]) -> Iterator[Drift]:
    for each in found:
        if each.delete_marker:
            if each.newest:
                yield Drift(
                    kind=DriftKind.HIDDEN,
                    key=key,
                    version_id=each.version_id,
                    record_id=record_id,
                    detail="a delete marker hides the copy",
                )
        elif version_id is not None and each.version_id != version_id:
            kind = DriftKind.NOT_NEWEST if each.newest else DriftKind.OTHER_VERSION
            yield Drift(
                kind=kind,
                key=key,
                version_id=each.version_id,
                record_id=record_id,
                detail=f"on record is version {version_id}",
            )


def _of_others(session: Session, batch: Sequence[_Found]) -> Iterator[Drift]:
    keys = [key for key, _ in batch]
    known = set(session.scalars(select(Rendition.store_key).where(Rendition.store_key.in_(keys))))
    known |= set(session.scalars(select(CertifiedCopy.store_key).where(CertifiedCopy.store_key.in_(keys))))
    known |= set(session.scalars(select(Incident.quarantine_key).where(Incident.quarantine_key.in_(keys))))
    last = session.scalar(select(LogSeal.ordinal).order_by(LogSeal.ordinal.desc()).limit(1)) or 0
    for key, found in batch:
        if key not in known and not _of_log(key, last):
            versions = ", ".join(f"{each.size_bytes} bytes" for each in found)
            yield Drift(kind=DriftKind.UNKNOWN_OBJECT, key=key, detail=f"nothing on record: {versions}")


def _of_log(key: str, last: int) -> bool:
    """Returns whether a key is of the sealed log, up to the last seal the database knows."""
    if not key.startswith("log/"):
        return False
    try:
        return ordinal_of(StoreKey(key)) <= last
    except (ArchiveError, ValueError):
        return False


# ------------------------------------------------------------------ rows


def _same(session: Session, seen: Reconciliation) -> Reconciliation | None:
    """Returns the row, locked, if no other worker has taken it further."""
    run = session.get_one(Reconciliation, seen.id, with_for_update=True)
    place = (run.step, run.last_id, run.last_key, run.finished_at)
    return run if place == (seen.step, seen.last_id, seen.last_key, seen.finished_at) else None


def _add(session: Session, run: Reconciliation, drifts: Iterable[Drift]) -> None:
    counts = dict(run.counts)
    rows = []
    for drift in drifts:
        counts[drift.kind.value] = counts.get(drift.kind.value, 0) + 1
        rows.append(
            {
                "reconciliation_id": run.id,
                "kind": drift.kind.value,
                "key": drift.key,
                "version_id": drift.version_id or "",
                "record_id": drift.record_id,
                "detail": drift.detail,
                "mended": drift.mended,
            }
        )
    known = {
        (row.key, row.kind, row.version_id)
        for row in session.execute(
            select(StorageDrift.key, StorageDrift.kind, StorageDrift.version_id).where(
                StorageDrift.reconciliation_id == run.id, StorageDrift.key.in_([row["key"] for row in rows])
            )
        )
    }  # a server may list a key near the cursor once more
    for row in [row for row in rows if (row["key"], row["kind"], row["version_id"]) in known]:
        rows.remove(row)
        counts[str(row["kind"])] -= 1
    if rows:
        session.execute(insert(StorageDrift), rows)
    run.counts = counts


def _finish(session: Session, run: Reconciliation) -> None:
    at = clock.unique_now()
    run.finished_at = at
    query = select(StorageDrift).where(StorageDrift.reconciliation_id == run.id).order_by(StorageDrift.id)
    told = [
        {"kind": row.kind, "key": row.key, "version_id": row.version_id, "detail": row.detail, "mended": row.mended}
        for row in session.scalars(query.limit(DRIFTS_TOLD))
    ]
    append_event(
        session,
        EventType.LOCATION_RECONCILED,
        subject_kind="location",
        subject_id=run.location,
        agency=None,
        agent=_AGENT,
        at=at,
        detail={
            "reconciliation_id": str(run.id),
            "started_at": run.started_at.isoformat(),
            "apply": run.apply,
            "copies": run.copies,
            "objects": run.objects,
            "not_checked": run.not_checked,
            "counts": run.counts,
            "drifts": told,
        },
    )
