"""Whether a time-stamp's certificate chains to a trust anchor at a given time (RFC 3161 2.3, RFC 5280 6).

Offline: revocation is judged from the lists carried in the token or handed in; nothing is fetched. A missing list
leaves the path good (soft fail), a list that names the certificate does not.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from asn1crypto import crl, pem, x509

from archive_service.evidence.checks import Check, failed, passed, undecided
from archive_service.evidence.errors import TimestampInvalid
from archive_service.evidence.timestamps import LIBRARY_ERRORS, TimestampToken, reading, usage_problem

PATH_STEP: Final = "RFC 3161 2.3 certificate path"
MAX_CERTIFICATES: Final = 64
"""Most certificates of one token that path building looks at: a hostile token must not make it search for ever."""


def load_anchors(content: bytes) -> tuple[x509.Certificate, ...]:
    """Returns the certificates of a PEM or DER file.

    Raises:
        TimestampInvalid: not certificates.
    """
    try:
        if pem.detect(content):
            return tuple(x509.Certificate.load(der, strict=True) for _, _, der in pem.unarmor(content, multiple=True))
        return (x509.Certificate.load(content, strict=True),)
    except (ValueError, TypeError) as exc:
        raise TimestampInvalid(f"not a file of certificates: {exc}") from exc


def check_trust(
    token: TimestampToken,
    signer: x509.Certificate,
    *,
    anchors: Sequence[x509.Certificate],
    at: datetime,
    subject: str = "",
    certificates: Iterable[x509.Certificate] = (),
    crls: Iterable[crl.CertificateList] = (),
) -> Check:
    """Checks usage and path of `signer` at `at`; INDETERMINATE without anchors or outside the validity."""
    try:
        with reading("the signer's certificate"):
            problem = usage_problem(signer)
    except TimestampInvalid as exc:
        problem = exc.message
    if problem:
        return failed(PATH_STEP, "EVIDENCE_TSA_USAGE", subject, detail=problem)
    if not anchors:
        return undecided(PATH_STEP, "EVIDENCE_TSA_NO_ANCHOR", subject, signer=signer.subject.human_friendly)
    others = (*token.certificates, *certificates)[:MAX_CERTIFICATES]
    return _checked_path(signer, tuple(anchors), others, (*token.crls, *crls), at, subject)


def _checked_path(
    signer: x509.Certificate,
    anchors: Sequence[x509.Certificate],
    others: Sequence[x509.Certificate],
    crls: Sequence[crl.CertificateList],
    at: datetime,
    subject: str,
) -> Check:
    from pyhanko_certvalidator import CertificateValidator, ValidationContext, errors

    name = signer.subject.human_friendly

    def validate(mode: str) -> None:
        context = ValidationContext(
            trust_roots=list(anchors),
            other_certs=[item for item in others if _readable(item)],
            crls=list(crls),
            moment=at,
            allow_fetching=False,
            revocation_mode=mode,
            retroactive_revinfo=True,
            weak_hash_algos=[],
        )
        usage: Any = CertificateValidator(signer, validation_context=context).async_validate_usage  # unannotated
        asyncio.run(usage(set(), {"time_stamping"}, extended_optional=False))

    try:
        validate("soft-fail")
        if crls:
            # the library's soft-fail looks at lists only for certificates that declare where theirs is; this one
            # looks at all, and only a list that says "revoked" counts: a missing or stale one leaves the path good
            with suppress(errors.InsufficientRevinfoError, errors.StaleRevinfoError):
                validate("require")
    except errors.RevokedError as exc:
        return failed(PATH_STEP, "EVIDENCE_TSA_REVOKED", subject, signer=name, detail=str(exc))
    except (errors.ExpiredError, errors.NotYetValidError) as exc:
        return undecided(PATH_STEP, "EVIDENCE_TSA_OUT_OF_VALIDITY", subject, at=at.isoformat(), detail=str(exc))
    except (errors.PathBuildingError, errors.InsufficientRevinfoError) as exc:
        return undecided(PATH_STEP, "EVIDENCE_TSA_NO_PATH", subject, signer=name, detail=str(exc))
    except (errors.PathError, errors.ValidationError, *LIBRARY_ERRORS) as exc:
        return failed(PATH_STEP, "EVIDENCE_TSA_PATH_INVALID", subject, signer=name, detail=str(exc))
    return passed(PATH_STEP, subject)


def _readable(certificate: x509.Certificate) -> bool:
    """Returns whether all of a certificate can be read; one that cannot is no part of a path."""
    try:
        certificate.native  # noqa: B018 - asn1crypto reads lazily
        certificate.key_identifier  # noqa: B018
    except LIBRARY_ERRORS:
        return False
    return True
