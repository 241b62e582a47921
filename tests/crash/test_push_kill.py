"""Pushing, killed at every boundary: nothing acknowledged is lost, and pushing again gives the one submission."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from archive_service.ingest.uploads import waiting_components
from archive_service.models import Component, EventType, JobKind, JobState, RoleName, State
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from archive_service.settings import Settings
from tests.crash.pipeline_faults import Victims, push_folder, push_package, run_jobs, sweep
from tests.crash.worlds import (
    World,
    acknowledged,
    driven,
    event_counts,
    only_submission,
    open_jobs,
    opened,
    require_staged_components,
    require_stored_once,
    sqlite_settings,
    staged_entries,
)

pytestmark = pytest.mark.slow


def zipped(folder: Path) -> bytes:
    """Returns a dossier folder as a one-shot package."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
    return target.getvalue()


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    with Victims() as helper:
        yield helper


@pytest.fixture
def dossier(tmp_path: Path) -> Path:
    return minimal_dossier(tmp_path / "dossiers").folder


@pytest.fixture
def start(tmp_path: Path, sqlite_template: Path) -> tuple[World, str]:
    """An empty service and a sender's token."""
    folder = tmp_path / "world"
    folder.mkdir()
    shutil.copyfile(sqlite_template, folder / "archive.db")
    with driven(sqlite_settings(folder)) as archive:
        token = archive.headers(RoleName.SUBMITTER)["Authorization"].removeprefix("Bearer ")
    return World(folder), token


def test_a_folder_push_killed_anywhere(
    victims: Victims, start: tuple[World, str], dossier: Path, tmp_path: Path
) -> None:
    kills = _push_killed_everywhere(victims, start, tmp_path, push_folder, folder=str(dossier))
    assert kills > 20


def test_a_package_push_killed_anywhere(
    victims: Victims, start: tuple[World, str], dossier: Path, tmp_path: Path
) -> None:
    package = tmp_path / "dossier.zip"
    package.write_bytes(zipped(dossier))
    kills = _push_killed_everywhere(victims, start, tmp_path, push_package, package=str(package))
    assert kills > 10


def _push_killed_everywhere(
    victims: Victims, start: tuple[World, str], tmp_path: Path, step: Callable[..., None], **arguments: Any
) -> int:
    world, token = start
    kill_at, died = 0, True
    while died:
        kill_at += 1
        settings = world.copy(tmp_path / "copy")
        died = victims.run(settings, step, kill_at=kill_at, token=token, **arguments).killed
        _require_nothing_acknowledged_lost(settings)
        victims.run(settings, step, token=token, **arguments)
        victims.run(settings, sweep)
        with opened(settings) as service:
            _require_received_once(service)
    _require_it_goes_on(victims, settings)
    return kill_at - 1


def _require_nothing_acknowledged_lost(settings: Settings) -> None:
    with opened(settings) as service:
        for told in acknowledged(settings):
            submission = only_submission(service)
            require_staged_components(service, submission)
            with service.database.read() as session:
                waiting = set(waiting_components(session.connection(), service.staging, submission.id))
                declared = set(session.scalars(select(Component.component_id)))
            if "opened" in told:
                assert told["opened"] == str(submission.id)
                staged = settings.staging_dir / str(submission.id)
                assert json.loads((staged / "dossier.json").read_bytes())["dossier_code"] == submission.dossier_code
            if "received" in told:
                assert told["received"] in declared - waiting
            if "completed" in told:
                assert submission.state is State.CHECKING
                assert [(job.kind, job.state) for job in open_jobs(service)] == [
                    (JobKind.CHECK_SUBMISSION, JobState.READY)
                ]


def _require_received_once(service: Service) -> None:
    submission = only_submission(service)
    assert submission.state is State.CHECKING
    assert event_counts(service, "submission", submission.id) == dict.fromkeys(
        (EventType.SUBMISSION_OPENED, EventType.SUBMISSION_COMPLETED), 1
    )
    assert [job.kind for job in open_jobs(service)] == [JobKind.CHECK_SUBMISSION]
    assert {entry.partition("/")[0] for entry in staged_entries(service)} == {str(submission.id)}
    if submission.form == "dossier":
        assert submission.received_count == 3
        require_staged_components(service, submission)


def _require_it_goes_on(victims: Victims, settings: Settings) -> None:
    victims.run(settings, run_jobs, kinds=[])
    with driven(settings) as archive:
        assert archive.decide(str(only_submission(archive.service).id)).json()["state"] == "APPROVED"
    victims.run(settings, run_jobs, kinds=[])
    with opened(settings) as service:
        require_stored_once(service)
