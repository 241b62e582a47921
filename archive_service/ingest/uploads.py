"""Taking a component's bytes: streamed to staging with running digests, durable, acknowledged (DESIGN section 6, receive).

What has arrived is what stands in staging: a file has its name there only when it is complete, has the declared digest and is durable, so no
row is written for each. Rows follow in one transaction when the push is completed.

A component may be sent again at any time: the same bytes are accepted again, other bytes are refused, and bytes that arrive after the
submission went on change nothing. What was refused is kept as a finding until the right bytes arrive, so that a submission that ends here says
why (R016). Whether there is any is read with the row that is read anyway: pushes without a fault pay nothing for it.
"""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Table, and_, bindparam, delete, func, insert, select, update

from archive_service.audit import Agent
from archive_service.db import Database, Work
from archive_service.digests import CHUNK_BYTES, Digest, sha256
from archive_service.errors import ArchiveError, Conflict, DigestMismatch, NotFound, TooLarge
from archive_service.findings import Finding
from archive_service.followup import enqueue
from archive_service.formats.phrases import vietnamese
from archive_service.identity.permissions import Permission, Principal
from archive_service.ingest.findings import finding_rows, stored_findings
from archive_service.lifecycle import LockedSubmission, lock_submission, transition
from archive_service.models import Component, JobKind, State, Submission, SubmissionFinding
from archive_service.prepared import Prepared
from archive_service.storage.durable import status_if_any, sync_directory
from archive_service.storage.staging import StagedWriter, StagingArea
from archive_service.texts import require_plain

MISSING_NAMED: Final = 100
"""Most components named as missing in one answer."""
_STAGED_PREFIX: Final = "component-"


class ComponentsMissing(Conflict):
    """A submission cannot be completed while components named in dossier.json have not arrived; `missing` names them."""

    code = "COMPONENTS_MISSING"


def staged_name(ordinal: int) -> str:
    """Returns the staging file name of the component at `ordinal` in dossier.json: never a sender's path."""
    return f"{_STAGED_PREFIX}{ordinal:07d}"


def staged_folder(staging: StagingArea, submission_id: UUID) -> str:
    """Returns the folder of a submission's staged files, for looking at many of them."""
    return staging.folder(submission_id)


def is_staged(folder: str, ordinal: int) -> bool:
    """Returns whether a component has arrived."""
    return status_if_any(f"{folder}/{staged_name(ordinal)}") is not None


def count_staged(staging: StagingArea, submission_id: UUID) -> int:
    """Returns how many components have arrived."""
    try:
        with os.scandir(staged_folder(staging, submission_id)) as entries:
            return sum(entry.name.startswith(_STAGED_PREFIX) for entry in entries)
    except FileNotFoundError:  # withdrawn and removed meanwhile
        return 0


def waiting_components(work: Work, staging: StagingArea, submission_id: UUID) -> Iterator[str]:
    """Yields the ids of the components that have not arrived, in the order of dossier.json."""
    folder = staged_folder(staging, submission_id)
    for ordinal, component_id in _NOT_NOTED.rows(work, {"submission": submission_id}):
        # Each is looked up by its name: on a network file system a list of names may be older than the file.
        if not is_staged(folder, ordinal):
            yield component_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedComponent:
    """What dossier.json promised for one component."""

    submission_id: UUID
    component_id: str
    ordinal: int
    digest: Digest
    size_bytes: int
    already_received: bool
    path: str
    """As its sender calls it."""
    refused_before: bool = False
    """Whether bytes were refused earlier, for this component or another one of the submission."""

    def reason(self, error: ArchiveError) -> str:
        """Returns why its bytes were refused, without the name of the file in staging."""
        return error.message.removeprefix(f"{staged_name(self.ordinal)}: ")


def mismatch_finding(component_id: str, path: str, declared: str, reason: str) -> Finding:
    """Returns the finding on bytes that are not those declared with the SHA-256 `declared`."""
    params = {"path": path, "declared": declared, "reason": reason, "reason_vi": vietnamese(reason)}
    return Finding(code="COMPONENT_DIGEST_MISMATCH", location=component_id, params=params)


