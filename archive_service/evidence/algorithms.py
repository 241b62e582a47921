"""Which digest and signature algorithms count as secure until when: data with its source, never a constant.

The file is `profiles/evidence/<version>/algorithms.toml`; an operator replaces it when national rules or ETSI TS 119
312 change.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from archive_service.clock import require_aware
from archive_service.errors import ConfigurationInvalid
from archive_service.resources import profiles_dir

DEFAULT_VERSION: Final = "1"
HASH_NAMES: Final = frozenset(
    {"sha1", "sha224", "sha256", "sha384", "sha512", "sha512_256", "sha3_224", "sha3_256", "sha3_384", "sha3_512"}
)
"""Digest algorithms that Evidence Records are read with, by asn1crypto's and hashlib's common name."""

_KEY_NAMES: Final = {"rsassa_pss": "rsa"}
"""Keys that are bound to one padding are as strong as those that are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureLimit:
    """Until when a public-key algorithm is secure from a key size on."""

    algorithm: str
    """asn1crypto's name of the key algorithm: rsa, ec, dsa, ed25519, ed448."""
    min_bits: int
    secure_until: date


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalMargins:
    """How long before the end of evidence what happens."""

    lead: timedelta = timedelta(days=180)
    """Renewal is due: time for an authority's outage, a busy quarter, and re-reading a whole store."""
    urgent: timedelta = timedelta(days=60)
    """A renewal that is still not done is reported as urgent."""
    critical: timedelta = timedelta(days=14)
    """The same, as critical."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmPolicy:
    """Last days of security. The day itself still counts."""

    version: str
    digests: Mapping[str, date]
    signatures: tuple[SignatureLimit, ...]
    margins: RenewalMargins = RenewalMargins()

    def digest_until(self, name: str) -> date | None:
        """Returns the last secure day of a digest algorithm, None when the policy does not know it."""
        return self.digests.get(name)

    def signature_until(self, algorithm: str, bits: int) -> date | None:
        """Returns the last secure day of a key, None when the policy knows no limit that covers it."""
        name = _KEY_NAMES.get(algorithm, algorithm)
        days = [limit.secure_until for limit in self.signatures if limit.algorithm == name and bits >= limit.min_bits]
        return max(days, default=None)


def secure_at(until: date, at: datetime) -> bool:
    """Returns whether `at` is not after the last secure day."""
    return require_aware(at).astimezone(UTC).date() <= until


def load_algorithm_policy(version: str = DEFAULT_VERSION) -> AlgorithmPolicy:
    """Returns the policy of a version.

    Raises:
        ConfigurationInvalid: missing or malformed file.
    """
    path = profiles_dir() / "evidence" / version / "algorithms.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return AlgorithmPolicy(
            version=version,
            digests={name: _day(entry["secure_until"]) for name, entry in raw["digest"].items()},
            signatures=tuple(
                SignatureLimit(
                    algorithm=str(entry["algorithm"]),
                    min_bits=int(entry["min_bits"]),
                    secure_until=_day(entry["secure_until"]),
                )
                for entry in raw["signature"]
            ),
            margins=_margins(raw.get("renewal", {})),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigurationInvalid(f"{path}: {type(exc).__name__} {exc}") from exc


def _margins(raw: Mapping[str, Any]) -> RenewalMargins:  # parsed TOML
    margins = RenewalMargins(**{name.removesuffix("_days"): timedelta(days=int(value)) for name, value in raw.items()})
    if not timedelta(0) < margins.critical < margins.urgent < margins.lead:
        raise ValueError("critical_days < urgent_days < lead_days is needed")
    return margins


def _day(value: Any) -> date:  # parsed TOML
    if type(value) is not date:
        raise TypeError(f"a date is needed, not {value!r}")
    return value
