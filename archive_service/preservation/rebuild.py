"""Rebuilding an empty database from any one location (DESIGN D5, R122): the sealed log, then every AIP, then what refers to both.

Nothing is taken on trust: seals by their signatures, events by the signed roots, AIPs by the digests in sealed events. The work goes on where
it was cut off; the service may run meanwhile, because only storage is read. What could not be rebuilt stands in the report.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from archive_service import clock, migrations
from archive_service.audit import append_event, software
from archive_service.db import Database
from archive_service.errors import ConfigurationInvalid, Conflict
from archive_service.evidence.checkpoint import NoteKey
from archive_service.models import Aip, Event, EventType, LogSeal, Rebuild, Record
from archive_service.preservation.log_objects import AIP_EVENTS
from archive_service.preservation.log_storage import seal_ordinals
from archive_service.preservation.log_trust import LogTrust
from archive_service.preservation.package_reading import StoredAip, read_packages
from archive_service.preservation.reading_processes import read_units, start_loading, units
from archive_service.preservation.rebuild_log import resumed_trust, take_in_rows, take_in_seal
from archive_service.preservation.rebuild_rows import add_rows, package_problem, sealed_of
from archive_service.preservation.statehash import state_hash
from archive_service.storage.port import Store, StoredObject, StoreKey

BATCH: Final = 50
"""AIPs read by one process and taken in together, at most."""
PROBLEMS_KEPT: Final = 1000
_KEYS_AT_ONCE: Final = 500
_AGENT: Final = software("rebuild")

Progress = Callable[[str, int], None]
"""(stage, done so far)."""


@dataclass(slots=True, kw_only=True)
class RebuildReport:
    """What a rebuild did and what it could not do."""

    location: str
    seals: int = 0
    aips: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    """Of this run; an earlier one that was cut off is not counted."""
    state_hash: str = ""
    last_seq: int = 0
    """The last sealed event: the hash covers events up to here."""
    unsealed: list[str] = field(default_factory=list)
    """AIPs stored after the last seal: taken in from themselves; their events were lost with the database."""
    damaged: list[str] = field(default_factory=list)
    """Objects that are not what was sealed, or no AIPs: left out."""
    missing: list[str] = field(default_factory=list)
    """AIPs that sealed events name and the location does not hold: left out (destroyed ones have an event saying so)."""

    @property
    def complete(self) -> bool:
        """Whether everything the log speaks of was rebuilt."""
        return not self.damaged and not self.missing

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        lists = {name: getattr(self, name)[:PROBLEMS_KEPT] for name in ("unsealed", "damaged", "missing")}
        return {
            "location": self.location,
            "seals": self.seals,
            "aips": self.aips,
            "state_hash": self.state_hash,
            "last_seq": self.last_seq,
            **lists,
        }


def rebuild(
    store: Store,
    database: Database,
    keys: tuple[NoteKey, ...],
    *,
    at: datetime,
    progress: Progress = lambda _stage, _done: None,
) -> RebuildReport:
    """Rebuilds `database` from one location and returns what was done.

    Args:
        store: The location.
        database: Empty, or one whose rebuild from this location was cut off.
        keys: Public keys of the log; seals by others are refused.
        at: Now.
        progress: Told how far the work is.

    Raises:
        Conflict: the database holds records that no rebuild of this location brought in, or another process rebuilds it now.
        ConfigurationInvalid: no key is given.
        LogObjectInvalid, CheckpointInvalid: the log at the location is damaged or not of this archive; use another location.
        StoreUnavailable: the location does not answer; run again to go on.
        ReadingEnded: a process that read packages ended by itself; run again to go on.
    """
    if not keys:
        raise ConfigurationInvalid("a rebuild needs the log's public key (keys/log.vkey of the data folder, or --key)")
    started_s = clock.monotonic_s()
    start_loading()
    migrations.upgrade(database)
    run_id = _begin(database, store.name, at)
    report = RebuildReport(location=store.name)
    trust = _seals(database, store, keys, run_id, progress)
    with database.read() as session:
        report.seals = session.get_one(Rebuild, run_id).seals_done
    _aips(_Run(id=run_id, database=database, store=store, report=report, progress=progress))
    for ordinal in range(1, report.seals + 1):
        with database.write() as session:
            take_in_rows(session, store, ordinal, trust.keys)
        progress("rows", ordinal)
    _finish(database, run_id, report, at)
    report.seconds = clock.monotonic_s() - started_s
    return report


def _begin(database: Database, location: str, at: datetime) -> UUID:
    with database.write() as session:
        if not database.is_sqlite:
            session.execute(text("LOCK TABLE rebuild IN EXCLUSIVE MODE"))  # one of two beginners is first
        row = session.scalars(select(Rebuild).order_by(Rebuild.started_at.desc()).limit(1)).one_or_none()
        if row is not None and row.finished_at is None and (row.location == location or row.seals_done == 0):
            row.location = location
            return row.id
        if row is not None or session.scalar(select(func.count()).select_from(Event)):
            raise Conflict("the database is not empty, and no unfinished rebuild from this location has filled it")
        fresh = Rebuild(location=location, started_at=at, report={"unsealed": [], "damaged": []})
        session.add(fresh)
        session.flush()
        return fresh.id


def _seals(database: Database, store: Store, keys: tuple[NoteKey, ...], run_id: UUID, progress: Progress) -> LogTrust:
    """Takes in every seal that is not there yet; returns the keys known afterwards."""
    last = max(seal_ordinals(store), default=0)
    with database.read() as session:
        trust = resumed_trust(session, keys)
        done = session.get_one(Rebuild, run_id).seals_done
    for ordinal in range(done + 1, last + 1):
        with database.write() as session:
            row = _locked(session, run_id, seals_done=ordinal - 1)
            row.seals_done = ordinal
            take_in_seal(session, store, ordinal, trust)
        progress("seals", ordinal)
    with database.write() as session:
        _set_next_seq(session)
    return trust


def _set_next_seq(session: Session) -> None:
    """Events added from now on must follow the ones taken in; SQLite's AUTOINCREMENT knows by itself."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(
            text(
                "SELECT setval(pg_get_serial_sequence('event', 'seq'), (SELECT max(seq) FROM event)) FROM event LIMIT 1"
            )
        )


