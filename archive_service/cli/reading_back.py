"""What reads a location alone: rebuilding a database, checking its bytes. Apart from what keeps records, of which it needs little."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import func, select

from archive_service import clock
from archive_service.cli.common import DataOption, count_bar, opened_service
from archive_service.cli.output import EXIT_INDETERMINATE
from archive_service.db import Database
from archive_service.errors import ConfigurationInvalid
from archive_service.evidence.checkpoint import NoteKey
from archive_service.models import Event
from archive_service.preservation.log_keys import known_keys, public_keys
from archive_service.preservation.rebuild import rebuild as rebuild_database
from archive_service.preservation.statehash import table_hashes
from archive_service.service import Service
from archive_service.storage.port import Store

KeyOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", help="Khóa công khai của nhật ký / public key of the log; default keys/log.vkey of the data folder."
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(rebuild)
    app.command("check-store")(check_location_bytes)


def _keys(service: Service, files: list[Path] | None) -> tuple[NoteKey, ...]:
    return public_keys(files) if files else known_keys(service.settings)


def _store(service: Service, name: str) -> Store:
    if name not in service.stores:
        raise ConfigurationInvalid(f"no storage location {name!r}; there are {', '.join(sorted(service.stores))}")
    return service.stores[name]


def rebuild(
    source: Annotated[str, typer.Option("--from", help="Kho lưu trữ / location.")],
    into: Annotated[str, typer.Option("--into", help="URL của cơ sở dữ liệu trống / of an empty database.")],
    key: KeyOption = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="So với cơ sở dữ liệu hiện tại / compare with the present database.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Dựng lại cơ sở dữ liệu từ một kho / rebuild a database from one location; safe to repeat.

    Exit 0 = complete, and equal where compared; 1 = not; 7 = events that are not sealed yet kept it from being compared.
    """
    target = Database(into)
    try:
        with opened_service(data, migrate=False) as service:
            with count_bar() as bar:
                tasks = {stage: bar.add_task(stage) for stage in ("seals", "aips", "rows")}
                report = rebuild_database(
                    _store(service, source),
                    target,
                    _keys(service, key),
                    at=clock.unique_now(),
                    progress=lambda stage, done: bar.update(tasks[stage], completed=done),
                )
            compared = _compared(service, target, report.last_seq) if compare else _Comparison()
    finally:
        target.close()
    rate = report.aips / report.seconds if report.seconds else 0.0
    typer.echo(
        f"{report.seals} seals, {report.aips} AIP, {report.bytes_read} byte, {report.seconds:.1f} s, {rate:.1f} AIP/s"
    )
    typer.echo(f"state hash {report.state_hash} (events 1..{report.last_seq})")
    for name in ("unsealed", "damaged", "missing"):
        for line in getattr(report, name):
            typer.echo(f"{name}: {line}")
    for table in compared.differing:
        typer.echo(f"KHÁC / DIFFERS: {table}")
    if compared.later_events:
        typer.echo(
            f"CHƯA SO ĐƯỢC / NOT COMPARED: {compared.later_events} sự kiện chưa niêm phong / events are not sealed yet;"
            " archive-service seal, rồi dựng lại vào cơ sở dữ liệu trống khác / then rebuild into another empty database"
        )
    if compared.differing or not report.complete:
        raise typer.Exit(1)
    if compared.later_events:
        raise typer.Exit(EXIT_INDETERMINATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """What the present database and the rebuilt one do not have in common."""

    differing: Sequence[str] = ()
    """Tables."""
    later_events: int = 0
    """Events after the last seal: a location cannot know them, so nothing was compared."""


def _compared(service: Service, target: Database, last_seq: int) -> _Comparison:
    with service.database.read() as present, target.read() as rebuilt:
        if (
            not service.database.is_sqlite
        ):  # a running service goes on writing; here is one moment of it, as on SQLite anyway
            present.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        later = present.scalar(select(func.count()).select_from(Event).where(Event.seq > last_seq)) or 0
        if later:
            return _Comparison(later_events=later)
        before, after = table_hashes(present), table_hashes(rebuilt, up_to_seq=last_seq)  # the rebuild is an event, too
    return _Comparison(differing=[name for name in before if before[name] != after[name]])


def check_location_bytes(
    location: Annotated[str, typer.Argument(help="Kho lưu trữ / location.")],
    key: KeyOption = None,
    data: DataOption = None,
) -> None:
    """Kiểm tra mọi byte của một kho, không cần cơ sở dữ liệu / check a location from its bytes alone."""
    from archive_service.packaging.verify import Outcome  # a rebuild needs none of this
    from archive_service.preservation.check_store import check_store

    with opened_service(data, migrate=False) as service, count_bar() as bar:
        tasks = {what: bar.add_task(what) for what in ("seals", "aips")}
        found = check_store(
            _store(service, location),
            _keys(service, key),
            at=clock.now(),
            progress=lambda what, done: bar.update(tasks[what], completed=done),
        )
    for problem in found.problems:
        typer.echo(f"{problem.outcome.value} {problem.key}: {problem.reason}")
    typer.echo(
        f"{found.outcome.value}: {found.objects} objects, {found.aips} AIP, {found.seals} seals, {found.leaves} leaves, "
        f"{found.bytes_read} byte"
    )
    if found.outcome is not Outcome.PASSED:
        raise typer.Exit(1)
