"""The one function that changes a state (STYLE 8).

It locks the row, checks the table, changes the state and appends the event, all in the caller's transaction. Assigning `.state` of a
submission or record anywhere else is refused by the house-rule test.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.audit import Agent, append_event
from archive_service.errors import IllegalTransition, NotFound
from archive_service.models import TRANSITIONS, Record, State, Submission
from archive_service.models.states import RECORD_STATES, SUBMISSION_STATES


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
    session: Session,
    subject: Submission | Record,
    to: State,
    *,
    agent: Agent,
    at: datetime,
    detail: dict[str, Any] | None = None,
) -> None:
    """Moves a submission or record to state `to` and records the event of that step.

    The row is locked and re-read first, so of two concurrent callers one wins and the other gets `IllegalTransition`.

    Raises:
        IllegalTransition: the lifecycle has no step from the present state to `to`.
        NotFound: the row is gone.
    """
    row: Submission | Record
    if isinstance(subject, Submission):
        kind, row = "submission", locked_submission(session, subject.id)
    else:
        kind, row = "record", locked_record(session, subject.id)
    # STORED is a state of both: a submission ends there, a record begins there.
    reachable = SUBMISSION_STATES if isinstance(row, Submission) else RECORD_STATES
    event_type = TRANSITIONS.get((row.state, to)) if to in reachable else None
    if event_type is None:
        raise IllegalTransition(
            f"{kind} {row.id} is {row.state}: no step to {to}",
            subject=str(row.id),
            state=row.state.value,
            wanted=to.value,
        )
    row.state = to
    append_event(
        session,
        event_type,
        subject_kind=kind,
        subject_id=row.id,
        agency=row.archiving_agency,
        agent=agent,
        at=at,
        detail=detail,
    )
