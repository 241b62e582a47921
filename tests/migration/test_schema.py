"""Migrations: the upgraded schema is the schema the code declares, on both engines, from empty and repeatedly."""

import threading
from datetime import datetime
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from archive_service import migrations
from archive_service.access.text_index import TABLE, available
from archive_service.db import Database
from archive_service.models import Base
from archive_service.resources import migrations_dir
from tests.builders import new_submission
from tests.postgres_server import PostgresServer


def _declared(_item: Any, name: str | None, kind: str, *_rest: Any) -> bool:
    """The index of words is of a kind no model can declare; a test below looks at it."""
    return not (kind == "table" and (name == TABLE or (name or "").startswith(f"{TABLE}_")))


def test_the_index_of_words_is_there(database: Database) -> None:
    with database.read() as session:
        assert available(session)
        assert session.execute(text(f"SELECT count(*) FROM {TABLE}")).scalar_one() == 0  # noqa: S608 - a name of ours


def test_the_upgraded_schema_equals_the_models(database: Database) -> None:
    with database.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_object": _declared}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_every_check_and_partial_index_of_the_models_is_there(database: Database) -> None:
    """Autogenerate compares neither CHECK constraints nor the WHERE of an index, so their names are compared here."""
    inspector = inspect(database.engine)
    for table in Base.metadata.sorted_tables:
        declared = {str(check.name) for check in table.constraints if type(check).__name__ == "CheckConstraint"}
        found = {str(check["name"]) for check in inspector.get_check_constraints(table.name)}
        assert declared <= found, table.name
        partial = {
            str(index.name) for index in table.indexes if index.dialect_options["postgresql"]["where"] is not None
        }
        option = "sqlite_where" if database.is_sqlite else "postgresql_where"
        indexes = inspector.get_indexes(table.name)
        conditional = {
            str(index["name"]) for index in indexes if index.get("dialect_options", {}).get(option) is not None
        }
        assert partial == conditional, table.name


def test_the_newest_schema_as_one_script_is_what_the_migrations_make() -> None:
    script = migrations.newest_script().read_text(encoding="utf-8")
    assert _statements(script) == _statements(migrations.migrated_script()), (
        "run `./dev migration --newest` after a change of migrations"
    )


def test_an_empty_sqlite_file_gets_the_schema_from_the_script(tmp_path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    migrations.upgrade(database)
    with database.engine.connect() as connection:
        assert migrations.schema_script(connection) == migrations.newest_script().read_text(encoding="utf-8")
    database.close()


def test_a_database_of_an_earlier_revision_is_migrated_to_the_newest(tmp_path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    with database.engine.begin() as connection:
        migrations.upgrade_connection(connection, "0004")
    assert migrations.upgrade(database) == migrations.current_revision(database) == migrations.head_revision()
    with database.engine.connect() as connection:
        assert _statements(migrations.schema_script(connection)) == _statements(migrations.migrated_script())
    database.close()


def test_the_newest_revision_is_known_from_the_names_of_files() -> None:
    assert migrations.head_revision() == ScriptDirectory(str(migrations_dir())).get_current_head()


def _statements(script: str) -> set[tuple[str, ...]]:
    """The lines of each statement; Alembic gives the constraints of a table that it makes anew in any order."""
    found = set()
    for statement in script.split(";\n"):
        lines = [line.strip().rstrip(",") for line in statement.splitlines()]
        columns = [line for line in lines if not line.startswith("CONSTRAINT")]
        found.add((*columns, *sorted(set(lines) - set(columns))))
    return found


def test_upgrading_again_changes_nothing(database: Database, at: datetime) -> None:
    with database.write() as session:
        new_submission(session, at)
    assert migrations.upgrade(database) == migrations.head_revision() == migrations.current_revision(database)
    with database.read() as session:
        assert session.execute(text("SELECT count(*) FROM submission")).scalar_one() == 1


def test_an_empty_database_has_no_revision(tmp_path, postgres_server: PostgresServer) -> None:
    empty = postgres_server.create()
    for url in (f"sqlite:///{tmp_path / 'empty.db'}", empty.render_as_string(hide_password=False)):
        database = Database(url)
        assert migrations.current_revision(database) is None
        database.close()
    postgres_server.drop(empty)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_processes_that_start_together_migrate_once(engine: str, tmp_path, request: pytest.FixtureRequest) -> None:
    if engine == "sqlite":
        url, server, created = f"sqlite:///{tmp_path / 'new.db'}", None, None
    else:
        server = request.getfixturevalue("postgres_server")
        created = server.create()
        url = created.render_as_string(hide_password=False)
    databases = [Database(url) for _ in range(3)]
    failures: list[Exception] = []
    barrier = threading.Barrier(3)

    def start(database: Database) -> None:
        barrier.wait()
        try:
            migrations.upgrade(database)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the test reports it
            failures.append(exc)

    threads = [threading.Thread(target=start, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert migrations.current_revision(databases[0]) == migrations.head_revision()
    for database in databases:
        database.close()
    if server is not None:
        server.drop(created)
