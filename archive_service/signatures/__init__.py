"""Electronic signatures: validation with a report that settles disputes, trust stores, policies (DESIGN D8)."""

from archive_service.signatures.acceptance import findings_for
from archive_service.signatures.policy import SignaturePolicy, load_policy
from archive_service.signatures.report import Indication, SignatureCheck, SignatureReport
from archive_service.signatures.trust import TrustStore
from archive_service.signatures.validate import KnownExistence, validate_file

__all__ = [
    "Indication",
    "KnownExistence",
    "SignatureCheck",
    "SignaturePolicy",
    "SignatureReport",
    "TrustStore",
    "findings_for",
    "load_policy",
    "validate_file",
]
