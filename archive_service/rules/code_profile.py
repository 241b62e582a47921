"""Code patterns, code lists and the agency list as dated data.

`profiles/codes/<version>.toml` (R003, R009, R040, R145).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from types import MappingProxyType
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from archive_service.digests import Digest
from archive_service.resources import profiles_dir
from archive_service.rules import rule_files


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePattern:
    """A form of code that is or was in use."""

    id: str
    pattern: re.Pattern[str]
    """Matched against the whole code."""
    valid_from: date | None
    valid_to: date | None
    basis: str
    mark: str
    """V, P, M or I (REGULATIONS 0.1)."""

    def in_force(self, on: date) -> bool:
        """Returns whether codes of this form were issued on the civil date `on`."""
        return (self.valid_from is None or self.valid_from <= on) and (self.valid_to is None or on <= self.valid_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agency:
    """One agency of the list."""

    code: str
    """In the order of QĐ 20/2020."""
    name: str
    valid_from: date | None
    valid_to: date | None
    successors: tuple[str, ...]
    covers_below: bool
    """The units below this agency are not listed one by one."""

    def in_force(self, on: date) -> bool:
        """Returns whether the agency's code was in use on the civil date `on`."""
        return (self.valid_from is None or self.valid_from <= on) and (self.valid_to is None or on <= self.valid_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeProfile:
    """One version of the code rules."""

    version: str
    digest: Digest
    """Of the profile file's bytes."""
    agency_list_version: str
    agency_list_digest: Digest
    clock_skew: timedelta
    """How far a sender's clock may be ahead before a time counts as lying in the future."""
    dossier_codes: tuple[CodePattern, ...]
    procedure_code: re.Pattern[str]
    agency_codes: tuple[CodePattern, ...]
    agencies: Mapping[str, tuple[Agency, ...]]
    """Entries by code; a code used again later has several."""
    lists: Mapping[str, frozenset[str]]
    """Two-digit code lists by name: type_code, maintenance, access_mode."""
    lengths: Mapping[str, int]
    """Longest value in characters by EAD field."""


def load_code_profile(version: str | None = None) -> CodeProfile:
    """Reads a code profile with the agency list it names; the newest version when none is named.

    Raises:
        ConfigurationInvalid: no such version, or a file is malformed; the message names every place.
    """
    folder = profiles_dir() / "codes"
    raw, digest = rule_files.read(rule_files.versioned_path(folder, version), _ProfileFile)
    agencies, agencies_digest = rule_files.read(folder / raw.agency_list, _AgencyFile)
    by_code: dict[str, tuple[Agency, ...]] = {}
    for entry in agencies.agency:
        agency = Agency(
            code=entry.code,
            name=entry.name,
            valid_from=entry.valid_from,
            valid_to=entry.valid_to,
            successors=entry.successors,
            covers_below=entry.covers_below,
        )
        by_code[entry.code] = (*by_code.get(entry.code, ()), agency)
    return CodeProfile(
        version=raw.version,
        digest=digest,
        agency_list_version=agencies.version,
        agency_list_digest=agencies_digest,
        clock_skew=timedelta(seconds=raw.clock_skew_s),
        dossier_codes=tuple(map(_pattern, raw.dossier_code)),
        procedure_code=re.compile(raw.procedure_code.pattern, re.ASCII),
        agency_codes=tuple(map(_pattern, raw.agency_code)),
        agencies=MappingProxyType(by_code),
        lists=MappingProxyType({name: entry.codes() for name, entry in raw.lists.items()}),
        lengths=MappingProxyType(raw.lengths.model_dump(exclude={"basis", "mark"})),
    )


@cache
def default_code_profile() -> CodeProfile:
    """Returns the newest shipped code profile, read once per process.

    Raises:
        ConfigurationInvalid: a file is malformed.
    """
    return load_code_profile()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _compiles(value: str) -> str:
    try:
        re.compile(value, re.ASCII)
    except re.error as exc:
        raise ValueError(f"not a regular expression: {exc}") from exc
    return value


_Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_compiles)]
_DOSSIER_CODE_GROUPS: Final = {"agency", "date"}


class _PatternInFile(_File):
    id: Annotated[str, Field(min_length=1)]
    title: str = ""
    pattern: _Pattern
    valid_from: date | None = None
    valid_to: date | None = None
    basis: Annotated[str, Field(min_length=1)]
    mark: Annotated[str, Field(pattern="^[VPMI]$")]


class _DossierPatternInFile(_PatternInFile):
    @model_validator(mode="after")
    def _groups(self) -> Self:
        if not set(re.compile(self.pattern).groupindex) >= _DOSSIER_CODE_GROUPS:
            raise ValueError("a dossier code pattern needs the groups agency and date")
        return self


class _ProcedureCodeInFile(_File):
    pattern: _Pattern
    basis: str
    mark: str


class _ListInFile(_File):
    first: Annotated[int, Field(ge=0, le=99, alias="from")]
    last: Annotated[int, Field(ge=0, le=99, alias="to")]
    basis: str
    mark: str

    def codes(self) -> frozenset[str]:
        """Returns the two-digit codes of the list."""
        return frozenset(f"{number:02d}" for number in range(self.first, self.last + 1))


class _LengthsInFile(_File):
    basis: str
    mark: str
    title: int
    language: int
    arc_file_code: int
    doc_code: int
    code_number: int
    code_notation: int
    organ_name: int
    subject: int


class _ProfileFile(_File):
    version: str
    agency_list: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9._-]*)*\.toml$")]
    clock_skew_s: Annotated[int, Field(ge=0, le=86_400)]
    dossier_code: Annotated[tuple[_DossierPatternInFile, ...], Field(min_length=1)]
    procedure_code: _ProcedureCodeInFile
    agency_code: Annotated[tuple[_PatternInFile, ...], Field(min_length=1)]
    lists: dict[str, _ListInFile]
    lengths: _LengthsInFile


class _AgencyInFile(_File):
    code: Annotated[str, Field(min_length=1, max_length=35)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    valid_from: date | None = None
    valid_to: date | None = None
    successors: tuple[str, ...] = ()
    covers_below: bool = False
    mark: Annotated[str, Field(pattern="^[VPMI]$")]


class _AgencyFile(_File):
    version: str
    sample: bool
    agency: tuple[_AgencyInFile, ...]


def _pattern(raw: _PatternInFile) -> CodePattern:
    return CodePattern(
        id=raw.id,
        pattern=re.compile(raw.pattern, re.ASCII),
        valid_from=raw.valid_from,
        valid_to=raw.valid_to,
        basis=raw.basis,
        mark=raw.mark,
    )
