"""The signature of a CMS SignerInfo with signed attributes (RFC 5652 section 5.4), for authorities' key types."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from asn1crypto import cms, core, keys, x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa, utils

from archive_service.evidence.algorithms import HASH_NAMES
from archive_service.evidence.der import MalformedEncoding, to_der
from archive_service.evidence.errors import EvidenceInvalid
from archive_service.signature_oids import NIST_DIGESTS

_SET_TAG: Final = b"\x31"
_HASHES: Final[dict[str, Callable[[], hashes.HashAlgorithm]]] = {
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
    "sha512_256": hashes.SHA512_256,
    "sha3_224": hashes.SHA3_224,
    "sha3_256": hashes.SHA3_256,
    "sha3_384": hashes.SHA3_384,
    "sha3_512": hashes.SHA3_512,
}
_PLAIN_ECDSA: Final = {
    "0.4.0.127.0.7.1.1.4.1.1": "sha1",
    "0.4.0.127.0.7.1.1.4.1.2": "sha224",
    "0.4.0.127.0.7.1.1.4.1.3": "sha256",
    "0.4.0.127.0.7.1.1.4.1.4": "sha384",
    "0.4.0.127.0.7.1.1.4.1.5": "sha512",
}
"""BSI TR-03111 ecdsa-plain-signatures: r and s side by side; German authorities use them."""
_EDWARDS_BITS: Final = {"ed25519": 256, "ed448": 456}
"""Sizes of keys that asn1crypto cannot tell the size of."""


class SignatureFalse(EvidenceInvalid):
    """A CMS signature does not verify, or its signed attributes do not fit its content."""

    code = "CMS_SIGNATURE_FALSE"


class AlgorithmUnsupported(EvidenceInvalid):
    """A signature or digest algorithm that this software cannot compute; the signature was not checked."""

    code = "CMS_ALGORITHM_UNSUPPORTED"


def verify_signed_attributes(signed: cms.SignedData, signer_info: cms.SignerInfo, signer: x509.Certificate) -> None:
    """Checks content type, message digest and signature of `signer_info`.

    Raises:
        SignatureFalse: one of them is wrong.
        AlgorithmUnsupported: it could not be checked.
    """
    digest_name = signer_info["digest_algorithm"]["algorithm"].native
    if digest_name not in HASH_NAMES:
        raise AlgorithmUnsupported(f"digest algorithm {digest_name}")
    attributes = {attribute["type"].native: attribute["values"] for attribute in _signed_attributes(signer_info)}
    content = signed["encap_content_info"]
    if "content_type" not in attributes or attributes["content_type"][0].native != content["content_type"].native:
        raise SignatureFalse("the content-type attribute is missing or differs")
    expected = hashlib.new(digest_name, bytes(content["content"]), usedforsecurity=False).digest()
    if "message_digest" not in attributes or attributes["message_digest"][0].native != expected:
        raise SignatureFalse("the message-digest attribute is missing or differs from the content's digest")
    signature = signer_info["signature"].native
    for message in _signed_forms(signer_info):
        if verify_signature(signer.public_key, signer_info["signature_algorithm"], digest_name, signature, message):
            return
    raise SignatureFalse("the signature value is false")


def _signed_attributes(signer_info: cms.SignerInfo) -> cms.CMSAttributes:
    attributes = signer_info["signed_attrs"]
    if isinstance(attributes, core.Void) or not len(attributes):
        raise SignatureFalse("no signed attributes")
    return attributes


def _signed_forms(signer_info: cms.SignerInfo) -> Iterator[bytes]:
    """Yields what may have been signed: the attributes as they stand as SET OF, then in DER order."""
    encoded: bytes = signer_info["signed_attrs"].dump()
    as_set = _SET_TAG + encoded[1:]
    yield as_set
    try:
        sorted_set = to_der(as_set)
    except MalformedEncoding:
        return
    if sorted_set != as_set:
        yield sorted_set


def verify_signature(
    public_key: keys.PublicKeyInfo,
    algorithm: cms.SignedDigestAlgorithm,
    digest_name: str,
    signature: bytes,
    message: bytes,
) -> bool:
    """Returns whether `signature` over `message` is good; `digest_name` holds where the algorithm names no digest.

    Raises:
        SignatureFalse: its encoding is not the algorithm's.
        AlgorithmUnsupported: key or algorithm cannot be computed with.
    """
    try:
        key = serialization.load_der_public_key(public_key.dump())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise AlgorithmUnsupported(f"the signer's public key: {exc}") from exc
    try:
        _verify(key, algorithm, digest_name, signature, message)
    except InvalidSignature:
        return False
    except UnsupportedAlgorithm as exc:
        raise AlgorithmUnsupported(str(exc)) from exc
    return True


def _verify(
    key: Any,  # the union of cryptography's public keys, told apart below
    algorithm: cms.SignedDigestAlgorithm,
    digest_name: str,
    signature: bytes,
    message: bytes,
) -> None:
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        key.verify(signature, message)
        return
    hashed = _hash(digest_of(algorithm, digest_name))
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, _padding(algorithm), hashed)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        encoded = _der_signature(key, signature) if algorithm["algorithm"].dotted in _PLAIN_ECDSA else signature
        key.verify(encoded, message, ec.ECDSA(hashed))
    elif isinstance(key, dsa.DSAPublicKey):
        key.verify(signature, message, hashed)
    else:
        raise AlgorithmUnsupported(f"keys of type {type(key).__name__}")


def key_bits(public_key: keys.PublicKeyInfo) -> int:
    """Returns the size of a key, as the algorithm policy counts it."""
    return _EDWARDS_BITS.get(public_key.algorithm) or int(public_key.bit_size)


def digest_of(algorithm: cms.SignedDigestAlgorithm, digest_name: str = "") -> str:
    """Returns the digest a signature algorithm uses; `digest_name` where it names none."""
    dotted = algorithm["algorithm"].dotted
    if known := _PLAIN_ECDSA.get(dotted) or NIST_DIGESTS.get(dotted):
        return known
    if algorithm["algorithm"].native == "rsassa_pss":
        name: str = algorithm["parameters"]["hash_algorithm"]["algorithm"].native
        return name
    try:
        return str(algorithm.hash_algo)
    except (
        ValueError
    ):  # rsaEncryption and the like name no digest: the SignerInfo's digest algorithm holds (RFC 3370 3.2)
        return digest_name


def _hash(name: str) -> hashes.HashAlgorithm:
    try:
        return _HASHES[name]()
    except KeyError:
        raise AlgorithmUnsupported(f"digest algorithm {name}") from None


def _padding(algorithm: cms.SignedDigestAlgorithm) -> padding.AsymmetricPadding:
    if algorithm["algorithm"].native != "rsassa_pss":
        return padding.PKCS1v15()
    parameters = algorithm["parameters"]
    mask = _hash(parameters["mask_gen_algorithm"]["parameters"]["algorithm"].native)
    return padding.PSS(mgf=padding.MGF1(mask), salt_length=parameters["salt_length"].native)


def _der_signature(key: ec.EllipticCurvePublicKey, signature: bytes) -> bytes:
    half = (key.curve.key_size + 7) // 8
    if len(signature) != 2 * half:
        raise SignatureFalse(f"a plain ECDSA signature of {len(signature)} bytes")
    return utils.encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
