"""Reading back and resuming, apart from any backend."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive_service import clock
from archive_service.errors import DigestMismatch, StoreUnavailable
from archive_service.storage.announced import AnnouncedSource, HashedBytes, same_bytes
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import (
    CopyPlace,
    ReadBackOutcome,
    StoreAccessDenied,
    StoreThrottled,
    read_back,
    read_back_alike,
)
from archive_service.storage.resuming import Body, ResumingReader
from archive_service.storage.s3_errors import translated
from tests.storage.content import LARGE_BYTES, Content, content, fresh_key, put


def test_read_back_tells_what_it_found(tmp_path: Path) -> None:
    store, key, what = FilesystemStore("kho-1", tmp_path), fresh_key(), content()
    put(store, key, what)
    intact = read_back(store, key, expected=what.digest, size_bytes=what.size_bytes)
    assert (intact.outcome, intact.reason, intact.digest) == (ReadBackOutcome.INTACT, "", what.digest)
    other = read_back(store, key, expected=content(seed=2).digest, size_bytes=what.size_bytes)
    assert (other.outcome, other.digest) == (ReadBackOutcome.DAMAGED, what.digest)
    assert what.digest.hex in other.reason
    longer = read_back(store, key, expected=what.digest, size_bytes=10)
    assert (longer.outcome, longer.digest, longer.size_bytes) == (ReadBackOutcome.DAMAGED, None, 11)
    shorter = read_back(store, key, expected=what.digest, size_bytes=what.size_bytes + 1)
    assert (shorter.outcome, shorter.reason) == (ReadBackOutcome.DAMAGED, "70000 bytes, expected 70001")


_HARMS: Final = {
    "another byte at the start": lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
    "another byte at the end": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"X"),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"X"),
    "shorter": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


def _three_copies(folder: Path, what: Content) -> tuple[list[CopyPlace], list[Path]]:
    key = fresh_key()
    stores = [FilesystemStore(f"kho-{number}", folder / str(number)) for number in range(3)]
    for store in stores:
        put(store, key, what)
    paths = [
        next(path for path in (folder / str(number) / "objects").rglob("*") if path.is_file()) for number in range(3)
    ]
    for path in paths:
        path.chmod(0o600)
    return [CopyPlace(store=store, key=key, version_id=None) for store in stores], paths


def test_copies_read_back_side_by_side_are_intact(tmp_path: Path) -> None:
    what = content(LARGE_BYTES)
    places, _ = _three_copies(tmp_path, what)
    for some in (places, places[:1]):
        answers = read_back_alike(some, expected=what.digest, size_bytes=what.size_bytes)
        assert [(answer.outcome, answer.digest) for answer in answers] == [(ReadBackOutcome.INTACT, what.digest)] * len(
            some
        )
    assert read_back_alike([], expected=what.digest, size_bytes=what.size_bytes) == []


@pytest.mark.parametrize("harmed", [{0}, {1}, {2}, {1, 2}, {0, 1, 2}])
@pytest.mark.parametrize("harm", list(_HARMS))
def test_what_is_amiss_with_one_of_several_copies_is_told_of_that_one(
    tmp_path: Path, harm: str, harmed: set[int]
) -> None:
    """Also when all copies are alike in what is wrong."""
    what = content(600_000)
    places, paths = _three_copies(tmp_path, what)
    for number in harmed:
        _HARMS[harm](paths[number])
    answers = read_back_alike(places, expected=what.digest, size_bytes=what.size_bytes)
    assert answers == [
        read_back(place.store, place.key, expected=what.digest, size_bytes=what.size_bytes) for place in places
    ]
    wrong = ReadBackOutcome.MISSING if harm == "gone" else ReadBackOutcome.DAMAGED
    assert [answer.outcome for answer in answers] == [
        wrong if number in harmed else ReadBackOutcome.INTACT for number in range(3)
    ]


def test_bytes_that_carry_their_digest_are_believed_and_read_back_all_the_same(tmp_path: Path) -> None:
    store, key, what = FilesystemStore("kho-1", tmp_path), fresh_key(), content()
    stored = store.put(key, HashedBytes(what.bytes_, what.digest), expected=what.digest, size_bytes=what.size_bytes)
    assert stored.sha256 == what.digest
    assert read_back(store, key, expected=what.digest, size_bytes=what.size_bytes).outcome is ReadBackOutcome.INTACT
    for wrong in (
        {"expected": content(seed=2).digest, "size_bytes": what.size_bytes},
        {"expected": what.digest, "size_bytes": what.size_bytes - 1},
        {"expected": what.digest, "size_bytes": what.size_bytes + 1},
    ):
        with pytest.raises(DigestMismatch):
            store.put(fresh_key(), HashedBytes(what.bytes_, what.digest), **wrong)  # type: ignore[arg-type]
    lying, other = HashedBytes(b"X" + what.bytes_[1:], what.digest), fresh_key()
    store.put(other, lying, expected=what.digest, size_bytes=what.size_bytes)
    assert read_back(store, other, expected=what.digest, size_bytes=what.size_bytes).outcome is ReadBackOutcome.DAMAGED


def test_the_rest_of_bytes_that_carry_their_digest_is_hashed() -> None:
    what = content()
    source = HashedBytes(b"before" + what.bytes_, content(seed=2).digest)
    source.seek(len(b"before"))
    announced = AnnouncedSource("x", source, expected=what.digest, size_bytes=what.size_bytes)
    assert b"".join(announced.chunks()) == what.bytes_
    announced.require_as_announced()


@given(st.binary(max_size=2_000), st.integers(1, 700))
def test_parts_are_the_whole_in_pieces(raw: bytes, part_bytes: int) -> None:
    what = Content(raw)
    announced = AnnouncedSource("x", what.source(), expected=what.digest, size_bytes=what.size_bytes)
    parts = list(announced.parts(part_bytes))
    announced.require_as_announced()
    assert b"".join(parts) == raw
    assert all(len(part) == part_bytes for part in parts[:-1])
    assert same_bytes(what.source(), expected=what.digest, size_bytes=what.size_bytes)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_other_bytes_are_never_as_announced(raw: bytes, other: bytes) -> None:
    what = Content(raw)
    announced = AnnouncedSource("x", io.BytesIO(other), expected=what.digest, size_bytes=what.size_bytes)
    list(announced.chunks())
    assert same_bytes(io.BytesIO(other), expected=what.digest, size_bytes=what.size_bytes) == (raw == other)
    if raw != other:
        with pytest.raises(DigestMismatch):
            announced.require_as_announced()


class _Breaking:
    """Gives some bytes, then the connection breaks."""

    def __init__(self, raw: bytes, breaks_after: int | None) -> None:
        self._raw = io.BytesIO(raw)
        self._left = breaks_after

    def read(self, amt: int | None = None, /) -> bytes:
        if self._left is None:
            return self._raw.read(amt)
        if self._left == 0:
            raise ConnectionResetError
        chunk = self._raw.read(min(self._left, amt or self._left))
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._raw.close()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ConnectionResetError as exc:
        raise StoreUnavailable("broken") from exc


@pytest.mark.parametrize("breaks", [[], [0], [10], [999], [3, 3, 0]])
def test_a_broken_read_is_taken_up_where_it_broke(monkeypatch: pytest.MonkeyPatch, breaks: list[int]) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(clock, "sleep", pauses.append)
    what, left = content(1_000).bytes_, list(breaks)

    def fetch(position: int) -> Body:
        return _Breaking(what[position:], left.pop(0) if left else None)

    with ResumingReader(fetch, _errors, attempts=4) as reader:
        assert reader.read() == what
    assert len(pauses) == len(breaks)
    assert all(0 <= pause <= 5 for pause in pauses)


def test_a_read_that_always_breaks_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sleep", lambda _seconds: None)
    fetched: list[int] = []

    def fetch(position: int) -> Body:
        fetched.append(position)
        return _Breaking(b"x" * 100, 7)

    with ResumingReader(fetch, _errors, attempts=3) as reader, pytest.raises(StoreUnavailable):
        reader.read()
    assert fetched == [0, 7, 14]


def test_nothing_to_read() -> None:
    with ResumingReader(lambda _position: None, _errors, attempts=1) as reader:
        assert reader.read() == b""


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("SlowDown", 503, StoreThrottled),
        ("403", 403, StoreAccessDenied),
        ("503", 503, StoreUnavailable),
        ("NeverHeardOf", 500, StoreUnavailable),
        ("NeverHeardOf", 0, StoreUnavailable),
    ],
)
def test_codes_have_one_meaning(code: str, status: int, expected: type[Exception]) -> None:
    assert type(translated("text", code=code, status=status)) is expected
