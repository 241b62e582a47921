"""The command line itself, before any command is added: name, help and the options that come before the command."""

import logging

import typer

from archive_service import __version__


def new_app() -> typer.Typer:
    """Returns a command line without commands."""
    built = typer.Typer(
        name="archive-service",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        help="Lưu trữ hồ sơ thủ tục hành chính điện tử / electronic records archive for TTHC dossiers.",
    )
    built.callback()(_common)
    return built


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _common(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Ghi nhật ký chi tiết / log more."),
    version: bool = typer.Option(  # noqa: ARG001 - its callback answers
        False, "--version", help="In phiên bản / print the version.", is_eager=True, callback=_show_version
    ),
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
