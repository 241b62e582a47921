"""What each kind of job does: a thin, idempotent function that calls the stage concerned."""

from datetime import date
from uuid import UUID

from archive_service import clock
from archive_service.ingest.check import Checkers, check_submission
from archive_service.ingest.staging_upkeep import discard_staging, sweep_staging
from archive_service.jobs.backup_work import backup_registry
from archive_service.jobs.checkers import LimitedCheckers
from archive_service.jobs.pruning import prune_jobs
from archive_service.jobs.storage_work import storage_registry
from archive_service.jobs.worker import JobContext, Registry
from archive_service.models import JobKind
from archive_service.preservation.fixity import check_location, scheduled_plan
from archive_service.preservation.renewal import renew_evidence
from archive_service.preservation.repair import repair_aip, repair_object
from archive_service.preservation.seal import seal_log
from archive_service.renditions.making import make_renditions
from archive_service.renditions.text import extract_texts
from archive_service.retention.review import review_due
from archive_service.service import Service
from archive_service.transfer.store import store_submission


class _Parts:
    """The service and checkers of one worker process, made with its first job."""

    def __init__(self, checkers: Checkers | None = None) -> None:
        self._service: Service | None = None
        self._checkers = checkers

    def service(self, context: JobContext) -> Service:
        """Returns the parts for this job's settings and database."""
        if self._service is None:
            self._service = Service(settings=context.settings, database=context.database)
        return self._service

    def checkers(self, context: JobContext) -> Checkers:
        """Returns who checks bytes."""
        if self._checkers is None:
            self._checkers = LimitedCheckers(context.settings)
        return self._checkers


def load_registry(checkers: Checkers | None = None) -> Registry:
    """Returns the functions of all kinds; called once in each worker process.

    Args:
        checkers: Who checks bytes; default limited worker processes, started with the first file.
    """
    parts = _Parts(checkers)

    def check(context: JobContext) -> None:
        def progress(done: int, total: int) -> None:
            context.check_stop()
            if total > 100 and done % 100 == 0:  # noqa: PLR2004 - a line per hundred of a large dossier
                context.progress("components checked", done, total)

        check_submission(
            parts.service(context),
            UUID(context.job.subject),
            parts.checkers(context),
            at=clock.unique_now(),
            progress=progress,
            ending=context.end,
        )

    def store(context: JobContext) -> None:
        store_submission(parts.service(context), UUID(context.job.subject), ending=context.end)

    def discard(context: JobContext) -> None:
        discard_staging(parts.service(context), UUID(context.job.subject), at=clock.unique_now())

    def sweep(context: JobContext) -> None:
        sweep_staging(parts.service(context), at=clock.unique_now())

    def review(context: JobContext) -> None:
        on = context.job.payload.get("on")
        review_due(context.database, on=date.fromisoformat(on) if on else clock.today(), at=clock.unique_now())

    def renditions(context: JobContext) -> None:
        make_renditions(parts.service(context), UUID(context.job.subject))

    def texts(context: JobContext) -> None:
        extract_texts(parts.service(context), UUID(context.job.subject))

    return {
        JobKind.MAKE_RENDITIONS: renditions,
        JobKind.EXTRACT_TEXT: texts,
        JobKind.CHECK_SUBMISSION: check,
        JobKind.STORE_SUBMISSION: store,
        JobKind.DISCARD_STAGING: discard,
        JobKind.SWEEP_STAGING: sweep,
        JobKind.REVIEW_RETENTION: review,
        JobKind.PRUNE_JOBS: prune_jobs,
        **_preservation(parts),
        **storage_registry(parts.service),
        **backup_registry(parts.service),
    }


def _preservation(parts: _Parts) -> Registry:
    def fixity(context: JobContext) -> None:
        service = parts.service(context)
        for location in sorted(service.stores):
            at = clock.unique_now()
            plan = scheduled_plan(service, location, at=at)
            check_location(service, location, plan, at=at, progress=lambda *_: context.check_stop())

    def repair(context: JobContext) -> None:
        repair_aip(parts.service(context), UUID(context.job.subject))

    def seal(context: JobContext) -> None:
        seal_log(parts.service(context), at=clock.unique_now(), progress=lambda *_: context.check_stop())

    def renew(context: JobContext) -> None:
        renew_evidence(parts.service(context), at=clock.unique_now(), progress=lambda *_: context.check_stop())

    def repair_one(context: JobContext) -> None:
        repair_object(parts.service(context), context.job.subject)

    return {
        JobKind.CHECK_FIXITY: fixity,
        JobKind.REPAIR_COPY: repair,
        JobKind.REPAIR_OBJECT: repair_one,
        JobKind.SEAL_LOG: seal,
        JobKind.RENEW_EVIDENCE: renew,
    }
