"""What the jobs of storage do: later copies, moves, locks and holds, comparisons, daily upkeep."""

from collections.abc import Callable
from uuid import UUID

from archive_service import clock
from archive_service.audit import software
from archive_service.jobs.worker import JobContext, Registry
from archive_service.models import JobKind
from archive_service.placement import stores_in_use
from archive_service.preservation.copying import copy_later
from archive_service.preservation.locks import apply_hold, apply_locks, queue_lacking, renew_locks
from archive_service.preservation.moves import continue_moves, run_move
from archive_service.preservation.reconcile import begin_reconciliation, reconcile
from archive_service.service import Service

_AGENT = software("moves")


def storage_registry(service_of: Callable[[JobContext], Service]) -> Registry:
    """Returns the functions of storage jobs.

    Args:
        service_of: Gives the service of a worker process.
    """

    def copy(context: JobContext) -> None:
        copy_later(service_of(context), UUID(context.job.subject))

    def move(context: JobContext) -> None:
        run_move(
            service_of(context),
            UUID(context.job.subject),
            agent=_AGENT,
            check=context.check_stop,
            progress=lambda row: context.progress(f"{row.purpose} {row.location}", row.done, row.total),
        )

    def locks(context: JobContext) -> None:
        apply_locks(service_of(context), UUID(context.job.subject))

    def hold(context: JobContext) -> None:
        apply_hold(service_of(context), UUID(context.job.subject.partition(":")[0]), check=context.check_stop)

    def compare(context: JobContext) -> None:
        service = service_of(context)
        if "run_id" in context.job.payload:
            reconcile(service, UUID(context.job.payload["run_id"]), check=context.check_stop)
            return
        for location in sorted(stores_in_use(service)):
            run_id = begin_reconciliation(service, location, apply=True, at=clock.unique_now())
            reconcile(service, run_id, check=context.check_stop)

    def keep(context: JobContext) -> None:
        service = service_of(context)
        continue_moves(service, at=clock.unique_now())
        if context.job.subject.startswith("storage-upkeep"):
            queue_lacking(service, at=clock.unique_now())
            renew_locks(service, at=clock.unique_now(), check=context.check_stop)

    return {
        JobKind.COPY_PACKAGE: copy,
        JobKind.MOVE_COPIES: move,
        JobKind.APPLY_LOCKS: locks,
        JobKind.APPLY_HOLD: hold,
        JobKind.RECONCILE_STORAGE: compare,
        JobKind.KEEP_STORAGE: keep,
    }
