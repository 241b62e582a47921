"""The filesystem store: the contract, and what is its own: layout, locks in files, damage on the disk."""

import errno
import json
import multiprocessing
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_service import clock
from archive_service.errors import Retained, StoredObjectDiffers, StoreUnavailable, UnsafeKey
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import ReadBackOutcome, Store, StoreKey, store_key
from tests.storage.content import DISPOSITION, Content, check, content, fresh_key, put
from tests.storage.contract import StoreContract

DAMAGED = ReadBackOutcome.DAMAGED


class TestFilesystemContract(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FilesystemStore("kho-1", tmp_path / "kho-1")


@pytest.fixture
def store(tmp_path: Path) -> FilesystemStore:
    return FilesystemStore("kho-1", tmp_path / "kho-1")


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    return tmp_path / "kho-1" / "objects"


def _only_file(folder: Path) -> Path:
    (path,) = [path for path in folder.rglob("*") if path.is_file()]
    return path


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize("place", [0, 1, 35_000, 69_999])
@pytest.mark.parametrize("bit", [1, 128])
def test_one_flipped_bit_is_damage(store: FilesystemStore, objects: Path, place: int, bit: int) -> None:
    put(store, key := fresh_key(), what := content())
    _overwrite(_only_file(objects), place, bytes([what.bytes_[place] ^ bit]))
    found = check(store, key, what)
    assert (found.outcome, found.size_bytes) == (DAMAGED, what.size_bytes)
    assert found.digest not in {None, what.digest}
    with pytest.raises(StoredObjectDiffers):
        put(store, key, what)


def _overwrite(path: Path, place: int, with_: bytes) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(with_)


@pytest.mark.parametrize("size_bytes", [0, 1, 69_999, 70_001, 5_000_000])
def test_another_length_is_damage(store: FilesystemStore, objects: Path, size_bytes: int) -> None:
    put(store, key := fresh_key(), what := content())
    os.truncate(_only_file(objects), size_bytes)
    found = check(store, key, what)
    assert found.outcome is DAMAGED
    assert found.size_bytes <= what.size_bytes + 1


@settings(deadline=None, max_examples=60)  # each example writes and flushes files
@given(st.data())
def test_any_flipped_byte_is_damage(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = FilesystemStore("kho-1", root := tmp_path_factory.mktemp("kho"))
    what = Content(data.draw(st.binary(min_size=1, max_size=300)))
    put(store, key := fresh_key(), what)
    place = data.draw(st.integers(0, what.size_bytes - 1))
    flip = data.draw(st.integers(1, 255))
    _overwrite(_only_file(root / "objects"), place, bytes([what.bytes_[place] ^ flip]))
    assert check(store, key, what).outcome is DAMAGED


def test_a_removed_copy_is_missing(store: FilesystemStore, objects: Path) -> None:
    put(store, key := fresh_key(), what := content())
    _only_file(objects).unlink()
    assert check(store, key, what).outcome is ReadBackOutcome.MISSING


def test_a_copy_turned_into_a_link_is_not_followed(store: FilesystemStore, objects: Path, tmp_path: Path) -> None:
    put(store, key := fresh_key(), what := content())
    path = _only_file(objects)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    found = check(store, key, what)
    assert (found.outcome, found.reason.partition(":")[0]) == (ReadBackOutcome.COULD_NOT_CHECK, "UNSAFE_KEY")
    assert list(store.list()) == []


def test_a_folder_turned_into_a_link_is_refused(store: FilesystemStore, objects: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (objects / "aip").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeKey):
        put(store, fresh_key(), content())
    assert list((tmp_path / "elsewhere").iterdir()) == []


# ------------------------------------------------------------------ layout


def test_objects_are_read_only(store: FilesystemStore, objects: Path) -> None:
    put(store, fresh_key(), content())
    assert stat.S_IMODE(_only_file(objects).stat().st_mode) & 0o222 == 0


def test_long_parts_fan_out(store: FilesystemStore, objects: Path) -> None:
    put(store, store_key("aip/1f0c1c3e-4f6b-5f0a-9c57-3d2f7a1be5d4/1.zip"), content())
    expected = objects / "aip" / "@1f0" / "1f0c1c3e-4f6b-5f0a-9c57-3d2f7a1be5d4" / "1.zip"
    assert _only_file(objects) == expected


_PARTS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,30}\Z")
_KEYS = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)


