"""Fixity: every copy re-read on a schedule, oldest first, within a budget per location (R120; LESSONS 7, 8, 42).

Renditions and certified copies come before packages: they are few and small.

Four answers, never mixed up: intact, damaged, missing, could not check. Only what was read changes a copy's row; a location that does not
answer ends the run. A copy that could not be checked again and again is an incident too (`silence`). A random sample is read whatever the
budget says, so that a wrong budget cannot hide damage.

No transaction is open while bytes are read. Results are written in small batches, so a run that is cut off keeps what it had read and the
next one continues with what is now the oldest.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import append_event, record_event, software
from archive_service.db import Database
from archive_service.digests import sha256
from archive_service.errors import ConfigurationInvalid
from archive_service.followup import enqueue
from archive_service.models import Aip, AipCopy, EventType, FixityRun, Incident, JobKind, ObjectCopy, Record, State
from archive_service.preservation.object_copies import note_object_copies, object_detail, open_incident_of
from archive_service.preservation.silence import (
    UNREADABLE,
    Patience,
    silence_ended,
    silence_is_too_long,
    silence_over,
)
from archive_service.service import Service
from archive_service.storage.port import ReadBack, ReadBackOutcome, Store, read_back, store_key

BATCH: Final = 50
"""Copies whose results are written together."""
BATCH_BYTES: Final = 1024**3
"""A batch also ends after this much, so that little is lost when a run is cut off."""
SILENT_AFTER: Final = 10
"""So many copies in a row that could not be checked mean that the location does not answer: the run ends."""
PROBLEMS_KEPT: Final = 200
"""Problems listed in a run's minutes; each damaged or missing copy has an incident of its own besides."""
KEPT_STATES: Final = (State.STORED, State.UNDER_REVIEW)
"""Records whose copies must be there."""
GONE: Final = ("REMOVING", "REMOVED")
"""States of copies that a location no longer owes."""
_AGENT: Final = software("fixity")

