"""Search by content: taking up packages whose text was never read."""

import typer

from archive_service.cli.common import DataOption, opened_service
from archive_service.renditions.text import enqueue_missing


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command("index-text")(index_text)


def index_text(data: DataOption = None) -> None:
    """Xếp việc đọc chữ cho gói chưa được đọc / queue the reading of text of packages that were never read (after an update or a rebuild)."""
    with opened_service(data) as service:
        count = enqueue_missing(service.database)
    typer.echo(f"Đã xếp hàng / queued: {count}")
