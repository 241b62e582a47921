"""Signature values as makers in the field write them: each latitude holds for honest values only, and no further."""

# pyHanko and asn1crypto leave much untyped that these tests call
# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type,union-attr,no-any-return"

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from asn1crypto import algos, cms
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields

from archive_service.signatures import Indication
from archive_service.signatures.report import Integrity, SubIndication
from tests.unit.signatures import pdf_attacks
from tests.unit.signatures.checking import check
from tests.unit.signatures.pki_fixtures import SIGNED_AT, Party, World, rsa_key
from tests.unit.signatures.test_cms_attacks import CONTENT, attributes, built, ecdsa, good_digest, judged

P7S = "application/pkcs7-signature"


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="values")


@pytest.fixture(scope="module")
def rsa_party(world: World) -> Party:
    return world.make("RSA", world.issuing, key=rsa_key("values", 3072))


def detached(made: bytes) -> bytes:
    """The signature with its content taken out."""
    info = cms.ContentInfo.load(made)
    info["content"]["encap_content_info"] = {"content_type": "data"}
    return bytes(info.dump(force=True))


def holds_and_breaks(folder: Path, world: World, make: Callable[[bytes], bytes]) -> None:
    """`make` gives the signature over a digest: over the content's it passes, over another's it is forged."""
    report = judged(folder, world, make(good_digest()))
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    other = judged(folder, world, make(good_digest(b"noi dung khac")))
    assert (other.indication, other.sub_indication) == (Indication.TOTAL_FAILED, SubIndication.HASH_FAILURE)


def test_algorithm_that_names_only_a_key(tmp_path: Path, world: World) -> None:
    """iText 5 writes id-ecPublicKey where the signature algorithm belongs."""
    holds_and_breaks(
        tmp_path,
        world,
        lambda digest: built(world.plain, attributes(digest), ecdsa(world.plain), algorithm="1.2.840.10045.2.1"),
    )


def test_algorithm_that_names_another_digest(tmp_path: Path, world: World, rsa_party: Party) -> None:
    """The value is over the signer's digest algorithm, whatever the signature algorithm says, as OpenSSL goes by it."""

    def value(octets: bytes) -> bytes:
        return bytes(rsa_party.key.sign(octets, padding.PKCS1v15(), hashes.SHA256()))

    made = built(rsa_party, attributes(good_digest()), value, algorithm="sha512_rsa")
    report = judged(tmp_path, world, made)
    assert report.integrity is Integrity.INTACT
    assert report.indication is not Indication.TOTAL_FAILED


def _raw_rsa(party: Party, info: bytes) -> bytes:
    """The RSA operation on a padded DigestInfo of the caller's."""
    numbers = party.key.private_numbers()
    size = (numbers.public_numbers.n.bit_length() + 7) // 8
    block = b"\0\1" + b"\xff" * (size - len(info) - 3) + b"\0" + info
    return pow(int.from_bytes(block), numbers.d, numbers.public_numbers.n).to_bytes(size)


@pytest.mark.parametrize("named", ["sha3_256", "sha3_512"])
def test_rsa_with_sha3(tmp_path: Path, world: World, rsa_party: Party, named: str) -> None:
    """By its number (NIST), which pyHanko does not know; with another digest beside it nothing is computed."""

    def make(content: bytes, listed: str) -> bytes:
        return built(
            rsa_party,
            attributes(hashlib.new(listed, content).digest()),
            lambda octets: rsa_party.key.sign(octets, padding.PKCS1v15(), getattr(hashes, named.upper())()),
            digest=listed,
            algorithm={"sha3_256": "2.16.840.1.101.3.4.3.14", "sha3_512": "2.16.840.1.101.3.4.3.16"}[named],
        )

    assert judged(tmp_path, world, make(CONTENT, named)).indication is Indication.TOTAL_PASSED
    forged = make(CONTENT, named).replace(CONTENT, CONTENT.replace(b"12", b"13"))
    assert judged(tmp_path, world, forged).sub_indication is SubIndication.HASH_FAILURE
    assert judged(tmp_path, world, make(CONTENT, "sha256")).integrity is Integrity.NOT_CHECKED


WITHOUT_NULL = bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20"
"""DigestInfo of SHA-256 whose algorithm has no parameters (RFC 8017 appendix B.1)."""


