"""Verifying the value of an XML signature with the key of a certificate (XMLDSig 1.1 clause 6.4, RFC 9231)."""

from collections.abc import Callable
from typing import Final

from asn1crypto import x509
from cryptography import x509 as pyca_x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils
from signxml.algorithms import SignatureMethod


class XmlSignatureUnreadableError(ValueError):
    """The signature uses something that is not supported or not well-formed: it could not be decided."""


_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "SHA1": hashes.SHA1,
    "SHA224": hashes.SHA224,
    "SHA256": hashes.SHA256,
    "SHA384": hashes.SHA384,
    "SHA512": hashes.SHA512,
    "SHA3_224": hashes.SHA3_224,
    "SHA3_256": hashes.SHA3_256,
    "SHA3_384": hashes.SHA3_384,
    "SHA3_512": hashes.SHA3_512,
}


def method_digest(method: str) -> str | None:
    """Returns the digest named in a signature method ("rsa-sha256" gives "sha256"), None where it names none."""
    name = method.lower().replace("-", "_")
    return next((digest.lower() for digest in sorted(_HASHES, key=len, reverse=True) if digest.lower() in name), None)


def signature_valid(uri: str, value: bytes, octets: bytes, certificate: x509.Certificate) -> bool:
    """Returns whether a value is that of the octets.

    Args:
        uri: the signature method.
        value: the signature value, base64 decoded.
        octets: the canonical ds:SignedInfo.
        certificate: holds the key.

    Raises:
        XmlSignatureUnreadableError: the method is not supported or does not fit the key.
    """
    try:
        method = SignatureMethod(uri)
        key = pyca_x509.load_der_x509_certificate(certificate.dump()).public_key()
        check = _checker(method, key)
    except (ValueError, TypeError, UnsupportedAlgorithm, KeyError) as exc:
        raise XmlSignatureUnreadableError(f"signature method {uri} is not supported: {exc}") from exc
    try:
        check(value, octets)
    except (InvalidSignature, ValueError):
        return False
    return True


def _checker(method: SignatureMethod, key: object) -> Callable[[bytes, bytes], None]:
    family, _, rest = method.name.partition("_")
    name = rest
    if family in {"ED25519", "ED448"} and isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        return key.verify
    if family in {"RSA", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512", "SHA3"} and isinstance(key, rsa.RSAPublicKey):
        probabilistic = method.name.endswith("MGF1")
        digest = _HASHES[(method.name.removesuffix("_RSA_MGF1") if probabilistic else name)]()
        scheme: padding.AsymmetricPadding = padding.PKCS1v15()
        if probabilistic:
            scheme = padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.AUTO)
        return lambda value, octets: key.verify(value, octets, scheme, digest)
    if family == "ECDSA" and isinstance(key, ec.EllipticCurvePublicKey):
        digest = _HASHES[name]()
        return lambda value, octets: key.verify(_der_signature(value, key), octets, ec.ECDSA(digest))
    raise XmlSignatureUnreadableError(f"signature method {method.name} does not fit the certificate's key")


def _der_signature(value: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
    """Returns the DER form of an XMLDSig ECDSA value, which is r and s side by side, each of the key's size (RFC 4050).

    Some makers write DER themselves; older Java leaves out leading zeros, of both halves alike.
    """
    size = (key.key_size + 7) // 8
    if len(value) != 2 * size and _is_der(value):
        return value
    if len(value) % 2 or len(value) > 2 * size:
        raise InvalidSignature
    half = len(value) // 2
    return utils.encode_dss_signature(int.from_bytes(value[:half]), int.from_bytes(value[half:]))


def _is_der(value: bytes) -> bool:
    try:
        utils.decode_dss_signature(value)
    except ValueError:
        return False
    return True
