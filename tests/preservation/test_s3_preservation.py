"""Preservation with a location in a real S3 server: locks, holds, comparison, repair under lock, moves, rebuild; the server is killed too."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from mypy_boto3_s3 import S3Client
from sqlalchemy import select, update

from archive_service import clock
from archive_service.db import Database
from archive_service.errors import ArchiveError, StoreUnavailable
from archive_service.models import (
    Aip,
    AipCopy,
    EventType,
    Incident,
    LocationState,
    MoveState,
    Record,
    RoleName,
    StorageDrift,
)
from archive_service.preservation import moves
from archive_service.preservation import rebuild as rebuilding
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.locks import apply_locks, renew_locks
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.rebuild import rebuild
from archive_service.preservation.reconcile import begin_reconciliation, reconcile
from archive_service.preservation.repair import repair_aip
from archive_service.preservation.seal import seal_log
from archive_service.preservation.statehash import table_hashes
from archive_service.samples.small import minimal_dossier
from archive_service.storage.lock_dates import beginning_of
from archive_service.storage.port import StoreKey, store_key
from tests.pipeline import Archive
from tests.preservation.places import (
    AGENT,
    archive_numbered,
    copies_of,
    folder,
    history,
    is_intact,
    layout_file,
    opened_with,
    run,
)
from tests.storage import conftest as storage_fixtures
from tests.storage import seaweed

pytestmark = pytest.mark.s3
seaweed_server = storage_fixtures.seaweed_server
admin_client = storage_fixtures.admin_client


@dataclass
class S3World:
    """An archive with a folder and a bucket of its own."""

    archive: Archive
    admin: S3Client
    bucket: str
    layouts: Callable[..., Path]

    def key(self, record_id: str) -> StoreKey:
        with self.archive.service.database.read() as session:
            return store_key(session.scalars(select(Aip.store_key).where(Aip.record_id == UUID(record_id))).one())

    def version(self, record_id: str) -> str:
        return str(copies_of(self.archive, record_id)["s3-1"].version_id)

    def lock_until(self, record_id: str) -> Any:
        return self.archive.service.stores["s3-1"].lock(self.key(record_id), version_id=self.version(record_id))

    def set_due(self, record_id: str, kind: str, due_on: date | None) -> None:
        with self.archive.service.database.write() as session:
            values = {"retention_kind": kind, "retention_due_on": due_on}
            session.execute(update(Record).where(Record.id == UUID(record_id)).values(**values))


@pytest.fixture
def layouts(
    archive: Archive,
    seaweed_server: seaweed.SeaweedServer,
    tmp_path: Path,
) -> Callable[..., Path]:
    """Makes layouts of a folder and a bucket; fields of the bucket can be changed by keyword."""
    bucket = f"kho-{uuid4()}"
    admin_client(seaweed_server).create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    for name, text in (("key", seaweed.ACCESS_KEY), ("secret", seaweed.SECRET_KEY)):
        (tmp_path / name).write_text(text, encoding="utf-8")

    def make(names: tuple[str, ...] = ("kho-1", "s3-1"), **changes: Any) -> Path:
        s3 = {
            "name": "s3-1",
            "kind": "s3",
            "bucket": bucket,
            "endpoint_url": seaweed_server.endpoint_url,
            "credentials": {"access_key_file": str(tmp_path / "key"), "secret_key_file": str(tmp_path / "secret")},
            "lock_mode": "COMPLIANCE",
            "read_timeout_s": 10.0,
            "connect_timeout_s": 2.0,
            "max_attempts": 2,
            **changes,
        }
        s3 = {name: value for name, value in s3.items() if value is not None}
        places = [folder(archive.service.settings.data_dir, name) if name.startswith("kho") else s3 for name in names]
        return layout_file(tmp_path / f"{uuid4()}.toml", places)

    return make


@pytest.fixture
def world(archive: Archive, layouts: Callable[..., Path], seaweed_server: seaweed.SeaweedServer) -> Iterator[S3World]:
    """The archive opened with folder and bucket."""
    with opened_with(archive, layouts()) as opened:
        bucket = opened.service.layout.locations["s3-1"].bucket
        yield S3World(archive=opened, admin=admin_client(seaweed_server), bucket=bucket, layouts=layouts)


def compare(archive: Archive, *, apply: bool, location: str = "s3-1") -> dict[str, list[StorageDrift]]:
    """Returns the drifts of a comparison by kind."""
    run_id = begin_reconciliation(archive.service, location, apply=apply, at=clock.unique_now())
    done = reconcile(archive.service, run_id)
    with archive.service.database.read() as session:
        rows = session.scalars(select(StorageDrift).where(StorageDrift.reconciliation_id == run_id)).all()
    found: dict[str, list[StorageDrift]] = {}
    for row in rows:
        found.setdefault(row.kind, []).append(row)
    assert {kind: len(rows) for kind, rows in found.items()} == {kind: n for kind, n in done.counts.items() if n}
    return found


def hold(archive: Archive, record_id: str) -> str:
    with archive.service.database.read() as session:
        agency = session.get_one(Record, UUID(record_id)).archiving_agency
    body = {"agency": agency, "reason": "điều tra", "legal_basis": "QĐ 1/2026", "record_ids": [record_id]}
    answer = archive.call("POST", "holds", role=RoleName.RECORDS_HEAD, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_stored_package_is_locked_until_its_retention_ends(world: S3World, dossiers: Path) -> None:
    record_id = world.archive.archive(minimal_dossier(dossiers).folder)
    with world.archive.service.database.read() as session:
        due_on = session.get_one(Record, UUID(record_id)).retention_due_on
    assert due_on is not None
    assert world.lock_until(record_id).retain_until == beginning_of(due_on)
    assert copies_of(world.archive, record_id)["s3-1"].locked_until == due_on
    kept = world.admin.get_object_retention(Bucket=world.bucket, Key=world.key(record_id))["Retention"]
    assert kept["Mode"] == "COMPLIANCE"
    with pytest.raises(Exception, match="Denied"):
        world.admin.delete_object(Bucket=world.bucket, Key=world.key(record_id), VersionId=world.version(record_id))


def test_locks_are_extended_and_never_shortened(world: S3World, dossiers: Path) -> None:
    record_id = world.archive.archive(minimal_dossier(dossiers).folder)
    first = world.lock_until(record_id).retain_until
    world.set_due(record_id, "YEARS", date(2090, 1, 1))
    apply_locks(world.archive.service, UUID(record_id))
    assert world.lock_until(record_id).retain_until == beginning_of(date(2090, 1, 1))
    world.set_due(record_id, "YEARS", clock.today() + timedelta(days=30))
    apply_locks(world.archive.service, UUID(record_id))
    assert world.lock_until(record_id).retain_until == beginning_of(date(2090, 1, 1))
    assert first < beginning_of(date(2090, 1, 1))


@pytest.mark.parametrize("kind", ["PERMANENT", "UNMATCHED"])
def test_what_has_no_date_is_locked_to_a_horizon_that_moves_on(
    world: S3World, dossiers: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_id = world.archive.archive(minimal_dossier(dossiers).folder)
    world.set_due(record_id, kind, None)
    horizon = clock.today().year + 11
    service = world.archive.service
    before = world.lock_until(record_id).retain_until
    expected = max(before, beginning_of(date(horizon, 1, 1)))
    renewed = renew_locks(service, at=clock.unique_now())
    assert world.lock_until(record_id).retain_until == expected
    assert renew_locks(service, at=clock.unique_now()) == {"s3-1": 0}, "once a year is enough"
    next_year = clock.now() + timedelta(days=365 * 30)
    monkeypatch.setattr(clock, "today", lambda: clock.civil_date(next_year))
    assert renew_locks(service, at=clock.unique_now()) == {"s3-1": 1}
    assert world.lock_until(record_id).retain_until.year in {next_year.year + 10, next_year.year + 11}
    assert "location.locks-renewed" in history(world.archive, "s3-1")
    assert set(renewed) == {"s3-1"}


def test_a_hold_is_the_bucket_s_legal_hold_on_every_version(world: S3World, dossiers: Path) -> None:
    record_id = world.archive.archive(minimal_dossier(dossiers).folder)
    key = world.key(record_id)
    world.admin.put_object(Bucket=world.bucket, Key=key, Body=b"other bytes on top")
    hold_id = hold(world.archive, record_id)
    world.archive.work()
    store = world.archive.service.stores["s3-1"]
    assert [store.lock(key, version_id=each.version_id).legal_hold for each in store.versions(key)] == [True, True]
    body = {"reason": "xong"}
    world.archive.call("POST", f"holds/{hold_id}/release", role=RoleName.RECORDS_HEAD, json=body)
    world.archive.work()
    assert [store.lock(key, version_id=each.version_id).legal_hold for each in store.versions(key)] == [False, False]


def test_locks_that_are_missing_are_found_and_set(
    archive: Archive,
    layouts: Callable[..., Path],
    seaweed_server: seaweed.SeaweedServer,
    dossiers: Path,
) -> None:
    """A bucket that was used without locks for a while."""
    with opened_with(archive, layouts(lock_mode=None)) as unlocked:
        record_id = unlocked.archive(minimal_dossier(dossiers).folder)
    client = admin_client(seaweed_server)
    with opened_with(archive, layouts()) as opened:
        world = S3World(
            archive=opened, admin=client, bucket=opened.service.layout.locations["s3-1"].bucket, layouts=layouts
        )
        hold_id = hold(opened, record_id)  # its job does not run
        world.set_due(record_id, "YEARS", date(2099, 1, 1))
        found = compare(opened, apply=False)
        assert set(found) == {"not-locked", "hold-missing"}
        assert not any(row.mended for rows in found.values() for row in rows)
        mended = compare(opened, apply=True)
        assert set(mended) == set(found)
        assert all(row.mended for rows in mended.values() for row in rows)
        assert compare(opened, apply=True) == {}
        lock = world.lock_until(record_id)
        assert (lock.retain_until, lock.legal_hold) == (beginning_of(date(2099, 1, 1)), True)
        body = {"reason": "xong"}
        opened.call("POST", f"holds/{hold_id}/release", role=RoleName.RECORDS_HEAD, json=body)
        assert set(compare(opened, apply=True)) == {"hold-left"}, "a hold is never lifted by a comparison"
        assert world.lock_until(record_id).legal_hold


def test_every_other_drift_is_told_and_nothing_is_deleted(world: S3World, dossiers: Path) -> None:
    ids = [
        world.archive.archive(minimal_dossier(dossiers, code=f"000.00.16.H56-250314-000{n}").folder) for n in range(3)
    ]
    seal_log(world.archive.service, at=clock.unique_now())
    assert compare(world.archive, apply=True) == {}, "log, packages: all known"
    world.admin.put_object(Bucket=world.bucket, Key="aip/H56/stray.zip", Body=b"x")
    world.admin.put_object(Bucket=world.bucket, Key="other/stray.txt", Body=b"x")
    world.admin.put_object(Bucket=world.bucket, Key=world.key(ids[0]), Body=b"on top")
    world.admin.delete_object(Bucket=world.bucket, Key=world.key(ids[1]))
    with world.archive.service.database.write() as session:
        session.execute(
            update(AipCopy)
            .where(AipCopy.location == "s3-1", AipCopy.version_id == world.version(ids[2]))
            .values(version_id="0" * 32)
        )
    before = sum(1 for _ in world.archive.service.stores["s3-1"].inventory())
    found = compare(world.archive, apply=True)
    assert {kind: len(rows) for kind, rows in found.items()} == {
        "unknown-object": 2,
        "not-newest": 2,
        "hidden": 1,
        "copy-missing": 1,
    }
    assert sum(1 for _ in world.archive.service.stores["s3-1"].inventory()) == before
    with world.archive.service.database.read() as session:
        assert session.scalars(select(Incident.found)).all() == ["MISSING"], "handed to repair"
    listed = world.archive.call("GET", "storage/reconciliations", role=RoleName.AUDITOR).json()["items"]
    drifts = world.archive.call(
        "GET", f"storage/reconciliations/{listed[0]['id']}/drifts?limit=4", role=RoleName.AUDITOR
    ).json()
    assert (len(drifts["items"]), drifts["next"] is not None) == (4, True)
    assert history(world.archive, "s3-1") == ["location.reconciled", "location.reconciled"]
    world.archive.work()
    assert is_intact(world.archive, ids[2], "s3-1"), "repair takes what is there with the right bytes"


def test_a_comparison_goes_on_where_the_server_was_lost(
    world: S3World,
    dossiers: Path,
    seaweed_server: seaweed.SeaweedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from archive_service.preservation import reconcile as comparing

    for number in range(4):
        archive_numbered(world.archive, dossiers, number)
    monkeypatch.setattr(comparing, "BATCH", 1)
    monkeypatch.setattr(comparing, "KEYS", 1)
    run_id = begin_reconciliation(world.archive.service, "s3-1", apply=True, at=clock.unique_now())
    steps: list[tuple[str, int]] = []

    def kill_in_the_middle(row: Any) -> None:
        steps.append((row.step, row.copies))
        if row.step == "objects" and row.objects == 1:
            seaweed_server.kill()

    try:
        with pytest.raises(StoreUnavailable):
            reconcile(world.archive.service, run_id, progress=kill_in_the_middle)
    finally:
        seaweed_server.start()
    done = reconcile(world.archive.service, run_id)
    assert (done.copies, done.not_checked, {kind: n for kind, n in done.counts.items() if n}) == (4, 0, {})
    assert done.objects == 4
    assert done.finished_at is not None


def test_a_damaged_version_under_lock_is_superseded(world: S3World, dossiers: Path) -> None:
    record_id = world.archive.archive(minimal_dossier(dossiers).folder)
    key, good_version = world.key(record_id), world.version(record_id)
    size = world.admin.head_object(Bucket=world.bucket, Key=key)["ContentLength"]
    bad = world.admin.put_object(
        Bucket=world.bucket,
        Key=key,
        Body=b"\0" * size,
        ChecksumAlgorithm="SHA256",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=clock.now() + timedelta(days=2),
    )["VersionId"]
    with world.archive.service.database.write() as session:
        session.execute(update(AipCopy).where(AipCopy.version_id == good_version).values(version_id=bad))
    assert check_location(world.archive.service, "s3-1", FixityPlan(), at=clock.unique_now()).damaged == 1
    world.archive.work()
    with world.archive.service.database.read() as session:
        incident = session.scalars(select(Incident)).one()
    assert incident.status == "REPAIRED", incident.cause
    assert "superseded" in incident.remedy
    assert world.version(record_id) not in {bad, good_version}
    assert is_intact(world.archive, record_id, "s3-1")
    store = world.archive.service.stores["s3-1"]
    assert len(store.versions(key)) == 3, "nothing was deleted"
    assert store.lock(key).retain_until == beginning_of(
        copies_of(world.archive, record_id)["s3-1"].locked_until or date.min
    )
    with world.archive.service.database.read() as session:
        aip = session.scalars(select(Aip)).one()
    assert repair_aip(world.archive.service, aip.id) == [], "nothing is left to do"
    assert set(compare(world.archive, apply=True)) == {"other-version"}


def test_a_bucket_is_filled_through_a_crash_of_its_server(
    archive: Archive,
    layouts: Callable[..., Path],
    dossiers: Path,
    seaweed_server: seaweed.SeaweedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(moves, "BATCH", 1)
    ids = [archive.archive(minimal_dossier(dossiers, code=f"000.00.16.H56-250314-000{n}").folder) for n in range(4)]
    with opened_with(archive, layouts(("kho-1", "kho-2", "s3-1"))) as opened:
        move = moves.add_location(opened.service, "s3-1", agent=AGENT, at=clock.unique_now())
        killed = False

        def kill_once(_move: Any) -> None:
            nonlocal killed
            if not killed:
                killed = True
                seaweed_server.kill()

        try:
            stopped = run(opened, move, progress=kill_once)
        finally:
            seaweed_server.start()
        assert (stopped.state, stopped.done) == (MoveState.RUNNING, 1)
        assert len(stopped.problems) == 3
        assert moves.location(opened.service, "s3-1").state is LocationState.FILLING
        assert run(opened, move).state is MoveState.DONE
        for record_id in ids:
            assert is_intact(opened, record_id, "s3-1")
            assert copies_of(opened, record_id)["s3-1"].locked_until is not None
        assert moves.location(opened.service, "s3-1").state is LocationState.ACTIVE


def test_what_a_bucket_locks_stays_when_it_is_emptied(world: S3World, dossiers: Path) -> None:
    record_id = world.archive.archive(minimal_dossier(dossiers).folder)
    with opened_with(world.archive, world.layouts(("kho-1", "kho-2", "s3-1"))) as opened:
        run(opened, moves.add_location(opened.service, "kho-2", agent=AGENT, at=clock.unique_now()))
        run(opened, moves.retire_location(opened.service, "s3-1", agent=AGENT, at=clock.unique_now()))
        ended = clock.unique_now() + timedelta(days=93)
        done = run(opened, moves.empty_location(opened.service, "s3-1", agent=AGENT, at=ended))
        assert (done.state, done.done, done.left_over) == (MoveState.DONE, 0, 1)
        assert "locked until" in done.problems[0]["reason"]
        assert moves.location(opened.service, "s3-1").state is LocationState.RETIRED
        assert is_intact(opened, record_id, "s3-1")


def test_an_unlocked_bucket_is_emptied_of_every_version_and_marker(
    archive: Archive, layouts: Callable[..., Path], dossiers: Path
) -> None:
    names = ("kho-1", "kho-2", "s3-1")
    with opened_with(archive, layouts(names, lock_mode=None)) as opened:  # the bucket could lock, the policy does not
        record_id = opened.archive(minimal_dossier(dossiers).folder)
        run(opened, moves.retire_location(opened.service, "s3-1", agent=AGENT, at=clock.unique_now()))
        ended = clock.unique_now() + timedelta(days=93)
        done = run(opened, moves.empty_location(opened.service, "s3-1", agent=AGENT, at=ended))
        assert (done.done, done.left_over) == (1, 0), done.problems
        assert copies_of(opened, record_id)["s3-1"].state == "REMOVED"
        assert list(opened.service.stores["s3-1"].inventory("aip/")) == []


def test_a_database_is_rebuilt_from_the_bucket(
    world: S3World, dossiers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by processes of their own, each with a client of its own."""
    for number in range(2):
        record_id = archive_numbered(world.archive, dossiers, number)
    hold(world.archive, record_id)
    monkeypatch.setattr(rebuilding, "BATCH", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
    service = world.archive.service
    seal_log(service, at=clock.unique_now())
    target = Database(f"sqlite:///{tmp_path / 'rebuilt.db'}")
    try:
        keys = known_keys(service.settings)
        report = rebuild(service.stores["s3-1"], target, keys, at=clock.unique_now())
        assert (report.complete, report.aips) == (True, 2)
        with service.database.read() as present, target.read() as rebuilt:
            before = table_hashes(present, up_to_seq=report.last_seq)
            assert table_hashes(rebuilt, up_to_seq=report.last_seq) == before
    finally:
        target.close()


def test_a_bucket_that_is_away_is_not_checked_and_never_missing(
    world: S3World,
    dossiers: Path,
    seaweed_server: seaweed.SeaweedServer,
) -> None:
    record_id = world.archive.archive(minimal_dossier(dossiers).folder)
    run_id = begin_reconciliation(world.archive.service, "s3-1", apply=True, at=clock.unique_now())
    seaweed_server.kill()
    try:
        minutes = check_location(world.archive.service, "s3-1", FixityPlan(), at=clock.unique_now())
        with pytest.raises(ArchiveError):
            reconcile(world.archive.service, run_id)
    finally:
        seaweed_server.start()
    assert (minutes.missing, minutes.not_checked) == (0, 1)
    assert copies_of(world.archive, record_id)["s3-1"].state == "INTACT"
    with world.archive.service.database.read() as session:
        assert session.scalars(select(Incident)).all() == []
    assert EventType.LOCATION_RECONCILED.value not in history(world.archive, "s3-1")
