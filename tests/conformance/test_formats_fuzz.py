"""Mutated PDFs, ZIPs, images, XML, media and compound files: a report every time, never an exception, never slow."""

import time
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive_service.formats.check import check_file
from archive_service.formats.policy import DEFAULT_POLICY, load_policy
from archive_service.formats.text import extract_text
from tests.unit.formats import format_files as files

POLICY = load_policy(DEFAULT_POLICY, on=date(2026, 1, 1))
SEEDS = {
    "a.pdf": files.pdf(files.with_attachment, claim=True),
    "scan.pdf": files.scanned(dpi=20),
    "a.jpg": files.image("JPEG", size=(40, 40)),
    "a.png": files.image("PNG", size=(40, 40)),
    "a.tif": files.image("TIFF", size=(40, 40)),
    "a.gif": files.image("GIF", dpi=None, size=(40, 40)),
    "a.docx": files.docx(),
    "a.zip": files.package({"a.txt": b"a" * 100, "b/c.txt": b"c"}),
    "a.xml": files.XML_BOMB,
    "b.xml": '<?xml version="1.0"?><a b="c"><d>đ</d></a>'.encode(),
    "a.doc": files.compound(["WordDocument", "1Table", "Workbook"]),
    "a.mp4": files.mp4(seconds=2, payload=500),
    "a.mp3": files.mp3(10),
    "a.wav": files.wav(0.1),
    "a.json": files.JSON,
}
BUDGET = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def look(folder: Path, name: str, content: bytes) -> None:
    path = files.write(folder, "staged", content)
    for component in (None, files.DIGITISED):
        started = time.monotonic()
        report = check_file(path, name=name, component=component, policy=POLICY, depth="full")
        assert time.monotonic() - started < 10
        for finding in report.findings:
            assert finding.message("vi")
    extract_text(path, report.identification.mime)


@pytest.mark.parametrize("name", SEEDS)
@BUDGET
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.one_of(st.none(), st.floats(0.02, 1)),
)
def test_mutated_file(name, edits, cut, tmp_path):
    content = bytearray(SEEDS[name])
    for place, value in edits:
        content[min(int(place * len(content)), len(content) - 1)] = value
    look(tmp_path, name, bytes(content[: int(len(content) * cut)] if cut else content))


@pytest.mark.parametrize("name", SEEDS)
@BUDGET
@given(start=st.floats(0, 1), length=st.integers(1, 200), filler=st.binary(max_size=60), times=st.integers(1, 3))
def test_spliced_file(name, start, length, filler, times, tmp_path):
    content = SEEDS[name]
    for _ in range(times):
        at = int(start * len(content))
        content = content[:at] + filler + content[at + length :]
    look(tmp_path, name, content)


@BUDGET
@given(content=st.binary(max_size=3000), name=st.sampled_from(sorted(SEEDS)), head=st.booleans())
def test_any_bytes(content, name, head, tmp_path):
    look(tmp_path, name, SEEDS[name][:16] + content if head else content)
