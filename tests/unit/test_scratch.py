"""Temporary folders: nothing remains of a process that ends, by itself or by `kill -9`, and nothing of a living one is touched."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive_service.formats.identify import identify, load
from archive_service.formats.sandbox import LimitedWorker, Outcome
from archive_service.scratch import PREFIX, Scratch, process_scratch

LIMIT_S = 60.0
_HOLDS = "import sys,pathlib,archive_service.scratch as s\nheld=s.Scratch(within=pathlib.Path(sys.argv[1]))\n(held.path/'x').write_text('x')\n"
_WAITS = "print(held.path, flush=True)\nsys.stdin.read()\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, for this test and the processes it starts."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def holder(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a folder and waits."""
    command = [sys.executable, "-c", _HOLDS + _WAITS, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert Path(process.stdout.readline().strip()).parent == place
        yield process
        process.kill()


def left(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.name.startswith(PREFIX))


def test_it_goes_with_the_block_and_with_what_is_in_it(place: Path) -> None:
    with Scratch() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x", encoding="utf-8")
        assert left(place) == [folder.name]
        assert folder.stat().st_mode & 0o077 == 0
    assert left(place) == []


def test_what_nobody_refers_to_any_more_goes(place: Path) -> None:
    forgotten = Scratch()
    assert forgotten.path.is_dir()
    del forgotten
    assert left(place) == []


def test_a_killed_process_leaves_it_to_the_next(place: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    assert len(left(place)) == 1
    with Scratch() as folder:
        assert left(place) == [folder.name]


def test_a_living_process_keeps_it(place: Path, holder: subprocess.Popen[str]) -> None:
    kept = left(place)
    with Scratch():
        assert len(left(place)) == 2
    assert left(place) == kept
    assert (place / kept[0] / "x").read_text(encoding="utf-8") == "x"
    holder.communicate("")
    assert left(place) == [], "a normal end leaves nothing"


def test_what_is_not_ours_stays(place: Path, tmp_path: Path) -> None:
    (place / f"{PREFIX}file").write_text("x", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    (place / f"{PREFIX}link").symlink_to(tmp_path / "elsewhere")
    (place / "other").mkdir()
    with Scratch():
        pass
    assert {path.name for path in place.iterdir()} == {f"{PREFIX}file", f"{PREFIX}link", "other"}


def test_many_processes_at_once_keep_their_own(place: Path) -> None:
    script = (
        _HOLDS + "import time,os\n"
        "for _ in range(30):\n"
        "    with s.Scratch(within=pathlib.Path(sys.argv[1]), prefix='archive-scratch-') as f:\n"
        "        s._swept.clear()\n"
        "        (f/'y').write_text('y')\n"
        "assert (held.path/'x').read_text() == 'x'\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(place)]) for _ in range(4)]
    assert [process.wait(LIMIT_S) for process in running] == [0, 0, 0, 0]
    assert left(place) == []


# ------------------------------------------------------------------ processes that check files


def _identify_one(folder: Path) -> str:
    """In a process: identifies a file under a name that needs an alias, which makes the folder."""
    path = folder / "staged"
    path.write_text("mã,tên\n", encoding="utf-8")
    assert identify(path, name="a.csv").mime.startswith("text/")
    return str(process_scratch())


def _identify_and_stay(folder: Path) -> None:
    _identify_one(folder)
    signal.raise_signal(signal.SIGKILL)


def test_a_multiprocessing_process_that_ends_leaves_nothing(place: Path, tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_identify_one, args=(tmp_path,))
    process.start()
    process.join(LIMIT_S)
    assert process.exitcode == 0
    assert left(place) == []


def test_a_checking_process_that_is_killed_leaves_nothing(place: Path, tmp_path: Path) -> None:
    worker = LimitedWorker(memory_limit_bytes=1 << 30, prepare=load)
    found = worker.run(_identify_one, (tmp_path,), time_limit_s=LIMIT_S)
    assert found.value is not None
    assert left(place) == [Path(found.value).name]
    killed = worker.run(_identify_and_stay, (tmp_path,), time_limit_s=LIMIT_S)
    assert (killed.outcome, killed.reason) == (Outcome.CRASHED, "SIGKILL")
    assert left(place) == []
    assert worker.run(_identify_one, (tmp_path,), time_limit_s=LIMIT_S).outcome is Outcome.DONE
    worker.close()
    assert list(place.iterdir()) == []


def test_libraries_of_a_checking_process_leave_nothing(place: Path) -> None:
    worker = LimitedWorker(memory_limit_bytes=1 << 30, prepare=load)
    made = worker.run(tempfile.mkdtemp, (), time_limit_s=LIMIT_S)
    assert made.value is not None
    assert Path(made.value).parent.parent == place
    worker.close()
    assert list(place.iterdir()) == []


def test_a_killed_service_leaves_its_checkers_folder_to_the_next(place: Path, tmp_path: Path) -> None:
    """Everything is killed at once, checking process and the one that owns its folder."""
    script = (
        "import os,pathlib,signal,sys\n"
        "from archive_service.formats.identify import load\n"
        "from archive_service.formats.sandbox import LimitedWorker\n"
        "from tests.unit.test_scratch import _identify_one\n"
        "if __name__ == '__main__':\n"
        "    worker = LimitedWorker(memory_limit_bytes=1 << 30, prepare=load)\n"
        "    worker.run(_identify_one, (pathlib.Path(sys.argv[1]),), time_limit_s=60)\n"
        "    os.killpg(0, signal.SIGKILL)\n"
    )
    program = tmp_path / "program.py"
    program.write_text(script, encoding="utf-8")
    root = str(Path(__file__).parents[2])
    process = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        start_new_session=True,
        check=False,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert process.returncode == -signal.SIGKILL
    assert len(left(place)) == 1
    with Scratch() as folder:
        assert left(place) == [folder.name]
    assert left(place) == []
