"""When evidence must be renewed and how (R037; RFC 4998 sections 5.1, 5.2): planning only, from facts and a policy.

Two kinds. A *time-stamp renewal* is due before the newest time-stamp loses its value: its certificate expires, or the
algorithms of its signature end. A *hash-tree renewal* is due before the digest algorithm of the newest chain ends; it
re-reads the data and, as it brings a new time-stamp, serves for both. Late renewal leaves a gap that nothing closes,
so a lead time is kept.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final

from asn1crypto import x509

from archive_service.clock import require_aware
from archive_service.digests import DigestAlgorithm
from archive_service.errors import ConfigurationInvalid
from archive_service.evidence.algorithms import AlgorithmPolicy
from archive_service.evidence.cms_signature import key_bits
from archive_service.evidence.ers_asn1 import EvidenceRecord
from archive_service.evidence.timestamps import ASN1_NAMES, TimestampToken, reading, signed_digest
from archive_service.findings import Finding

DEFAULT_LEAD: Final = timedelta(days=180)
"""Lead time where a caller names none; the service takes it from the algorithm policy's margins."""


class RenewalKind(StrEnum):
    """RFC 4998's two ways to renew."""

    TIMESTAMP = "timestamp-renewal"
    HASH_TREE = "hash-tree-renewal"


class RenewalState(StrEnum):
    """How pressing it is."""

    NOT_DUE = "not-due"
    DUE = "due"
    OVERDUE = "overdue"
    """The end has passed: the time between is not covered by evidence, which verification will say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceLifetime:
    """What of a record's newest time-stamp decides when it ends; small enough to keep in a database row."""

    hash_name: str
    """Digest algorithm of the newest chain."""
    expires_at: datetime | None
    """First end of validity among the certificates of the time-stamp's path; None when the token does not carry the signer's."""
    key_algorithm: str | None
    key_bits: int | None
    signature_hash_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalPlan:
    """What to do next for one record (or for all that share its newest time-stamp)."""

    kind: RenewalKind
    state: RenewalState
    due_at: datetime
    ends_at: datetime
    """The last moment at which renewal still leaves no gap."""
    reasons: tuple[Finding, ...]
    """Every end that falls within the lead time of the earliest, earliest first."""


def lifetime_of(record: EvidenceRecord) -> EvidenceLifetime:
    """Returns the facts of a record's newest time-stamp.

    Raises:
        TimestampInvalid: the token's certificate cannot be read.
    """
    return token_lifetime(record.last.token, record.chains[-1].hash_name)


def token_lifetime(token: TimestampToken, hash_name: str, signer: x509.Certificate | None = None) -> EvidenceLifetime:
    """Returns the facts of one token that stamps a tree over `hash_name`.

    Args:
        token: The token.
        hash_name: The tree's digest algorithm.
        signer: Its signer's certificate where the token does not carry it.

    Raises:
        TimestampInvalid: the token's certificate cannot be read.
    """
    signer = token.signer or signer
    with reading("the time-stamp's certificate"):
        key = None if signer is None else signer.public_key
        return EvidenceLifetime(
            hash_name=hash_name,
            expires_at=path_expiry(token),
            key_algorithm=None if key is None else str(key.algorithm),
            key_bits=None if key is None else key_bits(key),
            signature_hash_name=signed_digest(token),
        )


