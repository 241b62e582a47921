"""Backups: key, backup, restore, drill. What is asked of the operator is where to, and which key."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import TaskID

from archive_service import clock
from archive_service.cli.common import DataOption, bytes_bar, opened_service
from archive_service.db import Database
from archive_service.errors import ArchiveError, BadRequest, ConfigurationInvalid, NotFound
from archive_service.packaging.verify import Outcome
from archive_service.preservation.backup import catalogue
from archive_service.preservation.backup.catalogue import Entry
from archive_service.preservation.backup.catching_up import CaughtUp, catch_up
from archive_service.preservation.backup.drill import drill
from archive_service.preservation.backup.encryption import Keys, generate_identity, parse_identities
from archive_service.preservation.backup.making import BackupPlan, make_backup
from archive_service.preservation.backup.restoring import Restored, check_backup, note_restored, restore_backup
from archive_service.preservation.backup.settled import recipients_of
from archive_service.preservation.log_keys import known_keys
from archive_service.service import Service
from archive_service.settings import load_settings
from archive_service.storage.durable import durable_file

PROBLEMS_SHOWN: Final = 20
IdentityOption = Annotated[
    Path | None,
    typer.Option("--identity", "-i", help="Tệp khóa bí mật / key file (AGE-SECRET-KEY-1…)."),
]
PassphraseOption = Annotated[
    Path | None, typer.Option("--passphrase-file", help="Tệp chứa mật khẩu / file whose first line is the passphrase.")
]


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command("backup-key")(backup_key)
    app.command()(backup)
    app.command("backup-list")(backup_list)
    app.command()(restore)
    app.command("restore-drill")(restore_drill)


def backup_key(
    output: Annotated[Path, typer.Option("-o", "--output", help="Tệp khóa mới / new key file; keep it elsewhere.")],
) -> None:
    """Tạo khóa mở bản sao lưu / make the key that opens backups; the recipient printed goes to the server."""
    identity = generate_identity()
    with durable_file(output.absolute(), mode=0o600) as target:
        target.write(f"# public key: {identity.recipient}\n{identity.text()}\n".encode())
    typer.echo(f"{output}: giữ ở nơi khác / keep it elsewhere. ARCHIVE_BACKUP_RECIPIENTS:\n{identity.recipient}")


def backup(
    to: Annotated[
        Path | None, typer.Option("--to", help="Thư mục sao lưu / folder; default ARCHIVE_BACKUP_DIR.")
    ] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Số bản giữ lại / backups to keep.")] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", "-r", help="Khóa công khai / age1…; default ARCHIVE_BACKUP_RECIPIENTS."),
    ] = None,
    passphrase_file: PassphraseOption = None,
    data: DataOption = None,
) -> None:
    """Sao lưu cơ sở dữ liệu, cấu hình, khóa và tệp đang tiếp nhận / back up, encrypted, and read it back."""
    with opened_service(data, migrate=False) as service, _bars() as show:
        passphrase = _passphrase(passphrase_file)
        plan = BackupPlan(
            folder=(to or _folder(service)).absolute(),
            recipients=()
            if passphrase
            else recipients_of(",".join(recipient or []) or service.settings.backup_recipients),
            passphrase=passphrase,
            keep=keep or (None if to else service.settings.backup_keep),
        )
        entry = make_backup(service, plan, at=clock.unique_now(), progress=show)
    typer.echo(catalogue.entry_text(entry), nl=False)
    if entry.problems:
        raise typer.Exit(1)


def backup_list(
    folder: Annotated[Path | None, typer.Argument(help="Thư mục sao lưu / folder.")] = None, data: DataOption = None
) -> None:
    """Danh mục bản sao lưu / catalogue of the backups in a folder."""
    place = folder or load_settings(data_dir=data).backup_dir
    if place is None:
        raise BadRequest("name the folder, or set ARCHIVE_BACKUP_DIR")
    for entry in catalogue.entries(place):
        problems = f"  {len(entry.problems)} vấn đề / problems" if entry.problems else ""
        typer.echo(f"{entry.made_at}  {entry.file}  {entry.size_bytes} byte  sha256 {entry.sha256}{problems}")


def restore(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Tệp sao lưu / backup (.age).")],
    into: Annotated[Path | None, typer.Option("--into", help="Thư mục dữ liệu trống / empty data folder.")] = None,
    database_url: Annotated[
        str | None, typer.Option("--database-url", help="Cơ sở dữ liệu PostgreSQL trống / empty PostgreSQL database.")
    ] = None,
    identity: IdentityOption = None,
    passphrase_file: PassphraseOption = None,
    check_only: Annotated[bool, typer.Option("--check", help="Chỉ kiểm tra, không ghi / read and check only.")] = False,
    catching_up: Annotated[
        bool,
        typer.Option(
            "--catch-up/--no-catch-up",
            help="Lấy từ kho những gì xảy ra sau đó / take what happened since from storage.",
        ),
    ] = True,
) -> None:
    """Khôi phục bản sao lưu vào nơi trống / restore a backup into an empty place, then catch up from storage."""
    keys = _keys(identity, passphrase_file)
    with _bars(file.stat().st_size) as show:
        if check_only:
            header, members = check_backup(file, keys, progress=lambda stage, count: show(stage, count, 0))
            typer.echo(
                f"PASSED {file}: {len(members)} tệp / files, {header['made_at']}, {header['records']} hồ sơ / records"
            )
            return
        if into is None:
            raise BadRequest("--into: name the empty data folder")
        restored = restore_backup(
            file,
            keys,
            into=into.absolute(),
            database_url=database_url,
            progress=lambda stage, count: show(stage, count, 0),
        )
    typer.echo(f"{into}: {restored.members} tệp / files, {restored.header['made_at']}, schema {restored.revision}")
    found = _caught_up(restored) if catching_up else None
    if found is not None and (found.problems or found.to_send_again or found.undecided):
        raise typer.Exit(1)


def _caught_up(restored: Restored) -> CaughtUp:
    settings = load_settings(data_dir=restored.folder, database_url=restored.database_url)
    service = Service(settings=settings, database=Database(restored.database_url))
    try:
        found = catch_up(service, known_keys(settings))
        detail = {"seals": found.seals, "events": found.events, "aips": len(found.aips)}
        note_restored(service.database, restored.header, detail, at=clock.unique_now())
    except ArchiveError:
        typer.echo("Chưa khởi động dịch vụ / do not start the service yet: storage and database do not agree", err=True)
        raise
    finally:
        service.close()
    typer.echo(f"từ kho / from storage: {found.seals} seals, {found.events} events, {len(found.aips)} AIP")
    for title, lines in (
        ("vấn đề / problem", found.problems),
        ("phải gửi lại / to be sent again", found.to_send_again),
        ("phải quyết định lại / to be decided again", found.undecided),
    ):
        for line in lines:
            typer.echo(f"{title}: {line}")
    return found


def restore_drill(
    file: Annotated[
        Path | None, typer.Argument(help="Tệp sao lưu; mặc định bản mới nhất / default the newest.")
    ] = None,
    identity: IdentityOption = None,
    passphrase_file: PassphraseOption = None,
    scratch_url: Annotated[
        str | None, typer.Option("--scratch-url", help="Cơ sở dữ liệu trống để thử / empty scratch database.")
    ] = None,
    data: DataOption = None,
) -> None:
    """Diễn tập khôi phục và lập biên bản / restore into a scratch place, prove equality, write minutes."""
    with opened_service(data, migrate=False) as service:
        chosen = file or _newest(_folder(service))
        keys = _keys(identity or service.settings.backup_identity, passphrase_file)
        minutes = drill(service, chosen.absolute(), keys, at=clock.unique_now(), scratch_url=scratch_url)
    typer.echo(minutes.text(), nl=False)
    if minutes.outcome is not Outcome.PASSED:
        raise typer.Exit(1)


# ------------------------------------------------------------------ options


def _folder(service: Service) -> Path:
    if service.settings.backup_dir is None:
        raise BadRequest("--to: name the folder, or set ARCHIVE_BACKUP_DIR")
    return service.settings.backup_dir


def _newest(folder: Path) -> Path:
    known: list[Entry] = catalogue.entries(folder)
    if not known:
        raise NotFound(f"there is no backup in {folder}")
    return folder / known[-1].file


def _keys(identity: Path | None, passphrase_file: Path | None) -> Keys:
    passphrase = _passphrase(passphrase_file)
    if identity is None and passphrase is None:
        raise BadRequest("--identity or --passphrase-file: name what opens the backup")
    try:
        text = identity.read_text(encoding="utf-8") if identity else None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationInvalid(f"{identity}: cannot be read: {exc}") from exc
    return Keys(identities=parse_identities(text) if text is not None else (), passphrase=passphrase)


def _passphrase(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        line = path.read_bytes().split(b"\n", 1)[0].strip()
    except OSError as exc:
        raise ConfigurationInvalid(f"{path}: {exc.strerror}") from exc
    if not line:
        raise ConfigurationInvalid(f"{path} holds no passphrase")
    return line


@contextmanager
def _bars(size_bytes: int = 0) -> Iterator[Callable[[str, int, int], None]]:
    """Yields what shows progress by stage: with a total given the count is of all so far, else of what was added."""
    with bytes_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, count: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total or size_bytes or None)
            task = tasks[stage]
            if total:
                bar.update(task, completed=count)
            else:
                bar.update(task, advance=count)

        yield show
