"""Restoring a backup into an empty place, checked to its last byte before anything is written.

Order: target is empty → whole backup decrypted and compared with its manifest → unpacked into `.restoring` → database checked and brought to
this version's schema (PostgreSQL: in one transaction with its rows) → folders moved into place, SQLite's file last → `.restoring` removed.
A kill before the end leaves `.restoring`: running the same command again starts over. What happened after the backup was made is
then taken from storage (`catching_up`), and only then the restore is noted as an event: its number must follow those of all that happened.
"""

import io
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from sqlalchemy import func, inspect, select

from archive_service import migrations
from archive_service.audit import append_event, software
from archive_service.db import Database
from archive_service.errors import ConfigurationInvalid, Conflict
from archive_service.models import Event, EventType
from archive_service.preservation.backup.archive import BACKUP_TYPE, HEADER_NAME, Members, read_archive, read_through
from archive_service.preservation.backup.encryption import BackupDamaged, DecryptingReader, Keys
from archive_service.preservation.backup.making import BUFFER_BYTES
from archive_service.preservation.backup.snapshot import SQLITE_NAME, check_sqlite, load_postgres
from archive_service.storage import durable

RESTORING: Final = ".restoring"
CONFIG: Final = "restored-config"
"""Settings of the time, for the operator to read: those in force come from where this program reads them."""
_FOLDERS: Final = {
    "keys": "keys",
    "trust": "trust",
    "staging": "staging",
    "config": CONFIG,
    "storage": CONFIG,
    "database": "database",
}
_MOVED: Final = ("keys", "trust", "staging", CONFIG)
_STORAGE: Final = "storage"
"""Folder of the embedded default's locations: it may have outlived the database, and stays as it is."""
_ID_NAME: Final = "backup-id"
_AGENT: Final = software("restore")

Progress = Callable[[str, int], None]
"""(stage, bytes)."""


def _silent(_stage: str, _count: int) -> None:
    """Shows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored."""

    header: dict[str, Any]
    """`backup.json`."""
    folder: Path
    database_url: str
    members: int
    revision: str
    """Schema it is at now."""


def check_backup(backup: Path, keys: Keys, *, progress: Progress = _silent) -> tuple[dict[str, Any], Members]:
    """Decrypts a backup to its end, compares every member with the manifest, and returns its header and members. Writes nothing.

    Raises:
        BackupKeyWrong: no key opens it.
        BackupDamaged, BackupTruncated: bytes were changed or are missing.
        ConfigurationInvalid: there is no such file.
    """
    header: dict[str, Any] = {}

    def take(name: str, content: Iterator[bytes]) -> None:
        if name == HEADER_NAME:
            header.update(json.loads(b"".join(content)))
        else:
            read_through(name, content)

    members = _read(backup, keys, take, "check", progress)
    if header.get("type") != BACKUP_TYPE:
        raise BackupDamaged(f"{backup.name} is not a backup of form {BACKUP_TYPE}")
    return header, members


def _read(
    backup: Path, keys: Keys, take: Callable[[str, Iterator[bytes]], None], stage: str, progress: Progress
) -> Members:
    try:
        source = backup.open("rb")
    except OSError as exc:
        raise ConfigurationInvalid(f"{backup}: {exc.strerror}") from exc
    with source:
        reader = io.BufferedReader(DecryptingReader(source, keys), BUFFER_BYTES)
        return read_archive(cast("BinaryIO", reader), take, progress=lambda count: progress(stage, count))


def restore_backup(
    backup: Path, keys: Keys, *, into: Path, database_url: str | None, progress: Progress = _silent
) -> Restored:
    """Restores a backup into an empty data folder and, for one of PostgreSQL, an empty database.

    Args:
        backup: The encrypted file.
        keys: What opens it.
        into: Data folder: absent, empty, or with nothing but `storage/`.
        database_url: Of the empty PostgreSQL database; None for a backup of SQLite, which goes into the folder.
        progress: Told of bytes.

    Raises:
        Conflict: folder or database is not empty.
        BackupKeyWrong, BackupDamaged, BackupTruncated: see `check_backup`; nothing was written.
        DatabaseDamaged: the database in the backup fails the engine's own check.
        ConfigurationInvalid: the backup is of the other engine, or of a newer version of this program.
        StoreFull: no room.
    """
    _require_empty_folder(into)
    header, members = check_backup(backup, keys, progress=progress)
    if (header["engine"] == "sqlite") is (database_url is not None):
        wanted = (
            "no database URL: it goes into the folder"
            if header["engine"] == "sqlite"
            else "the URL of an empty database"
        )
        raise ConfigurationInvalid(f"a backup of {header['engine']} needs {wanted}")
    work = into / RESTORING
    resumed = _text(work / _ID_NAME) == header["id"]
    _require_untouched(into / SQLITE_NAME, header, resumed=resumed)
    with durable.os_errors("clear", RESTORING):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True, mode=0o700)
        (work / _ID_NAME).write_text(header["id"], encoding="ascii")
    _read(backup, keys, lambda name, content: _unpack(work, name, content), "unpack", progress)
    url = database_url or f"sqlite:///{into / SQLITE_NAME}"
    if database_url is None:
        _prepare_sqlite(work / "database" / SQLITE_NAME)
    else:
        _fill_postgres(database_url, work / "database", header, resumed=resumed)
    _move_into_place(work, into)
    return Restored(
        header=header, folder=into, database_url=url, members=len(members), revision=migrations.head_revision()
    )


