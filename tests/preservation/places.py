"""Archives whose storage locations change: a layout file, and the same database opened with another one."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi.testclient import TestClient
from sqlalchemy import select

from archive_service import clock
from archive_service.application import create_app
from archive_service.audit import events_of, software
from archive_service.digests import sha256
from archive_service.models import Aip, AipCopy, Event, StorageMove
from archive_service.preservation.moves import run_move
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from archive_service.storage.port import ReadBackOutcome, read_back, store_key
from tests.pipeline import Archive

AGENT = software("tests")


def folder(data_dir: Path, name: str, **changes: Any) -> dict[str, Any]:
    """Returns a filesystem location below the data folder, as the default has them."""
    return {"name": name, "kind": "filesystem", "path": str(data_dir / "storage" / name), **changes}


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def layout_file(target: Path, locations: Iterable[Mapping[str, Any]], **policy: Any) -> Path:
    """Writes a layout with one policy; `copies` defaults to every location."""
    listed = list(locations)
    tables = [("locations", each) for each in listed]
    tables.append(("policies", {"name": "default", "copies": [each["name"] for each in listed], **policy}))
    lines = []
    for table, values in tables:
        lines.append(f"[[{table}]]")
        lines += [f"{key} = {_toml(value)}" for key, value in values.items()]
    target.write_text("\n".join(lines), encoding="utf-8")
    return target


@contextmanager
def opened_with(archive: Archive, layout: Path) -> Iterator[Archive]:
    """Yields the same archive with another layout, as after a restart."""
    settings = archive.service.settings.model_copy(update={"locations": layout})
    service = Service(settings=settings, database=archive.service.database)
    with TestClient(create_app(service), raise_server_exceptions=False) as http:
        yield Archive(service=service, http=http, tokens=archive.tokens)


def archive_numbered(archive: Archive, dossiers: Path, number: int) -> str:
    """Stores one of several small dossiers whose codes differ by a digit; returns the id of its record."""
    return archive.archive(minimal_dossier(dossiers, code=f"000.00.16.H56-250314-000{number}").folder)


def run(archive: Archive, move: StorageMove, **rest: Any) -> StorageMove:
    """Works on a move here."""
    return run_move(archive.service, move.id, agent=AGENT, **rest)


def copies_of(archive: Archive, record_id: str) -> dict[str, AipCopy]:
    """Returns the copies of a record's only package by location."""
    query = select(AipCopy).join(Aip, Aip.id == AipCopy.aip_id).where(Aip.record_id == UUID(record_id))
    with archive.service.database.read() as session:
        return {copy.location: copy for copy in session.scalars(query)}


def is_intact(archive: Archive, record_id: str, location: str) -> bool:
    """Returns whether the bytes of a record's only package at a location are right."""
    with archive.service.database.read() as session:
        aip = session.scalars(select(Aip).where(Aip.record_id == UUID(record_id))).one()
    copy = copies_of(archive, record_id)[location]
    answer = read_back(
        archive.service.stores[location],
        store_key(aip.store_key),
        expected=sha256(aip.sha256),
        size_bytes=aip.size_bytes,
        version_id=copy.version_id,
    )
    return answer.outcome is ReadBackOutcome.INTACT


def history(archive: Archive, location: str) -> list[str]:
    """Returns the types of a location's events, in order."""
    with archive.service.database.read() as session:
        return [event.type.value for event in events_of(session, [("location", location)])]


def events_about(archive: Archive, record_id: str, kind: str) -> list[Event]:
    """Returns a record's events of a type."""
    with archive.service.database.read() as session:
        return [event for event in events_of(session, [("record", record_id)]) if event.type.value == kind]


def later(days: int) -> Any:
    """Returns a moment some days on."""
    from datetime import timedelta

    return clock.unique_now() + timedelta(days=days)
