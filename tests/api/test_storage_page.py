"""The page of copies and incidents: what was found, what was done about it, and nobody learns of records that are not theirs."""

import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from archive_service import clock
from archive_service.models import AipCopy, Incident, RoleName
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.samples.small import minimal_dossier
from tests.api.test_pages import Browser, person
from tests.pipeline import Archive

TITLE = "Hồ sơ có bản hỏng"


def _object(archive: Archive, location: str) -> Path:
    """Returns the only package at a location."""
    found = [path for path in archive.service.settings.data_dir.rglob("*.zip") if location in path.parts]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def damaged(archive: Archive, tmp_path: Path) -> str:
    """A record whose first copy is damaged, found by the fixity check and not repaired yet; its id."""
    record_id = archive.archive(minimal_dossier(tmp_path, title=TITLE).folder)
    path = _object(archive, "kho-1")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o640)
    path.write_bytes(content)
    check_location(archive.service, "kho-1", FixityPlan(), at=clock.unique_now())
    return record_id


def _operator(archive: Archive) -> Browser:
    return person(archive, "van-hanh", RoleName.RECORDS_HEAD)


def test_an_incident_is_told_from_its_finding_to_its_remedy(archive: Archive, damaged: str) -> None:
    browser = _operator(archive)
    page = browser.get("/storage").text
    assert TITLE in page
    assert f'href="/records/{damaged}#storage"' in page
    assert "Đang xử lý" in page
    assert "1 sự cố" in page
    assert "0 nguyên vẹn, 1 hỏng, 0 mất" in page
    assert re.search(r"tile-bad[^>]*><strong>1</strong>", browser.get("/").text)
    archive.work()  # the repair that the check asked for
    assert "Không có sự cố nào chờ xử lý." in browser.get("/storage").text
    page = browser.get("/storage?show=all").text
    assert "Đã sửa" in page
    assert "từ bản ở kho-2" in page
    assert "Bản hỏng giữ ở" in page
    assert "không có sự cố" in page


def test_locations_without_copies_are_shown_too(archive: Archive) -> None:
    page = _operator(archive).get("/storage").text
    assert page.count("Chưa có bản lưu nào ở đây.") == 2
    assert page.count("Chưa có lần kiểm tra toàn vẹn nào.") == 2
    assert "Không có sự cố nào chờ xử lý." in page


@pytest.mark.parametrize(
    ("age_days", "band", "overdue"), [(1, "trong 7 ngày", False), (20, "trong 30 ngày", False), (400, "lâu hơn", True)]
)
def test_the_age_of_the_last_reading_is_drawn(
    archive: Archive,
    tmp_path: Path,
    age_days: int,
    band: str,
    overdue: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    archive.archive(minimal_dossier(tmp_path).folder)
    with archive.service.database.write() as session:
        session.execute(update(AipCopy).values(verified_at=clock.now() - timedelta(days=age_days)))
    page = _operator(archive).get("/storage").text
    counted = re.findall(r"</svg>([^<:]+): <strong>(\d+)</strong>", page)
    assert [name.strip() for name, count in counted if count == "1"] == [band] * 2
    assert ("quá chu kỳ kiểm tra" in page) is overdue
    widths = [float(width) for width in re.findall(r'class="age-\d" x="[\d.]+" width="([\d.]+)"', page)]
    assert sum(widths) == pytest.approx(200)


def test_a_record_outside_the_scope_is_not_named(archive: Archive, damaged: str) -> None:
    page = person(archive, "quan-tri", RoleName.ADMIN).get("/storage").text
    assert "Hồ sơ ngoài phạm vi của bạn" in page
    assert TITLE not in page
    assert damaged not in page
    browser = person(archive, "noi-khac", RoleName.ARCHIVIST, agency="H40")
    page = browser.get("/storage").text
    assert "Không có sự cố nào chờ xử lý." in page
    for hidden in (TITLE, damaged, "kho-1", "Hồ sơ ngoài phạm vi của bạn"):
        assert hidden not in page
    assert browser.get("/jobs").status_code == 403
    home = browser.get("/").text
    assert 'href="/jobs"' not in home
    assert re.search(r'href="/storage#incidents"><strong>0</strong>', home)
    own = person(archive, "noi-nay", RoleName.ARCHIVIST, agency="H56.16").get("/storage").text
    assert TITLE in own
    assert "1 hỏng" not in own, "how a location stands is about every agency"
    assert person(archive, "can-bo", RoleName.OFFICER).get("/storage").status_code == 403
    assert 'href="/storage' not in person(archive, "can-bo-2", RoleName.OFFICER).get("/").text


@pytest.mark.usefixtures("damaged")
def test_all_incidents_are_reached_page_by_page(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archive_service.web.storage_pages.PAGE", 2)
    at = clock.now()
    with archive.service.database.write() as session:
        first = session.scalars(select(Incident)).one()
        for number in range(5):
            session.add(
                Incident(
                    copy_id=first.copy_id,
                    aip_id=first.aip_id,
                    location="kho-1",
                    found="MISSING",
                    status="RECOVERED",
                    notice=f"lần {number}",
                    opened_at=at - timedelta(days=number // 2 + 1),
                    closed_at=at,
                )
            )
    browser = _operator(archive)
    seen: list[str] = []
    path: str | None = "/storage?show=all&location=kho-1"
    while path is not None:
        page = browser.get(path).text
        seen += re.findall(r"lần \d", page)
        following: Any = re.search(r'rel="next" href="([^"#]+)', page)
        path = unescape(following[1]) if following else None
    assert sorted(seen) == [f"lần {number}" for number in range(5)]
    assert "Chưa từng có sự cố nào." in browser.get("/storage?show=all&location=kho-2").text
