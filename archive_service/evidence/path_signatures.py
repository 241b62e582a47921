"""Signatures of the certificates on a time-stamp's path, also by algorithms that the path library cannot compute.

Only `token_trust` needs this, and only when it builds a path: importing the library takes longer than most checks.
"""

from asn1crypto import algos, keys
from cryptography.exceptions import InvalidSignature
from pyhanko_certvalidator.errors import DSAParametersUnavailable, PSSParameterMismatch
from pyhanko_certvalidator.sig_validate import (
    DEFAULT_VALIDATION_CONTEXT,
    DefaultSignatureValidator,
    SignatureValidationContext,
)

from archive_service.evidence.cms_signature import verify_signature
from archive_service.evidence.timestamps import LIBRARY_ERRORS


class PathSignatures(DefaultSignatureValidator):
    """Certificate signatures by the library, and by ours where it knows the algorithm and the library does not (SHA-3, plain ECDSA).

    Raises:
        AlgorithmUnsupported: neither can compute it.
    """

    def validate_signature(
        self,
        signature: bytes,
        signed_data: bytes,
        public_key_info: keys.PublicKeyInfo,
        signature_algorithm: algos.SignedDigestAlgorithm,
        context: SignatureValidationContext = DEFAULT_VALIDATION_CONTEXT,
    ) -> None:
        """Checks one certificate's signature.

        Raises:
            InvalidSignature: it is false.
            AlgorithmUnsupported: it cannot be computed.
        """
        try:
            super().validate_signature(signature, signed_data, public_key_info, signature_algorithm, context)
        except PSSParameterMismatch:
            raise
        except (InvalidSignature, DSAParametersUnavailable, *LIBRARY_ERRORS):
            if not verify_signature(public_key_info, signature_algorithm, "", signature, signed_data):
                raise InvalidSignature from None
