"""What the public verification page may say of a certified copy (R107).

Genuine or not, valid or cancelled, and the least that lets a reader compare the paper in hand. Never the content, never a person's name.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.copies.register import agency_name
from archive_service.models import CertifiedCopy


class CopyStatus(StrEnum):
    """What a code stands for."""

    VALID = "valid"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFacts:
    """Everything the public is told."""

    status: CopyStatus
    code: str
    form: str | None = None
    number: int | None = None
    year: int | None = None
    agency: str | None = None
    issued_at: datetime | None = None
    page_count: int | None = None
    original_sha256: str | None = None
    cancelled_at: datetime | None = None


def typed_code(text: str) -> str:
    """Returns a verification code as it is kept: spaces, dashes and case in what was typed do not matter."""
    return re.sub(r"[^0-9A-Za-z]", "", text)[:40].upper()


def verify_code(session: Session, text: str) -> PublicFacts:
    """Returns the public facts of a verification code as somebody typed it."""
    code = typed_code(text)
    query = select(CertifiedCopy).where(CertifiedCopy.verify_code == code, CertifiedCopy.completed_at.is_not(None))
    copy = session.scalars(query).one_or_none()
    if copy is None:
        return PublicFacts(status=CopyStatus.UNKNOWN, code=code)
    return PublicFacts(
        status=CopyStatus.CANCELLED if copy.cancelled_at else CopyStatus.VALID,
        code=code,
        form=copy.form,
        number=copy.number,
        year=copy.year,
        agency=agency_name(copy.agency),
        issued_at=copy.issued_at,
        page_count=copy.page_count,
        original_sha256=copy.original_sha256,
        cancelled_at=copy.cancelled_at,
    )
