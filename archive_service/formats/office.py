"""Office packages: OOXML and OpenDocument opened, every entry read, every XML part parsed. Legacy files: `compound.py`.

Looked for: damage, a missing main part, encryption, macros, embedded files, protection against editing, templates or objects fetched
from elsewhere. Not judged: layout, and validity against the Office schemas.
"""

import posixpath
import zipfile
from pathlib import Path
from typing import Final

from lxml import etree

from archive_service.formats.container import ZIP_ERRORS, open_zip, read_entries
from archive_service.formats.limits import Limits
from archive_service.formats.office_parts import PartsRead, read_parts
from archive_service.formats.report import Notes, named, shorten

_CONTENT_TYPES: Final = "[Content_Types].xml"
_ODF_MANIFEST: Final = "META-INF/manifest.xml"
_RELATIONS: Final = "_rels/.rels"
_ODF_CONTENT: Final = "content.xml"
_PART_BYTES: Final = 16 * 1024 * 1024
"""Relationships and manifests larger than this are not read as such."""
_MAIN_PART: Final = "/officeDocument"
"""End of the relationship type that leads to the main part, transitional and strict (ISO/IEC 29500-1 annex A)."""
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
    if not read_entries(package, notes, limits):
        return
    main = _main_part(package, names) if _RELATIONS in names else ""
    if _RELATIONS not in names:
        notes.broken("_rels/.rels is missing")
        return
    parts = _parts(package, notes, limits, {_CONTENT_TYPES, _RELATIONS, main})
    if parts is None:
        return
    if not main:
        notes.broken("the main part is missing")
        return
    lower = [name.lower() for name in names]
    macros = [name for name in lower if name.endswith(("vbaproject.bin", "vbadata.xml")) or "/macrosheets/" in name]
    notes.tell_contents(macros, [name for name in lower if "/embeddings/" in name or "/activex/" in name])
    remote = [name for name in names if name.endswith(".rels") and _remote(package, name)]
    _tell_links(notes, remote, parts)
    notes.checked.append("Office package (OOXML)")


def _main_part(package: zipfile.ZipFile, names: list[str]) -> str:
    """Returns the name of the part that holds the document, empty when the package has none."""
    content = _part(package, _RELATIONS)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        tree = etree.fromstring(content or b"", parser)
    except (etree.XMLSyntaxError, ValueError):
        return ""
    by_lower = {name.lower(): name for name in names}
    for relation in tree.iter("{*}Relationship"):
        if str(relation.get("Type", "")).endswith(_MAIN_PART):
            target = posixpath.normpath(str(relation.get("Target", "")).lstrip("/"))
            return by_lower.get(target.lower(), "")
    return ""


def _tell_links(notes: Notes, remote: list[str], parts: PartsRead) -> None:
    if remote or parts.fetching:
        notes.find(
            "FORMAT_SCRIPT", where=f"content fetched from elsewhere: {named([*remote, *sorted(parts.fetching)])}"
        )
    if parts.restricted:
        notes.find("FORMAT_EDITING_RESTRICTED", where=named(sorted(parts.restricted)))


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
    if not read_entries(package, notes, limits):
        return
    parts = _parts(package, notes, limits, {_ODF_MANIFEST, _ODF_CONTENT})
    if parts is None:
        return
    if _ODF_CONTENT not in names:
        notes.broken("content.xml is missing")
        return
    macros = [name for name in names if name.startswith(("Basic/", "Scripts/")) and not name.endswith(("/", "-lc.xml"))]
    embedded = [name for name in names if name.startswith("Object ") and name.endswith(f"/{_ODF_CONTENT}")]
    notes.tell_contents([*macros, *sorted(parts.listening)], embedded)
    _tell_links(notes, [], parts)
    notes.checked.append("Office package (OpenDocument)")


def _part(package: zipfile.ZipFile, name: str) -> bytes | None:
    try:
        if package.getinfo(name).file_size > _PART_BYTES:
            return None
        return package.read(name)
    except (KeyError, *ZIP_ERRORS):
        return None


def _parts(package: zipfile.ZipFile, notes: Notes, limits: Limits, vital: set[str]) -> PartsRead | None:
    """Reads the XML parts; None when a vital one is malformed or any declares an entity, which is told."""
    parts = read_parts(package, limits)
    if parts.entity:
        notes.find("FORMAT_XML_ENTITY", entity=parts.entity, kind="inside the package")
        return None
    lost = sorted(vital & parts.malformed.keys())
    if lost:
        notes.broken(shorten(f"XML inside: {lost[0]}: {parts.malformed[lost[0]]}"))
        return None
    if parts.malformed:
        name, reason = next(iter(sorted(parts.malformed.items())))
        notes.find("FORMAT_REPAIRED_ON_READING", reason=shorten(f"XML inside: {name}: {reason}"))
    return parts
