"""A stored object as a seekable file: the same bytes wherever it is read, few requests, and no copy of a large one."""

import random
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from archive_service.digests import digest_stream
from archive_service.errors import StoredObjectMissing
from archive_service.storage import ranged
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import Store
from archive_service.storage.ranged import opened_anywhere, seekable
from archive_service.storage.s3 import S3Store
from tests.storage.conftest import PLAIN_BUCKET, MakeSpec
from tests.storage.content import LARGE_BYTES, Content, content, fresh_key, put
from tests.storage.fault_proxy import FaultProxy
from tests.storage.seaweed import SeaweedServer


@pytest.fixture
def folder_store(tmp_path: Path) -> Store:
    return FilesystemStore("kho-1", tmp_path / "kho")


@pytest.fixture
def proxy(seaweed_server: SeaweedServer) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed_server.port) as running:
        yield running


@pytest.fixture
def bucket(proxy: FaultProxy, make_spec: MakeSpec) -> Store:
    return S3Store(make_spec(endpoint_url=proxy.endpoint_url))


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is nowhere to put a temporary file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))


def require_same_anywhere(store: Store, what: Content) -> None:
    """Reads all of it, then here and there, over its end and at once behind what was read last."""
    put(store, key := fresh_key(), what)
    picked = random.Random(3)  # noqa: S311 - the same places each time
    with seekable(store, key, size_bytes=what.size_bytes) as source:
        assert digest_stream(source) == (what.digest, what.size_bytes)
        for _ in range(40):
            place, length = picked.randrange(what.size_bytes + 10), picked.randrange(1, 200_000)
            source.seek(place)
            assert source.read(length) == what.bytes_[place : place + length]
            assert source.read(10) == what.bytes_[place + length : place + length + 10]


def test_the_bytes_are_the_same_wherever_a_folder_is_read(folder_store: Store) -> None:
    require_same_anywhere(folder_store, content(LARGE_BYTES))


@pytest.mark.s3
def test_the_bytes_are_the_same_wherever_a_bucket_is_read(bucket: Store) -> None:
    require_same_anywhere(bucket, content(LARGE_BYTES))


@pytest.mark.s3
def test_reading_on_takes_ever_longer_ranges(bucket: Store, proxy: FaultProxy) -> None:
    put(bucket, key := fresh_key(), what := content(LARGE_BYTES))
    proxy.requests.clear()
    with seekable(bucket, key, size_bytes=what.size_bytes) as source:
        assert digest_stream(source)[0] == what.digest
        begun = len(proxy.requests)
        source.seek(5)
        assert source.read(1) == what.bytes_[5:6]
    # 64 or 256 KB, doubled each time: seven to nine ranges for 17 MB, where one of 64 KB each would be 272.
    assert begun <= 9
    assert len(proxy.requests) == begun + 1
    asked = [request.headers["range"].removeprefix("bytes=").split("-") for request in proxy.requests]
    lengths = [int(last) - int(first) + 1 for first, last in asked]
    assert lengths[-1] == ranged.BLOCK_BYTES, "a read elsewhere begins small again"
    assert all(after == 2 * before for before, after in pairwise(lengths[: begun - 1]))


@pytest.mark.s3
def test_no_request_asks_for_more_than_a_range(
    bucket: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranged, "RANGE_MAX_BYTES", 1024 * 1024)
    put(bucket, key := fresh_key(), what := content(LARGE_BYTES))
    proxy.requests.clear()
    with seekable(bucket, key, size_bytes=what.size_bytes) as source:
        assert digest_stream(source)[0] == what.digest
    asked = [request.headers["range"].removeprefix("bytes=").split("-") for request in proxy.requests]
    assert max(int(last) - int(first) + 1 for first, last in asked) == 1024 * 1024


@pytest.mark.usefixtures("no_room")
def test_a_folder_is_read_where_it_lies(folder_store: Store) -> None:
    put(folder_store, key := fresh_key(), what := content())
    with opened_anywhere(folder_store, key) as source:
        assert source.read() == what.bytes_
        assert source.seek(100) == 100
        assert source.read(5) == what.bytes_[100:105]


@pytest.mark.s3
def test_a_small_object_of_a_bucket_costs_one_request_for_its_bytes(bucket: Store, proxy: FaultProxy) -> None:
    put(bucket, key := fresh_key(), what := content())
    assert bucket.capabilities.seekable is False
    proxy.requests.clear()
    with opened_anywhere(bucket, key) as source:
        assert source.read() == what.bytes_
        source.seek(100)
        assert source.read(5) == what.bytes_[100:105]
    assert [request.method for request in proxy.requests] == ["HEAD", "GET"]


@pytest.mark.s3
@pytest.mark.usefixtures("no_room")
def test_a_large_object_of_a_bucket_is_not_copied_and_stays_one_version(
    bucket: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranged, "COPIED_MAX_BYTES", 10_000)
    put(bucket, key := fresh_key(), what := content(300_000))
    with opened_anywhere(bucket, key) as source:
        assert source.read(10) == what.bytes_[:10]
        other = content(300_000, seed=2)
        bucket.supersede(key, other.source(), expected=other.digest, size_bytes=other.size_bytes)
        source.seek(200_000)
        assert source.read() == what.bytes_[200_000:]


@pytest.mark.s3
def test_what_is_not_there_is_told(folder_store: Store, make_spec: MakeSpec) -> None:
    for store in (folder_store, S3Store(make_spec(bucket=PLAIN_BUCKET, lock_mode=None))):
        with pytest.raises(StoredObjectMissing):
            opened_anywhere(store, fresh_key())
