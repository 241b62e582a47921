"""Certified paper copies on pages: issuing and cancelling, and the public answer to a verification code (R107)."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import Response

from archive_service import clock, i18n
from archive_service.copies import register, verification
from archive_service.errors import ArchiveError
from archive_service.i18n import N_
from archive_service.web.flash import Flash, Tone, put_flash
from archive_service.web.templating import render
from archive_service.web.visitors import AnyoneDep, MemberSenderDep, see_other

router = APIRouter(include_in_schema=False)

Line = Annotated[str, Form(max_length=1000)]
Short = Annotated[str, Form(max_length=200)]


@router.post("/records/{record_id}/copies")
def post_copy(
    record_id: UUID,
    visitor: MemberSenderDep,
    request_id: Annotated[UUID, Form()],
    component_id: Annotated[str, Form(max_length=100)],
    purpose: Line = "",
    recipient: Line = "",
    place: Short = "",
    position: Short = "",
) -> Response:
    """Issues a certified copy; the form sent twice gives one copy."""
    wanted = register.CopyRequest(
        record_id=record_id,
        component_id=component_id,
        purpose=purpose,
        recipient=recipient,
        place=place,
        position=position,
        request_id=request_id,
    )
    response = see_other(f"/records/{record_id}#copies")
    try:
        copy = register.issue_copy(visitor.service, wanted, visitor.principal, at=clock.unique_now())
    except ArchiveError as exc:
        text = i18n.error_text(exc.code, visitor.language)
        put_flash(response, visitor, Flash(tone=Tone.BAD, text=text, details=_told(exc, visitor.language)))
        return response
    text = i18n.translate(N_("Đã cấp bản sao y số %(number)s/%(year)s."), visitor.language)
    flash = Flash(
        tone=Tone.GOOD,
        text=text % {"number": copy.number, "year": copy.year},
        link=f"/api/v1/copies/{copy.id}/pdf",
        link_text=i18n.translate(N_("Mở PDF để in"), visitor.language),
    )
    put_flash(response, visitor, flash)
    return response


_FIELDS: Final = {
    "purpose": N_("Mục đích"),
    "recipient": N_("Người nhận"),
    "place": N_("Nơi sao (ghi trước ngày tháng)"),
    "position": N_("Chức vụ người sao"),
}


def _told(error: ArchiveError, language: str) -> tuple[str, ...]:
    """Returns the names of the fields an error is about; where it names none, the error's own words for the operator."""
    places = [problem["location"] for problem in error.fields.get("problems", [])]
    named = tuple(i18n.translate(_FIELDS[place], language) for place in places if place in _FIELDS)
    return named or (error.message,)


@router.post("/copies/{copy_id}/cancel")
def post_cancel(copy_id: UUID, visitor: MemberSenderDep, reason: Line = "") -> Response:
    """Cancels a copy; its public page says so from now on."""
    with visitor.service.database.write() as session:
        copy = register.cancel_copy(session, copy_id, visitor.principal, reason=reason, at=clock.unique_now())
        record_id, number, year = copy.record_id, copy.number, copy.year
    response = see_other(f"/records/{record_id}#copies")
    text = i18n.translate(N_("Đã hủy bản sao y số %(number)s/%(year)s."), visitor.language)
    put_flash(response, visitor, Flash(tone=Tone.GOOD, text=text % {"number": number, "year": year}))
    return response


@router.get("/verify")
def get_verify_form(request: Request, visitor: AnyoneDep, code: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Shows the form for a code; a code typed leads to its page."""
    typed = verification.typed_code(code)
    if typed:
        return see_other(f"/verify/{typed}")
    return render(request, visitor, "verify.html", facts=None)


@router.get("/verify/{code}")
def get_verify(code: str, request: Request, visitor: AnyoneDep) -> Response:
    """Tells anyone whether a certified copy is genuine and still valid, and the least needed to compare it."""
    with visitor.service.database.read() as session:
        facts = verification.verify_code(session, code)
    return render(request, visitor, "verify.html", facts=facts)
