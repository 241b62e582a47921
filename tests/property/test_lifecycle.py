"""Whatever is asked of the lifecycle in whatever order, no state is reached that the table does not lead to."""

from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive_service.audit import events_of
from archive_service.db import Database
from archive_service.errors import IllegalTransition
from archive_service.lifecycle import transition
from archive_service.models import TRANSITIONS, State
from archive_service.models.states import RECORD_STATES, SUBMISSION_STATES
from tests.builders import TESTER, new_record, new_submission


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    opened = Database(sqlite_url)
    yield opened
    opened.close()


@given(wanted=st.lists(st.sampled_from(State), max_size=12), starts_as_submission=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_stays_inside_the_table(
    sqlite: Database, at: datetime, wanted: list[State], *, starts_as_submission: bool
) -> None:
    allowed_states = SUBMISSION_STATES if starts_as_submission else RECORD_STATES
    with sqlite.write() as session:
        subject = new_submission(session, at) if starts_as_submission else new_record(session, at)
        state, taken = subject.state, []
        for target in wanted:
            if target not in allowed_states:
                continue
            try:
                transition(session, subject, target, agent=TESTER, at=at)
            except IllegalTransition:
                assert (state, target) not in TRANSITIONS
            else:
                taken.append(TRANSITIONS[state, target])
                state = target
            assert subject.state is state
        session.flush()
        kind = "submission" if starts_as_submission else "record"
        # The history alone tells the same story as the row.
        assert [event.type for event in events_of(session, [(kind, subject.id)])] == taken


@given(path=st.lists(st.sampled_from(sorted(TRANSITIONS)), min_size=1, max_size=8))
def test_no_step_leaves_an_end_state(path: list[tuple[State, State]]) -> None:
    ends = {State.REJECTED, State.RETURNED, State.DESTROYED, State.HANDED_OVER}
    assert not any(source in ends for source, _ in path)
    assert all(source is not target for source, target in path)