Progress = Callable[[int, int], None]
"""(bytes read, copies read) so far."""
COPY_STATE: Final = {
    ReadBackOutcome.INTACT: "INTACT",
    ReadBackOutcome.DAMAGED: "DAMAGED",
    ReadBackOutcome.MISSING: "MISSING",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FixityPlan:
    """How much one run may do."""

    budget_bytes: int | None = None
    """Bytes to read at most; a copy is begun while any are left. None for no limit."""
    not_read_since: datetime | None = None
    """Only copies last verified before this are due; None for all."""
    sample_copies: int = 0
    """Copies read at random besides."""
    max_s: float | None = None
    """Longest time, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    id: UUID
    aip_id: UUID
    record_id: UUID
    agency: str
    location: str
    version_id: str | None
    store_key: str
    sha256: str
    size_bytes: int
    verified_at: datetime
    is_object: bool
    """A rendition or certified copy, not a package."""


@dataclass(slots=True, kw_only=True)
class _Run:
    id: UUID
    at: datetime
    deadline_s: float | None
    left_bytes: int | None
    patience: Patience
    bytes_read: int = 0
    copies_read: int = 0
    silent: int = 0


def scheduled_plan(service: Service, location: str, *, at: datetime) -> FixityPlan:
    """Returns what the settings allow a run on `location` now: the day's budget less what the last 24 hours have read."""
    settings = service.settings
    spent = select(func.coalesce(func.sum(FixityRun.bytes_read), 0)).where(
        FixityRun.location == location, FixityRun.started_at > at - timedelta(days=1)
    )
    with service.database.read() as session:
        left = settings.fixity_bytes_per_day - int(session.scalar(spent) or 0)
    return FixityPlan(
        budget_bytes=max(0, left),
        not_read_since=at - timedelta(days=settings.fixity_cycle_days),
        sample_copies=settings.fixity_sample_copies,
        max_s=settings.fixity_max_h * 3600,
    )


def check_location(
    service: Service,
    location: str,
    plan: FixityPlan,
    *,
    at: datetime,
    progress: Progress = lambda _bytes, _copies: None,
) -> FixityRun:
    """Reads copies of one location within a plan and returns the minutes of the run.

    A damaged or missing copy gets an incident and a repair job in the transaction that records it.

    Raises:
        ConfigurationInvalid: no such location.
    """
    store = service.stores.get(location)
    if store is None:
        raise ConfigurationInvalid(f"no storage location {location!r}; there are {', '.join(sorted(service.stores))}")
    with service.database.write() as session:
        note_object_copies(session, service)
        row = FixityRun(location=location, started_at=at, budget_bytes=plan.budget_bytes)
        session.add(row)
    deadline_s = None if plan.max_s is None else clock.monotonic_s() + plan.max_s
    run = _Run(
        id=row.id,
        at=at,
        deadline_s=deadline_s,
        left_bytes=plan.budget_bytes,
        patience=Patience(
            runs=service.settings.fixity_silent_runs, age=timedelta(days=service.settings.fixity_silent_days)
        ),
    )
    ended = _read_due(service.database, store, plan, run, progress, objects=True)
    if ended == "all-read":
        ended = _read_due(service.database, store, plan, run, progress, objects=False)
    if ended != "location-silent":
        _read_sample(service.database, store, plan, run, progress)
    return _finish(service.database, run, ended)


def _read_due(
    database: Database, store: Store, plan: FixityPlan, run: _Run, progress: Progress, *, objects: bool
) -> str:
    after: tuple[datetime, UUID] | None = None
    while True:
        with database.read() as session:
            query = _due(store.name, plan, run.at, after, objects=objects).limit(BATCH)
            page = [_copy(row, is_object=objects) for row in session.execute(query)]
        if not page:
            return "all-read"
        after = page[-1].verified_at, page[-1].id
        ended = _read_page(database, store, page, run, progress)
        if ended:
            return ended


def _read_page(database: Database, store: Store, page: list[_Copy], run: _Run, progress: Progress) -> str | None:
    results: list[tuple[_Copy, ReadBack, datetime]] = []
    pending_bytes = 0
    ended = None
    for copy in page:
        ended = _why_end(run)
        if ended:
            break
        results.append(_read(store, copy, run, progress))
        pending_bytes += copy.size_bytes
        if pending_bytes >= BATCH_BYTES:
            _write(database, run, results)
            results, pending_bytes = [], 0
    _write(database, run, results)
    return ended or _why_silent(run)


def _why_end(run: _Run) -> str | None:
    if run.left_bytes is not None and run.bytes_read >= run.left_bytes:
        return "budget"
    if run.deadline_s is not None and clock.monotonic_s() >= run.deadline_s:
        return "time"
    return _why_silent(run)


def _why_silent(run: _Run) -> str | None:
    return "location-silent" if run.silent >= SILENT_AFTER else None


def _read(store: Store, copy: _Copy, run: _Run, progress: Progress) -> tuple[_Copy, ReadBack, datetime]:
    answer = read_back(
        store,
        store_key(copy.store_key),
        expected=sha256(copy.sha256),
        size_bytes=copy.size_bytes,
        version_id=copy.version_id,
    )
    run.bytes_read += answer.size_bytes
    run.copies_read += 1
    run.silent = run.silent + 1 if answer.outcome is ReadBackOutcome.COULD_NOT_CHECK else 0
    progress(run.bytes_read, run.copies_read)
    return copy, answer, clock.now()


def _read_sample(database: Database, store: Store, plan: FixityPlan, run: _Run, progress: Progress) -> None:
    with database.read() as session:
        sample = _random_copies(session, store.name, plan.sample_copies, run.at)
    results = []
    for copy in sample:
        results.append(_read(store, copy, run, progress))
        if _why_silent(run):
            break
    _write(database, run, results)


def _random_copies(session: Session, location: str, count: int, before: datetime) -> list[_Copy]:
    """Returns up to `count` different copies at random among those this run has not read (their ids are spread over time)."""
    kept = _kept(location).where(AipCopy.verified_at < before)
    bounds = (
        session.execute(select(AipCopy.id).where(AipCopy.location == location).order_by(AipCopy.id).limit(1)).first(),
        session.execute(
            select(AipCopy.id).where(AipCopy.location == location).order_by(AipCopy.id.desc()).limit(1)
        ).first(),
    )
    if bounds[0] is None or bounds[1] is None:
        return []
    low, high = bounds[0][0].int, bounds[1][0].int
    found: dict[UUID, _Copy] = {}
    for _ in range(count):
        pivot = UUID(int=low + secrets.randbelow(high - low + 1))
        row = session.execute(kept.where(AipCopy.id >= pivot).order_by(AipCopy.id).limit(1)).first()
        if row is not None:
            found[row.id] = _copy(row)
    return list(found.values())


# ------------------------------------------------------------------ rows


def _kept(location: str | None = None) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]] = (
        select(
            AipCopy.id,
            AipCopy.aip_id,
            AipCopy.location,
            AipCopy.version_id,
            AipCopy.verified_at,
            Aip.record_id,
            Aip.store_key,
            Aip.sha256,
            Aip.size_bytes,
            Record.archiving_agency,
        )
        .join(Aip, Aip.id == AipCopy.aip_id)
        .join(Record, Record.id == Aip.record_id)
        .where(Record.state.in_(KEPT_STATES), AipCopy.state.not_in(GONE))
    )
    return query if location is None else query.where(AipCopy.location == location)


