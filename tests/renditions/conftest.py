"""A service over HTTP on both engines, for tests of renditions."""

from collections.abc import Iterator

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
    service = Service(settings=settings.model_copy(update={"rendition_delay_s": 0}), database=database)
    with TestClient(create_app(service), raise_server_exceptions=False) as http:
        yield Archive(service=service, http=http)
