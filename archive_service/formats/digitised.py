"""What the policy asks of a digitised paper: PDF/A with two layers, colour, resolution (R022; TT 05/2025 article 8).

Deviations are measured and reported; whether one rejects is the policy's weight of the finding. The visible marks of
conversion and the agency's signature (R023, R024) are not looked at here.
"""

import pikepdf

from archive_service.dossier import Component
from archive_service.formats.limits import Limits
from archive_service.formats.pdf import PDF_ERRORS
from archive_service.formats.pdf_pages import PageSurvey, survey_pages
from archive_service.formats.policy import DigitisedRule
from archive_service.formats.report import Notes, shorten


def judge_pdf(pdf: pikepdf.Pdf, component: Component, rule: DigitisedRule, notes: Notes, limits: Limits) -> None:
    """Measures the pages of a digitised PDF; adds `scanned_pages`, `dpi`, `colour`, `bits_per_pixel`, `text_layer`."""
    if rule.pdfa and "pdfa_claim" not in notes.facts:
        notes.find("FORMAT_NOT_PDFA")
    try:
        survey = survey_pages(pdf, limits)
    except PDF_ERRORS as exc:
        notes.unchecked("resolution, colour and text layer", shorten(str(exc) or type(exc).__name__))
        return
    notes.facts["scanned_pages"] = survey.scanned_pages
    notes.checked.append("resolution, colour and text layer of the pages")
    if not survey.scanned_pages:
        return
    notes.facts["text_layer"] = survey.without_text == 0
    notes.facts["colour"] = survey.grey == 0
    notes.facts["bits_per_pixel"] = min(survey.bits)
    _judge_pages(survey, component, rule, notes)


def _judge_pages(survey: PageSurvey, component: Component, rule: DigitisedRule, notes: Notes) -> None:
    if survey.lowest_dpi is not None:
        notes.facts["dpi"] = round(survey.lowest_dpi, 1)
        judge_dpi(survey.lowest_dpi, rule.dpi_for(component.title), rule, notes)
    if rule.text_layer and survey.without_text:
        notes.find("FORMAT_NO_TEXT_LAYER", pages=survey.without_text, of=survey.pages)
    bits = min(survey.bits)
    if rule.colour and (survey.grey or bits < rule.bits_per_pixel):
        notes.find("FORMAT_NOT_COLOUR", required=rule.bits_per_pixel, found=f"{bits} bit")


def judge_image(mime: str, rule: DigitisedRule, notes: Notes) -> None:
    """Judges a digitised image file: a photograph may be JPEG, TIFF or PNG of at least 200 dpi, a paper may not."""
    if mime not in rule.image_formats:
        notes.find("FORMAT_NOT_PDFA")
        return
    dpi = notes.facts.get("dpi")
    if isinstance(dpi, (int, float)):
        judge_dpi(float(dpi), rule.dpi_images, rule, notes)
    elif "width_px" in notes.facts:
        notes.unchecked("resolution", "the image does not say its resolution")


def judge_dpi(dpi: float, required: int, rule: DigitisedRule, notes: Notes) -> None:
    """Adds FORMAT_RESOLUTION_LOW below the required resolution."""
    if dpi < required - rule.dpi_tolerance:
        notes.find("FORMAT_RESOLUTION_LOW", dpi=round(dpi, 1), required=required)
