"""Mistakes in what the service is started with are told in one line with their exit code, before anything runs."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archive_service.cli import build_app, main
from archive_service.db import Database
from archive_service.errors import ConfigurationInvalid


@pytest.mark.parametrize("command", ["serve", "api", "worker"])
def test_storage_locations_that_cannot_be_read_stop_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("ARCHIVE_LOCATIONS", str(tmp_path / "missing.toml"))
    result = CliRunner().invoke(build_app(("serving",)), [command, "--data", str(tmp_path / "data")])
    assert isinstance(result.exception, ConfigurationInvalid)
    assert "missing.toml" in str(result.exception)


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_a_port_that_is_none_is_a_usage_error(tmp_path: Path, port: str) -> None:
    result = CliRunner().invoke(build_app(("serving",)), ["serve", "--data", str(tmp_path / "data"), "--port", port])
    assert result.exit_code == 2
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("url", ["garbage", "oracle-of-delphi://x/y", "://"])
def test_what_is_no_database_url_is_told(url: str) -> None:
    with pytest.raises(ConfigurationInvalid):
        Database(url)


def test_a_database_that_is_away_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ARCHIVE_DATABASE_URL", "postgresql://archive:hidden-password@127.0.0.1:1/db?connect_timeout=2")
    monkeypatch.setattr(sys, "argv", ["archive-service", "token", "list", "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 6
    assert told.startswith("DATABASE_UNAVAILABLE: ")
    assert "Traceback" not in told
    assert "hidden-password" not in told
