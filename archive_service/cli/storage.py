"""Storage locations and legal holds from the command line: see, add, retire, put back, empty, move, compare; place and release holds."""

from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import select

from archive_service import clock
from archive_service.access.holds import HoldQuery, list_holds
from archive_service.audit import events_of
from archive_service.cli.common import DataOption, bytes_bar, opened_service, operator_principal, text_bar
from archive_service.cli.output import print_table
from archive_service.models import MoveState, Reconciliation, StorageDrift, StorageMove
from archive_service.preservation import moves
from archive_service.preservation.reconcile import begin_reconciliation
from archive_service.preservation.reconcile import reconcile as reconcile_location
from archive_service.retention.holds import HoldOrder, place_hold, release_hold
from archive_service.service import Service

_storage = typer.Typer(no_args_is_help=True, help="Kho lưu trữ / storage locations.")
_holds = typer.Typer(no_args_is_help=True, help="Lệnh giữ nguyên hồ sơ / legal holds.")

NameArgument = Annotated[str, typer.Argument(help="Kho lưu trữ / location.")]
LaterOption = Annotated[
    bool, typer.Option("--later", help="Để tiến trình nền làm / leave the work to the workers; else it is done here.")
]


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(_storage, name="storage")
    app.add_typer(_holds, name="hold")


# ------------------------------------------------------------------ locations


@_storage.command("list")
def storage_list(data: DataOption = None) -> None:
    """Liệt kê kho và trạng thái / list locations and where each stands."""
    headings = (
        "kho / location",
        "trạng thái / state",
        "bản / copies",
        "thiếu / lacking",
        "giữ đến / kept until",
        "chuyển / move",
    )
    rows = []
    with opened_service(data) as service:
        for view in moves.locations(service):
            keep = view.keep_until.isoformat() if view.keep_until else ""
            name = view.name if view.configured else f"{view.name} (không còn cấu hình / not configured)"
            rows.append((name, view.state.value, str(view.copies), str(view.lacking), keep, _move_text(view.move)))
    print_table(headings, rows)


def _move_text(move: StorageMove | None) -> str:
    if move is None:
        return ""
    progress = moves.MoveProgress(move=move)
    text = f"{move.purpose} {move.state} {move.done}/{move.total}, {move.done_bytes}/{move.total_bytes} byte"
    if move.state is MoveState.RUNNING and progress.left_s is not None:
        text += f", còn / left {progress.left_s:.0f} s"
    return f"{text}, tồn / left over {move.left_over}" if move.left_over else text


@_storage.command("status")
def storage_status(name: NameArgument, data: DataOption = None) -> None:
    """Trạng thái và vướng mắc của một kho / one location, its move and what stands in its way."""
    with opened_service(data) as service:
        view = moves.location(service, name)
    typer.echo(f"{view.name}: {view.state}, bản / copies {view.copies}, thiếu / lacking {view.lacking}")
    if view.keep_until is not None:
        may = "được gỡ / may be emptied" if clock.now() >= view.keep_until else "giữ đến / keeps its copies until"
        typer.echo(f"{may} {view.keep_until.isoformat()}")
    if view.move is not None:
        typer.echo(_move_text(view.move))
        for problem in view.move.problems:
            typer.echo(f"  {problem['key']}: {problem['reason']}")


@_storage.command("history")
def storage_history(name: NameArgument, data: DataOption = None) -> None:
    """Lịch sử của một kho / what happened to a location, in order."""
    after = 0
    with opened_service(data) as service:
        moves.location(service, name)
        while True:
            with service.database.read() as session:
                page = events_of(session, [("location", name)], after_seq=after)
            for event in page:
                typer.echo(
                    f"{event.at.isoformat()} {event.type.value} {event.agent_name} {event.detail.get('state', '')}"
                )
            if not page:
                return
            after = page[-1].seq


