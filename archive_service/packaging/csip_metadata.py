"""CSIP17-57: dmdSec and amdSec, and what their mdRef says of the files they point to.

The same eleven rules stand three times in the specification, for dmdSec, digiprovMD and rightsMD; here they are written
once.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from archive_service.errors import PackageInvalid
from archive_service.packaging.csip_context import Context, Rule, media_type_problem, place
from archive_service.packaging.mets_reader import Attributes, MetadataSection, Mets

_HASHES: Final = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}

SectionCheck = Callable[[Context, Mets, MetadataSection], Iterator[str]]
ReferenceCheck = Callable[[Context, Mets, Attributes], Iterator[str]]


def _sections(document: Mets, kind: str) -> list[MetadataSection]:
    if kind == "dmdSec":
        return document.described
    return [section for section in document.administrative if section.kind == kind]


def _on_sections(kind: str, check: SectionCheck) -> Rule:
    def rule(context: Context) -> Iterator[str]:
        for document in context.documents:
            for section in _sections(document, kind):
                name = f"{place(document)} {kind} {section.attributes.get('ID', '')}"
                yield from (f"{name}: {problem}" for problem in check(context, document, section))

    return rule


def _on_references(kind: str, check: ReferenceCheck) -> Rule:
    def on_section(context: Context, document: Mets, section: MetadataSection) -> Iterator[str]:
        if section.reference is not None:
            yield from check(context, document, section.reference)

    return _on_sections(kind, on_section)


def _all_ids(context: Context) -> dict[str, int]:
    counts: dict[str, int] = {}
    for document in context.documents:
        for section in document.sections:
            identifier = section.attributes.get("ID")
            if identifier:
                counts[identifier] = counts.get(identifier, 0) + 1
    return counts


def _identified(kind: str) -> Rule:
    def rule(context: Context) -> Iterator[str]:
        counts = _all_ids(context)
        for document in context.documents:
            for section in _sections(document, kind):
                identifier = section.attributes.get("ID")
                if not identifier:
                    yield f"{place(document)}: a {kind} has no ID"
                elif counts[identifier] > 1:
                    yield f"{place(document)}: ID {identifier} stands twice"

    return rule


def _created(_: Context, __: Mets, section: MetadataSection) -> Iterator[str]:
    if not section.attributes.get("CREATED"):
        yield "CREATED is missing"


def _status(context: Context, _: Mets, section: MetadataSection) -> Iterator[str]:
    value = section.attributes.get("STATUS")
    if value not in context.words.status:
        yield f"STATUS {value!r} is not in the vocabulary"


def _referenced(_: Context, __: Mets, section: MetadataSection) -> Iterator[str]:
    if section.reference is None:
        yield "mdRef is missing"


def _must_be(name: str, value: str) -> ReferenceCheck:
    def check(_: Context, __: Mets, reference: Attributes) -> Iterator[str]:
        if reference.get(name) != value:
            yield f"{name} is not {value!r}"

    return check


def _href(context: Context, document: Mets, reference: Attributes) -> Iterator[str]:
    yield from href_problems(context, document, reference)


def href_problems(context: Context, document: Mets, reference: Attributes) -> Iterator[str]:
    """Yields what is wrong with an xlink:href: missing, or pointing to no file of the package."""
    href = reference.get("xlink:href")
    if href is None:
        yield "xlink:href is missing"
    elif href and "://" not in href and context.view.find(document.path(href)) is None:
        yield f"{href} is no file of the package"


def _metadata_type(context: Context, _: Mets, reference: Attributes) -> Iterator[str]:
    value = reference.get("MDTYPE")
    if value not in context.words.metadata_type:
        yield f"MDTYPE {value!r} is not in the METS list"


def _media_type(_: Context, __: Mets, reference: Attributes) -> Iterator[str]:
    problem = media_type_problem(reference.get("MIMETYPE"))
    if problem is not None:
        yield problem


def _size(context: Context, document: Mets, reference: Attributes) -> Iterator[str]:
    yield from size_problems(context, reference, _target(context, document, reference))


def _reference_created(_: Context, __: Mets, reference: Attributes) -> Iterator[str]:
    if not reference.get("CREATED"):
        yield "CREATED is missing"


def _checksum(context: Context, document: Mets, reference: Attributes) -> Iterator[str]:
    yield from checksum_problems(context, reference, _target(context, document, reference))


def _checksum_type(context: Context, _: Mets, reference: Attributes) -> Iterator[str]:
    if reference.get("CHECKSUMTYPE") not in context.words.checksum_type:
        yield f"CHECKSUMTYPE {reference.get('CHECKSUMTYPE')!r} is not in the METS list"


def _target(context: Context, document: Mets, reference: Attributes) -> str | None:
    href = reference.get("xlink:href")
    return context.view.find(document.path(href)) if href else None


def size_problems(context: Context, attributes: Attributes, target: str | None) -> Iterator[str]:
    """Yields what is wrong with SIZE: missing, or not the file's size."""
    value = attributes.get("SIZE")
    if not value:
        yield "SIZE is missing"
    elif target is not None and value != str(context.view.sizes[target]):
        yield f"SIZE {value} is not the {context.view.sizes[target]} bytes of {target}"


