"""Which rule holds, which document decides, and what is kept and flagged instead of guessed."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from archive_service.errors import ConfigurationInvalid
from archive_service.rules import retention
from archive_service.rules.retention import BlockedReason, PeriodKind, RuleSet
from tests.unit.rules.dossiers import dossier, part, parts

HEAD = (
    'id = "own"\nversion = "1"\ntitle_vi = "Bộ quy tắc"\ntitle_en = "Rules"\nsample = false\n'
    'legal_basis = "QĐ 1/2026"\nmark = "V"\nvalid_from = 2018-06-23\n'
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`own('years = 5', 'roles = ["result"]\\npermanent = true')` loads a rule set of these rules."""
    monkeypatch.setenv("ARCHIVE_RETENTION_RULES_DIR", str(tmp_path))
    (tmp_path / "own").mkdir()

    def load(*rules: str, head: str = HEAD) -> RuleSet:
        text = head
        for number, rule in enumerate(rules, 1):
            text += f'[[rule]]\nid = "r{number}"\ntitle_vi = "V{number}"\ntitle_en = "E{number}"\n'
            text += f'basis = "Căn cứ {number}"\nmark = "V"\n{rule}\n'
        (tmp_path / "own" / "1.toml").write_text(text, encoding="utf-8")
        return retention.load_rules("own")

    return load


def finding_codes(rules: RuleSet, **changes: Any) -> list[str]:
    given = dossier(**changes)
    return [finding.code for finding in retention.check_retention(retention.assign(rules, given), given)]


def test_the_longest_document_decides(own):
    rules = own('roles = ["receipt"]\nyears = 5', 'roles = ["result"]\nyears = 20', "years = 10")
    assigned = retention.assign(rules, dossier())
    assert (assigned.kind, assigned.years, assigned.start_year) == (PeriodKind.YEARS, 20, 2025)
    assert assigned.due_on == date(2046, 1, 1)
    assert (assigned.deciding_rule_id, assigned.deciding_component_id, assigned.basis) == ("r2", "c5", "Căn cứ 2")
    assert assigned.maintenance_code == "05"
    assert [match.rule_id for match in assigned.matched] == ["r3", "r1", "r3", "r3", "r2"]


def test_permanent_beats_every_number_and_every_doubt(own):
    rules = own('roles = ["result"]\npermanent = true', 'roles = ["receipt"]\nyears = 500')
    assigned = retention.assign(rules, dossier())
    assert (assigned.kind, assigned.years, assigned.due_on) == (PeriodKind.PERMANENT, None, None)
    assert assigned.maintenance_code == "01"
    assert assigned.blocked_reason is None
    assert not retention.is_due(assigned, on=date.max)


def test_one_document_without_a_rule_blocks_the_dossier(own):
    rules = own('roles = ["application_form", "receipt", "control_sheet", "opinion"]\nyears = 10')
    assigned = retention.assign(rules, dossier())
    assert (assigned.kind, assigned.due_on, assigned.years) == (PeriodKind.UNMATCHED, None, None)
    assert assigned.blocked_reason is BlockedReason.NO_RULE
    assert (assigned.deciding_rule_id, assigned.basis, assigned.maintenance_code) == (None, None, "07")
    assert finding_codes(rules) == ["RETENTION_RULE_MISSING"]


def test_equally_narrow_rules_that_differ_decide_nothing(own):
    rules = own('roles = ["result"]\nyears = 10', 'type_codes = ["02"]\nyears = 20', "years = 5")
    assigned = retention.assign(rules, dossier())
    assert assigned.blocked_reason is BlockedReason.AMBIGUOUS_RULES
    assert [(conflict.component_ids, conflict.rule_ids) for conflict in assigned.conflicts] == [(("c5",), ("r1", "r2"))]
    assert finding_codes(rules) == ["RETENTION_RULE_AMBIGUOUS"]


def test_equally_narrow_rules_that_agree_are_no_conflict(own):
    rules = own('roles = ["result"]\nyears = 10', 'type_codes = ["02"]\nyears = 10', "years = 5")
    assert retention.assign(rules, dossier()).years == 10


def test_the_narrower_rule_wins_even_when_shorter(own):
    rules = own("years = 50", 'fields = ["đất đai"]\nyears = 20', 'procedure_codes = ["1.002891*"]\nyears = 5')
    assert retention.assign(rules, dossier()).years == 5


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ('procedure_codes = ["1.002891.*"]', True),
        ('procedure_codes = ["1.002892.*"]', False),
        ('fields = ["ĐẤT*"]', True),
        ('fields = ["dat dai"]', True),
        ('fields = ["đất"]', False),
        ("agency_levels = [2]", True),
        ("agency_levels = [1, 3]", False),
        ('outcomes = ["result_returned"]', True),
        ('outcomes = ["refused"]', False),
        ("valid_from = 2025-04-10", True),
        ("valid_from = 2025-04-11", False),
        ("valid_to = 2025-04-10", True),
        ("valid_to = 2025-04-09", False),
    ],
)
def test_conditions(own, condition, fits):
    assert (retention.assign(own(f"{condition}\nyears = 10"), dossier()).kind is PeriodKind.YEARS) is fits


def test_the_empty_set_keeps_everything():
    assigned = retention.assign(retention.load_rules("none"), dossier())
    assert (assigned.kind, assigned.blocked_reason) == (PeriodKind.UNMATCHED, BlockedReason.NO_RULE)
    assert not assigned.rule_set_sample


