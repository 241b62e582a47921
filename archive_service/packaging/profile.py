"""The package profile: field lists, codes and URLs of TT 05/2025 as data (R145), read from `profiles/packaging/`."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from archive_service.errors import ConfigurationInvalid
from archive_service.resources import profiles_dir

PROFILE_ID: Final = "aip_hoso"
PROFILE_VERSION: Final = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class EadField:
    """One metadata field of a TT 05/2025 list."""

    name: str
    max_length: int
    """Characters."""
    required: bool = False
    """Whether an empty value is wrong."""
    pattern: re.Pattern[str] | None = None

    def problem(self, value: str) -> str | None:
        """Returns why `value` does not fit, or None."""
        if self.required and not value:
            return "is empty"
        if len(value) > self.max_length:
            return f"has {len(value)} characters, at most {self.max_length}"
        if self.pattern is not None and self.pattern.fullmatch(value) is None:
            return f"is not of the form {self.pattern.pattern}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageProfile:
    """Everything of the profile that the builder and the verifier use."""

    id: str
    version: str
    ead: tuple[EadField, ...]
    ead_doc: tuple[EadField, ...]
    separator: str
    doc_ordinal_digits: int
    file_ordinal_digits: int
    mets_type: str
    content_information_type: str
    other_content_information_type: str
    profile_urls: Mapping[str, str]
    """METS PROFILE by CSIP version."""
    maintenance_permanent: str
    maintenance_years: Mapping[str, str]
    maintenance_other: str
    confidence: Mapping[str, str]
    digitised_origins: frozenset[str]
    processed_origins: frozenset[str]
    media_types: frozenset[str]
    fallback_media_type: str
    schemas: Mapping[str, bytes] = field(repr=False)
    """Our own schemas by file name, as they go into every package."""

    def media_type(self, identified: str) -> str:
        """Returns the media type to declare in METS (CSIP68): the identified one if registered, else the fallback."""
        return identified if identified in self.media_types else self.fallback_media_type


def _field(raw: Mapping[str, Any]) -> EadField:
    pattern = raw.get("pattern")
    return EadField(
        name=raw["name"],
        max_length=raw["max_length"],
        required=raw.get("required", False),
        pattern=re.compile(pattern) if pattern else None,
    )


def _profile(raw: Mapping[str, Any], schemas: Mapping[str, bytes]) -> PackageProfile:
    return PackageProfile(
        id=raw["id"],
        version=raw["version"],
        ead=tuple(map(_field, raw["ead"])),
        ead_doc=tuple(map(_field, raw["ead_doc"])),
        separator=raw["codes"]["separator"],
        doc_ordinal_digits=raw["codes"]["doc_ordinal_digits"],
        file_ordinal_digits=raw["codes"]["file_ordinal_digits"],
        mets_type=raw["mets"]["type"],
        content_information_type=raw["mets"]["content_information_type"],
        other_content_information_type=raw["mets"]["other_content_information_type"],
        profile_urls=MappingProxyType(dict(raw["mets"]["profile_url"])),
        maintenance_permanent=raw["maintenance"]["permanent"],
        maintenance_years=MappingProxyType(dict(raw["maintenance"]["years"])),
        maintenance_other=raw["maintenance"]["other"],
        confidence=MappingProxyType({key: raw["confidence"][key] for key in ("electronic", "digitised", "mixed")}),
        digitised_origins=frozenset(raw["confidence"]["digitised_origins"]),
        processed_origins=frozenset(raw["confidence"]["processed_origins"]),
        media_types=frozenset(raw["media_types"]["registered"]),
        fallback_media_type=raw["media_types"]["fallback"],
        schemas=schemas,
    )


def _schemas(folder: Path) -> Mapping[str, bytes]:
    return MappingProxyType({path.name: path.read_bytes() for path in sorted(folder.glob("*.xsd"))})


@cache
def package_profile() -> PackageProfile:
    """Returns the profile this code is written against.

    Raises:
        ConfigurationInvalid: the profile file is missing or malformed.
    """
    folder = profiles_dir() / "packaging" / PROFILE_ID
    path = folder / f"{PROFILE_VERSION}.toml"
    try:
        return _profile(tomllib.loads(path.read_text(encoding="utf-8")), _schemas(folder / "schemas"))
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, re.error) as exc:
        raise ConfigurationInvalid(f"{path}: {exc!r}") from exc
