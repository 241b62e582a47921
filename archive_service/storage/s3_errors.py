"""What S3's error codes mean in the port's terms. A table apart from boto3, to be read and tested on its own.

Only known codes become a meaning; whatever is unknown goes by HTTP status: 4xx needs an operator, everything else is
worth retrying. HEAD answers carry no body, so boto3 reports the bare status as code; GET on the same key says
NoSuchKey.
"""

from typing import Final

from archive_service.errors import ArchiveError, ConfigurationInvalid, StoredObjectMissing, StoreFull, StoreUnavailable
from archive_service.storage.port import StoreAccessDenied, StoreRefused, StoreThrottled, StoreTimedOut

MISSING_CODES: Final = frozenset({"NoSuchKey", "NoSuchVersion"})
BARE_MISSING_CODES: Final = frozenset({"404", "NotFound"})
"""Key or bucket, a HEAD answer cannot tell."""
NO_LOCK_CODES: Final = frozenset(
    {"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "NoSuchObjectLegalHold"}
)
"""Not an error: the object or bucket has no lock. Servers differ in which of these they send."""
EXISTS_CODES: Final = frozenset({"PreconditionFailed", "412"})
"""`If-None-Match: *` met an object."""
UPLOAD_GONE_CODES: Final = frozenset({"NoSuchUpload"})
"""Completed by a request whose answer was lost, or aborted."""
RANGE_CODES: Final = frozenset({"InvalidRange", "416"})

_MEANINGS: Final[tuple[tuple[frozenset[str], type[ArchiveError]], ...]] = (
    (MISSING_CODES | BARE_MISSING_CODES, StoredObjectMissing),
    (frozenset({"NoSuchBucket"}), ConfigurationInvalid),
    (
        frozenset(
            {"AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
            | {"401", "403", "Unauthorized", "Forbidden"}
        ),
        StoreAccessDenied,
    ),
    (
        frozenset(
            {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429"}
            | {"TooManyRequestsException"}
        ),
        StoreThrottled,
    ),
    (frozenset({"RequestTimeout", "GatewayTimeout", "408", "504"}), StoreTimedOut),
    (frozenset({"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "StorageFull", "507"}), StoreFull),
    # hashed before sending, so the bytes changed on the way; and two writers of one key at the same instant
    (frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"}), StoreUnavailable),
    (frozenset({"ConditionalRequestConflict", "OperationAborted", "409"}), StoreUnavailable),
)
_BY_CODE: Final = {code: error for codes, error in _MEANINGS for code in codes}

_CLIENT_ERRORS: Final = range(400, 500)
_INSUFFICIENT_STORAGE: Final = 507


def translated(text: str, *, code: str, status: int) -> ArchiveError:
    """Returns the port's error for an S3 error code and HTTP status, with `text` as message."""
    error = _BY_CODE.get(code)
    if error is not None:
        return error(text)
    if status == _INSUFFICIENT_STORAGE:
        return StoreFull(text)
    return StoreRefused(text) if status in _CLIENT_ERRORS else StoreUnavailable(text)
