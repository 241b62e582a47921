"""Revocation status of one certificate, from all evidence at hand: one authentic statement that it was revoked is enough.

pyHanko accepts the first good answer it finds; here every authentic list and response is asked, so that a good answer can never
hide a later bad one, and so that the report can name the evidence used (R032).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from asn1crypto import algos, keys, ocsp, x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from pyhanko_certvalidator.errors import ValidationError
from pyhanko_certvalidator.sig_validate import DEFAULT_SIGNATURE_VALIDATOR

from archive_service.signatures.evidence import Evidence, material_name, parse_crl, parse_ocsp, revoked_serials
from archive_service.signatures.report import RevocationState, RevocationSummary
from archive_service.signatures.trust import parse_certificate

_NOT_COMPUTABLE: Final = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    OverflowError,
)
"""What pyHanko raises when a key is not of the algorithm's kind (AssertionError) or parameters are malformed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What one CRL or OCSP response says of a certificate."""

    evidence: str
    """File name in the material."""
    this_update: datetime
    next_update: datetime | None
    revoked_at: datetime | None = None
    reason: str | None = None
    unknown: bool = False


def statements(certificate: x509.Certificate, issuer: x509.Certificate, evidence: Evidence) -> list[Statement]:
    """Returns every authentic statement in the evidence about `certificate`, oldest first."""
    found = [*_from_crls(certificate, issuer, evidence), *_from_ocsps(certificate, issuer, evidence)]
    return sorted(found, key=lambda statement: statement.this_update)


def summary(certificate: x509.Certificate, found: list[Statement], at: datetime) -> RevocationSummary:
    """Returns the revocation status at `at` for the report."""
    revoked = min(
        (s for s in found if s.revoked_at and s.revoked_at <= at), key=lambda s: s.revoked_at or at, default=None
    )
    names = tuple(statement.evidence for statement in found)
    if revoked:
        return RevocationSummary(
            state=RevocationState.REVOKED, revoked_at=revoked.revoked_at, reason=revoked.reason, evidence=names
        )
    later = next((s for s in found if s.revoked_at), None)
    if any(not statement.unknown for statement in found):
        return RevocationSummary(
            state=RevocationState.GOOD,
            revoked_at=later.revoked_at if later else None,
            reason=later.reason if later else None,
            evidence=names,
        )
    declared = bool(certificate.crl_distribution_points or certificate.ocsp_urls)
    state = RevocationState.UNKNOWN if declared or found else RevocationState.NOT_DECLARED
    return RevocationSummary(state=state, evidence=names)


def _from_crls(certificate: x509.Certificate, issuer: x509.Certificate, evidence: Evidence) -> Iterable[Statement]:
    for der in evidence.crls:
        crl = parse_crl(der)
        if crl.issuer != certificate.issuer or not _crl_authentic(der, issuer.dump()):
            continue
        entry = revoked_serials(der).get(certificate.serial_number)
        tbs = crl["tbs_cert_list"]
        yield Statement(
            evidence=material_name(der, "crl"),
            this_update=tbs["this_update"].native,
            next_update=tbs["next_update"].native,
            revoked_at=entry[0] if entry and entry[1] != "remove_from_crl" else None,
            reason=entry[1] if entry else None,
        )


def _from_ocsps(certificate: x509.Certificate, issuer: x509.Certificate, evidence: Evidence) -> Iterable[Statement]:
    for der in evidence.ocsps:
        for single in parse_ocsp(der).basic_ocsp_response["tbs_response_data"]["responses"]:
            if not _names(single["cert_id"], certificate, issuer) or not _ocsp_authentic(der, issuer.dump()):
                continue
            status = single["cert_status"]
            revoked = status.chosen if status.name == "revoked" else None
            yield Statement(
                evidence=material_name(der, "ocsp"),
                this_update=single["this_update"].native,
                next_update=single["next_update"].native,
                revoked_at=revoked["revocation_time"].native if revoked is not None else None,
                reason=revoked["revocation_reason"].native if revoked is not None else None,
                unknown=status.name == "unknown",
            )


def _names(cert_id: ocsp.CertId, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if cert_id["serial_number"].native != certificate.serial_number:
        return False
    try:
        algorithm = cert_id["hash_algorithm"]["algorithm"].native
        name_hash = hashlib.new(algorithm, issuer.subject.dump()).digest()
        key_hash = hashlib.new(
            algorithm, bytes(issuer["tbs_certificate"]["subject_public_key_info"]["public_key"])
        ).digest()
    except ValueError:
        return False
    return bool(cert_id["issuer_name_hash"].native == name_hash and cert_id["issuer_key_hash"].native == key_hash)


def verifies(signature: bytes, content: bytes, key: keys.PublicKeyInfo, algorithm: algos.SignedDigestAlgorithm) -> bool:
    """Returns whether a raw signature over `content` verifies; an algorithm that cannot be computed does not."""
    try:
        DEFAULT_SIGNATURE_VALIDATOR.validate_signature(signature, content, key, algorithm)
    except (InvalidSignature, UnsupportedAlgorithm, ValidationError, *_NOT_COMPUTABLE):
        return False
    return True


@lru_cache(maxsize=4096)
def issued_by(der: bytes, issuer_der: bytes) -> bool:
    """Returns whether the issuer's key signed the certificate; cached because the same chains come with every file."""
    certificate, issuer = parse_certificate(der), parse_certificate(issuer_der)
    return verifies(
        certificate.signature,
        certificate["tbs_certificate"].dump(),
        issuer.public_key,
        certificate["signature_algorithm"],
    )


@lru_cache(maxsize=512)
def _crl_authentic(der: bytes, issuer_der: bytes) -> bool:
    crl = parse_crl(der)
    key = parse_certificate(issuer_der).public_key
    return verifies(crl.signature, crl["tbs_cert_list"].dump(), key, crl["signature_algorithm"])


@lru_cache(maxsize=2048)
def _ocsp_authentic(der: bytes, issuer_der: bytes) -> bool:
    """Returns whether the issuer, or a responder it appointed (RFC 6960 clause 4.2.2.2), signed the response."""
    basic = parse_ocsp(der).basic_ocsp_response
    candidates: list[Any] = [parse_certificate(issuer_der)]
    for responder in basic["certs"] or ():
        extended = responder.extended_key_usage_value
        if extended is not None and "ocsp_signing" in extended.native and issued_by(responder.dump(), issuer_der):
            candidates.append(responder)
    content, signature = basic["tbs_response_data"].dump(), basic["signature"].native
    return any(verifies(signature, content, c.public_key, basic["signature_algorithm"]) for c in candidates)
