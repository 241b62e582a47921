"""A certified copy as its reader has it: the original's pages unchanged, every mark readable, the QR code scannable."""

import unicodedata
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qsl

import pikepdf
import pytest
import zxingcpp
from PIL import Image, ImageChops, ImageFilter, ImageOps, ImageStat

from archive_service.copies.marks import QrContent, load_words
from archive_service.copies.originals import page_size
from archive_service.copies.render import CopyForm, CopyNotPossible
from archive_service.digests import digest_bytes
from archive_service.errors import DigestMismatch
from archive_service.formats.limits import Limits
from archive_service.formats.pdfa import structural_problems
from tests.unit.copies.papers import FULL_PAGE, LETTER, MM, URL, Copy, copy_of, marks, picture, squeezed, typeset

DPI = 120


@pytest.fixture(scope="module")
def letter(tmp_path_factory) -> Copy:
    return copy_of(tmp_path_factory.mktemp("letter"), typeset(LETTER))


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Copy:
    return copy_of(tmp_path_factory.mktemp("full"), typeset(FULL_PAGE + "#pagebreak()" + FULL_PAGE))


# ------------------------------------------------------------------ marks


def test_every_mark_can_be_read_as_it_was_given(letter):
    given = marks(b"")
    code = digest_bytes(typeset(LETTER)).hex
    text = letter.text()
    for mark in (
        "SAO Y",
        "Số: 07/SY-STNMT",
        given.agency_name.upper(),
        "ỦY BAN NHÂN DÂN TỈNH THANH HÓA",
        "Thanh Hóa, ngày 01 tháng 02 năm 2026",
        "2026-02-01T00:15:00+07:00",
        "TÀI LIỆU LƯU TRỮ CHUYỂN ĐỔI",
        f"Mã lưu trữ tài liệu gốc: {given.archive_code}",
        "Văn bản giấy được chuyển đổi từ thông điệp dữ liệu lưu trữ",
        given.system_name,
        given.owner_name,
        given.dossier_code,
        given.result_code or "",
        f"{given.converter_name}, {given.converter_position}",
        "CHÁNH VĂN PHÒNG",
        "Trần Quốc Đạt",
        "(Chữ ký, dấu)",
        "- Ông Lê Văn Phước (01 bản);",
        "- Lưu: VT, LTCQ.",
        "CS 01234/QSDĐ: Giấy chứng nhận quyền sử dụng đất",
        *given.signature_notes,
        URL,
        code,
        "1 trang gốc, 1 tờ",
        "Tờ 1/1",
    ):
        assert squeezed(unicodedata.normalize("NFC", mark)) in text, mark


def test_decomposed_letters_are_printed_composed(tmp_path):
    name = "Lê Thuỵ Ỷ Lan Đặng Phước Hưỡng"
    made = copy_of(tmp_path, typeset(LETTER), signer_name=unicodedata.normalize("NFD", name))
    assert squeezed(name) in made.text()


ALPHABET = "àáảãạăằắẳẵặâầấẩẫậđèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵ"


def test_every_vietnamese_letter_is_printed_upright_bold_and_italic(tmp_path):
    made = copy_of(tmp_path, typeset(LETTER), signer_name=ALPHABET, place=ALPHABET, owner_name=ALPHABET)
    assert made.text().count(ALPHABET) >= 4
    assert made.text(0).count(ALPHABET.upper()) == 0
    shouted = copy_of(tmp_path, typeset(LETTER), agency_name=ALPHABET)
    assert ALPHABET.upper() in shouted.text()


def test_text_that_looks_like_markup_is_printed_as_it_is(tmp_path):
    title = '#panic("x") *đậm* $x^2$ \\ @ref <nhãn> "ngoặc" \' [b] // `c` - + / ~'
    assert squeezed(title) in copy_of(tmp_path, typeset(LETTER), document_title=title).text()


def test_each_sheet_says_which_of_how_many_it_is_and_which_page_it_shows(full):
    assert full.told.page_count == 3
    assert [f"Tờ{n}/3" in full.text(n - 1) for n in (1, 2, 3)] == [True] * 3
    assert "Tranggốc2/2" in full.text(1)
    assert "Trangchứngnhận" in full.text(2)
    assert [code in full.text(n) for n, code in enumerate(full.told.sheet_codes)] == [True] * 3
    assert len(set(full.told.sheet_codes)) == 3


