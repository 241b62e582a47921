"""PDF/A page content: colours, operators and resources that are really used (6.2, 6.3, 6.4; parts 2 and 3: 6.2).

Only what a page, its forms, patterns, Type 3 glyphs and annotation appearances reach counts: an object that is listed
in a resources dictionary and never used breaks no rule. Glyph widths inside font programs are not looked at.
"""

from decimal import Decimal
from typing import Any, Final

import pikepdf

from archive_service.formats.limits import Limits
from archive_service.formats.pdf import name_text
from archive_service.formats.pdfa_colour import (
    Separations,
    colorant_problems,
    is_transparent,
    profile_problems,
    state_problems,
)
from archive_service.formats.pdfa_file import hex_problems, value_problems
from archive_service.formats.pdfa_jpx import ENUM_CMYK, jpx_problems, read_header
from archive_service.formats.pdfa_stream import OPERATORS, appearances, lexed_contents, resource, shown_codes
from archive_service.formats.pdfa_xmp import Problem

MAX_STATE_DEPTH: Final = 28
MAX_COLORANTS: Final = 8
MAX_LATER_COLORANTS: Final = 32
_DEPTHS: Final = frozenset({1, 2, 4, 8, 16})
_INLINE_FILTERS: Final = frozenset(
    {"/ASCIIHexDecode", "/AHx", "/ASCII85Decode", "/A85", "/FlateDecode", "/Fl", "/RunLengthDecode", "/RL", "/CCITTFaxDecode",
     "/CCF", "/DCTDecode", "/DCT"}
)  # fmt: skip
_MAX_NESTING: Final = 12
_INTENTS: Final = frozenset({"/RelativeColorimetric", "/AbsoluteColorimetric", "/Perceptual", "/Saturation"})
_COLOUR_OPERATORS: Final = {"g": "Gray", "G": "Gray", "rg": "RGB", "RG": "RGB", "k": "CMYK", "K": "CMYK"}
_DEVICE: Final = {
    "/DeviceGray": "Gray", "/G": "Gray", "/DeviceRGB": "RGB", "/RGB": "RGB", "/DeviceCMYK": "CMYK", "/CMYK": "CMYK",
}  # fmt: skip
_SHOWING: Final = frozenset({"Tj", "TJ", "'", '"'})
_INVISIBLE: Final = 3
"""Text rendering mode 3 shows nothing: the OCR layer of a scan."""


