"""Writing and reading past the page cache: the same bytes, whatever the length, and the ordinary way where it cannot be done."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from archive_service.errors import StoreFull
from archive_service.storage import durable
from archive_service.storage.announced import HashedBytes
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.past_cache import BLOCK_BYTES, FROM_BYTES, ROOM_BYTES, PastCacheReader, write_past_cache
from archive_service.storage.port import ReadBackOutcome, read_back
from tests.storage.content import content, fresh_key

LENGTHS = (
    1,
    BLOCK_BYTES - 1,
    BLOCK_BYTES,
    BLOCK_BYTES + 1,
    ROOM_BYTES - 1,
    ROOM_BYTES,
    ROOM_BYTES + 1,
    2 * ROOM_BYTES + 77,
)


@contextmanager
def _new_file(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("length", LENGTHS)
def test_what_is_written_is_what_is_read(tmp_path: Path, length: int) -> None:
    what = content(length).bytes_
    with _new_file(tmp_path / "file") as descriptor:
        if not write_past_cache(descriptor, memoryview(what)):
            pytest.skip("this file system has no direct transfers")
        assert (tmp_path / "file").read_bytes() == what
        reader = PastCacheReader(descriptor)
        for start in {0, 1, length // 2, length - 1}:
            assert _read(reader, start, length) == what[start:]
        assert _read(reader, length, 10) == b""
        assert _read(reader, length + BLOCK_BYTES, 10) == b""
        reader.close()


def _read(reader: PastCacheReader, position: int, length: int) -> bytes:
    found, buffer = bytearray(), bytearray(100_000)
    while len(found) < length and (count := reader.readinto(memoryview(buffer)[: length - len(found)], position)):
        found += buffer[:count]
        position += count
    return bytes(found)


def _refusing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the system refuse direct transfers, at once or only when they are tried."""
    module = fcntl if name == "fcntl" else os
    system: Callable[..., Any] = getattr(module, name)
    refused: list[bool] = []

    def once(*arguments: Any) -> Any:
        turned_on = name == "fcntl" and len(arguments) > 2 and arguments[2] & os.O_DIRECT
        if (turned_on or name != "fcntl") and not refused:
            refused.append(True)
            raise OSError(errno.EINVAL, "Invalid argument")
        return system(*arguments)

    monkeypatch.setattr(module, name, once)


@pytest.mark.parametrize("refused", ["fcntl", "pwrite"])
def test_a_file_system_without_direct_writes_is_written_the_ordinary_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    what = content(ROOM_BYTES + 10)
    _refusing(refused, monkeypatch)
    with durable.DurableFile(tmp_path / "file") as writing:
        writing.write_whole(memoryview(what.bytes_))
        writing.commit()
    assert (tmp_path / "file").read_bytes() == what.bytes_


@pytest.mark.parametrize("refused", ["fcntl", "preadv"])
def test_a_file_system_without_direct_reads_is_read_the_ordinary_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    what, key, store = content(FROM_BYTES + 10), fresh_key(), FilesystemStore("kho-1", tmp_path)
    store.put(key, HashedBytes(what.bytes_, what.digest), expected=what.digest, size_bytes=what.size_bytes)
    _refusing(refused, monkeypatch)
    answer = read_back(store, key, expected=what.digest, size_bytes=what.size_bytes)
    assert answer.outcome is ReadBackOutcome.INTACT


def test_a_full_disk_is_no_reason_to_go_on_the_ordinary_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreFull), durable.DurableFile(tmp_path / "file") as writing:
        writing.write_whole(memoryview(bytes(ROOM_BYTES)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("offset", [0, 1, 5_000])
def test_ranges_read_past_the_cache(tmp_path: Path, offset: int) -> None:
    what, key, store = content(ROOM_BYTES + 123), fresh_key(), FilesystemStore("kho-1", tmp_path)
    store.put(key, HashedBytes(what.bytes_, what.digest), expected=what.digest, size_bytes=what.size_bytes)
    with store.open(key, offset=offset, length=FROM_BYTES + 1, past_cache=True) as source:
        assert source.read() == what.bytes_[offset : offset + FROM_BYTES + 1]
        source.seek(10)
        assert source.read(20) == what.bytes_[offset + 10 : offset + 30]
