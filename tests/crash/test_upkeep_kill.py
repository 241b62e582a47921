"""kill -9 at every step of the upkeep: fixity, repair of a missing package and of a rendition, later copies, holds, comparison, renditions.

As in `test_preservation_kill`: the process is really killed, each time on a fresh copy of the same archive. Whatever it had said until then is
true, and done again the work ends as if nothing had happened.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import typst
from sqlalchemy import select

from archive_service import clock
from archive_service.audit import software
from archive_service.digests import digest_bytes, sha256
from archive_service.identity.permissions import operator
from archive_service.models import (
    Aip,
    AipCopy,
    Event,
    EventType,
    FixityRun,
    Incident,
    Job,
    JobKind,
    ObjectCopy,
    Record,
    Rendition,
    StorageDrift,
)
from archive_service.preservation import fixity, reconcile
from archive_service.preservation.copying import copy_later
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.locks import apply_hold
from archive_service.preservation.object_copies import note_object_copies
from archive_service.preservation.reconcile import begin_reconciliation
from archive_service.preservation.repair import repair_aip, repair_object
from archive_service.renditions.making import make_renditions
from archive_service.retention.holds import HoldOrder, place_hold, release_hold
from archive_service.samples.small import minimal_dossier, write_json
from archive_service.service import Service
from archive_service.storage.port import ReadBackOutcome, read_back, store_key
from tests.crash.test_moves_kill import right_copies, widened
from tests.crash.test_preservation_kill import every_step, opened, world  # noqa: F401 - a fixture
from tests.crash.worlds import driven, sqlite_settings
from tests.preservation.test_fixity import flip, stored_file
from tests.preservation.test_object_copies import add_rendition
from tests.unit.formats.format_files import docx

pytestmark = pytest.mark.slow

AUTHORITY = operator(software("tests"))


def records(service: Service) -> list[str]:
    with service.database.read() as session:
        return [str(key) for key in session.scalars(select(Record.id).order_by(Record.id))]


def packages(service: Service) -> list[Aip]:
    with service.database.read() as session:
        return list(session.scalars(select(Aip).order_by(Aip.id)))


def require_true(service: Service) -> None:
    """Every copy that the database calls intact is there with the right bytes, where it was said to be."""
    with service.database.read() as session:
        aips = {aip.id: aip for aip in session.scalars(select(Aip))}
        said = [copy for copy in session.scalars(select(AipCopy)) if copy.state == "INTACT"]
    for copy in said:
        aip = aips[copy.aip_id]
        store = service.stores.get(copy.location)
        if store is not None:
            answer = read_back(store, store_key(aip.store_key), expected=sha256(aip.sha256), size_bytes=aip.size_bytes)
            assert answer.outcome is ReadBackOutcome.INTACT, (copy.location, answer.reason)


def test_a_fixity_run_says_only_what_it_read(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Minutes of a run that was cut off stay open; the next one finds what is left, and each harm is one incident."""
    monkeypatch.setattr(fixity, "BATCH", 1)
    with opened(world) as service:
        first, _ = records(service)
        rendition = add_rendition(service, first)
        flip(stored_file(service, first))
        next((world / "storage" / "kho-1").rglob(Path(rendition).name)).unlink()

    def work(service: Service) -> object:
        return check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())

    for step, folder in every_step(world, tmp_path, work):
        with opened(folder) as service:
            with service.database.read() as session:
                cut_off = session.scalars(select(FixityRun)).one_or_none()
                found = {incident.found for incident in session.scalars(select(Incident))}
                noted = (cut_off.damaged, cut_off.missing) if cut_off else (0, 0)
                assert cut_off is None or cut_off.finished_at is None or cut_off.ended_because == "all-read", step
            assert noted == ("DAMAGED" in found, "MISSING" in found), step
            minutes = check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
            assert (minutes.damaged, minutes.missing, minutes.intact) == (1, 1, 1), step
            with service.database.read() as session:
                assert sorted(session.scalars(select(Incident.found))) == ["DAMAGED", "MISSING"], step
                jobs = Counter(session.scalars(select(Job.kind)))
            assert (jobs[JobKind.REPAIR_COPY], jobs[JobKind.REPAIR_OBJECT]) == (1, 1), step


