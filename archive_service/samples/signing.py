"""PAdES signatures for sample PDFs (ETSI EN 319 142-1), through pyHanko, byte-identical for the same input.

pyHanko's one-call signer reads the clock, draws random file identifiers and validates before it signs. Samples need
fixed times and bytes, and some are signed with certificates no validator would let pass, so this drives pyHanko's lower
layer (`PdfCMSEmbedder`) and does not validate anything.
"""

import asyncio
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from asn1crypto import algos, cms, core, crl, ocsp, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.pdf_utils.generic import ArrayObject, ByteStringObject
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import SigSeedSubFilter
from pyhanko.sign.general import as_signing_certificate_v2, simple_cms_attribute
from pyhanko.sign.signers.cms_embedder import PdfCMSEmbedder, SigIOSetup, SigObjSetup
from pyhanko.sign.signers.pdf_byterange import SignatureObject
from pyhanko.sign.signers.pdf_cms import PdfCMSSignedAttributes, Signer
from pyhanko.sign.timestamps import TimeStamper
from pyhanko.sign.validation.dss import DocumentSecurityStore
from pyhanko_certvalidator.registry import SimpleCertificateStore

from archive_service.clock import LEGAL_ZONE
from archive_service.samples.pki import Identity, TestPki

_TSA_POLICY = "1.3.6.1.4.1.4146.2.2"
"""Policy identifier in test time-stamps; any object identifier will do."""

_CONTENTS_BYTES = {"B-B": 7000, "B-T": 14000}
"""Hex digits reserved for the CMS object: three certificates, and as many again in a time-stamp token."""


