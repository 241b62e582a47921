"""Taking a component's bytes: streamed to staging with running digests, durable, then noted in the row (DESIGN section 6, receive).

A component may be sent again at any time: the same bytes are accepted again, other bytes are refused, and bytes that arrive after the
submission went on change nothing.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from archive_service.audit import Agent
from archive_service.db import Database
from archive_service.digests import Digest, sha256
from archive_service.errors import Conflict, DigestMismatch, NotFound, TooLarge
from archive_service.followup import enqueue
from archive_service.ingest.submissions import find_submission
from archive_service.lifecycle import locked_submission, transition
from archive_service.models import Component, JobKind, State, Submission
from archive_service.storage.staging import StagedWriter, StagingArea
from archive_service.texts import require_plain


class ComponentsMissing(Conflict):
    """A submission cannot be completed while components named in dossier.json have not arrived; `missing` names them."""

    code = "COMPONENTS_MISSING"


def staged_name(ordinal: int) -> str:
    """Returns the staging file name of the component at `ordinal` in dossier.json: never a sender's path."""
    return f"component-{ordinal:07d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedComponent:
    """What dossier.json promised for one component."""

    submission_id: UUID
    component_id: str
    ordinal: int
    digest: Digest
    size_bytes: int
    already_received: bool


def expected_component(session: Session, submission_id: UUID, component_id: str) -> ExpectedComponent:
    """Returns what is expected for a component.

    Raises:
        NotFound: no such submission or component.
        Conflict: the submission takes no more bytes and this component never arrived.
    """
    row = session.execute(_EXPECTED, {"submission": submission_id, "component": component_id}).one_or_none()
    if row is None:
        find_submission(session, submission_id)
        raise NotFound(f"submission {submission_id} names no component {component_id!r}")
    received = row.received_at is not None
    if row.state is not State.RECEIVING and not received:
        raise Conflict(f"submission {submission_id} is {row.state} and takes no more bytes", state=row.state.value)
    return ExpectedComponent(
        submission_id=submission_id,
        component_id=component_id,
        ordinal=row.ordinal,
        digest=sha256(row.declared_sha256),
        size_bytes=row.declared_size_bytes,
        already_received=received,
    )


_EXPECTED: Final = (
    select(
        Component.ordinal,
        Component.declared_sha256,
        Component.declared_size_bytes,
        Component.received_at,
        Submission.state,
    )
    .join(Submission, Submission.id == Component.submission_id)
    .where(Component.submission_id == bindparam("submission"), Component.component_id == bindparam("component"))
)
"""Columns, not whole rows, and built once: this and the two updates below run for every file of every dossier."""
_RECEIVED: Final = (
    update(Component.__table__)  # type: ignore[arg-type]
    .where(
        Component.__table__.c.submission_id == bindparam("submission"),
        Component.__table__.c.component_id == bindparam("component"),
        Component.__table__.c.received_at.is_(None),
    )
    .values(received_at=bindparam("at"), crc32=bindparam("crc32"))
)
_COUNTED: Final = (
    update(Submission.__table__)  # type: ignore[arg-type]
    .where(Submission.__table__.c.id == bindparam("submission"))
    .values(received_count=Submission.__table__.c.received_count + bindparam("fresh"))
)


class ComponentUpload:
    """One upload in progress: feed chunks, then `finish`; `abort` leaves nothing behind."""

    def __init__(self, staging: StagingArea, expected: ExpectedComponent, *, limit_bytes: int) -> None:
        if expected.size_bytes > limit_bytes:
            raise TooLarge(
                f"component {expected.component_id} is declared with {expected.size_bytes} bytes, the limit is {limit_bytes}"
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
            TooLarge: more bytes than declared.
        """
        self._crc32 = zlib.crc32(chunk, self._crc32)
        self._writer.write(chunk)

    def abort(self) -> None:
        """Removes what was written."""
        self._writer.abort()

    def finish(self, database: Database, *, at: datetime) -> None:
        """Makes the bytes durable and notes them in the row.

        Raises:
            DigestMismatch: the bytes are not the declared ones; nothing is kept.
        """
        try:
            self._writer.commit()
        except DigestMismatch as exc:
            raise DigestMismatch(
                f"component {self._expected.component_id}: {exc.message}",
                component_id=self._expected.component_id,
                **exc.fields,
            ) from exc
        with database.write() as session:
            received = ReceivedComponent(component_id=self._expected.component_id, crc32=self._crc32)
            mark_received(session, self._expected.submission_id, [received], at=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedComponent:
    """A component whose declared bytes are durable in staging."""

    component_id: str
    crc32: int


def mark_received(
    session: Session, submission_id: UUID, received: Sequence[ReceivedComponent], *, at: datetime
) -> None:
    """Notes in the rows that components are durable in staging; a repeat changes nothing."""
    connection = session.connection()
    fresh = 0
    for component in received:
        values = {"submission": submission_id, "component": component.component_id, "at": at, "crc32": component.crc32}
        fresh += connection.execute(_RECEIVED, values).rowcount
    if fresh:
        connection.execute(_COUNTED, {"submission": submission_id, "fresh": fresh})


def complete(session: Session, submission_id: UUID, *, agent: Agent, at: datetime) -> None:
    """Ends receiving and queues the checks, in one transaction; repeating it changes nothing.

    Raises:
        ComponentsMissing: not every component has arrived.
        NotFound: no such submission.
    """
    submission = locked_submission(session, submission_id)
    if submission.state is not State.RECEIVING:
        return
    unreceived = select(Component.component_id).where(
        Component.submission_id == submission_id, Component.received_at.is_(None)
    )
    missing = session.scalars(unreceived.order_by(Component.ordinal).limit(100)).all()
    if missing:
        count = session.scalar(select(func.count()).select_from(unreceived.subquery())) or 0
        raise ComponentsMissing(f"{count} components have not arrived", count=count, missing=list(missing))
    submission.completed_at = at
    transition(
        session,
        submission,
        State.CHECKING,
        agent=agent,
        at=at,
        detail={"components": submission.component_count, "size_bytes": submission.size_bytes},
    )
    enqueue(session, JobKind.CHECK_SUBMISSION, submission_id, at=at)


def withdraw(session: Session, submission_id: UUID, *, agent: Agent, at: datetime, reason: str) -> None:
    """Ends a submission that is still receiving, at its sender's wish, and queues the removal of its staged bytes.

    Raises:
        IllegalTransition: the submission went on already.
    """
    reason = require_plain(reason, "reason")
    submission = locked_submission(session, submission_id)
    if submission.state is State.REJECTED:
        return
    transition(session, submission, State.REJECTED, agent=agent, at=at, detail={"reason": reason})
    submission.decided_at = at
    enqueue(session, JobKind.DISCARD_STAGING, submission_id, at=at)
