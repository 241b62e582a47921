"""Forged and odd CMS signatures never pass; what is merely unusual is never called forged."""

# pyHanko and asn1crypto leave much untyped that these tests call
# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type,union-attr"

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import algos, cms, core, tsp
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from archive_service.signatures import Indication, SignatureReport
from archive_service.signatures.report import SubIndication
from tests.unit.signatures.checking import check
from tests.unit.signatures.pki_fixtures import SIGNED_AT, Party, World, key_of, sign_cms

CONTENT = b"Quyet dinh so 12"
P7M = "application/pkcs7-mime"


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="cms attacks")


def judged(folder: Path, world: World, content: bytes) -> SignatureReport:
    [report] = check(folder, content, world, mime=P7M).reports
    return report


def attributes(digest: bytes, *, certificate: bytes | None = None, kind: str = "data") -> list[cms.CMSAttribute]:
    """The signed attributes of a plain signature."""
    found = [
        cms.CMSAttribute({"type": "content_type", "values": [kind]}),
        cms.CMSAttribute({"type": "message_digest", "values": [digest]}),
        cms.CMSAttribute({"type": "signing_time", "values": [cms.Time({"utc_time": core.UTCTime(SIGNED_AT)})]}),
    ]
    if certificate is not None:
        named = tsp.SigningCertificateV2({"certs": [{"cert_hash": hashlib.sha256(certificate).digest()}]})
        found.append(cms.CMSAttribute({"type": "signing_certificate_v2", "values": [named]}))
    return found


def built(
    party: Party,
    signed: list[cms.CMSAttribute] | None,
    make: Callable[[bytes], bytes],
    *,
    digest: str = "sha256",
    algorithm: str = "sha256_ecdsa",
    content: bytes = CONTENT,
    certificates: list[Party] | None = None,
) -> bytes:
    """A CMS signature whose value `make` gives for what is to be signed."""
    listed = cms.CMSAttributes(signed) if signed is not None else None
    to_sign = listed.dump() if listed is not None else content
    info = {
        "version": "v1",
        "sid": cms.SignerIdentifier(
            {"issuer_and_serial_number": {"issuer": party.asn1.issuer, "serial_number": party.asn1.serial_number}}
        ),
        "digest_algorithm": {"algorithm": digest},
        "signature_algorithm": {"algorithm": algorithm},
        "signature": make(to_sign),
    }
    if listed is not None:
        info["signed_attrs"] = listed
    signed_data = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [algos.DigestAlgorithm({"algorithm": digest})],
            "encap_content_info": {"content_type": "data", "content": content},
            "certificates": [one.asn1 for one in (certificates or [party])],
            "signer_infos": [cms.SignerInfo(info)],
        }
    )
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": signed_data}).dump())


def ecdsa(party: Party) -> Callable[[bytes], bytes]:
    return lambda octets: bytes(party.key.sign(octets, ec.ECDSA(hashes.SHA256())))


def good_digest(content: bytes = CONTENT) -> bytes:
    return hashlib.sha256(content).digest()


def test_the_builder_makes_good_signatures(tmp_path: Path, world: World) -> None:
    party = world.plain
    for signed in (attributes(good_digest()), attributes(good_digest(), certificate=party.der), None):
        assert judged(tmp_path, world, built(party, signed, ecdsa(party))).indication is Indication.TOTAL_PASSED


def test_certificate_that_is_not_the_one_named(tmp_path: Path, world: World) -> None:
    signed = attributes(good_digest(), certificate=world.agency.der)
    report = judged(tmp_path, world, built(world.plain, signed, ecdsa(world.plain)))
    assert report.indication is Indication.INDETERMINATE


@pytest.mark.parametrize("case", ["other", "missing", "twice"])
def test_content_type_attribute(tmp_path: Path, world: World, case: str) -> None:
    signed = attributes(good_digest(), kind="tst_info" if case == "other" else "data")
    signed = {"other": signed, "missing": signed[1:], "twice": [signed[0], *signed]}[case]
    report = judged(tmp_path, world, built(world.plain, signed, ecdsa(world.plain)))
    assert report.indication is not Indication.TOTAL_PASSED


