"""Format policy: which formats are taken in, and what a digitised file must be (R021, R022, R026).

The rules are data: `profiles/formats/<id>/<version>.toml`, with validity dates, legal basis and a mark of certainty per
row. A decision pins the policy's version and digest (R145).
"""

import os
import pickle  # from this program to its own worker processes only
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

from archive_service.digests import Digest, digest_bytes
from archive_service.errors import ConfigurationInvalid
from archive_service.findings import Finding, Severity
from archive_service.formats.identify import Identification
from archive_service.formats.mime import covers, is_container
from archive_service.resources import profiles_dir

DEFAULT_POLICY: Final = "tthc"
"""Policy used where no profile names another."""

_OFF: Final = "off"


class Treatment(StrEnum):
    """What the policy does with a format."""

    ACCEPTED = "accepted"
    ACCEPTED_WITH_WARNING = "accepted_with_warning"
    TO_BE_NORMALISED = "to_be_normalised"
    REFUSED = "refused"


class DataType(StrEnum):
    """Kinds of data the circular lists formats for, plus two that files come as."""

    TEXT = "text"
    SHEET = "sheet"
    SLIDE = "slide"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DATABASE = "database"
    CONTAINER = "container"


class Depth(StrEnum):
    """How much of a file is looked at."""

    IDENTIFY = "identify"
    """What it is; nothing is parsed."""
    STANDARD = "standard"
    """Structure is parsed, every object or entry visited; pixels are not decoded, PDF/A is tested where policy asks."""
    FULL = "full"
    """Everything this package can test, full decode of images and PDF/A claims included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatRule:
    """One row: formats of one data type that are treated alike."""

    data_type: DataType
    name: str
    puids: frozenset[str]
    mimes: frozenset[str]
    extensions: frozenset[str]
    """Lower-case extensions a file of these formats may have."""
    treatment: Treatment
    basis: str
    basis_vi: str
    """The same for Vietnamese texts; most name the provision alone and read alike."""
    mark: str
    """V: read in the text or a secondary source of it; M: unverified; I: own reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitisedRule:
    """What a file made by scanning paper must be (TT 05/2025 article 8)."""

    pdfa: bool
    pdfa_check: bool
    """The claim is tested whatever the depth."""
    text_layer: bool
    colour: bool
    bits_per_pixel: int
    dpi: int
    dpi_tolerance: int
    dpi_images: int
    image_formats: frozenset[str]
    """Media types a digitised photograph may have instead of PDF/A."""
    dpi_by_title: Mapping[int, tuple[str, ...]]
    """Higher resolutions, by words in the component's title (maps, drawings)."""
    basis: str
    mark: str

    def dpi_for(self, title: str) -> int:
        """Returns the resolution asked of a digitised paper with this title."""
        lower = title.casefold()
        return max(
            (dpi for dpi, words in self.dpi_by_title.items() if any(w in lower for w in words)), default=self.dpi
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRule:
    """Least bit rates of audio and video, in kilobits a second (R026)."""

    video_kbps: int
    audio_kbps: int


@dataclass(frozen=True, kw_only=True)  # no slots: cached lookups
class FormatPolicy:
    """A format policy file as read."""

    id: str
    version: str
    valid_from: date
    valid_until: date | None
    """Last day; None: until a later version replaces it."""
    title_vi: str
    title_en: str
    legal_basis: str
    mark: str
    unlisted: Treatment
    depth: Depth
    severity: Mapping[str, Severity | None]
    """Severities that differ from the catalogue's; None silences the finding."""
    rules: tuple[FormatRule, ...]
    digitised: DigitisedRule
    media: MediaRule
    digest: Digest
    """SHA-256 of the file, pinned by every decision (R145)."""

    @cached_property
    def _by_puid(self) -> Mapping[str, FormatRule]:
        return {puid: rule for rule in self.rules for puid in rule.puids}

    @cached_property
    def _by_mime(self) -> Mapping[str, FormatRule]:
        return {mime: rule for rule in self.rules for mime in rule.mimes}

    @cached_property
    def _packed(self) -> bytes:
        return pickle.dumps({field.name: getattr(self, field.name) for field in fields(self)})

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes to a worker process as bytes made once, and is one object there however many files it is sent with."""
        return _unpacked, (self._packed,)

    def rule_for(self, identification: Identification) -> FormatRule | None:
        """Returns the row that decides about a file; None when no row names its format.

        A PUID decides before a media type, unless it only names the container: of an encrypted OpenDocument file PRONOM sees the ZIP.
        """
        by_puid = self._by_puid.get(identification.puid) if identification.puid else None
        by_mime = self._by_mime.get(identification.mime)
        if by_puid is None or (by_mime is not None and _only_contains(by_puid, identification.mime)):
            return by_mime
        return by_puid

    def weigh(self, finding: Finding) -> Finding | None:
        """Returns the finding with this policy's severity; None when the policy silences it."""
        if finding.code not in self.severity:
            return finding
        severity = self.severity[finding.code]
        if severity is None:
            return None
        return Finding(code=finding.code, location=finding.location, params=finding.params, severity_override=severity)

    def claimed_by_extension(self, extension: str) -> FormatRule | None:
        """Returns the first row that names a file extension."""
        return next((rule for rule in self.rules if extension in rule.extensions), None)


def _only_contains(rule: FormatRule, mime: str) -> bool:
    """Whether a row names the container of a package whose media type says more."""
    return any(is_container(general) and general != mime and covers(general, mime) for general in rule.mimes)


@lru_cache(maxsize=8)
def _unpacked(packed: bytes) -> FormatPolicy:
    return FormatPolicy(**pickle.loads(packed))  # noqa: S301 - made by `_packed` in the parent process


def load_policy(policy_id: str, version: str | None = None, *, on: date) -> FormatPolicy:
    """Returns a format policy: the named version, or the newest one valid on `on`.

    Raises:
        ConfigurationInvalid: no such policy or version, none valid on that date, or the file is malformed.
    """
    folder = f"{profiles_dir()}/formats/{policy_id}"
    if version is not None:
        return _read(f"{folder}/{version}.toml")
    valid = [
        policy
        for policy in (_read(f"{folder}/{name}") for name in _policy_files(folder))
        if policy.valid_from <= on and (policy.valid_until is None or on <= policy.valid_until)
    ]
    if not valid:
        raise ConfigurationInvalid(f"{folder}: no format policy is valid on {on.isoformat()}")
    return max(valid, key=lambda policy: (policy.valid_from, policy.version))


def _policy_files(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".toml"))  # noqa: PTH208 - for every dossier
    except (FileNotFoundError, NotADirectoryError):
        return []