def test_sheet_codes_bind_the_copy_and_the_original():
    one = marks(b"one")
    assert one.sheet_code(1) == marks(b"one").sheet_code(1)
    assert len({one.sheet_code(1), one.sheet_code(2), marks(b"two").sheet_code(1)}) == 3
    assert one.sheet_code(1) != marks(b"one", copy_code="7KQ2-M9XD-4TPB").sheet_code(1)


def test_the_qr_code_on_every_sheet_opens_the_verification_page_and_carries_the_data(full):
    for sheet in range(full.told.page_count):
        found = zxingcpp.read_barcodes(full.picture(sheet, dpi=200))
        assert [code.format for code in found] == [zxingcpp.BarcodeFormat.QRCode]
        address, _, data = found[0].text.partition("#")
        assert address == URL
        given = marks(b"")
        assert dict(parse_qsl(data)) == {
            "hs": given.dossier_code,
            "tthc": "1.002891.000.00.00.H56",
            "ten": given.document_title,
            "so": given.number_text,
        }
        assert found[0].ec_level in {"M", "Q", "H"}
        assert found[0].position.bottom_right.x < 200 * 35 / 25.4  # top left of the sheet (R113)
        assert found[0].position.bottom_right.y < 200 * 35 / 25.4


def test_the_data_of_a_qr_code_give_way_before_the_address_does():
    content = load_words("1").qr
    long_title = marks(b"", document_title="Quyết định & giấy phép #1 " + "ắ" * 500, procedure_code="1.002891")
    text = content.text(long_title)
    assert len(text.encode()) <= content.max_bytes
    data = dict(parse_qsl(text.partition("#")[2]))
    assert data["ten"].startswith("Quyết định & giấy phép #1 ắ")
    assert data["ten"].endswith("…")
    assert "so" not in data
    far = marks(b"", verify_url="https://" + "x" * 150 + "/verify/1")
    assert content.text(far).partition("#")[0] == far.verify_url
    assert QrContent().text(far) == far.verify_url
    assert "tthc" not in dict(parse_qsl(content.text(marks(b"", procedure_code=None)).partition("#")[2]))


def test_forms_and_numbers(tmp_path):
    made = copy_of(tmp_path, typeset(LETTER), form=CopyForm.TRICH_SAO, number=123, result_code=None, signer_name=None)
    assert "TRÍCHSAO" in made.text()
    assert "Số:123/SY-STNMT" in made.text()
    assert "Mãhồsơ:000.00.16.H56-250314-0042" in made.text()
    assert "Mãkếtquả" not in made.text()
    assert made.text().count(squeezed("Nguyễn Thị Hồng Ngọc")) == 3  # in the original, as converter, as signer


def test_the_fonts_are_the_originals_and_noto(tmp_path):
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        helvetica = pikepdf.Dictionary(
            Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name("/Helvetica")
        )
        name = page.add_resource(helvetica, pikepdf.Name.Font)
        page.contents_add(f"BT {name} 20 Tf 100 700 Td (Original) Tj ET".encode())
        content = _saved(pdf)
    made = copy_of(tmp_path, content)
    with pikepdf.open(BytesIO(made.content)) as copy:
        names = {
            str(part.BaseFont).lstrip("/").split("+")[-1] for part in _objects(copy, "/Font") if "/BaseFont" in part
        }
    assert "Helvetica" in names
    rest = {name.split("-")[0] for name in names - {"Helvetica"}}
    assert rest == {"NotoSerif", "NotoSans"}


def _objects(pdf: pikepdf.Pdf, kind: str) -> list[pikepdf.Object]:
    return [part for part in pdf.objects if isinstance(part, pikepdf.Dictionary) and part.get("/Type") == kind]


def test_the_same_original_and_marks_give_the_same_bytes(tmp_path, letter):
    again = copy_of(tmp_path, typeset(LETTER))
    assert again.content == letter.content
    assert again.told == letter.told
    assert again.told.digest == digest_bytes(again.content)
    assert again.told.size_bytes == len(again.content)


# ------------------------------------------------------------------ the original's pages


def _saved(pdf: pikepdf.Pdf) -> bytes:
    out = BytesIO()
    pdf.save(out)
    return out.getvalue()


def _turned(angle: int) -> bytes:
    with pikepdf.open(BytesIO(typeset(FULL_PAGE))) as pdf:
        pdf.pages[0].rotate(angle)
        return _saved(pdf)


