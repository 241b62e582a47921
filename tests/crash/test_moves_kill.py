"""kill -9 before and after every commit and every write or deletion at a location, while one is filled, retired, put back and emptied.

As in `test_preservation_kill`: the process is really killed, each time on a fresh copy of the same archive. At any moment the copies that
count are there and right; done again, the work ends as if nothing had happened, and each step is told once.
"""

import hashlib
from collections import Counter
from pathlib import Path

from sqlalchemy import select

from archive_service import clock
from archive_service.models import Aip, AipCopy, Event, EventType, LocationState, MoveState, StorageMove
from archive_service.preservation import moves
from archive_service.service import Service
from tests.crash.test_preservation_kill import every_step, opened, world  # noqa: F401 - a fixture
from tests.preservation.places import AGENT, folder, later, layout_file


def widened(service: Service) -> Service:
    """Returns the service with a third location in its policy."""
    data_dir = service.settings.data_dir
    places = [folder(data_dir, name) for name in ("kho-1", "kho-2", "kho-3")]
    layout = layout_file(data_dir / "three.toml", places)
    return Service(settings=service.settings.model_copy(update={"locations": layout}), database=service.database)


def state(service: Service, name: str) -> LocationState:
    return moves.location(service, name).state


def fill(service: Service) -> StorageMove | None:
    wide = widened(service)
    if moves.location(wide, "kho-3").since is not None and state(wide, "kho-3") is LocationState.ACTIVE:
        return None
    move = moves.add_location(wide, "kho-3", agent=AGENT, at=clock.unique_now())
    return moves.run_move(wide, move.id, agent=AGENT)


def retire(service: Service) -> StorageMove | None:
    wide = widened(service)
    if state(wide, "kho-1") is LocationState.RETIRED:
        return None
    move = moves.retire_location(wide, "kho-1", agent=AGENT, at=clock.unique_now())
    return moves.run_move(wide, move.id, agent=AGENT)


def empty(service: Service) -> StorageMove | None:
    wide = widened(service)
    if state(wide, "kho-1") is LocationState.EMPTIED:
        return None
    move = moves.empty_location(wide, "kho-1", agent=AGENT, at=later(93))
    return moves.run_move(wide, move.id, agent=AGENT)


def right_copies(data_dir: Path, service: Service, name: str) -> int:
    """Returns how many packages a location's folder holds with the right bytes."""
    with service.database.read() as session:
        digests = set(session.scalars(select(Aip.sha256)))
    files = (path for path in (data_dir / "storage" / name / "objects" / "aip").rglob("*.zip") if path.is_file())
    return sum(hashlib.sha256(path.read_bytes()).hexdigest() in digests for path in files)


def told(service: Service, kind: EventType) -> Counter[str]:
    with service.database.read() as session:
        return Counter(session.scalars(select(Event.subject_id).where(Event.type == kind)))


def require_ended(done: StorageMove | None, step: int) -> None:
    assert done is None or (done.state, done.left_over) == (MoveState.DONE, 0), (step, done and done.problems)


def test_filling_again_ends_filled(world: Path, tmp_path: Path) -> None:  # noqa: F811
    for step, data_dir in every_step(world, tmp_path, fill):
        with opened(data_dir) as service:
            assert right_copies(data_dir, service, "kho-1") == right_copies(data_dir, service, "kho-2") == 2
            with service.database.read() as session:
                noted = len(session.scalars(select(AipCopy).where(AipCopy.location == "kho-3")).all())
            assert right_copies(data_dir, service, "kho-3") >= noted, "no row before its bytes were read back"
            require_ended(fill(service), step)
            assert right_copies(data_dir, service, "kho-3") == 2
            assert set(told(service, EventType.RECORD_COPY_ADDED).values()) == {1}
            assert told(service, EventType.LOCATION_ADDED) == {"kho-3": 1}
            assert told(service, EventType.LOCATION_FILLED) == {"kho-3": 1}


def test_retiring_again_ends_retired(world: Path, tmp_path: Path) -> None:  # noqa: F811
    with opened(world) as service:
        fill(service)
    for step, data_dir in every_step(world, tmp_path, retire):
        with opened(data_dir) as service:
            require_ended(retire(service), step)
            assert state(widened(service), "kho-1") is LocationState.RETIRED
            assert {right_copies(data_dir, service, name) for name in ("kho-1", "kho-2", "kho-3")} == {2}
            assert told(service, EventType.LOCATION_RETIRED) == {"kho-1": 1}


def test_emptying_again_ends_emptied_and_touches_nothing_else(world: Path, tmp_path: Path) -> None:  # noqa: F811
    with opened(world) as service:
        fill(service)
        retire(service)
    for step, data_dir in every_step(world, tmp_path, empty):
        with opened(data_dir) as service:
            assert right_copies(data_dir, service, "kho-2") == right_copies(data_dir, service, "kho-3") == 2
            gone = 2 - right_copies(data_dir, service, "kho-1")
            said = sum(told(service, EventType.RECORD_COPY_REMOVED).values())
            assert said <= gone, "nothing is said to be removed that is there"
            require_ended(empty(service), step)
            assert right_copies(data_dir, service, "kho-1") == 0
            assert right_copies(data_dir, service, "kho-2") == right_copies(data_dir, service, "kho-3") == 2
            assert sorted(told(service, EventType.RECORD_COPY_REMOVED).values()) == [1, 1]
            assert told(service, EventType.LOCATION_EMPTIED) == {"kho-1": 1}
            with service.database.read() as session:
                query = select(AipCopy.state).where(AipCopy.location == "kho-1")
                assert set(session.scalars(query)) == {"REMOVED"}
