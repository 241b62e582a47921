"""Malware against a real clamd: refused, set aside, never stored, removed after a while; what was not scanned is said."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from archive_service import clock
from archive_service.audit.events import events_of
from archive_service.digests import digest_bytes
from archive_service.ingest.quarantine import sweep_quarantine
from archive_service.ingest.staging_upkeep import discard_staging, sweep_staging
from archive_service.models import EventType
from archive_service.samples.small import minimal_dossier, tiny_pdf, write_json
from tests.pipeline import Archive
from tests.unit.formats.clamd_server import Clamd, NoClamdError, eicar, running_clamd

pytestmark = pytest.mark.clamd


@pytest.fixture(scope="module")
def clamd(not_run) -> Iterator[Clamd]:
    try:
        with running_clamd() as server:
            yield server
    except NoClamdError as exc:
        not_run("clamd", str(exc))


@pytest.fixture
def scanning(archive: Archive, clamd: Clamd) -> Archive:
    settings = archive.service.settings.model_copy(update={"clamd": clamd.address, "quarantine_days": 30})
    object.__setattr__(archive.service, "settings", settings)
    return archive


def _infected(folder: Path) -> Path:
    dossier = minimal_dossier(folder).folder
    value = json.loads((dossier / "dossier.json").read_bytes())
    part = value["components"][1]
    (dossier / part["path"]).write_bytes(eicar())
    part["sha256"], part["size_bytes"] = digest_bytes(eicar()).hex, len(eicar())
    write_json(dossier, value)
    return dossier


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _events(archive: Archive, submission_id: str) -> list[str]:
    with archive.service.database.read() as session:
        return [event.type.value for event in events_of(session, [("submission", submission_id)])]


def test_an_infected_dossier_is_refused_and_set_aside(scanning: Archive, tmp_path: Path) -> None:
    submission_id = scanning.push(_infected(tmp_path / "dossiers"))
    scanning.work()
    state = scanning.submission(submission_id)
    assert state["state"] == "REJECTED"
    assert ("VIRUS_FOUND", "c02") in {(f["code"], f["location"]) for f in state["findings"]}
    settings = scanning.service.settings
    kept = settings.quarantine_dir / submission_id
    assert any(path.read_bytes() == eicar() for path in _files(kept))
    assert {path.stat().st_mode & 0o777 for path in _files(kept)} == {0o600}
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert not (settings.staging_dir / submission_id).exists()
    stored = [path for path in _files(settings.data_dir) if kept not in path.parents and path.stat().st_size < 4096]
    assert not [path for path in stored if eicar() in path.read_bytes()]
    assert _events(scanning, submission_id)[-1] == EventType.SUBMISSION_QUARANTINED.value
    again = scanning.decide(submission_id)
    assert again.status_code == 409


def test_setting_aside_twice_is_once_and_a_stuck_job_is_made_up_for(scanning: Archive, tmp_path: Path) -> None:
    submission_id = scanning.push(_infected(tmp_path / "dossiers"))
    scanning.work(limit=1)
    staged = scanning.service.settings.staging_dir / submission_id
    assert staged.is_dir()
    later = clock.now() + timedelta(hours=2)
    sweep_staging(scanning.service, at=later)
    discard_staging(scanning.service, UUID(submission_id), at=later)
    assert not staged.exists()
    assert _events(scanning, submission_id).count(EventType.SUBMISSION_QUARANTINED.value) == 1
    assert _files(scanning.service.settings.quarantine_dir / submission_id)


def test_quarantine_ends_after_its_days(scanning: Archive, tmp_path: Path) -> None:
    submission_id = scanning.push(_infected(tmp_path / "dossiers"))
    scanning.work()
    kept = scanning.service.settings.quarantine_dir / submission_id
    assert sweep_quarantine(scanning.service, at=clock.now() + timedelta(days=29)) == 0
    assert kept.is_dir()
    assert sweep_quarantine(scanning.service, at=clock.now() + timedelta(days=31)) == 1
    assert not kept.exists()
    assert _events(scanning, submission_id)[-1] == EventType.SUBMISSION_QUARANTINE_ENDED.value


def test_clean_files_pass_and_unscanned_ones_are_named(scanning: Archive, tmp_path: Path) -> None:
    big = minimal_dossier(tmp_path / "dossiers").folder
    value = json.loads((big / "dossier.json").read_bytes())
    content = tiny_pdf("lon", filler=bytes(range(256)) * 1024)  # larger than this clamd's stream limit
    part = value["components"][0]
    (big / part["path"]).write_bytes(content)
    part["sha256"], part["size_bytes"] = digest_bytes(content).hex, len(content)
    write_json(big, value)
    submission_id = scanning.push(big)
    scanning.work()
    state = scanning.submission(submission_id)
    assert state["state"] == "AWAITING_APPROVAL"
    assert [f["location"] for f in state["findings"] if f["code"] == "VIRUS_NOT_SCANNED"] == ["c01"]
    assert not (scanning.service.settings.quarantine_dir / submission_id).exists()
