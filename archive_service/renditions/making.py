"""Making renditions of a stored package's Office and image components (R020): after storing, as a job that blocks nothing.

Order: bytes read from a copy found right → LibreOffice in its sandbox → our own PDF/A check of the result → every copy of the storage policy
written create-only and read back → one commit: row and event. A rendition is not reproducible byte for byte, so its key holds its digest: a
retry after a crash before the commit writes another object, and the one without a row is found by the check of the store.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.access.content import StoredRange, component_range, stream
from archive_service.audit import record_event, software
from archive_service.digests import Digest, digest_stream
from archive_service.errors import ArchiveError, StoreUnavailable
from archive_service.formats import rendition as libreoffice
from archive_service.models import Aip, AipCopy, Component, EventType, Record, Rendition, RenditionFailure
from archive_service.placement import current_placement
from archive_service.scratch import Scratch
from archive_service.service import Service
from archive_service.storage.port import ReadBackOutcome, read_back, store_key

_AGENT: Final = software("renditions")
MAX_ORIGINAL_BYTES: Final = 256 * 1024 * 1024
"""Larger originals are not rendered: LibreOffice needs many times their size in memory."""


MAX_REASON_CHARS: Final = 500


class RenditionFailed(ArchiveError):
    """A rendition could not be made or stored; the original is archived all the same."""

    code = "RENDITION_FAILED"


def wants_rendition(path: str, size_bytes: int) -> bool:
    """Returns whether a component of this name and size is of a kind that is rendered."""
    return libreoffice.may_be_rendered(path) and 0 < size_bytes <= MAX_ORIGINAL_BYTES


def make_renditions(service: Service, aip_id: UUID) -> int:
    """Renders what has no rendition yet and returns how many were made; idempotent. Without LibreOffice nothing is done.

    Raises:
        RenditionFailed: for some component there is none; the others are done.
        StoreUnavailable: a location could not be read or written now; try again.
    """
    if not libreoffice.available():
        return 0
    with service.database.read() as session:
        aip = session.get_one(Aip, aip_id)
        record = session.get_one(Record, aip.record_id)
        waiting = _waiting(session, aip_id)
        copies = list(session.scalars(select(AipCopy).where(AipCopy.aip_id == aip_id)))
    failures = []
    for component in waiting:
        reason = _make(service, record, aip, component, component_range(aip, component, copies))
        if reason:
            failures.append(f"{component.component_id}: {reason}")
            with service.database.write() as session:
                session.merge(_failure(component, reason, at=clock.now()))
    if failures:
        raise RenditionFailed("; ".join(failures))
    return len(waiting)


def _failure(component: Component, reason: str, *, at: datetime) -> RenditionFailure:
    return RenditionFailure(
        aip_id=component.aip_id,
        component_id=component.component_id,
        reason=reason[:MAX_REASON_CHARS],
        failed_at=at,
    )


def _waiting(session: Session, aip_id: UUID) -> Sequence[Component]:
    done = select(Rendition.component_id).where(Rendition.aip_id == aip_id)
    query = select(Component).where(Component.aip_id == aip_id, Component.component_id.not_in(done))
    found = session.scalars(query.order_by(Component.ordinal)).all()
    return [row for row in found if wants_rendition(row.path, row.declared_size_bytes)]


def _make(service: Service, record: Record, aip: Aip, component: Component, source: StoredRange) -> str:
    """Makes and stores one rendition; returns why there is none, or an empty text."""
    with Scratch() as folder:
        original = folder / "original"
        with original.open("wb") as out:
            for chunk in stream(service.stores, source):
                out.write(chunk)
        (folder / "made").mkdir()
        made = libreoffice.render_pdfa(
            original,
            folder / "made",
            extension=Path(component.path).suffix.removeprefix("."),
            time_limit_s=service.settings.rendition_time_limit_s,
        )
        if isinstance(made, libreoffice.NotRendered):
            return made.reason
        with made.path.open("rb") as content:
            digest, size_bytes = digest_stream(content)
        key = f"renditions/{record.archiving_agency}/{str(aip.id)[:2]}/{aip.id}/{component.id}-{digest.hex[:16]}.pdf"
        copies = _store(service, record, key, made.path, digest, size_bytes)
    row = Rendition(
        aip_id=aip.id,
        component_id=component.component_id,
        store_key=key,
        sha256=digest.hex,
        size_bytes=size_bytes,
        flavour=made.flavour,
        conforms=made.conforms,
        checker=made.checker,
        problems=list(made.problems),
        page_count=made.pages,
        copies=copies,
        made_at=clock.unique_now(),
    )
    with service.database.write() as session:
        _commit(session, record, row, at=row.made_at)
    return ""


def _store(
    service: Service, record: Record, key: str, path: Path, digest: Digest, size_bytes: int
) -> list[dict[str, Any]]:
    copies = []
    for location in current_placement(service).copies(int(record.access_mode)):
        store = service.stores[location]
        with path.open("rb") as content:
            stored = store.put(store_key(key), content, expected=digest, size_bytes=size_bytes)
        answer = read_back(store, store_key(key), expected=digest, size_bytes=size_bytes, version_id=stored.version_id)
        if answer.outcome is not ReadBackOutcome.INTACT or answer.digest is None:
            raise StoreUnavailable(f"copy on {location} was not read back intact: {answer.reason}", location=location)
        copies.append(
            {
                "location": location,
                "version_id": stored.version_id,
                "read_back_sha256": answer.digest.hex,
                "verified_at": clock.now().isoformat(),
            }
        )
    return copies


def _commit(session: Session, record: Record, row: Rendition, *, at: datetime) -> None:
    session.add(row)
    session.execute(
        delete(RenditionFailure).where(
            RenditionFailure.aip_id == row.aip_id, RenditionFailure.component_id == row.component_id
        )
    )
    detail = {
        "aip_id": str(row.aip_id),
        "component_id": row.component_id,
        "key": row.store_key,
        "sha256": row.sha256,
        "flavour": row.flavour,
        "conforms": row.conforms,
        "checker": row.checker,
        "locations": [copy["location"] for copy in row.copies],
    }
    record_event(
        session,
        EventType.RECORD_RENDITION_MADE,
        record.id,
        record.archiving_agency,
        agent=_AGENT,
        at=at,
        detail=detail,
    )
