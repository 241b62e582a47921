"""Backups: encrypted, read back, restored to an equal state on both engines, caught up from storage; every damage has its code."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from archive_service import clock
from archive_service.application import create_app
from archive_service.audit import software
from archive_service.db import Database
from archive_service.digests import digest_stream
from archive_service.errors import ArchiveError, ConfigurationInvalid, Conflict
from archive_service.followup import enqueue
from archive_service.identity.tokens import create_token
from archive_service.jobs.backup_work import backup_registry
from archive_service.jobs.worker import run_next
from archive_service.models import Event, EventType, Job, JobKind, JobState, Record, RoleName, Submission
from archive_service.packaging.verify import Outcome
from archive_service.preservation.backup import catalogue
from archive_service.preservation.backup.archive import Member, read_archive, read_through, write_archive
from archive_service.preservation.backup.catching_up import catch_up
from archive_service.preservation.backup.drill import drill
from archive_service.preservation.backup.encryption import (
    DecryptingReader,
    EncryptingWriter,
    Identity,
    Keys,
    generate_identity,
    parse_identities,
    parse_recipient,
)
from archive_service.preservation.backup.making import BackupPlan, make_backup
from archive_service.preservation.backup.restoring import Restored, check_backup, restore_backup
from archive_service.preservation.backup.settled import DrillFailed, plan_of, scheduled_backup, scheduled_drill
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.log_storage import LogRolledBack
from archive_service.preservation.seal import seal_log, verify_history
from archive_service.preservation.statehash import state_hash, table_hashes
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from tests.conftest import NotRun
from tests.pipeline import Archive
from tests.preservation.test_rebuild import a_life

IDENTITY = generate_identity()
KEYS = Keys(identities=(IDENTITY,))


@pytest.fixture
def plan(tmp_path: Path) -> BackupPlan:
    return BackupPlan(folder=tmp_path / "backups", recipients=(IDENTITY.recipient,))


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, database: Database) -> Iterator[str | None]:
    """URL of an empty PostgreSQL database, None on SQLite."""
    if database.is_sqlite:
        yield None
        return
    server = request.getfixturevalue("postgres_server")
    url = server.create()
    yield url.render_as_string(hide_password=False)
    server.drop(url)


def back_up(archive: Archive, plan: BackupPlan) -> Path:
    entry = make_backup(archive.service, plan, at=clock.unique_now())
    return plan.folder / entry.file


def restored_archive(archive: Archive, restored: Restored) -> Archive:
    """The service as it runs after a restore: new folder and database, the same locations."""
    settings = archive.service.settings.model_copy(
        update={"data_dir": restored.folder, "database_url": restored.database_url}
    )
    service = Service(settings=settings, database=Database(restored.database_url))
    service.__dict__["layout"] = archive.service.layout
    return Archive(service=service, http=TestClient(create_app(service), raise_server_exceptions=False))


def restore(archive: Archive, backup: Path, tmp_path: Path, url: str | None) -> Archive:
    restored = restore_backup(backup, KEYS, into=tmp_path / "restored", database_url=url)
    return restored_archive(archive, restored)


# ------------------------------------------------------------------ there and back


def test_a_restored_database_is_equal(
    archive: Archive, dossiers: Path, plan: BackupPlan, tmp_path: Path, empty_url: str | None
) -> None:
    a_life(archive, dossiers)
    waiting = archive.push(minimal_dossier(dossiers / "w", code="000.00.16.H56-250314-0077").folder)
    with archive.service.database.write() as session:
        token = create_token(
            session,
            name="kept",
            role=RoleName.OFFICER,
            agency=None,
            agent=software("tests"),
            at=clock.now(),
        )
    backup = back_up(archive, plan)
    header, members = check_backup(backup, KEYS)
    assert header["problems"] == []
    assert header["records"] == 2
    again = restore(archive, backup, tmp_path, empty_url)
    with archive.service.database.read() as before, again.service.database.read() as after:
        last = header["last_seq"]
        assert table_hashes(after, up_to_seq=last) == table_hashes(before, up_to_seq=last)
        assert state_hash(after, up_to_seq=last) == header["state_hash"]
        assert after.scalar(select(func.max(Event.seq))) == last
    # Tokens work again, and what was acknowledged and not stored goes all the way.
    headers = {"Authorization": f"Bearer {token}"}
    assert again.http.get("/api/v1/records", headers=headers).status_code == 200
    assert sum(name.startswith("staging/") for name in members) >= 2
    again.work()
    assert again.decide(waiting).status_code == 200
    again.work()
    assert again.submission(waiting)["state"] == "STORED"
    assert verify_history(again.service) > 0
    seal_log(again.service, at=clock.unique_now())
    again.service.close()


def test_the_key_of_the_log_and_the_trust_come_back_with_their_modes(
    archive: Archive, dossiers: Path, plan: BackupPlan, tmp_path: Path, empty_url: str | None
) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    seal_log(archive.service, at=clock.unique_now())
    anchor = archive.service.settings.resolved_trust_dir / "public" / "root.pem"
    anchor.parent.mkdir(parents=True)
    anchor.write_text("x")
    again = restore(archive, back_up(archive, plan), tmp_path, empty_url)
    assert known_keys(again.service.settings) == known_keys(archive.service.settings)
    key = again.service.settings.data_dir / "keys" / "log.skey"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (again.service.settings.data_dir / "trust" / "public" / "root.pem").read_text() == "x"
    config = json.loads((again.service.settings.data_dir / "restored-config" / "settings.json").read_text())
    assert config["archive_code"] == "LTHH"
    again.service.close()


def test_what_happened_since_comes_from_storage(
    archive: Archive, dossiers: Path, plan: BackupPlan, tmp_path: Path, empty_url: str | None
) -> None:
    service = archive.service
    first = archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0001").folder)
    seal_log(service, at=clock.unique_now())
    waiting = archive.push(minimal_dossier(dossiers / "2", code="000.00.16.H56-250314-0002").folder)
    archive.work()
    backup = back_up(archive, plan)
    assert archive.decide(waiting).status_code == 200
    archive.work()
    archive.archive(minimal_dossier(dossiers / "3", code="000.00.16.H56-250314-0003").folder)
    seal_log(service, at=clock.unique_now())
    lost = minimal_dossier(dossiers / "4", code="000.00.16.H56-250314-0004")
    archive.push(lost.folder)
    unsealed = archive.archive(minimal_dossier(dossiers / "5", code="000.00.16.H56-250314-0005").folder)
    seal_log(service, at=clock.unique_now())
    archive.archive(minimal_dossier(dossiers / "6", code="000.00.16.H56-250314-0006").folder)

    again = restore(archive, backup, tmp_path, empty_url)
    with pytest.raises(LogRolledBack):
        seal_log(again.service, at=clock.unique_now())
    found = catch_up(again.service, known_keys(again.service.settings))
    assert (found.seals, len(found.aips), found.problems) == (2, 4, [])
    assert found.to_send_again == ["000.00.16.H56-250314-0004"]
    with again.service.database.read() as session:
        ids = {str(value) for value in session.scalars(select(Record.id))}
        assert {first, unsealed} <= ids
        assert len(ids) == 5
    assert again.submission(waiting)["state"] == "STORED"
    repeated = catch_up(again.service, known_keys(again.service.settings))
    assert (repeated.seals, repeated.aips) == (0, [])
    seal_log(again.service, at=clock.unique_now())
    assert verify_history(again.service) > 0
    # The push that nothing is left of can be made again.
    assert again.push(lost.folder)
    again.service.close()


def test_staged_bytes_that_are_gone_stop_a_backup(archive: Archive, dossiers: Path, plan: BackupPlan) -> None:
    submission_id = archive.push(minimal_dossier(dossiers).folder)
    folder = archive.service.settings.staging_dir / submission_id
    victim = next(path for path in folder.iterdir() if path.name.startswith("component"))
    content = victim.read_bytes()
    victim.chmod(0o600)
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArchiveError) as damaged:
        back_up(archive, plan)
    assert damaged.value.code == "BACKUP_NOT_COMPLETE"
    victim.unlink()
    with pytest.raises(ArchiveError) as gone:
        back_up(archive, plan)
    assert gone.value.code == "BACKUP_NOT_COMPLETE"
    assert victim.name in gone.value.message
    assert catalogue.entries(plan.folder) == []
    assert list(plan.folder.glob("*.age")) == []


def test_a_missing_copy_is_said_in_the_catalogue(archive: Archive, dossiers: Path, plan: BackupPlan) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    stored = next(archive.service.settings.data_dir.rglob("storage/kho-2/**/*.zip"))
    stored.chmod(0o600)
    stored.unlink()
    entry = make_backup(archive.service, plan, at=clock.unique_now())
    assert [problem.partition(":")[0] for problem in entry.problems] == ["kho-2"]
    assert "is missing" in (plan.folder / f"{entry.id}.txt").read_text()


def test_backups_are_listed_kept_and_counted(archive: Archive, plan: BackupPlan) -> None:
    keeping = replace(plan, keep=2)
    made = [make_backup(archive.service, keeping, at=clock.unique_now()) for _ in range(3)]
    assert [entry.id for entry in catalogue.entries(plan.folder)] == [made[1].id, made[2].id]
    assert sorted(path.name for path in plan.folder.glob("*.age")) == sorted(entry.file for entry in made[1:])
    listing = (plan.folder / catalogue.LIST_NAME).read_text()
    assert made[2].sha256 in listing
    assert made[0].sha256 not in listing
    with (plan.folder / made[2].file).open("rb") as source:
        assert digest_stream(source)[0].hex == made[2].sha256
    with archive.service.database.read() as session:
        events = session.scalars(select(Event).where(Event.type == EventType.BACKUP_MADE).order_by(Event.seq)).all()
        assert [event.subject_id for event in events] == [entry.id for entry in made]
        assert events[2].detail["removed"] == [made[0].file]
    metrics = dict(line.rsplit(" ", 1) for line in archive.http.get("/metrics").text.splitlines() if line[:1] != "#")
    assert float(metrics["archive_last_backup_timestamp_seconds"]) == pytest.approx(events[2].at.timestamp())
    assert "archive_last_restore_drill_timestamp_seconds" not in metrics


def test_what_a_killed_run_left_is_cleared(archive: Archive, plan: BackupPlan) -> None:
    plan.folder.mkdir()
    (plan.folder / "backup-20200101T000000Z-dead.age").write_bytes(b"half")
    (plan.folder / f".tmp-{'0' * 32}").write_bytes(b"half")
    (archive.service.settings.data_dir / ".backup-work-dead").mkdir()
    entry = make_backup(archive.service, plan, at=clock.unique_now())
    names = sorted(path.name for path in plan.folder.iterdir())
    assert names == sorted([".lock", "CATALOGUE.txt", entry.file, f"{entry.id}.json", f"{entry.id}.txt"])
    assert not list(archive.service.settings.data_dir.glob(".backup-work-*"))


# ------------------------------------------------------------------ what must be refused


@pytest.fixture(scope="module")
def small() -> bytes:
    """An encrypted tar of several chunks."""
    target = io.BytesIO()
    writing = EncryptingWriter(target, [IDENTITY.recipient])
    members = [Member(name="backup.json", content=b"{}"), Member(name="database/x", content=bytes(200_000))]
    plain = io.BytesIO()
    write_archive(plain, members, at_s=0, progress=lambda _: None)
    writing.write(plain.getvalue())
    writing.finish()
    return target.getvalue()


def reading(content: bytes, keys: Keys = KEYS) -> str:
    try:
        read_archive(io.BufferedReader(DecryptingReader(io.BytesIO(content), keys)), read_through)
    except ArchiveError as exc:
        return exc.code
    return "ok"


def test_a_sound_backup_is_read(small: bytes) -> None:
    assert reading(small) == "ok"


def test_every_flipped_byte_of_the_header_and_many_of_the_content_are_noticed(small: bytes) -> None:
    header = small.index(b"\n--- ") + 5 + 44 + 16
    places = [*range(header), *range(header, len(small), 997), len(small) - 1]
    for place in places:
        changed = bytearray(small)
        changed[place] ^= 1
        assert reading(bytes(changed)) in {"BACKUP_DAMAGED", "BACKUP_KEY_WRONG", "BACKUP_TRUNCATED"}, place


@pytest.mark.parametrize("chunks_left", [0, 1, 2])
def test_a_backup_cut_at_a_chunk_is_truncated(small: bytes, chunks_left: int) -> None:
    start = small.index(b"\n--- ") + 5 + 44 + 16
    assert reading(small[: start + chunks_left * (65536 + 16)]) == "BACKUP_TRUNCATED"


def test_a_backup_cut_anywhere_is_refused(small: bytes) -> None:
    for length in (0, 5, 30, 100, 200, 5000, len(small) - 1):
        assert reading(small[:length]) in {"BACKUP_TRUNCATED", "BACKUP_DAMAGED"}, length


def test_another_key_opens_nothing(small: bytes) -> None:
    assert reading(small, Keys(identities=(generate_identity(),))) == "BACKUP_KEY_WRONG"
    assert reading(small, Keys(passphrase=b"x")) == "BACKUP_KEY_WRONG"


def test_a_passphrase_opens_what_it_closed() -> None:
    target = io.BytesIO()
    writing = EncryptingWriter(target, [], passphrase="mật khẩu dài".encode())
    writing.write(b"content")
    writing.finish()
    target.seek(0)
    assert DecryptingReader(target, Keys(passphrase="mật khẩu dài".encode())).read() == b"content"
    target.seek(0)
    with pytest.raises(ArchiveError) as wrong:
        DecryptingReader(target, Keys(passphrase=b"other"))
    assert wrong.value.code == "BACKUP_KEY_WRONG"


def test_keys_are_checked_where_they_are_typed() -> None:
    text = str(IDENTITY.recipient)
    assert parse_recipient(text) == IDENTITY.recipient
    assert parse_identities(f"# created: now\n{IDENTITY.text()}\n") == (IDENTITY,)
    mistyped = text[:10] + ("q" if text[10] != "q" else "p") + text[11:]
    for wrong in (mistyped, "age1", "", IDENTITY.text(), text.replace("a", "A", 1)):
        with pytest.raises(ConfigurationInvalid):
            parse_recipient(wrong)
    with pytest.raises(ConfigurationInvalid):
        EncryptingWriter(io.BytesIO(), [])
    assert "AGE-SECRET" not in repr(IDENTITY)


def test_the_age_program_reads_and_writes_the_same(tmp_path: Path, not_run: NotRun) -> None:
    program = shutil.which("age")
    if program is None:
        not_run("age", "no age program found")
    key = tmp_path / "key.txt"
    key.write_text(IDENTITY.text() + "\n")
    content = os.urandom(200_000)
    target = io.BytesIO()
    writing = EncryptingWriter(target, [IDENTITY.recipient])
    writing.write(content)
    writing.finish()
    opened = subprocess.run([program, "-d", "-i", key], input=target.getvalue(), capture_output=True, check=True)
    assert opened.stdout == content
    closed = subprocess.run([program, "-r", str(IDENTITY.recipient)], input=content, capture_output=True, check=True)
    assert DecryptingReader(io.BytesIO(closed.stdout), KEYS).readall() == content


def test_a_stranger_opens_a_backup_with_the_documented_lines(
    archive: Archive, plan: BackupPlan, tmp_path: Path
) -> None:
    """The Python lines of the README, run as written, with nothing of ours imported."""
    readme = Path(__file__).parents[2] / "archive_service" / "preservation" / "backup" / "README.md"
    _, _, rest = readme.read_text(encoding="utf-8").partition("```python\n")
    script = tmp_path / "open_age.py"
    script.write_text(rest.partition("```")[0])
    (tmp_path / "key.txt").write_text(IDENTITY.text())
    backup = back_up(archive, plan)
    subprocess.run(
        [sys.executable, "-I", script, tmp_path / "key.txt", backup, tmp_path / "backup.tar"], check=True, cwd=tmp_path
    )
    with tarfile.open(tmp_path / "backup.tar") as tar:
        assert {"backup.json", "MANIFEST.json", "README.txt"} <= set(tar.getnames())


def test_a_target_that_is_not_empty_is_refused(
    archive: Archive, plan: BackupPlan, tmp_path: Path, empty_url: str | None
) -> None:
    backup = back_up(archive, plan)
    into = tmp_path / "restored"
    into.mkdir()
    (into / "something").write_text("x")
    with pytest.raises(Conflict):
        restore_backup(backup, KEYS, into=into, database_url=empty_url)
    (into / "something").unlink()
    (into / "storage").mkdir()
    restore_backup(backup, KEYS, into=into, database_url=empty_url)
    other = tmp_path / "other" if empty_url is not None else into
    with pytest.raises(Conflict):
        restore_backup(backup, KEYS, into=other, database_url=empty_url)
    wrong = None if empty_url is not None else "postgresql://nowhere/none"
    with pytest.raises(ConfigurationInvalid):
        restore_backup(backup, KEYS, into=tmp_path / "third", database_url=wrong)


def test_a_damaged_backup_changes_nothing(
    archive: Archive, plan: BackupPlan, tmp_path: Path, empty_url: str | None
) -> None:
    backup = back_up(archive, plan)
    content = bytearray(backup.read_bytes())
    content[len(content) // 2] ^= 1
    bad = tmp_path / "bad.age"
    bad.write_bytes(content)
    with pytest.raises(ArchiveError) as damaged:
        restore_backup(bad, KEYS, into=tmp_path / "restored", database_url=empty_url)
    assert damaged.value.code == "BACKUP_DAMAGED"
    assert not (tmp_path / "restored").exists()
    other = Keys(identities=(generate_identity(),))
    with pytest.raises(ArchiveError) as wrong:
        restore_backup(backup, other, into=tmp_path / "restored", database_url=empty_url)
    assert wrong.value.code == "BACKUP_KEY_WRONG"


# ------------------------------------------------------------------ the drill


def test_the_drill_proves_a_restore_and_keeps_its_minutes(archive: Archive, dossiers: Path, plan: BackupPlan) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    seal_log(archive.service, at=clock.unique_now())
    archive.push(minimal_dossier(dossiers / "w", code="000.00.16.H56-250314-0009").folder)
    backup = back_up(archive, plan)
    archive.archive(minimal_dossier(dossiers / "x", code="000.00.16.H56-250314-0010").folder)
    seal_log(archive.service, at=clock.unique_now())
    minutes = drill(archive.service, backup, KEYS, at=clock.unique_now())
    assert minutes.outcome is Outcome.PASSED, minutes.as_json()
    assert {check.name for check in minutes.checks} == {"restored", "state", "log", "staging", "locations"}
    text = next(plan.folder.glob("drill-*.txt")).read_text()
    assert text.startswith("BIÊN BẢN DIỄN TẬP KHÔI PHỤC")
    with archive.service.database.read() as session:
        event = session.scalars(select(Event).where(Event.type == EventType.BACKUP_DRILLED)).one()
        assert event.detail["outcome"] == "PASSED"
        assert session.scalar(select(func.count()).select_from(Submission)) == 3


def test_a_drill_on_a_bad_backup_fails_and_says_why(archive: Archive, plan: BackupPlan) -> None:
    backup = back_up(archive, plan)
    content = bytearray(backup.read_bytes())
    content[-20] ^= 1
    backup.chmod(0o600)
    backup.write_bytes(content)
    minutes = drill(archive.service, backup, KEYS, at=clock.unique_now())
    assert minutes.outcome is Outcome.FAILED
    assert minutes.checks[0].reasons[0].startswith("BACKUP_")
    missing = drill(
        archive.service, plan.folder / "none.age", Keys(identities=(Identity(bytes(32)),)), at=clock.unique_now()
    )
    assert missing.outcome is Outcome.FAILED


def settled(archive: Archive, tmp_path: Path, **changes: object) -> Service:
    key = tmp_path / "key.txt"
    key.write_text(IDENTITY.text())
    values = {
        "backup_dir": tmp_path / "b",
        "backup_recipients": str(IDENTITY.recipient),
        "backup_identity": key,
        **changes,
    }
    settings = archive.service.settings.model_copy(update=values)
    return Service(settings=settings, database=archive.service.database)


def test_the_settings_alone_make_backups_and_drills(archive: Archive, dossiers: Path, tmp_path: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    seal_log(archive.service, at=clock.unique_now())
    service = settled(archive, tmp_path, backup_keep=1)
    registry = backup_registry(lambda _context: service)
    with archive.service.database.write() as session:
        enqueue(session, JobKind.MAKE_BACKUP, "backup:1", at=clock.now())
        enqueue(session, JobKind.DRILL_RESTORE, "restore-drill:1", at=clock.now())
    for _ in range(2):
        assert run_next(service.database, service.settings, registry, threading.Event(), owner="tests")
    assert len(catalogue.entries(tmp_path / "b")) == 1
    with service.database.read() as session:
        kinds = set(session.scalars(select(Event.type)))
        assert {EventType.BACKUP_MADE, EventType.BACKUP_DRILLED} <= kinds
        assert set(session.scalars(select(Job.state).where(Job.kind.in_(list(registry))))) == {JobState.DONE}
    assert "archive_last_restore_drill_timestamp_seconds" in archive.http.get("/metrics").text


def test_a_folder_without_recipients_is_refused_and_a_failed_drill_is_an_error(
    archive: Archive, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationInvalid, match="backup_recipients"):
        plan_of(settled(archive, tmp_path, backup_recipients=None).settings)
    assert plan_of(archive.service.settings) is None
    service = settled(archive, tmp_path)
    with pytest.raises(DrillFailed, match="no backup"):
        scheduled_drill(service, at=clock.unique_now())
    scheduled_backup(service, at=clock.unique_now(), progress=lambda _stage, _done, _total: None)
    with pytest.raises(DrillFailed, match="INDETERMINATE: log"):  # nothing sealed: that part could not be proven
        scheduled_drill(service, at=clock.unique_now())


def test_the_commands_make_a_key_a_backup_and_bring_it_back(archive: Archive, tmp_path: Path) -> None:
    if not archive.service.database.is_sqlite:
        return  # the commands are the same; restoring PostgreSQL is tested above
    key, folder = tmp_path / "k.txt", tmp_path / "b"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVE_")}

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "archive_service", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)

    made = run("backup-key", "-o", key)
    assert key.stat().st_mode & 0o777 == 0o600
    data = archive.service.settings.data_dir
    assert run("backup", "--to", folder, "-r", made.stdout.split()[-1], "--data", data).returncode == 0
    entry = catalogue.entries(folder)[0]
    assert entry.file in run("backup-list", folder).stdout
    assert run("restore", folder / entry.file, "--check", "-i", key).stdout.startswith("PASSED")
    assert run("restore", folder / entry.file, "--into", tmp_path / "r", "-i", key).returncode == 0
    assert (tmp_path / "r" / "archive.db").is_file()
    other = tmp_path / "other.txt"
    other.write_text(generate_identity().text())
    wrong = run("restore", folder / entry.file, "--check", "-i", other)
    assert (wrong.returncode, wrong.stderr.split(":")[0]) == (1, "BACKUP_KEY_WRONG")
