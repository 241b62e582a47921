"""CMS signatures (RFC 5652, CAdES): integrity of one signer, its time-stamps, its certificate; shared by PDF and .p7s/.p7m files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from asn1crypto import cms, core, tsp, x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from pyhanko.sign.general import (
    CMSExtractionError,
    CMSStructuralError,
    MultivaluedAttributeError,
    NonexistentAttributeError,
    find_cms_attribute_iter,
    find_unique_cms_attribute,
)
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko.sign.validation.generic_cms import (
    extract_certs_for_validation,
    extract_self_reported_ts,
    extract_tst_data_iter,
    validate_sig_integrity,
)
from pyhanko_certvalidator.errors import ValidationError
from pyhanko_certvalidator.sig_validate import SignatureValidationContext
from pyhanko_certvalidator.util import get_pyca_cryptography_hash

from archive_service.signatures.evidence import Evidence
from archive_service.signatures.report import Integrity, Reason, SubIndication
from archive_service.signatures.signature_values import TOLERANT, in_der, signs_content_itself

MAX_SIGNERS: Final = 50
"""Signers of one CMS file that are judged; more is reported as not checked."""
MAX_TIMESTAMPS: Final = 20
"""Time-stamp tokens of one signature that are judged."""

UNREADABLE: Final = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    AssertionError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    OSError,
    UnsupportedAlgorithm,
    ValidationError,
    CMSExtractionError,
    CMSStructuralError,
    SignatureValidationError,
)
"""What asn1crypto, cryptography and pyHanko raise on malformed signatures (STANDARDS 1.4): could not be analysed, so INDETERMINATE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerView:
    """One signer of a CMS structure, read but not yet judged."""

    signed_data: cms.SignedData
    """Holds this signer only."""
    signer_info: cms.SignerInfo
    certificate: x509.Certificate | None
    integrity: Integrity
    sub_indication: SubIndication | None
    """Why integrity or certificate could not be established; None = intact."""
    reasons: tuple[Reason, ...] = ()
    claimed_time: datetime | None = None

    @property
    def signature(self) -> bytes:
        """The signature value."""
        return bytes(self.signer_info["signature"].native)

    @property
    def digest(self) -> str:
        """Name of the digest algorithm."""
        return str(self.signer_info["digest_algorithm"]["algorithm"].native)


def load_signed_data(der: bytes) -> cms.SignedData:
    """Returns the SignedData in a ContentInfo, PDF padding after the end allowed.

    Raises:
        ValueError: not a CMS SignedData.
    """
    info = cms.ContentInfo.load(der)
    if info["content_type"].native != "signed_data":
        raise ValueError(f"CMS content type {info['content_type'].native} is not signed data")
    return info["content"]


def signers(signed_data: cms.SignedData) -> Iterator[cms.SignedData]:
    """Yields one SignedData per signer, each with the same content and certificates; untouched bytes stay as they are."""
    infos = list(signed_data["signer_infos"])
    if len(infos) == 1:
        yield signed_data
        return
    shared = {name: signed_data[name] for name in ("digest_algorithms", "encap_content_info")}
    shared |= {name: signed_data[name] for name in ("certificates", "crls") if signed_data[name].native is not None}
    for info in infos[:MAX_SIGNERS]:
        yield cms.SignedData({"version": signed_data["version"].native, "signer_infos": [info], **shared})


def view_signer(
    signed_data: cms.SignedData, digest_of: Callable[[str], bytes], *, content: Callable[[], bytes] | None = None
) -> SignerView:
    """Reads the one signer of `signed_data` and verifies digest and signature value.

    Args:
        signed_data: a structure with exactly one signer.
        digest_of: gives the digest of the signed content for a digest algorithm name.
        content: gives the signed content itself, for the few algorithms that sign it without a digest; None where it is not at hand.
    """
    signer_info = signed_data["signer_infos"][0]
    certificate: x509.Certificate | None = None
    try:
        certificate = extract_certs_for_validation(signed_data).signer_cert
        content_type = signed_data["encap_content_info"]["content_type"].native
        if signs_content_itself(signer_info):
            if content is None:
                raise NotImplementedError("the signature is over the content and no digest of it")
            digest = content()
        else:
            digest = digest_of(str(signer_info["digest_algorithm"]["algorithm"].native))
        intact, valid = validate_sig_integrity(
            signer_info, certificate, content_type, actual_digest=digest, sig_validator=TOLERANT
        )
        valid = valid or _valid_in_der(signer_info, certificate)
    except UNREADABLE as exc:
        return SignerView(
            signed_data=signed_data,
            signer_info=signer_info,
            certificate=certificate,
            integrity=Integrity.NOT_CHECKED,
            sub_indication=_sub_of(exc),
            reasons=(could_not(exc),),
            claimed_time=_claimed(signer_info),
        )
    integrity, sub = _integrity(intact=intact, valid=valid)
    reasons = (Reason(code=str(sub)),) if sub else ()
    if sub is None and (misplaced := _misplaced(signer_info)):
        sub = SubIndication.SIG_CONSTRAINTS_FAILURE
        reasons = (Reason(code="ATTRIBUTE_MISPLACED", params={"name": misplaced}),)
    return SignerView(
        signed_data=signed_data,
        signer_info=signer_info,
        certificate=certificate,
        integrity=integrity,
        sub_indication=sub,
        reasons=reasons,
        claimed_time=_claimed(signer_info),
    )


