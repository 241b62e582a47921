"""Verifying a signature value the way makers of signatures in the field write them; what cannot be computed is never called wrong.

pyHanko verifies what RFC 5652 and its companions prescribe. Honest files differ in five ways, each kept to what cannot be forged:
  - The signature algorithm names only a key (id-ecPublicKey, id-dsa): the digest is the signer's digest algorithm (iText 5).
  - It names another digest than the signer's digest algorithm: OpenSSL goes by the latter. Judged weak or mismatched elsewhere.
  - RSA with SHA-3 is named by a number that pyHanko does not know.
  - The DigestInfo of an RSA signature leaves out the NULL: RFC 8017 appendix B.1 has it accepted, clause 9.2 note 1 compares encodings.
  - The signed attributes are written in another order or encoding than the DER that is signed (RFC 5652 clause 5.4).
"""

from typing import Final

from asn1crypto import algos, cms, core, keys
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pyhanko_certvalidator.errors import AlgorithmNotSupported, DSAParametersUnavailable, PSSParameterMismatch
from pyhanko_certvalidator.sig_validate import (
    DEFAULT_SIGNATURE_VALIDATOR,
    DEFAULT_VALIDATION_CONTEXT,
    SignatureValidationContext,
    SignatureValidator,
)
from pyhanko_certvalidator.util import get_pyca_cryptography_hash

from archive_service.signature_oids import RSA_SHA3

_KEY_ONLY: Final = {"1.2.840.10045.2.1": "ecdsa", "1.2.840.10040.4.1": "dsa", "dsa": "dsa"}
"""Algorithms that stand for a key where one for a signature belongs."""
_PURE: Final = frozenset({"ed25519", "ed448", "mldsa44", "mldsa65", "mldsa87"})
"""Algorithms that sign the content itself, never a digest of it."""
_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_LONG_FORM: Final = 0x80
"""First length that DER writes in more than one octet."""
_NOT_COMPUTABLE: Final = (AlgorithmNotSupported, DSAParametersUnavailable, PSSParameterMismatch)
"""pyHanko derives these from `InvalidSignature`, though the value was not even looked at."""


class TolerantSignatureValidator(SignatureValidator):
    """Verifies signature values with the latitude described above; raises UnsupportedAlgorithm where nothing was computed."""

    def validate_signature(
        self,
        signature: bytes,
        signed_data: bytes,
        public_key_info: keys.PublicKeyInfo,
        signature_algorithm: algos.SignedDigestAlgorithm,
        context: SignatureValidationContext = DEFAULT_VALIDATION_CONTEXT,
    ) -> None:
        """Verifies one value.

        Raises:
            InvalidSignature: the value is wrong.
            UnsupportedAlgorithm: it cannot be computed.
        """
        named = _named(signature_algorithm, context.contextual_md_algorithm)
        digest = RSA_SHA3.get(signature_algorithm["algorithm"].native)
        if digest is not None:
            if digest != context.contextual_md_algorithm:
                raise UnsupportedAlgorithm(f"RSA with {digest} over a digest by {context.contextual_md_algorithm}")
            named = algos.SignedDigestAlgorithm({"algorithm": "rsassa_pkcs1v15"})
        try:
            DEFAULT_SIGNATURE_VALIDATOR.validate_signature(signature, signed_data, public_key_info, named, context)
        except _NOT_COMPUTABLE as exc:
            raise UnsupportedAlgorithm(str(exc)) from exc
        except InvalidSignature:
            if not _holds_otherwise(signature, signed_data, public_key_info, named, context):
                raise


TOLERANT: Final = TolerantSignatureValidator()


def _named(algorithm: algos.SignedDigestAlgorithm, digest: str | None) -> algos.SignedDigestAlgorithm:
    """Returns the algorithm with the digest it leaves out."""
    family = _KEY_ONLY.get(algorithm["algorithm"].native)
    if family is None or digest is None:
        return algorithm
    return algos.SignedDigestAlgorithm({"algorithm": f"{digest}_{family}"})


def _holds_otherwise(
    signature: bytes,
    signed_data: bytes,
    key: keys.PublicKeyInfo,
    algorithm: algos.SignedDigestAlgorithm,
    context: SignatureValidationContext,
) -> bool:
    """Returns whether a value holds with the signer's own digest algorithm, or with a DigestInfo without NULL."""
    family, digest = _family(algorithm), context.contextual_md_algorithm
    if family == "rsassa_pkcs1v15" and _holds_without_null(signature, signed_data, key, algorithm, context):
        return True
    if (
        digest is None
        or family not in {"rsassa_pkcs1v15", "ecdsa"}
        or algorithm["algorithm"].native == "rsassa_pkcs1v15"
    ):
        return False
    suffix = "rsa" if family == "rsassa_pkcs1v15" else "ecdsa"
    try:
        other = algos.SignedDigestAlgorithm({"algorithm": f"{digest}_{suffix}"})
        DEFAULT_SIGNATURE_VALIDATOR.validate_signature(signature, signed_data, key, other, context)
    except (InvalidSignature, ValueError):
        return False
    return True


def _family(algorithm: algos.SignedDigestAlgorithm) -> str:
    try:
        return str(algorithm.signature_algo)
    except ValueError:
        return str(algorithm["algorithm"].native)


def _holds_without_null(
    signature: bytes,
    signed_data: bytes,
    key: keys.PublicKeyInfo,
    algorithm: algos.SignedDigestAlgorithm,
    context: SignatureValidationContext,
) -> bool:
    """Compares the recovered encoding with the one DigestInfo without parameters; nothing is parsed, so nothing can hide in it."""
    try:
        name = str(algorithm.hash_algo)
    except ValueError:
        name = context.contextual_md_algorithm or ""
    public = serialization.load_der_public_key(key.dump())
    if not isinstance(public, rsa.RSAPublicKey) or not name:
        return False
    digest = signed_data
    if not context.prehashed:
        state = hashes.Hash(get_pyca_cryptography_hash(name))
        state.update(signed_data)
        digest = state.finalize()
    algorithm_only = _der(_SEQUENCE, algos.DigestAlgorithmId(name).dump())
    expected = _der(_SEQUENCE, algorithm_only + core.OctetString(digest).dump())
    try:
        return bool(public.recover_data_from_signature(signature, padding.PKCS1v15(), None) == expected)
    except InvalidSignature:
        return False


def in_der(written: bytes) -> bytes | None:
    """Returns the octets of signed attributes in the order and encoding that DER prescribes, None where they are so already."""
    attributes = cms.CMSAttributes.load(written)
    octets = _der(_SET, b"".join(sorted(attribute.dump(force=True) for attribute in attributes)))
    return None if octets == written else octets


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < _LONG_FORM:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, _LONG_FORM | len(octets)]) + octets + content


def signs_content_itself(signer_info: cms.SignerInfo) -> bool:
    """Returns whether the value is over the content and no digest of it: no signed attributes, and an algorithm without prehash."""
    return not signer_info["signed_attrs"] and signer_info["signature_algorithm"]["algorithm"].native in _PURE
