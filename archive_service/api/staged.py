"""Files of a submission that awaits a decision: what there is, and their bytes for whoever decides."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from archive_service import clock
from archive_service.access.pages import cut
from archive_service.access.reading import note_staged_read
from archive_service.access.staged import find_staged, staged_stream
from archive_service.access.submissions import find_scoped_submission
from archive_service.api.dependencies import After, PageSize, PrincipalDep, ServiceDep
from archive_service.api.streams import staged_answer
from archive_service.digests import sha256
from archive_service.identity.permissions import Permission
from archive_service.models import Component

router = APIRouter(prefix="/api/v1/submissions", tags=["submissions"])


@router.get("/{submission_id}/components")
def get_components(
    submission_id: UUID,
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 200,
    cursor: After = 0,
) -> dict[str, Any]:
    """Lists the components of a submission in dossier order, as declared and as found."""
    with service.database.read() as session:
        find_scoped_submission(session, submission_id, principal, Permission.SUBMISSION_READ)
        query = select(Component).where(Component.submission_id == submission_id, Component.ordinal > cursor)
        rows = session.scalars(query.order_by(Component.ordinal).limit(limit + 1)).all()
    return cut(rows, limit, lambda row: row.ordinal).as_json(_row)


def _row(component: Component) -> dict[str, Any]:
    return {
        "id": component.component_id,
        "ordinal": component.ordinal,
        "path": component.path,
        "role": component.role,
        "title": component.title,
        "sha256": component.declared_sha256,
        "size_bytes": component.declared_size_bytes,
        "mime": component.mime,
        "puid": component.puid,
        "format": component.format_name,
        "url": f"/api/v1/submissions/{component.submission_id}/components/{component.component_id}/content",
    }


@router.api_route("/{submission_id}/components/{component_id}/content", methods=["GET", "HEAD"])
def get_content(
    submission_id: UUID,
    component_id: str,
    request: Request,
    service: ServiceDep,
    principal: PrincipalDep,
    inline: bool = False,  # noqa: FBT001, FBT002 - a query parameter
) -> Response:
    """Returns a component's bytes to whoever may decide on the submission while it awaits that; Range is honoured, reading is logged."""
    with service.database.read() as session:
        submission, component = find_staged(session, submission_id, component_id, principal)

    def read(first: int, last: int) -> Iterator[bytes]:
        return staged_stream(service.staging, component, first=first, last=last)

    answer = staged_answer(
        request,
        sha256(component.declared_sha256),
        component.declared_size_bytes,
        read,
        media_type=component.mime or "application/octet-stream",
        file_name=component.path.rsplit("/", 1)[-1],
        inline=inline,
    )
    if request.method == "GET":
        note_staged_read(service.database, submission, component, principal, at=clock.unique_now())
    return answer
