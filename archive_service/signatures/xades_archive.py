"""XAdES archive time-stamps as proof of existence (EN 319 132-1 clause 5.5.2.2, not distributed; EN 319 102-1 clause 5.6.2.3).

An xadesv141:ArchiveTimeStamp stamps, in this order: what every reference of ds:SignedInfo gave to its digest, ds:SignedInfo,
ds:SignatureValue, ds:KeyInfo, every unsigned signature property before it, and every ds:Object but the one with the qualifying
properties; elements in canonical form by the stamp's method. What was stamped is proven as old as the stamp.
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from lxml import etree

from archive_service.signatures import cms as signed_data_of
from archive_service.signatures import xmldsig
from archive_service.signatures.cades_archive import prove_token, take_unsigned_values
from archive_service.signatures.chain import Circumstances, Purpose
from archive_service.signatures.cms import UNREADABLE
from archive_service.signatures.evidence import Evidence
from archive_service.signatures.timestamps import JudgedToken, judge_token, token_key
from archive_service.signatures.xml_values import XmlSignatureUnreadableError
from archive_service.signatures.xmldsig import NS, XADES, Element, XmlSignature

XADES_141: Final = NS["xades141"]
ARCHIVE_STAMP: Final = f"{{{XADES_141}}}ArchiveTimeStamp"
OLDER_ARCHIVE_STAMP: Final = f"{{{XADES}}}ArchiveTimeStamp"
"""Of XAdES 1.3.2, whose imprint leaves room for unsigned objects; reported, not used."""
_PROPERTIES: Final = "ds:Object/xades:QualifyingProperties/xades:UnsignedProperties/xades:UnsignedSignatureProperties"
_VALUES: Final = frozenset(f"{{{XADES}}}Encapsulated{kind}" for kind in ("X509Certificate", "CRLValue", "OCSPValue"))
_UNREADABLE: Final = (*UNREADABLE, etree.LxmlError, XmlSignatureUnreadableError)


def has_older_archive_stamp(signature: Element) -> bool:
    """Returns whether there is an archive time-stamp of a version that is not used as proof."""
    properties = signature.find(_PROPERTIES, NS)
    return properties is not None and properties.find(OLDER_ARCHIVE_STAMP) is not None


def judge_archive_stamps(signature: Element, outcome: XmlSignature, case: Circumstances) -> tuple[JudgedToken, ...]:
    """Judges the archive time-stamps of a signature, last first, and registers what each that holds proves.

    Args:
        signature: the ds:Signature.
        outcome: its core validation, digests matching.
        case: trust, policy, evidence and time; proofs are added to its evidence.

    Raises:
        XmlSignatureUnreadableError: a stamp's token or method cannot be read.
    """
    properties = signature.find(_PROPERTIES, NS)
    stamps = [] if properties is None else properties.findall(ARCHIVE_STAMP)
    judged, purpose = [], Purpose.LAST_TIMESTAMPING
    for stamp in reversed(stamps[-signed_data_of.MAX_TIMESTAMPS :]):
        for encapsulated in stamp.findall("xades:EncapsulatedTimeStamp", NS):
            token = signed_data_of.load_signed_data(xmldsig.octets_of(encapsulated))
            for signer_info in token["signer_infos"]:
                take_unsigned_values(signer_info, case.evidence)
            known = case.exists_since(token_key(token))
            digest = _stamped_digest(signature, stamp, outcome)
            one = judge_token(token, digest, case, kind="archive", purpose=purpose, proven=known)
            if one.proves:
                _prove(stamp, outcome, case.evidence, one.proves)
            judged.append(one)
        purpose = Purpose.TIMESTAMPING
    return tuple(judged)


def _stamped_digest(signature: Element, stamp: Element, outcome: XmlSignature) -> Callable[[str], bytes]:
    def digest(algorithm: str) -> bytes:
        state = hashlib.new(algorithm)
        for piece in _stamped(signature, stamp, outcome):
            state.update(piece)
        return state.digest()

    return digest


def _stamped(signature: Element, stamp: Element, outcome: XmlSignature) -> Iterator[bytes]:
    method = stamp.find("ds:CanonicalizationMethod", NS)
    for reference in outcome.references:
        yield from reference.octets(method)
    for name in ("SignedInfo", "SignatureValue", "KeyInfo"):
        for element in signature.findall(f"ds:{name}", NS):
            yield xmldsig.canonical(element, method)
    for element in _before(stamp):
        yield xmldsig.canonical(element, method)
    for element in signature.findall("ds:Object", NS):
        if element.find("xades:QualifyingProperties", NS) is None:
            yield xmldsig.canonical(element, method)


def _before(stamp: Element) -> list[Element]:
    """Returns the unsigned properties before a stamp, in document order."""
    earlier = [e for e in stamp.itersiblings(preceding=True) if isinstance(e.tag, str)]
    return earlier[::-1]


def _prove(stamp: Element, outcome: XmlSignature, evidence: Evidence, since: datetime) -> None:
    """Registers the age of the signature value, its certificates and what the earlier properties carry."""
    evidence.prove(outcome.signature_value, since)
    for der in outcome.certificates:
        evidence.prove(der, since)
    for element in [e for properties in _before(stamp) for e in properties.iter()]:
        try:
            if element.tag in _VALUES:
                evidence.prove(xmldsig.octets_of(element), since)
            elif element.tag == f"{{{XADES}}}EncapsulatedTimeStamp":
                prove_token(signed_data_of.load_signed_data(xmldsig.octets_of(element)), evidence, since)
        except _UNREADABLE:  # what cannot be read proves nothing
            continue
