"""Office files: OOXML and OpenDocument opened as packages, legacy files as compound files (OLE).

Looked for: damage, encryption, macros, embedded files, and for OOXML templates or objects fetched from elsewhere.
Not judged: layout, and validity against the Office schemas.
"""

import re
import struct
import zipfile
from pathlib import Path
from typing import Final

from archive_service.formats import cfb
from archive_service.formats.container import ZIP_ERRORS, open_zip, read_entries
from archive_service.formats.limits import Limits
from archive_service.formats.report import Notes, named, shorten
from archive_service.formats.xml import read_xml

_CONTENT_TYPES: Final = "[Content_Types].xml"
_ODF_MANIFEST: Final = "META-INF/manifest.xml"
_PART_BYTES: Final = 16 * 1024 * 1024
"""A part larger than this is read for its checksum only."""
_REMOTE_MARKS: Final = (b"attachedTemplate", b"oleObject", b"frame", b"subDocument", b"externalLinkPath")


def check_package(path: Path, notes: Notes, limits: Limits) -> None:
    """Checks an OOXML or OpenDocument file."""
    package = open_zip(path, notes, limits)
    if package is None:
        return
    with package:
        names = package.namelist()
        if _CONTENT_TYPES in names:
            _ooxml(package, names, notes, limits)
        elif "mimetype" in names or _ODF_MANIFEST in names:
            _odf(package, names, notes, limits)
        else:
            notes.broken("neither [Content_Types].xml nor mimetype in the package")


def _ooxml(package: zipfile.ZipFile, names: list[str], notes: Notes, limits: Limits) -> None:
    if not _sound(package, notes, limits, [_CONTENT_TYPES, "_rels/.rels"]):
        return
    if "_rels/.rels" not in names:
        notes.broken("_rels/.rels is missing")
        return
    lower = [name.lower() for name in names]
    macros = [name for name in lower if name.endswith(("vbaproject.bin", "vbadata.xml")) or "/macrosheets/" in name]
    _tell(notes, macros, [name for name in lower if "/embeddings/" in name or "/activex/" in name])
    remote = [name for name in names if name.endswith(".rels") and _remote(package, name)]
    if remote:
        notes.find("FORMAT_SCRIPT", where=f"content fetched from elsewhere: {named(remote)}")
    notes.checked.append("Office package (OOXML)")


def _remote(package: zipfile.ZipFile, name: str) -> bool:
    """Whether a relationship part makes the reading program fetch a template, object or frame from outside."""
    part = package.read(name) if package.getinfo(name).file_size <= _PART_BYTES else b""
    relations = [piece for piece in part.split(b"<Relationship ")[1:] if b'TargetMode="External"' in piece]
    return any(mark in relation for relation in relations for mark in _REMOTE_MARKS)


def _odf(package: zipfile.ZipFile, names: list[str], notes: Notes, limits: Limits) -> None:
    manifest = _part(package, _ODF_MANIFEST)
    if manifest is None:
        notes.broken(f"{_ODF_MANIFEST} is missing")
        return
    if b"encryption-data" in manifest:
        notes.find("FORMAT_ENCRYPTED", reason="encrypted entries in the manifest")
        return
    if not _sound(package, notes, limits, [_ODF_MANIFEST, "content.xml"]):
        return
    if "content.xml" not in names:
        notes.broken("content.xml is missing")
        return
    macros = [name for name in names if name.startswith(("Basic/", "Scripts/")) and not name.endswith(("/", "-lc.xml"))]
    embedded = [name for name in names if name.startswith("Object ") and name.endswith("/content.xml")]
    _tell(notes, macros, embedded)
    notes.checked.append("Office package (OpenDocument)")


def _part(package: zipfile.ZipFile, name: str) -> bytes | None:
    try:
        if package.getinfo(name).file_size > _PART_BYTES:
            return None
        return package.read(name)
    except (KeyError, *ZIP_ERRORS):
        return None


def _sound(package: zipfile.ZipFile, notes: Notes, limits: Limits, parts: list[str]) -> bool:
    """Whether every entry has its checksum and the named parts are well-formed XML without entities."""
    if not read_entries(package, notes, limits):
        return False
    inner = Notes(location=notes.location, format=notes.format)
    for name in parts:
        if name in package.NameToInfo:
            with package.open(name) as source:
                read_xml(source, inner, limits)  # type: ignore[arg-type] # a ZipExtFile reads like any binary file
    for finding in inner.findings:
        if finding.code == "FORMAT_XML_NOT_WELL_FORMED":
            notes.broken(shorten(f"XML inside: {finding.params['reason']}"))
        else:
            notes.findings.append(finding)
    return not inner.findings


def _tell(notes: Notes, macros: list[str], embedded: list[str]) -> None:
    if macros:
        notes.find("FORMAT_MACROS", where=named(macros))
    if embedded:
        notes.find("FORMAT_EMBEDDED_FILES", count=len(embedded), where=named(embedded))


# ---------------------------------------------------------------- compound files

_FIB_ENCRYPTED: Final = 0x0100
_FILEPASS: Final = 0x002F
_BOF: Final = 0x0809
_EMBEDDED_OLE: Final = re.compile(r"ObjectPool/[^/]+|MBD[0-9A-Fa-f]+")
"""Objects inside Word, and inside Excel (MS-DOC 2.1.10, MS-XLS 2.1.7)."""
_MAX_BIFF_RECORDS: Final = 200


def check_compound(path: Path, notes: Notes, limits: Limits) -> None:
    """Checks a legacy Office file, or an encrypted OOXML file, which is a compound file too."""
    try:
        with path.open("rb") as source:
            directory = cfb.read_directory(source, path.stat().st_size, max_entries=limits.package_entries)
            _compound(directory, notes)
    except cfb.CompoundFileDamaged as exc:
        notes.broken(str(exc))


def _compound(directory: cfb.Directory, notes: Notes) -> None:
    names = [entry.path for entry in directory.entries]
    leaves = {name.rsplit("/", 1)[-1] for name in names}
    reason = _encrypted(directory, leaves)
    if reason:
        notes.find("FORMAT_ENCRYPTED", reason=reason)
        return
    macros = [name for name in names if name.rsplit("/", 1)[-1] in {"_VBA_PROJECT", "_VBA_PROJECT_CUR", "Macros"}]
    embedded = [name for name in names if _EMBEDDED_OLE.fullmatch(name)]
    _tell(notes, macros, embedded)
    notes.checked.append("compound file directory")


def _encrypted(directory: cfb.Directory, leaves: set[str]) -> str | None:
    if "EncryptedPackage" in leaves:
        return "EncryptedPackage: OOXML protected by a password"
    if "EncryptedSummary" in leaves:
        return "EncryptedSummary: PowerPoint protected by a password"
    word = directory.start_of("WordDocument", 12)
    if len(word) == 12 and struct.unpack_from("<H", word, 10)[0] & _FIB_ENCRYPTED:  # noqa: PLR2004 - MS-DOC FibBase
        return "Word file protected by a password"
    book = directory.start_of("Workbook", 4096) or directory.start_of("Book", 4096)
    return "Excel file protected by a password" if _has_filepass(book) else None


def _has_filepass(stream: bytes) -> bool:
    """Whether a BIFF stream starts with a FILEPASS record among its first records (MS-XLS 2.4.117)."""
    at = 0
    for _ in range(_MAX_BIFF_RECORDS):
        if at + 4 > len(stream):
            return False
        kind, length = struct.unpack_from("<HH", stream, at)
        if kind == _FILEPASS:
            return True
        if at == 0 and kind != _BOF:
            return False
        at += 4 + length
    return False
