"""A small public-key world for signature tests: authorities, signers, CRLs, OCSP, time-stamps, and signed files at chosen dates.

Keys are derived from names, so that the same certificate has the same key in every run; elliptic curves keep that cheap.
"""

# pyHanko, signxml and lxml leave much untyped that these tests call
# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type,union-attr"

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from typing import Any

from asn1crypto import algos, cms, core, keys, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.writer import PageObject, PdfFileWriter
from pyhanko.sign import fields, signers
from pyhanko.sign.signers import pdf_cms, pdf_signer
from pyhanko.sign.timestamps.api import TimeStamper
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.registry import SimpleCertificateStore

type_key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed448.Ed448PrivateKey

SIGNED_AT = datetime(2021, 6, 1, 8, 0, tzinfo=UTC)
"""The day most test signatures are made."""

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@cache
def key_of(name: str) -> ec.EllipticCurvePrivateKey:
    """Returns the P-256 key of a name."""
    scalar = int.from_bytes(hashlib.sha256(name.encode()).digest()) % (_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Returns an RSA key, one per name and run."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@dataclass(frozen=True)
class Party:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def asn1(self) -> asn1_x509.Certificate:
        return asn1_x509.Certificate.load(self.der)

    @property
    def asn1_key(self) -> keys.PrivateKeyInfo:
        return keys.PrivateKeyInfo.load(
            self.key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def usage(*names: str) -> x509.KeyUsage:
    every: tuple[str, ...] = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
    )
    every += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: name in names for name in every})


