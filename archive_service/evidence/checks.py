"""Results of verification: one tri-state indication and reason per check, never a bool (ETSI EN 319 102-1 vocabulary).

FAILED means the evidence proves the claim false or is broken; INDETERMINATE means it could not be decided, with the
reason; PASSED means the check was carried out and held. Reasons are findings, so that each has a Vietnamese and an
English text.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from archive_service.findings import Finding


class Indication(StrEnum):
    """Outcome of a check (ETSI EN 319 102-1 clause 5.1.3, building-block indications)."""

    PASSED = "PASSED"
    INDETERMINATE = "INDETERMINATE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One step of a verification procedure and how it came out."""

    step: str
    """The step by clause, for example "RFC 4998 4.3(3)"."""
    subject: str
    """What was checked: an object's name, "chain 2 time-stamp 1"; empty for the whole."""
    indication: Indication
    reason: Finding | None = None
    """Why it did not pass; None exactly when it passed."""

    def __post_init__(self) -> None:
        if (self.reason is None) is not (self.indication is Indication.PASSED):
            raise ValueError(f"check {self.step}: a reason is given exactly when the check did not pass")

    def as_json(self, language: str = "vi") -> dict[str, Any]:
        """Returns the JSON form, with the reason's texts."""
        return {
            "step": self.step,
            "subject": self.subject,
            "indication": self.indication.value,
            "reason": None if self.reason is None else self.reason.as_json(language),
        }


def passed(step: str, subject: str = "") -> Check:
    """Returns a check that held."""
    return Check(step=step, subject=subject, indication=Indication.PASSED)


def failed(step: str, code: str, subject: str = "", **params: str | float | bool | None) -> Check:
    """Returns a check that did not hold, with its reason."""
    return Check(step=step, subject=subject, indication=Indication.FAILED, reason=_reason(code, subject, params))


def undecided(step: str, code: str, subject: str = "", **params: str | float | bool | None) -> Check:
    """Returns a check that could not be decided, with its reason."""
    return Check(step=step, subject=subject, indication=Indication.INDETERMINATE, reason=_reason(code, subject, params))


def _reason(code: str, subject: str, params: dict[str, str | float | bool | None]) -> Finding:
    return Finding(code=code, location=subject, params=params)


def overall(checks: Iterable[Check]) -> Indication:
    """Returns FAILED when any check failed, PASSED when all passed and there was one, else INDETERMINATE."""
    found = {check.indication for check in checks}
    if Indication.FAILED in found:
        return Indication.FAILED
    return Indication.PASSED if found == {Indication.PASSED} else Indication.INDETERMINATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All checks of one verification, in the order they were made."""

    checks: tuple[Check, ...] = field(default=())

    @property
    def indication(self) -> Indication:
        """The whole's outcome."""
        return overall(self.checks)

    @property
    def reasons(self) -> tuple[Finding, ...]:
        """Why not everything passed."""
        return tuple(check.reason for check in self.checks if check.reason is not None)

    def as_json(self, language: str = "vi") -> dict[str, Any]:
        """Returns the JSON form: indication and every check."""
        return {"indication": self.indication.value, "checks": [check.as_json(language) for check in self.checks]}
