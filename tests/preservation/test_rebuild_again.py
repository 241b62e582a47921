"""A rebuild that is cut off, killed, begun twice, or meets versions out of order ends in the same state. Archive on SQLite, rebuilt on both."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date
from itertools import permutations, product
from pathlib import Path

import pytest
from sqlalchemy import select

from archive_service import clock
from archive_service.cli import main
from archive_service.db import Database
from archive_service.errors import Conflict, StoreUnavailable
from archive_service.models import Record
from archive_service.preservation import package_reading
from archive_service.preservation import rebuild as rebuilding
from archive_service.preservation.log_keys import known_keys, log_signer
from archive_service.preservation.package_reading import StoredAip, read_packages
from archive_service.preservation.reading_processes import ReadingEnded, Unit
from archive_service.preservation.rebuild import RebuildReport, rebuild
from archive_service.preservation.rebuild_rows import add_rows, sealed_of
from archive_service.preservation.seal import seal_log
from archive_service.preservation.statehash import state_hash, table_hashes
from archive_service.samples.small import minimal_dossier
from archive_service.storage.port import Store
from tests.pipeline import Archive
from tests.preservation.places import archive_numbered
from tests.preservation.test_fixity import stored_file
from tests.preservation.test_rebuild import empty, run

__all__ = ["empty"]


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """One engine is enough for the archive whose storage is read."""
    opened = Database(sqlite_url)
    yield opened
    opened.close()


class NotKept(Exception):
    """Ends a transaction so that the next one begins with the same rows."""


def read_first_and_be_killed(store: Store, unit: Unit) -> list[StoredAip | str]:
    """Reads in a process that something kills, as when memory runs out."""
    if unit[0].key != next(store.list("aip/")).key:
        os.kill(os.getpid(), signal.SIGKILL)
    return read_packages(store, unit)


def test_what_was_stored_while_a_rebuild_was_cut_off_is_taken_in(
    archive: Archive, dossiers: Path, empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its key lies before the one the listing had come to."""
    for number in range(2):
        archive_numbered(archive, dossiers, number)
    seal_log(archive.service, at=clock.unique_now())
    monkeypatch.setattr(rebuilding, "BATCH", 1)
    keys, store = known_keys(archive.service.settings), archive.service.stores["kho-1"]

    def cut(stage: str, done: int) -> None:
        if (stage, done) == ("aips", 2):
            raise StoreUnavailable("cut off")

    with pytest.raises(StoreUnavailable, match="cut off"):
        rebuild(store, empty, keys, at=clock.unique_now(), progress=cut)
    listed = [item.key for item in store.list("aip/")]
    for number in range(2, 10):
        archive_numbered(archive, dossiers, number)
        seal_log(archive.service, at=clock.unique_now())
        if [item.key for item in store.list("aip/")][-1] == listed[-1]:
            break
    with archive.service.database.read() as session:
        before = state_hash(session)
    report = rebuild(store, empty, keys, at=clock.unique_now())
    assert (report.complete, report.missing, report.state_hash) == (True, [], before)


