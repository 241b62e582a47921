"""The fixtures themselves: both engines are real, migrated, and separate for each test."""

import socket

import pytest
from pytest_socket import SocketConnectBlockedError
from sqlalchemy import text

from archive_service import migrations
from archive_service.db import Database
from archive_service.settings import Settings


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_a_fresh_migrated_database(database: Database, settings: Settings, turn: int) -> None:
    assert migrations.current_revision(database) == migrations.head_revision()
    assert settings.resolved_database_url == database.url
    with database.write() as session:
        assert session.execute(text("SELECT count(*) FROM scheduled_run")).scalar_one() == 0
        session.execute(
            text("INSERT INTO scheduled_run (task, scheduled_for, job_id) VALUES ('t', '2026-01-01 00:00:00', :id)"),
            {"id": f"{turn:032x}"},
        )


def test_the_two_engines_are_what_they_say(database: Database, request: pytest.FixtureRequest) -> None:
    with database.read() as session:
        question = "SELECT sqlite_version()" if database.is_sqlite else "SHOW server_version"
        version = session.execute(text(question)).scalar_one()
    assert database.engine.dialect.name in request.node.callspec.id
    assert int(version.split(".")[0]) >= 3


def test_no_test_reaches_the_network() -> None:
    # 192.0.2.1 is TEST-NET-1 (RFC 5737): nothing answers there, and the attempt must be refused before it leaves.
    # (The guard warns before it raises, and a warning is an error here.)
    with pytest.raises((SocketConnectBlockedError, UserWarning), match=r"192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