def expected_component(
    work: Work, staging: StagingArea, submission_id: UUID, component_id: str, principal: Principal
) -> ExpectedComponent:
    """Returns what is expected for a component.

    Raises:
        NotPermitted: the principal may push nowhere.
        NotFound: no such submission or component, or none the principal may push to.
        Conflict: the submission takes no more bytes and this component never arrived.
    """
    principal.require(Permission.SUBMISSION_PUSH)
    wanted = {"submission": submission_id, "component": component_id}
    row = _EXPECTED.first(work, wanted)
    if row is None or not principal.may(Permission.SUBMISSION_PUSH, row.archiving_agency, row.settling_agency):
        raise NotFound(f"submission {submission_id} not found")
    if row.ordinal is None:
        raise NotFound(f"submission {submission_id} names no component {component_id!r}")
    received = row.received_at is not None
    if row.state is State.RECEIVING:
        folder = staged_folder(staging, submission_id)
        received = is_staged(folder, row.ordinal)
        if received:
            sync_directory(folder)  # who staged it may have died before that
    elif not received:
        raise Conflict(f"submission {submission_id} is {row.state} and takes no more bytes", state=row.state.value)
    return ExpectedComponent(
        submission_id=submission_id,
        component_id=component_id,
        ordinal=row.ordinal,
        digest=sha256(row.declared_sha256),
        size_bytes=row.declared_size_bytes,
        already_received=received,
        path=row.path,
        refused_before=row.error_count > 0,
    )


_COMPONENTS: Final = cast("Table", Component.__table__)
_SUBMISSIONS: Final = cast("Table", Submission.__table__)
_EXPECTED: Final = Prepared(
    select(
        Submission.state,
        Submission.archiving_agency,
        Submission.settling_agency,
        Submission.error_count,
        Component.ordinal,
        Component.path,
        Component.declared_sha256,
        Component.declared_size_bytes,
        Component.received_at,
    )
    .outerjoin(
        Component, and_(Component.submission_id == Submission.id, Component.component_id == bindparam("component"))
    )
    .where(Submission.id == bindparam("submission"))
)
"""Columns, not whole rows, and built once, as the statements below: this one runs for every file of every dossier."""
_NOT_NOTED: Final = Prepared(
    select(Component.ordinal, Component.component_id)
    .where(Component.submission_id == bindparam("submission"), Component.received_at.is_(None))
    .order_by(Component.ordinal)
)
_ALL_RECEIVED: Final = Prepared(
    update(_COMPONENTS)
    .where(_COMPONENTS.c.submission_id == bindparam("submission"), _COMPONENTS.c.received_at.is_(None))
    .values(received_at=bindparam("at"))
)
_ONE: Final = (_COMPONENTS.c.submission_id == bindparam("submission")) & (
    _COMPONENTS.c.component_id == bindparam("component")
)
_NOT_RECEIVED: Final = Prepared(update(_COMPONENTS).where(_ONE).values(received_at=None))
_CRC: Final = Prepared(update(_COMPONENTS).where(_ONE).values(crc32=bindparam("b_crc32")))
_COUNTED: Final = Prepared(
    update(_SUBMISSIONS)
    .where(_SUBMISSIONS.c.id == bindparam("b_submission"))
    .values(
        received_count=select(func.count())
        .select_from(_COMPONENTS)
        .where(_COMPONENTS.c.submission_id == bindparam("b_submission"), _COMPONENTS.c.received_at.is_not(None))
        .scalar_subquery()
    )
)


_FINDINGS: Final = cast("Table", SubmissionFinding.__table__)
_REFUSED: Final = _FINDINGS.c.submission_id == bindparam("b_submission")
_FORGET_ONE: Final = Prepared(delete(_FINDINGS).where(_REFUSED, _FINDINGS.c.ordinal == bindparam("b_ordinal")))
_FORGET_ALL: Final = Prepared(delete(_FINDINGS).where(_REFUSED))
_ADD_REFUSED: Final = Prepared(insert(_FINDINGS).inline())
_COUNT_REFUSED: Final = Prepared(
    update(_SUBMISSIONS)
    .where(_SUBMISSIONS.c.id == bindparam("b_submission"))
    .values(error_count=select(func.count()).select_from(_FINDINGS).where(_REFUSED).scalar_subquery())
)


