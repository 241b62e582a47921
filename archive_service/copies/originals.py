"""Archived originals as pages to place on a sheet: PDF as it is, JPEG, PNG and TIFF as pages of their own size.

The file on disk is only read. What a viewer shows besides the page content - form fields, visible signatures - is drawn
into the page in memory, for it belongs to what the document shows. Files come from outside: every way in which they can
be odd ends in `CopyNotPossible` with a reason.
"""

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from archive_service.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pikepdf
    from PIL.Image import Image

MAX_PAGES: Final = 2000
"""More paper than a certified copy is ever made of; a copy of that length is made in parts."""

MAX_SIDE_PT: Final = 14_400.0
"""Largest page side in points (ISO 32000-1 annex C.2: 200 inches); anything above is an attack or damage."""

MIN_SIDE_PT: Final = 3.0
"""Smallest page side in points (ISO 32000-1 annex C.2)."""

MAX_IMAGE_PIXELS: Final = 89_000_000
"""An A1 drawing at 300 dpi has 70 million; larger ones are treated as decompression bombs, as Pillow does by itself."""

MAX_IMAGE_FRAMES: Final = 200
"""Pages of a multi-page TIFF; each is decoded into memory before it is written."""

DEFAULT_DPI: Final = 200.0
"""Resolution of an image that does not say one: the least a scan may have (TT 05/2025 Điều 8)."""

PLAUSIBLE_DPI: Final = (30.0, 2400.0)
"""Resolutions outside are mistakes of the camera or scanner."""

_PDF_HEAD_BYTES: Final = 1024
"""The header may stand anywhere in the first 1024 bytes (ISO 32000-1 annex H.3)."""

ODD_PDF: Final = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RuntimeError)
"""What pikepdf raises besides its own errors when objects are of another kind than they should be."""

_PDFIUM: Final = threading.Lock()
"""pypdfium2 is not thread-safe."""


class CopyNotPossible(ArchiveError):
    """No copy can be made of this original; `reason` says why in one word."""

    code: ClassVar[str] = "COPY_NOT_POSSIBLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSize:
    """Size of a page as it is shown, in points."""

    width: float
    height: float


@contextmanager
def open_original(path: Path) -> "Iterator[pikepdf.Pdf]":
    """Opens an original as a PDF in memory whose pages show all that the original shows.

    Raises:
        CopyNotPossible: not a PDF, JPEG, PNG or TIFF; encrypted, damaged, without pages, or beyond a limit of this
        module.
    """
    with path.open("rb") as source:
        head = source.read(_PDF_HEAD_BYTES)
    with _open_pdf(path) if b"%PDF-" in head else _open_image(path) as pdf:
        yield pdf


def is_pdf(path: Path) -> bool:
    """Returns whether the file claims to be a PDF."""
    with path.open("rb") as source:
        return b"%PDF-" in source.read(_PDF_HEAD_BYTES)


# ------------------------------------------------------------------ PDF


@contextmanager
def _open_pdf(path: Path) -> "Iterator[pikepdf.Pdf]":
    import pikepdf

    try:
        pdf = pikepdf.open(path)
    except pikepdf.PasswordError as exc:
        raise CopyNotPossible("the original is encrypted", reason="encrypted") from exc
    except (pikepdf.PikepdfError, *ODD_PDF) as exc:
        reason = "encrypted" if "encrypt" in str(exc).lower() else "damaged"  # by a scheme that qpdf does not know
        message = str(exc).replace(str(path), "").strip(" :")
        raise CopyNotPossible(f"the original cannot be read as PDF: {message}", reason=reason) from exc
    with pdf:
        try:
            _refuse_unusable(pdf)
            _draw_annotations(pdf)
            for page in pdf.pages:
                _show_crop_box(page)
        except (pikepdf.PikepdfError, *ODD_PDF) as exc:
            raise CopyNotPossible(f"the original's pages cannot be read: {exc}", reason="damaged") from exc
        yield pdf


def _refuse_unusable(pdf: "pikepdf.Pdf") -> None:
    if pdf.is_encrypted:
        raise CopyNotPossible("the original is encrypted", reason="encrypted")
    if len(pdf.pages) == 0:
        raise CopyNotPossible("the original has no pages", reason="no_pages")
    if len(pdf.pages) > MAX_PAGES:
        raise CopyNotPossible(f"the original has {len(pdf.pages)} pages, at most {MAX_PAGES}", reason="too_many_pages")