def test_a_missing_package_is_put_back_once(world: Path, tmp_path: Path) -> None:  # noqa: F811
    with opened(world) as service:
        aip = packages(service)[0]
        stored_file(service, str(aip.record_id)).unlink()

    def work(service: Service) -> object:
        return repair_aip(service, aip.id)

    for step, folder in every_step(world, tmp_path, work):
        with opened(folder) as service:
            assert right_copies(folder, service, "kho-2") == 2
            work(service)
            assert right_copies(folder, service, "kho-1") == 2, step
            with service.database.read() as session:
                incident = session.scalars(select(Incident)).one_or_none()
                state = session.scalars(select(AipCopy.state).where(AipCopy.aip_id == aip.id)).all()
            assert set(state) == {"INTACT"}, step
            assert incident is not None, f"step {step}: put back without an incident"
            assert incident.status in {"REPAIRED", "RECOVERED"}, step


def test_a_damaged_rendition_is_repaired_and_loses_no_byte(world: Path, tmp_path: Path) -> None:  # noqa: F811
    with opened(world) as service:
        key = add_rendition(service, records(service)[0])
        with service.database.write() as session:
            note_object_copies(session, service)
        with service.database.read() as session:
            rendition_id = session.scalars(select(Rendition.id)).one()
        place = next((world / "storage" / "kho-1").rglob(Path(key).name)).relative_to(world)
        content = (world / place).read_bytes()
        flip(world / place, at=100)
        damaged = (world / place).read_bytes()

    def work(service: Service) -> object:
        return repair_object(service, f"rendition:{rendition_id}")

    for step, folder in every_step(world, tmp_path, work):
        kept = [path.read_bytes() for path in (folder / "storage").rglob(f"*{place.name}")]
        assert content in kept, "a good copy is there at any moment"
        assert damaged in kept, "and so are the damaged bytes"
        with opened(folder) as service:
            work(service)
            assert (folder / place).read_bytes() == content, step
            with service.database.read() as session:
                assert set(session.scalars(select(ObjectCopy.state))) == {"INTACT"}, step
                incident = session.scalars(select(Incident)).one()
            assert incident.status in {"REPAIRED", "RECOVERED"}, step


def test_later_copies_are_made_and_told_once(world: Path, tmp_path: Path) -> None:  # noqa: F811
    with opened(world) as service:
        ids = [aip.id for aip in packages(service)]

    def work(service: Service) -> None:
        wide = widened(service)
        for aip_id in ids:
            copy_later(wide, aip_id)

    for step, folder in every_step(world, tmp_path, work):
        with opened(folder) as service:
            require_true(widened(service))
            work(service)
            require_true(widened(service))
            assert right_copies(folder, service, "kho-3") == 2, step
            with service.database.read() as session:
                told = Counter(
                    session.scalars(select(Event.subject_id).where(Event.type == EventType.RECORD_COPY_ADDED))
                )
            assert sorted(told.values()) == [1, 1], step


@pytest.mark.parametrize("what", ["placed", "released"])
def test_a_hold_reaches_every_copy(world: Path, tmp_path: Path, what: str) -> None:  # noqa: F811
    with opened(world) as service, service.database.write() as session:
        ids = tuple(session.scalars(select(Record.id)))
        agency = session.get_one(Record, ids[0]).archiving_agency
        order = HoldOrder(agency=agency, reason="điều tra", legal_basis="QĐ 1/2026", record_ids=ids)
        hold_id = place_hold(session, order, AUTHORITY, at=clock.unique_now()).id
    if what == "released":
        with opened(world) as service:
            apply_hold(service, hold_id)
            with service.database.write() as session:
                release_hold(session, hold_id, AUTHORITY, reason="đã đóng", at=clock.unique_now())

    def work(service: Service) -> None:
        apply_hold(service, hold_id)

    for step, folder in every_step(world, tmp_path, work):
        with opened(folder) as service:
            work(service)
            assert held_copies(service) == ({True} if what == "placed" else {False}), step
            assert right_copies(folder, service, "kho-1") == right_copies(folder, service, "kho-2") == 2


def held_copies(service: Service) -> set[bool]:
    keys = [store_key(aip.store_key) for aip in packages(service)]
    return {store.lock(key).legal_hold for store in service.stores.values() for key in keys}


