"""One-shot ZIPs and folders: the sound ones read back, each fault gives exactly its finding."""

import io
import json
import os
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from archive_service.errors import NotFound, PackageInvalid
from archive_service.packaging.dossier_zip import open_dossier_folder, open_dossier_zip
from archive_service.packaging.zip_reader import ZipLimits
from tests.unit.packaging.dossiers import body_of, component, dossier_value, write_folder

NAMES = ["giấy tờ/Đơn số 0.PDF", "giấy tờ/Đơn số 1.PDF"]


def entries() -> dict[str, bytes]:
    bodies = [body_of(0), body_of(1)]
    value = dossier_value([component(number, body) for number, body in enumerate(bodies)])
    return {"dossier.json": json.dumps(value).encode(), NAMES[0]: bodies[0], NAMES[1]: bodies[1]}


def zip_of(members: dict[str, bytes], prefix: str = "", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(prefix + name, body)
    return target.getvalue()


def codes(tmp_path: Path, content: bytes, limits: ZipLimits | None = None) -> list[str]:
    path = tmp_path / "push.zip"
    path.write_bytes(content)
    opened, findings = open_dossier_zip(path, *([limits] if limits else []))
    if opened is not None:
        opened.close()
    return [finding.code for finding in findings]


@pytest.mark.parametrize("prefix", ["", "hồ sơ/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sound_zip_reads_back(tmp_path: Path, prefix: str, method: int) -> None:
    path = tmp_path / "push.zip"
    path.write_bytes(zip_of(entries(), prefix, method))
    opened, findings = open_dossier_zip(path)
    assert opened is not None
    assert findings == []
    with opened:
        assert opened.dossier_json == entries()["dossier.json"]
        assert [b"".join(opened.read_component(item.path)) for item in opened.dossier.components] == [
            body_of(0),
            body_of(1),
        ]
        with pytest.raises(NotFound):
            opened.read_component("other.pdf")


def test_names_in_decomposed_form_are_the_same_files(tmp_path: Path) -> None:
    members = {unicodedata.normalize("NFD", name): body for name, body in entries().items()}
    assert codes(tmp_path, zip_of(members)) == []


def test_zip_streamed_with_descriptors_is_read(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.content = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, chunk: object) -> int:
            self.content += bytes(memoryview(chunk))  # type: ignore[arg-type]  # the buffer protocol is not typed here
            return memoryview(chunk).nbytes  # type: ignore[arg-type]  # as above

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in entries().items():
            archive.writestr(name, body)
    assert codes(tmp_path, bytes(pipe.content)) == []


def _renamed(name: str) -> bytes:
    return zip_of(entries() | {name: b"x"})


def _patched(old: bytes, new: bytes, content: bytes | None = None) -> bytes:
    content = zip_of(entries(), method=zipfile.ZIP_STORED) if content is None else content
    assert len(old) == len(new)
    assert old in content
    return content.replace(old, new)


def _symlink() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, body in entries().items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (0o120777 if name == NAMES[1] else 0o100644) << 16
            archive.writestr(info, body)
    return target.getvalue()


def _special() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, body in entries().items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (0o010644 if name == NAMES[1] else 0o100644) << 16
            archive.writestr(info, body)
    return target.getvalue()


def _flagged(bit: int) -> bytes:
    """The last entry's general purpose flag gets one more bit, in both headers."""
    content = bytearray(zip_of(entries(), method=zipfile.ZIP_STORED))
    central = content.rfind(b"PK\1\2")
    local = struct.unpack_from("<I", content, central + 42)[0]
    content[central + 8] |= bit
    content[local + 6] |= bit
    return bytes(content)


def _method(number: int) -> bytes:
    content = bytearray(zip_of(entries(), method=zipfile.ZIP_STORED))
    central = content.rfind(b"PK\1\2")
    local = struct.unpack_from("<I", content, central + 42)[0]
    struct.pack_into("<H", content, central + 10, number)
    struct.pack_into("<H", content, local + 8, number)
    return bytes(content)


def _overlapping() -> bytes:
    """The last entry points at the header of the one before it, as in overlap bombs."""
    members = entries()
    members[NAMES[1]] = members[NAMES[0]]
    content = bytearray(zip_of(members, method=zipfile.ZIP_STORED))
    last = content.rfind(b"PK\1\2")
    before = content.rfind(b"PK\1\2", 0, last)
    content[last + 42 : last + 46] = content[before + 42 : before + 46]
    return bytes(content)


def _local_name_differs() -> bytes:
    content = bytearray(zip_of(entries(), method=zipfile.ZIP_STORED))
    content[30:31] = b"D"
    return bytes(content)


def _twice() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, body in entries().items():
            archive.writestr(name, body)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(NAMES[1], b"other")
    return target.getvalue()


def _latin() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, body in entries().items():
            archive.writestr(name, body)
        archive.writestr("ab.txt", b"x")
    return target.getvalue().replace(b"ab.txt", b"\xe9b.txt")


def _damaged_json() -> bytes:
    content = bytearray(zip_of(entries(), method=zipfile.ZIP_STORED))
    content[45] ^= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: b"", ["PACKAGE_ZIP_UNREADABLE"]),
        (lambda: b"not a zip archive at all", ["PACKAGE_ZIP_UNREADABLE"]),
        (lambda: zip_of(entries())[:-30], ["PACKAGE_ZIP_UNREADABLE"]),
        (lambda: zip_of(entries())[100:], ["PACKAGE_ZIP_UNREADABLE"]),
        (lambda: _renamed("../evil.txt"), ["PACKAGE_PATH_TRAVERSAL"]),
        (lambda: _renamed("a/../../evil.txt"), ["PACKAGE_PATH_TRAVERSAL"]),
        (lambda: _renamed("a//b.txt"), ["PACKAGE_PATH_TRAVERSAL"]),
        (lambda: _renamed("/etc/passwd"), ["PACKAGE_PATH_ABSOLUTE"]),
        (lambda: _renamed("C:/x.txt"), ["PACKAGE_PATH_ABSOLUTE"]),
        (lambda: _patched(b"%PDFNUL", b"%PDF\0UL", zip_of({"a%PDFNUL.txt": b"", **entries()})),
         ["PACKAGE_PATH_FORBIDDEN_CHARACTER"]),
        (lambda: _renamed("a\\b.txt"), ["PACKAGE_PATH_FORBIDDEN_CHARACTER"]),
        (_latin, ["PACKAGE_NAME_ENCODING"]),
        (_symlink, ["PACKAGE_SYMLINK"]),
        (_special, ["PACKAGE_NOT_A_FILE"]),
        (_twice, ["PACKAGE_NAME_DUPLICATE"]),
        (lambda: _renamed("DOSSIER.JSON"), ["PACKAGE_NAME_COLLISION"]),
        (lambda: _flagged(1), ["PACKAGE_ENTRY_ENCRYPTED"]),
        (lambda: _method(12), ["PACKAGE_METHOD_UNSUPPORTED"]),
        (_overlapping, ["PACKAGE_HEADERS_DISAGREE", "PACKAGE_ENTRIES_OVERLAP"]),
        (_local_name_differs, ["PACKAGE_HEADERS_DISAGREE"]),
        (lambda: zip_of(entries() | {"big.txt": bytes(4_000_000)}), ["PACKAGE_ZIP_BOMB"]),
        (_damaged_json, ["PACKAGE_ENTRY_CORRUPT"]),
        (lambda: zip_of({"a/dossier.json": b"{}", "b/dossier.json": b"{}"}), ["PACKAGE_DOSSIER_JSON_MISSING"]),
        (lambda: zip_of({NAMES[0]: b"x"}), ["PACKAGE_DOSSIER_JSON_MISSING"]),
        (lambda: zip_of({name: entries()[name] for name in ("dossier.json", NAMES[0])}), ["PACKAGE_FILE_MISSING"]),
        (lambda: _renamed("extra.txt"), ["PACKAGE_FILE_UNLISTED"]),
        (lambda: _renamed("__MACOSX/._x"), ["PACKAGE_FILE_LITTER"]),
        (lambda: zip_of({"dossier.json": b"{"}), ["DOSSIER_JSON_MALFORMED"]),
    ],
)  # fmt: skip
def test_each_fault_gives_exactly_its_finding(tmp_path: Path, make: Callable[[], bytes], expected: list[str]) -> None:
    assert codes(tmp_path, make()) == expected


