"""Validation material (certificates, CRLs, OCSP responses, time-stamp tokens) between check and packaging: one staged file (R032)."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

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
