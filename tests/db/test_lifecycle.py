"""The lifecycle on both engines: every pair of states, races, and the database's own defence of history."""

import threading
from datetime import datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from archive_service.audit import append_event, events_of, software
from archive_service.db import Database
from archive_service.errors import IllegalTransition, NotFound
from archive_service.ids import new_id
from archive_service.lifecycle import lock_submission, transition
from archive_service.models import TRANSITIONS, EventType, Record, State, Submission
from archive_service.models.states import RECORD_STATES, SUBMISSION_STATES
from tests.builders import TESTER, advance, new_record, new_submission


def test_every_pair_of_states_follows_the_table(database: Database, at: datetime) -> None:
    for source, target in product(State, State):
        starts: list[tuple[bool, State]] = [(True, source)] if source in SUBMISSION_STATES else []
        if source in RECORD_STATES:
            starts.append((False, source))
        for is_submission, start in starts:
            _one_pair(database, at, start, target, is_submission=is_submission)


def _one_pair(database: Database, at: datetime, source: State, target: State, *, is_submission: bool) -> None:
    with database.write() as session:
        subject = new_submission(session, at) if is_submission else new_record(session, at)
        advance(session, subject, source, at)
        kind = "submission" if is_submission else "record"
        before = len(events_of(session, [(kind, subject.id)]))
        reachable = SUBMISSION_STATES if is_submission else RECORD_STATES
        expected = TRANSITIONS.get((source, target)) if target in reachable else None
        if expected is None:
            with pytest.raises(IllegalTransition) as refused:
                transition(session, subject, target, agent=TESTER, at=at)
            assert refused.value.fields == {"subject": str(subject.id), "state": source.value, "wanted": target.value}
        else:
            transition(session, subject, target, agent=TESTER, at=at, detail={"why": "test"})
        session.flush()
        events = events_of(session, [(kind, subject.id)])[before:]
        assert [event.type for event in events] == ([expected] if expected else [])
        assert subject.state is (target if expected else source)
        assert [event.detail for event in events] == ([{"why": "test"}] if expected else [])


def test_every_state_but_the_ends_leads_somewhere() -> None:
    ends = set(State) - {source for source, _ in TRANSITIONS}
    assert ends == {State.REJECTED, State.RETURNED, State.DESTROYED, State.HANDED_OVER}


def test_eight_racing_callers_have_one_winner(database: Database, at: datetime) -> None:
    with database.write() as session:
        submission_id = new_submission(session, at).id
    barrier = threading.Barrier(8)
    results: list[str] = []

    def race() -> None:
        barrier.wait()
        try:
            with database.write() as session:
                subject = session.get_one(Submission, submission_id)
                transition(session, subject, State.CHECKING, agent=TESTER, at=at)
        except IllegalTransition:
            results.append("refused")
        else:
            results.append("won")

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["refused"] * 7 + ["won"]
    with database.read() as session:
        assert session.get_one(Submission, submission_id).state is State.CHECKING
        events = events_of(session, [("submission", submission_id)])
        assert [event.type for event in events] == [EventType.SUBMISSION_COMPLETED]


def test_knowledge_that_is_out_of_date_is_put_right_first(database: Database, at: datetime) -> None:
    with database.write() as session:
        submission_id = new_submission(session, at).id
        early = lock_submission(session, submission_id)
        transition(session, early, State.CHECKING, agent=TESTER, at=at)
    later = at + timedelta(hours=1)
    with database.write() as session:
        transition(session, early, State.REJECTED, agent=TESTER, at=later)  # withdrawn, it believes; refused, it is
        events = events_of(session, [("submission", submission_id)])
        assert [event.type for event in events] == [EventType.SUBMISSION_COMPLETED, EventType.SUBMISSION_REJECTED]
        with pytest.raises(IllegalTransition) as refused:
            transition(session, early, State.CHECKING, agent=TESTER, at=later)
        assert refused.value.fields["state"] == "REJECTED"


def test_a_step_notes_its_time(database: Database, at: datetime) -> None:
    moments = {
        State.CHECKING: {"completed_at"},
        State.AWAITING_APPROVAL: {"checked_at"},
        State.APPROVED: {"decided_at"},
        State.STORED: {"stored_at"},
    }
    with database.write() as session:
        subject = new_submission(session, at)
        for hour, state in enumerate(moments, start=1):
            transition(session, subject, state, agent=TESTER, at=at + timedelta(hours=hour))
        submission_id = subject.id
    with database.read() as session:
        stored = session.get_one(Submission, submission_id)
        for hour, names in enumerate(moments.values(), start=1):
            assert {getattr(stored, name) for name in names} == {at + timedelta(hours=hour)}


def test_a_vanished_row_is_not_found(database: Database, at: datetime) -> None:
    ghost = Submission(id=new_id(), state=State.RECEIVING)
    with database.write() as session, pytest.raises(NotFound):
        transition(session, ghost, State.CHECKING, agent=TESTER, at=at)


