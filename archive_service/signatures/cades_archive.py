"""CAdES archive time-stamps as proof of existence (EN 319 122-1 clause 5.5.3; EN 319 102-1 clause 5.6.2.3).

An archive-time-stamp-v3 stamps the signed content, the signer's fields and an index of digests (ats-hash-index) of what else was
there: certificates, revocation values and unsigned attributes. What the index names is proven as old as the stamp; what it does
not name is not. An index that names something that is gone proves nothing. The index is held by the token's unsigned attributes,
and is itself part of what was stamped.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from asn1crypto import algos, cms, core, crl, ocsp, x509

from archive_service.signatures import cms as signed_data_of
from archive_service.signatures.chain import Circumstances, Purpose
from archive_service.signatures.cms import UNREADABLE
from archive_service.signatures.evidence import Evidence
from archive_service.signatures.timestamps import JudgedToken, judge_token, token_key

ARCHIVE_STAMP_V3: Final = "0.4.0.1733.2.4"
OLDER_ARCHIVE_STAMPS: Final = frozenset({"1.2.840.113549.1.9.16.2.27", "1.2.840.113549.1.9.16.2.48"})
"""Versions 1 and 2, whose imprint depends on encodings that later additions change; reported, not used."""
_INDEX_OF_ATTRIBUTES: Final = "0.4.0.1733.2.5"
"""ats-hash-index (TS 101 733): digests of whole attributes."""
_INDEX_OF_VALUES: Final = frozenset({"0.4.0.19122.1.4", "0.4.0.19122.1.5"})
"""ats-hash-index-v2 and -v3 (EN 319 122-1): digests of each attribute value with its type."""
_CERTIFICATE_VALUES: Final = "1.2.840.113549.1.9.16.2.23"
_REVOCATION_VALUES: Final = "1.2.840.113549.1.9.16.2.24"
_INDEX_FIELDS: Final = 3
"""Lists of an index; a fourth field, in front, is the digest algorithm."""


class _Certificates(core.SequenceOf):  # type: ignore[misc] # asn1crypto is untyped
    _child_spec = x509.Certificate


class _Crls(core.SequenceOf):  # type: ignore[misc]
    _child_spec = crl.CertificateList


class _BasicResponses(core.SequenceOf):  # type: ignore[misc]
    _child_spec = ocsp.BasicOCSPResponse


class _RevocationValues(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012 - asn1crypto's way to declare a SEQUENCE
        ("crls", _Crls, {"explicit": 0, "optional": True}),
        ("ocsps", _BasicResponses, {"explicit": 1, "optional": True}),
        ("other", core.Any, {"explicit": 2, "optional": True}),
    ]


class _Anything(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.Any


class _Digests(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.OctetString


@dataclass(frozen=True, slots=True, kw_only=True)
class _HashIndex:
    """An ats-hash-index as read."""

    encoded: bytes
    algorithm: str
    digests: tuple[frozenset[bytes], frozenset[bytes], frozenset[bytes]]
    """Of certificates, revocation values and unsigned attributes."""
    of_values: bool


def judge_archive_stamps(
    signed_data: cms.SignedData, digest_of: Callable[[str], bytes], case: Circumstances
) -> tuple[JudgedToken, ...]:
    """Judges the archive time-stamps of one signer, newest first, and registers what each that holds proves.

    Args:
        signed_data: a structure with this one signer.
        digest_of: digest of the signed content.
        case: trust, policy, evidence and time; proofs are added to its evidence.
    """
    signer_info = signed_data["signer_infos"][0]
    found = sorted(_tokens(signer_info), key=_time_of, reverse=True)[: signed_data_of.MAX_TIMESTAMPS]
    for token in found:
        take_unsigned_values(token["signer_infos"][0], case.evidence)
    judged, purpose = [], Purpose.LAST_TIMESTAMPING
    for token in found:
        digest = _stamped_digest(token, signed_data, digest_of)
        known = case.exists_since(token_key(token))
        outcome = judge_token(token, digest, case, kind="archive", purpose=purpose, proven=known)
        purpose = Purpose.TIMESTAMPING
        if outcome.proves:
            _prove(token, signed_data, case.evidence, outcome.proves)
        judged.append(outcome)
    return tuple(judged)


def has_older_archive_stamp(signer_info: cms.SignerInfo) -> bool:
    """Returns whether there is an archive time-stamp of a version that is not used as proof."""
    return any(attribute["type"].dotted in OLDER_ARCHIVE_STAMPS for attribute in signer_info["unsigned_attrs"] or ())


def take_unsigned_values(signer_info: cms.SignerInfo, evidence: Evidence) -> None:
    """Takes certificate and revocation values out of unsigned attributes."""
    for attribute in signer_info["unsigned_attrs"] or ():
        kind = attribute["type"].dotted
        if kind not in {_CERTIFICATE_VALUES, _REVOCATION_VALUES}:
            continue
        try:
            for what, der in _values_in(kind, attribute["values"][0].dump()):
                {"cert": evidence.add_certificate, "crl": evidence.add_crl, "ocsp": evidence.add_ocsp}[what](der)
        except UNREADABLE as exc:
            evidence.refused.append(f"unsigned attribute {kind}: {exc}"[:300])


def _values_in(kind: str, der: bytes) -> Iterator[tuple[str, bytes]]:
    if kind == _CERTIFICATE_VALUES:
        yield from (("cert", certificate.dump()) for certificate in _Certificates.load(der))
        return
    values = _RevocationValues.load(der)
    yield from (("crl", one.dump()) for one in values["crls"] or ())
    yield from (("ocsp", _wrap(basic)) for basic in values["ocsps"] or ())


def _wrap(basic: Any) -> bytes:
    """Returns a bare BasicOCSPResponse in the envelope that OCSP tools expect."""
    inner = {"response_type": "basic_ocsp_response", "response": core.ParsableOctetString(basic.dump())}
    return bytes(ocsp.OCSPResponse({"response_status": "successful", "response_bytes": inner}).dump())


def _tokens(signer_info: cms.SignerInfo) -> Iterator[cms.SignedData]:
    for attribute in signer_info["unsigned_attrs"] or ():
        if attribute["type"].dotted != ARCHIVE_STAMP_V3:
            continue
        for value in attribute["values"]:
            token = signed_data_of.load_signed_data(value.dump())
            if len(token["signer_infos"]) == 1:
                yield token


def _time_of(token: cms.SignedData) -> float:
    moment = signed_data_of.token_time(token)
    return moment.timestamp() if moment else 0.0


# ------------------------------------------------------------------ what was stamped


def _stamped_digest(
    token: cms.SignedData, signed_data: cms.SignedData, digest_of: Callable[[str], bytes]
) -> Callable[[str], bytes]:
    """Returns the digest that the token's imprint must have: of content type, content digest, signer fields and index."""
    signer_info = signed_data["signer_infos"][0]

    def digest(algorithm: str) -> bytes:
        index = _hash_index(token)
        if any(named - there.keys() for named, there in zip(index.digests, _present(signed_data, index), strict=True)):
            raise ValueError("the index of an archive time-stamp names something that is not there")
        names = ("version", "sid", "digest_algorithm", "signed_attrs", "signature_algorithm", "signature")
        state = hashlib.new(algorithm)
        state.update(signed_data["encap_content_info"]["content_type"].dump())
        state.update(digest_of(algorithm))
        for name in names:
            state.update(signer_info[name].dump())
        state.update(index.encoded)
        return state.digest()

    return digest


