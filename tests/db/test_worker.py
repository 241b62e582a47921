"""One worker: what becomes of a job for each way its function can end."""

import threading
from datetime import datetime
from uuid import UUID

import pytest

from archive_service import clock
from archive_service.db import Database
from archive_service.errors import ContentDiffers, LeaseLost, StoreUnavailable
from archive_service.followup import enqueue
from archive_service.jobs import queue, worker
from archive_service.jobs.lease import Lease
from archive_service.jobs.worker import JobContext, StopRequestedError, run_worker
from archive_service.models import Job, JobKind, JobState, Submission
from archive_service.settings import Settings
from tests.builders import new_submission

KIND = JobKind.SWEEP_STAGING


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"job_poll_s": 0.01, "job_lease_s": 30, "job_max_attempts": 2})


def _enqueue(database: Database, subject: str = "one") -> UUID:
    now = clock.now()
    with database.write() as session:
        return enqueue(session, KIND, subject, at=now)


def _run_one(database: Database, settings: Settings, function: worker.JobFunction) -> bool:
    return worker.run_next(database, settings, {KIND: function}, threading.Event(), owner="w")


def _row(database: Database, job_id: UUID) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def test_a_job_done_is_done(database: Database, quick: Settings, at: datetime) -> None:
    job_id = _enqueue(database)

    def function(context: JobContext) -> None:
        context.check_stop()
        context.progress("half-way", 1, 2)
        with context.database.write() as session:
            new_submission(session, at)
            context.hold_lease(session)

    assert _run_one(database, quick, function)
    assert _row(database, job_id).state is JobState.DONE
    assert not _run_one(database, quick, function)


@pytest.mark.parametrize(
    ("failure", "state", "error"),
    [
        (
            StoreUnavailable("location b does not answer"),
            JobState.READY,
            "STORE_UNAVAILABLE: location b does not answer",
        ),
        (ContentDiffers("other bytes"), JobState.PARKED, "DOSSIER_CONTENT_DIFFERS: other bytes"),
        (ZeroDivisionError("oops"), JobState.READY, "ZeroDivisionError: oops\n"),
        (OSError(28, "No space left on device"), JobState.READY, "OSError: [Errno 28] No space left on device\n"),
    ],
)
def test_a_failure_is_in_the_row(
    database: Database, quick: Settings, failure: Exception, state: JobState, error: str
) -> None:
    job_id = _enqueue(database)

    def function(_: JobContext) -> None:
        raise failure

    assert _run_one(database, quick, function)
    row = _row(database, job_id)
    assert row.state is state
    assert row.last_error is not None
    assert row.last_error.endswith(error)


def test_a_stopping_worker_gives_the_job_back(database: Database, quick: Settings) -> None:
    job_id = _enqueue(database)
    stop = threading.Event()

    def function(context: JobContext) -> None:
        stop.set()
        context.check_stop()

    run_worker(database, quick, {KIND: function}, stop)
    row = _row(database, job_id)
    assert (row.state, row.attempts, row.last_error) == (JobState.READY, 0, None)


def test_a_stopping_worker_lets_a_short_job_finish(database: Database, quick: Settings) -> None:
    first, second = _enqueue(database, "one"), _enqueue(database, "two")
    stop = threading.Event()
    run_worker(database, quick, {KIND: lambda _: stop.set()}, stop)
    assert [_row(database, job_id).state for job_id in (first, second)] == [JobState.DONE, JobState.READY]


def test_a_worker_works_on_until_it_is_stopped(database: Database, quick: Settings) -> None:
    done: list[str] = []
    stop = threading.Event()

    def function(context: JobContext) -> None:
        done.append(context.job.subject)
        if len(done) == 3:
            stop.set()

    for number in range(3):
        _enqueue(database, f"job {number}")
    run_worker(database, quick, {KIND: function}, stop)
    assert done == ["job 0", "job 1", "job 2"]


def test_heartbeats_keep_a_long_job(database: Database, quick: Settings) -> None:
    short = quick.model_copy(update={"job_lease_s": 1})
    job_id = _enqueue(database)

    def function(context: JobContext) -> None:
        before = context.job.lease_until
        deadline_s = clock.monotonic_s() + 10
        while _row(context.database, job_id).lease_until == before and clock.monotonic_s() < deadline_s:
            clock.sleep(0.05)
        context.check_lease()
        assert (_row(context.database, job_id).lease_until or before) > before

    assert _run_one(database, short, function)
    row = _row(database, job_id)
    assert (row.state, row.last_error) == (JobState.DONE, None)


