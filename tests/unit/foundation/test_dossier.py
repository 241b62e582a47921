"""dossier.json: what its fields take, and what they refuse with a place."""

from typing import Any

import pytest

from archive_service.dossier import parse_dossier
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
