"""What a PDF signature looks like on the page (R036), apart from whether it holds: shown or not, where, and in what form.

NĐ 30/2020 annex I prescribes a person's signature as a picture in blue without background, an agency's seal in red over the left
third of it, and for copies and attachments a text at the top right. Colours and drawings inside a picture are not judged; size,
place and kind are.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import enumerate_sig_fields

from archive_service.findings import Finding
from archive_service.signatures.pades import PDF_UNREADABLE

HIDDEN_FLAGS: Final = 0x02 | 0x20
"""Annotation flags Hidden and NoView (ISO 32000-2 table 167)."""
MAX_FIELDS: Final = 100
"""Signature fields looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """How one signature field appears."""

    field_name: str
    visible: bool
    width_pt: float
    height_pt: float
    left_pt: float
    bottom_pt: float
    has_image: bool
    """The appearance draws a picture (a signature or a seal)."""
    has_text: bool


def appearances(path: Path) -> tuple[Appearance, ...]:
    """Returns the appearance of every signed field; none when the file cannot be read as a PDF.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as stream:
        try:
            reader = PdfFileReader(stream, strict=False)
            found = []
            for name, _, sig_field in enumerate_sig_fields(reader, filled_status=True):
                found.append(_appearance(str(name), sig_field.get_object()))
                if len(found) >= MAX_FIELDS:
                    break
        except PDF_UNREADABLE:
            return ()
    return tuple(found)


def _appearance(name: str, field: Any) -> Appearance:
    widget = field["/Kids"][0] if "/Rect" not in field and "/Kids" in field else field
    left, bottom, right, top = (float(value) for value in _entry(widget, "/Rect", (0, 0, 0, 0)))
    flags = int(_entry(widget, "/F", 0))
    width, height = abs(right - left), abs(top - bottom)
    normal = widget["/AP"]["/N"] if "/AP" in widget and "/N" in widget["/AP"] else None
    images, fonts = _drawn(normal, 3)
    return Appearance(
        field_name=name,
        visible=width > 0 and height > 0 and not flags & HIDDEN_FLAGS and normal is not None,
        width_pt=width,
        height_pt=height,
        left_pt=min(left, right),
        bottom_pt=min(bottom, top),
        has_image=images,
        has_text=fonts,
    )


def _entry(dictionary: Any, key: str, default: Any) -> Any:
    """Returns an entry with indirect references followed, which pyHanko's `get` does not do."""
    return dictionary[key] if key in dictionary else default  # noqa: SIM401


def _drawn(form: Any, depth: int) -> tuple[bool, bool]:
    """Returns whether a form XObject draws an image and text, looking `depth` forms deep."""
    if form is None or depth == 0 or "/Resources" not in form:
        return False, False
    resources = form["/Resources"]
    images, fonts = False, "/Font" in resources
    drawn = _entry(resources, "/XObject", {})
    for inner in (drawn[key] for key in drawn):
        if "/Subtype" in inner and inner["/Subtype"] == "/Image":
            images = True
        else:
            deeper = _drawn(inner, depth - 1)
            images, fonts = images or deeper[0], fonts or deeper[1]
    return images, fonts


def appearance_findings(path: Path, location: str = "") -> tuple[Finding, ...]:
    """Returns one finding per signature that departs from the prescribed form; informative only (R036)."""
    found = []
    for shown in appearances(path):
        reason = ""
        if not shown.visible:
            reason = "không hiển thị trên trang / not visible on a page"
        elif not (shown.has_image or shown.has_text):
            reason = "không có hình ảnh hoặc nội dung / neither picture nor text"
        if reason:
            params = {"name": shown.field_name, "reason": reason}
            found.append(Finding(code="SIGNATURE_APPEARANCE", location=location, params=params))
    return tuple(found)
