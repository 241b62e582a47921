"""XML signatures: XMLDSig and XAdES, enveloped, enveloping or over a sibling file; time-stamps and revocation values are ours.

A signature passes only when nothing outside it is left unsigned but the elements that merely hold signed parts together; otherwise
what is shown may not be what was signed (signature wrapping), and the report says which elements are covered.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from asn1crypto import cms
from lxml import etree

from archive_service.signatures import cms as signed_data_of
from archive_service.signatures import xades_archive, xml_values, xmldsig
from archive_service.signatures.assessment import Signed, assess, unreadable
from archive_service.signatures.chain import Circumstances
from archive_service.signatures.cms import UNREADABLE, could_not
from archive_service.signatures.report import (
    Integrity,
    Reason,
    SignatureKind,
    SignatureLevel,
    SignatureReport,
    SubIndication,
)
from archive_service.signatures.timestamps import JudgedToken, judge_token, token_key
from archive_service.signatures.xml_values import XmlSignatureUnreadableError
from archive_service.signatures.xmldsig import (
    DS,
    NS,
    XADES,
    Element,
    Reference,
    XmlSignature,
)

MAX_SIGNATURES: Final = 50
"""Signatures of one XML file that are judged."""
KEY_NAMESPACES: Final = ("http://www.w3.org/",)
"""Namespaces of what a signature holds besides objects: XMLDSig itself and what names keys."""
XADES_NAMESPACES: Final = ("http://uri.etsi.org/01903/", DS)
"""Namespaces of qualifying properties, all versions."""
SIGNED_PROPERTIES_TYPE: Final = "http://uri.etsi.org/01903#SignedProperties"

_UNREADABLE: Final = (*UNREADABLE, etree.LxmlError, XmlSignatureUnreadableError)


def check_xml(path: Path, case: Circumstances, siblings: Mapping[str, Path]) -> tuple[SignatureReport, ...]:
    """Checks every ds:Signature of an XML file; a file that is not well-formed or has none gives no report.

    Raises:
        OSError: the file or a sibling cannot be read.
    """
    try:
        tree = xmldsig.parse(path)
    except _UNREADABLE as exc:
        return (_unreadable(case, None, could_not(exc)),) if _mentions_signature(path) else ()
    found = xmldsig.signatures_in(tree)
    others = {name: target for name, target in siblings.items() if target != path}
    reports = [_check(signature, case, others) for signature in found[:MAX_SIGNATURES]]
    if len(found) > MAX_SIGNATURES:
        reports.append(_unreadable(case, None, Reason(code="TOO_MANY_SIGNERS")))
    return tuple(reports)


def _mentions_signature(path: Path) -> bool:
    with path.open("rb") as stream:
        return DS.encode() in stream.read(xmldsig.MAX_XML_BYTES)


def _check(signature: Element, case: Circumstances, siblings: Mapping[str, Path]) -> SignatureReport:
    try:
        outcome = xmldsig.verify(signature, siblings)
        for der in outcome.certificates:
            case.evidence.add_certificate(der)
        _take_values(signature, case)
        return assess(_signed(signature, outcome, case), case)
    except _UNREADABLE as exc:
        return _unreadable(case, signature.get("Id"), could_not(exc))


def _signed(signature: Element, outcome: XmlSignature, case: Circumstances) -> Signed:
    properties = _signed_properties(signature, outcome.references)
    integrity, sub, reasons = _integrity(outcome)
    content = [r for r in outcome.references if r.element is not properties or properties is None]
    content += outcome.manifest
    counter = any(r.element is not None and r.element.tag == f"{{{DS}}}SignatureValue" for r in content)
    whole = bool(content) and not counter and _covers_everything(signature, (*outcome.references, *outcome.manifest))
    if sub is None and not whole and not counter:
        sub, reasons = SubIndication.SIG_CONSTRAINTS_FAILURE, (Reason(code="XML_PARTIAL_COVERAGE"),)
    if sub is None and any(r.added_later for r in content):
        sub, reasons = SubIndication.SIG_CONSTRAINTS_FAILURE, (Reason(code="XML_SIGNATURE_ADDED"),)
    intact = integrity is Integrity.INTACT
    archive = xades_archive.judge_archive_stamps(signature, outcome, case) if intact else ()
    older = xades_archive.has_older_archive_stamp(signature)
    tokens = tuple(_tokens(signature, case))
    return Signed(
        kind=SignatureKind.XMLDSIG if properties is None else SignatureKind.XADES,
        sub_filter=outcome.method,
        field_name=signature.get("Id"),
        certificate=outcome.certificate,
        signature=outcome.signature_value,
        integrity=integrity,
        sub_indication=sub,
        reasons=reasons,
        claimed_time=_claimed(properties),
        level=_level(properties, tokens, archive=bool(archive) or older, case=case),
        covers_whole_file=whole and integrity is Integrity.INTACT,
        coverage=_coverage(content),
        digest=_weakest([r.digest for r in outcome.references] + [xml_values.method_digest(outcome.method) or ""]),
        tokens=tokens,
        archive_tokens=archive,
        remarks=(Reason(code="ARCHIVE_STAMP_NOT_USED"),) if older else (),
    )


def _weakest(digests: list[str]) -> str | None:
    order = ("md5", "sha1", "sha224", "sha3_224")
    named = [digest for digest in digests if digest]
    return min(named, key=lambda digest: order.index(digest) if digest in order else len(order), default=None)


def _integrity(outcome: XmlSignature) -> tuple[Integrity, SubIndication | None, tuple[Reason, ...]]:
    if outcome.signature_valid is None:
        return (
            Integrity.NOT_CHECKED,
            SubIndication.NO_SIGNING_CERTIFICATE_FOUND,
            (Reason(code="NO_SIGNING_CERTIFICATE"),),
        )
    if not outcome.signature_valid:
        return Integrity.SIGNATURE_INVALID, SubIndication.SIG_CRYPTO_FAILURE, (Reason(code="SIG_CRYPTO_FAILURE"),)
    missing = [reference.target for reference in outcome.references if not reference.found]
    # what a manifest names is outside core validation: other bytes there are not a broken signature, but nobody signed them
    missing += [reference.target for reference in outcome.manifest if not reference.matches]
    if any(reference.found and not reference.matches for reference in outcome.references):
        return Integrity.DIGEST_MISMATCH, SubIndication.HASH_FAILURE, (Reason(code="HASH_FAILURE"),)
    if missing:
        reason = Reason(code="REFERENCE_NOT_AT_HAND", params={"names": ", ".join(missing)[:200]})
        return Integrity.NOT_CHECKED, SubIndication.SIGNED_DATA_NOT_FOUND, (reason,)
    return Integrity.INTACT, None, ()


def _signed_properties(signature: Element, references: tuple[Reference, ...]) -> Element | None:
    """Returns the XAdES SignedProperties of this signature, when a reference of it covers them."""
    own = signature.find("ds:Object/xades:QualifyingProperties/xades:SignedProperties", NS)
    if own is None:
        return None
    return own if any(reference.element is own for reference in references) else None


def _covers_everything(signature: Element, references: tuple[Reference, ...]) -> bool:
    """Returns whether nothing in the document carries anything of its own that is not digested.

    What transforms leave out is looked at like what stands outside: an enveloped signature is no place for content either. A
    comment that is not digested must not cut text in two, because some readers take the text before it for all there is.
    """
    covered = {r.element for r in references if r.element is not None}
    root = signature.getroottree().getroot()
    left_out = {element for r in references for element in r.left_out}
    return (
        _carries_nothing(root, covered)
        and all(_signature_carries_nothing(element, covered) for element in left_out)
        and not any(_comment_cuts_text(r.element) for r in references if r.element is not None and not r.with_comments)
    )


def _carries_nothing(element: Element, covered: set[Element]) -> bool:
    if element in covered or not isinstance(element.tag, str):
        return True
    if element.tag == f"{{{DS}}}Signature":
        return _signature_carries_nothing(element, covered)
    attributes = [name for name in element.attrib if name not in xmldsig.ID_ATTRIBUTES and "schemaLocation" not in name]
    is_object = element.tag == f"{{{DS}}}Object"
    texts = [element.text or "", *(child.tail or "" for child in element)]
    if (attributes and not is_object) or any(text.strip() for text in texts):
        return False
    children = [child for child in element if not (is_object and child.tag == f"{{{XADES}}}QualifyingProperties")]
    holders = [child for child in element if child not in children]
    leaf_without_meaning = not children and not is_object
    return (
        not leaf_without_meaning
        and all(_carries_nothing(child, covered) for child in children)
        and all(_is_of(holder, XADES_NAMESPACES, covered) for holder in holders)
    )


def _signature_carries_nothing(signature: Element, covered: set[Element]) -> bool:
    return all(
        _carries_nothing(part, covered) if part.tag == f"{{{DS}}}Object" else _is_of(part, KEY_NAMESPACES, covered)
        for part in signature
    )


def _is_of(element: Element, namespaces: tuple[str, ...], covered: set[Element]) -> bool:
    """Returns whether an element and all in it belong to signatures by their namespaces, or are digested."""
    if element in covered or not isinstance(element.tag, str):
        return True
    known = (etree.QName(element).namespace or "").startswith(namespaces)
    return known and all(_is_of(child, namespaces, covered) for child in element)


def _comment_cuts_text(element: Element) -> bool:
    """Returns whether a comment in an element has text on both sides."""
    for comment in element.iter(etree.Comment):
        before, parent = comment.getprevious(), comment.getparent()
        if comment is element or parent is None:
            continue
        text = before.tail if before is not None else parent.text
        if (text or "").strip() and (comment.tail or "").strip():
            return True
    return False


def _coverage(content: list[Reference]) -> str:
    return "; ".join(reference.target for reference in content)[:400] or "nothing"


def _claimed(properties: Element | None) -> datetime | None:
    text = (
        properties.findtext("xades:SignedSignatureProperties/xades:SigningTime", None, NS)
        if properties is not None
        else None
    )
    if not text:
        return None
    try:
        claimed = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return claimed if claimed.tzinfo else None


def _level(
    properties: Element | None, tokens: tuple[JudgedToken, ...], *, archive: bool, case: Circumstances
) -> SignatureLevel | None:
    """Returns the XAdES baseline level the structure reaches; None for plain XMLDSig."""
    if properties is None:
        return None
    names = ("SigningCertificateV2", "SigningCertificate")
    if not any(properties.find(f"xades:SignedSignatureProperties/xades:{name}", NS) is not None for name in names):
        return None
    if not tokens:
        return SignatureLevel.B_B
    if not case.evidence.revocation_carried:
        return SignatureLevel.B_T
    return SignatureLevel.B_LTA if archive else SignatureLevel.B_LT


def _take_values(signature: Element, case: Circumstances) -> None:
    """Takes certificate and revocation values of the unsigned properties into the evidence."""
    takers = (
        ("EncapsulatedX509Certificate", case.evidence.add_certificate),
        ("EncapsulatedCRLValue", case.evidence.add_crl),
        ("EncapsulatedOCSPValue", case.evidence.add_ocsp),
    )
    for name, take in takers:
        for element in signature.iterfind(f".//xades:UnsignedSignatureProperties//xades:{name}", NS):
            try:
                take(xmldsig.octets_of(element))
            except _UNREADABLE as exc:
                case.evidence.refused.append(f"{name}: {exc}"[:300])


def _tokens(signature: Element, case: Circumstances) -> list[JudgedToken]:
    """Judges the signature time-stamps: their imprint is over the canonical ds:SignatureValue element (EN 319 132-1 clause 5.3)."""
    judged = []
    value = signature.find("ds:SignatureValue", NS)
    stamps = signature.findall(
        "ds:Object/xades:QualifyingProperties/xades:UnsignedProperties/xades:UnsignedSignatureProperties/xades:SignatureTimeStamp",
        NS,
    )
    for stamp in stamps[: signed_data_of.MAX_TIMESTAMPS]:
        content = xmldsig.canonical(value, stamp.find("ds:CanonicalizationMethod", NS)) if value is not None else b""
        for encapsulated in stamp.findall("xades:EncapsulatedTimeStamp", NS):
            token: cms.SignedData = signed_data_of.load_signed_data(xmldsig.octets_of(encapsulated))
            judged.append(
                judge_token(
                    token,
                    signed_data_of.digest_of_bytes(content),
                    case,
                    kind="signature",
                    proven=case.exists_since(token_key(token)),
                )
            )
    return judged


def _unreadable(case: Circumstances, name: str | None, reason: Reason) -> SignatureReport:
    return assess(unreadable(SignatureKind.XMLDSIG, reason, field_name=name), case)