def test_an_overtaken_function_is_told_and_its_transaction_does_not_commit(
    database: Database, quick: Settings, at: datetime
) -> None:
    job_id = _enqueue(database)
    seen: list[UUID] = []

    def write_under_lease(context: JobContext) -> None:
        with context.database.write() as session:
            seen.append(new_submission(session, at).id)
            context.hold_lease(session)

    def function(context: JobContext) -> None:
        far = clock.now() + 10 * (context.job.lease_until - clock.now())
        with context.database.write() as session:
            assert queue.release_expired(session, far, max_attempts=5) == 1
        with pytest.raises(LeaseLost):
            write_under_lease(context)

    assert _run_one(database, quick, function)
    with database.read() as session:
        assert [session.get(Submission, submission_id) for submission_id in seen] == [None]
    row = _row(database, job_id)
    assert (row.state, row.attempts) == (JobState.READY, 1), "finish was refused, the job waits for its next worker"


def test_a_job_ends_in_the_last_transaction_of_its_function(database: Database, quick: Settings, at: datetime) -> None:
    job_id = _enqueue(database)
    seen: list[UUID] = []

    def function(context: JobContext) -> None:
        with context.database.write() as session:
            seen.append(new_submission(session, at).id)
            context.end(session)
        assert _row(context.database, job_id).state is JobState.DONE

    assert _run_one(database, quick, function)
    assert _row(database, job_id).state is JobState.DONE
    with database.read() as session:
        assert session.get(Submission, seen[0]) is not None


@pytest.mark.parametrize("overtaken", [False, True])
def test_a_last_transaction_that_fails_leaves_the_job_as_it_is(
    database: Database, quick: Settings, at: datetime, *, overtaken: bool
) -> None:
    job_id = _enqueue(database)
    seen: list[UUID] = []

    def function(context: JobContext) -> None:
        if overtaken:
            far = clock.now() + 10 * (context.job.lease_until - clock.now())
            with context.database.write() as session:
                assert queue.release_expired(session, far, max_attempts=5) == 1
        with context.database.write() as session:
            seen.append(new_submission(session, at).id)
            context.end(session)
            raise ZeroDivisionError

    assert _run_one(database, quick, function)
    row = _row(database, job_id)
    assert (row.state, row.lease_owner) == (JobState.READY, None)
    assert ("ZeroDivisionError" in (row.last_error or "")) is not overtaken
    with database.read() as session:
        assert session.get(Submission, seen[0]) is None


def test_one_thread_keeps_the_leases_of_many_jobs(database: Database) -> None:
    for subject in ("one", "two", "three"):
        _enqueue(database, subject)
    with database.write() as session:
        jobs = [queue.claim(session, f"w{number}", clock.now(), 0.6) for number in range(3)]
    assert all(jobs)
    leases = [Lease(database, job, 0.6) for job in jobs if job is not None]
    assert _threads_of_leases() <= 1
    with leases[0], leases[1], leases[2]:
        assert _threads_of_leases() == 1
        clock.sleep(1.5)  # more than twice what a claim holds without heartbeat
        for lease in leases:
            lease.check()
    until = [_row(database, job.id).lease_until for job in jobs if job is not None]
    clock.sleep(0.5)
    assert until == [_row(database, job.id).lease_until for job in jobs if job is not None], "let go"


def _threads_of_leases() -> int:
    return sum(thread.name == "leases" for thread in threading.enumerate())


def test_a_function_that_lost_its_lease_writes_no_outcome(database: Database, quick: Settings) -> None:
    job_id = _enqueue(database)

    def function(context: JobContext) -> None:
        raise LeaseLost("told by a step", job=str(context.job.id))

    assert _run_one(database, quick, function)
    assert _row(database, job_id).state is JobState.RUNNING


def test_no_heartbeat_in_time_means_no_lease(database: Database) -> None:
    _enqueue(database)
    with database.write() as session:
        job = queue.claim(session, "w", clock.now(), 30)
    assert job is not None
    lease = Lease(database, job, 0.05)  # never started: no heartbeat
    lease.check()
    clock.sleep(0.06)
    with pytest.raises(LeaseLost):
        lease.check()


def test_a_database_that_is_away_is_waited_for(database: Database, quick: Settings) -> None:
    job_id = _enqueue(database)
    stop = threading.Event()
    unreachable = Database("postgresql://nobody@127.0.0.1:9/none")  # the discard port: nothing listens there
    thread = threading.Thread(target=run_worker, args=(unreachable, quick, {KIND: lambda _: None}, stop))
    thread.start()
    clock.sleep(0.2)
    assert thread.is_alive()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    unreachable.close()
    assert _row(database, job_id).state is JobState.READY


def test_what_counts_as_permanent() -> None:
    assert worker.is_permanent(ContentDiffers("x"))
    assert not worker.is_permanent(StoreUnavailable("x"))
    assert not worker.is_permanent(StopRequestedError())
    assert not worker.is_permanent(TimeoutError())