def path_expiry(token: TimestampToken) -> datetime | None:
    """Returns when the first certificate on the way from the signer up ends, as far as the token carries the way."""
    certificate = token.signer
    seen: list[x509.Certificate] = []
    while certificate is not None and certificate not in seen:
        seen.append(certificate)
        issuer = certificate.issuer
        certificate = next((item for item in token.certificates if item.subject == issuer), None)
    return min((item.not_valid_after for item in seen), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """One reason why evidence ends, and when."""

    at: datetime
    kind: RenewalKind
    reason: Finding


def plan_renewal(
    lifetime: EvidenceLifetime, *, policy: AlgorithmPolicy, at: datetime, lead: timedelta = DEFAULT_LEAD
) -> RenewalPlan:
    """Returns the next renewal: its kind, when it is due, and why.

    An end the policy or the token does not tell counts as now: what is not known to be secure is renewed. When a digest
    algorithm's end falls within the lead time of the earliest end, one hash-tree renewal serves for all.
    """
    require_aware(at)
    ends = sorted(_ends(lifetime, policy, at), key=lambda end: end.at)
    near = [end for end in ends if end.at - ends[0].at <= lead]
    kind = RenewalKind.HASH_TREE if any(end.kind is RenewalKind.HASH_TREE for end in near) else RenewalKind.TIMESTAMP
    ends_at, due_at = ends[0].at, ends[0].at - lead
    state = RenewalState.OVERDUE if at > ends_at else RenewalState.DUE if at >= due_at else RenewalState.NOT_DUE
    return RenewalPlan(
        kind=kind, state=state, due_at=due_at, ends_at=ends_at, reasons=tuple(end.reason for end in near)
    )


def _ends(lifetime: EvidenceLifetime, policy: AlgorithmPolicy, at: datetime) -> list[_End]:
    key = None
    if lifetime.key_algorithm is not None and lifetime.key_bits is not None:
        key = policy.signature_until(lifetime.key_algorithm, lifetime.key_bits)
    key_name = f"{lifetime.key_algorithm or 'unknown'} {lifetime.key_bits or ''}".strip()
    timestamp, tree = RenewalKind.TIMESTAMP, RenewalKind.HASH_TREE
    return [
        _certificate_end(lifetime.expires_at, at),
        _algorithm_end("EVIDENCE_RENEWAL_SIGNATURE_ENDS", key_name, key, timestamp, at),
        _algorithm_end(
            "EVIDENCE_RENEWAL_SIGNATURE_ENDS",
            lifetime.signature_hash_name,
            policy.digest_until(lifetime.signature_hash_name),
            timestamp,
            at,
        ),
        _algorithm_end(
            "EVIDENCE_RENEWAL_DIGEST_ENDS", lifetime.hash_name, policy.digest_until(lifetime.hash_name), tree, at
        ),
    ]


def _certificate_end(expires_at: datetime | None, at: datetime) -> _End:
    if expires_at is None:
        reason = Finding(code="EVIDENCE_RENEWAL_END_UNKNOWN", location="", params={"what": "certificate"})
        return _End(at=at, kind=RenewalKind.TIMESTAMP, reason=reason)
    params = {"until": expires_at.isoformat()}
    reason = Finding(code="EVIDENCE_RENEWAL_CERTIFICATE_EXPIRES", location="", params=params)
    return _End(at=expires_at, kind=RenewalKind.TIMESTAMP, reason=reason)


def _algorithm_end(code: str, name: str, until: date | None, kind: RenewalKind, at: datetime) -> _End:
    if until is None:
        return _End(
            at=at, kind=kind, reason=Finding(code="EVIDENCE_RENEWAL_END_UNKNOWN", location="", params={"what": name})
        )
    params = {"algorithm": name, "until": until.isoformat()}
    return _End(
        at=datetime.combine(until, time.max, tzinfo=UTC),
        kind=kind,
        reason=Finding(code=code, location="", params=params),
    )


def replacement_digest(policy: AlgorithmPolicy, *, at: datetime, lead: timedelta = DEFAULT_LEAD) -> DigestAlgorithm:
    """Returns the digest algorithm to renew hash trees with: the one secure longest, the longer one among equals.

    Raises:
        ConfigurationInvalid: none is secure beyond the lead time.
    """
    candidates = (DigestAlgorithm.SHA_512, DigestAlgorithm.SHA_384, DigestAlgorithm.SHA_256)
    ends = {algorithm: policy.digest_until(ASN1_NAMES[algorithm]) or date.min for algorithm in candidates}
    best = max(candidates, key=lambda algorithm: ends[algorithm])
    if ends[best] <= (require_aware(at) + lead).date():
        raise ConfigurationInvalid(
            f"algorithm policy {policy.version} has no digest algorithm secure beyond {at + lead}"
        )
    return best
