"""Backup and restore killed at random moments, and a disk that takes no more: earlier backups stay, running again ends well."""

import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archive_service import clock
from archive_service.db import Database
from archive_service.preservation.backup import catalogue
from archive_service.preservation.backup.encryption import Keys, generate_identity
from archive_service.preservation.backup.making import BackupPlan, make_backup
from archive_service.preservation.backup.restoring import check_backup
from archive_service.preservation.seal import seal_log
from archive_service.preservation.statehash import state_hash
from archive_service.samples.small import minimal_dossier
from tests.crash.worlds import driven, sqlite_settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = generate_identity()
KEYS = Keys(identities=(IDENTITY,))
KILLS = 3
SEED = 7


@pytest.fixture
def world(tmp_path: Path, sqlite_template: Path) -> Path:
    """A data folder with a stored record, a push on its way, and one backup."""
    data = tmp_path / "data"
    data.mkdir()
    shutil.copyfile(sqlite_template, data / "archive.db")
    (tmp_path / "key.txt").write_text(IDENTITY.text())
    with driven(sqlite_settings(data)) as archive:
        archive.archive(minimal_dossier(tmp_path / "d", code="000.00.16.H56-250314-0001").folder)
        seal_log(archive.service, at=clock.unique_now())
        archive.push(minimal_dossier(tmp_path / "d", code="000.00.16.H56-250314-0002").folder)
        plan = BackupPlan(folder=tmp_path / "backups", recipients=(IDENTITY.recipient,))
        make_backup(archive.service, plan, at=clock.unique_now())
    return data


def command(*arguments: str | Path, limit: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "archive_service", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,  # noqa: PLW1509 - one thread here
        env={"PATH": "/usr/bin:/bin"},
    )


def backup_command(world: Path, *more: str | Path) -> tuple[str | Path, ...]:
    folder = world.parent / "backups"
    return ("backup", "--to", folder, "--recipient", str(IDENTITY.recipient), "--data", world, *more)


def typical_s(*arguments: str | Path) -> float:
    started = time.monotonic()
    assert command(*arguments).wait(timeout=120) == 0
    return time.monotonic() - started


def test_a_backup_killed_anywhere_leaves_the_others_and_ends_well_the_next_time(world: Path) -> None:
    folder = world.parent / "backups"
    first = catalogue.entries(folder)[0]
    duration = typical_s(*backup_command(world))
    chance = random.Random(SEED)  # noqa: S311 - a repeatable choice of moments
    for _ in range(KILLS):
        running = command(*backup_command(world))
        time.sleep(chance.uniform(0.5, 1.0) * duration)
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=60)
        for entry in catalogue.entries(folder):
            check_backup(folder / entry.file, KEYS)
    assert command(*backup_command(world, "--keep", "2")).wait(timeout=120) == 0
    left = catalogue.entries(folder)
    assert len(left) == 2
    assert first.file not in {entry.file for entry in left}
    assert {path.name for path in folder.glob("*.age")} == {entry.file for entry in left}
    assert not list(folder.glob(".tmp-*"))
    assert not list(world.glob(".backup-work-*"))


def test_a_restore_killed_anywhere_starts_over(world: Path) -> None:
    backup = world.parent / "backups" / catalogue.entries(world.parent / "backups")[0].file
    into = world.parent / "restored"
    arguments = ("restore", backup, "--into", into, "--identity", world.parent / "key.txt")
    duration = typical_s(
        "restore", backup, "--into", world.parent / "trial", "--identity", world.parent / "key.txt", "--no-catch-up"
    )
    chance = random.Random(SEED)  # noqa: S311 - a repeatable choice of moments
    for _ in range(KILLS):
        running = command(*arguments, "--no-catch-up")
        time.sleep(chance.uniform(0.6, 1.0) * duration)
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=60)
        if (into / "archive.db").exists() and not (into / ".restoring").exists():
            shutil.rmtree(into)  # it was done: nothing was killed
    again = command(*arguments, "--no-catch-up")
    _, error = again.communicate(timeout=120)
    assert again.returncode == 0, error
    assert not (into / ".restoring").exists()
    header, _ = check_backup(backup, KEYS)
    database = Database(f"sqlite:///{into / 'archive.db'}")
    with database.read() as session:
        assert state_hash(session, up_to_seq=header["last_seq"]) == header["state_hash"]
    database.close()


def limited(size_bytes: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


@pytest.mark.parametrize(("while_", "code"), [("copying", "STORE_UNAVAILABLE"), ("writing", "STORE_FULL")])
def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing(world: Path, while_: str, code: str) -> None:
    """A limit on the size of files stands for the full disk; SQLite calls it an error of the disk."""
    folder = world.parent / "backups"
    size_bytes = 300_000 if while_ == "copying" else (world / "archive.db").stat().st_size + 4096
    before = {path.name for path in folder.iterdir()}
    running = command(*backup_command(world), limit=limited(size_bytes))
    _, error = running.communicate(timeout=120)
    assert running.returncode == 6, error
    assert error.splitlines()[-1].startswith(code), error
    assert {path.name for path in folder.iterdir()} == before
