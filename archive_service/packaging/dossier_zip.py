"""Reading a dossier that was pushed in one piece: a ZIP, or a folder on disk, with dossier.json and the files it names.

dossier.json stands at the root or in the one top folder. Every reason for refusing is found in one pass (R016); no file
is written, and component bytes stream out one by one. Digests against dossier.json are the receiver's to check, as for
single uploads.
"""

import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from archive_service.digests import CHUNK_BYTES
from archive_service.dossier import DOSSIER_FILE_NAME, Dossier, parse_dossier, parse_json
from archive_service.errors import NotFound, PackageInvalid
from archive_service.findings import Finding, rejects
from archive_service.packaging.zip_reader import (
    DEFAULT_LIMITS,
    ZipLimits,
    ZipMember,
    collision_findings,
    name_findings,
    read_index,
    read_member,
)

_LITTER: Final = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
"""Files that operating systems leave in folders; ignored with a note."""
FILES_DIFFER: Final = frozenset({"PACKAGE_FILE_MISSING", "PACKAGE_FILE_UNLISTED"})
"""What is wrong with the files of a ZIP that can be read safely all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedDossier:
    """A dossier whose container is sound; its dossier.json names exactly the files that are there, unless `notes` says otherwise."""

    dossier: Dossier
    value: Any
    """dossier.json as a JSON value, for the content digest."""
    dossier_json: bytes
    """dossier.json as received."""
    notes: Sequence[Finding]
    """Findings that do not reject; of one opened as `incomplete` also the files that are missing or too many."""
    _read: Callable[[str], Iterator[bytes]] = field(repr=False)
    _close: Callable[[], None] = field(repr=False)

    def read_component(self, path: str) -> Iterator[bytes]:
        """Yields the bytes of the component with this `path` of dossier.json.

        Raises:
            NotFound: no component has this path, or its file is missing.
            PackageInvalid: its bytes are damaged; `fields["finding"]` is the finding.
            OSError: the container cannot be read.
        """
        return self._read(path)

    def close(self) -> None:
        """Closes the container."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


DossierZip = PushedDossier
DossierFolder = PushedDossier


def open_dossier_zip(
    path: Path, limits: ZipLimits = DEFAULT_LIMITS, *, incomplete: bool = False
) -> tuple[PushedDossier | None, list[Finding]]:
    """Opens a one-shot ZIP; the dossier is None when a finding rejects it. The caller closes what it gets.

    Args:
        path: The ZIP.
        limits: What a hostile ZIP may cost.
        incomplete: Open it also when files are missing or too many, and nothing else is wrong: what is there can be read and judged.

    Raises:
        OSError: the file cannot be read.
    """
    archive = path.open("rb")
    try:
        opened, findings = _open_archive(archive, limits, FILES_DIFFER if incomplete else frozenset())
    except BaseException:
        archive.close()
        raise
    if opened is None:
        archive.close()
    return opened, findings


def open_dossier_folder(path: Path, limits: ZipLimits = DEFAULT_LIMITS) -> tuple[PushedDossier | None, list[Finding]]:
    """Opens a dossier folder on disk; a symbolic link that leaves it, or is no file, is refused.

    Raises:
        OSError: the folder cannot be read.
    """
    root = path.resolve(strict=True)
    files, findings = _walk(root)
    total = sum(size for _, size in files.values())
    if len(files) > limits.max_entries:
        params: dict[str, str | int | float | bool | None] = {"count": len(files), "limit": limits.max_entries}
        findings.append(Finding(code="PACKAGE_TOO_MANY_ENTRIES", location="", params=params))
    if total > limits.max_total_bytes:
        sizes: dict[str, str | int | float | bool | None] = {"size_bytes": total, "limit_bytes": limits.max_total_bytes}
        findings.append(Finding(code="PACKAGE_TOO_LARGE", location="", params=sizes))
    findings += collision_findings(sorted(files))

    def read(name: str) -> Iterator[bytes]:
        return _read_file(files[name][0])

    return _assemble(list(files), lambda name: files[name][1], read, _nothing, findings, limits)


# ------------------------------------------------------------ ZIP


def _open_archive(
    archive: BinaryIO, limits: ZipLimits, borne: frozenset[str]
) -> tuple[PushedDossier | None, list[Finding]]:
    index = read_index(archive, limits)
    findings = list(index.findings)
    if rejects(findings):
        return None, findings
    members: dict[str, ZipMember] = {member.name: member for member in index.members if not member.is_folder}

    def read(name: str) -> Iterator[bytes]:
        return read_member(archive, members[name])

    return _assemble(list(members), lambda name: members[name].size_bytes, read, archive.close, findings, limits, borne)


# ------------------------------------------------------------ folder


