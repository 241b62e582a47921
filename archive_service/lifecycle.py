"""The one function that changes a state (STYLE 8).

It checks the table, changes the state with the time of the step, and appends the event, all in the caller's transaction. Assigning `.state`
of a submission or record anywhere else is refused by the house-rule test. A record under legal hold goes no further towards its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Update, bindparam, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from archive_service.audit import Agent, append_event
from archive_service.db import Work
from archive_service.errors import IllegalTransition, NotFound
from archive_service.legal_hold import FROZEN_BY_HOLD, require_unheld
from archive_service.models import TRANSITIONS, EventType, Record, State, Submission
from archive_service.models.states import RECORD_STATES, SUBMISSION_STATES
from archive_service.prepared import Prepared

MOMENTS: Final[Mapping[EventType, tuple[str, ...]]] = MappingProxyType(
    {
        EventType.SUBMISSION_COMPLETED: ("completed_at",),
        EventType.SUBMISSION_WITHDRAWN: ("decided_at",),
        EventType.SUBMISSION_REJECTED: ("checked_at", "decided_at"),
        EventType.SUBMISSION_CHECKED: ("checked_at",),
        EventType.SUBMISSION_APPROVED: ("decided_at",),
        EventType.SUBMISSION_RETURNED: ("decided_at",),
        EventType.SUBMISSION_REFUSED: ("decided_at",),
        EventType.SUBMISSION_STORED: ("stored_at",),
    }
)
"""Columns of a submission that a step sets to its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedSubmission:
    """What most steps need of a submission that is locked for this transaction: columns, not a whole row."""

    id: UUID
    state: State
    form: str
    archiving_agency: str | None
    settling_agency: str | None
    component_count: int
    size_bytes: int
    error_count: int
    """While it is received: components whose bytes were refused; later the errors that the checks found."""
    decided_at: datetime | None


_LOCKED: Final = Prepared(
    select(
        Submission.id,
        Submission.state,
        Submission.form,
        Submission.archiving_agency,
        Submission.settling_agency,
        Submission.component_count,
        Submission.size_bytes,
        Submission.error_count,
        Submission.decided_at,
    )
    .where(Submission.id == bindparam("submission"))
    .with_for_update()
)


def lock_submission(session: Work, submission_id: UUID) -> LockedSubmission:
    """Locks the submission for this transaction and returns what it is now.

    Raises:
        NotFound: no such submission.
    """
    if isinstance(session, Session):
        session.flush()
    row = _LOCKED.first(session, {"submission": submission_id})
    if row is None:
        raise NotFound(f"submission {submission_id} not found")
    return LockedSubmission(**row._asdict())


def locked_submission(session: Session, submission_id: UUID) -> Submission:
    """Returns the submission, locked for this transaction, as it is now.

    Raises:
        NotFound: no such submission.
    """
    query = select(Submission).where(Submission.id == submission_id).with_for_update()
    submission = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if submission is None:
        raise NotFound(f"submission {submission_id} not found")
    return submission


def locked_record(session: Session, record_id: UUID) -> Record:
    """Returns the record, locked for this transaction, as it is now.

    Raises:
        NotFound: no such record.
    """
    query = select(Record).where(Record.id == record_id).with_for_update()
    record = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if record is None:
        raise NotFound(f"record {record_id} not found")
    return record


def transition(
    session: Work,
    subject: Submission | LockedSubmission | Record,
    to: State,
    *,
    agent: Agent,
    at: datetime,
    detail: dict[str, Any] | None = None,
) -> None:
    """Moves a submission or record to state `to`, notes the time of the step, and records its event.

    The state is compared and changed by one statement. Where the caller's knowledge of it is out of date the row is locked and read again,
    so of two concurrent callers one wins and the other gets `IllegalTransition`. A record is locked first in any case.

    Raises:
        IllegalTransition: the lifecycle has no step from the present state to `to`.
        RecordHeld: the record is under legal hold, and `to` is an end.
        NotFound: the row is gone.
    """
    if isinstance(subject, Record):
        subject = locked_record(_with_rows(session), subject.id)
        if to in FROZEN_BY_HOLD:
            require_unheld(_with_rows(session), subject.id)
    event_type = _step(subject, to)
    if event_type is None or not _moved(session, subject, event_type, to, at):
        subject = _as_it_is(session, subject)
        event_type = _step(subject, to)
        if event_type is None or not _moved(session, subject, event_type, to, at):
            raise IllegalTransition(
                f"{_kind(subject)} {subject.id} is {subject.state}: no step to {to}",
                subject=str(subject.id),
                state=subject.state.value,
                wanted=to.value,
            )
    append_event(
        session,
        event_type,
        subject_kind=_kind(subject),
        subject_id=subject.id,
        agency=subject.archiving_agency,
        agent=agent,
        at=at,
        detail=detail,
    )


def _kind(subject: Submission | LockedSubmission | Record) -> str:
    return "record" if isinstance(subject, Record) else "submission"


def _step(subject: Submission | LockedSubmission | Record, to: State) -> EventType | None:
    # STORED is a state of both: a submission ends there, a record begins there.
    reachable = RECORD_STATES if isinstance(subject, Record) else SUBMISSION_STATES
    return TRANSITIONS.get((subject.state, to)) if to in reachable else None


def _with_rows(work: Work) -> Session:
    """Returns the session; row objects live in no other transaction."""
    if not isinstance(work, Session):
        raise TypeError("a row object needs a session")
    return work


def _as_it_is(session: Work, subject: Submission | LockedSubmission | Record) -> Submission | LockedSubmission | Record:
    if isinstance(subject, LockedSubmission):
        return lock_submission(session, subject.id)
    if isinstance(subject, Submission):
        return locked_submission(_with_rows(session), subject.id)
    return locked_record(_with_rows(session), subject.id)


def _change(table: type[Submission | Record], moments: tuple[str, ...] = ()) -> Update:
    columns = table.__table__.c
    return (
        update(table.__table__)  # type: ignore[arg-type]
        .where(columns.id == bindparam("b_id"), columns.state == bindparam("b_from"))
        .values(state=bindparam("b_to"), **dict.fromkeys(moments, bindparam("b_at")))
    )


_RECORD_CHANGE: Final = Prepared(_change(Record))
_SUBMISSION_CHANGES: Final = {
    event_type: Prepared(_change(Submission, moments)) for event_type, moments in MOMENTS.items()
}


def _moved(
    session: Work, subject: Submission | LockedSubmission | Record, event_type: EventType, to: State, at: datetime
) -> bool:
    """Changes the state where it still is what the caller knows; a row object is then as the database has it."""
    values = {"b_id": subject.id, "b_from": subject.state, "b_to": to}
    moments: tuple[str, ...] = ()
    if isinstance(subject, Record):
        statement = _RECORD_CHANGE
    else:
        statement, moments = _SUBMISSION_CHANGES[event_type], MOMENTS[event_type]
        values["b_at"] = at
    if statement.run(session, values) != 1:
        return False
    if not isinstance(subject, LockedSubmission):
        set_committed_value(subject, "state", to)
        for name in moments:
            set_committed_value(subject, name, at)
    return True