def test_limits(tmp_path: Path) -> None:
    assert codes(tmp_path, zip_of(entries()), ZipLimits(max_entries=2)) == ["PACKAGE_TOO_MANY_ENTRIES"]
    assert codes(tmp_path, zip_of(entries()), ZipLimits(max_total_bytes=100)) == ["PACKAGE_TOO_LARGE"]


def test_large_dossier_json_is_refused(tmp_path: Path) -> None:
    limits = ZipLimits(max_dossier_json_bytes=10)
    assert codes(tmp_path, zip_of(entries()), limits) == ["PACKAGE_DOSSIER_JSON_TOO_LARGE"]


def test_path_listed_twice(tmp_path: Path) -> None:
    body = body_of(0)
    value = dossier_value([component(0, body), component(0, body, id="again")])
    members = {"dossier.json": json.dumps(value).encode(), NAMES[0]: body}
    assert codes(tmp_path, zip_of(members)) == ["PACKAGE_PATH_LISTED_TWICE"]


def test_component_path_that_leaves_the_dossier(tmp_path: Path) -> None:
    body = body_of(0)
    value = dossier_value([component(0, body, path="../../etc/passwd")])
    found = codes(tmp_path, zip_of({"dossier.json": json.dumps(value).encode()}))
    assert found == ["PACKAGE_PATH_TRAVERSAL", "PACKAGE_FILE_MISSING"]


