"""CSIP80-112, 116, 118, 119: the structural map."""

from collections.abc import Iterator
from typing import Final

from archive_service.packaging.csip_context import (
    Context,
    DocumentCheck,
    csip_maps,
    divisions,
    main_divisions,
    on_each,
    place,
)
from archive_service.packaging.mets_reader import Mets, Node


def _one_map(_: Context, document: Mets) -> Iterator[str]:
    count = len(csip_maps(document))
    if count != 1:
        yield f"{count} structMap labelled CSIP instead of one"


def _map_type(_: Context, document: Mets) -> Iterator[str]:
    if any(node.get("TYPE") != "PHYSICAL" for node in csip_maps(document)):
        yield "structMap TYPE is not PHYSICAL"


def _map_label(_: Context, document: Mets) -> Iterator[str]:
    if not csip_maps(document):
        yield "no structMap is labelled CSIP"


def _map_id(_: Context, document: Mets) -> Iterator[str]:
    if any(not node.get("ID") for node in csip_maps(document)):
        yield "structMap has no ID"


def _main(_: Context, document: Mets) -> Iterator[str]:
    if any(len(node.all("div")) != 1 for node in csip_maps(document)):
        yield "structMap has not one main division"


def _main_id(_: Context, document: Mets) -> Iterator[str]:
    if any(not division.get("ID") for division in main_divisions(document)):
        yield "the main division has no ID"


def _main_label(_: Context, document: Mets) -> Iterator[str]:
    objid = document.attributes.get("OBJID")
    for division in main_divisions(document):
        if division.get("LABEL") != objid:
            yield f"the main division is labelled {division.get('LABEL')!r}, not as OBJID {objid!r}"


def _metadata(_: Context, document: Mets) -> Iterator[str]:
    count = len(divisions(document, "Metadata"))
    if main_divisions(document) and count != 1:
        yield f"{count} divisions labelled Metadata instead of one"


def _division_id(label: str) -> DocumentCheck:
    def check(_: Context, document: Mets) -> Iterator[str]:
        if any(not division.get("ID") for division in divisions(document, label)):
            yield f"the division {label} has no ID"

    return check


def _lists(name: str, kinds: tuple[str, ...]) -> DocumentCheck:
    """CSIP91, 92: the Metadata division lists every section, and nothing else."""

    def check(_: Context, document: Mets) -> Iterator[str]:
        wanted = {item.attributes.get("ID") for item in document.sections if item.kind in kinds} - {None}
        sections = {item.get("ID") for item in document.amd_sections} if name == "ADMID" else set()
        for division in divisions(document, "Metadata"):
            listed = set((division.get(name) or "").split())
            if listed and listed <= sections:
                continue
            missing = sorted(item for item in wanted - listed if item is not None)
            if missing:
                yield f"{name} does not list {', '.join(missing[:5])}"
            surplus = sorted(listed - wanted - sections)
            if surplus:
                yield f"{name} lists {', '.join(surplus[:5])}, which is no section"

    return check


def _has_division(use: str) -> DocumentCheck:
    """CSIP93, 97: where there is such a file group there is such a division."""

    def check(_: Context, document: Mets) -> Iterator[str]:
        if any(group.attributes.get("USE") == use for group in document.groups) and not divisions(document, use):
            yield f"there is no division {use}"

    return check


def _group_ids(document: Mets, use: str) -> set[str]:
    return {
        group.attributes.get("ID", "")
        for group in document.groups
        if (group.attributes.get("USE") or "") == use or (group.attributes.get("USE") or "").startswith(f"{use}/")
    }


def _pointers(nodes: list[Node]) -> list[Node]:
    return [item for node in nodes for item in node.walk() if item.name == "fptr"]


def _referenced(use: str) -> DocumentCheck:
    """CSIP96, 100, 104 and 116, 118, 119: groups and fptr of one kind point at each other."""

    def check(_: Context, document: Mets) -> Iterator[str]:
        if not main_divisions(document):
            return
        groups = _group_ids(document, use)
        everywhere = {item.get("FILEID") for item in _pointers(divisions(document))}
        everywhere |= {
            item.get("xlink:title")
            for division in divisions(document)
            for item in division.walk()
            if item.name == "mptr"
        }
        for group in sorted(groups - {item for item in everywhere if item}):
            yield f"file group {group} is in no division"
        for pointer in _pointers(divisions(document, use)):
            if pointer.get("FILEID") not in groups:
                yield f"fptr {pointer.get('FILEID')!r} is no file group {use}"

    return check


def _contents(_: Context, document: Mets) -> Iterator[str]:
    """CSIP101: a group "Representations" has a division, its own or one for each representation."""
    if any(group.attributes.get("USE") == "Representations" for group in document.groups) and not any(
        (division.get("LABEL") or "").startswith("Representations") for division in divisions(document)
    ):
        yield "there is no division Representations"


