"""RFC 3161 time-stamps: requests, replies, tokens, and their verification (RFC 3161, RFC 5652, RFC 5816).

Replies are checked strictly against the request, but signatures are verified tolerant of set order, because tokens
made by OpenSSL are not in strict DER order. Trust (the certificate path) is a check of its own: a token can be intact
and yet not trusted.

Not here: the network (tsa_client.py), Evidence Records (evidence_record.py).
"""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from asn1crypto import cms, core, crl, tsp, x509

from archive_service.clock import require_aware
from archive_service.digests import Digest, DigestAlgorithm
from archive_service.evidence.algorithms import HASH_NAMES
from archive_service.evidence.cms_signature import AlgorithmUnsupported, verify_signed_attributes
from archive_service.evidence.der import first_value
from archive_service.evidence.errors import EvidenceInvalid, TimestampInvalid, TimestampRefused

MAX_REPLY_BYTES: Final = 256 * 1024
"""Largest reply that is read: a token with chain and CRLs has 5-50 KB; more is not a time-stamp."""
NONCE_BITS: Final = 63
"""Positive in every implementation's signed 64-bit integer, enough against replay (RFC 3161 section 2.4.1)."""
CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far a reply's time may lie from ours: more means that one of the two clocks is wrong."""
ASN1_NAMES: Final = {
    DigestAlgorithm.SHA_256: "sha256",
    DigestAlgorithm.SHA_384: "sha384",
    DigestAlgorithm.SHA_512: "sha512",
}
_GRANTED: Final = ("granted", "granted_with_mods")
LIBRARY_ERRORS: Final = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)
"""What asn1crypto raises on malformed input, lazily, wherever a field is first touched."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns what asn1crypto raises on malformed bytes into `TimestampInvalid`.

    Raises:
        TimestampInvalid: the bytes read inside are malformed.
    """
    try:
        yield
    except TimestampInvalid:
        raise
    except (EvidenceInvalid, *LIBRARY_ERRORS) as exc:
        raise TimestampInvalid(f"{what} is malformed: {type(exc).__name__} {exc}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampRequest:
    """What was asked, as it must come back."""

    digest: Digest
    nonce: int
    policy: str | None
    """Policy OID asked for, dotted; None leaves it to the authority."""

    def to_der(self) -> bytes:
        """Returns the TimeStampReq, which always asks for the certificate."""
        fields: dict[str, Any] = {  # asn1crypto's native structures
            "version": "v1",
            "message_imprint": {
                "hash_algorithm": {"algorithm": ASN1_NAMES[self.digest.algorithm]},
                "hashed_message": self.digest.raw,
            },
            "nonce": self.nonce,
            "cert_req": True,
        }
        if self.policy is not None:
            fields["req_policy"] = self.policy
        return bytes(tsp.TimeStampReq(fields).dump())


def new_request(digest: Digest, *, policy: str | None = None) -> TimestampRequest:
    """Returns a request with a fresh nonce."""
    return TimestampRequest(digest=digest, nonce=secrets.randbits(NONCE_BITS) | 1, policy=policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampToken:
    """A time-stamp token, parsed. Nothing is verified by parsing."""

    encoded: bytes
    """The ContentInfo as received."""
    gen_time: datetime
    hash_name: str
    """Digest algorithm of the imprint by hashlib's name."""
    imprint: bytes
    policy: str
    serial_number: int
    nonce: int | None
    certificates: tuple[x509.Certificate, ...]
    crls: tuple[crl.CertificateList, ...]
    signer: x509.Certificate | None
    """The certificate the signer identifier names; None when the token does not carry it."""

    @property
    def expires_at(self) -> datetime | None:
        """End of the signer certificate's validity, when the token carries it."""
        return None if self.signer is None else self.signer.not_valid_after

    def signed_data(self) -> cms.SignedData:
        """Returns the CMS structure."""
        return cms.ContentInfo.load(self.encoded, strict=True)["content"]


def parse_token(content: bytes) -> TimestampToken:
    """Returns a time-stamp token.

    Raises:
        TimestampInvalid: not an RFC 3161 token.
    """
    with reading("the time-stamp token"):
        info = cms.ContentInfo.load(content, strict=True)
        if info["content_type"].native != "signed_data":
            raise TimestampInvalid(f"a time-stamp token is signed data, not {info['content_type'].native}")
        signed: cms.SignedData = info["content"]
        encapsulated = signed["encap_content_info"]
        if encapsulated["content_type"].native != "tst_info" or not encapsulated["content"]:
            raise TimestampInvalid(f"signed data of type {encapsulated['content_type'].native} is no time-stamp")
        return _token(content, signed, encapsulated["content"].parsed)


def _token(content: bytes, signed: cms.SignedData, info: tsp.TSTInfo) -> TimestampToken:
    if info["version"].native != "v1":
        raise TimestampInvalid(f"TSTInfo version {info['version'].native}")
    if len(signed["signer_infos"]) != 1:
        raise TimestampInvalid(f"a token has one signature, not {len(signed['signer_infos'])} (RFC 3161 2.4.2)")
    imprint = info["message_imprint"]
    hash_name, hashed = imprint["hash_algorithm"]["algorithm"].native, imprint["hashed_message"].native
    if hash_name in HASH_NAMES and len(hashed) != hashlib.new(hash_name).digest_size:
        raise TimestampInvalid(f"an imprint of {len(hashed)} bytes is no {hash_name} digest")
    certificates = _certificates(signed)
    gen_time = info["gen_time"].native
    return TimestampToken(
        encoded=content,
        gen_time=require_aware(gen_time),
        hash_name=hash_name,
        imprint=hashed,
        policy=info["policy"].dotted,
        serial_number=info["serial_number"].native,
        nonce=info["nonce"].native,
        certificates=certificates,
        crls=_crls(signed),
        signer=find_signer(signed["signer_infos"][0], certificates),
    )


def _certificates(signed: cms.SignedData) -> tuple[x509.Certificate, ...]:
    choices = signed["certificates"]
    if isinstance(choices, core.Void):
        return ()
    return tuple(choice.chosen for choice in choices if choice.name == "certificate")


def _crls(signed: cms.SignedData) -> tuple[crl.CertificateList, ...]:
    choices = signed["crls"]
    if isinstance(choices, core.Void):
        return ()
    return tuple(choice.chosen for choice in choices if choice.name == "certificate_list")


def find_signer(signer_info: cms.SignerInfo, certificates: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """Returns the certificate that the signer identifier names, when it is among `certificates`."""
    identifier = signer_info["sid"]
    for certificate in certificates:
        if identifier.name == "subject_key_identifier":
            if certificate.key_identifier == identifier.chosen.native:
                return certificate
        elif (
            certificate.issuer == identifier.chosen["issuer"]
            and certificate.serial_number == identifier.chosen["serial_number"].native
        ):
            return certificate
    return None


# ---------------------------------------------------------------- replies


def parse_reply(content: bytes, request: TimestampRequest, *, at: datetime) -> TimestampToken:
    """Returns the token of a reply that answers `request`, its signature verified (RFC 3161 section 2.2, 2.4.2).

    The certificate path is not judged here; the caller does it with `token_trust.check_trust`.

    Args:
        content: TimeStampResp.
        request: What was asked.
        at: Present time; the token's time may differ by `CLOCK_TOLERANCE`.

    Raises:
        TimestampRefused: the authority granted no token.
        TimestampInvalid: malformed, or not the answer to this request, or the signature is false.
    """
    if len(content) > MAX_REPLY_BYTES:
        raise TimestampInvalid(f"a reply of {len(content)} bytes; at most {MAX_REPLY_BYTES} are read")
    with reading("the time-stamp reply"):
        # asn1crypto demands a token even in a refusal, so the status is read on its own first
        status = tsp.PKIStatusInfo.load(first_value(core.Sequence.load(content, strict=True).contents))
        _require_granted(status)
        reply = tsp.TimeStampResp.load(content, strict=True)
        encoded = reply["time_stamp_token"].dump()
    token = parse_token(encoded)
    _require_answer(token, request, at)
    verify_token_signature(token)
    require_timestamping_usage(token)
    return token


def _require_granted(status: tsp.PKIStatusInfo) -> None:
    name = status["status"].native
    if name in _GRANTED:
        return
    texts = status["status_string"].native or []
    failure = ", ".join(sorted(status["fail_info"].native or []))
    raise TimestampRefused(f"status {name}: {'; '.join(map(str, texts))[:500]} {failure}".strip(), status=str(name))


def _require_answer(token: TimestampToken, request: TimestampRequest, at: datetime) -> None:
    if (token.hash_name, token.imprint) != (ASN1_NAMES[request.digest.algorithm], request.digest.raw):
        raise TimestampInvalid(f"the token is over {token.hash_name}:{token.imprint.hex()}, asked for {request.digest}")
    if token.nonce != request.nonce:
        raise TimestampInvalid(f"the token's nonce is {token.nonce}, sent was {request.nonce}: a replayed reply")
    if request.policy is not None and token.policy != request.policy:
        raise TimestampInvalid(f"the token's policy is {token.policy}, asked for {request.policy}")
    if token.signer is None:
        raise TimestampInvalid("the token does not carry the signer's certificate although it was asked for")
    if abs(token.gen_time - require_aware(at)) > CLOCK_TOLERANCE:
        raise TimestampInvalid(f"the token's time {token.gen_time.isoformat()} is far from ours, {at.isoformat()}")


# ---------------------------------------------------------------- tokens


def verify_token_signature(
    token: TimestampToken, extra_certificates: Sequence[x509.Certificate] = ()
) -> x509.Certificate:
    """Checks the signature over the TSTInfo and the signer's binding, and returns the signer's certificate.

    Steps (RFC 3161 2.4.2, RFC 5652 5.4, RFC 5816):
      1. the signer's certificate is known
      2. content type, message digest and signature are right (cms_signature.py)
      3. the signing-certificate attribute names exactly that certificate

    Raises:
        TimestampInvalid: a step fails.
        TimestampUncheckable: the certificate is not at hand, or the algorithm is not supported.
    """
    with reading("the time-stamp token"):
        signed = token.signed_data()
        signer_info = signed["signer_infos"][0]
        signer = token.signer or find_signer(signer_info, extra_certificates)
        if signer is None:
            raise TimestampUncheckable("the token does not carry the signer's certificate")
        try:
            verify_signed_attributes(signed, signer_info, signer)
        except AlgorithmUnsupported as exc:
            raise TimestampUncheckable(exc.message) from exc
        except EvidenceInvalid as exc:
            raise TimestampInvalid(f"signature by {signer.subject.human_friendly}: {exc.message}") from exc
        _require_signing_certificate(signer_info, signer)
    return signer


def signed_digest(token: TimestampToken) -> str:
    """Returns the digest algorithm of a token's signature."""
    return str(token.signed_data()["signer_infos"][0]["digest_algorithm"]["algorithm"].native)


class TimestampUncheckable(TimestampInvalid):
    """A time-stamp's signature cannot be checked: the certificate is not at hand or the algorithm is not supported."""

    code = "TIMESTAMP_UNCHECKABLE"


def _require_signing_certificate(signer_info: cms.SignerInfo, signer: x509.Certificate) -> None:
    for attribute in signer_info["signed_attrs"]:
        name = attribute["type"].native
        if name == "signing_certificate_v2":
            named = attribute["values"][0]["certs"][0]
            hash_name = named["hash_algorithm"]["algorithm"].native
        elif name == "signing_certificate":
            named, hash_name = attribute["values"][0]["certs"][0], "sha1"
        else:
            continue
        if hash_name not in HASH_NAMES:
            raise TimestampInvalid(f"signing-certificate attribute with {hash_name}")
        if hashlib.new(hash_name, signer.dump(), usedforsecurity=False).digest() == named["cert_hash"].native:
            return
        raise TimestampInvalid("the signing-certificate attribute names another certificate")
    raise TimestampInvalid("no signing-certificate attribute (RFC 3161 2.4.2)")


def require_timestamping_usage(token: TimestampToken) -> None:
    """Checks that the signer's certificate is for time-stamping, alone and critical (RFC 3161 section 2.3).

    Raises:
        TimestampInvalid: it is not.
    """
    if token.signer is not None and (problem := usage_problem(token.signer)):
        raise TimestampInvalid(problem)


def usage_problem(certificate: x509.Certificate) -> str:
    """Returns what is wrong with the extended key usage; empty when it is as RFC 3161 section 2.3 demands."""
    usage = certificate.extended_key_usage_value
    if usage is None:
        return "the certificate has no extended key usage"
    if usage.native != ["time_stamping"]:
        return f"the extended key usage is {', '.join(usage.native)}, not time-stamping alone"
    if "extended_key_usage" not in certificate.critical_extensions:
        return "the extended key usage is not critical"
    return ""