def _hash_index(token: cms.SignedData) -> _HashIndex:
    """Returns the index in a token's unsigned attributes.

    Raises:
        ValueError: there is none, more than one, or it is malformed.
    """
    known = {_INDEX_OF_ATTRIBUTES, *_INDEX_OF_VALUES}
    unsigned = token["signer_infos"][0]["unsigned_attrs"] or ()
    found = [attribute for attribute in unsigned if attribute["type"].dotted in known]
    if len(found) != 1 or len(found[0]["values"]) != 1:
        raise ValueError("an archive time-stamp without exactly one index")
    encoded = found[0]["values"][0].dump()
    parts = [part.dump() for part in _Anything.load(encoded)]
    algorithm = "sha256"  # DEFAULT of ats-hash-index
    if len(parts) == _INDEX_FIELDS + 1:
        algorithm = str(algos.DigestAlgorithm.load(parts.pop(0))["algorithm"].native)
    if len(parts) != _INDEX_FIELDS:
        raise ValueError("malformed index of an archive time-stamp")
    certificates, revocations, attributes = (
        frozenset(bytes(digest.native) for digest in _Digests.load(part)) for part in parts
    )
    of_values = found[0]["type"].dotted in _INDEX_OF_VALUES
    return _HashIndex(
        encoded=encoded, algorithm=algorithm, digests=(certificates, revocations, attributes), of_values=of_values
    )


