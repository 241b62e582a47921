"""The chain of custody as a readable PDF, set like the certified copies: PDF/A-2b, only the shipped fonts."""

import json
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import Any, Final

from archive_service.copies.render import CopyNotPossible, shipped_fonts

ROWS_MAX: Final = 3000
"""More events than a person reads; the XML beside has all."""


def custody_pdf(title: str, facts: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], *, at: datetime) -> bytes:
    """Returns the page: facts about the record, then one row per event (time, what, who, detail).

    Raises:
        CopyNotPossible: a text has a character that no shipped font can print.
    """
    import typst

    template = resources.files("archive_service.copies").joinpath("templates", "custody.typ").read_bytes()
    value: dict[str, Any] = {
        "title": title,
        "facts": [list(fact) for fact in facts],
        "rows": [list(row) for row in rows],
    }
    try:
        content = typst.compile(
            template,
            font_paths=shipped_fonts(),
            sys_inputs={"page": json.dumps(value, ensure_ascii=False)},
            pdf_standards="a-2b",
            pdf_tags=False,
            timestamp=int(at.timestamp()),
        )
    except typst.TypstError as exc:
        raise CopyNotPossible(f"the chain of custody cannot be set: {exc}", reason="not_printable") from exc
    if not isinstance(content, bytes):
        raise CopyNotPossible("the chain of custody cannot be set", reason="not_printable")
    return content
