"""Renewing evidence: in time, under one time-stamp, safe to repeat, said loudly when it cannot be done; the records hold afterwards."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from archive_service import clock
from archive_service.db import Database
from archive_service.digests import digest_bytes
from archive_service.evidence.algorithms import AlgorithmPolicy, load_algorithm_policy
from archive_service.evidence.checks import Indication
from archive_service.evidence.evidence_record_verify import (
    EvidenceRecordVerification,
    read_data_object,
    verify_evidence_record,
)
from archive_service.evidence.local_tsa import LocalTsa, create_local_tsa
from archive_service.models import (
    Aip,
    AipEvidence,
    Event,
    EventType,
    EvidenceBatch,
    EvidenceRenewal,
    LogSeal,
    RenewedRecord,
)
from archive_service.packaging.verify import Outcome
from archive_service.preservation import log_storage, renewal
from archive_service.preservation.check_store import check_store
from archive_service.preservation.evidence_batches import record_of_aip, record_of_checkpoint
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.rebuild import rebuild
from archive_service.preservation.renewal import RenewalDelayed, renew_evidence
from archive_service.preservation.seal import seal_log
from archive_service.preservation.statehash import table_hashes
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from archive_service.storage.port import store_key
from tests.pipeline import Archive
from tests.preservation.places import archive_numbered
from tests.preservation.test_fixity import flip, stored_file
from tests.unit.evidence.tsa_server import TsaServer

YEAR = timedelta(days=365)


@contextmanager
def stamping(service: Service, at: datetime, *, away: str = "", years: int = 10) -> Iterator[tuple[Service, LocalTsa]]:
    """The service with a time-stamp authority whose clock shows `at`; `away` is an authority that is asked before."""
    with TsaServer(create_local_tsa(valid_from=at - timedelta(days=1), years=years), at).running() as server:
        urls = f"{away}{server.url}"
        settings = service.settings.model_copy(update={"tsa_url": urls})
        yield Service(settings=settings, database=service.database), server.tsa


def sealed(archive: Archive, dossiers: Path, count: int = 2) -> tuple[datetime, LocalTsa]:
    """Stores records and seals them with time-stamps, one seal each, by an authority whose certificate lasts two years."""
    now = clock.now()
    tsas = []
    for number in range(count):
        archive_numbered(archive, dossiers, number)
        with stamping(archive.service, now, years=2) as (service, tsa):
            seal_log(service, at=clock.unique_now())
            tsas.append(tsa)
    return now, tsas[0]


def ending(policy: AlgorithmPolicy, name: str, on: date) -> AlgorithmPolicy:
    return replace(policy, digests={**policy.digests, name: on})


def verified(service: Service, at: datetime) -> list[EvidenceRecordVerification]:
    """Verifies every AIP's and checkpoint's record as it is now, the AIPs from their bytes."""
    found = []
    names = ("sha256", "sha512")
    with service.database.read() as session:
        for evidence in session.scalars(select(AipEvidence).order_by(AipEvidence.leaf_index)):
            aip = session.get_one(Aip, evidence.aip_id)
            with service.stores["kho-1"].open(store_key(aip.store_key)) as content:
                thing = read_data_object(aip.objid, content, names)
            found.append(verify_evidence_record(record_of_aip(session, evidence) or b"", [thing], at=at))
        for seal in session.scalars(select(LogSeal).where(LogSeal.timestamp.is_not(None))):
            thing = read_data_object("checkpoint", _file(str(seal.checkpoint)), names)
            found.append(verify_evidence_record(record_of_checkpoint(session, seal) or b"", [thing], at=at))
    return found


def _file(text: str):
    import io

    return io.BytesIO(text.encode())


def intact(results: list[EvidenceRecordVerification], timestamps: int) -> bool:
    return all(item.integrity is Indication.PASSED and len(item.timestamps) == timestamps for item in results) and bool(
        results
    )


def events(service: Service, kind: EventType) -> list[Event]:
    with service.database.read() as session:
        return list(session.scalars(select(Event).where(Event.type == kind).order_by(Event.seq)))


def renewals(service: Service) -> list[EvidenceRenewal]:
    with service.database.read() as session:
        return list(session.scalars(select(EvidenceRenewal).order_by(EvidenceRenewal.ordinal)))


def test_nothing_is_renewed_before_it_is_due(archive: Archive, dossiers: Path) -> None:
    now, _ = sealed(archive, dossiers)
    assert renew_evidence(archive.service, at=now) == []
    assert renewals(archive.service) == []


def test_one_time_stamp_renews_all_records_whose_certificate_ends(archive: Archive, dossiers: Path) -> None:
    now, _ = sealed(archive, dossiers)
    later = now + timedelta(days=600)
    with stamping(archive.service, later, away="http://127.0.0.1:1/,") as (service, tsa):
        (made,) = renew_evidence(service, at=later)
        assert renew_evidence(service, at=later) == [], "done is done"
    assert (made.kind, made.batches, made.authority is not None) == ("timestamp-renewal", ["seal:1", "seal:2"], True)
    results = verified(archive.service, later)
    assert len(results) == 4
    assert intact(results, 2)
    assert results[0].timestamps[-1] == later.replace(microsecond=0)
    with archive.service.database.read() as session:
        kept = session.scalars(select(AipEvidence)).all()
        assert all(len(item.evidence_record or b"") < len(record_of_aip(session, item) or b"") for item in kept)
    (event,) = events(archive.service, EventType.EVIDENCE_RENEWED)
    assert event.detail["records"] == 4
    for store in archive.service.stores.values():
        with store.open(store_key("log/renewals/000000/000000001.jsonl")) as content:
            assert digest_bytes(content.read()).hex == event.detail["sha256"]
    assert tsa.root is not None


def test_an_algorithm_that_ends_gets_new_hash_trees_over_the_bytes_read_again(archive: Archive, dossiers: Path) -> None:
    now, _ = sealed(archive, dossiers)
    policy = ending(load_algorithm_policy(), "sha256", (now + timedelta(days=90)).date())
    with stamping(archive.service, now) as (service, _):
        (made,) = renew_evidence(service, at=now, policy=policy)
    assert (made.kind, made.hash_name) == ("hash-tree-renewal", "sha512")
    assert intact(verified(archive.service, now + timedelta(days=1)), 2)
    with archive.service.database.read() as session:
        assert {
            batch.retired_by for batch in session.scalars(select(EvidenceBatch).where(EvidenceBatch.source == "seal"))
        } == {1}
    late = now + timedelta(days=3500)  # the certificate of the second time-stamp ends within the lead time
    policy = replace(
        policy,
        digests={**policy.digests, "sha512": (late + 5 * YEAR).date()},
        signatures=tuple(replace(item, secure_until=(late + 5 * YEAR).date()) for item in policy.signatures),
    )
    with stamping(archive.service, late) as (service, _):
        (again,) = renew_evidence(service, at=late, policy=policy)
    assert (again.kind, again.batches) == ("timestamp-renewal", ["renewal:1"])
    assert intact(verified(archive.service, late), 3)


def test_renewed_evidence_is_what_the_api_gives_and_what_check_store_reads(archive: Archive, dossiers: Path) -> None:
    now, _ = sealed(archive, dossiers, count=1)
    later = now + timedelta(days=600)
    with stamping(archive.service, later) as (service, _):
        renew_evidence(service, at=later)
    policy = ending(load_algorithm_policy(), "sha256", (later + timedelta(days=90)).date())
    with stamping(archive.service, later) as (service, _):
        renew_evidence(service, at=later, policy=policy)
    seal_log(archive.service, at=clock.unique_now())
    for store in archive.service.stores.values():
        found = check_store(store, known_keys(archive.service.settings), at=later)
        assert (found.problems, found.outcome) == ([], Outcome.PASSED)
    path = next((archive.service.settings.data_dir / "storage" / "kho-1").rglob("000000001.jsonl"), None)
    assert path is not None
    for ordinal in (1, 2):
        object_path = next(
            item
            for item in (archive.service.settings.data_dir / "storage" / "kho-1").rglob(f"{ordinal:09d}.jsonl")
            if "renewals" in item.parts
        )
        content = object_path.read_bytes()
        for at in (10, len(content) // 2, len(content) - 2):
            flip(object_path, at)
            assert check_store(archive.service.stores["kho-1"], known_keys(archive.service.settings), at=later).problems
            object_path.write_bytes(content)


def test_a_rebuilt_database_has_the_renewals(archive: Archive, dossiers: Path, tmp_path: Path) -> None:
    now, _ = sealed(archive, dossiers)
    later = now + timedelta(days=600)
    policy = ending(load_algorithm_policy(), "sha256", (later + timedelta(days=90)).date())
    with stamping(archive.service, later) as (service, _):
        renew_evidence(service, at=later)
        renew_evidence(service, at=later, policy=policy)
    seal_log(archive.service, at=clock.unique_now())
    target = Database(f"sqlite:///{tmp_path / 'rebuilt.db'}")
    report = rebuild(
        archive.service.stores["kho-2"], target, known_keys(archive.service.settings), at=clock.unique_now()
    )
    with archive.service.database.read() as present, target.read() as rebuilt:
        expected = table_hashes(present, up_to_seq=report.last_seq)
        assert table_hashes(rebuilt, up_to_seq=report.last_seq) == expected
        assert expected["evidence_renewal"].startswith("2 ")
        assert intact(verified(Service(settings=archive.service.settings, database=target), later), 3)
    target.close()


def test_no_authority_answers_and_it_is_said_louder_as_time_goes_by(archive: Archive, dossiers: Path) -> None:
    now, _ = sealed(archive, dossiers, count=1)
    settings = archive.service.settings.model_copy(update={"tsa_url": "http://127.0.0.1:1/,http://127.0.0.1:2/"})
    service = Service(settings=settings, database=archive.service.database)
    end = now - timedelta(days=1) + 2 * YEAR
    for days, expected in ((170, 1), (160, 1), (50, 2), (10, 3), (5, 3), (-1, 4)):
        with pytest.raises(RenewalDelayed, match=r"127\.0\.0\.1:2"):
            renew_evidence(service, at=end - timedelta(days=days))
        assert len(events(service, EventType.EVIDENCE_RENEWAL_DELAYED)) == expected, days
    levels = [event.detail["urgency"] for event in events(service, EventType.EVIDENCE_RENEWAL_DELAYED)]
    assert levels == ["delayed", "urgent", "critical", "overdue"]
    with stamping(archive.service, end + timedelta(days=2)) as (able, _):
        (made,) = renew_evidence(able, at=end + timedelta(days=2))
    assert (made.ordinal, made.problem, made.urgency) == (1, None, "")


def test_a_damaged_copy_is_not_what_is_renewed(archive: Archive, dossiers: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    now = clock.now()
    with stamping(archive.service, now) as (service, _):
        seal_log(service, at=clock.unique_now())
    policy = ending(load_algorithm_policy(), "sha256", (now + timedelta(days=90)).date())
    flip(stored_file(archive.service, record_id, "kho-1"))
    with stamping(archive.service, now) as (service, _):
        (made,) = renew_evidence(service, at=now, policy=policy)
    with archive.service.database.read() as session:
        rows = session.scalars(select(RenewedRecord).where(RenewedRecord.renewal == made.ordinal)).all()
    assert [row.left_out for row in rows] == [None, None]


def test_what_cannot_be_read_is_left_out_named_and_tried_again(archive: Archive, dossiers: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    now = clock.now()
    with stamping(archive.service, now) as (service, _):
        seal_log(service, at=clock.unique_now())
    policy = ending(load_algorithm_policy(), "sha256", (now + timedelta(days=90)).date())
    paths = [stored_file(archive.service, record_id, name) for name in ("kho-1", "kho-2")]
    good = paths[0].read_bytes()
    for path in paths:
        flip(path)
    with stamping(archive.service, now) as (service, _):
        (made,) = renew_evidence(service, at=now, policy=policy)
    (event,) = events(archive.service, EventType.EVIDENCE_RENEWED)
    assert (event.detail["records"], len(event.detail["left_out"])) == (1, 1)
    paths[1].write_bytes(good)
    at = now + timedelta(days=1)
    with stamping(archive.service, at) as (service, _):
        (made,) = renew_evidence(service, at=at, policy=policy)
    assert made.ordinal == 2
    paths[0].write_bytes(good)
    assert intact(verified(archive.service, at), 2)


def test_two_workers_at_once_make_one_renewal(
    archive: Archive, dossiers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, _ = sealed(archive, dossiers, count=1)
    later = now + timedelta(days=600)
    write_seal = log_storage.write_seal
    with stamping(archive.service, later) as (service, _):

        def other_first(*arguments: object) -> None:
            monkeypatch.setattr(renewal, "write_seal", write_seal)
            assert len(renew_evidence(service, at=later)) == 1
            write_seal(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(renewal, "write_seal", other_first)
        assert renew_evidence(service, at=later) == []
    assert len(renewals(archive.service)) == 1
    assert intact(verified(archive.service, later), 2)
    assert len(events(archive.service, EventType.EVIDENCE_RENEWED)) == 1


def test_an_authority_with_a_short_certificate_does_not_keep_it_going(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    now = clock.now()
    with stamping(archive.service, now, years=0) as (service, _):
        seal_log(service, at=clock.unique_now())
    for days in (0, 1):
        at = now + timedelta(days=days)
        with stamping(archive.service, at, years=0) as (service, _):
            renew_evidence(service, at=at)
    assert len(renewals(archive.service)) <= 2
    assert json.dumps([row.kind for row in renewals(archive.service)])
