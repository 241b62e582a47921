"""Worker processes: results come back, a killed or hung worker costs one file only."""

import multiprocessing
import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from archive_service.signatures import Indication
from archive_service.signatures.pool import (
    CPU_BASE_S,
    CPU_S_PER_DIGESTED_MIB,
    CPU_S_PER_MIB,
    PARSED_MIB,
    SignaturePool,
    SignatureTask,
    _work,
)
from tests.unit.signatures.checking import POLICY, trust_of
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, sign_cms, sign_pdf


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="pool")


def task(path: Path, world: World) -> SignatureTask:
    at = SIGNED_AT + timedelta(days=1)
    return SignatureTask(path=path, mime="application/pdf", trust=trust_of(world), at=at, policy=POLICY)


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_back_in_order(tmp_path: Path, world: World, workers: int) -> None:
    good, bad = tmp_path / "good.pdf", tmp_path / "bad.pdf"
    content = sign_pdf(world, party=world.plain)
    good.write_bytes(content)
    bad.write_bytes(content.replace(b"595", b"596", 1))
    with SignaturePool(workers) as pool:
        results = pool.check([task(good, world), task(bad, world), task(good, world)])
    assert [result.indication for result in results] == [
        Indication.TOTAL_PASSED,
        Indication.TOTAL_FAILED,
        Indication.TOTAL_PASSED,
    ]


def test_missing_file_is_an_error_of_the_caller(tmp_path: Path, world: World) -> None:
    with SignaturePool(1) as pool, pytest.raises(OSError, match=r"missing\.pdf"):
        pool.check([task(tmp_path / "missing.pdf", world)])


def test_hung_worker_is_killed_and_the_pool_survives(tmp_path: Path, world: World) -> None:
    fifo, good = tmp_path / "fifo.pdf", tmp_path / "good.pdf"
    os.mkfifo(fifo)  # opening it for reading blocks for ever
    good.write_bytes(sign_pdf(world, party=world.plain))
    with SignaturePool(1, time_limit_s=1) as pool:
        hung, after = pool.check([task(fifo, world), task(good, world)])
    assert hung.indication is Indication.INDETERMINATE
    assert "PROCESS_KILLED" in hung.not_checked[0]
    assert "longer than 1 s, of which 0.0 s of processor time" in hung.not_checked[0]
    assert after.indication is Indication.TOTAL_PASSED


def test_killed_worker_gives_a_reason(tmp_path: Path, world: World) -> None:
    fifo = tmp_path / "fifo.pdf"
    os.mkfifo(fifo)
    with SignaturePool(1, time_limit_s=30) as pool:
        future = pool.submit(task(fifo, world))
        victim: psutil.Process | None = None
        while victim is None and not future.done():
            children = psutil.Process().children(recursive=True)
            busy = [child for child in children if child.num_threads() and child.status() == psutil.STATUS_SLEEPING]
            victim = next((child for child in busy if "spawn_main" in " ".join(child.cmdline())), None)
        assert victim is not None
        victim.send_signal(signal.SIGKILL)
        result = future.result(timeout=60)
    assert result.indication is Indication.INDETERMINATE


def test_memory_limit(tmp_path: Path, world: World) -> None:
    path = tmp_path / "large.p7m"
    path.write_bytes(sign_cms(world, bytes(40 * 1024 * 1024), detached=False, party=world.plain))
    with SignaturePool(1, memory_limit_bytes=128 * 1024 * 1024) as pool:
        [result] = pool.check([replace(task(path, world), mime="application/pkcs7-mime")])
    assert result.indication is Indication.INDETERMINATE


def test_time_grows_with_the_files(tmp_path: Path, world: World) -> None:
    small, large, huge = (sparse(tmp_path / name, size) for name, size in (("a", 0), ("b", 20), ("c", 3000)))
    assert task(small, world).cpu_limit_s(10) == pytest.approx(CPU_BASE_S)
    assert task(small, world).wall_limit_s(10) == pytest.approx(10)
    assert task(large, world).cpu_limit_s(10) == pytest.approx(
        CPU_BASE_S + 20 * (CPU_S_PER_MIB + CPU_S_PER_DIGESTED_MIB)
    )
    assert task(huge, world).cpu_limit_s(10) == pytest.approx(CPU_BASE_S + PARSED_MIB * CPU_S_PER_MIB + 60)
    assert task(huge, world).wall_limit_s(10) == pytest.approx(310)
    beside = replace(task(small, world), siblings={"large": large})
    assert CPU_BASE_S < beside.cpu_limit_s(10) < task(large, world).cpu_limit_s(10)
    assert task(small, world).cpu_limit_s(1) == pytest.approx(1)


def sparse(path: Path, mib: int) -> Path:
    """A file of this size that takes no room."""
    with path.open("wb") as stream:
        stream.truncate(mib * 1024 * 1024)
    return path


@pytest.mark.parametrize("when", ["starting", "idle"])
def test_a_worker_whose_parent_is_gone_ends_without_a_word(when: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The parent's end of the pipe is closed, before the worker is ready or after."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, 4 * 2**30))
    process.start()
    theirs.close()
    if when == "idle":
        assert ours.recv() == "ready"
    ours.close()
    process.join(timeout=120)
    assert process.exitcode == 0
    assert capfd.readouterr().err == ""
