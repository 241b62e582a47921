"""Opening a submission: one dossier code, one content, one submission, however often and however concurrently it is pushed (R002).

The identity of a content is the digest of the canonical dossier.json, which names each file's digest. The database decides races: two
partial unique indexes allow one unfinished push and one NEW push per code and archive.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Table, bindparam, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from archive_service.audit import Agent, append_event
from archive_service.db import Database, Work
from archive_service.digests import Digest
from archive_service.dossier import (
    DOSSIER_FILE_NAME,
    MAX_SIZE_BYTES,
    Dossier,
    RecordStatus,
    content_digest,
    parse_dossier,
    parse_json,
)
from archive_service.dossier_columns import component_columns, submission_columns
from archive_service.errors import ArchiveError, Conflict, ContentDiffers, NotFound
from archive_service.field_reasons import field_reason
from archive_service.findings import Finding
from archive_service.identity.permissions import Permission, Principal
from archive_service.ids import new_id
from archive_service.ingest.archived import archived_value
from archive_service.ingest.difference import differences
from archive_service.models import Component, EventType, State, Submission
from archive_service.models.states import REFUSED
from archive_service.prepared import Prepared
from archive_service.rules.component_paths import check_component_paths
from archive_service.storage.port import Store
from archive_service.storage.staging import StagingArea

ROWS_TOGETHER: Final = 1000
"""Rows of one statement: of 20,000 components only so many exist a second time as parameters."""


class DossierInvalid(ArchiveError):
    """dossier.json cannot be read as a dossier; `findings` lists every reason."""

    code = "DOSSIER_INVALID"

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(
            f"dossier.json has {len(findings)} problems", findings=[finding.as_json() for finding in findings]
        )
        self.findings = tuple(findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedDossier:
    """A dossier.json that has the right shape."""

    content: bytes
    """As received."""
    value: Any
    """The JSON value."""
    dossier: Dossier
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a push comes from (R001)."""

    principal: Principal
    source_system: str
    sent_at: datetime | None

    @property
    def agent(self) -> Agent:
        """Who pushes, as events name it."""
        return self.principal.agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The submission that stands for the pushed content."""

    submission_id: UUID
    created: bool
    """False when the same content was known already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    """An earlier push of the same code."""

    id: UUID
    state: State
    content_sha256: str | None
    settling_agency: str | None


def read_dossier(content: bytes) -> PushedDossier:
    """Reads dossier.json.

    Raises:
        DossierInvalid: it is malformed; every reason at once.
    """
    value, findings = parse_json(content)
    if findings:
        raise DossierInvalid(findings)
    dossier, findings = parse_dossier(value)
    if dossier is None:
        raise DossierInvalid(findings)
    problems = [*_repeated_ids(dossier), *_too_large(dossier), *check_component_paths(dossier.components)]
    if problems:
        raise DossierInvalid(problems)
    return PushedDossier(content=content, value=value, dossier=dossier, digest=content_digest(value))


def accepted_dossier(content: bytes) -> Dossier:
    """Returns the dossier of a dossier.json that `read_dossier` accepted when it came in: read, not judged again.

    Raises:
        DossierInvalid: it is not the one that was accepted.
    """
    dossier, findings = parse_dossier(json.loads(content.decode("utf-8-sig")))
    if dossier is None:
        raise DossierInvalid(findings)
    return dossier


def _repeated_ids(dossier: Dossier) -> list[Finding]:
    counts = Counter(component.id for component in dossier.components)
    return [
        Finding(code="COMPONENT_ID_DUPLICATE", location=name, params={"id": name, "count": count})
        for name, count in counts.items()
        if count > 1
    ]


def _too_large(dossier: Dossier) -> list[Finding]:
    total = sum(component.size_bytes for component in dossier.components)
    if total <= MAX_SIZE_BYTES:
        return []
    reason = f"sizes add up to {total} bytes, at most {MAX_SIZE_BYTES} are taken"
    return [Finding(code="DOSSIER_FIELD_INVALID", location="/components", params=field_reason(reason))]


