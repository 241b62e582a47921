"""Completeness by outcome and process; every code of profiles/findings/1/completeness.toml is provoked alone."""

from typing import Any

import pytest

from archive_service.errors import ConfigurationInvalid
from archive_service.findings import Finding, Severity
from archive_service.rules.completeness import (
    check_completeness,
    default_completeness_profile,
    load_completeness_profile,
)
from archive_service.rules.rule_files import fold
from tests.unit.rules.dossiers import dossier, part, parts, step


def check(**changes: Any) -> tuple[Finding, ...]:
    return check_completeness(dossier(**changes), default_completeness_profile())


def codes(**changes: Any) -> list[str]:
    return [finding.code for finding in check(**changes)]


def without(role: str) -> list[dict[str, Any]]:
    return [member for member in parts() if member["role"] != role]


def test_a_complete_dossier_has_no_finding():
    assert check() == ()


@pytest.mark.parametrize(
    ("role", "code", "severity"),
    [
        ("application_form", "APPLICATION_FORM_MISSING", Severity.ERROR),
        ("receipt", "RECEIPT_MISSING", Severity.ERROR),
        ("control_sheet", "CONTROL_SHEET_MISSING", Severity.WARNING),
        ("result", "RESULT_MISSING", Severity.ERROR),
    ],
)
def test_what_every_settled_dossier_needs(role, code, severity):
    found = check(components=without(role))
    assert [(finding.code, finding.severity) for finding in found] == [(code, severity)]


SUPPLEMENT_STEPS = [
    "Yêu cầu bổ sung, hoàn thiện hồ sơ",
    "YÊU CẦU BỔ SUNG HỒ SƠ",
    "yeu cau  bo sung",
    "Lập phiếu yêu cầu bổ sung",
    "Y\u00eau c\u1ea7u b\u1ed5 sung",
    "Ye\u0302u ca\u0302\u0300u bo\u0302\u0309 sung",
    "Gửi thông báo bổ sung hồ sơ cho công dân",
]


@pytest.mark.parametrize("name", SUPPLEMENT_STEPS)
def test_a_supplement_step_calls_for_the_request(name):
    found = check(process=[step(name, opinion="Thiếu trích lục")])
    assert [finding.code for finding in found] == ["SUPPLEMENT_REQUEST_MISSING"]
    assert name in found[0].message("vi")
    assert codes(process=[step(name)], components=[*parts(), part(8, "supplement_request")]) == []


@pytest.mark.parametrize("name", ["Tiếp nhận hồ sơ", "Không yêu cầu bổ sung", "Thẩm định", "Bổ sung ý kiến vào phiếu"])
def test_other_steps_do_not(name):
    assert codes(process=[step(name)]) == []


def test_an_exception_takes_out_only_its_own_words():
    assert codes(process=[step("Không yêu cầu bổ sung lần 1; yêu cầu bổ sung lần 2")]) == ["SUPPLEMENT_REQUEST_MISSING"]


def test_a_refused_dossier_needs_the_refusal_and_no_result():
    assert codes(outcome="refused", components=without("result")) == ["REFUSAL_MISSING"]
    assert codes(outcome="refused", components=[*without("result"), part(8, "refusal")]) == []


def test_a_stopped_dossier_needs_the_stop_notice():
    assert codes(outcome="stopped", components=without("result")) == ["STOP_NOTICE_MISSING"]
    assert codes(outcome="stopped", components=[*without("result"), part(8, "stop_notice")]) == []


def test_a_withdrawn_dossier_needs_neither_result_nor_opinion():
    remaining = [member for member in parts() if member["role"] not in {"result", "opinion"}]
    assert codes(outcome="withdrawn", components=remaining, process=[]) == []


def test_a_late_dossier_needs_the_apology():
    late = {"closed_at": "2025-04-14T17:00:01+07:00"}
    assert codes(**late) == ["APOLOGY_MISSING"]
    assert codes(**late, components=[*parts(), part(8, "apology")]) == []
    assert codes(closed_at="2025-04-14T10:00:00Z") == []  # exactly at the due time
    assert codes(**late, due_at=None) == []


def test_an_opinion_may_stand_in_the_process():
    silent = [step("Thẩm định", opinion="  ")]
    assert codes(components=without("opinion")) == []
    assert codes(components=without("opinion"), process=silent) == ["OPINIONS_MISSING"]
    assert codes(process=silent) == []


def test_folding_knows_vietnamese_letters():
    assert fold("ĐƠN  Đề\tnghị") == fold("đơn đề nghị") == "don de nghi"


def test_profiles_are_named_plainly():
    with pytest.raises(ConfigurationInvalid):
        load_completeness_profile("../codes")
    with pytest.raises(ConfigurationInvalid):
        load_completeness_profile("tthc", "../../codes/1")
    with pytest.raises(ConfigurationInvalid):
        load_completeness_profile("tthc", "99")


def test_a_profile_that_names_an_unknown_step_kind_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "completeness" / "own"
    folder.mkdir(parents=True)
    (folder / "1.toml").write_text(
        'id = "own"\nversion = "1"\ntitle = "x"\nvalid_from = 2025-01-01\nbasis = "x"\nmark = "I"\n'
        '[[requirement]]\ncode = "RECEIPT_MISSING"\nroles = ["receipt"]\nsteps = ["gone"]\nseverity = "error"\n'
        'basis = "x"\nmark = "I"\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("ARCHIVE_PROFILES_DIR", str(tmp_path))
    with pytest.raises(ConfigurationInvalid, match="gone"):
        load_completeness_profile("own")


def test_a_dossier_without_any_step_is_noticed():
    found = check(process=[], components=[*parts()])
    assert [(finding.code, finding.severity) for finding in found] == [("PROCESS_MISSING", Severity.WARNING)]


@pytest.mark.parametrize("outcome", ["withdrawn", "stopped"])
def test_a_result_where_there_can_be_none_is_noticed(outcome):
    notices = [part(6, "stop_notice")] if outcome == "stopped" else []
    found = check(outcome=outcome, components=[*parts(), *notices])
    assert [(finding.code, finding.severity) for finding in found] == [("RESULT_UNEXPECTED", Severity.WARNING)]
    assert check(outcome=outcome, components=[*without("result"), *notices]) == ()


def test_a_profile_whose_requirement_cannot_be_met_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "completeness" / "own"
    folder.mkdir(parents=True)
    text = """id = "own"\nversion = "1"\ntitle = "x"\nvalid_from = 2020-01-01\nbasis = "x"\nmark = "I"\n
[[requirement]]\ncode = "NOTHING"\nseverity = "error"\nbasis = "x"\nmark = "I"\n"""
    (folder / "1.toml").write_text(text)
    monkeypatch.setattr("archive_service.rules.completeness.profiles_dir", lambda: tmp_path)
    with pytest.raises(ConfigurationInvalid, match="names no role"):
        load_completeness_profile("own")
