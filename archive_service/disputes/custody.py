"""The chain of custody: who did what to a record and when, as PREMIS 3.0 and as rows of a page.

Events that only read (views, downloads) are left out: they changed nothing, and name people who only did their work.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from archive_service import __version__
from archive_service.ids import derived_id
from archive_service.models import Aip, Event, EventType, Record
from archive_service.packaging.premis import PREMIS_NS
from archive_service.packaging.xml_text import DECLARATION, xml, xml_time

READS: Final = (
    EventType.RECORD_VIEWED,
    EventType.RECORD_COMPONENT_READ,
    EventType.RECORD_PACKAGE_READ,
    EventType.RECORD_DISPUTE_PACKAGE_READ,
    EventType.COPY_READ,
)
_PAGE: Final = 1000
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodyEvent:
    """One event."""

    seq: int
    at: datetime
    type: str
    agent_id: str
    agent_name: str
    detail: dict[str, Any]


def custody_events(session: Session, record_id: UUID, submissions: Sequence[UUID]) -> Iterator[CustodyEvent]:
    """Yields the events of a record and of the pushes it came from, in order of entry, in pages."""
    after = 0
    whose = or_(
        and_(Event.subject_kind == "record", Event.subject_id == str(record_id)),
        and_(Event.subject_kind == "submission", Event.subject_id.in_([str(item) for item in submissions])),
    )
    while True:
        query = select(Event).where(whose, Event.type.not_in(READS), Event.seq > after).order_by(Event.seq).limit(_PAGE)
        rows = session.scalars(query).all()
        for row in rows:
            yield CustodyEvent(
                seq=row.seq,
                at=row.at,
                type=row.type.value,
                agent_id=row.agent_id,
                agent_name=row.agent_name,
                detail=row.detail,
            )
        if len(rows) < _PAGE:
            return
        after = rows[-1].seq
        session.expunge_all()


def premis(record: Record, aips: Sequence[Aip], events: Iterator[CustodyEvent]) -> Iterator[bytes]:
    """Yields a PREMIS 3.0 document: the record and its packages as objects, every event, every agent."""
    yield (
        f'{DECLARATION}<premis:premis xmlns:premis="{PREMIS_NS}" xmlns:xsi="{_XSI}" version="3.0">\n'
        '<premis:object xsi:type="premis:intellectualEntity">\n'
        + _identifier("object", "UUID", str(record.id))
        + _identifier("object", "arcFileCode", record.archive_file_code)
        + _identifier("object", "dossierCode", record.dossier_code)
        + "</premis:object>\n"
    ).encode()
    for aip in aips:
        yield _package(aip).encode()
    agents: dict[str, str] = {}
    for event in events:
        agents.setdefault(event.agent_id, event.agent_name)
        yield _event(event, record.id).encode()
    for key, name in sorted(agents.items()):
        yield _agent(key, name).encode()
    yield b"</premis:premis>\n"


def _package(aip: Aip) -> str:
    return (
        '<premis:object xsi:type="premis:file">\n'
        + _identifier("object", "OBJID", aip.objid)
        + "<premis:objectCharacteristics><premis:fixity><premis:messageDigestAlgorithm>SHA-256</premis:messageDigestAlgorithm>"
        f"<premis:messageDigest>{aip.sha256}</premis:messageDigest></premis:fixity><premis:size>{aip.size_bytes}</premis:size>"
        "<premis:format><premis:formatDesignation><premis:formatName>application/zip</premis:formatName>"
        "</premis:formatDesignation></premis:format></premis:objectCharacteristics>\n</premis:object>\n"
    )


def _event(event: CustodyEvent, record_id: UUID) -> str:
    detail = json.dumps(event.detail, ensure_ascii=False, sort_keys=True)
    return (
        "<premis:event>\n"
        + _identifier("event", "UUID", str(derived_id("custody-event", str(event.seq))))
        + f"<premis:eventType>{xml(event.type)}</premis:eventType>"
        f"<premis:eventDateTime>{xml_time(event.at)}</premis:eventDateTime>"
        f"<premis:eventDetailInformation><premis:eventDetail>{xml(detail)}</premis:eventDetail></premis:eventDetailInformation>\n"
        "<premis:linkingAgentIdentifier><premis:linkingAgentIdentifierType>local</premis:linkingAgentIdentifierType>"
        f"<premis:linkingAgentIdentifierValue>{xml(event.agent_id)}</premis:linkingAgentIdentifierValue></premis:linkingAgentIdentifier>\n"
        "<premis:linkingObjectIdentifier><premis:linkingObjectIdentifierType>UUID</premis:linkingObjectIdentifierType>"
        f"<premis:linkingObjectIdentifierValue>{record_id}</premis:linkingObjectIdentifierValue></premis:linkingObjectIdentifier>\n"
        "</premis:event>\n"
    )


def _agent(key: str, name: str) -> str:
    of_software = key.startswith("software:")
    version = f"<premis:agentVersion>{__version__}</premis:agentVersion>" if of_software else ""
    kind = "software" if of_software else "person" if key.startswith("account:") else "organization"
    return (
        "<premis:agent>\n"
        + _identifier("agent", "local", key)
        + f"<premis:agentName>{xml(name)}</premis:agentName><premis:agentType>{kind}</premis:agentType>{version}</premis:agent>\n"
    )


def _identifier(kind: str, type_: str, value: str) -> str:
    return (
        f"<premis:{kind}Identifier><premis:{kind}IdentifierType>{type_}</premis:{kind}IdentifierType>"
        f"<premis:{kind}IdentifierValue>{xml(value)}</premis:{kind}IdentifierValue></premis:{kind}Identifier>\n"
    )
