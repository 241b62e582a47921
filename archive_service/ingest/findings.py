"""Findings of a submission as rows: written once by the check, read by everyone else."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import Integer, bindparam, select

from archive_service.db import Work
from archive_service.findings import Finding, Severity, definition
from archive_service.models import SubmissionFinding
from archive_service.prepared import Prepared

LOCATION_LENGTH: Final = 1200
"""What a row holds of a place; a longer one is cut."""


def stored_findings(session: Work, submission_id: UUID, *, limit: int | None = None) -> list[Finding]:
    """Returns the findings of a submission in the order of the check, errors first."""
    wanted = {"submission": submission_id}
    rows = _STORED.rows(session, wanted) if limit is None else _FIRST_STORED.rows(session, {**wanted, "limit": limit})
    return [
        Finding(code=row.code, location=row.location, params=row.params, severity_override=row.severity) for row in rows
    ]


_ALL: Final = (
    select(SubmissionFinding.code, SubmissionFinding.location, SubmissionFinding.params, SubmissionFinding.severity)
    .where(SubmissionFinding.submission_id == bindparam("submission"))
    .order_by(SubmissionFinding.ordinal)
)
_STORED: Final = Prepared(_ALL)
_FIRST_STORED: Final = Prepared(_ALL.limit(bindparam("limit", type_=Integer)))


def finding_rows(submission_id: UUID, findings: Sequence[Finding]) -> list[dict[str, object]]:
    """Returns the rows for findings, errors first, then warnings, then info."""
    weight = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
    ordered = sorted(findings, key=lambda finding: weight[finding.severity])
    return [
        {
            "submission_id": submission_id,
            "ordinal": ordinal,
            "code": definition(finding.code).code,
            "severity": finding.severity,
            "location": finding.location[:LOCATION_LENGTH],
            "params": dict(finding.params),
        }
        for ordinal, finding in enumerate(ordered, start=1)
    ]