def open_submission(  # noqa: PLR0913 - a push has these parts
    database: Database,
    staging: StagingArea,
    pushed: PushedDossier,
    origin: Origin,
    *,
    at: datetime,
    form: str = "dossier",
    submission_id: UUID | None = None,
    again: bool = False,
    stores: Mapping[str, Store] = MappingProxyType({}),
) -> Opened:
    """Returns the submission of this content, opening one when there is none.

    dossier.json is durable in staging before the row names it (DESIGN section 6). A push that lost a race finds the winner.

    Args:
        database: Where rows go.
        staging: Where bytes go.
        pushed: What was pushed.
        origin: Who pushed.
        at: Now.
        form: `dossier` or `package`.
        submission_id: Id to use, when files are staged under it already.
        stores: Storage locations, to tell where an archived dossier differs.
        again: Open a new submission although the same content was refused before (policies or trust may have changed since).

    Raises:
        ContentDiffers: the code is known with other content; the difference is told to who may see what is held.
        Conflict: a supplement or replacement for a dossier that is not archived yet, or not within the agencies of who pushes.
    """
    known = _known(database, staging, pushed, origin.principal, stores, again=again)
    if known is not None:
        return known
    submission_id = submission_id or new_id()
    staging.receive(submission_id, DOSSIER_FILE_NAME, [pushed.content], limit_bytes=len(pushed.content))
    try:
        with database.write_prepared() as work:
            _require_archived_for_supplement(work, pushed.dossier, origin.principal)
            _insert(work, submission_id, pushed, origin, at=at, form=form)
    except IntegrityError:
        # Another push of the same code came first; which one it was decides between "known" and "differs".
        if form == "dossier":
            staging.discard(submission_id)
        known = _known(database, staging, pushed, origin.principal, stores, again=again)
        if known is None:
            raise Conflict(
                f"dossier {pushed.dossier.dossier_code} is being pushed by another request; try again"
            ) from None
        return known
    except BaseException:
        if form == "dossier":
            staging.discard(submission_id)
        raise
    return Opened(submission_id=submission_id, created=True)


def _known(
    database: Database,
    staging: StagingArea,
    pushed: PushedDossier,
    principal: Principal,
    stores: Mapping[str, Store],
    *,
    again: bool,
) -> Opened | None:
    with database.read_prepared() as work:
        earlier = _earlier(work, pushed.dossier)
    same = [row for row in earlier if row.content_sha256 == pushed.digest.hex]
    active_same = [row for row in same if row.state not in REFUSED]
    if active_same:
        return Opened(submission_id=active_same[0].id, created=False)
    active = [row for row in earlier if row.state not in REFUSED]
    adds_version = pushed.dossier.record_status is not RecordStatus.NEW
    blocking = [row for row in active if not (adds_version and row.state is State.STORED)]
    if blocking:
        held = blocking[0]
        if not principal.may(Permission.SUBMISSION_READ, pushed.dossier.archiving_agency, held.settling_agency):
            # Codes can be guessed: what another agency sent is not told to who names its code.
            raise ContentDiffers(f"dossier {pushed.dossier.dossier_code} is known with other content of another agency")
        raise _content_differs(database, staging, held, pushed, stores)
    if same and not again:
        return Opened(submission_id=same[0].id, created=False)
    return None


def _earlier(work: Work, dossier: Dossier) -> Sequence[_Earlier]:
    wanted = {"code": dossier.dossier_code, "agency": dossier.archiving_agency}
    return [
        _Earlier(id=row.id, state=row.state, content_sha256=row.content_sha256, settling_agency=row.settling_agency)
        for row in _EARLIER.rows(work, wanted)
    ]


