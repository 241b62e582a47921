"""A store in an S3 bucket, through boto3: versions, Object Lock, create-only writes, our own SHA-256 on every request.

What we do not leave to the server, because servers differ (LESSONS 41, 45):

* The bytes of a request are hashed before it is sent, and size and digest of the whole are compared before anything
becomes visible: a
  small object is one PUT, a large one a multipart upload that is only completed when all is right. Memory: one part.
* Every PUT and part carries `x-amz-checksum-sha256`, also where the server would accept it without; Object Lock
requires it on AWS. * ETags are never looked at. The digest of the whole is kept as object metadata for inventories;
what proves a copy is `read_back`. * `If-None-Match: *` makes writes create-only. When an answer got lost and the
repeated request is refused because the first one had
  succeeded, the object there is read and compared, so a retry is safe.

The bucket is set up by an operator (deploy notes): versioning on, Object Lock on where `lock_mode` is set. It is
never made here.
"""

import base64
import hashlib
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from uuid import UUID

import botocore.exceptions as boto_errors

from archive_service import clock
from archive_service.digests import Digest, DigestAlgorithm, sha256
from archive_service.errors import (
    ArchiveError,
    ConfigurationInvalid,
    Retained,
    StoredObjectDiffers,
    StoredObjectMissing,
    StoreUnavailable,
)
from archive_service.storage import durable
from archive_service.storage.announced import AnnouncedSource, same_bytes
from archive_service.storage.port import (
    Capabilities,
    LockEnforcement,
    ObjectLock,
    StoreAccessDenied,
    StoredObject,
    StoreKey,
    StoreTimedOut,
    store_key,
)
from archive_service.storage.resuming import Body, ResumingReader
from archive_service.storage.s3_client import open_client
from archive_service.storage.s3_errors import (
    BARE_MISSING_CODES,
    EXISTS_CODES,
    NO_LOCK_CODES,
    RANGE_CODES,
    UPLOAD_GONE_CODES,
    translated,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.literals import ObjectLockRetentionModeType
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ObjectLockRetentionTypeDef

    from archive_service.storage.locations import LocationSpec

PART_MIN_BYTES: Final = 16 * 1024 * 1024
"""Size of one part, and the largest object sent as one PUT: S3 wants at least 5 MiB; 16 keeps memory low and requests
few."""
PARTS_MAX: Final = 9_000
"""S3 allows 10,000 parts; larger objects get larger parts."""
SHA256_METADATA: Final = "sha256"

_Arguments = dict[str, Any]
"""Arguments of a boto3 call: put together here, checked by boto3 against its own service model."""

_CREATE_ONLY: Final[_Arguments] = {"IfNoneMatch": "*"}
_Sent = list[_Arguments]
"""The parts of an upload, as completing it wants them."""

_log = logging.getLogger(__name__)


class S3Store:
    """A `Store` in one bucket, below one prefix. Safe for threads; open it after forking, not before."""

    def __init__(self, spec: "LocationSpec") -> None:
        """Makes the client; sends nothing to the server.

        Raises:
            ConfigurationInvalid: the credentials are named but not there.
        """
        self._spec = spec
        self._bucket = spec.bucket
        self._client = open_client(spec)

    def __reduce__(self) -> tuple[type["S3Store"], tuple["LocationSpec"]]:
        """Goes to another process as what it was opened with; a client with its connections does not."""
        return S3Store, (self._spec,)

    @property
    def name(self) -> str:
        """The location's name."""
        return self._spec.name

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the bucket offers, asked once.

        Raises:
            ConfigurationInvalid: no such bucket, versioning suspended, or `lock_mode` set and the bucket has no
                Object Lock.
        """
        with self._errors("look at the bucket"):
            versioning = self._client.get_bucket_versioning(Bucket=self._bucket).get("Status")
        locked = self._bucket_has_lock()
        if versioning == "Suspended":
            raise ConfigurationInvalid(
                f"storage location {self.name}: versioning of bucket {self._bucket} is suspended"
            )
        if self._spec.lock_mode is not None and not locked:
            raise ConfigurationInvalid(f"storage location {self.name}: bucket {self._bucket} has no Object Lock")
        return Capabilities(
            immutable_until=self._spec.lock_mode is not None,
            legal_hold=locked,
            lock_enforcement=LockEnforcement.SERVER,
            server_side_digest=True,
            versioned=versioning == "Enabled",
            seekable=False,
        )

    def put(
        self,
        key: StoreKey,
        source: BinaryIO,
        *,
        expected: Digest,
        size_bytes: int,
        retain_until: datetime | None = None,
    ) -> StoredObject:
        """See `Store.put`."""
        settings = self._settings(expected, retain_until)
        if not self._is_there(key):
            announced = AnnouncedSource(key, source, expected=expected, size_bytes=size_bytes)
            written, version_id = self._send(key, announced, settings, _CREATE_ONLY)
            if written:
                return replace(self.stat(key, version_id=version_id), sha256=expected)
        try:
            return self._existing(key, expected=expected, size_bytes=size_bytes, retain_until=retain_until)
        except StoredObjectMissing as exc:
            raise StoreUnavailable(f"{self.name}: {key} was there a moment ago and is not now; try again") from exc

    def supersede(
        self,
        key: StoreKey,
        source: BinaryIO,
        *,
        expected: Digest,
        size_bytes: int,
        retain_until: datetime | None = None,
    ) -> StoredObject:
        """See `Store.supersede`. The one write that is not create-only; where versions are kept it destroys nothing.

        Raises:
            ConfigurationInvalid: the bucket keeps no versions, so it would destroy what is there.
        """
        if not self.capabilities.versioned:
            raise ConfigurationInvalid(f"storage location {self.name} keeps no versions: nothing is written over {key}")
        if not any(not each.delete_marker for each in self.versions(key)):
            raise StoredObjectMissing(f"{self.name} holds nothing under {key}")
        settings = self._settings(expected, retain_until)
        announced = AnnouncedSource(key, source, expected=expected, size_bytes=size_bytes)
        _written, version_id = self._send(key, announced, settings, {})
        return replace(self.stat(key, version_id=version_id), sha256=expected)

    def _send(
        self, key: StoreKey, announced: AnnouncedSource, settings: _Arguments, condition: _Arguments
    ) -> tuple[bool, str | None]:
        """Returns whether the bytes were written (else the key exists, under the condition) and as which version."""
        send = self._put_whole if announced.size_bytes <= PART_MIN_BYTES else self._put_parts
        return send(key, announced, settings, condition)

    def _is_there(self, key: StoreKey) -> bool:
        try:
            self.stat(key)
        except StoredObjectMissing:
            return False
        return True

    def _settings(self, expected: Digest, retain_until: datetime | None) -> _Arguments:
        """Returns what goes along with a new object: metadata and lock."""
        settings: _Arguments = {"ContentType": "application/octet-stream"}
        if expected.algorithm is DigestAlgorithm.SHA_256:
            settings["Metadata"] = {SHA256_METADATA: expected.hex}
        if retain_until is not None:
            settings["ObjectLockMode"] = self._lock_mode()
            settings["ObjectLockRetainUntilDate"] = _whole_seconds(retain_until)
        return settings

    def _put_whole(
        self, key: StoreKey, announced: AnnouncedSource, settings: _Arguments, condition: _Arguments
    ) -> tuple[bool, str | None]:
        """Sends a small object in one request."""
        target = self._target(key, None)
        body = b"".join(announced.chunks())
        announced.require_as_announced()
        checksum = _sha256_base64(body)
        with self._errors(f"write {key}"):
            try:
                answer = self._client.put_object(Body=body, ChecksumSHA256=checksum, **condition, **target, **settings)
            except boto_errors.ClientError as exc:
                if _code(exc) in EXISTS_CODES:
                    return False, None
                raise
        return True, answer.get("VersionId")

    def _put_parts(
        self, key: StoreKey, announced: AnnouncedSource, settings: _Arguments, condition: _Arguments
    ) -> tuple[bool, str | None]:
        """Sends a large object in parts and completes it only when all of it is right."""
        target = self._target(key, None)
        with self._errors(f"write {key}"):
            begun = self._client.create_multipart_upload(ChecksumAlgorithm="SHA256", **target, **settings)
        upload = {**target, "UploadId": begun["UploadId"]}
        part_bytes = max(PART_MIN_BYTES, -(-announced.size_bytes // PARTS_MAX))
        try:
            sent: _Sent = []
            for number, body in enumerate(announced.parts(part_bytes), start=1):
                checksum = _sha256_base64(body)
                with self._errors(f"write part {number} of {key}"):
                    answer = self._client.upload_part(PartNumber=number, Body=body, ChecksumSHA256=checksum, **upload)
                sent.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
            announced.require_as_announced()
            with self._errors(f"complete {key}"):
                return self._complete(key, upload, sent, condition)
        except BaseException:
            self._abort(key, upload)
            raise

    def _complete(
        self, key: StoreKey, upload: _Arguments, sent: _Sent, condition: _Arguments
    ) -> tuple[bool, str | None]:
        parts: Any = {"Parts": sent}  # the stubs want their own dict class
        try:
            answer = self._client.complete_multipart_upload(MultipartUpload=parts, **condition, **upload)
        except boto_errors.ClientError as exc:
            if not condition or _code(exc) not in EXISTS_CODES | UPLOAD_GONE_CODES:
                raise
            self._abort(key, upload)
            return False, None
        return True, answer.get("VersionId")

    def _abort(self, key: StoreKey, upload: _Arguments) -> None:
        """Frees the parts of an upload that failed; what cannot be freed now is found by `sweep_unfinished`."""
        try:
            with self._errors(f"abort {key}"):
                self._client.abort_multipart_upload(**upload)
        except ArchiveError as exc:
            _log.warning("unfinished upload of %s at %s is left to the sweep: %s", key, self.name, exc)

    def _existing(
        self, key: StoreKey, *, expected: Digest, size_bytes: int, retain_until: datetime | None
    ) -> StoredObject:
        """Returns the object already there, read and hashed, if it has the expected bytes."""
        present = self.stat(key)
        with self.open(key, version_id=present.version_id) as source:
            if not same_bytes(source, expected=expected, size_bytes=size_bytes):
                raise StoredObjectDiffers(f"{self.name} holds other bytes under {key}", location=self.name, key=key)
        if retain_until is not None:
            self.retain_until(key, retain_until, present.version_id)
        return replace(present, sha256=expected)

    def open(
        self,
        key: StoreKey,
        *,
        offset: int = 0,
        length: int | None = None,
        version_id: str | None = None,
        past_cache: bool = False,  # noqa: ARG002 - this host remembers nothing of it
    ) -> BinaryIO:
        """See `Store.open`. The reader is not seekable; it outlives a broken connection, in the same version."""
        if offset < 0 or (length is not None and length < 0):
            raise ValueError(f"range {offset}+{length}")
        if length == 0:
            self.stat(key, version_id=version_id)
            return io.BytesIO()
        pinned = version_id

        def fetch(position: int) -> Body | None:
            nonlocal pinned  # what was begun is continued in the same version
            last = "" if length is None else str(offset + length - 1)
            arguments = self._target(key, pinned)
            if offset or position or last:
                arguments["Range"] = f"bytes={offset + position}-{last}"
            with self._errors(f"read {key}"):
                try:
                    answer = self._client.get_object(**arguments)
                except boto_errors.ClientError as exc:
                    if _code(exc) in RANGE_CODES:
                        return None
                    raise
            pinned = answer.get("VersionId", pinned)
            return answer["Body"]

        raw = ResumingReader(fetch, lambda: self._errors(f"read {key}"), attempts=self._spec.max_attempts)
        return io.BufferedReader(raw, buffer_size=durable.BUFFER_BYTES)

    def stat(self, key: StoreKey, *, version_id: str | None = None) -> StoredObject:
        """See `Store.stat`. A bare 404 is taken for a missing key only when the bucket answers."""
        head = self._head(key, version_id)
        recorded = head["Metadata"].get(SHA256_METADATA)
        return StoredObject(
            key=key,
            size_bytes=head["ContentLength"],
            version_id=head.get("VersionId"),
            sha256=_recorded_digest(recorded),
            modified_at=head["LastModified"].astimezone(UTC),
        )

    def _head(self, key: StoreKey, version_id: str | None) -> "HeadObjectOutputTypeDef":
        target = self._target(key, version_id)
        with self._errors(f"look at {key}"):
            try:
                return self._client.head_object(**target)
            except boto_errors.ClientError as exc:
                if _code(exc) not in BARE_MISSING_CODES:
                    raise
                self._require_bucket()
                raise StoredObjectMissing(f"{self.name} holds nothing under {key}") from exc

    def list(self, prefix: str = "", *, start_after: StoreKey | None = None) -> Iterator[StoredObject]:
        """See `Store.list`. The order is S3's; version ids and digests are not part of a listing: `stat` gives them."""
        arguments: _Arguments = {"Bucket": self._bucket, "Prefix": self._spec.prefix + prefix}
        if start_after is not None:
            arguments["StartAfter"] = self._full(start_after)
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(**arguments))
        while True:
            with self._errors(f"list {prefix}"):
                page = next(pages, None)
            if page is None:
                return
            for entry in page.get("Contents", []):
                yield StoredObject(
                    key=StoreKey(entry["Key"].removeprefix(self._spec.prefix)),
                    size_bytes=entry["Size"],
                    version_id=None,
                    sha256=None,
                    modified_at=entry["LastModified"].astimezone(UTC),
                )

    def inventory(self, prefix: str = "", *, start_after: StoreKey | None = None) -> Iterator[StoredObject]:
        """See `Store.inventory`. Digests are not part of a listing."""
        after = {} if start_after is None else {"KeyMarker": self._full(start_after)}
        return self._all_versions(self._spec.prefix + prefix, after)

    def versions(self, key: StoreKey) -> tuple[StoredObject, ...]:
        """See `Store.versions`. Newest first, delete markers last."""
        found: list[StoredObject] = []
        for each in self._all_versions(self._full(key), {}):
            if each.key != key:  # sorted: the exact key comes first
                break
            found.append(each)
        return tuple(sorted(found, key=lambda each: each.delete_marker))

    def _all_versions(self, prefix: str, after: _Arguments) -> Iterator[StoredObject]:
        """Yields versions and delete markers page by page, in the order of keys and what belongs to one together."""
        pages = iter(
            self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix, **after)
        )
        while True:
            with self._errors(f"list versions of {prefix}"):
                page = next(pages, None)
            if page is None:
                return
            found = [self._listed(entry, entry["Size"]) for entry in page.get("Versions", [])]
            found += [replace(self._listed(mark, 0), delete_marker=True) for mark in page.get("DeleteMarkers", [])]
            yield from sorted(found, key=lambda each: each.key)

    def _listed(self, entry: Any, size_bytes: int) -> StoredObject:  # a row of list_object_versions
        return StoredObject(
            key=StoreKey(entry["Key"].removeprefix(self._spec.prefix)),
            size_bytes=size_bytes,
            version_id=entry["VersionId"],
            sha256=None,
            modified_at=entry["LastModified"].astimezone(UTC),
            newest=entry["IsLatest"],
        )

    # -- locks

    def lock(self, key: StoreKey, *, version_id: str | None = None) -> ObjectLock:
        """See `Store.lock`. HEAD leaves locks out when the credentials may not see them: what it lacks is asked for."""
        head: Mapping[str, Any] = self._head(key, version_id)  # the stubs say that locks are always told
        if not self.capabilities.legal_hold:
            return ObjectLock(retain_until=None, legal_hold=False)
        until, told = head.get("ObjectLockRetainUntilDate"), head.get("ObjectLockLegalHoldStatus")
        if until is not None and told is not None:
            return ObjectLock(retain_until=until.astimezone(UTC), legal_hold=told == "ON")
        _mode, kept = self._retention(key, version_id)
        with self._errors(f"look at the hold of {key}"):
            try:
                hold = (
                    self._client.get_object_legal_hold(**self._target(key, version_id))["LegalHold"].get("Status")
                    == "ON"
                )
            except boto_errors.ClientError as exc:
                if _code(exc) not in NO_LOCK_CODES:
                    raise
                hold = False
        return ObjectLock(retain_until=kept, legal_hold=hold)

    def retain_until(self, key: StoreKey, until: datetime, version_id: str | None = None) -> None:
        """See `Store.retain_until`. Never from COMPLIANCE back to GOVERNANCE; the other way where the server allows it."""
        wanted = _whole_seconds(until)
        configured = self._lock_mode()
        mode, present = self._retention(key, version_id)
        if present is not None and present >= wanted:
            return
        try:
            self._lock_until(key, version_id, "COMPLIANCE" if mode == "COMPLIANCE" else configured, wanted)
        except StoreAccessDenied:
            mode, present = self._retention(key, version_id)
            if present is not None and present >= wanted:
                return  # another writer extended it further meanwhile
            if mode != "GOVERNANCE" or configured == mode:
                raise
            # Changing the mode of a lock needs the bypass that this service never has; extending it does not.
            _log.warning("%s at %s stays locked in GOVERNANCE: the server refuses to change the mode", key, self.name)
            self._lock_until(key, version_id, "GOVERNANCE", wanted)

    def _lock_until(
        self, key: StoreKey, version_id: str | None, mode: "ObjectLockRetentionModeType", until: datetime
    ) -> None:
        lock: ObjectLockRetentionTypeDef = {"Mode": mode, "RetainUntilDate": until}
        with self._errors(f"lock {key}"):
            self._client.put_object_retention(
                Retention=lock, ChecksumAlgorithm="SHA256", **self._target(key, version_id)
            )

    def set_legal_hold(self, key: StoreKey, on: bool, *, version_id: str | None = None) -> None:  # noqa: FBT001
        """See `Store.set_legal_hold`."""
        self.stat(key, version_id=version_id)
        with self._errors(f"set the hold of {key}"):
            self._client.put_object_legal_hold(
                LegalHold={"Status": "ON" if on else "OFF"}, ChecksumAlgorithm="SHA256", **self._target(key, version_id)
            )

    def _retention(self, key: StoreKey, version_id: str | None) -> tuple[str | None, datetime | None]:
        """Returns mode and date of the lock, both None when there is none."""
        self.stat(key, version_id=version_id)
        with self._errors(f"look at the lock of {key}"):
            try:
                retention = self._client.get_object_retention(**self._target(key, version_id))["Retention"]
            except boto_errors.ClientError as exc:
                if _code(exc) not in NO_LOCK_CODES:
                    raise
                return None, None
        until = retention.get("RetainUntilDate")
        return retention.get("Mode"), None if until is None else until.astimezone(UTC)

    def _lock_mode(self) -> "ObjectLockRetentionModeType":
        if self._spec.lock_mode is None or not self.capabilities.immutable_until:
            raise ConfigurationInvalid(f"storage location {self.name} has no lock mode: objects cannot be locked there")
        return "COMPLIANCE" if self._spec.lock_mode == "COMPLIANCE" else "GOVERNANCE"

    def delete(self, key: StoreKey, *, version_id: str | None, disposition: UUID) -> None:
        """See `Store.delete`. GOVERNANCE locks are not bypassed."""
        if (version_id is None) == self.capabilities.versioned:
            raise ValueError(
                f"{self.name}: version id {version_id!r} for {key}, versioned={self.capabilities.versioned}"
            )
        try:
            with self._errors(f"delete {key}"):
                self._client.delete_object(**self._target(key, version_id))
        except StoreAccessDenied as exc:
            lock = self.lock(key, version_id=version_id)
            if lock.legal_hold or lock.retain_until is not None:
                raise Retained(f"{key} at {self.name} is locked: {lock}") from exc
            raise
        _log.warning("deleted %s version %s at %s under disposition %s", key, version_id, self.name, disposition)

    def sweep_unfinished(self, *, older_than: datetime) -> int:
        """See `Store.sweep_unfinished`: aborts multipart uploads of writers that died."""
        swept = 0
        with self._errors("sweep unfinished uploads"):
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._spec.prefix):
                for upload in page.get("Uploads", []):
                    if upload["Initiated"] < older_than:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        swept += 1
        return swept

    # -- the bucket and its errors

    def _full(self, key: StoreKey) -> str:
        return self._spec.prefix + store_key(key)

    def _target(self, key: StoreKey, version_id: str | None) -> _Arguments:
        """Returns what names a version in a call. A server without versions may ignore the id; we do not."""
        target: _Arguments = {"Bucket": self._bucket, "Key": self._full(key)}
        if version_id is not None:
            if not self.capabilities.versioned:
                raise StoredObjectMissing(f"{self.name} has no versions; {key} version {version_id!r} is not here")
            target["VersionId"] = version_id
        return target

    def _bucket_has_lock(self) -> bool:
        with self._errors("look at the bucket"):
            try:
                answer = self._client.get_object_lock_configuration(Bucket=self._bucket)
            except boto_errors.ClientError as exc:
                if _code(exc) in {*NO_LOCK_CODES, "NotImplemented"}:
                    return False
                raise
        return answer["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled"

    def _require_bucket(self) -> None:
        """Tells a missing bucket, which would make every copy look missing, from a missing key."""
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except boto_errors.ClientError as exc:
            if _code(exc) in BARE_MISSING_CODES:
                raise ConfigurationInvalid(f"storage location {self.name}: no bucket {self._bucket}") from exc
            raise

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        """Turns boto3's exceptions into the port's, each with its own meaning."""
        try:
            yield
        except boto_errors.ClientError as exc:
            raise _port_error(f"{self.name}: {action}", exc) from exc
        except (boto_errors.ConnectTimeoutError, boto_errors.ReadTimeoutError) as exc:
            raise StoreTimedOut(f"{self.name}: {action}: no answer in time") from exc
        except (boto_errors.NoCredentialsError, boto_errors.PartialCredentialsError) as exc:
            raise ConfigurationInvalid(f"storage location {self.name}: {exc}") from exc
        except boto_errors.BotoCoreError as exc:
            raise StoreUnavailable(f"{self.name}: {action}: {exc}") from exc


def _port_error(message: str, exc: boto_errors.ClientError) -> ArchiveError:
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"{message}: {_code(exc)} {exc.response.get('Error', {}).get('Message', '')}".rstrip()
    return translated(text, code=_code(exc), status=status)


def _code(exc: boto_errors.ClientError) -> str:
    return str(exc.response.get("Error", {}).get("Code", ""))


def _recorded_digest(text: str | None) -> Digest | None:
    """Returns the digest from object metadata; None when absent or not a digest, as metadata may be anyone's."""
    try:
        return None if text is None else sha256(text)
    except ValueError:
        return None


def _sha256_base64(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _whole_seconds(at: datetime) -> datetime:
    """Returns `at` in UTC, rounded up: servers keep whole seconds, and a lock must never end early."""
    utc = clock.require_aware(at).astimezone(UTC)
    return utc if utc.microsecond == 0 else utc.replace(microsecond=0) + timedelta(seconds=1)
