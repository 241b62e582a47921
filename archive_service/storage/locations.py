"""Locations and storage policies as configuration: which stores there are, and which copies a record gets.

TOML form (also a plain dict, as settings hand it over):

    [[locations]]
    name = "kho-1"
    kind = "filesystem"
    path = "/srv/archive/kho-1"

    [[locations]]
    name = "s3-hcm"
    kind = "s3"
    endpoint_url = "https://s3.example.vn"
    region = "vn-1"
    bucket = "luu-tru"
    credentials = { access_key_env = "KHO_KEY", secret_key_env = "KHO_SECRET" }
    lock_mode = "COMPLIANCE"
    lock_horizon_years = 10
    tier = "nearline"
    access_levels = [3, 4]

    [[policies]]
    name = "default"
    copies = ["kho-1", "s3-hcm"]
    verified_before_stored = ["kho-1"]
    lagging = ["s3-hcm"]
    minimum_copies = 2

Credentials are named (environment variable or file), never written here. Whatever is wrong is told at once, all of it.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from archive_service.errors import ConfigurationInvalid
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import Store

_T = TypeVar("_T")

ALL_ACCESS_LEVELS: Final = frozenset({1, 2, 3, 4})
"""The four sensitivity labels of R130."""


NAME_MAX_CHARACTERS: Final = 60
"""Names stand in tables, events and metrics."""
LOCK_HORIZON_MAX_YEARS: Final = 100
"""S3 servers refuse locks beyond about a century."""


class LocationKind(StrEnum):
    """Which backend a location uses."""

    FILESYSTEM = "filesystem"
    S3 = "s3"


class StorageTier(StrEnum):
    """How fast a location answers. Readers are served from the fastest; every tier is checked and repaired alike."""

    ONLINE = "online"
    NEARLINE = "nearline"
    """Seconds to minutes, or paid by the byte read: read only when no online copy is good."""
    OFFLINE = "offline"
    """Reached on demand: read last."""


class LockMode(StrEnum):
    """S3 Object Lock modes, by S3's own tokens.

    COMPLIANCE: nobody, not even the account's root user, deletes or shortens before the date; choose it when the
    retention rules are settled. GOVERNANCE: a user with the extra permission can; choose it while rules are still
    being tried out.
    """

    COMPLIANCE = "COMPLIANCE"
    GOVERNANCE = "GOVERNANCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsRef:
    """Where an access key and its secret are found.

    All empty is allowed at Amazon only and means boto3's own chain, which asks the machine's metadata service; elsewhere
    that would be a connection nobody asked for (R138).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    access_key_env: str = ""
    secret_key_env: str = ""
    access_key_file: Path | None = None
    secret_key_file: Path | None = None
    """Files, as container secrets are mounted; surrounding white space is dropped."""

    def resolve(self) -> tuple[str, str] | None:
        """Returns access key and secret, or None for boto3's own chain.

        Raises:
            ConfigurationInvalid: a named variable or file is missing or empty, or only one of the two is named.
        """
        key = _secret(self.access_key_env, self.access_key_file)
        secret = _secret(self.secret_key_env, self.secret_key_file)
        if (key is None) != (secret is None):
            raise ConfigurationInvalid("storage credentials: access key and secret must both be named, or neither")
        return None if key is None or secret is None else (key, secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationSpec:
    """One storage location.

    Raises:
        ConfigurationInvalid: a field that the kind needs is missing.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    kind: LocationKind
    access_levels: frozenset[int] = ALL_ACCESS_LEVELS
    """Labels (R130) of records that may be kept here; levels 3-4 are kept apart where a policy says so."""
    path: Path | None = None
    """filesystem: the folder; nothing else may write there."""
    bucket: str = ""
    """s3: must exist, with versioning on; with Object Lock when `lock_mode` is set."""
    prefix: str = ""
    """s3: put before every key, with its own "/" at the end when wanted."""
    endpoint_url: str | None = None
    """s3: None means Amazon's own for the region."""
    region: str = "us-east-1"
    credentials: CredentialsRef = field(default_factory=CredentialsRef)
    lock_mode: LockMode | None = None
    """How packages are locked until their retention ends. None: not at all; an S3 bucket without Object Lock then offers
    no hold either. A filesystem location keeps locks in files that bind this service only, whatever the mode."""
    lock_horizon_years: int = 10
    """Packages kept for ever or without a date are locked to the end of the year this many years on, anew every year."""
    tier: StorageTier = StorageTier.ONLINE
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    """s3: longest silence of the server within one request."""
    max_attempts: int = 4
    """s3: tries per request, with growing, random pauses between."""

    def __post_init__(self) -> None:
        _refuse(f"storage location {self.name!r}", tuple(self._problems()))

    def _problems(self) -> Iterator[str]:
        if not self.name or not set(self.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"):
            yield "names are a-z, 0-9 and -"
        if len(self.name) > NAME_MAX_CHARACTERS:
            yield f"a name has at most {NAME_MAX_CHARACTERS} characters"
        if not self.access_levels or not self.access_levels <= ALL_ACCESS_LEVELS:
            yield "access levels are 1 to 4"
        if self.kind is LocationKind.FILESYSTEM and self.path is None:
            yield "a filesystem location needs a path"
        if self.kind is LocationKind.S3 and not self.bucket:
            yield "an S3 location needs a bucket"
        if self.kind is LocationKind.S3 and self.endpoint_url and self.credentials == CredentialsRef():
            yield "name its credentials"
        if min(self.connect_timeout_s, self.read_timeout_s) <= 0 or self.max_attempts < 1:
            yield "timeouts and attempts must be above zero"
        if not 1 <= self.lock_horizon_years <= LOCK_HORIZON_MAX_YEARS:
            yield f"lock_horizon_years is 1 to {LOCK_HORIZON_MAX_YEARS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePolicy:
    """How many copies a record gets, where, and which of them count before STORED is said.

    Raises:
        ConfigurationInvalid: contradictory.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    copies: tuple[str, ...]
    """Location names in the order they are written."""
    verified_before_stored: tuple[str, ...] = ()
    """Copies that must be read back intact before STORED; empty means all that are not lagging. All others are made by
    a job right after, and read back then."""
    lagging: tuple[str, ...] = ()
    """Copies made later by a job, e.g. a distant or slow replica."""
    minimum_copies: int = 0
    """Fewest copies, each read back, that a record has elsewhere before a location of it is retired; 0 means two, or
    one where the policy names one location only."""
    access_levels: frozenset[int] = ALL_ACCESS_LEVELS
    """Records of these labels (R130) follow this policy."""

    def __post_init__(self) -> None:
        if not self.verified_before_stored:
            must = tuple(name for name in self.copies if name not in self.lagging)
            object.__setattr__(self, "verified_before_stored", must)
        if not self.minimum_copies:
            object.__setattr__(self, "minimum_copies", min(2, len(self.copies)))
        _refuse(f"storage policy {self.name!r}", tuple(self._problems()))

    def _problems(self) -> Iterator[str]:
        if len(set(self.copies)) != len(self.copies) or not self.copies:
            yield "copies must name at least one location, each once"
        if not set(self.verified_before_stored) | set(self.lagging) <= set(self.copies):
            yield "verified_before_stored and lagging may only name its copies"
        if not self.verified_before_stored or set(self.verified_before_stored) & set(self.lagging):
            yield "at least one copy must be verified before STORED, none of it lagging"
        if not self.access_levels or not self.access_levels <= ALL_ACCESS_LEVELS:
            yield "access levels are 1 to 4"
        if not 0 <= self.minimum_copies <= max(1, len(self.copies)):
            yield "minimum_copies is at least 1 and at most the number of its copies"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLayout:
    """All locations and policies of an installation, checked against each other.

    Raises:
        ConfigurationInvalid: a policy names an unknown location, or one that may not hold its access levels, or two
            policies claim one level. Every contradiction is named.
    """

    locations: Mapping[str, LocationSpec]
    policies: tuple[StoragePolicy, ...]

    def __post_init__(self) -> None:
        _refuse("storage", tuple(_contradictions(self.policies, self.locations, frozenset())))

    def policy_for(self, access_level: int) -> StoragePolicy:
        """Returns the policy of records with this label (R130).

        Raises:
            ConfigurationInvalid: none.
        """
        for policy in self.policies:
            if access_level in policy.access_levels:
                return policy
        raise ConfigurationInvalid(f"no storage policy for access level {access_level}")


def default_locations(data_dir: Path) -> tuple[LocationSpec, LocationSpec]:
    """Returns the two folders of the embedded default, `kho-1` and `kho-2`, below the data folder."""
    first, second = (
        LocationSpec(name=name, kind=LocationKind.FILESYSTEM, path=data_dir / "storage" / name)
        for name in ("kho-1", "kho-2")
    )
    return first, second


def default_layout(data_dir: Path) -> StorageLayout:
    """Returns the embedded default: two folders, both read back before STORED is said."""
    locations = default_locations(data_dir)
    policy = StoragePolicy(name="default", copies=tuple(location.name for location in locations))
    named = MappingProxyType({location.name: location for location in locations})
    return StorageLayout(locations=named, policies=(policy,))


def parse_locations(raw: Any) -> tuple[LocationSpec, ...]:  # as read from TOML or JSON
    """Returns locations from a list of tables.

    Raises:
        ConfigurationInvalid: unknown or missing fields, wrong types, a name twice; all of it is named.
    """
    problems: list[str] = []
    locations = _each(_LOCATION, raw, "location", problems)
    problems += _shared_names([location.name for location in locations])
    _refuse("", tuple(problems))
    return locations


def parse_layout(raw: Mapping[str, Any]) -> StorageLayout:  # as read from TOML or JSON
    """Returns locations and policies; without a policy, one that keeps a copy everywhere.

    Raises:
        ConfigurationInvalid: malformed or contradictory; everything that is wrong is named.
    """
    problems = [f"storage: unknown {sorted(unknown)}"] if (unknown := set(raw) - {"locations", "policies"}) else []
    locations = _each(_LOCATION, raw.get("locations", []), "location", problems)
    policies = _each(_POLICY, raw.get("policies", []), "policy", problems)
    problems += _shared_names([location.name for location in locations])
    named = {location.name: location for location in locations}
    problems += _contradictions(policies, named, _declared_names(raw.get("locations", [])))
    if not locations and not problems:
        problems.append("storage: at least one location is needed")
    _refuse("", tuple(problems))
    if not policies:
        policies = (StoragePolicy(name="default", copies=tuple(named)),)
    return StorageLayout(locations=MappingProxyType(named), policies=policies)


def load_layout(path: Path) -> StorageLayout:
    """Returns locations and policies from a TOML file.

    Raises:
        ConfigurationInvalid: unreadable, malformed or contradictory; the message names the file.
    """
    try:
        return parse_layout(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ConfigurationInvalid) as exc:
        raise ConfigurationInvalid(f"{path}: {exc}") from exc


def open_store(spec: LocationSpec) -> Store:
    """Returns the store of a location. Opening S3 sends nothing yet.

    Raises:
        ConfigurationInvalid: credentials are named but not there.
        StoreUnavailable: a folder cannot be made.
    """
    if spec.path is not None and spec.kind is LocationKind.FILESYSTEM:
        return FilesystemStore(spec.name, spec.path)
    from archive_service.storage.s3 import S3Store

    return S3Store(spec)


_LOCATION: Final = TypeAdapter(LocationSpec)
_POLICY: Final = TypeAdapter(StoragePolicy)


def _each(adapter: TypeAdapter[_T], raw: Any, what: str, problems: list[str]) -> tuple[_T, ...]:  # from TOML or JSON
    """Returns the entries that are right and adds what is wrong with the others."""
    if not isinstance(raw, list | tuple):
        problems.append(f"storage: {what} entries must be a list of tables")
        return ()
    found = []
    for ordinal, entry in enumerate(raw, start=1):
        name = entry.get("name") if isinstance(entry, dict) else None
        try:
            found.append(adapter.validate_python(entry))
        except ValidationError as exc:
            where = f"storage {what} {name!r}" if isinstance(name, str) else f"storage {what} number {ordinal}"
            problems += [f"{where}: {'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()]
        except ConfigurationInvalid as exc:
            problems.append(exc.message)
    return tuple(found)


def _declared_names(raw: Any) -> frozenset[str]:  # as read from TOML or JSON
    """Returns the names of all location entries, also of wrong ones: a policy that names one of those is not to blame."""
    entries = raw if isinstance(raw, list | tuple) else ()
    names = (entry.get("name") for entry in entries if isinstance(entry, dict))
    return frozenset(name for name in names if isinstance(name, str))


def _contradictions(
    policies: Iterable[StoragePolicy], locations: Mapping[str, LocationSpec], declared: frozenset[str]
) -> Iterator[str]:
    claimed: set[int] = set()
    for policy in policies:
        where = f"storage policy {policy.name!r}"
        if claimed & policy.access_levels:
            yield f"{where}: an access level has two policies"
        claimed |= policy.access_levels
        for name in policy.copies:
            location = locations.get(name)
            if location is None and name not in declared:
                yield f"{where}: no location {name!r}"
            if location is not None and not policy.access_levels <= location.access_levels:
                yield f"{where}: {name} may not hold levels {sorted(policy.access_levels - location.access_levels)}"


def _shared_names(names: Sequence[str]) -> list[str]:
    shared = sorted({name for name in names if names.count(name) > 1})
    return [f"storage: two locations share a name: {', '.join(shared)}"] if shared else []


def _refuse(where: str, problems: Sequence[str]) -> None:
    """Raises one error that names every problem."""
    if problems:
        raise ConfigurationInvalid(
            "; ".join(f"{where}: {problem}" if where else problem for problem in problems), problems=list(problems)
        )


def _secret(variable: str, file: Path | None) -> str | None:
    if variable:
        found = os.environ.get(variable, "")
        where = f"environment variable {variable}"
    elif file is not None:
        found = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        where = f"file {file}"
    else:
        return None
    if not found:
        raise ConfigurationInvalid(f"storage credentials: {where} is missing or empty")
    return found
