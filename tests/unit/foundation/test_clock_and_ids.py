"""Time and identifiers: one clock, aware times, order that survives a clock stepping back."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from archive_service import clock, ids


@pytest.mark.parametrize(
    ("utc", "civil"),
    [
        ("2026-12-31T16:59:59", date(2026, 12, 31)),
        ("2026-12-31T17:00:00", date(2027, 1, 1)),
        ("2028-02-28T17:00:00", date(2028, 2, 29)),
    ],
)
def test_legal_dates_are_dates_in_ha_noi(utc: str, civil: date) -> None:
    at = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert clock.civil_date(at) == clock.civil_date(at.astimezone(timezone(timedelta(hours=-9)))) == civil


def test_a_naive_time_has_no_date() -> None:
    with pytest.raises(ValueError, match="naive datetime"):
        clock.civil_date(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


def test_unique_times_rise_in_every_thread() -> None:
    with ThreadPoolExecutor(4) as pool:
        times = [at for batch in pool.map(lambda _: [clock.unique_now() for _ in range(200)], range(4)) for at in batch]
    assert len(set(times)) == 800


def test_unique_times_rise_after_the_clock_stepped_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = clock.now() + timedelta(days=1)
    monkeypatch.setattr(clock, "_last", ahead)  # as left behind by a clock that ran a day ahead
    assert [clock.unique_now() for _ in range(3)] == [ahead + timedelta(microseconds=step) for step in (1, 2, 3)]


def test_new_ids_are_uuid7_in_order_of_time() -> None:
    made = [ids.new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {(made_id.version, made_id.variant) for made_id in made} == {(7, "specified in RFC 4122")}
    millis = [made_id.int >> 80 for made_id in made]
    assert millis == sorted(millis)
    assert abs(millis[-1] / 1000 - clock.now().timestamp()) < 60


def test_derived_ids_keep_their_parts_apart() -> None:
    assert ids.derived_id("k", "a", "bc") != ids.derived_id("k", "ab", "c")
    assert ids.derived_id("k", "1:a;") != ids.derived_id("k", "1", "a;")
    # Archived packages carry ids made this way: this value never changes.
    assert str(ids.record_id("000.00.01.H40", "000.00.16.H40-250314-0042")) == RECORD_ID


RECORD_ID = "440f2dee-613e-58fb-ba17-4e922621d30d"
