"""Where copies say they can be checked: the configured address, else where the service really listens."""

import pytest

from archive_service.cli.serving import listen, reachable
from archive_service.db import Database
from archive_service.service import Service
from archive_service.settings import Settings


def test_without_a_configured_address_it_is_where_the_service_listens(
    database: Database, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service(settings=settings, database=database)
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert reachable(service, listening).settings.public_url == f"http://127.0.0.1:{port}"
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


def test_a_configured_address_stays(database: Database, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    configured = settings.model_copy(update={"public_url": "https://luutru.example.vn"})
    service = Service(settings=configured, database=database)
    with listen("127.0.0.1", 0) as listening:
        assert reachable(service, listening) is service
    assert capsys.readouterr().err == ""
