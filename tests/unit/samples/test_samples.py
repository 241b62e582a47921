"""Sample dossiers: same bytes for the same seed, the right shape, and each fault really there."""

import hashlib
import io
import json
import stat
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pikepdf
import pytest
from asn1crypto import crl, ocsp
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from archive_service.clock import civil_date
from archive_service.digests import digest_bytes
from archive_service.dossier import Dossier, parse_dossier, parse_json
from archive_service.errors import ContentDiffers
from archive_service.findings import Severity, catalogue
from archive_service.rules.codes import check_codes, default_code_profile
from archive_service.rules.completeness import check_completeness, default_completeness_profile
from archive_service.samples import faults
from archive_service.samples.dossiers import generate
from archive_service.samples.pki import TRUSTED_SCHEMES, Scheme, TestPki
from archive_service.samples.small import SampleDossier, eight_file_dossier, generate_bulk, minimal_dossier

AT = datetime(2026, 11, 20, 3, tzinfo=UTC)
SEED = 2025


def read(sample: SampleDossier) -> Dossier:
    value, findings = parse_json((sample.folder / "dossier.json").read_bytes())
    dossier, more = parse_dossier(value)
    assert not findings
    assert not more
    assert dossier is not None
    return dossier


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pki = TestPki.create(SEED, at=AT)
    folder = tmp_path_factory.mktemp("samples")
    return pki, folder, generate(folder, count=24, seed=SEED, at=AT, pki=pki)


def by_fault(made, fault: str) -> SampleDossier:
    samples: list[SampleDossier] = made[2]
    return next(sample for sample in samples if sample.fault == fault)


def part(sample: SampleDossier, role: str) -> bytes:
    component = next(component for component in read(sample).components if component.role == role)
    return (sample.folder / component.path).read_bytes()


def statuses(made, content: bytes):
    pki = made[0]
    roots = [pki.roots[scheme].asn1 for scheme in TRUSTED_SCHEMES]
    for signature in PdfFileReader(io.BytesIO(content)).embedded_signatures:
        context = ValidationContext(trust_roots=roots, allow_fetching=False, moment=AT, revocation_mode="soft-fail")
        yield validate_pdf_signature(signature, context)


