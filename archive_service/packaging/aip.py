"""Building an AIP: one deterministic ZIP64 with stored entries (DESIGN D4, TT 05/2025 `AIP_hoso`).

Write order inside the archive: data files, their EAD_doc files, representation PREMIS and METS, schemas and
documentation, package metadata, METS.xml last. Each document comes after everything whose digest it carries, so every
byte is written once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final

from archive_service.digests import Digest, canonical_json
from archive_service.packaging import layout
from archive_service.packaging.content import AipContent
from archive_service.packaging.ead import EadDocWriter, ead_xml
from archive_service.packaging.mets import FileReference, MetadataReference, MetsWriter
from archive_service.packaging.premis import representation_premis, root_premis
from archive_service.packaging.profile import PackageProfile, package_profile
from archive_service.packaging.xml_text import xml_time
from archive_service.packaging.zip_writer import AipEntry, ZipWriter

__all__ = ["AipEntry", "BuiltAip", "build_aip"]

_VALIDATION_TYPES: Final = {
    ".cer": "application/pkix-cert",
    ".crt": "application/pkix-cert",
    ".der": "application/pkix-cert",
    ".crl": "application/pkix-crl",
    ".ocsp": "application/ocsp-response",
    ".ors": "application/ocsp-response",
    ".tsr": "application/timestamp-reply",
    ".tst": "application/vnd.etsi.timestamp-token",
    ".txt": "text/plain",
    ".json": "application/json",
    ".xml": "application/xml",
}
"""Media type of validation material by the extension its writer gave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltAip:
    """A finished package: identity, digest and where each file stands in it."""

    objid: str
    folder: str
    """The one folder in the ZIP; equal to `objid` (CSIP1)."""
    file_name: str
    digest: Digest
    """SHA-256 of the whole ZIP."""
    size_bytes: int
    entries: Sequence[AipEntry]
    """In the order they stand in the ZIP."""


def build_aip(content: AipContent, target: BinaryIO) -> BuiltAip:
    """Writes the AIP of `content` into `target`, which must be empty; memory does not grow with the size of files.

    Each source file is read once and compared with its expected SHA-256 in that read. The target must be seekable and
    readable when a file larger than one chunk comes without `crc32` (zip_writer).

    Raises:
        DigestMismatch: a source file is not what was checked; what was written so far is void.
        OSError: a source could not be read or the target not be written.
    """
    with ZipWriter(target, at=content.at) as archive:
        return _Builder(content, archive).build()


