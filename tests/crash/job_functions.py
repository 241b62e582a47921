"""Job functions for worker processes under test: they leave marks in the data folder that the test reads."""

import os
import signal
from pathlib import Path

from archive_service import clock
from archive_service.jobs.worker import JobContext, Registry
from archive_service.models import JobKind


def _mark(context: JobContext, what: str) -> Path:
    path = context.settings.data_dir / f"{what}-{context.job.subject}-{context.job.attempts}"
    path.write_text(str(os.getpid()))
    return path


def hang_in_first_try(context: JobContext) -> None:
    """Hangs in the first try, for the test to kill the process; does the work in the next."""
    _mark(context, "started")
    while context.job.attempts == 1:
        clock.sleep(0.05)
    _mark(context, "done")


def die_always(context: JobContext) -> None:
    """Takes the whole process down, as running out of memory does."""
    _mark(context, "started")
    os.kill(os.getpid(), signal.SIGKILL)


def give_back(context: JobContext) -> None:
    """Works until it is asked to stop."""
    _mark(context, "started")
    while True:
        context.check_stop()
        clock.sleep(0.02)


def hanging() -> Registry:
    return {JobKind.SWEEP_STAGING: hang_in_first_try}


def dying() -> Registry:
    return {JobKind.SWEEP_STAGING: die_always}


def giving_back() -> Registry:
    return {JobKind.SWEEP_STAGING: give_back}
