"""The scheduled backup and drill: what the settings say, done once per planned run."""

from datetime import datetime

from archive_service.errors import ArchiveError, ConfigurationInvalid
from archive_service.packaging.verify import Outcome
from archive_service.preservation.backup import catalogue
from archive_service.preservation.backup.drill import drill
from archive_service.preservation.backup.encryption import Keys, Recipient, parse_identities, parse_recipient
from archive_service.preservation.backup.making import BackupPlan, Progress, make_backup
from archive_service.service import Service
from archive_service.settings import Settings


class DrillFailed(ArchiveError):
    """A scheduled restore drill did not pass; its minutes beside the backup say which check. The job is tried again, then parked."""

    code = "RESTORE_DRILL_FAILED"


def recipients_of(text: str | None) -> tuple[Recipient, ...]:
    """Returns the recipients of a comma-separated list.

    Raises:
        ConfigurationInvalid: one is none.
    """
    return tuple(parse_recipient(part) for part in (text or "").split(",") if part.strip())


def plan_of(settings: Settings) -> BackupPlan | None:
    """Returns the plan of scheduled backups; None when no folder is set.

    Raises:
        ConfigurationInvalid: a folder without recipients: nothing unencrypted is ever written there.
    """
    if settings.backup_dir is None:
        return None
    recipients = recipients_of(settings.backup_recipients)
    if not recipients:
        raise ConfigurationInvalid(
            "backup_dir is set and backup_recipients is not: archive-service backup-key makes one"
        )
    return BackupPlan(folder=settings.backup_dir.absolute(), recipients=recipients, keep=settings.backup_keep)


def scheduled_backup(service: Service, *, at: datetime, progress: Progress) -> None:
    """Makes the backup the settings ask for, if they do."""
    plan = plan_of(service.settings)
    if plan is not None:
        make_backup(service, plan, at=at, progress=progress)


def scheduled_drill(service: Service, *, at: datetime) -> None:
    """Drills with the newest backup where a drill key is set.

    Raises:
        DrillFailed: a check did not pass.
    """
    plan, key_file = plan_of(service.settings), service.settings.backup_identity
    if plan is None or key_file is None:
        return
    known = catalogue.entries(plan.folder)
    if not known:
        raise DrillFailed(f"there is no backup in {plan.folder}")
    try:
        keys = Keys(identities=parse_identities(key_file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationInvalid(f"{key_file}: cannot be read: {exc}") from exc
    minutes = drill(service, plan.folder / known[-1].file, keys, at=at)
    if minutes.outcome is not Outcome.PASSED:
        failed = [check.name for check in minutes.checks if check.outcome is not Outcome.PASSED]
        raise DrillFailed(f"{minutes.backup}: {minutes.outcome}: {', '.join(failed)}")
