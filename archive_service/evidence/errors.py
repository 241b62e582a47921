"""Errors of this package: a piece of evidence cannot be read, is false, or cannot be had.

Parsers of hostile bytes raise only these; no ValueError or library exception leaves the package.
"""

from typing import ClassVar

from archive_service.errors import ArchiveError


class EvidenceInvalid(ArchiveError):
    """A piece of evidence is malformed or proves something else than claimed."""

    code: ClassVar[str] = "EVIDENCE_INVALID"


class ProofInvalid(EvidenceInvalid):
    """A Merkle inclusion or consistency proof does not lead to the claimed root."""

    code: ClassVar[str] = "PROOF_INVALID"


class TilesIncomplete(EvidenceInvalid):
    """A tile of the Merkle log is missing or too short for the tree size: the stored hashes are damaged."""

    code: ClassVar[str] = "LOG_TILES_INCOMPLETE"


class CheckpointInvalid(EvidenceInvalid):
    """A checkpoint, signed note or note key is malformed, or a signature on it by a known key is false."""

    code: ClassVar[str] = "CHECKPOINT_INVALID"


class LogProofInvalid(EvidenceInvalid):
    """A log proof bundle or a log leaf is not in its documented form."""

    code: ClassVar[str] = "LOG_PROOF_INVALID"


class TimestampInvalid(EvidenceInvalid):
    """A time-stamp reply or token is malformed or does not answer the request that was sent (RFC 3161)."""

    code: ClassVar[str] = "TIMESTAMP_INVALID"


class TimestampRefused(ArchiveError):
    """A time-stamp authority answered, but granted no token; its status and failure text are in the message."""

    code: ClassVar[str] = "TIMESTAMP_REFUSED"


class TimestampUnavailable(ArchiveError):
    """No configured time-stamp authority gave a usable token; retry later. `attempts` lists why each failed."""

    code: ClassVar[str] = "TIMESTAMP_UNAVAILABLE"


class EvidenceRecordInvalid(EvidenceInvalid):
    """Bytes that should be an Evidence Record are not one (RFC 4998), or an operation on one lacks what it needs."""

    code: ClassVar[str] = "EVIDENCE_RECORD_INVALID"
