"""Moving copies: adding, retiring and putting back a storage location, with progress, pause and a way back (R124).

Order of a move: pieces fixed by a query → for each, without a transaction: source read and hashed into the target, target read back → rows,
events and cursor of a batch in one commit. After a crash the batch is done again: what is at the target already is read and taken as it is.
Two workers on one move do the same pieces twice and note them once; the cursor moves only from where a worker found it.

A location's bytes are never touched by filling or retiring. Removing them is a move of its own (`emptying`), after the way back has ended.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import Agent, append_event
from archive_service.errors import Conflict, NotFound
from archive_service.followup import enqueue
from archive_service.models import (
    AipCopy,
    EventType,
    JobKind,
    LocationState,
    MovePurpose,
    MoveState,
    StorageLocation,
    StorageMove,
)
from archive_service.placement import RECEIVING, Placement, placement
from archive_service.preservation.emptying import empty_one
from archive_service.preservation.fixity import GONE
from archive_service.preservation.move_steps import (
    STEPS,
    Outcome,
    Piece,
    levels_at,
    note_outcome,
    outstanding,
    pieces,
    work_on,
)
from archive_service.service import Service

BATCH: Final = 20
"""Pieces written together: a crash repeats at most so many."""
THREADS: Final = 4
"""Pieces worked on at once: hides the delays of a distant store; memory is one part of an upload each."""
PROBLEMS_KEPT: Final = 200
_OPEN: Final = (MoveState.RUNNING, MoveState.PAUSED)

Progress = Callable[[StorageMove], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveProgress:
    """How far a move is."""

    move: StorageMove

    @property
    def bytes_per_s(self) -> float | None:
        """What workers have done per second; None before anything was done."""
        return self.move.done_bytes / self.move.worked_s if self.move.worked_s > 0 and self.move.done else None

    @property
    def left_s(self) -> float | None:
        """An estimate of the work left, in seconds of one worker."""
        left = max(0, self.move.total_bytes - self.move.done_bytes)
        rate = self.bytes_per_s
        return left / rate if rate else None


# ------------------------------------------------------------------ a location's life


def add_location(service: Service, name: str, *, agent: Agent, at: datetime) -> StorageMove:
    """Takes a configured location into use: new packages get a copy there at once, older ones by the move returned.

    Raises:
        NotFound: it is not configured, or no policy names it.
        Conflict: it is being retired or was; `put_back` it instead.
    """
    _configured(service, name)
    with service.database.write() as session:
        where = placement(service, session)
        if not levels_at(where, name):
            raise NotFound(f"no storage policy names {name}: nothing would be kept there")
        row = _location(session, name, at)
        if row.state in {LocationState.RETIRING, LocationState.RETIRED}:
            raise Conflict(f"location {name} is {row.state}: put it back in use instead")
        open_move = _open_move(session, name)
        if open_move is not None:
            return open_move
        _enter(session, row, LocationState.FILLING, EventType.LOCATION_ADDED, agent=agent, at=at)
        return _begin(session, where, name, MovePurpose.FILL, agent=agent, at=at)


def retire_location(service: Service, name: str, *, agent: Agent, at: datetime) -> StorageMove:
    """Begins to take a location out of use: it gets nothing new, and the move returned secures what it has elsewhere.

    Raises:
        NotFound: no such location.
        Conflict: a policy would be left with fewer locations than its fewest copies.
    """
    with service.database.write() as session:
        where = placement(service, session)
        if name not in where.states:
            raise NotFound(f"no storage location {name!r}")
        row = _location(session, name, at)
        open_move = _open_move(session, name)
        if row.state is LocationState.RETIRING and open_move is not None:
            return open_move
        if row.state not in RECEIVING:
            raise Conflict(f"location {name} is {row.state} already")
        _require_enough(where, name)
        if open_move is not None:
            _stop(open_move, at)
        _enter(session, row, LocationState.RETIRING, EventType.LOCATION_RETIREMENT_BEGUN, agent=agent, at=at)
        return _begin(session, where, name, MovePurpose.RETIRE, agent=agent, at=at)


def put_back(service: Service, name: str, *, agent: Agent, at: datetime) -> StorageMove:
    """Puts a retiring or retired location back in use. Its copies count again as they are; the move adds what came since.

    Raises:
        NotFound: it is not configured.
        Conflict: it is not retiring or retired.
    """
    _configured(service, name)
    with service.database.write() as session:
        row = _location(session, name, at)
        if row.state not in {LocationState.RETIRING, LocationState.RETIRED}:
            raise Conflict(f"location {name} is {row.state}: there is nothing to put back")
        open_move = _open_move(session, name)
        if open_move is not None:
            _stop(open_move, at)
            session.flush()
        _enter(session, row, LocationState.FILLING, EventType.LOCATION_PUT_BACK, agent=agent, at=at)
        return _begin(session, placement(service, session), name, MovePurpose.FILL, agent=agent, at=at)


def empty_location(service: Service, name: str, *, agent: Agent, at: datetime) -> StorageMove:
    """Begins to remove the copies of a retired location, as far as locks and holds allow.

    Raises:
        Conflict: it is not retired, or the way back has not ended.
    """
    _configured(service, name)
    with service.database.write() as session:
        row = _location(session, name, at)
        if row.state is not LocationState.RETIRED or row.keep_until is None:
            raise Conflict(f"location {name} is {row.state}: only a retired one can be emptied")
        if at < row.keep_until:
            raise Conflict(
                f"location {name} keeps its copies until {row.keep_until.isoformat()}, as the way back (R124)"
            )
        open_move = _open_move(session, name)
        if open_move is not None:
            return open_move
        _tell(session, EventType.LOCATION_REMOVAL_BEGUN, name, agent=agent, at=at, detail={})
        return _begin(session, placement(service, session), name, MovePurpose.EMPTY, agent=agent, at=at)


def pause_move(service: Service, move_id: UUID, *, agent: Agent, at: datetime) -> StorageMove:
    """Pauses a move: workers stop after the batch at hand.

    Raises:
        NotFound: no such move.
        Conflict: it has ended.
    """
    return _switch(service, move_id, MoveState.PAUSED, EventType.LOCATION_MOVE_PAUSED, agent=agent, at=at)


def resume_move(service: Service, move_id: UUID, *, agent: Agent, at: datetime) -> StorageMove:
    """Lets a paused move go on where it was.

    Raises:
        NotFound: no such move.
        Conflict: it has ended.
    """
    return _switch(service, move_id, MoveState.RUNNING, EventType.LOCATION_MOVE_RESUMED, agent=agent, at=at)


def _switch(
    service: Service, move_id: UUID, to: MoveState, event: EventType, *, agent: Agent, at: datetime
) -> StorageMove:
    with service.database.write() as session:
        move = session.get(StorageMove, move_id, with_for_update=True)
        if move is None:
            raise NotFound(f"storage move {move_id} not found")
        if move.state not in _OPEN:
            raise Conflict(f"the move of {move.location} is {move.state}")
        if move.state is not to:
            move.state = to
            _tell(session, event, move.location, agent=agent, at=at, detail={"move_id": str(move.id)})
        if to is MoveState.RUNNING:
            enqueue(session, JobKind.MOVE_COPIES, move.id, at=at)
        return move


def _configured(service: Service, name: str) -> None:
    if name not in service.layout.locations:
        raise NotFound(f"no storage location {name!r}; there are {', '.join(sorted(service.layout.locations))}")


def _require_enough(where: Placement, name: str) -> None:
    short = []
    for policy in where.layout.policies:
        left = [copy for copy in policy.copies if copy != name and where.receives(copy)]
        if name in policy.copies and len(left) < policy.minimum_copies:
            short.append(f"policy {policy.name!r} would have {len(left)} locations, {policy.minimum_copies} are needed")
    if short:
        raise Conflict(f"location {name} cannot be retired: {'; '.join(short)}", problems=short)


def _location(session: Session, name: str, at: datetime) -> StorageLocation:
    row = session.get(StorageLocation, name, with_for_update=True)
    if row is None:
        row = StorageLocation(name=name, state=LocationState.ACTIVE, since=at)
        session.add(row)
        session.flush()
    return row


def _open_move(session: Session, name: str) -> StorageMove | None:
    query = select(StorageMove).where(StorageMove.location == name, StorageMove.state.in_(_OPEN))
    return session.scalars(query.with_for_update()).one_or_none()


def _stop(move: StorageMove, at: datetime) -> None:
    move.state, move.finished_at = MoveState.STOPPED, at


def _enter(
    session: Session,
    row: StorageLocation,
    to: LocationState,
    event: EventType,
    *,
    agent: Agent,
    at: datetime,
    keep_until: datetime | None = None,
) -> None:
    """Changes a location's state with its event; the event alone is enough to rebuild the row."""
    detail = {
        "from": row.state.value,
        "state": to.value,
        "keep_until": keep_until.isoformat() if keep_until else None,
    }
    row.state, row.since, row.keep_until = to, at, keep_until
    _tell(session, event, row.name, agent=agent, at=at, detail=detail)