def _cropped() -> bytes:
    with pikepdf.open(BytesIO(typeset(FULL_PAGE))) as pdf:
        page = pdf.pages[0]
        page.mediabox = pikepdf.Array([-40, -30, 640, 900])
        page.cropbox = pikepdf.Array([30, 60, 560, 2000])
        page.trimbox = pikepdf.Array([200, 200, 300, 300])
        return _saved(pdf)


def _user_unit() -> bytes:
    with pikepdf.open(BytesIO(typeset(LETTER, page="width: 60mm, height: 80mm, margin: 5mm"))) as pdf:
        pdf.pages[0].obj.UserUnit = 2
        return _saved(pdf)


ORIGINALS = {
    "a4": lambda: typeset(FULL_PAGE),
    "landscape": lambda: typeset(FULL_PAGE, page='paper: "a4", flipped: true'),
    "a3-landscape": lambda: typeset(FULL_PAGE, page='paper: "a3", flipped: true, fill: rgb("#eef")'),
    "a0": lambda: typeset(FULL_PAGE, page='paper: "a0"'),
    "card": lambda: typeset(LETTER, page="width: 86mm, height: 54mm, margin: 4mm"),
    "strip": lambda: typeset(LETTER, page="width: 500mm, height: 60mm, margin: 4mm"),
    "turned-90": lambda: _turned(90),
    "turned-180": lambda: _turned(180),
    "turned-270": lambda: _turned(270),
    "cropped": _cropped,
    "user-unit": _user_unit,
}


def difference(original: Image.Image, shown: Image.Image) -> float:
    """Returns how much of the original's ink is elsewhere or missing: 0 none, 1 all.

    Edges fall between pixels, so both are blurred a little and the best of the neighbouring positions counts.
    """
    blur = ImageFilter.GaussianBlur(1.5)
    expected, seen = original.filter(blur), shown.filter(blur)
    around = [ImageChops.offset(seen, across, down) for across in (-1, 0, 1) for down in (-1, 0, 1)]
    least = min(ImageStat.Stat(ImageChops.difference(expected, one)).mean[0] for one in around)
    return float(least / ImageStat.Stat(ImageOps.invert(expected)).mean[0])


def shown_part(made: Copy, content: bytes, sheet: int) -> tuple[Image.Image, Image.Image]:
    """Returns the original's page at the scale of the copy, and the part of the sheet where it should be."""
    with pikepdf.open(BytesIO(content)) as pdf:
        page = pdf.pages[sheet]
        box = pikepdf.Rectangle(page.mediabox)
        crop = pikepdf.Rectangle(page.cropbox)
        page.trimbox = pikepdf.Array(
            [max(box.llx, crop.llx), max(box.lly, crop.lly), min(box.urx, crop.urx), min(box.ury, crop.ury)]
        )
        size = page_size(page)
        unit = float(page.obj.get("/UserUnit", 1))  # pdfium draws a page without it
    scale = made.told.smallest_scale
    original = picture(content, sheet, dpi=DPI * scale * unit)
    whole = made.picture(sheet, dpi=DPI)
    left = (whole.width - size.width * scale * DPI / 72) / 2
    top = 31 * MM * DPI / 72
    shown = whole.crop((round(left), round(top), round(left) + original.width, round(top) + original.height))
    return original, shown


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_page_is_shown_whole_upright_and_uncovered(tmp_path, name):
    content = ORIGINALS[name]()
    made = copy_of(tmp_path, content)
    original, shown = shown_part(made, content, 0)
    height = original.height
    if not made.told.own_attestation_sheet:  # below the content the attestation begins
        used = original.point([255 if grey < 250 else 0 for grey in range(256)]).getbbox()
        assert used is not None
        height = min(height, used[3] + 4)
    inside = (3, 3, original.width - 3, height - 3)  # without the frame's line
    original, shown = original.crop(inside), shown.crop(inside)
    assert difference(original, shown) < 0.2


def test_a_page_is_never_enlarged_and_never_larger_than_the_frame(tmp_path):
    assert copy_of(tmp_path, ORIGINALS["card"]()).told.smallest_scale == 1.0
    assert copy_of(tmp_path, ORIGINALS["a0"]()).told.smallest_scale == pytest.approx(245 / 1189, rel=0.01)


def test_the_text_of_the_original_stays_text(letter):
    assert squeezed("GIẤY CHỨNG NHẬN ĐĂNG KÝ HỘ KINH DOANH") in letter.text(0)


