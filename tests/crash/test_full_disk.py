"""A disk that really is full (a small tmpfs): storing, sealing, repairing, rebuilding, moving, minutes of fixity and
backups say so and lose nothing.

Each work is tried on the full disk, must fail as "no room" without having said anything false, and must succeed once there is room again.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from archive_service import clock
from archive_service.db import Database
from archive_service.errors import StoreFull
from archive_service.models import (
    Aip,
    AipCopy,
    Event,
    EventType,
    FixityRun,
    Incident,
    Job,
    JobKind,
    JobState,
    LocationState,
    LogSeal,
    MoveState,
    State,
    Submission,
)
from archive_service.packaging.verify import Outcome
from archive_service.preservation import moves
from archive_service.preservation.backup import catalogue
from archive_service.preservation.backup.encryption import generate_identity
from archive_service.preservation.backup.making import BackupPlan, make_backup
from archive_service.preservation.check_store import check_store
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.rebuild import rebuild
from archive_service.preservation.repair import repair_aip
from archive_service.preservation.seal import seal_log
from archive_service.preservation.statehash import state_hash
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from archive_service.transfer.store import store_submission
from tests.conftest import NotRun
from tests.crash.test_moves_kill import right_copies, widened
from tests.crash.test_preservation_kill import opened, world  # noqa: F401 - a fixture
from tests.crash.worlds import driven, sqlite_settings
from tests.preservation.places import AGENT
from tests.preservation.test_fixity import flip, stored_file

pytestmark = pytest.mark.slow

DISK = "16m"


class SmallDisk:
    """A tmpfs in the place of a folder, that can be filled to the last page and emptied again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Takes all the room there is."""
        with self._ballast.open("wb", buffering=0) as out:
            for size_bytes in (1 << 20, 4096, 1):
                while True:
                    try:
                        out.write(b"\0" * size_bytes)
                    except OSError:
                        break

    def make_room(self) -> None:
        """Gives it back."""
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def small_disk(not_run: NotRun) -> Iterator[Callable[[Path], SmallDisk]]:
    """Mounts a small disk over a folder and moves what was in it there."""
    mounted: list[Path] = []

    def mount(folder: Path) -> SmallDisk:
        folder.mkdir(parents=True, exist_ok=True)
        before = folder.with_name(f"{folder.name}.before")
        shutil.copytree(folder, before)
        tried = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=False, capture_output=True
        )
        if tried.returncode:
            not_run("a full disk", "a small tmpfs can be mounted by root only")
        mounted.append(folder)
        shutil.copytree(before, folder, dirs_exist_ok=True)
        return SmallDisk(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


Mount = Callable[[Path], SmallDisk]


def require_sound(service: Service) -> None:
    """Both locations derive again from their bytes without a failure; what is not sealed yet is no failure."""
    for store in service.stores.values():
        found = check_store(store, known_keys(service.settings), at=clock.now())
        assert [problem for problem in found.problems if problem.outcome is Outcome.FAILED] == []


def test_storing(world: Path, tmp_path: Path, small_disk: Mount) -> None:  # noqa: F811
    with driven(sqlite_settings(world)) as archive:
        submission_id = archive.push(minimal_dossier(tmp_path / "e", code="000.00.16.H56-250314-0009").folder)
        archive.work()
        assert archive.decide(submission_id).status_code == 200
        disk = small_disk(world / "storage" / "kho-2")
        disk.fill()
        archive.work()
        with archive.service.database.read() as session:
            assert session.scalars(select(Submission.state).where(Submission.record_id.is_(None))).all() == [
                State.APPROVED
            ]
            waiting_jobs = select(Job).where(Job.kind == JobKind.STORE_SUBMISSION, Job.subject == submission_id)
            job = session.scalars(waiting_jobs).one()
            assert (job.state, str(job.last_error).partition(":")[0]) == (JobState.READY, "STORE_FULL")
            assert len(session.scalars(select(Aip)).all()) == 2
        assert right_copies(world, archive.service, "kho-1") == 2, "no row tells of the first copy"
        assert not list(disk.folder.rglob(".tmp-*"))
        disk.make_room()
        store_submission(archive.service, waiting(archive.service))
        assert right_copies(world, archive.service, "kho-1") == right_copies(world, archive.service, "kho-2") == 3
        require_sound(archive.service)


def waiting(service: Service) -> UUID:
    with service.database.read() as session:
        return session.scalars(select(Submission.id).where(Submission.record_id.is_(None))).one()


def test_sealing(world: Path, small_disk: Mount) -> None:  # noqa: F811
    with opened(world) as service:
        disk = small_disk(world / "storage" / "kho-2")
        disk.fill()
        for _ in range(2):
            with pytest.raises(StoreFull):
                seal_log(service, at=clock.unique_now())
        with service.database.read() as session:
            signed = session.scalars(select(LogSeal)).one()
            assert signed.state == "PREPARED", "not said to be sealed while a location lacks it"
        disk.make_room()
        (sealed,) = seal_log(service, at=clock.unique_now())
        assert (sealed.state, sealed.checkpoint) == ("SEALED", signed.checkpoint), "the same seal, not another one"
        require_sound(service)


def test_repairing(world: Path, small_disk: Mount) -> None:  # noqa: F811
    with opened(world) as service:
        with service.database.read() as session:
            aip = session.scalars(select(Aip).order_by(Aip.id)).all()[0]
        disk = small_disk(world / "storage" / "kho-1")
        flip(stored_file(service, str(aip.record_id)))
        damaged = stored_file(service, str(aip.record_id)).read_bytes()
        disk.fill()
        with pytest.raises(StoreFull):
            repair_aip(service, aip.id)
        assert stored_file(service, str(aip.record_id)).read_bytes() == damaged, "nothing was touched"
        with service.database.read() as session:
            states = {
                copy.location: copy.state for copy in session.scalars(select(AipCopy).where(AipCopy.aip_id == aip.id))
            }
            assert states == {"kho-1": "DAMAGED", "kho-2": "INTACT"}
            assert session.scalars(select(Incident.status)).all() == ["OPEN"]
        disk.make_room()
        assert [incident.status for incident in repair_aip(service, aip.id)] == ["REPAIRED"]
        assert right_copies(world, service, "kho-1") == 2


def test_rebuilding(world: Path, tmp_path: Path, small_disk: Mount) -> None:  # noqa: F811
    """The disk of the new database fills up after every stage in turn; it goes on when there is room, to the same state."""
    disk = small_disk(tmp_path / "target")
    with opened(world) as service:
        seal_log(service, at=clock.unique_now())
        with service.database.read() as session:
            expected = state_hash(session)
        for full_after in ("seals", "aips", "rows"):
            target = Database(f"sqlite:///{disk.folder / full_after}.db")

            def fill(stage: str, _done: int, full_after: str = full_after, target: Database = target) -> None:
                if stage == full_after:
                    with target.engine.connect() as connection:  # its log would have room for what comes next
                        connection.exec_driver_sql("ROLLBACK")
                        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                    disk.fill()

            keys, at = known_keys(service.settings), clock.unique_now()
            with pytest.raises(OperationalError, match="full"):
                rebuild(service.stores["kho-2"], target, keys, at=at, progress=fill)
            disk.make_room()
            report = rebuild(service.stores["kho-2"], target, keys, at=clock.unique_now())
            assert (report.complete, report.state_hash) == (True, expected)
            target.close()


def test_moving(world: Path, small_disk: Mount) -> None:  # noqa: F811
    with opened(world) as service:
        wide = widened(service)
        disk = small_disk(world / "storage" / "kho-3")
        move = moves.add_location(wide, "kho-3", agent=AGENT, at=clock.unique_now())
        disk.fill()
        ended = moves.run_move(wide, move.id, agent=AGENT)
        assert (ended.state, ended.done, ended.left_over) == (MoveState.RUNNING, 0, 0)
        assert {problem["reason"].split(" ")[3] for problem in ended.problems} == {"STORE_FULL"}, ended.problems
        assert moves.location(wide, "kho-3").state is LocationState.FILLING
        with service.database.read() as session:
            assert session.scalars(select(AipCopy).where(AipCopy.location == "kho-3")).all() == []
        disk.make_room()
        assert moves.run_move(wide, move.id, agent=AGENT).state is MoveState.DONE
        assert right_copies(world, service, "kho-3") == 2


def test_minutes_of_fixity(world: Path, tmp_path: Path, small_disk: Mount) -> None:  # noqa: F811
    """Here the database has no room: no result is written, so none is said; the next run reads the same copies."""
    folder = tmp_path / "small"
    disk = small_disk(folder)
    shutil.copytree(world, folder, dirs_exist_ok=True)
    with opened(folder) as service:
        with service.database.read() as session:
            before = {copy.id: copy.verified_at for copy in session.scalars(select(AipCopy))}
        flip(next(path for path in (folder / "storage" / "kho-1" / "objects" / "aip").rglob("*.zip")))
        disk.fill()

        def until_full() -> None:  # the write-ahead log has some room of its own
            for _ in range(100):
                check_location(service, "kho-2", FixityPlan(), at=clock.unique_now())

        with pytest.raises(OperationalError, match="full"):
            until_full()
        with service.database.read() as session:
            told = len(session.scalars(select(Event).where(Event.type == EventType.FIXITY_CHECKED)).all())
            finished = [run for run in session.scalars(select(FixityRun)) if run.finished_at is not None]
            assert len(finished) == told, "minutes and event together or not at all"
            for copy in session.scalars(select(AipCopy).where(AipCopy.location == "kho-1")):
                assert copy.verified_at == before[copy.id]
        disk.make_room()
        minutes = check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
        assert (minutes.intact, minutes.damaged, minutes.ended_because) == (1, 1, "all-read")


def test_backing_up(world: Path, tmp_path: Path, small_disk: Mount) -> None:  # noqa: F811
    disk = small_disk(tmp_path / "backups")
    plan = BackupPlan(folder=disk.folder, recipients=(generate_identity().recipient,))
    with opened(world) as service:
        make_backup(service, plan, at=clock.unique_now())
        (first,) = catalogue.entries(disk.folder)
        disk.fill()
        with pytest.raises(StoreFull):
            make_backup(service, plan, at=clock.unique_now())
        assert catalogue.entries(disk.folder) == [first]
        assert {path.name for path in disk.folder.glob("*.age")} == {first.file}
        assert not list(disk.folder.glob(".tmp-*"))
        disk.make_room()
        make_backup(service, plan, at=clock.unique_now())
        assert len(catalogue.entries(disk.folder)) == 2
