"""PDF/A metadata: the XMP packet, its agreement with the information dictionary, and the identification (6.7).

Clauses are those of ISO 19005-1, except where parts 2 and 3 ask something else (6.6.2.3). Part 1 predefines the properties of XMP 2004,
parts 2 and 3 those of XMP 2005; values of properties declared in extension schemas are not typed.
"""

import re
from collections.abc import Iterator
from typing import Final

import pikepdf
from lxml import etree

from archive_service.formats.pdf import PDFA_NAMESPACE, name_text, xmp_packet, xmp_tree
from archive_service.formats.pdfa_extensions import extension_problems, predefined
from archive_service.formats.xmp_schemas import PREDEFINED, SIMPLE

Problem = tuple[str, str]
"""Clause and what is wrong."""

_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_EXTENSION: Final = "http://www.aiim.org/pdfa/ns/extension/"
_SCHEMA: Final = "http://www.aiim.org/pdfa/ns/schema#"
_PROPERTY: Final = "http://www.aiim.org/pdfa/ns/property#"
_PREFIXES: Final = {
    PDFA_NAMESPACE: ("pdfaid", "6.7.11"),
    _EXTENSION: ("pdfaExtension", "6.7.8"),
    _SCHEMA: ("pdfaSchema", "6.7.8"),
    _PROPERTY: ("pdfaProperty", "6.7.8"),
    "http://www.aiim.org/pdfa/ns/type#": ("pdfaType", "6.7.8"),
    "http://www.aiim.org/pdfa/ns/field#": ("pdfaField", "6.7.8"),
}
_CONTAINERS: Final = {
    "bag": f"{{{_RDF}}}Bag",
    "seq": f"{{{_RDF}}}Seq",
    "alt": f"{{{_RDF}}}Alt",
    "lang": f"{{{_RDF}}}Alt",
}
_XMP: Final = "http://ns.adobe.com/xap/1.0/"
_DC: Final = "http://purl.org/dc/elements/1.1/"
_PDF: Final = "http://ns.adobe.com/pdf/1.3/"
_INFO: Final = {
    "/Title": (_DC, "title"),
    "/Author": (_DC, "creator"),
    "/Subject": (_DC, "description"),
    "/Keywords": (_PDF, "Keywords"),
    "/Creator": (_XMP, "CreatorTool"),
    "/Producer": (_PDF, "Producer"),
    "/CreationDate": (_XMP, "CreateDate"),
    "/ModDate": (_XMP, "ModifyDate"),
}
_PDF_DATE: Final = re.compile(r"D?:?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-])(\d\d)'?(\d\d)?'?)?.*")
_XMP_DATE: Final = re.compile(
    r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?(?:T(\d\d):(\d\d)(?::(\d\d))?(?:\.\d+)?)?(?:(Z)|([+-])(\d\d):(\d\d))?"
)

Properties = dict[tuple[str, str], etree._Element | str]  # noqa: SLF001 - lxml's public element type has no public name


def metadata_problems(pdf: pikepdf.Pdf, part: int) -> Iterator[Problem]:
    """Yields what is wrong with a document's metadata."""
    metadata = pdf.Root.get("/Metadata")
    if not isinstance(metadata, pikepdf.Stream):
        yield "6.7.2", "the catalog has no metadata stream"
        return
    if "/Filter" in metadata and part == 1:
        yield "6.7.2", "the metadata stream is compressed"
    packet = xmp_packet(pdf)
    tree = xmp_tree(packet) if packet else None
    if packet is None or tree is None:
        yield "6.7.9", "the metadata is not well-formed XML"
        return
    yield from _packet_problems(packet)
    properties = _properties(tree)
    yield from _identification(properties, part)
    yield from _prefix_problems(tree)
    if part == 1:
        yield from _schema_problems(properties, _declared(tree))
        yield from _info_problems(pdf, properties)
    else:
        yield from _later_schema_problems(properties, _declared(tree))
        yield from extension_problems(properties.get((_EXTENSION, "schemas")))


