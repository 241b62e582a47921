"""A METS document as plain values: what CSIP rules and the verifier look at, and nothing else.

Read as a stream; small at 100,000 files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from sys import intern
from typing import IO, Any, Final
from urllib.parse import unquote

from lxml import etree

from archive_service.packaging.mets import CSIP_NS, METS_NS, XLINK_NS
from archive_service.packaging.xml_reader import elements, local_name

_NAMES: Final = {CSIP_NS: "csip:", XLINK_NS: "xlink:", "https://DILCIS.eu/XML/METS/SIPExtensionMETS": "sip:"}

_REPEATED: Final = frozenset(
    {"MIMETYPE", "CREATED", "CHECKSUMTYPE", "LOCTYPE", "xlink:type", "STATUS", "MDTYPE", "ADMID"}
)
"""Attributes whose values are few: kept once for all files."""
_METADATA: Final = frozenset({"dmdSec", "digiprovMD", "rightsMD", "techMD", "sourceMD"})
_TAKEN: Final = tuple(
    f"{{{METS_NS}}}{name}"
    for name in ("metsHdr", *sorted(_METADATA), "amdSec", "file", "fileGrp", "fileSec", "structMap")
)
"""Elements that something is made of; what stands in them is looked at from there."""

Attributes = Mapping[str, str]
"""By name; attributes of CSIP, SIP and XLink have their usual prefix."""


@dataclass(slots=True)
class Node:
    """One METS element: attributes and children, for the parts that stay small."""

    name: str
    attributes: Attributes
    text: str = ""
    children: list["Node"] = field(default_factory=list)

    def all(self, name: str) -> list["Node"]:
        """Returns the children of that name."""
        return [child for child in self.children if child.name == name]

    def get(self, name: str) -> str | None:
        """Returns an attribute's value."""
        return self.attributes.get(name)

    def walk(self) -> Iterator["Node"]:
        """Yields this element and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(slots=True)
class MetadataSection:
    """A dmdSec, or a digiprovMD, rightsMD, techMD or sourceMD."""

    kind: str
    attributes: Attributes
    reference: Attributes | None
    """mdRef."""


@dataclass(slots=True)
class MetsFile:
    """A file of a file group."""

    attributes: Attributes
    locations: list[Attributes]
    """FLocat."""


@dataclass(slots=True)
class FileGroup:
    """A file group with its files."""

    attributes: Attributes
    files: list[MetsFile] = field(default_factory=list)


@dataclass(slots=True)
class Mets:
    """One METS document."""

    folder: str
    """Folder of the document in the package, "" for the package's own, else ending with "/"."""
    attributes: Attributes = field(default_factory=dict)
    header: Node | None = None
    described: list[MetadataSection] = field(default_factory=list)
    administrative: list[MetadataSection] = field(default_factory=list)
    amd_sections: list[Attributes] = field(default_factory=list)
    file_sections: list[Attributes] = field(default_factory=list)
    groups: list[FileGroup] = field(default_factory=list)
    struct_maps: list[Node] = field(default_factory=list)

    @property
    def is_root(self) -> bool:
        """Whether this is the package's METS."""
        return not self.folder

    @property
    def sections(self) -> Iterator[MetadataSection]:
        """All metadata sections."""
        yield from self.described
        yield from self.administrative

    def references(self) -> Iterator[tuple[Attributes, str]]:
        """Yields every file the document points to: its attributes (SIZE, CHECKSUM ...) and its path in the package."""
        for section in self.sections:
            if section.reference is not None and section.reference.get("xlink:href"):
                yield section.reference, self.path(section.reference["xlink:href"])
        for group in self.groups:
            for file in group.files:
                for location in file.locations:
                    if location.get("xlink:href"):
                        yield file.attributes, self.path(location["xlink:href"])

    def path(self, href: str) -> str:
        """Returns the path in the package that an xlink:href of this document means."""
        return self.folder + unquote(href.removeprefix("file:").removeprefix("./"))


def read_mets(source: IO[bytes], folder: str, *, schema: etree.XMLSchema | None = None) -> Mets:
    """Reads a METS document.

    Raises:
        XmlRefused: not well-formed, not METS, or not valid with `schema`.
    """
    read = elements(source, _TAKEN, schema=schema)
    mets = Mets(folder=folder, attributes=_attributes(next(read)))
    for element in read:
        _take(mets, element)
    return mets


def _take(mets: Mets, element: Any) -> None:
    name = local_name(element.tag)
    if name in {"metsHdr", "structMap"}:
        node = _node(element)
        if name == "metsHdr":
            mets.header = node
        else:
            mets.struct_maps.append(node)
    elif name in _METADATA:
        reference = next((_attributes(child) for child in element if local_name(child.tag) == "mdRef"), None)
        target = mets.described if name == "dmdSec" else mets.administrative
        target.append(MetadataSection(name, _attributes(element), reference))
        element.clear()
    elif name == "amdSec":
        mets.amd_sections.append(_attributes(element))
        element.clear()
    elif name == "file":
        _take_file(mets, element)
    elif name == "fileGrp":
        _group(mets, element)
        element.clear(keep_tail=False)
    elif name == "fileSec":
        mets.file_sections.append(_attributes(element))


def _take_file(mets: Mets, element: Any) -> None:
    parent = element.getparent()
    if parent is None or local_name(parent.tag) != "fileGrp":
        return
    locations: list[Attributes] = [_attributes(child) for child in element if local_name(child.tag) == "FLocat"]
    _group(mets, parent).files.append(MetsFile(_attributes(element), locations))
    element.clear()
    while element.getprevious() is not None:
        del parent[0]


def _group(mets: Mets, element: Any) -> FileGroup:
    """Returns the group being read; it is known by its identity in the tree, which `set` marks once."""
    attributes = _attributes(element)
    mark = attributes.get(_MARK)
    if mark is not None:
        return mets.groups[int(mark)]
    element.set(_MARK, str(len(mets.groups)))
    group = FileGroup(attributes)
    mets.groups.append(group)
    return group


_MARK: Final = "archive-service-group"


@cache
def _name(raw: str) -> str:
    """Returns the short form of an attribute's name, one object for all; "" for a foreign namespace."""
    if raw[0] != "{":
        return raw
    namespace, _, local = raw[1:].partition("}")
    prefix = _NAMES.get(namespace)
    return "" if prefix is None else prefix + local


def _attributes(element: Any) -> dict[str, str]:
    result: dict[str, str] = {}
    for raw, value in element.attrib.items():
        name = _name(raw)
        if name:
            result[name] = intern(value) if name in _REPEATED else value
    return result


def _node(element: Any) -> Node:
    children = [_node(child) for child in element]
    return Node(local_name(element.tag), _attributes(element), (element.text or "").strip(), children)
