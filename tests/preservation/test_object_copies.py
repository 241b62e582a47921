"""Renditions and certified copies are kept as packages are: read again, repaired, rebuilt; silent copies become incidents."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from archive_service import clock
from archive_service.audit import append_event, software
from archive_service.db import Database
from archive_service.digests import digest_bytes
from archive_service.errors import StoreUnavailable
from archive_service.models import Aip, CopySilence, Event, EventType, Incident, ObjectCopy, Record, Rendition, RoleName
from archive_service.preservation.check_store import check_store
from archive_service.preservation.fixity import FixityPlan, check_location, location_health
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.rebuild import rebuild
from archive_service.preservation.repair import repair_object
from archive_service.preservation.seal import seal_log
from archive_service.preservation.statehash import table_hashes
from archive_service.samples.small import minimal_dossier, tiny_pdf
from archive_service.service import Service
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import store_key
from tests.pipeline import Archive
from tests.preservation.test_fixity import flip


def add_rendition(service: Service, record_id: str) -> str:
    """Stores a rendition as making one does, without LibreOffice; returns its key."""
    content = tiny_pdf("bản chuyển đổi")
    digest = digest_bytes(content)
    with service.database.write() as session:
        aip = session.scalars(select(Aip).where(Aip.record_id == UUID(record_id))).one()
        record = session.get_one(Record, aip.record_id)
        key = f"renditions/{record.archiving_agency}/{str(aip.id)[:2]}/{aip.id}/1-{digest.hex[:16]}.pdf"
        copies = []
        for name, store in sorted(service.stores.items()):
            import io

            store.put(store_key(key), io.BytesIO(content), expected=digest, size_bytes=len(content))
            at = clock.now().isoformat()
            copies.append({"location": name, "version_id": None, "read_back_sha256": digest.hex, "verified_at": at})
        row = Rendition(
            aip_id=aip.id,
            component_id="c01",
            store_key=key,
            sha256=digest.hex,
            size_bytes=len(content),
            flavour="2b",
            conforms=True,
            checker="tests",
            problems=[],
            page_count=1,
            copies=copies,
            made_at=clock.unique_now(),
        )
        session.add(row)
        session.flush()
        append_event(
            session,
            EventType.RECORD_RENDITION_MADE,
            subject_kind="record",
            subject_id=record.id,
            agency=record.archiving_agency,
            agent=software("tests"),
            at=row.made_at,
            detail={
                "aip_id": str(aip.id),
                "component_id": "c01",
                "key": key,
                "sha256": digest.hex,
                "locations": [copy["location"] for copy in copies],
            },
        )
    return key


def a_certified_copy(archive: Archive, record_id: str) -> str:
    contents = archive.call("GET", f"records/{record_id}", role=RoleName.OFFICER).json()["contents"]
    body = {
        "component_id": contents[0]["id"],
        "purpose": "vay vốn",
        "recipient": "Nguyễn Văn Đức",
        "place": "Huế",
        "position": "Văn thư",
    }
    issued = archive.call("POST", f"records/{record_id}/copies", role=RoleName.COPY_OFFICER, json=body)
    assert issued.status_code == 201, issued.text
    return str(issued.json()["id"])


def stored(service: Service, location: str, key: str) -> Path:
    return next((service.settings.data_dir / "storage" / location).rglob(key.rsplit("/", 1)[-1]))


def object_copies(service: Service) -> list[ObjectCopy]:
    with service.database.read() as session:
        return list(session.scalars(select(ObjectCopy).order_by(ObjectCopy.store_key, ObjectCopy.location)))


def incidents(service: Service) -> list[Incident]:
    with service.database.read() as session:
        return list(session.scalars(select(Incident).order_by(Incident.opened_at)))


def test_each_copy_of_each_object_is_read_again(archive: Archive, dossiers: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    add_rendition(archive.service, record_id)
    a_certified_copy(archive, record_id)
    at = clock.unique_now()
    for location in ("kho-1", "kho-2"):
        minutes = check_location(archive.service, location, FixityPlan(), at=at)
        assert (minutes.intact, minutes.ended_because) == (3, "all-read")
    rows = object_copies(archive.service)
    assert [(row.kind, row.location) for row in rows] == [
        ("certified-copy", "kho-1"),
        ("certified-copy", "kho-2"),
        ("rendition", "kho-1"),
        ("rendition", "kho-2"),
    ]
    assert all(row.verified_at >= at for row in rows)


@pytest.mark.parametrize("kind", ["rendition", "certified-copy"])
@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_harm_is_repaired_from_the_other_location(archive: Archive, dossiers: Path, kind: str, harm: str) -> None:
    service = archive.service
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    add_rendition(service, record_id) if kind == "rendition" else a_certified_copy(archive, record_id)
    check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
    (row,) = [row for row in object_copies(service) if row.location == "kho-2"]
    path = stored(service, "kho-2", row.store_key)
    good = path.read_bytes()
    if harm == "flip":
        flip(path, 20)
    else:
        path.chmod(0o600)
        path.unlink()
    minutes = check_location(service, "kho-2", FixityPlan(), at=clock.unique_now())
    assert (minutes.damaged, minutes.missing) == ((1, 0) if harm == "flip" else (0, 1))
    archive.work()
    assert path.read_bytes() == good
    (incident,) = incidents(service)
    assert (incident.status, incident.source_location, incident.copy_id) == ("REPAIRED", "kho-1", None)
    assert repair_object(service, f"{kind}:{row.subject_id}") == []


def test_a_rebuild_brings_them_back_with_their_incident(archive: Archive, dossiers: Path, tmp_path: Path) -> None:
    service = archive.service
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    key = add_rendition(service, record_id)
    a_certified_copy(archive, record_id)
    flip(stored(service, "kho-1", key), 20)
    check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
    archive.work()
    seal_log(service, at=clock.unique_now())
    for store in service.stores.values():
        assert check_store(store, known_keys(service.settings), at=clock.now()).problems == []
    target = Database(f"sqlite:///{tmp_path / 'rebuilt.db'}")
    report = rebuild(service.stores["kho-2"], target, known_keys(service.settings), at=clock.unique_now())
    with service.database.read() as present, target.read() as rebuilt:
        expected = table_hashes(present, up_to_seq=report.last_seq)
        assert table_hashes(rebuilt, up_to_seq=report.last_seq) == expected
        assert {expected[name][:2] for name in ("rendition", "certified_copy", "incident")} == {"1 "}
    again = Service(settings=service.settings, database=target)
    for location in ("kho-1", "kho-2"):
        assert check_location(again, location, FixityPlan(), at=clock.unique_now()).intact == 3
    target.close()


def test_a_flipped_byte_of_either_is_reported_by_check_store(archive: Archive, dossiers: Path) -> None:
    service = archive.service
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    add_rendition(service, record_id)
    a_certified_copy(archive, record_id)
    check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
    seal_log(service, at=clock.unique_now())
    for row in object_copies(service):
        path = stored(service, row.location, row.store_key)
        flip(path, row.size_bytes // 2)
        found = check_store(service.stores[row.location], known_keys(service.settings), at=clock.now())
        assert [problem.key for problem in found.problems] == [row.store_key]
        flip(path, row.size_bytes // 2)


def test_a_copy_that_stays_silent_becomes_an_incident_and_ends_with_the_first_read(
    archive: Archive, dossiers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = archive.service
    archive.archive(minimal_dossier(dossiers).folder)

    def silent(*_arguments: object, **_named: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(FilesystemStore, "open", silent)
        for number in range(1, 5):
            minutes = check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
            assert minutes.not_checked == 1
            assert len(incidents(service)) == (1 if number >= 3 else 0)
    (incident,) = incidents(service)
    assert (incident.found, incident.status) == ("UNREADABLE", "OPEN")
    assert "away" in incident.notice
    with service.database.read() as session:
        assert next(iter(location_health(session))).open_incidents == 1
        assert session.scalars(select(CopySilence.runs)).one() == 4
    check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
    (incident,) = incidents(service)
    assert incident.status == "RECOVERED"
    with service.database.read() as session:
        assert session.scalars(select(CopySilence)).all() == []
        kinds = [event.type for event in session.scalars(select(Event).where(Event.subject_kind == "incident"))]
    assert kinds == [EventType.INCIDENT_OPENED, EventType.INCIDENT_RECOVERED]


def test_a_long_silence_is_one_too(archive: Archive, dossiers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = archive.service
    archive.archive(minimal_dossier(dossiers).folder)

    def silent(*_arguments: object, **_named: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(FilesystemStore, "open", silent)
    check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
    with service.database.write() as session:
        row = session.scalars(select(CopySilence)).one()
        row.since -= timedelta(days=8)
    check_location(service, "kho-1", FixityPlan(), at=clock.unique_now())
    assert [incident.found for incident in incidents(service)] == ["UNREADABLE"]