def test_digest_info_without_null(tmp_path: Path, world: World, rsa_party: Party) -> None:
    holds_and_breaks(
        tmp_path,
        world,
        lambda digest: built(
            rsa_party,
            attributes(digest),
            lambda octets: _raw_rsa(rsa_party, WITHOUT_NULL + hashlib.sha256(octets).digest()),
            algorithm="sha256_rsa",
        ),
    )


@pytest.mark.parametrize(
    "info",
    [
        WITHOUT_NULL[:-2] + b"\x04\x21\0",
        bytes.fromhex("3034300d06096086480165030402010500") + b"\x04\x20",
        bytes.fromhex("3031300d060960864801650304020105000420"),
    ],
    ids=["longer digest", "longer sequence", "trailing"],
)
def test_other_digest_infos_are_forged(tmp_path: Path, world: World, rsa_party: Party, info: bytes) -> None:
    made = built(
        rsa_party,
        attributes(good_digest()),
        lambda octets: _raw_rsa(rsa_party, info + hashlib.sha256(octets).digest() + b"\0\0\0"),
        algorithm="sha256_rsa",
    )
    assert judged(tmp_path, world, made).sub_indication is SubIndication.SIG_CRYPTO_FAILURE


def test_attributes_in_another_order(tmp_path: Path, world: World) -> None:
    """The value is over the DER; written is what the maker built first."""

    def make(digest: bytes) -> bytes:
        listed = attributes(digest)
        octets = b"".join(sorted(attribute.dump() for attribute in listed))
        der = b"\x31" + bytes([len(octets)]) + octets
        made = built(world.plain, listed, lambda _: ecdsa(world.plain)(der))
        written = b"".join(attribute.dump() for attribute in sorted(listed, key=lambda a: a.dump(), reverse=True))
        assert octets in made
        return made.replace(octets, written)

    holds_and_breaks(tmp_path, world, make)


@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "ed25519"])
@pytest.mark.parametrize("inside", [True, False])
def test_no_attributes(tmp_path: Path, world: World, rsa_party: Party, kind: str, *, inside: bool) -> None:
    """GnuTLS leaves the attributes out when no time is asked for; Ed25519 then signs the content itself."""
    edwards = world.make("Ed", world.issuing, key=ed25519.Ed25519PrivateKey.from_private_bytes(b"7" * 32))

    def by_rsa(octets: bytes) -> bytes:
        return bytes(rsa_party.key.sign(octets, padding.PKCS1v15(), hashes.SHA256()))

    party, value, algorithm, digest = {
        "ecdsa": (world.plain, ecdsa(world.plain), "sha256_ecdsa", "sha256"),
        "rsa": (rsa_party, by_rsa, "rsassa_pkcs1v15", "sha256"),
        "ed25519": (edwards, edwards.key.sign, "ed25519", "sha512"),
    }[kind]
    made = built(party, None, value, algorithm=algorithm, digest=digest)

    def verdict(content: bytes) -> Indication | None:
        whole = made.replace(CONTENT, content) if inside else detached(made)
        siblings = None if inside else {"quyet-dinh.txt": content}
        name = "quyet-dinh.txt.p7s"
        return check(tmp_path, whole, world, mime=P7S, name=name, siblings=siblings).indication

    assert verdict(CONTENT) is Indication.TOTAL_PASSED
    assert verdict(CONTENT.replace(b"12", b"13")) is Indication.TOTAL_FAILED


@pytest.mark.parametrize(("kept", "expected"), [(b"a\nb\n", "INDETERMINATE"), (b"a\r\nb\r\n", "TOTAL-PASSED")])
def test_text_kept_with_other_line_ends(tmp_path: Path, world: World, kept: bytes, expected: str) -> None:
    made = built(world.plain, attributes(good_digest(b"a\r\nb\r\n")), ecdsa(world.plain))
    siblings = {"a.txt": kept}
    [report] = check(tmp_path, detached(made), world, mime=P7S, name="a.txt.p7s", siblings=siblings).reports
    assert report.indication == expected, report.as_text("en")
    assert ("TEXT_LINE_ENDS" in {reason.code for reason in report.reasons}) is (expected == "INDETERMINATE")


