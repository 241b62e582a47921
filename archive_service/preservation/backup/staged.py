"""Staged bytes of submissions that are on their way: acknowledged to the sender, stored nowhere else yet.

Bytes come and go while the database's picture is taken, so the files are linked before and after it. What was acknowledged before the
picture is among the first links, unless it was stored and discarded before; what came in between is among the second. Whether the links
hold everything that the picture's rows speak of is then checked, and when not, a new picture is taken.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from archive_service.dossier import DOSSIER_FILE_NAME
from archive_service.ingest.packages import PACKAGE_NAME
from archive_service.ingest.uploads import staged_name
from archive_service.models import Component, State, Submission
from archive_service.models.states import IN_FLIGHT
from archive_service.storage import durable

AIP_NAME: Final = "aip.zip"
"""A package under construction: made again from the rest."""
FOLDER: Final = "staging"
"""Where staged files stand in a backup."""
PACKAGE_FORM: Final = "package"
NAMED_MAX: Final = 20
"""Enough names to see what is wrong."""
PAGE: Final = 1000


def link_staging(staging: Path, target: Path) -> None:
    """Links every finished file of the staging folder into `target` (copies, where links are not possible); known ones are left.

    Raises:
        StoreFull, StoreUnavailable: the target cannot be written.
    """
    for folder in _entries(staging):
        for path in _entries(folder):
            if path.name.startswith(durable.TEMPORARY_PREFIX) or path.name == AIP_NAME or path.is_dir():
                continue
            into = target / folder.name / path.name
            with durable.os_errors("link", path.name):
                into.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileExistsError, FileNotFoundError):  # linked before, or discarded meanwhile
                    _link(path, into)


def _entries(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):  # discarded meanwhile
        return sorted(folder.iterdir())
    return []


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}:
            raise
        shutil.copyfile(source, target, follow_symlinks=False)


def lacking(session: Session, linked: Path) -> list[str]:
    """Returns what the picture's rows say was acknowledged and is not among the links: submission/name, at most 20."""
    missing = []
    for submission_id, name, size_bytes in _acknowledged(session):
        path = linked / str(submission_id) / name
        if not path.is_file() or size_bytes not in {None, path.stat().st_size}:
            missing.append(f"{submission_id}/{name}")
            if len(missing) == NAMED_MAX:
                break
    return missing


def _acknowledged(session: Session) -> Iterator[tuple[UUID, str, int | None]]:
    """Yields submission, staged name and size of every file that must be there."""
    on_the_way = select(Submission.id, Submission.form, Submission.component_count, Submission.received_count).where(
        Submission.state.in_(IN_FLIGHT)
    )
    for row in session.execute(on_the_way, execution_options={"yield_per": PAGE}):
        if row.form != PACKAGE_FORM:
            yield row.id, DOSSIER_FILE_NAME, None
        elif row.received_count < max(1, row.component_count):  # not unpacked to the end
            yield row.id, PACKAGE_NAME, None
    for submission_id, ordinal, _, size_bytes in _received(session):
        yield submission_id, staged_name(ordinal), size_bytes


def _received(session: Session) -> Iterator[Row[UUID, int, str, int]]:
    query = (
        select(Component.submission_id, Component.ordinal, Component.declared_sha256, Component.declared_size_bytes)
        .join(Submission, Submission.id == Component.submission_id)
        .where(Submission.state.in_(IN_FLIGHT), Component.received_at.is_not(None))
        .order_by(Component.submission_id, Component.ordinal)
    )
    return iter(session.execute(query, execution_options={"yield_per": PAGE}))


def damaged(session: Session, members: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns which members are not the bytes that were declared and acknowledged: their names, at most 20."""
    found = (
        name
        for submission_id, ordinal, sha256, _ in _received(session)
        if members.get(name := f"{FOLDER}/{submission_id}/{staged_name(ordinal)}", {}).get("sha256") != sha256.lower()
    )
    return list(islice(found, NAMED_MAX))


def needed(session: Session, linked: Path) -> Iterator[Path]:
    """Yields the linked files of submissions that are on their way in the picture."""
    for folder in _entries(linked):
        with suppress(ValueError):
            state = session.scalar(select(Submission.state).where(Submission.id == UUID(folder.name)))
            if state is not None and State(state) in IN_FLIGHT:
                yield from _entries(folder)
