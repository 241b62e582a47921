"""A small time-stamp authority of our own: for the demonstration and the test suite, where no outside one can be asked.

It is a real RFC 3161 responder, but its certificate is its own and its clock ours: it proves nothing against the
archive itself, and a verifier finds its root in no trust list. Production configures qualified authorities.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from asn1crypto import cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from archive_service.evidence.timestamps import reading

POLICY: Final = "1.3.6.1.4.1.99999.3161.1"
"""A policy OID under an unassigned arc: nobody's promise."""
_SIGNED_WITH: Final[dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTsa:
    """Key and certificates of a local authority."""

    key: ec.EllipticCurvePrivateKey
    certificate: asn1_x509.Certificate
    root: asn1_x509.Certificate

    def reply(self, request: bytes, *, at: datetime, serial_number: int) -> bytes:
        """Returns the TimeStampResp to a TimeStampReq; a rejection when it is malformed or of an unknown digest."""
        from archive_service.evidence.errors import TimestampInvalid

        try:
            with reading("the time-stamp request"):
                parsed = tsp.TimeStampReq.load(request, strict=True)
                name = parsed["message_imprint"]["hash_algorithm"]["algorithm"].native
                known = name in _SIGNED_WITH
                imprint = parsed["message_imprint"].native["hashed_message"]
                policy = parsed["req_policy"].native or POLICY
                nonce = parsed["nonce"].native
        except TimestampInvalid:
            return _rejection("bad_data_format")
        if not known or len(imprint) != hashlib.new(name).digest_size:
            return _rejection("bad_alg")
        if policy != POLICY:
            return _rejection("unaccepted_policy")
        token = self.token(imprint, name, at=at, serial_number=serial_number, nonce=nonce)
        reply = tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": cms.ContentInfo.load(token)})
        return bytes(reply.dump())

    def token(
        self, imprint: bytes, hash_name: str, *, at: datetime, serial_number: int, nonce: int | None = None
    ) -> bytes:
        """Returns a time-stamp token over an imprint."""
        fields: dict[str, Any] = {  # asn1crypto's native structures
            "version": "v1",
            "policy": POLICY,
            "message_imprint": {"hash_algorithm": {"algorithm": hash_name}, "hashed_message": imprint},
            "serial_number": serial_number,
            "gen_time": at.astimezone(UTC).replace(microsecond=0),
        }
        if nonce is not None:
            fields["nonce"] = nonce
        return self.sign(tsp.TSTInfo(fields))

    def sign(self, info: tsp.TSTInfo) -> bytes:
        """Returns the signed token around a TSTInfo; it is signed with the imprint's digest, so that a renewal leaves the old one behind."""
        asked = info["message_imprint"]["hash_algorithm"]["algorithm"].native
        name = asked if asked in _SIGNED_WITH else "sha256"
        content = cms.EncapsulatedContentInfo(
            {"content_type": "tst_info", "content": core.ParsableOctetString(info.dump())}
        )
        attributes = self._attributes(hashlib.new(name, info.dump()).digest())
        signature = self.key.sign(attributes.dump(), ec.ECDSA(_SIGNED_WITH[name]()))
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier(
                    {
                        "issuer_and_serial_number": cms.IssuerAndSerialNumber(
                            {"issuer": self.certificate.issuer, "serial_number": self.certificate.serial_number}
                        )
                    }
                ),
                "digest_algorithm": {"algorithm": name},
                "signed_attrs": attributes,
                "signature_algorithm": {"algorithm": f"{name}_ecdsa"},
                "signature": signature,
            }
        )
        signed = cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [{"algorithm": name}],
                "encap_content_info": content,
                "certificates": [self.certificate, self.root],
                "signer_infos": [signer],
            }
        )
        return bytes(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump())

    def _attributes(self, message_digest: bytes) -> cms.CMSAttributes:
        named = tsp.ESSCertIDv2({"cert_hash": hashlib.sha256(self.certificate.dump()).digest()})
        values: list[dict[str, Any]] = [  # asn1crypto's native structures
            {"type": "content_type", "values": ["tst_info"]},
            {"type": "message_digest", "values": [message_digest]},
            {"type": "signing_certificate_v2", "values": [tsp.SigningCertificateV2({"certs": [named]})]},
        ]
        # RFC 5652 5.4: the DER encoding is signed, a SET OF in ascending order of its elements' encodings
        ordered = sorted((cms.CMSAttribute(value) for value in values), key=lambda attribute: bytes(attribute.dump()))
        return cms.CMSAttributes(ordered)


def _rejection(failure: str) -> bytes:
    status = tsp.PKIStatusInfo({"status": "rejection", "fail_info": {failure}})
    return bytes(core.SequenceOf(spec=tsp.PKIStatusInfo, value=[status]).dump())


def create_local_tsa(
    *,
    valid_from: datetime,
    years: int = 10,
    common_name: str = "Local time-stamp authority",
    usage_critical: bool = True,
) -> LocalTsa:
    """Returns a new authority with its own root, valid for `years` from `valid_from`."""
    until = valid_from + timedelta(days=365 * years)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, name = _name(f"{common_name} root"), _name(common_name)
    root = (
        _builder(root_name, root_name, root_key.public_key(), valid_from, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _builder(name, root_name, key.public_key(), valid_from, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=usage_critical)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    return LocalTsa(key=key, certificate=_asn1(leaf), root=_asn1(root))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))
