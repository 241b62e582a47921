"""One AIP object of a location read back into what its database rows are made of: digest and documents, each read and parsed once.

No database takes part, so packages are read in processes of their own, and the one that writes is left with as little as can be.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, BinaryIO, Final
from uuid import UUID

from archive_service import clock
from archive_service.digests import RunningDigest, chunks
from archive_service.dossier_columns import coded_columns, component_columns, record_columns, submission_columns
from archive_service.errors import ConfigurationInvalid, PackageInvalid, StoredObjectMissing
from archive_service.findings import Severity
from archive_service.ids import derived_id, record_id
from archive_service.packaging.aip_reader import AipDescription, description_of
from archive_service.packaging.package_view import zip_view
from archive_service.packaging.zip_reader import ZipMember, read_index
from archive_service.rules import retention
from archive_service.storage.port import Store, StoredObject, StoreKey
from archive_service.storage.ranged import opened_anywhere
from archive_service.textfold import index_terms

SIGNER_MAX_CHARACTERS: Final = 500
"""Room of the column."""
_HELD_BYTES: Final = 8 * 1024 * 1024
"""Packages up to this size are held in memory while they are read."""
_GONE: Final = "was listed, and is not there any more"
Row = Mapping[str, Any]
"""Values by column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAip:
    """One AIP object as found at a location."""

    key: str
    version_id: str | None
    sha256: str
    size_bytes: int
    location: str
    read_at: datetime
    id: UUID
    record_id: UUID
    submission_id: UUID
    objid: str
    version: int
    csip_version: str
    at: datetime
    """When the package says it was made."""
    coded: Row
    """Columns of its record that are the same for all versions."""
    described: Row
    """Columns of its record that the newest version fills."""
    submission: Row
    """Columns of its submission that do not follow from events."""
    components: Sequence[Row]
    findings: Sequence[Row]
    verdicts: Sequence[Row]
    retention_kind: str
    retention_due_on: date | None
    assignment: Row
    terms: Sequence[str]


def read_packages(store: Store, unit: Sequence[StoredObject]) -> list[StoredAip | str]:
    """Returns for each object its AIP, or what is wrong with it; one that was removed since it was listed is wrong too.

    Raises:
        StoreUnavailable: the location does not answer.
    """
    return [_read_if_there(store, item) for item in unit]


def _read_if_there(store: Store, item: StoredObject) -> StoredAip | str:
    try:
        return read_package(store, item)
    except StoredObjectMissing:
        return _GONE


def read_package(store: Store, item: StoredObject) -> StoredAip | str:
    """Returns an object's AIP, or what is wrong with it. A small package is read once; of a large one the documents are read again.

    Raises:
        StoredObjectMissing: it is not there any more.
        StoreUnavailable: the location does not answer.
    """
    with opened_anywhere(store, item.key, item.version_id) as stored:
        running = RunningDigest()
        archive = _digested(stored, running)
        try:
            return _stored_aip(store, item, running, *_described(archive))
        except PackageInvalid as exc:
            return exc.message
        except (ConfigurationInvalid, ValueError, KeyError, TypeError, AttributeError) as exc:
            return f"not an AIP of this archive, or damaged: {type(exc).__name__}: {exc}"


def unsound(store: Store, aip: StoredAip) -> str:
    """Verifies an AIP that no sealed event vouches for from its own bytes; returns what is wrong, else an empty text.

    Raises:
        StoreUnavailable: the location does not answer.
    """
    from archive_service.packaging.verify import Outcome, verify_opened  # few packages are no sealed ones

    try:
        with opened_anywhere(store, StoreKey(aip.key), aip.version_id) as archive:
            report = verify_opened(aip.key, archive)
    except StoredObjectMissing:
        return _GONE
    failed = [check.name for check in report.checks if check.outcome is Outcome.FAILED]
    return f"verification failed: {', '.join(failed)}" if failed else ""


def _digested(stored: BinaryIO, running: RunningDigest) -> BinaryIO:
    """Takes the digest of an object and returns what it is read from: memory, where it has room there."""
    size_bytes = stored.seek(0, io.SEEK_END)
    stored.seek(0)
    if size_bytes <= _HELD_BYTES:
        content = stored.read(size_bytes)
        running.update(content)
        return io.BytesIO(content)
    for chunk in chunks(stored):
        running.update(chunk)
    return stored


