"""Putting a dispute package together: deterministic, streamed, from copies whose bytes were found right.

The same state of the archive gives the same bytes: times inside are those of the record's last event, not of the export. A document's
package holds that document's original and the whole AIP, because what was logged and time-stamped is the AIP's digest.
"""

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

from sqlalchemy.orm import Session

from archive_service import __version__, clock
from archive_service.access import records as access
from archive_service.access.content import StoredRange, package_range, stream
from archive_service.audit import record_event
from archive_service.copies.custody_page import ROWS_MAX, custody_pdf
from archive_service.copies.originals import CopyNotPossible
from archive_service.digests import Digest, sha256
from archive_service.disputes import pages, steps
from archive_service.disputes.custody import custody_events, premis
from archive_service.errors import NotFound
from archive_service.evidence.checkpoint import parse_checkpoint
from archive_service.i18n import NAMES, translate
from archive_service.identity.permissions import Permission, Principal
from archive_service.models import Aip, EventType, Record
from archive_service.packaging.aip_reader import AipMetadata, ArchivedFile, metadata_of
from archive_service.packaging.package_view import PackageView, zip_view
from archive_service.packaging.zip_reader import read_index
from archive_service.packaging.zip_writer import AipEntry, ZipWriter
from archive_service.preservation import proofs
from archive_service.preservation.log_keys import known_keys
from archive_service.scratch import Scratch
from archive_service.service import Service

ORIGINALS_SHOWN: Final = 50
"""Commands printed for originals; beyond that the page would not be read. Every file is in SHA256SUMS."""
DETAIL_SHOWN: Final = 400
_NAME_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputePackage:
    """What was written."""

    file_name: str
    digest: Digest
    size_bytes: int
    aips: tuple[str, ...]
    """SHA-256 of each package in it."""


@dataclass(slots=True, kw_only=True)
class _Version:
    """One AIP version on its way in."""

    aip: Aip
    source: StoredRange
    bundle: dict[str, Any]
    consistency: dict[str, Any] | None = None
    folder: str = ""
    path: str = ""
    local: Path = field(default_factory=Path)
    crc32: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """Everything the database says."""

    record: Record
    versions: Sequence[_Version]
    rows: Sequence[tuple[str, str, str, str]]
    at: datetime
    """Of the last event."""
    last_seq: int
    checkpoint: str | None
    premis: Path


def write_dispute_package(
    service: Service, record_id: UUID, target: BinaryIO, principal: Principal, *, component_id: str | None = None
) -> DisputePackage:
    """Writes the package of a record, or of one of its documents, to an empty seekable file, and notes that it was given out.

    Raises:
        NotFound: no such record or document in the principal's scope.
        NotPermitted: the principal may not read it.
        StoreUnavailable: no copy of an AIP can be read now with the right bytes.
    """
    with Scratch(within=service.settings.data_dir, prefix=".dispute-") as work:
        with service.database.read() as session:
            gathered = _gather(session, record_id, principal, work, component_id=component_id)
        for version in gathered.versions:
            version.local = work / f"v{version.aip.version}.zip"
            with version.local.open("wb") as local:
                for chunk in stream(service.stores, version.source):
                    version.crc32 = zlib.crc32(chunk, version.crc32)
                    local.write(chunk)
        written = _write(service, gathered, target, component_id=component_id)
    _note(service, gathered, written, principal, component_id)
    return written


def _gather(
    session: Session, record_id: UUID, principal: Principal, work: Path, *, component_id: str | None
) -> _Gathered:
    record = access.find_record(session, record_id, principal, Permission.RECORD_READ)
    aips = sorted(access.versions(session, record_id), key=lambda aip: aip.version)
    if component_id is not None:
        access.component(session, record_id, component_id)  # NotFound when there is none
    bundles = {bundle["version"]: bundle for bundle in proofs.evidence_bundles(session, record_id)}
    versions = [
        _Version(
            aip=aip,
            source=package_range(aip, access.copies(session, [aip.id])),
            bundle=bundles[aip.version],
            folder=f"evidence/v{aip.version}",
            path=f"aip/v{aip.version}.zip",
        )
        for aip in aips
    ]
    submissions = [aip.submission_id for aip in aips]
    rows: list[tuple[str, str, str, str]] = []
    at, last_seq = record.stored_at, 0
    for event in custody_events(session, record_id, submissions):
        at, last_seq = max(at, event.at), event.seq
        if len(rows) < ROWS_MAX:
            rows.append(_row(event.at, event.type, event.agent_name, event.detail))
    path = work / "custody.premis.xml"
    with path.open("wb") as xml:
        xml.writelines(premis(record, aips, custody_events(session, record_id, submissions)))
    proven = [version.bundle["log_proof"] for version in versions if version.bundle["log_proof"] is not None]
    checkpoint = str(proven[-1]["checkpoint"]) if proven else None
    return _Gathered(
        record=record, versions=versions, rows=rows, at=at, last_seq=last_seq, checkpoint=checkpoint, premis=path
    )


