"""Legal holds: see, place, release."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from archive_service import clock
from archive_service.access import holds as access
from archive_service.access.pages import cut
from archive_service.api.dependencies import ListSize, PageSize, PrincipalDep, ServiceDep
from archive_service.models import Hold
from archive_service.retention.holds import MAX_RECORDS, HoldOrder, place_hold, release_hold

router = APIRouter(prefix="/api/v1/holds", tags=["holds"])


class HoldBody(BaseModel, extra="forbid"):
    """An order to hold records."""

    agency: str = Field(min_length=1, max_length=40)
    reason: str
    legal_basis: str
    record_ids: list[UUID] = Field(default=[], max_length=MAX_RECORDS)
    dossier_codes: list[str] = Field(default=[], max_length=MAX_RECORDS)
    in_advance: bool = False


class ReleaseBody(BaseModel, extra="forbid"):
    """An order to release a hold."""

    reason: str


def hold_row(hold: Hold) -> dict[str, Any]:
    """Returns the JSON of a hold."""
    return {
        "id": str(hold.id),
        "agency": hold.agency,
        "reason": hold.reason,
        "legal_basis": hold.legal_basis,
        "placed_at": hold.placed_at.isoformat(),
        "placed_by": hold.placed_by_name,
        "released_at": hold.released_at.isoformat() if hold.released_at else None,
        "released_by": hold.released_by_name,
        "release_reason": hold.release_reason,
    }


@router.get("")
def get_holds(
    service: ServiceDep,
    principal: PrincipalDep,
    *,
    open_only: Annotated[bool, Query(alias="open")] = False,
    record_id: UUID | None = None,
    limit: ListSize = None,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Lists legal holds, last placed first, within the caller's agencies."""
    query = access.HoldQuery(open_only=open_only, record_id=record_id, limit=limit, cursor=cursor)
    with service.database.read() as session:
        page = access.list_holds(session, query, principal)
        return page.as_json(hold_row)


@router.post("", status_code=201)
def post_hold(body: HoldBody, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Places a hold on records of one archiving agency; all of them or none."""
    order = HoldOrder(
        agency=body.agency,
        reason=body.reason,
        legal_basis=body.legal_basis,
        record_ids=tuple(body.record_ids),
        dossier_codes=tuple(body.dossier_codes),
        in_advance=body.in_advance,
    )
    with service.database.write() as session:
        return hold_row(place_hold(session, order, principal, at=clock.unique_now()))


@router.get("/{hold_id}")
def get_hold(hold_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Returns one hold."""
    with service.database.read() as session:
        return hold_row(access.find_hold(session, hold_id, principal))


@router.get("/{hold_id}/records")
def get_hold_records(
    hold_id: UUID,
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 200,
    cursor: UUID | None = None,
) -> dict[str, Any]:
    """Lists the records of a hold."""
    with service.database.read() as session:
        access.find_hold(session, hold_id, principal)
        rows = access.held_records(session, hold_id, after=cursor, limit=limit + 1)
        return cut(rows, limit, lambda row: row.record_id).as_json(
            lambda row: {"record_id": str(row.record_id), "dossier_code": row.dossier_code}
        )


@router.post("/{hold_id}/release")
def post_release(hold_id: UUID, body: ReleaseBody, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Releases a hold; others on the same records stay."""
    with service.database.write() as session:
        return hold_row(release_hold(session, hold_id, principal, reason=body.reason, at=clock.unique_now()))
