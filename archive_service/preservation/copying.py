"""One more copy of stored bytes: read from a copy that proves right in that very read, written create-only and locked, read back (R124).

The source is hashed while it is read into the target; other bytes than recorded end the copy with nothing stored, and the next source is
tried. What is already at the target with the right bytes is taken as it is, so every copy may be repeated after any crash.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import Agent, record_event, software
from archive_service.digests import sha256
from archive_service.errors import ArchiveError, DigestMismatch, StoredObjectMissing, StoreUnavailable
from archive_service.followup import enqueue
from archive_service.legal_hold import holds_on
from archive_service.lifecycle import locked_record
from archive_service.models import Aip, AipCopy, EventType, JobKind, Record
from archive_service.placement import placement
from archive_service.preservation.fixity import GONE, KEPT_STATES
from archive_service.service import Service
from archive_service.storage.locations import StorageTier
from archive_service.storage.lock_dates import beginning_of, lock_date
from archive_service.storage.port import ReadBackOutcome, Store, read_back, store_key

READABLE: Final = ("INTACT", "UNREAD")
"""States of copies that may serve as a source; the read itself decides."""
_AGENT: Final = software("copying")
_TIERS: Final = tuple(StorageTier)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCopy:
    """A copy as the database knows it."""

    id: UUID
    location: str
    version_id: str | None
    state: str
    verified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """Stored bytes and where they can be read."""

    key: str
    sha256: str
    size_bytes: int
    sources: tuple[tuple[str, str | None], ...]
    """Location and version id of each readable copy."""
    locked: bool = False
    """Whether retention and holds are to be set on a new copy; packages only."""
    due_on: date | None = None
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package version with what moving it takes."""

    id: UUID
    record_id: UUID
    agency: str
    access_level: int
    objid: str
    bytes: Bytes
    copies: tuple[KnownCopy, ...]
    """Every copy that was not removed."""

    def at(self, location: str) -> KnownCopy | None:
        """Returns the copy at a location."""
        return next((copy for copy in self.copies if copy.location == location), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A copy that was written and read back with the right digest."""

    location: str
    version_id: str | None
    sha256: str
    verified_at: datetime
    locked_until: date | None
    source: str
    """The location it was read from; the target itself where the bytes were there already and no source was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotWritten:
    """Why a copy could not be made now."""

    location: str
    reason: str
    damaged: bool = False
    """Whether a source turned out damaged or missing, so that repair must look at the package."""


def package_query() -> Select[*tuple[Any, ...]]:
    """Returns the query of packages that must be kept, as `packages_of` reads its rows."""
    columns = (
        Aip.id,
        Aip.record_id,
        Aip.objid,
        Aip.store_key,
        Aip.sha256,
        Aip.size_bytes,
        Record.archiving_agency,
        Record.access_mode,
        Record.retention_due_on,
    )
    query: Select[*tuple[Any, ...]] = select(*columns).join(Record, Record.id == Aip.record_id)
    return query.where(Record.state.in_(KEPT_STATES))


def packages_of(session: Session, rows: Sequence[Row[Any]]) -> list[Package]:
    """Returns packages for rows of `package_query`, with their copies."""
    copies: dict[UUID, list[KnownCopy]] = {row.id: [] for row in rows}
    query = select(AipCopy).where(AipCopy.aip_id.in_(copies), AipCopy.state.not_in(GONE))
    for copy in session.scalars(query.order_by(AipCopy.aip_id, AipCopy.location)):
        copies[copy.aip_id].append(
            KnownCopy(
                id=copy.id,
                location=copy.location,
                version_id=copy.version_id,
                state=copy.state,
                verified_at=copy.verified_at,
            )
        )
    return [_package(session, row, copies[row.id]) for row in rows]


def _package(session: Session, row: Row[Any], copies: Sequence[KnownCopy]) -> Package:
    readable = sorted((copy for copy in copies if copy.state in READABLE), key=lambda copy: copy.state != "INTACT")
    return Package(
        id=row.id,
        record_id=row.record_id,
        agency=row.archiving_agency,
        access_level=int(row.access_mode),
        objid=row.objid,
        bytes=Bytes(
            key=row.store_key,
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            sources=tuple((copy.location, copy.version_id) for copy in readable),
            locked=True,
            due_on=row.retention_due_on,
            held=bool(holds_on(session, row.record_id)),
        ),
        copies=tuple(copies),
    )


def find_package(session: Session, aip_id: UUID) -> Package | None:
    """Returns a package; None when its record need no longer be kept."""
    rows = session.execute(package_query().where(Aip.id == aip_id)).all()
    found = packages_of(session, rows)
    return found[0] if found else None


# ------------------------------------------------------------------ bytes


def write_copy(service: Service, what: Bytes, location: str) -> Written | NotWritten:
    """Makes sure that a location holds the bytes and reads them back. What it meets at the stores never raises."""
    target = service.stores.get(location)
    if target is None:
        return NotWritten(location=location, reason=f"location {location} is not configured")
    problems: list[str] = []
    damaged = False
    for name, version_id in _fastest_first(service, what, location):
        source = service.stores[name]
        try:
            return _write(service, what, source, version_id, target)
        except (DigestMismatch, StoredObjectMissing) as exc:
            damaged = True
            problems.append(f"{name}: {exc.code} {exc.message}")
        except ArchiveError as exc:
            problems.append(f"{name} to {location}: {exc.code} {exc.message}")
    reason = "; ".join(problems) or "no readable copy is known at another location"
    return NotWritten(location=location, reason=reason, damaged=damaged)


def _fastest_first(service: Service, what: Bytes, target: str) -> Iterator[tuple[str, str | None]]:
    known = [each for each in what.sources if each[0] in service.stores and each[0] != target]
    yield from sorted(known, key=lambda each: _TIERS.index(service.layout.locations[each[0]].tier))


def _write(service: Service, what: Bytes, source: Store, version_id: str | None, target: Store) -> Written:
    key, expected = store_key(what.key), sha256(what.sha256)
    spec = service.layout.locations[target.name]
    until = lock_date(spec, what.due_on, on=clock.today()) if what.locked else None
    with source.open(key, version_id=version_id) as content:
        stored = target.put(
            key,
            content,
            expected=expected,
            size_bytes=what.size_bytes,
            retain_until=beginning_of(until) if until else None,
        )
    answer = read_back(target, key, expected=expected, size_bytes=what.size_bytes, version_id=stored.version_id)
    if answer.outcome is not ReadBackOutcome.INTACT or answer.digest is None:
        raise StoreUnavailable(f"the new copy at {target.name} is {answer.outcome}: {answer.reason}")
    if what.held and target.capabilities.legal_hold:
        target.set_legal_hold(key, True, version_id=stored.version_id)
    return Written(
        location=target.name,
        version_id=stored.version_id,
        sha256=answer.digest.hex,
        verified_at=clock.now(),
        locked_until=until,
        source=source.name,
    )


# ------------------------------------------------------------------ rows


def note_copy(session: Session, package: Package, written: Written, *, agent: Agent = _AGENT, at: datetime) -> bool:
    """Adds the row and event of a copy that was read back; returns False when another worker had done so. Safe to repeat."""
    record = locked_record(session, package.record_id)
    if record.state not in KEPT_STATES:
        return False  # its end has begun: what was just written is found by comparing the location with the database
    held = session.scalars(
        select(AipCopy).where(AipCopy.aip_id == package.id, AipCopy.location == written.location).with_for_update()
    ).one_or_none()
    if held is not None and held.state not in GONE:
        return False
    if held is None:
        held = AipCopy(aip_id=package.id, location=written.location)
        session.add(held)
    held.version_id, held.read_back_sha256 = written.version_id, written.sha256
    held.verified_at, held.state, held.locked_until = written.verified_at, "INTACT", written.locked_until
    record_event(
        session,
        EventType.RECORD_COPY_ADDED,
        package.record_id,
        package.agency,
        agent=agent,
        at=at,
        detail={
            "aip_id": str(package.id),
            "location": written.location,
            "read_back_sha256": written.sha256,
            "source": written.source,
        },
    )
    if package.bytes.held != bool(holds_on(session, package.record_id)):
        enqueue(session, JobKind.APPLY_LOCKS, package.record_id, at=at)
    return True


def copy_later(service: Service, aip_id: UUID) -> None:
    """Makes the copies of a package that its policy wants and that are not there yet. Idempotent.

    Raises:
        StoreUnavailable: a copy could not be made now; try again.
    """
    with service.database.read() as session:
        package = find_package(session, aip_id)
        where = placement(service, session)
    if package is None:
        return
    problems = []
    for location in where.copies(package.access_level):
        if package.at(location) is not None:
            continue
        written = write_copy(service, package.bytes, location)
        at = clock.unique_now()
        with service.database.write() as session:
            if isinstance(written, Written):
                note_copy(session, package, written, at=at)
                continue
            problems.append(written.reason)
            if written.damaged:
                enqueue(session, JobKind.REPAIR_COPY, aip_id, at=at)
    if problems:
        raise StoreUnavailable(f"copies of {package.objid} are still to be made: {'; '.join(problems)}")
