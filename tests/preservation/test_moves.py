"""Locations come and go: filled, retired, put back, emptied, with progress, pause and a way back, and nothing lost on the way (R124)."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.errors import Conflict, NotFound
from archive_service.models import (
    Aip,
    AipCopy,
    Event,
    EventType,
    Incident,
    LocationState,
    MoveState,
    RoleName,
    StorageMove,
)
from archive_service.preservation import emptying, moves
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.seal import seal_log
from archive_service.samples.small import minimal_dossier
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import StoreKey, store_key
from tests.pipeline import Archive
from tests.preservation.places import (
    AGENT,
    copies_of,
    events_about,
    folder,
    history,
    is_intact,
    later,
    layout_file,
    opened_with,
    run,
)
from tests.preservation.test_fixity import flip, stored_file


@pytest.fixture
def three(archive: Archive, dossiers: Path, tmp_path: Path) -> Iterator[tuple[Archive, list[str]]]:
    """Three records stored at two locations, then opened with a third one that the policy names."""
    ids = [archive.archive(minimal_dossier(dossiers, code=f"000.00.16.H56-250314-000{n}").folder) for n in range(3)]
    data_dir = archive.service.settings.data_dir
    places = [folder(data_dir, name) for name in ("kho-1", "kho-2", "kho-3")]
    with opened_with(archive, layout_file(tmp_path / "three.toml", places)) as opened:
        yield opened, ids


def add(archive: Archive, name: str = "kho-3") -> StorageMove:
    return moves.add_location(archive.service, name, agent=AGENT, at=clock.unique_now())


def retire(archive: Archive, name: str = "kho-1") -> StorageMove:
    return moves.retire_location(archive.service, name, agent=AGENT, at=clock.unique_now())


def state(archive: Archive, name: str) -> LocationState:
    return moves.location(archive.service, name).state


def test_a_location_that_is_added_is_filled_from_copies_that_prove_right(three: tuple[Archive, list[str]]) -> None:
    archive, ids = three
    assert moves.location(archive.service, "kho-3").lacking == 3
    move = add(archive)
    assert (move.total, state(archive, "kho-3")) == (3, LocationState.FILLING)
    done = run(archive, move)
    assert (done.state, done.done, done.left_over, done.done_bytes) == (MoveState.DONE, 3, 0, move.total_bytes)
    assert state(archive, "kho-3") is LocationState.ACTIVE
    for record_id in ids:
        assert is_intact(archive, record_id, "kho-3")
        (event,) = events_about(archive, record_id, "record.copy-added")
        assert event.detail["location"] == "kho-3"
    assert history(archive, "kho-3") == ["location.added", "location.filled"]
    seen = moves.MoveProgress(move=done)
    assert seen.left_s == 0
    assert seen.bytes_per_s is not None
    assert moves.location(archive.service, "kho-3").lacking == 0


def test_what_is_stored_while_a_location_fills_goes_there_at_once(
    three: tuple[Archive, list[str]], dossiers: Path
) -> None:
    archive, _ = three
    move = add(archive)
    fresh = archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0009").folder)
    assert set(copies_of(archive, fresh)) == {"kho-1", "kho-2", "kho-3"}
    assert run(archive, move).state is MoveState.DONE


def test_a_damaged_source_is_passed_over_and_repaired(three: tuple[Archive, list[str]]) -> None:
    archive, ids = three
    flip(stored_file(archive.service, ids[0], "kho-1"))
    assert run(archive, add(archive)).state is MoveState.DONE
    assert is_intact(archive, ids[0], "kho-3")
    assert not is_intact(archive, ids[0], "kho-1")


def test_with_no_good_source_nothing_is_copied_and_the_rest_goes_on(three: tuple[Archive, list[str]]) -> None:
    archive, ids = three
    for name in ("kho-1", "kho-2"):
        flip(stored_file(archive.service, ids[0], name))
    move = run(archive, add(archive))
    assert (move.state, move.done) == (MoveState.RUNNING, 2)
    assert "DIGEST_MISMATCH" in move.problems[0]["reason"]
    assert "kho-3" not in copies_of(archive, ids[0])
    assert state(archive, "kho-3") is LocationState.FILLING, "not said to be filled"
    archive.work()
    with archive.service.database.read() as session:
        assert set(session.scalars(select(Incident.status))) == {"NO_GOOD_COPY"}


def test_repeating_every_step_changes_nothing(three: tuple[Archive, list[str]]) -> None:
    archive, _ = three
    first = add(archive)
    assert add(archive).id == first.id
    run(archive, first)
    run(archive, first)
    with archive.service.database.read() as session:
        assert session.scalar(select(func.count()).select_from(AipCopy).where(AipCopy.location == "kho-3")) == 3
        query = select(func.count()).select_from(Event).where(Event.type == EventType.RECORD_COPY_ADDED)
        assert session.scalar(query) == 3


def test_two_workers_on_one_move_note_everything_once(three: tuple[Archive, list[str]]) -> None:
    archive, ids = three
    move = add(archive)
    start = threading.Barrier(2)

    def work(_number: int) -> StorageMove:
        start.wait()
        return run(archive, move)

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(work, range(2)))
    done = moves.find_move(archive.service, move.id)
    assert (done.state, done.done) == (MoveState.DONE, 3), ended
    assert history(archive, "kho-3") == ["location.added", "location.filled"]
    for record_id in ids:
        assert len(events_about(archive, record_id, "record.copy-added")) == 1


def test_a_paused_move_waits_and_goes_on(three: tuple[Archive, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    archive, _ = three
    monkeypatch.setattr(moves, "BATCH", 1)
    move = add(archive)
    path = f"storage/moves/{move.id}"

    def pause(_move: StorageMove) -> None:
        assert archive.call("POST", f"{path}/pause", role=RoleName.ADMIN).json()["state"] == "PAUSED"

    paused = run(archive, move, progress=pause)
    assert (paused.state, paused.done) == (MoveState.PAUSED, 1)
    archive.work()
    assert archive.call("GET", path, role=RoleName.AUDITOR).json()["done"] == 1, "no worker touches a paused move"
    assert archive.call("POST", f"{path}/resume", role=RoleName.ADMIN).status_code == 200
    archive.work()
    assert moves.find_move(archive.service, move.id).state is MoveState.DONE
    assert history(archive, "kho-3")[1:3] == ["location.move-paused", "location.move-resumed"]


def test_a_retired_location_is_secured_first_and_keeps_its_bytes(
    three: tuple[Archive, list[str]], dossiers: Path
) -> None:
    archive, ids = three
    move = retire(archive)
    assert state(archive, "kho-1") is LocationState.RETIRING
    fresh = archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0009").folder)
    assert set(copies_of(archive, fresh)) == {"kho-2", "kho-3"}, "nothing new goes there"
    done = run(archive, move)
    assert (done.state, state(archive, "kho-1")) == (MoveState.DONE, LocationState.RETIRED)
    for record_id in ids:
        copies = copies_of(archive, record_id)
        assert copies["kho-2"].verified_at >= move.started_at, "read back since"
        assert all(is_intact(archive, record_id, name) for name in ("kho-1", "kho-2", "kho-3"))
    view = moves.location(archive.service, "kho-1")
    assert view.keep_until is not None
    assert (view.keep_until - clock.now()).days >= 91
    with pytest.raises(Conflict, match="way back"):
        moves.empty_location(archive.service, "kho-1", agent=AGENT, at=clock.unique_now())
    assert check_location(archive.service, "kho-1", FixityPlan(), at=clock.unique_now()).intact == 3, "still watched"


def test_a_location_cannot_go_when_too_few_are_left(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    with pytest.raises(Conflict, match="2 are needed") as caught:
        retire(archive)
    assert caught.value.fields["problems"]
    assert state(archive, "kho-1") is LocationState.ACTIVE
    with pytest.raises(NotFound):
        retire(archive, "kho-9")
    with pytest.raises(NotFound):
        add(archive, "kho-9")


def test_the_way_back_copies_only_what_came_since(
    three: tuple[Archive, list[str]], dossiers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, ids = three
    run(archive, retire(archive))
    fresh = archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0009").folder)
    written: list[str] = []
    put = FilesystemStore.put

    def counting(self: FilesystemStore, key: object, *args: object, **rest: object) -> object:
        written.append(f"{self.name} {key}")
        return put(self, key, *args, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(FilesystemStore, "put", counting)
    done = run(archive, moves.put_back(archive.service, "kho-1", agent=AGENT, at=clock.unique_now()))
    assert (done.state, state(archive, "kho-1"), len(written)) == (MoveState.DONE, LocationState.ACTIVE, 1)
    assert is_intact(archive, fresh, "kho-1")
    assert all(is_intact(archive, record_id, "kho-1") for record_id in ids)
    assert history(archive, "kho-1") == [
        "location.retirement-begun",
        "location.retired",
        "location.put-back",
        "location.filled",
    ]


def test_changing_ones_mind_stops_the_move(three: tuple[Archive, list[str]]) -> None:
    archive, _ = three
    move = retire(archive)
    back = moves.put_back(archive.service, "kho-1", agent=AGENT, at=clock.unique_now())
    assert run(archive, move).state is MoveState.STOPPED
    assert run(archive, back).state is MoveState.DONE
    assert state(archive, "kho-1") is LocationState.ACTIVE


def test_emptying_removes_reads_back_absence_and_keeps_what_is_held_or_locked(
    three: tuple[Archive, list[str]],
) -> None:
    archive, ids = three
    run(archive, retire(archive))
    body = {
        "agency": _agency(archive, ids[0]),
        "reason": "điều tra",
        "legal_basis": "QĐ 1/2026",
        "record_ids": [ids[0]],
    }
    assert archive.call("POST", "holds", role=RoleName.RECORDS_HEAD, json=body).status_code == 201
    with archive.service.database.read() as session:
        key = _key(session, ids[1])
    archive.service.stores["kho-1"].retain_until(key, later(10_000))
    move = moves.empty_location(archive.service, "kho-1", agent=AGENT, at=later(93))
    done = run(archive, move)
    assert (done.state, done.done, done.left_over) == (MoveState.DONE, 1, 2)
    reasons = " ".join(problem["reason"] for problem in done.problems)
    assert "RECORD_HELD" in reasons or "legal hold" in reasons
    assert "locked until" in reasons
    states = [copies_of(archive, record_id)["kho-1"].state for record_id in ids]
    assert states == ["INTACT", "INTACT", "REMOVED"]
    with archive.service.database.read() as session:
        assert archive.service.stores["kho-1"].versions(_key(session, ids[2])) == ()
    (event,) = events_about(archive, ids[2], "record.copy-removed")
    assert event.detail["absence_read_back_at"]
    assert state(archive, "kho-1") is LocationState.RETIRED, "two copies stay, so it is not empty"
    assert is_intact(archive, ids[2], "kho-2")


def _agency(archive: Archive, record_id: str) -> str:
    return str(archive.call("GET", f"records/{record_id}", role=RoleName.ARCHIVIST).json()["archiving_agency"])


def _key(session: Session, record_id: str) -> StoreKey:
    return store_key(session.scalars(select(Aip.store_key).where(Aip.record_id == UUID(record_id))).one())


def test_nothing_is_removed_without_a_copy_that_proves_right_elsewhere(three: tuple[Archive, list[str]]) -> None:
    archive, ids = three
    run(archive, retire(archive))
    for name in ("kho-2", "kho-3"):
        flip(stored_file(archive.service, ids[0], name))
    done = run(archive, moves.empty_location(archive.service, "kho-1", agent=AGENT, at=later(93)))
    assert (done.done, done.left_over) == (2, 1)
    assert is_intact(archive, ids[0], "kho-1"), "the last good copy"


def test_an_emptied_location_is_done_with_and_can_be_added_again(three: tuple[Archive, list[str]]) -> None:
    archive, ids = three
    run(archive, retire(archive))
    done = run(archive, moves.empty_location(archive.service, "kho-1", agent=AGENT, at=later(93)))
    assert (done.done, done.left_over, state(archive, "kho-1")) == (3, 0, LocationState.EMPTIED)
    assert history(archive, "kho-1")[-1] == "location.emptied"
    assert not list(archive.service.stores["kho-1"].list("aip/"))
    run(archive, add(archive, "kho-1"))
    assert all(is_intact(archive, record_id, "kho-1") for record_id in ids)


def test_what_cannot_be_read_back_as_gone_is_not_said_to_be_removed(
    three: tuple[Archive, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that answers "deleted" and keeps the object."""
    archive, ids = three
    run(archive, retire(archive))
    monkeypatch.setattr(FilesystemStore, "delete", lambda *_args, **_rest: None)
    done = run(archive, moves.empty_location(archive.service, "kho-1", agent=AGENT, at=later(93)))
    assert (done.done, done.left_over) == (0, 3)
    assert all("still there" in problem["reason"] for problem in done.problems)
    assert {copies_of(archive, record_id)["kho-1"].state for record_id in ids} == {"REMOVING"}
    assert not [event for record_id in ids for event in events_about(archive, record_id, "record.copy-removed")]