def _kept_objects(location: str) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]] = (
        select(
            ObjectCopy.id,
            ObjectCopy.aip_id,
            ObjectCopy.location,
            ObjectCopy.version_id,
            ObjectCopy.verified_at,
            Aip.record_id,
            ObjectCopy.store_key,
            ObjectCopy.sha256,
            ObjectCopy.size_bytes,
            Record.archiving_agency,
        )
        .join(Aip, Aip.id == ObjectCopy.aip_id)
        .join(Record, Record.id == Aip.record_id)
        .where(Record.state.in_(KEPT_STATES), ObjectCopy.location == location, ObjectCopy.state.not_in(GONE))
    )
    return query


def _due(
    location: str, plan: FixityPlan, at: datetime, after: tuple[datetime, UUID] | None, *, objects: bool
) -> Select[*tuple[Any, ...]]:
    """Oldest first; what this very run has verified is younger than `at` and so never comes again."""
    before = at if plan.not_read_since is None else min(at, plan.not_read_since)
    model = ObjectCopy if objects else AipCopy
    query = (_kept_objects(location) if objects else _kept(location)).where(model.verified_at < before)
    if after is not None:
        verified_at, copy_id = after
        query = query.where(
            (model.verified_at > verified_at) | ((model.verified_at == verified_at) & (model.id > copy_id))
        )
    return query.order_by(model.verified_at, model.id)


def _copy(row: Row[Any], *, is_object: bool = False) -> _Copy:
    return _Copy(
        is_object=is_object,
        id=row.id,
        aip_id=row.aip_id,
        record_id=row.record_id,
        agency=row.archiving_agency,
        location=row.location,
        version_id=row.version_id,
        store_key=row.store_key,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        verified_at=row.verified_at,
    )


def _write(database: Database, run: _Run, results: list[tuple[_Copy, ReadBack, datetime]]) -> None:
    with database.write() as session:
        row = session.get_one(FixityRun, run.id, with_for_update=True)
        row.bytes_read = run.bytes_read
        for copy, answer, read_at in results:
            _note(session, row, run.patience, copy, answer, read_at)


def _note(
    session: Session, row: FixityRun, patience: Patience, copy: _Copy, answer: ReadBack, read_at: datetime
) -> None:
    held = held_copy(session, copy.id, is_object=copy.is_object)
    record_state = session.scalar(select(Record.state).where(Record.id == copy.record_id))
    if held is None or held.state in GONE or record_state not in KEPT_STATES or held.version_id != copy.version_id:
        return  # destroyed, handed over or repaired while it was being read: what was read says nothing about it now
    if answer.outcome is ReadBackOutcome.INTACT and answer.digest is not None:
        row.intact += 1
        note_intact(held, answer.digest.hex, read_at)
        silence_ended(session, held, copy.record_id, copy.agency, at=read_at)
        return
    subject = copy.store_key if copy.is_object else str(copy.aip_id)
    problem = {"aip": subject, "outcome": answer.outcome.value, "reason": answer.reason}
    row.problems = [*row.problems, problem][:PROBLEMS_KEPT]
    if answer.outcome is ReadBackOutcome.COULD_NOT_CHECK:
        row.not_checked += 1
        if silence_is_too_long(session, held.id, patience, answer.reason, at=read_at):
            open_incident(
                session, held, copy.record_id, copy.agency, found=UNREADABLE, notice=answer.reason, at=read_at
            )
        return
    row.damaged += answer.outcome is ReadBackOutcome.DAMAGED
    row.missing += answer.outcome is ReadBackOutcome.MISSING
    held.state = COPY_STATE[answer.outcome]
    silence_over(session, held.id)
    open_incident(session, held, copy.record_id, copy.agency, notice=answer.reason, at=read_at)


def held_copy(session: Session, copy_id: UUID, *, is_object: bool) -> AipCopy | ObjectCopy | None:
    """Returns a copy's row, locked; None when it is gone."""
    if is_object:
        return session.get(ObjectCopy, copy_id, with_for_update=True)
    return session.get(AipCopy, copy_id, with_for_update=True)


