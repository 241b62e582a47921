"""How sealing and renewal stand: for metrics, the API and the command line."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from archive_service.evidence.algorithms import AlgorithmPolicy
from archive_service.evidence.renewal import RenewalState
from archive_service.models import AipEvidence, Event, EvidenceRenewal, FixityRun, LogSeal
from archive_service.preservation.renewal import URGENCIES, batch_plans


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceHealth:
    """The sealed log and its evidence at one moment."""

    seals: int
    unsealed_events: int
    oldest_unsealed_at: datetime | None
    """When the first event was written that no seal holds; its age is the seal lag."""
    last_sealed_at: datetime | None
    unstamped: int
    """AIPs in the log without an Evidence Record."""
    batches: int
    """Groups of Evidence Records that are renewed together."""
    due: int
    """Of these, how many must be renewed now."""
    ends_at: datetime | None
    """When the first evidence loses its value unless it is renewed."""
    renewals: int
    waiting_since: datetime | None
    """Since when a renewal is under way or waits for a time-stamp."""
    urgency: str
    """How pressing that is: empty, delayed, urgent, critical, overdue."""
    problem: str | None
    """Why it waits."""

    def lag_s(self, at: datetime) -> float:
        """Returns the age of the oldest event that is not sealed, in seconds."""
        return max(0.0, (at - self.oldest_unsealed_at).total_seconds()) if self.oldest_unsealed_at else 0.0

    def margin_s(self, at: datetime) -> float | None:
        """Returns how long the evidence still holds, in seconds; negative when it no longer does, None when there is none."""
        return (self.ends_at - at).total_seconds() if self.ends_at else None

    @property
    def urgency_level(self) -> int:
        """The urgency as a number from 0 to 4."""
        return URGENCIES.index(self.urgency)

    def as_json(self, at: datetime) -> dict[str, Any]:
        """Returns the JSON form."""
        values = {name: getattr(self, name) for name in self.__slots__}
        times = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
        return {**times, "seal_lag_s": self.lag_s(at), "renewal_margin_s": self.margin_s(at)}


def evidence_health(session: Session, policy: AlgorithmPolicy, *, at: datetime) -> EvidenceHealth:
    """Returns how sealing and renewal stand; time-stamps not looked at by a renewal yet count from the next one on."""
    sealed = select(func.count(), func.max(LogSeal.last_seq), func.max(LogSeal.sealed_at)).where(
        LogSeal.state == "SEALED"
    )
    seals, last_seq, last_sealed_at = session.execute(sealed).one()
    waiting = select(func.count(), func.min(Event.at)).where(Event.seq > (last_seq or 0))
    unsealed, oldest = session.execute(waiting).one()
    plans = batch_plans(session, policy, at=at)
    open_one = session.scalars(select(EvidenceRenewal).where(EvidenceRenewal.state == "PREPARED")).one_or_none()
    unstamped = select(func.count()).select_from(AipEvidence).where(AipEvidence.stamped_by.is_(None))
    return EvidenceHealth(
        seals=seals,
        unsealed_events=unsealed,
        oldest_unsealed_at=oldest,
        last_sealed_at=last_sealed_at,
        unstamped=session.scalar(unstamped) or 0,
        batches=len(plans),
        due=sum(item.plan.state is not RenewalState.NOT_DUE for item in plans),
        ends_at=plans[0].plan.ends_at if plans else None,
        renewals=session.scalar(select(func.count()).where(EvidenceRenewal.state == "DONE")) or 0,
        waiting_since=open_one.prepared_at if open_one else None,
        urgency=open_one.urgency if open_one else "",
        problem=open_one.problem if open_one else None,
    )


def fixity_bytes(session: Session) -> dict[str, int]:
    """Returns the bytes that all fixity runs have read, by location."""
    query = select(FixityRun.location, func.sum(FixityRun.bytes_read)).group_by(FixityRun.location)
    return {location: int(size or 0) for location, size in session.execute(query)}