def test_a_comparison_mends_what_it_found_and_counts_it_once(
    world: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconcile, "BATCH", 1)
    monkeypatch.setattr(reconcile, "KEYS", 1)
    with opened(world) as service:
        first, second = packages(service)
        with service.database.write() as session:
            agency = session.get_one(Record, first.record_id).archiving_agency
            order = HoldOrder(agency=agency, reason="điều tra", legal_basis="QĐ 1/2026", record_ids=(first.record_id,))
            place_hold(session, order, AUTHORITY, at=clock.unique_now())
        stored_file(service, str(second.record_id)).unlink()

    def work(service: Service) -> object:
        run_id = begin_reconciliation(service, "kho-1", apply=True, at=clock.unique_now())
        return reconcile.reconcile(service, run_id)

    for step, folder in every_step(world, tmp_path, work):
        with opened(folder) as service:
            work(service)
            with service.database.read() as session:
                drifts = [(row.kind, row.mended) for row in session.scalars(select(StorageDrift))]
                incidents = session.scalars(select(Incident.found)).all()
                minutes = session.scalars(select(Event).where(Event.type == EventType.LOCATION_RECONCILED)).all()
            assert Counter(kind for kind, _ in drifts)["copy-missing"] >= 1, step
            assert incidents == ["MISSING"], step
            assert service.stores["kho-1"].lock(store_key(first.store_key)).legal_hold, step
            for told in minutes:
                assert told.detail["counts"].get("copy-missing") == 1, step


# ------------------------------------------------------------------ renditions

_OFFICE = """#!/bin/sh
# Stands for LibreOffice: writes the PDF that lies beside it into --outdir, under the name of its input.
while [ $# -gt 1 ]; do [ "$1" = --outdir ] && out="$2"; shift; done
base=$(basename "$1"); mkdir -p "$out"; cp "$(dirname "$0")/made.pdf" "$out/${base%.*}.pdf"
"""


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in LibreOffice's place that answers at once; the real one is used in tests/renditions."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "made.pdf").write_bytes(typst.compile(b"b\xe1\xba\xa3n chuy\xe1\xbb\x83n", pdf_standards="a-2b"))
    (folder / "soffice").write_text(_OFFICE)
    (folder / "soffice").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("office")
def test_a_rendition_is_kept_once_with_copies_that_are_there(sqlite_template: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    start.mkdir()
    shutil.copyfile(sqlite_template, start / "archive.db")
    with driven(sqlite_settings(start)) as archive:
        archive.archive(_with_an_office_file(tmp_path))
    with opened(start) as service:
        aip_id = packages(service)[0].id

    def work(service: Service) -> object:
        return make_renditions(service, aip_id)

    for step, folder in every_step(start, tmp_path, work):
        with opened(folder) as service:
            for again in (False, True):
                if again:
                    work(service)
                rows = _renditions(service)
                assert len(rows) <= 1, step
                for row in rows:
                    assert _intact_everywhere(service, row), step
            assert len(rows) == 1, step
            with service.database.read() as session:
                made = session.scalars(select(Event).where(Event.type == EventType.RECORD_RENDITION_MADE)).all()
            assert len(made) == 1, step


def _with_an_office_file(folder: Path) -> Path:
    dossier = minimal_dossier(folder / "d").folder
    value, content = json.loads((dossier / "dossier.json").read_bytes()), docx()
    (dossier / "don.docx").write_bytes(content)
    part = {**value["components"][0], "id": "c09", "path": "don.docx", "role": "submitted", "origin": "uploaded_signed"}
    value["components"].append({**part, "sha256": digest_bytes(content).hex, "size_bytes": len(content)})
    write_json(dossier, value)
    return dossier


def _renditions(service: Service) -> Sequence[Rendition]:
    with service.database.read() as session:
        return session.scalars(select(Rendition)).all()


def _intact_everywhere(service: Service, row: Rendition) -> bool:
    stores = [service.stores[copy["location"]] for copy in row.copies]
    expected, key = sha256(row.sha256), store_key(row.store_key)
    answers = [read_back(store, key, expected=expected, size_bytes=row.size_bytes).outcome for store in stores]
    return answers == [ReadBackOutcome.INTACT] * 2