def _content_differs(
    database: Database,
    staging: StagingArea,
    held: _Earlier,
    pushed: PushedDossier,
    stores: Mapping[str, Store],
) -> ContentDiffers:
    try:
        held_value, _ = parse_json(staging.path(held.id, DOSSIER_FILE_NAME).read_bytes())
    except FileNotFoundError:
        # Archived: dossier.json is inside the package by now.
        with database.read() as session:
            held_value = archived_value(session, stores, held.id)
    if held_value is None:
        difference = [{"pointer": "", "held": f"sha256 {held.content_sha256}", "pushed": f"sha256 {pushed.digest.hex}"}]
    else:
        difference = differences(held_value, pushed.value)
    return ContentDiffers(
        f"dossier {pushed.dossier.dossier_code} is known with other content (submission {held.id}, {held.state})",
        submission_id=str(held.id),
        state=held.state.value,
        difference=difference,
    )


def _require_archived_for_supplement(work: Work, dossier: Dossier, principal: Principal) -> None:
    if dossier.record_status is RecordStatus.NEW:
        return
    archived = [row for row in _earlier(work, dossier) if row.state is State.STORED]
    # Who may not push for the agencies of the archived dossier adds nothing to it, whatever agency the supplement names.
    mine = [
        row
        for row in archived
        if principal.may(Permission.SUBMISSION_PUSH, dossier.archiving_agency, row.settling_agency)
    ]
    if not mine:
        raise Conflict(
            f"{dossier.record_status} of dossier {dossier.dossier_code}, which this archive does not hold",
            record_status=dossier.record_status.value,
        )


def _insert(work: Work, submission_id: UUID, pushed: PushedDossier, origin: Origin, *, at: datetime, form: str) -> None:
    dossier = pushed.dossier
    opened = {
        "id": submission_id,
        "state": State.RECEIVING,
        "form": form,
        "source_system": origin.source_system,
        "sent_at": origin.sent_at,
        "opened_at": at,
    }
    _ADD_SUBMISSION.run(work, opened | _columns(pushed))
    rows = ({"submission_id": submission_id, **columns} for columns in component_columns(dossier))
    while batch := list(islice(rows, ROWS_TOGETHER)):
        _ADD_COMPONENTS.run_each(work, batch)
    append_event(
        work,
        EventType.SUBMISSION_OPENED,
        subject_kind="submission",
        subject_id=submission_id,
        agency=dossier.archiving_agency,
        agent=origin.agent,
        at=at,
        detail={
            "dossier_code": dossier.dossier_code,
            "content_sha256": pushed.digest.hex,
            "components": len(dossier.components),
            "form": form,
            "source_system": origin.source_system,
            "sent_at": origin.sent_at.isoformat() if origin.sent_at else None,
        },
    )


def describe(submission: Submission, pushed: PushedDossier) -> None:
    """Copies into the row what lists and filters need of dossier.json."""
    for name, value in _columns(pushed).items():
        setattr(submission, name, value)


def _columns(pushed: PushedDossier) -> dict[str, Any]:
    return submission_columns(pushed.dossier, pushed.digest) | {"policies": {}}


_ADD_SUBMISSION: Final = Prepared(insert(cast("Table", Submission.__table__)).inline())
_ADD_COMPONENTS: Final = Prepared(insert(cast("Table", Component.__table__)).inline())
_EARLIER: Final = Prepared(
    select(Submission.id, Submission.state, Submission.content_sha256, Submission.settling_agency)
    .where(Submission.dossier_code == bindparam("code"), Submission.archiving_agency == bindparam("agency"))
    .order_by(Submission.opened_at.desc(), Submission.id.desc())
)


def find_submission(session: Session, submission_id: UUID) -> Submission:
    """Returns a submission.

    Raises:
        NotFound: no such submission.
    """
    submission = session.get(Submission, submission_id)
    if submission is None:
        raise NotFound(f"submission {submission_id} not found")
    return submission
