"""dossier.json: what its fields take, and what they refuse with a place."""

from typing import Any

import pytest

from archive_service.dossier import MAX_DEPTH, MAX_REASONS, MAX_VALUES, parse_dossier, parse_json
from tests.unit.rules.dossiers import members, part, parts, step


def refused_at(value: dict[str, Any]) -> list[tuple[str, str]]:
    dossier, findings = parse_dossier(value)
    assert (dossier is None) == bool(findings)
    return [(finding.code, finding.location) for finding in findings]


def test_a_conforming_dossier_is_read() -> None:
    assert refused_at(members()) == []


@pytest.mark.parametrize(
    "value", [5, 5.5, "1779957000", "2025-04-10", "2025-04-10T16:00:00", "", None, True, "10/04/2025 16:00"]
)
@pytest.mark.parametrize("field", ["received_at", "closed_at"])
def test_a_time_is_iso_8601_with_a_zone_and_nothing_else(field: str, value: Any) -> None:
    assert refused_at(members(**{field: value})) == [("DOSSIER_FIELD_INVALID", f"/{field}")]


def test_the_times_of_steps_are_held_to_the_same() -> None:
    found = refused_at(members(process=[step("Tiếp nhận"), step("Thẩm định", at="5")]))
    assert found == [("DOSSIER_FIELD_INVALID", "/process/1/at")]


@pytest.mark.parametrize("value", [5, "5", "2026-05-18T00:00:00", "18/05/2026", "2026-02-30"])
def test_a_date_is_iso_8601_without_a_time(value: Any) -> None:
    found = refused_at(members(components=[*parts(), part(9, "other", issued_on=value)]))
    assert found == [("DOSSIER_FIELD_INVALID", "/components/5/issued_on")]


@pytest.mark.parametrize("blank", ["", " ", "\u00a0\u2003", None])
@pytest.mark.parametrize("field", ["title", "field", "procedure_name"])
def test_what_names_the_dossier_is_not_blank(field: str, blank: str | None) -> None:
    assert refused_at(members(**{field: blank})) == [("DOSSIER_FIELD_INVALID", f"/{field}")]


def test_a_member_that_stands_twice_among_very_many_is_found_at_once() -> None:
    many = b"".join(b'"m%d": 1, ' % number for number in range(100_000))
    value, findings = parse_json(b"{" + many + b'"m7": 2}')
    assert value is None
    assert [finding.message("vi") for finding in findings] == [
        "Tệp dossier.json không phải JSON hợp lệ: thành phần m7 xuất hiện hai lần"
    ]


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a": ', b"}")])
def test_values_stand_inside_each_other_so_deep_and_no_deeper(opening: bytes, closing: bytes) -> None:
    deepest = opening * MAX_DEPTH + b"1" + closing * MAX_DEPTH
    assert parse_json(deepest)[1] == []
    for depth in (MAX_DEPTH + 1, 900, 100_000):
        value, findings = parse_json(opening * depth + b"1" + closing * depth)
        assert value is None
        assert [finding.params["reason"] for finding in findings] == [f"nested deeper than {MAX_DEPTH} levels"]


def test_more_values_than_memory_is_meant_for_are_not_read() -> None:
    value, findings = parse_json(b'{"a": [' + b"[]," * (MAX_VALUES // 2) + b"1]}")
    assert value is None
    assert [finding.params["reason"] for finding in findings] == [f"more than {MAX_VALUES} values"]


@pytest.mark.parametrize("name", ["components", "process"])
def test_of_very_many_malformed_items_the_first_are_told(name: str) -> None:
    found = refused_at(members(**{name: [{}] * 100_000}))
    assert found[0][1].startswith(f"/{name}/0/")
    assert MAX_REASONS < len(found) <= 2 * MAX_REASONS + 1
    assert found[-1] == ("DOSSIER_FIELD_INVALID", f"/{name}")
    assert len(refused_at(members(title=5, **{name: [{}] * 100_000}))) == len(found) + 1


def test_a_long_list_is_read_as_a_short_one_is() -> None:
    many = [part(number, "other") for number in range(1, 1300)]
    dossier, findings = parse_dossier(members(components=many, process=[step("Thẩm định")] * 1300, added={"a": 1}))
    assert (findings, dossier is not None) == ([], True)
    assert dossier is not None
    assert [component.id for component in dossier.components] == [item["id"] for item in many]
    assert {type(item).__name__ for item in dossier.process} == {"ProcessStep"}
    assert dossier.model_extra == {"added": {"a": 1}}
    many[700] = part(701, "other", pages=-1)
    many[1200] = part(1201, "other", issued_on="5")
    assert [place for _, place in refused_at(members(components=many))] == [
        "/components/700/pages",
        "/components/1200/issued_on",
    ]