@pytest.mark.parametrize("stage", ["seals", "aips"])
def test_two_rebuilds_of_one_database_do_not_mix(
    archive: Archive, dossiers: Path, empty: Database, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    for number in range(2):
        archive_numbered(archive, dossiers, number)
        seal_log(archive.service, at=clock.unique_now())
    with archive.service.database.read() as session:
        before = state_hash(session)
    monkeypatch.setattr(rebuilding, "BATCH", 1)
    others: list[RebuildReport] = []

    def meanwhile(done_stage: str, done: int) -> None:
        if (done_stage, done) == (stage, 1):
            others.append(run(archive, empty))

    keys, store = known_keys(archive.service.settings), archive.service.stores["kho-2"]
    with pytest.raises(Conflict, match="another process"):
        rebuild(store, empty, keys, at=clock.unique_now(), progress=meanwhile)
    (other,) = others
    assert (other.complete, other.aips, other.state_hash) == (True, 2, before)
    with empty.read() as session:
        assert state_hash(session, up_to_seq=other.last_seq) == before


def test_versions_come_in_any_order_to_the_same_record(archive: Archive, dossiers: Path, empty: Database) -> None:
    """In one call or in several; the first names the record, the newest describes it, the longest keeps it."""
    code = "000.00.16.H56-250314-0000"
    for title, status in (("Lần một", "NEW"), ("Lần hai", "SUPPLEMENT"), ("Lần ba", "SUPPLEMENT")):
        folder = minimal_dossier(dossiers / title, code=code, title=title, record_status=status).folder
        archive.archive(folder)
    seal_log(archive.service, at=clock.unique_now())
    with archive.service.database.read() as session:
        expected = table_hashes(session)
    keys, store = known_keys(archive.service.settings), archive.service.stores["kho-1"]

    def cut(stage: str, _done: int) -> None:
        if stage == "seals":
            raise StoreUnavailable("the events are there")

    with pytest.raises(StoreUnavailable, match="the events"):
        rebuild(store, empty, keys, at=clock.unique_now(), progress=cut)
    aips = [aip for aip in read_packages(store, list(store.list("aip/"))) if isinstance(aip, StoredAip)]
    assert sorted(aip.version for aip in aips) == [1, 2, 3]
    due = {1: date(2070, 1, 1), 2: date(2090, 1, 1), 3: date(2080, 1, 1)}
    names = ("aip", "aip_copy", "submission", "decision", "record_term", "submission_finding")
    kept = [replace(aip, retention_kind="YEARS", retention_due_on=due[aip.version]) for aip in aips]
    for ordered, size in product(permutations(kept), (1, 2, 3)):
        with suppress(NotKept), empty.write() as session:
            sealed = sealed_of(session, ordered)
            for start in range(0, len(ordered), size):
                add_rows(session, ordered[start : start + size], sealed)
            add_rows(session, ordered, sealed)  # what is there is left as it is
            found = table_hashes(session)
            assert {name: found[name] for name in names} == {name: expected[name] for name in names}
            record = session.scalars(select(Record)).one()
            assert (record.title, record.current_version, record.component_count) == ("Lần ba", 3, 9)
            assert (record.retention_kind, record.retention_due_on) == ("YEARS", due[2])
            raise NotKept


def test_a_reading_process_that_is_killed_ends_the_rebuild_which_goes_on(
    archive: Archive, dossiers: Path, empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        archive_numbered(archive, dossiers, number)
    seal_log(archive.service, at=clock.unique_now())
    with archive.service.database.read() as session:
        before = state_hash(session)
    monkeypatch.setattr(rebuilding, "BATCH", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
    with monkeypatch.context() as changed:
        changed.setattr(rebuilding, "read_packages", read_first_and_be_killed)
        with pytest.raises(ReadingEnded, match="ended by itself"):
            run(archive, empty)
    report = run(archive, empty)
    assert (report.complete, report.aips, report.state_hash) == (True, 3, before)


def test_an_object_removed_since_it_was_listed_is_named(archive: Archive, dossiers: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    store = archive.service.stores["kho-1"]
    listed = list(store.list("aip/"))
    stored_file(archive.service, record_id).unlink()
    assert read_packages(store, listed) == ["was listed, and is not there any more"]


def test_a_target_that_is_no_database_is_said_without_a_stack_trace(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_signer(archive.service.settings)
    target = tmp_path / "not-a-database"
    target.write_bytes(b"something else " * 100)
    options = ["--from", "kho-1", "--into", f"sqlite:///{target}", "--data", str(archive.service.settings.data_dir)]
    monkeypatch.setattr(sys, "argv", ["archive-service", "rebuild", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 6
    assert capsys.readouterr().err == "DATABASE_UNAVAILABLE: file is not a database\n"
    assert target.read_bytes() == b"something else " * 100


def test_a_package_is_read_the_same_held_in_memory_or_where_it_lies(
    archive: Archive, dossiers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive_numbered(archive, dossiers, 1)
    store = archive.service.stores["kho-1"]
    (item,) = store.list("aip/")
    held = package_reading.read_package(store, item)
    assert isinstance(held, StoredAip)
    monkeypatch.setattr(package_reading, "_HELD_BYTES", 1000)
    again = package_reading.read_package(store, item)
    assert isinstance(again, StoredAip)
    assert replace(again, read_at=held.read_at) == held
    assert again.size_bytes == item.size_bytes
