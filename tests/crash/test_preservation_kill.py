"""kill -9 before and after every commit and every write, lock or deletion at a location, while sealing, repairing and rebuilding.

The process is really killed (a forked child kills itself), each time on a fresh copy of the same archive. Afterwards the same work is done
again and must end as if nothing had happened, with nothing lost on the way.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import inspect, select

from archive_service import clock
from archive_service.application import create_app
from archive_service.audit import software
from archive_service.db import Database
from archive_service.evidence.algorithms import load_algorithm_policy
from archive_service.evidence.checks import Indication
from archive_service.evidence.evidence_record_verify import read_data_object, verify_evidence_record
from archive_service.evidence.local_tsa import create_local_tsa
from archive_service.models import (
    Aip,
    AipEvidence,
    Event,
    EventType,
    EvidenceRenewal,
    Incident,
    LogSeal,
    Rebuild,
)
from archive_service.packaging.verify import Outcome
from archive_service.preservation.check_store import check_store
from archive_service.preservation.evidence_batches import record_of_aip
from archive_service.preservation.log_keys import known_keys, log_signer
from archive_service.preservation.log_rotation import rotate_key
from archive_service.preservation.rebuild import rebuild
from archive_service.preservation.renewal import renew_evidence
from archive_service.preservation.repair import repair_aip
from archive_service.preservation.seal import seal_log, verify_history
from archive_service.preservation.statehash import state_hash
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from archive_service.settings import Settings
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import store_key
from tests.pipeline import Archive
from tests.preservation.test_fixity import flip, stored_file
from tests.unit.evidence.tsa_server import TsaServer

MAX_STEPS = 120
Work = Callable[[Service], object]


@pytest.fixture
def world(sqlite_url: str, data_dir: Path, tmp_path: Path) -> Path:
    """The data folder of an archive with two records, not open anywhere."""
    service = Service(settings=Settings(data_dir=data_dir, database_url=sqlite_url), database=Database(sqlite_url))
    with TestClient(create_app(service), raise_server_exceptions=False) as http:
        archive = Archive(service=service, http=http)
        for number in range(2):
            archive.archive(minimal_dossier(tmp_path / "d", code=f"000.00.16.H56-250314-000{number}").folder)
    log_signer(service.settings)
    service.close()
    return data_dir


@contextmanager
def opened(folder: Path) -> Iterator[Service]:
    service = Service(settings=Settings(data_dir=folder), database=Database(f"sqlite:///{folder / 'archive.db'}"))
    try:
        yield service
    finally:
        service.close()


def killed_at(step: int, folder: Path, work: Work) -> bool:
    """Does the work in a child that kills itself at a step; returns whether it was killed before its end."""
    child = os.fork()
    if child == 0:
        try:
            # The process that reading processes come from is the parent's child, and this one may not ask for it.
            forkserver._forkserver.__init__()  # type: ignore[misc]
            _count_steps(step)
            with opened(folder) as service:
                work(service)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _count_steps(step: int) -> None:
    left = step

    def one() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def around(method: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*args: Any, **named: Any) -> Any:
            one()
            answer = method(*args, **named)
            one()
            return answer

        return stepping

    write = Database.write

    @contextmanager
    def stepping_write(self: Database) -> Iterator[Any]:
        one()
        with write(self) as session:
            yield session
        one()

    # only in the child, which never returns to the test
    Database.write = stepping_write  # type: ignore[method-assign]
    for name in ("put", "delete", "supersede", "set_legal_hold", "retain_until"):
        setattr(FilesystemStore, name, around(getattr(FilesystemStore, name)))


def every_step(world: Path, tmp_path: Path, work: Work) -> Iterator[tuple[int, Path]]:
    """Yields a copy of the world for each step at which the work was killed."""
    for step in range(MAX_STEPS):
        folder = tmp_path / f"step-{step}"
        shutil.copytree(world, folder)
        if not killed_at(step, folder, work):
            assert step > 5, "the work has more steps than that"
            return
        yield step, folder
        shutil.rmtree(folder)
    pytest.fail(f"not done after {MAX_STEPS} steps")


def test_sealing_again_gives_the_same_root(world: Path, tmp_path: Path) -> None:
    def work(service: Service) -> object:
        return seal_log(service, at=clock.unique_now())

    reference = tmp_path / "reference"
    shutil.copytree(world, reference)
    with opened(reference) as service:
        (expected,) = seal_log(service, at=clock.unique_now())
    for step, folder in every_step(world, tmp_path, work):
        with opened(folder) as service:
            work(service)
            with service.database.read() as session:
                sealed = session.scalars(select(LogSeal)).one()
            assert (sealed.state, sealed.checkpoint) == ("SEALED", expected.checkpoint), step
            assert verify_history(service) == expected.tree_size
            for store in service.stores.values():
                found = check_store(store, known_keys(service.settings), at=clock.now())
                assert (found.outcome, found.problems) == (Outcome.PASSED, []), step


def test_repairing_again_ends_repaired_and_loses_no_byte(world: Path, tmp_path: Path) -> None:
    with opened(world) as service, service.database.read() as session:
        aip = session.scalars(select(Aip).order_by(Aip.objid)).first()
        assert aip is not None
        good = stored_file(service, str(aip.record_id))
        content = good.read_bytes()
        flip(good)
        damaged = good.read_bytes()
    place = good.relative_to(world)

    def work(service: Service) -> object:
        return repair_aip(service, aip.id)

    for step, folder in every_step(world, tmp_path, work):
        kept = [path.read_bytes() for path in (folder / "storage").rglob(place.name)]
        assert content in kept, "a good copy is there at any moment"
        assert damaged in kept, "and so are the damaged bytes"
        with opened(folder) as service:
            work(service)
            assert (folder / place).read_bytes() == content, step
            with service.database.read() as session:
                incident = session.scalars(select(Incident)).one_or_none()
            if incident is None:
                pytest.fail(f"step {step}: repaired without an incident")
            assert incident.status == "REPAIRED" or (incident.status == "RECOVERED" and incident.quarantine_key), step
            with service.stores["kho-1"].open(store_key(str(incident.quarantine_key))) as aside:
                assert aside.read() == damaged


@pytest.mark.parametrize("kind", ["timestamp-renewal", "hash-tree-renewal"])
def test_a_renewal_goes_on_and_is_done_once(world: Path, tmp_path: Path, kind: str) -> None:
    now = clock.now()
    later = now + timedelta(days=600)
    policy = load_algorithm_policy()
    if kind == "hash-tree-renewal":
        policy = replace(policy, digests={**policy.digests, "sha256": (later + timedelta(days=90)).date()})
    with TsaServer(create_local_tsa(valid_from=now, years=2), now).running() as early, opened(world) as service:
        settings = service.settings.model_copy(update={"tsa_url": early.url})
        seal_log(Service(settings=settings, database=service.database), at=clock.unique_now())
    with TsaServer(create_local_tsa(valid_from=later, years=10), later).running() as server:

        def work(service: Service) -> object:
            settings = service.settings.model_copy(update={"tsa_url": server.url})
            return renew_evidence(Service(settings=settings, database=service.database), at=later, policy=policy)

        for step, folder in every_step(world, tmp_path, work):
            with opened(folder) as service:
                work(service)
                assert work(service) == [], step
                _renewed_once(service, kind, later)


def _renewed_once(service: Service, kind: str, at: datetime) -> None:
    with service.database.read() as session:
        done = session.scalars(select(EvidenceRenewal)).one()
        assert (done.kind, done.state) == (kind, "DONE")
        assert len(session.scalars(select(Event).where(Event.type == EventType.EVIDENCE_RENEWED)).all()) == 1
        for evidence in session.scalars(select(AipEvidence)):
            aip = session.get_one(Aip, evidence.aip_id)
            with service.stores["kho-2"].open(store_key(aip.store_key)) as content:
                thing = read_data_object(aip.objid, content, ("sha256", "sha512"))
            found = verify_evidence_record(record_of_aip(session, evidence) or b"", [thing], at=at)
            assert (found.integrity, len(found.timestamps)) == (Indication.PASSED, 2)
    seal_log(service, at=clock.unique_now())
    for store in service.stores.values():
        assert check_store(store, known_keys(service.settings), at=at).problems == []


def test_a_change_of_key_goes_on(world: Path, tmp_path: Path) -> None:
    with opened(world) as service:
        seal_log(service, at=clock.unique_now())
        old = log_signer(service.settings).key

    def work(service: Service) -> object:
        return rotate_key(service, agent=software("tests"), reason="yearly", at=clock.unique_now())

    for step, folder in every_step(world, tmp_path, work):
        with opened(folder) as service:
            seal_log(service, at=clock.unique_now())
            work(service)
            assert log_signer(service.settings).key != old, step
            for store in service.stores.values():
                assert check_store(store, (old,), at=clock.now()).problems == [], step


def test_a_rebuild_goes_on_to_the_same_state(world: Path, tmp_path: Path) -> None:
    with opened(world) as service:
        seal_log(service, at=clock.unique_now())
        with service.database.read() as session:
            expected = state_hash(session)

    def work(service: Service) -> object:
        target = Database(f"sqlite:///{service.settings.data_dir / 'rebuilt.db'}")
        keys, at = known_keys(service.settings), clock.unique_now()
        try:
            return rebuild(service.stores["kho-2"], target, keys, at=at).state_hash
        finally:
            target.close()

    for step, folder in every_step(world, tmp_path, work):
        with opened(folder) as service:
            if not _finished(folder / "rebuilt.db"):
                assert work(service) == expected, step


def _finished(path: Path) -> bool:
    target = Database(f"sqlite:///{path}")
    try:
        if not inspect(target.engine).has_table("rebuild"):
            return False
        with target.read() as session:
            return any(row.finished_at for row in session.scalars(select(Rebuild)))
    finally:
        target.close()
