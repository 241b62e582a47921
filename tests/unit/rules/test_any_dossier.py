"""Whatever a sender writes into dossier.json: the rules answer with findings whose texts are complete, and never raise."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from archive_service.dossier import EARLIEST_YEAR, LATEST_YEAR, MAX_PAGES
from archive_service.rules import retention
from archive_service.rules.codes import check_codes, default_code_profile
from archive_service.rules.completeness import check_completeness, default_completeness_profile
from tests.unit.rules.dossiers import dossier, part, step

AT = datetime(2026, 11, 22, tzinfo=UTC)

lines = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff{}"), min_size=1, max_size=36
).filter(str.strip)
code_like = st.from_regex(r"[0-9A-Z]{1,4}(\.[0-9A-Z]{0,4}){0,5}(-[0-9]{6}-[0-9]{4,6})?", fullmatch=True).map(
    lambda c: c[:36]
)
moments = st.datetimes(datetime(EARLIEST_YEAR, 1, 1), datetime(LATEST_YEAR, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is the strategy's
components = st.builds(
    part,
    st.integers(0, 5),
    st.sampled_from(["application_form", "receipt", "result", "other"]),
    path=lines | st.sampled_from(["a", "a/b", "A", "../x", "a/b/c", "/x", "dossier.json"]),
    type_code=st.sampled_from(["00", "01", "32", "33"]),
    result_ordinal=st.none() | st.integers(1, MAX_PAGES),
    number=st.none() | lines,
    symbol=st.none() | lines,
    issuer=st.none() | lines,
    issued_on=st.none() | st.dates(),
)
steps = st.builds(
    step, lines | st.sampled_from(["Yêu cầu bổ sung", "Từ chối giải quyết"]), at=moments, opinion=st.none() | lines
)


@settings(max_examples=150)
@given(
    st.fixed_dictionaries(
        {
            "components": st.lists(components, min_size=1, max_size=6),
            "process": st.lists(steps, max_size=4),
            "received_at": moments,
            "closed_at": moments,
            "due_at": st.none() | moments,
            "outcome": st.sampled_from(["result_returned", "refused", "withdrawn", "stopped"]),
            "declared_maintenance": st.none() | st.sampled_from(["01", "06", "07"]),
            "field": lines,
        },
        optional={
            "dossier_code": lines | code_like,
            "procedure_code": lines | code_like,
            "receiving_agency": lines | code_like,
            "settling_agency": lines | code_like,
            "archiving_agency": lines | code_like,
        },
    )
)
def test_no_dossier_breaks_the_rules(members):
    try:
        pushed = dossier(**members)
    except ValidationError:  # the shape of dossier.json refuses it before the rules see it
        return
    assigned = retention.assign(retention.load_rules(), pushed)
    assert retention.from_json(retention.as_json(assigned)) == assigned
    assert (assigned.due_on is None) is (assigned.kind is not retention.PeriodKind.YEARS)
    assert (assigned.blocked_reason is None) is (assigned.kind is not retention.PeriodKind.UNMATCHED)
    for language in ("vi", "en"):
        assert all(retention.explain(assigned, language))
    for finding in (
        *check_codes(pushed, at=AT, profile=default_code_profile()),
        *check_completeness(pushed, default_completeness_profile()),
        *retention.check_retention(assigned, pushed),
    ):
        assert "{" not in finding.message("vi") + finding.message("en"), finding
