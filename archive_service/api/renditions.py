"""Renditions of archived components: how it stands with each, and the bytes of those that were made."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from archive_service import clock
from archive_service.access import records as access
from archive_service.access.reading import note_component_read
from archive_service.api.dependencies import PrincipalDep, ServiceDep, VersionNumber
from archive_service.api.streams import content_answer
from archive_service.identity.permissions import Permission
from archive_service.models import Rendition
from archive_service.renditions.standing import find_rendition, rendition_range, standings

router = APIRouter(prefix="/api/v1/records/{record_id}/components/{component_id}/renditions", tags=["records"])


@router.get("")
def get_renditions(
    record_id: UUID, component_id: str, service: ServiceDep, principal: PrincipalDep, version: VersionNumber = None
) -> dict[str, Any]:
    """Returns the PDF/A renditions of a component, and why there is none where there is none."""
    with service.database.read() as session:
        access.find_record(session, record_id, principal, Permission.RECORD_SEARCH)
        _, component = access.component(session, record_id, component_id, version=version)
        standing = standings(session, [component], service.settings)[component.component_id]
    made = standing.rendition
    return {
        "status": standing.status.value,
        "reason": standing.reason,
        "items": [_row(record_id, component_id, made)] if made else [],
        "next": None,
    }


def _row(record_id: UUID, component_id: str, row: Rendition) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "flavour": row.flavour,
        "conforms": row.conforms,
        "checker": row.checker,
        "problems": row.problems,
        "pages": row.page_count,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "made_at": row.made_at.isoformat(),
        "url": f"/api/v1/records/{record_id}/components/{component_id}/renditions/{row.id}/content",
    }


@router.api_route("/{rendition_id}/content", methods=["GET", "HEAD"])
def get_content(
    record_id: UUID,
    component_id: str,
    rendition_id: UUID,
    request: Request,
    service: ServiceDep,
    principal: PrincipalDep,
    version: VersionNumber = None,
    inline: bool = False,  # noqa: FBT001, FBT002 - a query parameter
) -> Response:
    """Returns a rendition's bytes; Range is honoured and the read is logged like one of the original."""
    with service.database.read() as session:
        record = access.find_record(session, record_id, principal, Permission.RECORD_READ)
        _, component = access.component(session, record_id, component_id, version=version)
        rendition = find_rendition(session, component, rendition_id)
    answer = content_answer(
        request,
        service.stores,
        rendition_range(rendition),
        media_type="application/pdf",
        file_name=f"{component.path.rsplit('/', 1)[-1]}.pdf",
        inline=inline,
    )
    if request.method == "GET":
        note_component_read(service.database, record, component, principal, at=clock.unique_now(), rendition=rendition)
    return answer
