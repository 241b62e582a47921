"""One fault, one finding: every code of profiles/findings/1/codes.toml is provoked, and nothing else with it."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from archive_service.findings import Finding, Severity
from archive_service.rules.codes import (
    agency_groups,
    agency_level,
    check_codes,
    default_code_profile,
    load_code_profile,
    result_code,
)
from archive_service.rules.component_paths import unsafe_reason
from tests.unit.rules.dossiers import AGENCY, CODE, dossier, part, parts, step

AT = datetime(2026, 11, 22, tzinfo=UTC)


def check(**changes: Any) -> tuple[Finding, ...]:
    return check_codes(dossier(**changes), at=AT, profile=default_code_profile())


def codes(**changes: Any) -> list[str]:
    return sorted(finding.code for finding in check(**changes))


def with_part(**changes: Any) -> dict[str, Any]:
    return {"components": [*parts(), part(9, "submitted", **changes)]}


def test_a_conforming_dossier_has_no_finding():
    assert check() == ()


ONE_FAULT: list[tuple[str, dict[str, Any]]] = [
    ("DOSSIER_CODE_INVALID", {"dossier_code": "HS-2025-0042"}),
    ("DOSSIER_CODE_INVALID", {"dossier_code": f"{CODE}\n"}),
    ("DOSSIER_CODE_INVALID", {"dossier_code": f"{AGENCY}-٢50314-0042"}),
    ("DOSSIER_CODE_DATE_INVALID", {"dossier_code": f"{AGENCY}-250230-0042"}),
    ("DOSSIER_CODE_DATE_MISMATCH", {"dossier_code": f"{AGENCY}-250313-0042"}),
    ("DOSSIER_CODE_FORM_UNCONFIRMED", {"dossier_code": "H56.16-250314-0042"}),
    ("DOSSIER_CODE_FORM_UNCONFIRMED", {"dossier_code": f"{AGENCY}-250314-10042"}),
    ("DOSSIER_CODE_AGENCY_MISMATCH", {"dossier_code": "000.00.17.H56-250314-0042"}),
    ("PROCEDURE_CODE_UNUSUAL", {"procedure_code": "TTHC-1"}),
    ("AGENCY_CODE_INVALID", {"archiving_agency": "h56.16"}),
    ("AGENCY_CODE_INVALID", {"archiving_agency": "H56..16"}),
    ("AGENCY_CODE_INVALID", {"archiving_agency": "H56." + "1" * 32}),
    ("AGENCY_CODE_UNKNOWN", {"archiving_agency": "Y99.1"}),
    ("AGENCY_CODE_UNKNOWN", {"archiving_agency": "Z12ABC"}),
    ("DATE_ORDER", {"due_at": "2025-03-14T08:29:59+07:00"}),
    ("DATE_IN_FUTURE", {"components": [*parts(), part(9, "other", issued_on="2026-11-23")]}),
    ("PROCESS_DATE_OUTSIDE", {"process": [step("Tiếp nhận", at="2025-03-13T08:00:00+07:00")]}),
    ("RESULT_ORDINAL_MISSING", {"components": [*parts(), part(9, "result")]}),
    ("RESULT_ORDINAL_REUSED", {"components": [*parts(), part(9, "result", result_ordinal=1)]}),
    ("RESULT_ORDINAL_GAP", {"components": [*parts(), part(9, "result", result_ordinal=3)]}),
    ("RESULT_ORDINAL_GAP", {"components": [*parts(), part(9, "result", result_ordinal=10**7)]}),
    ("RESULT_ORDINAL_UNEXPECTED", with_part(result_ordinal=2)),
    ("TYPE_CODE_UNKNOWN", with_part(type_code="33")),
    ("TYPE_CODE_UNKNOWN", with_part(type_code="00")),
    ("FIELD_TOO_LONG", with_part(title="x" * 501)),
    ("FIELD_TOO_LONG", with_part(number="1" * 12)),
    ("FIELD_TOO_LONG", with_part(symbol="Q" * 31)),
    ("FIELD_TOO_LONG", with_part(issuer="S" * 201)),
    ("FIELD_TOO_LONG", with_part(language="v" * 101)),
    ("COMPONENT_ID_DUPLICATE", with_part(id="c1")),
    ("COMPONENT_PATH_DUPLICATE", with_part(path="thanh-phan/01.pdf")),
    ("COMPONENT_PATH_COLLISION", with_part(path="THANH-PHAN/01.PDF")),
    ("COMPONENT_PATH_COLLISION", with_part(path="thanh-phan")),
    ("COMPONENT_PATH_UNSAFE", with_part(path="../01.pdf")),
    ("COMPONENT_CONTENT_REPEATED", with_part(sha256=f"{1:064x}")),
    ("DOCUMENT_NUMBER_REPEATED", with_part(number="15", symbol="QĐ-STNMT", issuer="Sở NN và MT")),
]


@pytest.mark.parametrize(("code", "changes"), ONE_FAULT, ids=[f"{code}-{n}" for n, (code, _) in enumerate(ONE_FAULT)])
def test_one_fault_gives_exactly_its_finding(code, changes):
    (finding,) = check(**changes)
    assert finding.code == code
    assert "{" not in finding.message("vi") + finding.message("en")


def test_closing_before_reception_is_out_of_order_and_leaves_the_process_outside():
    found = check(closed_at="2025-03-14T08:00:00+07:00", process=[])
    assert [finding.code for finding in found] == ["DATE_ORDER"]
    assert found[0].location == "/closed_at"


def test_a_code_form_not_in_force_on_the_day_of_reception_is_told():
    found = check(dossier_code=f"{AGENCY}-170314-0042", received_at="2017-03-14T08:30:00+07:00")
    assert [finding.code for finding in found] == ["DOSSIER_CODE_NOT_IN_FORCE"]


def test_a_closed_agency_names_its_successor():
    agency = "000.00.16.H40"
    found = check(
        dossier_code=f"{agency}-250314-0042",
        receiving_agency=agency,
        settling_agency=agency,
        closed_at="2025-07-01T00:00:00+07:00",
    )
    assert [(finding.code, finding.location) for finding in found] == [("AGENCY_CODE_NOT_IN_FORCE", "/settling_agency")]
    assert found[0].params["successors"] == "H42"
    assert found[0].severity is Severity.WARNING


@pytest.mark.parametrize(
    ("field", "moment"),
    [("/closed_at", {"closed_at": "2026-11-22T00:05:01Z"}), ("/received_at", {"received_at": "2026-11-22T00:05:01Z"})],
)
def test_the_future_begins_after_the_clock_skew(field, moment):
    found = [finding for finding in check(**moment) if finding.code == "DATE_IN_FUTURE"]
    assert [finding.location for finding in found] == [field]
    in_skew = {name: value.replace("05:01", "05:00") for name, value in moment.items()}
    assert not [finding for finding in check(**in_skew) if finding.code == "DATE_IN_FUTURE"]


def test_the_day_of_reception_is_the_vietnamese_one():
    assert codes(received_at="2025-03-13T17:00:00Z") == []  # 00:00 on 14 March in Vietnam
    assert codes(received_at="2025-03-13T16:59:59Z") == ["DOSSIER_CODE_DATE_MISMATCH"]


def test_dates_at_the_ends_of_the_calendar_give_findings_and_no_crash():
    found = codes(received_at="9999-12-31T23:59:59Z", closed_at="0001-01-01T00:00:00+14:00", due_at=None, process=[])
    assert {"DATE_IN_FUTURE", "DATE_ORDER", "DOSSIER_CODE_DATE_MISMATCH"} <= set(found)


def test_every_reason_is_told_at_once():
    faulty = {"dossier_code": "?", "archiving_agency": "?", "procedure_code": "?", "due_at": "2020-01-01T00:00:00Z"}
    assert codes(**faulty, **with_part(path="/etc/passwd", type_code="99")) == [
        "AGENCY_CODE_INVALID",
        "COMPONENT_PATH_UNSAFE",
        "DATE_ORDER",
        "DOSSIER_CODE_INVALID",
        "PROCEDURE_CODE_UNUSUAL",
        "TYPE_CODE_UNKNOWN",
    ]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("access_mode", "04", "ACCESS_MODE_UNKNOWN"),
        ("declared_maintenance", "08", "MAINTENANCE_UNKNOWN"),
    ],
)
def test_lists_of_the_profile_hold_beyond_the_shape_of_the_field(field, value, code):
    odd = dossier().model_copy(update={field: value})
    assert [finding.code for finding in check_codes(odd, at=AT, profile=default_code_profile())] == [code]


def test_long_codes_do_not_fit_the_package_fields():
    # the archive's file code is the agency's code and the dossier code, a document's has seven digits more
    agency = "H56." + "1" * 31
    found = check(archiving_agency=agency, dossier_code=f"{AGENCY}-250314-0042".ljust(60, "0"))
    assert [f.params["field"] for f in found if f.code == "FIELD_TOO_LONG"] == ["doc_code"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("C:/x.pdf", "absolute"),
        ("a\\b.pdf", "backslash"),
        ("a\x00.pdf", "control_character"),
        ("a\x85.pdf", "control_character"),
        ("a\u202efdp.exe", "invisible_character"),
        ("a/../b.pdf", "parent_folder"),
        ("a//b.pdf", "empty_segment"),
        ("./a.pdf", "empty_segment"),
        ("a/", "empty_segment"),
        ("a./b.pdf", "trailing_dot_or_space"),
        (" a.pdf", "trailing_dot_or_space"),
        ("/".join("a" * 33), "too_deep"),
        ("đ" * 128, "name_too_long"),
        ("Dossier.json", "reserved_name"),
    ],
)
def test_unsafe_paths(path, reason):
    assert unsafe_reason(path) == reason


@pytest.mark.parametrize("path", ["đơn đề nghị.pdf", "a/b/c.pdf", "..a/b..c.pdf", "đ" * 127, "dossier.json.pdf"])
def test_plain_paths_are_safe(path):
    assert unsafe_reason(path) is None


def test_composed_and_decomposed_letters_collide():
    both = [part(11, "other", path="\u0111\u01a1n.pdf"), part(12, "other", path="\u0111o\u031bn.pdf")]
    assert codes(components=[*parts(), *both]) == ["COMPONENT_PATH_COLLISION"]


def test_both_orders_of_an_agency_code_name_the_same_agency():
    assert agency_groups("000.00.16.H56") == agency_groups("H56.16") == ("H56", "16")
    assert agency_groups("001.03.16.H56") == ("H56", "16", "03", "001")
    assert agency_groups("000.00.00.H56") == ("H56",)
    assert agency_groups("Z12ABC") is None
    assert [agency_level(code) for code in ("H56", "H56.16.3", "000.00.16.H56", "Z12ABC")] == [1, 3, 2, None]


def test_result_codes_count_from_one():
    assert result_code(CODE, 2) == f"{CODE}-KQ(2)"
    with pytest.raises(ValueError, match="start at 1"):
        result_code(CODE, 0)


def test_an_unaware_moment_is_refused():
    with pytest.raises(ValueError, match="naive"):
        check_codes(dossier(), at=datetime(2026, 1, 1), profile=default_code_profile())  # noqa: DTZ001


def test_a_profile_pins_its_bytes():
    profile = load_code_profile("1")
    assert profile.version == "1"
    assert profile.digest != profile.agency_list_digest


def test_the_time_grows_with_the_number_of_components_only():
    def seconds(count: int) -> float:
        many = dossier(components=[part(n, "submitted") for n in range(count)])
        started = time.process_time()
        assert check_codes(many, at=AT, profile=default_code_profile()) == ()
        return time.process_time() - started

    seconds(1_000)
    small, large = seconds(2_000), seconds(20_000)
    assert large < 30 * max(small, 0.01), f"{small:.2f} s for 2,000, {large:.2f} s for 20,000"
