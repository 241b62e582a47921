"""How it stands with the renditions of a package's components, for people who look at them: made, failed, waiting, or why never tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.access.content import StoredRange
from archive_service.digests import sha256
from archive_service.errors import NotFound
from archive_service.formats import rendition as libreoffice
from archive_service.models import Component, Job, JobKind, JobState, Rendition, RenditionFailure
from archive_service.renditions.making import wants_rendition
from archive_service.settings import Settings

TURNED_OFF: Final = "renditions are turned off"
NO_LIBREOFFICE: Final = "LibreOffice is not installed here"


class RenditionStatus(StrEnum):
    """What became of rendering a component."""

    MADE = "MADE"
    FAILED = "FAILED"
    WAITING = "WAITING"
    NOT_TRIED = "NOT_TRIED"
    NOT_RENDERED = "NOT_RENDERED"
    """Not of a kind or size that is rendered: a PDF needs none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenditionStanding:
    """One component's rendition, or why there is none."""

    component_id: str
    status: RenditionStatus
    reason: str = ""
    """For FAILED what went wrong; for NOT_TRIED what is missing, where that is known here."""
    rendition: Rendition | None = None


def standings(session: Session, components: Sequence[Component], settings: Settings) -> dict[str, RenditionStanding]:
    """Returns how it stands with each of the components of one package version."""
    aip_ids = {row.aip_id for row in components if row.aip_id is not None}
    made = {row.component_id: row for row in session.scalars(select(Rendition).where(Rendition.aip_id.in_(aip_ids)))}
    failed_query = select(RenditionFailure).where(RenditionFailure.aip_id.in_(aip_ids))
    failed = {row.component_id: row.reason for row in session.scalars(failed_query)}
    open_job = select(Job.id).where(
        Job.kind == JobKind.MAKE_RENDITIONS,
        Job.subject.in_([str(aip_id) for aip_id in aip_ids]),
        Job.state.in_([JobState.READY, JobState.RUNNING]),
    )
    waits = session.scalars(open_job.limit(1)).first() is not None
    return {
        row.component_id: _standing(
            row, made.get(row.component_id), failed.get(row.component_id), settings, waits=waits
        )
        for row in components
    }


def _standing(
    component: Component, rendition: Rendition | None, failure: str | None, settings: Settings, *, waits: bool
) -> RenditionStanding:
    name = component.component_id
    if rendition is not None:
        return RenditionStanding(component_id=name, status=RenditionStatus.MADE, rendition=rendition)
    if not wants_rendition(component.path, component.declared_size_bytes):
        return RenditionStanding(component_id=name, status=RenditionStatus.NOT_RENDERED)
    if failure is not None:
        return RenditionStanding(component_id=name, status=RenditionStatus.FAILED, reason=failure)
    if waits:
        return RenditionStanding(component_id=name, status=RenditionStatus.WAITING)
    reason = "" if settings.renditions else TURNED_OFF
    if settings.renditions and not libreoffice.available():
        reason = NO_LIBREOFFICE
    return RenditionStanding(component_id=name, status=RenditionStatus.NOT_TRIED, reason=reason)


def find_rendition(session: Session, component: Component, rendition_id: UUID) -> Rendition:
    """Returns a rendition of a component.

    Raises:
        NotFound: no such rendition of this component.
    """
    row = session.get(Rendition, rendition_id)
    if row is None or (row.aip_id, row.component_id) != (component.aip_id, component.component_id):
        raise NotFound(f"component {component.component_id!r} has no rendition {rendition_id}")
    return row


def rendition_range(row: Rendition) -> StoredRange:
    """Returns where a rendition's bytes lie."""
    return StoredRange(
        store_key=row.store_key,
        offset=0,
        size_bytes=row.size_bytes,
        digest=sha256(row.sha256),
        locations=tuple((copy["location"], copy["version_id"]) for copy in row.copies),
    )
