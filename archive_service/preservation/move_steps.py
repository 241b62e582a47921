"""What a move has to do, piece by piece: which objects are outstanding, and the work on one of them.

`aip` pieces are packages. `rendition` and `certified-copy` pieces are the objects the archive made itself; they carry no locks. Log objects are
not moved here: sealing brings every location that is in use up to date.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, exists, false, func, select, true
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import software
from archive_service.digests import sha256
from archive_service.errors import ConfigurationInvalid
from archive_service.followup import enqueue
from archive_service.models import (
    Aip,
    AipCopy,
    CertifiedCopy,
    JobKind,
    MovePurpose,
    ObjectCopy,
    Record,
    Rendition,
    StorageMove,
)
from archive_service.placement import CERTIFIED_COPY_LEVEL, Placement
from archive_service.preservation.copying import (
    READABLE,
    Bytes,
    KnownCopy,
    NotWritten,
    Package,
    Written,
    note_copy,
    package_query,
    packages_of,
    write_copy,
)
from archive_service.preservation.fixity import GONE
from archive_service.service import Service
from archive_service.storage.port import ReadBack, ReadBackOutcome, read_back, store_key

STEPS: Final = ("aip", "rendition", "certified-copy")
_AGENT: Final = software("moves")


@dataclass(frozen=True, slots=True, kw_only=True)
class SideObject:
    """A rendition or the PDF of a certified copy."""

    id: UUID
    access_level: int
    bytes: Bytes


Piece = Package | SideObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done for one piece: copies written, copies elsewhere read back, or why it is left over."""

    piece: Piece
    written: tuple[Written, ...] = ()
    read: tuple[tuple[KnownCopy, ReadBack, datetime], ...] = ()
    problem: str = ""
    damaged: bool = False


# ------------------------------------------------------------------ what is outstanding


def levels_at(where: Placement, location: str) -> list[int]:
    """Returns the labels whose records are to have a copy at a location, now or once it receives again."""
    found = []
    for policy in where.layout.policies:
        if location in policy.copies:
            found += sorted(policy.access_levels)
    return found


def outstanding(
    move: StorageMove, where: Placement, *, step: str, after: UUID | None = None
) -> Select[*tuple[Any, ...]]:
    """Returns the query of pieces a move still has to do in a step, in the order of their ids."""
    query = {"aip": _packages, "rendition": _renditions, "certified-copy": _certified_copies}[step](move, where)
    column = {"aip": Aip.id, "rendition": Rendition.id, "certified-copy": CertifiedCopy.id}[step]
    return (query if after is None else query.where(column > after)).order_by(column)


def _packages(move: StorageMove, where: Placement) -> Select[*tuple[Any, ...]]:
    here = exists().where(AipCopy.aip_id == Aip.id, AipCopy.location == move.location, AipCopy.state.not_in(GONE))
    if move.purpose is MovePurpose.EMPTY:
        return package_query().where(
            exists().where(AipCopy.aip_id == Aip.id, AipCopy.location == move.location, AipCopy.state != "REMOVED")
        )
    if move.purpose is MovePurpose.FILL:
        return package_query().where(Record.access_mode.in_(_modes(levels_at(where, move.location))), ~here)
    return package_query().where(here, _verified_elsewhere(move, where) < _minimum(where))


def _verified_elsewhere(move: StorageMove, where: Placement) -> Any:  # a scalar subquery
    receiving = [name for name in where.layout.locations if where.receives(name) and name != move.location]
    query = select(func.count()).select_from(AipCopy)
    query = query.where(AipCopy.aip_id == Aip.id, AipCopy.location.in_(receiving), AipCopy.state == "INTACT")
    return query.where(AipCopy.verified_at >= move.started_at).correlate(Aip).scalar_subquery()


def _minimum(where: Placement) -> ColumnElement[int]:
    fewest = {
        f"{level:02d}": policy.minimum_copies for policy in where.layout.policies for level in policy.access_levels
    }
    return case(fewest, value=Record.access_mode, else_=max(fewest.values(), default=1))


def _modes(levels: Sequence[int]) -> list[str]:
    return [f"{level:02d}" for level in levels]


