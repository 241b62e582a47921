"""dossier.json of a dossier that is archived already, read from its package: what a push under the same code is compared with (R002)."""

import zipfile
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.digests import canonical_json, digest_bytes
from archive_service.dossier import DOSSIER_FILE_NAME, parse_json
from archive_service.errors import StoredObjectMissing, StoreUnavailable
from archive_service.models import Aip, AipCopy, Submission
from archive_service.storage.port import Store, store_key
from archive_service.storage.ranged import seekable


def archived_value(
    session: Session, stores: Mapping[str, Store], submission_id: UUID
) -> Any:  # JSON values are Any by nature
    """Returns the JSON value of the archived dossier.json, from the first copy whose bytes are the ones that were checked.

    None when no copy can be read now: the caller then tells the two digests instead.
    """
    found = session.execute(
        select(Aip, Submission.content_sha256)
        .join(Submission, Submission.id == Aip.submission_id)
        .where(Aip.submission_id == submission_id)
    ).one_or_none()
    if found is None:
        return None
    aip, content_sha256 = found
    for copy in session.scalars(select(AipCopy).where(AipCopy.aip_id == aip.id).order_by(AipCopy.location)):
        store = stores.get(copy.location)
        if store is None:
            continue
        try:
            with (
                seekable(
                    store, store_key(aip.store_key), size_bytes=aip.size_bytes, version_id=copy.version_id
                ) as source,
                zipfile.ZipFile(source) as package,
            ):
                name = next(
                    name for name in package.namelist() if name.endswith(f"/metadata/other/{DOSSIER_FILE_NAME}")
                )
                value, _ = parse_json(package.read(name))
        except (StoredObjectMissing, StoreUnavailable, zipfile.BadZipFile, StopIteration, KeyError, OSError):
            continue
        if value is not None and digest_bytes(canonical_json(value)).hex == content_sha256:
            return value
    return None
