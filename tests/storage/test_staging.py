"""Staging: complete files under checked names, nothing else."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive_service import clock
from archive_service.digests import digest_bytes
from archive_service.errors import DigestMismatch, TooLarge, UnsafeKey
from archive_service.storage.staging import StagedFile, StagingArea
from tests.storage.content import content

SUBMISSION = UUID("0192f0a0-0000-7000-8000-000000000001")
LIMIT = 1_000_000


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def area(tmp_path: Path) -> StagingArea:
    return StagingArea(tmp_path / "staging")


def _pieces(what: bytes) -> Iterator[bytes]:
    yield from (what[at : at + 7_001] for at in range(0, len(what), 7_001))


def test_received_bytes_are_hashed_and_kept(area: StagingArea) -> None:
    what = content()
    staged = area.receive(SUBMISSION, "don.pdf", _pieces(what.bytes_), limit_bytes=LIMIT)
    assert (staged.digest, staged.size_bytes) == (what.digest, what.size_bytes)
    assert staged.path == area.path(SUBMISSION, "don.pdf")
    assert staged.path.read_bytes() == what.bytes_


def test_an_asynchronous_sender_uses_the_same_writer(area: StagingArea) -> None:
    what = content()

    async def sender() -> AsyncIterator[bytes]:
        for piece in _pieces(what.bytes_):
            await asyncio.sleep(0)
            yield piece

    async def receive() -> StagedFile:
        with area.writer(SUBMISSION, "don.pdf", limit_bytes=LIMIT, expected=what.digest) as writing:
            async for piece in sender():
                writing.write(piece)
            return writing.commit()

    assert asyncio.run(receive()).digest == what.digest


@pytest.mark.parametrize(
    ("announced", "error"),
    [
        ({"expected": content(seed=2).digest}, DigestMismatch),
        ({"size_bytes": 69_999}, DigestMismatch),
        ({"size_bytes": 70_001}, DigestMismatch),
        ({"limit_bytes": 69_999}, TooLarge),
        ({"limit_bytes": 69_999, "size_bytes": 70_000}, TooLarge),
    ],
)
def test_what_is_not_as_announced_leaves_nothing(
    area: StagingArea, announced: dict[str, object], error: type[Exception]
) -> None:
    arguments = {"limit_bytes": LIMIT, **announced}
    with pytest.raises(error):
        area.receive(SUBMISSION, "don.pdf", _pieces(content().bytes_), **arguments)  # type: ignore[arg-type]  # by name
    folder = area.path(SUBMISSION, "x").parent
    assert not folder.exists() or _names(folder) == []


def test_the_limit_stops_a_sender_who_never_ends(area: StagingArea) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    with pytest.raises(TooLarge):
        area.receive(SUBMISSION, "don.pdf", endless(), limit_bytes=LIMIT)


def test_a_second_upload_replaces_only_when_it_is_right(area: StagingArea) -> None:
    first, second = content(), content(seed=2)
    area.receive(SUBMISSION, "don.pdf", [first.bytes_], limit_bytes=LIMIT)
    with pytest.raises(DigestMismatch):
        area.receive(SUBMISSION, "don.pdf", [second.bytes_], limit_bytes=LIMIT, expected=first.digest)
    assert area.path(SUBMISSION, "don.pdf").read_bytes() == first.bytes_
    area.receive(SUBMISSION, "don.pdf", [second.bytes_], limit_bytes=LIMIT)
    assert area.path(SUBMISSION, "don.pdf").read_bytes() == second.bytes_


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\0", "a\n", "a b", "x" * 101, "ờ"]
)
def test_names_are_component_ids(area: StagingArea, name: str) -> None:
    with pytest.raises(UnsafeKey):
        area.writer(SUBMISSION, name, limit_bytes=LIMIT)
    with pytest.raises(UnsafeKey):
        area.path(SUBMISSION, name)


@given(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z"))
def test_every_component_id_is_one_file_of_its_submission(name: str) -> None:
    area = StagingArea(Path("/tmp"))
    assert area.path(SUBMISSION, name) == Path("/tmp") / str(SUBMISSION) / name


def test_discarding_takes_all_and_only_this_submission(area: StagingArea) -> None:
    other = uuid4()
    for name in ("1", "2"):
        area.receive(SUBMISSION, name, [b"x"], limit_bytes=LIMIT)
    kept = area.receive(other, "1", [b"x"], limit_bytes=LIMIT)
    area.writer(SUBMISSION, "3", limit_bytes=LIMIT).write(b"half")
    area.discard(SUBMISSION)
    area.discard(SUBMISSION)
    assert not area.path(SUBMISSION, "1").parent.exists()
    assert kept.path.exists()


def test_the_sweep_takes_what_is_old_and_unwanted(area: StagingArea) -> None:
    wanted, unwanted = uuid4(), uuid4()
    for submission in (wanted, unwanted):
        area.receive(submission, "1", [b"x"], limit_bytes=LIMIT)
    area.writer(wanted, "2", limit_bytes=LIMIT).write(b"half")
    stranger = area.path(wanted, "1").parent.parent / "not-a-submission"
    stranger.mkdir()
    assert area.sweep(clock.now() - timedelta(hours=1), lambda _submission: False) == ()
    assert area.sweep(clock.now() + timedelta(hours=1), lambda submission: submission == wanted) == (unwanted,)
    assert _names(area.path(wanted, "1").parent) == ["1"]
    assert stranger.exists()


def test_a_young_file_keeps_an_old_folder(area: StagingArea) -> None:
    area.receive(SUBMISSION, "1", [b"x"], limit_bytes=LIMIT)
    folder = area.path(SUBMISSION, "1").parent
    os.utime(folder, (0, 0))
    assert area.sweep(clock.now() - timedelta(hours=1), lambda _submission: False) == ()
    os.utime(folder / "1", (0, 0))
    assert area.sweep(clock.now() - timedelta(hours=1), lambda _submission: False) == (SUBMISSION,)


def test_the_writer_tells_how_much_it_has(area: StagingArea) -> None:
    with area.writer(SUBMISSION, "1", limit_bytes=LIMIT) as writing:
        writing.write(b"abc")
        writing.write(b"")
        writing.write(b"de")
        assert writing.size_bytes == 5
        assert writing.commit().digest == digest_bytes(b"abcde")
        writing.abort()
    assert area.path(SUBMISSION, "1").read_bytes() == b"abcde"
