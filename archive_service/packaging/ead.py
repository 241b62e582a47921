"""EAD.xml and EAD_doc_*.xml: the 18 dossier fields and 19 document fields of TT 05/2025 PL I (R040, R041, R046).

A value longer than its field allows is cut with "…": the full value stands in dossier.json of the same package.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from archive_service.clock import civil_date
from archive_service.dossier import Component
from archive_service.packaging.content import AipContent
from archive_service.packaging.layout import arc_file_code
from archive_service.packaging.profile import EadField, PackageProfile
from archive_service.packaging.xml_text import DECLARATION, civil, xml

EAD_SCHEMA: Final = "ead.xsd"
EAD_DOC_SCHEMA: Final = "ead_doc.xsd"
_XSI: Final = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def ead_values(content: AipContent, profile: PackageProfile) -> dict[str, str]:
    """Returns the 18 fields of the dossier by name."""
    dossier = content.dossier
    digitised = [item for item in dossier.components if item.origin.value in profile.digitised_origins]
    pages = [item.pages for item in dossier.components]
    return {
        "arcFileCode": arc_file_code(content, profile),
        "title": dossier.title,
        "maintenance": maintenance_code(content.retention, profile),
        "mode": dossier.access_mode,
        "language": ", ".join(dict.fromkeys(item.language for item in dossier.components)),
        "startDate": civil(civil_date(dossier.received_at)),
        "endDate": civil(civil_date(dossier.closed_at)),
        "keyword": f"{dossier.field}; {dossier.procedure_name}",
        "totalDoc": str(len(dossier.components)),
        "numberOfPaper": _total([item.pages for item in digitised]),
        "numberOfPage": _total(pages),
        "format": "",
        "inforSign": dossier.procedure_code if len(dossier.procedure_code) <= _length(profile.ead, "inforSign") else "",
        "confidenceLevel": _confidence(len(digitised), len(dossier.components), profile),
        "paperFileCode": dossier.dossier_code if digitised else "",
        # permanent records come under the reserve-copy regime (R125); "02" says that the copy is still to be made
        "riskRecovery": "1" if _is_permanent(content.retention) else "0",
        "riskRecoveryStatus": "02" if _is_permanent(content.retention) else "",
        "description": f"{dossier.procedure_code}: {dossier.outcome.value}",
    }


def ead_xml(content: AipContent, profile: PackageProfile) -> bytes:
    """Returns EAD.xml."""
    return _simpledc(profile.ead, ead_values(content, profile), f"../../schemas/{EAD_SCHEMA}")


class EadDocWriter:
    """Writes EAD_doc files; what is the same for every document of a dossier is worked out once."""

    def __init__(self, content: AipContent, profile: PackageProfile) -> None:
        self._profile = profile
        self._code = arc_file_code(content, profile)
        self._dossier = content.dossier

    def values(self, component: Component, ordinal: int) -> dict[str, str]:
        """Returns the 19 fields of the document with this ordinal, counted from 1."""
        profile = self._profile
        digits = f"{ordinal:0{profile.doc_ordinal_digits}d}"
        digitised = component.origin.value in profile.digitised_origins
        return {
            "arcFileCode": self._code,
            "mode": self._dossier.access_mode,
            "language": component.language,
            "keyword": component.role.value,
            "numberOfPage": "" if component.pages is None or component.pages > 9999 else str(component.pages),  # noqa: PLR2004 - 4 digits
            "format": "",
            "inforSign": "",
            "confidenceLevel": profile.confidence["digitised" if digitised else "electronic"],
            "description": component.path,
            "docCode": f"{self._code}{profile.separator}{digits}",
            "docOrdinal": digits,
            "typeName": component.type_code,
            "codeNumber": component.number or "",
            "codeNotation": component.symbol or "",
            "issuedDate": civil(component.issued_on) if component.issued_on else "",
            "organName": component.issuer or "",
            "subject": component.title,
            "autograph": "",
            "process": "1" if component.origin.value in profile.processed_origins else "0",
        }

    def xml(self, component: Component, ordinal: int) -> bytes:
        """Returns the EAD_doc file of one document."""
        return _simpledc(
            self._profile.ead_doc, self.values(component, ordinal), f"../../../../schemas/{EAD_DOC_SCHEMA}"
        )


def maintenance_code(retention: Mapping[str, object], profile: PackageProfile) -> str:
    """Returns the `maintenance` code of a retention assignment (R065); an open one is "other", never a guess (R064)."""
    stated = str(retention.get("maintenance_code") or "")
    if re.fullmatch("0[1-7]", stated):
        return stated
    if _is_permanent(retention):
        return profile.maintenance_permanent
    return profile.maintenance_years.get(str(retention.get("years")), profile.maintenance_other)


def _is_permanent(retention: Mapping[str, object]) -> bool:
    return str(retention.get("kind", "")).upper() == "PERMANENT"


def _length(fields: Sequence[EadField], name: str) -> int:
    return next(field.max_length for field in fields if field.name == name)


def _total(pages: Sequence[int | None]) -> str:
    """Returns the sum when every part of it is known; a partial sum would be a wrong statement."""
    known = [count for count in pages if count is not None]
    return str(sum(known)) if known and len(known) == len(pages) else ""


def _confidence(digitised: int, total: int, profile: PackageProfile) -> str:
    if digitised == 0:
        return profile.confidence["electronic"]
    return profile.confidence["digitised" if digitised == total else "mixed"]


def _simpledc(fields: Sequence[EadField], values: Mapping[str, str], schema: str) -> bytes:
    lines = [f'{DECLARATION}<simpledc {_XSI} xsi:noNamespaceSchemaLocation="{schema}">\n']
    lines += [f"  <{field.name}>{xml(_cut(values[field.name], field.max_length))}</{field.name}>\n" for field in fields]
    lines.append("</simpledc>\n")
    return "".join(lines).encode()


def _cut(value: str, max_length: int) -> str:
    return value if len(value) <= max_length else value[: max_length - 1] + "…"
