"""Durable files: there in full or not at all, and never outside their root."""

import os
import resource
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive_service import clock
from archive_service.errors import Conflict, StoreFull, StoreUnavailable, UnsafeKey
from archive_service.storage import durable
from archive_service.storage.port import StoreAccessDenied

PROJECT = Path(__file__).resolve().parents[2]


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_becomes_visible_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file"
    with durable.durable_file(target) as file:
        file.write(b"head----body")
        file.seek(4)
        file.write(b"####")
        file.seek(0)
        assert file.read() == b"head####body"
        assert not target.exists()
    assert target.read_bytes() == b"head####body"
    assert stat.S_IMODE(target.stat().st_mode) == durable.FILE_MODE
    assert _names(target.parent) == ["file"]


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with durable.durable_file(tmp_path / "file") as file:
            file.write(b"x" * 3_000_000)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert _names(tmp_path) == []


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"first")

    def write() -> None:
        with durable.durable_file(target) as file:
            file.write(b"second")

    with pytest.raises(Conflict):
        write()
    assert target.read_bytes() == b"first"
    assert _names(tmp_path) == ["file"]


def test_replacing_keeps_the_old_one_on_failure(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"first")
    with durable.DurableFile(target, replace=True) as writing:
        writing.file.write(b"second")
    assert target.read_bytes() == b"first"
    with durable.durable_file(target, replace=True) as file:
        file.write(b"third")
    assert target.read_bytes() == b"third"
    assert _names(tmp_path) == ["file"]


def test_a_link_put_in_the_place_of_the_target_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"theirs")
    target = tmp_path / "file"
    target.symlink_to(outside)
    with durable.durable_file(target, replace=True) as file:
        file.write(b"ours")
    assert not target.is_symlink()
    assert outside.read_bytes() == b"theirs"
    target.unlink()
    target.symlink_to(outside)
    with pytest.raises(OSError, match=r"symbolic|Too many"):
        durable.open_regular(target)


def test_a_folder_is_no_regular_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        durable.open_regular(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(FileNotFoundError):
        durable.open_regular(fifo)


@pytest.mark.parametrize(
    "relative", ["", "/", "/etc", "..", "a/..", "a/../b", "./a", "a//b", "a/", "a\0b", "a\\b", "link/x", "a/link/x"]
)
def test_no_way_out_of_a_root(tmp_path: Path, relative: str) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (root / "link").symlink_to(tmp_path / "other")
    (root / "a" / "link").symlink_to(tmp_path / "other")
    with pytest.raises(UnsafeKey):
        durable.safe_join(root, relative)


@given(st.text(alphabet="ab./\\\0-", max_size=12))
def test_a_joined_path_is_always_below_its_root(relative: str) -> None:
    root = Path("/nowhere/root")
    try:
        path = durable.safe_join(root, relative)
    except UnsafeKey:
        return
    assert Path(os.path.normpath(path)) == path
    assert path != root
    assert path.is_relative_to(root)


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnsafeKey):
        durable.make_directories(tmp_path / "file" / "below")


def test_removing_is_idempotent(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert durable.remove(tmp_path / "file")
    assert not durable.remove(tmp_path / "file")
    assert not durable.remove(tmp_path / "no" / "folder" / "file")
    with pytest.raises(StoreUnavailable):
        durable.remove_flat_folder(_folder_with_a_folder(tmp_path))


def _folder_with_a_folder(tmp_path: Path) -> Path:
    (tmp_path / "x" / "y").mkdir(parents=True)
    return tmp_path / "x"


def test_only_old_temporaries_are_swept(tmp_path: Path) -> None:
    living = durable.DurableFile(tmp_path / "a" / "file")
    looks_alike = tmp_path / ".tmp-mine"
    looks_alike.write_bytes(b"")
    assert durable.sweep_temporaries(tmp_path, older_than=clock.now() - timedelta(hours=1)) == 0
    assert durable.sweep_temporaries(tmp_path, older_than=clock.now() + timedelta(hours=1)) == 1
    assert looks_alike.exists()
    with pytest.raises(StoreUnavailable):  # its writer is told, nothing half is published
        living.commit()
    assert not (tmp_path / "a" / "file").exists()


FULL = """
import resource, sys
from pathlib import Path
from archive_service.errors import StoreFull
from archive_service.storage import durable
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
folder = Path(sys.argv[1])
try:
    with durable.durable_file(folder / "file") as file:
        for _ in range(4):
            file.write(b"x" * 500_000)
except StoreFull as exc:
    sys.exit(0 if list(folder.iterdir()) == [] else 3)
sys.exit(4)
"""


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """The file size limit of a process stands for a full disk: the write comes back short, then fails."""
    assert resource.RLIMIT_FSIZE >= 0
    assert subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], cwd=PROJECT, check=False).returncode == 0


def test_a_really_full_disk_leaves_nothing(tmp_path: Path) -> None:
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=False).returncode
    ):
        pytest.skip("NOT RUN a full disk: a small tmpfs can be mounted by root only")
    try:

        def fill() -> None:
            with durable.durable_file(tmp_path / "file") as file:
                file.write(b"x" * 2_000_000)

        with pytest.raises(StoreFull):
            fill()
        assert _names(tmp_path) == []
        with durable.durable_file(tmp_path / "file") as file:
            file.write(b"x" * 500_000)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_read_only_disk_is_not_a_passing_fault(tmp_path: Path) -> None:
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path], check=False).returncode
    ):
        pytest.skip("NOT RUN a read-only disk: it can be mounted by root only")
    try:
        with pytest.raises(StoreAccessDenied):
            durable.DurableFile(tmp_path / "file")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
