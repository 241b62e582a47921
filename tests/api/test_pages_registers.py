"""Registers and figures on pages: certified copies, the audit log, charts; each within the person's agencies."""

import re
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from archive_service import clock
from archive_service.access.trends import due_by_year, figures_by_day
from archive_service.audit import software
from archive_service.identity.permissions import Grant, Principal
from archive_service.models import RoleName
from archive_service.samples.small import minimal_dossier
from archive_service.web import register_pages
from archive_service.web.operation_pages import due_years
from tests.api.test_pages import AGENCY, person, waiting
from tests.builders import new_record
from tests.pipeline import Archive

OTHER_AGENCY = "000.00.02.H41"
CODE = "000.00.16.H40-260101-0001"


def _copy(archive: Archive, folder: Path) -> tuple[str, str]:
    record_id = archive.archive(minimal_dossier(folder, title="Hồ sơ được sao").folder)
    browser = person(archive, "yen", RoleName.COPY_OFFICER)
    fields = {"purpose": "Nộp ngân hàng", "recipient": "Bà Lụa", "place": "Huế", "position": "Văn thư"}
    request_id = re.search(r'name="request_id" value="([0-9a-f-]+)"', browser.get(f"/records/{record_id}").text)
    assert request_id
    browser.post(
        f"/records/{record_id}/copies", f"/records/{record_id}", component_id="c01", request_id=request_id[1], **fields
    )
    code = re.search(r"/verify/([0-9A-Z]+)", browser.get(f"/records/{record_id}").text)
    assert code
    return record_id, code[1]


def test_the_register_shows_every_copy_and_finds_one_by_its_code(archive: Archive, tmp_path: Path) -> None:
    record_id, code = _copy(archive, tmp_path)
    browser = person(archive, "lan", RoleName.AUDITOR)
    page = browser.get("/copies").text
    assert f'href="/records/{record_id}#copies"' in page
    assert "Bà Lụa" in page
    assert "Còn giá trị" in page
    typed = f"{code[:4].lower()}-{code[4:8]} {code[8:]}"
    assert "Bà Lụa" in browser.get(f"/copies?code={typed}").text
    assert "Không có bản sao y nào mang mã này." in browser.get("/copies?code=ABCD").text
    stranger = person(archive, "hoa", RoleName.COPY_OFFICER, agency=OTHER_AGENCY)
    assert "Bà Lụa" not in stranger.get("/copies").text
    assert "Bà Lụa" not in stranger.get(f"/copies?code={code}").text
    assert person(archive, "kim", RoleName.COUNCIL).get("/copies").status_code == 403


def test_the_log_is_read_newest_first_and_by_dossier(archive: Archive) -> None:
    mine = waiting(archive, dossier_code=CODE)
    other = waiting(archive, agency=OTHER_AGENCY)
    browser = person(archive, "an", RoleName.AUDITOR, agency=AGENCY)
    page = browser.get("/audit").text
    assert f'href="/submissions/{mine}"' in page
    assert other not in page
    assert re.search(r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d", page), "order matters: seconds are shown"
    archive.decide(mine, "return", "CCCD 019089526866 mờ")
    page = browser.get(f"/audit?subject={CODE}").text
    assert page.index("Trả lại nơi nộp") < page.index("Kiểm tra xong")
    assert "•866" in page
    assert "019089526866" not in page
    assert mine in browser.get(f"/audit?subject={mine}").text
    assert "Không có sự kiện nào trong phạm vi của bạn." in browser.get(f"/audit?subject={other}").text
    assert "Không có sự kiện nào" in browser.get("/audit?subject=x").text
    assert person(archive, "lan", RoleName.ARCHIVIST).get("/audit").status_code == 403
    assert browser.get(f"/audit?cursor={2**63}").status_code == 422


def test_the_log_reaches_its_beginning_page_by_page(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_pages, "PAGE", 7)
    for _ in range(8):
        waiting(archive)
    browser = person(archive, "an", RoleName.AUDITOR)
    seen: list[int] = []
    url: str | None = "/audit"
    while url:
        page = browser.get(url).text
        seen += [int(number.replace(".", "")) for number in re.findall(r'class="when">([\d.]+)</td>', page)]
        following = re.search(r'rel="next" href="([^"]+)"', page)
        url = following[1] if following else None
    assert len(seen) > 14
    assert seen == sorted(set(seen), reverse=True)
    assert seen[-1] == 1


def _reader(agency: str | None, role: RoleName = RoleName.ARCHIVIST) -> Principal:
    agent = software("tests")
    return Principal(id=agent.id, name="Lan", agent=agent, grants=(Grant(role=role, agency=agency),))


def test_figures_count_by_vietnamese_day_within_the_agencies(archive: Archive) -> None:
    late = datetime(2026, 3, 9, 23, 59, 59, tzinfo=clock.LEGAL_ZONE)
    with archive.service.database.write() as session:
        for index, at in enumerate((late, late + timedelta(seconds=1), late + timedelta(days=1, seconds=1))):
            new_record(session, at, dossier_code=f"000.00.16.H40-260101-{index:04d}", agency=AGENCY)
        new_record(
            session, late, dossier_code="000.00.16.H40-260101-0008", agency=OTHER_AGENCY, settling_agency=OTHER_AGENCY
        )
    with archive.service.database.read() as session:
        days = figures_by_day(session, _reader(AGENCY), until=date(2026, 3, 10), days=3)
        everywhere = figures_by_day(session, _reader(None), until=date(2026, 3, 10), days=3)
        nothing = figures_by_day(session, _reader(AGENCY, RoleName.SUBMITTER), until=date(2026, 3, 10), days=3)
    assert [(day.on.day, day.stored) for day in days] == [(8, 0), (9, 1), (10, 1)]
    assert [day.stored for day in everywhere] == [0, 2, 1]
    assert [day.stored for day in nothing] == [0, 0, 0]


def test_due_years_are_counted_and_drawn(archive: Archive) -> None:
    with archive.service.database.write() as session:
        for index, year in enumerate((2031, 2031, 2047)):
            new_record(
                session,
                clock.now(),
                dossier_code=f"000.00.16.H40-260101-{index:04d}",
                retention_kind="YEARS",
                retention_due_on=date(year, 1, 1),
            )
        new_record(session, clock.now(), dossier_code="000.00.16.H40-260101-0009")
    with archive.service.database.read() as session:
        assert due_by_year(session, _reader(None)) == {2031: 2, 2047: 1}
        assert due_by_year(session, _reader(OTHER_AGENCY)) == {}
    page = person(archive, "lan", RoleName.ARCHIVIST).get("/retention").text
    assert "Số hồ sơ đến hạn theo năm" in page
    assert re.search(r'class="unseen">2031: 2 hồ sơ đến hạn', page)


@pytest.mark.parametrize(
    ("counts", "drawn"),
    [
        ({}, []),
        ({2020: 2, 2026: 1}, [(2026, 2026, 3)]),
        ({2035: 4, 2036: 5, 2046: 6}, [(2035, 2035, 4), (2036, 2045, 5), (2046, 2055, 6)]),
        ({9999: 1}, [(2126, 9999, 1)]),
    ],
)
def test_the_chart_of_due_years_has_few_columns(counts: dict[int, int], drawn: list[tuple[int, int, int]]) -> None:
    columns = due_years(counts, this_year=2026)
    assert [(column.first, column.last, column.count) for column in columns if column.count] == drawn
    assert len(columns) <= 20
    assert sum(column.count for column in columns) == sum(counts.values())
