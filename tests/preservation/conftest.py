"""An archive with stored dossiers, without HTTP servers of its own, on both engines."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from archive_service.application import create_app
from archive_service.db import Database
from archive_service.service import Service
from archive_service.settings import Settings
from tests.pipeline import Archive


@pytest.fixture
def archive(database: Database, settings: Settings) -> Iterator[Archive]:
    """The application with nothing in it."""
    service = Service(settings=settings, database=database)
    with TestClient(create_app(service), raise_server_exceptions=False) as http:
        yield Archive(service=service, http=http)


@pytest.fixture
def dossiers(tmp_path: Path) -> Path:
    """Where a test's dossiers are made."""
    return tmp_path / "dossiers"
