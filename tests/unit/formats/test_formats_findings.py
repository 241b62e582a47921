"""Every finding code of the format checks has a file that provokes exactly it; sound files provoke none."""

import tomllib
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from archive_service.dossier import Component, Origin, Role
from archive_service.findings import FINDINGS_VERSION, catalogue
from archive_service.formats.check import check_file
from archive_service.formats.phrases import vietnamese
from archive_service.formats.policy import DEFAULT_POLICY, load_policy
from archive_service.formats.report import FormatReport
from archive_service.resources import profiles_dir
from tests.unit.formats import format_files as files
from tests.unit.formats import office_files as office
from tests.unit.formats.format_files import DIGITISED

POLICY = load_policy(DEFAULT_POLICY, on=date(2026, 1, 1))

# code -> name, content, what the dossier says of it
CASES = {
    "FORMAT_EMPTY": ("don.pdf", b"", None),
    "FORMAT_EXTENSION_MISMATCH": ("don.pdf", files.image("JPEG"), None),
    "FORMAT_UNKNOWN": ("so-lieu.xyz", b"\x9d\xe3\x07\xb5" + bytes(range(255, 0, -1)) * 20, None),
    "FORMAT_UNLISTED": ("ghi-chu.ics", b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n", None),
    "FORMAT_ACCEPTED_WITH_WARNING": ("ban-ghi.wav", files.wav(1.0), None),
    "FORMAT_TO_BE_NORMALISED": ("anh.bmp", files.image("BMP"), None),
    "FORMAT_REFUSED": ("tep.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\3" + bytes(20), None),
    "FORMAT_BROKEN": ("don.pdf", files.pdf()[:-200], None),
    "FORMAT_REPAIRED_ON_READING": ("don.pdf", files.repairable_pdf(), None),
    "FORMAT_ENCRYPTED": ("don.pdf", files.encrypted_pdf("mat-khau"), None),
    "FORMAT_MACROS": ("don.docx", files.docx({"word/vbaProject.bin": b"x"}), None),
    "FORMAT_EDITING_RESTRICTED": (
        "don.docx",
        files.docx(office.settings('<w:documentProtection w:edit="readOnly" w:enforcement="1"/>')),
        None,
    ),
    "FORMAT_SCRIPT": ("don.pdf", files.pdf(files.with_script), None),
    "FORMAT_EMBEDDED_FILES": ("don.pdf", files.pdf(files.with_attachment), None),
    "FORMAT_XML_ENTITY": ("to-khai.xml", files.XML_EXTERNAL, None),
    "FORMAT_XML_NOT_WELL_FORMED": ("to-khai.xml", b'<?xml version="1.0"?><a><b></a>', None),
    "FORMAT_PDFA_CLAIM_FALSE": ("so-hoa.pdf", files.scanned().replace(b"GTS_PDFA1", b"GTS_PDFX1"), DIGITISED),
    "FORMAT_NOT_PDFA": ("so-hoa.pdf", files.scanned(claim=False), DIGITISED),
    "FORMAT_NO_TEXT_LAYER": ("so-hoa.pdf", files.scanned(text=False), DIGITISED),
    "FORMAT_RESOLUTION_LOW": ("so-hoa.pdf", files.scanned(dpi=150), DIGITISED),
    "FORMAT_NOT_COLOUR": ("so-hoa.pdf", files.scanned(grey=True), DIGITISED),
    "FORMAT_BITRATE_LOW": ("ban-ghi.mp3", files.mp3(50, kbps=64), None),
    "FORMAT_TOO_LARGE_TO_CHECK": ("to-khai.xml", b"<a>" * 500 + b"</a>" * 500, None),
    "FORMAT_LEADING_DATA": ("don.pdf", b"@@@\n" + files.pdf(), None),
    "FORMAT_TRAILING_DATA": ("don.pdf", files.pdf() + b"du lieu khac", None),
    "FORMAT_POLYGLOT": ("anh.jpg", files.image("JPEG") + files.package({"a.txt": b"a"}), None),
    "FORMAT_NOT_CHECKED": ("so-hoa.jpg", files.image("JPEG", dpi=None), DIGITISED),
    "COMPONENT_PAGES_DIFFER": ("don.pdf", files.pdf(), replace(files.component(), pages=77)),
}
BY_OTHER_TESTS = {
    "FORMAT_ARCHIVE_UNSAFE",  # here, with other findings of ZIP files
    "FORMAT_DISAGREEMENT",  # test_formats_identify
    "FORMAT_CHECK_TIMEOUT",  # test_formats_sandbox
    "FORMAT_CHECK_CRASHED",  # test_formats_sandbox
    "VIRUS_FOUND",  # test_formats_virus
    "VIRUS_NOT_SCANNED",  # test_formats_virus
}
SOUND = {
    "don.pdf": (files.pdf(), None),
    "mot-trang.pdf": (files.pdf(), replace(files.component(), pages=1)),
    "so-hoa.pdf": (files.scanned(), DIGITISED),
    "anh.jpg": (files.image("JPEG"), None),
    "anh.png": (files.image("PNG"), None),
    "anh.tif": (files.image("TIFF"), None),
    "anh.gif": (files.image("GIF", dpi=None), None),
    "don.docx": (files.docx(), None),
    "to-khai.xml": (b'<?xml version="1.0" encoding="UTF-8"?><a>\xc4\x91</a>', None),
    "khong-khai-bao.xml": (b"<a/>", None),
    "utf16.xml": ('<?xml version="1.0" encoding="UTF-16"?><a>đ</a>'.encode("utf-16"), None),
    "bieu-mau.json": (files.JSON, None),
    "ghi-chu.txt": ("Cộng hòa xã hội chủ nghĩa Việt Nam".encode(), None),
    "bang.csv": ("họ tên,năm\nÁnh,1990\nBình,1985\n".encode(), None),
    "ban-ghi.mp3": (files.mp3(50), None),
    "anh-so-hoa.jpg": (files.image("JPEG"), DIGITISED),
}


@pytest.fixture(autouse=True)
def own_pdfa_checks(monkeypatch):
    """The fixtures are made for our own checks; a veraPDF on this machine would look deeper."""
    monkeypatch.setattr("archive_service.formats.verapdf.COMMAND", "no-verapdf-here")


def check(
    tmp_path: Path, name: str, content: bytes, component: Component | None = None, depth: str | None = None
) -> FormatReport:
    path = files.write(tmp_path, "staged", content)  # staged files have no extension
    return check_file(path, name=name, component=component, policy=POLICY, depth=depth)


def codes(report: FormatReport) -> list[str]:
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize("code", CASES)
def test_each_code_alone(code, tmp_path):
    name, content, component = CASES[code]
    report = check(tmp_path, name, content, component)
    assert codes(report) == [code], [finding.message("en") for finding in report.findings]
    assert report.findings[0].location == ("c1" if component else name)


@pytest.mark.parametrize("code", CASES)
def test_texts_have_no_open_fields(code, tmp_path):
    name, content, component = CASES[code]
    for finding in check(tmp_path, name, content, component).findings:
        for language in ("vi", "en"):
            assert "{" not in finding.message(language)


LIBRARIES_SPEAK = {"FORMAT_BROKEN", "FORMAT_REPAIRED_ON_READING", "FORMAT_XML_NOT_WELL_FORMED"}
"""Codes whose reason is a library's; the Vietnamese text marks it as a technical note."""


@pytest.mark.parametrize("code", CASES)
def test_vietnamese_texts_say_whose_words_are_foreign(code, tmp_path):
    name, content, component = CASES[code]
    for finding in check(tmp_path, name, content, component).findings:
        assert ("ghi chú kỹ thuật" in finding.message("vi")) is (code in LIBRARIES_SPEAK), finding.message("vi")
        assert "ghi chú" not in finding.message("en")


def test_the_policys_reasons_are_vietnamese_in_vietnamese_texts(tmp_path):
    (finding,) = check(tmp_path, "so-do.svg", files.svg("")).findings
    assert finding.message("vi").endswith("không có trong danh mục của TT 05/2025")
    assert finding.message("en").endswith("not on the list of TT 05/2025")


def test_reasons_have_vietnamese_words():
    assert vietnamese("larger than 5 bytes, clamd scans only a part") == "lớn hơn 5 byte, clamd chỉ quét một phần"
    assert vietnamese("larger than 5 bytes") == "lớn hơn 5 byte"
    assert vietnamese("xref not found") == "ghi chú kỹ thuật: xref not found"


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("depth", ["identify", "standard", "full"])
def test_sound_files_have_no_findings(name, depth, tmp_path):
    content, component = SOUND[name]
    report = check(tmp_path, name, content, component, depth)
    assert codes(report) == [], [finding.message("en") for finding in report.findings]


def test_every_code_of_the_catalogue_is_provoked_by_some_test():
    path = profiles_dir() / "findings" / FINDINGS_VERSION / "format.toml"
    listed = set(tomllib.loads(path.read_text(encoding="utf-8")))
    assert listed == set(CASES) | BY_OTHER_TESTS
    assert listed <= set(catalogue())


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("don.pdf", files.encrypted_pdf(""), ["FORMAT_ENCRYPTED"]),
        ("anh.jpg", files.image("JPEG")[:-900], ["FORMAT_BROKEN"]),
        ("anh.png", files.image("PNG")[:-30], ["FORMAT_BROKEN"]),
        ("anh.gif", files.image("GIF", dpi=None)[:-5], ["FORMAT_BROKEN"]),
        ("anh.tif", files.tiff_without_width(), ["FORMAT_BROKEN"]),
        ("don.docx", files.damaged_docx(), ["FORMAT_BROKEN"]),
        ("don.docx", files.docx()[:-40], ["FORMAT_BROKEN"]),
        ("don.docx", files.remote_template(), ["FORMAT_SCRIPT"]),
        ("don.docx", files.docx({"word/embeddings/a.bin": b"x"}), ["FORMAT_EMBEDDED_FILES"]),
        ("don.docx", files.docx({"_rels/.rels": files.XML_BOMB}), ["FORMAT_XML_ENTITY"]),
        ("don.doc", files.compound(["WordDocument", "1Table", "_VBA_PROJECT"]), ["FORMAT_MACROS"]),
        ("don.doc", files.compound(["EncryptedPackage", "EncryptionInfo"]), ["FORMAT_ENCRYPTED"]),
        (
            "don.doc",
            files.compound(["WordDocument", "1Table"])[:1400],
            ["FORMAT_ACCEPTED_WITH_WARNING", "FORMAT_BROKEN"],
        ),
        ("to-khai.xml", files.XML_BOMB, ["FORMAT_XML_ENTITY"]),
        ("to-khai.xml", files.XML_EXTERNAL[21:], ["FORMAT_XML_ENTITY"]),
        ("to-khai.xml", files.XML_EXTERNAL.decode().encode("utf-16"), ["FORMAT_XML_ENTITY"]),
        ("so-do.svg", files.svg("<script>alert(1)</script>"), ["FORMAT_TO_BE_NORMALISED", "FORMAT_SCRIPT"]),
        ("so-do.svg", files.svg('<g onload="f()"/>'), ["FORMAT_TO_BE_NORMALISED", "FORMAT_SCRIPT"]),
        ("so-do.svg", files.svg('<a href=" java&#10;script:f()"/>'), ["FORMAT_TO_BE_NORMALISED", "FORMAT_SCRIPT"]),
        ("so-do.svg", files.svg('<text id="on">on</text>'), ["FORMAT_TO_BE_NORMALISED"]),
        ("to-khai.xml", b'<?xml version="1.0"?><don><script once="1"/></don>', []),
        ("don.rtf", files.rtf(r"{\object\objemb{\*\objdata 0105}}"), ["FORMAT_EMBEDDED_FILES"]),
        ("don.rtf", files.rtf(r"{\*\objdata0105}"), ["FORMAT_EMBEDDED_FILES"]),
        ("don.rtf", files.rtf(r"\\object \objective"), []),
        ("anh.jpg", files.image("JPEG") + b"@" * 40, ["FORMAT_TRAILING_DATA"]),
        ("anh.png", files.image("PNG") + b"@" * 40, ["FORMAT_TRAILING_DATA"]),
        ("anh.jpg", files.image("JPEG") + bytes(40), []),
        ("don.pdf", files.pdf() + b"\r\n\0\0", []),
        ("don.pdf", files.east_asian_font_pdf(), []),
        ("don.pdf", files.pdf() + files.package({"a.txt": b"a"}), ["FORMAT_POLYGLOT"]),
        (
            "don.pdf",
            files.pdf().replace(b"\n", b"\n%<html><script>\n", 1),
            ["FORMAT_POLYGLOT", "FORMAT_REPAIRED_ON_READING"],
        ),
        ("don.docx", files.docx() + b"@" * 40, ["FORMAT_TRAILING_DATA"]),
        (
            "anh.gif",
            files.image("GIF", dpi=None) + files.package({"A.class": b"a"}),
            ["FORMAT_POLYGLOT", "FORMAT_BROKEN"],
        ),
        ("ghi-chu.txt", b"%PDF-1.7\n van ban", ["FORMAT_BROKEN"]),
        ("bieu-mau.json", b'{"a": 1, }', ["FORMAT_BROKEN"]),
        ("tep.exe", b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0\x64\x86" + bytes(300), ["FORMAT_REFUSED"]),
        ("phim.mp4", files.mp4(seconds=10, payload=100_000), ["FORMAT_BITRATE_LOW"]),
    ],
)
def test_other_shapes_of_the_same_faults(name, content, expected, tmp_path):
    report = check(tmp_path, name, content)
    assert codes(report) == expected, [finding.message("en") for finding in report.findings]


