"""One `serve` to a data folder with the embedded database: a second one is refused, one that was killed leaves nothing behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from archive_service.db import Database
from archive_service.service import DataFolderInUse, Service, sole_service
from archive_service.settings import Settings


def serve(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "archive_service", "serve", "--data", str(folder), "--port", "0"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ready(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return "ready" in process.stdout.readline()


def test_a_second_serve_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first = serve(tmp_path)
    try:
        assert ready(first)
        second = serve(tmp_path)
        _, said = second.communicate(timeout=120)
        assert second.returncode == 5
        assert said.startswith("DATA_FOLDER_IN_USE: ")
        assert first.poll() is None, "the first one goes on"
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=60)
        third = serve(tmp_path)
        try:
            assert ready(third), "nothing has to be cleared away after a kill"
        finally:
            third.terminate()
            third.communicate(timeout=120)
    finally:
        first.kill()
        first.communicate(timeout=60)


def test_postgresql_is_served_by_any_number(database: Database, settings: Settings) -> None:
    service = Service(settings=settings, database=database)
    with sole_service(service):
        if database.is_sqlite:
            with pytest.raises(DataFolderInUse), sole_service(service):
                pytest.fail("never entered")
        else:
            with sole_service(service):
                assert not (settings.data_dir / "serve.lock").exists()
