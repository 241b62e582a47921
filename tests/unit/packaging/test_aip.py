"""The builder: archive form, names, fields, times, and what stops it."""

import io
import struct
import zipfile
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archive_service.digests import digest_bytes
from archive_service.errors import DigestMismatch, UnsafeKey
from archive_service.packaging import layout
from archive_service.packaging.aip import build_aip
from archive_service.packaging.content import AipContent
from archive_service.packaging.ead import EadDocWriter, ead_values, maintenance_code
from archive_service.packaging.profile import package_profile
from archive_service.packaging.verify import Outcome, verify_aip
from archive_service.packaging.xml_reader import parse
from archive_service.packaging.zip_writer import ZipWriter, dos_time
from tests.unit.packaging.dossiers import AT, CODE, body_of, content_of, write_folder


@pytest.fixture(name="content")
def _content(tmp_path: Path) -> AipContent:
    return content_of(tmp_path, write_folder(tmp_path, 3))


def bytes_of(content: AipContent) -> bytes:
    target = io.BytesIO()
    build_aip(content, target)
    return target.getvalue()


def test_the_result_says_what_was_written(content: AipContent) -> None:
    target = io.BytesIO()
    aip = build_aip(content, target)
    written = target.getvalue()
    assert (aip.digest, aip.size_bytes) == (digest_bytes(written), len(written))
    assert aip.file_name == f"{aip.folder}.zip"
    with zipfile.ZipFile(target) as archive:
        assert [entry.path for entry in aip.entries] == archive.namelist()
        for entry in aip.entries:
            body = archive.read(entry.path)
            assert written[entry.offset : entry.offset + entry.size_bytes] == body
            assert entry.digest == digest_bytes(body)
    data = [entry for entry in aip.entries if entry.component_id]
    assert [entry.component_id for entry in data] == ["c0", "c1", "c2"]
    assert [written[entry.offset : entry.offset + entry.size_bytes] for entry in data] == [body_of(n) for n in range(3)]


def test_every_entry_is_a_plain_stored_file(content: AipContent) -> None:
    with zipfile.ZipFile(io.BytesIO(bytes_of(content))) as archive:
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.external_attr >> 16 == 0o100644
            assert info.extra == b""
            assert info.date_time == (2025, 3, 22, 1, 2, 2)
            assert info.flag_bits == 0x800


def test_the_same_content_gives_the_same_bytes(content: AipContent) -> None:
    assert bytes_of(content) == bytes_of(content)
    assert bytes_of(content) == bytes_of(replace(content, files=tuple(content.files), findings=tuple(content.findings)))


def test_known_crc_changes_nothing_but_the_reading(tmp_path: Path) -> None:
    content = content_of(tmp_path, write_folder(tmp_path, 2, size_bytes=2_500_000))
    known = [replace(file, crc32=zlib.crc32(Path(file.source).read_bytes())) for file in content.files]
    path = tmp_path / "a.zip"
    with path.open("w+b") as target:
        aip = build_aip(content, target)
    assert path.read_bytes() == bytes_of(replace(content, files=known))
    assert aip.digest == digest_bytes(path.read_bytes())
    assert verify_aip(path).outcome is Outcome.PASSED


@pytest.mark.parametrize("size_bytes", [2000, 2_500_000])
@pytest.mark.parametrize("with_crc", [False, True])
@pytest.mark.parametrize("damage", ["changed", "shorter", "longer"])
def test_a_file_that_is_not_what_was_checked_stops_the_build(
    tmp_path: Path, size_bytes: int, damage: str, *, with_crc: bool
) -> None:
    paths = write_folder(tmp_path, 2, size_bytes=size_bytes)
    content = content_of(tmp_path, paths)
    if with_crc:
        content = replace(
            content, files=[replace(file, crc32=zlib.crc32(Path(file.source).read_bytes())) for file in content.files]
        )
    body = paths[1].read_bytes()
    paths[1].write_bytes({"changed": b"X" + body[1:], "shorter": body[:-1], "longer": body + b"X"}[damage])
    with pytest.raises(DigestMismatch):
        build_aip(content, io.BytesIO())


