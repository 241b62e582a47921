"""Copies of stored objects that are no AIPs, renditions and certified copies' PDFs, so that they are read again and repaired as AIPs are.

Their rows follow from the register and the storage policies; they are made when the fixity check begins, so nothing is lost when they are not
there yet (after a rebuild, or when a location was added).
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from archive_service.models import Aip, AipCopy, CertifiedCopy, Incident, ObjectCopy, Record, Rendition
from archive_service.placement import IN_USE, placement
from archive_service.service import Service
from archive_service.storage.locations import StorageLayout

REMOVED: Final = "REMOVED"
"""State of a copy that its location no longer owes."""


def note_object_copies(session: Session, service: Service) -> int:
    """Adds the rows that are missing, gives up those at locations no longer in use, and returns how many were added; safe to repeat."""
    placed = placement(service, session)
    added = 0
    for location in sorted(placed.states):
        if placed.receives(location):
            rows = [*_renditions(session, location), *_certified_copies(session, location, service.layout)]
            session.add_all(rows)
            added += len(rows)
        elif placed.states[location] not in IN_USE:
            left = update(ObjectCopy).where(ObjectCopy.location == location, ObjectCopy.state != REMOVED)
            session.execute(left.values(state=REMOVED))
    session.flush()
    return added


def _renditions(session: Session, location: str) -> Iterator[ObjectCopy]:
    noted = exists().where(ObjectCopy.store_key == Rendition.store_key, ObjectCopy.location == location)
    for row in session.scalars(select(Rendition).where(~noted)).all():
        for copy in row.copies:
            if copy["location"] == location:
                yield ObjectCopy(
                    kind="rendition",
                    subject_id=row.id,
                    aip_id=row.aip_id,
                    location=location,
                    version_id=copy["version_id"],
                    store_key=row.store_key,
                    sha256=row.sha256,
                    size_bytes=row.size_bytes,
                    state="INTACT",
                    verified_at=datetime.fromisoformat(copy["verified_at"]),
                )


def _certified_copies(session: Session, location: str, layout: StorageLayout) -> Iterator[ObjectCopy]:
    if location not in layout.policy_for(1).copies:
        return
    noted = exists().where(ObjectCopy.store_key == CertifiedCopy.store_key, ObjectCopy.location == location)
    query = select(CertifiedCopy).where(CertifiedCopy.completed_at.is_not(None), ~noted)
    for row in session.scalars(query).all():
        yield ObjectCopy(
            kind="certified-copy",
            subject_id=row.id,
            aip_id=row.aip_id,
            location=location,
            version_id=None,
            store_key=row.store_key,
            sha256=row.pdf_sha256,
            size_bytes=row.pdf_size_bytes,
            state="INTACT",
            verified_at=row.completed_at,
        )


def record_of(session: Session, held: ObjectCopy) -> Record:
    """Returns the record that an object belongs to."""
    return session.scalars(select(Record).join(Aip, Aip.record_id == Record.id).where(Aip.id == held.aip_id)).one()


def open_incident_of(session: Session, held: AipCopy | ObjectCopy) -> Incident | None:
    """Returns the open incident of a copy."""
    which = Incident.copy_id if isinstance(held, AipCopy) else Incident.object_copy_id
    query = select(Incident).where(which == held.id, Incident.closed_at.is_(None))
    return session.scalars(query).one_or_none()


def object_detail(held: AipCopy | ObjectCopy) -> dict[str, Any]:
    """Returns what an event says of an object besides, so that a rebuild knows which it was; nothing for an AIP's copy."""
    if isinstance(held, AipCopy):
        return {}
    return {
        "object": {
            "kind": held.kind,
            "subject_id": str(held.subject_id),
            "store_key": held.store_key,
            "sha256": held.sha256,
            "size_bytes": held.size_bytes,
        }
    }


def copies_of(session: Session, kind: str, subject_id: UUID) -> list[ObjectCopy]:
    """Returns all copies of one object."""
    query = select(ObjectCopy).where(
        ObjectCopy.kind == kind, ObjectCopy.subject_id == subject_id, ObjectCopy.state != REMOVED
    )
    return list(session.scalars(query.order_by(ObjectCopy.location)))
