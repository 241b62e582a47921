"""The versioned data a check decides by, loaded once per check and pinned with version and digest in its result (R145)."""

import os
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from archive_service import clock
from archive_service.errors import ConfigurationInvalid
from archive_service.formats.policy import FormatPolicy
from archive_service.formats.policy import load_policy as load_format_policy
from archive_service.resources import profiles_dir, retention_rules_dir
from archive_service.rules.code_profile import CodeProfile, load_code_profile
from archive_service.rules.completeness import CompletenessProfile, load_completeness_profile
from archive_service.rules.retention_rules import RuleSet, load_rules
from archive_service.settings import Settings
from archive_service.signatures.policy import SignaturePolicy
from archive_service.signatures.policy import load_policy as load_signature_policy
from archive_service.signatures.trust import TrustStore, certificates_in


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPolicies:
    """Everything a check goes by."""

    formats: FormatPolicy
    signatures: SignaturePolicy
    trust: TrustStore
    codes: CodeProfile
    completeness: CompletenessProfile
    retention: RuleSet

    def pinned(self) -> dict[str, Any]:
        """Returns id, version and digest of each, to be kept with the result."""
        return {
            "formats": {"id": self.formats.id, "version": self.formats.version, "digest": str(self.formats.digest)},
            "signatures": {
                "id": self.signatures.id,
                "version": self.signatures.version,
                "digest": str(self.signatures.digest),
            },
            "trust": {"anchors": len(self.trust.anchors), "digest": self.trust.digest},
            "codes": {"version": self.codes.version, "digest": str(self.codes.digest)},
            "completeness": {
                "id": self.completeness.id,
                "version": self.completeness.version,
                "digest": str(self.completeness.digest),
            },
            "retention": {
                "id": self.retention.id,
                "version": self.retention.version,
                "digest": str(self.retention.digest),
            },
        }


def load_policies(settings: Settings, *, on: date) -> CheckPolicies:
    """Returns the policies in force on a civil date.

    Raises:
        ConfigurationInvalid: a file is missing or malformed.
    """
    return CheckPolicies(
        formats=format_policy_on(settings, on),
        signatures=load_signature_policy(settings.signature_policy),
        trust=trust_in_force(settings),
        codes=_codes(_fingerprint(f"{profiles_dir()}/codes")),
        completeness=_completeness(
            settings.completeness_profile,
            _fingerprint(f"{profiles_dir()}/completeness/{settings.completeness_profile}"),
        ),
        retention=_rules(
            settings.retention_rule_set, _fingerprint(f"{retention_rules_dir()}/{settings.retention_rule_set}")
        ),
    )


Fingerprint = tuple[tuple[str, int, int], ...]
"""Path, modification time and size of each file a policy may be read from."""


def _fingerprint(folder: str) -> Fingerprint:
    """Tells when files must be read again: reading and judging TOML for every dossier would cost more than all other rules together."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.path, entry.stat()) for entry in entries if entry.name.endswith(".toml")]
    except (FileNotFoundError, NotADirectoryError):
        return ()  # reading it says what is missing
    return tuple(sorted((path, status.st_mtime_ns, status.st_size) for path, status in found))


@lru_cache(maxsize=4)
def _codes(_known: Fingerprint) -> CodeProfile:
    return load_code_profile()


@lru_cache(maxsize=16)
def _completeness(profile_id: str, _known: Fingerprint) -> CompletenessProfile:
    return load_completeness_profile(profile_id)


@lru_cache(maxsize=16)
def _rules(set_id: str, _known: Fingerprint) -> RuleSet:
    return load_rules(set_id)


def format_policy_on(settings: Settings, on: date) -> FormatPolicy:
    """Returns the format policy of a civil date; for a date before the first one was in force, today's.

    Raises:
        ConfigurationInvalid: there is no such policy, or a file of it is malformed.
    """
    try:
        return load_format_policy(settings.format_policy, on=on)
    except ConfigurationInvalid:
        return load_format_policy(settings.format_policy, on=clock.today())


def trust_in_force(settings: Settings) -> TrustStore:
    """Returns the configured trust store; before there is a folder nobody is trusted."""
    folder = settings.resolved_trust_dir
    return TrustStore.load(folder) if folder.is_dir() else TrustStore.empty()


def load_trust(path: Path) -> TrustStore:
    """Returns the trust store in a folder, or the certificates of one PEM or DER file as a store.

    Raises:
        ConfigurationInvalid: the folder or file is not one.
    """
    if path.is_dir():
        return TrustStore.load(path)
    try:
        return TrustStore.of(certificates_in(path.read_bytes()))
    except (OSError, ValueError) as exc:
        raise ConfigurationInvalid(f"trust anchors {path}: {exc}") from exc
