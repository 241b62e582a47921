"""Properties of the archive form and the package: round trip, determinism, and that no single changed byte goes unnoticed."""

import io
import string
import tempfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive_service.digests import digest_bytes
from archive_service.errors import DigestMismatch
from archive_service.packaging.aip import build_aip
from archive_service.packaging.aip_reader import read_metadata
from archive_service.packaging.dossier_zip import open_dossier_zip
from archive_service.packaging.verify import Outcome, verify_aip
from archive_service.packaging.xml_reader import parse
from archive_service.packaging.xml_text import xml
from archive_service.packaging.zip_reader import read_index, read_member
from archive_service.packaging.zip_writer import ZipWriter
from tests.unit.packaging.dossiers import AT, content_of, write_folder

NAMES = st.lists(
    st.text(alphabet=string.ascii_letters + string.digits + "._- ơảđ", min_size=1, max_size=20),
    max_size=12,
    unique=True,
)


@settings(max_examples=60, deadline=None)
@given(names=NAMES, bodies=st.lists(st.binary(max_size=3000), min_size=12, max_size=12), in_parts=st.booleans())
def test_what_is_written_is_read(names: list[str], bodies: list[bytes], *, in_parts: bool) -> None:
    target = io.BytesIO()
    writer = ZipWriter(target, at=AT)
    for name, body in zip(names, bodies, strict=False):
        if in_parts:
            writer.add_parts(name, (body[n : n + 700] for n in range(0, len(body), 700)))
        else:
            writer.add_bytes(name, body)
    digest, size_bytes = writer.finish()
    assert digest == digest_bytes(target.getvalue())
    assert size_bytes == len(target.getvalue())
    index = read_index(target)
    assert index.contiguous
    assert [member.name for member in index.members] == names
    assert [b"".join(read_member(target, member)) for member in index.members] == bodies[: len(names)]
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == names


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_xml_text_reads_back(value: str) -> None:
    root = parse(f'<a b="{xml(value)}">{xml(value)}</a>'.encode())
    carried = "".join(char if xml(char) != "\ufffd" else "\ufffd" for char in value)
    assert root.get("b") == carried
    assert (root.text or "") == carried


@pytest.fixture(name="sound", scope="module")
def _sound() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = io.BytesIO()
        build_aip(content_of(folder, write_folder(folder, 2, size_bytes=300)), target)
        return target.getvalue()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(min_value=0, max_value=1, exclude_max=True), bit=st.integers(min_value=0, max_value=7))
def test_no_flipped_bit_goes_unnoticed(sound: bytes, tmp_path: Path, place: float, bit: int) -> None:
    damaged = bytearray(sound)
    damaged[int(place * len(sound))] ^= 1 << bit
    path = tmp_path / "damaged.zip"
    path.write_bytes(damaged)
    assert verify_aip(path).outcome is Outcome.FAILED


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.floats(min_value=0, max_value=1),
    length=st.integers(min_value=1, max_value=400),
    junk=st.binary(max_size=40),
)
def test_cut_and_pasted_bytes_never_raise(sound: bytes, tmp_path: Path, start: float, length: int, junk: bytes) -> None:
    begin = int(start * (len(sound) - 1))
    damaged = sound[:begin] + junk + sound[begin + length :]
    path = tmp_path / "damaged.zip"
    path.write_bytes(damaged)
    assert verify_aip(path).outcome is (Outcome.PASSED if damaged == sound else Outcome.FAILED)
    opened, findings = open_dossier_zip(path)
    assert opened is None
    assert findings


TITLES = st.text(
    alphabet=st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff"), min_size=1
).filter(str.strip)


@settings(max_examples=25, deadline=None)
@given(title=TITLES, count=st.integers(min_value=1, max_value=4), size_bytes=st.integers(min_value=0, max_value=5000))
def test_any_dossier_packs_verifies_and_reads_back(title: str, count: int, size_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "dossier"
        folder.mkdir()
        content = content_of(folder, write_folder(folder, count, size_bytes=size_bytes, title=title[:1000]))
        first, second = io.BytesIO(), io.BytesIO()
        aip = build_aip(content, first)
        with_crc = [replace(file, crc32=zlib.crc32(Path(file.source).read_bytes())) for file in content.files]
        assert build_aip(replace(content, files=with_crc), second) == aip
        assert first.getvalue() == second.getvalue()
        path = Path(name) / "a.zip"
        path.write_bytes(first.getvalue())
        report = verify_aip(path)
        assert report.outcome is Outcome.PASSED, report.as_json()
        metadata = read_metadata(path)
        assert metadata.dossier == content.dossier
        members = read_index(first).members
        assert [(member.name, member.data_offset, member.size_bytes) for member in members] == [
            (entry.path, entry.offset, entry.size_bytes) for entry in aip.entries
        ]


def test_a_stream_whose_digest_is_known_is_written_as_one_that_is_spooled_and_compared() -> None:
    parts = [bytes([number]) * 3000 for number in range(60)]
    whole = b"".join(parts)
    known: dict[str, Any] = {"expected": digest_bytes(whole), "size_bytes": len(whole), "crc32": zlib.crc32(whole)}
    spooled, streamed = io.BytesIO(), io.BytesIO()
    with ZipWriter(spooled, at=AT) as first, ZipWriter(streamed, at=AT) as second:
        assert first.add_parts("a/b", iter(parts)) == second.add_stream("a/b", iter(parts), **known)
        assert first.finish() == second.finish()
    assert spooled.getvalue() == streamed.getvalue()
    for wrong in ({"expected": digest_bytes(b"x")}, {"size_bytes": len(whole) + 1}, {"crc32": 1}):
        with ZipWriter(io.BytesIO(), at=AT) as writer, pytest.raises(DigestMismatch):
            writer.add_stream("a/b", iter(parts), **{**known, **wrong})
