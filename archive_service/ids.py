"""Identifiers: random and time-ordered for rows, derived (UUIDv5) where the same input must give the same id.

Derived ids make packaging deterministic (DESIGN D4) and let a rebuild from storage produce the same rows (D5).
"""

import secrets
import threading
from typing import Final, NewType
from uuid import UUID, uuid5

from archive_service import clock

RecordId = NewType("RecordId", UUID)
SubmissionId = NewType("SubmissionId", UUID)

NAMESPACE: Final = UUID("6f0c1c3e-4f6b-5f0a-9c57-3d2f7a1be5d4")
"""Root of every derived id of this project. Never changes: archived packages carry ids made from it."""

_lock = threading.Lock()
_last_ms = 0


def new_id() -> UUID:
    """Returns a fresh UUIDv7 (RFC 9562): time-ordered, so that index pages fill in order of arrival."""
    global _last_ms  # noqa: PLW0603 - keeps ids of one process in order when the clock steps back
    with _lock:
        _last_ms = max(_last_ms, int(clock.now().timestamp() * 1000))
        millis = _last_ms
    value = (millis & ((1 << 48) - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def derived_id(kind: str, *parts: str) -> UUID:
    """Returns the UUIDv5 of `kind` and `parts`; the same input gives the same id on every machine.

    Parts are joined with their lengths, so that ("a", "bc") and ("ab", "c") differ.
    """
    return uuid5(NAMESPACE, "".join(f"{len(part)}:{part};" for part in (kind, *parts)))


def record_id(archiving_agency: str, dossier_code: str) -> RecordId:
    """Returns the id of the one record of a dossier code in an agency's archive (R002: unique per archive)."""
    return RecordId(derived_id("record", archiving_agency, dossier_code))
