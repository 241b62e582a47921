"""Follow-up work (DESIGN D6): the queue in the database, the worker, the group of worker processes, the scheduler."""

from archive_service.jobs.queue import ClaimedJob
from archive_service.jobs.worker import JobContext, JobFunction, Registry, StopRequestedError, run_worker

__all__ = ["ClaimedJob", "JobContext", "JobFunction", "Registry", "StopRequestedError", "run_worker"]
