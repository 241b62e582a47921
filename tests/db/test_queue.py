"""The job queue on both engines: one worker per job, takeover, tries, parking, nothing written without the lease."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from archive_service.audit import events_of
from archive_service.db import Database
from archive_service.errors import Conflict, LeaseLost, NotFound
from archive_service.followup import enqueue
from archive_service.ids import new_id
from archive_service.jobs import queue
from archive_service.jobs.queue import ClaimedJob
from archive_service.models import EventType, Job, JobKind, JobState
from tests.builders import TESTER

LEASE_S = 60
KIND = JobKind.SWEEP_STAGING


def _enqueue(database: Database, at: datetime, subject: str = "one", *, run_at: datetime | None = None) -> UUID:
    with database.write() as session:
        return enqueue(session, KIND, subject, at=at, run_at=run_at, payload={"n": 1})


def _claim(database: Database, at: datetime, owner: str = "a") -> ClaimedJob | None:
    with database.write() as session:
        return queue.claim(session, owner, at, LEASE_S, [KIND])


def _claimed(database: Database, at: datetime, owner: str = "a") -> ClaimedJob:
    job = _claim(database, at, owner)
    assert job is not None
    return job


def _row(database: Database, job_id: UUID) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def test_a_claim_hands_out_everything_the_worker_needs(database: Database, at: datetime) -> None:
    job_id = _enqueue(database, at)
    job = _claimed(database, at)
    assert job == ClaimedJob(
        id=job_id,
        kind=KIND,
        subject="one",
        payload={"n": 1},
        attempts=1,
        owner="a",
        lease_until=at + timedelta(seconds=LEASE_S),
    )
    assert _claim(database, at, "b") is None


def test_due_longest_first_and_nothing_before_its_time(database: Database, at: datetime) -> None:
    later, sooner = at + timedelta(seconds=20), at + timedelta(seconds=10)
    _enqueue(database, at, "later", run_at=later)
    _enqueue(database, at, "sooner", run_at=sooner)
    assert _claim(database, at) is None
    assert [_claimed(database, later).subject for _ in range(2)] == ["sooner", "later"]


def test_racing_callers_ask_for_one_job(database: Database, at: datetime) -> None:
    barrier = threading.Barrier(6)

    def ask(_number: int) -> UUID:
        barrier.wait()
        return _enqueue(database, at)

    with ThreadPoolExecutor(6) as threads:
        ids = set(threads.map(ask, range(6)))
    assert len(ids) == 1
    job = _claimed(database, at)
    assert _enqueue(database, at) == job.id  # still open while it runs
    with database.write() as session:
        queue.finish(session, job, at)
    assert _enqueue(database, at) != job.id


def test_only_kinds_asked_for(database: Database, at: datetime) -> None:
    _enqueue(database, at)
    with database.write() as session:
        assert queue.claim(session, "a", at, LEASE_S, [JobKind.PRUNE_JOBS]) is None
        assert queue.claim(session, "a", at, LEASE_S, []) is None
        assert not queue.anything_due(session.connection(), at, [JobKind.PRUNE_JOBS])
        assert queue.anything_due(session.connection(), at)
        assert queue.claim(session, "a", at, LEASE_S) is not None


def test_many_workers_never_get_the_same_job(database: Database, at: datetime) -> None:
    ids = {_enqueue(database, at, f"job {number}") for number in range(40)}
    barrier = threading.Barrier(6)
    got: Counter[UUID] = Counter()

    def work(owner: str) -> None:
        barrier.wait()
        while (job := _claim(database, at, owner)) is not None:
            got[job.id] += 1

    threads = [threading.Thread(target=work, args=(f"worker {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == Counter(ids)


def test_a_claim_that_is_not_committed_never_was(database: Database, at: datetime) -> None:
    _enqueue(database, at)

    def claim_and_fail() -> None:
        with database.write() as session:
            assert queue.claim(session, "a", at, LEASE_S) is not None
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        claim_and_fail()
    assert _claimed(database, at, "b").attempts == 1


def test_done_is_done_once(database: Database, at: datetime) -> None:
    _enqueue(database, at)
    job = _claimed(database, at)
    with database.write() as session:
        queue.finish(session, job, at)
    row = _row(database, job.id)
    assert (row.state, row.finished_at, row.lease_owner, row.lease_until) == (JobState.DONE, at, None, None)
    with pytest.raises(LeaseLost), database.write() as session:
        queue.finish(session, job, at)


def test_a_heartbeat_keeps_the_job_from_being_taken_over(database: Database, at: datetime) -> None:
    _enqueue(database, at)
    job = _claimed(database, at)
    half, late = at + timedelta(seconds=LEASE_S / 2), at + timedelta(seconds=LEASE_S + 1)
    with database.write() as session:
        assert queue.heartbeat(session, job, half, LEASE_S) == half + timedelta(seconds=LEASE_S)
        assert queue.release_expired(session, late, max_attempts=3) == 0
    with database.write() as session:
        assert queue.release_expired(session, late + timedelta(seconds=LEASE_S), max_attempts=3) == 1


def test_who_was_overtaken_changes_nothing(database: Database, at: datetime) -> None:
    _enqueue(database, at)
    slow = _claimed(database, at, "slow")
    late = at + timedelta(seconds=LEASE_S + 1)
    with database.write() as session:
        assert queue.release_expired(session, late, max_attempts=3) == 1
    fast = _claimed(database, late, "fast")
    assert (fast.id, fast.attempts) == (slow.id, 2)
    for attempt in (
        lambda session: queue.heartbeat(session, slow, late, LEASE_S),
        lambda session: queue.hold(session, slow),
        lambda session: queue.finish(session, slow, late),
        lambda session: queue.release(session, slow, late),
        lambda session: queue.retry(session, slow, "x", late, max_attempts=3),
        lambda session: queue.park(session, slow, "x", late),
    ):
        with pytest.raises(LeaseLost) as lost, database.write() as session:
            attempt(session)
        assert lost.value.fields == {"job": str(slow.id)}
    with database.write() as session:
        queue.hold(session, fast)
        queue.finish(session, fast, late)
    assert _row(database, slow.id).state is JobState.DONE
    with database.read() as session:
        assert events_of(session, [("job", slow.id)]) == []


def test_the_same_worker_taking_a_job_again_has_another_claim(database: Database, at: datetime) -> None:
    _enqueue(database, at)
    first = _claimed(database, at, "same")
    late = at + timedelta(seconds=LEASE_S + 1)
    with database.write() as session:
        queue.release_expired(session, late, max_attempts=3)
    second = _claimed(database, late, "same")
    with pytest.raises(LeaseLost), database.write() as session:
        queue.finish(session, first, late)
    with database.write() as session:
        queue.finish(session, second, late)


def test_errors_are_tried_again_later_and_parked_at_last(database: Database, at: datetime) -> None:
    job_id = _enqueue(database, at)
    now = at
    for attempt in (1, 2):
        job = _claimed(database, now)
        assert job.attempts == attempt
        with database.write() as session:
            assert queue.retry(session, job, f"failure {attempt}", now, max_attempts=3) is JobState.READY
        row = _row(database, job_id)
        pause_s = (row.run_at - now).total_seconds()
        assert 0.75 * 2**attempt <= pause_s <= 1.25 * 2**attempt
        assert row.last_error == f"failure {attempt}"
        assert _claim(database, now) is None
        now = row.run_at
    with database.write() as session:
        job = _claim_in(session, now)
        assert (
            queue.retry(session, job, "Traceback …\nValueError: the last line", now, max_attempts=3) is JobState.PARKED
        )
    row = _row(database, job_id)
    assert (row.state, row.finished_at, row.lease_until) == (JobState.PARKED, now, None)
    with database.read() as session:
        (event,) = events_of(session, [("job", job_id)])
    assert event.type is EventType.JOB_PARKED
    assert event.detail == {"kind": KIND.value, "subject": "one", "attempts": 3, "error": "ValueError: the last line"}


def test_a_job_that_kills_its_workers_is_parked(database: Database, at: datetime) -> None:
    job_id = _enqueue(database, at)
    now = at
    for attempt in (1, 2, 3):
        assert _claimed(database, now, f"victim {attempt}").attempts == attempt
        now += timedelta(seconds=LEASE_S + 1)
        with database.write() as session:
            assert queue.release_expired(session, now, max_attempts=3) == 1
        row = _row(database, job_id)
        assert (row.run_at == now) == (attempt in (1, 3)), "the first takeover is at once, the next waits"
        now = max(now, row.run_at)
    assert row.state is JobState.PARKED
    assert row.last_error is not None
    assert "victim 3" in row.last_error
    with database.read() as session:
        assert [event.type for event in events_of(session, [("job", job_id)])] == [EventType.JOB_PARKED]


def test_a_released_job_has_not_lost_a_try(database: Database, at: datetime) -> None:
    _enqueue(database, at)
    job = _claimed(database, at)
    with database.write() as session:
        queue.release(session, job, at)
    assert _claimed(database, at, "b").attempts == 1


def test_requeue_gives_a_parked_job_all_its_tries_and_says_who(database: Database, at: datetime) -> None:
    job_id = _enqueue(database, at)
    with database.write() as session:
        queue.park(session, _claim_in(session, at), "no", at)
    with database.write() as session:
        queue.requeue(session, job_id, agent=TESTER, at=at)
    assert _claimed(database, at).attempts == 1
    with database.read() as session:
        events = events_of(session, [("job", job_id)])
    assert [(event.type, event.agent_id) for event in events] == [
        (EventType.JOB_PARKED, "software:worker"),
        (EventType.JOB_REQUEUED, TESTER.id),
    ]


def _claim_in(session, at: datetime) -> ClaimedJob:
    job = queue.claim(session, "a", at, LEASE_S)
    assert job is not None
    return job


def test_requeue_refuses_what_is_not_parked_or_queued_again(database: Database, at: datetime) -> None:
    job_id = _enqueue(database, at)
    with pytest.raises(Conflict, match="not parked"), database.write() as session:
        queue.requeue(session, job_id, agent=TESTER, at=at)
    with pytest.raises(NotFound), database.write() as session:
        queue.requeue(session, new_id(), agent=TESTER, at=at)
    with database.write() as session:
        queue.park(session, _claim_in(session, at), "no", at)
    _enqueue(database, at)
    with pytest.raises(Conflict, match="queued already"), database.write() as session:
        queue.requeue(session, job_id, agent=TESTER, at=at)
    assert _row(database, job_id).state is JobState.PARKED


def test_a_clock_that_steps_back_neither_loses_nor_repeats_a_job(database: Database, at: datetime) -> None:
    _enqueue(database, at)
    job = _claimed(database, at)
    back = at - timedelta(hours=3)
    with database.write() as session:
        assert queue.release_expired(session, back, max_attempts=3) == 0
        queue.heartbeat(session, job, back, LEASE_S)
        queue.retry(session, job, "x", back, max_attempts=3)
    assert _claimed(database, at, "b").attempts == 2


def test_pruning_takes_done_jobs_only_and_in_batches(database: Database, at: datetime) -> None:
    for number in range(5):
        _enqueue(database, at, f"job {number}")
    for _ in range(3):
        with database.write() as session:
            queue.finish(session, _claim_in(session, at), at)
    with database.write() as session:
        queue.park(session, _claim_in(session, at), "no", at)
        assert queue.prune_done(session, at, limit=10) == 0
        later = at + timedelta(seconds=1)
        assert [queue.prune_done(session, later, limit=2) for _ in range(3)] == [2, 1, 0]
        assert queue.count_jobs(session) == {JobState.READY: 1, JobState.RUNNING: 0, JobState.PARKED: 1}
        (parked,) = queue.list_jobs(session, JobState.PARKED)
        assert queue.list_jobs(session, JobState.PARKED, after=parked.id) == []


def test_a_long_error_keeps_its_end(database: Database, at: datetime) -> None:
    job_id = _enqueue(database, at)
    with database.write() as session:
        queue.park(session, _claim_in(session, at), "x" * 100_000 + "the end", at)
    error = _row(database, job_id).last_error
    assert error is not None
    assert error.endswith("the end")
    assert len(error) == queue.MAX_ERROR_CHARS + 2


@pytest.mark.parametrize(("attempts", "jitter", "expected"), [(1, 0, 2), (2, 0, 4), (5, 1, 40), (5, -1, 24)])
def test_pauses_double(attempts: int, jitter: float, expected: float) -> None:
    assert queue.backoff_s(attempts, jitter) == expected


def test_pauses_have_a_ceiling_and_differ() -> None:
    assert queue.backoff_s(10_000, 1) == queue.BACKOFF_MAX_S
    assert len({queue.backoff_s(3) for _ in range(20)}) > 1
