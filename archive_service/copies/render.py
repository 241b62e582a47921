"""Renders a certified paper copy: the original's pages unchanged, framed on A4 sheets that carry the required marks.

R105-R108, R113. The marks are set with typst, the pages are placed as form XObjects (vector stays vector, text stays
text) and never covered. The signed original itself is not touched (R027): this is a new file, made for printing, to be
signed and sealed by hand; whether a copy may be made, its number and its register row are the caller's.
"""

import json
import tempfile
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from archive_service.copies.marks import CopyForm, CopyMarks, CopyWords, default_words, load_words
from archive_service.copies.originals import (
    ODD_PDF,
    CopyNotPossible,
    PageSize,
    content_bottom,
    is_pdf,
    open_original,
    page_size,
    put_page,
)
from archive_service.digests import Digest, RunningDigest, chunks, digest_stream
from archive_service.errors import DigestMismatch

if TYPE_CHECKING:
    import pikepdf

__all__ = [
    "CopyForm",
    "CopyMarks",
    "CopyNotPossible",
    "CopyWords",
    "RenderedCopy",
    "load_words",
    "render_certified_copy",
]

# Geometry of a sheet, in millimetres.
A4: Final = (210.0, 297.0)
SIDE: Final = 12.0
"""Left and right margin; also what most printers cannot print on."""
TOP: Final = 31.0
"""Where the original's page begins, below the strip with the QR code."""
BOTTOM: Final = 21.0
"""What the footer takes, with a little air above it."""
QR: Final = 24.0
"""Side of the QR code with its quiet zone: 0.3 mm a module at 73 modules, which a phone reads from paper."""
GAP: Final = 4.0
"""Between the end of the content and the line above the attestation."""

MM_PER_PT: Final = 25.4 / 72


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedCopy:
    """What was made."""

    page_count: int
    """Sheets, the attestation's own included."""
    original_page_count: int
    size_bytes: int
    digest: Digest
    """Of the PDF written; goes into the register."""
    sheet_codes: tuple[str, ...]
    """As printed, one per sheet."""
    smallest_scale: float
    """Of all pages; 1.0 means every page has its own size."""
    own_attestation_sheet: bool
    """The last page had no room for the attestation, so it stands on a sheet of its own."""
    pdf_a: str | None
    """`2b` when the file claims PDF/A-2b; None when it does not."""
    pdf_a_note: str
    """Why it does or does not."""
    words_version: str
    words_digest: Digest
    """Of the words printed (R145)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """Where a page of the original stands on its sheet, in millimetres from the top left corner."""

    sheet_width: float
    sheet_height: float
    x: float
    y: float
    width: float
    height: float
    scale: float


def render_certified_copy(
    original: Path,
    target: BinaryIO,
    marks: CopyMarks,
    *,
    words: CopyWords | None = None,
    original_is_pdf_a: bool = False,
) -> RenderedCopy:
    """Writes a certified paper copy of `original` to `target` as PDF.

    The same original and marks give the same bytes. `original_is_pdf_a` says that the archive checked the original to
    be PDF/A-1 or PDF/A-2; only then, or for an image, does the copy claim PDF/A-2b. What the caller must still do:
    print, sign, seal, register.

    Raises:
        DigestMismatch: the file is not the one that `marks.original_digest` names.
        CopyNotPossible: the original cannot be placed, or a mark has a character that no font here can print.
    """
    words = words or default_words()
    _require_digest(original, marks.original_digest)
    with open_original(original) as source:
        sizes = [page_size(page) for page in source.pages]
        placed = [_place(size) for size in sizes]
        from_pdf = is_pdf(original)
        free_from = content_bottom(source.pages[-1]) if from_pdf else 1.0  # a scan's margins are never quite white
        pdf_a, note = _pdf_a_claim(source, from_pdf=from_pdf, checked=original_is_pdf_a)
        sheets = _typeset(_sheets(marks, words, placed, free_from), marks)
        page_count, (digest, size_bytes) = _assemble(sheets, source, placed, target, claim_pdf_a=pdf_a)
    return RenderedCopy(
        page_count=page_count,
        original_page_count=len(placed),
        size_bytes=size_bytes,
        digest=digest,
        sheet_codes=tuple(marks.sheet_code(sheet) for sheet in range(1, page_count + 1)),
        smallest_scale=min(place.scale for place in placed),
        own_attestation_sheet=page_count > len(placed),
        pdf_a="2b" if pdf_a else None,
        pdf_a_note=note,
        words_version=words.version,
        words_digest=words.digest,
    )


def _require_digest(original: Path, expected: Digest) -> None:
    with original.open("rb") as source:
        digest, _ = digest_stream(source)
    if digest != expected:
        raise DigestMismatch(f"original: expected {expected}, got {digest}", expected=str(expected), got=str(digest))


def _place(size: PageSize) -> _Placed:
    """Returns where a page goes: at the top of the frame, centred, never enlarged.

    A page lies on a portrait sheet unless a landscape one shows it larger.
    """
    width, height = size.width * MM_PER_PT, size.height * MM_PER_PT

    def scale_on(sheet: tuple[float, float]) -> float:
        return min(1.0, (sheet[0] - 2 * SIDE) / width, (sheet[1] - TOP - BOTTOM) / height)

    sheet = max(A4, A4[::-1], key=scale_on)
    scale = scale_on(sheet)
    return _Placed(
        sheet_width=sheet[0],
        sheet_height=sheet[1],
        x=(sheet[0] - width * scale) / 2,
        y=TOP,
        width=width * scale,
        height=height * scale,
        scale=scale,
    )


# ------------------------------------------------------------------ what the template is told


def _sheets(marks: CopyMarks, words: CopyWords, placed: list[_Placed], free_from: float) -> dict[str, Any]:
    """Returns the template's data: JSON values, all text in NFC."""
    texts = words.words
    value = {
        "words": texts,
        "geometry": {"side": SIDE, "qr": QR, "bottom": BOTTOM},
        "qr": _qr_svg(words.qr.text(marks), words.qr.error_level),
        "title": f"{words.forms[marks.form]} {marks.number_text}: {marks.document_title}",
        "form": words.forms[marks.form],
        "number": marks.number_text,
        "agency": marks.agency_name,
        "parent_agency": marks.parent_agency_name,
        "place_and_date": _place_and_date(marks),
        "copy_code": marks.copy_code,
        "code_label": texts["result_code"] if marks.result_code else texts["dossier_code"],
        "code": marks.result_code or marks.dossier_code,
        "archive_code": marks.archive_code,
        "verify_url": marks.verify_url,
        "system": marks.system_name,
        "owner": marks.owner_name,
        "signer_name": marks.signer_name or marks.converter_name,
        "signer_position": marks.signer_position or marks.converter_position,
        "recipients": list(marks.recipients),
        "rows": _rows(marks, texts),
        "original_pages": len(placed),
        "pages": [_page(marks, texts, placed, index, free_from) for index in range(len(placed))],
        "own_sheet": _own_sheet(marks, texts, len(placed) + 1),
    }
    return {name: _nfc(part) for name, part in value.items()}


