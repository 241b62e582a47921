"""CMS files: detached and enveloping, one signer and two, counter-signed, and what must not pass."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from archive_service.digests import digest_bytes
from archive_service.signatures import Indication, KnownExistence, TrustStore
from archive_service.signatures.report import SignatureKind, SignatureLevel, SigningTimeSource, SubIndication
from tests.unit.signatures.checking import check
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, sign_cms

CONTENT = "Quyết định số 12/QĐ-UBND".encode() * 50
P7S = "application/pkcs7-signature"
P7M = "application/pkcs7-mime"


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="cms")


def test_detached_over_the_sibling_of_its_name(tmp_path: Path, world: World) -> None:
    signature = sign_cms(world, CONTENT, party=world.plain)
    [report] = check(
        tmp_path, signature, world, mime=P7S, name="doc.bin.p7s", siblings={"doc.bin": CONTENT, "x.bin": b"other"}
    ).reports
    assert report.kind is SignatureKind.CADES
    assert report.indication is Indication.TOTAL_PASSED
    assert report.level is SignatureLevel.B_B
    assert report.covers_whole_file
    assert report.coverage == "file doc.bin"


def test_detached_found_by_digest(tmp_path: Path, world: World) -> None:
    signature = sign_cms(world, CONTENT, party=world.plain)
    siblings = {"one.bin": b"other", "two.bin": CONTENT}
    [report] = check(tmp_path, signature, world, mime=P7S, name="sig.p7s", siblings=siblings).reports
    assert (report.indication, report.coverage) == (Indication.TOTAL_PASSED, "file two.bin")


def test_detached_without_its_file(tmp_path: Path, world: World) -> None:
    signature = sign_cms(world, CONTENT, party=world.plain)
    [report] = check(tmp_path, signature, world, mime=P7S, name="doc.bin.p7s").reports
    assert (report.indication, report.sub_indication) == (
        Indication.INDETERMINATE,
        SubIndication.SIGNED_DATA_NOT_FOUND,
    )
    assert not report.covers_whole_file


def test_detached_over_changed_file(tmp_path: Path, world: World) -> None:
    signature = sign_cms(world, CONTENT, party=world.plain)
    siblings = {"doc.bin": CONTENT + b"!"}
    [report] = check(tmp_path, signature, world, mime=P7S, name="doc.bin.p7s", siblings=siblings).reports
    assert (report.indication, report.sub_indication) == (Indication.TOTAL_FAILED, SubIndication.HASH_FAILURE)


def test_enveloping_with_stamp(tmp_path: Path, world: World) -> None:
    signature = sign_cms(world, CONTENT, detached=False, party=world.plain, stamped=True)
    trust = TrustStore.of([world.root.der]).with_material(
        intermediates=[], crls=[world.crl(world.root, SIGNED_AT + timedelta(days=1))], ocsps=[]
    )
    late = datetime(2024, 1, 5, tzinfo=UTC)
    [report] = check(tmp_path, signature, world, mime=P7M, at=late, trust=trust).reports
    assert report.indication is Indication.TOTAL_PASSED
    assert report.expired_since
    assert report.signing_time_source is SigningTimeSource.TIMESTAMP


def test_plain_pkcs7_has_no_level(tmp_path: Path, world: World) -> None:
    signature = sign_cms(world, CONTENT, detached=False, party=world.plain, cades=False)
    [report] = check(tmp_path, signature, world, mime=P7M).reports
    assert report.indication is Indication.TOTAL_PASSED


def test_receipt_proves_an_expired_cms(tmp_path: Path, world: World) -> None:
    signature = sign_cms(world, CONTENT, detached=False, party=world.plain)
    late = datetime(2024, 1, 5, tzinfo=UTC)
    known = [KnownExistence(digest=digest_bytes(signature), at=SIGNED_AT, source="receipt")]
    [without] = check(tmp_path, signature, world, mime=P7M, at=late).reports
    assert without.sub_indication is SubIndication.OUT_OF_BOUNDS_NO_POE
    [report] = check(tmp_path, signature, world, mime=P7M, at=late, known=known).reports
    assert report.indication is Indication.TOTAL_PASSED


def _merged(world: World, *parties: object) -> bytes:
    structures = [cms.ContentInfo.load(sign_cms(world, CONTENT, detached=False, party=p))["content"] for p in parties]  # type: ignore[arg-type]
    first = structures[0]
    merged = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": first["digest_algorithms"],
            "encap_content_info": first["encap_content_info"],
            "certificates": [choice for s in structures for choice in s["certificates"]],
            "signer_infos": [info for s in structures for info in s["signer_infos"]],
        }
    )
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": merged}).dump())


def test_two_signers_each_get_a_report(tmp_path: Path, world: World) -> None:
    stranger = World(tag="cms-stranger")
    result = check(tmp_path, _merged(world, world.plain, stranger.plain), world, mime=P7M)
    assert [report.indication for report in result.reports] == [Indication.TOTAL_PASSED, Indication.INDETERMINATE]
    assert result.indication is Indication.INDETERMINATE


@pytest.mark.parametrize(
    ("over", "expected"), [("signature", Indication.TOTAL_PASSED), ("else", Indication.TOTAL_FAILED)]
)
def test_counter_signature(tmp_path: Path, world: World, over: str, expected: Indication) -> None:
    info = cms.ContentInfo.load(sign_cms(world, CONTENT, detached=False, party=world.plain))
    signer_info = info["content"]["signer_infos"][0]
    target = signer_info["signature"].native if over == "signature" else b"something else"
    colleague = world.make("Người ký tiếp", world.issuing)
    attributes = cms.CMSAttributes(
        [cms.CMSAttribute({"type": "message_digest", "values": [hashlib.sha256(target).digest()]})]
    )
    counter = cms.SignerInfo(
        {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                {
                    "issuer_and_serial_number": {
                        "issuer": colleague.asn1.issuer,
                        "serial_number": colleague.asn1.serial_number,
                    }
                }
            ),
            "digest_algorithm": {"algorithm": "sha256"},
            "signature_algorithm": {"algorithm": "sha256_ecdsa"},
            "signed_attrs": attributes,
            "signature": colleague.key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256())),
        }
    )
    signer_info["unsigned_attrs"] = cms.CMSAttributes(
        [cms.CMSAttribute({"type": "counter_signature", "values": [counter]})]
    )
    info["content"]["certificates"].append(cms.CertificateChoices({"certificate": colleague.asn1}))
    [first, second] = check(tmp_path, info.dump(force=True), world, mime=P7M).reports
    assert first.indication is Indication.TOTAL_PASSED
    assert second.indication is expected
    assert second.sub_filter == "counter_signature"


def test_pem_and_base64_forms(tmp_path: Path, world: World) -> None:
    from base64 import b64encode

    from asn1crypto import pem

    signature = sign_cms(world, CONTENT, detached=False, party=world.plain)
    for content in (pem.armor("PKCS7", signature), b64encode(signature)):
        [report] = check(tmp_path, content, world, mime="application/octet-stream", name="a.p7m").reports
        assert report.indication is Indication.TOTAL_PASSED


@pytest.mark.parametrize("content", [b"", b"\x30", b"\x30\x80" * 500, b"MIIB!!", b"-----BEGIN PKCS7-----\nzz"])
def test_rubbish_is_indeterminate(tmp_path: Path, world: World, content: bytes) -> None:
    [report] = check(tmp_path, content, world, mime=P7S, name="a.p7s").reports
    assert report.indication is Indication.INDETERMINATE


def test_certificates_only_structure_has_no_signer(tmp_path: Path, world: World) -> None:
    structure = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [],
            "encap_content_info": {"content_type": "data"},
            "certificates": [world.plain.asn1],
            "signer_infos": [],
        }
    )
    content = cms.ContentInfo({"content_type": "signed_data", "content": structure}).dump()
    [report] = check(tmp_path, content, world, mime=P7S, name="a.p7s").reports
    assert report.reasons[0].code == "NO_SIGNER"