def crc_is_noted(size_bytes: int) -> bool:
    """Returns whether the CRC-32 of a file is worth a row's change: the packager takes it itself of what it reads in one piece."""
    return size_bytes > CHUNK_BYTES


class ComponentUpload:
    """One upload in progress: feed chunks, then `finish`; `abort` leaves nothing behind."""

    def __init__(self, staging: StagingArea, expected: ExpectedComponent, *, limit_bytes: int) -> None:
        if expected.size_bytes > limit_bytes:
            raise TooLarge(
                f"component {expected.component_id} ({expected.path}) is declared with {expected.size_bytes} bytes,"
                f" the limit is {limit_bytes}",
                component_id=expected.component_id,
                path=expected.path,
                limit_bytes=limit_bytes,
            )
        self._expected = expected
        self._crc32 = 0
        self._writer: StagedWriter = staging.writer(
            expected.submission_id,
            staged_name(expected.ordinal),
            expected=expected.digest,
            size_bytes=expected.size_bytes,
            limit_bytes=expected.size_bytes,
        )

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes.

        Raises:
            DigestMismatch: more bytes than declared.
        """
        if crc_is_noted(self._expected.size_bytes):
            self._crc32 = zlib.crc32(chunk, self._crc32)
        try:
            self._writer.write(chunk)
        except DigestMismatch as exc:
            raise self._named(exc) from exc

    @property
    def expected(self) -> ExpectedComponent:
        """What is being uploaded."""
        return self._expected

    def abort(self) -> None:
        """Removes what was written."""
        self._writer.abort()

    def finish(self, database: Database) -> None:
        """Makes the bytes durable under their name, which is all that receiving them takes.

        Raises:
            DigestMismatch: the bytes are not the declared ones; nothing is kept.
        """
        expected = self._expected
        try:
            self._writer.commit()
        except DigestMismatch as exc:
            raise self._named(exc) from exc
        if expected.refused_before:
            with database.write_prepared() as work:
                _forget_refused(work, expected)
        if crc_is_noted(expected.size_bytes):
            with database.write_prepared() as work:
                note_crcs(work, expected.submission_id, {expected.component_id: self._crc32})

    def _named(self, error: DigestMismatch) -> DigestMismatch:
        expected = self._expected
        reason = expected.reason(error)
        return DigestMismatch(
            f"component {expected.component_id} ({expected.path}): {reason}",
            component_id=expected.component_id,
            path=expected.path,
            reason=reason,
        )


def note_refused(
    database: Database, staging: StagingArea, expected: ExpectedComponent, error: DigestMismatch | TooLarge
) -> None:
    """Keeps as a finding why bytes of a component were refused; one for each component, however often they are sent.

    Nothing is noted once the right bytes are there, or the submission went on.
    """
    with database.write_prepared() as work:
        submission = lock_submission(work, expected.submission_id)
        if submission.state is not State.RECEIVING:
            return
        if is_staged(staged_folder(staging, expected.submission_id), expected.ordinal):
            return
        (row,) = finding_rows(expected.submission_id, [_refused_finding(expected, error)])
        one = {"b_submission": expected.submission_id, "b_ordinal": expected.ordinal}
        _FORGET_ONE.run(work, one)
        _ADD_REFUSED.run(work, row | {"ordinal": expected.ordinal})
        _COUNT_REFUSED.run(work, {"b_submission": expected.submission_id})


def _refused_finding(expected: ExpectedComponent, error: DigestMismatch | TooLarge) -> Finding:
    if isinstance(error, DigestMismatch):
        reason = str(error.fields.get("reason") or expected.reason(error))
        return mismatch_finding(expected.component_id, expected.path, expected.digest.hex, reason)
    params = {
        "path": expected.path,
        "size_bytes": expected.size_bytes,
        "limit_bytes": error.fields.get("limit_bytes"),
    }
    return Finding(code="COMPONENT_TOO_LARGE", location=expected.component_id, params=params)


def _forget_refused(work: Work, expected: ExpectedComponent) -> None:
    """Takes back what was noted of a component, now that the right bytes are there."""
    if lock_submission(work, expected.submission_id).state is State.RECEIVING:
        _FORGET_ONE.run(work, {"b_submission": expected.submission_id, "b_ordinal": expected.ordinal})
        _COUNT_REFUSED.run(work, {"b_submission": expected.submission_id})


def note_crcs(work: Work, submission_id: UUID, crcs: Mapping[str, int]) -> None:
    """Keeps the CRC-32 of staged components; one that is lost to a crash costs the packager a second reading, nothing more."""
    values = [{"submission": submission_id, "component": name, "b_crc32": crc} for name, crc in crcs.items()]
    _CRC.run_each(work, values)


def mark_received(work: Work, submission_id: UUID, *, without: Sequence[str] = (), at: datetime) -> None:
    """Notes in the rows that every component but those `without` is durable in staging; a repeat changes nothing."""
    _ALL_RECEIVED.run(work, {"submission": submission_id, "at": at})
    _NOT_RECEIVED.run_each(work, [{"submission": submission_id, "component": name} for name in without])
    _COUNTED.run(work, {"b_submission": submission_id})


def complete(work: Work, staging: StagingArea, submission_id: UUID, *, principal: Principal, at: datetime) -> None:
    """Ends receiving and queues the checks, in one transaction; repeating it changes nothing.

    Raises:
        ComponentsMissing: not every component has arrived.
        NotPermitted: the principal may push nowhere.
        NotFound: no such submission, or none the principal may push to.
    """
    principal.require(Permission.SUBMISSION_PUSH)
    submission = lock_submission(work, submission_id)
    if not principal.may(Permission.SUBMISSION_PUSH, submission.archiving_agency, submission.settling_agency):
        raise NotFound(f"submission {submission_id} not found")  # the same words as for one that does not exist
    if submission.state is not State.RECEIVING:
        return
    missing = list(waiting_components(work, staging, submission_id))
    if missing:
        raise ComponentsMissing(
            f"{len(missing)} components have not arrived", count=len(missing), missing=missing[:MISSING_NAMED]
        )
    # One may have its name from a writer that died before making the name durable.
    sync_directory(staged_folder(staging, submission_id))
    mark_received(work, submission_id, at=at)
    end_receiving(work, submission, agent=principal.agent, at=at)


def end_receiving(work: Work, submission: LockedSubmission, *, agent: Agent, at: datetime) -> None:
    """Hands a submission to the checks; what they find takes the place of what was refused on the way."""
    if submission.error_count:
        _FORGET_ALL.run(work, {"b_submission": submission.id})
        _COUNT_REFUSED.run(work, {"b_submission": submission.id})
    detail = {"components": submission.component_count, "size_bytes": submission.size_bytes}
    transition(work, submission, State.CHECKING, agent=agent, at=at, detail=detail)
    enqueue(work, JobKind.CHECK_SUBMISSION, submission.id, at=at)


def withdraw(work: Work, submission_id: UUID, *, agent: Agent, at: datetime, reason: str) -> None:
    """Ends a submission that is still receiving, at its sender's wish, and queues the removal of its staged bytes.

    Raises:
        IllegalTransition: the submission went on already.
    """
    reason = require_plain(reason, "reason")
    submission = lock_submission(work, submission_id)
    if submission.state is State.REJECTED:
        return
    refused = stored_findings(work, submission_id, limit=MISSING_NAMED) if submission.error_count else []
    detail: dict[str, Any] = {"reason": reason}
    if refused:
        detail |= {
            "errors": submission.error_count,
            "refused": [{"component_id": finding.location, "code": finding.code} for finding in refused],
        }
    transition(work, submission, State.REJECTED, agent=agent, at=at, detail=detail)
    enqueue(work, JobKind.DISCARD_STAGING, submission_id, at=at)
