"""Issuing certified paper copies: a number from the agency's yearly series, a rendered PDF, stored and read back, then handed out.

Write order: row with number and printed time (commit 1) → original fetched and its digest checked → PDF rendered from the row alone →
put to every location of the policy, read back → row completed, with its event (commit 2). After a crash between the two the same request
renders the same bytes under the same key; a number whose copy was never completed stays in the register and says so.
"""

import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.access import records as access
from archive_service.access.content import StoredRange, component_range, stream
from archive_service.access.pages import Page, last_first
from archive_service.audit import record_event
from archive_service.copies.marks import CopyForm, CopyMarks
from archive_service.copies.render import RenderedCopy, render_certified_copy
from archive_service.digests import sha256
from archive_service.dossier import Role
from archive_service.errors import BadRequest, Conflict, NotFound, StoreUnavailable
from archive_service.i18n import name_of
from archive_service.identity.permissions import Permission, Principal
from archive_service.ids import new_id
from archive_service.models import Aip, CertifiedCopy, Component, EventType, Record, SignatureVerdict
from archive_service.placement import CERTIFIED_COPY_LEVEL, current_placement
from archive_service.rules.code_profile import default_code_profile
from archive_service.rules.codes import result_code
from archive_service.service import Service
from archive_service.storage.durable import durable_file
from archive_service.storage.port import ReadBackOutcome, read_back, store_key
from archive_service.texts import require_plain

_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Verification codes are read aloud and typed: no 0/O, 1/I/L."""
_CODE_LENGTH: Final = 16
"""31^16 codes (79 bits): guessing one that exists is hopeless, so the public page needs no other secret."""
SIGNER_SHOWN: Final = 120
"""Most characters of a signer's name printed; the whole name is in the signature report."""
_ORIGINAL: Final = "original"
_COPY: Final = "copy.pdf"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
    """What is asked for."""

    record_id: UUID
    component_id: str
    purpose: str
    recipient: str
    place: str
    position: str = ""
    """Position of the person who converts, as printed; a copy without it is refused (NĐ 137/2024 Điều 5)."""
    request_id: UUID | None = None
    """Chosen by the caller; repeating a request with the same id gives the same copy."""


def issue_copy(service: Service, request: CopyRequest, principal: Principal, *, at: datetime) -> CertifiedCopy:
    """Issues a certified copy of one component and returns its completed register row.

    Raises:
        NotFound: no such record or component in the principal's scope.
        NotPermitted: the principal may not issue copies there.
        BadRequest: purpose, recipient, place or position is missing, or a text cannot be printed.
        CopyNotPossible: the component is not something that has pages.
        StoreUnavailable: the original cannot be read or the copy not stored now; the same request may be repeated.
    """
    missing = [name for name in ("purpose", "recipient", "place", "position") if not getattr(request, name).strip()]
    if missing:
        raise BadRequest(
            f"missing: {', '.join(missing)}", problems=[{"location": name, "reason": "empty"} for name in missing]
        )
    with service.database.write() as session:
        copy, created = _reserve(session, request, principal, at=at)
        if copy.completed_at is not None:
            return copy
        marks, source = _marks(session, service, copy)
    staged = service.staging
    try:
        staged.receive(
            copy.id,
            _ORIGINAL,
            stream(service.stores, source),
            limit_bytes=source.size_bytes,
            expected=source.digest,
            size_bytes=source.size_bytes,
        )
        with durable_file(staged.path(copy.id, _COPY), replace=True) as target:
            rendered = render_certified_copy(staged.path(copy.id, _ORIGINAL), target, marks)
        key = f"copies/{copy.agency}/{copy.year}/{copy.number:06d}-{copy.verify_code}.pdf"
        _store(service, copy, key, rendered)
    finally:
        staged.discard(copy.id)
    with service.database.write() as session:
        return _complete(session, copy.id, key, rendered, principal, at=clock.unique_now(), first=created)


def _reserve(
    session: Session, request: CopyRequest, principal: Principal, *, at: datetime
) -> tuple[CertifiedCopy, bool]:
    record = access.find_record(session, request.record_id, principal, Permission.COPY_ISSUE)
    copy_id = request.request_id or new_id()
    known = session.get(CertifiedCopy, copy_id)
    if known is not None:
        if (known.record_id, known.component_id) != (request.record_id, request.component_id):
            raise Conflict(f"request {copy_id} was made for another document")
        return known, False
    aip, component = access.component(session, record.id, request.component_id)
    year = clock.civil_date(at).year
    agency = record.archiving_agency
    _lock_series(session, agency)
    last = select(func.max(CertifiedCopy.number)).where(CertifiedCopy.agency == agency, CertifiedCopy.year == year)
    copy = CertifiedCopy(
        id=copy_id,
        verify_code="".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH)),
        agency=agency,
        year=year,
        number=(session.scalar(last) or 0) + 1,
        form=CopyForm.SAO_Y.value,
        record_id=record.id,
        aip_id=aip.id,
        component_id=component.component_id,
        original_sha256=component.declared_sha256,
        purpose=require_plain(request.purpose, "purpose"),
        recipient=require_plain(request.recipient, "recipient"),
        place=require_plain(request.place, "place"),
        issued_at=at.replace(microsecond=0),
        issued_by=principal.agent.id,
        issuer_name=principal.agent.name,
        issuer_position=require_plain(request.position, "position"),
    )
    session.add(copy)
    session.flush()
    return copy, True


