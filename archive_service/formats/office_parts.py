"""The parts of an Office package: every XML part well-formed and without entities, and what in them restricts, fetches or runs something.

Parts are read as streams with expat. Handlers for elements cost three times as much as parsing alone, so they are set only from where
a part names something of interest, or has become so long that its depth must be watched: a sheet of a million cells costs little more
than being unpacked. Names are compared without prefix, after expat has resolved encoding, character references and namespaces.
"""

import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from archive_service.digests import CHUNK_BYTES
from archive_service.formats.container import ZIP_ERRORS
from archive_service.formats.limits import MIB, Limits
from archive_service.formats.report import shorten

_SEPARATOR: Final = " "
_WORDS: Final = (
    b"Protection", b"fileSharing", b"modifyVerifier", b"instrText", b"fldSimple", b"ddeLink",
    b"dde-", b"event-listener", b"protected",
)  # fmt: skip
"""Elements and attributes of interest contain one of these."""
_OVERLAP_BYTES: Final = 32
"""A word that lies across two chunks is found in the second with this much of the first."""
_UNWATCHED_TAGS: Final = 100_000
"""Most tags of a part that are read without watching how deep they nest: expat keeps about 130 bytes for each open element."""
_TOKEN_BYTES: Final = 16 * MIB
"""Longest tag or comment: expat keeps it in memory and reads it anew with every chunk."""
_RELATIONS_MAX: Final = 10_000
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
_INSTRUCTION_CHARS: Final = 200
"""How much of a field's instruction is kept: its name stands first."""
_DDE_FIELD: Final = re.compile(r"\s*DDE(?:AUTO)?\b", re.IGNORECASE)
_ON: Final = frozenset({"1", "true", "on"})


@dataclass(frozen=True, slots=True)
class Relation:
    """A relationship from one part of a package to another, or to something outside (ISO/IEC 29500-2, 9.3)."""

    part: str
    """The `.rels` part it stands in."""
    kind: str
    """Last segment of its type."""
    target: str
    external: bool


@dataclass(slots=True)
class PartsRead:
    """What the XML parts of one package showed."""

    malformed: dict[str, str] = field(default_factory=dict)
    """Part → what is wrong with its XML."""
    empty: set[str] = field(default_factory=set)
    """Parts without a byte: some makers leave them beside the document."""
    entity: str = ""
    """Name of the first entity that a part declares; reading stopped there."""
    too_deep: str = ""
    """The first part that nests elements deeper than the limit; reading stopped there."""
    restricted: set[str] = field(default_factory=set)
    """Parts that ask programs not to edit."""
    fetching: set[str] = field(default_factory=set)
    """Parts with links that other programs answer (DDE)."""
    listening: set[str] = field(default_factory=set)
    """Parts that bind an event to a macro."""
    relations: list[Relation] = field(default_factory=list)
    """Relationships of an OOXML package, in the order read, hyperlinks and pictures left out."""
    drawn: set[str] = field(default_factory=set)
    """Folders of an OpenDocument package that hold a chart or a formula, not a file of its own."""


class _EntityDeclared(Exception):
    """A part declares an entity: enough is known."""


class _TooDeep(Exception):
    """A part nests elements deeper than the limit."""


def read_parts(package: zipfile.ZipFile, limits: Limits) -> PartsRead:
    """Reads every XML part of a package whose entries are known to be sound."""
    found = PartsRead()
    for entry in package.infolist():
        if not entry.filename.lower().endswith((".xml", ".rels")):
            continue
        if not entry.file_size:
            found.empty.add(entry.filename)
            continue
        try:
            _read(package, entry, found, limits)
        except _EntityDeclared as exc:
            found.entity = shorten(str(exc), 80)
            return found
        except _TooDeep:
            found.too_deep = entry.filename
            return found
        except (expat.ExpatError, *ZIP_ERRORS) as exc:
            found.malformed[entry.filename] = shorten(str(exc) or type(exc).__name__)
    return found


def _read(package: zipfile.ZipFile, entry: zipfile.ZipInfo, found: PartsRead, limits: Limits) -> None:
    part = _Part(entry.filename, found, limits.xml_depth)
    left = limits.package_unpacked_bytes
    with package.open(entry) as source:
        while left > 0 and (chunk := source.read(CHUNK_BYTES)):
            part.feed(chunk)
            left -= len(chunk)
    part.close()


