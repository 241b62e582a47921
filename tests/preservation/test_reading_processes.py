"""Reading with processes of their own: results in order, and no process outlives who asked."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from archive_service import clock
from archive_service.preservation.reading_processes import UNIT_BYTES, ReadingEnded, Unit, read_units, units
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import Store, StoredObject, StoreKey


def item(name: str, size_bytes: int = 1) -> StoredObject:
    return StoredObject(
        key=StoreKey(name), size_bytes=size_bytes, version_id=None, sha256=None, modified_at=clock.now()
    )


def name_and_process(_store: Store, unit: Unit) -> tuple[str, int]:
    """Takes longer for the first than for those behind it."""
    time.sleep(0.3 if unit[0].key == "a0" else 0)
    return unit[0].key, os.getpid()


def be_killed(_store: Store, _unit: Unit) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(_store: Store, _unit: Unit) -> None:
    os.write(1, f"{os.getpid()}\n".encode())
    time.sleep(60)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilesystemStore:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
    return FilesystemStore("kho-1", tmp_path)


def test_a_unit_is_as_many_as_asked_for_or_as_large_as_one_process_takes() -> None:
    listed = [item("a"), item("b"), item("c"), item("d", UNIT_BYTES * 2), item("e", UNIT_BYTES), item("f")]
    assert [[each.key for each in unit] for unit in units(listed, 2)] == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]


def test_results_come_in_order_from_other_processes(store: FilesystemStore) -> None:
    wanted = [[item(f"a{number}")] for number in range(12)]
    found = [(unit[0].key, *result) for unit, result in read_units(name_and_process, store, wanted)]
    assert [row[:2] for row in found] == [(f"a{number}", f"a{number}") for number in range(12)]
    assert os.getpid() not in {row[2] for row in found}


def test_a_single_unit_is_read_here(store: FilesystemStore) -> None:
    ((_, (_, process)),) = read_units(name_and_process, store, [[item("a1")]])
    assert process == os.getpid()


@pytest.mark.parametrize("pause_s", [0, 1.5])
def test_processes_that_are_killed_are_said_whenever_it_is_noticed(store: FilesystemStore, pause_s: float) -> None:
    """At a result, or when units are given to processes that have ended already."""

    def wanted() -> Iterator[Unit]:
        yield from ([item("a0")], [item("a1")])
        time.sleep(pause_s)
        yield [item("a2")]

    with pytest.raises(ReadingEnded, match="a0") as caught:
        list(read_units(be_killed, store, wanted()))
    assert caught.value.fields == {"key": "a0"}


def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys\n"
        "from tests.preservation.test_reading_processes import item, sleep\n"
        "from archive_service.preservation.reading_processes import read_units\n"
        "from archive_service.storage.filesystem import FilesystemStore\n"
        "os.sched_getaffinity = lambda _process: {0, 1}\n"
        "if __name__ == '__main__':\n"
        "    store = FilesystemStore('kho-1', pathlib.Path(sys.argv[1]))\n"
        "    list(read_units(sleep, store, [[item('a')], [item('b')]]))\n"
    )
    program = tmp_path / "program.py"
    program.write_text(script, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path / "store")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    readers = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(readers, timeout=10)
    assert alive == []
