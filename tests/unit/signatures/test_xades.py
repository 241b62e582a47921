"""XML signatures made by signxml, judged by us; wrapping and other tricks must not pass."""

# pyHanko, signxml and lxml leave much untyped that these tests call
# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type,union-attr"

import hashlib
from base64 import b64encode
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import tsp
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from lxml import etree
from signxml import CanonicalizationMethod, SignatureMethod, XMLSigner, methods
from signxml.xades import XAdESSigner

from archive_service.signatures import Indication, TrustStore
from archive_service.signatures.report import SignatureKind, SignatureLevel, SigningTimeSource, SubIndication
from archive_service.signatures.xml_values import signature_valid
from archive_service.signatures.xmldsig import DS, NS, canonical
from tests.unit.signatures.checking import check
from tests.unit.signatures.pki_fixtures import SIGNED_AT, Party, World, stamp

XML = "application/xml"
DOCUMENT = b"<?xml-stylesheet href='a.xsl'?><HoSo xmlns='urn:tthc'><NoiDung Id='data'>C\xe1\xba\xa5p ph\xc3\xa9p</NoiDung></HoSo>"


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="xml")


def sign(
    party: Party, root: Any, *, xades: bool = False, method: Any = methods.enveloped, reference: Any = None
) -> Any:
    signer_class = XAdESSigner if xades else XMLSigner
    signer = signer_class(method=method, signature_algorithm=SignatureMethod.ECDSA_SHA256)
    return signer.sign(root, key=party.key, cert=[party.certificate], reference_uri=reference)


def dump(root: Any) -> bytes:
    return bytes(etree.tostring(root.getroottree() if root.getparent() is None else root))


def parsed() -> Any:
    return etree.fromstring(DOCUMENT)


@pytest.mark.parametrize("method", [methods.enveloped, methods.enveloping])
def test_xmldsig_over_the_whole_document(tmp_path: Path, world: World, method: Any) -> None:
    signed = sign(world.plain, parsed(), method=method)
    [report] = check(tmp_path, dump(signed), world, mime=XML).reports
    assert report.kind is SignatureKind.XMLDSIG
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    assert report.covers_whole_file
    assert report.level is None


def test_xades_has_a_level_and_a_claimed_time(tmp_path: Path, world: World) -> None:
    signed = sign(world.plain, parsed(), xades=True)
    [report] = check(tmp_path, dump(signed), world, mime=XML).reports
    assert (report.kind, report.level) == (SignatureKind.XADES, SignatureLevel.B_B)
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    assert report.claimed_time is not None


