"""PDF page content as the PDF/A checks read it: operators, character codes, streams and resources.

Nothing here judges; `pdfa_content.py` does.
"""

import re
import struct
from collections.abc import Iterator
from typing import Any, Final

import pikepdf

OPERATORS: Final = frozenset(
    {"b", "B", "b*", "B*", "BDC", "BI", "BMC", "BT", "BX", "c", "cm", "CS", "cs", "d", "d0", "d1", "Do", "DP", "EI", "EMC", "ET", "EX",
     "f", "F", "f*", "G", "g", "gs", "h", "i", "ID", "INLINE", "INLINE IMAGE", "j", "J", "K", "k", "l", "m", "M", "MP", "n", "q", "Q",
     "r", "re", "RG", "rg", "ri", "s", "S", "SC", "sc", "SCN", "scn", "sh", "T*", "Tc", "Td", "TD", "Tf", "Tj", "TJ", "TL", "Tm", "Tr",
     "Ts", "Tw", "Tz", "v", "w", "W", "W*", "y", "'", '"'}
)  # fmt: skip
"""Every operator of a content stream (ISO 32000-1 annex A)."""
_LEXED_BYTES: Final = 4 * 1024 * 1024
_INLINE_IMAGE: Final = re.compile(rb"\bID\s")


def shown_codes(font: Any, operands: list[Any]) -> Iterator[int]:
    """Yields the character codes that a text operator shows, where a code's length is certain."""
    shown = operands[-1] if operands else None
    for piece in list(shown) if isinstance(shown, pikepdf.Array) else [shown]:
        if not isinstance(piece, pikepdf.String):
            continue
        content = bytes(piece)
        if font.get("/Subtype") != "/Type0":
            yield from content
        elif str(font.get("/Encoding")) in {"/Identity-H", "/Identity-V"}:
            yield from struct.unpack(f">{len(content) // 2}H", content[: len(content) // 2 * 2])


def lexed_contents(entry: Any) -> Iterator[bytes]:
    """Yields a page's content streams that hold no inline image, whose bytes would read like strings."""
    for stream in entry if isinstance(entry, pikepdf.Array) else [entry]:
        if isinstance(stream, pikepdf.Stream):
            content = bytes(stream.read_bytes())
            if len(content) <= _LEXED_BYTES and not _INLINE_IMAGE.search(content):
                yield content


def resource(resources: Any, category: str, name: Any) -> Any:
    """Returns a named resource; None when there is none of that name."""
    group = resources.get(category)
    return group.get(name) if isinstance(group, pikepdf.Dictionary) else None


def appearances(entry: Any) -> Iterator[Any]:
    """Yields the streams of an annotation's appearances, of every state."""
    if isinstance(entry, pikepdf.Stream):
        yield entry
    elif isinstance(entry, pikepdf.Dictionary):
        for value in entry.values():
            yield from appearances(value)
