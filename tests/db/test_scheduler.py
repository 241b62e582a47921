"""The scheduler inserts each planned run once, whatever clocks, restarts and other schedulers do."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from archive_service import clock
from archive_service.db import Database
from archive_service.identity.sessions import SessionLimits
from archive_service.jobs import pruning, queue
from archive_service.jobs.scheduler import SCHEDULE, ScheduledTask, Scheduler, last_planned, plan_due, plan_run
from archive_service.models import Job, JobKind, JobState, ScheduledRun

TASKS = {task.name: task for task in SCHEDULE}
REVIEW, SWEEP = TASKS["retention-review"], TASKS["staging-sweep"]


@pytest.mark.parametrize(
    ("task", "now", "planned"),
    [
        (REVIEW, "2026-11-19T18:00:00", "2026-11-19T18:00:00"),  # 01:00 on the 20th in Hà Nội
        (REVIEW, "2026-11-19T17:59:59", "2026-11-18T18:00:00"),
        (REVIEW, "2026-11-20T17:00:00", "2026-11-19T18:00:00"),
        (SWEEP, "2026-11-20T03:04:05", "2026-11-20T02:17:00"),
        (SWEEP, "2026-11-20T03:17:00", "2026-11-20T03:17:00"),
    ],
)
def test_the_last_planned_time(task: ScheduledTask, now: str, planned: str) -> None:
    found = last_planned(task, datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(planned).replace(tzinfo=UTC)


def test_each_run_is_planned_once(database: Database, at: datetime) -> None:
    jobs = plan_due(database, at)
    assert len(jobs) == len(SCHEDULE)
    assert plan_due(database, at + timedelta(minutes=5)) == []
    (again,) = plan_due(database, at + timedelta(minutes=30))
    assert again in jobs, "the sweep of this day still waits and is not queued twice"
    with database.read() as session:
        review = session.scalars(select(Job).where(Job.kind == JobKind.REVIEW_RETENTION)).one()
        assert review.payload == {"scheduled_for": "2026-11-20T01:00:00+07:00", "on": "2026-11-20"}
        assert review.subject == "retention-review:2026-11-20"
        assert {job.id for job in session.scalars(select(Job))} == set(jobs)


def test_a_clock_that_steps_back_plans_nothing_twice(database: Database, at: datetime) -> None:
    plan_due(database, at)
    with database.write() as session:
        while (job := queue.claim(session, "w", at, 60)) is not None:
            queue.finish(session, job, at)
    for minutes in (0, -1, 1):
        assert plan_due(database, at + timedelta(minutes=minutes)) == []


def test_missed_runs_are_caught_up_once(database: Database, at: datetime) -> None:
    plan_due(database, at)
    plan_due(database, at + timedelta(days=10))
    with database.read() as session:
        runs = session.scalars(select(ScheduledRun.scheduled_for).where(ScheduledRun.task == REVIEW.name)).all()
    assert runs == [datetime(2026, 11, 19, 18, tzinfo=UTC), datetime(2026, 11, 29, 18, tzinfo=UTC)]


def test_two_schedulers_at_the_same_moment(database: Database, at: datetime) -> None:
    scheduled_for = last_planned(REVIEW, at)
    assert scheduled_for is not None
    barrier = threading.Barrier(4)
    results: list[object] = []

    def plan() -> None:
        barrier.wait()
        results.append(plan_run(database, REVIEW, scheduled_for, at))

    threads = [threading.Thread(target=plan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert sum(job is not None for job in results) == 1
    with database.read() as session:
        assert len(session.scalars(select(Job)).all()) == len(session.scalars(select(ScheduledRun)).all()) == 1


def test_the_running_scheduler_only_inserts_rows(database: Database) -> None:
    before = clock.now()
    scheduler = Scheduler(database)
    scheduler.start()
    scheduler.look()
    scheduler.stop()
    scheduler.stop()
    with database.read() as session:
        jobs = session.scalars(select(Job)).all()
    assert {job.kind for job in jobs} == {task.kind for task in SCHEDULE}
    assert all(job.state is JobState.READY and job.run_at >= before for job in jobs)


def test_a_database_that_is_away_does_not_end_the_scheduler() -> None:
    unreachable = Database("postgresql://nobody@127.0.0.1:9/none")  # the discard port: nothing listens there
    scheduler = Scheduler(unreachable)
    scheduler.look()
    unreachable.close()


def test_housekeeping(database: Database, at: datetime) -> None:
    limits = SessionLimits.of(idle_min=60, max_h=12)
    plan_due(database, at)
    with database.write() as session:
        job = queue.claim(session, "w", at, 60)
        assert job is not None
        queue.finish(session, job, at)
    assert pruning.prune(database, at=at + timedelta(days=29), limits=limits).jobs == 0
    pruned = pruning.prune(database, at=at + timedelta(days=500), limits=limits)
    assert (pruned.jobs, pruned.scheduled_runs) == (1, len(SCHEDULE))
