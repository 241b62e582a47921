"""PDF/A renditions by a real LibreOffice, and text for search."""

import shutil
import unicodedata
from pathlib import Path

import pytest

from archive_service.formats.rendition import COMMANDS, NotRendered, Rendition, can_render, render_pdfa
from archive_service.formats.text import extract_text
from tests.unit.formats import format_files as files

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
SENTENCE = "Đơn đề nghị cấp giấy chứng nhận"


@pytest.fixture
def libreoffice(not_run):
    if not any(shutil.which(command) for command in COMMANDS):
        not_run("libreoffice", "no soffice program found")


@pytest.mark.slow
@pytest.mark.usefixtures("libreoffice")
def test_office_file_becomes_pdfa(tmp_path):
    path = files.write(tmp_path, "don", files.docx())
    made = render_pdfa(path, tmp_path, extension="docx")
    assert isinstance(made, Rendition), made
    assert (made.flavour, made.conforms, made.problems, made.pages) == ("2b", True, (), 1)
    assert made.checker
    text = extract_text(made.path, "application/pdf")
    assert text.complete
    assert SENTENCE in text.text


@pytest.mark.slow
@pytest.mark.usefixtures("libreoffice")
def test_image_becomes_pdfa(tmp_path):
    made = render_pdfa(files.write(tmp_path, "anh", files.image("JPEG")), tmp_path, extension="jpg")
    assert isinstance(made, Rendition), made
    assert made.flavour == "2b"


@pytest.mark.usefixtures("libreoffice")
def test_time_limit_ends_it(tmp_path):
    made = render_pdfa(files.write(tmp_path, "don", files.docx()), tmp_path, extension="docx", time_limit_s=0.2)
    assert made == NotRendered(reason="stopped after 0.2 s")


def test_without_libreoffice_there_is_a_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    made = render_pdfa(files.write(tmp_path, "don", files.docx()), tmp_path, extension="docx")
    assert made == NotRendered(reason="LibreOffice is not installed")


def test_programs_are_not_rendered():
    assert not can_render("exe")
    assert can_render("DOCX")


# ---------------------------------------------------------------- text


def opendocument(text: str) -> bytes:
    content = (
        '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
        f'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><text:p>{text}</text:p></office:document-content>'
    )
    return files.package({"content.xml": content.encode()})


@pytest.mark.parametrize(
    ("mime", "content"),
    [
        (DOCX, files.docx()),
        ("application/vnd.oasis.opendocument.text", opendocument(SENTENCE)),
        ("text/plain", SENTENCE.encode()),
        ("text/plain", unicodedata.normalize("NFD", SENTENCE).encode("utf-16")),
    ],
)
def test_text_is_found(mime, content, tmp_path):
    found = extract_text(files.write(tmp_path, "x", content), mime)
    assert found.text.strip() == SENTENCE
    assert found.complete


@pytest.mark.parametrize(
    ("mime", "content"),
    [
        ("application/pdf", b"%PDF-1.7 nothing"),
        (DOCX, b"PK\3\4 nothing"),
        (DOCX, files.docx({"word/footnotes.xml": files.XML_BOMB})),
        ("image/jpeg", b"\xff\xd8"),
    ],
)
def test_no_text_has_a_reason(mime, content, tmp_path):
    found = extract_text(files.write(tmp_path, "x", content), mime)
    assert not found.complete
    assert found.reason


def test_entity_in_office_text_is_not_expanded(tmp_path):
    content = files.docx({"word/footnotes.xml": files.XML_EXTERNAL})
    found = extract_text(files.write(tmp_path, "x", content), DOCX)
    assert "root:" not in found.text


def test_folder_is_left_clean(tmp_path):
    render_pdfa(tmp_path / "gone", tmp_path, extension="docx")
    assert list(Path(tmp_path).iterdir()) == []
