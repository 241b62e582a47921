"""Signatures kept as entries of a ZIP: Office Open XML (ISO/IEC 29500-2 clause 13), OpenDocument, ASiC (EN 319 162-1), JAR.

Recognised and reported, not validated: an unknown is shown, never passed over.
"""

import re
import zipfile
from pathlib import Path
from typing import Final

from archive_service.signatures.assessment import Signed, assess
from archive_service.signatures.chain import Circumstances
from archive_service.signatures.report import Integrity, Reason, SignatureKind, SignatureReport, SubIndication

MAX_ENTRIES: Final = 20_000
"""Entries of a package that are listed; more is no office document."""
MAX_REPORTED: Final = 50
"""Signatures of one container that are reported each by itself."""
CONTAINER_MIMES: Final = (
    "application/vnd.openxmlformats-officedocument",
    "application/vnd.oasis.opendocument",
    "application/vnd.etsi.asic",
    "application/vnd.ms-word.",
    "application/vnd.ms-excel.",
    "application/vnd.ms-powerpoint.",
    "application/epub+zip",
    "application/java-archive",
    "application/zip",
)
"""Media types, and beginnings of them, whose files are ZIPs that may hold signatures."""
_OFFICE: Final = re.compile(
    r"_xmlsignatures/[^/]+\.xml|META-INF/(documentsignatures|macrosignatures|packagesignatures)\.xml"
)
_ASIC: Final = re.compile(
    r"META-INF/[^/]*(signature|timestamp|evidencerecord)[^/]*\.(xml|p7s|p7m|tst|ers)", re.IGNORECASE
)
_JAR: Final = re.compile(r"META-INF/[^/]+\.(RSA|DSA|EC)", re.IGNORECASE)


def check_container(path: Path, case: Circumstances) -> tuple[SignatureReport, ...]:
    """Reports each signature of a container as INDETERMINATE.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as package:
            names = package.namelist()[:MAX_ENTRIES]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return ()  # what cannot be listed is a broken or unsafe ZIP, which the check of its format refuses
    found = [(name, _reason(name)) for name in names]
    return tuple(_report(name, reason, case) for name, reason in [pair for pair in found if pair[1]][:MAX_REPORTED])


def _reason(name: str) -> str:
    """Returns the code that says what kind of signature an entry is, empty for none."""
    if _OFFICE.fullmatch(name):
        return "OOXML_NOT_SUPPORTED"
    return "CONTAINER_NOT_SUPPORTED" if _ASIC.fullmatch(name) or _JAR.fullmatch(name) else ""


def _report(name: str, reason: str, case: Circumstances) -> SignatureReport:
    signed = Signed(
        kind=SignatureKind.OOXML if reason == "OOXML_NOT_SUPPORTED" else SignatureKind.ASIC,
        sub_filter=None,
        field_name=name,
        certificate=None,
        signature=b"",
        integrity=Integrity.NOT_CHECKED,
        sub_indication=SubIndication.GENERIC,
        reasons=(Reason(code=reason),),
        claimed_time=None,
        level=None,
        covers_whole_file=False,
        coverage="unknown",
    )
    return assess(signed, case)
