"""What goes into a package: frozen inputs of the builder, gathered by the caller from the checked dossier.

Everything that could differ between two builds of the same dossier (times, versions, ids) is an explicit field, so the
package is a pure function of an `AipContent` (DESIGN D4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

from archive_service.clock import require_aware
from archive_service.digests import Digest
from archive_service.dossier import Component, Dossier


class CsipVersion(StrEnum):
    """Versions of E-ARK CSIP a package can be declared against; 2.0.4 is the one TT 05/2025 names."""

    V2_0_4 = "2.0.4"
    V2_1_0 = "2.1.0"
    V2_2_0 = "2.2.0"


class AgentType(StrEnum):
    """PREMIS agentType tokens used here."""

    PERSON = "person"
    ORGANIZATION = "organization"
    SOFTWARE = "software"


class EventType(StrEnum):
    """PREMIS event types the builder itself writes (terms of the PREMIS event type vocabulary)."""

    PACKAGE_CREATION = "information package creation"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedFile:
    """One component's bytes as they were checked; they go in bit-exact (R020, R027)."""

    component: Component
    source: Path | str
    digest: Digest
    """SHA-256 the bytes must have; a difference while packaging stops the build."""
    size_bytes: int
    mime: str
    """Identified media type; one that IANA does not know is declared as application/octet-stream in METS."""
    puid: str | None
    format_name: str
    format_version: str | None
    signatures: tuple[Mapping[str, Any], ...] = ()
    """Signature reports of this file in their JSON form."""
    crc32: int | None = None
    """CRC-32 taken in the read at intake. Without it a file larger than one chunk costs one more read of the package's
    own bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PremisEvent:
    """One thing that was done to the dossier or a component of it (R007, R133)."""

    id: UUID
    type: str
    """A term of the PREMIS event type vocabulary where one fits."""
    at: datetime
    detail: str
    outcome: str
    agent_id: str
    """`PremisAgent.id` of who or what did it."""
    linked: tuple[str, ...] = ()
    """Ids of the components it was done to; empty for the dossier as a whole."""
    note: str = ""
    """What the outcome rests on (eventOutcomeDetailNote): counts, policies, the reason a person gave; empty for none."""

    def __post_init__(self) -> None:
        require_aware(self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class PremisAgent:
    """A person, organisation or piece of software that events name."""

    id: str
    name: str
    type: str
    """One of `AgentType`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AipContent:
    """Everything one AIP is made of."""

    dossier: Dossier
    dossier_json: bytes
    """dossier.json byte for byte as received: unknown fields are carried, never dropped."""
    archive_code: str
    """Code of the archiving agency, the first part of arcFileCode (R046)."""
    fonds_code: str | None
    version: int
    """1 for the first package of a dossier; a supplement or replacement makes the next (R018)."""
    previous_objid: str | None
    files: Sequence[PackagedFile]
    """In the order of the dossier's components."""
    findings: Sequence[Mapping[str, Any]]
    signature_reports: Mapping[str, Sequence[Mapping[str, Any]]]
    """By component id."""
    validation_material: Mapping[str, bytes]
    """Certificates, CRLs, OCSP responses, time-stamps by file name (R032)."""
    retention: Mapping[str, Any]
    """The retention assignment in its JSON form: kind, years, due date, maintenance code, basis, rule file, formula (R145)."""
    intake: Mapping[str, Any]
    """Source system, sent_at, received_at, submission_id ... (NĐ 45/2020 Đ17)."""
    events: Sequence[PremisEvent]
    agents: Sequence[PremisAgent]
    at: datetime
    """When the package is made; every time inside that is not the sender's is this one."""
    software_version: str
    csip_version: str = CsipVersion.V2_0_4

    def __post_init__(self) -> None:
        require_aware(self.at)
        CsipVersion(self.csip_version)
        if self.version < 1:
            raise ValueError(f"AIP version {self.version}: the first is 1")