@cache
def _read(file: str) -> FormatPolicy:
    path = Path(file)
    try:
        content = path.read_bytes()
        raw = tomllib.loads(content.decode())
        policy = _policy(raw, digest_bytes(content))
    except (OSError, KeyError, ValueError, TypeError) as exc:
        raise ConfigurationInvalid(f"{path}: {type(exc).__name__}: {exc}") from exc
    if (policy.id, policy.version) != (path.parent.name, path.stem):
        raise ConfigurationInvalid(f"{path}: says it is {policy.id} {policy.version}")
    _refuse_doubles(path, policy)
    return policy


def _refuse_doubles(path: Path, policy: FormatPolicy) -> None:
    for kind in ("puids", "mimes"):
        seen: set[str] = set()
        for rule in policy.rules:
            doubles = seen & getattr(rule, kind)
            if doubles:
                raise ConfigurationInvalid(f"{path}: {', '.join(sorted(doubles))} stands in two rows")
            seen |= getattr(rule, kind)


def _policy(raw: Mapping[str, Any], digest: Digest) -> FormatPolicy:
    media = raw["media"]
    return FormatPolicy(
        id=raw["id"],
        version=raw["version"],
        valid_from=raw["valid_from"],
        valid_until=raw.get("valid_until"),
        title_vi=raw["title_vi"],
        title_en=raw["title_en"],
        legal_basis=raw["legal_basis"],
        mark=raw["mark"],
        unlisted=Treatment(raw["unlisted"]),
        depth=Depth(raw["depth"]),
        severity={code: None if value == _OFF else Severity(value) for code, value in raw.get("severity", {}).items()},
        rules=tuple(_rule(row) for row in raw["format"]),
        digitised=_digitised(raw["digitised"]),
        media=MediaRule(video_kbps=int(media["video_kbps"]), audio_kbps=int(media["audio_kbps"])),
        digest=digest,
    )


def _rule(row: Mapping[str, Any]) -> FormatRule:
    return FormatRule(
        data_type=DataType(row["type"]),
        name=row["name"],
        puids=frozenset(row["puids"]),
        mimes=frozenset(row["mimes"]),
        extensions=frozenset(row["extensions"]),
        treatment=Treatment(row["treatment"]),
        basis=row["basis"],
        basis_vi=row.get("basis_vi", row["basis"]),
        mark=row["mark"],
    )


def _digitised(raw: Mapping[str, Any]) -> DigitisedRule:
    by_title = {key: value for key, value in raw["dpi_by_title"].items() if key != "mark"}
    return DigitisedRule(
        pdfa=raw["pdfa"],
        pdfa_check=raw["pdfa_check"],
        text_layer=raw["text_layer"],
        colour=raw["colour"],
        bits_per_pixel=int(raw["bits_per_pixel"]),
        dpi=int(raw["dpi"]),
        dpi_tolerance=int(raw["dpi_tolerance"]),
        dpi_images=int(raw["dpi_images"]),
        image_formats=frozenset(raw["image_formats"]),
        dpi_by_title={int(dpi): tuple(w.casefold() for w in words) for dpi, words in by_title.items()},
        basis=raw["basis"],
        mark=raw["mark"],
    )
