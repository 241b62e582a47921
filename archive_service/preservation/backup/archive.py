"""The inside of a backup: a plain tar (POSIX pax) with a manifest of every member's SHA-256 as its last member.

    README.txt            what this is and how to open it without this program
    backup.json           what, when, by which version; schema revision, log checkpoint, state hash, counts
    database/…            archive.db (SQLite), or tables.json and one COPY text per table (PostgreSQL)
    config/…              settings in force, settings file, locations file, time-stamp anchors
    keys/…, trust/…       keys of the evidence log, trust anchors
    staging/<id>/…        bytes that were acknowledged and are not stored yet: they exist nowhere else
    storage/expected.jsonl  every object that must lie at the locations, one a line
    MANIFEST.json         {"members": {name: {"sha256", "size_bytes"}}}

Everything is streamed; a reader checks each member while it passes by and the manifest at the end.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from archive_service.digests import RunningDigest, chunks
from archive_service.preservation.backup.encryption import BackupDamaged
from archive_service.storage import durable

HEADER_NAME: Final = "backup.json"
README_NAME: Final = "README.txt"
MANIFEST_NAME: Final = "MANIFEST.json"
EXPECTED_NAME: Final = "storage/expected.jsonl"
BACKUP_TYPE: Final = "archive-backup/1"
MAX_JSON_BYTES: Final = 256 * 1024 * 1024
"""A manifest of a million staged files; a longer one is not ours."""
_MODE: Final = 0o600

Progress = Callable[[int], None]
"""Told of bytes as they pass."""
Members = dict[str, dict[str, Any]]
"""Digest and size by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file that goes in."""

    name: str
    content: Path | bytes


def write_archive(target: BinaryIO, members: Iterable[Member], *, at_s: int, progress: Progress) -> Members:
    """Writes the members and the manifest, and returns what the manifest says.

    Args:
        target: Gets the tar.
        members: In order; a path is read once.
        at_s: Time written for each member, seconds since 1970.
        progress: Told of bytes.

    Raises:
        StoreUnavailable: a file cannot be read or changed its size while it was.
    """
    listed: Members = {}
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            with _opened(member) as source:
                reading = _Hashing(source, progress)
                info = tarfile.TarInfo(member.name)
                info.size, info.mtime, info.mode = _size(source), at_s, _MODE
                with durable.os_errors("read", member.name):
                    tar.addfile(info, reading)
            listed[member.name] = {"sha256": reading.running.digest().hex, "size_bytes": reading.running.size_bytes}
        content = json.dumps({"members": listed}, indent=1).encode()
        info = tarfile.TarInfo(MANIFEST_NAME)
        info.size, info.mtime, info.mode = len(content), at_s, _MODE
        tar.addfile(info, io.BytesIO(content))
    return listed


def _opened(member: Member) -> BinaryIO:
    if isinstance(member.content, bytes):
        return io.BytesIO(member.content)
    with durable.os_errors("read", member.name):
        return member.content.open("rb")


def _size(source: BinaryIO) -> int:
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    return size


class _Hashing(io.RawIOBase):
    """Passes bytes on and hashes them: a member is read once."""

    def __init__(self, source: BinaryIO, progress: Progress) -> None:
        self.running = RunningDigest()
        self._source = source
        self._progress = progress

    def read(self, size: int = -1, /) -> bytes:
        part = self._source.read(size)
        self.running.update(part)
        self._progress(len(part))
        return part


Take = Callable[[str, Iterator[bytes]], None]
"""Gets each member's name and bytes, all of which it must read."""


def read_archive(source: BinaryIO, take: Take, *, progress: Progress = lambda _count: None) -> Members:
    """Reads a backup's tar to its end, handing on every member, and compares all with the manifest.

    Nothing handed on is vouched for until this returns.

    Raises:
        BackupDamaged: not such a tar, a member that leaves its folder, or one that is not what the manifest says.
        BackupTruncated: the end is missing.
    """
    found: Members = {}
    manifest: Members | None = None
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for info in tar:
                if manifest is not None or not info.isreg() or not _is_safe(info.name) or info.name in found:
                    raise BackupDamaged(f"the member {info.name[:200]!r} does not belong into a backup")
                content = tar.extractfile(info)
                if content is None:
                    raise BackupDamaged(f"{info.name} has no content")
                if info.name == MANIFEST_NAME:
                    manifest = _manifest(content)
                    continue
                found[info.name] = _passed_on(info.name, content, take, progress)
            while source.read(1 << 16):  # to the very end: only there is the last chunk known to be the last
                continue
    except (tarfile.TarError, EOFError) as exc:
        raise BackupDamaged(f"the backup is not in its form: {exc}") from exc
    if manifest != found:
        raise BackupDamaged("the members are not those of the manifest")
    return found


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and str(path) == name and "\\" not in name


def _manifest(content: BinaryIO | Any) -> Members:  # tarfile's reader is typed IO[bytes]
    try:
        members: Members = json.loads(content.read(MAX_JSON_BYTES))["members"]
    except (ValueError, KeyError, TypeError) as exc:
        raise BackupDamaged(f"the manifest is not in its form: {exc}") from exc
    return members


def _passed_on(name: str, content: Any, take: Take, progress: Progress) -> dict[str, Any]:  # IO[bytes]
    running = RunningDigest()

    def passing() -> Iterator[bytes]:
        for chunk in chunks(content):
            running.update(chunk)
            progress(len(chunk))
            yield chunk

    take(name, passing())
    return {"sha256": running.digest().hex, "size_bytes": running.size_bytes}


def read_through(_name: str, content: Iterator[bytes]) -> None:
    """Takes a member by reading it: for checking alone."""
    for _chunk in content:
        continue
