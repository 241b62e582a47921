"""Originals made for the tests, marks for them, and the copy as a reader sees it: its picture and its text."""

import unicodedata
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pypdfium2
import typst
from fontpkg_noto_serif import ROOT
from PIL import Image

from archive_service.copies.render import CopyMarks, RenderedCopy, render_certified_copy
from archive_service.digests import digest_bytes

URL = "https://luutru.thanhhoa.gov.vn/verify/7KQ2-M9XD-4TPA"
MM = 72 / 25.4


@cache
def serif() -> Any:
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(ROOT)])


def typeset(body: str, *, page: str = 'paper: "a4", margin: 25mm') -> bytes:
    """Returns a PDF/A-2b of typst markup."""
    source = f'#set page({page})\n#set text(font: "Noto Serif", size: 12pt, lang: "vi")\n{body}'
    content = typst.compile(source.encode(), font_paths=serif(), pdf_standards="a-2b", timestamp=0)
    assert isinstance(content, bytes)
    return content


LETTER = """
#align(center)[*GIẤY CHỨNG NHẬN ĐĂNG KÝ HỘ KINH DOANH*]
Họ và tên: Đặng Quốc Ưng, Nguyễn Thị Hồng Ngọc, Lê Thuỵ Ỷ Lan, Phạm Gia Kỹ.
"""
FULL_PAGE = LETTER + "#v(1fr) Cuối trang"


def marks(content: bytes, **changes: Any) -> CopyMarks:
    """Returns marks for an original with these bytes; all names have letters that poor fonts lack."""
    plain = CopyMarks(
        copy_code="7KQ2-M9XD-4TPA",
        verify_url=URL,
        number=7,
        symbol="SY-STNMT",
        agency_name="Sở Nông nghiệp và Môi trường",
        parent_agency_name="Ủy ban nhân dân tỉnh Thanh Hóa",
        place="Thanh Hóa",
        issued_at=datetime(2026, 1, 31, 17, 15, tzinfo=UTC),
        converter_name="Nguyễn Thị Hồng Ngọc",
        converter_position="Lưu trữ viên",
        signer_name="Trần Quốc Đạt",
        signer_position="Chánh Văn phòng",
        recipients=("Ông Lê Văn Phước (01 bản);", "Lưu: VT, LTCQ."),
        system_name="Hệ thống lưu trữ điện tử hồ sơ thủ tục hành chính tỉnh Thanh Hóa",
        owner_name="Ủy ban nhân dân tỉnh Thanh Hóa",
        dossier_code="000.00.16.H56-250314-0042",
        procedure_code="1.002891.000.00.00.H56",
        result_code="000.00.16.H56-250314-0042-KQ(1)",
        archive_code="H56.16.000.00.16.H56-250314-0042.0000007",
        document_title="Giấy chứng nhận quyền sử dụng đất",
        document_number="CS 01234/QSDĐ",
        original_digest=digest_bytes(content),
        signature_notes=("Phạm Gia Kỹ, Phó Giám đốc, 28/03/2025: hợp lệ", "Sở NN và MT, 28/03/2025: hợp lệ"),
    )
    return replace(plain, **changes)


@dataclass(frozen=True)
class Copy:
    """A rendered copy with its bytes."""

    content: bytes
    told: RenderedCopy

    def picture(self, sheet: int, *, dpi: float = 100) -> Image.Image:
        return picture(self.content, sheet, dpi=dpi)

    def text(self, sheet: int | None = None) -> str:
        """Returns the text as extracted, without spaces and line ends, which extraction guesses."""
        with pypdfium2.PdfDocument(self.content) as document:
            sheets = range(len(document)) if sheet is None else [sheet]
            return squeezed("".join(document[number].get_textpage().get_text_range() for number in sheets))


def squeezed(text: str) -> str:
    return "".join(
        char for char in text if not char.isspace() and unicodedata.category(char) != "Cf" and char != "\ufffe"
    )


def picture(pdf: bytes, page: int, *, dpi: float = 100) -> Image.Image:
    """Returns a page as a grey picture, forms and annotations drawn."""
    with pypdfium2.PdfDocument(pdf) as document:
        if document.get_formtype():
            document.init_forms()
        image: Image.Image = document[page].render(scale=dpi / 72, grayscale=True).to_pil().convert("L")
        return image


def copy_of(folder: Path, content: bytes, *, pdf_a: bool = False, **changes: Any) -> Copy:
    original = folder / "original.bin"
    original.write_bytes(content)
    target = BytesIO()
    told = render_certified_copy(original, target, marks(content, **changes), original_is_pdf_a=pdf_a)
    assert original.read_bytes() == content
    return Copy(target.getvalue(), told)
