"""The only module that reads the clock.

Everything else takes `at` (an aware UTC datetime) or `on` (a civil date in the archive's legal time zone) as an argument, so that
retention and signature arithmetic can be repeated for any moment. Legal dates are Vietnamese civil dates (R061, STYLE 24).
"""

import threading
import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

LEGAL_ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
"""Civil dates in law (day work ended, due dates) are dates in this zone."""

_last_lock = threading.Lock()
_last: datetime = datetime.min.replace(tzinfo=UTC)


def now() -> datetime:
    """Returns the current time, aware, UTC, microsecond resolution."""
    return datetime.now(UTC)


def unique_now() -> datetime:
    """Returns a time strictly later than any this process returned before (R133: each event has a unique timestamp).

    When the system clock steps back the result keeps counting up by microseconds from the last value, so the order of events in
    one process is never reversed.
    """
    global _last  # noqa: PLW0603 - the one piece of process-wide state this module exists for
    with _last_lock:
        current = now()
        _last = current if current > _last else _last + timedelta(microseconds=1)
        return _last


def today() -> date:
    """Returns today's civil date in the legal time zone."""
    return civil_date(now())


def civil_date(at: datetime) -> date:
    """Returns the civil date of `at` in the legal time zone.

    Raises:
        ValueError: `at` is naive.
    """
    return require_aware(at).astimezone(LEGAL_ZONE).date()


def require_aware(at: datetime) -> datetime:
    """Returns `at` unchanged, refusing a naive datetime.

    Raises:
        ValueError: `at` has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError(f"naive datetime {at.isoformat()}: a time zone is needed")
    return at


def monotonic_s() -> float:
    """Returns seconds of a clock that never steps back; only differences have meaning."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Pauses the calling thread."""
    time.sleep(seconds)