def _misplaced(signer_info: cms.SignerInfo) -> str:
    """Returns the name of an attribute that must be signed and is not, or stands twice (RFC 5652 clause 11); empty for none."""
    for attribute in signer_info["unsigned_attrs"] or ():
        if attribute["type"].native in _SIGNED_ONCE:
            return str(attribute["type"].native)
    named = [attribute["type"].native for attribute in signer_info["signed_attrs"] or ()]
    return next((str(name) for name in named if name in _SIGNED_ONCE and named.count(name) > 1), "")


_SIGNED_ONCE: Final = frozenset({"content_type", "message_digest", "signing_time"})


def _valid_in_der(signer_info: cms.SignerInfo, certificate: x509.Certificate) -> bool:
    """Returns whether the value is over the DER of signed attributes that are written otherwise (RFC 5652 clause 5.4)."""
    if not signer_info["signed_attrs"]:
        return False
    octets = in_der(signer_info["signed_attrs"].untag().dump())
    if octets is None:
        return False
    try:
        _verify(signer_info, certificate, octets)
    except InvalidSignature:
        return False
    return True


def _verify(signer_info: cms.SignerInfo, certificate: x509.Certificate, octets: bytes) -> None:
    TOLERANT.validate_signature(
        signer_info["signature"].native,
        octets,
        certificate.public_key,
        signer_info["signature_algorithm"],
        context=SignatureValidationContext(
            contextual_md_algorithm=str(signer_info["digest_algorithm"]["algorithm"].native)
        ),
    )


def _integrity(*, intact: bool, valid: bool) -> tuple[Integrity, SubIndication | None]:
    if not valid:
        return Integrity.SIGNATURE_INVALID, SubIndication.SIG_CRYPTO_FAILURE
    if not intact:
        return Integrity.DIGEST_MISMATCH, SubIndication.HASH_FAILURE
    return Integrity.INTACT, None


def _sub_of(exc: Exception) -> SubIndication:
    """Returns the sub-indication pyHanko names, weakened to an INDETERMINATE one: a structure it cannot read proves no forgery."""
    indication = getattr(exc, "ades_subindication", None)
    name = indication.standard_name if indication is not None else "GENERIC"
    return SubIndication(name) if name in _INDETERMINATE_NAMES else SubIndication.SIG_CONSTRAINTS_FAILURE


_INDETERMINATE_NAMES: Final = frozenset(
    {"NO_SIGNING_CERTIFICATE_FOUND", "SIG_CONSTRAINTS_FAILURE", "CRYPTO_CONSTRAINTS_FAILURE", "GENERIC"}
)


def could_not(exc: Exception) -> Reason:
    """Returns the reason that says what a library could not analyse."""
    message = getattr(exc, "failure_message", None) or str(exc)
    return Reason(code="COULD_NOT_ANALYSE", params={"what": type(exc).__name__, "detail": str(message)[:300]})


def _claimed(signer_info: cms.SignerInfo) -> datetime | None:
    try:
        claimed = extract_self_reported_ts(signer_info)
    except UNREADABLE:
        return None
    return claimed if isinstance(claimed, datetime) and claimed.tzinfo else None


def digest_stream_of(chunks: Callable[[], Iterator[bytes]]) -> Callable[[str], bytes]:
    """Returns a function from digest name to digest of a stream; each algorithm reads the stream once."""
    known: dict[str, bytes] = {}

    def digest_of(name: str) -> bytes:
        if name not in known:
            state = hashes.Hash(get_pyca_cryptography_hash(name))
            for chunk in chunks():
                state.update(chunk)
            known[name] = state.finalize()
        return known[name]

    return digest_of


