"""The command line: `archive-service …`. Every failure ends with one line on standard error and an exit code, never with a stack trace."""

import logging
import sys
from typing import Final

import typer

from archive_service import __version__
from archive_service.cli import demo, offline, operations, people, preservation, push, serving
from archive_service.errors import ArchiveError, BadRequest, ConfigurationInvalid, Conflict, NotFound, StoreUnavailable

EXIT_CODES: Final = ((BadRequest, 2), (ConfigurationInvalid, 3), (NotFound, 4), (Conflict, 5), (StoreUnavailable, 6))
"""Exit code by error class; 1 is for findings that reject and for everything else."""

app = typer.Typer(
    name="archive-service",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Lưu trữ hồ sơ thủ tục hành chính điện tử / electronic records archive for TTHC dossiers.",
)
for module in (demo, serving, people, offline, push, operations, preservation):
    module.add_commands(app)


@app.callback()
def _common(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Ghi nhật ký chi tiết / log more."),
    version: bool = typer.Option(False, "--version", help="In phiên bản / print the version.", is_eager=True),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def main() -> None:
    """Runs the command line and exits."""
    try:
        app()
    except ArchiveError as exc:
        typer.echo(f"{exc.code}: {exc.message}", err=True)
        sys.exit(next((code for kind, code in EXIT_CODES if isinstance(exc, kind)), 1))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