class _Builder:
    """One run of the builder: the archive being written and what it knows so far."""

    def __init__(self, content: AipContent, archive: ZipWriter) -> None:
        self._content = content
        self._profile: PackageProfile = package_profile()
        self._uuid = layout.package_uuid(content)
        self._urn = layout.urn(self._uuid, content.fonds_code)
        self._objid = layout.objid(self._uuid, content.fonds_code)
        self._zip = archive
        self._mets = MetsWriter(content, self._profile, self._urn)
        self._entries: list[AipEntry] = []

    def build(self) -> BuiltAip:
        representation = self._representation()
        schemas, documentation = self._support()
        described, preserved = self._metadata()
        groups = [
            ("ID-root-grp-documentation", "Documentation", [documentation]),
            ("ID-root-grp-schemas", "Schemas", schemas),
            ("ID-root-grp-rep1", f"Representations/{layout.REP_ID}", [representation]),
        ]
        self._add(layout.METS, self._mets.root(self._objid, described, preserved, groups))
        digest, size_bytes = self._zip.finish()
        return BuiltAip(
            objid=self._objid,
            folder=self._objid,
            file_name=f"{self._objid}.zip",
            digest=digest,
            size_bytes=size_bytes,
            entries=self._entries,
        )

    # ------------------------------------------------------------ representation

    def _representation(self) -> FileReference:
        content = self._content
        names = layout.data_names(content.dossier, [file.component.path for file in content.files], self._profile)
        data = self._data_entries(names)
        docs = self._document_entries()
        premis = self._parts(
            layout.REP_PREMIS, representation_premis(content, names, self._uuid, content.signature_reports)
        )
        premis_reference = MetadataReference(
            id="ID-rep1-premis",
            href=layout.REP_PREMIS.removeprefix(f"{layout.REP}/"),
            entry=premis,
            md_type="PREMIS",
            type_version="3.0",
        )
        mets = self._parts(
            layout.REP_METS,
            self._mets.representation(_described(docs), [premis_reference], self._files(data, names)),
        )
        return FileReference(id="ID-root-rep1-mets", href=layout.REP_METS, entry=mets, media_type="application/xml")

    def _data_entries(self, names: Sequence[str]) -> list[AipEntry]:
        base = f"{self._objid}/{layout.REP_DATA}/"
        entries = [
            self._zip.add_file(
                base + name,
                file.source,
                expected=file.digest,
                size_bytes=file.size_bytes,
                crc32=file.crc32,
                component_id=file.component.id,
            )
            for file, name in zip(self._content.files, names, strict=True)
        ]
        self._entries += entries
        return entries

    def _document_entries(self) -> list[AipEntry]:
        writer = EadDocWriter(self._content, self._profile)
        base = f"{self._objid}/{layout.REP_DESCRIPTIVE}/EAD_doc_"
        entries = [
            self._zip.add_bytes(f"{base}{ordinal:07d}.xml", writer.xml(file.component, ordinal))
            for ordinal, file in enumerate(self._content.files, start=1)
        ]
        self._entries += entries
        return entries

    def _files(self, data: Sequence[AipEntry], names: Sequence[str]) -> Iterator[FileReference]:
        for ordinal, (file, entry, name) in enumerate(zip(self._content.files, data, names, strict=True), start=1):
            yield FileReference(
                id=f"ID-rep1-file-{ordinal:07d}",
                href=f"data/{name}",
                entry=entry,
                media_type=self._profile.media_type(file.mime),
                owner_id=file.component.id,
                dmd_id=f"ID-rep1-dmd-{ordinal:07d}",
                adm_id="ID-rep1-premis",
            )

    # ------------------------------------------------------------ package level

    def _support(self) -> tuple[list[FileReference], FileReference]:
        schemas = [
            FileReference(
                id=f"ID-root-schema-{number}",
                href=f"{layout.SCHEMAS}/{name}",
                entry=self._add(f"{layout.SCHEMAS}/{name}", body),
                media_type="application/xml",
            )
            for number, (name, body) in enumerate(sorted(self._profile.schemas.items()), start=1)
        ]
        text = _DOCUMENTATION.format(
            code=self._content.dossier.dossier_code, urn=self._urn, csip=str(self._content.csip_version)
        )
        documentation = FileReference(
            id="ID-root-doc-1",
            href=layout.DOCUMENTATION,
            entry=self._add(layout.DOCUMENTATION, text.encode()),
            media_type="text/markdown",
        )
        return schemas, documentation

    def _metadata(self) -> tuple[list[MetadataReference], list[MetadataReference]]:
        content = self._content
        code = layout.arc_file_code(content, self._profile)
        ead = MetadataReference(
            id="ID-root-ead",
            href=layout.EAD,
            entry=self._add(layout.EAD, ead_xml(content, self._profile)),
            md_type="EAD",
        )
        premis = MetadataReference(
            id="ID-root-premis",
            href=layout.PREMIS,
            entry=self._add(layout.PREMIS, root_premis(content, self._urn, self._uuid, code)),
            md_type="PREMIS",
            type_version="3.0",
        )
        other = [
            self._other("dossier", layout.DOSSIER_JSON, content.dossier_json, "DOSSIER"),
            self._other("findings", layout.FINDINGS_JSON, canonical_json(list(content.findings)), "FINDINGS"),
            self._other("signatures", layout.SIGNATURES_JSON, canonical_json(self._reports()), "SIGNATUREREPORTS"),
            self._other("retention", layout.RETENTION_JSON, canonical_json(dict(content.retention)), "RETENTION"),
            self._other("intake", layout.INTAKE_JSON, canonical_json(dict(content.intake)), "INTAKE"),
            self._other("package", layout.PACKAGE_JSON, canonical_json(self._about()), "PACKAGE"),
        ]
        names = layout.validation_names(list(content.validation_material))
        for number, (given, name) in enumerate(names.items(), start=1):
            media_type = _VALIDATION_TYPES.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")
            body = content.validation_material[given]
            other.append(
                self._other(f"validation-{number}", f"{layout.VALIDATION}/{name}", body, "VALIDATION", media_type)
            )
        return [ead], [premis, *other]

    def _other(
        self, name: str, path: str, body: bytes, kind: str, media_type: str = "application/json"
    ) -> MetadataReference:
        return MetadataReference(
            id=f"ID-root-{name}",
            href=path,
            entry=self._add(path, body),
            md_type="OTHER",
            other_type=kind,
            media_type=media_type,
        )

    def _reports(self) -> dict[str, list[dict[str, Any]]]:
        reports = {file.component.id: [dict(item) for item in file.signatures] for file in self._content.files}
        reports |= {key: [dict(item) for item in items] for key, items in self._content.signature_reports.items()}
        return {key: items for key, items in reports.items() if items}

    def _about(self) -> dict[str, Any]:
        content = self._content
        return {
            "profile": self._profile.id,
            "profile_version": self._profile.version,
            "csip_version": str(content.csip_version),
            "software_version": content.software_version,
            "objid": self._objid,
            "urn": self._urn,
            "archive_code": content.archive_code,
            "fonds_code": content.fonds_code,
            "version": content.version,
            "previous_objid": content.previous_objid,
            "at": xml_time(content.at),
            "validation_material": layout.validation_names(list(content.validation_material)),
        }

    def _add(self, path: str, body: bytes) -> AipEntry:
        entry = self._zip.add_bytes(f"{self._objid}/{path}", body)
        self._entries.append(entry)
        return entry

    def _parts(self, path: str, parts: Iterator[bytes]) -> AipEntry:
        entry = self._zip.add_parts(f"{self._objid}/{path}", parts)
        self._entries.append(entry)
        return entry