def test_same_seed_gives_same_bytes(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        generate(folder, count=9, seed=7, at=AT)
    assert tree(first) == tree(second)
    assert len(tree(first)) > 30


def test_every_fault_occurs_and_good_ones_are_between(made):
    kinds = {sample.fault for sample in made[2]}
    assert kinds >= set(list(faults.EXPECTED_CODES)[:-2])
    assert sum(sample.good for sample in made[2]) == 10
    assert {sample.kind for sample in made[2]} >= {"land_change", "birth", "construction_permit", "business_household"}
    assert all(bool(sample.expected_codes) is not sample.good for sample in made[2])


def test_dossiers_parse_and_codes_carry_the_day_of_reception(made):
    for sample in made[2]:
        dossier = read(sample)
        agency, day, _ = dossier.dossier_code.rsplit("-", 2)
        assert dossier.receiving_agency == agency
        assert day == f"{civil_date(dossier.received_at):%y%m%d}"
        assert dossier.received_at < dossier.closed_at < AT
        moments = [step.at for step in dossier.process]
        assert moments == sorted(moments)
        assert 4 <= len(dossier.components) <= 15


def test_digests_hold_except_in_the_broken_one(made):
    for sample in made[2]:
        wrong = [
            component.id
            for component in read(sample).components
            if digest_bytes((sample.folder / component.path).read_bytes()).hex != component.sha256
        ]
        assert bool(wrong) is (sample.fault == "broken_digest"), sample.folder


def test_good_results_are_signed_by_a_person_and_the_agency(made):
    for sample in (sample for sample in made[2] if sample.good and read(sample).outcome == "result_returned"):
        found = list(statuses(made, part(sample, "result")))
        assert len(found) == 2
        assert all(status.bottom_line for status in found)


def test_signed_faults_are_what_they_say(made):
    forged = list(statuses(made, part(by_fault(made, "forged"), "result")))
    assert not any(status.intact for status in forged)
    changed = list(statuses(made, part(by_fault(made, "changed_after"), "result")))
    assert all(status.intact for status in changed)
    assert not any(status.docmdp_ok for status in changed)
    untrusted = list(statuses(made, part(by_fault(made, "untrusted"), "result")))
    assert [status.trusted for status in untrusted] == [False]
    assert untrusted[0].intact
    assert not list(statuses(made, part(by_fault(made, "unsigned_result"), "result")))


def test_expired_certificate_was_over_before_it_signed(made):
    content = part(by_fault(made, "expired"), "result")
    signature = PdfFileReader(io.BytesIO(content)).embedded_signatures[0]
    assert signature.signer_cert.not_valid_after < signature.self_reported_timestamp


def test_revoked_certificate_stands_in_the_embedded_list(made):
    reader = PdfFileReader(io.BytesIO(part(by_fault(made, "revoked"), "result")))
    serial = reader.embedded_signatures[0].signer_cert.serial_number
    lists = [crl.CertificateList.load(item.get_object().data) for item in reader.root["/DSS"]["/CRLs"]]
    revoked = {
        entry["user_certificate"].native: entry["revocation_date"].native
        for found in lists
        for entry in found["tbs_cert_list"]["revoked_certificates"]
    }
    assert revoked[serial] < reader.embedded_signatures[0].self_reported_timestamp


def test_other_faults_are_there(made):
    assert any(
        by_fault(made, "lying_extension").folder.joinpath(component.path).read_bytes()[:2] == b"\xff\xd8"
        for component in read(by_fault(made, "lying_extension")).components
        if component.path.endswith(".pdf")
    )
    with pytest.raises(pikepdf.PasswordError):
        pikepdf.open(next(by_fault(made, "encrypted").folder.glob("*tiep-nhan.pdf")))
    assert all(component.role != "result" for component in read(by_fault(made, "missing_result")).components)
    missing = read(by_fault(made, "missing_supplement_request"))
    assert any("Yêu cầu bổ sung" in step.step for step in missing.process)
    assert all(component.role != "supplement_request" for component in missing.components)
    assert any(b"file:///etc/passwd" in path.read_bytes() for path in by_fault(made, "xml_entity").folder.glob("*.xml"))
    again = by_fault(made, "duplicate")
    assert again.dossier_code == made[2][0].dossier_code
    assert tree(again.folder) != tree(made[2][0].folder)


def test_malicious_zips(made, tmp_path):
    traversal = by_fault(made, "zip_traversal").handed_over
    with zipfile.ZipFile(traversal) as archive:
        assert any(name.startswith("../") for name in archive.namelist())
    folder = minimal_dossier(tmp_path).folder
    faults.write_zip(folder, tmp_path / "link.zip", fault="zip_symlink")
    modes = [entry.external_attr >> 16 for entry in zipfile.ZipFile(tmp_path / "link.zip").infolist()]
    assert any(stat.S_ISLNK(mode) for mode in modes)
    faults.write_zip(folder, tmp_path / "bomb.zip", fault="zip_bomb")
    bomb = zipfile.ZipFile(tmp_path / "bomb.zip").getinfo("99-tai-lieu.pdf")
    assert bomb.file_size // bomb.compress_size > 500
    with zipfile.ZipFile(tmp_path / "bomb.zip").open(bomb) as content:
        assert content.read(4096) == bytes(4096)


def test_texts_come_out_of_the_pdf_as_they_went_in(made):
    import pypdfium2

    page = pypdfium2.PdfDocument(part(made[2][0], "result"))[0]
    text = " ".join(page.get_textpage().get_text_range().split())
    assert "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM" in text
    assert read(made[2][0]).applicant.name in text
    with pikepdf.open(next(made[2][0].folder.glob("*ket-qua.pdf"))) as pdf:
        fonts = {
            str(obj["/BaseFont"]) for obj in pdf.objects if isinstance(obj, pikepdf.Dictionary) and "/BaseFont" in obj
        }
    assert fonts
    assert all("NotoSerif" in font or "NotoSans" in font for font in fonts)


def test_pki_is_derived_from_its_seed_and_writes_only_trusted_roots(tmp_path):
    one, two, other = (TestPki.create(seed, at=AT) for seed in (1, 1, 2))
    assert one.roots[Scheme.NATIONAL].der == two.roots[Scheme.NATIONAL].der != other.roots[Scheme.NATIONAL].der
    officer = one.officer("Nguyễn Thị Ánh", title="Chủ tịch", agency="Ủy ban nhân dân xã Yên Định")
    one.revoke(officer, on=AT)
    answer = ocsp.OCSPResponse.load(one.ocsp(officer, at=AT)).response_data["responses"][0]["cert_status"]
    assert answer.name == "revoked"
    names = {str(path.relative_to(tmp_path)) for path in one.write_trust(tmp_path)}
    assert {name for name in names if name.endswith(".pem")} == {"national/root.pem", "public_service/root.pem"}
    assert "revocation/public_service-issuing.crl" in names


def test_small_dossiers_have_the_size_asked_for(tmp_path):
    assert len(read(minimal_dossier(tmp_path / "m", outcome="result_returned")).components) == 4
    eight = read(eight_file_dossier(tmp_path / "e", total_bytes=200_000))
    assert len(eight.components) == 8
    assert 190_000 < sum(component.size_bytes for component in eight.components) < 210_000
    bulk = generate_bulk(tmp_path / "b", files=3, file_size_bytes=2_500_000)
    assert [component.size_bytes for component in read(bulk).components] == [2_500_000] * 3
    assert json.loads((bulk.folder / "dossier.json").read_text())["components"][0]["path"].startswith("files/")


def test_expected_codes_are_known():
    known = set(catalogue()) | {ContentDiffers.code}
    assert set().union(*faults.EXPECTED_CODES.values()) <= known


def test_good_dossiers_are_complete_and_their_codes_conform(made):
    for sample in (sample for sample in made[2] if sample.good):
        dossier = read(sample)
        found = (
            *check_completeness(dossier, default_completeness_profile()),
            *check_codes(dossier, at=AT, profile=default_code_profile()),
        )
        assert not [finding.code for finding in found if finding.severity is Severity.ERROR], sample.folder
