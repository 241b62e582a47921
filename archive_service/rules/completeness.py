"""Completeness of a dossier by how it ended and what happened on the way (R005, R006).

What must be there is data: `profiles/completeness/<id>/<version>.toml`, with the vocabulary by which process steps are
recognised, because senders name their steps in natural Vietnamese. This module only asks whether a document of the kind
is in the dossier; whether the document is what it claims to be is for formats and signatures.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from archive_service.digests import Digest
from archive_service.dossier import Dossier, Outcome, Role
from archive_service.errors import ConfigurationInvalid
from archive_service.findings import Finding, Severity
from archive_service.resources import profiles_dir
from archive_service.rules import rule_files

DEFAULT_PROFILE: Final = "tthc"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKind:
    """How a kind of process step is recognised by its name."""

    kind: str
    words: tuple[str, ...]
    """Folded; one of them stands in the step's name."""
    exceptions: tuple[str, ...]
    """Folded; taken out of the name before `words` are looked for."""

    def recognises(self, folded_step: str) -> bool:
        """Returns whether a step with this folded name is of the kind."""
        rest = folded_step
        for exception in self.exceptions:
            rest = rest.replace(exception, " ")
        return any(word in rest for word in self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One document a dossier must hold when the conditions hold; an empty condition always holds."""

    code: str
    """Finding code when it is missing."""
    roles: frozenset[Role]
    """Any of them meets the requirement; none only where `process` meets it."""
    opinion_in_process: bool
    """An opinion recorded in a process step meets it too."""
    process: bool
    """Any recorded process step meets it (R007)."""
    unwanted: bool
    """Turned round: met when no component has one of `roles`."""
    outcomes: frozenset[Outcome]
    steps: frozenset[str]
    """Kinds of process step, one of which occurred."""
    overdue: bool
    """Only when the dossier closed after `due_at`."""
    severity: Severity
    basis: str
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletenessProfile:
    """One version of what dossiers must hold."""

    id: str
    version: str
    digest: Digest
    """Of the file's bytes (R145)."""
    valid_from: date
    valid_to: date | None
    step_kinds: tuple[StepKind, ...]
    requirements: tuple[Requirement, ...]


def load_completeness_profile(profile_id: str = DEFAULT_PROFILE, version: str | None = None) -> CompletenessProfile:
    """Reads a completeness profile; the newest version when none is named.

    Raises:
        ConfigurationInvalid: no such profile, or the file is malformed; the message names every place.
    """
    if not rule_files.NAME.fullmatch(profile_id):
        raise ConfigurationInvalid(f"not a profile name: {profile_id[:80]!r}")
    path = rule_files.versioned_path(profiles_dir() / "completeness" / profile_id, version)
    raw, digest = rule_files.read(path, _ProfileFile)
    return CompletenessProfile(
        id=raw.id,
        version=raw.version,
        digest=digest,
        valid_from=raw.valid_from,
        valid_to=raw.valid_to,
        step_kinds=tuple(
            StepKind(
                kind=step.kind,
                words=tuple(map(rule_files.fold, step.words)),
                exceptions=tuple(map(rule_files.fold, step.exceptions)),
            )
            for step in raw.step
        ),
        requirements=tuple(_requirement(requirement) for requirement in raw.requirement),
    )


@cache
def default_completeness_profile() -> CompletenessProfile:
    """Returns the newest shipped profile, read once per process.

    Raises:
        ConfigurationInvalid: the file is malformed.
    """
    return load_completeness_profile()


def check_completeness(dossier: Dossier, profile: CompletenessProfile) -> tuple[Finding, ...]:
    """Returns one finding for every document that the dossier's outcome or process calls for and that is not there."""
    roles = frozenset(part.role for part in dossier.components)
    opinions = any(step.opinion and step.opinion.strip() for step in dossier.process)
    occurred = _occurred(dossier, profile)
    return tuple(
        _finding(requirement, dossier, occurred)
        for requirement in profile.requirements
        if _applies(requirement, dossier, occurred)
        and bool(requirement.roles & roles) is requirement.unwanted
        and not (requirement.opinion_in_process and opinions)
        and not (requirement.process and dossier.process)
    )


def _occurred(dossier: Dossier, profile: CompletenessProfile) -> dict[str, str]:
    """Returns the kinds of step that occurred, each with the name of its first step."""
    first: dict[str, str] = {}
    for step in dossier.process:
        for kind in _kinds(step.step, profile):
            first.setdefault(kind, step.step)
    return first


def _kinds(name: str, profile: CompletenessProfile) -> Iterator[str]:
    folded = rule_files.fold(name)
    return (kind.kind for kind in profile.step_kinds if kind.recognises(folded))


def _applies(requirement: Requirement, dossier: Dossier, occurred: dict[str, str]) -> bool:
    return (
        (not requirement.outcomes or dossier.outcome in requirement.outcomes)
        and (not requirement.steps or not requirement.steps.isdisjoint(occurred))
        and (not requirement.overdue or (dossier.due_at is not None and dossier.closed_at > dossier.due_at))
    )


def _finding(requirement: Requirement, dossier: Dossier, occurred: dict[str, str]) -> Finding:
    params: dict[str, str | int | float | bool | None] = {}
    if requirement.steps:
        params["step"] = next(name for kind, name in occurred.items() if kind in requirement.steps)
    if requirement.overdue and dossier.due_at is not None:
        params |= {"closed_at": dossier.closed_at.isoformat(), "due_at": dossier.due_at.isoformat()}
    return Finding(code=requirement.code, location="", params=params, severity_override=requirement.severity)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Word = Annotated[str, Field(min_length=3, max_length=100)]


class _StepInFile(_File):
    kind: Annotated[str, Field(pattern="^[a-z_]+$")]
    words: Annotated[tuple[_Word, ...], Field(min_length=1)]
    exceptions: Annotated[tuple[_Word, ...], Field(alias="except")] = ()


class _RequirementInFile(_File):
    code: Annotated[str, Field(pattern="^[A-Z_]+$")]
    roles: frozenset[Role] = frozenset()
    opinion_in_process: bool = False
    process: bool = False
    unwanted: bool = False
    outcomes: frozenset[Outcome] = frozenset()
    steps: frozenset[str] = frozenset()
    overdue: bool = False
    severity: Severity
    basis: Annotated[str, Field(min_length=1)]
    mark: Annotated[str, Field(pattern="^[VPMI]$")]

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if not self.roles and not self.process:
            raise ValueError(f"requirement {self.code} names no role and cannot be met")
        return self


class _ProfileFile(_File):
    id: str
    version: str
    title: str
    valid_from: date
    valid_to: date | None = None
    basis: str
    mark: str
    step: tuple[_StepInFile, ...] = ()
    requirement: tuple[_RequirementInFile, ...]

    @model_validator(mode="after")
    def _kinds_known(self) -> Self:
        known = {step.kind for step in self.step}
        unknown = sorted({kind for requirement in self.requirement for kind in requirement.steps} - known)
        if unknown:
            raise ValueError(f"requirements name step kinds without words: {', '.join(unknown)}")
        return self


def _requirement(raw: _RequirementInFile) -> Requirement:
    return Requirement(
        code=raw.code,
        roles=raw.roles,
        opinion_in_process=raw.opinion_in_process,
        process=raw.process,
        unwanted=raw.unwanted,
        outcomes=raw.outcomes,
        steps=raw.steps,
        overdue=raw.overdue,
        severity=raw.severity,
        basis=raw.basis,
        mark=raw.mark,
    )