def _stamped(world: World, at: datetime) -> bytes:
    signed = sign(world.plain, parsed(), xades=True)
    value = signed.find(f".//{{{DS}}}SignatureValue")
    imprint = tsp.MessageImprint(
        {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": hashlib.sha256(canonical(value, None)).digest()}
    )
    token = stamp(world.tsa, imprint, at).dump()
    properties = signed.find(".//xades:QualifyingProperties", NS)
    unsigned = etree.SubElement(
        etree.SubElement(properties, f"{{{NS['xades']}}}UnsignedProperties"),
        f"{{{NS['xades']}}}UnsignedSignatureProperties",
    )
    holder = etree.SubElement(unsigned, f"{{{NS['xades']}}}SignatureTimeStamp")
    etree.SubElement(holder, f"{{{NS['xades']}}}EncapsulatedTimeStamp").text = b64encode(token).decode()
    values = etree.SubElement(
        etree.SubElement(unsigned, f"{{{NS['xades']}}}RevocationValues"), f"{{{NS['xades']}}}CRLValues"
    )
    crl = world.crl(world.root, at + timedelta(hours=1))
    etree.SubElement(values, f"{{{NS['xades']}}}EncapsulatedCRLValue").text = b64encode(crl).decode()
    return dump(signed)


def test_xades_lt_passes_after_expiry(tmp_path: Path, world: World) -> None:
    [report] = check(tmp_path, _stamped(world, SIGNED_AT), world, mime=XML, at=datetime(2024, 5, 1, tzinfo=UTC)).reports
    assert report.level is SignatureLevel.B_LT
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    assert report.signing_time_source is SigningTimeSource.TIMESTAMP
    assert report.expired_since


def test_changed_text_is_forged(tmp_path: Path, world: World) -> None:
    signed = sign(world.plain, parsed(), xades=True)
    signed.find("{urn:tthc}NoiDung").text = "Thu hồi"
    [report] = check(tmp_path, dump(signed), world, mime=XML).reports
    assert (report.indication, report.sub_indication) == (Indication.TOTAL_FAILED, SubIndication.HASH_FAILURE)


def test_changed_signed_info_is_forged(tmp_path: Path, world: World) -> None:
    signed = sign(world.plain, parsed())
    reference = signed.find(".//ds:Reference", NS)
    reference.set("Type", "urn:x")
    [report] = check(tmp_path, dump(signed), world, mime=XML).reports
    assert report.sub_indication is SubIndication.SIG_CRYPTO_FAILURE


def _part_signed(world: World) -> Any:
    """<HoSo><NoiDung Id=data/>..signature over #data only</HoSo>, the usual Vietnamese e-invoice shape."""
    signer = XMLSigner(
        method=methods.enveloped,
        signature_algorithm=SignatureMethod.ECDSA_SHA256,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    return signer.sign(parsed(), key=world.plain.key, cert=[world.plain.certificate], reference_uri="#data")


def test_signature_over_the_only_content_covers_all(tmp_path: Path, world: World) -> None:
    [report] = check(tmp_path, dump(_part_signed(world)), world, mime=XML).reports
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    assert "NoiDung" in report.coverage


def test_wrapping_never_passes(tmp_path: Path, world: World) -> None:
    signed = _part_signed(world)
    original = signed.find("{urn:tthc}NoiDung")
    fake = etree.Element("{urn:tthc}NoiDung", Id="evil")
    fake.text = "Cấp 100 ha đất"
    signed.replace(original, fake)
    holder = etree.SubElement(signed.find("ds:Signature", NS), f"{{{DS}}}Object")
    holder.append(original)
    [report] = check(tmp_path, dump(signed), world, mime=XML).reports
    assert report.indication is Indication.INDETERMINATE
    assert "XML_PARTIAL_COVERAGE" in {reason.code for reason in report.reasons}
    assert not report.covers_whole_file


def test_two_elements_of_one_id_never_pass(tmp_path: Path, world: World) -> None:
    signed = _part_signed(world)
    fake = etree.SubElement(signed, "{urn:tthc}NoiDung", Id="data")
    fake.text = "khác"
    [report] = check(tmp_path, dump(signed), world, mime=XML).reports
    assert report.indication is Indication.INDETERMINATE


def test_second_enveloped_signature_is_explained(tmp_path: Path, world: World) -> None:
    colleague = world.make("Người thứ hai", world.issuing)
    once = sign(world.plain, parsed())
    second = sign(colleague, parsed()).find("ds:Signature", NS)
    once.append(second)
    result = check(tmp_path, dump(once), world, mime=XML)
    assert {report.indication for report in result.reports} == {Indication.INDETERMINATE}
    assert "XML_SIGNATURE_ADDED" in {reason.code for report in result.reports for reason in report.reasons}


def test_detached_over_a_sibling(tmp_path: Path, world: World) -> None:
    content = b"bytes of a result file" * 100
    document = etree.fromstring(
        f"""<Signature xmlns="{DS}"><SignedInfo>
<CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>
<SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"/>
<Reference URI="ketqua.pdf"><DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
<DigestValue>{b64encode(hashlib.sha256(content).digest()).decode()}</DigestValue></Reference></SignedInfo>
<SignatureValue/><KeyInfo><X509Data><X509Certificate>{b64encode(world.plain.der).decode()}</X509Certificate>
</X509Data></KeyInfo></Signature>"""
    )
    info = document.find("ds:SignedInfo", NS)
    octets = canonical(info, info.find("ds:CanonicalizationMethod", NS))
    r, s = utils.decode_dss_signature(world.plain.key.sign(octets, ec.ECDSA(hashes.SHA256())))
    document.find("ds:SignatureValue", NS).text = b64encode(r.to_bytes(32) + s.to_bytes(32)).decode()
    raw = etree.tostring(document)
    [report] = check(tmp_path, raw, world, mime=XML, siblings={"ketqua.pdf": content}).reports
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    assert report.coverage == "ketqua.pdf"
    [changed] = check(tmp_path, raw, world, mime=XML, siblings={"ketqua.pdf": content + b"."}).reports
    assert changed.sub_indication is SubIndication.HASH_FAILURE
    (tmp_path / "ketqua.pdf").unlink()
    [missing] = check(tmp_path, raw, world, mime=XML).reports
    assert missing.sub_indication is SubIndication.SIGNED_DATA_NOT_FOUND


@pytest.mark.parametrize(
    "content",
    [
        b"<a",
        b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a xmlns:d='http://www.w3.org/2000/09/xmldsig#'>&x;</a>",
        b"<Signature xmlns='http://www.w3.org/2000/09/xmldsig#'/>",
    ],
)
def test_hostile_and_broken_xml(tmp_path: Path, world: World, content: bytes) -> None:
    for report in check(tmp_path, content, world, mime=XML).reports:
        assert report.indication is Indication.INDETERMINATE


def test_xml_without_signature(tmp_path: Path, world: World) -> None:
    assert check(tmp_path, DOCUMENT, world, mime=XML).reports == ()


def test_xslt_and_foreign_transforms_are_refused(tmp_path: Path, world: World) -> None:
    signed = sign(world.plain, parsed())
    transform = signed.find(".//ds:Transform", NS)
    transform.set("Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116")
    [report] = check(tmp_path, dump(signed), world, mime=XML).reports
    assert report.indication is Indication.INDETERMINATE


def test_unknown_signer_is_indeterminate(tmp_path: Path, world: World) -> None:
    signed = sign(world.plain, parsed())
    [report] = check(tmp_path, dump(signed), world, mime=XML, trust=TrustStore.empty()).reports
    assert report.sub_indication is SubIndication.NO_CERTIFICATE_CHAIN_FOUND


def _with_manifest(world: World, content: bytes) -> bytes:
    """A signature over a ds:Manifest that names a file."""
    manifest = f"""<Manifest xmlns="{DS}" Id="ds"><Reference URI="ketqua.pdf">
<DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
<DigestValue>{b64encode(hashlib.sha256(content).digest()).decode()}</DigestValue></Reference></Manifest>"""
    signed = sign(world.plain, etree.fromstring(manifest), method=methods.enveloping)
    return bytes(etree.tostring(signed))


@pytest.mark.parametrize(
    ("beside", "expected"), [(b"kq", "TOTAL-PASSED"), (b"khac", "INDETERMINATE"), (None, "INDETERMINATE")]
)
def test_what_a_manifest_names_is_checked(tmp_path: Path, world: World, beside: bytes | None, expected: str) -> None:
    siblings = {} if beside is None else {"ketqua.pdf": beside}
    [report] = check(tmp_path, _with_manifest(world, b"kq"), world, mime=XML, siblings=siblings).reports
    assert report.indication == expected, report.as_text("en")


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE a [<!ATTLIST a b CDATA 'c'>]><a><Signature xmlns='http://www.w3.org/2000/09/xmldsig#'/></a>",
        b"<a xmlns:ds='urn:other'><ds:Signature/></a>",
    ],
)
def test_defaults_and_namesakes_never_pass(tmp_path: Path, world: World, content: bytes) -> None:
    assert check(tmp_path, content, world, mime=XML).indication is not Indication.TOTAL_PASSED