def test_a_wrong_crc_stops_the_build(tmp_path: Path) -> None:
    content = content_of(tmp_path, write_folder(tmp_path, 1, size_bytes=2_500_000))
    with pytest.raises(DigestMismatch, match="CRC"):
        build_aip(replace(content, files=[replace(content.files[0], crc32=1)]), io.BytesIO())


def test_names_are_safe_everywhere_and_keep_the_extension(content: AipContent) -> None:
    paths = ["a/Đơn.PDF", "scan.jpeg", "no extension", "x.tar.gz", "evil.p/d/f", "weird.thisextensionislong"]
    names = layout.data_names(content.dossier, paths, package_profile())
    assert names == [f"{CODE}.00{n}{end}" for n, end in enumerate([".pdf", ".jpeg", "", ".gz", "", ""], start=1)]
    assert layout.safe_name("hồ sơ/CON") == "h_s_CON"
    assert layout.safe_name("con.txt") == "_con.txt"
    assert layout.safe_name("...") == "_"
    assert layout.validation_names(["b c.cer", "B_c.cer"]) == {"B_c.cer": "B_c.cer", "b c.cer": "2-b_c.cer"}


def test_identity_follows_dossier_and_version(content: AipContent) -> None:
    uuid = layout.package_uuid(content)
    assert layout.package_uuid(replace(content, version=2)) != uuid
    assert layout.package_uuid(replace(content, at=datetime(2030, 1, 1, tzinfo=UTC))) == uuid
    assert layout.urn(uuid, None) == f"urn:uuid:{uuid}"
    assert layout.objid(uuid, "H40.16") == f"urn_H40.16_uuid-{uuid}"
    assert layout.objid(uuid, "../x") == f"urn_uuid_{uuid}"


def test_ead_fields(content: AipContent) -> None:
    values = ead_values(content, package_profile())
    assert list(values) == [field.name for field in package_profile().ead]
    assert (
        values
        | {
            "arcFileCode": f"H40.16.{CODE}",
            "maintenance": "05",
            "mode": "02",
            "startDate": "14/03/2025",
            "endDate": "20/03/2025",
            "totalDoc": "3",
            "numberOfPage": "6",
            "numberOfPaper": "2",
            "confidenceLevel": "03",
            "paperFileCode": CODE,
        }
        == values
    )


def test_ead_doc_fields_and_truncation(content: AipContent) -> None:
    profile = package_profile()
    writer = EadDocWriter(content, profile)
    component = replace(content.dossier.components[1], title="x" * 700, pages=12345)
    values = writer.values(component, 2)
    assert list(values) == [field.name for field in profile.ead_doc]
    assert values["docCode"] == f"H40.16.{CODE}.0000002"
    assert (values["issuedDate"], values["confidenceLevel"], values["numberOfPage"]) == ("14/03/2025", "02", "")
    subject = parse(writer.xml(component, 2)).findtext("subject")
    assert subject == "x" * 499 + "…"


@pytest.mark.parametrize(
    ("retention", "code"),
    [
        ({"kind": "PERMANENT"}, "01"),
        ({"kind": "YEARS", "years": 70}, "02"),
        ({"kind": "YEARS", "years": 10}, "06"),
        ({"kind": "YEARS", "years": 15}, "07"),
        ({"kind": "UNMATCHED", "maintenance_code": "07"}, "07"),
        ({}, "07"),
    ],
)
def test_maintenance_code(retention: dict[str, object], code: str) -> None:
    assert maintenance_code(retention, package_profile()) == code


def test_permanent_records_come_under_the_reserve_regime(content: AipContent) -> None:
    values = ead_values(replace(content, retention={"kind": "PERMANENT"}), package_profile())
    assert (values["riskRecovery"], values["riskRecoveryStatus"]) == ("1", "02")


