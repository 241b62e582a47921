"""Retention rule sets: `retention_rules/<id>/<version>.toml` read, validated and pinned by digest (R060, R145).

A rule says for which documents (procedure, field, level of the settling agency, outcome, role and type of the document)
which period holds, on which legal basis, and how sure its author was of that basis. TT 10/2022/TT-BNV rows for
administrative procedures are not known to this project, so the shipped set is an example and says so in `sample`; an
agency enters its own.
"""

import fnmatch
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from archive_service.digests import Digest
from archive_service.dossier import Outcome, Role
from archive_service.errors import ConfigurationInvalid
from archive_service.resources import retention_rules_dir
from archive_service.rules import rule_files

DEFAULT_RULE_SET: Final = "sample"
"""The set used when the operator names none. Its periods are examples."""

MAX_YEARS: Final = 500
"""Longest period a rule may give; longer means permanent. Keeps every due date inside the calendar."""


class Mark(StrEnum):
    """How sure a statement about the law is (REGULATIONS 0.1)."""

    VERIFIED = "V"
    PARTLY = "P"
    MEMORY = "M"
    INTERPRETATION = "I"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """One line of a retention schedule. An empty condition holds for everything."""

    id: str
    title_vi: str
    title_en: str
    procedure_codes: tuple[str, ...]
    """Globs over the procedure code, such as `1.004222.*`."""
    fields: tuple[str, ...]
    """Globs over the field (lĩnh vực), compared without case and marks."""
    agency_levels: tuple[int, ...]
    """Levels of the settling agency's code: 1 province or ministry, 2 department or commune, 3 and 4 below."""
    outcomes: tuple[Outcome, ...]
    roles: tuple[Role, ...]
    type_codes: tuple[str, ...]
    years: int | None
    """Years counted from the year the work ended; None means permanent."""
    basis: str
    """Legal basis as the agency states it."""
    mark: Mark
    valid_from: date | None
    """First day of work end (Vietnamese civil date) the rule covers; None means from the beginning."""
    valid_to: date | None
    """Last such day; None means still in force."""

    @property
    def specificity(self) -> tuple[bool, bool, int]:
        """How narrowly the rule is drawn: by procedure, else by field, then by the number of further conditions.

        Of the rules that fit a document the narrowest decides; when several equally narrow ones differ, nobody decides
        (R064).
        """
        further = (self.agency_levels, self.outcomes, self.roles, self.type_codes)
        return bool(self.procedure_codes), bool(self.fields), sum(map(bool, further))

    def covers(self, procedure_code: str, folded_field: str, agency_level: int | None) -> bool:
        """Returns whether the conditions on the procedure and the agency hold.

        An unknown level fits no rule that asks for one.
        """
        return (
            (
                not self.procedure_codes
                or any(fnmatch.fnmatchcase(procedure_code, code) for code in self.procedure_codes)
            )
            and (
                not self.fields or any(fnmatch.fnmatchcase(folded_field, rule_files.fold(name)) for name in self.fields)
            )
            and (not self.agency_levels or agency_level in self.agency_levels)
        )

    def in_force(self, on: date) -> bool:
        """Returns whether the rule covers work that ended on the civil date `on`."""
        return (self.valid_from is None or self.valid_from <= on) and (self.valid_to is None or on <= self.valid_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """A retention schedule as data: one version of one file."""

    id: str
    version: str
    digest: Digest
    """Of the file's bytes; pinned by every assignment."""
    title_vi: str
    title_en: str
    sample: bool
    """The periods are made-up examples; nothing may be destroyed under them."""
    legal_basis: str
    mark: Mark
    valid_from: date
    valid_to: date | None
    approved_by: str | None
    approved_on: date | None
    approval_document: str | None
    """Number and symbol of the decision that approved the set."""
    rules: tuple[RetentionRule, ...]

    @property
    def approved(self) -> bool:
        """Whether a named person approved the set on a named day."""
        return self.approved_by is not None and self.approved_on is not None


def load_rules(set_id: str = DEFAULT_RULE_SET, version: str | None = None) -> RuleSet:
    """Reads a rule set; the newest version when none is named.

    Raises:
        ConfigurationInvalid: no such set or version, or the file is malformed; the message names every place.
    """
    if not rule_files.NAME.fullmatch(set_id):
        raise ConfigurationInvalid(f"not a rule set name: {set_id[:80]!r}")
    path = rule_files.versioned_path(retention_rules_dir() / set_id, version)
    raw, digest = rule_files.read(path, _RuleSetFile)
    if (raw.id, raw.version) != (set_id, path.stem):
        raise ConfigurationInvalid(f"{path}: says it is {raw.id}/{raw.version}")
    return RuleSet(
        id=raw.id,
        version=raw.version,
        digest=digest,
        title_vi=raw.title_vi,
        title_en=raw.title_en,
        sample=raw.sample,
        legal_basis=raw.legal_basis,
        mark=raw.mark,
        valid_from=raw.valid_from,
        valid_to=raw.valid_to,
        approved_by=raw.approved_by,
        approved_on=raw.approved_on,
        approval_document=raw.approval_document,
        rules=tuple(_rule(rule) for rule in raw.rule),
    )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Glob = Annotated[str, Field(min_length=1, max_length=200)]
_Line = Annotated[str, Field(min_length=1, max_length=1000)]


class _RuleInFile(_File):
    id: Annotated[str, Field(pattern=f"^{rule_files.NAME.pattern}$")]
    title_vi: _Line
    title_en: _Line
    procedure_codes: tuple[_Glob, ...] = ()
    fields: tuple[_Glob, ...] = ()
    agency_levels: tuple[Annotated[int, Field(ge=1, le=4)], ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    roles: tuple[Role, ...] = ()
    type_codes: tuple[Annotated[str, Field(pattern=r"^[0-9]{2}$")], ...] = ()
    permanent: bool = False
    years: Annotated[int, Field(ge=1, le=MAX_YEARS)] | None = None
    basis: _Line
    mark: Mark
    valid_from: date | None = None
    valid_to: date | None = None

    @model_validator(mode="after")
    def _one_period(self) -> Self:
        if self.permanent == (self.years is not None):
            raise ValueError("exactly one of permanent = true and years = N is needed")
        if self.valid_from and self.valid_to and self.valid_to < self.valid_from:
            raise ValueError("valid_to is before valid_from")
        return self


class _RuleSetFile(_File):
    id: str
    version: str
    title_vi: _Line
    title_en: _Line
    sample: bool
    legal_basis: _Line
    mark: Mark
    valid_from: date
    valid_to: date | None = None
    approved_by: _Line | None = None
    approved_on: date | None = None
    approval_document: _Line | None = None
    rule: tuple[_RuleInFile, ...] = ()

    @model_validator(mode="after")
    def _ids_once(self) -> Self:
        ids = [rule.id for rule in self.rule]
        twice = sorted({rule_id for rule_id in ids if ids.count(rule_id) > 1})
        if twice:
            raise ValueError(f"rule ids stand twice: {', '.join(twice)}")
        return self


def _rule(raw: _RuleInFile) -> RetentionRule:
    return RetentionRule(
        id=raw.id,
        title_vi=raw.title_vi,
        title_en=raw.title_en,
        procedure_codes=raw.procedure_codes,
        fields=raw.fields,
        agency_levels=raw.agency_levels,
        outcomes=raw.outcomes,
        roles=raw.roles,
        type_codes=raw.type_codes,
        years=None if raw.permanent else raw.years,
        basis=raw.basis,
        mark=raw.mark,
        valid_from=raw.valid_from,
        valid_to=raw.valid_to,
    )
