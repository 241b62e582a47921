"""A file read in pieces gives what its bytes in one piece give."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive_service.formats import view
from archive_service.formats.view import FileView
from tests.unit.formats import format_files as files


@pytest.mark.parametrize("chunk", [1, 3, 64])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=40).map(lambda raw: bytes(b"ab \n"[byte % 4] for byte in raw)), start=st.integers(0, 45)
)
def test_searches_agree_with_those_of_bytes(content, start, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(view, "_CHUNK_BYTES", chunk)
    with FileView(files.write(tmp_path, "a", content)) as seen:
        for mark in (b"a", b"ab", b"aab", b"ba b"):
            assert seen.find(mark, start) == content.find(mark, start)
            assert seen.rfind(mark, start) == content.rfind(mark, start)
        assert seen.stripped_length(start, b" \n") == len(content[start:].strip(b" \n"))
        assert seen.part(start, start + 5) == content[start : start + 5]
