"""Reading XML from outside: streamed, no document type, no entities, no network, bounded.

External entities and entity bombs have no way in (XXE).
"""

import io
from collections.abc import Iterator, Mapping, Sequence
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


def elements(source: IO[bytes], tags: Sequence[str], *, schema: etree.XMLSchema | None = None) -> Iterator[Any]:
    """Yields a document's root, then every element of the given names once it is read, validating with `schema` on the way.

    The caller clears what it no longer needs. Depth and text sizes are bounded by libxml2's own limits (huge_tree off).

    Args:
        source: The document.
        tags: Names with their namespace; all other elements pass without a step of ours.
        schema: What the whole document has to be valid with.

    Raises:
        XmlRefused: see the class; raised where the stream gets to the fault.
    """
    content = source.read(_AT_ONCE_BYTES + 1)
    try:
        if len(content) <= _AT_ONCE_BYTES:
            yield from _walked(content, tags, schema)
        else:
            yield from _streamed(io.BufferedReader(_Joined(content, source)), tags, schema)
    except etree.XMLSyntaxError as exc:  # schema errors of parsing come as this class too
        raise XmlRefused(str(exc)[:500]) from exc


def _walked(content: bytes, tags: Sequence[str], schema: etree.XMLSchema | None) -> Iterator[Any]:
    """Parses a small document at once and then walks through it, which costs two thirds of streaming it."""
    root = etree.fromstring(content, etree.XMLParser(schema=schema, collect_ids=False, **_SAFE))
    yield _without_doctype(root)
    for _, element in etree.iterwalk(root, events=("end",), tag=tags):
        yield element


def _streamed(source: IO[bytes], tags: Sequence[str], schema: etree.XMLSchema | None) -> Iterator[Any]:
    parsing = etree.iterparse(source, events=("end",), tag=tags, schema=schema, collect_ids=False, **_SAFE)
    known = False
    for _, element in parsing:
        if not known:
            known = True
            yield _without_doctype(element.getroottree().getroot())
        yield element
    if not known:
        yield _without_doctype(parsing.root)


def _without_doctype(root: Any) -> Any:
    """Returns the root of a document without a document type; entities, which only such a type can bring in, have no other way."""
    if root.getroottree().docinfo.doctype:
        raise XmlRefused("a document type declaration is not accepted")
    return root


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
