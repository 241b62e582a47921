"""Keeping records: fixity now, sealing the log."""

from typing import Annotated

import typer
from sqlalchemy import func, select

from archive_service import clock
from archive_service.audit import software
from archive_service.cli.common import DataOption, bytes_bar, opened_service
from archive_service.cli.output import print_json
from archive_service.evidence.algorithms import load_algorithm_policy
from archive_service.models import Aip, AipCopy, FixityRun, LogSeal
from archive_service.preservation.evidence_batches import add_missing_batches
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.health import evidence_health
from archive_service.preservation.log_keys import log_signer
from archive_service.preservation.log_rotation import key_periods, rotate_key
from archive_service.preservation.renewal import batch_plans, renew_evidence
from archive_service.preservation.seal import seal_log, verify_history
from archive_service.service import Service


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(fixity)
    sealing = typer.Typer(
        invoke_without_command=True, help="Niêm phong, gia hạn chứng cứ, khóa / seal, renewal of evidence, keys."
    )
    sealing.callback()(seal)
    sealing.command("renew")(renew)
    sealing.command("rotate-key")(rotate_log_key)
    sealing.command("status")(status)
    app.add_typer(sealing, name="seal")


def fixity(
    location: Annotated[list[str] | None, typer.Option(help="Kho cần kiểm tra / locations; default all.")] = None,
    budget: Annotated[
        int | None, typer.Option(min=0, help="Số byte đọc tối đa mỗi kho / bytes to read per location; default all.")
    ] = None,
    data: DataOption = None,
) -> None:
    """Đọc lại và kiểm tra bản lưu, bản lâu chưa đọc trước / re-read copies, oldest first."""
    unwell = 0
    with opened_service(data) as service, bytes_bar() as bar:
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
    context: typer.Context,
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
    if context.invoked_subcommand is not None:
        return
    with opened_service(data) as service:
        if check_history:
            typer.echo(f"{verify_history(service)} lá khớp / leaves agree with their checkpoints")
        made = seal_log(service, at=clock.unique_now())
        _show_seals(made)


def _show_seals(made: list[LogSeal]) -> None:
    for row in made:
        stamp = row.timestamp_at.isoformat() if row.timestamp_at else f"không có / none: {row.timestamp_problem}"
        typer.echo(
            f"niêm phong / seal {row.ordinal}: {row.tree_size} lá / leaves, root {row.root}, dấu thời gian / time-stamp {stamp}"
        )
    if not made:
        typer.echo("không có sự kiện mới / no new events")


def renew(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Chỉ liệt kê, không gia hạn / list what is due, renew nothing.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Gia hạn chứng cứ sắp hết giá trị / renew evidence before certificates or algorithms end (RFC 4998)."""
    at, policy = clock.unique_now(), load_algorithm_policy()
    with opened_service(data) as service:
        if dry_run:
            with service.database.write() as session:
                add_missing_batches(session)
                plans = batch_plans(session, policy, at=at)
            for item in plans:
                reasons = "; ".join(reason.message("vi") for reason in item.plan.reasons)
                typer.echo(
                    f"{item.name}: {item.plan.state.value}, {item.plan.kind.value}, từ / from {item.plan.due_at:%Y-%m-%d}, "
                    f"hết / ends {item.plan.ends_at:%Y-%m-%d} ({reasons})"
                )
            if not plans:
                typer.echo("chưa có dấu thời gian / no time-stamps yet")
            return
        made = renew_evidence(service, at=at, policy=policy)
    for row in made:
        typer.echo(f"gia hạn / renewal {row.ordinal}: {row.kind}, {', '.join(row.batches)}, {row.authority}")
    if not made:
        typer.echo("chưa có gì đến hạn / nothing is due")


def rotate_log_key(
    reason: Annotated[str, typer.Option(help="Lý do đổi khóa, ghi vào nhật ký / why, for the log.")],
    data: DataOption = None,
) -> None:
    """Đổi khóa ký nhật ký: khóa cũ và khóa mới cùng ký lần niêm phong này / change the log's key; old and new sign this seal."""
    with opened_service(data) as service:
        _show_seals(rotate_key(service, agent=software("command line"), reason=reason, at=clock.unique_now()))
        typer.echo(f"khóa hiện hành / key in force: {log_signer(service.settings).key.vkey()}")


def status(data: DataOption = None) -> None:
    """Tình trạng niêm phong và chứng cứ / how sealing and evidence stand, as JSON."""
    at = clock.now()
    with opened_service(data, migrate=False) as service, service.database.read() as session:
        found = evidence_health(session, load_algorithm_policy(), at=at).as_json(at)
        found["keys"] = [period.as_json() for period in key_periods(session, service.settings)]
    print_json(found, indent=1)
