"""PDF signatures from B-B to B-LTA, then everything that must not pass."""

# pyHanko, signxml and lxml leave much untyped that these tests call
# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type,union-attr"

from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields
from pyhanko.sign.diff_analysis import SuspiciousModification
from pyhanko.sign.signers import PdfTimeStamper

from archive_service.digests import digest_bytes
from archive_service.signatures import Indication, KnownExistence, TrustStore
from archive_service.signatures.pdf_changes import in_words
from archive_service.signatures.report import (
    ChangesAfterSigning,
    Integrity,
    RevocationState,
    SignatureLevel,
    SigningTimeSource,
    SubIndication,
)
from tests.unit.signatures.checking import check, trust_of
from tests.unit.signatures.pki_fixtures import (
    SIGNED_AT,
    World,
    add_page_text,
    blank_pdf,
    rsa_key,
    sign_pdf,
)

NEXT_DAY = SIGNED_AT + timedelta(days=1)
AFTER_EXPIRY = datetime(2024, 6, 1, tzinfo=UTC)
LONG_AFTER = datetime(2033, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def lta(world: World) -> bytes:
    return sign_pdf(world, level="LTA")


def test_plain_signature_whose_certificate_names_no_status_service(tmp_path: Path, world: World) -> None:
    [report] = check(tmp_path, sign_pdf(world, party=world.plain), world, at=NEXT_DAY).reports
    assert report.indication is Indication.TOTAL_PASSED
    assert report.level is SignatureLevel.B_B
    assert report.covers_whole_file
    assert report.signing_time_source is SigningTimeSource.CLAIMED
    assert report.revocation.state is RevocationState.NOT_DECLARED
    assert {"NO_STATUS_SERVICE", "TIME_CLAIMED_ONLY"} <= {remark.code for remark in report.remarks}
    assert report.trust_scheme == "national"


def test_status_that_could_not_be_checked_is_not_valid(tmp_path: Path, world: World) -> None:
    [report] = check(tmp_path, sign_pdf(world), world, at=NEXT_DAY).reports
    assert (report.indication, report.sub_indication) == (Indication.INDETERMINATE, SubIndication.TRY_LATER)
    assert report.revocation.state is RevocationState.UNKNOWN


def test_prefetched_revocation_lists_of_the_trust_store_are_used(tmp_path: Path, world: World) -> None:
    crls, ocsps = world.revocation(SIGNED_AT)
    trust = TrustStore.of([world.root.der]).with_material(intermediates=[], crls=crls, ocsps=ocsps)
    [report] = check(tmp_path, sign_pdf(world), world, at=SIGNED_AT, trust=trust).reports
    assert report.indication is Indication.TOTAL_PASSED
    assert report.revocation.state is RevocationState.GOOD
    assert report.revocation.evidence


@pytest.mark.parametrize(("level", "expected"), [("T", "B-T"), ("LT", "B-LT")])
def test_level_counts_what_the_file_carries_not_what_the_trust_store_holds(
    tmp_path: Path, world: World, level: str, expected: str
) -> None:
    crls, ocsps = world.revocation(SIGNED_AT)
    trust = TrustStore.of([world.root.der]).with_material(intermediates=[], crls=crls, ocsps=ocsps)
    [report] = check(tmp_path, sign_pdf(world, level=level), world, at=SIGNED_AT, trust=trust).reports
    assert report.level == expected


def test_plain_iso_32000_signature_has_no_level(tmp_path: Path, world: World) -> None:
    [report] = check(tmp_path, sign_pdf(world, party=world.plain, pades=False), world).reports
    assert report.indication is Indication.TOTAL_PASSED
    assert (report.level, report.sub_filter) == (None, "adbe.pkcs7.detached")


def test_stamp_whose_authority_could_not_be_asked_is_no_proof(tmp_path: Path, world: World) -> None:
    [report] = check(tmp_path, sign_pdf(world, level="T", party=world.plain), world, at=NEXT_DAY).reports
    assert report.level is SignatureLevel.B_T
    assert report.timestamps[0].sub_indication is SubIndication.TRY_LATER
    assert report.signing_time_source is SigningTimeSource.CLAIMED


def test_stamp_proves_the_time_once_its_authority_can_be_asked(tmp_path: Path, world: World) -> None:
    trust = TrustStore.of([world.root.der]).with_material(
        intermediates=[], crls=[world.crl(world.root, NEXT_DAY)], ocsps=[]
    )
    pdf = sign_pdf(world, level="T", party=world.plain)
    [report] = check(tmp_path, pdf, world, at=AFTER_EXPIRY, trust=trust).reports
    assert report.indication is Indication.TOTAL_PASSED
    assert report.signing_time_source is SigningTimeSource.TIMESTAMP
    assert report.expired_since


@pytest.mark.parametrize(("level", "expected"), [("LT", "B-LT"), ("LTA", "B-LTA")])
def test_levels_are_recognised(tmp_path: Path, world: World, level: str, expected: str) -> None:
    report = check(tmp_path, sign_pdf(world, level=level), world, at=NEXT_DAY).reports[0]
    assert report.level == expected
    assert report.signing_time_source is SigningTimeSource.TIMESTAMP
    assert report.best_signature_time == SIGNED_AT


def test_signature_of_2021_passes_after_its_certificate_expired(tmp_path: Path, world: World, lta: bytes) -> None:
    first, stamp = check(tmp_path, lta, world, at=AFTER_EXPIRY).reports
    assert first.indication is Indication.TOTAL_PASSED
    assert first.expired_since
    assert "expired since" in first.as_text("en")
    assert "hợp lệ tại thời điểm ký" in first.as_text("vi")
    assert first.changes_after_signing is ChangesAfterSigning.VALIDATION_MATERIAL
    assert stamp.indication is Indication.TOTAL_PASSED
    assert stamp.sub_filter == "ETSI.RFC3161"


def test_lta_with_everything_expired_needs_proof_from_outside(tmp_path: Path, world: World, lta: bytes) -> None:
    without = check(tmp_path, lta, world, at=LONG_AFTER)
    assert without.indication is Indication.INDETERMINATE
    proof = KnownExistence(digest=digest_bytes(lta), at=AFTER_EXPIRY, source="evidence record")
    with_proof = check(tmp_path, lta, world, at=LONG_AFTER, known=[proof])
    assert with_proof.indication is Indication.TOTAL_PASSED


def test_lt_passes_while_the_stamp_authority_lives(tmp_path: Path, world: World) -> None:
    [report] = check(tmp_path, sign_pdf(world, level="LT"), world, at=AFTER_EXPIRY).reports
    assert report.indication is Indication.TOTAL_PASSED
    assert report.expired_since


def test_expired_without_proof(tmp_path: Path, world: World) -> None:
    [report] = check(tmp_path, sign_pdf(world, party=world.plain), world, at=AFTER_EXPIRY).reports
    assert (report.indication, report.sub_indication) == (
        Indication.INDETERMINATE,
        SubIndication.OUT_OF_BOUNDS_NO_POE,
    )


def test_archive_receipt_proves_an_expired_signature(tmp_path: Path, world: World) -> None:
    pdf = sign_pdf(world, party=world.plain)
    proof = KnownExistence(digest=digest_bytes(pdf), at=NEXT_DAY, source="receipt")
    [report] = check(tmp_path, pdf, world, at=AFTER_EXPIRY, known=[proof]).reports
    assert report.indication is Indication.TOTAL_PASSED
    assert report.signing_time_source is SigningTimeSource.KNOWN_POE
    assert report.expired_since


def test_signed_before_the_certificate_was_valid(tmp_path: Path, world: World) -> None:
    pdf = sign_pdf(world, party=world.plain)
    [report] = check(tmp_path, pdf, world, at=datetime(2019, 6, 1, tzinfo=UTC)).reports
    assert report.sub_indication is SubIndication.NOT_YET_VALID


def test_untrusted_root_is_indeterminate(tmp_path: Path, world: World) -> None:
    [report] = check(tmp_path, sign_pdf(world), world, trust=TrustStore.empty()).reports
    assert (report.indication, report.sub_indication) == (
        Indication.INDETERMINATE,
        SubIndication.NO_CERTIFICATE_CHAIN_FOUND,
    )
    assert report.integrity is Integrity.INTACT


def test_namesake_authority_is_not_trusted(tmp_path: Path, world: World) -> None:
    imposter = World(tag="a")
    imposter.root = World(tag="b").make("Root CA", None, authority=True)
    fake = World(tag="b")
    fake.root = fake.make("Root CA", None, authority=True)
    [report] = check(tmp_path, sign_pdf(fake, party=fake.plain), world).reports
    assert report.sub_indication is SubIndication.NO_CERTIFICATE_CHAIN_FOUND


def test_flipped_byte_is_forged(tmp_path: Path, world: World) -> None:
    pdf = sign_pdf(world, party=world.plain)
    changed = pdf.replace(b"595", b"596", 1)
    assert changed != pdf
    [report] = check(tmp_path, changed, world).reports
    assert (report.indication, report.sub_indication) == (Indication.TOTAL_FAILED, SubIndication.HASH_FAILURE)
    assert report.integrity is Integrity.DIGEST_MISMATCH


def test_other_signature_value_is_forged(tmp_path: Path, world: World) -> None:
    pdf = sign_pdf(world, party=world.plain)
    start = pdf.index(b"/Contents <") + len(b"/Contents <")
    der = bytes.fromhex(pdf[start : pdf.index(b">", start)].decode())
    from asn1crypto import cms

    info = cms.ContentInfo.load(der)
    signature = info["content"]["signer_infos"][0]["signature"].native
    swapped = bytearray(signature)
    swapped[-1] ^= 1
    contents = pdf[start : pdf.index(b">", start)]
    forged = pdf.replace(contents, contents.lower().replace(signature.hex().encode(), swapped.hex().encode()), 1)
    assert forged != pdf
    [report] = check(tmp_path, forged, world).reports
    assert (report.indication, report.sub_indication) == (
        Indication.TOTAL_FAILED,
        SubIndication.SIG_CRYPTO_FAILURE,
    )


@pytest.mark.parametrize("level", ["B", "LTA"])
def test_page_changed_after_signing_never_passes(tmp_path: Path, world: World, level: str) -> None:
    pdf = add_page_text(sign_pdf(world, level=level, party=world.plain if level == "B" else None))
    result = check(tmp_path, pdf, world, at=NEXT_DAY)
    assert result.indication is Indication.INDETERMINATE
    assert result.reports[0].changes_after_signing is ChangesAfterSigning.SUSPICIOUS
    (told,) = [reason for reason in result.reports[0].reasons if reason.code == "CONTENT_CHANGED"]
    assert "idnum" not in told.params["detail"]
    assert not any(report.covers_whole_file for report in result.reports)


def test_bytes_after_the_end_without_cross_references(tmp_path: Path, world: World) -> None:
    hidden = b"9 0 obj\n<< /Type /Page >>\nendobj\n"
    [report] = check(tmp_path, sign_pdf(world, party=world.plain) + hidden, world).reports
    assert report.indication is Indication.INDETERMINATE


def test_revoked_before_signing(tmp_path: Path) -> None:
    world = World(tag="r")
    world.revoked[world.person.certificate.serial_number] = SIGNED_AT - timedelta(days=30)
    crls, ocsps = world.revocation(SIGNED_AT)
    trust = TrustStore.of([world.root.der]).with_material(intermediates=[], crls=crls, ocsps=ocsps)
    [report] = check(tmp_path, sign_pdf(world), world, trust=trust).reports
    assert (report.indication, report.sub_indication) == (Indication.INDETERMINATE, SubIndication.REVOKED_NO_POE)
    assert report.revocation.state is RevocationState.REVOKED
    assert report.revocation.revoked_at == SIGNED_AT - timedelta(days=30)


def test_revoked_after_a_proven_signing_time(tmp_path: Path) -> None:
    world = World(tag="s")
    pdf = sign_pdf(world, level="LT")
    world.revoked[world.person.certificate.serial_number] = SIGNED_AT + timedelta(days=30)
    later = SIGNED_AT + timedelta(days=60)
    trust = TrustStore.of([world.root.der]).with_material(
        intermediates=[], crls=[world.crl(world.issuing, later)], ocsps=[]
    )
    [report] = check(tmp_path, pdf, world, at=later, trust=trust).reports
    assert report.indication is Indication.TOTAL_PASSED
    assert any(remark.code == "REVOKED_LATER" for remark in report.remarks)


def test_a_good_answer_does_not_hide_a_revocation(tmp_path: Path) -> None:
    world = World(tag="t")
    good = world.ocsp(world.person, SIGNED_AT - timedelta(days=3), days=30)
    world.revoked[world.person.certificate.serial_number] = SIGNED_AT - timedelta(days=1)
    bad = world.crl(world.issuing, SIGNED_AT)
    trust = TrustStore.of([world.root.der]).with_material(
        intermediates=[], crls=[world.crl(world.root, SIGNED_AT), bad], ocsps=[good]
    )
    [report] = check(tmp_path, sign_pdf(world), world, trust=trust).reports
    assert report.sub_indication is SubIndication.REVOKED_NO_POE


def test_stamp_by_an_unknown_authority_proves_nothing(tmp_path: Path, world: World) -> None:
    other = World(tag="x")
    pdf = sign_pdf(world, level="T", party=world.plain, tsa=other.tsa)
    [report] = check(tmp_path, pdf, world, at=AFTER_EXPIRY).reports
    assert report.sub_indication is SubIndication.OUT_OF_BOUNDS_NO_POE
    assert report.timestamps[0].indication is Indication.INDETERMINATE


def test_stamp_by_a_certificate_not_made_for_it(tmp_path: Path, world: World) -> None:
    pdf = sign_pdf(world, level="T", party=world.plain, tsa=world.agency)
    [report] = check(tmp_path, pdf, world, at=NEXT_DAY).reports
    assert report.timestamps[0].indication is not Indication.TOTAL_PASSED
    assert report.best_signature_time is None


def test_second_signature_by_stranger_lowers_the_first(tmp_path: Path, world: World) -> None:
    other = World(tag="y")
    once = sign_pdf(world, party=world.plain)
    twice = sign_pdf(other, once, party=other.plain, field_name="Sig2")
    first, second = check(tmp_path, twice, world).reports
    assert second.sub_indication is SubIndication.NO_CERTIFICATE_CHAIN_FOUND
    assert first.indication is Indication.INDETERMINATE
    assert "CHANGES_UNDECIDED" in {reason.code for reason in first.reasons}


def test_two_good_signatures_pass(tmp_path: Path, world: World) -> None:
    colleague = world.make("Trần Thị Hai", world.issuing)
    twice = sign_pdf(world, sign_pdf(world, party=world.plain), party=colleague, field_name="Sig2")
    first, second = check(tmp_path, twice, world).reports
    assert [first.indication, second.indication] == [Indication.TOTAL_PASSED] * 2
    assert first.changes_after_signing is ChangesAfterSigning.FORM_OR_SIGNATURE
    assert not first.covers_whole_file
    assert second.covers_whole_file


def _with_status(world: World) -> TrustStore:
    return trust_of(world).with_material(intermediates=[], crls=[world.crl(world.root, SIGNED_AT)], ocsps=[])


def test_forms_filled_after_the_last_signature_are_vouched_by_nobody(tmp_path: Path, world: World) -> None:
    writer = IncrementalPdfFileWriter(BytesIO(blank_pdf()))
    text_field = generic.DictionaryObject(
        {
            generic.NameObject("/FT"): generic.NameObject("/Tx"),
            generic.NameObject("/T"): generic.pdf_string("SoTien"),
            generic.NameObject("/V"): generic.pdf_string("1000"),
        }
    )
    reference = writer.add_object(text_field)
    form = generic.DictionaryObject({generic.NameObject("/Fields"): generic.ArrayObject([reference])})
    writer.root["/AcroForm"] = writer.add_object(form)
    writer.update_root()
    out = BytesIO()
    writer.write(out)
    signed = sign_pdf(world, out.getvalue(), party=world.plain)
    writer = IncrementalPdfFileWriter(BytesIO(signed))
    entry = writer.root["/AcroForm"]["/Fields"][0]
    entry["/V"] = generic.pdf_string("9999")
    writer.update_container(entry)
    out = BytesIO()
    writer.write(out)
    [report] = check(tmp_path, out.getvalue(), world).reports
    assert report.indication is Indication.INDETERMINATE
    assert report.changes_after_signing is ChangesAfterSigning.FORM_OR_SIGNATURE
    stamped = BytesIO()
    stamper = PdfTimeStamper(world.timestamper(SIGNED_AT))
    stamper.timestamp_pdf(IncrementalPdfFileWriter(BytesIO(out.getvalue())), "sha256", output=stamped)
    signature, stamp = check(tmp_path, stamped.getvalue(), world, trust=_with_status(world)).reports
    assert stamp.indication is Indication.TOTAL_PASSED
    assert signature.indication is Indication.INDETERMINATE  # an authority stamps whatever it is given


def test_change_beyond_what_the_certifier_permits(tmp_path: Path, world: World) -> None:
    certified = sign_pdf(world, party=world.plain, certify=fields.MDPPerm.NO_CHANGES)
    colleague = world.make("Lê Ba", world.issuing)
    from pyhanko.sign.general import SigningError

    with pytest.raises(SigningError):
        sign_pdf(world, certified, party=colleague, field_name="Sig2")
    [report] = check(tmp_path, certified, world).reports
    assert report.indication is Indication.TOTAL_PASSED
    [changed] = check(tmp_path, add_page_text(certified), world).reports
    assert "CHANGE_NOT_PERMITTED" in {reason.code for reason in changed.reasons}


def test_weak_key_and_weak_digest(tmp_path: Path, world: World) -> None:
    small = world.make("Khóa yếu", world.issuing, key=rsa_key("small", 1024))
    [report] = check(tmp_path, sign_pdf(world, party=small), world).reports
    assert report.indication is Indication.INDETERMINATE
    [sha1] = check(tmp_path, sign_pdf(world, party=world.plain, md="sha1"), world).reports
    assert sha1.sub_indication is SubIndication.CRYPTO_CONSTRAINTS_FAILURE_NO_POE


def test_key_made_for_something_else(tmp_path: Path, world: World) -> None:
    from tests.unit.signatures.pki_fixtures import usage

    party = world.make("Chỉ mã hóa", world.issuing, key_usage=usage("key_encipherment"))
    [report] = check(tmp_path, sign_pdf(world, party=party), world).reports
    assert report.sub_indication is SubIndication.CHAIN_CONSTRAINTS_FAILURE
    repudiation = world.make("Chỉ chống chối bỏ", world.issuing, key_usage=usage("content_commitment"))
    [report] = check(tmp_path, sign_pdf(world, party=repudiation), world).reports
    assert report.indication is Indication.TOTAL_PASSED


def test_empty_signature_field_is_no_signature(tmp_path: Path, world: World) -> None:
    writer = IncrementalPdfFileWriter(BytesIO(blank_pdf()))
    fields.append_signature_field(writer, fields.SigFieldSpec("Sig1"))
    out = BytesIO()
    writer.write(out)
    result = check(tmp_path, out.getvalue(), world)
    assert result.reports == ()
    assert result.indication is None


def test_zeroed_contents_are_reported(tmp_path: Path, world: World) -> None:
    pdf = sign_pdf(world, party=world.plain)
    start = pdf.index(b"/Contents <") + len(b"/Contents <")
    end = pdf.index(b">", start)
    [report] = check(tmp_path, pdf[:start] + b"0" * (end - start) + pdf[end:], world).reports
    assert report.indication is Indication.INDETERMINATE
    assert report.reasons


def test_signature_that_no_field_reaches_is_reported(tmp_path: Path, world: World) -> None:
    pdf = sign_pdf(world, party=world.plain).replace(b"/AcroForm", b"/AcroFoxm")
    [report] = check(tmp_path, pdf, world).reports
    assert report.indication is Indication.INDETERMINATE
    assert report.reasons[0].code == "SIGNATURE_NOT_REACHABLE"


def test_pdf_without_signature(tmp_path: Path, world: World) -> None:
    result = check(tmp_path, blank_pdf(), world)
    assert result.reports == ()
    assert result.material == {}


def test_report_serialises(tmp_path: Path, world: World, lta: bytes) -> None:
    import json
    import pickle

    result = check(tmp_path, lta, world, at=AFTER_EXPIRY)
    for report in result.reports:
        value = json.loads(json.dumps(report.as_json()))
        keys = {"kind", "indication", "sub_indication", "level", "signer", "signing_time", "covers_whole_file"}
        assert keys <= set(value)
        assert value["signing_time"].endswith("Z")
        assert pickle.loads(pickle.dumps(report)) == report  # noqa: S301 - our own bytes
    assert {name.rpartition(".")[2] for name in result.material} == {"cer", "crl", "ocsp", "tst"}


@pytest.mark.parametrize(
    ("purposes", "passes"),
    [
        ([ExtendedKeyUsageOID.SERVER_AUTH], False),
        ([ExtendedKeyUsageOID.TIME_STAMPING], False),
        ([ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.SERVER_AUTH], False),
        ([ExtendedKeyUsageOID.EMAIL_PROTECTION], True),
        ([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], True),
        ([x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.12")], True),
        ([], True),
    ],
)
def test_certificates_of_machines_sign_nothing(
    tmp_path: Path, world: World, purposes: list[x509.ObjectIdentifier], *, passes: bool
) -> None:
    party = world.make(f"Mục đích {len(purposes)}", world.issuing, purposes=purposes)
    [report] = check(tmp_path, sign_pdf(world, party=party), world).reports
    expected = Indication.TOTAL_PASSED if passes else Indication.INDETERMINATE
    assert report.indication is expected, report.as_text("en")
    assert passes or report.sub_indication is SubIndication.CHAIN_CONSTRAINTS_FAILURE


def test_what_the_analysis_objects_to_is_told_for_people() -> None:
    objects = ", ".join(f"Reference(idnum={number}, generation=0)" for number in range(11, 31))
    told = in_words(SuspiciousModification(f"There are unexplained xrefs in revision 4: {objects}."))
    assert told == "There are unexplained xrefs in revision 4: 11 0 R, 12 0 R, 13 0 R, 14 0 R, 15 0 R, …."
    assert in_words("Reference(idnum=3, generation=1) differs") == "3 1 R differs"
    assert in_words(None) == "-"
