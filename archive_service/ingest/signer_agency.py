"""Whether the agency that signed a result is the one the dossier names (R034).

Compared is what can be: an agency code in the certificate with the settling agency's code, the certificate's names with the issuer that
dossier.json gives for the result and with the listed name of the settling agency. What cannot be compared says nothing; names agree when
the words of one stand in the other, because papers add the province and certificates cut a name at 64 characters (X.520).
"""

from collections.abc import Iterator

from archive_service.dossier import Component, Role
from archive_service.findings import Finding
from archive_service.rules.code_profile import CodeProfile
from archive_service.rules.codes import agency_groups
from archive_service.signatures.policy import SignaturePolicy
from archive_service.signatures.report import Indication, SignatureCheck, SignatureReport
from archive_service.signatures.signer import name_key

CODE = "SIGNATURE_AGENCY_DIFFERS"


def check_signer_agency(
    check: SignatureCheck, component: Component, *, settling_agency: str, codes: CodeProfile, policy: SignaturePolicy
) -> Iterator[Finding]:
    """Yields a finding when none of the agencies that signed a result can be the one the dossier names."""
    if component.role is not Role.RESULT:
        return
    signed = [report for report in check.reports if report.signer_is_agency and _counts(report)]
    differing = [_difference(report, component, settling_agency, codes) for report in signed]
    if differing and all(differing):
        yield Finding(
            code=CODE,
            location=component.id,
            params={"signer": signed[0].signer, "expected": differing[0]},
            severity_override=policy.severity.get(CODE),
        )


def _counts(report: SignatureReport) -> bool:
    return report.indication is not Indication.TOTAL_FAILED


def _difference(report: SignatureReport, component: Component, settling_agency: str, codes: CodeProfile) -> str | None:
    """Returns what the signer differs from, None when it agrees or nothing can be compared."""
    identifier = (report.signer_organisation_id or "").rpartition(":")[2]
    signing, settling = agency_groups(identifier), agency_groups(settling_agency)
    if signing and settling and any(one != other for one, other in zip(signing, settling, strict=False)):
        return settling_agency
    names = [name_key(name) for name in (report.signer, *(report.signer_agency or "").split(", ")) if name]
    expected = [component.issuer] if component.issuer else []
    expected += [agency.name for agency in codes.agencies.get(".".join(settling or (settling_agency,)), ())]
    differing = [name for name in expected if not any(_same(name_key(name), own) for own in names)]
    # A unit may be settling for the listed body above it: one name that agrees is enough.
    return differing[0] if differing and len(differing) == len(expected) else None


def _same(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    return f" {shorter} " in f" {longer} " or longer.startswith(shorter)
