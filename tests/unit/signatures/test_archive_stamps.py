"""Archive time-stamps inside CAdES and XAdES signatures prove what they stamp, and only that.

The imprints are built here from the standards' texts (EN 319 122-1 clause 5.5.3, EN 319 132-1 clause 5.5.2.2), not with our code.
"""

# pyHanko, signxml and lxml leave much untyped that these tests call
# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type,union-attr,type-var,index"

import hashlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import algos, cms, core, tsp
from lxml import etree
from signxml import SignatureMethod, methods
from signxml.xades import XAdESSigner

from archive_service.signatures import Indication, SignatureReport, TrustStore
from archive_service.signatures.report import SignatureLevel, SubIndication
from tests.unit.signatures.checking import check
from tests.unit.signatures.pki_fixtures import SIGNED_AT, Party, World, sign_cms, stamp

AFTER_STAMPER = datetime(2031, 6, 1, tzinfo=UTC)
"""So has the certificate of the authority that stamped the signature."""
YEARS_LATER = datetime(2029, 6, 1, tzinfo=UTC)
CONTENT = b"Quyet dinh"
ARCHIVE, INDEX_V3, INDEX_V1 = "0.4.0.1733.2.4", "0.4.0.19122.1.5", "0.4.0.1733.2.5"


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="archive")


@pytest.fixture(scope="module")
def later_tsa(world: World) -> Party:
    """An authority that outlives the first."""
    return later_authority(world)


def later_authority(world: World) -> Party:
    days = (datetime(2028, 1, 1, tzinfo=UTC), datetime(2039, 1, 1, tzinfo=UTC))
    usage = next(e.value for e in world.tsa.certificate.extensions if e.oid.dotted_string == "2.5.29.37")
    return world.make("TSA 2", world.root, extended=next(iter(usage)), days=days)


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def imprint(digest: bytes) -> tsp.MessageImprint:
    return tsp.MessageImprint({"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": digest})


