"""From an approved submission to the content of its AIP: gathers rows and staged files into the packager's frozen input.

Every time and id comes from rows that no longer change (the decision's time is the package's time), so packaging again after a crash gives
the same bytes (DESIGN D4 and section 6).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, bindparam, select

from archive_service import __version__
from archive_service.db import Work
from archive_service.digests import sha256
from archive_service.dossier import DOSSIER_FILE_NAME, Dossier
from archive_service.errors import NotFound
from archive_service.ids import record_id
from archive_service.ingest.evidence import MATERIAL_FILE_NAME, load_material
from archive_service.ingest.findings import stored_findings
from archive_service.ingest.submissions import accepted_dossier
from archive_service.ingest.uploads import staged_name
from archive_service.models import Aip, Component, SignatureVerdict, State, Submission
from archive_service.packaging.content import AipContent, PackagedFile
from archive_service.prepared import Prepared
from archive_service.settings import Settings
from archive_service.storage.staging import StagingArea
from archive_service.transfer.provenance import provenance

# Statements are made once: making one costs about as much as running it.
_APPROVED: Final = Prepared(
    select(
        Submission.id,
        Submission.state,
        Submission.form,
        Submission.source_system,
        Submission.sent_at,
        Submission.opened_at,
        Submission.completed_at,
        Submission.checked_at,
        Submission.decided_at,
        Submission.content_sha256,
        Submission.policies,
        Submission.retention,
    ).where(Submission.id == bindparam("submission"))
)
_NEWEST_AIP: Final = Prepared(
    select(Aip.version, Aip.objid).where(Aip.record_id == bindparam("record")).order_by(Aip.version.desc()).limit(1)
)
_SIGNATURES: Final = Prepared(
    select(SignatureVerdict.component_id, SignatureVerdict.report)
    .where(SignatureVerdict.submission_id == bindparam("submission"))
    .order_by(SignatureVerdict.component_id, SignatureVerdict.ordinal)
)
_COMPONENTS: Final = Prepared(
    select(
        Component.ordinal,
        Component.declared_sha256,
        Component.declared_size_bytes,
        Component.crc32,
        Component.mime,
        Component.puid,
        Component.format_name,
        Component.format_version,
    )
    .where(Component.submission_id == bindparam("submission"))
    .order_by(Component.ordinal)
)


def aip_content(work: Work, staging: StagingArea, submission_id: UUID, settings: Settings) -> AipContent | None:
    """Returns everything the AIP of a submission is made of; None when it is not waiting to be stored.

    Raises:
        NotFound: no such submission.
    """
    submission = _APPROVED.first(work, {"submission": submission_id})
    if submission is None:
        raise NotFound(f"submission {submission_id} not found")
    if submission.state is not State.APPROVED or submission.decided_at is None:
        return None
    folder = staging.path(submission_id, DOSSIER_FILE_NAME).parent
    dossier_json = (folder / DOSSIER_FILE_NAME).read_bytes()
    dossier = accepted_dossier(dossier_json)
    reports = _signature_reports(work, submission_id)
    version, previous = _version(work, dossier)
    files = _files(work, folder, submission_id, dossier, reports)
    findings = stored_findings(work, submission_id)
    events, agents = provenance(work, submission_id, files, findings)
    return AipContent(
        dossier=dossier,
        dossier_json=dossier_json,
        archive_code=settings.archive_code,
        fonds_code=settings.fonds_code,
        version=version,
        previous_objid=previous,
        files=files,
        findings=[finding.as_json() for finding in findings],
        signature_reports=reports,
        validation_material=load_material(folder / MATERIAL_FILE_NAME) if reports else {},
        retention=submission.retention or {},
        intake=_intake(submission),
        events=events,
        agents=agents,
        at=submission.decided_at,
        software_version=__version__,
        csip_version=settings.csip_version,
    )


def _version(work: Work, dossier: Dossier) -> tuple[int, str | None]:
    record = record_id(dossier.archiving_agency, dossier.dossier_code)
    previous = _NEWEST_AIP.first(work, {"record": record})
    return (1, None) if previous is None else (previous.version + 1, previous.objid)


def _signature_reports(work: Work, submission_id: UUID) -> dict[str, list[dict[str, Any]]]:
    reports: dict[str, list[dict[str, Any]]] = {}
    for component_id, report in _SIGNATURES.rows(work, {"submission": submission_id}):
        reports.setdefault(component_id, []).append(report)
    return reports


def _files(
    work: Work,
    folder: Path,
    submission_id: UUID,
    dossier: Dossier,
    reports: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[PackagedFile]:
    rows = _COMPONENTS.rows(work, {"submission": submission_id})
    return [
        PackagedFile(
            component=component,
            source=f"{folder}/{staged_name(row.ordinal)}",
            digest=sha256(row.declared_sha256),
            size_bytes=row.declared_size_bytes,
            mime=intern(row.mime or "application/octet-stream"),
            puid=row.puid and intern(row.puid),
            format_name=intern(row.format_name or "unknown"),
            format_version=row.format_version and intern(row.format_version),
            signatures=tuple(reports.get(component.id, ())),
            crc32=row.crc32,
        )
        for component, row in zip(dossier.components, rows, strict=True)
    ]


def _intake(submission: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    return {
        "submission_id": str(submission.id),
        "form": submission.form,
        "source_system": submission.source_system,
        "sent_at": submission.sent_at.isoformat() if submission.sent_at else None,
        "received_at": submission.opened_at.isoformat(),
        "completed_at": submission.completed_at.isoformat() if submission.completed_at else None,
        "checked_at": submission.checked_at.isoformat() if submission.checked_at else None,
        "content_sha256": submission.content_sha256,
        "policies": submission.policies,
    }