def _walk(root: Path) -> tuple[dict[str, tuple[Path, int]], list[Finding]]:
    files: dict[str, tuple[Path, int]] = {}
    findings: list[Finding] = []
    waiting = [root]
    while waiting:  # a list and not recursion, as os.walk is: folders may be nested deeper than calls
        below = sorted(waiting.pop().iterdir(), key=lambda path: path.name)
        waiting += [path for path in below if path.is_dir() and not path.is_symlink()]
        for path in below:
            if path.is_dir() and not path.is_symlink():
                continue
            relative = path.relative_to(root).as_posix()
            status = _status(path, root)
            if isinstance(status, str):
                findings.append(Finding(code=status, location=relative))
                continue
            findings += name_findings(relative)
            files[relative] = (path, status)
    return files, findings


def _status(path: Path, root: Path) -> int | str:
    """Returns a file's size, or the code of the finding that refuses it."""
    if path.is_symlink():
        with suppress(OSError, RuntimeError):  # a dangling link or a loop leads nowhere inside
            target = path.resolve(strict=True)
            if target.is_relative_to(root) and target.is_file():
                return target.stat().st_size
        return "PACKAGE_SYMLINK"
    status = path.lstat()
    return status.st_size if stat.S_ISREG(status.st_mode) else "PACKAGE_NOT_A_FILE"


def _read_file(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk


def _nothing() -> None:
    """A folder has nothing to close."""


# ------------------------------------------------------------ both


def _assemble(
    names: Sequence[str],
    size_of: Callable[[str], int],
    read: Callable[[str], Iterator[bytes]],
    close: Callable[[], None],
    findings: list[Finding],
    limits: ZipLimits,
    borne: frozenset[str] = frozenset(),
) -> tuple[PushedDossier | None, list[Finding]]:
    findings = list(findings)
    litter = [name for name in names if name.startswith(_LITTER[0]) or name.rsplit("/", 1)[-1] in _LITTER]
    findings += [Finding(code="PACKAGE_FILE_LITTER", location=name) for name in litter]
    ignored = set(litter)
    names = [name for name in names if name not in ignored]
    prefix = _prefix(names)
    if prefix is None:
        findings.append(Finding(code="PACKAGE_DOSSIER_JSON_MISSING", location=DOSSIER_FILE_NAME))
        return None, findings
    content = _dossier_json(prefix + DOSSIER_FILE_NAME, size_of, read, findings, limits.max_dossier_json_bytes)
    if content is None:
        return None, findings
    value, problems = parse_json(content)
    findings += problems
    dossier, problems = parse_dossier(value) if not problems else (None, [])
    findings += problems
    if dossier is None:
        return None, findings
    by_path, problems = _match(dossier, names, prefix)
    findings += problems
    if rejects(finding for finding in findings if finding.code not in borne):
        return None, findings

    def read_component(path: str) -> Iterator[bytes]:
        try:
            name = by_path[path]
        except KeyError:
            raise NotFound(f"no file belongs to a component {path[:200]!r}") from None
        return read(name)

    pushed = PushedDossier(
        dossier=dossier, value=value, dossier_json=content, notes=findings, _read=read_component, _close=close
    )
    return pushed, findings


def _prefix(names: Sequence[str]) -> str | None:
    """Returns "" or "FOLDER/", whichever holds dossier.json."""
    if DOSSIER_FILE_NAME in names:
        return ""
    tops = {name.split("/", 1)[0] for name in names}
    if len(tops) == 1 and (prefix := f"{tops.pop()}/") + DOSSIER_FILE_NAME in names:
        return prefix
    return None


def _dossier_json(
    name: str,
    size_of: Callable[[str], int],
    read: Callable[[str], Iterator[bytes]],
    findings: list[Finding],
    limit_bytes: int,
) -> bytes | None:
    if size_of(name) > limit_bytes:
        params: dict[str, str | int | float | bool | None] = {"size_bytes": size_of(name), "limit_bytes": limit_bytes}
        findings.append(Finding(code="PACKAGE_DOSSIER_JSON_TOO_LARGE", location=name, params=params))
        return None
    try:
        return b"".join(read(name))
    except PackageInvalid as exc:
        findings.append(exc.fields["finding"])
        return None


def _match(dossier: Dossier, names: Sequence[str], prefix: str) -> tuple[dict[str, str], list[Finding]]:
    """Pairs component paths with file names; Unicode forms may differ (macOS archives carry NFD)."""
    findings: list[Finding] = []
    present = {unicodedata.normalize("NFC", name.removeprefix(prefix)): name for name in names}
    present.pop(DOSSIER_FILE_NAME, None)
    by_path: dict[str, str] = {}
    used: set[str] = set()
    for position, component in enumerate(dossier.components):
        pointer = f"/components/{position}/path"
        findings += [Finding(code=item.code, location=pointer) for item in name_findings(component.path)]
        path = unicodedata.normalize("NFC", component.path)
        if path in used:
            findings.append(
                Finding(code="PACKAGE_PATH_LISTED_TWICE", location=pointer, params={"path": component.path})
            )
        elif path not in present:
            findings.append(
                Finding(code="PACKAGE_FILE_MISSING", location=component.id, params={"path": component.path})
            )
        else:
            by_path[component.path] = present[path]
        used.add(path)
    findings += [
        Finding(code="PACKAGE_FILE_UNLISTED", location=name)
        for path, name in sorted(present.items())
        if path not in used
    ]
    return by_path, findings
