"""Reading an AIP back: what its database rows are rebuilt from (DESIGN D5), and what the verifier compares."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from archive_service.clock import require_aware
from archive_service.digests import Digest, sha256
from archive_service.dossier import Dossier, content_digest, parse_dossier, parse_json
from archive_service.errors import PackageInvalid
from archive_service.packaging import layout
from archive_service.packaging.content import CsipVersion, PremisAgent, PremisEvent
from archive_service.packaging.mets_reader import Mets, read_mets
from archive_service.packaging.package_view import PackageView, zip_view
from archive_service.packaging.premis import PREMIS_NS
from archive_service.packaging.xml_reader import XSI, XmlRefused, elements, own_schema, parse, release
from archive_service.packaging.zip_reader import read_index

METS_SCHEMA: Final = "mets-subset.xsd"
PREMIS_SCHEMA: Final = "premis-subset.xsd"
_JSON_BYTES_MAX: Final = 256 * 1024 * 1024
"""Findings and signature reports of 100,000 components stay below this."""
_P: Final = f"{{{PREMIS_NS}}}"
_EVENT: Final = f"{_P}event"
_AGENT: Final = f"{_P}agent"
_OBJECT: Final = f"{_P}object"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """One data file as the package describes it."""

    component_id: str
    path: str
    """In the package, relative to its folder."""
    digest: Digest
    size_bytes: int
    mime: str
    puid: str | None
    format_name: str
    format_version: str | None
    original_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDossier:
    """A package's dossier.json."""

    received: bytes
    """As it was received."""
    dossier: Dossier
    content: Digest
    """Digest of the canonical form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AipDescription:
    """What a package says of its dossier: all that database rows are made of."""

    objid: str
    urn: str
    folder: str
    version: int
    previous_objid: str | None
    archive_code: str
    fonds_code: str | None
    csip_version: str
    software_version: str
    at: datetime
    dossier: Dossier
    content: Digest
    """Digest of the canonical dossier.json."""
    findings: Sequence[Mapping[str, Any]]
    signature_reports: Mapping[str, Sequence[Mapping[str, Any]]]
    retention: Mapping[str, Any]
    intake: Mapping[str, Any]
    files: Sequence[ArchivedFile]
    validation_material: Mapping[str, str]
    """Path in the package by the name the material was given with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AipMetadata(AipDescription):
    """All that a package says, how it came to be included."""

    dossier_json: bytes
    events: Sequence[PremisEvent]
    agents: Sequence[PremisAgent]


