"""Texts of findings: the same facts for both languages, written as its readers write them."""

import pytest

from archive_service.findings import Finding, definition


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("2026-07-01", "01/07/2026"),
        ("2026-10-20T08:30:00+00:00", "20/10/2026 15:30"),
        ("2026-12-31T23:59:59.5Z", "01/01/2027 06:59:59"),
        ("2026-10-20T08:30:00", "2026-10-20T08:30:00"),
        ("2026-02-30", "2026-02-30"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
        ("9999-12-31T23:00:00+00:00", "9999-12-31T23:00:00+00:00"),
        ("2026-10-20T08:30 và hơn", "2026-10-20T08:30 và hơn"),
        ("260518", "260518"),
        ("?", "?"),
    ],
)
def test_days_and_moments_are_vietnamese_in_vietnamese(given: str, written: str) -> None:
    finding = Finding(code="SIGNATURE_CERTIFICATE_REVOKED", location="c06", params={"signer": "An", "date": given})
    assert finding.message() == f"Chứng thư số của An đã bị thu hồi từ {written}."
    assert finding.message("en") == f"The certificate of An has been revoked since {given}."
    assert finding.as_json()["params"] == {"signer": "An", "date": given}, "programs read them as they are"


def test_what_many_findings_share_leaves_open_what_differs() -> None:
    assert definition("SIGNATURE_CERTIFICATE_REVOKED").summary() == "Chứng thư số của … đã bị thu hồi từ …."
    assert "…" in definition("SIGNATURE_CERTIFICATE_REVOKED").summary("en")
    assert definition("VIRUS_NOT_SCANNED").summary() == "Chưa quét mã độc"
    assert definition("SIGNATURE_INDETERMINATE").summary() == "Chưa thể kết luận về chữ ký của …"
    assert definition("EVIDENCE_RECORD_ORDER").summary() == "Các dấu thời gian sai thứ tự: … đứng sau …"
