"""Whose signature it is, and what a result needs (R034)."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from archive_service.dossier import Component, Origin, Role
from archive_service.findings import Finding, Severity
from archive_service.ingest.signer_agency import check_signer_agency
from archive_service.rules.code_profile import load_code_profile
from archive_service.samples.pki import Identity, Scheme, TestPki
from archive_service.signatures import SignatureCheck, TrustStore, findings_for
from archive_service.signatures.report import SignatureReport
from archive_service.signatures.signer import SignerKind
from tests.unit.signatures.checking import POLICY, check
from tests.unit.signatures.pki_fixtures import Party, World, sign_pdf

AT = datetime(2021, 6, 1, 8, 0, tzinfo=UTC)
PKI = TestPki.create(5, at=AT)
COMMUNE = "Ủy ban nhân dân xã Hoằng Hóa"


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ({"common_name": "Đặng Quang Tùng", "user_id": "CCCD:038085000123"}, SignerKind.PERSON),
        ({"common_name": "Đặng Quang Tùng"}, SignerKind.PERSON),
        ({"common_name": "VŨ VĂN SỞ", "user_id": "CMND:162345678"}, SignerKind.PERSON),
        ({"common_name": "Vũ Văn A", "organization_name": "Sở Nội vụ"}, SignerKind.OFFICER),
        ({"common_name": "Lê A", "organization_name": COMMUNE, "title": "Chủ tịch"}, SignerKind.OFFICER),
        ({"common_name": COMMUNE, "organization_name": COMMUNE, "title": "Chủ tịch"}, SignerKind.OFFICER),
        ({"common_name": COMMUNE, "organization_name": COMMUNE}, SignerKind.AGENCY),
        ({"common_name": "Sở Nội vụ", "organization_name": "UBND tỉnh Hà Tĩnh"}, SignerKind.AGENCY),
        ({"common_name": "UBND xã Hoằng Hóa", "organization_name": COMMUNE}, SignerKind.AGENCY),
        ({"common_name": "UBND xã Hoằng Hóa", "user_id": "MST:2800123456"}, SignerKind.AGENCY),
        ({"common_name": "CÔNG TY TNHH MINH ANH", "user_id": "MST:0101234567"}, SignerKind.ENTERPRISE),
        ({"common_name": "Công ty A", "organization_name": "Công ty A"}, SignerKind.ENTERPRISE),
        ({"common_name": "Lê A", "organization_name": "Công ty A", "title": "Giám đốc"}, SignerKind.PERSON),
        ({"common_name": COMMUNE, "user_id": "CCCD:038085000123"}, SignerKind.PERSON),
        ({}, SignerKind.PERSON),
    ],
)
def test_whose_certificate_it_is(subject: dict[str, str], kind: SignerKind) -> None:
    assert POLICY.signers.kind_of(subject) is kind


def _result(issuer: str | None = None) -> Component:
    return Component(
        id="kq-1",
        path="kq.pdf",
        role=Role.RESULT,
        origin=Origin.ISSUED,
        title="Kết quả",
        type_code="01",
        issuer=issuer,
        sha256="0" * 64,
        size_bytes=1,
    )


def _signed(folder: Path, *identities: Identity) -> SignatureCheck:
    store = TrustStore.of([PKI.roots[scheme].der for scheme in (Scheme.NATIONAL, Scheme.PUBLIC_SERVICE)])
    reports: list[SignatureReport] = []
    for identity in identities:
        content = sign_pdf(World(tag="signer"), party=Party(certificate=identity.certificate, key=identity.key))
        middle = [issuer.asn1.dump() for issuer in PKI.issuing.values()]
        trust = store.with_material(intermediates=middle, crls=[], ocsps=[])
        reports += check(folder, content, World(tag="signer"), trust=trust).reports
    return SignatureCheck(reports=tuple(reports))


AGENCY = PKI.agency(COMMUNE, code="H56.16")
OFFICER = PKI.officer("Lê Thị Hà", title="Chủ tịch", agency=COMMUNE)
CITIZEN = PKI.citizen("Đặng Quang Tùng", identifier="038085000123")


def _signature_codes(found: tuple[Finding, ...]) -> dict[str, Severity]:
    kept = {"SIGNATURE_MISSING_ON_RESULT", "SIGNATURE_OF_AGENCY_MISSING", "SIGNATURE_OF_OFFICER_MISSING"}
    return {finding.code: finding.severity for finding in found if finding.code in kept}


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ((CITIZEN,), {"SIGNATURE_MISSING_ON_RESULT": Severity.ERROR}),
        ((OFFICER,), {"SIGNATURE_OF_AGENCY_MISSING": Severity.WARNING}),
        ((OFFICER, CITIZEN), {"SIGNATURE_OF_AGENCY_MISSING": Severity.WARNING}),
        ((AGENCY,), {"SIGNATURE_OF_OFFICER_MISSING": Severity.INFO}),
        ((OFFICER, AGENCY), {}),
    ],
    ids=["citizen", "officer", "officer-and-citizen", "agency", "both"],
)
def test_who_has_to_sign_a_result(tmp_path: Path, who: tuple[Identity, ...], expected: dict[str, Severity]) -> None:
    signed = _signed(tmp_path, *who)
    assert _signature_codes(findings_for(signed, component=_result(), policy=POLICY)) == expected


def test_a_citizen_is_no_agency_in_the_report(tmp_path: Path) -> None:
    [report] = _signed(tmp_path, CITIZEN).reports
    assert report.as_json()["signer_is_agency"] is False
    assert report.as_json()["signer_kind"] == "person"
    [report] = _signed(tmp_path, AGENCY).reports
    assert report.as_json()["signer_is_agency"] is True
    assert report.signer_organisation_id == "VN:H56.16"


@pytest.mark.parametrize(
    ("signer", "settling", "issuer", "differs_from"),
    [
        (AGENCY, "H56.16", COMMUNE, None),
        (AGENCY, "000.00.16.H56", "UBND xã Hoằng Hoá, tỉnh Thanh Hóa", None),
        (AGENCY, "H56.16.03", None, None),
        (AGENCY, "H27.20", COMMUNE, "H27.20"),
        (AGENCY, "H56.16", "Ủy ban nhân dân xã Nông Cống", "Ủy ban nhân dân xã Nông Cống"),
        (PKI.agency("Sở Y tế", code="-"), "H56.16", None, None),
        (PKI.agency("Sở Y tế", code="-"), "H27", None, "Tỉnh Hà Tĩnh"),
        (OFFICER, "H27.20", "Sở Y tế", None),
    ],
)
def test_agency_that_signed_and_agency_that_settled(
    tmp_path: Path, signer: Identity, settling: str, issuer: str | None, differs_from: str | None
) -> None:
    signed = _signed(tmp_path, signer)
    found = list(
        check_signer_agency(signed, _result(issuer), settling_agency=settling, codes=load_code_profile(), policy=POLICY)
    )
    assert [(one.code, one.severity, one.params["expected"]) for one in found] == (
        [("SIGNATURE_AGENCY_DIFFERS", Severity.WARNING, differs_from)] if differs_from else []
    )
