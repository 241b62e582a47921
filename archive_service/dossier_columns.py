"""What the database keeps of dossier.json in columns of its own, for lists and filters: said once for whoever writes such rows.

Submission and record have these columns by the same names, components theirs; receiving, storing and rebuilding give the same values.
"""

from collections.abc import Iterator
from typing import Any

from archive_service.digests import Digest
from archive_service.dossier import Dossier


def dossier_columns(dossier: Dossier) -> dict[str, Any]:
    """Returns what submission and record both keep of a dossier."""
    return {
        "settling_agency": dossier.settling_agency,
        "receiving_agency": dossier.receiving_agency,
        "procedure_code": dossier.procedure_code,
        "procedure_name": dossier.procedure_name,
        "field": dossier.field,
        "title": dossier.title,
        "applicant_name": dossier.applicant.name,
        "outcome": dossier.outcome.value,
        "access_mode": dossier.access_mode,
        "closed_at": dossier.closed_at,
    }


def submission_columns(dossier: Dossier, content: Digest) -> dict[str, Any]:
    """Returns what a submission keeps of its dossier.

    Args:
        dossier: As pushed.
        content: Digest of the canonical dossier.json.
    """
    return dossier_columns(dossier) | {
        "dossier_code": dossier.dossier_code,
        "archiving_agency": dossier.archiving_agency,
        "record_status": dossier.record_status,
        "content_sha256": content.hex,
        "component_count": len(dossier.components),
        "size_bytes": sum(component.size_bytes for component in dossier.components),
    }


def record_columns(dossier: Dossier, version: int) -> dict[str, Any]:
    """Returns what a record keeps of the dossier of its newest version."""
    return dossier_columns(dossier) | {"current_version": version}


def coded_columns(dossier: Dossier, archive_code: str) -> dict[str, Any]:
    """Returns what is the same for all versions of a record."""
    return {
        "dossier_code": dossier.dossier_code,
        "archive_file_code": f"{archive_code}.{dossier.dossier_code}",
        "archiving_agency": dossier.archiving_agency,
    }


def component_columns(dossier: Dossier) -> Iterator[dict[str, Any]]:
    """Yields what is kept of each component as it was declared, in the order of dossier.json."""
    for ordinal, component in enumerate(dossier.components, start=1):
        yield {
            "ordinal": ordinal,
            "component_id": component.id,
            "path": component.path,
            "role": component.role.value,
            "origin": component.origin.value,
            "title": component.title,
            "declared_sha256": component.sha256.lower(),
            "declared_size_bytes": component.size_bytes,
        }