@pytest.mark.parametrize(
    "entries",
    [
        {"../../etc/passwd": b"x"},
        {"/etc/passwd": b"x"},
        {"..\\x.txt": b"x"},
        {"C:/x.txt": b"x"},
        {"bom.txt": bytes(40_000_000)},
    ],
)
def test_unsafe_zip(entries, tmp_path):
    report = check(tmp_path, "tep.zip", files.package(entries))
    assert codes(report) == ["FORMAT_ACCEPTED_WITH_WARNING", "FORMAT_ARCHIVE_UNSAFE"]


def test_archives_within_an_archive_are_said_not_to_be_opened(tmp_path):
    within = {
        "ban-ve.zip": files.package({"a.txt": b"a"}),
        "nhat-ky.gz": b"\x1f\x8b\x08" + bytes(20),
        "ghi-chu.txt": b"a",
    }
    report = check(tmp_path, "tep.zip", files.package(within))
    assert codes(report) == ["FORMAT_ACCEPTED_WITH_WARNING", "FORMAT_NOT_CHECKED"]
    assert "archives within the archive: ban-ve.zip, nhat-ky.gz: not opened" in report.not_checked


def test_entity_is_not_expanded(tmp_path):
    report = check(tmp_path, "to-khai.xml", files.XML_EXTERNAL)
    assert "root:" not in str(report)


def test_maps_need_300_dpi(tmp_path):
    on_map = files.component(Role.DIGITISED, Origin.DIGITISED, title="Trích lục bản đồ địa chính")
    report = check(tmp_path, "so-hoa.pdf", files.scanned(dpi=200), on_map)
    assert codes(report) == ["FORMAT_RESOLUTION_LOW"]
    assert report.findings[0].params["required"] == 300


def test_depth_says_what_was_left_out(tmp_path):
    shallow = check(tmp_path, "anh.jpg", files.image("JPEG"))
    assert any("not decoded" in line for line in shallow.not_checked)
    deep = check(tmp_path, "anh.jpg", files.image("JPEG"), depth="full")
    assert "image pixels decoded" in deep.checked
    assert deep.not_checked == ()


def test_facts_of_a_digitised_paper(tmp_path):
    report = check(tmp_path, "so-hoa.pdf", files.scanned(dpi=200), DIGITISED)
    assert report.facts["pages"] == 1
    assert report.facts["dpi"] == 200.0
    assert report.facts["colour"] is True
    assert report.facts["text_layer"] is True
    assert report.facts["bits_per_pixel"] == 24
    assert report.facts["pdfa_claim"] == "1b"
    assert report.facts["pdfa_checker"] == "own structural checks"