def _row(at: datetime, kind: str, agent: str, detail: dict[str, Any]) -> tuple[str, str, str, str]:
    vi = NAMES["event"].get(kind, kind)
    shown = "; ".join(f"{name}: {value}" for name, value in sorted(detail.items()) if isinstance(value, str | int))
    english = translate(vi, "en")
    moment = f"{at.astimezone(clock.LEGAL_ZONE):%d/%m/%Y %H:%M:%S}"
    return moment, f"{vi}\n{english}", agent, shown if len(shown) <= DETAIL_SHOWN else f"{shown[:DETAIL_SHOWN]}…"


# ------------------------------------------------------------------ writing


def _write(service: Service, gathered: _Gathered, target: BinaryIO, *, component_id: str | None) -> DisputePackage:
    record = gathered.record
    file_name = f"{_safe(record.dossier_code)}{f'-{_safe(component_id)}' if component_id else ''}-chung-cu.zip"
    parts, originals = _parts(service, gathered, component_id)
    facts = _facts(gathered, component_id)
    told = [step for part in parts for step in part.steps]
    writer = ZipWriter(target, at=gathered.at)
    entries = [
        writer.add_bytes("README.txt", pages.text_page(facts, told, file_name).encode()),
        writer.add_bytes("README.html", pages.html_page(facts, told, file_name).encode()),
        writer.add_bytes(steps.MANIFEST, _json(_manifest(gathered, component_id))),
    ]
    for version in gathered.versions:
        entries += _version_entries(writer, version, [item for item in originals if item.version is version])
    for part in parts:
        entries += [writer.add_bytes(name, content) for name, content in sorted(part.files.items())]
    entries.append(_add(writer, "custody/custody.premis.xml", gathered.premis))
    entries.append(writer.add_bytes("custody/custody.pdf", _pdf(gathered, facts)))
    listing = "".join(f"{entry.digest.hex}  {entry.path}\n" for entry in entries)
    writer.add_bytes("SHA256SUMS", listing.encode())
    digest, size_bytes = writer.finish()
    return DisputePackage(
        file_name=file_name,
        digest=digest,
        size_bytes=size_bytes,
        aips=tuple(version.aip.sha256 for version in gathered.versions),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Original:
    version: _Version
    inside: str
    outside: str


def _parts(service: Service, gathered: _Gathered, component_id: str | None) -> tuple[list[steps.Part], list[_Original]]:
    originals = [item for version in gathered.versions for item in _originals(version, component_id)]
    if not originals:
        raise NotFound(f"component {component_id} is in no package of this record")
    shown = [
        steps.original_step(
            version.path,
            [(item.inside, item.outside) for item in originals if item.version is version][:ORIGINALS_SHOWN],
        )
        for version in gathered.versions
        if any(item.version is version for item in originals)
    ]
    keys = known_keys(service.settings)
    anchors = service.settings.tsa_anchors
    parts = [steps.Part(steps=(steps.sums_step(), *shown))]
    if gathered.checkpoint is not None:
        parts.append(steps.checkpoint_part(parse_checkpoint(gathered.checkpoint), keys))
    for version in gathered.versions:
        parts.append(steps.Part(files={f"{version.folder}/evidence.json": _json(version.bundle)}))
        if version.bundle["log_proof"] is not None:
            parts.append(steps.inclusion_part(version.folder, version.path, _json(version.bundle["log_proof"])))
        if version.bundle["evidence_record"] is not None:
            parts.append(
                steps.record_part(
                    version.folder,
                    version.path,
                    steps.decoded(version.bundle["evidence_record"]),
                    sha256(version.aip.sha256).raw,
                    anchors=anchors is not None,
                )
            )
        else:
            parts.append(steps.missing_part(version.aip.version, str(version.bundle["timestamp_problem"])))
    public = {"keys/log.vkey": "".join(f"{key.vkey()}\n" for key in keys).encode()} if keys else {}
    if anchors is not None:
        public[steps.ANCHORS] = anchors.read_bytes()
    return [*parts, steps.Part(files=public)], originals


def _originals(version: _Version, component_id: str | None) -> Iterator[_Original]:
    with version.local.open("rb") as archive:
        metadata, view = _opened(archive)
    for number, file in enumerate(metadata.files, start=1):
        if component_id in {None, file.component_id}:
            yield _Original(
                version=version,
                inside=f"{view.folder}/{file.path}",
                outside=f"originals/v{version.aip.version}/{number:04d}-{_original_name(file)}",
            )


def _opened(archive: BinaryIO) -> tuple[AipMetadata, PackageView]:
    index = read_index(archive)
    view = zip_view(archive, index)
    return metadata_of(view), view


def _original_name(file: ArchivedFile) -> str:
    return _safe(file.original_name.replace("\\", "/").rpartition("/")[2])


def _safe(name: str) -> str:
    """Returns a name that is harmless as a file name and in a command line."""
    stem, dot, suffix = name.rpartition(".")
    short = f"{stem[: _NAME_MAX - len(suffix) - 1]}{dot}{suffix}" if len(suffix) < 10 else name[:_NAME_MAX]  # noqa: PLR2004
    return re.sub(r"[^\w.-]", "_", short).strip(".") or "_"


def _version_entries(writer: ZipWriter, version: _Version, originals: Sequence[_Original]) -> Iterator[AipEntry]:
    with version.local.open("rb") as archive:
        metadata, view = _opened(archive)
        wanted = {item.inside for item in originals}
        members = {member.name: member for member in read_index(archive).members if member.name in wanted}
        digests = {f"{view.folder}/{file.path}": file.digest for file in metadata.files}
        for item in originals:
            yield writer.add_stream(
                item.outside,
                view.read(item.inside.partition("/")[2]),
                expected=digests[item.inside],
                size_bytes=members[item.inside].size_bytes,
                crc32=members[item.inside].crc,
            )
        yield writer.add_file(
            version.path,
            version.local,
            expected=sha256(version.aip.sha256),
            size_bytes=version.aip.size_bytes,
            crc32=version.crc32,
            component_id=None,
        )
        yield from _reports(writer, version, metadata, view)


def _add(writer: ZipWriter, name: str, path: Path) -> AipEntry:
    with path.open("rb") as source:
        return writer.add_parts(name, iter(lambda: source.read(1 << 20), b""))


def _reports(writer: ZipWriter, version: _Version, metadata: AipMetadata, view: PackageView) -> Iterator[AipEntry]:
    folder = f"reports/v{version.aip.version}"
    report = {"findings": list(metadata.findings), "signatures": metadata.signature_reports}
    yield writer.add_bytes(f"{folder}/validation.json", _json(report))
    for language in ("vi", "en"):
        yield writer.add_bytes(f"{folder}/findings.{language}.txt", _findings_text(metadata, language).encode())
        path = metadata.validation_material.get(f"signature-reports.{language}.txt")
        if path is not None:
            yield writer.add_parts(f"{folder}/signatures.{language}.txt", view.read(path))


def _findings_text(metadata: AipMetadata, language: str) -> str:
    title = {"vi": "Kết quả kiểm tra lúc tiếp nhận", "en": "Findings on receipt"}[language]
    none = {"vi": "Không có phát hiện nào.", "en": "No findings."}[language]
    lines = [
        f"{item['severity']:<8} {item['code']} {item['location']}: {item.get(f'message_{language}') or item['message']}"
        for item in metadata.findings
    ]
    return "\n".join([title, "", *(lines or [none])]) + "\n"


def _facts(gathered: _Gathered, component_id: str | None) -> list[tuple[str, str]]:
    record = gathered.record
    facts = [
        ("Mã hồ sơ / Dossier code", record.dossier_code),
        ("Mã lưu trữ / Archive code", record.archive_file_code),
        ("Tiêu đề / Title", record.title),
        ("Cơ quan lưu trữ / Archiving agency", record.archiving_agency),
        ("Lưu trữ từ / Archived since", f"{record.stored_at.astimezone(clock.LEGAL_ZONE):%d/%m/%Y %H:%M:%S} (UTC+7)"),
        ("Sự kiện cuối / Last event", f"{gathered.at.astimezone(clock.LEGAL_ZONE):%d/%m/%Y %H:%M:%S} (UTC+7)"),
    ]
    return facts + ([("Tài liệu / Document", component_id)] if component_id else [])


def _manifest(gathered: _Gathered, component_id: str | None) -> dict[str, Any]:
    return {
        "type": steps.PACKAGE_TYPE,
        "record_id": str(gathered.record.id),
        "dossier_code": gathered.record.dossier_code,
        "component_id": component_id,
        "last_event": gathered.last_seq,
        "software_version": __version__,
        "versions": [
            {
                "version": version.aip.version,
                "objid": version.aip.objid,
                "aip": version.path,
                "sha256": version.aip.sha256,
                "evidence": f"{version.folder}/evidence.json",
            }
            for version in gathered.versions
        ],
    }


def _pdf(gathered: _Gathered, facts: Sequence[tuple[str, str]]) -> bytes:
    title = f"{gathered.record.dossier_code}"
    try:
        return custody_pdf(title, facts, gathered.rows, at=gathered.at)
    except CopyNotPossible:  # a character no shipped font has, in a name or detail: shown as a box, the XML has it
        plain = [tuple(_printable(cell) for cell in row) for row in gathered.rows]
        return custody_pdf(
            _printable(title), [(name, _printable(value)) for name, value in facts], plain, at=gathered.at
        )


def _printable(text: str) -> str:
    return "".join(char if char.isascii() or char.isalpha() or char in "–…·" else "?" for char in text)


def _json(value: Any) -> bytes:  # JSON values are Any by nature
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _note(
    service: Service, gathered: _Gathered, written: DisputePackage, principal: Principal, component_id: str | None
) -> None:
    with service.database.write() as session:
        record_event(
            session,
            EventType.RECORD_DISPUTE_PACKAGE_READ,
            gathered.record.id,
            gathered.record.archiving_agency,
            agent=principal.agent,
            at=clock.unique_now(),
            detail={"sha256": written.digest.hex, "size_bytes": written.size_bytes, "component_id": component_id},
        )
