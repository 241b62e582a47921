"""The command line: `archive-service …`. Every failure ends with one line on standard error and an exit code, never with a stack trace."""

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

import typer
from sqlalchemy.exc import OperationalError

from archive_service import __version__
from archive_service.errors import ArchiveError, BadRequest, ConfigurationInvalid, Conflict, NotFound, StoreUnavailable

EXIT_CODES: Final = ((BadRequest, 2), (ConfigurationInvalid, 3), (NotFound, 4), (Conflict, 5), (StoreUnavailable, 6))
"""Exit code by error class; 1 is for findings that reject and for everything else."""

MODULES: Final = (
    "demo",
    "serving",
    "people",
    "checking",
    "offline",
    "verifying",
    "push",
    "operations",
    "preservation",
    "storage",
    "backup",
    "trust",
    "searching",
)
"""Modules of this package with commands, in the order in which help lists them."""
PROGRAM: Final = "archive-service"
"""What help calls the command, however it was started: `./dev run`, `python -m`, a script."""
ALONE: Final = {"check": "checking", "package": "offline", "verify": "verifying"}
"""Commands that are called once per file by scripts, and their module: only that is imported for them, because all together cost
seconds. Worker processes, too, import this package anew and no command with it."""


def build_app(modules: Sequence[str] = MODULES) -> typer.Typer:
    """Returns the command line with the commands of the modules."""
    built = typer.Typer(
        name="archive-service",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        help="Lưu trữ hồ sơ thủ tục hành chính điện tử / electronic records archive for TTHC dossiers.",
    )
    built.callback()(_common)
    for name in modules:
        import_module(f"archive_service.cli.{name}").add_commands(built)
    return built


def __getattr__(name: str) -> Any:  # a module attribute may be anything
    """Makes `app`, the whole command line, when it is asked for."""
    if name == "app":
        return build_app()
    raise AttributeError(f"module {__name__} has no attribute {name}")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _common(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Ghi nhật ký chi tiết / log more."),
    _version: bool = typer.Option(
        False, "--version", help="In phiên bản / print the version.", is_eager=True, callback=_print_version
    ),
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def main() -> None:
    """Runs the command line and exits. An answer that could not be printed is an error of its own, never a verdict's exit code."""
    _mend_streams()
    try:
        try:
            _run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(141)
    except OSError as exc:
        _drop_output()
        typer.echo(f"INPUT_OUTPUT_ERROR: {exc}", err=True)
        sys.exit(6)


def _run() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        build_app((ALONE[wanted],) if wanted in ALONE else MODULES)(prog_name=PROGRAM)
    except ArchiveError as exc:
        typer.echo(f"{exc.code}: {exc.message}", err=True)
        sys.exit(next((code for kind, code in EXIT_CODES if isinstance(exc, kind)), 1))
    except OperationalError as exc:
        typer.echo(f"DATABASE_UNAVAILABLE: {exc.orig}", err=True)
        sys.exit(6)
    except Exception as exc:
        if not _is_of_database(exc):
            raise
        typer.echo(f"DATABASE_UNAVAILABLE: {getattr(exc, 'orig', None) or exc}", err=True)
        sys.exit(EXIT_CODES[-1][1])


def _mend_streams() -> None:
    """Makes both streams take any text: what the terminal's encoding lacks is escaped, and a stream that was closed leads nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open as long as the process lives
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Leads what is still unwritten nowhere: Python tries it again when it ends, and fails again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _is_of_database(exc: Exception) -> bool:
    """Whether the database could not do it; commands without one do not load its library."""
    library = sys.modules.get("sqlalchemy.exc")
    return library is not None and isinstance(exc, library.DBAPIError)