def _all_ids(_: Context, document: Mets) -> Iterator[str]:
    seen: set[str] = set()
    for division in divisions(document):
        identifier = division.get("ID")
        if not identifier:
            yield f"division {division.get('LABEL')} has no ID"
        elif identifier in seen:
            yield f"ID {identifier} stands twice"
        else:
            seen.add(identifier)


def _of_representations(document: Mets) -> Iterator[Node]:
    """Yields divisions that stand for a representation with its own METS."""
    for division in divisions(document):
        if (division.get("LABEL") or "").startswith("Representations/") and not _pointers([division]):
            yield division


def _representations(context: Context, document: Mets) -> Iterator[str]:
    """CSIP105: each representation METS has its division."""
    if not document.is_root or not main_divisions(document):
        return
    pointed = {
        document.path(pointer.get("xlink:href") or "").casefold()
        for division in divisions(document)
        for pointer in division.walk()
        if pointer.name == "mptr"
    }
    for other in context.documents:
        if not other.is_root and pointed and place(other).casefold() not in pointed:
            yield f"{place(other)} has no division"


def _path(context: Context, document: Mets) -> Iterator[str]:
    folders = {folder.casefold() for folder in context.view.folders}
    for division in _of_representations(document):
        label = division.get("LABEL") or ""
        if (document.folder + label.rstrip("/")).casefold() not in folders:
            yield f"division {label} is no folder of the package"


def _titles(_: Context, document: Mets) -> Iterator[str]:
    groups = {group.attributes.get("ID") for group in document.groups}
    for division in _of_representations(document):
        for pointer in division.all("mptr"):
            if pointer.get("xlink:title") not in groups:
                yield f"mptr title {pointer.get('xlink:title')!r} is no file group"


def _one_pointer(_: Context, document: Mets) -> Iterator[str]:
    for division in _of_representations(document):
        if len(division.all("mptr")) != 1:
            yield f"division {division.get('LABEL')} has {len(division.all('mptr'))} mptr instead of one"


def _pointer_href(context: Context, document: Mets) -> Iterator[str]:
    for division in _of_representations(document):
        for pointer in division.all("mptr"):
            href = pointer.get("xlink:href")
            if not href or context.view.find(document.path(href)) is None:
                yield f"mptr {href!r} is no file of the package"


def _pointer_is(name: str, value: str) -> DocumentCheck:
    def check(_: Context, document: Mets) -> Iterator[str]:
        for division in _of_representations(document):
            for pointer in division.all("mptr"):
                if pointer.get(name) != value:
                    yield f"mptr {name} is not {value!r}"

    return check


_ADMINISTRATIVE: Final = ("digiprovMD", "rightsMD", "techMD", "sourceMD")

STRUCT_MAP_RULES: Final = {
    "CSIP80": on_each(_one_map),
    "CSIP81": on_each(_map_type),
    "CSIP82": on_each(_map_label),
    "CSIP83": on_each(_map_id),
    "CSIP84": on_each(_main),
    "CSIP85": on_each(_main_id),
    "CSIP86": on_each(_main_label),
    "CSIP88": on_each(_metadata),
    "CSIP89": on_each(_division_id("Metadata")),
    "CSIP90": on_each(_metadata),
    "CSIP91": on_each(_lists("ADMID", _ADMINISTRATIVE)),
    "CSIP92": on_each(_lists("DMDID", ("dmdSec",))),
    "CSIP93": on_each(_has_division("Documentation")),
    "CSIP94": on_each(_division_id("Documentation")),
    "CSIP95": on_each(_has_division("Documentation")),
    "CSIP96": on_each(_referenced("Documentation")),
    "CSIP116": on_each(_referenced("Documentation")),
    "CSIP97": on_each(_has_division("Schemas")),
    "CSIP98": on_each(_division_id("Schemas")),
    "CSIP99": on_each(_has_division("Schemas")),
    "CSIP100": on_each(_referenced("Schemas")),
    "CSIP118": on_each(_referenced("Schemas")),
    "CSIP101": on_each(_contents),
    "CSIP102": on_each(_division_id("Representations")),
    "CSIP103": on_each(_contents),
    "CSIP104": on_each(_referenced("Representations")),
    "CSIP119": on_each(_referenced("Representations")),
    "CSIP105": on_each(_representations),
    "CSIP106": on_each(_all_ids),
    "CSIP107": on_each(_path),
    "CSIP108": on_each(_titles),
    "CSIP109": on_each(_one_pointer),
    "CSIP110": on_each(_pointer_href),
    "CSIP111": on_each(_pointer_is("xlink:type", "simple")),
    "CSIP112": on_each(_pointer_is("LOCTYPE", "URL")),
}