@pytest.mark.parametrize("case", ["missing", "twice"])
def test_digest_attribute(tmp_path: Path, world: World, case: str) -> None:
    signed = attributes(good_digest())
    wrong = cms.CMSAttribute({"type": "message_digest", "values": [good_digest(b"khac")]})
    signed = [signed[0], signed[2]] if case == "missing" else [*signed, wrong]
    report = judged(tmp_path, world, built(world.plain, signed, ecdsa(world.plain)))
    assert report.indication is not Indication.TOTAL_PASSED


@pytest.mark.parametrize("digest", ["md5", "sha1"])
def test_weak_digests(tmp_path: Path, world: World, digest: str) -> None:
    signed = attributes(hashlib.new(digest, CONTENT).digest())
    made = built(world.plain, signed, ecdsa(world.plain), digest=digest)
    assert judged(tmp_path, world, made).indication is Indication.INDETERMINATE


def test_signed_attributes_as_content(tmp_path: Path, world: World) -> None:
    """The octets a person signed, shown as a document of their own."""
    octets = cms.CMSAttributes(attributes(good_digest())).dump()
    made = built(world.plain, None, ecdsa(world.plain), content=bytes(octets))
    report = judged(tmp_path, world, made)
    assert report.indication is Indication.INDETERMINATE
    assert "ATTRIBUTES_AS_CONTENT" in {reason.code for reason in report.reasons}


def test_signed_attributes_as_a_file_of_their_own(tmp_path: Path, world: World) -> None:
    octets = bytes(cms.CMSAttributes(attributes(good_digest())).dump())
    info = cms.ContentInfo.load(built(world.plain, None, ecdsa(world.plain), content=octets))
    info["content"]["encap_content_info"] = {"content_type": "data"}
    [report] = check(
        tmp_path, info.dump(force=True), world, mime=P7M, name="giay.p7s", siblings={"giay": octets}
    ).reports
    assert report.indication is Indication.INDETERMINATE
    assert "ATTRIBUTES_AS_CONTENT" in {reason.code for reason in report.reasons}


@pytest.mark.parametrize("content", [b"1. Quyet dinh", b"1\x0a" + b"x" * 10, b"1"])
def test_content_that_only_begins_like_attributes(tmp_path: Path, world: World, content: bytes) -> None:
    made = built(world.plain, None, ecdsa(world.plain), content=content)
    assert judged(tmp_path, world, made).indication is Indication.TOTAL_PASSED


def _raw(party: Party) -> Callable[[bytes], bytes]:
    def make(octets: bytes) -> bytes:
        r, s = utils.decode_dss_signature(ecdsa(party)(octets))
        return r.to_bytes(32) + s.to_bytes(32)

    return make


ODD_VALUES: dict[str, Callable[[Party], Callable[[bytes], bytes]]] = {
    "side by side": _raw,
    "zeros": lambda _: lambda _octets: utils.encode_dss_signature(0, 0),
    "empty": lambda _: lambda _octets: b"",
    "order": lambda _: (
        lambda _octets: utils.encode_dss_signature(
            0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551, 1
        )
    ),
    "trailing": lambda party: lambda octets: ecdsa(party)(octets) + b"\0\0",
    "long form": lambda party: lambda octets: b"\x30\x81" + ecdsa(party)(octets)[1:],
}


@pytest.mark.parametrize("case", ODD_VALUES)
def test_odd_elliptic_values_never_pass(tmp_path: Path, world: World, case: str) -> None:
    made = built(world.plain, attributes(good_digest()), ODD_VALUES[case](world.plain))
    assert judged(tmp_path, world, made).indication is not Indication.TOTAL_PASSED


def test_value_of_another_algorithm(tmp_path: Path, world: World) -> None:
    made = built(world.plain, attributes(good_digest()), ecdsa(world.plain), algorithm="sha512_ecdsa")
    assert judged(tmp_path, world, made).indication is not Indication.TOTAL_PASSED