def test_all_reasons_come_at_once(tmp_path: Path) -> None:
    members = entries()
    del members[NAMES[1]]
    members |= {"extra.txt": b"x", "more.txt": b"y"}
    found = codes(tmp_path, zip_of(members))
    assert found == ["PACKAGE_FILE_MISSING", "PACKAGE_FILE_UNLISTED", "PACKAGE_FILE_UNLISTED"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_byte_is_found_while_streaming(tmp_path: Path, method: int) -> None:
    content = bytearray(zip_of(entries(), method=method))
    last = content.rfind(b"PK\1\2")
    local = struct.unpack_from("<I", content, last + 42)[0]
    content[local + 30 + len(NAMES[1].encode()) + 100] ^= 0x10
    path = tmp_path / "push.zip"
    path.write_bytes(content)
    opened, findings = open_dossier_zip(path)
    assert opened is not None
    assert findings == []
    with opened, pytest.raises(PackageInvalid) as caught:
        list(opened.read_component(NAMES[1]))
    assert caught.value.fields["finding"].code == "PACKAGE_ENTRY_CORRUPT"


def test_an_entry_never_unpacks_beyond_its_stated_size(tmp_path: Path) -> None:
    """A header that lies about the size is found before the surplus is handed out."""
    members = entries()
    content = bytearray(zip_of(members))
    last = content.rfind(b"PK\1\2")
    local = struct.unpack_from("<I", content, last + 42)[0]
    struct.pack_into("<I", content, last + 24, 10)
    struct.pack_into("<I", content, local + 22, 10)
    path = tmp_path / "push.zip"
    path.write_bytes(content)
    opened, _ = open_dossier_zip(path)
    assert opened is not None
    given: list[bytes] = []
    with opened, pytest.raises(PackageInvalid, match="larger"):
        given.extend(opened.read_component(NAMES[1]))
    assert given == []


def test_two_components_can_be_read_in_turns(tmp_path: Path) -> None:
    bodies = [body_of(0, 3_000_000), body_of(1, 2_500_000)]
    value = dossier_value([component(number, body) for number, body in enumerate(bodies)])
    path = tmp_path / "push.zip"
    path.write_bytes(
        zip_of({"dossier.json": json.dumps(value).encode(), **dict(zip(NAMES, bodies, strict=True))}, method=0)
    )
    opened, _ = open_dossier_zip(path)
    assert opened is not None
    with opened:
        first, second = (opened.read_component(name) for name in NAMES)
        crcs = [0, 0]
        for left in first:
            crcs[0] = zlib.crc32(left, crcs[0])
            crcs[1] = zlib.crc32(next(second, b""), crcs[1])
        for rest in second:
            crcs[1] = zlib.crc32(rest, crcs[1])
    assert crcs == [zlib.crc32(body) for body in bodies]


# ------------------------------------------------------------ folder


def test_sound_folder_reads_back(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    opened, findings = open_dossier_folder(tmp_path)
    assert opened is not None
    assert findings == []
    with opened:
        assert b"".join(opened.read_component(NAMES[1])) == body_of(1)


def folder_codes(folder: Path, limits: ZipLimits | None = None) -> list[str]:
    return [finding.code for finding in open_dossier_folder(folder, *([limits] if limits else []))[1]]


def test_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "dossier"
    paths = write_folder(folder, 2)
    outside = tmp_path / "secret"
    outside.write_bytes(paths[1].read_bytes())
    paths[1].unlink()
    paths[1].symlink_to(outside)
    assert folder_codes(folder) == ["PACKAGE_SYMLINK", "PACKAGE_FILE_MISSING"]


def test_link_inside_the_folder_is_read(tmp_path: Path) -> None:
    paths = write_folder(tmp_path, 2)
    moved = paths[1].with_name("real.bin")
    paths[1].rename(moved)
    paths[1].symlink_to(moved)
    assert folder_codes(tmp_path) == ["PACKAGE_FILE_UNLISTED"]


def test_linked_folder_and_dangling_link_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "dossier"
    write_folder(folder, 1)
    (folder / "away").symlink_to(tmp_path)
    (folder / "nowhere").symlink_to(tmp_path / "absent")
    assert folder_codes(folder) == ["PACKAGE_SYMLINK", "PACKAGE_SYMLINK"]


def test_a_pipe_is_not_a_file(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    os.mkfifo(tmp_path / "pipe")
    assert folder_codes(tmp_path) == ["PACKAGE_NOT_A_FILE"]


def test_folder_limits_and_names(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    assert folder_codes(tmp_path, ZipLimits(max_entries=2)) == ["PACKAGE_TOO_MANY_ENTRIES"]
    assert folder_codes(tmp_path, ZipLimits(max_total_bytes=10)) == ["PACKAGE_TOO_LARGE"]
    (tmp_path / "Dossier.JSON").write_bytes(b"")
    assert folder_codes(tmp_path) == ["PACKAGE_NAME_COLLISION", "PACKAGE_FILE_UNLISTED"]


def test_folders_nested_deeper_than_calls_are_read(tmp_path: Path) -> None:
    folders = [tmp_path / "d"]
    folders[0].mkdir()
    while len(folders) < 1200:
        folders.append(folders[-1] / "d")
        folders[-1].mkdir()
    (folders[-1] / "f").write_bytes(b"x")
    try:
        opened, findings = open_dossier_folder(tmp_path)
        assert opened is None
        assert [finding.code for finding in findings] == ["PACKAGE_DOSSIER_JSON_MISSING"]
    finally:
        (folders[-1] / "f").unlink()
        for folder in reversed(folders):
            folder.rmdir()
