"""A test public-key infrastructure in the shape of the Vietnamese one: two trust schemes and one that nobody trusts.

State bodies and their officers sign with certificates of the public-service authority (NĐ 68/2024), citizens and
companies with certificates of licensed public authorities under the national root (NĐ 23/2025). Every key, serial
number and signature is derived from the seed, so the same seed and time give the same bytes. The keys are worthless by
design: they can be recomputed by anyone.
"""

import hashlib
import string
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from asn1crypto import algos, core, ocsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from archive_service.clock import require_aware

_CURVE: Final = ec.SECP256R1()
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of the P-256 group: a private key is a number below it (SEC 2, 2.4.2)."""

_ECDSA: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_SIGNER_USAGE: Final = ("digital_signature", "content_commitment")
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class Scheme(StrEnum):
    """Trust schemes (R031) and the one outside of them."""

    PUBLIC_SERVICE = "public_service"
    NATIONAL = "national"
    UNTRUSTED = "untrusted"


TRUSTED_SCHEMES: Final = (Scheme.PUBLIC_SERVICE, Scheme.NATIONAL)

_ROOT_NAMES: Final = {
    Scheme.PUBLIC_SERVICE: ("CA chuyên dùng công vụ gốc (THỬ NGHIỆM)", "Ban Cơ yếu Chính phủ (THỬ NGHIỆM)"),
    Scheme.NATIONAL: ("Vietnam National Root CA (THỬ NGHIỆM)", "Trung tâm Chứng thực điện tử quốc gia (THỬ NGHIỆM)"),
    Scheme.UNTRUSTED: ("Tự Ký Root CA (THỬ NGHIỆM)", "Công ty TNHH Chữ ký Không Rõ Nguồn Gốc"),
}
_ISSUING_NAMES: Final = {
    Scheme.PUBLIC_SERVICE: "CA phục vụ các cơ quan Nhà nước (THỬ NGHIỆM)",
    Scheme.NATIONAL: "CA công cộng cho cá nhân, tổ chức (THỬ NGHIỆM)",
    Scheme.UNTRUSTED: "Tự Ký Issuing CA (THỬ NGHIỆM)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate with its private key and the certificates above it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]
    """Issuing certificates from the nearest to the root; empty for a root."""
    scheme: Scheme

    def sign(self, content: bytes) -> bytes:
        """Returns the ECDSA-SHA256 signature of `content`, the same for the same content (RFC 6979)."""
        return self.key.sign(content, _ECDSA)

    @property
    def name(self) -> str:
        """The common name of the certificate."""
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def asn1(self) -> asn1_x509.Certificate:
        """The certificate as asn1crypto reads it."""
        return asn1_x509.Certificate.load(self.der)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """When a certificate is valid."""

    starts: datetime
    ends: datetime


class TestPki:
    """The authorities of all schemes, and a maker of certificates below them."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    def __init__(self, seed: int, *, at: datetime) -> None:
        self.seed = seed
        self.at = _whole_seconds(at)
        self._revoked: dict[Scheme, dict[int, datetime]] = {scheme: {} for scheme in Scheme}
        self._identities: dict[str, Identity] = {}
        self.roots = {scheme: self._root(scheme) for scheme in Scheme}
        self.issuing = {scheme: self._issuing(scheme) for scheme in Scheme}
        self.tsa = {scheme: self._service(scheme, "TSA") for scheme in Scheme}
        self.ocsp_responders = {scheme: self._service(scheme, "OCSP") for scheme in Scheme}

    @classmethod
    def create(cls, seed: int, *, at: datetime) -> "TestPki":
        """Returns the authorities for `seed`, in operation since long before `at` and for years after it.

        Raises:
            ValueError: `at` is naive.
        """
        return cls(seed, at=at)

    # ------------------------------------------------------------ people and agencies

    def officer(self, name: str, *, title: str, agency: str, validity: Validity | None = None) -> Identity:
        """Returns the public-service certificate of an officer; title and agency stand in the subject."""
        subject = _subject(name, organisation=agency, title=title)
        return self._signer(Scheme.PUBLIC_SERVICE, subject, validity)

    def agency(self, name: str, *, code: str, validity: Validity | None = None) -> Identity:
        """Returns the public-service certificate of an agency; its code stands in the subject."""
        subject = _subject(name, organisation=name, organisation_id=f"VN:{code}")
        return self._signer(Scheme.PUBLIC_SERVICE, subject, validity)

    def citizen(self, name: str, *, identifier: str, validity: Validity | None = None) -> Identity:
        """Returns a certificate of a licensed public authority for a person with their identity number."""
        subject = _subject(name, user_id=f"CCCD:{identifier}")
        return self._signer(Scheme.NATIONAL, subject, validity)

    def untrusted_agency(self, name: str, *, code: str) -> Identity:
        """Returns a certificate that claims to be an agency's, below a root that nobody trusts."""
        return self._signer(Scheme.UNTRUSTED, _subject(name, organisation=name, organisation_id=f"VN:{code}"), None)

    def revoke(self, identity: Identity, *, on: datetime) -> None:
        """Puts a certificate on its authority's revocation list from `on`."""
        self._revoked[identity.scheme][identity.certificate.serial_number] = _whole_seconds(on)

    # ------------------------------------------------------------ revocation evidence

    def crl(self, scheme: Scheme, *, at: datetime, of_root: bool = False) -> bytes:
        """Returns the DER revocation list that the scheme's issuing authority (or root) published for `at`."""
        authority = (self.roots if of_root else self.issuing)[scheme]
        issued = _whole_seconds(at)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.certificate.subject)
            .last_update(issued)
            .next_update(issued + timedelta(days=30 if of_root else 7))
            .add_extension(x509.CRLNumber(int(issued.timestamp())), critical=False)
            .add_extension(_authority_identifier(authority), critical=False)
        )
        for serial, revoked_on in sorted(self._revoked[scheme].items() if not of_root else ()):
            if revoked_on <= issued:
                builder = builder.add_revoked_certificate(_revoked_entry(serial, revoked_on))
        signed = builder.sign(authority.key, hashes.SHA256(), ecdsa_deterministic=True)
        return signed.public_bytes(serialization.Encoding.DER)

    def ocsp(self, identity: Identity, *, at: datetime) -> bytes:
        """Returns the DER OCSP response that the responder of the identity's scheme gave at `at` (RFC 6960)."""
        produced = _whole_seconds(at)
        responder = self.ocsp_responders[identity.scheme]
        revoked_on = self._revoked[identity.scheme].get(identity.certificate.serial_number)
        if revoked_on is None or revoked_on > produced:
            status = ocsp.CertStatus(name="good", value=core.Null())
        else:
            revoked = {"revocation_time": revoked_on, "revocation_reason": "key_compromise"}
            status = ocsp.CertStatus(name="revoked", value=revoked)
        issuer = identity.chain[0]
        answer = {
            "cert_id": {
                "hash_algorithm": {"algorithm": "sha1"},  # what every OCSP client understands (RFC 6960, 4.3)
                "issuer_name_hash": hashlib.sha1(issuer.subject.public_bytes(), usedforsecurity=False).digest(),
                "issuer_key_hash": _key_identifier(issuer),
                "serial_number": identity.certificate.serial_number,
            },
            "cert_status": status,
            "this_update": produced,
            "next_update": produced + timedelta(days=1),
        }
        tbs = ocsp.ResponseData(
            {
                "responder_id": ocsp.ResponderId(name="by_key", value=_key_identifier(responder.certificate)),
                "produced_at": produced,
                "responses": [answer],
            }
        )
        basic = {
            "tbs_response_data": tbs,
            "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
            "signature": responder.sign(tbs.dump()),
            "certs": [responder.asn1],
        }
        envelope = {"response_type": "basic_ocsp_response", "response": ocsp.BasicOCSPResponse(basic)}
        response: bytes = ocsp.OCSPResponse({"response_status": "successful", "response_bytes": envelope}).dump()
        return response

    def write_trust(self, folder: Path) -> list[Path]:
        """Writes the trusted roots as `folder/<scheme>/root.pem`; the untrusted scheme is left out.

        The revocation lists current at the PKI's time go into `folder/revocation/*.crl` (DER), for checks without a
        network of signatures that carry no revocation evidence of their own.
        """
        files: dict[str, bytes] = {}
        for scheme in TRUSTED_SCHEMES:
            files[f"{scheme}/root.pem"] = self.roots[scheme].certificate.public_bytes(serialization.Encoding.PEM)
            files[f"revocation/{scheme}-issuing.crl"] = self.crl(scheme, at=self.at)
            files[f"revocation/{scheme}-root.crl"] = self.crl(scheme, at=self.at, of_root=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return [folder / name for name in files]

    # ------------------------------------------------------------ making certificates

    def _key(self, label: str) -> ec.EllipticCurvePrivateKey:
        digest = hashlib.sha512(f"archive-service test key\0{self.seed}\0{label}".encode()).digest()
        return ec.derive_private_key(int.from_bytes(digest) % (_ORDER - 1) + 1, _CURVE)

    def _serial(self, label: str) -> int:
        digest = hashlib.sha256(f"archive-service test serial\0{self.seed}\0{label}".encode()).digest()
        return int.from_bytes(digest[:15]) | 1

    def _root(self, scheme: Scheme) -> Identity:
        name, organisation = _ROOT_NAMES[scheme]
        key = self._key(f"root {scheme}")
        validity = Validity(starts=self.at - timedelta(days=3650), ends=self.at + timedelta(days=7300))
        subject = _subject(name, organisation=organisation)
        builder = self._builder(f"root {scheme}", subject, key, subject, validity)
        builder = _as_authority(builder, path_length=1).add_extension(_identifier(key), critical=False)
        return Identity(certificate=_signed(builder, key), key=key, chain=(), scheme=scheme)

    def _issuing(self, scheme: Scheme) -> Identity:
        root = self.roots[scheme]
        label = f"issuing {scheme}"
        subject = _subject(_ISSUING_NAMES[scheme], organisation=_ROOT_NAMES[scheme][1])
        validity = Validity(starts=self.at - timedelta(days=3000), ends=self.at + timedelta(days=3650))
        key = self._key(label)
        builder = self._builder(label, subject, key, root.certificate.subject, validity)
        builder = _as_authority(builder, path_length=0)
        builder = _with_pointers(builder, key, root, scheme, crl_name="root")
        return Identity(certificate=_signed(builder, root.key), key=key, chain=(root.certificate,), scheme=scheme)

    def _service(self, scheme: Scheme, kind: str) -> Identity:
        """A time-stamping authority (RFC 3161, 2.3) or a delegated OCSP responder (RFC 6960, 4.2.2.2)."""
        issuing = self.issuing[scheme]
        label = f"{kind} {scheme}"
        subject = _subject(f"{kind} {_ISSUING_NAMES[scheme]}", organisation=_ROOT_NAMES[scheme][1])
        validity = Validity(starts=self.at - timedelta(days=2900), ends=self.at + timedelta(days=3600))
        key = self._key(label)
        builder = self._builder(label, subject, key, issuing.certificate.subject, validity)
        builder = builder.add_extension(_usage(*_SIGNER_USAGE), critical=True)
        if kind == "TSA":
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        else:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
            builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
        builder = _with_pointers(builder, key, issuing, scheme, crl_name="issuing")
        chain = (issuing.certificate, *issuing.chain)
        return Identity(certificate=_signed(builder, issuing.key), key=key, chain=chain, scheme=scheme)

    def _signer(self, scheme: Scheme, subject: x509.Name, validity: Validity | None) -> Identity:
        period = validity or Validity(starts=self.at - timedelta(days=730), ends=self.at + timedelta(days=1095))
        label = f"{scheme} {subject.rfc4514_string()} {period.starts.isoformat()} {period.ends.isoformat()}"
        if label not in self._identities:
            issuing = self.issuing[scheme]
            key = self._key(label)
            builder = self._builder(label, subject, key, issuing.certificate.subject, period)
            builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            builder = builder.add_extension(_usage(*_SIGNER_USAGE), critical=True)
            extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(extended, critical=False)
            builder = _with_pointers(builder, key, issuing, scheme, crl_name="issuing")
            chain = (issuing.certificate, *issuing.chain)
            certificate = _signed(builder, issuing.key)
            self._identities[label] = Identity(certificate=certificate, key=key, chain=chain, scheme=scheme)
        return self._identities[label]

    def _builder(
        self, label: str, subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, validity: Validity
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(self._serial(label))
            .not_valid_before(_whole_seconds(validity.starts))
            .not_valid_after(_whole_seconds(validity.ends))
        )


def _whole_seconds(at: datetime) -> datetime:
    return require_aware(at).astimezone(UTC).replace(microsecond=0)


def _authority_identifier(issuer: Identity) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)


