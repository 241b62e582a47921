"""Worker processes that are killed, that crash, or that are asked to stop: no job is lost, none is done by halves."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from archive_service import clock
from archive_service.audit import events_of
from archive_service.db import Database
from archive_service.followup import enqueue
from archive_service.jobs.pool import WorkerGroup
from archive_service.models import EventType, Job, JobKind, JobState
from archive_service.settings import Settings
from tests.crash import job_functions

WAIT_S = 60
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"job_poll_s": 0.05, "job_lease_s": 2, "job_max_attempts": 3})


def _enqueue(database: Database) -> UUID:
    with database.write() as session:
        return enqueue(session, JobKind.SWEEP_STAGING, "one", at=clock.now())


def _row(database: Database, job_id: UUID) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def _wait_for(what: str, holds: Callable[[], bool]) -> None:
    deadline_s = clock.monotonic_s() + WAIT_S
    while not holds():
        if clock.monotonic_s() > deadline_s:
            pytest.fail(f"waited {WAIT_S} s in vain: {what}")
        clock.sleep(0.05)


def test_the_job_of_a_killed_worker_is_done_by_another(database: Database, quick: Settings) -> None:
    job_id = _enqueue(database)
    started = quick.data_dir / "started-one-1"
    with WorkerGroup(quick, job_functions.hanging, count=2) as group:
        _wait_for("a worker takes the job", lambda: started.exists() and started.read_text() != "")
        victim = int(started.read_text())
        assert victim in group.pids()
        os.kill(victim, signal.SIGKILL)
        _wait_for("another worker does it", lambda: _row(database, job_id).state is JobState.DONE)
        assert int((quick.data_dir / "done-one-2").read_text()) != victim
        _wait_for("the killed worker is replaced", lambda: len(group.pids()) == 2)
    assert _row(database, job_id).attempts == 2
    assert group.pids() == []


def test_a_job_that_kills_every_worker_ends_parked(database: Database, quick: Settings) -> None:
    job_id = _enqueue(database)
    with WorkerGroup(quick.model_copy(update={"job_lease_s": 1, "job_max_attempts": 2}), job_functions.dying, count=1):
        _wait_for("the job is set aside", lambda: _row(database, job_id).state is JobState.PARKED)
    row = _row(database, job_id)
    assert row.attempts == 2
    assert "fell silent in try 2" in str(row.last_error)
    with database.read() as session:
        assert [event.type for event in events_of(session, [("job", job_id)])] == [EventType.JOB_PARKED]


def test_a_stopped_group_gives_its_job_back(database: Database, quick: Settings) -> None:
    job_id = _enqueue(database)
    with WorkerGroup(quick, job_functions.giving_back, count=1):
        _wait_for("the worker takes the job", (quick.data_dir / "started-one-1").exists)
    row = _row(database, job_id)
    assert (row.state, row.attempts) == (JobState.READY, 0)


def test_a_worker_that_does_not_stop_in_time_is_killed(database: Database, quick: Settings) -> None:
    job_id = _enqueue(database)
    group = WorkerGroup(quick, job_functions.hanging, count=1)
    group.start()
    _wait_for("the worker takes the job", (quick.data_dir / "started-one-1").exists)
    group.stop(grace_s=0.2)
    assert group.pids() == []
    assert _row(database, job_id).state is JobState.RUNNING, "its lease will end"


_PARENT = """
import sys
from archive_service.jobs.pool import WorkerGroup
from archive_service.settings import Settings
from tests.crash import job_functions
if __name__ == "__main__":
    group = WorkerGroup(Settings.model_validate_json(sys.argv[1]), job_functions.giving_back, count=1)
    group.start()
    print(*group.pids(), flush=True)
    sys.stdin.read()
"""


def test_workers_stop_when_their_parent_is_killed(database: Database, quick: Settings, tmp_path: Path) -> None:
    job_id = _enqueue(database)
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), quick.model_dump_json()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as parent:
        assert parent.stdout is not None
        (worker,) = map(int, parent.stdout.readline().split())
        _wait_for("the worker takes the job", (quick.data_dir / "started-one-1").exists)
        parent.kill()
        parent.wait()
        _wait_for("the job is given back", lambda: _row(database, job_id).state is JobState.READY)
        _wait_for("the worker is gone", lambda: not Path(f"/proc/{worker}").exists() or _is_zombie(worker))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
