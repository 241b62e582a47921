"""Bringing a database to the schema this code is written for: the same Alembic history on SQLite and PostgreSQL."""

import sys
import tempfile

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from archive_service.db import Database
from archive_service.errors import ConfigurationInvalid
from archive_service.resources import migrations_dir

_ADVISORY_LOCK = 0x61726368
"""PostgreSQL advisory lock that keeps two starting processes from migrating at once."""


def upgrade(database: Database) -> str:
    """Brings the database to the newest revision, in one transaction, and returns that revision. Safe to run from many processes."""
    with database.engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        upgrade_connection(connection, "head")
    return head_revision()


def upgrade_connection(connection: Connection, revision: str) -> None:
    """Brings a database to a revision, in the caller's transaction.

    Raises:
        ConfigurationInvalid: this program knows no such revision.
    """
    try:
        command.upgrade(_config(connection), revision)
    except CommandError as exc:
        raise ConfigurationInvalid(f"schema revision {revision} is not known to this version: {exc}") from exc


def head_revision() -> str:
    """Returns the revision this code is written for.

    Raises:
        ConfigurationInvalid: the migration folder holds none.
    """
    head = ScriptDirectory(str(migrations_dir())).get_current_head()
    if head is None:
        raise ConfigurationInvalid("no migration found")
    return head


def current_revision(database: Database) -> str | None:
    """Returns the revision the database is at; None for an empty one."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    config.attributes["connection"] = connection
    return config


def _draft(message: str) -> None:
    """Writes a new migration from the difference between the models and an empty database at the newest revision."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/draft.db")
        upgrade(database)
        with database.engine.begin() as connection:
            revision = f"{int(head_revision()) + 1:04d}"
            command.revision(_config(connection), message=message, autogenerate=True, rev_id=revision)
        database.close()


if __name__ == "__main__":
    _draft(" ".join(sys.argv[1:]) or "change")
