"""The parts of an Office package: every XML part well-formed and without entities, and what the text in them gives away.

Parts are read as streams with expat and no element handlers, so a sheet of a million cells costs little more than being unpacked.
"""

import re
import zipfile
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from archive_service.digests import CHUNK_BYTES
from archive_service.formats.container import ZIP_ERRORS
from archive_service.formats.limits import Limits
from archive_service.formats.report import shorten

_OVERLAP_BYTES: Final = 1024
"""A mark that lies across two chunks is found when it is shorter than this."""
_MARK: Final = re.compile(
    rb'(?P<restricted><w:documentProtection\b[^>]*enforcement="(?:1|true|on)"|<w:writeProtection\b|<(?:\w+:)?sheetProtection\b[^>]*sheet="(?:1|true)"'
    rb'|<(?:\w+:)?workbookProtection\b[^>]*lock\w+="(?:1|true)"|<p:modifyVerifier\b|table:protected="true"|text:protected="true")'
    rb"|(?P<dde><(?:\w+:)?ddeLink\b|instr(?:Text\b[^>]*>|=\")\s*DDE(?:AUTO)?\b|office:dde-source\b)"
    rb"|(?P<listener><script:event-listener\b)"
)
"""Protection against editing (ISO/IEC 29500-1 17.15.1.29, 18.2.29, 18.3.1.85, 19.2.1.19; ODF 19.698), DDE links, bound macros."""


@dataclass(slots=True)
class PartsRead:
    """What the XML parts of one package showed."""

    malformed: dict[str, str] = field(default_factory=dict)
    """Part → what is wrong with its XML."""
    entity: str = ""
    """Name of the first entity that a part declares; reading stopped there."""
    restricted: set[str] = field(default_factory=set)
    """Parts that ask programs not to edit."""
    fetching: set[str] = field(default_factory=set)
    """Parts with links that other programs answer (DDE)."""
    listening: set[str] = field(default_factory=set)
    """Parts that bind an event to a macro."""


class _EntityDeclared(Exception):
    """A part declares an entity: enough is known."""


def read_parts(package: zipfile.ZipFile, limits: Limits) -> PartsRead:
    """Reads every XML part of a package whose entries are known to be sound."""
    found = PartsRead()
    for entry in package.infolist():
        if not entry.filename.lower().endswith((".xml", ".rels")) or not entry.file_size:
            continue
        try:
            _read(package, entry, found, limits)
        except _EntityDeclared as exc:
            found.entity = shorten(str(exc), 80)
            return found
        except (expat.ExpatError, LookupError, ValueError) as exc:
            found.malformed[entry.filename] = shorten(str(exc))
        except ZIP_ERRORS as exc:
            found.malformed[entry.filename] = shorten(str(exc) or type(exc).__name__)
    return found


def _read(package: zipfile.ZipFile, entry: zipfile.ZipInfo, found: PartsRead, limits: Limits) -> None:
    parser = expat.ParserCreate()
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.EntityDeclHandler = _refuse
    left = limits.package_unpacked_bytes
    tail = b""
    with package.open(entry) as source:
        while left > 0 and (chunk := source.read(CHUNK_BYTES)):
            parser.Parse(chunk, False)
            left -= len(chunk)
            _note(tail + chunk, entry.filename, found)
            tail = chunk[-_OVERLAP_BYTES:]
    parser.Parse(b"", True)


def _refuse(name: str, *_: object) -> None:
    raise _EntityDeclared(name)


def _note(text: bytes, name: str, found: PartsRead) -> None:
    for match in _MARK.finditer(text):
        kind = match.lastgroup
        (found.restricted if kind == "restricted" else found.fetching if kind == "dde" else found.listening).add(name)
