"""Judging a certificate: is there a path to a trust anchor, and does it hold at the time that counts?

Path building is ours and bounded; validating a path (RFC 5280, revocation, algorithm dates) is pyHanko's.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from asn1crypto import x509
from pyhanko.sign.validation.generic_cms import handle_certvalidator_errors
from pyhanko.sign.validation.settings import KeyUsageConstraints
from pyhanko_certvalidator.authority import CertTrustAnchor
from pyhanko_certvalidator.context import CertValidationPolicySpec, bootstrap_validation_data_handlers
from pyhanko_certvalidator.errors import (
    InsufficientRevinfoError,
    InvalidCertificateError,
    StaleRevinfoError,
    ValidationError,
)
from pyhanko_certvalidator.ltv.poe import POEManager
from pyhanko_certvalidator.ltv.types import ValidationTimingInfo
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import CertRevTrustPolicy, RevocationCheckingPolicy, RevocationCheckingRule
from pyhanko_certvalidator.registry import SimpleTrustManager
from pyhanko_certvalidator.validate import async_validate_path

from archive_service.signatures import revocation
from archive_service.signatures.algorithms import DatedAlgorithmPolicy
from archive_service.signatures.certificates import display, name_text
from archive_service.signatures.evidence import DatedCrl, DatedOcsp, Evidence, parse_crl, parse_ocsp, stated_for
from archive_service.signatures.policy import Freshness, RevocationRule, SignaturePolicy
from archive_service.signatures.report import Reason, RevocationState, RevocationSummary, SubIndication
from archive_service.signatures.trust import TrustStore, parse_certificate

MAX_PATH_LENGTH: Final = 12
"""Certificates from signer to anchor; public hierarchies have three to five."""
MAX_PATHS: Final = 8
"""Paths tried for one certificate; cross-certification gives two or three."""
MAX_EDGES: Final = 200
"""Issuer signatures verified while building paths for one certificate."""

for _name_of_logger in ("pyhanko", "pyhanko_certvalidator"):
    # pyHanko logs each refused certificate with a traceback; what it says is in the report, and hostile files must not fill logs
    logging.getLogger(_name_of_logger).setLevel(logging.CRITICAL)


class Purpose(StrEnum):
    """What the certificate was used for."""

    SIGNING = "signing"
    TIMESTAMPING = "timestamping"
    LAST_TIMESTAMPING = "last_timestamping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Everything a judgement depends on besides the signature itself."""

    at: datetime
    trust: TrustStore
    policy: SignaturePolicy
    evidence: Evidence
    file_known_since: datetime | None = None
    """Proven age of the whole file: everything that came with it is at least as old."""

    def exists_since(self, content: bytes) -> datetime:
        """Returns since when an object is proven to exist, `at` when there is no proof."""
        known = self.evidence.exists_since(content, self.at)
        if self.file_known_since is None or content in self.evidence.outside:
            return known
        return min(known, self.file_known_since)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainVerdict:
    """Outcome for one certificate."""

    sub_indication: SubIndication | None
    """None = the path holds."""
    path: tuple[bytes, ...] = ()
    """DER, leaf first, anchor last; a path that was found but does not hold is given too."""
    judged_for: datetime
    """The time at which the path was found to hold or not."""
    revocation: RevocationSummary = field(default_factory=lambda: RevocationSummary(state=RevocationState.UNKNOWN))
    reasons: tuple[Reason, ...] = ()
    remarks: tuple[Reason, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the certificate was good at `judged_for`."""
        return self.sub_indication is None


def judge(leaf: x509.Certificate, purpose: Purpose, proven: datetime, case: Circumstances) -> ChainVerdict:
    """Judges a certificate whose use is proven to be no later than `proven`.

    Steps (EN 319 102-1 clauses 5.2.6, 5.5.4, 5.6.2):
      1. Judge the path at the time of validation; if it holds, done.
      2. If the use is proven older, judge the path at the proven time with the evidence that is proven old enough.
      3. Otherwise the verdict of step 1 stands.
    The caller must have verified the signature itself and any time-stamp behind `proven`.
    """
    current = _judge_at(leaf, purpose, case.at, case)  # (1)
    if current.holds or proven >= case.at:
        return current
    if case.policy.freshness is Freshness.AT_VALIDATION_TIME and current.sub_indication is SubIndication.TRY_LATER:
        return current
    past = _judge_at(leaf, purpose, proven, case)  # (2)
    if not past.holds:
        return (
            past
            if past.sub_indication is not SubIndication.TRY_LATER
            else replace(past, path=past.path or current.path)
        )
    expired = [der for der in past.path if parse_certificate(der).not_valid_after < case.at]
    remarks = [Reason(code="EXPIRED_SINCE", params={"name": _name(der), "date": _day(der)}) for der in expired[:1]]
    later = current.revocation.revoked_at
    if later and later > proven:
        remarks.append(Reason(code="REVOKED_LATER", params={"date": later.isoformat()}))
    return replace(past, remarks=(*past.remarks, *remarks))


def _name(der: bytes) -> str:
    return name_text(parse_certificate(der).subject)


def _day(der: bytes) -> str:
    return str(parse_certificate(der).not_valid_after.date())


def _judge_at(leaf: x509.Certificate, purpose: Purpose, moment: datetime, case: Circumstances) -> ChainVerdict:
    paths = list(paths_to_anchors(leaf, moment, case))
    if not paths:
        return _no_path(leaf, moment, case)
    verdicts = []
    for path in paths:
        verdict = _judge_path(path, purpose, moment, case)
        if verdict.holds:
            return verdict
        verdicts.append(verdict)
    return verdicts[0]


def _no_path(leaf: x509.Certificate, moment: datetime, case: Circumstances) -> ChainVerdict:
    issuer = name_text(leaf.issuer)
    issuers = {leaf.issuer.hashable, *(parse_certificate(der).issuer.hashable for der in case.evidence.certificates)}
    idle = {entry.der for entry in case.trust.anchors} - {entry.der for entry in case.trust.anchors_at(moment)}
    known = any(parse_certificate(der).subject.hashable in issuers for der in idle)
    code = "ANCHOR_NOT_EFFECTIVE" if known else "NO_PATH"
    return ChainVerdict(
        sub_indication=SubIndication.NO_CERTIFICATE_CHAIN_FOUND,
        path=(leaf.dump(),),
        judged_for=moment,
        reasons=(Reason(code=code, params={"issuer": issuer, "date": moment.isoformat()}),),
    )


def paths_to_anchors(leaf: x509.Certificate, moment: datetime, case: Circumstances) -> Iterator[tuple[bytes, ...]]:
    """Yields paths (DER, leaf first) to anchors effective at `moment`, each step's signature verified, bounded in every direction."""
    anchors = {entry.der for entry in case.trust.anchors_at(moment)}
    by_subject = _by_subject(tuple(sorted(anchors)), tuple(case.trust.intermediates), tuple(case.evidence.certificates))
    budget = [MAX_EDGES]

    def walk(path: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
        if path[-1] in anchors:
            yield path
            return
        if len(path) >= MAX_PATH_LENGTH:
            return
        for issuer in by_subject.get(parse_certificate(path[-1]).issuer.hashable, ()):
            if issuer in path or budget[0] <= 0:
                continue
            budget[0] -= 1
            if revocation.issued_by(path[-1], issuer):
                yield from walk((*path, issuer))

    for count, path in enumerate(walk((leaf.dump(),))):
        if count >= MAX_PATHS:
            return
        yield path


@lru_cache(maxsize=256)
def _by_subject(anchors: tuple[bytes, ...], *others: tuple[bytes, ...]) -> dict[str, list[bytes]]:
    """Returns subject -> certificates, anchors first."""
    found: dict[str, dict[bytes, None]] = {}
    for group in (anchors, *others):
        for der in group:
            found.setdefault(parse_certificate(der).subject.hashable, {})[der] = None
    return {subject: list(ders) for subject, ders in found.items()}


def _judge_path(path: tuple[bytes, ...], purpose: Purpose, moment: datetime, case: Circumstances) -> ChainVerdict:
    leaf = parse_certificate(path[0])
    status = _status(path, moment, case)
    revoked = _revoked(path, moment, case)
    if revoked is not None:
        return replace(revoked, revocation=status)
    if len(path) == 1:
        return _judge_anchor(path, purpose, moment, status)
    sub, message = _validate(path, purpose, moment, case)
    remarks = _revocation_remarks(status, leaf)
    if sub is None:
        return ChainVerdict(sub_indication=None, path=path, judged_for=moment, revocation=status, remarks=remarks)
    params = {"name": name_text(leaf.subject), "date": moment.isoformat(), "detail": display(message)}
    code = f"CHAIN_{sub}" if sub in _EXPLAINED else "CHAIN_OTHER"
    return ChainVerdict(
        sub_indication=sub,
        path=path,
        judged_for=moment,
        revocation=status,
        reasons=(Reason(code=code, params=params),),
        remarks=remarks,
    )


_EXPLAINED: Final = frozenset(
    {SubIndication.TRY_LATER, SubIndication.OUT_OF_BOUNDS_NO_POE, SubIndication.NOT_YET_VALID}
)


def _revocation_remarks(status: RevocationSummary, leaf: x509.Certificate) -> tuple[Reason, ...]:
    if status.state is RevocationState.NOT_DECLARED:
        return (Reason(code="NO_STATUS_SERVICE", params={"name": name_text(leaf.subject)}),)
    if status.state is RevocationState.UNKNOWN:
        return (Reason(code="REVOCATION_NOT_KNOWN", params={"name": name_text(leaf.subject)}),)
    return ()


def _status(path: tuple[bytes, ...], moment: datetime, case: Circumstances) -> RevocationSummary:
    leaf = parse_certificate(path[0])
    if len(path) == 1:
        return RevocationSummary(state=RevocationState.NOT_DECLARED)
    found = revocation.statements(leaf, parse_certificate(path[1]), case.evidence)
    return revocation.summary(leaf, found, moment)


def _revoked(path: tuple[bytes, ...], moment: datetime, case: Circumstances) -> ChainVerdict | None:
    """Returns a verdict when any authentic evidence says that a certificate of the path was revoked by `moment`."""
    for position, (der, issuer) in enumerate(itertools.pairwise(path)):
        certificate = parse_certificate(der)
        found = revocation.statements(certificate, parse_certificate(issuer), case.evidence)
        state = revocation.summary(certificate, found, moment)
        if state.state is RevocationState.REVOKED:
            sub = SubIndication.REVOKED_CA_NO_POE if position else SubIndication.REVOKED_NO_POE
            when = state.revoked_at.isoformat() if state.revoked_at else ""
            params = {"name": name_text(certificate.subject), "date": when, "why": state.reason or "-"}
            return ChainVerdict(
                sub_indication=sub, path=path, judged_for=moment, reasons=(Reason(code="REVOKED", params=params),)
            )
    return None


def _judge_anchor(
    path: tuple[bytes, ...], purpose: Purpose, moment: datetime, status: RevocationSummary
) -> ChainVerdict:
    """Judges a signer that is itself a trust anchor: no path to validate, but its dates and key usage still hold it."""
    leaf = parse_certificate(path[0])
    params = {"name": name_text(leaf.subject), "date": moment.isoformat(), "detail": ""}
    sub: SubIndication | None = None
    if moment > leaf.not_valid_after:
        sub = SubIndication.OUT_OF_BOUNDS_NO_POE
    elif moment < leaf.not_valid_before:
        sub = SubIndication.NOT_YET_VALID
    elif purpose is not Purpose.SIGNING and "time_stamping" not in _extended_usages(leaf):
        sub = SubIndication.CHAIN_CONSTRAINTS_FAILURE
    code = f"CHAIN_{sub}" if sub in _EXPLAINED else "CHAIN_OTHER"
    reasons = (Reason(code=code, params=params),) if sub else ()
    return ChainVerdict(sub_indication=sub, path=path, judged_for=moment, revocation=status, reasons=reasons)


def _extended_usages(certificate: x509.Certificate) -> set[str]:
    value = certificate.extended_key_usage_value
    return set(value.native) if value is not None else set()


_RULES: Final = {
    RevocationRule.REQUIRED: RevocationCheckingRule.CRL_OR_OCSP_REQUIRED,
    RevocationRule.IF_DECLARED: RevocationCheckingRule.CHECK_IF_DECLARED,
    # what is at hand was asked in `_revoked` already; pyHanko's soft rule would still refuse over a stale list
    RevocationRule.IF_AVAILABLE: RevocationCheckingRule.NO_CHECK,
}


def _rules(purpose: Purpose, policy: SignaturePolicy) -> RevocationCheckingPolicy:
    leaf = {
        Purpose.SIGNING: policy.signer_revocation,
        Purpose.TIMESTAMPING: policy.timestamp_revocation,
        Purpose.LAST_TIMESTAMPING: policy.last_timestamp_revocation,
    }[purpose]
    soft = purpose is Purpose.LAST_TIMESTAMPING
    authority = policy.last_timestamp_revocation if soft else policy.ca_revocation
    return RevocationCheckingPolicy(ee_certificate_rule=_RULES[leaf], intermediate_ca_cert_rule=_RULES[authority])


def _key_usage(leaf: x509.Certificate, purpose: Purpose, policy: SignaturePolicy) -> KeyUsageConstraints:
    if purpose is not Purpose.SIGNING:
        return KeyUsageConstraints(extd_key_usage={"time_stamping"})
    if leaf.key_usage_value is None:  # RFC 5280 4.2.1.3: without the extension the key is not restricted
        return KeyUsageConstraints()
    return KeyUsageConstraints(key_usage=set(policy.key_usage_any_of))


def _require_not_for_machines(leaf: x509.Certificate, policy: SignaturePolicy) -> None:
    """Refuses a signer whose certificate is for other purposes only (RFC 5280 clause 4.2.1.12): a web server signs no decision.

    Raises:
        InvalidCertificateError: every purpose it states is one of those that never sign documents.
    """
    stated = _extended_usages(leaf)
    if stated and stated <= set(policy.extended_usage_never_alone):
        raise InvalidCertificateError(f"the certificate is for {', '.join(sorted(stated))} only")


def _validate(
    path: tuple[bytes, ...], purpose: Purpose, moment: datetime, case: Circumstances
) -> tuple[SubIndication | None, str]:
    """Validates one path with pyHanko; returns the sub-indication (None = holds) and pyHanko's message."""
    leaf = parse_certificate(path[0])
    failures: list[ValidationError] = []

    async def run() -> Any:  # pyHanko's result is generic over an untyped library
        context = _context(path, purpose, moment, case)

        async def check() -> ValidationPath:
            try:
                candidate = ValidationPath(
                    CertTrustAnchor(parse_certificate(path[-1])),
                    [parse_certificate(der) for der in reversed(path[1:-1])],
                    leaf,
                )
                await async_validate_path(context, candidate)
                _key_usage(leaf, purpose, case.policy).validate(leaf)
                if purpose is Purpose.SIGNING:
                    _require_not_for_machines(leaf, case.policy)
            except ValidationError as exc:
                failures.append(exc)
                raise
            return candidate

        return await handle_certvalidator_errors(cert=leaf, coro=check())

    try:
        result = asyncio.run(run())
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, AssertionError, OverflowError) as exc:
        # pyHanko raises these on malformed certificate extensions: the path could not be judged
        return SubIndication.CERTIFICATE_CHAIN_GENERAL_FAILURE, f"{type(exc).__name__}: {exc}"
    if result.error_subindic is None:
        return None, ""
    message = "; ".join(failure.failure_msg for failure in failures)
    if any(isinstance(failure, (InsufficientRevinfoError, StaleRevinfoError)) for failure in failures):
        return SubIndication.TRY_LATER, message
    return _refine(SubIndication(result.error_subindic.standard_name), path, moment), message


def _refine(sub: SubIndication, path: tuple[bytes, ...], moment: datetime) -> SubIndication:
    """Says "not yet valid" and "expired issuer" in the standard's terms; pyHanko reports both as a general chain failure."""
    certificates = [parse_certificate(der) for der in path]
    if moment < certificates[0].not_valid_before:
        return SubIndication.NOT_YET_VALID
    if sub is SubIndication.CERTIFICATE_CHAIN_GENERAL_FAILURE and any(
        moment > c.not_valid_after for c in certificates[:-1]
    ):
        return SubIndication.OUT_OF_BOUNDS_NO_POE
    return SubIndication.TRY_LATER if sub is SubIndication.NO_POE else sub


def _context(path: tuple[bytes, ...], purpose: Purpose, moment: datetime, case: Circumstances) -> Any:
    spec = CertValidationPolicySpec(
        trust_manager=_manager(tuple(sorted(entry.der for entry in case.trust.anchors_at(moment)))),
        revinfo_policy=CertRevTrustPolicy(revocation_checking_policy=_rules(purpose, case.policy)),
        algorithm_usage_policy=DatedAlgorithmPolicy(case.policy),
    )
    crls, ocsps = _usable_revocation(path, case)
    handlers = bootstrap_validation_data_handlers(
        fetchers=None,
        crls=[DatedCrl(parse_crl(der)) for der in crls],
        ocsps=[
            DatedOcsp(parse_ocsp(der), index)
            for der in ocsps
            for index in range(len(parse_ocsp(der).basic_ocsp_response["tbs_response_data"]["responses"]))
        ],
        certs=[parse_certificate(der) for der in path],
        poe_manager=POEManager(current_dt_override=min(moment, case.at)),
    )
    timing = ValidationTimingInfo(validation_time=moment, best_signature_time=moment, point_in_time_validation=True)
    return spec.build_validation_context(timing_info=timing, handlers=handlers)


@lru_cache(maxsize=64)
def _manager(anchors: tuple[bytes, ...]) -> SimpleTrustManager:
    return SimpleTrustManager.build(trust_roots=[parse_certificate(der) for der in anchors])


def _usable_revocation(path: tuple[bytes, ...], case: Circumstances) -> tuple[list[bytes], list[bytes]]:
    """Returns the CRLs and OCSP responses that may be relied on.

    Left out: what was issued after the leaf expired (authorities drop expired certificates from their lists) and what is signed by an
    authority that has expired by now without proof that the statement is older than that (clause 5.6.2.3).
    """
    leaf = parse_certificate(path[0])
    issuer_names = {parse_certificate(der).subject.hashable: parse_certificate(der) for der in path[1:]}

    def proven(der: bytes, signer: x509.Certificate | None) -> bool:
        return signer is None or signer.not_valid_after >= case.at or case.exists_since(der) <= signer.not_valid_after

    crls = []
    for der in case.evidence.crls:
        parsed = parse_crl(der)
        too_late = parsed.issuer == leaf.issuer and parsed["tbs_cert_list"]["this_update"].native > leaf.not_valid_after
        if not too_late and proven(der, issuer_names.get(parsed.issuer.hashable)):
            crls.append(der)
    ocsps = []
    for der in case.evidence.ocsps:
        basic = parse_ocsp(der).basic_ocsp_response
        stated = stated_for(der, leaf)
        too_late = stated is not None and stated > leaf.not_valid_after
        if not too_late and proven(der, _responder(basic, issuer_names)):
            ocsps.append(der)
    return crls, ocsps


def _responder(basic: Any, issuers: dict[str, x509.Certificate]) -> x509.Certificate | None:
    """Returns the certificate whose expiry limits an OCSP response: the appointed responder's, else the issuer's."""
    for certificate in basic["certs"] or ():
        extended = certificate.extended_key_usage_value
        if extended is not None and "ocsp_signing" in extended.native:
            return parse_certificate(certificate.dump())
    return next(iter(issuers.values()), None)


def judge_stale(
    leaf: x509.Certificate, purpose: Purpose, used_at: datetime, current: ChainVerdict, case: Circumstances
) -> ChainVerdict:
    """Judges a time-stamping authority whose status is known only as of the time it stamped.

    Offline nothing newer can be had. The path must hold now apart from revocation, and at `used_at` with revocation; a revocation
    known from any evidence still counts. The report says that the status is that of the stamping time.
    """
    then = _judge_at(leaf, purpose, used_at, case)
    relaxed = replace(case.policy, last_timestamp_revocation=RevocationRule.IF_AVAILABLE)
    now = _judge_at(leaf, Purpose.LAST_TIMESTAMPING, case.at, replace(case, policy=relaxed))
    if not then.holds or not now.holds:
        return current
    remark = Reason(code="STATUS_AS_OF_STAMP", params={"date": used_at.isoformat(), "name": name_text(leaf.subject)})
    return replace(then, remarks=(*then.remarks, remark))