def _tell(session: Session, event: EventType, name: str, *, agent: Agent, at: datetime, detail: dict[str, Any]) -> None:
    append_event(
        session, event, subject_kind="location", subject_id=name, agency=None, agent=agent, at=at, detail=detail
    )


def _begin(
    session: Session, where: Placement, name: str, purpose: MovePurpose, *, agent: Agent, at: datetime
) -> StorageMove:
    move = StorageMove(
        location=name, purpose=purpose, state=MoveState.RUNNING, started_at=at, started_by=agent.name, rounds=1
    )
    counted = outstanding(move, where, step="aip").order_by(None).subquery()
    row = session.execute(select(func.count(), func.coalesce(func.sum(counted.c.size_bytes), 0))).one()
    move.total, move.total_bytes = int(row[0]), int(row[1])
    session.add(move)
    session.flush()
    enqueue(session, JobKind.MOVE_COPIES, move.id, at=at)
    return move


# ------------------------------------------------------------------ the work


def run_move(
    service: Service,
    move_id: UUID,
    *,
    agent: Agent,
    progress: Progress = lambda _move: None,
    check: Callable[[], None] = lambda: None,
) -> StorageMove:
    """Works on a move until it is done, paused or stopped, or until all that is left cannot be done now; idempotent.

    Args:
        service: The parts of this process.
        move_id: The move.
        agent: Who is named in the events of what is done.
        progress: Told after each batch.
        check: Called before each batch; raises to end the work there.

    Raises:
        NotFound: no such move.
    """
    before: int | None = None
    with ThreadPoolExecutor(THREADS, thread_name_prefix="move") as pool:
        while True:
            check()
            with service.database.read() as session:
                move = session.get(StorageMove, move_id)
                if move is None:
                    raise NotFound(f"storage move {move_id} not found")
                where = placement(service, session)
                batch = pieces(session, move, where, limit=BATCH) if move.state is MoveState.RUNNING else ()
            if move.state is not MoveState.RUNNING:
                return move
            if batch:
                started_s = clock.monotonic_s()
                work = empty_one if move.purpose is MovePurpose.EMPTY else work_on
                outcomes = list(pool.map(partial(work, service, move, where), batch))
                progress(_note_batch(service, move, outcomes, worked_s=clock.monotonic_s() - started_s))
                continue
            going, left = _go_on(service, move, where, before, agent=agent)
            before = left or before
            if not going:
                return find_move(service, move_id)