def test_the_attestation_stands_below_the_content_when_there_is_room(letter, full):
    assert not letter.told.own_attestation_sheet
    assert (letter.told.page_count, letter.told.original_page_count) == (1, 1)
    assert full.told.own_attestation_sheet
    assert (full.told.page_count, full.told.original_page_count) == (3, 2)


def test_a_photo_leaves_room_for_the_attestation_below_it(tmp_path):
    out = BytesIO()
    Image.new("RGB", (600, 400), "navy").save(out, "JPEG", dpi=(150, 150))
    made = copy_of(tmp_path, out.getvalue())
    assert (made.told.page_count, made.told.own_attestation_sheet) == (1, False)


def _with_stamp(bottom: int) -> bytes:
    """Returns a letter with a visible signature field, drawn as an annotation as signing software does."""
    with pikepdf.open(BytesIO(typeset(LETTER))) as pdf:
        look = pikepdf.Stream(
            pdf, b"0 g 0 0 100 60 re f", Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form, BBox=[0, 0, 100, 60]
        )
        stamp = pikepdf.Dictionary(
            Type=pikepdf.Name.Annot,
            Subtype=pikepdf.Name.Widget,
            FT=pikepdf.Name.Sig,
            T=pikepdf.String("Signature1"),
            Rect=[400, bottom, 500, bottom + 60],
            F=4,
            AP=pikepdf.Dictionary(N=pdf.make_indirect(look)),
        )
        stamped = pdf.make_indirect(stamp)
        pdf.pages[0].obj.Annots = pikepdf.Array([stamped])
        pdf.Root.AcroForm = pdf.make_indirect(pikepdf.Dictionary(Fields=pikepdf.Array([stamped]), SigFlags=3))
        return _saved(pdf)


@pytest.mark.parametrize(("bottom", "own_sheet"), [(560, False), (60, True)])
def test_a_visible_signature_is_shown_and_not_covered(tmp_path, bottom, own_sheet):
    content = _with_stamp(bottom)
    made = copy_of(tmp_path, content)
    assert made.told.own_attestation_sheet is own_sheet
    original, shown = shown_part(made, content, 0)
    middle = (450 / 595, (842 - bottom - 30) / 842)
    assert [
        image.getpixel((round(middle[0] * image.width), round(middle[1] * image.height))) for image in (original, shown)
    ] == [0, 0]


