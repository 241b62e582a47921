"""Length and bit rate of audio and video from headers, and veraPDF's report."""

import struct

import pytest

from archive_service.formats import cfb, verapdf
from archive_service.formats.limits import DEFAULT
from archive_service.formats.media import check_media
from archive_service.formats.policy import MediaRule
from archive_service.formats.report import Notes
from tests.unit.formats import format_files as files

RULE = MediaRule(video_kbps=1500, audio_kbps=128)


def chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content


def avi(*, frames: int, payload: int) -> bytes:
    header = chunk(
        b"LIST", b"hdrl" + chunk(b"avih", struct.pack("<IIIIIIII", 40_000, 0, 0, 0, frames, 0, 0, 0) + bytes(24))
    )
    body = b"AVI " + header + chunk(b"LIST", b"movi" + bytes(payload))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def asf(*, seconds: int, bits_a_second: int, video: bool) -> bytes:
    from archive_service.formats import media

    properties = bytes(40) + struct.pack("<QQQIIII", seconds * 10**7, 0, 0, 0, 0, 0, bits_a_second)
    stream = (media._ASF_VIDEO if video else bytes(16)) + bytes(54)
    objects = media._ASF_FILE + struct.pack("<Q", 24 + len(properties)) + properties
    objects += media._ASF_STREAM + struct.pack("<Q", 24 + len(stream)) + stream
    return media._ASF_HEADER + struct.pack("<QIBB", 30 + len(objects), 2, 1, 2) + objects


def adts(frames: int) -> bytes:
    frame = bytes([0xFF, 0xF1, 0x50, 0x80, 0x2E, 0x80, 0xFC]).ljust(372, b"\0")  # 44.1 kHz, 372 bytes
    return frame * frames


@pytest.mark.parametrize(
    ("mime", "content", "seconds", "kbps", "codes"),
    [
        ("audio/mpeg", files.mp3(100), 2.61, 127.7, []),
        (
            "audio/mpeg",
            b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + files.mp3(100, kbps=64),
            2.61,
            63.7,
            ["FORMAT_BITRATE_LOW"],
        ),
        ("audio/aac", adts(100), 2.32, 128.2, []),
        ("audio/wav", files.wav(2.0), 2.0, 352.8, []),
        ("video/mp4", files.mp4(seconds=2, payload=500_000), 2.0, 2000.0, []),
        ("audio/mp4", files.mp4(seconds=10, payload=100_000, kind=b"soun"), 10.0, 80.0, ["FORMAT_BITRATE_LOW"]),
        ("video/x-msvideo", avi(frames=50, payload=500_000), 2.0, 2000.0, []),
        ("video/x-msvideo", avi(frames=50, payload=50_000), 2.0, 200.0, ["FORMAT_BITRATE_LOW"]),
        ("video/x-ms-asf", asf(seconds=60, bits_a_second=1_600_000, video=True), 60.0, 1600.0, []),
        ("video/x-ms-asf", asf(seconds=60, bits_a_second=96_000, video=False), 60.0, 96.0, ["FORMAT_BITRATE_LOW"]),
        ("video/mpeg", b"\0\0\1\xba", None, None, ["FORMAT_NOT_CHECKED"]),
        ("video/mp4", files.mp4(seconds=2, payload=500_000)[:-9], None, None, ["FORMAT_BROKEN"]),
        ("audio/wav", files.wav(2.0)[:-9], None, None, ["FORMAT_BROKEN"]),
        ("audio/mpeg", bytes(500), None, None, ["FORMAT_BROKEN"]),
    ],
)
def test_streams(mime, content, seconds, kbps, codes, tmp_path):
    notes = Notes(location="x", format=mime)
    check_media(files.write(tmp_path, "x", content), mime, RULE, notes, DEFAULT)
    assert [finding.code for finding in notes.findings] == codes
    assert notes.facts.get("duration_s") == pytest.approx(seconds, abs=0.02)
    assert notes.facts.get("bitrate_kbps") == pytest.approx(kbps, abs=1.0)


# ---------------------------------------------------------------- compound files


def test_compound_directory(tmp_path):
    path = files.write(tmp_path, "x", files.compound(["A", "B", "C", "D", "E"]))
    with path.open("rb") as source:
        found = cfb.read_directory(source, path.stat().st_size, max_entries=100)
    assert [(entry.path, entry.size_bytes) for entry in found.entries] == [(name, 4096) for name in "ABCDE"]


def test_looping_directory_chain_ends(tmp_path):
    content = bytearray(files.compound(["A"]))
    struct.pack_into("<I", content, 512 + 4, 1)  # the directory's only sector is followed by itself
    path = files.write(tmp_path, "x", bytes(content))
    with path.open("rb") as source, pytest.raises(cfb.CompoundFileDamaged, match="loops"):
        cfb.read_directory(source, path.stat().st_size, max_entries=100)


# ---------------------------------------------------------------- veraPDF

REPORT = """<?xml version="1.0" encoding="utf-8"?><report><buildInformation><releaseDetails id="core" version="1.28.1"/>
</buildInformation><jobs><job><validationReport isCompliant="{compliant}" profileName="PDF/A-1b"><details>{rules}</details>
</validationReport></job></jobs></report>"""
RULE_FAILED = '<rule clause="6.3.4" status="failed"><description>Fonts shall be embedded</description></rule>'


def test_verapdf_report_that_passes():
    answer = verapdf.read_report(REPORT.format(compliant="true", rules="").encode())
    assert (answer.checker, answer.problems) == ("verapdf 1.28.1", ())


def test_verapdf_report_that_fails():
    answer = verapdf.read_report(REPORT.format(compliant="false", rules=RULE_FAILED).encode())
    assert answer.problems == (("6.3.4", "Fonts shall be embedded"),)


@pytest.mark.parametrize("report", [b"", b"<report/>", b"Exception in thread main"])
def test_verapdf_that_cannot_judge_is_not_a_pass(report):
    answer = verapdf.read_report(report)
    assert answer.problems is None
    assert answer.reason


def test_verapdf_command_is_used_where_there_is_one(tmp_path, monkeypatch):
    program = tmp_path / "verapdf"
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(compliant="false", rules=RULE_FAILED))
    program.write_text(f"#!/bin/sh\ncat {report}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert verapdf.validate(tmp_path / "a.pdf", "1b", DEFAULT) is None
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    answer = verapdf.validate(tmp_path / "a.pdf", "1b", DEFAULT)
    assert answer is not None
    assert answer.problems == (("6.3.4", "Fonts shall be embedded"),)
