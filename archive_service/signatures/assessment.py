"""From a verified signature to a report: proven time, certificate, algorithms, in the order of EN 319 102-1 clause 5.5.4.

Shared by every format: PDF, CMS and XML differ in how bytes are covered and digested, not in how a signer is judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from asn1crypto import algos, x509

from archive_service.signatures import certificates
from archive_service.signatures.algorithms import describe, judge_algorithms
from archive_service.signatures.chain import ChainVerdict, Circumstances, Purpose, judge
from archive_service.signatures.policy import SignaturePolicy
from archive_service.signatures.report import (
    AlgorithmUse,
    ChangesAfterSigning,
    Indication,
    Integrity,
    Reason,
    SignatureKind,
    SignatureLevel,
    SignatureReport,
    SigningTimeSource,
    SubIndication,
)
from archive_service.signatures.timestamps import CLOCK_TOLERANCE, JudgedToken
from archive_service.signatures.trust import parse_certificate

_FAILED: Final = frozenset(
    {
        SubIndication.FORMAT_FAILURE,
        SubIndication.HASH_FAILURE,
        SubIndication.SIG_CRYPTO_FAILURE,
        SubIndication.REVOKED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signature as read from its format, before trust is judged."""

    kind: SignatureKind
    sub_filter: str | None
    field_name: str | None
    certificate: x509.Certificate | None
    signature: bytes
    integrity: Integrity
    sub_indication: SubIndication | None
    reasons: tuple[Reason, ...]
    claimed_time: datetime | None
    level: SignatureLevel | None
    covers_whole_file: bool
    coverage: str
    changes: ChangesAfterSigning = ChangesAfterSigning.NOT_APPLICABLE
    digest: str | None = None
    """Digest algorithm of the signature."""
    content_digest: str | None = None
    """A further digest between content and signature (adbe.pkcs7.sha1)."""
    algorithm: algos.SignedDigestAlgorithm | None = None
    tokens: tuple[JudgedToken, ...] = ()
    """Judged signature time-stamps."""
    content_tokens: tuple[JudgedToken, ...] = ()
    archive_tokens: tuple[JudgedToken, ...] = ()
    """Judged archive or document time-stamps over this signature."""
    remarks: tuple[Reason, ...] = ()


def unreadable(kind: SignatureKind, reason: Reason, *, field_name: str | None = None) -> Signed:
    """Returns what there is to say of a signature that is there but cannot be looked at: nothing checked, and why."""
    return Signed(
        kind=kind,
        sub_filter=None,
        field_name=field_name,
        certificate=None,
        signature=b"",
        integrity=Integrity.NOT_CHECKED,
        sub_indication=SubIndication.SIG_CONSTRAINTS_FAILURE,
        reasons=(reason,),
        claimed_time=None,
        level=None,
        covers_whole_file=False,
        coverage="unknown",
    )


def indication_of(sub: SubIndication | None) -> Indication:
    """Returns the main indication that a sub-indication belongs to; None is TOTAL-PASSED."""
    if sub is None:
        return Indication.TOTAL_PASSED
    return Indication.TOTAL_FAILED if sub in _FAILED else Indication.INDETERMINATE


def assess(signed: Signed, case: Circumstances) -> SignatureReport:
    """Judges a signature whose bytes were verified.

    Steps:
      1. Signature and digest hold, format constraints are met (from the caller; clause 5.2.2-5.2.8).
      2. Best signature time: the earliest of valid time-stamps and known proofs of existence (clause 5.5.4 step 3).
      3. The signer's certificate at the time of validation, else at the best signature time (clauses 5.5.4, 5.6.2.4).
      4. Algorithms at the best signature time (clause 5.2.8).
      5. Order of times (clause 5.5.4 step 5).
    The first step that fails gives the sub-indication; every reason is kept.
    """
    policy = case.policy
    best, source = best_time(signed, case)  # (2)
    proven = best or case.at
    subs, reasons, remarks = [], list(signed.reasons), list(signed.remarks)
    if signed.sub_indication:  # (1)
        subs.append(signed.sub_indication)
    chain: ChainVerdict | None = None
    uses: list[AlgorithmUse] = []
    if signed.certificate is not None:
        chain = judge(signed.certificate, Purpose.SIGNING, proven, case)  # (3)
        subs += [chain.sub_indication] if chain.sub_indication else []
        reasons += chain.reasons
        remarks += chain.remarks
        digests = tuple(filter(None, (signed.digest, signed.content_digest)))
        key = signed.certificate.public_key
        sub, why = judge_algorithms(policy, digests, signed.algorithm, key, proven)  # (4)
        uses = describe(policy, "signature", digests=digests, key=key, at=proven)
        subs += [sub] if sub else []
        reasons += why
    order = _order(signed, best, case)  # (5)
    subs += [SubIndication.TIMESTAMP_ORDER_FAILURE] if order else []
    reasons += order
    remarks += _time_remarks(signed, best, case)
    sub = next((s for s in subs if s in _FAILED), subs[0] if subs else None)
    if sub is None and best is None and signed.claimed_time is not None:
        remarks.append(Reason(code="TIME_CLAIMED_ONLY"))
    return _report(signed, case, _Judged(sub, tuple(reasons), tuple(remarks), chain, best, source, tuple(uses)), policy)


