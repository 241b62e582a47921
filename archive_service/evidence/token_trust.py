"""Whether a time-stamp's certificate chains to a trust anchor at a given time (RFC 3161 2.3, RFC 5280 6).

Offline: revocation is judged from the lists carried in the token or handed in; nothing is fetched. A missing list
leaves the path good (soft fail), a list that names the certificate does not.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from asn1crypto import crl, pem, x509

from archive_service.evidence.checks import Check, failed, passed, undecided
from archive_service.evidence.cms_signature import AlgorithmUnsupported, SignatureFalse
from archive_service.evidence.errors import TimestampInvalid
from archive_service.evidence.timestamps import LIBRARY_ERRORS, TimestampToken, reading, usage_problem

PATH_STEP: Final = "RFC 3161 2.3 certificate path"
MAX_CERTIFICATES: Final = 64
"""Most certificates of one token that path building looks at: a hostile token must not make it search for ever."""

_KEY_STAYED_SAFE: Final = frozenset({"affiliation_changed", "superseded", "cessation_of_operation"})
"""Revoked for these reasons, an authority's earlier time-stamps stay valid (RFC 3161 section 4 item 1). The clause has "unspecified" too,
which the library also says of a list that gives no reason, and then every time-stamp is invalid (item 2)."""


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
    """Checks usage and path of `signer` at `at`; INDETERMINATE without anchors, outside the validity, over keys too small."""
    try:
        with reading("the signer's certificate"):
            problem = usage_problem(signer)
    except TimestampInvalid as exc:
        problem = exc.message
    if problem:
        return failed(PATH_STEP, "EVIDENCE_TSA_USAGE", subject, detail=problem)
    if not anchors:
        return undecided(PATH_STEP, "EVIDENCE_TSA_NO_ANCHOR", subject, signer=signer.subject.human_friendly)
    path = _Path(
        token=token,
        signer=signer,
        anchors=tuple(anchors),
        others=(*token.certificates, *certificates)[:MAX_CERTIFICATES],
        crls=(*token.crls, *crls),
        at=at,
    )
    return _checked_path(path, subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    """What a certificate path is built and judged from."""

    token: TimestampToken
    signer: x509.Certificate
    anchors: Sequence[x509.Certificate]
    others: Sequence[x509.Certificate]
    crls: Sequence[crl.CertificateList]
    at: datetime

    def validate(self) -> None:
        """Builds and checks the path.

        Raises:
            ValidationError: the path library's; there is no path, or it is not good.
            AlgorithmUnsupported: a signature on it cannot be computed.
            SignatureFalse: a signature on it is not of its algorithm's form.
        """
        from pyhanko_certvalidator import errors

        try:
            self._validate("soft-fail", self.crls)
            if self.crls:
                # the library's soft-fail looks at lists only for certificates that declare where theirs is; this one
                # looks at all, and only a list that says "revoked" counts: a missing or stale one leaves the path good
                with suppress(errors.InsufficientRevinfoError, errors.StaleRevinfoError):
                    self._validate("require", self.crls)
        except errors.RevokedError as exc:
            stayed_safe = exc.is_ee_cert and exc.reason.native in _KEY_STAYED_SAFE
            if not stayed_safe or self.token.gen_time >= exc.revocation_dt:
                raise
            self._validate("soft-fail", ())

    def _validate(self, mode: str, lists: Sequence[crl.CertificateList]) -> None:
        from pyhanko_certvalidator import CertificateValidator, ValidationContext

        from archive_service.evidence.path_signatures import PathSignatures

        context = ValidationContext(
            trust_roots=list(self.anchors),
            other_certs=[item for item in self.others if _readable(item)],
            crls=list(lists),
            moment=self.at,
            allow_fetching=False,
            revocation_mode=mode,
            retroactive_revinfo=True,
            weak_hash_algos=[],
            signature_validator=PathSignatures(),
        )
        usage: Any = CertificateValidator(self.signer, validation_context=context).async_validate_usage  # unannotated
        asyncio.run(usage(set(), {"time_stamping"}, extended_optional=False))


def _checked_path(path: _Path, subject: str) -> Check:
    from pyhanko_certvalidator import errors

    name = path.signer.subject.human_friendly
    try:
        path.validate()
    except errors.RevokedError as exc:
        return failed(PATH_STEP, "EVIDENCE_TSA_REVOKED", subject, signer=name, detail=str(exc))
    except (errors.DisallowedAlgorithmError, AlgorithmUnsupported) as exc:
        return undecided(PATH_STEP, "EVIDENCE_TSA_ALGORITHM", subject, signer=name, detail=str(exc))
    except (errors.ExpiredError, errors.NotYetValidError) as exc:
        return undecided(PATH_STEP, "EVIDENCE_TSA_OUT_OF_VALIDITY", subject, at=path.at.isoformat(), detail=str(exc))
    except (errors.PathBuildingError, errors.InsufficientRevinfoError) as exc:
        return undecided(PATH_STEP, "EVIDENCE_TSA_NO_PATH", subject, signer=name, detail=str(exc))
    except (errors.PathError, errors.ValidationError, SignatureFalse, *LIBRARY_ERRORS) as exc:
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