def der(tag: int, *parts: bytes) -> bytes:
    """One DER element."""
    body = b"".join(parts)
    size = len(body)
    length = (
        bytes([size])
        if size < 128
        else bytes([0x80 + (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8)
    )
    return bytes([tag]) + length + body


SEQUENCE, SET = 0x30, 0x31
ATTRIBUTES = 0xA1
"""Tag of unsigned attributes."""


def with_attributes(signature: bytes, unsigned: list[bytes], *, crls: list[bytes] | None = None) -> bytes:
    """The CMS signature with these unsigned attributes and, where given, other revocation values; all else byte for byte."""
    signed_data = cms.ContentInfo.load(signature)["content"]
    signer = signed_data["signer_infos"][0]
    info = der(SEQUENCE, *(signer[name].dump() for name in SIGNER_FIELDS), der(ATTRIBUTES, *unsigned))
    lists = signed_data["crls"].dump() if crls is None else der(0xA1, *crls)
    parts = (
        signed_data[name].dump() for name in ("version", "digest_algorithms", "encap_content_info", "certificates")
    )
    content = der(SEQUENCE, *parts, lists, der(SET, info))
    return der(SEQUENCE, core.ObjectIdentifier("1.2.840.113549.1.7.2").dump(), der(0xA0, content))


def attribute(kind: str, *values: bytes) -> bytes:
    return der(SEQUENCE, core.ObjectIdentifier(kind).dump(), der(SET, *values))


SIGNER_FIELDS = ("version", "sid", "digest_algorithm", "signed_attrs", "signature_algorithm", "signature")


def status_lists(world: World) -> list[bytes]:
    """What an honest signer keeps: status of all at signing, and of the first authority when the archive time-stamp is added."""
    soon = SIGNED_AT + timedelta(hours=1)
    return [
        world.crl(world.root, soon),
        world.crl(world.issuing, soon),
        world.crl(world.root, YEARS_LATER - timedelta(hours=1)),
    ]


def with_status(world: World, raw: bytes) -> bytes:
    """The signature with the status lists."""
    signer = cms.ContentInfo.load(raw)["content"]["signer_infos"][0]
    return with_attributes(raw, [a.dump() for a in signer["unsigned_attrs"]], crls=status_lists(world))


def token_with(token: cms.ContentInfo, kind: str, value: bytes) -> bytes:
    """A time-stamp token with one unsigned attribute."""
    return with_attributes(token.dump(), [attribute(kind, value)], crls=[])


def archived_cms(world: World, authority: Party, at: datetime, *, version: int = 3, leave_out: str = "") -> bytes:
    """A CAdES signature with one archive time-stamp; `leave_out` keeps a part from the index."""
    raw = with_status(world, sign_cms(world, CONTENT, detached=False, party=world.person, stamped=True))
    signed_data = cms.ContentInfo.load(raw)["content"]
    signer = signed_data["signer_infos"][0]
    unsigned = list(signer["unsigned_attrs"])
    certificates = [sha256(c.dump()) for c in signed_data["certificates"]]
    revocations = [] if leave_out == "crls" else [sha256(c.dump()) for c in signed_data["crls"]]
    attributes = [sha256(a["type"].dump(), v.dump()) for a in unsigned for v in a["values"]]
    if version == 1:
        attributes = [sha256(a.dump()) for a in unsigned]
    if leave_out == "attributes":
        attributes = []
    algorithm = algos.DigestAlgorithm({"algorithm": "sha256"}).dump() if version == 3 else b""
    lists = (der(SEQUENCE, *(der(4, one) for one in part)) for part in (certificates, revocations, attributes))
    index = der(SEQUENCE, algorithm, *lists)
    digest = sha256(
        signed_data["encap_content_info"]["content_type"].dump(),
        sha256(CONTENT),
        *(signer[name].dump() for name in SIGNER_FIELDS),
        index,
    )
    token = token_with(stamp(authority, imprint(digest), at), INDEX_V3 if version == 3 else INDEX_V1, index)
    return with_attributes(raw, [*(a.dump() for a in unsigned), attribute(ARCHIVE, token)])


def judged(folder: Path, world: World, content: bytes, at: datetime, **options: Any) -> SignatureReport:
    trust = options.pop("trust", None) or TrustStore.of([world.root.der])
    return check(
        folder, content, world, at=at, mime=options.pop("mime", "application/pkcs7-mime"), trust=trust
    ).reports[0]


@pytest.mark.parametrize("version", [1, 3])
def test_archive_stamp_keeps_a_cades_signature_valid(
    tmp_path: Path, world: World, later_tsa: Party, version: int
) -> None:
    """In 2031 both the signer and the first authority have expired; only the archive time-stamp of 2029 can help."""
    content = archived_cms(world, later_tsa, YEARS_LATER, version=version)
    report = judged(tmp_path, world, content, AFTER_STAMPER)
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    assert report.level is SignatureLevel.B_LTA
    assert report.expired_since
    assert report.best_signature_time == SIGNED_AT
    assert [token.kind for token in report.timestamps] == ["signature", "archive"]


def test_without_the_archive_stamp_it_does_not(tmp_path: Path, world: World) -> None:
    raw = sign_cms(world, CONTENT, detached=False, party=world.person, stamped=True)
    plain = with_status(world, raw)
    report = judged(tmp_path, world, plain, AFTER_STAMPER)
    assert report.indication is Indication.INDETERMINATE


@pytest.mark.parametrize("part", ["crls", "attributes"])
def test_what_the_index_leaves_out_is_not_proven(tmp_path: Path, world: World, later_tsa: Party, part: str) -> None:
    """Without the first stamp in the index the signature is proven only as of 2029, when its certificate had expired."""
    content = archived_cms(world, later_tsa, YEARS_LATER, leave_out=part)
    report = judged(tmp_path, world, content, AFTER_STAMPER)
    if part == "attributes":
        assert report.best_signature_time == YEARS_LATER
        assert report.indication is Indication.INDETERMINATE
    assert report.timestamps[-1].indication is Indication.TOTAL_PASSED


def test_what_the_index_names_must_be_there(tmp_path: Path, world: World, later_tsa: Party) -> None:
    content = archived_cms(world, later_tsa, YEARS_LATER)
    signer = cms.ContentInfo.load(content)["content"]["signer_infos"][0]
    content = with_attributes(content, [a.dump() for a in signer["unsigned_attrs"]], crls=status_lists(world)[:2])
    report = judged(tmp_path, world, content, AFTER_STAMPER)
    assert report.timestamps[-1].sub_indication is SubIndication.HASH_FAILURE
    assert report.indication is Indication.INDETERMINATE
    assert "TOKEN_NOT_USED" in {remark.code for remark in report.remarks}


def test_archive_stamp_of_another_signature_proves_nothing(tmp_path: Path, world: World, later_tsa: Party) -> None:
    content = archived_cms(world, later_tsa, YEARS_LATER)
    other = with_status(world, sign_cms(world, b"khac", detached=False, party=world.person, stamped=True))
    taken = cms.ContentInfo.load(content)["content"]["signer_infos"][0]["unsigned_attrs"]
    report = judged(tmp_path, world, with_attributes(other, [a.dump() for a in taken]), AFTER_STAMPER)
    assert report.indication is Indication.INDETERMINATE
    assert {token.indication for token in report.timestamps} == {Indication.TOTAL_FAILED}


# ------------------------------------------------------------------ XAdES

X132, X141, DS = (
    "http://uri.etsi.org/01903/v1.3.2#",
    "http://uri.etsi.org/01903/v1.4.1#",
    "http://www.w3.org/2000/09/xmldsig#",
)
NS = {"ds": DS, "x": X132}
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"


def c14n(element: Any, *, exclusive: bool) -> bytes:
    return bytes(etree.tostring(element, method="c14n", exclusive=exclusive, with_comments=False))


def _holder(parent: Any, name: str, token: bytes, method: str | None) -> None:
    holder = etree.SubElement(parent, name)
    if method:
        etree.SubElement(holder, f"{{{DS}}}CanonicalizationMethod", Algorithm=method)
    etree.SubElement(holder, f"{{{X132}}}EncapsulatedTimeStamp").text = b64encode(token).decode()


def archived_xml(world: World, authority: Party, at: datetime, method: str | None, *, old: bool = False) -> bytes:
    """An enveloping XAdES signature with signature time-stamp, values and one archive time-stamp."""
    signer = XAdESSigner(method=methods.enveloping, signature_algorithm=SignatureMethod.ECDSA_SHA256)
    root = signer.sign(
        etree.fromstring("<HoSo xmlns='urn:tthc'>Cấp phép</HoSo>"),
        key=world.person.key,
        cert=[world.person.certificate],
    )
    root = etree.fromstring(etree.tostring(root))
    qualifying = root.find(".//x:QualifyingProperties", NS)
    unsigned = etree.SubElement(
        etree.SubElement(qualifying, f"{{{X132}}}UnsignedProperties"), f"{{{X132}}}UnsignedSignatureProperties"
    )
    exclusive = method == EXCLUSIVE
    value = root.find("ds:SignatureValue", NS)
    token = stamp(world.tsa, imprint(sha256(c14n(value, exclusive=exclusive))), SIGNED_AT).dump()
    _holder(unsigned, f"{{{X132}}}SignatureTimeStamp", token, method)
    certificates = etree.SubElement(unsigned, f"{{{X132}}}CertificateValues")
    etree.SubElement(certificates, f"{{{X132}}}EncapsulatedX509Certificate").text = b64encode(
        world.issuing.der
    ).decode()
    revocations = etree.SubElement(etree.SubElement(unsigned, f"{{{X132}}}RevocationValues"), f"{{{X132}}}CRLValues")
    for der in status_lists(world):
        etree.SubElement(revocations, f"{{{X132}}}EncapsulatedCRLValue").text = b64encode(der).decode()
    root = etree.fromstring(etree.tostring(root))  # namespaces as a reader sees them
    parts = []
    for reference in root.findall("ds:SignedInfo/ds:Reference", NS):
        target = next(e for e in root.iter() if e.get("Id") == reference.get("URI")[1:])
        named = [t.get("Algorithm") for t in reference.findall("ds:Transforms/ds:Transform", NS)]
        parts.append(c14n(target, exclusive=(named[-1] == EXCLUSIVE) if named else exclusive))
    parts += [
        c14n(root.find(f"ds:{name}", NS), exclusive=exclusive) for name in ("SignedInfo", "SignatureValue", "KeyInfo")
    ]
    unsigned = root.find(".//x:UnsignedSignatureProperties", NS)
    parts += [c14n(child, exclusive=exclusive) for child in unsigned]
    parts += [
        c14n(child, exclusive=exclusive)
        for child in root.findall("ds:Object", NS)
        if child.find("x:QualifyingProperties", NS) is None
    ]
    token = stamp(authority, imprint(sha256(*parts)), at).dump()
    _holder(unsigned, f"{{{X132 if old else X141}}}ArchiveTimeStamp", token, method)
    return bytes(etree.tostring(root))


@pytest.mark.parametrize("method", [None, EXCLUSIVE])
def test_archive_stamp_keeps_a_xades_signature_valid(
    tmp_path: Path, world: World, later_tsa: Party, method: str | None
) -> None:
    content = archived_xml(world, later_tsa, YEARS_LATER, method)
    report = judged(tmp_path, world, content, AFTER_STAMPER, mime="application/xml")
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    assert report.level is SignatureLevel.B_LTA
    assert report.best_signature_time == SIGNED_AT
    assert report.expired_since


def test_values_added_after_the_archive_stamp_are_not_proven(tmp_path: Path, world: World, later_tsa: Party) -> None:
    content = archived_xml(world, later_tsa, YEARS_LATER, EXCLUSIVE)
    root = etree.fromstring(content)
    unsigned = root.find(".//x:UnsignedSignatureProperties", NS)
    unsigned.insert(0, unsigned[-1])  # the stamp moved to the front covers nothing of what follows it
    report = judged(tmp_path, world, etree.tostring(root), AFTER_STAMPER, mime="application/xml")
    assert report.indication is Indication.INDETERMINATE
    assert report.timestamps[-1].sub_indication is SubIndication.HASH_FAILURE


def test_older_archive_stamps_are_said_not_to_be_used(tmp_path: Path, world: World, later_tsa: Party) -> None:
    content = archived_xml(world, later_tsa, YEARS_LATER, None, old=True)
    report = judged(tmp_path, world, content, AFTER_STAMPER, mime="application/xml")
    assert report.indication is Indication.INDETERMINATE
    assert "ARCHIVE_STAMP_NOT_USED" in {remark.code for remark in report.remarks}
