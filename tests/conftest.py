"""Fixtures for all tiers: a database on both engines, settings and folders of one test, and how to say "not run"."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pyhanko.pdf_utils.crypt.pdfmac  # noqa: F401 - see below
import pytest

from archive_service import migrations
from archive_service.db import Database
from archive_service.settings import Settings
from tests.postgres_server import NoServerError, PostgresServer, running_server

# pyHanko enters the PDF MAC attribute the wrong way round into asn1crypto's name table when that table was used before; importing it
# first keeps a test that signs an encrypted PDF independent of what ran before it.
NOT_RUN = "NOT RUN"
_KEPT_VARIABLES = ("ARCHIVE_TEST_", "ARCHIVE_CORPORA", "ARCHIVE_ALLOW_NOT_RUN")

NotRun = Callable[[str, str], NoReturn]


def pytest_configure(config: pytest.Config) -> None:  # noqa: ARG001 - the hook's signature
    """Keeps an operator's own settings out of the tests."""
    for name in [name for name in os.environ if name.startswith("ARCHIVE_") and not name.startswith(_KEPT_VARIABLES)]:
        del os.environ[name]


# ------------------------------------------------------------------ what could not run


def _say_not_run(what: str, reason: str) -> NoReturn:
    pytest.skip(f"{NOT_RUN} {what}: {reason}")


@pytest.fixture(scope="session")
def not_run() -> NotRun:
    """`not_run("clamd", "no clamd program found")` skips the test and is reported loudly at the end.

    With CI=true such a run fails, unless ARCHIVE_ALLOW_NOT_RUN lists the name (comma-separated).
    """
    return _say_not_run


def _not_run_reports(config: pytest.Config) -> dict[tuple[str, str], int]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    counts: dict[tuple[str, str], int] = {}
    for report in reporter.stats.get("skipped", []) if reporter else []:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _, found, rest = text.partition(f"{NOT_RUN} ")
        if found:
            what, _, reason = rest.partition(": ")
            counts[what, reason] = counts.get((what, reason), 0) + 1
    return counts


def _forbidden(counts: dict[tuple[str, str], int]) -> list[str]:
    if os.environ.get("CI", "").lower() not in {"true", "1"}:
        return []
    allowed = {name.strip() for name in os.environ.get("ARCHIVE_ALLOW_NOT_RUN", "").split(",")}
    return sorted({what for what, _ in counts} - allowed)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a CI run in which something did not run that is not allowed to be missing."""
    if hasattr(session.config, "workerinput") or session.exitstatus != 0:
        return
    if _forbidden(_not_run_reports(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Lists what did not run, where nobody can overlook it."""
    counts = _not_run_reports(config)
    if not counts:
        return
    terminalreporter.section(f"{NOT_RUN}: these tests were not executed", sep="!", red=True, bold=True)
    for (what, reason), count in sorted(counts.items()):
        terminalreporter.line(f"{NOT_RUN} {what}: {count} tests: {reason}", red=True)
    for what in _forbidden(counts):
        text = f"this run fails: {what} did not run and ARCHIVE_ALLOW_NOT_RUN does not list it"
        terminalreporter.line(text, red=True, bold=True)


# ------------------------------------------------------------------ databases


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL server for this test process."""
    try:
        with running_server() as server:
            yield server
    except NoServerError as exc:
        _say_not_run("postgresql", str(exc))


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> Iterator[str]:
    """Name of a PostgreSQL database with the newest schema."""
    url = postgres_server.create()
    _migrate(url.render_as_string(hide_password=False))
    yield str(url.database)
    postgres_server.drop(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest schema."""
    path = tmp_path_factory.mktemp("template") / "archive.db"
    _migrate(f"sqlite:///{path}")
    if path.with_name("archive.db-wal").exists():
        raise RuntimeError("the write-ahead log was not folded in: a copy of the file alone would miss tables")
    return path


def _migrate(url: str) -> None:
    database = Database(url)
    migrations.upgrade(database)
    database.close()


@pytest.fixture
def sqlite_url(sqlite_template: Path, data_dir: Path) -> str:
    """URL of a fresh SQLite database with the newest schema."""
    shutil.copyfile(sqlite_template, data_dir / "archive.db")
    return f"sqlite:///{data_dir / 'archive.db'}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """URL of a fresh PostgreSQL database with the newest schema."""
    url = postgres_server.create(postgres_template)
    yield url.render_as_string(hide_password=False)
    postgres_server.drop(url)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A fresh, migrated database: every test that takes it runs on both engines."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    opened = Database(url)
    yield opened
    opened.close()


# ------------------------------------------------------------------ one test's world


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The service's data folder of this test."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(data_dir: Path, database: Database) -> Settings:
    """Settings that point into this test's folder and database."""
    return Settings(data_dir=data_dir, database_url=database.url)


@pytest.fixture
def at() -> datetime:
    """The moment at which tests happen: a working Friday in Hà Nội, 10:04."""
    return datetime(2026, 11, 20, 3, 4, 5, tzinfo=UTC)