def test_unregistered_media_types_are_declared_as_bytes(content: AipContent) -> None:
    odd = replace(content, files=[replace(file, mime="audio/x-wav") for file in content.files])
    with zipfile.ZipFile(io.BytesIO(bytes_of(odd))) as archive:
        folder = archive.namelist()[0].partition("/")[0]
        mets = archive.read(f"{folder}/{layout.REP_METS}")
        premis = archive.read(f"{folder}/{layout.REP_PREMIS}")
    assert b"audio/x-wav" not in mets
    assert mets.count(b'MIMETYPE="application/octet-stream"') == 3
    assert premis.count(b"audio/x-wav") == 6 - 3


def test_a_new_version_names_the_one_before(tmp_path: Path) -> None:
    content = content_of(tmp_path, write_folder(tmp_path, 1, record_status="REPLACEMENT"))
    second = replace(content, version=2, previous_objid="urn_uuid_1")
    with zipfile.ZipFile(io.BytesIO(bytes_of(second))) as archive:
        folder = archive.namelist()[0].partition("/")[0]
        assert b'TYPE="PREVIOUSOBJID">urn_uuid_1<' in archive.read(f"{folder}/METS.xml")
        assert b'RECORDSTATUS="REPLACEMENT"' in archive.read(f"{folder}/METS.xml")
        assert b"supersedes" in archive.read(f"{folder}/{layout.PREMIS}")


def test_naive_times_and_wrong_versions_are_refused(content: AipContent) -> None:
    with pytest.raises(ValueError, match="naive"):
        replace(content, at=datetime(2025, 1, 1))  # noqa: DTZ001 - the point of the test
    with pytest.raises(ValueError, match=r"1\.2"):
        replace(content, csip_version="1.2")
    with pytest.raises(ValueError, match="first is 1"):
        replace(content, version=0)


def test_dos_time_stays_in_its_range() -> None:
    assert dos_time(datetime(1970, 1, 1, tzinfo=UTC)) == (0, 0 << 9 | 1 << 5 | 1)
    assert dos_time(datetime(2200, 12, 31, 23, 59, 59, tzinfo=UTC))[1] >> 9 == 127


# ------------------------------------------------------------ archive form


def test_an_entry_name_cannot_stand_twice() -> None:
    writer = ZipWriter(io.BytesIO(), at=AT)
    writer.add_bytes("a", b"")
    with pytest.raises(UnsafeKey):
        writer.add_bytes("a", b"")


def test_more_entries_than_the_old_format_counts(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with path.open("wb") as target:
        writer = ZipWriter(target, at=AT)
        for number in range(66_000):
            writer.add_bytes(f"x/{number}", b"")
        writer.finish()
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 66_000
        assert archive.namelist()[-1] == "x/65999"


class _Sparse(io.RawIOBase):
    """A file of which only written bytes outside long runs of zeros are kept: sizes over 4 GiB without the disk."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self.position = 0

    def write(self, content: object) -> int:
        view = memoryview(content)  # type: ignore[arg-type]  # bytes and memoryview come here
        if view.nbytes < 1024:
            self.pieces[self.position] = bytes(view)
        self.position += view.nbytes
        return view.nbytes


def test_offsets_beyond_four_gibibytes_use_zip64() -> None:
    target = _Sparse()
    writer = ZipWriter(target, at=AT)  # type: ignore[arg-type]  # only write is used
    zeros = bytes(1024 * 1024)
    for _ in range(4097):
        target.write(zeros)
        writer.size_bytes += len(zeros)
    entry = writer.add_bytes("far", b"!")
    _, size_bytes = writer.finish()
    assert entry.offset > 1 << 32
    tail = b"".join(piece for _, piece in sorted(target.pieces.items()))
    end = tail.index(b"PK\6\6")
    assert struct.unpack_from("<Q", tail, end + 32)[0] == 1
    assert struct.unpack_from("<Q", tail, end + 48)[0] == entry.offset + 1
    assert size_bytes == target.position
