"""CSIP1-16, 117: root element and header; AIPM1-7 of the AIP profile; the header rules of the SIP profile."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from archive_service.packaging.csip_context import Context, DocumentCheck, Rule, on_each
from archive_service.packaging.mets_reader import Mets, Node

AIP_PROFILE: Final = "https://earkdip.dilcis.eu/profile/E-ARK-AIP-v2-2-0.xml"
"""AIPM2 fixes this very value, "earkdip" included."""
_SIP_PROFILES: Final = ("https://earksip.dilcis.eu/profile/E-ARK-SIP.xml",)


def _on_header(check: Callable[[Context, Node], Iterator[str]]) -> Rule:
    def rule(context: Context, document: Mets) -> Iterator[str]:
        if document.header is not None:
            yield from check(context, document.header)

    return on_each(rule)


def _objid(context: Context, document: Mets) -> Iterator[str]:
    objid = document.attributes.get("OBJID")
    folder = context.view.folder if document.is_root else document.folder.rstrip("/").rsplit("/", 1)[-1]
    if not objid:
        yield "OBJID is missing"
    elif objid not in (folder, folder.replace("_", ":")) and objid.replace(":", "_") != folder:
        yield f"OBJID {objid!r} is not the name of its folder {folder!r}"


def _type(context: Context, document: Mets) -> Iterator[str]:
    value = document.attributes.get("TYPE")
    if value not in context.words.content_category:
        yield f"TYPE {value!r} is not in the vocabulary"
    yield from _other_type(context, document)


def _other_type(_: Context, document: Mets) -> Iterator[str]:
    if document.attributes.get("TYPE") == "OTHER" and not document.attributes.get("csip:OTHERTYPE"):
        yield "TYPE is OTHER, but OTHERTYPE says nothing"


def _content_information(context: Context, document: Mets) -> Iterator[str]:
    value = document.attributes.get("csip:CONTENTINFORMATIONTYPE")
    if value is None:
        yield "CONTENTINFORMATIONTYPE is missing"
    elif value not in context.words.content_information_type:
        yield f"CONTENTINFORMATIONTYPE {value!r} is not in the vocabulary"
    yield from _other_content_information(context, document)


def _other_content_information(_: Context, document: Mets) -> Iterator[str]:
    attributes = document.attributes
    if attributes.get("csip:CONTENTINFORMATIONTYPE") == "OTHER" and not attributes.get(
        "csip:OTHERCONTENTINFORMATIONTYPE"
    ):
        yield "CONTENTINFORMATIONTYPE is OTHER, but OTHERCONTENTINFORMATIONTYPE says nothing"


def _profile(_: Context, document: Mets) -> Iterator[str]:
    value = document.attributes.get("PROFILE")
    if not value:
        yield "PROFILE is missing"
    elif not value.startswith(("http://", "https://")):
        yield f"PROFILE {value!r} is no URL"


def _header(_: Context, document: Mets) -> Iterator[str]:
    if document.header is None:
        yield "metsHdr is missing"


def _created(_: Context, header: Node) -> Iterator[str]:
    if not header.get("CREATEDATE"):
        yield "CREATEDATE is missing"


def _modified(context: Context, header: Node) -> Iterator[str]:
    value = header.get("LASTMODDATE")
    if value is None:
        yield "LASTMODDATE is missing"
        return
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        yield f"LASTMODDATE {value!r} is no date"
        return
    moment = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    if context.at is not None and moment > context.at:
        yield f"LASTMODDATE {value!r} lies in the future"


def _package_type(context: Context, header: Node) -> Iterator[str]:
    value = header.get("csip:OAISPACKAGETYPE")
    if value not in context.words.oais_package_type:
        yield f"OAISPACKAGETYPE {value!r} is not in the vocabulary"


def _agents(header: Node) -> list[Node]:
    """Returns the agents that are the mandatory software agent, as far as any fits (CSIP10-16)."""
    agents = header.all("agent")
    for wanted in (
        {"ROLE": "CREATOR", "TYPE": "OTHER", "OTHERTYPE": "SOFTWARE"},
        {"ROLE": "CREATOR", "TYPE": "OTHER"},
        {"ROLE": "CREATOR"},
    ):
        found = [agent for agent in agents if wanted.items() <= dict(agent.attributes).items()]
        if found:
            return found
    return agents


def _agent(_: Context, header: Node) -> Iterator[str]:
    if not header.all("agent"):
        yield "there is no agent"


def _agent_has(name: str, value: str) -> Callable[[Context, Node], Iterator[str]]:
    def check(_: Context, header: Node) -> Iterator[str]:
        agents = header.all("agent")
        if agents and all(agent.get(name) != value for agent in agents):
            yield f"no agent has {name} {value}"

    return check


def _agent_name(_: Context, header: Node) -> Iterator[str]:
    agents = _agents(header)
    if agents and not any(name.text for agent in agents for name in agent.all("name")):
        yield "the software agent has no name"


def _agent_note(_: Context, header: Node) -> Iterator[str]:
    agents = _agents(header)
    if agents and not any(note.text for agent in agents for note in agent.all("note")):
        yield "the software agent has no note with its version"


def _agent_note_type(_: Context, header: Node) -> Iterator[str]:
    notes = [note for agent in _agents(header) for note in agent.all("note")]
    if notes and not any(note.get("csip:NOTETYPE") == "SOFTWARE VERSION" for note in notes):
        yield "the software agent's note is not marked SOFTWARE VERSION"


HEADER_RULES: Final = {
    "CSIP1": on_each(_objid),
    "CSIP2": on_each(_type),
    "CSIP3": on_each(_other_type),
    "CSIP4": on_each(_content_information),
    "CSIP5": on_each(_other_content_information),
    "CSIP6": on_each(_profile),
    "CSIP117": on_each(_header),
    "CSIP7": _on_header(_created),
    "CSIP8": _on_header(_modified),
    "CSIP9": _on_header(_package_type),
    "CSIP10": _on_header(_agent),
    "CSIP11": _on_header(_agent_has("ROLE", "CREATOR")),
    "CSIP12": _on_header(_agent_has("TYPE", "OTHER")),
    "CSIP13": _on_header(_agent_has("OTHERTYPE", "SOFTWARE")),
    "CSIP14": _on_header(_agent_name),
    "CSIP15": _on_header(_agent_note),
    "CSIP16": _on_header(_agent_note_type),
}


# ------------------------------------------------------------ AIP profile 2.2.0


def _aip_profile(_: Context, document: Mets) -> Iterator[str]:
    if document.attributes.get("PROFILE") != AIP_PROFILE:
        yield f"PROFILE is not {AIP_PROFILE}"


def _aip_type(_: Context, header: Node) -> Iterator[str]:
    if header.get("csip:OAISPACKAGETYPE") != "AIP":
        yield "OAISPACKAGETYPE is not AIP"


def _aip_current(_: Context, document: Mets) -> Iterator[str]:
    if document.described and not any(item.attributes.get("STATUS") == "CURRENT" for item in document.described):
        yield "no dmdSec is CURRENT"


def _aip_provenance(_: Context, document: Mets) -> Iterator[str]:
    if not any(item.kind == "digiprovMD" and item.reference for item in document.administrative):
        yield "amdSec has no digiprovMD with mdRef"


def _premis(document: Mets) -> list[str | None]:
    sections = [item for item in document.administrative if item.kind == "digiprovMD" and item.reference]
    return [
        item.reference.get("MDTYPEVERSION")
        for item in sections
        if item.reference is not None and item.reference.get("MDTYPE") == "PREMIS"
    ]


def _aip_premis(_: Context, document: Mets) -> Iterator[str]:
    if not _premis(document):
        yield "no digiprovMD is of type PREMIS"


def _aip_premis_version(_: Context, document: Mets) -> Iterator[str]:
    if any(not (version or "").startswith("3") for version in _premis(document)):
        yield "PREMIS is not marked as version 3"


AIP_RULES: Final = {
    "AIPM1": on_each(_objid),
    "AIPM2": on_each(_aip_profile),
    "AIPM3": _on_header(_aip_type),
    "AIPM4": on_each(_aip_current),
    "AIPM5": on_each(_aip_provenance),
    "AIPM6": on_each(_aip_premis),
    "AIPM7": on_each(_aip_premis_version),
}


# ------------------------------------------------------------ SIP profile


def _sip_profile(_: Context, document: Mets) -> Iterator[str]:
    value = document.attributes.get("PROFILE")
    if (
        document.is_root
        and value not in _SIP_PROFILES
        and not (value or "").startswith("https://earksip.dilcis.eu/profile/E-ARK-SIP-v2-")
    ):
        yield f"PROFILE {value!r} is no SIP profile"


def _sip_type(_: Context, header: Node) -> Iterator[str]:
    if header.get("csip:OAISPACKAGETYPE") != "SIP":
        yield "OAISPACKAGETYPE is not SIP"


def _record_id(kind: str) -> Callable[[Context, Node], Iterator[str]]:
    def check(_: Context, header: Node) -> Iterator[str]:
        found = [item for item in header.all("altRecordID") if item.get("TYPE") == kind]
        if not any(item.text for item in found):
            yield f"there is no altRecordID {kind} with text"

    return check


def _file_attribute(name: str) -> DocumentCheck:
    def check(_: Context, document: Mets) -> Iterator[str]:
        files = [file for group in document.groups for file in group.files]
        values = [file.attributes.get(name) for file in files]
        if not any(values) or "" in values:
            yield f"no file has {name.removeprefix('sip:')}, or one has an empty one"

    return check


SIP_RULES: Final = {
    "SIP2": on_each(_sip_profile),
    "SIP4": _on_header(_sip_type),
    "SIP5": _on_header(_record_id("SUBMISSIONAGREEMENT")),
    "SIP6": _on_header(_record_id("PREVIOUSSUBMISSIONAGREEMENT")),
    "SIP7": _on_header(_record_id("REFERENCECODE")),
    "SIP8": _on_header(_record_id("PREVIOUSREFERENCECODE")),
    "SIP32": on_each(_file_attribute("sip:FILEFORMATNAME")),
    "SIP33": on_each(_file_attribute("sip:FILEFORMATVERSION")),
    "SIP34": on_each(_file_attribute("sip:FILEFORMATREGISTRY")),
    "SIP35": on_each(_file_attribute("sip:FILEFORMATKEY")),
}