@pytest.mark.parametrize(
    ("declaration", "expected"),
    [
        (b"[<!ELEMENT a ANY>]", "TOTAL-PASSED"),
        (b"[<!ATTLIST NoiDung thay CDATA #IMPLIED>]", "TOTAL-PASSED"),
        (b"[<!ATTLIST NoiDung thay CDATA '9'>]", "INDETERMINATE"),
        (b"[<!ATTLIST t:NoiDung thay CDATA #FIXED '9'>]", "INDETERMINATE"),
        (b"[<!ELEMENT NoiDung ANY><!ATTLIST NoiDung thay (a|b) 'b'>]", "INDETERMINATE"),
        (b"SYSTEM 'them.dtd'", "INDETERMINATE"),
        (b"PUBLIC '-//X//Y' 'http://example.invalid/them.dtd'", "INDETERMINATE"),
    ],
)
def test_declaration_that_can_add_attributes_never_passes(
    tmp_path: Path, world: World, declaration: bytes, expected: str
) -> None:
    signed = dump(sign(world.plain, parsed(), xades=True))
    content = b"<!DOCTYPE HoSo " + declaration + b">" + signed[signed.find(b"?>") + 2 if b"?>" in signed else 0 :]
    [report] = check(tmp_path, content, world, mime=XML).reports
    assert report.indication == expected, report.as_text("en")