def _note_batch(service: Service, seen: StorageMove, outcomes: list[Outcome], *, worked_s: float) -> StorageMove:
    at = clock.unique_now()
    with service.database.write() as session:
        for outcome in outcomes:
            note_outcome(session, outcome, not_before=seen.started_at, at=at)
        move = session.get_one(StorageMove, seen.id, with_for_update=True)
        if (move.step, move.last_id, move.rounds) != (seen.step, seen.last_id, seen.rounds):
            return move  # another worker was faster: its count stands
        move.last_id = outcomes[-1].piece.id
        move.worked_s += worked_s
        done = [outcome.piece for outcome in outcomes if not outcome.problem]
        if move.step == "aip":
            move.done += len(done)
            move.done_bytes += sum(piece.bytes.size_bytes for piece in done)
        problems = [_problem(outcome.piece, outcome.problem) for outcome in outcomes if outcome.problem]
        move.left_over += len(problems)
        move.problems = [*move.problems, *problems][:PROBLEMS_KEPT]
        return move


def _problem(piece: Piece, reason: str) -> dict[str, str]:
    return {"id": str(piece.id), "key": piece.bytes.key, "reason": reason}


def _go_on(
    service: Service, seen: StorageMove, where: Placement, before: int | None, *, agent: Agent
) -> tuple[bool, int]:
    """At the end of a step: begins the next one or another round, and returns whether to go on now and what is left.

    Another round begins at once when something came in meanwhile, which is when more is left than could not be done, and less
    than `before`. Else what is left waits for the next look: for a repair, or a store that answers again.
    """
    at = clock.unique_now()
    with service.database.write() as session:
        move = session.get_one(StorageMove, seen.id, with_for_update=True)
        if (move.state, move.step, move.last_id, move.rounds) != (seen.state, seen.step, seen.last_id, seen.rounds):
            return move.state is MoveState.RUNNING, 0
        left = 0 if move.purpose is MovePurpose.EMPTY else _left(session, move, where)
        if left:
            again = left > move.left_over and (before is None or left < before)
            move.step, move.last_id, move.left_over = STEPS[0], None, 0
            move.rounds += 1
            move.problems = [] if again else move.problems
            return again, left
        if move.step != STEPS[-1]:
            move.step, move.last_id = STEPS[STEPS.index(move.step) + 1], None
            return True, 0
        _complete(service, session, move, agent=agent, at=at)
        return False, 0