def _lock_series(session: Session, agency: str) -> None:
    """Serialises number taking per agency on PostgreSQL; SQLite write transactions queue up anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"copy-series:{agency}"))))


def _marks(session: Session, service: Service, copy: CertifiedCopy) -> tuple[CopyMarks, StoredRange]:
    record = session.get_one(Record, copy.record_id)
    # The version the row names: a supplement may have come between the two commits.
    version = session.get_one(Aip, copy.aip_id).version
    aip, component = access.component(session, copy.record_id, copy.component_id, version=version)
    source = component_range(aip, component, access.copies(session, [aip.id]))
    settings = service.settings
    base = (settings.public_url or "http://127.0.0.1:8000").rstrip("/")
    printed = _printed(
        copy_code=copy.verify_code,
        verify_url=f"{base}/verify/{copy.verify_code}",
        form=CopyForm(copy.form),
        number=copy.number,
        symbol=f"SY-{copy.agency}",
        agency_name=agency_name(copy.agency),
        place=copy.place,
        issued_at=copy.issued_at,
        converter_name=copy.issuer_name,
        converter_position=copy.issuer_position,
        recipients=(copy.recipient,),
        system_name=settings.system_name,
        owner_name=settings.owner_name,
        dossier_code=record.dossier_code,
        procedure_code=record.procedure_code,
        result_code=_result_code(session, record, component),
        archive_code=record.archive_file_code,
        document_title=component.title,
        original_digest=sha256(component.declared_sha256),
        signature_notes=_signature_notes(session, component),
    )
    return printed, source


def _printed(**texts: Any) -> CopyMarks:
    """Returns the marks of a copy.

    Raises:
        BadRequest: a text is too long for its line or has characters that are not printed.
    """
    try:
        return CopyMarks(**texts)
    except ValueError as exc:
        raise BadRequest(
            f"the copy cannot be printed: {exc}", problems=[{"location": "marks", "reason": str(exc)}]
        ) from exc


def _result_code(session: Session, record: Record, component: Component) -> str | None:
    if component.role != Role.RESULT.value:
        return None
    results = select(func.count()).where(
        Component.submission_id == component.submission_id,
        Component.role == Role.RESULT.value,
        Component.ordinal <= component.ordinal,
    )
    return result_code(record.dossier_code, session.scalar(results) or 1)


PAPER_LANGUAGE: Final = "vi"
"""Certified copies are Vietnamese papers, whatever language whoever issues one reads the pages in."""


def _signature_notes(session: Session, component: Component) -> tuple[str, ...]:
    query = select(SignatureVerdict).where(
        SignatureVerdict.submission_id == component.submission_id,
        SignatureVerdict.component_id == component.component_id,
    )
    verdicts = session.scalars(query.order_by(SignatureVerdict.ordinal).limit(6)).all()
    return tuple(
        f"{_one_line(verdict.signer or '?')} · {name_of('indication', verdict.indication, PAPER_LANGUAGE)}"
        + (f" · {verdict.signing_time.astimezone(clock.LEGAL_ZONE):%d/%m/%Y %H:%M}" if verdict.signing_time else "")
        for verdict in verdicts
    )


def _one_line(name: str) -> str:
    """Returns a name as a certificate gives it with what is not printed shown as a replacement character, cut to a line."""
    shown = "".join("\ufffd" if unicodedata.category(char)[0] in "CZ" and char != " " else char for char in name)
    return shown if len(shown) <= SIGNER_SHOWN else f"{shown[: SIGNER_SHOWN - 1]}…"


def agency_name(code: str) -> str:
    """Returns the listed name of an agency, or its code when the list does not have it."""
    listed = default_code_profile().agencies.get(code)
    return listed[0].name if listed else code


def _store(service: Service, copy: CertifiedCopy, key: str, rendered: RenderedCopy) -> None:
    staged = service.staging.path(copy.id, _COPY)
    for location in current_placement(service).copies(CERTIFIED_COPY_LEVEL):
        store = service.stores[location]
        with staged.open("rb") as content:
            stored = store.put(store_key(key), content, expected=rendered.digest, size_bytes=rendered.size_bytes)
        answer = read_back(
            store,
            store_key(key),
            expected=rendered.digest,
            size_bytes=rendered.size_bytes,
            version_id=stored.version_id,
        )
        if answer.outcome is not ReadBackOutcome.INTACT:
            raise StoreUnavailable(f"the copy on {location} is {answer.outcome}: {answer.reason}", location=location)


def _complete(
    session: Session,
    copy_id: UUID,
    key: str,
    rendered: RenderedCopy,
    principal: Principal,
    *,
    at: datetime,
    first: bool,
) -> CertifiedCopy:
    copy = session.get_one(CertifiedCopy, copy_id, with_for_update=True)
    if copy.completed_at is not None:
        return copy
    copy.completed_at = at
    copy.page_count = rendered.page_count
    copy.pdf_sha256 = rendered.digest.hex
    copy.pdf_size_bytes = rendered.size_bytes
    copy.store_key = key
    record_event(
        session,
        EventType.COPY_ISSUED,
        copy.record_id,
        copy.agency,
        agent=principal.agent,
        at=at,
        detail={
            "copy_id": str(copy.id),
            "number": copy.number,
            "year": copy.year,
            "component_id": copy.component_id,
            "original_sha256": copy.original_sha256,
            "pdf_sha256": copy.pdf_sha256,
            "pages": copy.page_count,
            "purpose": copy.purpose,
            "resumed": not first,
        },
    )
    return copy


def find_copy(session: Session, copy_id: UUID, principal: Principal, permission: Permission) -> CertifiedCopy:
    """Returns a register row the principal may use in this way.

    Raises:
        NotFound: no such copy, or none in the principal's scope.
    """
    copy = session.get(CertifiedCopy, copy_id)
    if copy is None:
        raise NotFound(f"certified copy {copy_id} not found")
    access.find_record(session, copy.record_id, principal, permission)
    return copy


def copy_range(service: Service, copy: CertifiedCopy) -> StoredRange:
    """Returns where the PDF of a completed copy lies.

    Raises:
        NotFound: the copy was never completed.
    """
    if copy.store_key is None or copy.pdf_sha256 is None or copy.pdf_size_bytes is None:
        raise NotFound(f"certified copy {copy.id} was never completed")
    # Those of the policy first; a copy made under an earlier policy may lie elsewhere.
    names = dict.fromkeys((*service.layout.policy_for(CERTIFIED_COPY_LEVEL).copies, *service.layout.locations))
    locations = tuple((name, None) for name in names)
    return StoredRange(
        store_key=copy.store_key,
        offset=0,
        size_bytes=copy.pdf_size_bytes,
        digest=sha256(copy.pdf_sha256),
        locations=locations,
    )


def cancel_copy(session: Session, copy_id: UUID, principal: Principal, *, reason: str, at: datetime) -> CertifiedCopy:
    """Marks a copy as no longer valid (R070); its verification page says so from now on. Repeating it changes nothing.

    Raises:
        BadRequest: no reason.
        NotFound: no such copy in the principal's scope.
    """
    reason = require_plain(reason, "reason")
    if not reason:
        raise BadRequest("a cancellation needs a reason", problems=[{"location": "reason", "reason": "empty"}])
    copy = find_copy(session, copy_id, principal, Permission.COPY_CANCEL)
    if copy.cancelled_at is not None:
        return copy
    copy.cancelled_at, copy.cancel_reason = at, reason
    record_event(
        session,
        EventType.COPY_CANCELLED,
        copy.record_id,
        copy.agency,
        agent=principal.agent,
        at=at,
        detail={"copy_id": str(copy.id), "reason": reason},
    )
    return copy


def list_copies(
    session: Session, principal: Principal, *, verify_code: str | None = None, cursor: str | None = None, limit: int
) -> Page[CertifiedCopy]:
    """Returns a page of the register of certified copies, last issued first, of the records the principal may ask about.

    Raises:
        NotPermitted: the principal has the permission nowhere.
        BadRequest: a malformed cursor.
    """
    principal.require(Permission.COPY_READ)
    statement = (
        select(CertifiedCopy)
        .join(Record, Record.id == CertifiedCopy.record_id)
        .where(access.record_scope(principal, Permission.COPY_READ))
    )
    if verify_code:
        statement = statement.where(CertifiedCopy.verify_code == verify_code)
    return last_first(session, statement, CertifiedCopy.issued_at, CertifiedCopy.id, cursor=cursor, limit=limit)


def copies_of(record_id: UUID) -> Select[CertifiedCopy]:
    """Selects the register rows of a record."""
    return select(CertifiedCopy).where(CertifiedCopy.record_id == record_id)