class _Part:
    """One part while it is read."""

    def __init__(self, name: str, found: PartsRead, max_depth: int) -> None:
        self._name = name
        self._found = found
        self._max_depth = max_depth
        self._depth = 0
        """Elements open, counted from where watching began."""
        self._fed = self._tags = 0
        self._tail = b""
        self._instruction = ""
        self._parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self._parser.EntityDeclHandler = _refuse
        if name.lower().endswith(".rels") or name == "META-INF/manifest.xml":
            self._watch()

    def feed(self, chunk: bytes) -> None:
        """Parses a piece; raises what `read_parts` catches."""
        if self._parser.StartElementHandler is None and self._deserves_watching(chunk):
            self._watch()
        self._parser.Parse(chunk, False)
        self._fed += len(chunk)
        if self._fed - self._parser.CurrentByteIndex > _TOKEN_BYTES:
            raise ValueError(f"a tag or comment longer than {_TOKEN_BYTES} bytes")

    def close(self) -> None:
        """Ends the part."""
        self._parser.Parse(b"", True)
        self._end_instruction()

    def _deserves_watching(self, chunk: bytes) -> bool:
        text = self._tail + chunk
        self._tail = chunk[-_OVERLAP_BYTES:]
        self._tags += chunk.count(b"<")
        utf16 = not self._fed and chunk.startswith(_UTF16)
        return utf16 or self._tags > _UNWATCHED_TAGS or any(word in text for word in _WORDS)

    def _watch(self) -> None:
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > self._max_depth:
            raise _TooDeep
        name = tag.rpartition(_SEPARATOR)[2]
        judge = _JUDGES.get(name)
        if judge is not None:
            plain = {key.rpartition(_SEPARATOR)[2]: value for key, value in attributes.items()}
            judge(self, name, plain)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if tag.endswith("instrText"):
            self._parser.CharacterDataHandler = None

    # ------------------------------------------------ what elements say

    def protection(self, name: str, attributes: Mapping[str, str]) -> None:
        """Protection against editing, unless it is switched off."""
        if any(
            not switch or any(key.startswith(switch) and value in _ON for key, value in attributes.items())
            for switch in _PROTECTION[name]
        ):
            self._found.restricted.add(self._name)

    def field(self, name: str, attributes: Mapping[str, str]) -> None:
        """Fields of a text: a DDE field may be spread over many runs (ISO/IEC 29500-1, 17.16)."""
        if name == "instrText":
            self._parser.CharacterDataHandler = self._instruct
            return
        self._end_instruction()
        if name == "fldSimple":
            self._instruct(attributes.get("instr", ""))
            self._end_instruction()

    def link(self, _name: str, _attributes: Mapping[str, str]) -> None:
        """A DDE link."""
        self._found.fetching.add(self._name)

    def listener(self, _name: str, _attributes: Mapping[str, str]) -> None:
        """A macro that runs at an event."""
        self._found.listening.add(self._name)

    def relation(self, _name: str, attributes: Mapping[str, str]) -> None:
        """A relationship of an OOXML package."""
        kind = attributes.get("Type", "").rpartition("/")[2]
        if kind in _COMMON_RELATIONS or len(self._found.relations) >= _RELATIONS_MAX:
            return
        external = attributes.get("TargetMode") == "External"
        self._found.relations.append(Relation(self._name, kind, attributes.get("Target", ""), external))

    def manifest_entry(self, _name: str, attributes: Mapping[str, str]) -> None:
        """An entry of an OpenDocument manifest."""
        if attributes.get("media-type", "").endswith(("opendocument.chart", "opendocument.formula")):
            self._found.drawn.add(attributes.get("full-path", ""))

    def _instruct(self, text: str) -> None:
        if len(self._instruction) < _INSTRUCTION_CHARS:
            self._instruction += text

    def _end_instruction(self) -> None:
        if _DDE_FIELD.match(self._instruction):
            self._found.fetching.add(self._name)
        self._instruction = ""


_COMMON_RELATIONS: Final = frozenset({"hyperlink", "image"})
"""There may be very many of them, and nothing is asked of them here."""
_PROTECTION: Final[Mapping[str, tuple[str, ...]]] = {
    "documentProtection": ("enforcement",),
    "writeProtection": ("",),
    "sheetProtection": ("sheet",),
    "workbookProtection": ("lock",),
    "fileSharing": ("readOnlyRecommended",),
    "modifyVerifier": ("",),
    "table": ("protected",),
    "section": ("protected",),
    "spreadsheet": ("structure-protected",),
}
"""Element → start of the attribute that switches the protection on; empty: it is on by being there.

ISO/IEC 29500-1: 17.15.1.29, 17.15.1.93, 18.3.1.85, 18.2.29, 18.2.12, 19.2.1.19; ODF 1.3 part 3: 19.698, 19.849, 19.687.
A table of contents is always protected in OpenDocument and is not listed.
"""
_JUDGES: Final[Mapping[str, Callable[[_Part, str, Mapping[str, str]], None]]] = {
    **dict.fromkeys(_PROTECTION, _Part.protection),
    **dict.fromkeys(("instrText", "fldChar", "fldSimple"), _Part.field),
    **dict.fromkeys(("ddeLink", "dde-source", "dde-connection-decl"), _Part.link),
    "event-listener": _Part.listener,
    "Relationship": _Part.relation,
    "file-entry": _Part.manifest_entry,
}


def _refuse(name: str, *_: object) -> None:
    raise _EntityDeclared(name)
