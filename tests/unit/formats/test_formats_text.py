"""Text for search: what is taken from XML, from broken files and from odd characters, and what is left alone."""

import pytest

from archive_service.formats import text as reading
from archive_service.formats.text import extract_text, takes_text
from tests.unit.formats import format_files as files

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
BODY = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{}</w:body></w:document>'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<a>Giấy <b>chứng nhận</b> số<c/>5</a>".encode(), "Giấy chứng nhận\n số\n5\n"),
        ("<a>Giấy</a>".encode("utf-16"), "Giấy\n"),
        (b"<!-- x --><a b='y'>z<?p q?></a>", "z\n"),
        (b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>a&x;b</a>', "ab\n"),
    ],
)
def test_words_between_the_tags(content, expected, tmp_path):
    for mime in ("application/xml", "text/xml", "application/vnd.example+xml"):
        found = extract_text(files.write(tmp_path, "x", content), mime)
        assert (found.text, found.complete, found.reason) == (expected, True, "")


def test_a_bomb_of_entities_ends_at_the_limit(tmp_path):
    found = extract_text(files.write(tmp_path, "x", files.XML_BOMB), "application/xml")
    assert len(found.text) <= reading.MAX_CHARACTERS


def test_what_was_read_before_a_break_is_kept(tmp_path):
    found = extract_text(files.write(tmp_path, "x", "<a>đã đọc <b>chưa".encode()), "application/xml")
    assert found.text.startswith("đã đọc")
    assert not found.complete
    assert found.reason
    broken = files.docx({"word/document.xml": BODY.format("<w:p><w:t>đã đọc</w:t></w:p><w:p>").encode()})
    found = extract_text(files.write(tmp_path, "y", broken), DOCX)
    assert "đã đọc" in found.text
    assert not found.complete


def test_characters_no_database_takes_are_left_out(tmp_path):
    found = extract_text(files.write(tmp_path, "x", "chứng\0 nh\u00adận".encode()), "text/plain")
    assert found.text == "chứng nhận"


def test_a_text_beyond_the_limit_is_cut_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_CHARACTERS", 10)
    found = extract_text(files.write(tmp_path, "x", b"0123456789abc"), "text/plain")
    assert (found.text, found.complete) == ("0123456789", False)
    assert found.reason == "more than 10 characters"


@pytest.mark.parametrize(
    ("mime", "expected"),
    [
        ("application/pdf", True),
        (DOCX, True),
        ("application/vnd.oasis.opendocument.presentation", True),
        ("text/csv", True),
        ("application/json", True),
        ("image/svg+xml", True),
        ("text/rtf", False),
        ("text/html", False),
        ("application/msword", False),
        ("image/png", False),
        ("", False),
    ],
)
def test_kinds_text_is_taken_from(mime, expected, tmp_path):
    assert takes_text(mime) is expected
    if not expected:
        assert not extract_text(files.write(tmp_path, "x", b"x"), mime).complete
