"""CSIPSTR1-16: folders and files of a package; and the reading of its METS documents (CSIP0)."""

from collections.abc import Iterator
from typing import Final

from archive_service.errors import PackageInvalid
from archive_service.packaging.csip_context import Context, Rule
from archive_service.packaging.mets_reader import read_mets
from archive_service.packaging.xml_reader import XmlRefused

_STANDARD_FOLDERS: Final = {"metadata", "representations", "schemas", "documentation"}


def read_documents(context: Context) -> None:
    """Reads the root METS and those of the representations into `context`."""
    paths = [path for path in context.view.sizes if _is_mets(path)]
    for path in sorted(paths, key=lambda item: (item.count("/"), item)):
        try:
            with context.view.open(path) as source:
                context.documents.append(read_mets(source, path.removesuffix("METS.xml")))
        except (XmlRefused, PackageInvalid) as exc:
            context.unreadable.append(f"{path}: {exc}")


def _is_mets(path: str) -> bool:
    parts = path.split("/")
    return parts[-1] == "METS.xml" and (len(parts) == 1 or (len(parts) == 3 and parts[0] == "representations"))  # noqa: PLR2004


def _representations(context: Context) -> list[str]:
    return sorted(
        folder for folder in context.view.folders if folder.startswith("representations/") and folder.count("/") == 1
    )


def _one_root(context: Context) -> Iterator[str]:
    if context.view.roots != 1:
        yield f"the archive unpacks to {context.view.roots} entries, not to one folder"


def _mets(context: Context) -> Iterator[str]:
    if "METS.xml" not in context.view.sizes:
        yield "there is no METS.xml in the root folder"
    yield from context.unreadable


def _folder(name: str) -> Rule:
    def rule(context: Context) -> Iterator[str]:
        if name not in context.view.folders:
            yield f"there is no folder {name}"

    return rule


def _misplaced(name: str) -> Rule:
    """CSIPSTR6, 7: metadata of a kind belong in metadata/KIND."""

    def rule(context: Context) -> Iterator[str]:
        if name in context.view.folders and f"metadata/{name}" not in context.view.folders:
            yield f"the folder {name} belongs in metadata"

    return rule


def _own_folders(context: Context) -> Iterator[str]:
    for path in context.view.sizes:
        if path.startswith("representations/") and path.count("/") == 1:
            yield f"{path} is in no representation's folder"


def _in_representations(name: str) -> Rule:
    def rule(context: Context) -> Iterator[str]:
        for folder in _representations(context):
            if f"{folder}/{name}" not in context.view.folders and f"{folder}/{name}" not in context.view.sizes:
                yield f"there is no {name} in {folder}"

    return rule


def _anywhere(name: str) -> Rule:
    def rule(context: Context) -> Iterator[str]:
        if not any(folder.rsplit("/", 1)[-1] == name for folder in context.view.folders):
            yield f"there is no folder {name}"

    return rule


STRUCTURE_RULES: Final = {
    "CSIPSTR1": _one_root,
    "CSIPSTR4": _mets,
    "CSIPSTR5": _folder("metadata"),
    "CSIPSTR6": _misplaced("preservation"),
    "CSIPSTR7": _misplaced("descriptive"),
    "CSIPSTR9": _folder("representations"),
    "CSIPSTR10": _own_folders,
    "CSIPSTR11": _in_representations("data"),
    "CSIPSTR12": _in_representations("METS.xml"),
    "CSIPSTR13": _in_representations("metadata"),
    "CSIPSTR15": _anywhere("schemas"),
    "CSIPSTR16": _anywhere("documentation"),
}