def _packet_problems(packet: bytes) -> Iterator[Problem]:
    header = re.search(rb"<\?xpacket\s+begin=([^?]*)\?>", packet[:1024])
    if header and re.search(rb"\b(bytes|encoding)\s*=", header[1]):
        yield "6.7.5", "the xpacket header has a bytes or encoding attribute"


def _properties(tree: etree._Element) -> Properties:
    """Returns top-level properties by namespace and name; a value given as attribute is a string."""
    found: Properties = {}
    for description in tree.iter(f"{{{_RDF}}}Description"):
        parent = description.getparent()
        if parent is None or parent.tag != f"{{{_RDF}}}RDF":
            continue
        for name, value in description.attrib.items():
            qualified = etree.QName(name)
            if qualified.namespace not in {_RDF, None, "http://www.w3.org/XML/1998/namespace"}:
                found[str(qualified.namespace), qualified.localname] = str(value)
        for child in description:
            if isinstance(child.tag, str):
                qualified = etree.QName(child)
                found[str(qualified.namespace), qualified.localname] = child
    return found


def _identification(properties: Properties, part: int) -> Iterator[Problem]:
    claimed = _text(properties.get((PDFA_NAMESPACE, "part")))
    if claimed != str(part):
        yield "6.7.11", f"pdfaid:part is {claimed!r}"
    conformance = _text(properties.get((PDFA_NAMESPACE, "conformance")))
    allowed = {1: {"A", "B"}, 2: {"A", "B", "U"}, 3: {"A", "B", "U"}}.get(part)
    if allowed and conformance not in allowed:
        yield "6.7.11", f"pdfaid:conformance is {conformance!r}"


def _prefix_problems(tree: etree._Element) -> Iterator[Problem]:
    seen: set[tuple[str, str | None]] = set()
    for element in tree.iter():
        for prefix, namespace in element.nsmap.items():
            seen.add((namespace, prefix))
    for namespace, prefix in sorted(seen, key=str):
        wanted, clause = _PREFIXES.get(namespace, (prefix, ""))
        if prefix != wanted:
            yield clause, f"namespace {namespace} has prefix {prefix!r} instead of {wanted!r}"


def _declared(tree: etree._Element) -> set[tuple[str, str]]:
    """Returns the properties that the packet's extension schemas declare."""
    found: set[tuple[str, str]] = set()
    for schema in tree.iter(f"{{{_SCHEMA}}}namespaceURI"):
        owner = schema.getparent()
        if owner is None:
            continue
        for name in owner.iter(f"{{{_PROPERTY}}}name"):
            found.add(((schema.text or "").strip(), (name.text or "").strip()))
    for element in tree.iter():
        namespace = element.get(f"{{{_SCHEMA}}}namespaceURI")
        if namespace:
            for inner in element.iter():
                name_text = inner.get(f"{{{_PROPERTY}}}name") or (
                    inner.text if inner.tag == f"{{{_PROPERTY}}}name" else None
                )
                if name_text:
                    found.add((str(namespace), str(name_text).strip()))
    return found


def _schema_problems(properties: Properties, declared: set[tuple[str, str]]) -> Iterator[Problem]:
    for (namespace, name), value in properties.items():
        kind = PREDEFINED.get(namespace, {}).get(name)
        if kind is None:
            if (namespace, name) not in declared:
                yield "6.7.2", f"property {name} of {namespace} is neither predefined nor declared"
        elif not _fits(value, kind):
            yield "6.7.2", f"property {name} is not of type {kind}"


def _later_schema_problems(properties: Properties, declared: set[tuple[str, str]]) -> Iterator[Problem]:
    """Yields properties that neither XMP 2005 nor the packet's own schemas have, and values of the wrong type.

    XMP 2005 added properties to XMP 2004 and changed the type of none.
    """
    for (namespace, name), value in properties.items():
        known = predefined(namespace, name)
        kind = PREDEFINED.get(namespace, {}).get(name)
        if known is False and (namespace, name) not in declared:
            yield "6.6.2.3.1", f"property {name} of {namespace} is neither predefined nor declared"
        elif kind is not None and namespace != _EXTENSION and not _fits(value, kind):
            yield "6.6.2.3.1", f"property {name} is not of type {kind}"


