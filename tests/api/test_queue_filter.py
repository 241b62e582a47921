"""The queue narrowed by worst finding, agency and field: the same rows on both engines, counts that agree with them, pages without gaps."""

import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import select, text

from archive_service.models import RoleName, Submission
from tests.api.test_pages import AGENCY, person, waiting
from tests.pipeline import Archive

LAND, TRADE = "Đất đai", "Thành lập & hoạt động <doanh nghiệp>"


@pytest.fixture
def rows(archive: Archive) -> dict[str, str]:
    """Submissions of two agencies and fields, with errors, warnings or neither, by a name."""
    made: dict[str, dict[str, Any]] = {
        "sạch": {"field": LAND},
        "cảnh báo": {"field": LAND, "warning_count": 2},
        "lỗi": {"field": TRADE, "warning_count": 1, "error_count": 1},
        "nơi khác": {"field": TRADE, "warning_count": 1, "agency": "H56.16"},
    }
    return {name: waiting(archive, title=name, **values) for name, values in made.items()}


def _listed(archive: Archive, **params: Any) -> list[str]:
    answer = archive.call("GET", "submissions", role=RoleName.ARCHIVIST, params=params)
    assert answer.status_code == 200, answer.text
    return sorted(item["title"] for item in answer.json()["items"])


@pytest.mark.usefixtures("rows")
def test_filters_narrow_the_list(archive: Archive) -> None:
    for params, expected in (
        ({"worst": "error"}, ["lỗi"]),
        ({"worst": "warning"}, ["cảnh báo", "nơi khác"]),
        ({"worst": "none"}, ["sạch"]),
        ({"field": TRADE}, ["lỗi", "nơi khác"]),
        ({"archiving_agency": AGENCY, "worst": "warning"}, ["cảnh báo"]),
        ({"field": LAND, "worst": "error"}, []),
    ):
        assert _listed(archive, **params) == sorted(expected), params
    assert archive.call("GET", "submissions", role=RoleName.ARCHIVIST, params={"worst": "x"}).status_code == 422


def test_the_database_keeps_the_worst_severity_by_itself(archive: Archive, rows: dict[str, str]) -> None:
    with archive.service.database.write() as session:
        session.execute(text("UPDATE submission SET error_count = 3 WHERE title = 'sạch'"))
    with archive.service.database.read() as session:
        ranks = {title: rank for title, rank in session.execute(select(Submission.title, Submission.worst_severity))}  # noqa: C416 - rows
    assert ranks == {"sạch": 2, "cảnh báo": 1, "lỗi": 2, "nơi khác": 1}
    assert len(rows) == 4


@pytest.mark.usefixtures("rows")
def test_counts_on_the_page_agree_with_the_rows(archive: Archive) -> None:
    browser = person(archive, "luu-tru", RoleName.ARCHIVIST)
    page = browser.get("/submissions").text
    assert {"Có lỗi (1)", "Có cảnh báo (2)", "Không có vấn đề (1)"} <= _options(page)
    assert {f"{LAND} (2)", f"{TRADE} (2)"} <= _options(page)
    page = browser.get(f"/submissions?worst=warning&field={quote(TRADE)}").text
    assert "nơi khác" in page
    assert "cảnh báo</a>" not in page
    assert 'id="count-AWAITING_APPROVAL">1<' in page
    assert {"Có lỗi (1)", "Có cảnh báo (1)", f"{LAND} (1)", f"{TRADE} (1)"} <= _options(page)
    empty = browser.get(f"/submissions?worst=error&field={quote(LAND)}").text
    assert "Không có hồ sơ nào khớp bộ lọc." in empty
    status = browser.get("/submissions/status?worst=error").text
    assert 'id="count-AWAITING_APPROVAL" hx-swap-oob="true">1<' in status


def _options(page: str) -> set[str]:
    return {unescape(shown) for shown in re.findall(r"<option [^>]*>([^\n]*?)</option>", page)}


@pytest.mark.usefixtures("rows")
def test_filters_stay_within_the_person_s_agencies(archive: Archive) -> None:
    page = person(archive, "rieng", RoleName.ARCHIVIST, agency="H56.16").get("/submissions").text
    assert f"{LAND} (" not in page
    assert {"Có cảnh báo (1)", f"{TRADE} (1)", "Có lỗi (0)"} <= _options(page)


def test_pages_keep_the_filter(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archive_service.web.queue.PAGE", 2)
    for number in range(5):
        waiting(archive, title=f"hàng {number}", field=TRADE, warning_count=1)
        waiting(archive, title=f"khác {number}", field=TRADE)
    browser = person(archive, "luu-tru", RoleName.ARCHIVIST)
    seen: list[str] = []
    path: str | None = f"/submissions?worst=warning&field={quote(TRADE)}"
    while path is not None:
        page = browser.get(path).text
        seen += re.findall(r">(hàng \d|khác \d)</a>", page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = unescape(following[1]) if following else None
    assert seen == [f"hàng {number}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("path", ["records", "submissions"])
@pytest.mark.parametrize("limit", [0, -1, 201, 10_000])
def test_a_page_size_out_of_bounds_is_refused(archive: Archive, path: str, limit: int) -> None:
    answer = archive.call("GET", path, role=RoleName.ARCHIVIST, params={"limit": limit})
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")
    assert answer.json()["problems"][0]["location"] == "limit"


@pytest.mark.parametrize(
    "path",
    [
        "jobs",
        "audit/events",
        "preservation/fixity",
        "preservation/incidents",
        f"records/{'0' * 8}-0000-0000-0000-{'0' * 12}/events",
        f"records/{'0' * 8}-0000-0000-0000-{'0' * 12}/components",
        f"submissions/{'0' * 8}-0000-0000-0000-{'0' * 12}/components",
    ],
)
def test_every_other_list_refuses_it_too(archive: Archive, path: str) -> None:
    for limit in (0, 1_000_000):
        answer = archive.call("GET", path, role=RoleName.RECORDS_HEAD, params={"limit": limit})
        assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST"), limit