@dataclass
class World:
    """One hierarchy: root, issuing authority, people, agency, time-stamping authority, OCSP responder."""

    tag: str = "a"
    ca_until: datetime = datetime(2040, 1, 1, tzinfo=UTC)
    revoked: dict[int, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.make("Root CA", None, authority=True, days=(datetime(2015, 1, 1, tzinfo=UTC), self.ca_until))
        self.issuing = self.make(
            "Issuing CA", self.root, authority=True, days=(datetime(2016, 1, 1, tzinfo=UTC), self.ca_until)
        )
        self.person = self.make(
            "Nguyễn Văn Ký", self.issuing, pointers=True, organisation="UBND tỉnh", title="Giám đốc"
        )
        self.agency = self.make("UBND tỉnh", self.issuing, pointers=True, organisation="UBND tỉnh")
        self.plain = self.make("Không nêu dịch vụ", self.issuing)
        self.responder = self.make("OCSP", self.issuing, extended=ExtendedKeyUsageOID.OCSP_SIGNING, no_check=True)
        self.tsa = self.make(
            "TSA",
            self.root,
            extended=ExtendedKeyUsageOID.TIME_STAMPING,
            days=(datetime(2018, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)),
            pointers=True,
        )

    def make(
        self,
        name: str,
        issuer: Party | None,
        *,
        authority: bool = False,
        days: tuple[datetime, datetime] = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)),
        pointers: bool = False,
        extended: x509.ObjectIdentifier | None = None,
        purposes: list[x509.ObjectIdentifier] | None = None,
        no_check: bool = False,
        organisation: str | None = None,
        title: str | None = None,
        key: Any = None,
        key_usage: x509.KeyUsage | None = None,
        sign_hash: Any = None,
        base_url: str = "http://status.invalid",
    ) -> Party:
        own = key or key_of(f"{self.tag}/{name}")
        parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        parts += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
        parts += [x509.NameAttribute(NameOID.TITLE, title)] if title else []
        subject = x509.Name([*parts, x509.NameAttribute(NameOID.LOCALITY_NAME, self.tag)])
        serial = int.from_bytes(hashlib.sha256(f"{self.tag}/{name}/{days}".encode()).digest()[:8]) | 1
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(own.public_key())
            .serial_number(serial)
            .not_valid_before(days[0])
            .not_valid_after(days[1])
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        )
        default = usage("key_cert_sign", "crl_sign") if authority else usage("digital_signature", "content_commitment")
        builder = builder.add_extension(key_usage or default, critical=True)
        if issuer:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key())
            builder = builder.add_extension(identifier, critical=False)
        if extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage([extended]), critical=True)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if no_check:
            builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
        if pointers:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"{base_url}/ocsp")
            )
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(f"{base_url}/crl")], None, None, None)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        signing_key = issuer.key if issuer else own
        algorithm = None if isinstance(signing_key, ed448.Ed448PrivateKey) else (sign_hash or hashes.SHA256())
        return Party(builder.sign(signing_key, algorithm), own)

    def crl(self, issuer: Party, at: datetime, *, days: int = 7) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(at)
            .next_update(at + timedelta(days=days))
        )
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key())
        builder = builder.add_extension(identifier, critical=False).add_extension(x509.CRLNumber(7), critical=False)
        for serial, when in self.revoked.items():
            if when <= at:
                entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
                builder = builder.add_revoked_certificate(entry)
        return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def ocsp(self, party: Party, at: datetime, *, days: int | None = 1) -> bytes:
        when = self.revoked.get(party.certificate.serial_number)
        revoked = when is not None and when <= at
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=party.certificate,
            issuer=self.issuing.certificate,
            algorithm=hashes.SHA1(),  # noqa: S303 - what responders use to name certificates
            cert_status=ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD,
            this_update=at,
            next_update=at + timedelta(days=days) if days else None,
            revocation_time=when if revoked else None,
            revocation_reason=x509.ReasonFlags.key_compromise if revoked else None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.responder.certificate)
        builder = builder.certificates([self.responder.certificate])
        return builder.sign(self.responder.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def revocation(self, at: datetime) -> tuple[list[bytes], list[bytes]]:
        """CRLs of both authorities and an OCSP response for the person, all issued at `at`."""
        return [self.crl(self.root, at), self.crl(self.issuing, at)], [self.ocsp(self.person, at)]

    def store(self, party: Party) -> SimpleCertificateStore:
        chosen = SimpleCertificateStore()
        chosen.register_multiple([self.root.asn1, self.issuing.asn1, party.asn1])
        return chosen

    def signer(self, party: Party | None = None) -> signers.SimpleSigner:
        who = party or self.person
        return signers.SimpleSigner(
            signing_cert=who.asn1, signing_key=who.asn1_key, cert_registry=self.store(who), embed_roots=False
        )

    def timestamper(self, at: datetime, party: Party | None = None) -> "Stamper":
        return Stamper(party or self.tsa, at, self.root)

    def context(self, at: datetime) -> ValidationContext:
        """A pyHanko context with fresh revocation information, for signers that embed it."""
        crls, ocsps = self.revocation(at)
        certificates = [self.issuing.asn1, self.responder.asn1]
        return ValidationContext(
            trust_roots=[self.root.asn1],
            other_certs=certificates,
            crls=crls,
            ocsps=ocsps,
            moment=at,
            revocation_mode="soft-fail",
        )


class Stamper(TimeStamper):
    """A time-stamping authority at a fixed time, with an elliptic-curve key."""

    def __init__(self, party: Party, at: datetime, root: Party) -> None:
        super().__init__(include_nonce=False)
        self.party, self.at, self.root = party, at, root

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        token = stamp(self.party, req["message_imprint"], self.at)
        return tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token})


def stamp(party: Party, imprint: tsp.MessageImprint, at: datetime) -> cms.ContentInfo:
    info = tsp.TSTInfo(
        {"version": "v1", "policy": "1.2.3.4.1", "message_imprint": imprint, "serial_number": 42, "gen_time": at}
    ).dump()
    attributes = cms.CMSAttributes(
        [
            cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
            cms.CMSAttribute({"type": "message_digest", "values": [hashlib.sha256(info).digest()]}),
            cms.CMSAttribute(
                {
                    "type": "signing_certificate_v2",
                    "values": [
                        tsp.SigningCertificateV2({"certs": [{"cert_hash": hashlib.sha256(party.der).digest()}]})
                    ],
                }
            ),
        ]
    )
    signature = party.key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256()))
    signer_info = cms.SignerInfo(
        {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                {
                    "issuer_and_serial_number": {
                        "issuer": party.asn1.issuer,
                        "serial_number": party.asn1.serial_number,
                    }
                }
            ),
            "digest_algorithm": {"algorithm": "sha256"},
            "signature_algorithm": {"algorithm": "sha256_ecdsa"},
            "signed_attrs": attributes,
            "signature": signature,
        }
    )
    signed = cms.SignedData(
        {
            "version": "v3",
            "digest_algorithms": [algos.DigestAlgorithm({"algorithm": "sha256"})],
            "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(info)},
            "certificates": [party.asn1],
            "signer_infos": [signer_info],
        }
    )
    return cms.ContentInfo({"content_type": "signed_data", "content": signed})


