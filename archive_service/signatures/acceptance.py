"""What a signature check means for a dossier: findings, weighed by the signature policy (R033, R034)."""

from collections.abc import Iterator
from typing import Final

from archive_service.dossier import Component
from archive_service.findings import Finding, Severity
from archive_service.signatures import texts
from archive_service.signatures.policy import RoleRequirement, SignaturePolicy, SignerType
from archive_service.signatures.report import (
    Indication,
    SignatureCheck,
    SignatureReport,
    SubIndication,
)
from archive_service.signatures.signer import SignerKind
from archive_service.signatures.trust import TrustStore

_CODES: Final = {
    SubIndication.REVOKED_NO_POE: "SIGNATURE_CERTIFICATE_REVOKED",
    SubIndication.REVOKED_CA_NO_POE: "SIGNATURE_CERTIFICATE_REVOKED",
    SubIndication.REVOKED: "SIGNATURE_CERTIFICATE_REVOKED",
    SubIndication.OUT_OF_BOUNDS_NO_POE: "SIGNATURE_EXPIRED",
    SubIndication.OUT_OF_BOUNDS_NOT_REVOKED: "SIGNATURE_EXPIRED",
    SubIndication.EXPIRED: "SIGNATURE_EXPIRED",
    SubIndication.NO_CERTIFICATE_CHAIN_FOUND: "SIGNATURE_UNTRUSTED",
    SubIndication.TRY_LATER: "SIGNATURE_REVOCATION_UNKNOWN",
    SubIndication.REVOCATION_OUT_OF_BOUNDS_NO_POE: "SIGNATURE_REVOCATION_UNKNOWN",
    SubIndication.CRYPTO_CONSTRAINTS_FAILURE: "SIGNATURE_ALGORITHM_WEAK",
    SubIndication.CRYPTO_CONSTRAINTS_FAILURE_NO_POE: "SIGNATURE_ALGORITHM_WEAK",
}

STOPPED: Final = "PROCESS_KILLED"
"""Reason code of a check that was stopped at its limits: the file was seen and not looked through."""
_CHANGE_REASONS: Final = frozenset(
    {"CONTENT_CHANGED", "CHANGE_NOT_PERMITTED", "CHANGES_NOT_VOUCHED", "BYTES_AFTER_END"}
)


def findings_for(check: SignatureCheck, *, component: Component | None, policy: SignaturePolicy) -> tuple[Finding, ...]:
    """Returns every finding of a check, in order of the signatures; reasons are given in both languages.

    Args:
        check: the file's signature check.
        component: the dossier component the file is, None for a file on its own.
        policy: weighs the findings and says which roles must be signed.
    """
    location = component.id if component else ""
    found: list[Finding] = []
    for report in check.reports:
        found += _of_report(report, location, policy)
    for reason in check.not_checked:
        stopped = reason.startswith(STOPPED)
        code = "SIGNATURE_CHECK_STOPPED" if stopped else "SIGNATURE_NOT_CHECKED"
        found.append(_finding(code, location, policy, {"reason": note(reason, "vi"), "reason_en": note(reason, "en")}))
    if component is not None:
        found += _of_requirements(check, component, policy)
    return tuple(found)


def note(not_checked: str, language: str) -> str:
    """Returns in words what a `CODE: detail` of `SignatureCheck.not_checked` says."""
    code, _, detail = not_checked.partition(": ")
    if code not in texts.catalogue():
        return not_checked
    params = {"detail": detail, "what": "", "limit": detail}
    return texts.render(code, params, language)


def _finding(
    code: str, location: str, policy: SignaturePolicy, params: dict[str, str], severity: Severity | None = None
) -> Finding:
    return Finding(code=code, location=location, params=params, severity_override=policy.severity.get(code, severity))


def _of_report(report: SignatureReport, location: str, policy: SignaturePolicy) -> Iterator[Finding]:
    params = {
        "signer": report.signer or "?",
        "sub": report.sub_indication or "",
        "reason": " ".join(reason.text("vi") for reason in report.reasons) or "-",
        "reason_en": " ".join(reason.text("en") for reason in report.reasons) or "-",
        "date": _date(report),
        "time": report.signing_time.isoformat() if report.signing_time else "?",
        "field": report.field_name or "",
    }
    if report.indication is Indication.TOTAL_PASSED:
        if report.expired_since:
            severity = None if policy.accept_expired_but_provable else Severity.ERROR
            yield Finding(
                code="SIGNATURE_EXPIRED_PROVABLE",
                location=location,
                params=params,
                severity_override=severity or policy.severity.get("SIGNATURE_EXPIRED_PROVABLE"),
            )
        return
    if report.indication is Indication.TOTAL_FAILED:
        revoked = report.sub_indication is SubIndication.REVOKED
        yield _finding("SIGNATURE_CERTIFICATE_REVOKED" if revoked else "SIGNATURE_FORGED", location, policy, params)
        return
    severity = policy.severity_for_indeterminate(report.sub_indication)
    changed = any(reason.code in _CHANGE_REASONS for reason in report.reasons)
    code = "SIGNATURE_CONTENT_CHANGED_AFTER" if changed else "SIGNATURE_INDETERMINATE"
    if not changed and report.sub_indication is not None:
        code = _CODES.get(report.sub_indication, code)
    yield _finding(code, location, policy, params, severity)


def _date(report: SignatureReport) -> str:
    if report.revocation.revoked_at:
        return report.revocation.revoked_at.isoformat()
    return report.certificate.not_after.date().isoformat() if report.certificate else "?"


def _of_requirements(check: SignatureCheck, component: Component, policy: SignaturePolicy) -> Iterator[Finding]:
    for requirement in policy.requirements:
        if _applies(requirement, component) and not any(_satisfies(report, requirement) for report in check.reports):
            yield Finding(
                code=requirement.finding,
                location=component.id,
                params={"role": component.role.value, "basis": requirement.basis},
                severity_override=requirement.severity,
            )
            if requirement.severity is Severity.ERROR:
                return  # "no signature at all" says that the agency's is missing


def _applies(requirement: RoleRequirement, component: Component) -> bool:
    origin = not requirement.origins or component.origin.value in requirement.origins
    return requirement.role == component.role.value and origin


NO_ANCHORS: Final = TrustStore.empty().digest
"""Digest of a trust store without anchors."""


def _satisfies(report: SignatureReport, requirement: RoleRequirement) -> bool:
    """Returns whether a signature counts for a role: a forged one never does, an undecided one is weighed by its own finding."""
    if report.indication is Indication.TOTAL_FAILED or report.certificate is None:
        return False
    if (
        requirement.trusted_path
        and report.sub_indication is SubIndication.NO_CERTIFICATE_CHAIN_FOUND
        and report.trust_digest != NO_ANCHORS
    ):
        # Anyone can make a certificate that bears an agency's name; without a path to an anchor nobody vouches for it. An archive
        # that has no anchors yet cannot tell the two apart, and says only that it could not.
        return False
    return requirement.signer is SignerType.ANY or report.signer_kind in _WHO[requirement.signer]


_WHO: Final = {
    SignerType.PERSON: frozenset({SignerKind.PERSON, SignerKind.OFFICER}),
    SignerType.OFFICER: frozenset({SignerKind.OFFICER}),
    SignerType.AGENCY: frozenset({SignerKind.AGENCY}),
    SignerType.OFFICIAL: frozenset({SignerKind.AGENCY, SignerKind.OFFICER}),
}
