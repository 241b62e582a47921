"""Evidence to take along: a dispute package of a record or document, the evidence file of its newest AIP."""

import tempfile
from collections.abc import Iterator
from typing import IO, Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse

from archive_service.access import records as access
from archive_service.api.dependencies import PrincipalDep, ServiceDep, VersionNumber
from archive_service.api.streams import disposition
from archive_service.digests import CHUNK_BYTES
from archive_service.disputes.package import write_dispute_package
from archive_service.identity.permissions import Permission
from archive_service.preservation import proofs

router = APIRouter(prefix="/api/v1/records", tags=["evidence"])


@router.get("/{record_id}/dispute-package")
def get_dispute_package(
    record_id: UUID,
    service: ServiceDep,
    principal: PrincipalDep,
    component: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Returns one ZIP with all that proves a record, or one of its documents; giving it out is logged."""
    # The file is made whole first: a copy that cannot be read becomes an error answer and not a broken file.
    target = tempfile.TemporaryFile(dir=service.settings.data_dir)  # noqa: SIM115 - closed when it was sent
    try:
        made = write_dispute_package(service, record_id, target, principal, component_id=component)
    except BaseException:
        target.close()
        raise
    headers = {
        "Content-Length": str(made.size_bytes),
        "Content-Disposition": disposition(made.file_name, inline=False),
        "ETag": f'"{made.digest.hex}"',
        "Cache-Control": "private, no-store",
    }
    return StreamingResponse(_sent(target), headers=headers, media_type="application/zip")


def _sent(target: IO[bytes]) -> Iterator[bytes]:
    with target:
        target.seek(0)
        while chunk := target.read(CHUNK_BYTES):
            yield chunk


@router.get("/{record_id}/evidence")
def get_evidence_file(
    record_id: UUID, service: ServiceDep, principal: PrincipalDep, version: VersionNumber = None
) -> Response:
    """Returns the evidence file of an AIP version (default the newest), as `archive-service verify --evidence` takes it."""
    with service.database.read() as session:
        access.find_record(session, record_id, principal, Permission.RECORD_SEARCH)
        aip = access.version_of(session, record_id, version)
        bundle = next(item for item in proofs.evidence_bundles(session, record_id) if item["version"] == aip.version)
    name = f"{aip.store_key.rsplit('/', 1)[-1].removesuffix('.zip')}.evidence.json"
    return JSONResponse(bundle, headers={"Content-Disposition": disposition(name, inline=False)})
