"""The contract of `storage.port.Store` as tests. A backend subclasses `StoreContract` and gives the fixture `store`.

Real servers keep locked objects for good, so every test uses keys of its own.
"""

import errno
import io
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO

import pytest

from archive_service import clock
from archive_service.digests import digest_stream
from archive_service.errors import (
    DigestMismatch,
    Retained,
    StoredObjectDiffers,
    StoredObjectMissing,
    StoreUnavailable,
    UnsafeKey,
)
from archive_service.storage.port import ReadBackOutcome, Store, StoredObject, StoreKey, read_back, store_key
from tests.storage.content import DISPOSITION, LARGE_BYTES, Content, check, content, fresh_key, put

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SIZES = pytest.mark.parametrize("size_bytes", [0, 1, 70_000, LARGE_BYTES])
WRITTEN_SIZES = pytest.mark.parametrize("size_bytes", [70_000, LARGE_BYTES])


class _Broken(io.RawIOBase):
    """A source whose disk fails halfway."""

    def __init__(self, good: bytes) -> None:
        super().__init__()
        self._good = io.BytesIO(good)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        chunk = self._good.read(len(view))
        if not chunk:
            raise OSError(errno.EIO, "Input/output error")
        view[: len(chunk)] = chunk
        return len(chunk)


class Zeros(io.RawIOBase):
    """A large source that takes no memory."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self._left = size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        count = min(len(view), self._left)
        view[:count] = bytes(count)
        self._left -= count
        return count


def _nothing_is_stored(store: Store, key: StoreKey) -> None:
    with pytest.raises(StoredObjectMissing):
        store.stat(key)
    with pytest.raises(StoredObjectMissing):
        store.open(key)
    assert store.versions(key) == ()
    assert list(store.list(key)) == []


def _delete(store: Store, stored: StoredObject) -> None:
    store.delete(stored.key, version_id=stored.version_id, disposition=DISPOSITION)


class StoreContract:
    """What every location promises."""

    # -- put

    @SIZES
    def test_put_stores_exactly_the_bytes(self, store: Store, size_bytes: int) -> None:
        key, what = fresh_key(), content(size_bytes)
        stored = put(store, key, what)
        assert (stored.key, stored.size_bytes, stored.sha256) == (key, size_bytes, what.digest)
        assert (stored.version_id is not None) == store.capabilities.versioned
        assert abs(stored.modified_at - clock.now()) < timedelta(minutes=5)
        with store.open(key) as source:
            assert source.read() == what.bytes_
        assert check(store, key, what, version_id=stored.version_id).outcome is ReadBackOutcome.INTACT

    @WRITTEN_SIZES
    def test_put_again_gives_the_existing_object_and_reads_no_source(self, store: Store, size_bytes: int) -> None:
        key, what = fresh_key(), content(size_bytes)
        first = put(store, key, what)
        untouched = io.BytesIO(b"not read")
        again = store.put(key, untouched, expected=what.digest, size_bytes=size_bytes)
        assert again == first
        assert untouched.tell() == 0
        assert len(store.versions(key)) == 1

    @pytest.mark.parametrize("other", [content(70_000, seed=2), content(69_999), content(0), content(LARGE_BYTES)])
    def test_put_of_other_bytes_never_overwrites(self, store: Store, other: Content) -> None:
        key, what = fresh_key(), content()
        put(store, key, what)
        with pytest.raises(StoredObjectDiffers):
            put(store, key, other)
        assert check(store, key, what).outcome is ReadBackOutcome.INTACT
        assert len(store.versions(key)) == 1

    @WRITTEN_SIZES
    def test_put_with_wrong_digest_stores_nothing(self, store: Store, size_bytes: int) -> None:
        key, what = fresh_key(), content(size_bytes)
        with pytest.raises(DigestMismatch):
            store.put(key, what.source(), expected=content(size_bytes, seed=2).digest, size_bytes=size_bytes)
        _nothing_is_stored(store, key)
        put(store, key, what)

    @WRITTEN_SIZES
    @pytest.mark.parametrize("error_bytes", [-1, 1])
    def test_put_with_wrong_size_stores_nothing(self, store: Store, size_bytes: int, error_bytes: int) -> None:
        key, what = fresh_key(), content(size_bytes)
        with pytest.raises(DigestMismatch):
            store.put(key, what.source(), expected=what.digest, size_bytes=size_bytes + error_bytes)
        _nothing_is_stored(store, key)

    @WRITTEN_SIZES
    def test_put_from_a_failing_source_stores_nothing(self, store: Store, size_bytes: int) -> None:
        key, what = fresh_key(), content(size_bytes)
        source: BinaryIO = io.BufferedReader(_Broken(what.bytes_[: size_bytes - 10]))
        with pytest.raises(OSError, match="Input/output"):
            store.put(key, source, expected=what.digest, size_bytes=size_bytes)
        _nothing_is_stored(store, key)

    def test_put_reads_the_source_from_its_position(self, store: Store) -> None:
        key, what = fresh_key(), content()
        source = io.BytesIO(b"head" + what.bytes_)
        source.seek(4)
        store.put(key, source, expected=what.digest, size_bytes=what.size_bytes)
        assert check(store, key, what).outcome is ReadBackOutcome.INTACT

    def test_many_writers_of_the_same_bytes_all_succeed(self, store: Store) -> None:
        key, what, start = fresh_key(), content(), threading.Barrier(8)

        def write(_number: int) -> StoredObject:
            start.wait()
            for attempt in range(5):
                try:
                    return put(store, key, what)
                except StoreUnavailable:  # servers may refuse two writers of one key at the same instant
                    if attempt == 4:
                        raise
            raise AssertionError

        with ThreadPoolExecutor(8) as pool:
            stored = set(pool.map(write, range(8)))
        assert len(stored) == 1
        assert len(store.versions(key)) == 1

    def test_of_many_writers_of_different_bytes_one_wins(self, store: Store) -> None:
        key, start = fresh_key(), threading.Barrier(6)

        def write(number: int) -> Content | None:
            what = content(seed=number)
            start.wait()
            try:
                put(store, key, what)
            except (StoredObjectDiffers, StoreUnavailable):
                return None
            return what

        with ThreadPoolExecutor(6) as pool:
            winners = [what for what in pool.map(write, range(6)) if what is not None]
        assert len(winners) == 1
        assert check(store, key, winners[0]).outcome is ReadBackOutcome.INTACT

    def test_memory_is_flat_whatever_the_size(self, store: Store) -> None:
        key, size_bytes = fresh_key(), 96 * 1024 * 1024
        digest, _size = digest_stream(io.BufferedReader(Zeros(size_bytes)))
        tracemalloc.start()
        try:
            store.put(key, io.BufferedReader(Zeros(size_bytes)), expected=digest, size_bytes=size_bytes)
            found = read_back(store, key, expected=digest, size_bytes=size_bytes)
            _now, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert found.outcome is ReadBackOutcome.INTACT
        assert peak_bytes < 64 * 1024 * 1024

    # -- open, stat, list

    @pytest.mark.parametrize(
        ("offset", "length"),
        [(0, None), (0, 1), (1, 0), (10, 20), (69_999, None), (69_999, 5), (70_000, None), (70_000, 3), (99_999, 1)],
    )
    def test_open_gives_the_range(self, store: Store, offset: int, length: int | None) -> None:
        key, what = fresh_key(), content()
        put(store, key, what)
        with store.open(key, offset=offset, length=length) as source:
            assert source.read() == what.bytes_[offset:][:length]

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
    def test_open_refuses_a_negative_range(self, store: Store, offset: int, length: int | None) -> None:
        key = fresh_key()
        put(store, key, content())
        with pytest.raises(ValueError, match="range"):
            store.open(key, offset=offset, length=length)

    def test_open_can_be_read_piecewise(self, store: Store) -> None:
        key, what = fresh_key(), content(3_000_000)
        put(store, key, what)
        with store.open(key) as source:
            pieces = [source.read(1), source.read(999_999), source.read(1_500_000), source.read(), source.read()]
        assert b"".join(pieces) == what.bytes_

    def test_stat_by_version(self, store: Store) -> None:
        key = fresh_key()
        stored = put(store, key, content())
        found = store.stat(key, version_id=stored.version_id)
        assert (found.size_bytes, found.version_id) == (stored.size_bytes, stored.version_id)
        assert found.sha256 in {None, stored.sha256}

    def test_what_is_not_there_is_missing(self, store: Store) -> None:
        key, until = fresh_key(), clock.now() + timedelta(hours=1)
        for call in (
            lambda: store.open(key),
            lambda: store.open(key, length=0),
            lambda: store.stat(key),
            lambda: store.lock(key),
            lambda: store.retain_until(key, until),
            lambda: store.set_legal_hold(key, True),
        ):
            if not store.capabilities.legal_hold and call.__code__.co_names[0] in {"retain_until", "set_legal_hold"}:
                continue
            with pytest.raises(StoredObjectMissing):
                call()
        assert store.versions(key) == ()
        assert check(store, key, content()).outcome is ReadBackOutcome.MISSING

    def test_an_unknown_version_is_missing(self, store: Store) -> None:
        key = fresh_key()
        put(store, key, content())
        with pytest.raises(StoredObjectMissing):
            store.stat(key, version_id="0" * 32)
        with pytest.raises(StoredObjectMissing):
            store.open(key, version_id="0" * 32)

    def test_list_gives_what_starts_with_the_prefix_and_continues(self, store: Store) -> None:
        base = fresh_key("x").removesuffix("/x")
        keys = [
            store_key(f"{base}/{name}") for name in ("1.zip", "1.zip.sig", "2/0123456789abcdef", "2/a", "20", "b-1")
        ]
        for number, key in enumerate(keys):
            put(store, key, content(10 + number))
        listed = list(store.list(f"{base}/"))
        assert {each.key: each.size_bytes for each in listed} == {key: 10 + n for n, key in enumerate(keys)}
        assert [each.key for each in store.list(f"{base}/")] == [each.key for each in listed]
        for number, reached in enumerate(listed):
            rest = [later.key for later in store.list(f"{base}/", start_after=reached.key)]
            assert set(rest) >= {later.key for later in listed[number + 1 :]}
            assert set(rest) < {each.key for each in listed}
        assert {each.key for each in store.list(f"{base}/2")} == {keys[2], keys[3], keys[4]}
        assert {each.key for each in store.list(f"{base}/2/0123")} == {keys[2]}
        assert list(store.list(f"{base}/3")) == []

    # -- locks

    def test_a_locked_object_cannot_be_deleted(self, store: Store) -> None:
        if not store.capabilities.immutable_until:
            return
        key, what, until = fresh_key(), content(), clock.now() + timedelta(hours=1)
        stored = put(store, key, what, retain_until=until)
        lock = store.lock(key)
        assert lock.retain_until is not None
        assert timedelta(0) <= lock.retain_until - until < timedelta(seconds=1)
        with pytest.raises(Retained):
            _delete(store, stored)
        assert check(store, key, what).outcome is ReadBackOutcome.INTACT

    def test_a_lock_is_only_extended(self, store: Store) -> None:
        if not store.capabilities.immutable_until:
            return
        key, start = fresh_key(), clock.now().replace(microsecond=0) + timedelta(hours=1)
        stored = put(store, key, content())
        assert store.lock(key).retain_until is None
        for until, expected in ((1, 1), (3, 3), (2, 3), (3, 3), (4, 4)):
            store.retain_until(key, start + timedelta(days=until), stored.version_id)
            assert store.lock(key).retain_until == start + timedelta(days=expected)
        put(store, key, content(), retain_until=start + timedelta(days=9))
        assert store.lock(key, version_id=stored.version_id).retain_until == start + timedelta(days=9)

    def test_a_large_object_is_locked_from_its_first_moment(self, store: Store) -> None:
        if not store.capabilities.immutable_until:
            return
        key = fresh_key()
        stored = put(store, key, content(LARGE_BYTES), retain_until=clock.now() + timedelta(hours=1))
        with pytest.raises(Retained):
            _delete(store, stored)

    def test_a_naive_date_is_refused(self, store: Store) -> None:
        if not store.capabilities.immutable_until:
            return
        key, naive = fresh_key(), datetime(2040, 1, 1, tzinfo=UTC).replace(tzinfo=None)
        with pytest.raises(ValueError, match="naive"):
            put(store, key, content(), retain_until=naive)
        _nothing_is_stored(store, key)
        put(store, key, content())
        with pytest.raises(ValueError, match="naive"):
            store.retain_until(key, naive)

    def test_a_hold_is_independent_of_the_date(self, store: Store) -> None:
        if not store.capabilities.legal_hold:
            return
        key = fresh_key()
        stored = put(store, key, content())
        store.set_legal_hold(key, True)
        store.set_legal_hold(key, True, version_id=stored.version_id)
        assert store.lock(key).legal_hold
        with pytest.raises(Retained):
            _delete(store, stored)
        store.set_legal_hold(key, False)
        assert not store.lock(key).legal_hold
        _delete(store, stored)
        _nothing_is_stored(store, key)

    # -- delete

    def test_delete_removes_exactly_one_key(self, store: Store) -> None:
        key = fresh_key("1")
        neighbours = [store_key(f"{key}{tail}") for tail in ("2", ".json", "-1")]
        stored = put(store, key, content())
        for neighbour in neighbours:
            put(store, neighbour, content())
        _delete(store, stored)
        assert store.versions(key) == ()
        with pytest.raises(StoredObjectMissing):
            store.stat(key)
        for neighbour in neighbours:
            assert check(store, neighbour, content()).outcome is ReadBackOutcome.INTACT
        _delete(store, stored)
        put(store, key, content(seed=2))

    def test_delete_wants_a_version_where_there_are_versions(self, store: Store) -> None:
        key = fresh_key()
        put(store, key, content())
        wrong = None if store.capabilities.versioned else "0" * 32
        with pytest.raises(ValueError, match="version"):
            store.delete(key, version_id=wrong, disposition=DISPOSITION)
        assert check(store, key, content()).outcome is ReadBackOutcome.INTACT

    def test_delete_of_an_unknown_version_leaves_the_others(self, store: Store) -> None:
        if not store.capabilities.versioned:
            return
        key = fresh_key()
        put(store, key, content())
        store.delete(key, version_id="0" * 32, disposition=DISPOSITION)
        assert check(store, key, content()).outcome is ReadBackOutcome.INTACT

    # -- what is damaged and locked

    @WRITTEN_SIZES
    def test_locked_bytes_can_be_superseded_and_stay_locked(self, store: Store, size_bytes: int) -> None:
        if not store.capabilities.immutable_until:
            return
        key, bad, good = fresh_key(), content(size_bytes, seed=2), content(size_bytes)
        until = clock.now().replace(microsecond=0) + timedelta(hours=1)
        damaged = put(store, key, bad, retain_until=until)
        stored = store.supersede(
            key, good.source(), expected=good.digest, size_bytes=good.size_bytes, retain_until=until
        )
        assert check(store, key, good, version_id=stored.version_id).outcome is ReadBackOutcome.INTACT
        assert check(store, key, good).outcome is ReadBackOutcome.INTACT
        assert store.lock(key).retain_until == until
        with pytest.raises(Retained):
            _delete(store, stored)
        if store.capabilities.versioned:
            assert check(store, key, bad, version_id=damaged.version_id).outcome is ReadBackOutcome.INTACT
            assert [each.newest for each in store.versions(key)] == [True, False]

    def test_superseding_by_wrong_bytes_or_of_nothing_changes_nothing(self, store: Store) -> None:
        key, what = fresh_key(), content()
        if not store.capabilities.immutable_until:
            return
        with pytest.raises(StoredObjectMissing):
            store.supersede(key, what.source(), expected=what.digest, size_bytes=what.size_bytes)
        put(store, key, what)
        with pytest.raises(DigestMismatch):
            store.supersede(key, content(seed=2).source(), expected=content(seed=3).digest, size_bytes=what.size_bytes)
        assert check(store, key, what).outcome is ReadBackOutcome.INTACT
        assert len(store.versions(key)) == 1

    def test_the_inventory_has_every_version_once_and_continues(self, store: Store) -> None:
        base = fresh_key("x").removesuffix("/x")
        keys = [store_key(f"{base}/{name}") for name in ("1", "2/a", "2/b", "3")]
        for number, key in enumerate(keys):
            put(store, key, content(10 + number))
        if store.capabilities.versioned:
            good = content(11, seed=5)
            store.supersede(keys[1], good.source(), expected=good.digest, size_bytes=11)
        found = list(store.inventory(f"{base}/"))
        assert len(found) == len({(each.key, each.version_id) for each in found}) == 4 + store.capabilities.versioned
        assert [each.key for each in found if each.newest] == [each.key for each in store.list(f"{base}/")]
        for number, each in enumerate(found):
            rest = {later.key for later in store.inventory(f"{base}/", start_after=each.key)}
            assert rest >= {later.key for later in found[number + 1 :]} - {each.key}

    # -- keys and leftovers

    @pytest.mark.parametrize(
        "text", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a\0b", "a\\b", ".hidden", "a/.tmp-1", "é"]
    )
    def test_unsafe_keys_are_refused_by_every_method(self, store: Store, text: str) -> None:
        key = StoreKey(text)
        for call in (
            lambda: put(store, key, content()),
            lambda: store.open(key),
            lambda: store.stat(key),
            lambda: store.versions(key),
            lambda: store.lock(key),
            lambda: store.delete(
                key, version_id="1" if store.capabilities.versioned else None, disposition=DISPOSITION
            ),
        ):
            with pytest.raises(UnsafeKey):
                call()

    def test_a_key_cannot_continue_another(self, store: Store) -> None:
        key = fresh_key("1")
        put(store, key, content())
        below = store_key(f"{key}/2")
        try:
            put(store, below, content(seed=2))
        except UnsafeKey:
            _nothing_is_stored(store, below)
        assert check(store, key, content()).outcome is ReadBackOutcome.INTACT

    def test_sweeping_leaves_finished_objects(self, store: Store) -> None:
        key = fresh_key()
        put(store, key, content(LARGE_BYTES))
        store.sweep_unfinished(older_than=clock.now() + timedelta(hours=1))
        assert check(store, key, content(LARGE_BYTES)).outcome is ReadBackOutcome.INTACT