def _described(archive: BinaryIO) -> tuple[AipDescription, Mapping[str, ZipMember]]:
    """Returns what a package says of its dossier, and its entries by their path in its folder."""
    index = read_index(archive)
    if index.findings:
        raise PackageInvalid("not a sound ZIP archive", findings=list(index.findings))
    view = zip_view(archive, index)
    return description_of(view), {member.name.removeprefix(f"{view.folder}/"): member for member in index.members}


# ------------------------------------------------------------------ columns


def _stored_aip(
    store: Store, item: StoredObject, running: RunningDigest, metadata: AipDescription, entries: Mapping[str, ZipMember]
) -> StoredAip:
    dossier = metadata.dossier
    assignment = retention.from_json(metadata.retention)
    return StoredAip(
        key=item.key,
        version_id=item.version_id,
        sha256=running.digest().hex,
        size_bytes=running.size_bytes,
        location=store.name,
        read_at=clock.now(),
        id=derived_id("aip", metadata.objid),
        record_id=record_id(dossier.archiving_agency, dossier.dossier_code),
        submission_id=UUID(metadata.intake["submission_id"]),
        objid=metadata.objid,
        version=metadata.version,
        csip_version=str(metadata.csip_version),
        at=metadata.at,
        coded=coded_columns(dossier, metadata.archive_code),
        described=record_columns(dossier, metadata.version),
        submission=_submission(metadata),
        components=_components(metadata, entries),
        findings=[_finding(ordinal, found) for ordinal, found in enumerate(metadata.findings, start=1)],
        verdicts=[
            _verdict(component_id, ordinal, report)
            for component_id, reports in metadata.signature_reports.items()
            for ordinal, report in enumerate(reports, start=1)
        ],
        retention_kind=assignment.kind.value,
        retention_due_on=assignment.due_on,
        assignment=dict(metadata.retention),
        terms=index_terms(dossier.dossier_code, dossier.title, dossier.applicant.name),
    )


def _submission(metadata: AipDescription) -> Row:
    intake = metadata.intake
    severities = [finding["severity"] for finding in metadata.findings]
    count = len(metadata.dossier.components)
    return submission_columns(metadata.dossier, metadata.content) | {
        "form": intake["form"],
        "source_system": intake["source_system"],
        "sent_at": _time(intake["sent_at"]),
        "opened_at": _time(intake["received_at"]),
        "completed_at": _time(intake["completed_at"]),
        "checked_at": _time(intake["checked_at"]),
        "received_count": count,
        "error_count": severities.count(Severity.ERROR.value),
        "warning_count": severities.count(Severity.WARNING.value),
        "policies": intake["policies"],
        "retention": dict(metadata.retention),
    }


def _components(metadata: AipDescription, entries: Mapping[str, ZipMember]) -> list[Row]:
    files = {file.component_id: file for file in metadata.files}
    rows: list[Row] = []
    for columns in component_columns(metadata.dossier):
        file = files[columns["component_id"]]
        entry = entries[file.path]
        rows.append(
            columns
            | {
                "mime": file.mime,
                "puid": file.puid,
                "format_name": file.format_name,
                "format_version": file.format_version,
                "entry_path": entry.name,
                "entry_offset": entry.data_offset,
            }
        )
    return rows


def _finding(ordinal: int, found: Mapping[str, Any]) -> Row:
    return {
        "ordinal": ordinal,
        "code": found["code"],
        "severity": Severity(found["severity"]),
        "location": found["location"],
        "params": found["params"],
    }


def _verdict(component_id: str, ordinal: int, report: Mapping[str, Any]) -> Row:
    signer = report["signer"]
    return {
        "component_id": component_id,
        "ordinal": ordinal,
        "kind": report["kind"],
        "indication": report["indication"],
        "sub_indication": report["sub_indication"],
        "level": report["level"],
        "signer": signer[:SIGNER_MAX_CHARACTERS] if signer else None,
        "signing_time": _time(report["signing_time"]),
        "report": dict(report),
    }


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
