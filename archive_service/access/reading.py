"""Every read of archived bytes is an event with who and when (R110, R133), in a short transaction of its own."""

from datetime import datetime

from archive_service.audit import append_event, record_event
from archive_service.db import Database
from archive_service.identity.permissions import Principal
from archive_service.models import Aip, Component, EventType, Record, Rendition, Submission


def note_component_read(
    database: Database,
    record: Record,
    component: Component,
    principal: Principal,
    *,
    at: datetime,
    rendition: Rendition | None = None,
) -> None:
    """Notes that the principal was given a component's bytes, or those of its rendition."""
    detail = {"component_id": component.component_id, "sha256": component.declared_sha256}
    if rendition is not None:
        detail |= {"rendition_id": str(rendition.id), "sha256": rendition.sha256}
    with database.write() as session:
        record_event(
            session,
            EventType.RECORD_COMPONENT_READ,
            record.id,
            record.archiving_agency,
            agent=principal.agent,
            at=at,
            detail=detail,
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


def note_staged_read(
    database: Database, submission: Submission, component: Component, principal: Principal, *, at: datetime
) -> None:
    """Notes that the principal was given the bytes of a file that is not archived yet."""
    with database.write() as session:
        append_event(
            session,
            EventType.SUBMISSION_FILE_READ,
            subject_kind="submission",
            subject_id=submission.id,
            agency=submission.archiving_agency,
            agent=principal.agent,
            at=at,
            detail={"component_id": component.component_id, "sha256": component.declared_sha256},
        )