def note_intact(held: AipCopy | ObjectCopy, sha256_hex: str, at: datetime) -> None:
    """Says of a copy that it was read with the right digest."""
    held.state, held.verified_at = "INTACT", at
    if isinstance(held, AipCopy):
        held.read_back_sha256 = sha256_hex


def open_incident(
    session: Session,
    held: AipCopy | ObjectCopy,
    record_id: UUID,
    agency: str,
    *,
    notice: str,
    at: datetime,
    found: str | None = None,
) -> Incident:
    """Returns the open incident of a copy, opening one with events; what was read damaged or missing gets a repair job.

    Args:
        session: An open write transaction.
        held: The copy's row, its state as found.
        record_id: Record it belongs to.
        agency: Archiving agency.
        notice: What was found.
        at: When.
        found: `UNREADABLE` for a copy that was not read; default the copy's state.
    """
    if found is None:
        enqueue(session, *_repair_job(held), at=at)
    known = open_incident_of(session, held)
    if known is not None:
        if found is None:
            known.found, known.notice = held.state, notice
        return known
    incident = Incident(
        copy_id=held.id if isinstance(held, AipCopy) else None,
        object_copy_id=held.id if isinstance(held, ObjectCopy) else None,
        aip_id=held.aip_id,
        location=held.location,
        found=found or held.state,
        status="OPEN",
        notice=notice,
        opened_at=at,
    )
    session.add(incident)
    session.flush()
    detail = {
        "aip_id": str(held.aip_id),
        "location": held.location,
        "found": incident.found,
        "notice": notice,
        **object_detail(held),
    }
    record_event(
        session,
        EventType.RECORD_COPY_DAMAGED,
        record_id,
        agency,
        agent=_AGENT,
        at=at,
        detail={**detail, "incident_id": str(incident.id)},
    )
    append_event(
        session,
        EventType.INCIDENT_OPENED,
        subject_kind="incident",
        subject_id=incident.id,
        agency=agency,
        agent=_AGENT,
        at=at,
        detail=detail,
    )
    return incident


def _repair_job(held: AipCopy | ObjectCopy) -> tuple[JobKind, UUID | str]:
    if isinstance(held, AipCopy):
        return JobKind.REPAIR_COPY, held.aip_id
    return JobKind.REPAIR_OBJECT, f"{held.kind}:{held.subject_id}"


def _finish(database: Database, run: _Run, ended: str) -> FixityRun:
    at = clock.unique_now()
    with database.write() as session:
        row = session.get_one(FixityRun, run.id, with_for_update=True)
        row.finished_at, row.ended_because, row.bytes_read = at, ended, run.bytes_read
        detail = {
            "started_at": row.started_at.isoformat(),
            "bytes_read": row.bytes_read,
            "budget_bytes": row.budget_bytes,
            "intact": row.intact,
            "damaged": row.damaged,
            "missing": row.missing,
            "not_checked": row.not_checked,
            "ended_because": ended,
            "run_id": str(row.id),
            "problems": row.problems,
        }
        append_event(
            session,
            EventType.FIXITY_CHECKED,
            subject_kind="location",
            subject_id=row.location,
            agency=None,
            agent=_AGENT,
            at=at,
            detail=detail,
        )
        return row


# ------------------------------------------------------------------ metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationHealth:
    """Copies of one location, for metrics and the page of the operator."""

    location: str
    copies: int
    not_intact: int
    """Damaged or missing as last read."""
    bytes: int
    oldest_verified_at: datetime | None
    """When the copy that waits longest was last read; its age is what an operator should alarm on."""
    open_incidents: int


def location_health(session: Session) -> Iterator[LocationHealth]:
    """Yields the state of every location that holds copies of kept records."""
    kept = _kept().subquery()
    incidents = dict(
        session.execute(
            select(Incident.location, func.count()).where(Incident.closed_at.is_(None)).group_by(Incident.location)
        ).all()
    )
    not_intact: dict[str, int] = dict(
        session.execute(
            select(kept.c.location, func.count())
            .join(AipCopy, AipCopy.id == kept.c.id)
            .where(AipCopy.state != "INTACT")
            .group_by(kept.c.location)
        ).all()
    )
    totals = select(
        kept.c.location, func.count(), func.coalesce(func.sum(kept.c.size_bytes), 0), func.min(kept.c.verified_at)
    ).group_by(kept.c.location)
    for location, copies, size, oldest in session.execute(totals.order_by(kept.c.location)):
        yield LocationHealth(
            location=location,
            copies=copies,
            not_intact=not_intact.get(location, 0),
            bytes=int(size),
            oldest_verified_at=oldest,
            open_incidents=incidents.get(location, 0),
        )
