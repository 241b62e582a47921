"""Identification by content from two sources, and what happens when they disagree or one is missing."""

import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import pytest

from archive_service.errors import ConfigurationInvalid, StoreUnavailable
from archive_service.formats import identify as module
from archive_service.formats.check import check_file
from archive_service.formats.identify import identify
from archive_service.formats.mime import agree, canonical, more_specific
from archive_service.formats.policy import DEFAULT_POLICY, Treatment, load_policy
from archive_service.samples.small import tiny_pdf
from tests.unit.formats import format_files as files

POLICY = load_policy(DEFAULT_POLICY, on=date(2026, 1, 1))


@pytest.mark.parametrize(
    ("name", "content", "mime", "puid"),
    [
        ("a.pdf", files.pdf(), "application/pdf", "fmt/18"),
        ("a.pdf", files.pdf(claim=True), "application/pdf", "fmt/354"),
        ("a.pdf", files.scanned(), "application/pdf", "fmt/354"),
        ("a.jpg", files.image("JPEG"), "image/jpeg", "fmt/43"),
        ("a.png", files.image("PNG"), "image/png", "fmt/11"),
        ("a.tif", files.image("TIFF"), "image/tiff", "fmt/353"),
        ("a.docx", files.docx(), "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "fmt/412"),
        ("a.zip", files.package({"a.txt": b"a"}), "application/zip", "x-fmt/263"),
        ("a.xml", b'<?xml version="1.0"?><a/>', "application/xml", "fmt/101"),
        ("a.xml", b"<a/>", "application/xml", None),
        ("a.txt", "Đơn đề nghị".encode(), "text/plain", "x-fmt/111"),
        ("a.json", files.JSON, "application/json", None),
        (
            "a.p7s",
            bytes.fromhex("3080 0609 2a864886f70d010702 a080".replace(" ", "")) + bytes(40),
            "application/pkcs7-mime",
            "fmt/670",
        ),
        ("a.pdf", b"", "application/x-empty", None),
        ("a.bin", b"\x9d\xe3\x07\0" + bytes(range(255, 0, -1)), "application/octet-stream", None),
        ("a", files.pdf(), "application/pdf", "fmt/18"),
    ],
)
def test_identification(name, content, mime, puid, tmp_path):
    found = identify(files.write(tmp_path, "0193-staged", content), name=name)
    assert (found.mime, found.puid) == (mime, puid)
    assert "DROID" in found.pronom_release
    assert found.libmagic_version is not None


@pytest.mark.parametrize("content", [files.pdf(), files.scanned(), files.pdf(claim=True), files.image("JPEG")])
def test_looking_at_parts_gives_what_the_whole_gives(content, tmp_path, monkeypatch):
    path = files.write(tmp_path, "staged", content + b"\n" * 9000 if content[:4] == b"%PDF" else content)
    ours = identify(path, name="a.bin")
    monkeypatch.setattr(module, "_WINDOW_FROM_BYTES", 1 << 40)
    assert identify(path, name="a.bin").candidates == ours.candidates


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.mp4", files.mp4(seconds=9, payload=5_000)), ("a.wav", files.wav(0.1)), ("a.mp3", files.mp3(30))],
)
def test_a_long_recording_is_identified_by_its_ends(name, content, tmp_path):
    """Sparse on this disk; reading four gigabytes of it would take longer than the check of one file may."""
    path = files.write(tmp_path, name, content)
    small = identify(path, name=name)
    with path.open("r+b") as out:
        out.truncate(4_000_000_000)
        out.seek(-len(content), 2)
        out.write(content)
    started = time.process_time()
    large = identify(path, name=name)
    assert time.process_time() - started < 1
    assert (large.mime, large.puid, large.by_content) == (small.mime, small.puid, True)