@settings(deadline=None, max_examples=40)  # each example writes and flushes files
@given(st.lists(_KEYS, min_size=1, max_size=6, unique=True))
def test_keys_and_paths_map_one_to_one(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    store = FilesystemStore("kho-1", tmp_path_factory.mktemp("kho"))
    stored: dict[StoreKey, Content] = {}
    for number, text in enumerate(keys):
        what = Content(str(number).encode())
        try:
            put(store, store_key(text), what)
        except UnsafeKey:  # continues another key after a slash, or is continued by one
            assert any(text.startswith(f"{other}/") or other.startswith(f"{text}/") for other in keys)
        else:
            stored[store_key(text)] = what
    listed = [each.key for each in store.list()]
    assert sorted(listed) == sorted(stored)
    for number, key in enumerate(listed):
        assert [each.key for each in store.list(start_after=key)] == listed[number + 1 :]
        assert check(store, key, stored[key]).outcome is ReadBackOutcome.INTACT
        for prefix in (key[: len(key) // 2], key):
            assert [each.key for each in store.list(prefix)] == [k for k in listed if k.startswith(prefix)]


@given(st.text(max_size=40))
def test_no_text_becomes_an_unsafe_key(text: str) -> None:
    try:
        key = store_key(text)
    except UnsafeKey:
        return
    parts = key.split("/")
    assert all(part and part.isascii() and part[0].isalnum() and "\0" not in part for part in parts)
    assert ".." not in parts


def test_keys_have_a_longest_form() -> None:
    part = "x" * 200
    assert store_key(part)
    for text in (part + "x", "/".join([part] * 4), "é", "a/é"):
        with pytest.raises(UnsafeKey):
            store_key(text)


# ------------------------------------------------------------------ locks


def test_a_lock_ends_by_the_clock_and_not_before(tmp_path: Path) -> None:
    moment = [datetime(2030, 1, 1, tzinfo=UTC)]
    store = FilesystemStore("kho-1", tmp_path, now=lambda: moment[0])
    until = datetime(2031, 1, 1, tzinfo=UTC)
    put(store, key := fresh_key(), content(), retain_until=until)
    for at in (until - timedelta(microseconds=1), until - timedelta(hours=1)):
        moment[0] = at
        with pytest.raises(Retained, match="2031-01-01"):
            store.delete(key, version_id=None, disposition=DISPOSITION)
    moment[0] = until
    store.delete(key, version_id=None, disposition=DISPOSITION)
    assert store.versions(key) == ()
    assert [path for path in (tmp_path / "locks").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '"x"', '{"legal_hold": false}', '{"legal_hold": false, "retain_until": "soon"}']
)
def test_an_unreadable_lock_counts_as_locked(store: FilesystemStore, tmp_path: Path, text: str) -> None:
    put(store, key := fresh_key(), content(), retain_until=clock.now())
    _only_file(tmp_path / "kho-1" / "locks").write_text(text, encoding="utf-8")
    with pytest.raises(Retained, match="unreadable"):
        store.delete(key, version_id=None, disposition=DISPOSITION)
    with pytest.raises(Retained, match="unreadable"):
        store.set_legal_hold(key, False)
    assert check(store, key, content()).outcome is ReadBackOutcome.INTACT


def test_one_changed_byte_of_a_lock_counts_as_locked(store: FilesystemStore, tmp_path: Path) -> None:
    put(store, key := fresh_key(), content(), retain_until=clock.now())
    path = _only_file(tmp_path / "kho-1" / "locks")
    good = path.read_bytes()
    for place in range(len(good)):
        harmed = bytearray(good)
        harmed[place] ^= 1 << place % 8
        path.write_bytes(harmed)
        with pytest.raises(Retained):
            store.lock(key)
    path.write_bytes(good)
    assert not store.lock(key).legal_hold


def test_a_lock_written_before_locks_had_a_digest_still_holds_and_gets_one(
    store: FilesystemStore, tmp_path: Path
) -> None:
    until = clock.now() + timedelta(days=1)
    put(store, key := fresh_key(), content(), retain_until=until)
    path = _only_file(tmp_path / "kho-1" / "locks")
    with_digest = path.read_bytes()
    before = {"key": key, "legal_hold": False, "retain_until": until.isoformat()}
    path.write_text(json.dumps(before, indent=1))
    assert (store.lock(key).retain_until, store.lock(key).legal_hold) == (until, False)
    with pytest.raises(Retained, match="locked until"):
        store.delete(key, version_id=None, disposition=DISPOSITION)
    store.set_legal_hold(key, False)
    assert path.read_bytes() == with_digest


def test_the_lock_of_another_object_counts_as_locked(store: FilesystemStore, tmp_path: Path) -> None:
    put(store, key := fresh_key(), content(), retain_until=clock.now())
    mine = _only_file(tmp_path / "kho-1" / "locks")
    put(store, other := fresh_key(), content(), retain_until=clock.now())
    (others,) = (path for path in (tmp_path / "kho-1" / "locks").rglob("*@lock") if path != mine)
    mine.write_bytes(others.read_bytes())
    assert not store.lock(other).legal_hold
    with pytest.raises(Retained):
        store.delete(key, version_id=None, disposition=DISPOSITION)


def test_locks_of_different_time_zones_compare_as_moments(store: FilesystemStore) -> None:
    put(store, key := fresh_key(), content(), retain_until=datetime(2040, 1, 1, 6, tzinfo=clock.LEGAL_ZONE))
    store.retain_until(key, datetime(2039, 12, 31, 22, tzinfo=UTC))
    assert store.lock(key).retain_until == datetime(2039, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize("other", ["a.json/b", "a.lock/b", "a-lock", "alock"])
def test_the_lock_of_one_key_is_not_in_the_way_of_another(store: FilesystemStore, other: str) -> None:
    put(store, store_key("a"), content(), retain_until=datetime(2040, 1, 1, tzinfo=UTC))
    put(store, store_key(other), content(), retain_until=datetime(2041, 1, 1, tzinfo=UTC))
    assert store.lock(store_key("a")).retain_until == datetime(2040, 1, 1, tzinfo=UTC)


def _toggle(root: Path, key: StoreKey, times: int) -> None:
    store = FilesystemStore("kho-1", root)
    for number in range(times):
        store.retain_until(key, datetime(2040, 1, 1, tzinfo=UTC) + timedelta(days=number))


def test_lock_changes_of_several_processes_do_not_undo_each_other(store: FilesystemStore, tmp_path: Path) -> None:
    put(store, key := fresh_key(), content())
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=_toggle, args=(tmp_path / "kho-1", key, times)) for times in (30, 20)]
    for other in others:
        other.start()
    for _ in range(20):
        store.set_legal_hold(key, True)
        assert store.lock(key).legal_hold
    for other in others:
        other.join(timeout=60)
        assert other.exitcode == 0
    lock = store.lock(key)
    assert lock.legal_hold
    assert lock.retain_until == datetime(2040, 1, 30, tzinfo=UTC)


# ------------------------------------------------------------------ faults of the disk


def test_the_beginning_of_other_keys_is_no_key(store: FilesystemStore) -> None:
    put(store, store_key(f"{(key := fresh_key('1'))}/2"), content())
    with pytest.raises(UnsafeKey, match="beginning of other keys"):
        put(store, key, content())
    assert check(store, key, content()).outcome is ReadBackOutcome.MISSING
    assert store.versions(key) == ()


def test_a_failing_disk_could_not_be_checked(store: FilesystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    put(store, key := fresh_key(), content())
    with store.open(key) as source:
        assert source.read(10)
    monkeypatch.setattr(os, "preadv", fail)
    found = check(store, key, content())
    assert found.outcome is ReadBackOutcome.COULD_NOT_CHECK
    assert found.reason.startswith("STORE_UNAVAILABLE")
    with store.open(key) as source, pytest.raises(StoreUnavailable):
        source.read(1)


def test_deletions_leave_a_trace_in_the_log(store: FilesystemStore, caplog: pytest.LogCaptureFixture) -> None:
    put(store, key := fresh_key(), content())
    store.delete(key, version_id=None, disposition=DISPOSITION)
    store.delete(key, version_id=None, disposition=DISPOSITION)
    (said,) = [record.getMessage() for record in caplog.records]
    assert key in said
    assert str(DISPOSITION) in said
