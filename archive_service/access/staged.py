"""Files of a submission before the decision on it: whoever decides must be able to see what is decided on.

Bytes come from staging, where they were put with the declared digest; they are compared with it once more before they go out.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.access.submissions import find_scoped_submission
from archive_service.digests import CHUNK_BYTES, Digest, digest_stream, sha256
from archive_service.errors import Conflict, NotFound, StoredObjectMissing
from archive_service.identity.permissions import Permission, Principal
from archive_service.ingest.uploads import staged_name
from archive_service.models import Component, State, Submission
from archive_service.storage.staging import StagingArea


def find_staged(
    session: Session, submission_id: UUID, component_id: str, principal: Principal
) -> tuple[Submission, Component]:
    """Returns a component of a submission the principal may decide on.

    Raises:
        NotFound: no such submission in the principal's scope, or no such component.
        NotPermitted: the principal decides nowhere, not here, or not on records of this access mode.
        Conflict: the submission does not await a decision: before it nothing was scanned, after it the archive answers.
    """
    submission = find_scoped_submission(session, submission_id, principal, Permission.SUBMISSION_DECIDE)
    principal.require(Permission.SUBMISSION_DECIDE, submission.archiving_agency, access_mode=submission.access_mode)
    if submission.state is not State.AWAITING_APPROVAL:
        raise Conflict(f"files are opened while a submission awaits approval; this one is {submission.state}")
    query = select(Component).where(Component.submission_id == submission_id, Component.component_id == component_id)
    component = session.scalars(query).one_or_none()
    if component is None:
        raise NotFound(f"submission {submission_id} holds no component {component_id!r}")
    return submission, component


def staged_stream(
    staging: StagingArea, component: Component, *, first: int = 0, last: int | None = None
) -> Iterator[bytes]:
    """Yields bytes `first` to `last` (inclusive) of a staged component; the whole file has its declared digest, or none goes out.

    Raises:
        StoredObjectMissing: it is not in staging (any more), or not as it was received.
    """
    path = staging.path(component.submission_id, staged_name(component.ordinal))
    try:
        source = path.open("rb")
        state = os.fstat(source.fileno())
        right = _has_digest(path, state.st_ino, state.st_mtime_ns, state.st_size, sha256(component.declared_sha256))
    except OSError as exc:
        raise StoredObjectMissing(f"component {component.component_id} is not in staging: {exc.strerror}") from exc
    if not right:
        source.close()
        raise StoredObjectMissing(f"component {component.component_id} is not in staging as it was received")

    def run() -> Iterator[bytes]:
        with source:
            source.seek(first)
            left = (component.declared_size_bytes if last is None else last + 1) - first
            while left > 0 and (chunk := source.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    return run()


@lru_cache(maxsize=1000)
def _has_digest(path: Path, _inode: int, _changed_ns: int, _size_bytes: int, digest: Digest) -> bool:
    """Returns whether a file is what was declared; one that is unchanged since is not read through again for each range of it."""
    with path.open("rb") as source:
        return digest_stream(source)[0] == digest
