"""What people do with the pages, in a real browser."""

import io
import re

import pypdfium2
import pytest
from PIL import Image
from playwright.sync_api import Page, PdfMargins, expect

from archive_service.models import JobState, RoleName
from tests.browser.conftest import PASSWORD, Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EVERY_PAGE = (
    "/",
    "/submissions",
    "/submissions?state=ALL&worst=warning",
    "/submissions/decide",
    "/records",
    "/records?q=giay+tiep+nhan",
    "/retention",
    "/storage?show=all",
    "/jobs",
    "/trust",
    "/copies",
    "/audit",
    "/password",
    "/verify",
)


def _contrast(page: Page) -> list[str]:
    """Returns texts whose colour is too close to the ground behind it (WCAG 2.2 AA, 4.5 or 3 for large text)."""
    script = """() => {
      const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
      const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const ground = (element) => {
        for (let e = element; e; e = e.parentElement) {
          const c = parse(getComputedStyle(e).backgroundColor);
          if (c.length === 3 || c[3] === 1) return c.slice(0, 3);
        }
        return [255, 255, 255];
      };
      const poor = [];
      for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        const box = element.getBoundingClientRect();
        if (!own || box.width < 2 || box.height < 2 || element.closest("[aria-hidden=true]")) continue;
        const style = getComputedStyle(element);
        const [a, b] = [light(parse(style.color)), light(ground(element))].sort((x, y) => y - x);
        const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 600);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < (large ? 3 : 4.5)) poor.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
      }
      return poor; }"""
    found: list[str] = page.evaluate(script)
    return found


def test_from_sign_in_over_approval_to_a_verified_paper_copy(watched: Watched) -> None:
    page, site = watched.page, watched.site
    site.wait(2)
    watched.sign_in()
    page.get_by_role("link", name=re.compile("hồ sơ chờ duyệt")).click()

    page.locator("[data-select-row]").nth(0).click()
    page.locator("[data-select-row]").nth(1).click(modifiers=["Shift"])
    expect(page.locator("[data-select-count]")).to_have_text("Đã chọn 2 hồ sơ")
    page.get_by_role("button", name="Duyệt", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Đã duyệt 2 hồ sơ.")
    expect(page.locator(".state-approved")).to_have_count(2)
    assert site.archive.work() > 0
    expect(page.locator("main .state-stored")).to_have_count(2)

    page.get_by_role("link", name="Kho lưu trữ", exact=True).click()
    page.get_by_role("searchbox").fill("tron ven")
    page.get_by_role("button", name="Tìm").click()
    page.get_by_role("link", name="Hồ sơ đã lưu <b>trọn vẹn</b>").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Hồ sơ đã lưu <b>trọn vẹn</b>")
    expect(page.locator("#storage")).to_contain_text("khớp mã băm của gói")
    expect(page.locator("#retention")).to_contain_text("Bộ quy tắc")

    form = page.locator("form[action$='/copies']")
    form.get_by_label("Người nhận").fill("Bà Đặng Thị Hữu")
    form.get_by_label("Mục đích").fill("Nộp cho ngân hàng")
    form.get_by_label("Nơi sao").fill("Thanh Hóa")
    expect(form.get_by_label("Chức vụ người sao")).to_have_value("Lưu trữ viên")
    form.get_by_role("button", name="Cấp bản sao y").click()
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"Đã cấp bản sao y số 1/\d{4}"))
    code_link = page.locator("#copies a[href^='/verify/']")
    expect(code_link).to_have_count(1)
    code_link.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bản sao y có thật và còn giá trị")
    expect(page.locator("main")).not_to_contain_text("Đặng Thị Hữu")

    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This certified copy is genuine and valid")
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_a_document_is_seen_in_the_page(watched: Watched) -> None:
    page, site = watched.page, watched.site
    watched.sign_in()
    watched.open(f"/records/{site.record_id}")
    with page.expect_response(re.compile(r"/components/c01/content\?inline=1$")) as answered:
        page.get_by_role("link", name=re.compile("^Xem ")).first.click()
    assert answered.value.headers["content-type"] == "application/pdf"
    viewer = page.locator("iframe.paper")
    expect(viewer).to_be_in_viewport()
    page.wait_for_timeout(3000)
    # The viewer draws into a frame of its own that scripts cannot look into: what a person sees is measured.
    seen = Image.open(io.BytesIO(viewer.screenshot())).convert("L").histogram()
    assert sum(seen[250:]) > 0.1 * sum(seen), "a white sheet of paper"
    assert sum(seen[:70]) > 0.03 * sum(seen), (
        "on the dark desk of the browser's viewer; a refused frame is light all over"
    )