def test_lagging_copies_are_made_by_a_job_after_stored(archive: Archive, dossiers: Path, tmp_path: Path) -> None:
    data_dir = archive.service.settings.data_dir
    places = [folder(data_dir, name) for name in ("kho-1", "kho-2", "kho-3")]
    layout = layout_file(tmp_path / "lag.toml", places, verified_before_stored=["kho-1"], lagging=["kho-3"])
    with opened_with(archive, layout) as opened:
        submission_id = opened.push(minimal_dossier(dossiers).folder)
        opened.work()
        opened.decide(submission_id)
        opened.work(limit=1)
        record_id = opened.submission(submission_id)["record_id"]
        assert list(copies_of(opened, record_id)) == ["kho-1"], "said to be stored with the copy that must be verified"
        opened.work()
        assert set(copies_of(opened, record_id)) == {"kho-1", "kho-2", "kho-3"}
        assert is_intact(opened, record_id, "kho-3")


def test_a_retired_location_gets_no_more_seals_and_catches_up_when_back(three: tuple[Archive, list[str]]) -> None:
    archive, _ = three
    seal_log(archive.service, at=clock.unique_now())
    run(archive, retire(archive))
    (made,) = seal_log(archive.service, at=clock.unique_now())
    assert made.ordinal == 2
    assert len(list(archive.service.stores["kho-1"].list("log/seals/"))) == 1
    run(archive, moves.put_back(archive.service, "kho-1", agent=AGENT, at=clock.unique_now()))
    seal_log(archive.service, at=clock.unique_now())
    counts = {len(list(archive.service.stores[place].list("log/seals/"))) for place in ("kho-1", "kho-2", "kho-3")}
    assert len(counts) == 1