def read_metadata(path: Path) -> AipMetadata:
    """Reads all metadata of an AIP; data files are not read.

    Raises:
        PackageInvalid: the file is no AIP of ours, or damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as archive:
        index = read_index(archive)
        if index.findings:
            raise PackageInvalid(f"{path.name}: not a sound ZIP archive", findings=list(index.findings))
        return metadata_of(zip_view(archive, index))


def metadata_of(
    view: PackageView, *, read: ReadDossier | None = None, files: Sequence[ArchivedFile] | None = None
) -> AipMetadata:
    """Returns the metadata of an opened AIP; a dossier and files already read are not read again.

    Raises:
        PackageInvalid: something is missing or malformed.
    """
    with _malformed():
        if read is None:
            read = read_dossier(view)
        events, agents = read_provenance(view)
        if files is None:
            files = list(read_files(view))
        described = _described(view, read, files)
        return AipMetadata(**described, dossier_json=read.received, events=events, agents=agents)


def description_of(view: PackageView) -> AipDescription:
    """Returns what an opened AIP says of its dossier; METS, which repeats it, and the history of its making are not read.

    Raises:
        PackageInvalid: something is missing or malformed.
    """
    with _malformed():
        read = replace(read_dossier(view), received=b"")  # let go of here: of 100,000 components they are 80 MB
        return AipDescription(**_described(view, read, list(read_files(view))))


@contextmanager
def _malformed() -> Iterator[None]:
    try:
        yield
    except KeyError as exc:
        raise PackageInvalid(f"not an AIP of this archive, or damaged: nothing describes {exc}") from exc
    except (XmlRefused, ValueError, TypeError, AttributeError) as exc:
        raise PackageInvalid(f"not an AIP of this archive, or damaged: {type(exc).__name__}: {exc}") from exc


def _described(view: PackageView, read: ReadDossier, files: Sequence[ArchivedFile]) -> dict[str, Any]:
    """Returns the values of an `AipDescription`."""
    about = _read_as(view, layout.PACKAGE_JSON, dict)
    return {
        "objid": str(about["objid"]),
        "urn": str(about["urn"]),
        "folder": view.folder,
        "version": int(about["version"]),
        "previous_objid": about["previous_objid"],
        "archive_code": str(about["archive_code"]),
        "fonds_code": None if about["fonds_code"] is None else str(about["fonds_code"]),
        "csip_version": CsipVersion(about["csip_version"]),
        "software_version": about["software_version"],
        "at": require_aware(datetime.fromisoformat(about["at"])),
        "dossier": read.dossier,
        "content": read.content,
        "findings": _read_as(view, layout.FINDINGS_JSON, list),
        "signature_reports": _read_as(view, layout.SIGNATURES_JSON, dict),
        "retention": _read_as(view, layout.RETENTION_JSON, dict),
        "intake": _read_as(view, layout.INTAKE_JSON, dict),
        "files": files,
        "validation_material": {
            given: f"{layout.VALIDATION}/{name}" for given, name in about["validation_material"].items()
        },
    }


def _read_as(view: PackageView, path: str, kind: type) -> Any:
    value = read_json(view, path)
    if not isinstance(value, kind):
        raise PackageInvalid(f"{path} is not a JSON {kind.__name__}")
    return value


def read_dossier(view: PackageView) -> ReadDossier:
    """Reads a package's dossier.json; its parsed JSON, some 3 KB for each component, is let go of here.

    To be called before anything else is held: nothing takes as much memory while it is read.

    Raises:
        PackageInvalid: it is missing or malformed.
    """
    received = read_bytes(view, layout.DOSSIER_JSON, _JSON_BYTES_MAX)
    value, problems = parse_json(received)
    dossier, more = parse_dossier(value) if not problems else (None, [])
    if dossier is None:
        raise PackageInvalid("dossier.json is malformed", findings=[*problems, *more])
    return ReadDossier(received=received, dossier=dossier, content=content_digest(value))


def read_bytes(view: PackageView, path: str, limit_bytes: int) -> bytes:
    """Returns a file's bytes.

    Raises:
        PackageInvalid: it is missing, damaged or larger than the limit.
    """
    if path not in view.sizes:
        raise PackageInvalid(f"{path} is missing")
    if view.sizes[path] > limit_bytes:
        raise PackageInvalid(f"{path} is larger than {limit_bytes} bytes")
    content = io.BytesIO()  # gives its bytes away without another copy
    content.writelines(view.read(path))
    return content.getvalue()


def read_json(view: PackageView, path: str) -> Any:
    """Returns a JSON file's value.

    Raises:
        PackageInvalid: it is missing, damaged or not JSON.
    """
    try:
        return json.loads(read_bytes(view, path, _JSON_BYTES_MAX))
    except (ValueError, RecursionError) as exc:
        raise PackageInvalid(f"{path} is not JSON: {exc}") from exc


def read_package_mets(view: PackageView, path: str) -> Mets:
    """Reads a METS document of the package, valid with our schema.

    Raises:
        PackageInvalid: it is missing or damaged.
        XmlRefused: it is not valid.
    """
    if path not in view.sizes:
        raise PackageInvalid(f"{path} is missing")
    with view.open(path) as source:
        return read_mets(source, path.removesuffix(layout.METS), schema=own_schema(METS_SCHEMA))


def read_provenance(view: PackageView) -> tuple[list[PremisEvent], list[PremisAgent]]:
    """Reads the events and agents of the package's PREMIS.

    Raises:
        PackageInvalid: it is missing or damaged.
        XmlRefused: it is not valid.
        ValueError: an event has no time zone or no UUID.
    """
    if layout.PREMIS not in view.sizes:
        raise PackageInvalid(f"{layout.PREMIS} is missing")
    events: list[PremisEvent] = []
    agents: list[PremisAgent] = []
    with view.open(layout.PREMIS) as source:
        for element in elements(source, (_EVENT, _AGENT), schema=own_schema(PREMIS_SCHEMA)):
            if element.tag == _EVENT:
                events.append(_event(element))
                release(element)
            elif element.tag == _AGENT:
                agents.append(
                    PremisAgent(
                        id=_text(element, "agentIdentifier/agentIdentifierValue"),
                        name=_text(element, "agentName"),
                        type=_text(element, "agentType"),
                    )
                )
                release(element)
    return events, agents


def read_files(view: PackageView) -> Iterator[ArchivedFile]:
    """Yields the file objects of the representation's PREMIS.

    Raises:
        PackageInvalid: it is missing or damaged.
        XmlRefused: it is not valid.
    """
    if layout.REP_PREMIS not in view.sizes:
        raise PackageInvalid(f"{layout.REP_PREMIS} is missing")
    with view.open(layout.REP_PREMIS) as source:
        for element in elements(source, (_OBJECT,), schema=own_schema(PREMIS_SCHEMA)):
            if element.tag == _OBJECT:
                if element.get(f"{{{XSI}}}type") == "premis:file":
                    yield _file(element)
                release(element)


def read_simpledc(view: PackageView, path: str, schema: str) -> dict[str, str]:
    """Returns the fields of an EAD or EAD_doc file.

    Raises:
        PackageInvalid: it is missing or damaged.
        XmlRefused: it is not valid.
    """
    root = parse(read_bytes(view, path, 1024 * 1024), schema=own_schema(schema))
    return {element.tag: element.text or "" for element in root}


def _event(element: Any) -> PremisEvent:
    linked = [
        item.findtext(f"{_P}linkingObjectIdentifierValue") for item in element.findall(f"{_P}linkingObjectIdentifier")
    ]
    return PremisEvent(
        id=UUID(_text(element, "eventIdentifier/eventIdentifierValue")),
        type=_text(element, "eventType"),
        at=datetime.fromisoformat(_text(element, "eventDateTime")),
        detail=_text(element, "eventDetailInformation/eventDetail"),
        outcome=_text(element, "eventOutcomeInformation/eventOutcome"),
        note=_text(element, "eventOutcomeInformation/eventOutcomeDetail/eventOutcomeDetailNote"),
        agent_id=_text(element, "linkingAgentIdentifier/linkingAgentIdentifierValue"),
        linked=tuple(value.partition("#")[2] for value in linked if "#" in value),
    )


def _file(element: Any) -> ArchivedFile:
    identifiers = {
        item.findtext(f"{_P}objectIdentifierType"): item.findtext(f"{_P}objectIdentifierValue")
        for item in element.findall(f"{_P}objectIdentifier")
    }
    format_ = "objectCharacteristics/format"
    return ArchivedFile(
        component_id=identifiers.get("componentId") or "",
        path=f"{layout.REP}/{_text(element, 'storage/contentLocation/contentLocationValue')}",
        digest=sha256(_text(element, "objectCharacteristics/fixity/messageDigest")),
        size_bytes=int(_text(element, "objectCharacteristics/size")),
        mime=_text(element, f"{format_}/formatNote"),
        puid=_text(element, f"{format_}/formatRegistry/formatRegistryKey") or None,
        format_name=_text(element, f"{format_}/formatDesignation/formatName"),
        format_version=_text(element, f"{format_}/formatDesignation/formatVersion") or None,
        original_name=_text(element, "originalName"),
    )


def _text(element: Any, path: str) -> str:
    return element.findtext(_qualified(path)) or ""


@cache
def _qualified(path: str) -> str:
    return "/".join(_P + name for name in path.split("/"))