def _nfc(value: Any) -> Any:  # JSON values are Any by nature
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, list):
        return [_nfc(part) for part in value]
    if isinstance(value, dict):
        return {name: _nfc(part) for name, part in value.items()}
    return value


def _place_and_date(marks: CopyMarks) -> str:
    """Returns place and date as official papers write them.

    Days and months 1 and 2 with a leading zero (NĐ 30/2020).
    """
    day = marks.issued_local
    month = f"{day.month:02d}" if day.month <= MONTHS_WITH_ZERO else str(day.month)
    return f"{marks.place}, ngày {day.day:02d} tháng {month} năm {day.year}"


MONTHS_WITH_ZERO: Final = 2
"""NĐ 30/2020 phụ lục I: numbers of days below 10 and of the months 1 and 2 are written with 0 in front."""


def _rows(marks: CopyMarks, texts: dict[str, str]) -> list[list[str | bool]]:
    """Returns name, value and whether it is a code, for every line of the conversion's facts."""
    title = f"{marks.document_number}: {marks.document_title}" if marks.document_number else marks.document_title
    rows = [
        (texts["document"], title, False),
        (texts["archive_code"], marks.archive_code, True),
        (texts["dossier_code"], marks.dossier_code, True),
        (texts["result_code"], marks.result_code, True),
        (texts["system"], marks.system_name, False),
        (texts["owner"], marks.owner_name, False),
        (texts["converted_at"], marks.issued_local.isoformat(timespec="seconds"), True),
        (texts["converter"], f"{marks.converter_name}, {marks.converter_position}", False),
        (texts["signatures"], "\n".join(marks.signature_notes) or None, False),
        (texts["copy_code"], marks.copy_code, True),
        (texts["lookup"], marks.verify_url, True),
        (texts["digest"], _in_groups(marks.original_digest.hex), True),
    ]
    return [[name, value, code] for name, value, code in rows if value is not None]


def _in_groups(hex_value: str) -> str:
    return " ".join(hex_value[start : start + 8] for start in range(0, len(hex_value), 8))


def _page(
    marks: CopyMarks, texts: dict[str, str], placed: list[_Placed], index: int, free_from: float
) -> dict[str, Any]:
    place, sheet = placed[index], index + 1
    frame = {"x": place.x, "y": place.y, "width": place.width, "height": place.height}
    used = min(place.height, place.height * free_from + GAP)
    caption = f"{texts['original_page']} {sheet}/{len(placed)} · {texts['scale']} {place.scale * 100:.0f} %"
    return {
        "width": place.sheet_width,
        "height": place.sheet_height,
        "sheet": sheet,
        "code": marks.sheet_code(sheet),
        "caption": caption,
        "frame": frame,
        "cut_frame": {**frame, "height": used},
        "block_top": place.y + used + GAP,
    }