def _present(
    signed_data: cms.SignedData, index: _HashIndex
) -> tuple[dict[bytes, Any], dict[bytes, Any], dict[bytes, Any]]:
    """Returns digest -> object of everything that an index may name."""

    def digest(*parts: bytes) -> bytes:
        return hashlib.new(index.algorithm, b"".join(parts)).digest()

    attributes: dict[bytes, Any] = {}
    for attribute in signed_data["signer_infos"][0]["unsigned_attrs"] or ():
        if not index.of_values:
            attributes[digest(attribute.dump())] = attribute
            continue
        for value in attribute["values"]:
            attributes[digest(attribute["type"].dump(), value.dump())] = (attribute["type"].dotted, value)
    certificates = {digest(choice.dump()): choice for choice in signed_data["certificates"] or ()}
    revocations = {digest(choice.dump()): choice for choice in signed_data["crls"] or ()}
    return certificates, revocations, attributes


# ------------------------------------------------------------------ what it proves


def _prove(token: cms.SignedData, signed_data: cms.SignedData, evidence: Evidence, since: datetime) -> None:
    """Registers the age of the signature value and of everything the token's index names."""
    evidence.prove(bytes(signed_data["signer_infos"][0]["signature"].native), since)
    index = _hash_index(token)
    certificates, revocations, attributes = _present(signed_data, index)
    for digest, choice in certificates.items():
        if digest in index.digests[0]:
            evidence.prove(choice.chosen.dump(), since)
    for digest, choice in revocations.items():
        if digest in index.digests[1]:
            _prove_revocation(choice, evidence, since)
    for digest, found in attributes.items():
        if digest in index.digests[2]:
            values = [found] if index.of_values else [(found["type"].dotted, value) for value in found["values"]]
            for kind, value in values:
                _prove_value(kind, value.dump(), evidence, since)


def _prove_revocation(choice: Any, evidence: Evidence, since: datetime) -> None:
    if isinstance(choice.chosen, crl.CertificateList):
        evidence.prove(choice.chosen.dump(), since)
    elif choice.name == "other":
        evidence.prove(choice.chosen["other_rev_info"].dump(), since)


def _prove_value(kind: str, der: bytes, evidence: Evidence, since: datetime) -> None:
    """Registers the age of what one unsigned attribute value carries; what cannot be read is not proven."""
    try:
        if kind in {_CERTIFICATE_VALUES, _REVOCATION_VALUES}:
            for _, one in _values_in(kind, der):
                evidence.prove(one, since)
            return
        prove_token(signed_data_of.load_signed_data(der), evidence, since)
    except UNREADABLE:
        return


def prove_token(token: cms.SignedData, evidence: Evidence, since: datetime) -> None:
    """Registers the age of a time-stamp token, of the certificates and revocation values it carries."""
    evidence.prove(token_key(token), since)
    held = Evidence()
    held.add_signed_data(token)
    for signer_info in token["signer_infos"]:
        take_unsigned_values(signer_info, held)
    for der in (*held.certificates, *held.crls, *held.ocsps):
        evidence.prove(der, since)
