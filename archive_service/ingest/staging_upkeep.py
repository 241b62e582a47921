"""Removing staged bytes that nobody needs any more: after a refusal, after storing, and what was never finished.

What malware was found in is not removed but set aside (quarantine.py).
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import bindparam, select

from archive_service.audit import software
from archive_service.ingest.quarantine import is_infected, quarantine, sweep_quarantine
from archive_service.ingest.uploads import withdraw
from archive_service.models import State, Submission
from archive_service.models.states import IN_FLIGHT
from archive_service.prepared import Prepared
from archive_service.service import Service

_AGENT: Final = software("staging")
_STATE: Final = Prepared(select(Submission.state).where(Submission.id == bindparam("submission")))


def discard_staging(service: Service, submission_id: UUID, *, at: datetime) -> None:
    """Removes the staged bytes of a submission that is refused or stored; one still on its way is left alone."""
    with service.database.read_prepared() as work:
        submission = _STATE.first(work, {"submission": submission_id})
        infected = is_infected(work, submission_id)
    if submission is not None and submission.state in IN_FLIGHT:
        return
    if infected:
        quarantine(service, submission_id, at=at)
    service.staging.discard(submission_id)


def sweep_staging(service: Service, *, at: datetime) -> int:
    """Ends uploads nobody finished within the configured time and removes staged bytes without a living submission.

    Returns:
        How many staged submissions were removed.
    """
    oldest = at - timedelta(hours=service.settings.staging_max_age_h)
    stale = select(Submission.id).where(Submission.state == State.RECEIVING, Submission.opened_at < oldest)
    with service.database.read() as session:
        unfinished = session.scalars(stale.limit(1000)).all()
    for submission_id in unfinished:
        with service.database.write() as session:
            withdraw(session, submission_id, agent=_AGENT, at=at, reason="not completed in time")

    def needed(submission_id: UUID) -> bool:
        with service.database.read_prepared() as work:
            submission = _STATE.first(work, {"submission": submission_id})
            infected = is_infected(work, submission_id)
        waiting = submission is not None and submission.state in IN_FLIGHT
        if infected and not waiting:
            quarantine(service, submission_id, at=at)
        return waiting

    sweep_quarantine(service, at=at)
    return len(service.staging.sweep(at - timedelta(hours=1), needed))
