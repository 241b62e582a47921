"""Trust anchors for signatures on pages: who is trusted by scheme, since when, until when, who decided it and why (R031)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import Response

from archive_service import clock, i18n
from archive_service.errors import ArchiveError, BadRequest
from archive_service.i18n import N_
from archive_service.identity.permissions import Permission
from archive_service.ingest import trust_anchors
from archive_service.ingest.trust_anchors import TrustChange
from archive_service.signatures.trust import TrustAnchorEntry
from archive_service.web.flash import Flash, Tone, put_flash
from archive_service.web.templating import render
from archive_service.web.visitors import MemberDep, MemberSenderDep, Visitor, see_other

router = APIRouter(include_in_schema=False)

SCHEMES: Final = ("public_service", "national", "foreign", "timestamp", "test")
"""Schemes offered when adding, in the order they are listed; a store may hold others of the operator's own."""

Reason = Annotated[str, Form(max_length=1000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorLine:
    """One anchor as the page shows it."""

    facts: Mapping[str, Any]
    name: str
    """What people call the authority: the last common name of its subject, else the whole subject."""
    not_before: datetime
    not_after: datetime
    effective_from: datetime | None
    retired_at: datetime | None
    status: str
    """trusted, not-yet or retired."""
    expiry: str
    """`ended`, `soon` or empty; only for anchors that are trusted now."""
    left: timedelta
    """Time until the certificate ends; never negative."""
    added: TrustChange | None
    retired: TrustChange | None


@router.get("/trust")
def get_trust(request: Request, visitor: MemberDep) -> Response:
    """Shows every anchor by scheme, retired ones last."""
    listing = trust_anchors.list_anchors(visitor.service, visitor.principal)
    changes = trust_anchors.anchor_changes(visitor.service, visitor.principal)
    at = clock.now()
    lines = [_line(entry, changes.get(entry.sha256, ()), at=at) for entry in listing.store.anchors]
    return render(
        request,
        visitor,
        "trust.html",
        groups=_by_scheme(lines),
        schemes=SCHEMES,
        expiring=[line for line in lines if line.expiry],
        recorded=listing.recorded,
        unreadable=listing.store.unreadable,
        digest=listing.store.digest,
        may_manage=visitor.principal.may(Permission.TRUST_MANAGE),
        today=clock.today(),
    )


def _line(entry: TrustAnchorEntry, changes: Sequence[TrustChange], *, at: datetime) -> AnchorLine:
    not_after = entry.certificate.not_valid_after
    own = [change for change in changes if change.scheme == entry.scheme]
    retired = entry.retired_at is not None and entry.retired_at <= at
    return AnchorLine(
        facts=trust_anchors.anchor_json(entry, at=at),
        name=_name(entry),
        not_before=entry.certificate.not_valid_before,
        not_after=not_after,
        effective_from=entry.effective_from,
        retired_at=entry.retired_at,
        status="trusted" if entry.effective_at(at) else "retired" if retired else "not-yet",
        expiry=("ended" if not_after <= at else "soon") if trust_anchors.expires_soon(entry, at=at) else "",
        left=max(not_after - at, timedelta(0)),
        added=next((change for change in own if change.added), None),
        retired=next((change for change in own if not change.added), None),
    )


def _name(entry: TrustAnchorEntry) -> str:
    subject = entry.certificate.subject
    named = subject.native.get("common_name") or subject.human_friendly
    return str(named[-1] if isinstance(named, list) else named)


def _by_scheme(lines: Sequence[AnchorLine]) -> list[tuple[str, list[AnchorLine]]]:
    """Returns the known schemes in their order, empty ones too (nobody trusted is a fact to see), then the operator's own."""
    found: dict[str, list[AnchorLine]] = {scheme: [] for scheme in SCHEMES}
    for line in sorted(lines, key=lambda line: (line.status == "retired", line.name)):
        found.setdefault(line.facts["scheme"], []).append(line)
    return list(found.items())


@router.post("/trust")
def post_anchor(
    visitor: MemberSenderDep,
    certificate: Annotated[UploadFile, File()],
    scheme: Annotated[str, Form(max_length=60)],
    effective_from: Annotated[str, Form(max_length=10)] = "",
    reason: Reason = "",
) -> Response:
    """Adds the certificates of an uploaded PEM or DER file; a reason is required."""
    visitor.principal.require(Permission.TRUST_MANAGE)
    response = see_other("/trust")
    try:
        if not reason.strip():
            raise BadRequest("adding an anchor needs a reason", problems=[{"location": "reason", "reason": "empty"}])
        added = trust_anchors.add_anchors(
            visitor.service,
            certificate.file.read(trust_anchors.MAX_CERTIFICATE_BYTES + 1),
            scheme=scheme,
            effective_from=_start_of(effective_from),
            principal=visitor.principal,
            at=clock.unique_now(),
            reason=reason,
        )
    except ArchiveError as exc:
        return _refused(response, visitor, exc)
    text = i18n.translate(N_("Đã thêm %(n)s chứng thư gốc."), visitor.language) % {"n": len(added)}
    names = tuple(_name(entry) for entry in added)
    put_flash(response, visitor, Flash(tone=Tone.GOOD, text=text, details=names))
    return response


@router.post("/trust/{sha256}/retire")
def post_retire(sha256: str, visitor: MemberSenderDep, reason: Reason = "") -> Response:
    """Ends trust in an anchor from now on; what was proven before is still judged with it."""
    visitor.principal.require(Permission.TRUST_MANAGE)
    response = see_other("/trust")
    try:
        entry = trust_anchors.retire_anchor(
            visitor.service, sha256, reason=reason, principal=visitor.principal, at=clock.unique_now()
        )
    except ArchiveError as exc:
        return _refused(response, visitor, exc)
    text = i18n.translate(N_("Đã thôi tin cậy chứng thư gốc."), visitor.language)
    put_flash(response, visitor, Flash(tone=Tone.GOOD, text=text, details=(_name(entry),)))
    return response


def _start_of(text: str) -> datetime | None:
    """Returns the beginning of a civil date in the legal time zone."""
    if not text:
        return None
    try:
        on = date.fromisoformat(text)
    except ValueError:
        raise BadRequest(f"{text!r} is no date", problems=[{"location": "effective_from"}]) from None
    return datetime(on.year, on.month, on.day, tzinfo=clock.LEGAL_ZONE)


def _refused(response: Response, visitor: Visitor, error: ArchiveError) -> Response:
    text = i18n.error_text(error.code, visitor.language)
    put_flash(response, visitor, Flash(tone=Tone.BAD, text=text, details=(error.message,)))
    return response
