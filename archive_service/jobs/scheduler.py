"""The scheduler: at planned times it inserts job rows and does nothing else (DESIGN D6).

The unique key (task, scheduled_for) makes any number of schedulers harmless, so every `serve` may run one. A run
missed because nothing was running is caught up at the next start or look, once, for the last planned time only.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy import exists, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from archive_service import clock
from archive_service.db import Database
from archive_service.followup import enqueue
from archive_service.models import JobKind, ScheduledRun

CATCH_UP_EVERY_MIN: Final = 5
"""How often the scheduler looks whether a planned run is missing, e.g. because the database was away at its time."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledTask:
    """One task and its times, as cron fields in the legal time zone."""

    name: str
    """Never changes: it is part of the unique key."""
    kind: JobKind
    minute: str
    hour: str
    reason: str
    day: str = "*"
    month: str = "*"
    day_of_week: str = "*"

    def trigger(self) -> CronTrigger:
        """Returns the times as an APScheduler trigger."""
        return CronTrigger(
            month=self.month,
            day=self.day,
            day_of_week=self.day_of_week,
            hour=self.hour,
            minute=self.minute,
            timezone=clock.LEGAL_ZONE,
        )


SCHEDULE: Final = (
    ScheduledTask(
        name="retention-review",
        kind=JobKind.REVIEW_RETENTION,
        minute="0",
        hour="1",
        reason="Due dates are civil dates: an hour into the new day the list of that day is complete (R061).",
    ),
    ScheduledTask(
        name="staging-sweep",
        kind=JobKind.SWEEP_STAGING,
        minute="17",
        hour="*",
        reason="Staging is small; off the full hour, when everybody's jobs start.",
    ),
    ScheduledTask(
        name="housekeeping",
        kind=JobKind.PRUNE_JOBS,
        minute="30",
        hour="2",
        reason="Done jobs, ended sessions and idle accounts: once a day, at the quietest time (R136).",
    ),
    ScheduledTask(
        name="seal",
        kind=JobKind.SEAL_LOG,
        minute="47",
        hour="*",
        reason="What happened within an hour is made final; more often costs time-stamps and small objects.",
    ),
    ScheduledTask(
        name="renew-evidence",
        kind=JobKind.RENEW_EVIDENCE,
        minute="37",
        hour="4",
        reason="Evidence ends by whole days and months ahead (R037): once a day, before the working day of who must act.",
    ),
    ScheduledTask(
        name="storage-moves",
        kind=JobKind.KEEP_STORAGE,
        minute="57",
        hour="*",
        reason="A move that waits for a repair or for a location that was away goes on within the hour.",
    ),
    ScheduledTask(
        name="storage-upkeep",
        kind=JobKind.KEEP_STORAGE,
        minute="20",
        hour="2",
        reason="Locks are extended by civil dates and copies that are lacking made: once a day is enough.",
    ),
    ScheduledTask(
        name="reconcile",
        kind=JobKind.RECONCILE_STORAGE,
        minute="30",
        hour="4",
        day_of_week="sun",
        reason="Asks the location about every object: once a week, when nobody works.",
    ),
    ScheduledTask(
        name="backup",
        kind=JobKind.MAKE_BACKUP,
        minute="30",
        hour="0",
        reason="Each night, where a folder is set, before the day's other work (TT 05/2025: daily).",
    ),
    ScheduledTask(
        name="restore-drill",
        kind=JobKind.DRILL_RESTORE,
        minute="30",
        hour="5",
        day="1",
        month="1,4,7,10",
        reason="Quarterly, where a drill key is set (QCVN 12, 3.12.2.2.5; R123).",
    ),
    ScheduledTask(
        name="fixity",
        kind=JobKind.CHECK_FIXITY,
        minute="0",
        hour="3",
        reason="Reading copies again loads the disks: at night, within the day's budget of each location (R120).",
    ),
)


class Scheduler:
    """Runs the schedule in a background thread between `start` and `stop`."""

    def __init__(self, database: Database, schedule: Iterable[ScheduledTask] = SCHEDULE) -> None:
        self._database = database
        self._schedule = tuple(schedule)
        self._times = BackgroundScheduler(
            timezone=clock.LEGAL_ZONE,
            daemon=True,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        triggers = {task.name: task.trigger() for task in self._schedule}
        triggers["catch-up"] = IntervalTrigger(minutes=CATCH_UP_EVERY_MIN, timezone=clock.LEGAL_ZONE)
        for name, trigger in triggers.items():
            self._times.add_job(self.look, trigger, id=name)

    def start(self) -> None:
        """Catches up with what was missed, then plans runs at their times."""
        self.look()
        self._times.start()

    def stop(self) -> None:
        """Ends the thread; a run being inserted is finished first."""
        if self._times.running:
            self._times.shutdown(wait=True)

    def look(self) -> None:
        """Inserts the planned runs that are due and missing; waits for the next look when the database is away."""
        try:
            plan_due(self._database, clock.now(), self._schedule)
        except DBAPIError as exc:
            logger.warning("could not plan scheduled runs: %s", exc.orig)


def plan_due(database: Database, at: datetime, schedule: Iterable[ScheduledTask] = SCHEDULE) -> list[UUID]:
    """Inserts the last planned run of each task that has none yet, and returns the jobs inserted. Safe to repeat.

    Args:
        database: Where the queue is.
        at: Now, aware UTC.
        schedule: The tasks.
    """
    planned = [(task, last_planned(task, at)) for task in schedule]
    jobs = [plan_run(database, task, scheduled_for, at) for task, scheduled_for in planned if scheduled_for is not None]
    return [job for job in jobs if job is not None]


def plan_run(database: Database, task: ScheduledTask, scheduled_for: datetime, at: datetime) -> UUID | None:
    """Inserts the job of one planned run, or returns None when it was inserted before.

    The job's subject is task and civil date, so that work of an earlier hour still waiting is not queued twice. Its
    payload holds `scheduled_for` (ISO 8601) and `on`, the civil date in the legal time zone.
    """
    known = exists().where(ScheduledRun.task == task.name, ScheduledRun.scheduled_for == scheduled_for)
    with database.read() as session:
        if session.scalar(select(known)):
            return None
    on = clock.civil_date(scheduled_for).isoformat()
    payload = {"scheduled_for": scheduled_for.isoformat(), "on": on}
    try:
        with database.write() as session:
            job_id = enqueue(session, task.kind, f"{task.name}:{on}", at=at, payload=payload)
            session.add(ScheduledRun(task=task.name, scheduled_for=scheduled_for, job_id=job_id))
    except IntegrityError:
        return None  # another scheduler was faster; job and run were rolled back together
    return job_id


def last_planned(task: ScheduledTask, at: datetime) -> datetime | None:
    """Returns the latest planned time of a task that is not after `at`; None when there was none in the last year."""
    trigger = task.trigger()
    for back in (timedelta(hours=2), timedelta(days=2), timedelta(days=32), timedelta(days=367)):
        found: datetime | None = None
        following = trigger.get_next_fire_time(None, (at - back).astimezone(clock.LEGAL_ZONE))
        while following is not None and following <= at:
            found = following
            following = trigger.get_next_fire_time(following, following)
        if found is not None:
            return found
    return None
