"""Locks at the locations follow the record: retention only ever extends them, a legal hold sets and lifts the location's own hold.

What is wanted is read from the database, applied to every version of every copy, and read again: where a hold was placed or released
meanwhile, it is applied once more, so that whoever comes last leaves what the database says.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import append_event, software
from archive_service.errors import StoredObjectMissing
from archive_service.followup import enqueue
from archive_service.legal_hold import holds_on
from archive_service.models import Aip, AipCopy, EventType, HoldRecord, JobKind, MovePurpose, Record, StorageMove
from archive_service.placement import placement
from archive_service.preservation.fixity import GONE, KEPT_STATES
from archive_service.preservation.move_steps import outstanding
from archive_service.service import Service
from archive_service.storage.locations import LocationSpec
from archive_service.storage.lock_dates import beginning_of, lock_date
from archive_service.storage.port import Store, store_key

BATCH: Final = 100
LACKING_MAX: Final = 10_000
"""Copies queued by one look for what is lacking; the next look finds the rest."""
_AGENT: Final = software("locks")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lockable:
    """One copy and what its lock is derived from."""

    copy_id: UUID
    location: str
    key: str
    due_on: date | None


def apply_locks(service: Service, record_id: UUID) -> None:
    """Brings the locks of every copy of a record to what the database says now. Idempotent.

    Raises:
        StoreUnavailable: a location does not answer; try again.
    """
    wanted = _wanted(service, record_id)
    while True:
        held, copies = wanted
        for copy in copies:
            if copy.location in service.stores:
                _apply(service, copy, held=held)
        wanted = _wanted(service, record_id)
        if wanted == (held, copies):
            return


def _wanted(service: Service, record_id: UUID) -> tuple[bool, list[_Lockable]]:
    with service.database.read() as session:
        copies = session.execute(_copies().where(Aip.record_id == record_id).order_by(AipCopy.id))
        return bool(holds_on(session, record_id)), [_lockable(row) for row in copies]


def apply_hold(service: Service, hold_id: UUID, *, check: Callable[[], None] = lambda: None) -> None:
    """Applies a hold that was placed or released to the copies of all its records. Idempotent.

    Raises:
        StoreUnavailable: a location does not answer; try again.
    """
    after: UUID | None = None
    while True:
        query = select(HoldRecord.record_id).where(HoldRecord.hold_id == hold_id).order_by(HoldRecord.record_id)
        with service.database.read() as session:
            page = session.scalars(
                (query if after is None else query.where(HoldRecord.record_id > after)).limit(BATCH)
            ).all()
        if not page:
            return
        for record_id in page:
            check()
            apply_locks(service, record_id)
        after = page[-1]


def _copies() -> Select[*tuple[Any, ...]]:
    columns = (AipCopy.id, AipCopy.location, Aip.store_key, Record.retention_due_on)
    query: Select[*tuple[Any, ...]] = (
        select(*columns).join(Aip, Aip.id == AipCopy.aip_id).join(Record, Record.id == Aip.record_id)
    )
    return query.where(AipCopy.state.not_in(GONE))


def _lockable(row: Row[Any]) -> _Lockable:
    return _Lockable(copy_id=row.id, location=row.location, key=row.store_key, due_on=row.retention_due_on)


def _apply(service: Service, copy: _Lockable, *, held: bool) -> None:
    store = service.stores[copy.location]
    until = lock_date(service.layout.locations[copy.location], copy.due_on, on=clock.today())
    key = store_key(copy.key)
    try:
        for version_id in _version_ids(store, key):
            if until is not None:
                store.retain_until(key, beginning_of(until), version_id)
            if store.capabilities.legal_hold and store.lock(key, version_id=version_id).legal_hold != held:
                store.set_legal_hold(key, held, version_id=version_id)
    except StoredObjectMissing:
        return  # the fixity check and the comparison with the location say so
    if until is not None:
        _note(service, copy.copy_id, until)


def _version_ids(store: Store, key: Any) -> Iterator[str | None]:
    for each in store.versions(key):
        if not each.delete_marker:
            yield each.version_id if store.capabilities.versioned else None


def _note(service: Service, copy_id: UUID, until: date) -> None:
    with service.database.write() as session:
        row = session.get(AipCopy, copy_id, with_for_update=True)
        if row is not None and (row.locked_until is None or row.locked_until < until):
            row.locked_until = until


# ------------------------------------------------------------------ renewal


def renew_locks(service: Service, *, at: datetime, check: Callable[[], None] = lambda: None) -> dict[str, int]:
    """Extends every lock that ends before its record's retention, or before this year's horizon; returns how many by location.

    Raises:
        StoreUnavailable: a location does not answer; what was extended stays.
    """
    renewed: dict[str, int] = {}
    for name, spec in sorted(service.layout.locations.items()):
        if spec.lock_mode is None:
            continue
        count = sum(_renew(service, copy, check) for copy in _short(service, spec))
        renewed[name] = count
        if count:
            with service.database.write() as session:
                _tell_renewed(session, name, spec, count, at=at)
    return renewed


def _renew(service: Service, copy: _Lockable, check: Callable[[], None]) -> int:
    check()
    with service.database.read() as session:
        aip = select(Aip.record_id).join(AipCopy, AipCopy.aip_id == Aip.id).where(AipCopy.id == copy.copy_id)
        held = bool(holds_on(session, session.scalars(aip).one()))
    _apply(service, copy, held=held)
    return 1


def _short(service: Service, spec: LocationSpec) -> Iterator[_Lockable]:
    """Yields copies whose lock is not known to last long enough, page by page."""
    after: UUID | None = None
    while True:
        query = _copies().where(AipCopy.location == spec.name, Record.state.in_(KEPT_STATES), _too_short(spec))
        query = query.order_by(AipCopy.id).limit(BATCH)
        with service.database.read() as session:
            rows = session.execute(query if after is None else query.where(AipCopy.id > after)).all()
        if not rows:
            return
        yield from map(_lockable, rows)
        after = rows[-1].id


def _too_short(spec: LocationSpec) -> ColumnElement[bool]:
    today = clock.today()
    horizon = lock_date(spec, None, on=today)
    undated = and_(Record.retention_due_on.is_(None), _ends_before(horizon))
    dated = and_(Record.retention_due_on > today, _ends_before(Record.retention_due_on))
    return or_(undated, dated)


def _ends_before(day: Any) -> ColumnElement[bool]:  # a date or a column of dates
    return or_(AipCopy.locked_until.is_(None), AipCopy.locked_until < day)


def _tell_renewed(session: Session, name: str, spec: LocationSpec, count: int, *, at: datetime) -> None:
    horizon = lock_date(spec, None, on=clock.today())
    append_event(
        session,
        EventType.LOCATION_LOCKS_RENEWED,
        subject_kind="location",
        subject_id=name,
        agency=None,
        agent=_AGENT,
        at=at,
        detail={"copies": count, "horizon": horizon.isoformat() if horizon else None},
    )


# ------------------------------------------------------------------ what is lacking


def queue_lacking(service: Service, *, at: datetime) -> int:
    """Queues the copies that a policy wants and that are not there, such as those of a lagging replica; returns how many."""
    queued = 0
    with service.database.write() as session:
        where = placement(service, session)
        for name in sorted(service.layout.locations):
            if not where.receives(name):
                continue
            probe = StorageMove(location=name, purpose=MovePurpose.FILL)
            for row in session.execute(outstanding(probe, where, step="aip").limit(LACKING_MAX - queued)):
                enqueue(session, JobKind.COPY_PACKAGE, row.id, at=at)
                queued += 1
    return queued