def has_attribute(signer_info: cms.SignerInfo, name: str, *, signed: bool) -> bool:
    """Returns whether an attribute is present."""
    try:
        return any(
            True for _ in find_cms_attribute_iter(signer_info["signed_attrs" if signed else "unsigned_attrs"], name)
        )
    except UNREADABLE:
        return False


def is_baseline(signer_info: cms.SignerInfo) -> bool:
    """Returns whether the signer names its certificate in a signed attribute, as EN 319 122-1 clause 6.3 demands of B-B."""
    names = ("signing_certificate_v2", "signing_certificate")
    return any(has_attribute(signer_info, name, signed=True) for name in names)


def timestamp_tokens(signer_info: cms.SignerInfo, *, signed: bool) -> list[cms.SignedData]:
    """Returns content (signed) or signature (unsigned) time-stamp tokens, at most `MAX_TIMESTAMPS`."""
    try:
        found = []
        for token in extract_tst_data_iter(signer_info, signed=signed):
            found.append(token)
            if len(found) >= MAX_TIMESTAMPS:
                break
    except UNREADABLE:
        return []
    return found


def adobe_revocation(signer_info: cms.SignerInfo, evidence: Evidence) -> bool:
    """Takes the revocation values of the Adobe signed attribute into the evidence; returns whether there were any."""
    try:
        archive = find_unique_cms_attribute(signer_info["signed_attrs"], "adobe_revocation_info_archival")
        for crl in archive["crl"] or ():
            evidence.add_crl(crl.dump())
        for response in archive["ocsp"] or ():
            evidence.add_ocsp(response.dump())
    except (NonexistentAttributeError, MultivaluedAttributeError):
        return False
    except UNREADABLE as exc:
        evidence.refused.append(f"revocation attribute: {exc}"[:300])
        return False
    return True


def token_time(token: cms.SignedData) -> datetime | None:
    """Returns the time in a time-stamp token, None when it holds no TSTInfo."""
    try:
        content = token["encap_content_info"]["content"]
        info = content.parsed if isinstance(content, core.ParsableOctetString) else None
        moment = info["gen_time"].native if isinstance(info, tsp.TSTInfo) else None
    except UNREADABLE:
        return None
    return moment if isinstance(moment, datetime) and moment.tzinfo else None


def imprint_matches(token: cms.SignedData, digest_of: Callable[[str], bytes]) -> bool:
    """Returns whether the token's message imprint is that of the stamped content."""
    try:
        imprint = token["encap_content_info"]["content"].parsed["message_imprint"]
        expected = digest_of(str(imprint["hash_algorithm"]["algorithm"].native))
        return bool(imprint["hashed_message"].native == expected)
    except UNREADABLE:
        return False


def imprint_digest(token: cms.SignedData) -> str:
    """Returns the digest algorithm of a token's message imprint; call only once `token_time` found a TSTInfo."""
    return str(token["encap_content_info"]["content"].parsed["message_imprint"]["hash_algorithm"]["algorithm"].native)


def digest_of_bytes(content: bytes) -> Callable[[str], bytes]:
    """Returns a function from digest name to the digest of `content`."""
    return digest_stream_of(lambda: iter((content,)))


def encapsulated_digest(signed_data: cms.SignedData) -> Callable[[str], bytes]:
    """Returns a function from digest name to the digest of the content carried inside."""
    return digest_of_bytes(bytes(signed_data["encap_content_info"]["content"]))


def verify_countersignature(
    signer_info: cms.SignerInfo, certificate: x509.Certificate, countersigned: bytes
) -> tuple[Integrity, SubIndication | None]:
    """Verifies a counter-signature (RFC 5652 clause 11.4): signed attributes carry the digest of the countersigned signature value."""
    try:
        algorithm = str(signer_info["digest_algorithm"]["algorithm"].native)
        attributes = signer_info["signed_attrs"]
        claimed = find_unique_cms_attribute(attributes, "message_digest").native
        _verify(signer_info, certificate, attributes.untag().dump())
        return _integrity(intact=claimed == digest_of_bytes(countersigned)(algorithm), valid=True)
    except InvalidSignature:
        return _integrity(intact=True, valid=False)
    except (*UNREADABLE, NonexistentAttributeError, MultivaluedAttributeError):
        return Integrity.NOT_CHECKED, SubIndication.SIG_CONSTRAINTS_FAILURE


def dump_token(token: cms.SignedData) -> bytes:
    """Returns a time-stamp token as the ContentInfo that other tools expect in a file."""
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": token}).dump())