@_storage.command("add")
def storage_add(name: NameArgument, *, later: LaterOption = False, data: DataOption = None) -> None:
    """Đưa kho đã cấu hình vào dùng và chép bản lưu / take a configured location into use and fill it."""
    with opened_service(data) as service:
        agent, at = operator_principal().agent, clock.unique_now()
        _work(service, moves.add_location(service, name, agent=agent, at=at), later=later)


@_storage.command("retire")
def storage_retire(name: NameArgument, *, later: LaterOption = False, data: DataOption = None) -> None:
    """Thôi dùng kho; bản lưu được giữ ba tháng / take a location out of use; its copies stay for three months."""
    with opened_service(data) as service:
        agent, at = operator_principal().agent, clock.unique_now()
        _work(service, moves.retire_location(service, name, agent=agent, at=at), later=later)


@_storage.command("back")
def storage_back(name: NameArgument, *, later: LaterOption = False, data: DataOption = None) -> None:
    """Dùng lại kho đã thôi dùng / put a retired location back in use."""
    with opened_service(data) as service:
        agent, at = operator_principal().agent, clock.unique_now()
        _work(service, moves.put_back(service, name, agent=agent, at=at), later=later)


@_storage.command("empty")
def storage_empty(name: NameArgument, *, later: LaterOption = False, data: DataOption = None) -> None:
    """Gỡ bản lưu khỏi kho đã thôi dùng / remove the copies of a retired location, as far as locks and holds allow."""
    with opened_service(data) as service:
        agent, at = operator_principal().agent, clock.unique_now()
        _work(service, moves.empty_location(service, name, agent=agent, at=at), later=later)


@_storage.command("move")
def storage_move(name: NameArgument, data: DataOption = None) -> None:
    """Làm tiếp việc chuyển đang mở ngay tại đây / go on here with the open move of a location."""
    with opened_service(data) as service:
        _work(service, moves.open_move_of(service, name), later=False)


@_storage.command("pause")
def storage_pause(name: NameArgument, data: DataOption = None) -> None:
    """Tạm dừng việc chuyển / pause the open move of a location."""
    with opened_service(data) as service:
        move = moves.open_move_of(service, name)
        done = moves.pause_move(service, move.id, agent=operator_principal().agent, at=clock.unique_now())
    typer.echo(_move_text(done))


@_storage.command("resume")
def storage_resume(name: NameArgument, *, later: LaterOption = False, data: DataOption = None) -> None:
    """Tiếp tục việc chuyển / let a paused move go on."""
    with opened_service(data) as service:
        move = moves.open_move_of(service, name)
        agent, at = operator_principal().agent, clock.unique_now()
        _work(service, moves.resume_move(service, move.id, agent=agent, at=at), later=later)


def _work(service: Service, move: StorageMove, *, later: bool) -> None:
    """Works on a move here with a progress bar, or leaves it to the workers; ends with 1 when something is left over."""
    if later:
        typer.echo(f"{move.location}: {_move_text(move)}")
        return
    with bytes_bar() as bar:
        task = bar.add_task(f"{move.purpose} {move.location}", total=move.total_bytes, completed=move.done_bytes)
        done = moves.run_move(
            service,
            move.id,
            agent=operator_principal().agent,
            progress=lambda row: bar.update(task, completed=row.done_bytes, total=row.total_bytes),
        )
    typer.echo(f"{done.location}: {_move_text(done)}")
    if done.state is not MoveState.DONE or done.left_over:
        for problem in done.problems:
            typer.echo(f"  {problem['key']}: {problem['reason']}")
        raise typer.Exit(1)


# ------------------------------------------------------------------ comparison