def _draw_annotations(pdf: "pikepdf.Pdf") -> None:
    """Draws form fields and visible signatures into the pages, for a page placed on a sheet carries no annotations."""
    form = pdf.Root.get("/AcroForm")
    if form is not None and form.get("/NeedAppearances", False):
        pdf.generate_appearance_streams()
    pdf.flatten_annotations("all")


def _show_crop_box(page: "pikepdf.Page") -> None:
    """Makes the box that is placed the one that viewers show: the crop box within the media box."""
    import pikepdf

    media, crop = pikepdf.Rectangle(page.mediabox), pikepdf.Rectangle(page.cropbox)
    box = pikepdf.Rectangle(
        max(media.llx, crop.llx), max(media.lly, crop.lly), min(media.urx, crop.urx), min(media.ury, crop.ury)
    )
    if box.urx <= box.llx or box.ury <= box.lly:  # a crop box beside the page: viewers fall back to the media box
        box = media
    page.trimbox = box.as_array()
    unit = _user_unit(page)
    for side in (box.width * unit, box.height * unit):
        if not MIN_SIDE_PT <= side <= MAX_SIDE_PT:
            raise CopyNotPossible(f"a page of the original has a side of {side:g} points", reason="page_size")


def _user_unit(page: "pikepdf.Page") -> float:
    return float(page.obj.get("/UserUnit", 1))


def page_size(page: "pikepdf.Page") -> PageSize:
    """Returns the size of a page of an opened original as it is shown, rotation included."""
    import pikepdf

    box, unit = pikepdf.Rectangle(page.trimbox), _user_unit(page)
    width, height = box.width * unit, box.height * unit
    turned = page.rotation % 180 != 0
    return PageSize(width=height, height=width) if turned else PageSize(width=width, height=height)


def put_page(sheet: "pikepdf.Page", page: "pikepdf.Page", *, name: str, rectangle: "pikepdf.Rectangle") -> None:
    """Draws a page under what the sheet already shows, turned upright, filling `rectangle` as far as its shape allows.

    `name` must be new in the sheet's file: sheets may share their resources, and a given name keeps the bytes the same.
    """
    import pikepdf

    form = page.as_form_xobject().with_same_owner_as(sheet.obj)
    placed = sheet.add_resource(form, pikepdf.Name.XObject, pikepdf.Name(name), replace_existing=False)
    drawing = sheet.calc_form_xobject_placement(
        form, placed, rectangle, invert_transformations=True, allow_shrink=True, allow_expand=True
    )
    sheet.contents_add(drawing, prepend=True)
    sheet.contents_coalesce()


_RENDER_DPI: Final = 72
_RENDER_MAX_SIDE: Final = 3000
"""Pixels; keeps the bitmap of the largest page below 10 MB."""
_WHITE: Final = 253
"""Grey values from here on count as empty paper."""


def content_bottom(page: "pikepdf.Page") -> float:
    """Returns how far down a page of an opened original is used, as a part of its height; 1 when it cannot be told.

    What is measured is the page as it will be placed, drawn alone.
    """
    import pikepdf
    import pypdfium2

    size = page_size(page)
    with pikepdf.new() as alone:
        sheet = alone.add_blank_page(page_size=(size.width, size.height))
        put_page(sheet, page, name="/Original", rectangle=pikepdf.Rectangle(0, 0, size.width, size.height))
        drawn = BytesIO()
        alone.save(drawn)
    with _PDFIUM:
        try:
            with pypdfium2.PdfDocument(drawn.getvalue()) as document:
                only = document[0]
                scale = min(_RENDER_DPI / 72, _RENDER_MAX_SIDE / max(only.get_size()))
                image = only.render(scale=scale, grayscale=True).to_pil().convert("L")
        except (pypdfium2.PdfiumError, ValueError, MemoryError):
            return 1.0
    used = image.point([255 if grey < _WHITE else 0 for grey in range(256)]).getbbox()
    return 0.0 if used is None else float(used[3] / image.height)


# ------------------------------------------------------------------ images

_ORIENTED: Final = {
    1: (1, 0, 0, 1, 0, 0),
    2: (-1, 0, 0, 1, 1, 0),
    3: (-1, 0, 0, -1, 1, 1),
    4: (1, 0, 0, -1, 0, 1),
    5: (0, -1, -1, 0, 1, 1),
    6: (0, -1, 1, 0, 0, 1),
    7: (0, 1, 1, 0, 0, 0),
    8: (0, 1, -1, 0, 1, 0),
}
"""EXIF orientation to the matrix that turns the stored unit square into the shown one."""

