"""Worlds for kill tests: a data folder and database brought to some point once, then copied for every kill, and what must hold in them."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import func, select

from archive_service.application import create_app
from archive_service.audit import events_of
from archive_service.db import Database
from archive_service.digests import digest_bytes, sha256
from archive_service.models import (
    Aip,
    AipCopy,
    Component,
    EventType,
    Job,
    JobKind,
    JobState,
    Record,
    State,
    Submission,
)
from archive_service.service import Service
from archive_service.settings import Settings
from archive_service.storage.port import ReadBackOutcome, read_back, store_key
from tests.crash.pipeline_faults import ACKNOWLEDGED
from tests.pipeline import Archive


@dataclass(frozen=True)
class World:
    """A point in a service's life that can be copied; SQLite."""

    folder: Path

    def copy(self, target: Path) -> Settings:
        """Returns the settings of a fresh copy in `target`, in the place of an earlier one."""
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder, target)
        return sqlite_settings(target)


def sqlite_settings(folder: Path) -> Settings:
    """Returns settings with everything in one folder."""
    return Settings(data_dir=folder, database_url=f"sqlite:///{folder / 'archive.db'}")


@contextmanager
def opened(settings: Settings) -> Iterator[Service]:
    """Yields a service and closes its database, so that the folder can be copied."""
    service = Service(settings=settings, database=Database(settings.resolved_database_url))
    yield service
    service.close()


@contextmanager
def driven(settings: Settings) -> Iterator[Archive]:
    """Yields a driver of a service over HTTP."""
    with opened(settings) as service, TestClient(create_app(service), raise_server_exceptions=False) as http:
        yield Archive(service=service, http=http)


def acknowledged(settings: Settings) -> list[dict[str, Any]]:
    """Returns what a step was told before it died."""
    path = settings.data_dir / ACKNOWLEDGED
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# ------------------------------------------------------------------ what must hold


def only_submission(service: Service) -> Submission:
    """Returns the one submission there is."""
    with service.database.read() as session:
        (submission,) = session.scalars(select(Submission)).all()
    return submission


def event_counts(service: Service, kind: str, subject: object) -> Counter[EventType]:
    """Returns how often each event of a subject happened."""
    with service.database.read() as session:
        return Counter(event.type for event in events_of(session, [(kind, str(subject))]))


def open_jobs(service: Service) -> Sequence[Job]:
    """Returns the jobs that are not done."""
    with service.database.read() as session:
        return session.scalars(select(Job).where(Job.state != JobState.DONE)).all()


def staged_entries(service: Service) -> list[str]:
    """Returns every path in staging."""
    root = service.settings.staging_dir
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) if root.exists() else []


def require_staged_components(service: Service, submission: Submission) -> None:
    """Every component noted as received, and every other that has its name in staging, is there with the declared bytes."""
    with service.database.read() as session:
        components = session.scalars(select(Component).where(Component.submission_id == submission.id)).all()
    for component in components:
        path = service.settings.staging_dir / str(submission.id) / f"component-{component.ordinal:07d}"
        if component.received_at is not None or path.exists():
            assert digest_bytes(path.read_bytes()).hex == component.declared_sha256


def require_intact_copies(service: Service) -> str:
    """The one package is in both locations with the right bytes; returns its digest."""
    with service.database.read() as session:
        aip = session.scalars(select(Aip)).one()
        copies = session.scalars(select(AipCopy)).all()
    assert sorted(copy.location for copy in copies) == ["kho-1", "kho-2"]
    for copy in copies:
        answer = read_back(
            service.stores[copy.location],
            store_key(aip.store_key),
            expected=sha256(aip.sha256),
            size_bytes=aip.size_bytes,
        )
        assert answer.outcome is ReadBackOutcome.INTACT, answer
    return aip.sha256


def require_stored_once(service: Service) -> str:
    """One submission became one record, each step happened once, and nothing is left over; returns the package's digest."""
    submission = only_submission(service)
    assert submission.state is State.STORED
    with service.database.read() as session:
        record = session.scalars(select(Record)).one()
        assert session.scalar(select(func.count()).select_from(Component).where(Component.entry_offset.is_(None))) == 0
    assert record.id == submission.record_id
    assert (record.component_count, record.size_bytes) == (submission.component_count, submission.size_bytes)
    assert event_counts(service, "submission", submission.id) == dict.fromkeys(
        (
            EventType.SUBMISSION_OPENED,
            EventType.SUBMISSION_COMPLETED,
            EventType.SUBMISSION_CHECKED,
            EventType.SUBMISSION_APPROVED,
            EventType.SUBMISSION_STORED,
        ),
        1,
    )
    assert event_counts(service, "record", record.id) == dict.fromkeys(
        (EventType.RECORD_ACCESSIONED, EventType.RECORD_RETENTION_ASSIGNED), 1
    )
    # Reading the text for search waits until a burst is stored; everything else is done.
    assert [job.kind for job in open_jobs(service)] == [JobKind.EXTRACT_TEXT]
    assert staged_entries(service) == []
    for location in service.stores.values():
        assert len(list(location.list("aip"))) == 1
    return require_intact_copies(service)
