"""Alembic environment: runs on a connection handed in by archive_service.migrations, or on ARCHIVE_DATABASE_URL from the command line."""

from alembic import context

from archive_service.db import Database
from archive_service.models import Base
from archive_service.settings import load_settings

target_metadata = Base.metadata


def _run(connection):
    context.configure(
        connection=connection,
        target_metadata=target_metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # A migration must never queue behind a long query with every other query behind it.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
        context.run_migrations()


connection = context.config.attributes.get("connection")
if connection is not None:
    _run(connection)
else:
    database = Database(load_settings().resolved_database_url)
    with database.engine.begin() as own_connection:
        _run(own_connection)
