"""The parts a running service is made of, put together once at start and handed over as one value; nothing global (STYLE A4)."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

from archive_service import migrations
from archive_service.db import Database
from archive_service.errors import ConfigurationInvalid, Conflict
from archive_service.settings import Settings
from archive_service.storage.locations import StorageLayout, default_layout, load_layout, open_store
from archive_service.storage.port import Store
from archive_service.storage.staging import StagingArea

SERVE_LOCK: Final = "serve.lock"
"""File in the data folder that the one `serve` of an embedded database holds."""


class DataFolderInUse(Conflict):
    """Another `serve` runs on this data folder: the embedded database is for one; stop it, or use PostgreSQL."""

    code = "DATA_FOLDER_IN_USE"


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


@contextmanager
def sole_service(service: Service) -> Iterator[None]:
    """Holds the data folder of an embedded database for one `serve`; the system gives it back however the process ends.

    Workers, commands and offline tools use the same folder beside it. On PostgreSQL any number may serve.

    Raises:
        DataFolderInUse: another `serve` holds it.
        ConfigurationInvalid: the folder cannot be written.
    """
    if not service.database.is_sqlite:
        yield
        return
    path = service.settings.data_dir / SERVE_LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    except OSError as exc:
        raise ConfigurationInvalid(f"{path}: {exc.strerror or exc}") from exc
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise DataFolderInUse(f"another `serve` runs on {service.settings.data_dir}") from exc
        yield
    finally:
        os.close(descriptor)
