"""Removing copies from a retired location, one package at a time; nothing is said to be removed before its absence was read back (R124).

Order for each copy: another copy read back intact now → locks at the location looked at → record locked, holds asked, copy marked REMOVING
(commit; the database refuses it for a held record) → every version and delete marker deleted by its id, the move's id as disposition →
absence read back → REMOVED with its event (commit). A crash leaves REMOVING, and the next run goes on with the deletion.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.audit import record_event, software
from archive_service.digests import sha256
from archive_service.errors import ArchiveError, Retained, StoreUnavailable
from archive_service.legal_hold import require_unheld
from archive_service.lifecycle import locked_record
from archive_service.models import Aip, AipCopy, CertifiedCopy, EventType, ObjectCopy, Rendition, StorageMove
from archive_service.placement import Placement
from archive_service.preservation.copying import Package
from archive_service.preservation.move_steps import Outcome, Piece, SideObject
from archive_service.service import Service
from archive_service.storage.port import ReadBackOutcome, Store, StoredObject, StoreKey, read_back, store_key

_AGENT: Final = software("emptying")


def empty_one(service: Service, move: StorageMove, where: Placement, piece: Piece) -> Outcome:
    """Removes one piece from the move's location, or says why it stays; what it meets at the store never raises."""
    store = service.stores[move.location]
    try:
        if isinstance(piece, Package):
            _remove_package(service, store, move, where, piece)
        else:
            _remove_side_object(service, store, move, where, piece)
    except ArchiveError as exc:
        return Outcome(piece=piece, problem=f"{exc.code}: {exc.message}")
    return Outcome(piece=piece)


def _remove_package(service: Service, store: Store, move: StorageMove, where: Placement, package: Package) -> None:
    key = store_key(package.bytes.key)
    _require_copy_elsewhere(service, move, where, piece=package)
    found = store.versions(key)
    _require_unlocked(store, key, found)
    _mark_removing(service, move, where, package)
    try:
        _delete(store, key, found, move)
    except Retained:
        _unmark(service, move, package)
        raise
    at = clock.unique_now()
    with service.database.write() as session:
        copy = _copy_here(session, move, package)
        if copy is None or copy.state == "REMOVED":
            return
        copy.state = "REMOVED"
        record_event(
            session,
            EventType.RECORD_COPY_REMOVED,
            package.record_id,
            package.agency,
            agent=_AGENT,
            at=at,
            detail={
                "aip_id": str(package.id),
                "location": move.location,
                "key": key,
                "versions": [each.version_id for each in found if each.version_id is not None],
                "absence_read_back_at": at.isoformat(),
                "move_id": str(move.id),
            },
        )


def _mark_removing(service: Service, move: StorageMove, where: Placement, package: Package) -> None:
    with service.database.write() as session:
        require_unheld(session, locked_record(session, package.record_id).id)
        receiving = [name for name in where.layout.locations if where.receives(name)]
        query = select(func.count()).select_from(AipCopy).where(AipCopy.aip_id == package.id)
        good = session.scalar(query.where(AipCopy.location.in_(receiving), AipCopy.state == "INTACT")) or 0
        needed = where.layout.policy_for(package.access_level).minimum_copies
        if good < needed:
            raise StoreUnavailable(f"{good} intact copies elsewhere, {needed} are needed")
        copy = _copy_here(session, move, package)
        if copy is not None and copy.state != "REMOVED":
            copy.state = "REMOVING"


def _unmark(service: Service, move: StorageMove, package: Package) -> None:
    """The location refused after all: the copy is kept, and what is left of it is for the fixity check to say."""
    with service.database.write() as session:
        copy = _copy_here(session, move, package)
        if copy is not None and copy.state == "REMOVING":
            copy.state = "UNREAD"


def _copy_here(session: Session, move: StorageMove, package: Package) -> AipCopy | None:
    query = select(AipCopy).where(AipCopy.aip_id == package.id, AipCopy.location == move.location)
    return session.scalars(query.with_for_update()).one_or_none()


def _require_copy_elsewhere(service: Service, move: StorageMove, where: Placement, *, piece: Piece) -> None:
    """Refuses unless a copy at a location in use is read back intact in this very moment."""
    reasons = []
    for name, version_id in piece.bytes.sources:
        if name == move.location or not where.receives(name) or name not in service.stores:
            continue
        answer = read_back(
            service.stores[name],
            store_key(piece.bytes.key),
            expected=sha256(piece.bytes.sha256),
            size_bytes=piece.bytes.size_bytes,
            version_id=version_id,
        )
        if answer.outcome is ReadBackOutcome.INTACT:
            return
        reasons.append(f"{name}: {answer.outcome} {answer.reason}")
    raise StoreUnavailable(f"no copy elsewhere proved intact: {'; '.join(reasons) or 'none is known'}")


def _require_unlocked(store: Store, key: StoreKey, found: Sequence[StoredObject]) -> None:
    """Refuses before anything is deleted, so that a lock on one version keeps all of them."""
    if not store.capabilities.legal_hold and not store.capabilities.immutable_until:
        return
    for each in found:
        if each.delete_marker:
            continue
        lock = store.lock(key, version_id=each.version_id)
        if lock.legal_hold:
            raise Retained(f"{key} at {store.name} is under legal hold there")
        if lock.retain_until is not None and lock.retain_until > clock.now():
            raise Retained(f"{key} at {store.name} is locked until {lock.retain_until.isoformat()}")


def _delete(store: Store, key: StoreKey, found: Sequence[StoredObject], move: StorageMove) -> None:
    for each in found:
        store.delete(key, version_id=each.version_id, disposition=move.id)
    left = store.versions(key)
    if left:
        raise StoreUnavailable(f"{key} at {store.name}: {len(left)} versions are still there after deletion")


def _remove_side_object(service: Service, store: Store, move: StorageMove, where: Placement, piece: SideObject) -> None:
    key = store_key(piece.bytes.key)
    found = store.versions(key)
    with service.database.write() as session:
        query = select(Aip.record_id).join(Rendition, Rendition.aip_id == Aip.id).where(Rendition.id == piece.id)
        record_id = session.scalar(query) or session.get_one(CertifiedCopy, piece.id).record_id
        require_unheld(session, locked_record(session, record_id).id)
    if found:
        _require_copy_elsewhere(service, move, where, piece=piece)
        _require_unlocked(store, key, found)
        _delete(store, key, found, move)
    with service.database.write() as session:
        rendition = session.get(Rendition, piece.id, with_for_update=True)
        if rendition is not None:
            rendition.copies = [copy for copy in rendition.copies if copy["location"] != move.location]
        here = select(ObjectCopy).where(ObjectCopy.store_key == key, ObjectCopy.location == move.location)
        for noted in session.scalars(here.with_for_update()):
            noted.state = "REMOVED"
