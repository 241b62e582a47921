"""Sealing: the same events give the same root, nothing is claimed that was not had, and an older or other database is noticed."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from archive_service import clock
from archive_service.audit import append_event, software
from archive_service.digests import digest_bytes, sha256
from archive_service.errors import StoreUnavailable
from archive_service.evidence.checkpoint import parse_checkpoint
from archive_service.evidence.checks import Indication
from archive_service.evidence.evidence_record_verify import DataObject, verify_evidence_record
from archive_service.evidence.local_tsa import create_local_tsa
from archive_service.models import Aip, AipEvidence, Event, EventType, LogSeal
from archive_service.preservation import seal as sealing
from archive_service.preservation.log_keys import keys_dir, log_signer
from archive_service.preservation.log_storage import LogForked, LogRolledBack
from archive_service.preservation.seal import LogKeyDiffers, seal_log, verify_history
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from archive_service.storage.port import store_key
from tests.pipeline import Archive
from tests.unit.evidence.tsa_server import TsaServer


def seal(service: Service) -> list[LogSeal]:
    return seal_log(service, at=clock.unique_now())


def add_events(service: Service, count: int = 1) -> None:
    with service.database.write() as session:
        for number in range(count):
            append_event(
                session,
                EventType.RECORD_VIEWED,
                subject_kind="record",
                subject_id=f"r{number}",
                agency=None,
                agent=software("tests"),
                at=clock.unique_now(),
                detail={"tên": "Hồ sơ", "số": number},
            )


def test_events_and_aips_are_leaves_and_every_location_holds_the_seal(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    (made,) = seal(archive.service)
    with archive.service.database.read() as session:
        events = session.scalar(select(func.count()).select_from(Event))
        evidence = session.scalars(select(AipEvidence)).one()
        aip = session.scalars(select(Aip)).one()
    assert made.tree_size == (events or 0) + 1
    assert (evidence.aip_id, evidence.seal, evidence.stamped_by) == (aip.id, 1, None)
    assert aip.sha256 in evidence.leaf.decode()
    assert made.timestamp is None
    assert made.timestamp_problem == "no time-stamp authority is configured"
    parse_checkpoint(str(made.checkpoint)).verify([log_signer(archive.service.settings).key])
    for store in archive.service.stores.values():
        assert len(list(store.list("log/"))) == 4
    assert seal(archive.service) == [], "nothing new, nothing sealed"
    assert verify_history(archive.service) == made.tree_size


def test_the_key_is_readable_by_the_service_alone(archive: Archive) -> None:
    add_events(archive.service)
    seal(archive.service)
    folder = keys_dir(archive.service.settings)
    assert (folder / "log.skey").stat().st_mode & 0o777 == 0o600
    assert (folder / "log.vkey").read_text().strip() == log_signer(archive.service.settings).key.vkey()


def test_many_seals_chain_and_grow(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_EVENTS", 100)
    add_events(archive.service, 700)
    made = seal(archive.service)
    assert [row.tree_size for row in made] == [100, 200, 300, 400, 500, 600, 700]
    assert verify_history(archive.service) == 700


def test_a_time_stamp_covers_checkpoint_and_aips_also_earlier_ones(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    seal(archive.service)
    archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0043").folder)
    at = clock.now()
    with TsaServer(create_local_tsa(valid_from=at), at).running() as tsa:
        settings = archive.service.settings.model_copy(update={"tsa_url": f"http://127.0.0.1:1/,{tsa.url}"})
        (made,) = seal(Service(settings=settings, database=archive.service.database))
        anchors = (tsa.tsa.root,)
    assert (made.ordinal, made.timestamp_problem) == (2, None)
    with archive.service.database.read() as session:
        found = session.execute(select(Aip.sha256, AipEvidence).join(AipEvidence, AipEvidence.aip_id == Aip.id)).all()
    assert len(found) == 2
    for digest, evidence in found:
        assert evidence.stamped_by == 2
        thing = DataObject(name="aip", digests={"sha256": sha256(digest).raw})
        assert (
            verify_evidence_record(evidence.evidence_record or b"", [thing], at=at, anchors=anchors).integrity
            is Indication.PASSED
        )
    thing = DataObject(name="checkpoint", digests={"sha256": digest_bytes(str(made.checkpoint).encode()).raw})
    assert made.timestamp is not None
    assert verify_evidence_record(made.timestamp, [thing], at=at).integrity is Indication.PASSED


def test_an_authority_that_is_away_is_said_and_made_up_for(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    settings = archive.service.settings.model_copy(update={"tsa_url": "http://127.0.0.1:1/"})
    (made,) = seal(Service(settings=settings, database=archive.service.database))
    assert made.timestamp is None
    assert made.timestamp_problem
    assert "authority is configured" not in made.timestamp_problem


def test_an_unfinished_seal_is_finished_with_the_same_root(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    add_events(archive.service, 5)

    def fails(*_args: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(sealing, "write_seal", fails)
        with pytest.raises(StoreUnavailable, match="away"):
            seal(archive.service)
    with archive.service.database.read() as session:
        prepared = session.scalars(select(LogSeal)).one()
    add_events(archive.service, 3)
    made = seal(archive.service)
    assert (made[0].root, made[0].checkpoint, made[0].last_seq) == (
        prepared.root,
        prepared.checkpoint,
        prepared.last_seq,
    )
    assert [row.tree_size for row in made] == [5, 8]


def test_a_rolled_back_database_is_noticed(archive: Archive) -> None:
    if not archive.service.database.is_sqlite:
        with archive.service.database.write() as session:  # what restoring an old backup does to the tables
            session.execute(text("ALTER TABLE log_seal DISABLE TRIGGER USER"))
    else:
        with archive.service.database.write() as session:
            session.execute(text("DROP TRIGGER log_seal_no_delete"))
    add_events(archive.service)
    seal(archive.service)
    add_events(archive.service)
    seal(archive.service)
    with archive.service.database.write() as session:
        session.execute(text("DELETE FROM log_seal WHERE ordinal = 2"))
    with pytest.raises(LogRolledBack, match="holds seal 2"):
        seal(archive.service)


def test_a_forked_database_is_noticed(archive: Archive) -> None:
    add_events(archive.service)
    seal(archive.service)
    root = archive.service.settings.data_dir / "storage" / "kho-2"
    note = next(root.rglob("000000001.note"))
    note.chmod(0o600)
    note.write_bytes(note.read_bytes().replace(b"segment", b"Segment", 1))
    add_events(archive.service)
    with pytest.raises(LogForked, match="kho-2"):
        seal(archive.service)


def test_another_key_is_refused(archive: Archive) -> None:
    add_events(archive.service)
    seal(archive.service)
    shutil.rmtree(keys_dir(archive.service.settings))
    add_events(archive.service)
    with pytest.raises(LogKeyDiffers):
        seal(archive.service)


def test_changed_events_are_noticed(archive: Archive) -> None:
    add_events(archive.service, 3)
    seal(archive.service)
    with archive.service.database.write() as session:
        if archive.service.database.is_sqlite:
            session.execute(text("DROP TRIGGER event_no_update"))
        else:
            session.execute(text("ALTER TABLE event DISABLE TRIGGER USER"))
        session.execute(text("UPDATE event SET agent_name = 'somebody else' WHERE seq = (SELECT min(seq) FROM event)"))
    with pytest.raises(LogForked, match="seal 1"):
        verify_history(archive.service)


def test_a_location_that_lacks_seals_is_filled_in(archive: Archive) -> None:
    add_events(archive.service)
    seal(archive.service)
    shutil.rmtree(archive.service.settings.data_dir / "storage" / "kho-2" / "objects" / "log")
    add_events(archive.service)
    seal(archive.service)
    keys = [[item.key for item in store.list("log/")] for store in archive.service.stores.values()]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 8


@pytest.mark.postgres
def test_events_of_open_transactions_are_waited_for(archive: Archive) -> None:
    """A lower seq that commits later must not be left out below a sealed higher one."""
    if archive.service.database.is_sqlite:
        return  # one writer at a time: there is nothing to wait for
    inserted, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        with archive.service.database.write() as session:
            append_event(
                session,
                EventType.RECORD_VIEWED,
                subject_kind="record",
                subject_id="slow",
                agency=None,
                agent=software("tests"),
                at=clock.unique_now(),
            )
            session.flush()
            inserted.set()
            may_end.wait(20)

    writer = threading.Thread(target=slow)
    writer.start()
    inserted.wait(20)
    add_events(archive.service)
    made: list[LogSeal] = []
    sealer = threading.Thread(target=lambda: made.extend(seal(archive.service)))
    sealer.start()
    sealer.join(0.5)
    assert made == [], "sealing waits"
    may_end.set()
    writer.join()
    sealer.join(20)
    assert made[0].tree_size == 2
    key = store_key("log/segments/000000/000000001.jsonl")
    with archive.service.stores["kho-1"].open(key) as segment:
        lines = [json.loads(line) for line in segment.read().splitlines()[1:]]
    assert [line["event"]["subject_id"] for line in lines] == ["slow", "r0"]
