"""Packaging and storing an approved submission: one AIP, every copy of the policy written and read back, then one commit.

Write order (DESIGN section 6): AIP built, the same bytes every time → copy 1..n, create-only and locked → read back each → one transaction
with state, copies, offsets, retention, events and the jobs for copies that come later (stored_rows.py). The commit is the sole commit point;
before it a crash leaves objects that the retry finds with the same key and the same bytes. "Stored" is said only when every copy the policy
wants before it was read back with the right digest (R013, LESSONS 10).

The package as built is no copy and need not outlive a crash: nothing but this run ever reads it. It stands in memory, or when it is large
in an unfinished file that staging sweeps.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import BinaryIO, Final
from uuid import UUID

from sqlalchemy import bindparam, select

from archive_service import clock
from archive_service.db import Work
from archive_service.dossier import Dossier
from archive_service.errors import ArchiveError, StoreUnavailable
from archive_service.followup import enqueue
from archive_service.formats.rendition import may_be_rendered
from archive_service.ids import derived_id, record_id
from archive_service.models import JobKind, Record
from archive_service.packaging.aip import BuiltAip, build_aip
from archive_service.packaging.content import AipContent
from archive_service.placement import placement
from archive_service.prepared import Prepared
from archive_service.rules import retention
from archive_service.service import Service
from archive_service.storage.announced import HashedBytes
from archive_service.storage.durable import DurableFile
from archive_service.storage.lock_dates import beginning_of, lock_date
from archive_service.storage.port import CopyPlace, ReadBack, ReadBackOutcome, read_back_alike, store_key
from archive_service.transfer.package import aip_content
from archive_service.transfer.stored_rows import VerifiedCopy, kept_for, write_stored_rows

AIP_STAGED_NAME: Final = "aip.zip"
IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
"""Packages up to about this size are built in memory: nearly every dossier. A worker stores one at a time."""
_ABOUT_A_FILE_BYTES: Final = 8 * 1024
"""What a package says of one file in METS, PREMIS and EAD, generously."""
_RETENTION: Final = Prepared(
    select(Record.retention_kind, Record.retention_due_on).where(Record.id == bindparam("record"))
)


class CopyNotVerified(ArchiveError):
    """A copy just written could not be read back with the right bytes; the record is not stored and the job is tried again."""

    code = "COPY_NOT_VERIFIED"


def store_submission(
    service: Service, submission_id: UUID, *, ending: Callable[[Work], None] = lambda _work: None
) -> None:
    """Packages and stores an approved submission; idempotent, so a second run after any crash ends in the same state.

    Args:
        service: The parts of this process.
        submission_id: What to store; anything not APPROVED is left alone.
        ending: Called last in the transaction that says STORED.

    Raises:
        StoreUnavailable: a location could not be written or read now; try again.
        StoredObjectDiffers: a location holds other bytes under the key: an alarm, nothing was overwritten.
        CopyNotVerified: a copy was read back with other bytes.
    """
    with service.database.read_prepared() as work:
        content = aip_content(work, service.staging, submission_id, service.settings)
        if content is None:
            return
        where = placement(service, work)
        due_on = _due_on(work, content)
    level = int(content.dossier.access_mode)
    with _room(service, submission_id, content) as target:
        built = build_aip(content, target)
        key = object_key(content.dossier, built)
        written = [
            _write_copy(service, location, key, _from_start(target, built), built, due_on)
            for location in where.before_stored(level)
        ]
        verified = _read_back(written, built)
    with service.database.write_prepared() as work:
        at = clock.unique_now()
        write_stored_rows(work, submission_id, content, built, key, verified, at=at)
        if where.later(level):
            enqueue(work, JobKind.COPY_PACKAGE, derived_id("aip", built.objid), at=at)
        if service.settings.renditions and any(may_be_rendered(file.component.path) for file in content.files):
            later = at + timedelta(seconds=service.settings.rendition_delay_s)
            enqueue(work, JobKind.MAKE_RENDITIONS, derived_id("aip", built.objid), at=at, run_at=later)
        if service.settings.text_search:
            later = at + timedelta(seconds=service.settings.rendition_delay_s)
            enqueue(work, JobKind.EXTRACT_TEXT, derived_id("aip", built.objid), at=at, run_at=later)
        ending(work)


def object_key(dossier: Dossier, built: BuiltAip) -> str:
    """Returns the storage key of an AIP: agency, year the work ended, a part of its UUID, file name.

    Never shared between packages (LESSONS 16); the part of the UUID keeps folders small on file systems.
    """
    year, uuid = clock.civil_date(dossier.closed_at).year, built.file_name.removesuffix(".zip")[-36:]
    return f"aip/{dossier.archiving_agency}/{year}/{uuid[:2]}/{built.file_name}"


def _due_on(work: Work, content: AipContent) -> date | None:
    """Returns when the record falls due, this package included: the longer of what it had and what this one brings."""
    assignment = retention.from_json(content.retention)
    known = [(assignment.kind.value, assignment.due_on)]
    if content.version > 1:
        record = record_id(content.dossier.archiving_agency, content.dossier.dossier_code)
        known += [(kind, due_on) for kind, due_on in _RETENTION.rows(work, {"record": record})]
    return max(known, key=lambda each: kept_for(*each))[1]


@contextmanager
def _room(service: Service, submission_id: UUID, content: AipContent) -> Iterator[BinaryIO]:
    """Yields where the package is built, gone when the block ends."""
    if sum(file.size_bytes + _ABOUT_A_FILE_BYTES for file in content.files) <= IN_MEMORY_BYTES:
        yield io.BytesIO()
        return
    with DurableFile(service.staging.path(submission_id, AIP_STAGED_NAME)) as never_published:
        yield never_published.file


def _from_start(package: BinaryIO, built: BuiltAip) -> BinaryIO:
    """Returns the package as the source of a copy; one in memory carries the digest that was taken while it was written there."""
    if isinstance(package, io.BytesIO):
        return HashedBytes(package.getbuffer()[: built.size_bytes], built.digest)
    package.seek(0)
    return package


@dataclass(frozen=True, slots=True, kw_only=True)
class _WrittenCopy:
    """A copy that its location calls durable, not yet read back."""

    location: str
    place: CopyPlace
    locked_until: date | None


def _write_copy(
    service: Service, location: str, key: str, source: BinaryIO, built: BuiltAip, due_on: date | None
) -> _WrittenCopy:
    """Writes one copy, locked from its first moment where the location locks."""
    store = service.stores[location]
    until = lock_date(service.layout.locations[location], due_on, on=clock.today())
    stored = store.put(
        store_key(key),
        source,
        expected=built.digest,
        size_bytes=built.size_bytes,
        retain_until=beginning_of(until) if until else None,
    )
    place = CopyPlace(store=store, key=store_key(key), version_id=stored.version_id)
    return _WrittenCopy(location=location, place=place, locked_until=until)


def _read_back(written: Sequence[_WrittenCopy], built: BuiltAip) -> list[VerifiedCopy]:
    """Reads every copy back.

    Raises:
        StoreUnavailable: one could not be read now.
        CopyNotVerified: one holds other bytes.
    """
    places = [copy.place for copy in written]
    answers = read_back_alike(places, expected=built.digest, size_bytes=built.size_bytes)
    return [_verified(copy, answer) for copy, answer in zip(written, answers, strict=True)]


def _verified(copy: _WrittenCopy, answer: ReadBack) -> VerifiedCopy:
    location = copy.location
    if answer.outcome is ReadBackOutcome.COULD_NOT_CHECK:
        raise StoreUnavailable(f"copy on {location} could not be read back: {answer.reason}", location=location)
    if answer.outcome is not ReadBackOutcome.INTACT or answer.digest is None:
        raise CopyNotVerified(f"copy on {location} is {answer.outcome}: {answer.reason}", location=location)
    return VerifiedCopy(
        location=location,
        version_id=copy.place.version_id,
        digest=answer.digest,
        verified_at=clock.now(),
        locked_until=copy.locked_until,
    )
