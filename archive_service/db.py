"""The database: one engine, two kinds (SQLite embedded, PostgreSQL for a province), and the only commits of the code base.

`with database.write() as session:` is one use case, one transaction: committed at the end of the block, rolled back when it raises.
`with database.read() as session:` never writes. SQLite write transactions begin IMMEDIATE, so two writers queue up instead of failing
half-way; reads run beside them (WAL).
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, DateTime, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from archive_service.clock import require_aware

SQLITE_BUSY_S: Final = 30
"""How long a SQLite writer waits for another before it gives up."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on both engines; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Converts to UTC; SQLite has no zones and gets the bare UTC value."""
        if value is None:
            return None
        utc = require_aware(value).astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Returns the value as aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """An engine with its two session factories; lives as long as the process."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self._write = sessionmaker(self.engine, expire_on_commit=False)
        self._read_only = self.engine.execution_options(archive_read_only=True)
        self._read = sessionmaker(self._read_only, expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded engine."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Opens one transaction that commits when the block ends and rolls back when it raises."""
        with self._write.begin() as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Opens a transaction for reading only."""
        with self._read() as session:
            yield session

    @contextmanager
    def read_columns(self) -> Iterator[Connection]:
        """Opens a transaction for reading columns, without row objects: half the price, where it is paid for every file."""
        with self._read_only.connect() as connection:
            yield connection

    def close(self) -> None:
        """Closes every pooled connection."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    # Parameters are hidden: errors go to logs and job rows, and people's names and hashes of secrets must not.
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            parsed, connect_args={"timeout": SQLITE_BUSY_S, "check_same_thread": False}, hide_parameters=True
        )
        folder = Path(parsed.database or ".").absolute().parent
        event.listen(engine, "connect", partial(_sqlite_on_connect, folder))
        event.listen(engine, "begin", _sqlite_on_begin)
        return engine
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(parsed, pool_pre_ping=True, pool_size=10, max_overflow=20, hide_parameters=True)
    event.listen(engine, "begin", _postgres_on_begin)
    return engine


def _sqlite_on_connect(folder: Path, connection: sqlite3.Connection, _record: Any) -> None:  # pool record, not used
    # The driver must not open transactions by itself: _sqlite_on_begin does, with the right kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    # recursive_triggers: without it INSERT OR REPLACE deletes a row unseen by the triggers of append-only tables.
    pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON")
    # Turning a new file to WAL does not wait for others as every other statement does: it fails at once while one of them writes.
    with _held(folder):
        for pragma in (f"busy_timeout={SQLITE_BUSY_S * 1000}", *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """One process at a time; on the folder, since closing a second descriptor of the database file would drop SQLite's own locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sqlite_on_begin(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("archive_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _postgres_on_begin(connection: Connection) -> None:
    if connection.get_execution_options().get("archive_read_only", False):
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