def test_the_shipped_set_says_that_it_is_a_sample():
    rules = retention.load_rules()
    assert rules.sample
    assert not rules.approved
    assert {rule.mark for rule in rules.rules} == {retention.Mark.INTERPRETATION}
    assigned = retention.assign(rules, dossier())
    assert (assigned.kind, assigned.rule_set_sample) == (PeriodKind.PERMANENT, True)
    assert "chỉ là ví dụ" in retention.explain(assigned)[-1]


@pytest.mark.parametrize("closed_at", ["9999-12-31T20:00:00Z", "0001-01-01T00:00:00+14:00", "9998-06-01T00:00:00Z"])
def test_a_closing_time_outside_the_calendar_is_kept_and_flagged(own, closed_at):
    rules = own("years = 10")
    assigned = retention.assign(rules, dossier(closed_at=closed_at))
    assert (assigned.due_on, assigned.blocked_reason) == (None, BlockedReason.WORK_END_UNUSABLE)
    assert "None" not in " ".join(retention.explain(assigned))
    assert finding_codes(rules, closed_at=closed_at) == ["RETENTION_START_UNUSABLE"]


@pytest.mark.parametrize(
    ("declared", "codes"),
    [
        ("06", ["RETENTION_DECLARED_SHORTER"]),
        ("05", []),
        ("04", ["RETENTION_DECLARED_LONGER"]),
        ("01", ["RETENTION_DECLARED_LONGER"]),
        ("07", []),
        (None, []),
    ],
)
def test_the_declared_period_is_compared(own, declared, codes):
    assert finding_codes(own("years = 20"), declared_maintenance=declared) == codes


def test_anything_declared_is_shorter_than_permanent(own):
    assert finding_codes(own("permanent = true"), declared_maintenance="02") == ["RETENTION_DECLARED_SHORTER"]


@pytest.mark.parametrize(("years", "code"), [(70, "02"), (50, "03"), (30, "04"), (20, "05"), (10, "06"), (11, "07")])
def test_maintenance_codes(years, code):
    assert retention.maintenance_code(PeriodKind.YEARS, years) == code


def test_an_assignment_survives_json(own):
    rules = own('roles = ["result"]\nyears = 10', 'type_codes = ["02"]\nyears = 20', "years = 5")
    assigned = retention.assign(rules, dossier())
    assert retention.from_json(json.loads(json.dumps(retention.as_json(assigned)))) == assigned
    with pytest.raises(ConfigurationInvalid):
        retention.from_json({"kind": "FOREVER"})


def test_the_formula_is_shown_in_both_languages(own):
    assigned = retention.assign(own("years = 20"), dossier(closed_at="2025-12-31T17:00:00Z"))
    vi, en = retention.explain(assigned, "vi"), retention.explain(assigned, "en")
    assert "Đến hạn xem xét: 01/01/(2026 + 20 + 1) = 01/01/2047." in vi
    assert "Due for review: 1 January (2026 + 20 + 1) = 1 January 2047." in en
    assert vi[0] == (
        "Công việc kết thúc ngày 01/01/2026 theo giờ Việt Nam (hồ sơ ghi 31/12/2025 17:00 UTC+00:00): tính từ năm 2026."
    )
    assert "01/01/2026 in Vietnamese time (the dossier says 31/12/2025 17:00 UTC+00:00)" in en[0]
    assert any("Căn cứ 1 [V]" in line for line in vi)
    assert assigned.rule_set_digest in vi[-1]


def test_the_digest_pins_the_file(own):
    assert own("years = 20").digest != own("years = 21").digest


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("", "exactly one of"),
        ("years = 5\npermanent = true", "exactly one of"),
        ("years = 0", "greater than or equal to 1"),
        ("years = 501", "less than or equal to 500"),
        ("yaers = 5", "Extra inputs"),
        ('years = 5\nroles = ["results"]', "Input should be"),
        ("years = 5\nvalid_from = 2025-01-01\nvalid_to = 2024-01-01", "valid_to is before"),
    ],
)
def test_a_malformed_rule_is_refused_with_its_place(own, rule, problem):
    with pytest.raises(ConfigurationInvalid, match=problem):
        own(rule)


def test_a_set_is_refused_when_it_is_not_what_its_path_says(own):
    with pytest.raises(ConfigurationInvalid, match="says it is"):
        own(head=HEAD.replace('"own"', '"other"'))
    with pytest.raises(ConfigurationInvalid, match="not a rule set name"):
        retention.load_rules("../own")
    with pytest.raises(ConfigurationInvalid):
        retention.load_rules("own", "2")


def test_the_newest_version_is_taken(own, tmp_path):
    own("years = 5")
    for version in ("9", "10"):
        text = HEAD.replace('version = "1"', f'version = "{version}"')
        (tmp_path / "own" / f"{version}.toml").write_text(text, encoding="utf-8")
    assert retention.load_rules("own").version == "10"
    assert retention.load_rules("own", "9").version == "9"


def test_many_documents_are_assigned_by_role_and_type(own):
    rules = own('roles = ["result"]\npermanent = true', *["years = 10"] * 200)
    many = dossier(components=[*parts(), *(part(n, "submitted") for n in range(100, 20_100))])
    assigned = retention.assign(rules, many)
    assert len(assigned.matched) == 20_005
    assert assigned.kind is PeriodKind.PERMANENT
