"""What the checks of a submission told, page by page: a dossier of 100,000 files may have as many findings, and as many signatures."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from archive_service.access.pages import MAX_NUMBER, Page, cut
from archive_service.errors import BadRequest
from archive_service.findings import Finding
from archive_service.models import SignatureVerdict, SubmissionFinding

FIRST_TOLD: Final = 500
"""Findings, and verdicts on signatures, told at once; the rest is asked for."""


def finding_page(
    session: Session, submission_id: UUID, *, after: int = 0, limit: int = FIRST_TOLD
) -> Page[SubmissionFinding]:
    """Returns findings in the order of the check, errors first, behind the place `after`."""
    query = (
        select(SubmissionFinding)
        .where(SubmissionFinding.submission_id == submission_id, SubmissionFinding.ordinal > after)
        .order_by(SubmissionFinding.ordinal)
        .limit(limit + 1)
    )
    return cut(session.scalars(query).all(), limit, lambda row: row.ordinal)


def findings_of(rows: Sequence[SubmissionFinding]) -> list[Finding]:
    """Returns the findings of rows."""
    return [
        Finding(code=row.code, location=row.location, params=row.params, severity_override=row.severity) for row in rows
    ]


def finding_count(session: Session, submission_id: UUID) -> int:
    """Returns how many findings there are."""
    query = select(func.count()).select_from(SubmissionFinding).where(SubmissionFinding.submission_id == submission_id)
    return session.scalar(query) or 0


def verdict_page(
    session: Session, submission_id: UUID, *, cursor: str | None = None, limit: int = FIRST_TOLD
) -> Page[SignatureVerdict]:
    """Returns verdicts by component and place in it.

    Raises:
        BadRequest: a cursor that is not ours.
    """
    place = tuple_(SignatureVerdict.component_id, SignatureVerdict.ordinal)
    query = select(SignatureVerdict).where(SignatureVerdict.submission_id == submission_id)
    if cursor is not None:
        query = query.where(place > tuple_(*_read_place(cursor)))
    rows = session.scalars(
        query.order_by(SignatureVerdict.component_id, SignatureVerdict.ordinal).limit(limit + 1)
    ).all()
    return cut(rows, limit, lambda row: _place(row.component_id, row.ordinal))


def verdict_count(session: Session, submission_id: UUID) -> int:
    """Returns how many signatures were judged."""
    query = select(func.count()).select_from(SignatureVerdict).where(SignatureVerdict.submission_id == submission_id)
    return session.scalar(query) or 0


def _place(component_id: str, ordinal: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([component_id, ordinal]).encode()).decode().rstrip("=")


def _read_place(text: str) -> tuple[str, int]:
    try:
        component_id, ordinal = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        component_id, ordinal = None, None
    if not isinstance(component_id, str) or type(ordinal) is not int or not 0 <= ordinal <= MAX_NUMBER:
        raise BadRequest(
            "cursor is not one this service gave", problems=[{"location": "cursor", "reason": "malformed"}]
        )
    return component_id, ordinal
