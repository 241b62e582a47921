"""Trust anchors for signatures: list, add, retire. Every change is an event; nothing is ever deleted."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from archive_service import clock
from archive_service.api.dependencies import PrincipalDep, ServiceDep
from archive_service.ingest import trust_anchors

router = APIRouter(prefix="/api/v1/trust", tags=["trust"])


class AnchorBody(BaseModel):
    """One or more certificates to trust."""

    certificate: Annotated[
        str, Field(max_length=trust_anchors.MAX_CERTIFICATE_BYTES, description="PEM; may be a bundle.")
    ]
    scheme: Annotated[
        str, Field(max_length=60, description="public_service, national, foreign, timestamp or a name of your own.")
    ]
    effective_from: AwareDatetime | None = None
    reason: Annotated[str, Field(max_length=1000, description="Why, for the record.")] = ""


class Retirement(BaseModel):
    """Why and from when on an anchor is no longer trusted."""

    reason: Annotated[str, Field(max_length=1000)]
    retired_at: AwareDatetime | None = None


@router.get("")
def get_trust(service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Lists every anchor, retired ones included, with the digest that checks pin."""
    listing, at = trust_anchors.list_anchors(service, principal), clock.now()
    changes = trust_anchors.anchor_changes(service, principal)
    return {
        "digest": listing.store.digest,
        "recorded": listing.recorded,
        "unreadable": list(listing.store.unreadable),
        "items": [
            {
                **trust_anchors.anchor_json(entry, at=at),
                "changes": [_change(change) for change in changes.get(entry.sha256, ())],
            }
            for entry in listing.store.anchors
        ],
        "next": None,
    }


def _change(change: trust_anchors.TrustChange) -> dict[str, Any]:
    return {
        "change": "added" if change.added else "retired",
        "scheme": change.scheme,
        "at": change.at.isoformat(),
        "who": change.who,
        "reason": change.reason,
    }


@router.post("", status_code=HTTPStatus.CREATED)
def post_trust(body: AnchorBody, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Adds the certificates as anchors of a scheme."""
    at = clock.unique_now()
    added = trust_anchors.add_anchors(
        service,
        body.certificate.encode(),
        scheme=body.scheme,
        effective_from=body.effective_from,
        principal=principal,
        at=at,
        reason=body.reason,
    )
    return {"items": [trust_anchors.anchor_json(entry, at=at) for entry in added]}


@router.post("/{sha256}/retire")
def post_retire(sha256: str, body: Retirement, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Ends trust in an anchor; what was proven before is still judged with it."""
    at = clock.unique_now()
    entry = trust_anchors.retire_anchor(
        service, sha256, reason=body.reason, principal=principal, at=at, retired_at=body.retired_at
    )
    return trust_anchors.anchor_json(entry, at=at)
