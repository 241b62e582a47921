"""Properties in the metadata of PDF/A-2 and PDF/A-3, and the schemas that declare their own (ISO 19005-2, 6.6.2.3).

XMP 2005 predefines what is listed here by namespace. A schema description is a structure with fixed fields (tables 3 to 6).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from lxml import etree

from archive_service.formats.xmp_schemas import PREDEFINED

_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EXTENSION: Final = "http://www.aiim.org/pdfa/ns/extension/"
_SCHEMA: Final = "http://www.aiim.org/pdfa/ns/schema#"
_PROPERTY: Final = "http://www.aiim.org/pdfa/ns/property#"
_TYPE: Final = "http://www.aiim.org/pdfa/ns/type#"
_FIELD: Final = "http://www.aiim.org/pdfa/ns/field#"
_CLAUSE: Final = "6.6.2.3.3"

_ADDED: Final[Mapping[str, frozenset[str]]] = {
    "http://ns.adobe.com/xap/1.0/": frozenset({"Label", "Rating"}),
    "http://ns.adobe.com/xap/1.0/t/pg/": frozenset({"Fonts", "Colorants", "PlateNames"}),
    "http://ns.adobe.com/pdf/1.3/": frozenset({"Trapped"}),
    "http://www.aiim.org/pdfa/ns/id/": frozenset({"corr"}),
}
"""What XMP 2005 and part 2 add to the schemas of XMP 2004."""
_COMPLETE: Final = frozenset(
    {
        "http://purl.org/dc/elements/1.1/",
        "http://ns.adobe.com/xap/1.0/",
        "http://ns.adobe.com/xap/1.0/rights/",
        "http://ns.adobe.com/pdf/1.3/",
        "http://www.aiim.org/pdfa/ns/id/",
        "http://www.aiim.org/pdfa/ns/extension/",
    }
)
"""Schemas of which every property is known here."""
_OTHERS: Final = frozenset(
    {
        "http://ns.adobe.com/xmp/1.0/DynamicMedia/",
        "http://ns.adobe.com/camera-raw-settings/1.0/",
        "http://ns.adobe.com/exif/1.0/aux/",
        "adobe:ns:meta/",
    }
)

_FIELDS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    _SCHEMA: (frozenset({"schema", "namespaceURI", "prefix"}), frozenset({"property", "valueType"})),
    _PROPERTY: (frozenset({"name", "valueType", "category", "description"}), frozenset()),
    _TYPE: (frozenset({"type", "namespaceURI", "prefix", "description"}), frozenset({"field"})),
    _FIELD: (frozenset({"name", "valueType", "description"}), frozenset()),
}
"""Namespace of a structure → its fields: those it must have, those it may."""
_INNER: Final[Mapping[tuple[str, str], str]] = {
    (_SCHEMA, "property"): _PROPERTY,
    (_SCHEMA, "valueType"): _TYPE,
    (_TYPE, "field"): _FIELD,
}
_CATEGORIES: Final = re.compile(r"internal|external")

Value = etree._Element | str  # noqa: SLF001 - lxml's public element type has no public name
Problem = tuple[str, str]


def predefined(namespace: str, name: str) -> bool | None:
    """Returns whether XMP 2005 has a property; None where not every property of its schema is known here."""
    if name in _ADDED.get(namespace, ()) or name in PREDEFINED.get(namespace, {}):
        return True
    if namespace in _COMPLETE:
        return False
    return None if namespace in PREDEFINED or namespace in _OTHERS else False


def extension_problems(schemas: Value | None) -> Iterator[Problem]:
    """Yields what is wrong with a packet's descriptions of its own schemas (6.6.2.3.3)."""
    if schemas is None:
        return
    for description in _items(schemas, "Bag"):
        if description is None:
            yield _CLAUSE, "the extension schemas are not a bag"
        else:
            yield from _structure(description, _SCHEMA)


def _items(value: Value, container: str) -> Iterator[etree._Element | None]:
    """Yields the items of a container; None once when the value is no such container."""
    holders = [] if isinstance(value, str) else [child for child in value if isinstance(child.tag, str)]
    if len(holders) != 1 or holders[0].tag != f"{{{_RDF}}}{container}":
        yield None
        return
    yield from holders[0].iterfind(f"{{{_RDF}}}li")


def _structure(item: etree._Element, namespace: str) -> Iterator[Problem]:
    required, optional = _FIELDS[namespace]
    label = namespace.rstrip("#").rpartition("/")[2]
    found: dict[str, Value] = {}
    for (owner, name), value in _fields(item):
        if owner != namespace or name not in required | optional:
            yield _CLAUSE, f"a description of a {label} with the unknown field {name}"
        found[name] = value
    for name in sorted(required - found.keys()):
        yield _CLAUSE, f"a description of a {label} without {name}"
    category = found.get("category")
    if namespace == _PROPERTY and category is not None and not _CATEGORIES.fullmatch(_text(category)):
        yield _CLAUSE, "a property whose category is neither internal nor external"
    for name, value in found.items():
        inner = _INNER.get((namespace, name))
        if inner is not None:
            yield from _inner(value, inner)


def _inner(value: Value, namespace: str) -> Iterator[Problem]:
    for item in _items(value, "Seq"):
        if item is None:
            yield _CLAUSE, "descriptions that are not in a sequence"
        else:
            yield from _structure(item, namespace)


def _fields(item: etree._Element) -> Iterator[tuple[tuple[str, str], Value]]:
    """Yields the fields of a structure, however RDF writes it: as elements or attributes, with or without a description inside."""
    inside = [child for child in item if isinstance(child.tag, str)]
    holders = [item, *(child for child in inside if child.tag == f"{{{_RDF}}}Description")]
    for holder in holders:
        for name, value in holder.attrib.items():
            qualified = etree.QName(name)
            if qualified.namespace not in {None, _RDF, "http://www.w3.org/XML/1998/namespace"}:
                yield (str(qualified.namespace), qualified.localname), str(value)
        for child in holder:
            if isinstance(child.tag, str) and child.tag != f"{{{_RDF}}}Description":
                qualified = etree.QName(child)
                yield (str(qualified.namespace), qualified.localname), child


def _text(value: Value) -> str:
    return (value if isinstance(value, str) else value.text or "").strip()
