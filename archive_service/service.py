"""The parts a running service is made of, put together once at start and handed over as one value; nothing global (STYLE A4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from archive_service import migrations
from archive_service.db import Database
from archive_service.errors import ConfigurationInvalid
from archive_service.settings import Settings
from archive_service.storage.locations import StorageLayout, default_layout, load_layout, open_store
from archive_service.storage.port import Store
from archive_service.storage.staging import StagingArea


@dataclass(frozen=True)
class Service:
    """Settings, database, staging and storage locations of one process."""

    settings: Settings
    database: Database

    @cached_property
    def staging(self) -> StagingArea:
        """Where bytes wait until they are stored."""
        return StagingArea(self.settings.staging_dir)

    @cached_property
    def layout(self) -> StorageLayout:
        """Storage locations and policies in force."""
        return (
            load_layout(self.settings.locations) if self.settings.locations else default_layout(self.settings.data_dir)
        )

    @cached_property
    def stores(self) -> Mapping[str, Store]:
        """An open store for each location."""
        return MappingProxyType({name: open_store(spec) for name, spec in self.layout.locations.items()})

    def close(self) -> None:
        """Gives back database connections."""
        self.database.close()


def open_service(settings: Settings, *, migrate: bool = False) -> Service:
    """Returns the parts for these settings, bringing the database to the newest schema first when asked to.

    Raises:
        ConfigurationInvalid: the data folder cannot be made.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigurationInvalid(f"data folder {settings.data_dir}: {exc.strerror or exc}") from exc
    database = Database(settings.resolved_database_url)
    if migrate:
        migrations.upgrade(database)
    return Service(settings=settings, database=database)
