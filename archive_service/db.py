"""The database: one engine, two kinds (SQLite embedded, PostgreSQL for a province), and the only commits of the code base.

`with database.write() as session:` is one use case, one transaction: committed at the end of the block, rolled back when it raises.
`with database.read() as session:` never writes. SQLite write transactions begin IMMEDIATE, so two writers queue up instead of failing
half-way; reads run beside them (WAL).

`write_prepared` and `read_prepared` are the same for prepared statements alone (prepared.py), at a third of the price: for what is done for
every dossier.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, DateTime, Dialect, Engine, PoolProxiedConnection, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from archive_service.clock import require_aware
from archive_service.errors import ConfigurationInvalid

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPICursor, DBAPIModule

SQLITE_BUSY_S: Final = 30
"""How long a SQLite writer waits for another before it gives up."""
SQLITE_AT_HAND: Final = 2
"""Most connections kept at hand beside the pool."""


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
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        """Whether this is the embedded engine."""
        self._idle: list[PoolProxiedConnection] = []
        """Connections between two transactions of prepared statements: taking one from the pool costs as much as its statement."""

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
    def write_prepared(self) -> Iterator["Transaction"]:
        """Opens one transaction for prepared statements that commits when the block ends and rolls back when it raises."""
        pooled = self._taken()
        try:
            driver = Driver(pooled, self.engine.dialect, pooled.invalidate)
            driver.begin(read_only=False)
            yield Transaction(driver)
            driver.commit()
        except BaseException:
            pooled.close()  # rolls back
            raise
        self._given_back(pooled)

    @contextmanager
    def read_prepared(self) -> Iterator["Transaction"]:
        """Opens a transaction for prepared statements that only read."""
        pooled = self._taken()
        try:
            driver = Driver(pooled, self.engine.dialect, pooled.invalidate)
            driver.begin(read_only=True)
            yield Transaction(driver)
            driver.rollback()
        except BaseException:
            pooled.close()
            raise
        self._given_back(pooled)

    def _taken(self) -> PoolProxiedConnection:
        try:
            return self._idle.pop()
        except IndexError:
            return self.engine.raw_connection()

    def _given_back(self, pooled: PoolProxiedConnection) -> None:
        """Keeps a connection of SQLite at hand; one of a server goes back to the pool, which asks it whether it lives before the next use."""
        if self.is_sqlite and len(self._idle) < SQLITE_AT_HAND:
            self._idle.append(pooled)
        else:
            pooled.close()

    def close(self) -> None:
        """Closes every pooled connection."""
        while self._idle:
            self._idle.pop().close()
        self.engine.dispose()


class Driver:
    """A connection's driver, with errors as SQLAlchemy gives them."""

    def __init__(
        self, pooled: PoolProxiedConnection, dialect: Dialect, invalidate: Callable[[BaseException], None]
    ) -> None:
        self._pooled = pooled
        self._invalidate = invalidate
        self.dialect = dialect

    def execute(self, sql: str, parameters: Any) -> "DBAPICursor":
        """Runs one statement.

        Raises:
            DBAPIError: the database refused it.
        """
        try:
            cursor = self._pooled.cursor()
            cursor.execute(sql, parameters)
        except self.dialect.loaded_dbapi.Error as exc:
            raise self._translated(sql, exc) from exc
        return cursor

    def execute_each(self, sql: str, parameters: Sequence[Any]) -> None:
        """Runs one statement with each of the parameters.

        Raises:
            DBAPIError: the database refused it.
        """
        try:
            self._pooled.cursor().executemany(sql, parameters)
        except self.dialect.loaded_dbapi.Error as exc:
            raise self._translated(sql, exc) from exc

    def begin(self, *, read_only: bool) -> None:
        """Begins a transaction: on SQLite a writing one takes the lock now; PostgreSQL's driver begins with the first statement."""
        if self.dialect.name == "sqlite":
            self.execute("BEGIN" if read_only else "BEGIN IMMEDIATE", ())
        elif read_only:
            self.execute("SET TRANSACTION READ ONLY", ())

    def commit(self) -> None:
        """Commits.

        Raises:
            DBAPIError: the database refused.
        """
        try:
            self._pooled.commit()
        except self.dialect.loaded_dbapi.Error as exc:
            raise self._translated("COMMIT", exc) from exc

    def rollback(self) -> None:
        """Ends the transaction without a change.

        Raises:
            DBAPIError: the database refused.
        """
        try:
            self._pooled.rollback()
        except self.dialect.loaded_dbapi.Error as exc:
            raise self._translated("ROLLBACK", exc) from exc

    def _translated(self, sql: str, error: "DBAPIModule.Error") -> Exception:
        lost = self.dialect.is_disconnect(error, self._pooled, None)
        if lost:
            self._invalidate(error)
        base = self.dialect.loaded_dbapi.Error
        return DBAPIError.instance(sql, None, error, base, connection_invalidated=lost, dialect=self.dialect)


class Transaction:
    """An open transaction that runs prepared statements and nothing else."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver


Work = Session | Connection | Transaction
"""Whatever transaction is open."""


def driver_of(work: Work) -> Driver:
    """Returns the driver in the open transaction."""
    if isinstance(work, Transaction):
        return work.driver
    connection = work.connection() if isinstance(work, Session) else work
    if not connection.in_transaction():
        connection.begin()
    return Driver(connection.connection, connection.dialect, connection.invalidate)


def engine_of(work: Work) -> str:
    """Returns the name of the engine, `sqlite` or `postgresql`, for the few statements that differ."""
    return driver_of(work).dialect.name


def _engine(url: str) -> Engine:
    # Parameters are hidden: errors go to logs and job rows, and people's names and hashes of secrets must not.
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise ConfigurationInvalid(f"not a database URL: {exc}") from exc
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            parsed, connect_args={"timeout": SQLITE_BUSY_S, "check_same_thread": False}, hide_parameters=True
        )
        folder = Path(parsed.database or ".").absolute().parent
        event.listen(engine, "connect", partial(_sqlite_on_connect, folder))
        event.listen(engine, "begin", _on_begin)
        return engine
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(parsed, pool_pre_ping=True, pool_size=10, max_overflow=20, hide_parameters=True)
    event.listen(engine, "begin", _on_begin)
    return engine


def _sqlite_on_connect(folder: Path, connection: sqlite3.Connection, _record: Any) -> None:  # pool record, not used
    # The driver must not open transactions by itself: _on_begin does, with the right kind.
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


def _on_begin(connection: Connection) -> None:
    driver = Driver(connection.connection, connection.dialect, connection.invalidate)
    driver.begin(read_only=connection.get_execution_options().get("archive_read_only", False))
