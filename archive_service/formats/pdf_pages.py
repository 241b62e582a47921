"""What the pages of a scanned PDF look like: resolution, colour, text layer (R022, TT 05/2025 article 8).

Resolution is that of an image as placed on the page: pixels over inches after the page's transformations, so a page
size that was faked in the scanner's header does not help. The page content is interpreted only as far as needed:
graphics state nesting, `cm`, images (also inside forms), and whether any text is shown.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import pikepdf

from archive_service.formats.limits import Limits

Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: Final[Matrix] = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
_POINTS_PER_INCH: Final = 72.0
_FORM_DEPTH: Final = 8
_OPERATORS_PER_PAGE: Final = 100_000
"""Operators read of one page; a scanned page with a text layer has a few thousand."""
_COVERS: Final = 0.3
"""A scan covers at least this part of the page; smaller images are stamps and logos."""
_TEXT: Final = frozenset({"Tj", "TJ", "'", '"'})
_OPERATORS: Final = "q Q cm Do Tj TJ ' \" BI ID EI INLINE IMAGE"


@dataclass(slots=True)
class PageSurvey:
    """What the pages of one PDF showed."""

    pages: int = 0
    """Pages read."""
    scanned_pages: int = 0
    """Pages with an image that covers most of them."""
    without_text: int = 0
    """Scanned pages that show no text at all."""
    lowest_dpi: float | None = None
    """Lowest resolution of a page-covering image."""
    bits: set[int] = field(default_factory=set)
    """Bits of a pixel of page-covering images."""
    grey: int = 0
    """Page-covering images that carry no colour."""


@dataclass(slots=True)
class _Page:
    area: float
    images: list[tuple[Any, Matrix]] = field(default_factory=list)  # pikepdf streams
    text: bool = False
    operators: int = 0


def survey_pages(pdf: pikepdf.Pdf, limits: Limits) -> PageSurvey:
    """Reads every page's content up to the limits.

    Raises:
        pikepdf.PdfError: a content stream cannot be decoded.
    """
    survey = PageSurvey()
    for page in pdf.pages:
        if survey.pages >= limits.pdf_pages:
            break
        survey.pages += 1
        _add(survey, _read(page))
    return survey


def _read(page: pikepdf.Page) -> _Page:
    box = [float(value) for value in page.mediabox]
    unit = float(page.obj.get("/UserUnit", 1))
    seen = _Page(area=abs((box[2] - box[0]) * (box[3] - box[1])) * unit * unit)
    _interpret(page.obj, page.obj.get("/Resources", pikepdf.Dictionary()), (unit, 0, 0, unit, 0, 0), seen, 0)
    return seen


def _interpret(content: Any, resources: Any, start: Matrix, seen: _Page, depth: int) -> None:
    """Walks one content stream; `content` is a page or a form."""
    stack: list[Matrix] = []
    current = start
    for instruction in pikepdf.parse_content_stream(content, _OPERATORS):
        seen.operators += 1
        if seen.operators > _OPERATORS_PER_PAGE:
            return
        operator = str(instruction.operator)
        if operator == "q":
            stack.append(current)
        elif operator == "Q":
            current = stack.pop() if stack else start
        elif operator == "cm":
            current = _multiply(_matrix(instruction.operands), current)
        elif operator == "INLINE IMAGE":
            seen.images.append((instruction.operands[0], current))
        elif operator in _TEXT:
            seen.text = True
        elif operator == "Do":
            _draw(instruction.operands[0], resources, current, seen, depth)


def _draw(name: Any, resources: Any, current: Matrix, seen: _Page, depth: int) -> None:
    drawn = resources.get("/XObject", pikepdf.Dictionary()).get(name)
    if not isinstance(drawn, pikepdf.Stream):
        return
    if drawn.get("/Subtype") == "/Image":
        seen.images.append((drawn, current))
    elif drawn.get("/Subtype") == "/Form" and depth < _FORM_DEPTH:
        inner = _multiply(_matrix(drawn.get("/Matrix", _IDENTITY)), current)
        _interpret(drawn, drawn.get("/Resources", resources), inner, seen, depth + 1)


def _matrix(values: Any) -> Matrix:
    numbers = [float(value) for value in values]
    return (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5])


def _multiply(m: Matrix, n: Matrix) -> Matrix:
    """Returns the transformation m followed by n (ISO 32000-1, 8.3.4)."""
    return (
        m[0] * n[0] + m[1] * n[2],
        m[0] * n[1] + m[1] * n[3],
        m[2] * n[0] + m[3] * n[2],
        m[2] * n[1] + m[3] * n[3],
        m[4] * n[0] + m[5] * n[2] + n[4],
        m[4] * n[1] + m[5] * n[3] + n[5],
    )


def _add(survey: PageSurvey, page: _Page) -> None:
    covering = [(image, matrix) for image, matrix in page.images if _area(matrix) >= _COVERS * page.area > 0]
    pieces = [(image, matrix) for image, matrix in page.images if _area(matrix) > 0]
    # a scanner may cut a page into strips, none of which covers it alone
    scans = covering or (pieces if sum(_area(matrix) for _, matrix in pieces) >= _COVERS * page.area > 0 else [])
    if not scans:
        return
    survey.scanned_pages += 1
    survey.without_text += not page.text
    for image, matrix in scans:
        dpi = _dpi(image, matrix)
        if dpi is not None and (survey.lowest_dpi is None or dpi < survey.lowest_dpi):
            survey.lowest_dpi = dpi
    bits, colour = max(_colour(image) for image, _ in scans)
    survey.bits.add(bits)
    survey.grey += not colour


def _area(matrix: Matrix) -> float:
    return abs(matrix[0] * matrix[3] - matrix[1] * matrix[2])


def _dpi(image: Any, matrix: Matrix) -> float | None:
    width, height = int(_entry(image, "/Width", "/W", 0)), int(_entry(image, "/Height", "/H", 0))
    across, up = math.hypot(matrix[0], matrix[1]), math.hypot(matrix[2], matrix[3])
    if across <= 0 or up <= 0:
        return None
    return min(width / across, height / up) * _POINTS_PER_INCH


def _colour(image: Any) -> tuple[int, bool]:
    """Returns bits of a pixel and whether the image can carry colour."""
    if _entry(image, "/ImageMask", "/IM", pikepdf.Object.parse(b"false")):
        return 1, False
    bits = int(_entry(image, "/BitsPerComponent", "/BPC", 8))
    components = _components(_entry(image, "/ColorSpace", "/CS", None), 0)
    if components is None:  # JPEG 2000 keeps its colour space inside
        return 24, True
    return bits * components, components > 1


_SPACES: Final = {
    "/DeviceGray": 1, "/G": 1, "/CalGray": 1, "/Separation": 1,
    "/DeviceRGB": 3, "/RGB": 3, "/CalRGB": 3, "/Lab": 3,
    "/DeviceCMYK": 4, "/CMYK": 4,
}  # fmt: skip


def _components(space: Any, depth: int) -> int | None:
    """Returns the number of components of a colour space; an indexed one counts as its base."""
    if space is None or depth > _FORM_DEPTH:
        return None
    if isinstance(space, pikepdf.Name):
        return _SPACES.get(str(space))
    family = str(space[0])
    if family == "/ICCBased":
        return int(space[1].get("/N", 3))
    if family in {"/Indexed", "/I"}:
        return _components(space[1], depth + 1)
    if family == "/DeviceN":
        return len(space[1])
    return _SPACES.get(family)


def _entry(image: Any, long: str, short: str, default: Any) -> Any:
    """Reads an image's dictionary entry; inline images use abbreviated keys (ISO 32000-1, table 93)."""
    source = image.obj if hasattr(image, "obj") else image
    value = source.get(long)
    if value is None:
        value = source.get(short)
    return default if value is None else value
