"""Figures worth looking at: how much came in and was stored each day, and how many records fall due each year, within the caller's scope.

Each is one query over a range of an index; nothing is counted over the whole archive but the due dates, of which there are few.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from archive_service import clock
from archive_service.access.records import record_scope
from archive_service.identity.permissions import Permission, Principal, in_scope
from archive_service.models import Record, State, Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFigures:
    """One civil day in the legal time zone."""

    on: date
    received: int
    """Submissions opened."""
    stored: int
    """Records whose package was read back from every location."""


def figures_by_day(session: Session, principal: Principal, *, until: date, days: int) -> Sequence[DayFigures]:
    """Returns the last `days` days up to `until`, that day included; 0 where the principal may not look."""
    dates = [until - timedelta(days=days - 1 - index) for index in range(days)]
    submissions = in_scope(
        principal, Permission.SUBMISSION_READ, Submission.archiving_agency, Submission.settling_agency
    )
    records = record_scope(principal, Permission.RECORD_SEARCH)
    # Every state is named so that the index of state and time is used: time alone has none.
    received = _daily(session, Submission.opened_at, dates, submissions & Submission.state.in_(list(State)))
    stored = _daily(session, Record.stored_at, dates, records)
    return [DayFigures(on=on, received=received[on], stored=stored[on]) for on in dates]


def _daily(
    session: Session, at: InstrumentedAttribute[datetime], dates: Sequence[date], scope: ColumnElement[bool]
) -> Mapping[date, int]:
    """Counts by day, in one pass over the range."""
    starts = [datetime.combine(on, time(), tzinfo=clock.LEGAL_ZONE) for on in (*dates, dates[-1] + timedelta(days=1))]
    counts = [func.sum(case((and_(at >= start, at < end), 1), else_=0)) for start, end in pairwise(starts)]
    row = session.execute(select(*counts).where(at >= starts[0], at < starts[-1], scope)).one()
    return {on: count or 0 for on, count in zip(dates, row, strict=True)}


def due_by_year(session: Session, principal: Principal) -> Mapping[int, int]:
    """Returns how many records fall due in each year that has any, ascending."""
    query = (
        select(Record.retention_due_on, func.count())
        .where(
            Record.retention_due_on.is_not(None),  # served by the index; what has no day is not drawn
            in_scope(principal, Permission.RETENTION_READ, Record.archiving_agency, Record.settling_agency),
        )
        .group_by(Record.retention_due_on)
    )
    years: Counter[int] = Counter()
    for due_on, count in session.execute(query):
        if due_on is not None:
            years[due_on.year] += count
    return dict(sorted(years.items()))
