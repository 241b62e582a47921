"""Which objects must lie where, as the database's picture says, and whether they do (R122: documents together with their database)."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from archive_service.errors import ArchiveError, StoredObjectMissing
from archive_service.models import Aip, AipCopy, CertifiedCopy
from archive_service.storage import durable
from archive_service.storage.port import Store, StoredObject, store_key

PROBLEMS_MAX: Final = 100
_PAGE: Final = 500


def _copies() -> Select[str, int, str, str, str | None, str]:
    return (
        select(Aip.store_key, Aip.size_bytes, Aip.sha256, AipCopy.location, AipCopy.version_id, AipCopy.state)
        .join(AipCopy, AipCopy.aip_id == Aip.id)
        .order_by(Aip.id, AipCopy.location)
    )


def write_expected(session: Session, path: Path) -> int:
    """Writes one JSON line for each copy that must be there and for each certified copy, and returns how many."""
    count = 0
    with durable.os_errors("write", path.name), path.open("w", encoding="utf-8") as target:
        for key, size_bytes, sha256, location, version_id, state in session.execute(
            _copies(), execution_options={"yield_per": _PAGE}
        ):
            line = {"key": key, "size_bytes": size_bytes, "sha256": sha256, "location": location}
            target.write(json.dumps({**line, "version_id": version_id, "state": state}) + "\n")
            count += 1
        printed = select(CertifiedCopy.store_key, CertifiedCopy.pdf_size_bytes, CertifiedCopy.pdf_sha256).where(
            CertifiedCopy.completed_at.is_not(None)
        )
        for copy in session.execute(printed, execution_options={"yield_per": _PAGE}):
            line = {"key": copy.store_key, "size_bytes": copy.pdf_size_bytes, "sha256": copy.pdf_sha256}
            target.write(json.dumps({**line, "location": None}) + "\n")
            count += 1
    return count


def not_in_place(session: Session, stores: Mapping[str, Store]) -> list[str]:
    """Compares every location's listing with the picture: what should be there and is not, or has another size; at most 100 lines.

    Names and sizes only: whether the bytes are right is what fixity checks answer.
    """
    problems: list[str] = []
    counted = session.execute(select(AipCopy.location, func.count()).group_by(AipCopy.location))
    expected = {location: count for location, count in counted}  # noqa: C416 - rows are typed as such
    for location in sorted(expected):
        store = stores.get(location)
        if store is None:
            problems.append(f"{location}: {expected[location]} copies, and no such location is configured")
            continue
        try:
            if _in_place(session, store, location) < expected[location]:
                problems += islice(_missing(session, store, location), PROBLEMS_MAX)
        except ArchiveError as exc:
            problems.append(f"{location}: could not check: {exc.code}: {exc.message}")
    return problems[:PROBLEMS_MAX]


def _in_place(session: Session, store: Store, location: str) -> int:
    listing = store.list("aip/")
    found = 0
    while page := list(islice(listing, _PAGE)):
        found += _known(session, page, location)
    return found


def _known(session: Session, page: list[StoredObject], location: str) -> int:
    sizes = {str(item.key): item.size_bytes for item in page}
    query = (
        select(Aip.store_key, Aip.size_bytes)
        .join(AipCopy, AipCopy.aip_id == Aip.id)
        .where(AipCopy.location == location, Aip.store_key.in_(sizes))
    )
    return sum(sizes[key] == size_bytes for key, size_bytes in session.execute(query))


def _missing(session: Session, store: Store, location: str) -> Iterator[str]:
    query = _copies().where(AipCopy.location == location)
    for key, size_bytes, _, _, version_id, _ in session.execute(query, execution_options={"yield_per": _PAGE}):
        try:
            found = store.stat(store_key(key), version_id=version_id)
        except StoredObjectMissing:
            yield f"{location}: {key} is missing"
            continue
        if found.size_bytes != size_bytes:
            yield f"{location}: {key} has {found.size_bytes} bytes, expected {size_bytes}"
