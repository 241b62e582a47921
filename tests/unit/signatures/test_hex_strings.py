"""The faster reading of hexadecimal strings gives what pyHanko's own gives, for every input."""

from io import BytesIO
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyhanko.pdf_utils.misc import PdfError

from archive_service.signatures.hex_strings import ORIGINAL, read_hex_string

PIECES = st.sampled_from([b"0", b"1f", b"AB", b"feff", b" ", b"\n", b"\0", b"%c\n", b">", b"<", b"g", b"(", b"0" * 600])


def outcome(reader: Any, content: bytes) -> tuple[Any, ...]:
    stream = BytesIO(content)
    try:
        found = reader(stream)
    except (PdfError, ValueError) as exc:
        return type(exc), str(exc)
    return type(found), bytes(found.original_bytes), stream.tell()


@settings(deadline=None)
@given(st.lists(PIECES, max_size=40).map(b"".join), st.binary(max_size=30))
@example(b"", b"")
@example(b"ab", b"> tail")
@example(b"abc", b">")
@example(b"00" * 40_000, b">>")
def test_same_string_same_place(inside: bytes, after: bytes) -> None:
    content = b"<" + inside + after
    assert outcome(read_hex_string, content) == outcome(ORIGINAL, content)
