"""XML: well-formed, without entities, pictures and pages without scripts (R021).

Read as a stream with expat, which never fetches anything here and is stopped at the first entity declaration, before
anything is expanded. Namespaces are checked; DTDs are not loaded; validity against a schema is not asked.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final
from xml.parsers import expat

from archive_service.digests import CHUNK_BYTES
from archive_service.formats.limits import Limits
from archive_service.formats.report import MAX_NAMED, Notes, named, shorten

_SEPARATOR: Final = " "
_RUN_BY_BROWSERS: Final = frozenset({"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"})
"""Namespaces whose elements a browser acts upon: SVG and XHTML."""


class _Stopped(Exception):
    """Parsing is over because enough is known."""


class _Reading:
    """What is seen of one document."""

    def __init__(self, max_depth: int) -> None:
        self.max_depth = max_depth
        self.depth = 0
        self.deepest = 0
        self.elements = 0
        self.root: str | None = None
        self.doctype: str | None = None
        self.entity: tuple[str, str] | None = None
        self.scripts: list[str] = []
        """The first places with something a browser would run."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self.root is None:
            self.root = name
        self.elements += 1
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        if self.depth > self.max_depth:
            raise _Stopped
        namespace, _, local = name.rpartition(_SEPARATOR)
        if namespace in _RUN_BY_BROWSERS and len(self.scripts) <= MAX_NAMED:
            self.scripts += _scripts(local, attributes)

    def end(self, _name: str) -> None:
        self.depth -= 1

    def doctype_declared(self, name: str, system: str | None, public: str | None, _internal: bool) -> None:  # noqa: FBT001 - expat's signature
        self.doctype = public or system or name

    def entity_declared(
        self,
        name: str,
        is_parameter: bool,  # noqa: FBT001
        _value: str | None,
        _base: str | None,
        system: str | None,
        _public: str | None,
        _notation: str | None,
    ) -> None:
        kind = "external" if system else "internal"
        self.entity = (name, f"{kind} parameter entity" if is_parameter else f"{kind} entity")
        raise _Stopped


def _scripts(element: str, attributes: Mapping[str, str]) -> Iterator[str]:
    """Yields what of an element a browser would run: scripts, handlers of events, links that are programs."""
    if element == "script":
        yield element
    for name, value in attributes.items():
        if name.lower().startswith("on") or "".join(value.split()).lower().startswith("javascript:"):
            yield f"{element}/@{name.rpartition(_SEPARATOR)[2]}"


def check_xml(path: Path, notes: Notes, limits: Limits) -> None:
    """Checks a file that should be XML."""
    if path.stat().st_size > limits.xml_bytes:
        notes.over_limit("XML", f"{limits.xml_bytes} bytes")
        return
    with path.open("rb") as source:
        read_xml(source, notes, limits)


def read_xml(source: BinaryIO, notes: Notes, limits: Limits) -> bool:
    """Reads one XML stream; adds findings and the facts `xml_root`, `xml_doctype`; returns whether it is sound."""
    reading = _Reading(limits.xml_depth)
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.StartDoctypeDeclHandler = reading.doctype_declared
    parser.EntityDeclHandler = reading.entity_declared
    try:
        left = limits.xml_bytes
        while left > 0 and (chunk := source.read(min(CHUNK_BYTES, left))):
            parser.Parse(chunk, False)
            left -= len(chunk)
        parser.Parse(b"", True)
    except _Stopped:
        return _stopped(reading, notes, limits)
    except (expat.ExpatError, LookupError, ValueError) as exc:
        notes.find("FORMAT_XML_NOT_WELL_FORMED", line=parser.CurrentLineNumber, reason=shorten(str(exc)))
        return False
    notes.checked.append("XML well-formedness")
    notes.facts["xml_root"] = shorten(reading.root or "", 200)
    notes.facts["xml_elements"] = reading.elements
    if reading.doctype:
        notes.facts["xml_doctype"] = shorten(reading.doctype)
    if reading.scripts:
        notes.find("FORMAT_SCRIPT", where=named(reading.scripts))
    return True


def _stopped(reading: _Reading, notes: Notes, limits: Limits) -> bool:
    if reading.entity:
        name, kind = reading.entity
        notes.find("FORMAT_XML_ENTITY", entity=shorten(name, 80), kind=kind)
    else:
        notes.over_limit("XML depth", f"{limits.xml_depth} nested elements")
    return False
