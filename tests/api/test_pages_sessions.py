"""What people are told when their session or their password fails them."""

import re
from datetime import timedelta

from sqlalchemy import update

from archive_service import clock
from archive_service.models import BrowserSession, RoleName, State
from tests.api.test_pages import BROWSER, person, state_of, waiting
from tests.pipeline import Archive


def test_a_form_of_a_session_that_ended_leads_to_sign_in_and_back_to_its_page(archive: Archive) -> None:
    submission_id = waiting(archive)
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    token = browser.token("/submissions")
    with archive.service.database.write() as session:
        session.execute(update(BrowserSession).values(last_seen_at=clock.now() - timedelta(days=9)))
    fields = {"csrf": token, "submission": submission_id, "decision": "approve"}
    seen_on = {"Referer": f"http://{browser.http.base_url.netloc.decode()}/submissions?worst=none"}
    answer = browser.http.post("/decisions", data=fields, headers={**BROWSER, **seen_on})
    assert answer.headers["location"] == "/sign-in?next=%2Fsubmissions%3Fworst%3Dnone&ended=1"
    assert "Phiên làm việc đã kết thúc" in browser.get(answer.headers["location"]).text
    elsewhere = {"Referer": "https://evil.example/submissions"}
    answer = browser.http.post("/decisions", data=fields, headers={**BROWSER, **elsewhere})
    assert answer.headers["location"] == "/sign-in?next=%2F&ended=1"
    assert state_of(archive, submission_id) is State.AWAITING_APPROVAL


def test_too_many_wrong_passwords_say_how_long_to_wait(archive: Archive) -> None:
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    browser.http.cookies.clear()
    answer = browser.sign_in("lan", "sai")
    while answer.status_code == 403:
        answer = browser.sign_in("lan", "sai")
    assert answer.status_code == 429
    assert re.search(r"Thử lại sau \d+ (giây|phút)\.", answer.text)
