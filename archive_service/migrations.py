"""Bringing a database to the schema this code is written for: the same Alembic history on SQLite and PostgreSQL.

Alembic is imported only when there is something to migrate: it takes longer to load than a command that finds everything in place has to run.
An empty SQLite file gets the newest schema as one script, which a test holds equal to what the history makes.
"""

import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from archive_service.db import Database
from archive_service.errors import ConfigurationInvalid
from archive_service.resources import migrations_dir

if TYPE_CHECKING:
    from alembic.config import Config

_ADVISORY_LOCK = 0x61726368
"""PostgreSQL advisory lock that keeps two starting processes from migrating at once."""
_VERSIONS: Final = "alembic_version"
_NEWEST: Final = "newest_sqlite.sql"


def upgrade(database: Database) -> str:
    """Brings the database to the newest revision, in one transaction, and returns that revision. Safe to run from many processes."""
    newest = head_revision()
    with database.engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        elif _is_blank(connection):
            run_script(connection, newest_script().read_text(encoding="utf-8"))
        if _revision(connection) != newest:
            upgrade_connection(connection, "head")
    return newest


def upgrade_connection(connection: Connection, revision: str) -> None:
    """Brings a database to a revision, in the caller's transaction.

    Raises:
        ConfigurationInvalid: this program knows no such revision.
    """
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(_config(connection), revision)
    except CommandError as exc:
        raise ConfigurationInvalid(f"schema revision {revision} is not known to this version: {exc}") from exc


def head_revision() -> str:
    """Returns the revision this code is written for: migrations are numbered, and their files begin with their number.

    Raises:
        ConfigurationInvalid: the migration folder holds none.
    """
    numbers = [path.name.partition("_")[0] for path in (migrations_dir() / "versions").glob("[0-9]*_*.py")]
    if not numbers:
        raise ConfigurationInvalid("no migration found")
    return max(numbers)


def current_revision(database: Database) -> str | None:
    """Returns the revision the database is at; None for an empty one."""
    with database.engine.connect() as connection:
        return _revision(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSIONS):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {_VERSIONS}")).scalar_one_or_none()  # noqa: S608 - a name of ours
    return found


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    config.attributes["connection"] = connection
    return config


# ------------------------------------------------------------------ the newest schema of SQLite as one script


def newest_script() -> Path:
    """Returns the file with the newest schema of SQLite; `python -m archive_service.migrations --newest` writes it."""
    return migrations_dir() / _NEWEST


def run_script(connection: Connection, script: str) -> None:
    """Runs a script's statements one by one: `executescript` would commit the transaction that is open."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.exec_driver_sql(statement)
            statement = ""


def schema_script(connection: Connection) -> str:
    """Returns the statements that make the schema of an SQLite database again, its revision included."""
    statements = [row.sql for row in connection.execute(text(_MADE))]
    statements.append(f"INSERT INTO {_VERSIONS} (version_num) VALUES ('{_revision(connection)}')")  # noqa: S608 - a number of ours
    return "".join(f"{statement};\n" for statement in statements)


_MADE: Final = """
SELECT sql FROM sqlite_schema AS made
WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND NOT EXISTS (
  SELECT 1 FROM pragma_table_list AS part WHERE part.schema = 'main' AND part.name = made.name AND part.type = 'shadow'
) ORDER BY rowid
"""
"""What was created by a statement: not what SQLite makes by itself, for a virtual table or a key."""


def _is_blank(connection: Connection) -> bool:
    """Whether this is an SQLite file without any table, and one that can hold all of the newest schema."""
    blank = not connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar_one()
    return blank and bool(
        connection.exec_driver_sql("SELECT count(*) FROM pragma_module_list WHERE name = 'fts5'").scalar_one()
    )


def migrated_script() -> str:
    """Returns the newest schema of SQLite as the whole history of migrations makes it."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/migrated.db")
        with database.engine.begin() as connection:
            upgrade_connection(connection, "head")
            script = schema_script(connection)
        database.close()
    return script


# ------------------------------------------------------------------ for developers


def _draft(message: str) -> None:
    """Writes a new migration from the difference between the models and an empty database at the newest revision."""
    from alembic import command

    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/draft.db")
        with database.engine.begin() as connection:
            upgrade_connection(connection, "head")
            revision = f"{int(head_revision()) + 1:04d}"
            command.revision(_config(connection), message=message, autogenerate=True, rev_id=revision)
        database.close()


def _main(words: list[str]) -> None:
    if words == ["--newest"]:
        newest_script().write_text(migrated_script(), encoding="utf-8")
    else:
        _draft(" ".join(words) or "change")


if __name__ == "__main__":
    _main(sys.argv[1:])