def _fits(value: etree._Element | str, kind: str) -> bool:
    container, _, inner = kind.partition(" ")
    if container in _CONTAINERS:
        return not isinstance(value, str) and _fits_container(value, container, inner)
    if kind == "struct":
        return not isinstance(value, str) and _is_struct(value)
    if isinstance(value, str):
        return _fits_text(value, kind)
    if len(value) or value.get(f"{{{_RDF}}}parseType"):
        return False
    return _fits_text(value.text or "", kind)


def _fits_text(text: str, kind: str) -> bool:
    return re.fullmatch(SIMPLE.get(kind, kind.replace("-", r"\-")), text.strip()) is not None


def _fits_container(value: etree._Element, container: str, inner: str) -> bool:
    children = [child for child in value if isinstance(child.tag, str)]
    if len(children) != 1 or children[0].tag != _CONTAINERS[container]:
        return False
    items = [child for child in children[0] if isinstance(child.tag, str)]
    if any(item.tag != f"{{{_RDF}}}li" for item in items):
        return False
    if container == "lang":
        return all(item.get(_XML_LANG) and not len(item) for item in items)
    if inner == "struct":
        return all(_is_struct(item) for item in items)
    return all(_fits_item(item, inner) for item in items)


def _fits_item(item: etree._Element, inner: str) -> bool:
    value = item.find(f".//{{{_RDF}}}value")  # a qualified value
    if value is not None:
        return _fits_text(value.text or "", inner)
    return not len(item) and _fits_text(item.text or "", inner)


def _is_struct(value: etree._Element) -> bool:
    if value.get(f"{{{_RDF}}}parseType") == "Resource":
        return True
    children = [child for child in value if isinstance(child.tag, str)]
    if len(children) == 1:
        return children[0].tag == f"{{{_RDF}}}Description"
    return not children and len(value.attrib) > 0


# ---------------------------------------------------------------- information dictionary


def _info_problems(pdf: pikepdf.Pdf, properties: Properties) -> Iterator[Problem]:
    info = pdf.trailer.get("/Info")
    if not isinstance(info, pikepdf.Dictionary):
        return
    for key, where in _INFO.items():
        value = info.get(key)
        if value is None:
            continue
        if not isinstance(value, pikepdf.String):
            yield "6.7.3", f"{key} is not a string"
            continue
        if not _same(key, name_text(value).rstrip("\0"), properties.get(where)):
            yield "6.7.3", f"{key} differs from the metadata"


def _same(key: str, info: str, value: etree._Element | str | None) -> bool:
    if value is None:
        return False
    if key in {"/CreationDate", "/ModDate"}:
        ours, theirs = _moment(_PDF_DATE, info), _moment(_XMP_DATE, _text(value) or "")
        return ours is not None and ours == theirs
    items = [] if isinstance(value, str) else list(value.iter(f"{{{_RDF}}}li"))
    if key == "/Author":
        return len(items) == 1 and (items[0].text or "") == info
    if key in {"/Title", "/Subject"} and items:
        default = [item for item in items if item.get(_XML_LANG) == "x-default"]
        return bool(default) and (default[0].text or "") == info
    return (_text(value) or "") == info


def _moment(pattern: re.Pattern[str], text: str) -> tuple[int, ...] | None:
    """Returns a date as numbers down to the second, and its offset in minutes; None when it is no date."""
    match = pattern.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, _, sign, off_hour, off_minute = match.groups()
    offset = (int(off_hour or 0) * 60 + int(off_minute or 0)) * (-1 if sign == "-" else 1)
    stamp = (int(hour or 0) * 60 + int(minute or 0)) - offset
    return int(year), int(month or 1), int(day or 1) * 1440 + stamp, int(second or 0)


def _text(value: etree._Element | str | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.text
