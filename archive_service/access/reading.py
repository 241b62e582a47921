"""Every read of archived bytes is an event with who and when (R110, R133), in a short transaction of its own."""

from datetime import datetime

from archive_service.audit import record_event
from archive_service.db import Database
from archive_service.identity.permissions import Principal
from archive_service.models import Aip, Component, EventType, Record


def note_component_read(
    database: Database, record: Record, component: Component, principal: Principal, *, at: datetime
) -> None:
    """Notes that the principal was given a component's bytes."""
    with database.write() as session:
        record_event(
            session,
            EventType.RECORD_COMPONENT_READ,
            record.id,
            record.archiving_agency,
            agent=principal.agent,
            at=at,
            detail={"component_id": component.component_id, "sha256": component.declared_sha256},
        )


def note_package_read(database: Database, record: Record, aip: Aip, principal: Principal, *, at: datetime) -> None:
    """Notes that the principal was given a whole package."""
    with database.write() as session:
        record_event(
            session,
            EventType.RECORD_PACKAGE_READ,
            record.id,
            record.archiving_agency,
            agent=principal.agent,
            at=at,
            detail={"objid": aip.objid, "sha256": aip.sha256},
        )
