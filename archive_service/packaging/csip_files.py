"""CSIP58-79, 113, 114: fileSec, its groups and files."""

from collections.abc import Callable, Iterator
from typing import Final

from archive_service.packaging.csip_context import Context, Rule, media_type_problem, place
from archive_service.packaging.csip_metadata import checksum_problems, href_problems, size_problems
from archive_service.packaging.mets_reader import Attributes, FileGroup, Mets, MetsFile

FileCheck = Callable[[Context, Mets, MetsFile], Iterator[str]]


def _on_files(check: FileCheck) -> Rule:
    def rule(context: Context) -> Iterator[str]:
        for document in context.documents:
            for group in document.groups:
                for file in group.files:
                    name = f"{place(document)} file {file.attributes.get('ID', '')}"
                    yield from (f"{name}: {problem}" for problem in check(context, document, file))

    return rule


def _on_locations(check: Callable[[Context, Mets, Attributes], Iterator[str]]) -> Rule:
    def on_file(context: Context, document: Mets, file: MetsFile) -> Iterator[str]:
        for location in file.locations:
            yield from check(context, document, location)

    return _on_files(on_file)


def _on_groups(check: Callable[[Context, FileGroup], Iterator[str]]) -> Rule:
    def rule(context: Context) -> Iterator[str]:
        for document in context.documents:
            for group in document.groups:
                name = f"{place(document)} fileGrp {group.attributes.get('ID', '')}"
                yield from (f"{name}: {problem}" for problem in check(context, group))

    return rule


def _section(context: Context) -> Iterator[str]:
    for document in context.documents:
        if len(document.file_sections) != 1:
            yield f"{place(document)}: {len(document.file_sections)} fileSec instead of one"


def _section_id(context: Context) -> Iterator[str]:
    for document in context.documents:
        if any(not attributes.get("ID") for attributes in document.file_sections):
            yield f"{place(document)}: fileSec has no ID"


def _has_group(use: str) -> Rule:
    def rule(context: Context) -> Iterator[str]:
        for document in context.roots():
            uses = [group.attributes.get("USE") or "" for group in document.groups]
            if document.file_sections and not any(_is_use(value, use) for value in uses):
                yield f"there is no file group {use}"

    return rule


def _is_use(value: str, use: str) -> bool:
    return value == use or value.startswith(f"{use}/")


def _kind(context: Context, group: FileGroup) -> Iterator[str]:
    value = group.attributes.get("csip:CONTENTINFORMATIONTYPE")
    if value is None and _is_use(group.attributes.get("USE") or "", "Representations"):
        yield "CONTENTINFORMATIONTYPE is missing"
    if value is not None and value not in context.words.content_information_type:
        yield f"CONTENTINFORMATIONTYPE {value!r} is not in the vocabulary"


def _other_kind(_: Context, group: FileGroup) -> Iterator[str]:
    attributes = group.attributes
    if attributes.get("csip:CONTENTINFORMATIONTYPE") == "OTHER" and not attributes.get(
        "csip:OTHERCONTENTINFORMATIONTYPE"
    ):
        yield "CONTENTINFORMATIONTYPE is OTHER, but OTHERCONTENTINFORMATIONTYPE says nothing"


def _use(context: Context) -> Iterator[str]:
    folders = {folder.casefold() for folder in context.view.folders}
    for document in context.documents:
        for group in document.groups:
            value = group.attributes.get("USE")
            name = f"{place(document)} fileGrp {group.attributes.get('ID', '')}"
            if not value:
                yield f"{name}: USE is missing"
            elif not value.startswith(context.words.label):
                yield f"{name}: USE {value!r} is not in the vocabulary"
            elif not {value.casefold(), (document.folder + value).casefold()} & folders:
                yield f"{name}: USE {value!r} is no folder of the package"


def _unique(select: Callable[[Mets], Iterator[Attributes]], what: str) -> Rule:
    def rule(context: Context) -> Iterator[str]:
        seen: set[str] = set()
        for document in context.documents:
            for attributes in select(document):
                identifier = attributes.get("ID")
                if not identifier:
                    yield f"{place(document)}: a {what} has no ID"
                elif identifier in seen:
                    yield f"{place(document)}: ID {identifier} stands twice"
                else:
                    seen.add(identifier)

    return rule


