"""Keeping records: fixity now, sealing the log, rebuilding a database, checking a location from its bytes alone."""

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from sqlalchemy import func, select

from archive_service import clock
from archive_service.cli.common import DataOption, opened_service
from archive_service.models import Aip, AipCopy, FixityRun
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.seal import seal_log, verify_history
from archive_service.service import Service

_stderr = Console(stderr=True)


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(fixity)
    app.command()(seal)


def _bytes_bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=_stderr)


def fixity(
    location: Annotated[list[str] | None, typer.Option(help="Kho cần kiểm tra / locations; default all.")] = None,
    budget: Annotated[
        int | None, typer.Option(min=0, help="Số byte đọc tối đa mỗi kho / bytes to read per location; default all.")
    ] = None,
    data: DataOption = None,
) -> None:
    """Đọc lại và kiểm tra bản lưu, bản lâu chưa đọc trước / re-read copies, oldest first."""
    unwell = 0
    with opened_service(data) as service, _bytes_bar() as bar:
        for name in location or sorted(service.stores):
            task = bar.add_task(name, total=_bytes_to_read(service, name, budget))
            minutes = check_location(
                service,
                name,
                FixityPlan(budget_bytes=budget),
                at=clock.unique_now(),
                progress=lambda done, _copies, task=task: bar.update(task, completed=done),  # type: ignore[misc]
            )
            typer.echo(_minutes_line(minutes))
            for problem in minutes.problems:
                typer.echo(f"  {problem['outcome']} {problem['aip']}: {problem['reason']}")
            unwell += minutes.damaged + minutes.missing + minutes.not_checked
    if unwell:
        raise typer.Exit(1)


def _bytes_to_read(service: Service, location: str, budget: int | None) -> int:
    query = select(func.coalesce(func.sum(Aip.size_bytes), 0)).join(AipCopy, AipCopy.aip_id == Aip.id)
    with service.database.read() as session:
        total = int(session.scalar(query.where(AipCopy.location == location)) or 0)
    return total if budget is None else min(total, budget)


def _minutes_line(minutes: FixityRun) -> str:
    return (
        f"{minutes.location}: nguyên vẹn / intact {minutes.intact}, hỏng / damaged {minutes.damaged}, "
        f"mất / missing {minutes.missing}, không kiểm tra được / could not check {minutes.not_checked}, "
        f"{minutes.bytes_read} byte, {minutes.ended_because}"
    )


def seal(
    check_history: Annotated[
        bool,
        typer.Option(
            "--check-history",
            help="So lại toàn bộ nhật ký với các mốc đã ký / compare every event with its seal first.",
        ),
    ] = False,
    data: DataOption = None,
) -> None:
    """Niêm phong nhật ký sự kiện và mã băm gói tin / seal the log of events and package digests."""
    with opened_service(data) as service:
        if check_history:
            typer.echo(f"{verify_history(service)} lá khớp / leaves agree with their checkpoints")
        made = seal_log(service, at=clock.unique_now())
        for row in made:
            stamp = row.timestamp_at.isoformat() if row.timestamp_at else f"không có / none: {row.timestamp_problem}"
            typer.echo(
                f"niêm phong / seal {row.ordinal}: {row.tree_size} lá / leaves, root {row.root}, dấu thời gian / time-stamp {stamp}"
            )
        if not made:
            typer.echo("không có sự kiện mới / no new events")
