"""Answers of commands: JSON that programs read, tables that people read and scripts cut pieces from."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import typer

WIDE: Final = 2000
"""Columns where the output is no terminal: enough for any row to stay one line."""
EXIT_INDETERMINATE: Final = 7
"""Exit code where nothing failed and something could not be decided."""


def print_json(answer: Mapping[str, Any], *, indent: int | None = None) -> None:
    """Prints one JSON value and a line end in UTF-8, whatever the locale says, and flushes; half surrogates become `?`."""
    typer.echo(json.dumps(answer, ensure_ascii=False, indent=indent).encode("utf-8", "replace"))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows under headings; texts are shown as they are, brackets included.

    The first column names the row for other commands and is never cut. On a terminal the other columns fold; elsewhere every row is one
    line.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for position, heading in enumerate(headings):
        table.add_column(heading, no_wrap=position == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
