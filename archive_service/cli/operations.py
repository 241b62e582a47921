"""Operating the archive: schema, settings, decisions, retention."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import ColumnElement, select

from archive_service import clock, migrations
from archive_service.access import records as access
from archive_service.access.submissions import SubmissionQuery, list_submissions
from archive_service.cli.common import DataOption, opened_service, operator_principal
from archive_service.cli.output import print_table
from archive_service.errors import NotFound
from archive_service.identity.permissions import Permission
from archive_service.models import Record, State
from archive_service.retention.review import review_due
from archive_service.rules import retention as rules
from archive_service.service import Service
from archive_service.settings import Settings
from archive_service.transfer.decisions import MAX_BATCH, DecisionKind, decide_many

_db = typer.Typer(no_args_is_help=True, help="Cơ sở dữ liệu / database.")
_retention = typer.Typer(no_args_is_help=True, help="Thời hạn bảo quản / retention.")
_submissions = typer.Typer(no_args_is_help=True, help="Hồ sơ nộp / submissions.")


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(_db, name="db")
    app.add_typer(_retention, name="retention")
    app.add_typer(_submissions, name="submissions")
    app.command("settings")(show_settings)


@_db.command("upgrade")
def db_upgrade(data: DataOption = None) -> None:
    """Đưa cơ sở dữ liệu lên phiên bản mới nhất / bring the database to the newest schema."""
    with opened_service(data, migrate=False) as service:
        before = migrations.current_revision(service.database)
        after = migrations.upgrade(service.database)
    typer.echo(f"{before or 'trống / empty'} → {after}")


def settings_table() -> str:
    """Returns the table of all settings as Markdown; README holds the same text."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        lines.append(f"| `ARCHIVE_{name.upper()}` | {f'`{default}`' if default else ''} | {field.description} |")
    return "\n".join(lines)


def show_settings() -> None:
    """In bảng mọi thiết lập / print the table of all settings."""
    typer.echo(settings_table())


@_submissions.command("list")
def submissions_list(
    state: Annotated[State | None, typer.Option(help="Trạng thái / state.")] = State.AWAITING_APPROVAL,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    data: DataOption = None,
) -> None:
    """Liệt kê hồ sơ nộp / list submissions."""
    headings = ("id", "mã hồ sơ / code", "trạng thái / state", "lỗi / errors", "cảnh báo / warnings", "tiêu đề / title")
    query = SubmissionQuery(states=(state,) if state else (), limit=limit)
    with opened_service(data) as service, service.database.read() as session:
        rows = [
            (
                str(row.id),
                row.dossier_code or "",
                row.state.value,
                str(row.error_count),
                str(row.warning_count),
                row.title or "",
            )
            for row in list_submissions(session, query, operator_principal()).items
        ]
    print_table(headings, rows)


@_submissions.command("decide")
def submissions_decide(
    decision: DecisionKind,
    submission_ids: Annotated[list[UUID] | None, typer.Argument(help="Mã lượt nộp / submission ids.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Mọi hồ sơ đang chờ duyệt / all that wait.")] = False,
    reason: Annotated[str, typer.Option(help="Lý do / reason.")] = "",
    data: DataOption = None,
) -> None:
    """Duyệt, trả lại hoặc từ chối / approve, return or reject."""
    with opened_service(data) as service:
        ids = _waiting(service) if every else list(submission_ids or [])
        results = [
            result
            for start in range(0, len(ids), MAX_BATCH)
            for result in decide_many(
                service.database,
                ids[start : start + MAX_BATCH],
                decision,
                principal=operator_principal(),
                reason=reason,
                at=clock.unique_now(),
            ).results
        ]
    for result in results:
        typer.echo(f"{result.submission_id}: {result.state or f'{result.error_code} {result.message}'}")
    if not all(result.decided for result in results):
        raise typer.Exit(1)


def _waiting(service: Service) -> list[UUID]:
    found: list[UUID] = []
    cursor: str | None = None
    with service.database.read() as session:
        while True:
            query = SubmissionQuery(states=(State.AWAITING_APPROVAL,), limit=200, cursor=cursor)
            page = list_submissions(session, query, operator_principal())
            found += [row.id for row in page.items]
            if page.next is None:
                return found
            cursor = page.next


@_retention.command("explain")
def retention_explain(
    record: Annotated[str, typer.Argument(help="Mã hồ sơ hoặc id / dossier code or record id.")],
    language: Annotated[str, typer.Option(help="vi | en")] = "vi",
    data: DataOption = None,
) -> None:
    """Giải thích thời hạn bảo quản / show the retention formula of a record."""
    with opened_service(data) as service, service.database.read() as session:
        found = session.scalars(select(Record).where(_record_clause(record)).limit(2)).all()
        if len(found) != 1:
            raise NotFound(f"{len(found)} records match {record}")
        row = access.find_record(session, found[0].id, operator_principal(), Permission.RECORD_SEARCH)
        typer.echo(f"{row.dossier_code} · {row.title}")
        for assignment in access.assignments(session, row.id)[:1]:
            for line in rules.explain(rules.from_json(assignment.assignment), language):
                typer.echo(f"  {line}")


def _record_clause(text: str) -> ColumnElement[bool]:
    try:
        return Record.id == UUID(text)
    except ValueError:
        return Record.dossier_code == text


@_retention.command("review")
def retention_review(
    on: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Ngày xét / civil date.")] = None,
    data: DataOption = None,
) -> None:
    """Liệt kê hồ sơ đến hạn ngay bây giờ / list what fell due, now."""
    day: date = on.date() if on else clock.today()
    with opened_service(data) as service:
        result = review_due(service.database, on=day, at=clock.unique_now())
    typer.echo(f"{result.on.isoformat()}: {result.newly_listed} hồ sơ mới đến hạn / records newly due")
