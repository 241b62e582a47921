"""Archived records: list, read, bytes by range, history, retention, certified copies."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.access import records as access
from archive_service.access.content import component_range, package_range
from archive_service.access.pages import cut
from archive_service.access.reading import note_component_read, note_package_read
from archive_service.access.snippets import Snippet, find_snippets
from archive_service.access.text_index import terms_of
from archive_service.api.dependencies import After, ListSize, PageSize, PrincipalDep, ServiceDep, VersionNumber
from archive_service.api.streams import content_answer
from archive_service.audit import events_of
from archive_service.dossier import IsoDate
from archive_service.identity.permissions import Permission
from archive_service.models import Aip, AipCopy, Component, ComponentText, Event, Record, State
from archive_service.rules import retention

router = APIRouter(prefix="/api/v1/records", tags=["records"])


@router.get("")
def get_records(
    service: ServiceDep,
    principal: PrincipalDep,
    q: Annotated[str | None, Query(max_length=200)] = None,
    text: Annotated[str | None, Query(max_length=200)] = None,
    dossier_code: str | None = None,
    state: State | None = None,
    archiving_agency: str | None = None,
    procedure_code: str | None = None,
    due_before: IsoDate | None = None,
    limit: ListSize = None,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Lists records, last stored first; `q` searches code, title and applicant, `text` what the documents say.

    Both with or without marks. `text` takes whole words, and phrases between quotation marks; each hit comes with the words around it.
    """
    query = access.RecordQuery(
        text=q,
        content=text,
        dossier_code=dossier_code,
        state=state,
        archiving_agency=archiving_agency,
        procedure_code=procedure_code,
        due_before=due_before,
        limit=limit,
        cursor=cursor,
    )
    with service.database.read() as session:
        page = access.list_records(session, query, principal)
        found = find_snippets(session, [row.id for row in page.items], terms_of(text or ""), principal)
        return {
            "items": [{**record_row(row), "snippet": _snippet(found.get(row.id))} for row in page.items],
            "next": page.next,
        }


def _snippet(snippet: Snippet | None) -> dict[str, Any] | None:
    """Returns the JSON of a hit: parts of plain text, so that nobody has to trust markup in it."""
    if snippet is None:
        return None
    return {
        "component_id": snippet.component_id,
        "parts": [{"text": text, "hit": hit} for text, hit in snippet.parts],
        "begins_within": snippet.begins_within,
        "ends_within": snippet.ends_within,
    }


def record_row(record: Record) -> dict[str, Any]:
    """Returns the JSON of a record in a list."""
    return {
        "id": str(record.id),
        "dossier_code": record.dossier_code,
        "archive_file_code": record.archive_file_code,
        "title": record.title,
        "state": record.state.value,
        "archiving_agency": record.archiving_agency,
        "settling_agency": record.settling_agency,
        "procedure_code": record.procedure_code,
        "procedure_name": record.procedure_name,
        "applicant_name": record.applicant_name,
        "outcome": record.outcome,
        "access_mode": record.access_mode,
        "closed_at": record.closed_at.isoformat(),
        "stored_at": record.stored_at.isoformat(),
        "version": record.current_version,
        "components": record.component_count,
        "size_bytes": record.size_bytes,
        "retention_kind": record.retention_kind,
        "retention_due_on": record.retention_due_on.isoformat() if record.retention_due_on else None,
    }


