"""Certified paper copies: issue, list, download, cancel, and the public answer for a code."""

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from archive_service import clock
from archive_service.access import records as access
from archive_service.access.pages import last_first
from archive_service.api.dependencies import PageSize, PrincipalDep, ServiceDep
from archive_service.api.streams import content_answer
from archive_service.audit import record_event
from archive_service.copies import register, verification
from archive_service.identity.permissions import Permission, Principal
from archive_service.models import CertifiedCopy, EventType

router = APIRouter(prefix="/api/v1", tags=["copies"])

Line = Annotated[str, Field(max_length=1000)]


class CopyBody(BaseModel):
    """A request for a certified copy."""

    component_id: Annotated[str, Field(max_length=100)]
    purpose: Line
    recipient: Line
    place: Annotated[str, Field(max_length=200)]
    position: Annotated[str, Field(max_length=200)]
    """Of the person who converts, as printed (NĐ 137/2024 Điều 5)."""
    request_id: UUID | None = None


def issuer(principal: PrincipalDep) -> Principal:
    """Returns who calls, if they may issue copies somewhere: who may not is told so before the body is judged.

    Raises:
        NotPermitted: nowhere.
    """
    principal.require(Permission.COPY_ISSUE)
    return principal


IssuerDep = Annotated[Principal, Depends(issuer)]


@router.post("/records/{record_id}/copies", status_code=HTTPStatus.CREATED)
def post_copy(record_id: UUID, body: CopyBody, service: ServiceDep, principal: IssuerDep) -> dict[str, Any]:
    """Issues a certified paper copy; the same `request_id` again gives the same copy."""
    request = register.CopyRequest(record_id=record_id, **body.model_dump())
    return copy_row(register.issue_copy(service, request, principal, at=clock.unique_now()))


def copy_row(copy: CertifiedCopy) -> dict[str, Any]:
    """Returns the JSON of a register row."""
    return {
        "id": str(copy.id),
        "verify_code": copy.verify_code,
        "agency": copy.agency,
        "year": copy.year,
        "number": copy.number,
        "form": copy.form,
        "record_id": str(copy.record_id),
        "component_id": copy.component_id,
        "original_sha256": copy.original_sha256,
        "purpose": copy.purpose,
        "recipient": copy.recipient,
        "issued_at": copy.issued_at.isoformat(),
        "issuer": copy.issuer_name,
        "completed": copy.completed_at is not None,
        "pages": copy.page_count,
        "pdf_sha256": copy.pdf_sha256,
        "pdf_size_bytes": copy.pdf_size_bytes,
        "cancelled_at": copy.cancelled_at.isoformat() if copy.cancelled_at else None,
        "cancel_reason": copy.cancel_reason,
        "pdf_url": f"/api/v1/copies/{copy.id}/pdf",
        "verify_url": f"/verify/{copy.verify_code}",
    }


@router.get("/records/{record_id}/copies")
def get_copies(
    record_id: UUID,
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 200,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Lists the certified copies of a record, newest first."""
    copies = register.copies_of(record_id)
    with service.database.read() as session:
        access.find_record(session, record_id, principal, Permission.COPY_READ)
        page = last_first(session, copies, CertifiedCopy.issued_at, CertifiedCopy.id, cursor=cursor, limit=limit)
        return page.as_json(copy_row)


@router.get("/copies/{copy_id}")
def get_copy(copy_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Returns one register row."""
    with service.database.read() as session:
        return copy_row(register.find_copy(session, copy_id, principal, Permission.COPY_READ))


@router.api_route("/copies/{copy_id}/pdf", methods=["GET", "HEAD"])
def get_copy_pdf(copy_id: UUID, request: Request, service: ServiceDep, principal: PrincipalDep) -> Response:
    """Returns the PDF to print, to those who may read the record itself: it holds the original's pages. The read is logged."""
    with service.database.read() as session:
        copy = register.find_copy(session, copy_id, principal, Permission.COPY_READ)
        access.find_record(session, copy.record_id, principal, Permission.RECORD_READ)
        source = register.copy_range(service, copy)
    name = f"sao-y-{copy.number:02d}-{copy.year}.pdf"
    answer = content_answer(request, service.stores, source, media_type="application/pdf", file_name=name, inline=True)
    if request.method == "GET":
        with service.database.write() as session:
            record_event(
                session,
                EventType.COPY_READ,
                copy.record_id,
                copy.agency,
                agent=principal.agent,
                at=clock.unique_now(),
                detail={"copy_id": str(copy.id)},
            )
    return answer


class Cancellation(BaseModel):
    """Why a copy is no longer valid."""

    reason: Line


@router.post("/copies/{copy_id}/cancel")
def post_cancel(copy_id: UUID, body: Cancellation, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Marks a copy as no longer valid."""
    with service.database.write() as session:
        copy = register.cancel_copy(session, copy_id, principal, reason=body.reason, at=clock.unique_now())
        return copy_row(copy)


@router.get("/verify/{code}")
def get_verify(code: str, service: ServiceDep) -> dict[str, Any]:
    """Says, to anyone, whether a verification code is genuine and still valid."""
    with service.database.read() as session:
        facts = verification.verify_code(session, code)
    return {
        "status": facts.status.value,
        "code": facts.code,
        "form": facts.form,
        "number": facts.number,
        "year": facts.year,
        "agency": facts.agency,
        "issued_at": facts.issued_at.isoformat() if facts.issued_at else None,
        "pages": facts.page_count,
        "original_sha256": facts.original_sha256,
        "cancelled_at": facts.cancelled_at.isoformat() if facts.cancelled_at else None,
    }
