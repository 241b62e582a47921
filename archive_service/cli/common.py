"""What several commands share: the data folder option, opening the service, the operator as principal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from archive_service.audit import software
from archive_service.identity.permissions import Principal, operator
from archive_service.service import Service, open_service
from archive_service.settings import load_settings

DataOption = Annotated[Path | None, typer.Option("--data", help="Thư mục dữ liệu / data folder (ARCHIVE_DATA_DIR).")]


@contextmanager
def opened_service(data: Path | None, *, migrate: bool = True) -> Iterator[Service]:
    """Opens the service of a data folder, at the newest schema, and closes it at the end."""
    service = open_service(load_settings(data_dir=data), migrate=migrate)
    try:
        yield service
    finally:
        service.close()


def operator_principal() -> Principal:
    """Returns the principal of whoever runs commands on the server."""
    return operator(software("command-line"))
