"""Renditions by a real LibreOffice after storing: once, beside the package, two copies read back; failing they block nothing."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from archive_service.digests import digest_bytes
from archive_service.formats.pdfa import OWN
from archive_service.formats.rendition import COMMANDS
from archive_service.models import Aip, Event, EventType, Job, JobKind, JobState, Rendition, RenditionFailure, RoleName
from archive_service.renditions import making
from archive_service.samples.small import minimal_dossier, write_json
from archive_service.storage.port import store_key
from tests.api.test_pages import person
from tests.pipeline import Archive
from tests.unit.formats import format_files as files


@pytest.fixture
def libreoffice(not_run) -> None:
    if not any(shutil.which(command) for command in COMMANDS):
        not_run("libreoffice", "no soffice program found")


def _with_office_file(folder: Path, content: bytes, name: str = "đơn.docx") -> Path:
    dossier = minimal_dossier(folder).folder
    value = json.loads((dossier / "dossier.json").read_bytes())
    part = dict(value["components"][0])
    (dossier / name).write_bytes(content)
    part |= {"id": "c09", "path": name, "role": "submitted", "origin": "uploaded_signed", "title": "Đơn"}
    part |= {"sha256": digest_bytes(content).hex, "size_bytes": len(content)}
    value["components"].append(part)
    write_json(dossier, value)
    return dossier


def _aip(archive: Archive, record_id: str) -> UUID:
    with archive.service.database.read() as session:
        return session.scalars(select(Aip.id).where(Aip.record_id == UUID(record_id))).one()


def _rows(archive: Archive) -> list[Rendition]:
    with archive.service.database.read() as session:
        return list(session.scalars(select(Rendition)))


def _told(archive: Archive, record_id: str, component_id: str = "c09") -> Any:
    path = f"records/{record_id}/components/{component_id}/renditions"
    return archive.call("GET", path, role=RoleName.OFFICER).json()


def _jobs(archive: Archive) -> list[JobState]:
    with archive.service.database.read() as session:
        return list(session.scalars(select(Job.state).where(Job.kind == JobKind.MAKE_RENDITIONS)))


@pytest.mark.slow
@pytest.mark.usefixtures("libreoffice")
def test_an_office_file_gets_a_rendition_of_its_own(archive: Archive, tmp_path: Path) -> None:
    record_id = archive.archive(_with_office_file(tmp_path, files.docx()))
    [row] = _rows(archive)
    assert (row.component_id, row.flavour, row.conforms, row.page_count) == ("c09", "2b", True, 1)
    assert [copy["location"] for copy in row.copies] == ["kho-1", "kho-2"]
    for copy in row.copies:
        with archive.service.stores[copy["location"]].open(store_key(row.store_key)) as source:
            content = source.read()
        assert content.startswith(b"%PDF-")
        assert hashlib.sha256(content).hexdigest() == row.sha256 == copy["read_back_sha256"]
    assert row.store_key.startswith("renditions/")
    with archive.service.database.read() as session:
        events = session.scalars(select(Event).where(Event.type == EventType.RECORD_RENDITION_MADE)).all()
    assert [event.subject_id for event in events] == [record_id]
    assert making.make_renditions(archive.service, _aip(archive, record_id)) == 0
    assert len(_rows(archive)) == 1
    assert _jobs(archive) == [JobState.DONE]
    original = archive.call("GET", f"records/{record_id}/components/c09/content", role=RoleName.OFFICER)
    assert original.content == files.docx()
    told = _told(archive, record_id)
    assert told["status"] == "MADE"
    [item] = told["items"]
    assert (item["flavour"], item["conforms"], item["checker"], item["pages"]) == ("2b", True, row.checker, 1)
    whole = archive.call("GET", item["url"], role=RoleName.OFFICER)
    assert hashlib.sha256(whole.content).hexdigest() == row.sha256
    assert whole.headers["content-type"] == "application/pdf"
    part = archive.call("GET", item["url"], role=RoleName.OFFICER, headers={"Range": "bytes=0-4"})
    assert (part.status_code, part.content) == (206, b"%PDF-")
    history = archive.call("GET", f"records/{record_id}/events", role=RoleName.OFFICER).json()["items"]
    assert [event["detail"].get("rendition_id") for event in history[-2:]] == [str(row.id)] * 2
    assert history[-1]["type"] == EventType.RECORD_COMPONENT_READ
    assert archive.call("GET", item["url"], role=RoleName.AUDITOR).status_code == 403
    other = item["url"].replace("/c09/", "/c01/")
    assert archive.call("GET", other, role=RoleName.OFFICER).status_code == 404
    page = person(archive, "can-bo", RoleName.OFFICER).get(f"/records/{record_id}").text
    assert f'href="{item["url"]}?inline=1"' in page
    assert "đạt 2b" in page
    checker = "các bước kiểm tra cấu trúc của hệ thống" if row.checker == OWN else row.checker
    assert f"kiểm bằng {checker}" in page


@pytest.mark.slow
@pytest.mark.usefixtures("libreoffice")
def test_what_cannot_be_rendered_is_tried_again_and_blocks_nothing(archive: Archive, tmp_path: Path) -> None:
    hurried = archive.service.settings.model_copy(update={"rendition_time_limit_s": 0.05, "job_max_attempts": 1})
    object.__setattr__(archive.service, "settings", hurried)
    record_id = archive.archive(_with_office_file(tmp_path, files.docx()))
    assert _rows(archive) == []
    assert _jobs(archive) == [JobState.PARKED]
    with archive.service.database.read() as session:
        [error] = session.scalars(select(Job.last_error).where(Job.kind == JobKind.MAKE_RENDITIONS)).all()
    assert error is not None
    assert "c09: stopped after" in error
    told = _told(archive, record_id)
    assert (told["status"], told["items"]) == ("FAILED", [])
    assert told["reason"].startswith("stopped after")
    page = person(archive, "can-bo", RoleName.OFFICER).get(f"/records/{record_id}").text
    assert "Không tạo được bản PDF/A: stopped after" in page
    patient = archive.service.settings.model_copy(update={"rendition_time_limit_s": 120})
    object.__setattr__(archive.service, "settings", patient)
    assert making.make_renditions(archive.service, _aip(archive, record_id)) == 1
    assert len(_rows(archive)) == 1
    assert _told(archive, record_id)["status"] == "MADE", "what failed before is forgotten"
    with archive.service.database.read() as session:
        assert session.scalars(select(RenditionFailure)).all() == []


def test_without_libreoffice_nothing_is_done_and_nothing_fails(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    record_id = archive.archive(_with_office_file(tmp_path, files.docx()))
    assert _rows(archive) == []
    assert _jobs(archive) == [JobState.DONE]
    told = _told(archive, record_id)
    assert (told["status"], told["reason"]) == ("NOT_TRIED", "LibreOffice is not installed here")
    assert _told(archive, record_id, "c01")["status"] == "NOT_RENDERED", "a PDF needs no rendition"


def test_dossiers_without_such_files_and_archives_without_renditions_have_no_job(
    archive: Archive, tmp_path: Path
) -> None:
    archive.archive(minimal_dossier(tmp_path / "a").folder)
    assert _jobs(archive) == []
    off = archive.service.settings.model_copy(update={"renditions": False})
    object.__setattr__(archive.service, "settings", off)
    folder = _with_office_file(tmp_path / "b", files.docx())
    value = json.loads((folder / "dossier.json").read_bytes())
    write_json(folder, value | {"dossier_code": "000.00.16.H56-250314-0043"})
    record_id = archive.archive(folder)
    assert _jobs(archive) == []
    told = _told(archive, record_id)
    assert (told["status"], told["reason"]) == ("NOT_TRIED", "renditions are turned off")


def test_renditions_wait_until_a_burst_is_archived(archive: Archive, tmp_path: Path) -> None:
    waiting = archive.service.settings.model_copy(update={"rendition_delay_s": 300})
    object.__setattr__(archive.service, "settings", waiting)
    record_id = archive.archive(_with_office_file(tmp_path, files.docx()))
    assert _jobs(archive) == [JobState.READY]
    assert _told(archive, record_id)["status"] == "WAITING"


@pytest.mark.parametrize(
    ("name", "size", "wanted"),
    [("a.DOCX", 1, True), ("a.pdf", 1, False), ("a.png", 1, True), ("a.docx", 1 << 40, False)],
)
def test_which_components_are_rendered(name: str, size: int, wanted: bool) -> None:  # noqa: FBT001 - a test's parameter
    assert making.wants_rendition(name, size) is wanted