def test_a_hidden_layer_stays_hidden(tmp_path):
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(300, 300))
        layers = [pdf.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.OCG, Name=name)) for name in ("on", "off")]
        pdf.Root.OCProperties = pikepdf.Dictionary(
            OCGs=pikepdf.Array(layers), D=pikepdf.Dictionary(OFF=pikepdf.Array(layers[1:]), Order=pikepdf.Array(layers))
        )
        page.obj.Resources = pikepdf.Dictionary(Properties=pikepdf.Dictionary(L0=layers[0], L1=layers[1]))
        page.contents_add(b"/OC /L0 BDC 0 g 0 200 300 100 re f EMC /OC /L1 BDC 0 g 0 0 300 100 re f EMC")
        content = _saved(pdf)
    made = copy_of(tmp_path, content)
    sheet = made.picture(0, dpi=72)
    top = 31 * MM
    assert [sheet.getpixel((sheet.width // 2, round(top + down))) for down in (50, 150)] == [0, 255]
    assert made.told.own_attestation_sheet is False  # the hidden layer takes no room either


def test_nothing_of_the_original_but_its_pages_comes_along(tmp_path):
    with pikepdf.open(BytesIO(typeset(LETTER))) as pdf:
        pdf.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS=pikepdf.String("app.alert(1)"))
        pdf.attachments["x.txt"] = pikepdf.AttachedFileSpec.from_filepath(pdf, Path(__file__))
        content = _saved(pdf)
    with pikepdf.open(BytesIO(copy_of(tmp_path, content).content)) as copy:
        assert not {"/OpenAction", "/AcroForm", "/Names", "/AF"} & set(copy.Root.keys())


# ------------------------------------------------------------------ images


def _scan(kind: str, *, mode: str = "RGB", **options: object) -> bytes:
    image = Image.new("RGB", (827, 1169), "white")
    image.paste("black", (60, 60, 400, 200))
    if mode != "1":
        image.paste("grey", (60, 900, 760, 1100))
    out = BytesIO()
    image.convert(mode).save(out, kind, **options)
    return out.getvalue()


SCANS = {
    "jpeg": lambda: _scan("JPEG", dpi=(100, 100), quality=90),
    "grey-jpeg": lambda: _scan("JPEG", mode="L", dpi=(100, 100)),
    "cmyk-jpeg": lambda: _scan("JPEG", mode="CMYK", dpi=(100, 100)),
    "png": lambda: _scan("PNG", dpi=(100, 100)),
    "transparent-png": lambda: _scan("PNG", mode="RGBA", dpi=(100, 100)),
    "palette-png": lambda: _scan("PNG", mode="P", dpi=(100, 100)),
    "bilevel-tiff": lambda: _scan("TIFF", mode="1", dpi=(100, 100), compression="group4"),
    "deep-grey-png": lambda: _scan("PNG", mode="I;16", dpi=(100, 100)),
}


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_is_shown_at_its_size(tmp_path, name):
    content = SCANS[name]()
    made = copy_of(tmp_path, content)
    assert made.told.smallest_scale == pytest.approx(245 / 297, rel=0.001)
    with Image.open(BytesIO(content)) as image:
        wide = round(image.width * made.told.smallest_scale * DPI / 100)
        high = round(image.height * made.told.smallest_scale * DPI / 100)
        expected = image.convert("L") if image.mode != "I;16" else image.point(lambda grey: grey / 256).convert("L")
        expected = expected.resize((wide, high))
    sheet = made.picture(0, dpi=DPI)
    left, top = (sheet.width - wide) // 2, round(31 * MM * DPI / 72)
    shown = sheet.crop((left, top, left + wide, top + high))
    inside = (3, 3, wide - 3, high - 3)
    assert difference(expected.crop(inside), shown.crop(inside)) < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_shown_upright(tmp_path, orientation):
    image = Image.new("L", (300, 200), 255)
    image.paste(0, (0, 0, 90, 60))
    image.paste(128, (210, 0, 300, 60))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = BytesIO()
    image.save(out, "JPEG", quality=95, exif=exif, dpi=(100, 100))
    made = copy_of(tmp_path, out.getvalue())
    with Image.open(out) as stored:
        expected = ImageOps.exif_transpose(stored)
    sheet = made.picture(0, dpi=100)
    left, top = round((sheet.width - expected.width) / 2), round(31 * MM * 100 / 72)
    shown = sheet.crop((left, top, left + expected.width, top + expected.height))
    inside = (3, 3, expected.width - 3, expected.height - 3)
    assert difference(expected.crop(inside), shown.crop(inside)) < 0.1


def test_a_jpeg_goes_in_byte_for_byte(tmp_path):
    content = SCANS["jpeg"]()
    with pikepdf.open(BytesIO(copy_of(tmp_path, content).content)) as copy:
        pictures = [
            part for part in copy.objects if isinstance(part, pikepdf.Stream) and part.get("/Filter") == "/DCTDecode"
        ]
        assert [part.read_raw_bytes() for part in pictures] == [content]


def test_each_page_of_a_tiff_has_its_sheet(tmp_path):
    pages = [Image.new("L", (200, 300), grey) for grey in (0, 128, 255)]
    out = BytesIO()
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:], dpi=(100, 100))
    made = copy_of(tmp_path, out.getvalue())
    assert made.told.original_page_count == 3
    middle = [made.picture(sheet).getpixel((413, 250)) for sheet in range(3)]
    assert middle == [0, 128, 255]


# ------------------------------------------------------------------ what the copy claims


def _claims(made: Copy) -> str | None:
    with pikepdf.open(BytesIO(made.content)) as pdf, pdf.open_metadata() as metadata:
        claim: str | None = metadata.get("pdfaid:part")
        return claim


def test_pdf_a_is_claimed_only_for_what_was_checked(tmp_path):
    pdf = typeset(LETTER)
    for made, claim in (
        (copy_of(tmp_path, pdf), None),
        (copy_of(tmp_path, pdf, pdf_a=True), "2"),
        (copy_of(tmp_path, SCANS["jpeg"]()), "2"),
    ):
        assert _claims(made) == claim
        assert made.told.pdf_a == (claim and f"{claim}b")
        assert made.told.pdf_a_note


