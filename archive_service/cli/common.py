"""What several commands share: the data folder option, opening the service, the operator as principal, progress bars."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from archive_service.settings import load_settings

if TYPE_CHECKING:
    from archive_service.identity.permissions import Principal
    from archive_service.service import Service

DataOption = Annotated[Path | None, typer.Option("--data", help="Thư mục dữ liệu / data folder (ARCHIVE_DATA_DIR).")]


@contextmanager
def opened_service(data: Path | None, *, migrate: bool = True) -> "Iterator[Service]":
    """Opens the service of a data folder, at the newest schema, and closes it at the end."""
    from archive_service.service import open_service  # with the database's library, which not every command needs

    service = open_service(load_settings(data_dir=data), migrate=migrate)
    try:
        yield service
    finally:
        service.close()


def operator_principal() -> "Principal":
    """Returns the principal of whoever runs commands on the server."""
    from archive_service.audit import software
    from archive_service.identity.permissions import operator  # with all about passwords

    return operator(software("command-line"))


def bytes_bar() -> Progress:
    """Returns a bar of bytes with speed and time left, on standard error; silent where that is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return _bar(columns)


def count_bar() -> Progress:
    """Returns a bar that names what is going on and counts, on standard error; silent where that is no terminal."""
    return _bar((TextColumn("{task.description}"), TextColumn("{task.completed}")))


def text_bar() -> Progress:
    """Returns a line that tells what is going on, on standard error; silent where that is no terminal."""
    return _bar((TextColumn("{task.description}"),))


def _bar(columns: Sequence[ProgressColumn]) -> Progress:
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)
