"""What a verdict rests on: certificates, CRLs, OCSP responses, and since when each is proven to exist.

Proof of existence (EN 319 102-1 clause 5.6.2.3) is kept as the earliest proven time per SHA-256 digest; what has no proof exists
since the time judged. The same objects, as files, are the material that goes into the AIP (R032).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from asn1crypto import cms, crl, ocsp, x509
from pyhanko_certvalidator.ltv.types import ValidationTimingParams
from pyhanko_certvalidator.policy_decl import CertRevTrustPolicy
from pyhanko_certvalidator.revinfo.archival import (
    CRLContainer,
    OCSPContainer,
    RevinfoUsability,
    RevinfoUsabilityRating,
)

from archive_service.signatures.trust import parse_certificate

MAX_CERTIFICATES: Final = 200
"""Certificates taken from one file; an honest file carries under 20, a hostile one as many as it likes."""
MAX_REVOCATION_ITEMS: Final = 100
"""CRLs and OCSP responses taken from one file."""
MAX_CRL_BYTES: Final = 64 * 1024 * 1024
"""One CRL; the largest of public authorities are around 40 MB."""
MAX_OCSP_BYTES: Final = 256 * 1024
"""One OCSP response; honest ones are 2-10 KB."""
NO_NEXT_UPDATE_GRACE: Final = timedelta(hours=24)
"""An OCSP response without nextUpdate speaks for the day after its thisUpdate: responders leave it out when they answer live."""


class DatedOcsp(OCSPContainer):
    """An OCSP response judged by the rule of `usable`."""

    def usable_at(self, policy: CertRevTrustPolicy, timing_params: ValidationTimingParams) -> RevinfoUsability:
        """Returns whether the response speaks for the time judged."""
        del policy  # one rule for every certificate; see `usable`
        single = self.extract_single_response()
        if single is None:
            return RevinfoUsability(RevinfoUsabilityRating.UNCLEAR)
        return usable(single["this_update"].native, single["next_update"].native, timing_params)


class DatedCrl(CRLContainer):
    """A CRL judged by the rule of `usable`."""

    def usable_at(self, policy: CertRevTrustPolicy, timing_params: ValidationTimingParams) -> RevinfoUsability:
        """Returns whether the list speaks for the time judged."""
        del policy
        tbs = self.crl_data["tbs_cert_list"]
        return usable(tbs["this_update"].native, tbs["next_update"].native, timing_params)


def usable(
    this_update: datetime | None, next_update: datetime | None, timing_params: ValidationTimingParams
) -> RevinfoUsability:
    """Returns whether revocation information speaks for the time judged (EN 319 102-1 clause 5.2.5.4).

    It does when it was issued at or after that time (a later statement about an earlier status) or when the time lies within its
    stated validity.
    """
    if this_update is None:
        return RevinfoUsability(RevinfoUsabilityRating.UNCLEAR)
    at = timing_params.validation_time
    last = max(next_update or this_update + NO_NEXT_UPDATE_GRACE, this_update) + timing_params.time_tolerance
    if at <= last:
        return RevinfoUsability(RevinfoUsabilityRating.OK)
    return RevinfoUsability(RevinfoUsabilityRating.STALE, last_usable_at=last, compared_to=at)


@lru_cache(maxsize=256)
def parse_crl(der: bytes) -> crl.CertificateList:
    """Returns a parsed CRL; cached because one CRL of an authority comes with thousands of files.

    Raises:
        ValueError: not a CRL.
    """
    parsed = crl.CertificateList.load(der)
    _ = (parsed.issuer.hashable, parsed["tbs_cert_list"]["this_update"].native)
    return parsed


@lru_cache(maxsize=1024)
def parse_ocsp(der: bytes) -> ocsp.OCSPResponse:
    """Returns a parsed OCSP response.

    Raises:
        ValueError: not a successful basic OCSP response.
    """
    parsed = ocsp.OCSPResponse.load(der)
    if parsed["response_status"].native != "successful":
        raise ValueError("not a successful OCSP response")
    if parsed["response_bytes"]["response_type"].native != "basic_ocsp_response":
        raise ValueError("not a basic OCSP response")
    _ = [single["this_update"].native for single in parsed.basic_ocsp_response["tbs_response_data"]["responses"]]
    return parsed


@lru_cache(maxsize=256)
def revoked_serials(der: bytes) -> Mapping[int, tuple[datetime, str | None]]:
    """Returns serial -> (revocation time, reason) of a CRL, read once per list."""
    entries = parse_crl(der)["tbs_cert_list"]["revoked_certificates"]
    return {
        entry["user_certificate"].native: (
            entry["revocation_date"].native,
            entry.crl_reason_value.native if entry.crl_reason_value is not None else None,
        )
        for entry in entries or ()
    }


@dataclass(slots=True)
class Evidence:
    """The validation material at hand while one file is judged. Mutable while it is gathered."""

    certificates: dict[bytes, None] = field(default_factory=dict)
    """DER -> nothing; a dict keeps order and drops duplicates."""
    crls: dict[bytes, None] = field(default_factory=dict)
    ocsps: dict[bytes, None] = field(default_factory=dict)
    tokens: dict[bytes, None] = field(default_factory=dict)
    """DER of time-stamp tokens."""
    outside: set[bytes] = field(default_factory=set)
    """Objects that did not come with the file: the file's age says nothing of theirs."""
    revocation_carried: set[bytes] = field(default_factory=set)
    """CRLs and OCSP responses that came with the file, also those that were at hand before."""
    refused: list[str] = field(default_factory=list)
    """What could not be read or was over a limit."""
    _since: dict[bytes, datetime] = field(default_factory=dict)

    def add_certificate(self, der: bytes) -> None:
        """Takes a certificate, unless malformed or over the limit."""
        self._add(self.certificates, der, MAX_CERTIFICATES, "certificate")

    def add_crl(self, der: bytes) -> None:
        """Takes a CRL, unless malformed or over a limit."""
        if len(der) > MAX_CRL_BYTES:
            self.refused.append(f"CRL of {len(der)} bytes")
            return
        self._add(self.crls, der, MAX_REVOCATION_ITEMS, "CRL")

    def add_ocsp(self, der: bytes) -> None:
        """Takes an OCSP response and the certificates in it, unless malformed or over a limit."""
        if len(der) > MAX_OCSP_BYTES:
            self.refused.append(f"OCSP response of {len(der)} bytes")
            return
        self._add(self.ocsps, der, MAX_REVOCATION_ITEMS, "OCSP response")
        if der in self.ocsps:
            for certificate in parse_ocsp(der).basic_ocsp_response["certs"] or ():
                self.add_certificate(certificate.dump())

    def close_outside(self) -> None:
        """Marks all that is held as not come with the file; what is added from here on came with it."""
        self.outside.update((*self.certificates, *self.crls, *self.ocsps))
        self.revocation_carried.clear()

    def _add(self, target: dict[bytes, None], der: bytes, limit: int, what: str) -> None:
        if der in target:
            self._carried(target, der)
            return
        if len(target) >= limit:
            self.refused.append(f"more than {limit} of kind {what}")
            return
        try:
            {"certificate": parse_certificate, "CRL": parse_crl, "OCSP response": parse_ocsp}[what](der)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as exc:
            self.refused.append(f"{what}: {str(exc)[:200]}")
            return
        target[der] = None
        self._carried(target, der)

    def _carried(self, target: dict[bytes, None], der: bytes) -> None:
        if target is not self.certificates:
            self.revocation_carried.add(der)

    def add_signed_data(self, signed_data: cms.SignedData) -> None:
        """Takes certificates and revocation values out of a CMS structure."""
        for choice in signed_data["certificates"] or ():
            if choice.name == "certificate":
                self.add_certificate(choice.chosen.dump())
        for choice in signed_data["crls"] or ():
            if isinstance(choice.chosen, crl.CertificateList):
                self.add_crl(choice.chosen.dump())
            elif choice.name == "other" and choice.chosen["other_rev_info_format"].native == "ocsp_response":
                self.add_ocsp(choice.chosen["other_rev_info"].dump())

    def prove(self, content: bytes, since: datetime) -> None:
        """Registers that `content` existed at `since`; only ever keeps the earliest time."""
        self.prove_digest(hashlib.sha256(content).digest(), since)

    def prove_digest(self, digest: bytes, since: datetime) -> None:
        """Registers that the object of SHA-256 `digest` existed at `since`."""
        known = self._since.get(digest)
        if known is None or since < known:
            self._since[digest] = since

    def exists_since(self, content: bytes, at: datetime) -> datetime:
        """Returns the earliest proven time of `content`, `at` when there is no proof."""
        return min(self._since.get(hashlib.sha256(content).digest(), at), at)

    def proofs(self) -> Iterable[tuple[bytes, datetime]]:
        """Returns every proof as (digest, time)."""
        return self._since.items()

    def as_files(self) -> dict[str, bytes]:
        """Returns the material as files named by content, for the AIP."""
        groups = (("cer", self.certificates), ("crl", self.crls), ("ocsp", self.ocsps), ("tst", self.tokens))
        return {f"{hashlib.sha256(der).hexdigest()}.{suffix}": der for suffix, group in groups for der in sorted(group)}


def material_name(der: bytes, suffix: str) -> str:
    """Returns the file name under which an object is kept in the material."""
    return f"{hashlib.sha256(der).hexdigest()}.{suffix}"


def stated_for(der: bytes, certificate: x509.Certificate) -> datetime | None:
    """Returns the thisUpdate of an OCSP response's statement about the certificate's serial number, None when it has none."""
    for single in parse_ocsp(der).basic_ocsp_response["tbs_response_data"]["responses"]:
        if single["cert_id"]["serial_number"].native == certificate.serial_number:
            stated: datetime = single["this_update"].native
            return stated
    return None