def _left(session: Session, move: StorageMove, where: Placement) -> int:
    if move.step != STEPS[0]:
        return move.left_over
    counted = outstanding(move, where, step=move.step).order_by(None).subquery()
    return int(session.scalar(select(func.count()).select_from(counted)) or 0)


def _complete(service: Service, session: Session, move: StorageMove, *, agent: Agent, at: datetime) -> None:
    move.state, move.finished_at = MoveState.DONE, at
    row = _location(session, move.location, at)
    if move.purpose is MovePurpose.FILL and row.state is LocationState.FILLING:
        _enter(session, row, LocationState.ACTIVE, EventType.LOCATION_FILLED, agent=agent, at=at)
    elif move.purpose is MovePurpose.RETIRE and row.state is LocationState.RETIRING:
        keep_until = at + timedelta(days=service.settings.way_back_days)
        _enter(
            session, row, LocationState.RETIRED, EventType.LOCATION_RETIRED, agent=agent, at=at, keep_until=keep_until
        )
    elif move.purpose is MovePurpose.EMPTY and row.state is LocationState.RETIRED and not _copies_at(session, row.name):
        _enter(session, row, LocationState.EMPTIED, EventType.LOCATION_EMPTIED, agent=agent, at=at)


def _copies_at(session: Session, name: str) -> int:
    query = select(func.count()).select_from(AipCopy).where(AipCopy.location == name, AipCopy.state != "REMOVED")
    return int(session.scalar(query) or 0)


def continue_moves(service: Service, *, at: datetime) -> int:
    """Queues every running move that no job works on, such as one that waits for a repair; returns how many run."""
    with service.database.write() as session:
        running = session.scalars(select(StorageMove.id).where(StorageMove.state == MoveState.RUNNING)).all()
        for move_id in running:
            enqueue(session, JobKind.MOVE_COPIES, move_id, at=at)
        return len(running)


# ------------------------------------------------------------------ what there is


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationView:
    """A location as operators see it."""

    name: str
    configured: bool
    state: LocationState
    since: datetime | None
    keep_until: datetime | None
    copies: int
    lacking: int
    """Packages the policy wants here that have no copy here."""
    move: StorageMove | None
    """The open move, or the last one."""


def locations(service: Service) -> list[LocationView]:
    """Returns every location, configured now or known from before."""
    with service.database.read() as session:
        where = placement(service, session)
        rows = {row.name: row for row in session.scalars(select(StorageLocation))}
        query = select(AipCopy.location, func.count()).where(AipCopy.state.not_in(GONE)).group_by(AipCopy.location)
        counts: dict[str, int] = dict(session.execute(query).all())
        return [_view(session, where, rows.get(name), name, counts.get(name, 0)) for name in sorted(where.states)]


def _view(session: Session, where: Placement, row: StorageLocation | None, name: str, copies: int) -> LocationView:
    query = select(StorageMove).where(StorageMove.location == name)
    move = session.scalars(query.order_by(StorageMove.started_at.desc(), StorageMove.id.desc()).limit(1)).one_or_none()
    lacking = 0
    if where.receives(name):
        probe = StorageMove(location=name, purpose=MovePurpose.FILL)
        counted = outstanding(probe, where, step="aip").order_by(None).subquery()
        lacking = int(session.scalar(select(func.count()).select_from(counted)) or 0)
    return LocationView(
        name=name,
        configured=name in where.layout.locations,
        state=where.states[name],
        since=row.since if row else None,
        keep_until=row.keep_until if row else None,
        copies=copies,
        lacking=lacking,
        move=move,
    )


def location(service: Service, name: str) -> LocationView:
    """Returns one location.

    Raises:
        NotFound: no such location.
    """
    found = next((view for view in locations(service) if view.name == name), None)
    if found is None:
        raise NotFound(f"no storage location {name!r}")
    return found


def find_move(service: Service, move_id: UUID) -> StorageMove:
    """Returns a move.

    Raises:
        NotFound: no such move.
    """
    with service.database.read() as session:
        move = session.get(StorageMove, move_id)
    if move is None:
        raise NotFound(f"storage move {move_id} not found")
    return move


def open_move_of(service: Service, name: str) -> StorageMove:
    """Returns the open move of a location.

    Raises:
        NotFound: none is open.
    """
    with service.database.read() as session:
        query = select(StorageMove).where(StorageMove.location == name, StorageMove.state.in_(_OPEN))
        move = session.scalars(query).one_or_none()
    if move is None:
        raise NotFound(f"no move of location {name!r} is open")
    return move