@router.get("/{record_id}")
def get_record(record_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Returns a record with its package versions, their copies, and the first 200 components of the newest version."""
    with service.database.read() as session:
        record = access.find_record(session, record_id, principal, Permission.RECORD_SEARCH)
        aips = access.versions(session, record_id)
        copies = access.copies(session, [aip.id for aip in aips])
        components = access.components(session, aips[0].id)
        return {
            **record_row(record),
            "aips": [_aip(aip, [copy for copy in copies if copy.aip_id == aip.id]) for aip in aips],
            "contents": _component_rows(session, record_id, components),
        }


def _aip(aip: Aip, copies: list[AipCopy]) -> dict[str, Any]:
    return {
        "objid": aip.objid,
        "version": aip.version,
        "submission_id": str(aip.submission_id),
        "sha256": aip.sha256,
        "size_bytes": aip.size_bytes,
        "csip_version": aip.csip_version,
        "packaged_at": aip.packaged_at.isoformat(),
        "store_key": aip.store_key,
        "copies": [
            {
                "location": copy.location,
                "state": copy.state,
                "read_back_sha256": copy.read_back_sha256,
                "verified_at": copy.verified_at.isoformat(),
            }
            for copy in copies
        ],
    }


def _component_rows(session: Session, record_id: UUID, components: Sequence[Component]) -> list[dict[str, Any]]:
    texts = access.texts(session, components)
    return [
        {**component_row(record_id, component), "text": _text(texts.get(component.component_id))}
        for component in components
    ]


def _text(row: ComponentText | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {"status": row.status.value, "characters": row.characters, "complete": row.complete, "reason": row.reason}


def component_row(record_id: UUID, component: Component) -> dict[str, Any]:
    """Returns the JSON of a component."""
    return {
        "id": component.component_id,
        "ordinal": component.ordinal,
        "path": component.path,
        "role": component.role,
        "origin": component.origin,
        "title": component.title,
        "sha256": component.declared_sha256,
        "size_bytes": component.declared_size_bytes,
        "mime": component.mime,
        "puid": component.puid,
        "format": component.format_name,
        "url": f"/api/v1/records/{record_id}/components/{component.component_id}/content",
    }


@router.get("/{record_id}/components")
def get_components(
    record_id: UUID,
    service: ServiceDep,
    principal: PrincipalDep,
    version: VersionNumber = None,
    limit: PageSize = 200,
    cursor: After = 0,
) -> dict[str, Any]:
    """Lists the components of a package version in dossier order."""
    with service.database.read() as session:
        access.find_record(session, record_id, principal, Permission.RECORD_SEARCH)
        aip = access.version_of(session, record_id, version)
        rows = access.components(session, aip.id, after=cursor, limit=limit + 1)
        page = cut(rows, limit, lambda row: row.ordinal)
        return {"items": _component_rows(session, record_id, page.items), "next": page.next}


@router.api_route("/{record_id}/components/{component_id}/content", methods=["GET", "HEAD"])
def get_content(
    record_id: UUID,
    component_id: str,
    request: Request,
    service: ServiceDep,
    principal: PrincipalDep,
    version: VersionNumber = None,
    inline: bool = False,  # noqa: FBT001, FBT002 - a query parameter
) -> Response:
    """Returns the component's bytes as received, straight from the package; Range is honoured and the read is logged."""
    with service.database.read() as session:
        record = access.find_record(session, record_id, principal, Permission.RECORD_READ)
        aip, component = access.component(session, record_id, component_id, version=version)
        source = component_range(aip, component, access.copies(session, [aip.id]))
    answer = content_answer(
        request,
        service.stores,
        source,
        media_type=component.mime or "application/octet-stream",
        file_name=component.path.rsplit("/", 1)[-1],
        inline=inline,
    )
    if request.method == "GET":
        note_component_read(service.database, record, component, principal, at=clock.unique_now())
    return answer


@router.api_route("/{record_id}/aip", methods=["GET", "HEAD"])
def get_aip(
    record_id: UUID, request: Request, service: ServiceDep, principal: PrincipalDep, version: VersionNumber = None
) -> Response:
    """Returns the archival package as one ZIP; the read is logged."""
    with service.database.read() as session:
        record = access.find_record(session, record_id, principal, Permission.RECORD_READ)
        aip = access.version_of(session, record_id, version)
        source = package_range(aip, access.copies(session, [aip.id]))
    answer = content_answer(
        request, service.stores, source, media_type="application/zip", file_name=aip.store_key.rsplit("/", 1)[-1]
    )
    if request.method == "GET":
        note_package_read(service.database, record, aip, principal, at=clock.unique_now())
    return answer


@router.get("/{record_id}/events")
def get_events(
    record_id: UUID,
    service: ServiceDep,
    principal: PrincipalDep,
    limit: PageSize = 200,
    cursor: After = 0,
) -> dict[str, Any]:
    """Returns the history of a record from the first push on, in order of entry."""
    with service.database.read() as session:
        access.find_record(session, record_id, principal, Permission.RECORD_SEARCH)
        subjects: list[tuple[str, UUID | str]] = [("record", record_id)]
        subjects += [("submission", aip.submission_id) for aip in access.versions(session, record_id)]
        return event_page(events_of(session, subjects, after_seq=cursor, limit=limit + 1), limit)


def event_page(events: Sequence[Event], limit: int) -> dict[str, Any]:
    """Returns a page of events in order of entry, of which one more than `limit` was asked for."""
    return cut(events, limit, lambda event: event.seq).as_json(event_row)


def event_row(event: Event) -> dict[str, Any]:
    """Returns the JSON of an event."""
    return {
        "seq": event.seq,
        "at": event.at.isoformat(),
        "type": event.type.value,
        "subject": f"{event.subject_kind}:{event.subject_id}",
        "agent": {"id": event.agent_id, "name": event.agent_name},
        "detail": event.detail,
    }


@router.get("/{record_id}/retention")
def get_retention(record_id: UUID, service: ServiceDep, principal: PrincipalDep) -> dict[str, Any]:
    """Returns the retention assignments of a record, newest first, each with its formula in words."""
    with service.database.read() as session:
        record = access.find_record(session, record_id, principal, Permission.RECORD_SEARCH)
        rows = access.assignments(session, record_id)
        return {
            "record_id": str(record_id),
            "kind": record.retention_kind,
            "due_on": record.retention_due_on.isoformat() if record.retention_due_on else None,
            "assignments": [
                {
                    "assigned_at": row.assigned_at.isoformat(),
                    **row.assignment,
                    "explanation_vi": retention.explain(retention.from_json(row.assignment), "vi"),
                    "explanation_en": retention.explain(retention.from_json(row.assignment), "en"),
                }
                for row in rows
            ],
        }
