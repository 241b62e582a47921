"""The command line: `archive-service …`. Every failure ends with one line on standard error and an exit code, never with a stack trace."""

import gc
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from archive_service.errors import ArchiveError, BadRequest, ConfigurationInvalid, Conflict, NotFound, StoreUnavailable

if TYPE_CHECKING:
    import typer

EXIT_CODES: Final = ((BadRequest, 2), (ConfigurationInvalid, 3), (NotFound, 4), (Conflict, 5), (StoreUnavailable, 6))
"""Exit code by error class; 1 is for findings that reject and for everything else."""

MODULES: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "demo": ("demo",),
        "serving": ("serve", "api", "worker", "scheduler"),
        "people": ("token", "user"),
        "checking": ("check",),
        "offline": ("package",),
        "verifying": ("verify", "dispute"),
        "push": ("submit",),
        "operations": ("settings", "db", "retention", "submissions"),
        "preservation": ("fixity", "seal"),
        "reading_back": ("rebuild", "check-store"),
        "storage": ("storage", "hold"),
        "backup": ("backup-key", "backup", "backup-list", "restore", "restore-drill"),
        "trust": ("trust",),
        "searching": ("index-text",),
    }
)
"""Modules of this package with their commands, in the order in which help lists them. Only the module of the command that is asked for is
imported: all together cost seconds. Every worker process imports this package anew, so it imports next to nothing."""
PROGRAM: Final = "archive-service"
"""What help calls the command, however it was started: `./dev run`, `python -m`, a script."""


def build_app(modules: Iterable[str] = MODULES) -> "typer.Typer":
    """Returns the command line with the commands of the modules."""
    from archive_service.cli.command_line import new_app

    built = new_app()
    for name in modules:
        import_module(f"archive_service.cli.{name}").add_commands(built)
    return built


def __getattr__(name: str) -> Any:  # a module attribute may be anything
    """Makes `app`, the whole command line, when it is asked for."""
    if name == "app":
        return build_app()
    raise AttributeError(f"module {__name__} has no attribute {name}")


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
        print(f"INPUT_OUTPUT_ERROR: {exc}", file=sys.stderr)
        sys.exit(6)


def _run() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    modules = [module for module, commands in MODULES.items() if wanted in commands]
    try:
        gc.disable()  # nothing that is imported becomes garbage: looking for it while importing, and in it later, is in vain
        app = build_app(modules or MODULES)
        gc.freeze()
        gc.enable()
        app(prog_name=PROGRAM)
    except ArchiveError as exc:
        print(f"{exc.code}: {exc.message}", file=sys.stderr)
        sys.exit(next((code for kind, code in EXIT_CODES if isinstance(exc, kind)), 1))
    except Exception as exc:
        if not _is_of_database(exc):
            raise
        print(f"DATABASE_UNAVAILABLE: {getattr(exc, 'orig', None) or exc}", file=sys.stderr)
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