def test_environment_and_ctypes_are_left_alone():
    script = (
        "import ctypes, os; before = dict(os.environ); init = ctypes.CDLL.__init__\n"
        "from archive_service.formats.identify import load; load()\n"
        "assert dict(os.environ) == before; assert ctypes.CDLL.__init__ is init"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_libmagic_pronom_alone_answers_and_says_so(tmp_path, monkeypatch):
    broken = module._Libmagic(new_cookie=None, version=None, reason="no such library")
    monkeypatch.setattr(module, "_libmagic", lambda: broken)
    path = files.write(tmp_path, "staged", files.pdf())
    found = identify(path, name="a.pdf")
    assert (found.mime, found.puid, found.libmagic_version) == ("application/pdf", "fmt/18", None)
    assert found.warnings == ("libmagic not checked: no such library",)
    report = check_file(path, name="a.pdf", component=None, policy=POLICY)
    assert [finding.code for finding in report.findings] == ["FORMAT_NOT_CHECKED"]


def test_sources_that_exclude_each_other_are_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ask_libmagic", lambda _head: ("image/png", None))
    report = check_file(files.write(tmp_path, "s", files.pdf()), name="a.pdf", component=None, policy=POLICY)
    assert [finding.code for finding in report.findings] == ["FORMAT_DISAGREEMENT"]
    assert report.findings[0].params["libmagic"] == "image/png"


def test_many_threads_identify_at_once(tmp_path):
    path = files.write(tmp_path, "staged", files.image("PNG"))
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(identify(path, name="a.png").puid)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["fmt/11"] * 12


def test_pdfs_that_differ_in_numbers_and_stream_bytes_only_are_asked_about_once(tmp_path, monkeypatch):
    module._identified_by_window.cache_clear()
    asked = []
    ask = module._siegfried

    def counted(*given):
        asked.append(given)
        return ask(*given)

    monkeypatch.setattr(module, "_siegfried", counted)
    answers = []
    for number in range(12):
        path = tmp_path / f"{number}.pdf"
        path.write_bytes(tiny_pdf(f"So {number}", filler=bytes([number]) * (1000 + 500 * number)))
        answers.append(identify(path, name=path.name))
    assert {answer.puid for answer in answers} == {"fmt/18"}
    assert len(asked) == 1


def test_what_differs_in_more_than_numbers_is_asked_about_anew(tmp_path):
    plain = tiny_pdf("mot", filler=bytes(2000))
    for content, puid in (
        (plain, "fmt/18"),
        (plain.replace(b"%PDF-1.4", b"%PDF-1.7"), "fmt/276"),
        (files.pdf(claim=True), "fmt/354"),
        (plain, "fmt/18"),
    ):
        path = tmp_path / "a.pdf"
        path.write_bytes(content)
        assert identify(path, name="a.pdf").puid == puid


def test_file_that_vanished(tmp_path):
    with pytest.raises(StoreUnavailable):
        identify(tmp_path / "gone", name="a.pdf")


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("text/xml", ("application/xml",), True),
        ("application/zip", ("application/vnd.oasis.opendocument.text",), True),
        ("text/plain", ("text/csv",), True),
        ("image/png", ("application/pdf",), False),
        (None, ("application/pdf",), True),
        ("image/png", (), True),
    ],
)
def test_agreement_of_names(ours, theirs, expected):
    assert agree(ours, theirs) is expected


def test_narrower_name_wins():
    assert more_specific("application/zip", ("application/epub+zip",)) == "application/epub+zip"
    assert more_specific("application/x-ole-storage", ("application/msword",)) == "application/msword"
    assert more_specific("text/x-csv; charset=utf-8", ()) == "text/csv"
    assert canonical("TEXT/XML; charset=utf-8") == "application/xml"


# ---------------------------------------------------------------- policy


def test_policy_is_pinned_by_digest_and_every_row_has_basis_and_mark():
    assert len(POLICY.digest.hex) == 64
    assert {rule.mark for rule in POLICY.rules} <= {"V", "M", "I"}
    assert all(rule.basis for rule in POLICY.rules)
    assert POLICY.unlisted is Treatment.ACCEPTED_WITH_WARNING


def test_no_policy_before_its_first_day():
    with pytest.raises(ConfigurationInvalid):
        load_policy(DEFAULT_POLICY, on=date(1999, 1, 1))


@pytest.fixture
def own_policy(tmp_path, monkeypatch):
    def install(changes: dict[str, str], version: str = "1") -> None:
        text = (Path(module.__file__).parents[2] / "profiles/formats/tthc/1.toml").read_text(encoding="utf-8")
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new, 1)
        folder = tmp_path / "profiles" / "formats" / "own"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{version}.toml").write_text(text.replace('id = "tthc"', 'id = "own"'), encoding="utf-8")

    base = Path(module.__file__).parents[2] / "profiles"
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "findings").symlink_to(base / "findings")
    monkeypatch.setenv("ARCHIVE_PROFILES_DIR", str(tmp_path / "profiles"))
    return install


def test_policy_weighs_findings(own_policy, tmp_path):
    own_policy({"[severity]": '[severity]\nFORMAT_SCRIPT = "error"\nFORMAT_EMBEDDED_FILES = "off"'})
    policy = load_policy("own", on=date(2026, 1, 1))
    script = files.write(tmp_path, "a", files.pdf(files.with_script))
    attachment = files.write(tmp_path, "b", files.pdf(files.with_attachment))
    assert [f.severity for f in check_file(script, name="a.pdf", component=None, policy=policy).findings] == ["error"]
    assert check_file(attachment, name="b.pdf", component=None, policy=policy).findings == ()


def test_newest_valid_version_is_taken(own_policy):
    own_policy({})
    own_policy({'version = "1"': 'version = "2"', "valid_from = 2020-04-08": "valid_from = 2026-01-01"}, version="2")
    assert load_policy("own", on=date(2025, 12, 31)).version == "1"
    assert load_policy("own", on=date(2026, 1, 1)).version == "2"
    assert load_policy("own", "1", on=date(2026, 1, 1)).version == "1"


@pytest.mark.parametrize(
    "change", [{'type = "text"': 'type = "txt"'}, {'"fmt/95"': '"fmt/18"'}, {'version = "1"': 'version = "9"'}]
)
def test_malformed_policy_names_the_file(own_policy, change):
    own_policy(change)
    with pytest.raises(ConfigurationInvalid, match=r"1\.toml"):
        load_policy("own", on=date(2026, 1, 1))