@pytest.mark.parametrize("algorithm", ["2.16.840.1.101.3.4.3.16", "0.4.0.127.0.7.1.1.4.1.3", "1.3.36.3.3.1.2"])
def test_what_cannot_be_computed_is_not_called_wrong(tmp_path: Path, world: World, algorithm: str) -> None:
    made = built(world.plain, attributes(good_digest()), ecdsa(world.plain), algorithm=algorithm)
    report = judged(tmp_path, world, made)
    assert (report.indication, report.integrity) == (Indication.INDETERMINATE, Integrity.NOT_CHECKED)


def test_pss_parameters_of_another_digest(tmp_path: Path, world: World, rsa_party: Party) -> None:
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    made = cms.ContentInfo.load(
        built(
            rsa_party,
            attributes(good_digest()),
            lambda octets: rsa_party.key.sign(octets, scheme, hashes.SHA512()),
            algorithm="sha256_rsa",
        )
    )
    parameters = algos.RSASSAPSSParams(
        {
            "hash_algorithm": {"algorithm": "sha512"},
            "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": "sha256"}},
            "salt_length": 32,
        }
    )
    info = made["content"]["signer_infos"][0]
    info["signature_algorithm"] = {"algorithm": "rsassa_pss", "parameters": parameters}
    report = judged(tmp_path, world, made.dump(force=True))
    assert report.indication is not Indication.TOTAL_FAILED, report.as_text("en")


# ------------------------------------------------------------------ appearances as iText writes them


def _empty_appearance(pdf: bytes) -> bytes:
    """A field without area, with the empty appearance that iText gives every archive time-stamp."""

    def change(writer: IncrementalPdfFileWriter) -> None:
        name, numbers = pdf_attacks.name, pdf_attacks.numbers
        form = generic.StreamObject(
            dict_data={name("/Subtype"): name("/Form"), name("/BBox"): numbers(0, 0, 0, 0)}, stream_data=b""
        )
        field = pdf_attacks.dictionary(
            FT=name("/Sig"), T=generic.pdf_string("An"), Type=name("/Annot"), Subtype=name("/Widget")
        )
        field.update(pdf_attacks.dictionary(Rect=numbers(0, 0, 0, 0), F=generic.NumberObject(132)))
        field.update(pdf_attacks.dictionary(AP=pdf_attacks.dictionary(N=writer.add_object(form))))
        reference = writer.add_object(field)
        listed = writer.root["/AcroForm"]["/Fields"]
        listed.append(reference)
        writer.update_container(listed)
        page = writer.root["/Pages"]["/Kids"][0]
        page["/Annots"] = generic.ArrayObject([*page["/Annots"], reference])
        writer.update_container(page)

    return pdf_attacks.rewritten(change)(pdf)


@pytest.mark.parametrize("permission", [None, fields.MDPPerm.NO_CHANGES, fields.MDPPerm.FILL_FORMS])
def test_field_without_area_is_validation_material(
    tmp_path: Path, world: World, permission: fields.MDPPerm | None
) -> None:
    pdf = _empty_appearance(pdf_attacks.signed(world, certify=permission))
    assert check(tmp_path, pdf, world, at=SIGNED_AT).indication is Indication.TOTAL_PASSED


def _with_box(pdf: bytes) -> bytes:
    out = BytesIO()
    writer = IncrementalPdfFileWriter(BytesIO(pdf))
    fields.append_signature_field(writer, fields.SigFieldSpec("Sig2", box=(50, 50, 200, 100)))
    writer.write(out)
    return out.getvalue()


def test_visible_signature_after_certification(tmp_path: Path, world: World) -> None:
    """Permitted by a certification for filling in; passes only once that signature does."""
    certified = _with_box(pdf_attacks.signed(world, certify=fields.MDPPerm.FILL_FORMS))
    assert check(tmp_path, certified, world, at=SIGNED_AT).indication is Indication.INDETERMINATE
    signed = pdf_attacks.signed(world, pdf=certified, field_name="Sig2")
    result = check(tmp_path, signed, world, at=SIGNED_AT)
    assert [report.indication for report in result.reports] == [Indication.TOTAL_PASSED] * 2
    forbidden = _with_box(pdf_attacks.signed(world, certify=fields.MDPPerm.NO_CHANGES))
    [report] = check(tmp_path, forbidden, world, at=SIGNED_AT).reports
    assert "CHANGE_NOT_PERMITTED" in {reason.code for reason in report.reasons}