def _renditions(move: StorageMove, where: Placement) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]] = (
        select(Rendition, Record.access_mode)
        .join(Aip, Aip.id == Rendition.aip_id)
        .join(Record, Record.id == Aip.record_id)
    )
    return query.where(Record.access_mode.in_(_modes(levels_at(where, move.location))))


def _certified_copies(move: StorageMove, where: Placement) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]] = select(CertifiedCopy).where(CertifiedCopy.completed_at.is_not(None))
    return query.where(true() if CERTIFIED_COPY_LEVEL in levels_at(where, move.location) else false())


def pieces(session: Session, move: StorageMove, where: Placement, *, limit: int) -> Sequence[Piece]:
    """Returns the next pieces of a move after the ones it has done."""
    rows = session.execute(outstanding(move, where, step=move.step, after=move.last_id).limit(limit)).all()
    if move.step == "aip":
        return packages_of(session, rows)
    if move.step == "rendition":
        return [_rendition(row.Rendition, row.access_mode) for row in rows]
    names = tuple(name for name in where.layout.policy_for(CERTIFIED_COPY_LEVEL).copies)
    return [_certified_copy(row.CertifiedCopy, names) for row in rows]


def _rendition(row: Rendition, access_mode: str) -> SideObject:
    sources = tuple((copy["location"], copy["version_id"]) for copy in row.copies)
    what = Bytes(key=row.store_key, sha256=row.sha256, size_bytes=row.size_bytes, sources=sources)
    return SideObject(id=row.id, access_level=int(access_mode), bytes=what)


def _certified_copy(row: CertifiedCopy, names: tuple[str, ...]) -> SideObject:
    what = Bytes(
        key=row.store_key or "",
        sha256=row.pdf_sha256 or "",
        size_bytes=row.pdf_size_bytes or 0,
        sources=tuple((name, None) for name in names),
    )
    return SideObject(id=row.id, access_level=CERTIFIED_COPY_LEVEL, bytes=what)


# ------------------------------------------------------------------ work on one piece


def work_on(service: Service, move: StorageMove, where: Placement, piece: Piece) -> Outcome:
    """Does what a filling or retiring move has to do for one piece; opens no transaction and never raises for a store's sake."""
    if move.purpose is MovePurpose.FILL:
        return _fill(service, move.location, piece)
    if isinstance(piece, SideObject):
        return _spread(service, move, where, piece)
    return _secure(service, move, where, piece)


def _fill(service: Service, location: str, piece: Piece) -> Outcome:
    if isinstance(piece, SideObject) and any(name == location for name, _ in piece.bytes.sources):
        known = dict(piece.bytes.sources)
        if known[location] is not None or _is_there(service, location, piece.bytes):
            return Outcome(piece=piece)
    written = write_copy(service, piece.bytes, location)
    if isinstance(written, NotWritten):
        return Outcome(piece=piece, problem=written.reason, damaged=written.damaged)
    return Outcome(piece=piece, written=(written,))


def _is_there(service: Service, location: str, what: Bytes) -> bool:
    store = service.stores.get(location)
    if store is None:
        return False
    answer = read_back(store, store_key(what.key), expected=sha256(what.sha256), size_bytes=what.size_bytes)
    return answer.outcome is ReadBackOutcome.INTACT


def _spread(service: Service, move: StorageMove, where: Placement, piece: SideObject) -> Outcome:
    """Makes sure that every other location of the policy has the object."""
    written, problems = [], []
    for location in _others(where, move.location, piece.access_level):
        if _is_there(service, location, piece.bytes):
            continue
        found = write_copy(service, piece.bytes, location)
        if isinstance(found, NotWritten):
            problems.append(f"{location}: {found.reason}")
        else:
            written.append(found)
    return Outcome(piece=piece, written=tuple(written), problem="; ".join(problems))


def _others(where: Placement, location: str, access_level: int) -> tuple[str, ...]:
    try:
        return tuple(name for name in where.copies(access_level) if name != location)
    except ConfigurationInvalid:
        return ()