def _group_attributes(document: Mets) -> Iterator[Attributes]:
    return (group.attributes for group in document.groups)


def _file_attributes(document: Mets) -> Iterator[Attributes]:
    return (file.attributes for group in document.groups for file in group.files)


def _not_empty(_: Context, group: FileGroup) -> Iterator[str]:
    if not group.files:
        yield "it has no file"


def _media_type(_: Context, __: Mets, file: MetsFile) -> Iterator[str]:
    problem = media_type_problem(file.attributes.get("MIMETYPE"))
    if problem is not None:
        yield problem


def _target(context: Context, document: Mets, file: MetsFile) -> str | None:
    href = file.locations[0].get("xlink:href") if file.locations else None
    return context.view.find(document.path(href)) if href else None


def _size(context: Context, document: Mets, file: MetsFile) -> Iterator[str]:
    yield from size_problems(context, file.attributes, _target(context, document, file))


def _created(_: Context, __: Mets, file: MetsFile) -> Iterator[str]:
    if not file.attributes.get("CREATED"):
        yield "CREATED is missing"


def _checksum(context: Context, document: Mets, file: MetsFile) -> Iterator[str]:
    yield from checksum_problems(context, file.attributes, _target(context, document, file))


def _checksum_type(context: Context, _: Mets, file: MetsFile) -> Iterator[str]:
    if file.attributes.get("CHECKSUMTYPE") not in context.words.checksum_type:
        yield f"CHECKSUMTYPE {file.attributes.get('CHECKSUMTYPE')!r} is not in the METS list"


def _refers(name: str, kinds: tuple[str, ...]) -> Rule:
    """CSIP74, 75: ADMID and DMDID name sections of their document."""

    def rule(context: Context) -> Iterator[str]:
        for document in context.documents:
            known = {item.attributes.get("ID") for item in document.sections if item.kind in kinds}
            known |= {item.get("ID") for item in document.amd_sections} if name == "ADMID" else set()
            for attributes in _file_attributes(document):
                for one in (attributes.get(name) or "").split():
                    if one not in known:
                        yield f"{place(document)} file {attributes.get('ID', '')}: {name} {one} is no section's ID"

    return rule


def _located(_: Context, __: Mets, file: MetsFile) -> Iterator[str]:
    if len(file.locations) != 1:
        yield f"{len(file.locations)} FLocat instead of one"


def _must_be(name: str, value: str) -> Callable[[Context, Mets, Attributes], Iterator[str]]:
    def check(_: Context, __: Mets, location: Attributes) -> Iterator[str]:
        if location.get(name) != value:
            yield f"FLocat {name} is not {value!r}"

    return check


FILE_RULES: Final = {
    "CSIP58": _section,
    "CSIP59": _section_id,
    "CSIP60": _has_group("Documentation"),
    "CSIP113": _has_group("Schemas"),
    "CSIP114": _has_group("Representations"),
    "CSIP62": _on_groups(_kind),
    "CSIP63": _on_groups(_other_kind),
    "CSIP64": _use,
    "CSIP65": _unique(_group_attributes, "fileGrp"),
    "CSIP66": _on_groups(_not_empty),
    "CSIP67": _unique(_file_attributes, "file"),
    "CSIP68": _on_files(_media_type),
    "CSIP69": _on_files(_size),
    "CSIP70": _on_files(_created),
    "CSIP71": _on_files(_checksum),
    "CSIP72": _on_files(_checksum_type),
    "CSIP74": _refers("ADMID", ("digiprovMD", "rightsMD", "techMD", "sourceMD")),
    "CSIP75": _refers("DMDID", ("dmdSec",)),
    "CSIP76": _on_files(_located),
    "CSIP77": _on_locations(_must_be("LOCTYPE", "URL")),
    "CSIP78": _on_locations(_must_be("xlink:type", "simple")),
    "CSIP79": _on_locations(href_problems),
}