def test_the_database_itself_refuses_to_remove_a_held_copy(three: tuple[Archive, list[str]]) -> None:
    archive, ids = three
    body = {
        "agency": _agency(archive, ids[0]),
        "reason": "khiếu nại",
        "legal_basis": "QĐ 2/2026",
        "record_ids": [ids[0]],
    }
    assert archive.call("POST", "holds", role=RoleName.RECORDS_HEAD, json=body).status_code == 201
    copy_id = copies_of(archive, ids[0])["kho-1"].id
    for statement in ("DELETE FROM aip_copy WHERE id = :id", "UPDATE aip_copy SET state = 'REMOVING' WHERE id = :id"):
        value = copy_id.hex if archive.service.database.is_sqlite else copy_id
        with pytest.raises(Exception, match="legal hold"), archive.service.database.write() as session:
            session.execute(text(statement), {"id": value})


def test_a_clock_that_steps_back_does_not_make_a_move_go_round(
    three: tuple[Archive, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, _ = three
    move = retire(archive)
    back = later(-1)
    monkeypatch.setattr(clock, "now", lambda: back)
    assert run(archive, move).state is MoveState.DONE


def test_the_api_shows_locations_and_lets_administrators_act(three: tuple[Archive, list[str]]) -> None:
    archive, _ = three
    denied = archive.call("POST", "storage/locations/kho-3/add", role=RoleName.ARCHIVIST)
    assert denied.status_code == 403
    assert archive.call("POST", "storage/locations/kho-3/paint", role=RoleName.ADMIN).status_code == 404
    begun = archive.call("POST", "storage/locations/kho-3/add", role=RoleName.ADMIN)
    assert (begun.status_code, begun.json()["total"]) == (202, 3)
    archive.work()
    listed = archive.call("GET", "storage/locations", role=RoleName.AUDITOR).json()["items"]
    assert [(item["name"], item["state"], item["copies"]) for item in listed] == [
        ("kho-1", "ACTIVE", 3),
        ("kho-2", "ACTIVE", 3),
        ("kho-3", "ACTIVE", 3),
    ]
    one = archive.call("GET", "storage/locations/kho-3", role=RoleName.AUDITOR).json()
    assert (one["move"]["done"], one["move"]["total"], one["move"]["left_s"]) == (3, 3, 0)
    told = archive.call("GET", "storage/locations/kho-3/history", role=RoleName.AUDITOR).json()["items"]
    assert [event["type"] for event in told] == ["location.added", "location.filled"]


def test_emptying_reads_a_copy_elsewhere_before_each_removal() -> None:
    """The order in the module's first lines is the order of its calls."""
    source = Path(emptying.__file__).read_text(encoding="utf-8")
    body = source[source.index("def _remove_package") :]
    calls = ("_require_copy_elsewhere(", "_require_unlocked(", "_mark_removing(", "_delete(", "REMOVED")
    places = [body.index(call) for call in calls]
    assert places == sorted(places)
