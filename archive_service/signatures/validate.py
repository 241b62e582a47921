"""The entry point: one file in, every signature in it reported; content never raises."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from archive_service.clock import require_aware
from archive_service.digests import Digest, digest_stream
from archive_service.signatures.policy import SignaturePolicy
from archive_service.signatures.report import SignatureCheck, SignatureReport
from archive_service.signatures.trust import TrustStore

if TYPE_CHECKING:
    from archive_service.signatures.chain import Circumstances

PDF_MIMES: Final = frozenset({"application/pdf", "application/x-pdf"})
XML_MIMES: Final = frozenset({"application/xml", "text/xml"})
MAX_REFUSED_LISTED: Final = 20
"""Refused pieces of material that are listed by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownExistence:
    """Proof from outside the file that something existed at a time: an archive's own receipt or evidence record (R037)."""

    digest: Digest
    """SHA-256 of the whole file, or of one DER object or signature value in it."""
    at: datetime
    source: str
    """What the proof is, for people."""


def validate_file(
    path: Path,
    *,
    mime: str,
    trust: TrustStore,
    at: datetime,
    policy: SignaturePolicy,
    siblings: Mapping[str, Path] | None = None,
    known_poes: Iterable[KnownExistence] = (),
) -> SignatureCheck:
    """Checks every signature in (or for) one file, offline.

    Args:
        path: the file.
        mime: its media type by content.
        trust: trust anchors, helper certificates and prefetched revocation information.
        at: the time to judge for, aware.
        policy: the signature policy.
        siblings: other files that detached signatures may speak of, by the name under which they are referenced.
        known_poes: proofs of existence from outside the file.

    Returns:
        Reports, material and what was not checked. Malformed content gives INDETERMINATE with the reason.

    Raises:
        OSError: the file cannot be read.
        ValueError: `at` has no time zone.
    """
    # heavy libraries are imported here so that importing this module stays cheap
    from archive_service.signatures.chain import Circumstances
    from archive_service.signatures.evidence import Evidence

    evidence = Evidence()
    for der in trust.intermediates:
        evidence.add_certificate(der)
    for der in trust.crls:
        evidence.add_crl(der)
    for der in trust.ocsps:
        evidence.add_ocsp(der)
    evidence.close_outside()
    proofs = tuple(known_poes)
    for proof in proofs:
        evidence.prove_digest(proof.digest.raw, proof.at)
    case = Circumstances(
        at=require_aware(at).astimezone(UTC),
        trust=trust,
        policy=policy,
        evidence=evidence,
        file_known_since=_file_known_since(path, proofs),
    )
    reports, not_checked = _dispatch(path, mime, case, siblings or {})
    refused = tuple(f"MATERIAL_REFUSED: {what}" for what in evidence.refused[:MAX_REFUSED_LISTED]) if reports else ()
    return SignatureCheck(
        reports=reports, material=evidence.as_files() if reports else {}, not_checked=(*not_checked, *refused)
    )


def _dispatch(
    path: Path, mime: str, case: "Circumstances", siblings: Mapping[str, Path]
) -> tuple[tuple[SignatureReport, ...], tuple[str, ...]]:
    """Hands the file to the reader of its format; a format without signatures gives nothing."""
    if mime in PDF_MIMES:
        from archive_service.signatures.pades import check_pdf

        outcome = check_pdf(path, case)
        return outcome.reports, outcome.not_checked
    if mime in XML_MIMES or mime.endswith("+xml"):
        from archive_service.signatures.xades import check_xml

        return check_xml(path, case, siblings), ()
    from archive_service.signatures.containers import CONTAINER_MIMES, check_container

    if mime.startswith(CONTAINER_MIMES):
        return check_container(path, case), ()
    from archive_service.signatures.cades import check_cms, looks_like_cms

    if looks_like_cms(path, mime):
        return check_cms(path, case, siblings), ()
    return (), ()


def _file_known_since(path: Path, proofs: tuple[KnownExistence, ...]) -> datetime | None:
    """Returns since when the whole file is proven to exist; the file is hashed only when there is a proof to match."""
    if not proofs:
        return None
    with path.open("rb") as stream:
        digest, _ = digest_stream(stream)
    return min((proof.at for proof in proofs if proof.digest == digest), default=None)


__all__ = ["KnownExistence", "validate_file"]
