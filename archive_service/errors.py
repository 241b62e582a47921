"""The one exception tree: every way in which work could not be done.

An exception means *we could not do the work*; a dossier that does not conform gives findings instead (findings.py). Each class has a
stable `code`; its docstring is the operator's explanation. HTTP status codes come from one table in api/errors.py, CLI exit codes from
the same codes.
"""

from typing import Any, ClassVar


class ArchiveError(Exception):
    """The service could not do what was asked."""

    code: ClassVar[str] = "ARCHIVE_ERROR"

    def __init__(self, message: str, **fields: Any) -> None:  # fields become problem+json members
        super().__init__(message)
        self.message = message
        self.fields = fields


class NotFound(ArchiveError):
    """No such thing, or none that the caller may see (the two are told apart only in the audit log)."""

    code = "NOT_FOUND"


class NotSignedIn(ArchiveError):
    """The request carries no valid session or token."""

    code = "NOT_SIGNED_IN"


class NotPermitted(ArchiveError):
    """The caller is known but has no role for this in this agency."""

    code = "NOT_PERMITTED"


class BadRequest(ArchiveError):
    """The request itself is malformed; `problems` lists every reason at once."""

    code = "BAD_REQUEST"


class TooLarge(ArchiveError):
    """The request is larger than the configured limit named in the message."""

    code = "TOO_LARGE"


class Conflict(ArchiveError):
    """The request contradicts what is already held."""

    code = "CONFLICT"


class ContentDiffers(Conflict):
    """The dossier code is known with other content; `difference` lists where the two differ (R002)."""

    code = "DOSSIER_CONTENT_DIFFERS"


class IllegalTransition(Conflict):
    """The lifecycle has no step from the present state to the one asked for."""

    code = "ILLEGAL_TRANSITION"


class DigestMismatch(ArchiveError):
    """Bytes do not have the digest or size they should have."""

    code = "DIGEST_MISMATCH"


class StoreUnavailable(ArchiveError):
    """A storage location could not be reached or refused for a passing reason; worth retrying."""

    code = "STORE_UNAVAILABLE"


class StoreFull(StoreUnavailable):
    """A storage location has no room left."""

    code = "STORE_FULL"


class StoredObjectMissing(ArchiveError):
    """A storage location holds nothing under the key."""

    code = "STORED_OBJECT_MISSING"


class StoredObjectDiffers(ArchiveError):
    """A storage location already holds other bytes under the key: nothing was overwritten; this is an alarm."""

    code = "STORED_OBJECT_DIFFERS"


class Retained(ArchiveError):
    """The store refuses: the object is under retention or legal hold."""

    code = "RETAINED"


class UnsafeKey(ArchiveError):
    """A storage key or path that leaves its root or has forbidden characters."""

    code = "UNSAFE_KEY"


class ConfigurationInvalid(ArchiveError):
    """A setting, profile or rule file is missing or malformed; the message names file and place."""

    code = "CONFIGURATION_INVALID"


class PackageInvalid(ArchiveError):
    """A package handed in cannot be read as what it claims to be."""

    code = "PACKAGE_INVALID"


class LeaseLost(ArchiveError):
    """A worker's lease on a job ran out; another worker may hold it now, so this one stops without writing."""

    code = "LEASE_LOST"
