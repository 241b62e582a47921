"""Office packages: OOXML and OpenDocument opened, every entry read, every XML part parsed. Legacy files: `compound.py`.

Looked for: damage, a missing main part, encryption, macros, embedded files, protection against editing, templates or objects fetched
from elsewhere. Not judged: layout, and validity against the Office schemas.
"""

import posixpath
import re
import zipfile
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from archive_service.formats.container import ZIP_ERRORS, open_zip, read_entries
from archive_service.formats.limits import Limits
from archive_service.formats.office_parts import PartsRead, Relation, read_parts
from archive_service.formats.report import Notes, named, shorten

_CONTENT_TYPES: Final = "[Content_Types].xml"
_ODF_MANIFEST: Final = "META-INF/manifest.xml"
_RELATIONS: Final = "_rels/.rels"
_ODF_CONTENT: Final = "content.xml"
_MANIFEST_BYTES: Final = 16 * 1024 * 1024
"""Manifests larger than this are not read as such."""
_MAIN_PART: Final = "officeDocument"
"""Kind of the relationship that leads to the main part, transitional and strict (ISO/IEC 29500-1 annex A)."""
_MACRO_RELATIONS: Final = frozenset({"vbaProject", "wordVbaData", "xlMacrosheet", "xlIntlMacrosheet"})
"""Parts with programs, whatever they are named (MS-OFFMACRO2 2.2)."""
_EMBEDDING_RELATIONS: Final = frozenset({"oleObject", "package", "control", "aFChunk"})
_FETCHING_RELATIONS: Final = frozenset({"oleObject", "frame", "subDocument", "externalLinkPath", "aFChunk", "control"})
"""What a program fetches while it opens a document; hyperlinks wait for a click."""
_TEMPLATE: Final = "attachedTemplate"
_LOCAL_TARGET: Final = re.compile(r"(?:file:///)?[A-Za-z]:[/\\]|[^:/\\]*$|file:///(?![/\\])", re.IGNORECASE)
"""A template on the writer's own disk: every document of an office that has its own template names it."""
_ODF_MACROS: Final = ("Basic/", "Scripts/")
_ODF_LISTS: Final = ("script-lc.xml", "script-lb.xml", "dialog-lc.xml", "dialog-lb.xml")
"""Tables of contents of macro libraries, which stand there with empty libraries too."""
_ODF_OBJECT: Final = re.compile(r"Object [^/]+(?=$|/content\.xml$)")
"""An object as a folder of its own, or as one file of another format."""


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
    if _RELATIONS not in names:
        notes.broken(f"{_RELATIONS} is missing")
        return
    parts = _parts(package, notes, limits)
    if parts is None:
        return
    by_lower = {name.lower(): name for name in names}
    main = next((relation for relation in parts.relations if relation.kind == _MAIN_PART), None)
    vital = {_CONTENT_TYPES, _RELATIONS, by_lower.get(_target(main), "") if main else ""}
    if not _intact(parts, vital, notes):
        return
    if "" in vital:
        notes.broken("the main part is missing")
        return
    inside = [relation for relation in parts.relations if not relation.external]
    macros = {name for name in by_lower if name.endswith(("vbaproject.bin", "vbadata.xml")) or "/macrosheets/" in name}
    macros |= {_target(relation) for relation in inside if relation.kind in _MACRO_RELATIONS}
    embedded = {name for name in by_lower if "/embeddings/" in name or "/activex/" in name}
    embedded |= {_target(relation) for relation in inside if relation.kind in _EMBEDDING_RELATIONS}
    notes.tell_contents(sorted(macros & by_lower.keys()), sorted(embedded & by_lower.keys()))
    _tell_links(notes, [relation.part for relation in parts.relations if _fetched(relation)], parts)
    notes.checked.append("Office package (OOXML)")


def _target(relation: Relation) -> str:
    """Returns the name, in lower case, of the part that a relationship inside the package leads to."""
    base = posixpath.dirname(posixpath.dirname(relation.part))
    return posixpath.normpath(posixpath.join("/", base, unquote(relation.target))).lstrip("/").lower()


def _fetched(relation: Relation) -> bool:
    """Whether the reading program fetches a template, object or frame from outside."""
    if not relation.external:
        return False
    remote_template = relation.kind == _TEMPLATE and not _LOCAL_TARGET.match(relation.target)
    return remote_template or relation.kind in _FETCHING_RELATIONS


def _tell_links(notes: Notes, remote: list[str], parts: PartsRead) -> None:
    fetching = [*dict.fromkeys(remote), *sorted(parts.fetching)]
    if fetching:
        notes.find("FORMAT_SCRIPT", where=f"content fetched from elsewhere: {named(fetching)}")
    if parts.restricted:
        notes.find("FORMAT_EDITING_RESTRICTED", where=named(sorted(parts.restricted)))


def _odf(package: zipfile.ZipFile, names: list[str], notes: Notes, limits: Limits) -> None:
    manifest = _manifest(package)
    if manifest is None:
        notes.broken(f"{_ODF_MANIFEST} is missing")
        return
    if b"encryption-data" in manifest:
        notes.find("FORMAT_ENCRYPTED", reason="encrypted entries in the manifest")
        return
    parts = _parts(package, notes, limits)
    if parts is None or not _intact(parts, {_ODF_MANIFEST, _ODF_CONTENT}, notes):
        return
    if _ODF_CONTENT not in names:
        notes.broken(f"{_ODF_CONTENT} is missing")
        return
    macros = [name for name in names if name.startswith(_ODF_MACROS) and not name.endswith(("/", *_ODF_LISTS))]
    objects = dict.fromkeys(match[0] for name in names if (match := _ODF_OBJECT.match(name)))
    embedded = [name for name in objects if not {name, f"{name}/"} & parts.drawn]
    notes.tell_contents([*macros, *sorted(parts.listening)], embedded)
    _tell_links(notes, [], parts)
    notes.checked.append("Office package (OpenDocument)")


def _manifest(package: zipfile.ZipFile) -> bytes | None:
    try:
        if package.getinfo(_ODF_MANIFEST).file_size > _MANIFEST_BYTES:
            return None
        return package.read(_ODF_MANIFEST)
    except (KeyError, *ZIP_ERRORS):
        return None


def _parts(package: zipfile.ZipFile, notes: Notes, limits: Limits) -> PartsRead | None:
    """Reads every entry and every XML part; None, and told, when an entry is damaged or a part cannot be read safely."""
    if not read_entries(package, notes, limits):
        return None
    parts = read_parts(package, limits)
    if parts.entity:
        notes.find("FORMAT_XML_ENTITY", entity=parts.entity, kind="inside the package")
    elif parts.too_deep:
        notes.over_limit("XML depth", f"{limits.xml_depth} nested elements")
    else:
        return parts
    return None


def _intact(parts: PartsRead, vital: set[str], notes: Notes) -> bool:
    """Whether the parts without which there is no document are well-formed; tells of any that is not."""
    lost = sorted(vital & (parts.malformed.keys() | parts.empty))
    if lost:
        notes.broken(shorten(f"XML inside: {lost[0]}: {parts.malformed.get(lost[0], 'empty')}"))
        return False
    if parts.malformed:
        name, reason = min(parts.malformed.items())
        notes.find("FORMAT_REPAIRED_ON_READING", reason=shorten(f"XML inside: {name}: {reason}"))
    return True
