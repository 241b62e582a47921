"""Findings: how a dossier or file does not conform. Values, collected in full, never raised.

Codes, severities and texts (Vietnamese first, English second) are data: `profiles/findings/<version>/*.toml`, one file per area, each
entry keyed by its code with `severity`, `vi`, `en`, `basis` (requirement id or clause). Texts take the finding's params as
`{name}` fields.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from archive_service.clock import LEGAL_ZONE
from archive_service.errors import ConfigurationInvalid
from archive_service.resources import profiles_dir

FINDINGS_VERSION = "1"
"""Version folder of the finding catalogue this code is written against."""
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d.*)?")
_DAY_CHARS: Final = len("2025-03-28")
_FIELD: Final = re.compile(r"\{[^{}]*\}")
_ASIDE: Final = re.compile(r" \(…\)|(?:: …)+\.?$")
"""What a text only adds, in brackets or behind its last colon."""


class Severity(StrEnum):
    """How much a finding weighs: an error rejects, a warning is shown to the approver, info is kept in the report."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingDefinition:
    """One catalogue entry."""

    code: str
    severity: Severity
    vi: str
    en: str
    basis: str
    """Requirement id (R-number) or clause that the finding rests on."""

    def summary(self, language: str = "vi") -> str:
        """Returns the text for many findings at once: what differs between them is left open."""
        return _ASIDE.sub("", _FIELD.sub("…", self.en if language == "en" else self.vi))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One way in which something does not conform, at one place."""

    code: str
    location: str
    """Where: a component id, a path in a package, a JSON pointer into dossier.json; empty for the whole dossier."""
    params: Mapping[str, str | int | float | bool | None] = field(default_factory=lambda: MappingProxyType({}))
    """Values for the text's fields."""
    severity_override: Severity | None = None
    """A policy may weigh a finding otherwise than the catalogue does."""

    @property
    def severity(self) -> Severity:
        """The policy's severity, else the catalogue's."""
        return self.severity_override or definition(self.code).severity

    def message(self, language: str = "vi") -> str:
        """Returns the text in `language` ("vi" or "en") with the params filled in; Vietnamese has days and times as people write them."""
        entry = definition(self.code)
        if language == "en":
            return entry.en.format_map(_Params(self.params))
        return entry.vi.format_map(_Params({name: _spoken(value) for name, value in self.params.items()}))

    def as_json(self, language: str = "vi") -> dict[str, Any]:
        """Returns the JSON form of DESIGN section 5, with both texts and the params."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "location": self.location,
            "message": self.message(language),
            "message_vi": self.message("vi"),
            "message_en": self.message("en"),
            "params": dict(self.params),
        }


def _spoken(value: Any) -> Any:  # any value of a finding's params
    """Returns an ISO 8601 day as dd/MM/yyyy and a moment in Vietnamese time, to the second where it has any; all else as it is."""
    if not isinstance(value, str) or not _ISO.fullmatch(value):
        return value
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None:
            at = at.astimezone(LEGAL_ZONE)
    except (ValueError, OverflowError):  # no such day; a moment at the ends of the calendar has no Vietnamese time
        return value
    if at.tzinfo is None:
        return f"{at:%d/%m/%Y}" if len(value) == _DAY_CHARS else value
    return f"{at:{'%d/%m/%Y %H:%M:%S' if at.second else '%d/%m/%Y %H:%M'}}"


class _Params(dict[str, Any]):
    """Params for a text; a missing one shows as its name so that a message never fails to render.

    A finding kept from before a reason had Vietnamese words shows those it has.
    """

    def __missing__(self, key: str) -> str:
        known = self.get(key.removesuffix("_vi"))
        return "{" + key + "}" if known is None else str(known)


@cache
def catalogue() -> Mapping[str, FindingDefinition]:
    """Returns every known finding by code.

    Raises:
        ConfigurationInvalid: a file is malformed or a code stands twice.
    """
    entries: dict[str, FindingDefinition] = {}
    for path in sorted((profiles_dir() / "findings" / FINDINGS_VERSION).glob("*.toml")):
        for code, raw in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if code in entries:
                raise ConfigurationInvalid(f"{path}: finding code {code} stands twice")
            try:
                entries[code] = FindingDefinition(
                    code=code, severity=Severity(raw["severity"]), vi=raw["vi"], en=raw["en"], basis=raw["basis"]
                )
            except (KeyError, ValueError) as exc:
                raise ConfigurationInvalid(f"{path}: finding {code}: {exc}") from exc
    return MappingProxyType(entries)


def definition(code: str) -> FindingDefinition:
    """Returns the catalogue entry of `code`.

    Raises:
        ConfigurationInvalid: no such code.
    """
    try:
        return catalogue()[code]
    except KeyError:
        raise ConfigurationInvalid(f"finding code {code} is not in the catalogue") from None


def rejects(findings: Iterable[Finding]) -> bool:
    """Returns whether any finding is an error."""
    return any(finding.severity is Severity.ERROR for finding in findings)
