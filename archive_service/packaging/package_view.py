"""Any information package, folder or ZIP, as a set of files: what the CSIP rules are checked on."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, BinaryIO, Final

from archive_service.errors import PackageInvalid
from archive_service.packaging.zip_reader import ZipIndex, ZipMember, read_index, read_member

KEEP: Final = ".gitkeep"
"""A file that stands for an empty folder where folders are kept in git."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageView:
    """The files of one package, relative to its root folder."""

    folder: str
    """Name of the root folder."""
    roots: int
    """How many entries stand at the top; a package has one."""
    sizes: Mapping[str, int]
    """Size in bytes by path."""
    folders: frozenset[str]
    """Every folder, without a slash at the end."""
    folded: Callable[[], Mapping[str, str]] = field(repr=False)
    """Returns path by its case-folded form, made when it is first needed."""
    read: Callable[[str], Iterator[bytes]] = field(repr=False)
    """Yields a file's bytes; raises PackageInvalid when they are damaged."""
    sha256: Mapping[str, str] = field(default_factory=dict, repr=False)
    """SHA-256 in hex of files already read, so that no rule reads them again."""

    def open(self, path: str) -> IO[bytes]:
        """Returns a file to read as a stream."""
        return io.BufferedReader(_Chunks(self.read(path)))

    def find(self, path: str) -> str | None:
        """Returns the path of the file that `path` means.

        Letter case is the second choice: packages travel between systems that keep it and systems that do not.
        """
        if path in self.sizes:
            return path
        return self.folded().get(path.casefold())


class _Chunks(io.RawIOBase):
    """An iterator of bytes as a readable file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is wider
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@contextmanager
def open_package(path: Path) -> Iterator[PackageView]:
    """Opens a package folder or ZIP.

    Raises:
        PackageInvalid: the ZIP is not sound; `fields["findings"]` says how.
        OSError: it cannot be read.
    """
    if path.is_dir():
        yield _folder_view(path)
        return
    with path.open("rb") as archive:
        index = read_index(archive)
        if index.findings:
            raise PackageInvalid(f"{path.name}: not a sound ZIP archive", findings=list(index.findings))
        yield zip_view(archive, index)


def zip_view(archive: BinaryIO, index: ZipIndex, sha256: Mapping[str, str] | None = None) -> PackageView:
    """Returns the view of a ZIP whose index has been read; bytes come from `archive`, which the caller keeps open."""
    tops = {member.name.split("/", 1)[0] for member in index.members}
    top = min(tops, default="")
    members: dict[str, ZipMember] = {}
    folders: set[str] = set()
    for member in index.members:
        relative = member.name.removeprefix(f"{top}/")
        if member.is_folder:
            folders.add(relative.rstrip("/"))
        else:
            members[relative] = member
    folders |= _parents(members)
    return PackageView(
        folder=top,
        roots=len(tops),
        sizes={name: member.size_bytes for name, member in members.items()},
        folders=frozenset(folders - {""}),
        folded=_folded(members),
        read=lambda name: read_member(archive, members[name]),
        sha256=sha256 or {},
    )


def _folder_view(path: Path) -> PackageView:
    root = path.resolve(strict=True)
    inside = list(root.iterdir())
    if len(inside) == 1 and (inside[0] / "METS.xml").is_file():  # what an archive was unpacked into
        root = inside[0]
    sizes: dict[str, int] = {}
    folders: set[str] = set()
    for parent, names, files in os.walk(root):
        base = Path(parent).relative_to(root)
        folders |= {(base / name).as_posix() for name in names}
        for name in files:
            file = Path(parent, name)
            if file.is_file() and not file.is_symlink() and name != KEEP:
                sizes[(base / name).as_posix()] = file.stat().st_size

    def read(name: str) -> Iterator[bytes]:
        with (root / name).open("rb", buffering=0) as opened:
            while chunk := opened.read(1024 * 1024):
                yield chunk

    return PackageView(
        folder=root.name, roots=1, sizes=sizes, folders=frozenset(folders), folded=_folded(sizes), read=read
    )


def _folded(names: Iterable[str]) -> Callable[[], Mapping[str, str]]:
    return cache(lambda: {name.casefold(): name for name in names})


def _parents(names: Mapping[str, object]) -> set[str]:
    found: set[str] = set()
    for name in names:
        parent = name.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found
