"""The trust store as the service manages it: who is trusted for signatures, since when, until when (R031). Every change is an event.

Anchors are files (signatures/trust.py); the database holds only the events. An event states the store's digest after the change, and every
check pins the digest it used, so a store that was changed by hand is noticed: `recorded` is then false.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.audit import append_event
from archive_service.errors import BadRequest, ConfigurationInvalid, NotFound
from archive_service.identity.permissions import Permission, Principal
from archive_service.ingest.policies import trust_in_force
from archive_service.models import Event, EventType
from archive_service.service import Service
from archive_service.settings import Settings
from archive_service.signatures import trust
from archive_service.signatures.trust import TrustAnchorEntry, TrustStore

SUBJECT_KIND: Final = "trust-anchor"
EXPIRY_WARNING: Final = timedelta(days=180)
"""How long before its end an anchor's certificate is warned about: a successor takes months to be published and entered."""
MAX_CERTIFICATE_BYTES: Final = 2 * 1024 * 1024
"""Of certificates entered at once: a trust list of a whole country in PEM is smaller."""
_CHANGES: Final = (EventType.TRUST_ANCHOR_ADDED, EventType.TRUST_ANCHOR_RETIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustListing:
    """The store as it is now."""

    store: TrustStore
    recorded: bool
    """Whether the last recorded change left the store as it is; False: it was changed by hand since, or never through this service."""


NO_ANCHORS_NOTICE: Final = (
    "Chưa có chứng thư gốc nào: không xác định được ai đã ký hồ sơ. /"
    " No trust anchor is loaded: nobody's signature can be trusted."
)


def trust_notices(settings: Settings) -> tuple[str, ...]:
    """Returns what an operator must be told of the trust store: that it trusts nobody.

    Raises:
        ConfigurationInvalid: the store is malformed.
    """
    return () if trust_in_force(settings).anchors else (NO_ANCHORS_NOTICE,)


def list_anchors(service: Service, principal: Principal) -> TrustListing:
    """Returns every anchor, retired ones included.

    Raises:
        NotPermitted: the principal may neither manage nor audit.
        ConfigurationInvalid: the store is malformed.
    """
    if not principal.may(Permission.TRUST_MANAGE):
        principal.require(Permission.AUDIT_READ)
    store = trust_in_force(service.settings)
    with service.database.read() as session:
        return TrustListing(store=store, recorded=_recorded_digest(session) == store.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustChange:
    """One recorded change of one anchor."""

    sha256: str
    added: bool
    """True for adding, False for retiring."""
    scheme: str
    at: datetime
    who: str
    reason: str


def anchor_changes(service: Service, principal: Principal) -> Mapping[str, Sequence[TrustChange]]:
    """Returns who added and retired each anchor and why, by its fingerprint, oldest first.

    Raises:
        NotPermitted: the principal may neither manage nor audit.
    """
    if not principal.may(Permission.TRUST_MANAGE):
        principal.require(Permission.AUDIT_READ)
    found: dict[str, list[TrustChange]] = {}
    with service.database.read() as session:
        query = select(Event).where(Event.subject_kind == SUBJECT_KIND, Event.type.in_(_CHANGES)).order_by(Event.seq)
        for event in session.scalars(query):
            change = TrustChange(
                sha256=event.subject_id,
                added=event.type is EventType.TRUST_ANCHOR_ADDED,
                scheme=str(event.detail.get("scheme", "")),
                at=event.at,
                who=event.agent_name,
                reason=str(event.detail.get("reason") or ""),
            )
            found.setdefault(event.subject_id, []).append(change)
    return found


def expires_soon(entry: TrustAnchorEntry, *, at: datetime) -> bool:
    """Returns whether a trusted anchor's certificate has ended or ends within `EXPIRY_WARNING`."""
    return entry.effective_at(at) and entry.certificate.not_valid_after < at + EXPIRY_WARNING


def _recorded_digest(session: Session) -> str:
    last = select(Event.detail).where(Event.type.in_(_CHANGES)).order_by(Event.seq.desc()).limit(1)
    detail = session.scalar(last)
    return str(detail["digest"]) if detail else TrustStore.empty().digest


def add_anchors(
    service: Service,
    content: bytes,
    *,
    scheme: str,
    effective_from: datetime | None,
    principal: Principal,
    at: datetime,
    reason: str = "",
) -> Sequence[TrustAnchorEntry]:
    """Adds the certificates of a PEM or DER file as anchors of a scheme.

    Args:
        service: The parts of this process.
        content: One certificate or a PEM bundle.
        scheme: Under which scheme they are trusted.
        effective_from: From when on; None for always.
        principal: Who does it.
        at: Now.
        reason: Why, for the record.

    Raises:
        NotPermitted: the principal may not manage trust.
        BadRequest: not a certificate, or no scheme name.
        Conflict: one of them is an anchor of that scheme already.
    """
    principal.require(Permission.TRUST_MANAGE)
    if len(content) > MAX_CERTIFICATE_BYTES:
        raise BadRequest(f"larger than {MAX_CERTIFICATE_BYTES} bytes", problems=[])
    folder = service.settings.resolved_trust_dir
    folder.mkdir(parents=True, exist_ok=True)
    with service.database.write() as session:
        before = TrustStore.load(folder).digest
        try:
            added = trust.add(folder, content, scheme=scheme, effective_from=effective_from)
        except ConfigurationInvalid as exc:
            raise BadRequest(exc.message, problems=[{"location": "certificate", "reason": exc.message}]) from exc
        for entry in added:
            _record(
                session, service, EventType.TRUST_ANCHOR_ADDED, entry, before, principal, at=at, reason=reason.strip()
            )
    return added


def retire_anchor(
    service: Service,
    sha256: str,
    *,
    reason: str,
    principal: Principal,
    at: datetime,
    retired_at: datetime | None = None,
) -> TrustAnchorEntry:
    """Ends trust in an anchor from a time on; what was proven before is still judged with it.

    Args:
        service: The parts of this process.
        sha256: Fingerprint of the certificate, hex.
        reason: Why, for the record.
        principal: Who does it.
        at: Now.
        retired_at: From when on; default now.

    Raises:
        NotPermitted: the principal may not manage trust.
        BadRequest: no reason.
        NotFound: no such anchor.
        Conflict: it is retired already.
    """
    principal.require(Permission.TRUST_MANAGE)
    if not reason.strip():
        raise BadRequest("retiring an anchor needs a reason", problems=[{"location": "reason", "reason": "empty"}])
    folder = service.settings.resolved_trust_dir
    if not folder.is_dir():
        raise NotFound(f"no trust anchor {sha256}")
    with service.database.write() as session:
        before = TrustStore.load(folder).digest
        entry = trust.retire(folder, sha256, at=retired_at or at, reason=reason.strip())
        _record(session, service, EventType.TRUST_ANCHOR_RETIRED, entry, before, principal, at=at)
    return entry


def _record(
    session: Session,
    service: Service,
    event_type: EventType,
    entry: TrustAnchorEntry,
    before: str,
    principal: Principal,
    *,
    at: datetime,
    reason: str = "",
) -> None:
    detail = {
        "scheme": entry.scheme,
        "subject": entry.certificate.subject.human_friendly,
        "effective_from": entry.effective_from.isoformat() if entry.effective_from else None,
        "retired_at": entry.retired_at.isoformat() if entry.retired_at else None,
        "reason": reason or entry.reason,
        "digest_before": before,
        "digest": trust_in_force(service.settings).digest,
    }
    append_event(
        session,
        event_type,
        subject_kind=SUBJECT_KIND,
        subject_id=entry.sha256,
        agency=None,
        agent=principal.agent,
        at=at,
        detail=detail,
    )


def anchor_json(entry: TrustAnchorEntry, *, at: datetime) -> dict[str, Any]:
    """Returns an anchor for people and programs; `trusted` says whether it counts at `at`."""
    certificate = entry.certificate
    return {
        "sha256": entry.sha256,
        "scheme": entry.scheme,
        "subject": certificate.subject.human_friendly,
        "issuer": certificate.issuer.human_friendly,
        "serial": f"{certificate.serial_number:x}",
        "not_before": certificate.not_valid_before.isoformat(),
        "not_after": certificate.not_valid_after.isoformat(),
        "effective_from": entry.effective_from.isoformat() if entry.effective_from else None,
        "retired_at": entry.retired_at.isoformat() if entry.retired_at else None,
        "reason": entry.reason,
        "trusted": entry.effective_at(at),
        "expires_soon": expires_soon(entry, at=at),
    }
