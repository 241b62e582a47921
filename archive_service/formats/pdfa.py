"""Whether a PDF keeps the PDF/A promise of its metadata: own structural checks, or veraPDF where there is one (R022).

Own checks, by clause of ISO 19005-1 (parts 2 and 3 ask the same under the numbers of `pdfa_later.CLAUSES`):
  6.1  header, trailer, cross-reference table, object syntax, LZW, embedded files, limits, optional content
  6.2  output intents and profiles, device colours really used, images, forms, graphics states, intents, operators
  6.3  fonts that show text are embedded; CMaps, CIDToGIDMap, CharSet and CIDSet present; TrueType encodings
  6.4  transparency   6.5, 6.6, 6.9  annotations, actions, forms
  6.7  metadata: identification, predefined properties and their types, agreement with the information dictionary
  6.8  level a: that the document says it is tagged, has a structure tree and a language that is one
By clause of ISO 19005-2 and -3 alone:
  6.1.7, 6.1.10  filters   6.1.12  permissions   6.1.13  limits, page boundaries
  6.2.4  spot colours   6.2.5  halftones   6.2.8  depth of images, headers of JPEG 2000   6.2.10  blending
  6.2.11  font dictionaries, CMaps, TrueType encodings, Unicode values (levels a and u), undefined glyphs
  6.3.3  appearances   6.4.2  XFA   6.6.2.3  properties, extension schemas   6.8  embedded files
  6.9  optional content   6.10  alternate presentations   6.11  requirements
Not checked: glyph widths and glyph coverage inside font programs, completeness of CharSet and CIDSet, overprinting, the tree of the logical
structure, signatures, what part 4 asks. Silence of these checks is therefore not conformance: the report names the checker.
"""

from pathlib import Path
from typing import Final

import pikepdf

from archive_service.formats import verapdf
from archive_service.formats.limits import Limits
from archive_service.formats.pdf import PDF_ERRORS
from archive_service.formats.pdfa_content import ContentWalk
from archive_service.formats.pdfa_file import file_problems
from archive_service.formats.pdfa_fonts import later_font_problems
from archive_service.formats.pdfa_later import CLAUSES, later_page_problems, later_problems, structure_problems
from archive_service.formats.pdfa_objects import (
    font_problems,
    form_problems,
    object_problems,
    output_intent,
    page_problems,
)
from archive_service.formats.pdfa_xmp import Problem, metadata_problems
from archive_service.formats.report import Notes, named, shorten

OWN: Final = "own structural checks"
_PARTS: Final = frozenset("123")


def check_claim(pdf: pikepdf.Pdf, path: Path, claim: str, notes: Notes, limits: Limits) -> None:
    """Tests a claim such as `1b`; adds FORMAT_PDFA_CLAIM_FALSE, `pdfa_checker` and `pdfa_problems`."""
    answer = verapdf.validate(path, claim, limits)
    if answer is not None:
        problems, checker = answer.problems, answer.checker
        if problems is None:
            notes.unchecked("PDF/A claim", answer.reason)
            return
    else:
        if claim[:1] not in _PARTS:
            notes.unchecked("PDF/A claim", f"PDF/A-{shorten(claim, 10)} is not covered by {OWN}")
            return
        checker = OWN
        try:
            problems = structural_problems(pdf, path, int(claim[0]), limits, level=claim[1:])
        except PDF_ERRORS as exc:
            notes.unchecked("PDF/A claim", shorten(str(exc).replace(str(path), "") or type(exc).__name__))
            return
    notes.checked.append(f"PDF/A-{claim} ({checker})")
    notes.facts["pdfa_checker"] = checker
    notes.facts["pdfa_problems"] = [f"{clause} {what}" for clause, what in problems[:100]]
    if problems:
        clauses = named([f"{clause} {what}" for clause, what in problems])
        notes.find("FORMAT_PDFA_CLAIM_FALSE", claim=claim, count=len(problems), checker=checker, clauses=clauses)


def structural_problems(
    pdf: pikepdf.Pdf, path: Path, part: int, limits: Limits, *, level: str = "b"
) -> tuple[Problem, ...]:
    """Returns what our own checks find against PDF/A part `part` (1, 2 or 3) and its level, each problem once.

    Raises:
        one of PDF_ERRORS: the file is too damaged to be judged.
    """
    space, intents = output_intent(pdf)
    walk = ContentWalk(space, part, limits)
    found: dict[Problem, None] = dict.fromkeys(file_problems(pdf, path, part))
    found.update(dict.fromkeys(intents))
    found.update(dict.fromkeys(metadata_problems(pdf, part)))
    found.update(dict.fromkeys(object_problems(pdf, part)))
    for number, page in enumerate(pdf.pages):
        if number >= limits.pdf_pages:
            break
        found.update(dict.fromkeys(page_problems(page, part)))
        if part > 1:
            walk.later.update(dict.fromkeys(later_page_problems(page)))
        walk.page(page)
    found.update(walk.problems)
    for font in walk.fonts.values():
        found.update(dict.fromkeys(font_problems(font, part)))
    found.update(dict.fromkeys(form_problems(pdf, part)))
    if level == "a":
        found.update(dict.fromkeys(structure_problems(pdf)))
    if part == 1:
        return tuple(found)
    shared = dict.fromkeys((CLAUSES.get(clause, clause), what) for clause, what in found)
    return tuple(shared | dict.fromkeys(later_problems(pdf, part)) | walk.later | _later_fonts(walk, level))


def _later_fonts(walk: ContentWalk, level: str) -> dict[Problem, None]:
    return {
        problem: None
        for key, font in walk.shown.items()
        for problem in later_font_problems(font, walk.codes.get(key, set()), level, visible=key in walk.fonts)
    }