@dataclass(frozen=True, slots=True)
class _Judged:
    sub: SubIndication | None
    reasons: tuple[Reason, ...]
    remarks: tuple[Reason, ...]
    chain: ChainVerdict | None
    best: datetime | None
    source: SigningTimeSource | None
    uses: tuple[AlgorithmUse, ...]


def _report(signed: Signed, case: Circumstances, judged: _Judged, policy: SignaturePolicy) -> SignatureReport:
    certificate, chain = signed.certificate, judged.chain
    path = tuple(certificates.summarise(parse_certificate(der)) for der in chain.path) if chain else ()
    passed = judged.sub is None
    return SignatureReport(
        kind=signed.kind,
        indication=indication_of(judged.sub),
        sub_indication=judged.sub,
        reasons=judged.reasons,
        level=signed.level,
        sub_filter=signed.sub_filter,
        field_name=signed.field_name,
        signer=certificates.signer_name(certificate) if certificate is not None else "",
        signer_agency=certificates.signer_agency(certificate) if certificate is not None else None,
        signer_title=certificates.signer_title(certificate) if certificate is not None else None,
        signer_kind=policy.signers.kind_of(certificates.name_parts(certificate.subject))
        if certificate is not None
        else None,
        signer_organisation_id=certificates.organisation_identifier(certificate) if certificate is not None else None,
        certificate=certificates.summarise(certificate) if certificate is not None else None,
        path=path,
        trust_scheme=case.trust.scheme_of(chain.path[-1]) if chain and chain.path else None,
        **({"revocation": chain.revocation} if chain else {}),
        signing_time=judged.best or signed.claimed_time,
        signing_time_source=judged.source or (SigningTimeSource.CLAIMED if signed.claimed_time else None),
        claimed_time=signed.claimed_time,
        best_signature_time=judged.best,
        integrity=signed.integrity,
        covers_whole_file=signed.covers_whole_file,
        coverage=signed.coverage,
        changes_after_signing=signed.changes,
        algorithms=judged.uses,
        timestamps=tuple(token.summary for token in (*signed.tokens, *signed.content_tokens, *signed.archive_tokens)),
        expired_since=passed and any(remark.code == "EXPIRED_SINCE" for remark in judged.remarks),
        remarks=judged.remarks,
        judged_at=case.at,
        policy_id=policy.id,
        policy_version=policy.version,
        policy_digest=policy.digest,
        trust_digest=case.trust.digest,
    )


def best_time(signed: Signed, case: Circumstances) -> tuple[datetime | None, SigningTimeSource | None]:
    """Returns the earliest proven time of the signature and where the proof comes from."""
    stamps = (*signed.tokens, *signed.archive_tokens)
    stamped = min((token.proves for token in stamps if token.proves), default=None)
    known = case.exists_since(signed.signature) if signed.signature else case.at
    if known < case.at and (stamped is None or known < stamped):
        return known, SigningTimeSource.KNOWN_POE
    return (min(stamped, case.at), SigningTimeSource.TIMESTAMP) if stamped else (None, None)


def _order(signed: Signed, best: datetime | None, case: Circumstances) -> list[Reason]:
    """A content time-stamp says the signature did not exist before it; it cannot lie after the proof that it existed."""
    not_before = max((token.proves for token in signed.content_tokens if token.proves), default=None)
    if not_before and best and not_before > best + CLOCK_TOLERANCE:
        params = {"content": not_before.isoformat(), "signature": best.isoformat()}
        return [Reason(code="TIMESTAMP_ORDER", params=params)]
    del case
    return []


def _time_remarks(signed: Signed, best: datetime | None, case: Circumstances) -> list[Reason]:
    claimed, remarks = signed.claimed_time, []
    if claimed and claimed > case.at + CLOCK_TOLERANCE:
        remarks.append(Reason(code="CLAIMED_IN_FUTURE", params={"claimed": claimed.isoformat()}))
    if claimed and best and claimed > best + CLOCK_TOLERANCE:
        remarks.append(
            Reason(code="CLAIMED_AFTER_PROOF", params={"claimed": claimed.isoformat(), "proven": best.isoformat()})
        )
    certificate = signed.certificate
    if (
        claimed
        and certificate is not None
        and not certificate.not_valid_before <= claimed <= certificate.not_valid_after
    ):
        remarks.append(Reason(code="CLAIMED_OUTSIDE_VALIDITY", params={"claimed": claimed.isoformat()}))
    failed: Sequence[JudgedToken] = [
        token
        for token in (*signed.tokens, *signed.archive_tokens)
        if token.summary.indication is not Indication.TOTAL_PASSED
    ]
    remarks += [Reason(code="TOKEN_NOT_USED", params={"authority": token.summary.authority}) for token in failed]
    return remarks