def test_approving_with_the_keyboard_alone(watched: Watched) -> None:
    page = watched.page
    watched.site.wait(1)
    watched.open("/sign-in")
    expect(page.get_by_label("Tên đăng nhập")).to_be_focused()
    page.keyboard.type("lan")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Mật khẩu")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Xin chào").wait_for()
    watched.open("/submissions")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Tới nội dung chính")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    _tab_to(page, "[data-select-row]")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "what has the focus is seen"
    page.keyboard.press("Space")
    expect(page.locator("[data-select-count]")).to_have_text("Đã chọn 1 hồ sơ")
    _tab_to(page, "button[value=return]")
    page.keyboard.press("Enter")
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type("Thiếu giấy uỷ quyền")
    _tab_to(page, "button[value=return]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Đã trả lại 1 hồ sơ.")


def test_a_record_prints_as_a_table_from_the_first_sheet_on(watched: Watched) -> None:
    page = watched.page
    watched.sign_in()
    watched.open(f"/records/{watched.site.record_id}")
    sides: PdfMargins = {"top": "12mm", "right": "12mm", "bottom": "12mm", "left": "12mm"}
    with pypdfium2.PdfDocument(page.pdf(format="A4", margin=sides)) as printed:
        first = printed[0].get_textpage().get_text_range()
        assert len(printed) <= 3
    assert "SHA-256" in first, "the documents begin on the first sheet"
    assert first.count("Định dạng") == 1, "under one head of columns, not with a label for each as on a telephone"
    assert "Đổi mật khẩu" not in first, "without what is there to be pressed"


def _tab_to(page: Page, selector: str) -> None:
    for _ in range(60):
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{selector} cannot be reached with Tab")


def test_the_queue_refreshes_without_losing_what_is_chosen(watched: Watched) -> None:
    page, archive = watched.page, watched.site.archive
    other, _ = watched.site.wait(2)
    watched.sign_in()
    watched.open("/submissions")
    rows = page.locator("[data-select-row]")
    left = rows.count()
    rows.first.check()
    page.locator("#reason").fill("một lý do đang viết")
    other = archive.call("GET", "submissions?state=AWAITING_APPROVAL", role=RoleName.ARCHIVIST).json()["items"][-1][
        "id"
    ]
    archive.decide(other, "reject", "việc của người khác")
    expect(page.locator(f"#state-{other}")).to_have_text("Đã từ chối", timeout=15_000)
    expect(rows.first).to_be_checked()
    expect(page.locator("#reason")).to_have_value("một lý do đang viết")
    expect(page.locator("#count-AWAITING_APPROVAL")).to_have_text(str(left - 1))


def test_findings_open_in_the_row(watched: Watched) -> None:
    page = watched.page
    watched.site.wait(1)
    watched.sign_in()
    watched.open("/submissions?state=ALL")
    page.locator("td details.more summary").first.click()
    expect(page.locator(".more-body .finding").first).to_contain_text("Căn cứ")


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_every_page_fits_reads_well_and_is_labelled(watched: Watched, width: int) -> None:
    page, site = watched.page, watched.site
    watched.sign_in()
    page.set_viewport_size({"width": width, "height": 800})
    record = f"/records/{site.record_id}"
    submission = site.archive.call("GET", "submissions", role=RoleName.ARCHIVIST).json()["items"][0]["id"]
    for path in (*EVERY_PAGE, record, f"/submissions/{submission}", "/verify/ABCD2345ABCD2345"):
        watched.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is wider than the screen"
        assert _contrast(page) == [], path
        assert page.locator("h1").count() == 1, path
        unlabelled = page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
            ".filter((e) => !e.labels.length && !e.ariaLabel).map((e) => e.name)"
        )
        assert unlabelled == [], path
        twice = page.evaluate(
            "(() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);"
            " return ids.filter((id, n) => ids.indexOf(id) !== n); })()"
        )
        assert twice == [], path


def test_pages_work_without_script(watched: Watched) -> None:
    watched.site.wait(1)
    browser = watched.page.context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False, locale="vi-VN")
    page = context.new_page()
    page.goto(watched.site.url + "/sign-in")
    page.get_by_label("Tên đăng nhập").fill("lan")
    page.get_by_label("Mật khẩu").fill(PASSWORD)
    page.get_by_role("button", name="Đăng nhập").click()
    page.goto(watched.site.url + "/submissions?state=ALL")
    page.locator("td details.more summary").first.click()
    page.locator(".more-body a").first.click()
    expect(page.locator(".finding").first).to_contain_text("Căn cứ")
    page.goto(watched.site.url + "/submissions")
    page.get_by_role("button", name="Duyệt", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Chưa chọn hồ sơ nào.")
    context.close()


def test_nothing_is_left_parked(watched: Watched) -> None:
    watched.sign_in()
    watched.open("/jobs")
    expect(watched.page.locator("main")).to_contain_text("Không có công việc nào bị dừng.")
    assert JobState.PARKED.value in watched.page.content()