def checksum_problems(context: Context, attributes: Attributes, target: str | None) -> Iterator[str]:
    """Yields what is wrong with CHECKSUM: missing, or not the file's digest by CHECKSUMTYPE."""
    value = attributes.get("CHECKSUM")
    if not value:
        yield "CHECKSUM is missing"
        return
    algorithm = _HASHES.get(attributes.get("CHECKSUMTYPE", ""))
    if target is None or algorithm is None:
        return
    if algorithm == "sha256" and target in context.view.sha256:
        if context.view.sha256[target] != value.lower():
            yield f"CHECKSUM is not that of {target}"
        return
    running = hashlib.new(algorithm, usedforsecurity=False)
    try:
        for chunk in context.view.read(target):
            running.update(chunk)
    except PackageInvalid as exc:
        yield exc.message
        return
    if running.hexdigest() != value.lower():
        yield f"CHECKSUM is not that of {target}"


def _files(context: Context, document: Mets, below: str, *, but: str = "\0") -> list[str]:
    start = f"{document.folder}metadata/{below}"
    skip = f"{document.folder}metadata/{but}"
    return [path for path in context.view.sizes if path.startswith(start) and not path.startswith(skip)]


def _pointed(context: Context, sections: Iterator[MetadataSection], document: Mets) -> set[str]:
    found = (_target(context, document, section.reference) for section in sections if section.reference is not None)
    return {path for path in found if path is not None}


def _described(context: Context) -> Iterator[str]:
    """CSIP17: every file in metadata/descriptive is pointed to."""
    for document in context.documents:
        pointed = _pointed(context, document.sections, document)
        for path in _files(context, document, "descriptive/"):
            if path not in pointed:
                yield f"{place(document)}: {path} is not referenced"


def _administered(context: Context) -> Iterator[str]:
    """CSIP31: every other metadata file is pointed to, from an amdSec where there is any."""
    for document in context.documents:
        pointed = _pointed(context, document.sections, document)
        for path in _files(context, document, "", but="descriptive/"):
            if path not in pointed:
                yield f"{place(document)}: {path} is not referenced"


def _provenance(context: Context) -> Iterator[str]:
    """CSIP32: an amdSec has digiprovMD, with a file behind it; every file in metadata/preservation has one."""
    for document in context.documents:
        sections = _sections(document, "digiprovMD")
        if document.amd_sections and not sections:
            yield f"{place(document)}: amdSec has no digiprovMD"
        if any(section.reference is None for section in sections):
            yield f"{place(document)}: a digiprovMD has no file"
        pointed = _pointed(context, document.sections, document)
        for path in _files(context, document, "preservation/"):
            if path not in pointed:
                yield f"{place(document)}: {path} has no digiprovMD"


def _family(kind: str, first: int, *, created: bool) -> dict[str, Rule]:
    """Returns the rules of one kind of section, from its ID at `first` to CHECKSUMTYPE; only dmdSec has CREATED."""
    rules: list[Rule] = [_identified(kind)]
    if created:
        rules.append(_on_sections(kind, _created))
    rules += [_on_sections(kind, _status), _on_sections(kind, _referenced)]
    checks: list[ReferenceCheck] = [
        _must_be("LOCTYPE", "URL"),
        _must_be("xlink:type", "simple"),
        _href,
        _metadata_type,
        _media_type,
        _size,
        _reference_created,
        _checksum,
        _checksum_type,
    ]
    rules += [_on_references(kind, check) for check in checks]
    return {f"CSIP{first + offset}": rule for offset, rule in enumerate(rules)}


METADATA_RULES: Final = {
    "CSIP17": _described,
    **_family("dmdSec", 18, created=True),
    "CSIP31": _administered,
    "CSIP32": _provenance,
    **_family("digiprovMD", 33, created=False),
    **_family("rightsMD", 46, created=False),
}