class Level(StrEnum):
    """PAdES baseline levels that samples carry (EN 319 142-1, 6)."""

    B_B = "B-B"
    B_T = "B-T"
    B_LT = "B-LT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """One signature to put on a PDF."""

    identity: Identity
    at: datetime
    """Signing time, claimed and (from B-T on) time-stamped."""
    field: str
    """Name of the signature field."""
    level: Level = Level.B_B
    reason: str | None = None
    location: str | None = None


class FixedIdWriter(IncrementalPdfFileWriter):
    """An incremental update without chance or clock: its new file identifier is derived from the old bytes."""

    @classmethod
    def _handle_id(cls, prev: PdfFileReader) -> ArrayObject:
        prev.stream.seek(0)
        derived = ByteStringObject(hashlib.sha256(prev.stream.read()).digest()[:16])
        return ArrayObject([prev.trailer["/ID"][0] if "/ID" in prev.trailer else derived, derived])

    def _update_meta(self) -> None:
        """Leaves document information and XMP as they are: pyHanko would write the present time into both."""


class _FixedSigner(Signer):
    """Signs with a test identity; the same bytes for the same content."""

    def __init__(self, identity: Identity) -> None:
        registry = SimpleCertificateStore()  # type: ignore[no-untyped-call]  # pyHanko leaves it untyped
        registry.register_multiple(_issuers(identity))
        super().__init__(signing_cert=_asn1(identity.certificate), cert_registry=registry, embed_roots=False)
        self._identity = identity

    async def async_sign_raw(self, data: bytes, digest_algorithm: str, dry_run: bool = False) -> bytes:  # noqa: ARG002, FBT001, FBT002 - pyHanko's signature
        return self._identity.sign(data)


class FixedTimeStamper(TimeStamper):
    """A time-stamping authority of the test PKI that stamps with the time it is told (RFC 3161, no nonce)."""

    def __init__(self, authority: Identity, *, at: datetime) -> None:
        super().__init__(include_nonce=False)  # type: ignore[no-untyped-call]  # pyHanko leaves it untyped
        self._authority = authority
        self._at = at

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        """Returns a granted response to `req`."""
        return tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": self._token(req)})

    def _token(self, req: tsp.TimeStampReq) -> cms.ContentInfo:
        certificate = _asn1(self._authority.certificate)
        imprint = req["message_imprint"]
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": _TSA_POLICY,
                "message_imprint": imprint,
                "serial_number": int.from_bytes(hashlib.sha256(imprint.dump()).digest()[:8]),
                "gen_time": self._at,
                "tsa": asn1_x509.GeneralName(name="directory_name", value=certificate.subject),
            }
        )
        content = info.dump()
        attributes = cms.CMSAttributes(
            [
                _attribute("content_type", "tst_info"),
                _attribute("signing_time", cms.Time({"utc_time": core.UTCTime(self._at)})),
                _attribute("signing_certificate_v2", as_signing_certificate_v2(certificate)),
                _attribute("message_digest", hashlib.sha256(content).digest()),
            ]
        )
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier(
                    name="issuer_and_serial_number",
                    value={"issuer": certificate.issuer, "serial_number": certificate.serial_number},
                ),
                "digest_algorithm": {"algorithm": "sha256"},
                "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
                "signed_attrs": attributes,
                "signature": self._authority.sign(attributes.dump()),
            }
        )
        signed = cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [{"algorithm": "sha256"}],
                "encap_content_info": {"content_type": "tst_info", "content": cms.ParsableOctetString(content)},
                "certificates": [certificate, *_issuers(self._authority)],
                "signer_infos": [signer],
            }
        )
        token = cms.ContentInfo({"content_type": "signed_data", "content": signed})
        # read back: asn1crypto encodes what was built in memory again at every level above it, which takes seconds
        return cms.ContentInfo.load(token.dump())


def sign_pdf(content: bytes, signings: Sequence[Signing], *, pki: TestPki) -> bytes:
    """Returns `content` with one signature after the other in incremental updates."""
    for signing in signings:
        content = _signed_once(content, signing, pki)
    return content


def _signed_once(content: bytes, signing: Signing, pki: TestPki) -> bytes:
    writer = FixedIdWriter(io.BytesIO(content))
    stamped = signing.level is not Level.B_B
    embedding = PdfCMSEmbedder().write_cms(signing.field, writer)
    next(embedding)
    placeholder = SignatureObject(
        timestamp=signing.at.astimezone(LEGAL_ZONE),
        subfilter=SigSeedSubFilter.PADES,
        reason=signing.reason,
        location=signing.location,
        name=signing.identity.name,
        bytes_reserved=_CONTENTS_BYTES["B-T" if stamped else "B-B"],
    )
    embedding.send(SigObjSetup(sig_placeholder=placeholder))
    prepared, output = embedding.send(SigIOSetup(md_algorithm="sha256", in_place=False, output=io.BytesIO()))
    stamper = FixedTimeStamper(pki.tsa[signing.identity.scheme], at=signing.at) if stamped else None
    signature = asyncio.run(
        _FixedSigner(signing.identity).async_sign(
            prepared.document_digest,
            "sha256",
            use_pades=True,
            timestamper=stamper,
            signed_attr_settings=PdfCMSSignedAttributes(signing_time=signing.at),
        )
    )
    prepared.fill_with_cms(output, signature)
    signed: bytes = output.getvalue()
    return _with_evidence(signed, signing, pki) if signing.level is Level.B_LT else signed


def _with_evidence(content: bytes, signing: Signing, pki: TestPki) -> bytes:
    """Adds a document security store: the chains and who says that nobody in them was revoked (EN 319 142-1, 5.4.2)."""
    identity, scheme = signing.identity, signing.identity.scheme
    writer = FixedIdWriter(io.BytesIO(content))
    responder, stamper = pki.ocsp_responders[scheme], pki.tsa[scheme]
    certificates = [
        _asn1(identity.certificate),
        _asn1(stamper.certificate),
        _asn1(responder.certificate),
        *(_asn1(issuer) for issuer in identity.chain),
    ]
    DocumentSecurityStore.supply_dss_in_writer(
        writer,
        None,
        certs=certificates,
        ocsps=[ocsp.OCSPResponse.load(pki.ocsp(identity, at=signing.at))],
        crls=[crl.CertificateList.load(pki.crl(scheme, at=signing.at, of_root=of_root)) for of_root in (False, True)],
    )
    output = io.BytesIO()
    writer.write(output)  # type: ignore[no-untyped-call]  # pyHanko leaves it untyped
    return output.getvalue()


def _attribute(kind: str, value: object) -> cms.CMSAttribute:
    return simple_cms_attribute(kind, value)  # type: ignore[no-untyped-call]  # pyHanko leaves it untyped


def _issuers(identity: Identity) -> list[asn1_x509.Certificate]:
    """The certificates between signer and root: what a signature carries so that a verifier needs only the root."""
    return [_asn1(certificate) for certificate in identity.chain if certificate.subject != certificate.issuer]


@lru_cache(maxsize=256)
def _asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