@_storage.command("reconcile")
def storage_reconcile(
    location: Annotated[list[str] | None, typer.Argument(help="Kho cần đối chiếu / locations; default all.")] = None,
    *,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Gia hạn khóa, đặt lệnh giữ, báo sửa / extend locks, set holds, call repair."),
    ] = False,
    data: DataOption = None,
) -> None:
    """Đối chiếu cơ sở dữ liệu với kho / compare the database with what the locations hold; exit 1 when they differ."""
    differing = 0
    with opened_service(data) as service, text_bar() as bar:
        for name in location or sorted(service.layout.locations):
            task = bar.add_task(name)
            run_id = begin_reconciliation(service, name, apply=apply, at=clock.unique_now())
            run = reconcile_location(
                service,
                run_id,
                progress=lambda row, task=task: bar.update(task, description=_run_text(row)),  # type: ignore[misc]
            )
            typer.echo(_run_text(run))
            differing += _print_drifts(service, run) + run.not_checked
    if differing:
        raise typer.Exit(1)


def _run_text(run: Reconciliation) -> str:
    return (
        f"{run.location}: bản / copies {run.copies}, đối tượng / objects {run.objects}, "
        f"không kiểm tra được / could not check {run.not_checked}"
    )


def _print_drifts(service: Service, run: Reconciliation) -> int:
    """Prints every difference; returns how many were not mended."""
    left = 0
    query = select(StorageDrift).where(StorageDrift.reconciliation_id == run.id).order_by(StorageDrift.id)
    with service.database.read() as session:
        for row in session.scalars(query.execution_options(yield_per=1000)):
            mended = " (đã sửa / mended)" if row.mended else ""
            typer.echo(f"  {row.kind} {row.key} {row.version_id} {row.detail}{mended}")
            left += not row.mended
    return left


# ------------------------------------------------------------------ holds


@_holds.command("list")
def hold_list(
    *,
    every: Annotated[bool, typer.Option("--all", help="Cả lệnh đã bỏ / released ones too.")] = False,
    data: DataOption = None,
) -> None:
    """Liệt kê lệnh giữ nguyên / list legal holds."""
    cursor: str | None = None
    with opened_service(data) as service:
        while True:
            query = HoldQuery(open_only=not every, cursor=cursor)
            with service.database.read() as session:
                page = list_holds(session, query, operator_principal())
            for hold in page.items:
                ended = f", bỏ / released {hold.released_at.isoformat()}" if hold.released_at else ""
                typer.echo(
                    f"{hold.id} {hold.agency} {hold.placed_at.isoformat()} {hold.legal_basis}: {hold.reason}{ended}"
                )
            cursor = page.next
            if cursor is None:
                return


@_holds.command("place")
def hold_place(
    codes: Annotated[list[str], typer.Argument(help="Mã hồ sơ / dossier codes.")],
    agency: Annotated[str, typer.Option(help="Cơ quan lưu trữ / archiving agency.")],
    reason: Annotated[str, typer.Option(help="Lý do / reason.")],
    basis: Annotated[str, typer.Option(help="Văn bản làm căn cứ / the order: number, date, issuer.")],
    *,
    in_advance: Annotated[
        bool, typer.Option("--in-advance", help="Cả hồ sơ chưa lưu / also dossiers that are not archived yet.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Giữ nguyên hồ sơ theo quyết định / freeze records by an order."""
    order = HoldOrder(
        agency=agency, reason=reason, legal_basis=basis, dossier_codes=tuple(codes), in_advance=in_advance
    )
    with opened_service(data) as service, service.database.write() as session:
        hold = place_hold(session, order, operator_principal(), at=clock.unique_now())
        typer.echo(str(hold.id))


@_holds.command("release")
def hold_release(
    hold_id: UUID,
    reason: Annotated[str, typer.Option(help="Lý do, văn bản / reason, the order.")],
    data: DataOption = None,
) -> None:
    """Thôi giữ nguyên / release a hold."""
    with opened_service(data) as service, service.database.write() as session:
        hold = release_hold(session, hold_id, operator_principal(), reason=reason, at=clock.unique_now())
        typer.echo(f"{hold.id} {hold.released_at.isoformat() if hold.released_at else ''}")
