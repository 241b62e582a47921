"""PREMIS 3.0: dossier and representation with events and agents; files with fixity and signatures.

Order of elements as in the PREMIS 3.0 schema: objects, events, agents. Identifiers are the same in both documents.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from archive_service.ids import derived_id
from archive_service.packaging.content import AgentType, AipContent, EventType, PackagedFile, PremisAgent, PremisEvent
from archive_service.packaging.layout import REP_ID
from archive_service.packaging.xml_text import DECLARATION, xml, xml_time

PREMIS_NS: Final = "http://www.loc.gov/premis/v3"
EXTENSION_NS: Final = "urn:archive-service:aip:1"
_SCHEMA_LOCATION: Final = f"{PREMIS_NS} http://www.loc.gov/standards/premis/premis.xsd"
_OPEN: Final = (
    f'{DECLARATION}<premis:premis xmlns:premis="{PREMIS_NS}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    f' xmlns:aip="{EXTENSION_NS}" xsi:schemaLocation="{_SCHEMA_LOCATION}" version="3.0">\n'
)
_CLOSE: Final = "</premis:premis>\n"
SOFTWARE_AGENT: Final = "archive-service"
"""Id of the agent that packages; its version is in agentVersion."""
_SIGNATURE_FIELDS: Final = (
    "kind",
    "indication",
    "sub_indication",
    "level",
    "signer",
    "signing_time",
    "covers_whole_file",
)
"""What of a signature report is repeated in PREMIS; the whole report is in signature_reports.json."""


def with_creation(content: AipContent, urn: str) -> tuple[list[PremisEvent], list[PremisAgent]]:
    """Returns the events and agents of the package, the builder's own among them.

    R045 asks for an event "information package creation". Its id is derived from the package's URN, so that
    building again gives the same package.
    """
    events = list(content.events)
    agents = [agent for agent in content.agents if agent.id != SOFTWARE_AGENT]
    agents.append(PremisAgent(id=SOFTWARE_AGENT, name="archive-service", type=AgentType.SOFTWARE))
    if all(event.type != EventType.PACKAGE_CREATION for event in events):
        events.append(
            PremisEvent(
                id=derived_id("event", urn, EventType.PACKAGE_CREATION),
                type=EventType.PACKAGE_CREATION,
                at=content.at,
                detail=f"AIP_hoso, version {content.version}, CSIP {content.csip_version}",
                outcome="success",
                agent_id=SOFTWARE_AGENT,
            )
        )
    return events, agents


def root_premis(content: AipContent, urn: str, uuid: UUID, code: str) -> bytes:
    """Returns metadata/preservation/PREMIS.xml."""
    dossier = content.dossier
    events, agents = with_creation(content, urn)
    parts = [
        _OPEN,
        '<premis:object xsi:type="premis:intellectualEntity">\n',
        _identifier("object", "URN", urn),
        _identifier("object", "arcFileCode", code),
        _identifier("object", "dossierCode", dossier.dossier_code),
        f"<premis:originalName>{xml(dossier.dossier_code)}</premis:originalName>\n",
    ]
    if content.previous_objid is not None:
        parts.append(_relationship("derivation", "supersedes", "OBJID", content.previous_objid))
    parts += [
        "</premis:object>\n",
        '<premis:object xsi:type="premis:representation">\n',
        _identifier("object", "URN", representation_urn(uuid)),
        f"<premis:originalName>{REP_ID}</premis:originalName>\n",
        _relationship("structural", "represents", "URN", urn),
        "</premis:object>\n",
    ]
    parts += [_event(event, urn, uuid) for event in events]
    parts += [_agent(agent, content.software_version) for agent in agents]
    parts.append(_CLOSE)
    return "".join(parts).encode()


def representation_premis(
    content: AipContent, names: Sequence[str], uuid: UUID, reports: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Iterator[bytes]:
    """Yields metadata/preservation/PREMIS_rep1.xml: one object for the representation, one for each file."""
    urn = representation_urn(uuid)
    relation = _relationship("structural", "is included in", "URN", urn)
    yield (
        _OPEN
        + '<premis:object xsi:type="premis:representation">\n'
        + _identifier("object", "URN", urn)
        + f"<premis:originalName>{REP_ID}</premis:originalName>\n</premis:object>\n"
    ).encode()
    for file, name in zip(content.files, names, strict=True):
        found = reports.get(file.component.id) or file.signatures
        yield _file(file, name, uuid, relation, found).encode()
    yield _CLOSE.encode()


def representation_urn(uuid: UUID) -> str:
    """Returns the identifier of the representation of package `uuid`."""
    return f"urn:uuid:{derived_id('representation', str(uuid), REP_ID)}"


def file_urn(uuid: UUID, component_id: str) -> str:
    """Returns the identifier of one file of package `uuid`: a fragment of the package's URN, so none is computed."""
    return f"urn:uuid:{uuid}#{component_id}"


def _identifier(kind: str, type_: str, value: str) -> str:
    return (
        f"<premis:{kind}Identifier><premis:{kind}IdentifierType>{type_}</premis:{kind}IdentifierType>"
        f"<premis:{kind}IdentifierValue>{xml(value)}</premis:{kind}IdentifierValue></premis:{kind}Identifier>\n"
    )