_TURNED: Final = frozenset({5, 6, 7, 8})
_EXIF_ORIENTATION: Final = 0x0112


@contextmanager
def _open_image(path: Path) -> "Iterator[pikepdf.Pdf]":
    import pikepdf
    from PIL import Image, UnidentifiedImageError

    with pikepdf.new() as pdf:
        try:
            with Image.open(path, formats=("JPEG", "PNG", "TIFF")) as image:
                _refuse_large(image)
                for frame in range(getattr(image, "n_frames", 1)):
                    image.seek(frame)
                    _refuse_large(image)
                    _add_image_page(pdf, image, path)
        except UnidentifiedImageError as exc:
            raise CopyNotPossible("the original is neither PDF nor JPEG, PNG or TIFF", reason="unknown_format") from exc
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
            raise CopyNotPossible(f"the original is too large an image: {exc}", reason="image_too_large") from exc
        except (OSError, SyntaxError, EOFError, *ODD_PDF) as exc:
            raise CopyNotPossible(f"the original cannot be read as an image: {exc}", reason="damaged") from exc
        yield pdf


def _refuse_large(image: "Image") -> None:
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise CopyNotPossible(f"the original is an image of {width} x {height} pixels", reason="image_too_large")
    if getattr(image, "n_frames", 1) > MAX_IMAGE_FRAMES:
        raise CopyNotPossible(f"the original has more than {MAX_IMAGE_FRAMES} images", reason="too_many_pages")


def _add_image_page(pdf: "pikepdf.Pdf", image: "Image", path: Path) -> None:
    import pikepdf

    orientation = int(image.getexif().get(_EXIF_ORIENTATION, 1))
    stored = _image_object(pdf, image, path)
    size = _image_size(image, turned=orientation in _TURNED)
    page = pdf.add_blank_page(page_size=(size.width, size.height))
    name = page.add_resource(stored, pikepdf.Name.XObject, pikepdf.Name.Im0)
    a, b, c, d, e, f = _ORIENTED.get(orientation, _ORIENTED[1])
    wide, high = size.width, size.height
    matrix = " ".join(f"{value:.4f}" for value in (a * wide, b * high, c * wide, d * high, e * wide, f * high))
    page.contents_add(f"q {matrix} cm {name} Do Q".encode("ascii"))


def _image_size(image: "Image", *, turned: bool) -> PageSize:
    """Returns the size of the image on paper by its resolution, kept within what a page may have."""
    dpi = image.info.get("dpi", (DEFAULT_DPI, DEFAULT_DPI))
    across, down = (float(value) if PLAUSIBLE_DPI[0] <= value <= PLAUSIBLE_DPI[1] else DEFAULT_DPI for value in dpi[:2])
    width, height = image.width * 72 / across, image.height * 72 / down
    shrink = min(1.0, MAX_SIDE_PT / max(width, height))
    width, height = max(width * shrink, MIN_SIDE_PT), max(height * shrink, MIN_SIDE_PT)
    return PageSize(width=height, height=width) if turned else PageSize(width=width, height=height)


def _image_object(pdf: "pikepdf.Pdf", image: "Image", path: Path) -> "pikepdf.Stream":
    """Returns the image as a PDF object: a grey or RGB JPEG goes in byte for byte, everything else as its pixels."""
    import pikepdf

    if image.format == "JPEG" and image.mode in {"L", "RGB"}:
        image.load()  # a JPEG that breaks off is found here, not on paper
        content, pixels = path.read_bytes(), image
        stream = pikepdf.Stream(pdf, content, Filter=pikepdf.Name.DCTDecode)
    else:
        pixels = _plain(image)
        stream = pikepdf.Stream(pdf, pixels.tobytes())
    stream.Type, stream.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
    stream.Width, stream.Height, stream.BitsPerComponent = pixels.width, pixels.height, 8
    stream.ColorSpace = pikepdf.Name.DeviceGray if pixels.mode == "L" else pikepdf.Name.DeviceRGB
    return stream


def _plain(image: "Image") -> "Image":
    """Returns the pixels in grey or RGB, transparent parts on white as on paper."""
    from PIL import Image as Images

    if image.mode in {"1", "L"}:
        return image.convert("L")
    if image.mode.startswith("I"):  # 16 bit grey
        return image.point(lambda value: value / 256).convert("L")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        over = image.convert("RGBA")
        paper = Images.new("RGBA", over.size, "white")
        return Images.alpha_composite(paper, over).convert("RGB")
    return image.convert("RGB")
