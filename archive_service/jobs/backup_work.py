"""Jobs of backups: the nightly one and the drill, both as the settings say."""

from collections.abc import Callable

from archive_service import clock
from archive_service.jobs.worker import JobContext, Registry
from archive_service.models import JobKind
from archive_service.preservation.backup.settled import scheduled_backup, scheduled_drill
from archive_service.service import Service


def backup_registry(service_of: Callable[[JobContext], Service]) -> Registry:
    """Returns the functions of the backup kinds."""

    def backup(context: JobContext) -> None:
        def stop_when_asked(_stage: str, _done: int, _total: int) -> None:
            context.check_stop()

        scheduled_backup(service_of(context), at=clock.unique_now(), progress=stop_when_asked)

    def drill(context: JobContext) -> None:
        scheduled_drill(service_of(context), at=clock.unique_now())

    return {JobKind.MAKE_BACKUP: backup, JobKind.DRILL_RESTORE: drill}