def _secure(service: Service, move: StorageMove, where: Placement, package: Package) -> Outcome:
    """Reads copies elsewhere back, and makes new ones, until there are enough that proved right since the move began."""
    needed = where.layout.policy_for(package.access_level).minimum_copies
    good = 0
    read: list[tuple[KnownCopy, ReadBack, datetime]] = []
    for copy in package.copies:
        if copy.location == move.location or not where.receives(copy.location) or copy.state not in READABLE:
            continue
        if copy.state == "INTACT" and copy.verified_at >= move.started_at:
            good += 1
        elif good < needed:
            answer = _read(service, package, copy)
            read.append((copy, answer, clock.now()))
            good += answer.outcome is ReadBackOutcome.INTACT
    written: list[Written] = []
    problems: list[str] = []
    for location in _others(where, move.location, package.access_level):
        if good + len(written) >= needed or package.at(location) is not None:
            continue
        made = write_copy(service, package.bytes, location)
        if isinstance(made, Written):
            written.append(made)
        else:
            problems.append(f"{location}: {made.reason}")
    if good + len(written) < needed:
        problems.append(f"{good + len(written)} verified copies elsewhere, {needed} are needed")
    else:
        problems = []
    return Outcome(
        piece=package,
        written=tuple(written),
        read=tuple(read),
        problem="; ".join(problems),
        damaged=any(answer.outcome in {ReadBackOutcome.DAMAGED, ReadBackOutcome.MISSING} for _, answer, _ in read),
    )


def _read(service: Service, package: Package, copy: KnownCopy) -> ReadBack:
    what = package.bytes
    return read_back(
        service.stores[copy.location],
        store_key(what.key),
        expected=sha256(what.sha256),
        size_bytes=what.size_bytes,
        version_id=copy.version_id,
    )


# ------------------------------------------------------------------ rows


def note_outcome(session: Session, outcome: Outcome, *, not_before: datetime, at: datetime) -> None:
    """Writes what was done for one piece. Safe to repeat and beside another worker on the same move.

    Args:
        session: An open write transaction.
        outcome: What was done.
        not_before: When the move began: what was read for it was read later, also where a clock has stepped back.
        at: Now.
    """
    piece = outcome.piece
    if isinstance(piece, SideObject):
        _note_side_object(session, piece, outcome.written)
        return
    for written in outcome.written:
        later = replace(written, verified_at=max(written.verified_at, not_before))
        note_copy(session, piece, later, agent=_AGENT, at=at)
    for copy, answer, read_at in outcome.read:
        held = session.get(AipCopy, copy.id, with_for_update=True)
        if held is None or held.version_id != copy.version_id or answer.outcome is not ReadBackOutcome.INTACT:
            continue
        held.state, held.verified_at = "INTACT", max(held.verified_at, read_at, not_before)
    if outcome.damaged:
        enqueue(session, JobKind.REPAIR_COPY, piece.id, at=at)


def _note_side_object(session: Session, piece: SideObject, written: Sequence[Written]) -> None:
    """Notes where an object of the archive's own is now; the fixity check and repair go by its rows."""
    rendition = session.get(Rendition, piece.id, with_for_update=True)
    if rendition is not None:
        known = {copy["location"] for copy in rendition.copies}
        fresh = [_place(each) for each in written if each.location not in known]
        rendition.copies = [*rendition.copies, *fresh]
    rows = session.scalars(select(ObjectCopy).where(ObjectCopy.store_key == piece.bytes.key).with_for_update()).all()
    if not rows:
        return  # not noted yet: the fixity check notes every place at once
    by_location = {row.location: row for row in rows}
    for each in written:
        row = by_location.get(each.location)
        if row is None:
            first = rows[0]
            row = ObjectCopy(
                kind=first.kind,
                subject_id=first.subject_id,
                aip_id=first.aip_id,
                location=each.location,
                store_key=first.store_key,
                sha256=first.sha256,
                size_bytes=first.size_bytes,
            )
            session.add(row)
        row.version_id, row.verified_at, row.state = each.version_id, each.verified_at, "INTACT"


def _place(written: Written) -> dict[str, Any]:
    return {
        "location": written.location,
        "version_id": written.version_id,
        "read_back_sha256": written.sha256,
        "verified_at": written.verified_at.isoformat(),
    }
