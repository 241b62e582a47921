"""Office Open XML package signatures (ISO/IEC 29500-2 clause 13): recognised and reported, not yet validated."""

import zipfile
from pathlib import Path
from typing import Final

from archive_service.signatures.assessment import Signed, assess
from archive_service.signatures.chain import Circumstances
from archive_service.signatures.report import Integrity, Reason, SignatureKind, SignatureReport, SubIndication

MAX_ENTRIES: Final = 20_000
"""Entries of a package that are listed; more is no office document."""
SIGNATURE_FOLDER: Final = "_xmlsignatures/"
OOXML_PREFIX: Final = "application/vnd.openxmlformats-officedocument"
ODF_PREFIX: Final = "application/vnd.oasis.opendocument"
ODF_SIGNATURES: Final = "META-INF/documentsignatures.xml"


def check_ooxml(path: Path, case: Circumstances) -> tuple[SignatureReport, ...]:
    """Reports each package signature as INDETERMINATE: an unknown is shown, never passed over.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as package:
            names = package.namelist()[:MAX_ENTRIES]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return ()
    found = [name for name in names if name.startswith(SIGNATURE_FOLDER) and name.endswith(".xml")]
    found += [name for name in names if name == ODF_SIGNATURES]
    return tuple(_report(name, case) for name in found)


def _report(name: str, case: Circumstances) -> SignatureReport:
    signed = Signed(
        kind=SignatureKind.OOXML,
        sub_filter=None,
        field_name=name,
        certificate=None,
        signature=b"",
        integrity=Integrity.NOT_CHECKED,
        sub_indication=SubIndication.GENERIC,
        reasons=(Reason(code="OOXML_NOT_SUPPORTED"),),
        claimed_time=None,
        level=None,
        covers_whole_file=False,
        coverage="unknown",
    )
    return assess(signed, case)
