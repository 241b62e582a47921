"""Prepared statements: the same rows, values and errors as SQLAlchemy's own way, on both engines and in every kind of transaction."""

from datetime import datetime
from typing import Any, cast

import pytest
from sqlalchemy import Table, bindparam, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from archive_service.audit import append_event, software
from archive_service.db import Database
from archive_service.ids import new_id
from archive_service.lifecycle import LockedSubmission, lock_submission
from archive_service.models import Decision, Event, EventType, State, Submission
from archive_service.prepared import Prepared
from tests.builders import new_submission

_ADD_DECISION = Prepared(insert(cast("Table", Decision.__table__)).inline())
_SUBMISSIONS = Prepared(
    select(Submission.id, Submission.state, Submission.opened_at, Submission.sent_at, Submission.policies)
    .where(Submission.id == bindparam("submission"))
    .limit(1)
)


def _event(kind: EventType, at: datetime) -> dict[str, Any]:
    agent = software("test")
    return {
        "event_type": kind,
        "subject_kind": "submission",
        "subject_id": "x",
        "agency": None,
        "agent": agent,
        "at": at,
    }


def test_values_come_back_as_the_types_they_went_in(database: Database, at: datetime) -> None:
    with database.write() as session:
        submission = new_submission(session, at)
    with database.read_prepared() as work:
        prepared = _SUBMISSIONS.first(work, {"submission": submission.id})
        assert _SUBMISSIONS.first(work, {"submission": new_id()}) is None
        assert _SUBMISSIONS.rows(work, {"submission": new_id()}) == []
    with database.read() as session:
        wanted = _SUBMISSIONS.first(session, {"submission": submission.id})
        row = session.get_one(Submission, submission.id)
        assert _SUBMISSIONS.first(session.connection(), {"submission": submission.id}) == wanted
    assert prepared == wanted == (row.id, row.state, row.opened_at, row.sent_at, row.policies)
    assert (type(prepared.state), prepared.opened_at.tzinfo is not None) == (State, True)


def test_a_block_that_ends_is_committed_and_one_that_raises_leaves_nothing(database: Database, at: datetime) -> None:
    with database.write_prepared() as work:
        append_event(work, **_event(EventType.SUBMISSION_OPENED, at), detail={"ghi chú": ["á", None, 1]})
    with pytest.raises(RuntimeError), database.write_prepared() as work:  # noqa: PT012 - what was done before is the point
        append_event(work, **_event(EventType.SUBMISSION_CHECKED, at))
        raise RuntimeError
    with database.read() as session:
        (event,) = session.scalars(select(Event).where(Event.subject_id == "x")).all()
        assert (event.at, event.type) == (at, EventType.SUBMISSION_OPENED)
        assert event.detail == {"ghi chú": ["á", None, 1]}


def test_refusals_of_the_database_are_sqlalchemys_and_undo_the_transaction(database: Database, at: datetime) -> None:
    orphan = {
        "id": new_id(),
        "submission_id": new_id(),
        "kind": "approve",
        "reason": "",
        "agent_id": "a",
        "agent_name": "a",
        "decided_at": at,
        "batch_id": None,
    }
    for work_of in (database.write_prepared, database.write):
        with pytest.raises(IntegrityError), work_of() as work:  # noqa: PT012 - the event is to be undone
            append_event(work, **_event(EventType.SUBMISSION_OPENED, at))
            _ADD_DECISION.run(work, orphan)
    with database.read() as session:
        assert session.scalars(select(Event).where(Event.subject_id == "x")).all() == []


def test_a_reader_cannot_write(database: Database, at: datetime) -> None:
    def write_as_reader() -> None:
        with database.read_prepared() as work:
            append_event(work, **_event(EventType.SUBMISSION_OPENED, at))

    if database.is_sqlite:
        write_as_reader()
    else:
        with pytest.raises(DBAPIError, match="read-only"):
            write_as_reader()
    with database.read() as session:
        assert session.scalars(select(Event).where(Event.subject_id == "x")).all() == []


def test_what_a_session_has_not_written_yet_is_seen(database: Database, at: datetime) -> None:
    with database.write() as session:
        submission = new_submission(session, at)
        submission.error_count = 3
        locked = lock_submission(session, submission.id)
    assert isinstance(locked, LockedSubmission)
    assert locked.error_count == 3


def test_what_cannot_be_compiled_once_is_refused(database: Database, at: datetime) -> None:
    missing = Prepared(insert(cast("Table", Decision.__table__)).inline())
    several = Prepared(select(Submission.id).where(Submission.state.in_([State.CHECKING, State.STORED])))
    with database.read_prepared() as work:
        with pytest.raises(TypeError, match="must be given: id"):
            missing.run(work, {"kind": "approve", "decided_at": at})
        with pytest.raises(TypeError, match="IN takes"):
            several.rows(work)
