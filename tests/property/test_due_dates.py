"""Due dates for every period and closing time: legal civil time, whole years, never earlier than the law allows."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive_service.clock import civil_date
from archive_service.rules import retention
from archive_service.rules.retention import PeriodKind, due_on
from tests.unit.rules.dossiers import dossier

moments = st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
years = st.integers(min_value=1, max_value=500)


@given(moments, years)
def test_due_is_the_first_day_after_the_last_full_year(at, period):
    due = due_on(at, period)
    assert (due.month, due.day) == (1, 1)
    assert due.year == civil_date(at).year + period + 1


@given(moments, years)
def test_the_whole_period_is_kept(at, period):
    ended = civil_date(at)
    anniversary = date(ended.year + period, 12, 31)  # the last day of the last year counted
    assert due_on(at, period) == anniversary + timedelta(days=1)
    assert (due_on(at, period) - ended).days >= 365 * period


@given(moments, moments, years)
def test_closing_later_is_never_due_earlier(one, other, period):
    first, second = sorted((one, other))
    assert due_on(first, period) <= due_on(second, period)


@given(moments, years, years)
def test_a_longer_period_is_due_later(at, one, other):
    shorter, longer = sorted((one, other))
    assert (due_on(at, shorter) < due_on(at, longer)) is (shorter < longer)


@given(st.integers(min_value=2000, max_value=2100), years)
def test_the_year_turns_at_vietnamese_midnight(year, period):
    turn = datetime(year, 12, 31, 17, tzinfo=UTC)  # 00:00 on 1 January in Vietnam
    assert due_on(turn, period) == date(year + 1 + period + 1, 1, 1)
    assert due_on(turn - timedelta(microseconds=1), period) == date(year + period + 1, 1, 1)


@given(st.sampled_from([2000, 2024, 2028, 2096]), years)
def test_the_29th_of_february_counts_as_its_year(year, period):
    assert due_on(datetime(year, 2, 29, 3, tzinfo=UTC), period) == date(year + period + 1, 1, 1)


@given(moments, st.integers(min_value=-12 * 60, max_value=14 * 60))
def test_the_zone_of_the_sender_does_not_matter(at, offset_min):
    from datetime import timezone

    elsewhere = at.astimezone(timezone(timedelta(minutes=offset_min)))
    assert due_on(elsewhere, 10) == due_on(at, 10)


def test_a_closing_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="naive"):
        due_on(datetime(2025, 1, 1), 10)  # noqa: DTZ001


@given(moments, st.dates())
def test_no_due_date_is_never_due(at, on):
    for rule_set in ("none", "sample"):
        assigned = retention.assign(retention.load_rules(rule_set), dossier(closed_at=at))
        assert assigned.kind in {PeriodKind.UNMATCHED, PeriodKind.PERMANENT}
        assert assigned.due_on is None
        assert not retention.is_due(assigned, on=on)


@given(moments)
def test_due_begins_on_the_day_itself(at):
    given_dossier = dossier(closed_at=at, field="Đăng ký hộ kinh doanh")
    assigned = retention.assign(retention.load_rules("sample"), given_dossier)
    assert assigned.due_on == due_on(at, 20)
    assert retention.is_due(assigned, on=assigned.due_on)
    assert not retention.is_due(assigned, on=assigned.due_on - timedelta(days=1))