@contextmanager
def clock_at(at: datetime) -> Iterator[None]:
    """pyHanko's signer reads the wall clock; this gives it another one."""

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return at.astimezone(tz) if tz else at

    modules: tuple[Any, ...] = (pdf_signer, pdf_cms)
    for module in modules:
        module.datetime = Frozen
    try:
        yield
    finally:
        for module in modules:
            module.datetime = datetime


def blank_pdf(text: str = "Quyet dinh", pages: int = 1) -> bytes:
    """A small PDF with text on every page."""
    writer = PdfFileWriter(stream_xrefs=False)
    for number in range(pages):
        content = generic.StreamObject(stream_data=f"BT /F1 18 Tf 72 700 Td ({text} {number + 1}) Tj ET".encode())
        page = PageObject(contents=writer.add_object(content), media_box=(0, 0, 595, 842))
        font = generic.DictionaryObject(
            {
                generic.NameObject("/Type"): generic.NameObject("/Font"),
                generic.NameObject("/Subtype"): generic.NameObject("/Type1"),
                generic.NameObject("/BaseFont"): generic.NameObject("/Helvetica"),
            }
        )
        fonts = generic.DictionaryObject({generic.NameObject("/F1"): font})
        page["/Resources"] = generic.DictionaryObject({generic.NameObject("/Font"): fonts})
        writer.insert_page(page)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def sign_pdf(
    world: World,
    pdf: bytes | None = None,
    *,
    at: datetime = SIGNED_AT,
    party: Party | None = None,
    level: str = "B",
    field_name: str = "Sig1",
    pades: bool = True,
    certify: fields.MDPPerm | None = None,
    md: str = "sha256",
    tsa: Party | None = None,
) -> bytes:
    """Signs a PDF at level B, T, LT or LTA; `pades=False` gives adbe.pkcs7.detached."""
    stamped, long_term = level != "B", level in {"LT", "LTA"}
    meta = signers.PdfSignatureMetadata(
        field_name=field_name,
        md_algorithm=md,
        subfilter=fields.SigSeedSubFilter.PADES if pades else fields.SigSeedSubFilter.ADOBE_PKCS7_DETACHED,
        embed_validation_info=long_term,
        use_pades_lta=level == "LTA",
        validation_context=world.context(at) if long_term else None,
        certify=certify is not None,
        docmdp_permissions=certify or fields.MDPPerm.FILL_FORMS,
    )
    out = BytesIO()
    with clock_at(at):
        signers.PdfSigner(
            meta, world.signer(party), timestamper=world.timestamper(at, tsa) if stamped else None
        ).sign_pdf(IncrementalPdfFileWriter(BytesIO(pdf or blank_pdf())), output=out)
    return out.getvalue()


def add_page_text(pdf: bytes, text: str = "DA SUA DOI") -> bytes:
    """Draws more text on the first page by an incremental update: the change difference analysis must find."""
    writer = IncrementalPdfFileWriter(BytesIO(pdf))
    content = generic.StreamObject(stream_data=f"BT /F1 30 Tf 72 400 Td ({text}) Tj ET".encode())
    writer.add_stream_to_page(0, writer.add_object(content))
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def sign_cms(
    world: World,
    content: bytes,
    *,
    detached: bool = True,
    at: datetime = SIGNED_AT,
    party: Party | None = None,
    stamped: bool = False,
    cades: bool = True,
) -> bytes:
    """Signs content as CMS: detached or enveloping, with or without signature time-stamp."""
    with clock_at(at):
        signer = world.signer(party)
        meta = pdf_cms.PdfCMSSignedAttributes(signing_time=at)
        signed = asyncio.run(
            signer.async_sign_general_data(
                content,
                "sha256",
                detached=detached,
                timestamper=world.timestamper(at) if stamped else None,
                use_cades=cades,
                signed_attr_settings=meta,
            )
        )
    return bytes(signed.dump())
