"""Live revocation and issuer information, on request only: OCSP, CRL and AIA over HTTP, bounded in time, size and number.

Validation itself never opens a connection. An operator who allows it hands a `Fetcher` to `validate_with_fetching`: the file is
judged offline first; where status or issuer was missing, what the certificates point at is fetched and the file is judged again.
Everything fetched is in the material and its file names are listed in `not_checked` as `FETCHED: ...`, so that a reader sees what
came from the network. The URLs come from untrusted certificates: only http and https to public addresses, or to hosts the operator
allows, are opened, and redirects are not followed.
"""

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from cryptography import x509 as pyca_x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from archive_service import clock
from archive_service.signatures.evidence import MAX_OCSP_BYTES, material_name, stated_for
from archive_service.signatures.material import revalidate
from archive_service.signatures.policy import SignaturePolicy
from archive_service.signatures.report import Indication, SignatureCheck, SubIndication
from archive_service.signatures.trust import TrustStore, certificates_in, parse_certificate
from archive_service.signatures.validate import KnownExistence, validate_file

TIMEOUT_S: Final = 10.0
"""One request; an authority that takes longer counts as not reachable."""
MAX_FETCHED_BYTES: Final = 48 * 1024 * 1024
"""One answer; the largest public CRLs are around 40 MB."""
MAX_REQUESTS: Final = 20
"""Requests made for one file."""
CACHE_S: Final = 600.0
"""How long an answer is reused: one authority's CRL serves every file of a batch."""

_WANTED: Final = frozenset({SubIndication.TRY_LATER, SubIndication.NO_CERTIFICATE_CHAIN_FOUND})