def _own_sheet(marks: CopyMarks, texts: dict[str, str], sheet: int) -> dict[str, Any]:
    return {
        "width": A4[0],
        "height": A4[1],
        "sheet": sheet,
        "code": marks.sheet_code(sheet),
        "caption": texts["attestation_sheet"],
        "frame": None,
        "block_top": TOP + GAP,
    }


def _qr_svg(content: str, error_level: str) -> str:
    """Returns the QR code (ISO/IEC 18004), in UTF-8 where the content needs it."""
    import segno

    out = BytesIO()
    code = segno.make(content, error=error_level.lower(), micro=False, boost_error=True)
    code.save(out, kind="svg", border=4, xmldecl=False, nl=False)
    return out.getvalue().decode("utf-8")


# ------------------------------------------------------------------ typesetting and assembly


@cache
def shipped_fonts() -> Any:
    """Returns the only fonts that may be used: both Noto families, complete in Vietnamese.

    No system font, none of typst's.
    """
    import fontpkg_noto_sans
    import fontpkg_noto_serif
    import typst

    folders = [str(fontpkg_noto_serif.ROOT), str(fontpkg_noto_sans.ROOT)]
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=folders)


def _typeset(sheets: dict[str, Any], marks: CopyMarks) -> bytes:
    """Returns the sheets as PDF/A-2b, for which typst refuses a character without a glyph instead of printing a box."""
    import typst

    template = resources.files("archive_service.copies").joinpath("templates", "copy.typ").read_bytes()
    try:
        content, warnings = typst.compile_with_warnings(
            template,
            font_paths=shipped_fonts(),
            sys_inputs={"sheets": json.dumps(sheets, ensure_ascii=False)},
            pdf_standards="a-2b",
            pdf_tags=False,
            timestamp=int(marks.issued_at.timestamp()),
        )
    except typst.TypstError as exc:
        raise CopyNotPossible(f"the marks cannot be set: {exc}", reason="marks_not_printable") from exc
    if warnings or not isinstance(content, bytes):
        raise CopyNotPossible(f"the marks cannot be set: {warnings}", reason="marks_not_printable")
    return content


def _assemble(
    sheets: bytes, source: "pikepdf.Pdf", placed: list[_Placed], target: BinaryIO, *, claim_pdf_a: bool
) -> tuple[int, tuple[Digest, int]]:
    """Places the pages on the sheets and writes the copy; returns the number of sheets, digest and size in bytes."""
    import pikepdf

    running = RunningDigest()
    with pikepdf.open(BytesIO(sheets)) as copy, tempfile.TemporaryFile() as made:
        if not claim_pdf_a:
            _withdraw_pdf_a_claim(copy)
        try:
            if (layers := source.Root.get("/OCProperties")) is not None:  # without it, hidden layers would show
                copy.Root.OCProperties = copy.copy_foreign(source.make_indirect(layers))
            for index, place in enumerate(placed):
                put_page(copy.pages[index], source.pages[index], name=f"/Original{index}", rectangle=_rectangle(place))
            copy.save(made, deterministic_id=True, object_stream_mode=pikepdf.ObjectStreamMode.generate)
        except (pikepdf.PikepdfError, *ODD_PDF) as exc:
            raise CopyNotPossible(f"the original's pages cannot be placed: {exc}", reason="damaged") from exc
        page_count = len(copy.pages)
        made.seek(0)
        for chunk in chunks(made):
            running.update(chunk)
            target.write(chunk)
    return page_count, (running.digest(), running.size_bytes)


def _withdraw_pdf_a_claim(copy: "pikepdf.Pdf") -> None:
    with copy.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
        for claim in ("pdfaid:part", "pdfaid:conformance"):
            if claim in metadata:
                del metadata[claim]


def _rectangle(place: _Placed) -> "pikepdf.Rectangle":
    import pikepdf

    top = place.sheet_height - place.y
    corners = (place.x, top - place.height, place.x + place.width, top)
    return pikepdf.Rectangle(*(value / MM_PER_PT for value in corners))


def _pdf_a_claim(source: "pikepdf.Pdf", *, from_pdf: bool, checked: bool) -> tuple[bool, str]:
    """Returns whether the copy may claim PDF/A-2b, and why: what is placed on the sheets must hold to it too."""
    import pikepdf

    if not from_pdf:
        return True, "image original: everything in the copy was written here, in sRGB or grey"
    if not checked:
        return False, "the original is not known to be PDF/A, so its pages may hold what PDF/A-2b forbids"
    for intent in source.Root.get("/OutputIntents", pikepdf.Array()):
        profile = intent.get("/DestOutputProfile")
        if profile is not None and int(profile.get("/N", 0)) != RGB_CHANNELS:
            return False, "the original's output intent is not RGB, the copy's is sRGB"
    return True, "the original was checked to be PDF/A"


RGB_CHANNELS: Final = 3
