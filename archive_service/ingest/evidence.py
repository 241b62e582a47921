"""Validation material (certificates, CRLs, OCSP responses, time-stamp tokens) between check and packaging: one staged file (R032).

With it go the signature reports as people read them, in Vietnamese and English: whoever opens the package in twenty years needs no
program of ours to see what was found.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from archive_service.digests import canonical_json
from archive_service.signatures.report import SignatureCheck
from archive_service.signatures.trust import TrustAnchorEntry, TrustStore, parse_certificate

MATERIAL_FILE_NAME: Final = "validation-material.zip"
ANCHORS_FILE_NAME: Final = "trust-anchors.json"
"""Which of the kept certificates were trusted, under which scheme and between which dates."""


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


def kept_material(checks: Mapping[str, SignatureCheck], trust: TrustStore) -> dict[str, bytes]:
    """Returns everything the AIP keeps of a dossier's signature checks: material, the anchors in play, and the reports in words.

    Args:
        checks: Signature checks by component id, in the order of the dossier.
        trust: The store they were made with.
    """
    material = {name: content for check in checks.values() for name, content in check.material.items()}
    anchors = _anchors_in_play(material, trust)
    if anchors:
        material |= {f"{entry.sha256}.cer": entry.der for entry in anchors}
        material[ANCHORS_FILE_NAME] = canonical_json([_anchor_json(entry) for entry in anchors])
    return material | readable_reports(checks)


def _anchors_in_play(material: Mapping[str, bytes], trust: TrustStore) -> list[TrustAnchorEntry]:
    """Anchors that a path from some kept certificate may end in: by name, so that the paths of time-stamp authorities count too."""
    certificates = [parse_certificate(content) for name, content in material.items() if name.endswith(".cer")]
    wanted = {name.hashable for certificate in certificates for name in (certificate.issuer, certificate.subject)}
    return [entry for entry in trust.anchors if entry.certificate.subject.hashable in wanted]


def _anchor_json(entry: TrustAnchorEntry) -> dict[str, str | None]:
    return {
        "sha256": entry.sha256,
        "scheme": entry.scheme,
        "effective_from": entry.effective_from.isoformat() if entry.effective_from else None,
        "retired_at": entry.retired_at.isoformat() if entry.retired_at else None,
    }


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
