"""Evidence for third parties: checkpoints, proofs, Evidence Records; and for operators: how the copies are."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.access import records as access
from archive_service.access.pages import newest_first
from archive_service.access.storage_overview import list_incidents
from archive_service.api.dependencies import ListSize, PageSize, PrincipalDep, ServiceDep
from archive_service.evidence.algorithms import load_algorithm_policy
from archive_service.identity.permissions import Permission
from archive_service.models import EvidenceRenewal, FixityRun, Incident
from archive_service.preservation import proofs
from archive_service.preservation.fixity import location_health
from archive_service.preservation.health import evidence_health, fixity_bytes
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.log_rotation import key_periods

router = APIRouter(prefix="/api/v1", tags=["evidence"])


@router.get("/evidence/checkpoint", response_class=PlainTextResponse)
def get_checkpoint(service: ServiceDep, size: Annotated[int | None, Query(gt=0)] = None) -> Response:
    """Returns the newest signed checkpoint (C2SP tlog-checkpoint), or the one of a size; public, as a log's head must be."""
    with service.database.read() as session:
        seal = proofs.latest_seal(session) if size is None else proofs.seal_of_size(session, size)
    return Response(content=seal.checkpoint, media_type="text/plain; charset=utf-8")


@router.get("/evidence/key", response_class=PlainTextResponse)
def get_key(service: ServiceDep) -> Response:
    """Returns the log's public keys (C2SP verifier key lines); a verifier takes them from where it trusts, not only from here."""
    lines = "".join(f"{key.vkey()}\n" for key in known_keys(service.settings))
    return Response(content=lines, media_type="text/plain; charset=utf-8")


@router.get("/evidence/consistency")
def get_consistency(
    service: ServiceDep,
    first: Annotated[int, Query(alias="from", gt=0)],
    second: Annotated[int, Query(alias="to", gt=0)],
) -> dict[str, Any]:
    """Returns the proof that one checkpoint's log is a beginning of another's."""
    with service.database.read() as session:
        return proofs.consistency(session, first, second)


@router.get("/evidence/records/{record_id}")
def get_record_evidence(record_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Returns inclusion proof, checkpoint and Evidence Record of each AIP version of a record."""
    with service.database.read() as session:
        access.find_record(session, record_id, principal, Permission.RECORD_SEARCH)
        return {"items": proofs.evidence_bundles(session, record_id), "next": None}


@router.get("/preservation/locations")
def get_locations(service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Returns for each location its copies, how many are not intact, and the age of the one that waits longest."""
    principal.require(Permission.JOB_READ)
    at = clock.now()
    with service.database.read() as session:
        items = [
            {
                "location": item.location,
                "copies": item.copies,
                "bytes": item.bytes,
                "not_intact": item.not_intact,
                "open_incidents": item.open_incidents,
                "oldest_verified_at": item.oldest_verified_at.isoformat() if item.oldest_verified_at else None,
                "oldest_age_s": (at - item.oldest_verified_at).total_seconds() if item.oldest_verified_at else None,
            }
            for item in location_health(session)
        ]
    return {"items": items, "next": None}


@router.get("/evidence/keys")
def get_keys(service: ServiceDep) -> dict[str, Any]:
    """Returns every key the log has had, oldest first, with the seals it signed."""
    with service.database.read() as session:
        return {"items": [period.as_json() for period in key_periods(session, service.settings)], "next": None}


@router.get("/preservation/evidence")
def get_evidence_health(service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Returns how sealing and the renewal of evidence stand: seal lag, what is due, how long evidence still holds, what waits and why."""
    principal.require(Permission.JOB_READ)
    at = clock.now()
    with service.database.read() as session:
        return evidence_health(session, load_algorithm_policy(), at=at).as_json(at)


@router.get("/preservation/renewals")
def get_renewals(
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 100,
    cursor: Annotated[int | None, Query(gt=0)] = None,
) -> dict[str, Any]:
    """Lists renewals of evidence, newest first."""
    principal.require(Permission.JOB_READ)
    rows = select(EvidenceRenewal)
    with service.database.read() as session:
        return newest_first(session, rows, EvidenceRenewal.ordinal, cursor=cursor, limit=limit).as_json(_without_bytes)


def _without_bytes(row: EvidenceRenewal) -> dict[str, Any]:
    return {name: value for name, value in _row(row).items() if name != "token"}


def add_gauges(registry: CollectorRegistry, session: Session, *, at: datetime) -> None:
    """Adds what an operator should alarm on: copies, their age, incidents, fixity, seal lag, how long evidence still holds."""
    by_location = {
        name: Gauge(f"archive_location_{name}", text, ["location"], registry=registry)
        for name, text in (
            ("copies", "Copies of packages"),
            ("bytes", "Bytes in copies of packages"),
            ("copies_not_intact", "Copies damaged or missing as last read"),
            ("incidents_open", "Open incidents"),
            ("oldest_verified_age_seconds", "Age of the last check of the copy that waits longest"),
            ("fixity_read_bytes", "Bytes read by all fixity runs"),
        )
    }
    for item in location_health(session):
        age = (at - item.oldest_verified_at).total_seconds() if item.oldest_verified_at else 0.0
        values = (item.copies, item.bytes, item.not_intact, item.open_incidents, age)
        for gauge, value in zip(by_location.values(), values, strict=False):
            gauge.labels(item.location).set(value)
    for location, size in fixity_bytes(session).items():
        by_location["fixity_read_bytes"].labels(location).set(size)
    health = evidence_health(session, load_algorithm_policy(), at=at)
    for name, text, figure in (
        ("seal_lag_seconds", "Age of the oldest event that is not sealed", health.lag_s(at)),
        ("unsealed_events", "Events that are not sealed", health.unsealed_events),
        ("unstamped_aips", "Packages in the log without an Evidence Record", health.unstamped),
        ("evidence_batches_due", "Groups of Evidence Records to be renewed now", health.due),
        ("evidence_renewal_urgency", "0 none, 1 delayed, 2 urgent, 3 critical, 4 overdue", health.urgency_level),
        ("evidence_margin_seconds", "How long the evidence still holds unless it is renewed", health.margin_s(at)),
    ):
        if figure is not None:
            Gauge(f"archive_{name}", text, registry=registry).set(figure)


@router.get("/preservation/fixity")
def get_fixity_runs(
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 100,
    cursor: UUID | None = None,
) -> dict[str, Any]:
    """Lists the minutes of fixity runs, newest first."""
    principal.require(Permission.JOB_READ)
    with service.database.read() as session:
        return newest_first(session, select(FixityRun), FixityRun.id, cursor=cursor, limit=limit).as_json(_row)


@router.get("/preservation/incidents")
def get_incidents(
    service: ServiceDep, principal: PrincipalDep, limit: ListSize = None, cursor: str | None = None
) -> dict[str, Any]:
    """Lists incidents of damaged and missing copies within the caller's agencies, newest first."""
    with service.database.read() as session:
        page = list_incidents(session, principal, only_open=False, cursor=cursor, limit=limit)
        return page.as_json(lambda line: _row(line.incident))


def _row(row: FixityRun | Incident | EvidenceRenewal) -> dict[str, Any]:
    values = {column.name: getattr(row, column.name) for column in row.__table__.columns}
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in values.items()}
