"""One-shot pushes: a ZIP of a dossier folder, staged whole, looked into before it is accepted, unpacked by the check.

A ZIP that cannot be read as a dossier still becomes a submission, so that its sender finds every reason under its id; it never becomes more.
Where files are missing or too many and nothing else is wrong with the ZIP, it is one of its dossier's: it will be refused, but what is there
is checked like any other, so that its sender learns every reason at once (R016).
The same ZIP, or another ZIP of the same dossier, gives the same submission; one refused for its files does not stand in the way of a ZIP with
other files.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import append_event
from archive_service.digests import sha256
from archive_service.errors import ArchiveError, DigestMismatch, NotFound, PackageInvalid, TooLarge
from archive_service.findings import Finding
from archive_service.identity.permissions import ALL, Permission, in_scope
from archive_service.ingest.findings import LOCATION_LENGTH, stored_findings
from archive_service.ingest.submissions import (
    DossierInvalid,
    Opened,
    Origin,
    PushedDossier,
    open_submission,
    read_dossier,
)
from archive_service.ingest.uploads import (
    ExpectedComponent,
    crc_is_noted,
    end_receiving,
    is_staged,
    mark_received,
    mismatch_finding,
    note_crcs,
    staged_folder,
    staged_name,
)
from archive_service.lifecycle import lock_submission
from archive_service.models import Component, EventType, State, Submission
from archive_service.packaging import dossier_zip
from archive_service.packaging.zip_reader import ZipLimits
from archive_service.service import Service
from archive_service.settings import Settings
from archive_service.storage.staging import StagedFile, StagingArea

PACKAGE_NAME: Final = "package.zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What came of unpacking: the dossier when the container is sound, and why not otherwise."""

    pushed: PushedDossier | None
    findings: Sequence[Finding] = field(default_factory=tuple)


def zip_limits(settings: Settings) -> ZipLimits:
    """Returns the limits on a pushed ZIP that these settings mean."""
    return ZipLimits(
        max_total_bytes=settings.max_package_bytes,
        max_ratio=settings.max_zip_ratio,
        max_dossier_json_bytes=settings.max_dossier_json_bytes,
    )


def open_package(
    service: Service,
    submission_id: UUID,
    staged: StagedFile,
    origin: Origin,
    *,
    at: datetime,
    again: bool = False,
) -> Opened:
    """Returns the submission of a staged ZIP, opening one when its dossier is not known; its checks are queued.

    Raises:
        ContentDiffers: the dossier code is known with other content; the ZIP is not kept.
        NotPermitted: the principal may not push for the dossier's agencies.
    """
    try:
        pushed, files_differ = _dossier_of(service, staged)
        if pushed is None:
            opened = _open_unreadable(service, submission_id, staged, origin, at=at, again=again)
        else:
            dossier = pushed.dossier
            origin.principal.require(Permission.SUBMISSION_PUSH, dossier.archiving_agency, dossier.settling_agency)
            opened = open_submission(
                service.database,
                service.staging,
                pushed,
                origin,
                at=at,
                form="package",
                submission_id=submission_id,
                again=again or _was_refused_for_other_files(service, pushed, files_differ),
                stores=service.stores,
            )
    except BaseException:
        service.staging.discard(submission_id)
        raise
    if opened.submission_id != submission_id:
        service.staging.discard(submission_id)
    with service.database.write() as session:
        _queue_check(session, opened.submission_id, origin, at=at)
    return opened


def _dossier_of(service: Service, staged: StagedFile) -> tuple[PushedDossier | None, "_FilesDiffer"]:
    opened, findings = dossier_zip.open_dossier_zip(staged.path, zip_limits(service.settings), incomplete=True)
    if opened is None:
        return None, frozenset()
    with opened:
        try:
            return read_dossier(opened.dossier_json), _files_that_differ(findings)
        except DossierInvalid:
            return None, frozenset()


_FilesDiffer = frozenset[tuple[str, str]]
"""Code and place of each finding on files that are missing or too many."""


def _files_that_differ(findings: Sequence[Finding]) -> _FilesDiffer:
    # Place by place as the rows have it, which hold no longer one.
    rows = ((finding.code, finding.location[:LOCATION_LENGTH]) for finding in findings)
    return frozenset(row for row in rows if row[0] in dossier_zip.FILES_DIFFER)


def _was_refused_for_other_files(service: Service, pushed: PushedDossier, files_differ: _FilesDiffer) -> bool:
    """Returns whether the newest submission of this content was refused with other files missing or too many than now."""
    newest = (
        select(Submission.id, Submission.state)
        .where(
            Submission.content_sha256 == pushed.digest.hex,
            Submission.dossier_code == pushed.dossier.dossier_code,
            Submission.archiving_agency == pushed.dossier.archiving_agency,
        )
        .order_by(Submission.opened_at.desc(), Submission.id.desc())
        .limit(1)
    )
    with service.database.read() as session:
        found = session.execute(newest).one_or_none()
        if found is None or found.state is not State.REJECTED:
            return False
        before = _files_that_differ(stored_findings(session, found.id))
    return bool(before) and before != files_differ


