"""Judging time-stamp tokens (EN 319 102-1 clause 5.4): only a judged token proves a time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from asn1crypto import cms

from archive_service.signatures.algorithms import judge_algorithms
from archive_service.signatures.certificates import signer_name
from archive_service.signatures.chain import ChainVerdict, Circumstances, Purpose, judge, judge_stale
from archive_service.signatures.cms import (
    dump_token,
    encapsulated_digest,
    imprint_digest,
    imprint_matches,
    token_time,
    view_signer,
)
from archive_service.signatures.policy import Freshness
from archive_service.signatures.report import Indication, Integrity, Reason, SubIndication, TimestampSummary

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far a token may lie after the time judged: clocks of authorities and archives differ a little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedToken:
    """A token, its summary, and its authority's path."""

    token: cms.SignedData
    summary: TimestampSummary
    chain: ChainVerdict | None = None

    @property
    def proves(self) -> datetime | None:
        """The time the token proves; None when it may not be relied on."""
        return self.summary.time if self.summary.indication is Indication.TOTAL_PASSED else None


def token_key(token: cms.SignedData) -> bytes:
    """Returns the signature value of a token, under which proofs of its existence are kept."""
    infos = token["signer_infos"]
    return bytes(infos[0]["signature"].native) if len(infos) else b""


def judge_token(
    token: cms.SignedData,
    digest_of: Callable[[str], bytes],
    case: Circumstances,
    *,
    kind: str,
    purpose: Purpose = Purpose.TIMESTAMPING,
    proven: datetime | None = None,
) -> JudgedToken:
    """Judges one token.

    Args:
        token: the token's SignedData.
        digest_of: digest of what the token should stamp, by algorithm name.
        case: trust, policy, evidence and time.
        kind: signature, content, document or archive.
        purpose: `LAST_TIMESTAMPING` for the newest archive time-stamp, which nothing later can support.
        proven: time at which the token itself is proven to exist, None = the time judged.
    """
    case.evidence.add_signed_data(token)
    case.evidence.tokens[dump_token(token)] = None
    when = token_time(token)
    if when is None or len(token["signer_infos"]) != 1:
        return _judged(token, kind, None, "?", SubIndication.SIG_CONSTRAINTS_FAILURE, (Reason(code="TOKEN_MALFORMED"),))
    view = view_signer(token, encapsulated_digest(token))
    authority = signer_name(view.certificate) if view.certificate is not None else "?"
    if view.integrity is not Integrity.INTACT or view.certificate is None:
        return _judged(token, kind, when, authority, view.sub_indication or SubIndication.GENERIC, view.reasons)
    if not imprint_matches(token, digest_of):
        return _judged(token, kind, when, authority, SubIndication.HASH_FAILURE, (Reason(code="TOKEN_OTHER_CONTENT"),))
    if when > case.at + CLOCK_TOLERANCE:
        reason = Reason(code="TOKEN_FROM_FUTURE", params={"time": when.isoformat(), "date": case.at.isoformat()})
        return _judged(token, kind, when, authority, SubIndication.TIMESTAMP_ORDER_FAILURE, (reason,))
    known = min(proven or case.at, case.at)
    digests = (view.digest, imprint_digest(token))
    weak, why = judge_algorithms(
        case.policy, digests, view.signer_info["signature_algorithm"], view.certificate.public_key, known
    )
    if weak is not None:
        return _judged(token, kind, when, authority, weak, tuple(why))
    chain = judge(view.certificate, purpose, known, case)
    if chain.sub_indication is SubIndication.TRY_LATER and case.policy.freshness is Freshness.AT_BEST_SIGNATURE_TIME:
        chain = judge_stale(view.certificate, purpose, when, chain, case)
    reasons = (*chain.reasons, *chain.remarks)
    return _judged(token, kind, when, authority, chain.sub_indication, reasons, chain)


def _judged(
    token: cms.SignedData,
    kind: str,
    when: datetime | None,
    authority: str,
    sub: SubIndication | None,
    reasons: tuple[Reason, ...],
    chain: ChainVerdict | None = None,
) -> JudgedToken:
    failed = {SubIndication.HASH_FAILURE, SubIndication.SIG_CRYPTO_FAILURE}
    indication = Indication.TOTAL_PASSED if sub is None else Indication.INDETERMINATE
    if sub in failed:
        indication = Indication.TOTAL_FAILED
    summary = TimestampSummary(
        kind=kind, time=when, authority=authority, indication=indication, sub_indication=sub, reasons=reasons
    )
    return JudgedToken(token=token, summary=summary, chain=chain)