@dataclass(slots=True)
class Fetcher:
    """Fetches over HTTP with limits and a cache; one per process, not shared between threads."""

    allowed_hosts: frozenset[str] = frozenset()
    """Hosts that may be contacted although their address is not public (a status service in the own network)."""
    timeout_s: float = TIMEOUT_S
    max_bytes: int = MAX_FETCHED_BYTES
    failures: list[str] = field(default_factory=list)
    """What could not be fetched and why, in order."""
    _cache: dict[tuple[str, bytes], tuple[float, bytes]] = field(default_factory=dict)

    def get(self, url: str, *, body: bytes = b"", content_type: str = "") -> bytes | None:
        """Returns the answer to a GET, or to a POST when there is a body; None with an entry in `failures` otherwise."""
        known = self._cache.get((url, body))
        if known and clock.monotonic_s() - known[0] < CACHE_S:
            return known[1]
        refused = self._refused(url)
        if refused:
            self.failures.append(f"{url[:200]}: {refused}")
            return None
        try:
            content = self._request(url, body, content_type)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as exc:
            self.failures.append(f"{url[:200]}: {type(exc).__name__}: {exc}"[:400])
            return None
        self._cache[url, body] = (clock.monotonic_s(), content)
        return content

    def _request(self, url: str, body: bytes, content_type: str) -> bytes:
        started = clock.monotonic_s()
        method, headers = ("POST", {"Content-Type": content_type}) if body else ("GET", {})
        found = bytearray()
        with (
            httpx.Client(timeout=self.timeout_s, follow_redirects=False, trust_env=False) as client,
            client.stream(method, url, content=body or None, headers=headers) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"status {response.status_code}")
            for chunk in response.iter_bytes():
                found += chunk
                if len(found) > self.max_bytes:
                    raise ValueError(f"larger than {self.max_bytes} bytes")
                if clock.monotonic_s() - started > self.timeout_s:
                    raise ValueError(f"longer than {self.timeout_s:g} s")
        return bytes(found)

    def _refused(self, url: str) -> str:
        """Returns why a URL is not opened, "" when it is."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as exc:
            return str(exc)
        if parts.scheme not in {"http", "https"} or not host:
            return "not http or https"
        if host in self.allowed_hosts:
            return ""
        try:
            addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        except (OSError, UnicodeError) as exc:
            return f"host not found: {exc}"
        inside = [address for address in addresses if not ipaddress.ip_address(address.partition("%")[0]).is_global]
        return f"address {inside[0]} is not public" if inside else ""


def validate_with_fetching(  # the arguments of validate_file and a fetcher
    path: Path,
    *,
    mime: str,
    trust: TrustStore,
    at: datetime,
    policy: SignaturePolicy,
    fetcher: Fetcher,
    siblings: Mapping[str, Path] | None = None,
    known_poes: Iterable[KnownExistence] = (),
) -> SignatureCheck:
    """Judges a file offline and, where status or issuer was missing, once more with what was fetched.

    Raises:
        OSError: the file cannot be read.
    """
    known = tuple(known_poes)
    first = validate_file(path, mime=mime, trust=trust, at=at, policy=policy, siblings=siblings, known_poes=known)
    if not lacks_evidence(first):
        return first
    before = len(fetcher.failures)
    fetched = fetch_material(first.material, trust, fetcher)
    notes = tuple(f"FETCH_FAILED: {failure}" for failure in fetcher.failures[before:])
    if not fetched:
        return replace(first, not_checked=(*first.not_checked, *notes))
    again = revalidate(
        path, mime=mime, trust=trust, at=at, policy=policy, material=fetched, siblings=siblings, known_poes=known
    )
    marks = tuple(f"FETCHED: {name}" for name in sorted(fetched))
    return replace(again, not_checked=(*again.not_checked, *marks, *notes))


def lacks_evidence(check: SignatureCheck) -> bool:
    """Returns whether status or issuer is missing for something in the file, so that fetching may help."""
    open_reports = [report for report in check.reports if report.indication is Indication.INDETERMINATE]
    stamps = [stamp for report in check.reports for stamp in report.timestamps]
    return any(report.sub_indication in _WANTED for report in open_reports) or any(
        stamp.sub_indication in _WANTED for stamp in stamps
    )


def fetch_material(material: Mapping[str, bytes], trust: TrustStore, fetcher: Fetcher) -> dict[str, bytes]:
    """Fetches issuers, CRLs and OCSP responses for the certificates in `material`; malformed answers are dropped."""
    known = dict.fromkeys([der for name, der in material.items() if name.endswith(".cer")])
    known |= dict.fromkeys([entry.der for entry in trust.anchors])
    pending, found, requests = list(known), dict[str, bytes](), 0
    while pending and requests < MAX_REQUESTS:
        der = pending.pop(0)
        certificate = parse_certificate(der)
        issuer = next((c for c in known if parse_certificate(c).subject == certificate.issuer and c != der), None)
        if issuer is None and certificate.subject != certificate.issuer:
            requests += 1
            for fetched in _issuers(der, fetcher):
                if fetched not in known:
                    known[fetched] = None
                    pending.append(fetched)
                    found[material_name(fetched, "cer")] = fetched
                    issuer = fetched
        if issuer is not None:
            requests += 1
            found |= _status(der, issuer, fetcher)
    return found


def _issuers(der: bytes, fetcher: Fetcher) -> list[bytes]:
    for url in _access_urls(der, AuthorityInformationAccessOID.CA_ISSUERS)[:1]:
        content = fetcher.get(url)
        try:
            return certificates_in(content)[:8] if content else []
        except (ValueError, TypeError, KeyError):
            fetcher.failures.append(f"{url[:200]}: not a certificate")
    return []


def _status(der: bytes, issuer: bytes, fetcher: Fetcher) -> dict[str, bytes]:
    """Returns an OCSP response, else a CRL, for one certificate."""
    for url in _access_urls(der, AuthorityInformationAccessOID.OCSP)[:1]:
        builder = ocsp.OCSPRequestBuilder().add_certificate(
            pyca_x509.load_der_x509_certificate(der),
            pyca_x509.load_der_x509_certificate(issuer),
            hashes.SHA1(),  # noqa: S303 - the hash responders know certificates by
        )
        request = builder.build().public_bytes(serialization.Encoding.DER)
        content = fetcher.get(url, body=request, content_type="application/ocsp-request")
        if content and _answers(content, der):
            return {material_name(content, "ocsp"): content}
    points = parse_certificate(der).crl_distribution_points
    urls = [point.url for point in points if point.url]
    for url in urls[:1]:
        content = fetcher.get(url)
        if content:
            return {material_name(content, "crl"): content}
    return {}


def _answers(content: bytes, der: bytes) -> bool:
    """Returns whether an OCSP answer can be read and speaks of the certificate asked about."""
    try:
        return len(content) <= MAX_OCSP_BYTES and stated_for(content, parse_certificate(der)) is not None
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def _access_urls(der: bytes, method: pyca_x509.ObjectIdentifier) -> list[str]:
    try:
        access = pyca_x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
            pyca_x509.AuthorityInformationAccess
        )
    except (ValueError, pyca_x509.ExtensionNotFound):
        return []
    return [
        description.access_location.value
        for description in access.value
        if description.access_method == method
        and isinstance(description.access_location, pyca_x509.UniformResourceIdentifier)
    ]