def _relationship(type_: str, sub_type: str, id_type: str, value: str) -> str:
    return (
        f"<premis:relationship><premis:relationshipType>{type_}</premis:relationshipType>"
        f"<premis:relationshipSubType>{sub_type}</premis:relationshipSubType><premis:relatedObjectIdentifier>"
        f"<premis:relatedObjectIdentifierType>{id_type}</premis:relatedObjectIdentifierType>"
        f"<premis:relatedObjectIdentifierValue>{xml(value)}</premis:relatedObjectIdentifierValue>"
        "</premis:relatedObjectIdentifier></premis:relationship>\n"
    )


def _file(file: PackagedFile, name: str, uuid: UUID, relation: str, reports: Sequence[Mapping[str, Any]]) -> str:
    version = f"<premis:formatVersion>{xml(file.format_version)}</premis:formatVersion>" if file.format_version else ""
    registry = (
        "<premis:formatRegistry><premis:formatRegistryName>PRONOM</premis:formatRegistryName>"
        f"<premis:formatRegistryKey>{xml(file.puid)}</premis:formatRegistryKey></premis:formatRegistry>"
        if file.puid
        else ""
    )
    return (
        '<premis:object xsi:type="premis:file">\n'
        + _identifier("object", "URN", file_urn(uuid, file.component.id))
        + _identifier("object", "componentId", file.component.id)
        + "<premis:objectCharacteristics><premis:fixity>"
        f"<premis:messageDigestAlgorithm>{file.digest.algorithm.value}</premis:messageDigestAlgorithm>"
        f"<premis:messageDigest>{file.digest.hex}</premis:messageDigest></premis:fixity><premis:size>{file.size_bytes}</premis:size>"
        "<premis:format><premis:formatDesignation>"
        f"<premis:formatName>{xml(file.format_name or file.mime)}</premis:formatName>{version}"
        f"</premis:formatDesignation>{registry}<premis:formatNote>{xml(file.mime)}</premis:formatNote></premis:format>"
        "</premis:objectCharacteristics>\n"
        f"<premis:originalName>{xml(file.component.path)}</premis:originalName>\n"
        "<premis:storage><premis:contentLocation><premis:contentLocationType>path</premis:contentLocationType>"
        f"<premis:contentLocationValue>data/{name}</premis:contentLocationValue></premis:contentLocation></premis:storage>\n"
        + "".join(map(_signature, reports))
        + relation
        + "</premis:object>\n"
    )


def _signature(report: Mapping[str, Any]) -> str:
    attributes = "".join(
        f' {name}="{xml(_token(report[name]))}"' for name in _SIGNATURE_FIELDS if report.get(name) is not None
    )
    return (
        f"<premis:signatureInformation><premis:signatureInformationExtension><aip:signatureReport{attributes}/>"
        "</premis:signatureInformationExtension></premis:signatureInformation>\n"
    )


def _token(value: Any) -> str:  # a JSON scalar
    return str(value).lower() if isinstance(value, bool) else str(value)


def _event(event: PremisEvent, urn: str, uuid: UUID) -> str:
    links = [("URN", file_urn(uuid, component_id)) for component_id in event.linked] or [("URN", urn)]
    note = (
        "<premis:eventOutcomeDetail><premis:eventOutcomeDetailNote>"
        f"{xml(event.note)}</premis:eventOutcomeDetailNote></premis:eventOutcomeDetail>"
        if event.note
        else ""
    )
    return (
        "<premis:event>\n"
        + _identifier("event", "UUID", str(event.id))
        + f"<premis:eventType>{xml(event.type)}</premis:eventType>"
        f"<premis:eventDateTime>{xml_time(event.at)}</premis:eventDateTime>"
        f"<premis:eventDetailInformation><premis:eventDetail>{xml(event.detail)}</premis:eventDetail>"
        "</premis:eventDetailInformation>"
        f"<premis:eventOutcomeInformation><premis:eventOutcome>{xml(event.outcome)}</premis:eventOutcome>"
        f"{note}</premis:eventOutcomeInformation>\n"
        "<premis:linkingAgentIdentifier><premis:linkingAgentIdentifierType>local</premis:linkingAgentIdentifierType>"
        f"<premis:linkingAgentIdentifierValue>{xml(event.agent_id)}</premis:linkingAgentIdentifierValue>"
        "</premis:linkingAgentIdentifier>\n"
        + "".join(
            "<premis:linkingObjectIdentifier><premis:linkingObjectIdentifierType>"
            f"{type_}</premis:linkingObjectIdentifierType><premis:linkingObjectIdentifierValue>{xml(value)}"
            "</premis:linkingObjectIdentifierValue></premis:linkingObjectIdentifier>\n"
            for type_, value in links
        )
        + "</premis:event>\n"
    )


def _agent(agent: PremisAgent, software_version: str) -> str:
    version = (
        f"<premis:agentVersion>{xml(software_version)}</premis:agentVersion>" if agent.id == SOFTWARE_AGENT else ""
    )
    return (
        "<premis:agent>\n"
        + _identifier("agent", "local", agent.id)
        + f"<premis:agentName>{xml(agent.name)}</premis:agentName>"
        f"<premis:agentType>{xml(agent.type)}</premis:agentType>{version}</premis:agent>\n"
    )
