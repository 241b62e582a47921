"""A PDF/A rendition of an Office or image file by LibreOffice: a second representation, never instead of the original.

Each run has its own profile folder, a hard time limit after which the whole process group is killed, and a memory
limit (STANDARDS 1.19). The answer carries the flavour that our checks found, not the one that was asked for
(LESSONS 18). Not having a rendition never blocks archiving (R020).
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pikepdf

from archive_service.formats.limits import DEFAULT, MIB, Limits
from archive_service.formats.pdf import PDF_ERRORS, check_pdf
from archive_service.formats.pdfa import check_claim
from archive_service.formats.report import Notes
from archive_service.formats.sandbox import Outcome, run_command, run_limited
from archive_service.scratch import Scratch

COMMANDS: Final = ("soffice", "libreoffice")
_CHECK_FACTOR: Final = 7
"""A rendition may have hundreds of pages, and veraPDF, where it is, has a longer time limit of its own."""
_PDFA_2B: Final = 2
"""SelectPdfVersion: 2 is PDF/A-2b."""
_WRITER: Final = "writer_pdf_Export"
_FILTERS: Final = {
    "xls": "calc_pdf_Export",
    "xlsx": "calc_pdf_Export",
    "ods": "calc_pdf_Export",
    "csv": "calc_pdf_Export",
    "ppt": "impress_pdf_Export",
    "pptx": "impress_pdf_Export",
    "odp": "impress_pdf_Export",
    "jpg": "draw_pdf_Export",
    "jpeg": "draw_pdf_Export",
    "png": "draw_pdf_Export",
    "gif": "draw_pdf_Export",
    "tif": "draw_pdf_Export",
    "tiff": "draw_pdf_Export",
    "bmp": "draw_pdf_Export",
    "webp": "draw_pdf_Export",
    "svg": "draw_pdf_Export",
    "doc": _WRITER,
    "docx": _WRITER,
    "odt": _WRITER,
    "rtf": _WRITER,
    "txt": _WRITER,
}
_MEMORY_BYTES: Final = 4096 * MIB
"""Address space of the LibreOffice process; it maps about 1.5 GB before the first page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """A rendition that was made and checked."""

    path: Path
    flavour: str
    """PDF/A flavour the file claims, such as `2b`."""
    conforms: bool
    """Whether the claim held in the check named by `checker`."""
    checker: str
    problems: tuple[str, ...]
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRendered:
    """Why there is no rendition."""

    reason: str


def available() -> bool:
    """Returns whether there is a LibreOffice to render with."""
    return any(shutil.which(name) for name in COMMANDS)


def can_render(extension: str) -> bool:
    """Returns whether a file with this extension is of a kind that is rendered."""
    return extension.lower() in _FILTERS


def may_be_rendered(name: str) -> bool:
    """Returns whether a file of this name is of a kind that is rendered."""
    return can_render(os.path.splitext(name)[1].removeprefix("."))  # noqa: PTH122 - asked for every file of every dossier


def render_pdfa(
    path: Path, out_dir: Path, *, extension: str, time_limit_s: float = 120.0, limits: Limits = DEFAULT
) -> Rendition | NotRendered:
    """Renders a file to PDF/A-2b in `out_dir`.

    Args:
        path: the original; it is copied under a neutral name first, so no name reaches the command line.
        out_dir: an existing folder; the rendition is `<stem of path>.pdf` there.
        extension: the true extension of the content, which tells LibreOffice how to read it.
        time_limit_s: after this many seconds the whole process group is killed.
        limits: bounds of the check of the result.
    """
    program = next((found for name in COMMANDS if (found := shutil.which(name))), None)
    if program is None:
        return NotRendered(reason="LibreOffice is not installed")
    kind = _FILTERS.get(extension.lower())
    if kind is None:
        return NotRendered(reason=f"no rendition is made of .{extension} files")
    with Scratch() as folder:
        original = folder / f"original.{extension.lower()}"
        try:
            shutil.copyfile(path, original)
        except OSError as exc:
            return NotRendered(reason=f"cannot read the original: {exc.strerror}")
        reason = _convert(program, original, kind, folder, time_limit_s)
        made = folder / "out" / "original.pdf"
        if not made.is_file() or not made.stat().st_size:
            return NotRendered(reason=reason or "LibreOffice made nothing: it cannot read the file")
        target = out_dir / f"{path.stem}.pdf"
        shutil.move(made, target)
    checked = run_limited(
        _judge, (target, limits), time_limit_s=limits.time_s * _CHECK_FACTOR, memory_limit_bytes=limits.memory_bytes
    )
    if checked.outcome is Outcome.DONE and checked.value is not None:
        return checked.value
    target.unlink(missing_ok=True)
    return NotRendered(reason=f"the check of the rendition did not come to an end: {checked.outcome} {checked.reason}")


def _convert(program: str, original: Path, kind: str, folder: Path, time_limit_s: float) -> str:
    """Runs LibreOffice; returns why it gave nothing, or an empty text."""
    options = f'pdf:{kind}:{{"SelectPdfVersion":{{"type":"long","value":"{_PDFA_2B}"}}}}'
    done = run_command(
        [
            program,
            f"-env:UserInstallation={(folder / 'profile').as_uri()}",
            "--headless",
            "--norestore",
            "--nolockcheck",
            "--convert-to",
            options,
            "--outdir",
            str(folder / "out"),
            str(original),
        ],
        time_limit_s=time_limit_s,
        output_bytes=MIB,
        memory_limit_bytes=_MEMORY_BYTES,
        environment={
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
        },
        folder=folder,
    )
    return done.reason


def _judge(path: Path, limits: Limits) -> Rendition | NotRendered:
    notes = Notes(location=path.name, format="PDF")
    pdf = check_pdf(path, notes, limits)
    if pdf is None:
        return NotRendered(reason="the rendition cannot be read back")
    with pdf:
        claim = str(notes.facts.get("pdfa_claim") or "")
        if not claim:
            return NotRendered(reason="the rendition does not claim PDF/A")
        check_claim(pdf, path, claim, notes, limits)
        return Rendition(
            path=path,
            flavour=claim,
            conforms="pdfa_checker" in notes.facts and not notes.facts.get("pdfa_problems"),
            checker=str(notes.facts.get("pdfa_checker", "not checked")),
            problems=_texts(notes.facts.get("pdfa_problems")),
            pages=_pages(pdf),
        )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _pages(pdf: pikepdf.Pdf) -> int:
    try:
        return len(pdf.pages)
    except PDF_ERRORS:
        return 0
