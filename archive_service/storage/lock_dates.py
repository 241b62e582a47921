"""Until when a location locks a package: retention as Object Lock (LESSONS 3: 7).

A package with a due date is locked to the beginning of that day, never beyond it: a lock must not outlast the duty to keep. One kept for
ever, or whose date is not known, is locked to the end of a year some years on and extended every year. A hold is no date: it is the
location's legal hold, set and lifted apart.
"""

from datetime import UTC, date, datetime, time

from archive_service import clock
from archive_service.storage.locations import LocationSpec


def lock_date(spec: LocationSpec, due_on: date | None, *, on: date) -> date | None:
    """Returns the civil date at whose beginning a lock at this location ends; None for no lock.

    Args:
        spec: The location.
        due_on: When the record may first be reviewed for disposal; None is never or not known.
        on: Today in the legal time zone. The answer changes with the year only, so a lock is extended once a year.
    """
    if spec.lock_mode is None:
        return None
    if due_on is not None:
        return due_on if due_on > on else None
    return date(on.year + spec.lock_horizon_years + 1, 1, 1)


def beginning_of(day: date) -> datetime:
    """Returns the first moment of a civil date in the legal time zone, as aware UTC."""
    return datetime.combine(day, time.min, clock.LEGAL_ZONE).astimezone(UTC)
