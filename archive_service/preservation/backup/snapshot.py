"""One consistent picture of the database, as files, and a session that sees exactly that picture.

SQLite: its online backup, a complete database file; readers and writers go on. PostgreSQL: every table as COPY text in one REPEATABLE READ
transaction. COPY text is the same in every PostgreSQL version and can be read without one, and the tables it is loaded into are made by
this program's own migrations; a dump by `pg_dump` could be restored only with a program no older than the server it came from.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, MetaData, Table, text
from sqlalchemy.orm import Session

from archive_service import migrations
from archive_service.db import Database
from archive_service.digests import chunks
from archive_service.errors import ArchiveError, ConfigurationInvalid, StoreFull, StoreUnavailable
from archive_service.storage import durable

SQLITE_NAME: Final = "archive.db"
TABLES_NAME: Final = "tables.json"
_NOT_COPIED: Final = "alembic_version"
"""Written by the migrations themselves."""


class DatabaseDamaged(ArchiveError):
    """The database copied into or out of a backup fails the engine's own check of its structure."""

    code = "DATABASE_DAMAGED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A picture of the database."""

    engine: str
    """`sqlite` or `postgresql`."""
    revision: str
    """Schema revision."""
    session: Session
    """Sees the picture and nothing later."""
    files: tuple[Path, ...]
    """What goes into the backup."""


@contextmanager
def snapshot(database: Database, folder: Path) -> Iterator[Snapshot]:
    """Takes a picture of the database into the empty folder.

    Raises:
        StoreFull: no room in the folder.
        ConfigurationInvalid: the database has no schema.
        DatabaseDamaged: SQLite's own check of the copy found damage.
    """
    revision = migrations.current_revision(database)
    if revision is None:
        raise ConfigurationInvalid("the database has no schema: there is nothing to back up")
    taken = _of_sqlite(database, folder, revision) if database.is_sqlite else _of_postgres(database, folder, revision)
    with taken as found:
        yield found


# ------------------------------------------------------------------ SQLite


@contextmanager
def _of_sqlite(database: Database, folder: Path, revision: str) -> Iterator[Snapshot]:
    target = folder / SQLITE_NAME
    source = database.engine.url.database or ""
    try:
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)  # in one step: a reader's view in WAL mode, so writers do not make it start anew
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a write-ahead log beside it
            check_sqlite(copy)
    except sqlite3.Error as exc:
        if "full" in str(exc):
            raise StoreFull(f"copying the database: {exc}") from exc
        raise StoreUnavailable(f"the database cannot be copied now: {exc}") from exc
    picture = Database(f"sqlite:///{target}")
    try:
        with picture.read() as session:
            yield Snapshot(engine="sqlite", revision=revision, session=session, files=(target,))
    finally:
        picture.close()


def check_sqlite(connection: sqlite3.Connection) -> None:
    """Runs SQLite's own checks of structure and of references.

    Raises:
        DatabaseDamaged: they found something.
    """
    found = [row[0] for row in connection.execute("PRAGMA integrity_check(10)") if row[0] != "ok"]
    found += [f"{row[0]}: row {row[1]} refers to nothing" for row in connection.execute("PRAGMA foreign_key_check")][
        :10
    ]
    if found:
        raise DatabaseDamaged("; ".join(found))


# ------------------------------------------------------------------ PostgreSQL


@contextmanager
def _of_postgres(database: Database, folder: Path, revision: str) -> Iterator[Snapshot]:
    with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        described, files = [], []
        for table in _tables(connection):
            columns = [column.name for column in table.columns if column.computed is None]
            path = folder / f"{table.name}.copy"
            rows = _copy_out(connection, table, columns, path)
            described.append({"table": table.name, "columns": columns, "rows": rows})
            files.append(path)
        listing = folder / TABLES_NAME
        content = {"tables": described, "sequences": _sequences(connection)}
        with durable.os_errors("write", TABLES_NAME):
            listing.write_text(json.dumps(content, indent=1), encoding="utf-8")
        with Session(connection) as session:
            yield Snapshot(engine="postgresql", revision=revision, session=session, files=(listing, *files))


def _tables(connection: Connection) -> list[Table]:
    """Returns every table, those that others refer to first."""
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != _NOT_COPIED]


def _copy_out(connection: Connection, table: Table, columns: Sequence[str], path: Path) -> int:
    rows = 0
    with _cursor(connection) as cursor, durable.os_errors("write", path.name), path.open("wb") as target:
        query = f"COPY (SELECT {_names(columns)} FROM {_quoted(table.name)}) TO STDOUT"  # noqa: S608 - names of our own schema
        with cursor.copy(query) as source:
            for part in source:
                rows += bytes(part).count(b"\n")  # COPY text writes line ends inside values as \n, two characters
                target.write(part)
    return rows


def _sequences(connection: Connection) -> dict[str, int]:
    query = text("SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = current_schema()")
    return {name: value for name, value in connection.execute(query) if value is not None}


def load_postgres(connection: Connection, folder: Path, revision: str) -> None:
    """Makes the schema at `revision` and loads every table, in the caller's transaction.

    Raises:
        ConfigurationInvalid: this program does not know the revision: it is older than the one that made the backup.
        DatabaseDamaged: a table got another number of rows than was copied out.
    """
    migrations.upgrade_connection(connection, revision)
    described = json.loads((folder / TABLES_NAME).read_text(encoding="utf-8"))
    for item in described["tables"]:
        path = folder / f"{item['table']}.copy"
        with _cursor(connection) as cursor, path.open("rb") as source:
            with cursor.copy(f"COPY {_quoted(item['table'])} ({_names(item['columns'])}) FROM STDIN") as target:
                for chunk in chunks(source):
                    target.write(chunk)
            if cursor.rowcount != item["rows"]:
                raise DatabaseDamaged(
                    f"{item['table']}: {cursor.rowcount} rows came in, {item['rows']} were copied out"
                )
    for name, value in described["sequences"].items():
        connection.execute(text("SELECT setval(CAST(:name AS regclass), :value)"), {"name": name, "value": value})


def _cursor(connection: Connection) -> Any:  # psycopg's own cursor: SQLAlchemy knows no COPY
    driver = connection.connection.driver_connection
    if driver is None:
        raise StoreUnavailable("the database connection is gone")
    return driver.cursor()


def _names(columns: Sequence[str]) -> str:
    return ", ".join(_quoted(name) for name in columns)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