def _open_unreadable(
    service: Service,
    submission_id: UUID,
    staged: StagedFile,
    origin: Origin,
    *,
    at: datetime,
    again: bool,
) -> Opened:
    """Opens a submission without dossier; the digest of the ZIP itself is its identity."""
    with service.database.write() as session:
        known = select(Submission.id).where(
            Submission.content_sha256 == staged.digest.hex,
            Submission.dossier_code.is_(None),
            in_scope(origin.principal, Permission.SUBMISSION_READ, Submission.archiving_agency),
        )
        earlier = session.scalars(known.order_by(Submission.opened_at.desc())).first()
        if earlier is not None and not again:
            return Opened(submission_id=earlier, created=False)
        agencies = origin.principal.agencies(Permission.SUBMISSION_PUSH)
        # A sender bound to one agency must be able to read why its package was refused.
        agency = next(iter(agencies)) if agencies is not ALL and len(agencies) == 1 else None
        session.add(
            Submission(
                id=submission_id,
                state=State.RECEIVING,
                form="package",
                archiving_agency=agency,
                source_system=origin.source_system,
                sent_at=origin.sent_at,
                opened_at=at,
                content_sha256=staged.digest.hex,
                size_bytes=staged.size_bytes,
                policies={},
            )
        )
        append_event(
            session,
            EventType.SUBMISSION_OPENED,
            subject_kind="submission",
            subject_id=submission_id,
            agency=agency,
            agent=origin.agent,
            at=at,
            detail={"form": "package", "package_sha256": staged.digest.hex, "source_system": origin.source_system},
        )
    return Opened(submission_id=submission_id, created=True)


def _queue_check(session: Session, submission_id: UUID, origin: Origin, *, at: datetime) -> None:
    submission = lock_submission(session, submission_id)
    if submission.state is State.RECEIVING and submission.form == "package":
        end_receiving(session, submission, agent=origin.agent, at=at)


def unpack(service: Service, submission_id: UUID) -> Unpacked:
    """Streams every component of a staged ZIP into staging, comparing each with its declared digest in that read.

    Components without a file stay away; the findings name them.

    What was unpacked by an earlier run is not unpacked again.
    """
    package = service.staging.path(submission_id, PACKAGE_NAME)
    opened, findings = dossier_zip.open_dossier_zip(package, zip_limits(service.settings), incomplete=True)
    if opened is None:
        return Unpacked(pushed=None, findings=findings)
    with opened:
        try:
            pushed = read_dossier(opened.dossier_json)
        except DossierInvalid as exc:
            return Unpacked(pushed=None, findings=[*opened.notes, *exc.findings])
        problems = list(opened.notes)
        crcs: dict[str, int] = {}
        failed = [finding.location for finding in problems if finding.code == "PACKAGE_FILE_MISSING"]
        missing = frozenset(failed)
        for expected, path in _waiting(service, submission_id):
            if expected.component_id in missing:
                continue
            outcome = _unpack_one(service.staging, opened, expected, path)
            if isinstance(outcome, Finding):
                problems.append(outcome)
                failed.append(expected.component_id)
            elif crc_is_noted(expected.size_bytes):
                crcs[expected.component_id] = outcome
    with service.database.write() as session:
        note_crcs(session, submission_id, crcs)
        mark_received(session, submission_id, without=failed, at=clock.now())
    return Unpacked(pushed=pushed, findings=problems)


def _waiting(service: Service, submission_id: UUID) -> Iterator[tuple[ExpectedComponent, str]]:
    query = select(
        Component.component_id,
        Component.ordinal,
        Component.path,
        Component.declared_sha256,
        Component.declared_size_bytes,
    ).where(Component.submission_id == submission_id, Component.received_at.is_(None))
    with service.database.read() as session:
        rows = session.execute(query.order_by(Component.ordinal)).all()
    folder = staged_folder(service.staging, submission_id)
    for row in rows:
        if not is_staged(folder, row.ordinal):
            expected = ExpectedComponent(
                submission_id=submission_id,
                component_id=row.component_id,
                ordinal=row.ordinal,
                digest=sha256(row.declared_sha256),
                size_bytes=row.declared_size_bytes,
                already_received=False,
                path=row.path,
            )
            yield expected, row.path


def _unpack_one(
    staging: StagingArea, opened: dossier_zip.PushedDossier, expected: ExpectedComponent, path: str
) -> int | Finding:
    """Returns the CRC-32 of what was unpacked, or why it was not."""
    crc32 = 0
    try:
        with staging.writer(
            expected.submission_id,
            staged_name(expected.ordinal),
            expected=expected.digest,
            size_bytes=expected.size_bytes,
            limit_bytes=expected.size_bytes,
        ) as writing:
            for chunk in opened.read_component(path):
                crc32 = zlib.crc32(chunk, crc32)
                writing.write(chunk)
            writing.commit()
    except (DigestMismatch, TooLarge, PackageInvalid, NotFound) as exc:
        return _unpack_finding(expected, path, exc)
    return crc32


def _unpack_finding(expected: ExpectedComponent, path: str, error: ArchiveError) -> Finding:
    found = error.fields.get("finding")
    if isinstance(found, Finding):
        return found
    return mismatch_finding(expected.component_id, path, expected.digest.hex, expected.reason(error))
