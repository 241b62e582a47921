"""Where everything stands inside an `AIP_hoso` package (REGULATIONS 5.6), and how its parts are named.

Names are made of `A-Z a-z 0-9 . _ -` only: they mean the same file on every operating system, need no escaping in a URL
and survive the URL decoding that validators apply to METS references. What the sender called a file is kept in PREMIS
originalName and dossier.json.
"""

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from archive_service.digests import digest_bytes
from archive_service.dossier import DOSSIER_FILE_NAME, Dossier
from archive_service.ids import derived_id
from archive_service.packaging.content import AipContent
from archive_service.packaging.profile import PackageProfile

METS: Final = "METS.xml"
EAD: Final = "metadata/descriptive/EAD.xml"
PREMIS: Final = "metadata/preservation/PREMIS.xml"
OTHER: Final = "metadata/other"
DOSSIER_JSON: Final = f"{OTHER}/{DOSSIER_FILE_NAME}"
FINDINGS_JSON: Final = f"{OTHER}/findings.json"
SIGNATURES_JSON: Final = f"{OTHER}/signature_reports.json"
RETENTION_JSON: Final = f"{OTHER}/retention.json"
INTAKE_JSON: Final = f"{OTHER}/intake.json"
PACKAGE_JSON: Final = f"{OTHER}/package.json"
VALIDATION: Final = f"{OTHER}/validation"
SCHEMAS: Final = "schemas"
DOCUMENTATION: Final = "documentation/README.md"
REP_ID: Final = "rep1"
REP: Final = f"representations/{REP_ID}"
REP_METS: Final = f"{REP}/{METS}"
REP_PREMIS: Final = f"{REP}/metadata/preservation/PREMIS_{REP_ID}.xml"
REP_DESCRIPTIVE: Final = f"{REP}/metadata/descriptive"
REP_DATA: Final = f"{REP}/data"

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_FONDS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")
_EXTENSION: Final = re.compile(r"\.([A-Za-z0-9]{1,10})$")
_WINDOWS_DEVICES: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def package_uuid(content: AipContent) -> UUID:
    """Returns the package's UUIDv5: the same dossier content and version give the same id everywhere (D4)."""
    return derived_uuid(content.archive_code, content.dossier.dossier_code, content.version, content.dossier_json)


def derived_uuid(archive_code: str, dossier_code: str, version: int, dossier_json: bytes) -> UUID:
    """Returns the UUIDv5 of a package from what it is the package of."""
    return derived_id("aip", archive_code, dossier_code, str(version), digest_bytes(dossier_json).hex)


def objid(uuid: UUID, fonds_code: str | None) -> str:
    """Returns METS OBJID, which is also the package folder's name (CSIP1, CSIPSTR2).

    The circular writes `urn:uuid:…` or `urn:{fonds}:uuid-…` and turns ":" into "_" for the folder. Validators resolve
    every path as OBJID + "/" + href, and ":" is no file name character on Windows, so the OBJID is the folder form; the
    URN stands in METS altRecordID and PREMIS.
    """
    return urn(uuid, fonds_code).replace(":", "_")


def urn(uuid: UUID, fonds_code: str | None) -> str:
    """Returns the identifier in the circular's URN form."""
    if fonds_code is not None and _FONDS.fullmatch(fonds_code):
        return f"urn:{fonds_code}:uuid-{uuid}"
    return f"urn:uuid:{uuid}"


def arc_file_code(content: AipContent, profile: PackageProfile) -> str:
    """Returns arcFileCode = archive code + dossier code (R046)."""
    return f"{content.archive_code}{profile.separator}{content.dossier.dossier_code}"


def safe_name(text: str) -> str:
    """Returns `text` with every run of characters that is not a safe file name character replaced by one "_"."""
    name = _UNSAFE.sub("_", text).strip(".") or "_"
    return f"_{name}" if _WINDOWS_DEVICES.fullmatch(name) else name


def data_names(dossier: Dossier, sent_paths: Sequence[str], profile: PackageProfile) -> list[str]:
    """Returns the data file names in order: `dossier code.ordinal` (R025) with the sender's extension in lower case."""
    stem = safe_name(dossier.dossier_code)
    digits = max(profile.file_ordinal_digits, len(str(len(sent_paths))))
    names = []
    for ordinal, path in enumerate(sent_paths, start=1):
        extension = _EXTENSION.search(path)
        names.append(f"{stem}.{ordinal:0{digits}d}{extension[0].lower() if extension else ''}")
    return names


def validation_names(names: Sequence[str]) -> dict[str, str]:
    """Returns a safe, unique file name for each piece of validation material, in sorted order of the given names."""
    taken: set[str] = set()
    result: dict[str, str] = {}
    for name in sorted(names):
        stem = safe_name(name)
        candidate = stem
        number = 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{number}-{stem}"
        taken.add(candidate.casefold())
        result[name] = candidate
    return result