def _root(number: int, degree: int) -> int:
    """The smallest whole number whose power is not below `number`."""
    low, high = 0, 1 << (number.bit_length() // degree + 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**degree < number else (low, middle)
    return low


def test_cube_root_forgery(tmp_path: Path, world: World) -> None:
    """Exponent 3 and a verifier that does not look at what follows the digest: made without the private key."""
    key = rsa.generate_private_key(public_exponent=3, key_size=2048)
    party = world.make("So mu ba", world.issuing, key=key)
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")

    def forge(octets: bytes) -> bytes:
        head = b"\0\1" + b"\xff" * 8 + b"\0" + prefix + hashlib.sha256(octets).digest()
        value = _root(int.from_bytes(head.ljust(256, b"\0")), 3)
        assert (value**3).to_bytes(256).startswith(head)
        return value.to_bytes(256)

    made = built(party, attributes(good_digest()), forge, algorithm="rsassa_pkcs1v15")
    report = judged(tmp_path, world, made)
    assert (report.indication, report.sub_indication) == (Indication.TOTAL_FAILED, SubIndication.SIG_CRYPTO_FAILURE)


def test_rsa_is_otherwise_fine(tmp_path: Path, world: World) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    party = world.make("RSA", world.issuing, key=key)
    made = built(
        party,
        attributes(good_digest()),
        lambda octets: key.sign(octets, padding.PKCS1v15(), hashes.SHA256()),
        algorithm="rsassa_pkcs1v15",
    )
    assert judged(tmp_path, world, made).indication is Indication.TOTAL_PASSED


def test_certificate_swapped_for_a_namesake(tmp_path: Path, world: World) -> None:
    """A stranger's certificate with the signer's issuer and serial number beside the real one."""
    stranger = World(tag="cms attacks")
    days = (datetime.fromisoformat("2020-01-01T00:00:00+00:00"), datetime.fromisoformat("2023-01-01T00:00:00+00:00"))
    stranger.issuing = Party(world.issuing.certificate, key_of("nguoi la"))
    fake = stranger.make("Không nêu dịch vụ", stranger.issuing, days=days, key=key_of("nguoi la 2"))
    assert fake.asn1.serial_number == world.plain.asn1.serial_number
    for certificates in ([fake], [fake, world.plain], [world.plain, fake]):
        made = built(fake, attributes(good_digest()), ecdsa(fake), certificates=certificates)
        assert judged(tmp_path, world, made).indication is not Indication.TOTAL_PASSED


def test_file_that_is_only_named_alike(tmp_path: Path, world: World) -> None:
    signature = sign_cms(world, CONTENT, party=world.plain)
    siblings = {"hop-dong.pdf": b"mot tep khac"}
    [report] = check(
        tmp_path, signature, world, mime="application/pkcs7-signature", name="hop-dong.p7s", siblings=siblings
    ).reports
    assert (report.indication, report.sub_indication) == (
        Indication.INDETERMINATE,
        SubIndication.SIGNED_DATA_NOT_FOUND,
    )


def test_signed_later_than_judged(tmp_path: Path, world: World) -> None:
    signed = attributes(good_digest())
    signed[2] = cms.CMSAttribute(
        {"type": "signing_time", "values": [cms.Time({"utc_time": core.UTCTime(SIGNED_AT + timedelta(days=400))})]}
    )
    report = judged(tmp_path, world, built(world.plain, signed, ecdsa(world.plain)))
    assert "CLAIMED_IN_FUTURE" in {remark.code for remark in report.remarks}


@pytest.mark.parametrize(
    ("tail", "expected"), [(b"", "TOTAL-PASSED"), (b"\r\n\0 ", "TOTAL-PASSED"), (b"PK\3\4", "INDETERMINATE")]
)
def test_what_follows_the_signature(tmp_path: Path, world: World, tail: bytes, expected: str) -> None:
    made = built(world.plain, attributes(good_digest()), ecdsa(world.plain)) + tail
    report = judged(tmp_path, world, made)
    assert report.indication == expected, report.as_text("en")


@pytest.mark.parametrize("case", ["unsigned", "twice"])
def test_signing_time_out_of_place(tmp_path: Path, world: World, case: str) -> None:
    """A time that nobody signed is shown by some readers as the time of signing."""
    signed = attributes(good_digest())
    made = built(world.plain, [*signed, signed[2]] if case == "twice" else signed, ecdsa(world.plain))
    if case == "unsigned":
        info = cms.ContentInfo.load(made)
        info["content"]["signer_infos"][0]["unsigned_attrs"] = cms.CMSAttributes([signed[2]])
        made = info.dump(force=True)
    report = judged(tmp_path, world, made)
    assert report.indication is Indication.INDETERMINATE
    assert "ATTRIBUTE_MISPLACED" in {reason.code for reason in report.reasons}
