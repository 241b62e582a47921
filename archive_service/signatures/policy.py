"""Signature policies: what a profile demands of signatures, as versioned, dated data with legal basis.

One policy is one file `profiles/signatures/<id>/<version>.toml`. Values marked M or I in REGULATIONS.md stand there, never here.
"""

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from archive_service.errors import ConfigurationInvalid
from archive_service.findings import Severity
from archive_service.resources import profiles_dir
from archive_service.signatures.report import SubIndication
from archive_service.signatures.signer import SignerRules

DEFAULT_POLICY_ID: Final = "vn-tthc"


class RevocationRule(StrEnum):
    """When revocation information must be had."""

    REQUIRED = "required"
    IF_DECLARED = "if_declared"
    """Required where the certificate names a CRL or OCSP service."""
    IF_AVAILABLE = "if_available"
    """Used when at hand; absence is a remark."""


class Freshness(StrEnum):
    """The time for which revocation information must speak."""

    AT_VALIDATION_TIME = "at_validation_time"
    AT_BEST_SIGNATURE_TIME = "at_best_signature_time"
    """Where a proven signing time exists, status at that time decides (NĐ 23/2025 Đ16, NĐ 68/2024 Đ31)."""


class SignerType(StrEnum):
    """Whose signature a role needs."""

    ANY = "any"
    PERSON = "person"
    OFFICER = "officer"
    """The competent person of an agency."""
    AGENCY = "agency"
    OFFICIAL = "official"
    """An agency's or an officer's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRequirement:
    """A role whose components must be signed (R034)."""

    role: str
    signer: SignerType
    origins: tuple[str, ...]
    """Component origins the rule applies to; empty = all."""
    trusted_path: bool
    """Whether a signature counts only with a certificate path to a trust anchor."""
    finding: str
    severity: Severity
    basis: str
    mark: str
    """Certainty of the legal source: V, V-sec, M or I."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmRule:
    """How long an algorithm counts as strong."""

    name: str
    """asn1crypto name of a digest ("sha256") or signature family ("rsassa_pkcs1v15", "ecdsa", "rsa")."""
    min_bits: int = 0
    acceptable_until: date | None = None
    """Last day on which its use is acceptable; None = no end set."""
    mark: str = "I"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignaturePolicy:
    """One version of a signature policy."""

    id: str
    version: str
    digest: str
    """SHA-256 of the file, hex."""
    valid_from: date | None
    valid_to: date | None
    legal_basis: tuple[str, ...]
    signer_revocation: RevocationRule
    ca_revocation: RevocationRule
    timestamp_revocation: RevocationRule
    last_timestamp_revocation: RevocationRule
    """The last archive time-stamp of a file cannot carry its own authority's status."""
    freshness: Freshness
    key_usage_any_of: tuple[str, ...]
    extended_usage_never_alone: tuple[str, ...]
    """Purposes (asn1crypto names) of which a signer's certificate must state another one too, when it states any."""
    digests: tuple[AlgorithmRule, ...]
    keys: tuple[AlgorithmRule, ...]
    signers: SignerRules
    requirements: tuple[RoleRequirement, ...]
    """In order: once a component lacks one of severity error, the later ones are not told of it."""
    severity: Mapping[str, Severity]
    """Finding code -> severity under this policy; codes not named keep the catalogue's."""
    indeterminate: Mapping[SubIndication, Severity]
    indeterminate_default: Severity
    accept_expired_but_provable: bool

    def digest_rule(self, name: str) -> AlgorithmRule | None:
        """Returns the rule of a digest algorithm, None when the policy does not know it."""
        return next((rule for rule in self.digests if rule.name == name), None)

    def key_rule(self, family: str, bits: int) -> AlgorithmRule | None:
        """Returns the rule of the strongest class that a key of `family` with `bits` reaches."""
        fitting = [rule for rule in self.keys if rule.name == family and bits >= rule.min_bits]
        return max(fitting, key=lambda rule: rule.min_bits, default=None)

    def severity_for_indeterminate(self, sub: SubIndication | None) -> Severity:
        """Returns what an INDETERMINATE signature means for acceptance."""
        return self.indeterminate.get(sub, self.indeterminate_default) if sub else self.indeterminate_default

    def __reduce__(self) -> tuple[Any, ...]:  # mapping proxies do not pickle; worker processes take policies
        state = {name: getattr(self, name) for name in self.__dataclass_fields__}
        state |= {"severity": dict(self.severity), "indeterminate": dict(self.indeterminate)}
        return _restore, (state,)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a policy file.

        Raises:
            ConfigurationInvalid: the file is missing or malformed; the message names file and place.
        """
        try:
            content = path.read_bytes()
            raw = tomllib.loads(content.decode("utf-8"))
            return cls(**_fields(raw), digest=hashlib.sha256(content).hexdigest())
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ConfigurationInvalid(f"{path}: {type(exc).__name__}: {exc}") from exc


def _restore(state: dict[str, Any]) -> SignaturePolicy:
    return SignaturePolicy(**state)


def _fields(raw: dict[str, Any]) -> dict[str, Any]:
    revocation, indeterminate = raw["revocation"], raw["indeterminate"]
    return {
        "id": raw["id"],
        "version": raw["version"],
        "valid_from": raw.get("valid_from"),
        "valid_to": raw.get("valid_to"),
        "legal_basis": tuple(raw["legal_basis"]),
        "signer_revocation": RevocationRule(revocation["signer"]),
        "ca_revocation": RevocationRule(revocation["ca"]),
        "timestamp_revocation": RevocationRule(revocation["timestamp"]),
        "last_timestamp_revocation": RevocationRule(revocation["last_timestamp"]),
        "freshness": Freshness(revocation["freshness"]),
        "key_usage_any_of": tuple(raw["key_usage"]["any_of"]),
        "extended_usage_never_alone": tuple(raw["key_usage"].get("never_alone", ())),
        "digests": tuple(AlgorithmRule(**entry) for entry in raw["digest"]),
        "keys": tuple(AlgorithmRule(**entry) for entry in raw["key"]),
        "signers": SignerRules.of(raw["signers"]),
        "requirements": tuple(
            RoleRequirement(
                role=entry["role"],
                signer=SignerType(entry["signer"]),
                origins=tuple(entry.get("origins", ())),
                trusted_path=bool(entry.get("trusted_path", False)),
                finding=entry["finding"],
                severity=Severity(entry["severity"]),
                basis=entry["basis"],
                mark=entry["mark"],
            )
            for entry in raw.get("requirement", ())
        ),
        "severity": MappingProxyType({code: Severity(value) for code, value in raw["severity"].items()}),
        "indeterminate": MappingProxyType(
            {SubIndication(key): Severity(value) for key, value in indeterminate.items() if key != "default"}
        ),
        "indeterminate_default": Severity(indeterminate["default"]),
        "accept_expired_but_provable": bool(raw["accept_expired_but_provable"]),
    }


def policies() -> tuple[SignaturePolicy, ...]:
    """Returns every policy version on disk, sorted by id and version."""
    found = [_load(file) for file in _policy_files(f"{profiles_dir()}/signatures")]
    return tuple(sorted(found, key=lambda policy: (policy.id, _order(policy.version))))


def _policy_files(root: str) -> list[str]:
    """Returns the files of all policies, in order; looked at for every dossier, so that a new version needs no restart."""
    found: list[str] = []
    try:
        with os.scandir(root) as entries:
            folders = [entry.path for entry in entries if entry.name != "texts" and entry.is_dir()]
    except FileNotFoundError:
        return found
    for folder in folders:
        with os.scandir(folder) as entries:
            found += (entry.path for entry in entries if entry.name.endswith(".toml"))
    return sorted(found)


def load_policy(policy_id: str = DEFAULT_POLICY_ID, version: str | None = None) -> SignaturePolicy:
    """Returns a policy; without `version` the newest.

    Raises:
        ConfigurationInvalid: no such policy.
    """
    found = [p for p in policies() if p.id == policy_id and version in {None, p.version}]
    if not found:
        raise ConfigurationInvalid(f"no signature policy {policy_id} {version or ''}".rstrip())
    return found[-1]


@cache
def _load(file: str) -> SignaturePolicy:
    return SignaturePolicy.load(Path(file))


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


def end_of_day(on: date) -> datetime:
    """Returns the last second of `on`, UTC: until when an algorithm acceptable on that day may be used."""
    return datetime(on.year, on.month, on.day, 23, 59, 59, tzinfo=UTC)
