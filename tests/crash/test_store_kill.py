"""Checking, storing and copying, killed at every boundary: the next worker ends with one record, the same bytes, and nothing left over."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from archive_service.audit import events_of
from archive_service.digests import sha256
from archive_service.ids import new_id
from archive_service.ingest.findings import stored_findings
from archive_service.models import CertifiedCopy, Component, EventType, State
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from archive_service.settings import Settings
from archive_service.storage.port import ReadBackOutcome, read_back, store_key
from tests.crash.pipeline_faults import CHECK, Victims, issue_copy, run_jobs, sweep
from tests.crash.test_push_kill import zipped
from tests.crash.worlds import (
    World,
    acknowledged,
    driven,
    event_counts,
    only_submission,
    open_jobs,
    opened,
    require_intact_copies,
    require_stored_once,
    sqlite_settings,
    staged_entries,
)
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    with Victims() as helper:
        yield helper


@pytest.fixture(scope="module")
def dossier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return minimal_dossier(tmp_path_factory.mktemp("dossiers")).folder


@pytest.fixture
def fresh(tmp_path: Path, sqlite_template: Path) -> Settings:
    """A service with nothing in it, to be made into the world a test starts from."""
    folder = tmp_path / "world"
    folder.mkdir()
    shutil.copyfile(sqlite_template, folder / "archive.db")
    return sqlite_settings(folder)


# ------------------------------------------------------------------ checking


@pytest.mark.parametrize("form", ["folder", "package"])
def test_a_check_killed_anywhere_is_done_once(
    victims: Victims, fresh: Settings, dossier: Path, tmp_path: Path, form: str
) -> None:
    with driven(fresh) as archive:
        if form == "folder":
            archive.push(dossier)
        else:
            assert archive.call("POST", "packages", content=zipped(dossier)).status_code == 202
    world = World(fresh.data_dir)
    kill_at, died = 0, True
    while died:
        kill_at += 1
        settings = world.copy(tmp_path / "copy")
        run = victims.run(settings, run_jobs, kinds=CHECK, kill_at=kill_at)
        died = run.killed
        victims.run(settings, run_jobs, kinds=CHECK)
        with opened(settings) as service:
            _require_checked_once(service)
    assert kill_at > 9, "three boundaries of each of three transactions"
    assert {"before commit", "after commit"} <= set(run.reached)
    # Without signatures there is no evidence to stage: only unpacking makes files durable.
    assert ({"before publish", "after publish"} <= set(run.reached)) is (form == "package")


def _require_checked_once(service: Service) -> None:
    submission = only_submission(service)
    assert submission.state is State.AWAITING_APPROVAL
    assert event_counts(service, "submission", submission.id) == dict.fromkeys(
        (EventType.SUBMISSION_OPENED, EventType.SUBMISSION_COMPLETED, EventType.SUBMISSION_CHECKED), 1
    )
    with service.database.read() as session:
        assert [finding.code for finding in stored_findings(session, submission.id)] == ["VIRUS_NOT_SCANNED"]
        components = session.scalars(select(Component).order_by(Component.ordinal)).all()
    assert [component.mime for component in components] == ["application/pdf"] * 3
    assert all(component.received_at for component in components)
    assert submission.received_count == 3
    assert open_jobs(service) == []


# ------------------------------------------------------------------ storing


def _approved(settings: Settings, dossier: Path) -> None:
    with driven(settings) as archive:
        submission_id = archive.push(dossier)
        archive.work()
        assert archive.decide(submission_id).json()["state"] == "APPROVED"


def test_storing_killed_anywhere_gives_one_record_with_the_same_bytes(
    victims: Victims, fresh: Settings, dossier: Path, tmp_path: Path
) -> None:
    _approved(fresh, dossier)
    world = World(fresh.data_dir)
    digests: set[str] = set()
    kill_at, died = 0, True
    while died:
        kill_at += 1
        settings = world.copy(tmp_path / "copy")
        run = victims.run(settings, run_jobs, kinds=[], kill_at=kill_at)
        died = run.killed
        digests.add(_stored_after_retry(victims, settings))
    assert len(digests) == 1
    assert kill_at > 30
    assert {"before put", "after put", "before read back", "after read back", "half discarded"} <= set(run.reached)


def _stored_after_retry(victims: Victims, settings: Settings) -> str:
    with opened(settings) as service:
        if only_submission(service).state is State.STORED:
            require_intact_copies(service)  # what was said to be stored is stored, before anybody tries again
    victims.run(settings, run_jobs, kinds=[])
    with opened(settings) as service:
        return require_stored_once(service)


@pytest.mark.postgres
def test_storing_killed_anywhere_on_postgresql(
    victims: Victims,
    postgres_server: PostgresServer,
    postgres_template: str,
    dossier: Path,
    tmp_path: Path,
) -> None:
    start = postgres_server.create(postgres_template)
    (tmp_path / "world").mkdir()
    _approved(Settings(data_dir=tmp_path / "world", database_url=start.render_as_string(hide_password=False)), dossier)
    digests: set[str] = set()
    kill_at, died = 0, True
    while died:
        kill_at += 1
        url = postgres_server.create(start.database)
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "world", tmp_path / "copy")
        settings = Settings(data_dir=tmp_path / "copy", database_url=url.render_as_string(hide_password=False))
        died = victims.run(settings, run_jobs, kinds=[], kill_at=kill_at).killed
        digests.add(_stored_after_retry(victims, settings))
        postgres_server.drop(url)
    postgres_server.drop(start)
    assert len(digests) == 1
    assert kill_at > 30


# ------------------------------------------------------------------ certified copies


def test_issuing_a_copy_killed_anywhere_gives_one_number_and_one_pdf(
    victims: Victims, fresh: Settings, dossier: Path, tmp_path: Path
) -> None:
    with driven(fresh) as archive:
        record_id = archive.archive(dossier)
    world = World(fresh.data_dir)
    request_id = new_id()
    kill_at, died = 0, True
    while died:
        kill_at += 1
        settings = world.copy(tmp_path / "copy")
        run = victims.run(settings, issue_copy, kill_at=kill_at, record_id=record_id, request_id=str(request_id))
        died = run.killed
        with opened(settings) as service:
            before = _register(service)
        for told in acknowledged(settings):
            assert [(str(row.id), row.pdf_sha256) for row in before] == [(told["copy"], told["pdf_sha256"])]
        victims.run(settings, issue_copy, record_id=record_id, request_id=str(request_id))
        victims.run(settings, sweep)
        with opened(settings) as service:
            _require_one_copy(service, request_id, before)
    assert kill_at > 20


def _register(service: Service) -> list[CertifiedCopy]:
    with service.database.read() as session:
        return list(session.scalars(select(CertifiedCopy)))


def _require_one_copy(service: Service, request_id: UUID, before: list[CertifiedCopy]) -> None:
    (copy,) = _register(service)
    assert (copy.id, copy.number) == (request_id, 1)
    assert [(row.verify_code, row.issued_at) for row in before] in ([], [(copy.verify_code, copy.issued_at)])
    assert copy.store_key is not None
    assert copy.pdf_sha256 is not None
    assert copy.pdf_size_bytes is not None
    for store in service.stores.values():
        assert [stored.key for stored in store.list("copies")] == [copy.store_key]
        answer = read_back(
            store, store_key(copy.store_key), expected=sha256(copy.pdf_sha256), size_bytes=copy.pdf_size_bytes
        )
        assert answer.outcome is ReadBackOutcome.INTACT
    with service.database.read() as session:
        events = [event.type for event in events_of(session, [("record", copy.record_id)])]
    assert events.count(EventType.COPY_ISSUED) == 1
    assert staged_entries(service) == []