# ------------------------------------------------------------------ AIPs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What the reading of packages works with."""

    id: UUID
    database: Database
    store: Store
    report: RebuildReport
    progress: Progress


def _aips(run: _Run) -> None:
    report = run.report
    with run.database.read() as session:
        row = session.get_one(Rebuild, run.id)
        after = StoreKey(row.last_key) if row.last_key else None
        report.aips = row.objects_done
        report.unsealed, report.damaged = list(row.report["unsealed"]), list(row.report["damaged"])
    _take_in_all(run, run.store.list("aip/", start_after=after), in_order=True)
    if after is not None:  # while this was cut off, packages may have been stored where the listing had been already
        _take_in_all(run, _not_there_yet(run), in_order=False)


def _not_there_yet(run: _Run) -> Iterator[StoredObject]:
    """Yields the packages of the location that are neither taken in nor named as damaged."""
    left_out = {line.partition(": ")[0] for line in run.report.damaged}
    listed = run.store.list("aip/")
    while some := list(islice(listed, _KEYS_AT_ONCE)):
        with run.database.read() as session:
            known = set(session.scalars(select(Aip.store_key).where(Aip.store_key.in_([item.key for item in some]))))
        yield from (item for item in some if item.key not in known | left_out)


def _take_in_all(run: _Run, listed: Iterator[StoredObject], *, in_order: bool) -> None:
    with closing(read_units(read_packages, run.store, units(listed, BATCH))) as found:
        for unit, aips in found:
            _take_in(run, list(zip(unit, aips, strict=True)), in_order=in_order)
            run.progress("aips", run.report.aips)


def _take_in(run: _Run, found: list[tuple[StoredObject, StoredAip | str]], *, in_order: bool) -> None:
    """Writes the rows of packages, read and judged before without a transaction, in one."""
    report = run.report
    report.bytes_read += sum(item.size_bytes for item, _ in found)
    with run.database.read() as session:
        sealed = sealed_of(session, [aip for _, aip in found if isinstance(aip, StoredAip)])
    sound, unsealed, damaged = [], [], []
    for item, aip in found:
        problem = aip if isinstance(aip, str) else package_problem(run.store, aip, sealed.get(aip.objid))
        if isinstance(aip, str) or problem:
            damaged.append(f"{item.key}: {problem}")
            continue
        if aip.objid not in sealed:
            unsealed.append(item.key)
        sound.append(aip)
    with run.database.write() as session:
        row = _locked(session, run.id, objects_done=report.aips)
        add_rows(session, sound, sealed)
        report.aips += len(sound)
        report.unsealed += unsealed
        report.damaged += damaged
        row.objects_done = report.aips
        if in_order:
            row.last_key = found[-1][0].key
        row.report = {"unsealed": report.unsealed[:PROBLEMS_KEPT], "damaged": report.damaged[:PROBLEMS_KEPT]}


def _locked(session: Session, run_id: UUID, **left: int) -> Rebuild:
    """Returns the row of this run, locked, as this process left it.

    Raises:
        Conflict: another process has changed it.
    """
    row = session.get_one(Rebuild, run_id, with_for_update=True)
    if row.finished_at is not None or any(getattr(row, name) != value for name, value in left.items()):
        raise Conflict("another process is rebuilding this database")
    return row


# ------------------------------------------------------------------ end


def _finish(database: Database, run_id: UUID, report: RebuildReport, at: datetime) -> None:
    with database.read() as session:
        report.missing = list(_missing(session))
        report.last_seq = session.scalar(select(func.max(LogSeal.last_seq))) or 0
        report.state_hash = state_hash(session, up_to_seq=report.last_seq)
    with database.write() as session:
        row = _locked(session, run_id)
        row.finished_at, row.report = clock.unique_now(), report.as_json()
        append_event(
            session,
            EventType.ARCHIVE_REBUILT,
            subject_kind="archive",
            subject_id=run_id,
            agency=None,
            agent=_AGENT,
            at=at,
            detail={**report.as_json(), "records": session.scalar(select(func.count()).select_from(Record)) or 0},
        )


def _missing(session: Session) -> Iterator[str]:
    known = set(session.scalars(select(Aip.objid)))
    query = select(Event.detail).where(
        Event.type.in_([EventType(name) for name in AIP_EVENTS]), Event.subject_kind == "record"
    )
    for detail in session.scalars(query.order_by(Event.seq), execution_options={"yield_per": 1000}):
        if detail["aip"] not in known:
            yield detail["aip"]