def _usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in names for usage in _USAGES})


def _as_authority(builder: x509.CertificateBuilder, *, path_length: int) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    return builder.add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)


def _identifier(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _key_identifier(certificate: x509.Certificate) -> bytes:
    """SHA-1 of the public key bits: what OCSP calls the key hash (RFC 6960, 4.1.1)."""
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _with_pointers(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    issuer: Identity,
    scheme: Scheme,
    *,
    crl_name: str,
) -> x509.CertificateBuilder:
    """Adds key identifiers and where to ask; the host is under .invalid (RFC 2606), so that nothing is ever fetched."""
    host = f"http://{scheme.value.replace('_', '-')}.ca.invalid"
    access = [
        x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"{host}/ocsp")),
        x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(f"{host}/{crl_name}.cer")
        ),
    ]
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(f"{host}/{crl_name}.crl")], None, None, None)
    return (
        builder.add_extension(_identifier(key), critical=False)
        .add_extension(_authority_identifier(issuer), critical=False)
        .add_extension(x509.AuthorityInformationAccess(access), critical=False)
        .add_extension(x509.CRLDistributionPoints([point]), critical=False)
    )


def _revoked_entry(serial: int, revoked_on: datetime) -> x509.RevokedCertificate:
    return (
        x509.RevokedCertificateBuilder()
        .serial_number(serial)
        .revocation_date(revoked_on)
        .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
        .build()
    )


def _subject(
    name: str,
    *,
    organisation: str | None = None,
    title: str | None = None,
    organisation_id: str | None = None,
    user_id: str | None = None,
) -> x509.Name:
    parts = [(NameOID.COUNTRY_NAME, "VN")]
    optional = (
        (NameOID.ORGANIZATION_NAME, organisation),
        (NameOID.ORGANIZATION_IDENTIFIER, organisation_id),
        (NameOID.TITLE, title),
        (NameOID.COMMON_NAME, name),
        (NameOID.USER_ID, user_id),
    )
    parts += [(oid, value) for oid, value in optional if value]
    return x509.Name([x509.NameAttribute(oid, _shortened(oid, value)) for oid, value in parts])


def _shortened(oid: x509.ObjectIdentifier, value: str) -> str:
    """X.520 upper bound: 64 characters for the names used here."""
    return value if oid == NameOID.COUNTRY_NAME else value[:64].rstrip(string.whitespace + ",")


def pem(identities: Iterable[Identity]) -> bytes:
    """Returns the certificates of `identities` as one PEM file."""
    return b"".join(identity.certificate.public_bytes(serialization.Encoding.PEM) for identity in identities)
