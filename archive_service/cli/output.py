"""Answers that programs read."""

import json
from collections.abc import Mapping
from typing import Any

import typer


def print_json(answer: Mapping[str, Any], *, indent: int | None = None) -> None:
    """Prints one JSON value and a line end in UTF-8, whatever the locale says, and flushes; half surrogates become `?`."""
    typer.echo(json.dumps(answer, ensure_ascii=False, indent=indent).encode("utf-8", "replace"))
