"""Algorithm strength by dated policy: SHA-1 was acceptable once, and a signature proven older than its end stays judged by then."""

from datetime import datetime

from asn1crypto import algos, keys
from pyhanko.sign.validation.utils import CMSAlgorithmUsagePolicy
from pyhanko_certvalidator.policy_decl import AlgorithmUsageConstraint

from archive_service.signatures.policy import AlgorithmRule, SignaturePolicy, end_of_day
from archive_service.signatures.report import AlgorithmUse, Reason, Strength, SubIndication


class DatedAlgorithmPolicy(CMSAlgorithmUsagePolicy):
    """The signature policy's algorithm lists in the form pyHanko asks for them."""

    def __init__(self, policy: SignaturePolicy) -> None:
        self._policy = policy

    def digest_algorithm_allowed(
        self, algo: algos.DigestAlgorithm, moment: datetime | None
    ) -> AlgorithmUsageConstraint:
        """Returns whether a digest algorithm is acceptable at `moment`."""
        name = digest_name(algo["algorithm"].native)
        return _constraint(f"digest {name}", self._policy.digest_rule(name), moment)

    def signature_algorithm_allowed(
        self, algo: algos.SignedDigestAlgorithm, moment: datetime | None, public_key: keys.PublicKeyInfo | None
    ) -> AlgorithmUsageConstraint:
        """Returns whether a signature algorithm with the key at hand is acceptable at `moment`."""
        digest = hash_of(algo)
        if digest is not None:
            allowed = _constraint(f"digest {digest}", self._policy.digest_rule(digest), moment)
            if not allowed:
                return allowed
        if public_key is None:
            return AlgorithmUsageConstraint(allowed=True)
        family, bits = key_family(public_key)
        return _constraint(f"key {family} {bits}", self._policy.key_rule(family, bits), moment)


def _constraint(what: str, rule: AlgorithmRule | None, moment: datetime | None) -> AlgorithmUsageConstraint:
    if rule is None:
        return AlgorithmUsageConstraint(allowed=False, failure_reason=f"{what} is not in the policy")
    if rule.acceptable_until is None:
        return AlgorithmUsageConstraint(allowed=True)
    end = end_of_day(rule.acceptable_until)
    if moment is not None and moment <= end:
        return AlgorithmUsageConstraint(allowed=True)
    return AlgorithmUsageConstraint(
        allowed=False, not_allowed_after=end, failure_reason=f"{what} is not acceptable after {rule.acceptable_until}"
    )


def digest_name(native: str) -> str:
    """Returns the policy's name of a digest algorithm as asn1crypto spells it."""
    return "shake256" if native == "shake256_len" else native.lower()


def hash_of(algo: algos.SignedDigestAlgorithm) -> str | None:
    """Returns the digest a signature algorithm implies, None where it implies none (plain RSA, EdDSA)."""
    try:
        return digest_name(algo.hash_algo)
    except (ValueError, KeyError, TypeError):
        return None


def key_family(public_key: keys.PublicKeyInfo) -> tuple[str, int]:
    """Returns family and size in bits of a public key; families are those of the policy's key list."""
    family = public_key.algorithm
    if family == "rsassa_pss":
        family = "rsa"
    if family in {"rsa", "dsa", "ec"}:
        return family, int(public_key.bit_size)
    return family, {"ed25519": 256, "ed448": 456}.get(family, 0)


def judge_algorithms(
    policy: SignaturePolicy,
    digests: tuple[str, ...],
    algorithm: algos.SignedDigestAlgorithm | None,
    key: keys.PublicKeyInfo,
    at: datetime,
) -> tuple[SubIndication | None, list[Reason]]:
    """Judges the algorithms of one signature at its proven time (EN 319 102-1 clause 5.2.8); None = all acceptable.

    Args:
        policy: the dated lists.
        digests: digest algorithms used; the first is the one the signature algorithm must fit.
        algorithm: the signature algorithm, None where the format names none in ASN.1.
        key: the signer's public key.
        at: the time to judge for.
    """
    dated = DatedAlgorithmPolicy(policy)
    try:
        named = [algos.DigestAlgorithm({"algorithm": name}) for name in digests]
        found = [dated.digest_algorithm_allowed(digest, at) for digest in named]
        if algorithm is not None:
            found.append(dated.signature_algorithm_allowed(algorithm, at, key))
            found += [dated.digest_combination_allowed(algorithm, digest, None) for digest in named[:1]]
        else:
            family, bits = key_family(key)
            found.append(_constraint(f"key {family} {bits}", policy.key_rule(family, bits), at))
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        detail = f"{type(exc).__name__}: {exc}"[:200]
        return SubIndication.CRYPTO_CONSTRAINTS_FAILURE, [
            Reason(code="ALGORITHM_NOT_ACCEPTED", params={"detail": detail})
        ]
    failed = [constraint for constraint in found if not constraint]
    if not failed:
        return None, []
    until = all(constraint.not_allowed_after is not None for constraint in failed)
    sub = SubIndication.CRYPTO_CONSTRAINTS_FAILURE_NO_POE if until else SubIndication.CRYPTO_CONSTRAINTS_FAILURE
    return sub, [Reason(code="ALGORITHM_NOT_ACCEPTED", params={"detail": c.failure_reason or ""}) for c in failed]


def describe(
    policy: SignaturePolicy, use: str, *, digests: tuple[str, ...], key: keys.PublicKeyInfo, at: datetime
) -> list[AlgorithmUse]:
    """Returns digests and key of one use with their strength at `at`."""
    uses = [_use(f"{use} digest", digest, policy.digest_rule(digest), at) for digest in digests]
    try:
        family, bits = key_family(key)
    except (ValueError, TypeError, KeyError, AttributeError):
        return [*uses, AlgorithmUse(use=f"{use} key", name="unknown", strength=Strength.UNKNOWN)]
    return [*uses, _use(f"{use} key", f"{family} {bits}", policy.key_rule(family, bits), at)]


def _use(use: str, name: str, rule: AlgorithmRule | None, at: datetime) -> AlgorithmUse:
    if rule is None:
        return AlgorithmUse(use=use, name=name, strength=Strength.UNKNOWN)
    if rule.acceptable_until is None:
        return AlgorithmUse(use=use, name=name, strength=Strength.STRONG)
    strength = Strength.STRONG if at <= end_of_day(rule.acceptable_until) else Strength.EXPIRED
    return AlgorithmUse(use=use, name=name, strength=strength, acceptable_until=rule.acceptable_until.isoformat())
