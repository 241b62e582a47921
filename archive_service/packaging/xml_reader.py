"""Reading XML from outside: streamed, no document type, no entities, no network, bounded.

External entities and entity bombs have no way in (XXE).
"""

import io
from collections.abc import Iterator, Mapping
from functools import cache
from typing import IO, Any, Final

from lxml import etree

from archive_service.errors import ConfigurationInvalid
from archive_service.packaging.profile import package_profile

XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"


_AT_ONCE_BYTES: Final = 256 * 1024
"""Documents up to this size are held whole while they are read."""
_SAFE: Final[Mapping[str, Any]] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}


class XmlRefused(Exception):
    """The document is not well-formed, has a document type, or does not fit the schema it is read with."""


def elements(source: IO[bytes], *, schema: etree.XMLSchema | None = None) -> Iterator[tuple[str, Any]]:
    """Yields ("start" | "end", element) while a document streams by, validating with `schema` on the way.

    The caller clears what it no longer needs. Depth and text sizes are bounded by libxml2's own limits (huge_tree off).

    Raises:
        XmlRefused: see the class; raised where the stream gets to the fault.
    """
    first = True
    try:
        for event, element in _events(source, schema):
            if first:
                first = False
                if element.getroottree().docinfo.doctype:
                    raise XmlRefused("a document type declaration is not accepted")
            if not isinstance(element.tag, str):
                raise XmlRefused("an entity reference is not accepted")
            yield event, element
    except etree.XMLSyntaxError as exc:  # schema errors of parsing come as this class too
        raise XmlRefused(str(exc)[:500]) from exc
    if first:
        raise XmlRefused("the document is empty")


def _events(source: IO[bytes], schema: etree.XMLSchema | None) -> Iterator[tuple[str, Any]]:
    """Parses a small document at once and then walks through it, which costs two thirds; a larger one streams by."""
    content = source.read(_AT_ONCE_BYTES + 1)
    if len(content) <= _AT_ONCE_BYTES:
        root = etree.fromstring(content, etree.XMLParser(schema=schema, collect_ids=False, **_SAFE))
        return etree.iterwalk(root, events=("start", "end"))
    rest = io.BufferedReader(_Joined(content, source))
    return etree.iterparse(rest, events=("start", "end"), schema=schema, collect_ids=False, **_SAFE)


class _Joined(io.RawIOBase):
    """What was read of a stream already, then the rest of it."""

    def __init__(self, begun: bytes, rest: IO[bytes]) -> None:
        self._begun = io.BytesIO(begun)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is wider
        content = self._begun.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def local_name(tag: str) -> str:
    """Returns an element's name without its namespace."""
    return tag.rpartition("}")[2]


def release(element: Any) -> None:
    """Forgets a finished element and everything before it, so that a streamed document stays small."""
    element.clear()
    while element.getprevious() is not None:
        del element.getparent()[0]


def parse(content: bytes, *, schema: etree.XMLSchema | None = None) -> Any:
    """Reads a small document held in memory into its root element.

    Raises:
        XmlRefused: see the class.
    """
    parser = etree.XMLParser(**_SAFE)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as exc:
        raise XmlRefused(str(exc)[:500]) from exc
    if root.getroottree().docinfo.doctype:
        raise XmlRefused("a document type declaration is not accepted")
    if schema is not None and not schema.validate(root):
        raise XmlRefused(str(schema.error_log.last_error)[:500])
    return root


class _OwnSchemas(etree.Resolver):
    """Imports of our schemas come from memory: nothing is looked up on disk or in the network."""

    def __init__(self, schemas: Mapping[str, bytes]) -> None:
        self._schemas = schemas

    def resolve(self, url: str | None, public_id: str | None, context: Any) -> Any:  # noqa: ARG002 - lxml's signature
        name = (url or "").rsplit("/", 1)[-1]
        return self.resolve_string(self._schemas.get(name, b""), context)


@cache
def own_schema(name: str) -> etree.XMLSchema:
    """Returns one of the schemas of our profile, ready to validate with.

    Raises:
        ConfigurationInvalid: the schema is missing or malformed.
    """
    schemas = package_profile().schemas
    parser = etree.XMLParser(no_network=True, load_dtd=False, resolve_entities=False)
    parser.resolvers.add(_OwnSchemas(schemas))
    try:
        return etree.XMLSchema(etree.fromstring(schemas[name], parser))
    except (KeyError, etree.LxmlError) as exc:
        raise ConfigurationInvalid(f"schema {name}: {exc!r}") from exc
