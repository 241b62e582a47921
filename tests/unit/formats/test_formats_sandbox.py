"""Work on one file in a process of its own: time and memory end it, never us."""

import os
import signal
import struct
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from archive_service.formats.limits import Limits
from archive_service.formats.policy import DEFAULT_POLICY, load_policy
from archive_service.formats.pool import FormatPool
from archive_service.formats.sandbox import LimitedWorker, Outcome, run_command, run_limited
from tests.unit.formats import format_files as files

MIB = 1024 * 1024
POLICY = load_policy(DEFAULT_POLICY, on=date(2026, 1, 1))


def double(number: int) -> int:
    return number * 2


def hang() -> None:
    while True:
        pass


def eat_memory() -> int:
    return len(bytearray(2000 * MIB))


def die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def complain() -> None:
    raise ValueError("không đọc được")


def limited(func, *args, seconds: float = 20.0):
    return run_limited(func, args, time_limit_s=seconds, memory_limit_bytes=256 * MIB)


def test_value_comes_back():
    result = limited(double, 21)
    assert (result.outcome, result.value) == (Outcome.DONE, 42)


def test_endless_loop_is_stopped():
    started = time.monotonic()
    assert limited(hang, seconds=1.0).outcome is Outcome.TIMEOUT
    assert time.monotonic() - started < 60  # start of a process on a machine under load included


def test_memory_is_bounded():
    result = limited(eat_memory)
    assert result.outcome is Outcome.RAISED
    assert "MemoryError" in result.reason


def test_crash_is_told():
    result = limited(die)
    assert (result.outcome, result.reason) == (Outcome.CRASHED, "SIGSEGV")


def test_exception_is_told():
    result = limited(complain)
    assert result.outcome is Outcome.RAISED
    assert result.reason == "ValueError: không đọc được"


def test_worker_goes_on_after_a_crash():
    worker = LimitedWorker(memory_limit_bytes=256 * MIB)
    try:
        assert worker.run(die, (), time_limit_s=20).outcome is Outcome.CRASHED
        assert worker.run(double, (4,), time_limit_s=20).value == 8
    finally:
        worker.close()


def test_command_group_is_killed(tmp_path):
    late = tmp_path / "late"
    child = tmp_path / "child.py"
    child.write_text(f"import pathlib, time\ntime.sleep(3)\npathlib.Path({str(late)!r}).touch()\n")
    script = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, {str(child)!r}])\ntime.sleep(60)\n"
    done = run_command([sys.executable, "-c", script], time_limit_s=1.5, output_bytes=10)
    assert done.reason == "stopped after 1.5 s"
    time.sleep(3.5)
    assert not late.exists()


def test_command_output_is_bounded():
    done = run_command([sys.executable, "-c", "print('x' * 10_000_000)"], time_limit_s=20, output_bytes=1000)
    assert (done.code, len(done.output), done.reason) == (0, 1000, "")


def test_missing_command_is_a_reason():
    assert run_command(["/nonexistent/verapdf"], time_limit_s=1, output_bytes=1).reason


# ---------------------------------------------------------------- the pool


@pytest.fixture(scope="module")
def pool():
    with FormatPool(workers=1) as opened:
        yield opened


def test_pool_gives_the_same_report_as_inline(pool, tmp_path):
    path = files.write(tmp_path, "staged", files.pdf(files.with_script))
    with FormatPool(workers=0) as inline:
        expected = inline.check(path, name="don.pdf", component=None, policy=POLICY)
    assert pool.check(path, name="don.pdf", component=None, policy=POLICY) == expected
    assert [finding.code for finding in expected.findings] == ["FORMAT_SCRIPT"]


def test_file_that_hangs_a_check_is_a_finding(pool, tmp_path):
    pipe = tmp_path / "staged"
    os.mkfifo(pipe)  # opening it for reading blocks for ever
    report = pool.check(pipe, name="don.pdf", component=None, policy=POLICY, limits=Limits(time_s=1.0))
    assert [finding.code for finding in report.findings] == ["FORMAT_CHECK_TIMEOUT"]
    assert report.not_checked


def test_check_that_kills_its_process_is_a_finding(pool, tmp_path, monkeypatch):
    path = files.write(tmp_path, "staged", files.pdf())
    monkeypatch.setattr("archive_service.formats.pool.check_plainly", die_like_a_parser)
    report = pool.check(path, name="don.pdf", component=None, policy=POLICY)
    assert [finding.code for finding in report.findings] == ["FORMAT_CHECK_CRASHED"]
    assert report.findings[0].params["reason"] == "SIGSEGV"


def die_like_a_parser(path: Path, *_: object) -> None:
    assert path.exists()
    die()


def test_a_large_honest_video_is_read_within_the_limits_of_memory(tmp_path):
    """Sparse on this disk; its bytes are not loaded, and nothing maps them into the limited address space."""
    payload = 400_000_000
    head = bytearray(files.mp4(seconds=1_500, payload=0))
    struct.pack_into(">I", head, head.index(b"stsz") + 8, payload)
    struct.pack_into(">I", head, len(head) - 8, payload + 8)
    path = files.write(tmp_path, "staged", bytes(head))
    with path.open("r+b") as out:
        out.truncate(len(head) + payload)
    with FormatPool(workers=1, limits=Limits(memory_bytes=300 * MIB)) as pool:
        report = pool.check(path, name="phim.mp4", component=None, policy=POLICY)
    assert (report.identification.mime, report.findings) == ("video/mp4", ())
