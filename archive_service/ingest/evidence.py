"""Validation material (certificates, CRLs, OCSP responses, time-stamp tokens) between check and packaging: one staged file (R032).

With it go the signature reports as people read them, in Vietnamese and English: whoever opens the package in twenty years needs no
program of ours to see what was found.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from archive_service.signatures.report import SignatureCheck

MATERIAL_FILE_NAME: Final = "validation-material.zip"


def dump_material(material: Mapping[str, bytes]) -> bytes:
    """Returns the material as one ZIP with entries in order of name; the same material gives the same bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(material):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), material[name])
    return target.getvalue()


def load_material(path: Path) -> Mapping[str, bytes]:
    """Reads back what `dump_material` wrote.

    Raises:
        FileNotFoundError: nothing was staged.
    """
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def readable_reports(checks: Mapping[str, SignatureCheck]) -> dict[str, bytes]:
    """Returns the reports of a dossier's signatures in words, one text file per language; nothing when there is no signature.

    Args:
        checks: Signature checks by component id, in the order of the dossier.
    """
    signed = {component_id: check for component_id, check in checks.items() if check.reports or check.not_checked}
    if not signed:
        return {}
    return {f"signature-reports.{language}.txt": _readable(signed, language) for language in ("vi", "en")}


def _readable(checks: Mapping[str, SignatureCheck], language: str) -> bytes:
    lines: list[str] = []
    for component_id, check in checks.items():
        for ordinal, report in enumerate(check.reports, start=1):
            lines += [f"== {component_id} [{ordinal}/{len(check.reports)}]", report.as_text(language), ""]
        lines += [f"== {component_id}: {reason}" for reason in check.not_checked]
    return ("\n".join(lines).rstrip() + "\n").encode("utf-8", "replace")