def test_a_failure_after_the_step_takes_state_and_event_back(database: Database, at: datetime) -> None:
    with database.write() as session:
        submission_id = new_submission(session, at).id

    def step_then_fail() -> None:
        with database.write() as session:
            transition(session, session.get_one(Submission, submission_id), State.CHECKING, agent=TESTER, at=at)
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        step_then_fail()
    with database.read() as session:
        assert session.get_one(Submission, submission_id).state is State.RECEIVING
        assert events_of(session, [("submission", submission_id)]) == []


# ------------------------------------------------------------------ what the database defends by itself


@pytest.mark.parametrize("statement", ["UPDATE event SET agent_name = 'x'", "DELETE FROM event", "TRUNCATE event"])
def test_history_cannot_be_changed(database: Database, at: datetime, statement: str) -> None:
    if database.is_sqlite and statement.startswith("TRUNCATE"):
        statement = "DELETE FROM event WHERE 1"  # SQLite's form of TRUNCATE
    with database.write() as session:
        append_event(
            session,
            EventType.REVIEW_LISTED,
            subject_kind="review",
            subject_id="1",
            agency=None,
            agent=software("tests"),
            at=at,
        )
    with pytest.raises(DBAPIError, match="event refuses"), database.write() as session:
        session.execute(text(statement))
    with database.read() as session:
        assert len(events_of(session, [("review", "1")])) == 1


def test_a_replacing_insert_does_not_slip_past_the_triggers(database: Database, at: datetime) -> None:
    with database.write() as session:
        append_event(
            session, EventType.REVIEW_LISTED, subject_kind="review", subject_id="1", agency=None, agent=TESTER, at=at
        )
        seq = events_of(session, [("review", "1")])[0].seq
    replace = (
        "INSERT OR REPLACE INTO event (seq, at, type, subject_kind, subject_id, agent_id, agent_name, detail) "
        "VALUES (:seq, '2026-01-01', 'review.listed', 'review', 'forged', 'a', 'b', '{}')"
        if database.is_sqlite
        else "INSERT INTO event (seq, at, type, subject_kind, subject_id, agent_id, agent_name, detail) "
        "VALUES (:seq, '2026-01-01Z', 'review.listed', 'review', 'forged', 'a', 'b', '{}') "
        "ON CONFLICT (seq) DO UPDATE SET subject_id = 'forged'"
    )
    with pytest.raises(DBAPIError), database.write() as session:
        session.execute(text(replace), {"seq": seq})
    with database.read() as session:
        assert [event.subject_id for event in events_of(session, [("review", "1"), ("review", "forged")])] == ["1"]


def test_an_unknown_state_is_refused_by_the_database(database: Database, at: datetime) -> None:
    with database.write() as session:
        submission_id = new_submission(session, at).id
    with pytest.raises(IntegrityError), database.write() as session:
        # `cast` keeps the value as the engine stores ids; only the state is wrong.
        session.execute(text("UPDATE submission SET state = 'LOST'"))
    with database.read() as session:
        assert session.scalars(select(Submission.state).where(Submission.id == submission_id)).one() is State.RECEIVING


def test_a_commit_that_fails_is_an_error_for_the_caller(database: Database, at: datetime) -> None:
    """What the caller sees as done is done: a constraint that only fails at the end of the transaction must surface."""
    with database.write() as session:
        new_record(session, at, dossier_code="A")
    reached = []

    def use_case() -> None:
        with database.write() as session:
            session.add(_second_record_with_code(at, "A"))
            reached.append("end of block")  # nothing was flushed yet: the failure comes from the commit
        reached.append("after commit")

    with pytest.raises(IntegrityError):
        use_case()
    assert reached == ["end of block"]
    with database.read() as session:
        assert len(session.scalars(select(Record)).all()) == 1


def _second_record_with_code(at: datetime, code: str) -> Record:
    return Record(
        id=new_id(),
        state=State.STORED,
        dossier_code=code,
        archive_file_code="x",
        archiving_agency="000.00.01.H40",
        settling_agency="x",
        receiving_agency="x",
        procedure_code="x",
        procedure_name="x",
        field="x",
        title="x",
        applicant_name="x",
        outcome="x",
        access_mode="01",
        closed_at=at,
        stored_at=at,
        current_version=1,
        component_count=0,
        size_bytes=0,
        retention_kind="PERMANENT",
    )


def test_times_come_back_aware_and_equal(database: Database, at: datetime) -> None:
    later = at + timedelta(microseconds=1)
    with database.write() as session:
        submission_id = new_submission(session, at, sent_at=later.astimezone(tz=None)).id
    with database.read() as session:
        row = session.get_one(Submission, submission_id)
        assert (row.opened_at, row.sent_at) == (at, later)
        assert row.opened_at.utcoffset() == timedelta(0)


def test_a_naive_time_is_refused(database: Database, at: datetime) -> None:
    with pytest.raises(Exception, match="naive datetime"), database.write() as session:
        new_submission(session, at.replace(tzinfo=None))


def test_a_reader_cannot_write_on_postgresql_and_leaves_nothing_on_sqlite(database: Database, at: datetime) -> None:
    def write_as_reader() -> None:
        with database.read() as session:
            new_submission(session, at)

    if database.is_sqlite:
        write_as_reader()
    else:
        with pytest.raises(DBAPIError, match="read-only"):
            write_as_reader()
    with database.read() as session:
        assert session.scalars(select(Submission)).all() == []
