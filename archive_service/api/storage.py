"""Storage locations: their state and history, moves and their progress, comparisons of the database with what is there."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import select

from archive_service import clock
from archive_service.access.pages import cut, newest_first
from archive_service.api.dependencies import After, PageSize, PrincipalDep, ServiceDep
from archive_service.api.records import event_page
from archive_service.audit import events_of
from archive_service.errors import NotFound
from archive_service.followup import enqueue
from archive_service.identity.permissions import Permission
from archive_service.models import JobKind, Reconciliation, StorageDrift, StorageMove
from archive_service.preservation import moves
from archive_service.preservation.reconcile import begin_reconciliation

router = APIRouter(prefix="/api/v1/storage", tags=["storage"])

_VERBS: dict[str, Callable[..., StorageMove]] = {
    "add": moves.add_location,
    "retire": moves.retire_location,
    "back": moves.put_back,
    "empty": moves.empty_location,
}


def move_row(move: StorageMove) -> dict[str, Any]:
    """Returns the JSON of a move with its progress."""
    progress = moves.MoveProgress(move=move)
    return {
        "id": str(move.id),
        "location": move.location,
        "purpose": move.purpose.value,
        "state": move.state.value,
        "step": move.step,
        "started_at": move.started_at.isoformat(),
        "started_by": move.started_by,
        "finished_at": move.finished_at.isoformat() if move.finished_at else None,
        "done": move.done,
        "total": move.total,
        "done_bytes": move.done_bytes,
        "total_bytes": move.total_bytes,
        "bytes_per_s": progress.bytes_per_s,
        "left_s": progress.left_s,
        "left_over": move.left_over,
        "problems": move.problems,
    }


def _location_row(view: moves.LocationView) -> dict[str, Any]:
    return {
        "name": view.name,
        "configured": view.configured,
        "state": view.state.value,
        "since": view.since.isoformat() if view.since else None,
        "keep_until": view.keep_until.isoformat() if view.keep_until else None,
        "copies": view.copies,
        "lacking": view.lacking,
        "move": move_row(view.move) if view.move else None,
    }


@router.get("/locations")
def get_locations(service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Lists storage locations: where each stands, its copies, what it lacks, its move."""
    principal.require(Permission.JOB_READ)
    return {"items": [_location_row(view) for view in moves.locations(service)], "next": None}


@router.get("/locations/{name}")
def get_location(name: str, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Returns one storage location."""
    principal.require(Permission.JOB_READ)
    return _location_row(moves.location(service, name))


@router.get("/locations/{name}/history")
def get_history(
    name: str,
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 200,
    cursor: After = 0,
) -> dict[str, Any]:
    """Returns what happened to a location, in order."""
    principal.require(Permission.JOB_READ)
    moves.location(service, name)
    with service.database.read() as session:
        return event_page(events_of(session, [("location", name)], after_seq=cursor, limit=limit + 1), limit)


@router.post("/locations/{name}/{verb}", status_code=202)
def post_location(name: str, verb: str, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Adds, retires, puts back or empties a location (`add`, `retire`, `back`, `empty`); returns the move that does the work."""
    principal.require(Permission.STORAGE_MANAGE)
    if verb not in _VERBS:
        raise NotFound(f"no such action: {verb}; there are {', '.join(_VERBS)}")
    return move_row(_VERBS[verb](service, name, agent=principal.agent, at=clock.unique_now()))


@router.get("/moves/{move_id}")
def get_move(move_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Returns a move and how far it is."""
    principal.require(Permission.JOB_READ)
    return move_row(moves.find_move(service, move_id))


@router.post("/moves/{move_id}/pause")
def post_pause(move_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Pauses a move after the batch at hand."""
    principal.require(Permission.STORAGE_MANAGE)
    return move_row(moves.pause_move(service, move_id, agent=principal.agent, at=clock.unique_now()))


@router.post("/moves/{move_id}/resume")
def post_resume(move_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Lets a paused move go on."""
    principal.require(Permission.STORAGE_MANAGE)
    return move_row(moves.resume_move(service, move_id, agent=principal.agent, at=clock.unique_now()))


# ------------------------------------------------------------------ comparisons


def _run_row(run: Reconciliation) -> dict[str, Any]:
    return {
        "id": str(run.id),
        "location": run.location,
        "apply": run.apply,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "copies": run.copies,
        "objects": run.objects,
        "not_checked": run.not_checked,
        "counts": run.counts,
    }


@router.get("/reconciliations")
def get_reconciliations(
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 100,
    cursor: UUID | None = None,
) -> dict[str, Any]:
    """Lists comparisons of the database with locations, newest first."""
    principal.require(Permission.JOB_READ)
    runs = select(Reconciliation)
    with service.database.read() as session:
        return newest_first(session, runs, Reconciliation.id, cursor=cursor, limit=limit).as_json(_run_row)


class ReconciliationBody(BaseModel, extra="forbid"):
    """Which location to compare."""

    location: str
    apply: bool = False
    """Whether to mend what may be mended."""


@router.post("/reconciliations", status_code=202)
def post_reconciliation(body: ReconciliationBody, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Begins a comparison, or returns the one that is not finished; `apply` mends what may be mended."""
    principal.require(Permission.STORAGE_MANAGE)
    at = clock.unique_now()
    run_id = begin_reconciliation(service, body.location, apply=body.apply, at=at)
    with service.database.write() as session:
        enqueue(session, JobKind.RECONCILE_STORAGE, run_id, at=at, payload={"run_id": str(run_id)})
        return _run_row(session.get_one(Reconciliation, run_id))


@router.get("/reconciliations/{run_id}/drifts")
def get_drifts(
    run_id: UUID,
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 200,
    cursor: After = 0,
) -> dict[str, Any]:
    """Lists the differences that a comparison found."""
    principal.require(Permission.JOB_READ)
    query = select(StorageDrift).where(StorageDrift.reconciliation_id == run_id, StorageDrift.id > cursor)
    with service.database.read() as session:
        if session.get(Reconciliation, run_id) is None:  # "no differences" is said of a comparison only
            raise NotFound(f"no comparison {run_id}")
        rows = session.scalars(query.order_by(StorageDrift.id).limit(limit + 1)).all()
        return cut(rows, limit, lambda row: row.id).as_json(_drift_row)


def _drift_row(row: StorageDrift) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "key": row.key,
        "version_id": row.version_id or None,
        "record_id": str(row.record_id) if row.record_id else None,
        "detail": row.detail,
        "mended": row.mended,
    }