@pytest.mark.parametrize(
    "make", [lambda: typeset(LETTER), SCANS["jpeg"], SCANS["transparent-png"], SCANS["bilevel-tiff"]]
)
def test_a_copy_that_claims_pdf_a_keeps_the_promise_as_far_as_it_can_be_checked_here(tmp_path, make):
    made = copy_of(tmp_path, make(), pdf_a=True)
    path = tmp_path / "copy.pdf"
    path.write_bytes(made.content)
    with pikepdf.open(path) as pdf:
        assert structural_problems(pdf, path, 2, Limits()) == ()


def test_the_words_are_pinned(letter):
    words = load_words("1")
    assert (letter.told.words_version, letter.told.words_digest) == (words.version, words.digest)


# ------------------------------------------------------------------ what cannot be copied


def _encrypted(*, user: str, owner: str) -> bytes:
    with pikepdf.open(BytesIO(typeset(LETTER))) as pdf:
        out = BytesIO()
        pdf.save(out, encryption=pikepdf.Encryption(user=user, owner=owner))
        return out.getvalue()


def _without_pages() -> bytes:
    with pikepdf.new() as pdf:
        return _saved(pdf)


def _many_pages() -> bytes:
    with pikepdf.new() as pdf:
        for _ in range(2001):
            pdf.add_blank_page(page_size=(10, 10))
        return _saved(pdf)


def _page_of(width: float, height: float) -> bytes:
    with pikepdf.new() as pdf:
        pdf.add_blank_page(page_size=(100, 100)).mediabox = pikepdf.Array([0, 0, width, height])
        return _saved(pdf)


def _bomb() -> bytes:
    out = BytesIO()
    Image.new("1", (40_000, 4_000)).save(out, "PNG")
    return out.getvalue()


UNUSABLE = {
    "no-pages": (_without_pages, "no_pages"),
    "password": (lambda: _encrypted(user="u", owner="o"), "encrypted"),
    "owner-password-only": (lambda: _encrypted(user="", owner="o"), "encrypted"),
    "huge-page": (lambda: _page_of(20_000, 100), "page_size"),
    "tiny-page": (lambda: _page_of(100, 1), "page_size"),
    "page-of-nothing": (lambda: _page_of(0, 0), "page_size"),
    "too-many-pages": (_many_pages, "too_many_pages"),
    "pdf-head-only": (lambda: b"%PDF-1.7\n" + b"x" * 2000, "damaged"),
    "truncated-jpeg": (lambda: SCANS["jpeg"]()[:3000], "damaged"),
    "image-bomb": (_bomb, "image_too_large"),
    "text": ("Không phải ảnh".encode, "unknown_format"),
    "empty": (lambda: b"", "unknown_format"),
    "gif": (lambda: _scan("GIF", mode="P"), "unknown_format"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_original_that_cannot_be_copied_says_why(tmp_path, name):
    make, reason = UNUSABLE[name]
    with pytest.raises(CopyNotPossible) as raised:
        copy_of(tmp_path, make())
    assert raised.value.fields["reason"] == reason
    assert str(tmp_path) not in raised.value.message


def test_another_file_than_the_archived_one_is_refused(tmp_path):
    with pytest.raises(DigestMismatch):
        copy_of(tmp_path, typeset(LETTER), original_digest=digest_bytes(b"other"))


@pytest.mark.parametrize("letter_without_glyph", ["漢", "😀", "ا"])
def test_a_letter_that_no_font_has_is_refused_not_printed_as_a_box(tmp_path, letter_without_glyph):
    with pytest.raises(CopyNotPossible) as raised:
        copy_of(tmp_path, typeset(LETTER), document_title=f"Giấy {letter_without_glyph}")
    assert raised.value.fields["reason"] == "marks_not_printable"


def test_marks_longer_than_a_sheet_are_refused_not_cut(tmp_path):
    with pytest.raises(CopyNotPossible, match="longer than a sheet"):
        copy_of(tmp_path, typeset(LETTER), signature_notes=("Phạm Gia Kỹ " * 16,) * 60)


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 0},
        {"place": ""},
        {"place": " "},
        {"agency_name": "x" * 201},
        {"signer_name": "a\nb"},
        {"recipients": ("a\u202eb",)},
    ],
)
def test_marks_that_are_no_marks_are_refused(changes):
    with pytest.raises(ValueError, match=r"."):
        marks(b"", **changes)


def test_the_test_original_is_found_where_it_is_expected():
    # the render comparison is worth something only if it fails on a page that is not the original
    content = typeset(FULL_PAGE)
    other = typeset("#v(3cm)" + FULL_PAGE)
    assert difference(picture(content, 0), picture(other, 0)) > 0.5
