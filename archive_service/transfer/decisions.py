"""Approving, returning and refusing checked submissions, singly or many at once, with reason and agent (R132; LESSONS 17).

Each item of a bulk decision stands on its own: what cannot be decided is reported with its reason and does not stop the rest.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, cast
from uuid import UUID

from sqlalchemy import Table, insert
from sqlalchemy.exc import DBAPIError

from archive_service.db import Database, Work
from archive_service.errors import ArchiveError, BadRequest, NotFound
from archive_service.followup import enqueue
from archive_service.identity.permissions import Permission, Principal
from archive_service.ids import new_id
from archive_service.lifecycle import lock_submission, transition
from archive_service.models import Decision, JobKind, State
from archive_service.prepared import Prepared
from archive_service.texts import require_plain

MAX_BATCH = 1000
"""Most submissions decided in one request; each is its own short transaction."""
DATABASE_FAILED: Final = "DATABASE_UNAVAILABLE"
"""Code of the items a failing database left undecided; the API answers a single decision with the same."""

_log = logging.getLogger(__name__)


class DecisionKind(StrEnum):
    """What a person may decide on a submission that awaits approval."""

    APPROVE = "approve"
    RETURN = "return"
    REJECT = "reject"


_NEXT_STATE = {
    DecisionKind.APPROVE: State.APPROVED,
    DecisionKind.RETURN: State.RETURNED,
    DecisionKind.REJECT: State.REJECTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionResult:
    """What became of one item."""

    submission_id: UUID
    decided: bool
    """Whether the decision stands, made now or before."""
    state: str | None
    repeated: bool = False
    """Whether it stood before: somebody had decided the same already."""
    error_code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What became of every item of one act, in the order given."""

    id: UUID
    results: tuple[DecisionResult, ...]

    @property
    def made(self) -> int:
        """How many decisions this act made."""
        return sum(result.decided and not result.repeated for result in self.results)


def decide(
    session: Work,
    submission_id: UUID,
    kind: DecisionKind,
    *,
    principal: Principal,
    reason: str,
    at: datetime,
    batch_id: UUID | None = None,
) -> DecisionResult:
    """Decides on one submission in the caller's transaction and returns what became of it.

    Approval queues packaging and storing; a return or refusal queues the removal of the staged bytes. The same decision by anyone on a
    submission that has it already changes nothing.

    Raises:
        BadRequest: a return or refusal without reason.
        NotPermitted: the principal may not decide for this agency.
        IllegalTransition: the submission does not await approval.
        NotFound: no such submission, or none the principal may see.
    """
    reason = require_plain(reason, "reason")
    if kind is not DecisionKind.APPROVE and not reason:
        raise BadRequest("a return or refusal needs a reason", problems=[{"location": "reason", "reason": "empty"}])
    submission = lock_submission(session, submission_id)
    if not principal.may(Permission.SUBMISSION_READ, submission.archiving_agency, submission.settling_agency):
        raise NotFound(f"submission {submission_id} not found")  # the same words as for one that does not exist
    principal.require(Permission.SUBMISSION_DECIDE, submission.archiving_agency)
    target = _NEXT_STATE[kind]
    if submission.state is target and submission.decided_at is not None:
        return DecisionResult(submission_id=submission_id, decided=True, state=target.value, repeated=True)
    transition(
        session,
        submission,
        target,
        agent=principal.agent,
        at=at,
        detail={"reason": reason, "batch_id": str(batch_id) if batch_id else None},
    )
    _ADD_DECISION.run(
        session,
        {
            "id": new_id(),
            "submission_id": submission.id,
            "kind": kind.value,
            "reason": reason,
            "agent_id": principal.agent.id,
            "agent_name": principal.agent.name,
            "decided_at": at,
            "batch_id": batch_id,
        },
    )
    follow = JobKind.STORE_SUBMISSION if kind is DecisionKind.APPROVE else JobKind.DISCARD_STAGING
    enqueue(session, follow, submission.id, at=at)
    return DecisionResult(submission_id=submission_id, decided=True, state=target.value)


_ADD_DECISION: Final = Prepared(insert(cast("Table", Decision.__table__)).inline())


def decide_many(
    database: Database,
    submission_ids: Sequence[UUID],
    kind: DecisionKind,
    *,
    principal: Principal,
    reason: str,
    at: datetime,
) -> Batch:
    """Decides on many submissions, each in its own transaction, and reports each.

    A database that fails on the way ends the act: what was decided before stands, the rest is reported as not decided and waits as it did.

    Raises:
        BadRequest: too many at once.
    """
    if len(submission_ids) > MAX_BATCH:
        raise BadRequest(f"{len(submission_ids)} submissions at once, the limit is {MAX_BATCH}")
    batch_id = new_id()
    waiting = list(dict.fromkeys(submission_ids))
    results: list[DecisionResult] = []
    for submission_id in waiting:
        try:
            with database.write_prepared() as work:
                result = decide(work, submission_id, kind, principal=principal, reason=reason, at=at, batch_id=batch_id)
        except ArchiveError as exc:
            result = _undecided(submission_id, exc.code, exc.message)
        except DBAPIError as exc:
            _log.exception("the database failed after %d of %d decisions", len(results), len(waiting))
            left = waiting[len(results) :]
            results += [
                _undecided(item, DATABASE_FAILED, f"the database failed: {type(exc).__name__}") for item in left
            ]
            break
        results.append(result)
    return Batch(id=batch_id, results=tuple(results))


def _undecided(submission_id: UUID, code: str, message: str) -> DecisionResult:
    return DecisionResult(submission_id=submission_id, decided=False, state=None, error_code=code, message=message)
