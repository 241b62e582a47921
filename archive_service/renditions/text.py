"""Reading the text of a stored package's components, for search: after storing, as a job that blocks nothing.

Order: bytes read from a copy found right → text taken in a process with limits of time and memory → one commit per component: what came of
it, its pieces, their words in the index. All of it is derived: it is made again after a rebuild and is no part of what a rebuild compares. A
retry goes on with the components that have no row yet.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.access.content import StoredRange, component_range, stream
from archive_service.access.text_index import add_piece, pieces_of
from archive_service.db import Database
from archive_service.followup import enqueue
from archive_service.formats.limits import DEFAULT
from archive_service.formats.sandbox import LimitedWorker, Outcome
from archive_service.formats.text import ExtractedText, extract_text, takes_text
from archive_service.models import Aip, AipCopy, Component, ComponentText, JobKind, Record, TextPiece, TextStatus
from archive_service.scratch import Scratch
from archive_service.service import Service

MAX_ORIGINAL_BYTES: Final = 256 * 1024 * 1024
"""Text of larger components is not read: a file that is mostly text never gets so large, and it would be copied for nothing."""
TIME_LIMIT_S: Final = 60.0
"""Longest reading of one component's text; a book of 1,000 pages takes a few seconds."""
MAX_REASON_CHARS: Final = 500
_WITHOUT_TEXT: Final = ("image/", "audio/", "video/")
ENQUEUED_AT_ONCE: Final = 1000
"""Packages for which jobs are added in one transaction."""


def extract_texts(service: Service, aip_id: UUID) -> int:
    """Reads the text of every component that has none yet and returns how many were looked at; idempotent. None where search is off.

    Raises:
        StoreUnavailable: a component could not be read from storage now; try again.
    """
    if not service.settings.text_search:
        return 0
    with service.database.read() as session:
        aip = session.get_one(Aip, aip_id)
        record = session.get_one(Record, aip.record_id)
        waiting = _waiting(session, aip_id)
        copies = list(session.scalars(select(AipCopy).where(AipCopy.aip_id == aip_id)))
    worker = LimitedWorker(memory_limit_bytes=DEFAULT.memory_bytes)
    try:
        for component in waiting:
            found = _read(service, worker, component, component_range(aip, component, copies))
            with service.database.write() as session:
                _commit(session, record, component, found)
    finally:
        worker.close()
    return len(waiting)


def enqueue_missing(database: Database) -> int:
    """Adds a job for every package whose text was never looked at (one stored by an older version, or a rebuilt one); returns how many."""
    done = 0
    after: UUID | None = None
    while True:
        query = select(Aip.id).where(~select(ComponentText.id).where(ComponentText.aip_id == Aip.id).exists())
        if after is not None:
            query = query.where(Aip.id > after)
        with database.write() as session:
            waiting = session.scalars(query.order_by(Aip.id).limit(ENQUEUED_AT_ONCE)).all()
            for aip_id in waiting:
                enqueue(session, JobKind.EXTRACT_TEXT, aip_id, at=clock.now())
        if not waiting:
            return done
        done, after = done + len(waiting), waiting[-1]


def _waiting(session: Session, aip_id: UUID) -> Sequence[Component]:
    done = select(ComponentText.component_id).where(ComponentText.aip_id == aip_id)
    query = select(Component).where(Component.aip_id == aip_id, Component.component_id.not_in(done))
    return session.scalars(query.order_by(Component.ordinal)).all()


def _read(service: Service, worker: LimitedWorker, component: Component, source: StoredRange) -> ExtractedText:
    mime = component.mime or ""
    if not takes_text(mime):
        has_none = mime.startswith(_WITHOUT_TEXT)
        return ExtractedText(text="", complete=has_none, reason="" if has_none else f"no text is taken from {mime}")
    if source.size_bytes > MAX_ORIGINAL_BYTES:
        return ExtractedText(text="", complete=False, reason=f"larger than {MAX_ORIGINAL_BYTES} bytes")
    with Scratch() as folder:
        path = folder / "original"
        with path.open("wb") as out:
            for chunk in stream(service.stores, source):
                out.write(chunk)
        answer = worker.run(extract_text, (path, mime), time_limit_s=TIME_LIMIT_S)
    if answer.outcome is Outcome.DONE and answer.value is not None:
        return answer.value
    return ExtractedText(text="", complete=False, reason=f"{answer.outcome}: {answer.reason}")


def _commit(session: Session, record: Record, component: Component, found: ExtractedText) -> None:
    row = ComponentText(
        aip_id=component.aip_id,
        component_id=component.component_id,
        status=_status(found),
        reason=found.reason[:MAX_REASON_CHARS],
        characters=len(found.text),
        complete=found.complete,
        extracted_at=clock.now(),
    )
    session.add(row)
    session.flush()
    for ordinal, (content, words) in enumerate(pieces_of(found.text), start=1):
        piece = TextPiece(text_id=row.id, record_id=record.id, ordinal=ordinal, content=content)
        add_piece(session, piece, words)


def _status(found: ExtractedText) -> TextStatus:
    if found.text.strip():
        return TextStatus.EXTRACTED
    return TextStatus.NO_TEXT if found.complete else TextStatus.NOT_CHECKED