def _described(docs: Sequence[AipEntry]) -> Iterator[MetadataReference]:
    for ordinal, entry in enumerate(docs, start=1):
        yield MetadataReference(
            id=f"ID-rep1-dmd-{ordinal:07d}",
            href=f"metadata/descriptive/EAD_doc_{ordinal:07d}.xml",
            entry=entry,
            md_type="EAD",
        )


_DOCUMENTATION: Final = """\
# Gói tin lưu trữ hồ sơ (AIP_hoso, Thông tư 05/2025/TT-BNV)

- Mã hồ sơ: {code}
- Định danh gói: {urn}
- Cấu trúc: E-ARK CSIP {csip}

Nội dung:

- METS.xml: mục lục của gói, mã băm SHA-256 của từng tệp
- metadata/descriptive/EAD.xml: 18 trường thông tin của hồ sơ
- metadata/preservation/PREMIS.xml: sự kiện, tác nhân, nguồn gốc
- metadata/other/dossier.json: dữ liệu hồ sơ đúng như khi nhận
- metadata/other: kết quả kiểm tra, báo cáo chữ ký số, thời hạn bảo quản, thông tin tiếp nhận
- metadata/other/validation: chứng thư số, CRL, OCSP, dấu thời gian dùng khi kiểm tra chữ ký
- representations/rep1/data: tài liệu, giữ nguyên từng bit
- representations/rep1/metadata: thông tin từng tài liệu (EAD_doc) và PREMIS của tệp
- schemas: lược đồ XML của các tệp trên

# Archival information package of an administrative-procedure dossier

METS.xml lists every file with its SHA-256. The documents in representations/rep1/data are the received ones, bit for
bit. To check the package by hand, compare each digest in METS.xml and representations/rep1/METS.xml with the files.
"""