def _require_empty_folder(into: Path) -> None:
    names = {path.name for path in into.iterdir()} if into.is_dir() else set()
    if into.exists() and not into.is_dir():
        raise Conflict(f"{into} is not a folder")
    ours = {RESTORING, *_MOVED, SQLITE_NAME, f"{SQLITE_NAME}-wal", f"{SQLITE_NAME}-shm"}
    foreign = names - {_STORAGE} - (ours if RESTORING in names else set())
    if foreign:
        raise Conflict(f"{into} is not empty: {', '.join(sorted(foreign)[:5])}")


def _require_untouched(path: Path, header: dict[str, Any], *, resumed: bool) -> None:
    """A database that an earlier, killed run put in place may be put there again, unless somebody has worked with it since."""
    if not path.exists():
        return
    database = Database(f"sqlite:///{path}")
    try:
        if not resumed or _last_seq(database) != header["last_seq"]:
            raise Conflict(f"{path.parent} is not empty: {path.name} is of another restore, or was used since")
    finally:
        database.close()


def _unpack(work: Path, name: str, content: Iterator[bytes]) -> None:
    top, _, rest = name.partition("/")
    if not rest or top not in _FOLDERS:
        read_through(name, content)
        return
    path = durable.safe_join(work, f"{_FOLDERS[top]}/{rest}")
    with durable.os_errors("write", path.name):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        with path.open("wb") as target:
            path.chmod(0o600 if top in {"keys", "config", "database"} else durable.FILE_MODE)
            target.writelines(content)
            target.flush()
            os.fsync(target.fileno())


def _prepare_sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        check_sqlite(connection)
    database = Database(f"sqlite:///{path}")
    try:
        migrations.upgrade(database)
    finally:
        database.close()
    with closing(sqlite3.connect(path)) as connection:  # one file again, nothing left beside it
        connection.execute("PRAGMA journal_mode=DELETE")


def _fill_postgres(url: str, folder: Path, header: dict[str, Any], *, resumed: bool) -> None:
    database = Database(url)
    try:
        if inspect(database.engine).get_table_names():
            if resumed and _last_seq(database) == header["last_seq"]:
                return  # an earlier run of this restore was killed after its commit
            raise Conflict("the database is not empty")
        with database.engine.begin() as connection:
            load_postgres(connection, folder, header["schema_revision"])
            migrations.upgrade_connection(connection, "head")
    finally:
        database.close()


def _last_seq(database: Database) -> int | None:
    if not inspect(database.engine).has_table(Event.__tablename__):
        return None
    with database.read() as session:
        return session.scalar(select(func.max(Event.seq))) or 0


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.is_file() else ""


def note_restored(database: Database, header: dict[str, Any], detail: dict[str, Any], *, at: datetime) -> None:
    """Adds the event of a restore, after everything that storage knows came in."""
    with database.write() as session:
        append_event(
            session,
            EventType.ARCHIVE_RESTORED,
            subject_kind="backup",
            subject_id=header["id"],
            agency=None,
            agent=_AGENT,
            at=at,
            detail={"backup": header["id"], "made_at": header["made_at"], "last_seq": header["last_seq"], **detail},
        )


def _move_into_place(work: Path, into: Path) -> None:
    with durable.os_errors("move into", into.name):
        for name in _MOVED:
            shutil.rmtree(into / name, ignore_errors=True)  # of a run that was killed here
            if (work / name).exists():
                (work / name).rename(into / name)
        for public in (into / "keys").glob("*.vkey"):
            public.chmod(0o644)
        for suffix in ("-wal", "-shm"):
            (into / f"{SQLITE_NAME}{suffix}").unlink(missing_ok=True)
        if (work / "database" / SQLITE_NAME).exists():
            (work / "database" / SQLITE_NAME).rename(into / SQLITE_NAME)
    durable.sync_directory(into)
    shutil.rmtree(work, ignore_errors=True)
    durable.sync_directory(into)