class ContentWalk:
    """Walks everything a document shows and keeps what is wrong."""

    def __init__(self, output: str | None, part: int, limits: Limits) -> None:
        self.output = output
        """Colour space of the output intent's profile: RGB, CMYK, Gray; None without an output intent."""
        self.part = part
        self.left = limits.pdf_objects * 10
        """Operators still read; a bound on hostile content."""
        self.problems: dict[Problem, None] = {}
        """What is wrong, by clauses of part 1."""
        self.later: dict[Problem, None] = {}
        """What parts 2 and 3 alone say is wrong, by clauses of part 2."""
        self.fonts: dict[int, Any] = {}
        """Fonts that show visible text, by identity of their dictionary."""
        self.shown: dict[int, Any] = {}
        """Fonts that show any text."""
        self.codes: dict[int, set[int]] = {}
        """Character codes shown with each font; of composite fonts with an Identity CMap and of simple fonts only."""
        self._separations = Separations()
        self._borrows = False
        """Whether what is read now has no resources of its own and takes those of the page."""
        self._transparent = False
        self._see_through: set[tuple[object, object]] = set()
        """Streams that paint something transparent."""
        self._seen: set[tuple[object, object]] = set()

    def add(self, clause: str, what: str) -> None:
        """Keeps a problem once."""
        self.problems.setdefault((clause, what))

    def add_later(self, clause: str, what: str) -> None:
        """Keeps a problem that is one under part 2 and 3 only."""
        if self.part > 1:
            self.later.setdefault((clause, what))

    def page(self, page: pikepdf.Page) -> None:
        """Walks one page with its annotations' appearances."""
        self._transparent = False
        self._walk_page(page)
        group = page.obj.get("/Group")
        blending = group.get("/CS") if isinstance(group, pikepdf.Dictionary) else None
        if self.part > 1 and blending is not None:
            self._space(blending, page.obj.get("/Resources", pikepdf.Dictionary()), 0)
        elif self._transparent and self.output is None:
            self.add_later("6.2.10", "transparency on a page without a blending colour space")

    def _find(self, resources: Any, category: str, name: Any) -> Any:
        found = resource(resources, category, name)
        if found is not None and self._borrows:
            self.add_later("6.2.2", "a form or pattern that takes resources from the page")
        return found

    def _enter(self, stream: Any, resources: Any, depth: int) -> None:
        """Reads a form or pattern inside what is read now."""
        before, self._borrows = self._borrows, "/Resources" not in stream
        self._stream(stream, stream.get("/Resources", resources), depth + 1)
        self._borrows = before

    def _walk_page(self, page: pikepdf.Page) -> None:
        resources = page.obj.get("/Resources", pikepdf.Dictionary())
        for content in lexed_contents(page.obj.get("/Contents")):
            for clause, what in hex_problems(content):
                self.add(clause, what)
        self._stream(page.obj, resources, 0)
        for annotation in page.obj.get("/Annots", []):
            if isinstance(annotation, pikepdf.Dictionary):
                for appearance in appearances(annotation.get("/AP")):
                    self._form(appearance, resources, 0)

    def _stream(self, content: Any, resources: Any, depth: int) -> None:
        key = (content.objgen, getattr(resources, "objgen", None) if content.objgen != (0, 0) else id(content))
        if key in self._seen or depth > _MAX_NESTING or self.left <= 0:
            self._transparent |= key in self._see_through
            return
        self._seen.add(key)
        before, self._transparent = self._transparent, False
        self._interpret(content, resources, depth)
        if self._transparent:
            self._see_through.add(key)
        self._transparent |= before

    def _interpret(self, content: Any, resources: Any, depth: int) -> None:
        mode, font, level = 0, None, 0
        stack: list[tuple[int, Any]] = []
        for instruction in pikepdf.parse_content_stream(content):
            self.left -= 1
            operator = str(instruction.operator)
            operands = list(instruction.operands)
            if operator == "q":
                level += 1
                stack.append((mode, font))
                if level > MAX_STATE_DEPTH:
                    self.add("6.1.12", "graphics states nested deeper than 28")
            elif operator == "Q" and stack:
                level -= 1
                mode, font = stack.pop()
            elif operator == "Tr":
                mode = int(operands[0])
            elif operator == "Tf":
                font = self._find(resources, "/Font", operands[0])
            elif operator in _SHOWING:
                self._show(font, mode, operands, resources, depth)
            else:
                self._operator(operator, operands, resources, depth)
            if operator != "INLINE IMAGE":
                self._values(operands)

    def _values(self, operands: list[Any]) -> None:
        for operand in operands:
            if isinstance(operand, (int, float, Decimal, pikepdf.Object, str)):
                for clause, what in value_problems(operand, self.part):
                    self.add(clause, what)

    def _operator(self, operator: str, operands: list[Any], resources: Any, depth: int) -> None:
        if operator not in OPERATORS:
            self.add("6.2.10", "an operator that PDF does not define")
        elif operator in _COLOUR_OPERATORS:
            self._device(_COLOUR_OPERATORS[operator], resources)
        elif operator in {"cs", "CS"}:
            self._space(operands[0], resources, 0)
        elif operator in {"scn", "SCN"}:
            self._pattern(operands, resources, depth)
        elif operator == "ri":
            self._intent(operands[0])
        elif operator in {"sh", "gs", "Do", "INLINE IMAGE"}:
            self._paint(operator, operands[0], resources, depth)

    def _paint(self, operator: str, operand: Any, resources: Any, depth: int) -> None:
        if operator == "sh":
            shading = self._find(resources, "/Shading", operand)
            if shading is not None:
                self._space(shading.get("/ColorSpace"), resources, 0)
        elif operator == "gs":
            self._state(self._find(resources, "/ExtGState", operand))
        elif operator == "Do":
            self._draw(self._find(resources, "/XObject", operand), resources, depth)
        else:
            self._inline(operand, resources)

    # ------------------------------------------------ colour

    def _device(self, kind: str, resources: Any) -> None:
        """A device colour needs an output intent of its kind, or a default colour space (6.2.3.3)."""
        spaces = resources.get("/ColorSpace", pikepdf.Dictionary())
        if f"/Default{kind}" in spaces:
            return
        if (self.output is None) if kind == "Gray" else (self.output != kind):
            self.add("6.2.3.3", f"Device{kind} without a fitting output intent or default colour space")

    def _space(self, space: Any, resources: Any, depth: int) -> None:
        if space is None or depth > _MAX_NESTING:
            return
        if isinstance(space, pikepdf.Name):
            if (device := _DEVICE.get(name_text(space))) is not None:
                self._device(device, resources)
                return
            named = resources.get("/ColorSpace", pikepdf.Dictionary()).get(space)
            if named is not None and named != space:
                self._space(named, resources, depth + 1)
            return
        if not isinstance(space, pikepdf.Array) or not len(space):
            return
        family = str(space[0])
        if family in {"/Indexed", "/I", "/Pattern"} and len(space) > 1:
            self._space(space[1], resources, depth + 1)
        elif family == "/ICCBased":
            for clause, what in profile_problems(space):
                self.add(clause, what)
        elif family in {"/Separation", "/DeviceN"}:
            self._spot(space, family)
            self._space(space[2], resources, depth + 1)

    def _spot(self, space: Any, family: str) -> None:
        most = MAX_COLORANTS if self.part == 1 else MAX_LATER_COLORANTS
        if family == "/DeviceN" and len(space[1]) > most:
            self.add("6.1.12", f"more than {most} colorants in DeviceN")
        problems = colorant_problems(space) if family == "/DeviceN" else self._separations.problems(space)
        for clause, what in problems if self.part > 1 else ():
            self.add_later(clause, what)

    def _pattern(self, operands: list[Any], resources: Any, depth: int) -> None:
        if not operands or not isinstance(operands[-1], pikepdf.Name):
            return
        pattern = self._find(resources, "/Pattern", operands[-1])
        if isinstance(pattern, pikepdf.Stream):
            self._enter(pattern, resources, depth)
        elif isinstance(pattern, pikepdf.Dictionary) and "/Shading" in pattern:
            self._space(pattern["/Shading"].get("/ColorSpace"), resources, 0)
            self._state(pattern.get("/ExtGState"))

    def _intent(self, intent: Any) -> None:
        if intent is not None and str(intent) not in _INTENTS:
            self.add("6.2.9", "a rendering intent that is not one of the four")

    # ------------------------------------------------ states, images, forms, text

    def _state(self, state: Any) -> None:
        if not isinstance(state, pikepdf.Dictionary):
            return
        if "/TR" in state:
            self.add("6.2.8", "a transfer function")
        if state.get("/TR2", "/Default") != "/Default":
            self.add("6.2.8", "a transfer function")
        intent = state.get("/RI")
        if intent is not None and str(intent) not in _INTENTS:
            self.add("6.2.8", "a rendering intent that is not one of the four")
        if self.part == 1:
            self._opacity(state)
        else:
            self._transparent |= is_transparent(state)
            for clause, what in state_problems(state):
                self.add_later(clause, what)
        self._values([state])

    def _opacity(self, state: Any) -> None:
        if state.get("/SMask", "/None") != "/None":
            self.add("6.4", "a soft mask in the graphics state")
        if state.get("/BM", "/Normal") not in {"/Normal", "/Compatible"}:
            self.add("6.4", "a blend mode")
        if any(abs(float(state.get(key, 1)) - 1) > 1e-5 for key in ("/CA", "/ca")):  # noqa: PLR2004 - rounding
            self.add("6.4", "an opacity below 1")

    def _draw(self, drawn: Any, resources: Any, depth: int) -> None:
        if not isinstance(drawn, pikepdf.Stream):
            return
        if drawn.get("/Subtype") == "/Image":
            self._image(drawn, resources)
        elif drawn.get("/Subtype") == "/PS":
            self.add("6.2.7", "a PostScript XObject")
        else:
            self._form(drawn, resources, depth)

    def _image(self, image: Any, resources: Any) -> None:
        if "/Alternates" in image:
            self.add("6.2.4", "an image with alternates")
        if "/OPI" in image:
            self.add("6.2.4", "an image with OPI")
        if image.get("/Interpolate", False):
            self.add("6.2.4", "an image that asks for interpolation")
        self._intent(image.get("/Intent"))
        mask = image.get("/SMask")
        masked = mask is not None and mask != "/None"
        self._transparent |= masked or bool(image.get("/SMaskInData", 0))
        if self.part == 1 and masked:
            self.add("6.4", "an image with a soft mask")
        if not image.get("/ImageMask", False):
            self._space(image.get("/ColorSpace"), resources, 0)
        if self.part > 1:
            self._samples(image, resources)

    def _samples(self, image: Any, resources: Any) -> None:
        """Judges what a JPEG 2000 image says of itself, and the depth of any other (parts 2 and 3)."""
        filters = image.get("/Filter")
        last = filters[-1] if isinstance(filters, pikepdf.Array) and len(filters) else filters
        if last == "/JPXDecode":
            header = read_header(bytes(image.read_raw_bytes())) if filters == last or len(filters) == 1 else None
            own_colour = "/ColorSpace" in image
            for clause, what in jpx_problems(header, own_colour=own_colour) if header else ():
                self.add_later(clause, what)
            if header and not own_colour and any(space == ENUM_CMYK for _, _, space in header.colours):
                self._device("CMYK", resources)
        bits = 1 if image.get("/ImageMask", False) else image.get("/BitsPerComponent", 8)
        if last != "/JPXDecode" and (bits not in _DEPTHS or image.get("/BitsPerComponent", bits) != bits):
            self.add_later("6.2.8.1", "an image whose depth is not 1, 2, 4, 8 or 16, or a mask deeper than 1")

    def _inline(self, image: Any, resources: Any) -> None:
        entries = image.obj if hasattr(image, "obj") else image
        if entries.get("/Interpolate", entries.get("/I", False)):
            self.add("6.2.4", "an inline image that asks for interpolation")
        self._intent(entries.get("/Intent"))
        filters = entries.get("/Filter", entries.get("/F"))
        names = [str(name) for name in filters] if isinstance(filters, pikepdf.Array) else [str(filters or "")]
        if any("/LZW" in name for name in names):
            self.add("6.1.10", "LZW compression in an inline image")
        elif any(name and name not in _INLINE_FILTERS for name in names):
            self.add_later("6.1.10", "a filter in an inline image that is not allowed there")
        space = entries.get("/ColorSpace", entries.get("/CS"))
        if not entries.get("/ImageMask", entries.get("/IM", False)):
            self._space(space, resources, 0)

    def _form(self, form: Any, resources: Any, depth: int) -> None:
        if "/OPI" in form or "/PS" in form or form.get("/Subtype2") == "/PS":
            self.add("6.2.5", "a form with OPI or PostScript")
        if "/Ref" in form:
            self.add("6.2.6", "a reference XObject")
        group = form.get("/Group")
        if isinstance(group, pikepdf.Dictionary) and group.get("/S") == "/Transparency":
            self._transparent = True
            if self.part == 1:
                self.add("6.4", "a transparency group")
            else:
                self._space(group.get("/CS"), form.get("/Resources", resources), 0)
        self._enter(form, resources, depth)

    def _show(self, font: Any, mode: int, operands: list[Any], resources: Any, depth: int) -> None:
        if not isinstance(font, pikepdf.Dictionary):
            return
        key = hash(font.objgen) if font.is_indirect else id(font)
        self.shown[key] = font
        if self.part > 1:
            self.codes.setdefault(key, set()).update(shown_codes(font, operands))
        if mode != _INVISIBLE:
            self.fonts[key] = font
        if font.get("/Subtype") == "/Type3":
            for glyph in font.get("/CharProcs", pikepdf.Dictionary()).values():
                if isinstance(glyph, pikepdf.Stream):
                    self._stream(glyph, font.get("/Resources", resources), depth + 1)