@pytest.mark.parametrize(
    "expression", ["not(ancestor-or-self::x:Signature)", "true()", "not(ancestor-or-self::ds:Signature) or self::e"]
)
def test_xpath_that_takes_away_other_things_is_refused(tmp_path: Path, world: World, expression: str) -> None:
    signed = sign(world.plain, parsed())
    transform = signed.find(".//ds:Transform", NS)
    transform.set("Algorithm", "http://www.w3.org/TR/1999/REC-xpath-19991116")
    etree.SubElement(transform, f"{{{DS}}}XPath", nsmap={"x": "urn:evil"}).text = expression
    [report] = check(tmp_path, dump(signed), world, mime=XML).reports
    assert report.indication is not Indication.TOTAL_PASSED


# ------------------------------------------------------------------ what other makers write

INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"


def _value(party: Party, octets: str, *, der: bool = False) -> str:
    made = party.key.sign(octets.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(made)
    return b64encode(made if der else r.to_bytes(32) + s.to_bytes(32)).decode()


def _digest(octets: str) -> str:
    return b64encode(hashlib.sha256(octets.encode()).digest()).decode()


def handmade(
    party: Party,
    *,
    certificates: list[Party] | None = None,
    canonicalization: str = INCLUSIVE,
    transforms: tuple[str, ...] = (),
    signed: str = '<NoiDung xmlns="urn:tthc" Id="data"><Dong><Chu>Cap phep</Chu></Dong></NoiDung>',
    der: bool = False,
) -> bytes:
    """A signature whose canonical octets are written here by hand, so that no canonicaliser is compared with itself.

    Its own default namespace differs from the document's, as most makers write it.
    """
    steps = "".join(f'<Transform Algorithm="{algorithm}"></Transform>' for algorithm in transforms)
    info = (
        f'<CanonicalizationMethod Algorithm="{canonicalization}"></CanonicalizationMethod>'
        '<SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"></SignatureMethod>'
        f'<Reference URI="#data">{f"<Transforms>{steps}</Transforms>" if steps else ""}'
        f'<DigestMethod Algorithm="{SHA256}"></DigestMethod><DigestValue>{_digest(signed)}</DigestValue></Reference>'
    )
    value = _value(party, f'<SignedInfo xmlns="{DS}">{info}</SignedInfo>', der=der)
    listed = "".join(
        f"<X509Certificate>{b64encode(one.der).decode()}</X509Certificate>" for one in certificates or [party]
    )
    return (
        '<HoSo xmlns="urn:tthc"><NoiDung Id="data"><Dong><Chu>Cap phep</Chu></Dong></NoiDung>'
        f'<Signature xmlns="{DS}"><SignedInfo>{info}</SignedInfo><SignatureValue>{value}</SignatureValue>'
        f"<KeyInfo><X509Data>{listed}</X509Data></KeyInfo></Signature></HoSo>"
    ).encode()


@pytest.mark.parametrize("canonicalization", [INCLUSIVE, EXCLUSIVE, "http://www.w3.org/2006/12/xml-c14n11"])
def test_default_namespaces_inside_each_other(tmp_path: Path, world: World, canonicalization: str) -> None:
    """The default namespace of what is canonicalised is declared further up: it must not be taken back below."""
    for transforms in ((), (canonicalization,)):
        content = handmade(world.plain, canonicalization=canonicalization, transforms=transforms)
        [report] = check(tmp_path, content, world, mime=XML).reports
        assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")


@pytest.mark.parametrize(
    ("prefixes", "start"),
    [
        (None, '<p:m xmlns:p="urn:p">'),
        ("p", '<p:m xmlns:p="urn:p">'),
        ("#default", '<p:m xmlns="urn:tthc" xmlns:p="urn:p">'),
        ("k #default", '<p:m xmlns="urn:tthc" xmlns:k="urn:k" xmlns:p="urn:p">'),
        ("k none", '<p:m xmlns:k="urn:k" xmlns:p="urn:p">'),
    ],
)
def test_prefix_list_of_exclusive_canonicalisation(prefixes: str | None, start: str) -> None:
    root = etree.fromstring('<HoSo xmlns="urn:tthc" xmlns:k="urn:k" xmlns:p="urn:p"><p:m><p:n/></p:m></HoSo>')
    method = etree.Element("Transform", Algorithm=EXCLUSIVE)
    if prefixes is not None:
        etree.SubElement(method, f"{{{EXCLUSIVE}}}InclusiveNamespaces", PrefixList=prefixes)
    assert canonical(root[0], method) == f"{start}<p:n></p:n></p:m>".encode()


def test_elliptic_value_in_der(tmp_path: Path, world: World) -> None:
    [report] = check(tmp_path, handmade(world.plain, der=True), world, mime=XML).reports
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")


def test_elliptic_value_without_leading_zeros(world: World) -> None:
    """As older Java writes it: both halves a byte short, which every fourth value of a 521-bit key allows."""
    party = world.make("P-521", world.issuing, key=ec.derive_private_key(7, ec.SECP521R1()))
    short = 1 << 520
    values = (utils.decode_dss_signature(party.key.sign(b"x", ec.ECDSA(hashes.SHA512()))) for _ in range(200))
    r, s = next((r, s) for r, s in values if max(r, s) < short)
    value, method = r.to_bytes(65) + s.to_bytes(65), "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"
    assert signature_valid(method, value, b"x", party.asn1)
    assert not signature_valid(method, value, b"y", party.asn1)
    assert not signature_valid(method, value[1:], b"x", party.asn1)
    assert not signature_valid(method, bytes(134), b"x", party.asn1)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_signer_is_the_certificate_that_fits(tmp_path: Path, world: World, position: int) -> None:
    """Makers list certificates in any order, others of the signer's among them."""
    listed = [world.issuing, world.make("Chung thu khac", world.issuing)]
    listed.insert(position, world.plain)
    [report] = check(tmp_path, handmade(world.plain, certificates=listed), world, mime=XML).reports
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    assert report.signer == "Không nêu dịch vụ"


def test_no_certificate_fits(tmp_path: Path, world: World) -> None:
    others = [world.issuing, world.agency]
    [report] = check(tmp_path, handmade(world.plain, certificates=others), world, mime=XML).reports
    assert report.sub_indication is SubIndication.SIG_CRYPTO_FAILURE


def test_canonicalisations_in_turn(tmp_path: Path, world: World) -> None:
    """The first drops a namespace nobody uses, which the second can then not find."""
    content = handmade(world.plain, transforms=(EXCLUSIVE, INCLUSIVE)).replace(
        b'<HoSo xmlns="urn:tthc">', b'<HoSo xmlns="urn:tthc" xmlns:k="urn:khac">'
    )
    # the namespace belongs to the inclusive octets of what was signed
    [unsigned] = check(tmp_path, content, world, mime=XML).reports
    assert unsigned.sub_indication is SubIndication.SIG_CRYPTO_FAILURE
    exclusive = handmade(world.plain, canonicalization=EXCLUSIVE, transforms=(EXCLUSIVE, INCLUSIVE)).replace(
        b'<HoSo xmlns="urn:tthc">', b'<HoSo xmlns="urn:tthc" xmlns:k="urn:khac">'
    )
    [report] = check(tmp_path, exclusive, world, mime=XML).reports
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    enveloped = handmade(world.plain, transforms=(EXCLUSIVE, f"{DS}enveloped-signature"))
    [refused] = check(tmp_path, enveloped, world, mime=XML).reports
    assert refused.indication is Indication.INDETERMINATE


# ------------------------------------------------------------------ signature wrapping


def _assertion(world: World) -> Any:
    """<HoSo><NoiDung Id="data">text, signature over #data</NoiDung></HoSo>: a signature inside the part it signs, as in SAML."""
    signer = XMLSigner(
        method=methods.enveloped,
        signature_algorithm=SignatureMethod.ECDSA_SHA256,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    part = etree.fromstring('<NoiDung Id="data"><Chu>Cap 1 ha</Chu></NoiDung>')
    signed = signer.sign(part, key=world.plain.key, cert=[world.plain.certificate], reference_uri="#data")
    root = etree.Element("HoSo")
    root.append(etree.fromstring(etree.tostring(signed)))
    return root


@dataclass(frozen=True)
class _Wrapped:
    """The parts a wrapping is made of; `evil` has other text and another Id, `bare` is the original without its signature."""

    root: Any
    original: Any
    signature: Any
    bare: Any
    evil: Any
    evil_signed: Any


def _wrapped(root: Any) -> _Wrapped:
    original = root.find("NoiDung")
    bare, evil = deepcopy(original), deepcopy(original)
    bare.remove(bare.find("ds:Signature", NS))
    evil.set("Id", "khac")
    evil.find("Chu").text = "Cap 100 ha"
    unsigned = deepcopy(evil)
    unsigned.remove(unsigned.find("ds:Signature", NS))
    return _Wrapped(root, original, original.find("ds:Signature", NS), bare, unsigned, evil)


def _original_in_signature(w: _Wrapped) -> None:
    w.root.replace(w.original, w.evil)
    w.evil.append(w.signature)
    w.signature.append(w.bare)


def _original_beside_signature(w: _Wrapped) -> None:
    w.root.replace(w.original, w.evil)
    w.evil.append(w.bare)
    w.evil.append(w.signature)


def _original_in_evil(w: _Wrapped) -> None:
    w.root.replace(w.original, w.evil)
    w.evil.append(w.original)


def _original_at_the_end(w: _Wrapped) -> None:
    w.root.replace(w.original, w.evil_signed)
    w.root.append(w.bare)


def _original_in_copied_signature(w: _Wrapped, *, in_object: bool = False) -> None:
    w.root.replace(w.original, w.evil_signed)
    signature = w.evil_signed.find("ds:Signature", NS)
    (etree.SubElement(signature, f"{{{DS}}}Object") if in_object else signature).append(w.bare)


def _object(w: _Wrapped) -> Any:
    return etree.SubElement(w.signature, f"{{{DS}}}Object")


def _text_in_object(w: _Wrapped) -> None:
    _object(w).text = "Cap 100 ha"


def _unsigned_properties(w: _Wrapped) -> None:
    holder = _object(w)
    for name in ("QualifyingProperties", "UnsignedProperties", "UnsignedDataObjectProperties"):
        holder = etree.SubElement(holder, f"{{{NS['xades']}}}{name}")
    holder.append(w.evil)


def _comment_in_text(w: _Wrapped) -> None:
    text = w.original.find("Chu")
    text.text = "Cap 1"
    text.append(etree.Comment("x"))
    text[0].tail = " ha"


WRAPPINGS: dict[str, Callable[[_Wrapped], Any]] = {
    "1": _original_in_signature,
    "2": _original_beside_signature,
    "3": lambda w: w.root.insert(0, w.evil),
    "4": _original_in_evil,
    "5": _original_at_the_end,
    "6": _original_in_copied_signature,
    "7": lambda w: etree.SubElement(w.root, "Extensions").append(w.evil),
    "8": lambda w: _original_in_copied_signature(w, in_object=True),
    "object in the signature": lambda w: _object(w).append(w.evil),
    "text in an object": _text_in_object,
    "key information": lambda w: w.signature.find("ds:KeyInfo", NS).append(w.evil),
    "unsigned properties": _unsigned_properties,
    "properties outside a signature": lambda w: etree.SubElement(
        w.root, f"{{{NS['xades']}}}QualifyingProperties"
    ).append(w.evil),
    "comment in the text": _comment_in_text,
}
"""The families XSW1 to XSW8 of Somorovsky et al. 2012, and places that signatures leave undigested."""


@pytest.mark.parametrize("family", WRAPPINGS)
def test_wrapping_families_never_pass(tmp_path: Path, world: World, family: str) -> None:
    root = _assertion(world)
    assert check(tmp_path, etree.tostring(root), world, mime=XML).indication is Indication.TOTAL_PASSED
    WRAPPINGS[family](_wrapped(root))
    content = etree.tostring(root)
    result = check(tmp_path, content, world, mime=XML)
    assert result.reports
    assert result.indication is not Indication.TOTAL_PASSED, content


def test_comment_beside_text_is_no_attack(tmp_path: Path, world: World) -> None:
    root = _assertion(world)
    root.find("NoiDung/Chu").append(etree.Comment("ghi chu"))
    root.insert(0, etree.Comment("dau"))
    assert check(tmp_path, etree.tostring(root), world, mime=XML).indication is Indication.TOTAL_PASSED
