"""What every CSIP rule gets to see: the package's files, its METS documents, and the vocabularies."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Final

from archive_service.errors import ConfigurationInvalid
from archive_service.packaging.mets_reader import Mets, Node
from archive_service.packaging.package_view import PackageView
from archive_service.resources import profiles_dir

_MEDIA_TYPE: Final = re.compile(
    r"(application|audio|example|font|haptics|image|message|model|multipart|text|video)/([A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*)"
)
"""IANA's top-level types and the grammar of RFC 6838."""
_MEDIA_TYPE_MAX: Final = 255
"""RFC 6838 4.2 allows 127 for each part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabularies:
    """Terms and requirement levels."""

    content_category: frozenset[str]
    content_information_type: frozenset[str]
    status: frozenset[str]
    oais_package_type: frozenset[str]
    label: tuple[str, ...]
    checksum_type: frozenset[str]
    metadata_type: frozenset[str]
    media_subtypes: frozenset[str]
    levels: Mapping[str, Mapping[str, list[int]]]


@cache
def vocabularies() -> Vocabularies:
    """Returns the vocabularies of `profiles/packaging/csip`.

    Raises:
        ConfigurationInvalid: the file is missing or malformed.
    """
    path = profiles_dir() / "packaging" / "csip" / "vocabularies.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        sets = ("content_category", "content_information_type", "status", "oais_package_type")
        more = ("checksum_type", "metadata_type", "media_subtypes")
        return Vocabularies(
            **{name: frozenset(raw[name]) for name in (*sets, *more)}, label=tuple(raw["label"]), levels=raw["levels"]
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as exc:
        raise ConfigurationInvalid(f"{path}: {exc!r}") from exc


@dataclass(slots=True, kw_only=True)
class Context:
    """One package under examination."""

    view: PackageView
    words: Vocabularies
    at: datetime | None
    documents: list[Mets] = field(default_factory=list)
    """The root METS first, then those of representations."""
    unreadable: list[str] = field(default_factory=list)
    """METS documents that could not be read, with the reason."""

    @property
    def root(self) -> Mets | None:
        """The package's METS."""
        return next((document for document in self.documents if document.is_root), None)

    def roots(self) -> Iterator[Mets]:
        """Yields the package's METS, if it could be read."""
        yield from (document for document in self.documents if document.is_root)

    def package_type(self) -> str:
        """Returns OAISPACKAGETYPE of the root METS, or ""."""
        root = self.root
        return (root.header.get("csip:OAISPACKAGETYPE") or "") if root is not None and root.header is not None else ""


Rule = Callable[[Context], Iterator[str]]
"""What one requirement asks of a package: yields each way in which it is not met."""
DocumentCheck = Callable[[Context, Mets], Iterator[str]]
"""The same of one METS document."""


def place(document: Mets) -> str:
    """Returns how a document is called in reports."""
    return f"{document.folder}METS.xml"


def on_each(check: DocumentCheck) -> Rule:
    """Returns the rule that makes a check on every METS document and tells in which one it found what."""

    def rule(context: Context) -> Iterator[str]:
        for document in context.documents:
            yield from (f"{place(document)}: {problem}" for problem in check(context, document))

    return rule


def media_type_problem(value: str | None) -> str | None:
    """Returns what is wrong with a MIMETYPE, or None (CSIP26, 40, 53, 68)."""
    if not value:
        return "MIMETYPE is missing"
    if len(value) > _MEDIA_TYPE_MAX:
        return f"MIMETYPE has {len(value)} characters"
    match = _MEDIA_TYPE.fullmatch(value)
    if match is None or not _registered(match[2].lower()):
        return f"MIMETYPE {value[:80]!r} is no registered media type"
    return None


def _registered(subtype: str) -> bool:
    return subtype in vocabularies().media_subtypes or "+" in subtype or subtype.startswith(("vnd.", "prs."))


def csip_maps(document: Mets) -> list[Node]:
    """Returns the structural maps labelled CSIP."""
    return [node for node in document.struct_maps if node.get("LABEL") == "CSIP"]


def main_divisions(document: Mets) -> list[Node]:
    """Returns the top division of each CSIP map."""
    return [division for node in csip_maps(document) for division in node.all("div")]


def divisions(document: Mets, label: str | None = None) -> list[Node]:
    """Returns the divisions below the top one, all or those with a label."""
    found = [division for main in main_divisions(document) for division in main.all("div")]
    return found if label is None else [division for division in found if division.get("LABEL") == label]
