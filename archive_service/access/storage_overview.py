"""What an operator looks at each morning: how each storage location stands, and the incidents with their remedies (R120, R121)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from archive_service.access.pages import Cursor, Page, comes_after, decode_cursor, page_size
from archive_service.identity.permissions import ALL, Permission, Principal, in_scope
from archive_service.models import Aip, AipCopy, FixityRun, Incident, LocationState, Record, StorageLocation
from archive_service.preservation.fixity import GONE, KEPT_STATES, LocationHealth, location_health

FRESH: Final = (timedelta(days=7), timedelta(days=30))
"""Ages that are told apart below the cycle within which every copy is to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeBand:
    """Copies whose last reading is of about the same age."""

    until_days: int | None
    """Upper end; None for everything older."""
    count: int
    start: float
    """Where the band begins in a bar of 100."""
    share: float
    """Its width in a bar of 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationOverview:
    """One storage location."""

    name: str
    state: LocationState
    health: LocationHealth | None
    """None when it holds no copy of a kept record."""
    bands: tuple[AgeBand, ...]
    is_overdue: bool
    """Whether some copy was not read for longer than the cycle."""
    last_run: FixityRun | None
    configured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentLine:
    """One incident and the record it is about, where the reader may know it."""

    incident: Incident
    record: Record | None


def overview(session: Session, configured: Iterable[str], *, cycle: timedelta, at: datetime) -> list[LocationOverview]:
    """Returns how each location stands that is configured or holds copies.

    Args:
        session: Any session.
        configured: Names of the locations of this service.
        cycle: Within which every copy is to be read.
        at: Now.
    """
    names = set(configured)
    health = {item.location: item for item in location_health(session)}
    rows = {row.name: row.state for row in session.scalars(select(StorageLocation))}
    limits = sorted({*FRESH, cycle})
    bands = _bands(session, limits, at)
    return [
        LocationOverview(
            name=name,
            state=rows.get(name, LocationState.ACTIVE),
            health=health.get(name),
            bands=bands.get(name, ()),
            is_overdue=any(band.count for band in bands.get(name, ())[limits.index(cycle) + 1 :]),
            last_run=_last_run(session, name),
            configured=name in names,
        )
        for name in sorted(names | set(health))
    ]


def _bands(session: Session, limits: Sequence[timedelta], at: datetime) -> Mapping[str, tuple[AgeBand, ...]]:
    band = case(
        *((AipCopy.verified_at > at - limit, index) for index, limit in enumerate(limits)), else_=len(limits)
    ).label("band")
    query = (
        select(AipCopy.location, band, func.count())
        .join(Aip, Aip.id == AipCopy.aip_id)
        .join(Record, Record.id == Aip.record_id)
        .where(Record.state.in_(KEPT_STATES), AipCopy.state.not_in(GONE))
        .group_by(AipCopy.location, band)
    )
    counts: dict[str, dict[int, int]] = {}
    for location, index, count in session.execute(query):
        counts.setdefault(location, {})[index] = count
    return {location: _stacked(found, limits) for location, found in counts.items()}


def _stacked(counts: Mapping[int, int], limits: Sequence[timedelta]) -> tuple[AgeBand, ...]:
    total = sum(counts.values())
    bands, start = [], 0.0
    for index in range(len(limits) + 1):
        share = 100 * counts.get(index, 0) / total
        days = limits[index].days if index < len(limits) else None
        bands.append(AgeBand(until_days=days, count=counts.get(index, 0), start=round(start, 2), share=round(share, 2)))
        start += share
    return tuple(bands)


def _last_run(session: Session, location: str) -> FixityRun | None:
    query = select(FixityRun).where(FixityRun.location == location).order_by(FixityRun.started_at.desc())
    return session.scalars(query.limit(1)).one_or_none()


def count_open_incidents(session: Session, principal: Principal) -> int:
    """Returns how many incidents wait for a remedy, within the principal's agencies."""
    query = select(func.count()).select_from(Incident).where(Incident.closed_at.is_(None))
    if principal.agencies(Permission.INCIDENT_READ) is not ALL:
        query = query.join(Aip, Aip.id == Incident.aip_id).join(Record, Record.id == Aip.record_id)
        query = query.where(_incident_scope(principal))
    return session.scalar(query) or 0


def _incident_scope(principal: Principal) -> ColumnElement[bool]:
    return in_scope(principal, Permission.INCIDENT_READ, Record.archiving_agency, Record.settling_agency)


def list_incidents(
    session: Session,
    principal: Principal,
    *,
    only_open: bool,
    location: str | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Page[IncidentLine]:
    """Returns a page of incidents within the principal's agencies, newest first.

    Whose record it is is told only to those who may find that record.

    Raises:
        NotPermitted: the principal may see incidents nowhere.
        BadRequest: a malformed cursor or a page size out of bounds.
    """
    principal.require(Permission.INCIDENT_READ)
    size = page_size(limit)
    query = select(Incident, Record).join(Aip, Aip.id == Incident.aip_id).join(Record, Record.id == Aip.record_id)
    query = query.where(_incident_scope(principal))
    if only_open:
        query = query.where(Incident.closed_at.is_(None))
    if location:
        query = query.where(Incident.location == location)
    after = decode_cursor(cursor)
    if after is not None:
        query = query.where(comes_after(after, Incident.opened_at, Incident.id))
    found = session.execute(query.order_by(Incident.opened_at.desc(), Incident.id.desc()).limit(size + 1)).all()
    lines = [
        IncidentLine(incident=incident, record=record if _may_find(principal, record) else None)
        for incident, record in found[:size]
    ]
    last = lines[-1].incident if len(found) > size else None
    return Page(items=lines, next=Cursor(last.opened_at, last.id).encode() if last else None)


def _may_find(principal: Principal, record: Record) -> bool:
    return principal.may(
        Permission.RECORD_SEARCH, record.archiving_agency, record.settling_agency, access_mode=record.access_mode
    )
