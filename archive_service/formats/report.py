"""What the checks of one file come to: findings, facts, and what was not checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from archive_service.findings import Finding
from archive_service.formats.identify import Identification
from archive_service.formats.phrases import vietnamese

Fact: TypeAlias = str | int | float | bool | list["Fact"] | dict[str, "Fact"] | None
"""A JSON value."""

_WORDED: Final = ("reason", "what", "limit")
"""Params that hold a phrase in English and get a Vietnamese one beside it."""
MAX_NAMED: int = 10
"""Places named in one finding; the count says how many there are in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatReport:
    """The report on one file."""

    identification: Identification
    findings: tuple[Finding, ...]
    facts: Mapping[str, Fact]
    """Technical properties by name: pages, pdf_version, pdfa_claim, fonts, dpi, colour, text_layer, duration_s,
    bitrate_kbps, width_px, height_px, ... Only what was seen; README.md lists the names."""
    not_checked: tuple[str, ...]
    """What could not or was not to be checked, each with its reason. Empty does not mean sound, only looked at."""
    checked: tuple[str, ...] = ()
    """Which checks ran, for example `PDF structure (qpdf 12.3)`, `PDF/A-1b (own structural checks)`."""


@dataclass(slots=True)
class Notes:
    """Collects what the checks of one file say while they run."""

    location: str
    """Component id or file name, the location of every finding."""
    format: str
    """The format's name as texts show it."""
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Fact] = field(default_factory=dict)
    not_checked: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)

    def find(self, code: str, **params: str | float | bool | None) -> None:
        """Adds a finding; `format` and the Vietnamese wording of reasons are filled in."""
        worded = {f"{key}_vi": vietnamese(text) for key in _WORDED if isinstance(text := params.get(key), str)}
        filled = {"format": self.format, **params, **worded}
        self.findings.append(Finding(code=code, location=self.location, params=filled))

    def has(self, *codes: str) -> bool:
        """Returns whether a finding of one of these codes was added."""
        return any(finding.code in codes for finding in self.findings)

    def broken(self, reason: str) -> None:
        """Adds FORMAT_BROKEN."""
        self.find("FORMAT_BROKEN", reason=shorten(reason))

    def tell_contents(self, macros: list[str], embedded: list[str]) -> None:
        """Adds FORMAT_MACROS and FORMAT_EMBEDDED_FILES for what was found by these names."""
        if macros:
            self.find("FORMAT_MACROS", where=named(macros))
        if embedded:
            self.find("FORMAT_EMBEDDED_FILES", count=len(embedded), where=named(embedded))

    def unchecked(self, what: str, reason: str) -> None:
        """Says that a check was wanted and could not run: shown to the approver, never silence."""
        self.not_checked.append(f"{what}: {reason}")
        self.find("FORMAT_NOT_CHECKED", what=what, reason=shorten(reason))

    def over_limit(self, what: str, limit: str) -> None:
        """Says that the file is beyond what is checked: nobody looked, so it must not look fine."""
        self.not_checked.append(f"{what}: more than {limit}")
        self.find("FORMAT_TOO_LARGE_TO_CHECK", what=what, limit=limit)

    def skipped(self, what: str, reason: str) -> None:
        """Says that a check was not asked for at this depth: in the report, without a finding."""
        self.not_checked.append(f"{what}: {reason}")


def shorten(text: str, length: int = 200) -> str:
    """Returns text from a library or a file fit for a message: one line, printable, bounded."""
    line = "".join(char if char.isprintable() else " " for char in text.strip())
    return line if len(line) <= length else line[: length - 1] + "…"


def named(places: list[str]) -> str:
    """Returns the first places as one text."""
    shown = ", ".join(shorten(place, 80) for place in places[:MAX_NAMED])
    return shown if len(places) <= MAX_NAMED else f"{shown}, …"
