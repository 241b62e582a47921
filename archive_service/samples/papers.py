"""Sample papers as PDF/A-2b, typeset with typst from `paper.typ`, and the marks on them: seal, signature, QR code.

Only the two Noto families are offered to typst and system fonts are ignored, so that every Vietnamese letter comes from
the same font and text extracted from the PDF equals what went in.
"""

import io
import json
import math
import random
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import fontpkg_noto_sans
import fontpkg_noto_serif
import segno
import typst

from archive_service.scratch import Scratch

_FOLDER: Final = Path(__file__).resolve().parent
_FONT_FOLDERS: Final = [str(package.ROOT / "files") for package in (fontpkg_noto_sans, fontpkg_noto_serif)]
SCAN_PPI: Final = 200
"""Least resolution of a digitised administrative paper (TT 05/2025 Điều 8)."""

DRAWING_PPI: Final = 125.0
"""Papers to be scanned are drawn coarser than they are scanned: half the time, and as soft as a scan is."""

_QR_MASK: Final = 3
"""Fixed: any of the eight masks is valid, and trying them all costs more than setting the page."""


class Typesetter:
    """A typst compiler with its fonts loaded once and a scratch folder for scanned pictures."""

    def __init__(self) -> None:
        self._folder = Scratch()
        root = self._folder.path
        for name in ("paper.typ", "seal.typ"):
            (root / name).write_bytes((_FOLDER / name).read_bytes())
        self._root = root
        self._compilers = {
            name: typst.Compiler(
                str(root / f"{name}.typ"), root=str(root), font_paths=_FONT_FOLDERS, ignore_system_fonts=True
            )
            for name in ("paper", "seal")
        }
        self._seals: dict[tuple[str, str], str] = {}
        self._pictures = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.close()

    def pdf(self, paper: Mapping[str, Any], *, at: datetime) -> bytes:  # JSON
        """Returns the paper as PDF/A-2b created at `at`."""
        return _only(
            self._compilers["paper"].compile(
                format="pdf",
                pdf_standards="a-2b",
                timestamp=int(at.timestamp()),
                sys_inputs={"paper": json.dumps(paper, ensure_ascii=False)},
            )
        )

    def png(self, paper: Mapping[str, Any]) -> bytes:  # JSON
        """Returns the first page of the paper as PNG, drawn at `DRAWING_PPI`."""
        inputs = {"paper": json.dumps(paper, ensure_ascii=False)}
        return _only(self._compilers["paper"].compile(format="png", ppi=DRAWING_PPI, sys_inputs=inputs))

    def picture(self, jpeg: bytes) -> str:
        """Keeps a JPEG where papers can name it; returns the name."""
        self._pictures += 1
        name = f"picture-{self._pictures}.jpg"
        (self._root / name).write_bytes(jpeg)
        return f"/{name}"

    def seal(self, agency: str, place: str) -> str:
        """Returns the agency's red seal as SVG outlines; the same agency always has the same one."""
        if (agency, place) not in self._seals:
            svg = self._compilers["seal"].compile(format="svg", sys_inputs={"upper": place, "inner": agency})
            self._seals[agency, place] = _only(svg).decode()
        return self._seals[agency, place]


def _only(compiled: bytes | list[bytes] | None) -> bytes:
    """What typst gave: the file, or its first page where it makes one file a page."""
    if not compiled:
        raise ValueError("typst returned nothing although it was to return bytes")
    return compiled[0] if isinstance(compiled, list) else compiled


def scribble(name: str) -> str:
    """Returns a blue signature stroke as SVG; the same name always signs alike."""
    rng = random.Random(f"signature {name}")  # noqa: S311 - a drawing
    points = [(6.0, 40 + rng.uniform(-8, 8))]
    for step in range(1, 9):
        swing = 30 * math.sin(step * rng.uniform(1.1, 2.2)) * (1 - step / 12)
        points.append((6 + step * 13.5 + rng.uniform(-5, 5), 36 + swing + rng.uniform(-6, 6)))
    path = f"M {points[0][0]:.1f} {points[0][1]:.1f} "
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = rng.uniform(-16, 16)
        path += f"C {x0 + 7:.1f} {y0 - bend - 12:.1f} {x1 - 9:.1f} {y1 + bend:.1f} {x1:.1f} {y1:.1f} "
    flourish = f"M 14 {rng.uniform(56, 62):.1f} Q 70 {rng.uniform(44, 52):.1f} 126 {rng.uniform(50, 60):.1f}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 140 72">'
        '<g fill="none" stroke="#1f3fa8" stroke-linecap="round">'
        f'<path d="{path}" stroke-width="2.1"/><path d="{flourish}" stroke-width="1.4"/></g></svg>'
    )


def qr(*parts: str) -> str:
    """Returns a QR code (TCVN 7322:2009, error level Q) of `parts` joined by "|", as SVG (R113)."""
    code = segno.make("|".join(parts), error="q", micro=False, mask=_QR_MASK)
    out = io.BytesIO()
    code.save(out, kind="svg", scale=4, border=1, xmldecl=False)
    return out.getvalue().decode()
