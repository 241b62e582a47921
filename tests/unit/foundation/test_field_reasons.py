"""What is wrong with a field of dossier.json is said in Vietnamese; the words of another program only as a technical note."""

import json
from pathlib import Path
from typing import Any

import pytest

from archive_service.dossier import parse_dossier
from archive_service.field_reasons import field_reason
from archive_service.samples.small import minimal_dossier


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"components": []}, "cần ít nhất 1 phần tử"),
        ({"components": 5}, "phải là danh sách"),
        ({"title": " "}, "để trống"),
        ({"title": 5}, "phải là chuỗi ký tự"),
        ({"title": "x" * 1001}, "nhiều nhất 1000"),
        ({"title": "a\u0001"}, "ký tự điều khiển"),
        ({"outcome": "lost"}, "'refused', 'withdrawn' hoặc 'stopped'"),
        ({"access_mode": "9"}, "không đúng mẫu ^0[1-3]$"),
        ({"closed_at": 5}, "không phải là thời điểm theo ISO 8601"),
        ({"closed_at": "2025-13-45T00:00:00Z"}, "thời điểm"),
        ({"closed_at": "2025-01-01T00:00:00"}, "phải kèm múi giờ"),
        ({"closed_at": "1800-01-01T00:00:00Z"}, "trong khoảng 1900 đến 2999"),
        ({"applicant": 5}, "phải là đối tượng JSON"),
        ({"process": [5]}, "phải là đối tượng JSON"),
    ],
)
def test_reasons_are_vietnamese(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    value = json.loads((minimal_dossier(tmp_path).folder / "dossier.json").read_bytes())
    dossier, findings = parse_dossier(value | change)
    assert dossier is None
    (finding,) = findings
    assert said in finding.message("vi")
    assert "ghi chú kỹ thuật" not in finding.message("vi")
    assert str(finding.params["reason"]) in finding.message("en")
    assert "Value error" not in finding.message("en")


@pytest.mark.parametrize(
    "change", [{"pages": -1}, {"pages": 10**8}, {"size_bytes": "5"}, {"issued_on": "2025-02-31"}, {"id": "ố"}]
)
def test_reasons_on_components_are_vietnamese(tmp_path: Path, change: dict[str, Any]) -> None:
    value = json.loads((minimal_dossier(tmp_path).folder / "dossier.json").read_bytes())
    value["components"][0] |= change
    _, findings = parse_dossier(value)
    (finding,) = findings
    assert "ghi chú kỹ thuật" not in finding.message("vi")


def test_a_missing_field_is_said_to_be_missing() -> None:
    _, findings = parse_dossier({})
    assert {finding.params["reason_vi"] for finding in findings} == {"thiếu trường bắt buộc này"}


def test_other_words_are_a_technical_note() -> None:
    assert "(ghi chú kỹ thuật: Strange)" in field_reason("Strange", "strange")["reason_vi"]
