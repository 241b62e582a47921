"""What else people do with the pages, in a real browser: trust, search by content, a look before the decision, narrowing the queue, copies."""

import io
import re
from pathlib import Path

import pytest
from asn1crypto import pem
from PIL import Image
from playwright.sync_api import Locator, expect

from archive_service import clock
from archive_service.models import RoleName
from archive_service.preservation.fixity import FixityPlan, check_location
from tests.browser.conftest import Watched
from tests.unit.signatures.pki_fixtures import World

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_an_anchor_is_added_from_a_file_and_retired(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    certificate = tmp_path / "gốc.pem"
    certificate.write_bytes(pem.armor("CERTIFICATE", World(tag="browser").root.der))
    watched.sign_in()
    page.get_by_role("link", name="Tin cậy", exact=True).click()
    page.get_by_label("Tệp chứng thư").set_input_files(certificate)
    page.get_by_label("Thuộc hệ thống").select_option("national")
    page.get_by_label("Tin cậy từ ngày").fill("2017-03-01")
    page.get_by_label("Lý do", exact=True).fill("theo quyết định")
    page.get_by_role("button", name="Thêm").click()
    expect(page.get_by_role("status")).to_contain_text("Đã thêm 1 chứng thư gốc.")
    anchor = page.locator(".anchor-trusted")
    expect(anchor.get_by_role("heading")).to_have_text("Root CA")
    expect(anchor).to_contain_text("Nguyễn Thị Lan thêm lúc")
    anchor.locator("summary").press("Enter")
    anchor.get_by_label("Lý do thôi tin cậy").fill("hết thẩm quyền")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Đã thôi tin cậy")
    expect(page.locator(".anchor-retired")).to_contain_text("hết thẩm quyền")
    expect(page.locator(".anchor-trusted")).to_have_count(0)


def test_a_record_is_found_by_what_its_document_says_and_opened_there(watched: Watched) -> None:
    page, site = watched.page, watched.site
    watched.sign_in()
    page.get_by_role("link", name="Kho lưu trữ", exact=True).click()
    page.get_by_role("searchbox").fill('"phieu kiem soat"')
    page.get_by_role("button", name="Tìm").click()
    hit = page.locator(f".snippet[href^='/records/{site.record_id}']")
    expect(hit.locator("mark")).to_have_text(re.compile("^phieu kiem soat$", re.IGNORECASE))
    hit.click()
    expect(page.locator("#viewer-title")).to_be_in_viewport()
    page.go_back()
    page.get_by_role("searchbox").fill("khongcotunay")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("Không tìm thấy hồ sơ nào.")


def test_an_approver_looks_at_a_file_before_deciding(watched: Watched) -> None:
    page, site = watched.page, watched.site
    (submission_id,) = site.wait(1)
    watched.sign_in()
    watched.open(f"/submissions/{submission_id}")
    with page.expect_response(re.compile(r"/submissions/.+/components/c01/content\?inline=1$")) as answered:
        page.get_by_role("link", name=re.compile("^Xem ")).first.click()
    assert answered.value.headers["content-type"] == "application/pdf"
    expect(page.locator(".file.chosen")).to_contain_text("c01")
    page.wait_for_timeout(3000)
    assert _shows_paper(page.locator("iframe.paper"))
    events = site.archive.call("GET", "audit/events", role=RoleName.AUDITOR, params={"limit": 1000}).json()["items"]
    read = [event for event in events if event["type"] == "submission.file-read"]
    assert (read[-1]["subject"], read[-1]["agent"]["name"]) == (f"submission:{submission_id}", "Nguyễn Thị Lan")
    page.get_by_role("button", name="Duyệt nhận vào lưu trữ").click()
    expect(page.get_by_role("status")).to_contain_text("Đã duyệt 1 hồ sơ.")
    expect(page.locator("iframe.paper")).to_have_count(0)
    site.archive.work()


def _shows_paper(viewer: Locator) -> bool:
    """Returns whether a person sees a white sheet on the dark desk of the browser's viewer, which scripts cannot look into."""
    seen = Image.open(io.BytesIO(viewer.screenshot())).convert("L").histogram()
    return sum(seen[250:]) > 0.1 * sum(seen) and sum(seen[:70]) > 0.03 * sum(seen)


def test_the_queue_is_narrowed_and_stays_so(watched: Watched) -> None:
    page = watched.page
    watched.site.wait(1)
    watched.sign_in()
    page.get_by_role("link", name="Hồ sơ nộp", exact=True).click()
    page.get_by_label("Vấn đề nặng nhất").select_option("warning")
    page.get_by_role("button", name="Lọc", exact=True).click()
    expect(page).to_have_url(re.compile("worst=warning"))
    expect(page.locator("[data-select-row]")).not_to_have_count(0)
    page.get_by_label("Vấn đề nặng nhất").select_option("error")
    page.get_by_role("button", name="Lọc", exact=True).click()
    expect(page.locator("main")).to_contain_text("Không có hồ sơ nào khớp bộ lọc.")
    expect(page.locator("#count-AWAITING_APPROVAL")).to_have_text("0")
    with page.expect_response(re.compile("/submissions/status")) as refreshed:
        pass
    assert "worst=error" in refreshed.value.url
    expect(page.locator("#count-AWAITING_APPROVAL")).to_have_text("0")
    page.get_by_role("link", name="Bỏ lọc").click()
    expect(page.locator("[data-select-row]")).not_to_have_count(0)


def test_all_that_wait_are_approved_in_one_act_and_watched_until_stored(watched: Watched) -> None:
    page, site = watched.page, watched.site
    site.wait(2)
    watched.sign_in()
    watched.open("/submissions/decide")
    number = page.evaluate("document.querySelector('[name=submissions]').value.split(' ').length")
    page.get_by_role("button", name=f"Từ chối {number} hồ sơ").click()
    expect(page.get_by_label("Lý do")).to_be_focused()
    page.get_by_role("button", name=f"Duyệt {number} hồ sơ").click()
    expect(page.get_by_role("status")).to_contain_text(f"Đã duyệt {number} hồ sơ.")
    expect(page.locator("#batch-progress")).to_contain_text(f"Đã lưu 0 / {number} hồ sơ")
    site.archive.work()
    expect(page.locator("#batch-progress")).to_contain_text(f"Đã lưu {number} / {number} hồ sơ")
    expect(page.locator("td .state-stored")).to_have_count(number)


def test_a_lost_copy_is_seen_and_its_repair_too(watched: Watched) -> None:
    page, site = watched.page, watched.site
    service = site.archive.service
    lost = next(path for path in sorted(service.settings.data_dir.rglob("*.zip")) if "kho-2" in path.parts)
    lost.unlink()
    check_location(service, "kho-2", FixityPlan(), at=clock.unique_now())
    watched.sign_in()
    page.get_by_role("link", name=re.compile("sự cố bản lưu chưa xử lý")).click()
    incident = page.locator(".incident-open")
    expect(incident).to_have_count(1)
    expect(incident).to_contain_text("Mất")
    site.archive.work()
    page.reload()
    expect(page.locator("#incidents")).to_contain_text("Không có sự cố nào chờ xử lý.")
    page.get_by_role("link", name="Tất cả").click()
    expect(page.locator(".incident-closed")).to_contain_text("Đã sửa")
    assert lost.exists()


def test_the_current_page_is_in_sight_on_a_telephone(watched: Watched) -> None:
    page = watched.page
    watched.sign_in()
    page.set_viewport_size({"width": 360, "height": 740})
    for path, name in (("/trust", "Tin cậy"), ("/storage", "Bản lưu")):
        watched.open(path)
        link = page.get_by_role("navigation", name="Điều hướng chính").get_by_role("link", name=name)
        expect(link).to_be_in_viewport(ratio=0.95)
