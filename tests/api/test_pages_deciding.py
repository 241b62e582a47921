"""Deciding on hundreds at once: what is decided on is what was shown, each item is reported, and nobody's decision is overwritten."""

import re
from uuid import UUID

import pytest
from sqlalchemy import insert, update

from archive_service import clock
from archive_service.findings import Finding
from archive_service.ingest.findings import finding_rows
from archive_service.models import Job, JobState, RoleName, State, Submission, SubmissionFinding
from archive_service.web import deciding
from tests.api.test_pages import AGENCY, Browser, person, state_of, waiting
from tests.builders import advance
from tests.pipeline import Archive

OTHER_AGENCY = "000.00.02.H41"


def _code(number: int) -> str:
    return f"000.00.16.H40-260110-{number:04d}"


def _many(archive: Archive, count: int, **values: str) -> list[str]:
    return [waiting(archive, dossier_code=_code(number), **values) for number in range(1, count + 1)]


def _shown_ids(page: str) -> str:
    found = re.search(r'name="submissions" value="([0-9a-f -]*)"', page)
    assert found, "no form"
    return found[1]


def test_each_of_many_is_reported_with_who_decided_otherwise(archive: Archive) -> None:
    good = _many(archive, 3)
    late = waiting(archive, dossier_code="000.00.16.H40-260119-0009")
    archive.decide(late, "reject", "đã xử lý")
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    answer = browser.post("/decisions", "/submissions", submission=[*good, late], decision="approve")
    assert answer.status_code == 303
    page = browser.get(answer.headers["location"]).text
    assert "Đã duyệt 3 hồ sơ. 1 hồ sơ không xử lý được." in page
    assert re.search(r"260119-0009: đã có quyết định khác \(Từ chối\) của archivist None lúc \d\d/\d\d/\d{4}", page)
    assert page.count("Đã duyệt, đang lưu") == 3
    assert {state_of(archive, submission_id) for submission_id in good} == {State.APPROVED}
    assert state_of(archive, late) is State.REJECTED


def test_all_that_match_are_decided_on_as_they_were_shown(archive: Archive) -> None:
    shown = _many(archive, 60)
    waiting(archive, title="Của cơ quan khác", agency=OTHER_AGENCY)
    with archive.service.database.write() as session:
        for index, submission_id in enumerate(shown[:2]):
            finding = Finding(code="SIGNATURE_UNTRUSTED", location="c01", params={"signer": f"Người ký {index}"})
            session.execute(insert(SubmissionFinding), finding_rows(UUID(submission_id), [finding]))
    browser = person(archive, "lan", RoleName.ARCHIVIST, agency=AGENCY)
    assert 'href="/submissions/decide"' in browser.get("/submissions").text
    page = browser.get("/submissions/decide").text
    ids = _shown_ids(page)
    assert ids.split() == shown, "those that wait longest first"
    assert "Quyết định 60 hồ sơ chờ duyệt" in page
    assert re.search(r"SIGNATURE_UNTRUSTED</code></span><strong>2 hồ sơ", page)
    assert "Người ký 0" not in page
    arrived = waiting(archive, dossier_code=_code(99))
    answer = browser.post("/decisions", "/submissions/decide", submissions=ids, decision="approve")
    page = browser.get(answer.headers["location"]).text
    assert "Đã duyệt 60 hồ sơ." in page
    assert {state_of(archive, submission_id) for submission_id in shown} == {State.APPROVED}
    assert state_of(archive, arrived) is State.AWAITING_APPROVAL, "nobody saw it"


def test_the_filter_holds_for_all_that_match(archive: Archive) -> None:
    (wanted,) = _many(archive, 1, field="Đất đai")
    waiting(archive, field="Hộ tịch")
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    page = browser.get("/submissions/decide?field=Đất đai").text
    assert _shown_ids(page) == wanted
    assert "Các hồ sơ khớp bộ lọc: Đất đai" in re.sub(r"\s+", " ", page)
    assert "Không có hồ sơ nào chờ duyệt." in browser.get("/submissions/decide?field=Khác").text


def test_only_who_decides_may_look_at_all_to_decide_on(archive: Archive) -> None:
    assert person(archive, "an", RoleName.AUDITOR).get("/submissions/decide").status_code == 403
    mine = _many(archive, 1)
    browser = person(archive, "lan", RoleName.ARCHIVIST, agency=OTHER_AGENCY)
    assert 'name="submissions"' not in browser.get("/submissions/decide").text
    browser.post("/decisions", "/submissions", submissions=mine[0], decision="approve")
    assert state_of(archive, mine[0]) is State.AWAITING_APPROVAL


@pytest.mark.parametrize("ids", ["x", "1 2", "00000000"])
def test_what_are_no_ids_is_refused(archive: Archive, ids: str) -> None:
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    answer = browser.post("/decisions", "/submissions", submissions=ids, decision="approve")
    assert answer.status_code == 422


def test_two_archivists_at_once_see_whose_decision_stands(archive: Archive) -> None:
    ids = _many(archive, 9)
    first, second = ids[:7], ids
    one = person(archive, "lan", RoleName.ARCHIVIST)
    told = one.post("/decisions", "/submissions", submission=first, decision="return", reason="thiếu dấu")
    own = told.headers["location"]
    other = person(archive, "mai", RoleName.ARCHIVIST)
    answer = other.post("/decisions", "/submissions", submission=second, decision="approve")
    assert answer.headers["location"] != own
    page = other.get(answer.headers["location"]).text
    assert "Đã duyệt 2 hồ sơ. 7 hồ sơ không xử lý được." in page
    assert re.search(r"7 hồ sơ: đã có quyết định khác \(Trả lại\) của Người lan lúc .*0001, .*0002, .*0003 …", page)
    assert page.count("Đã duyệt, đang lưu") == 2


def test_the_same_decision_of_another_is_not_taken_for_ones_own(archive: Archive) -> None:
    ids = _many(archive, 3)
    person(archive, "lan", RoleName.ARCHIVIST).post(
        "/decisions", "/submissions", submission=ids[:2], decision="approve"
    )
    browser = person(archive, "mai", RoleName.ARCHIVIST)
    answer = browser.post("/decisions", "/submissions", submission=ids, decision="approve")
    page = browser.get(answer.headers["location"]).text
    assert "Đã duyệt 1 hồ sơ. 2 hồ sơ đã có quyết định này từ trước." in page
    assert "Người mai" in page
    assert _code(3) in page
    assert _code(1) not in page, "decided by the other in an act of her own"
    again = browser.post("/decisions", "/submissions", submission=ids, decision="approve")
    assert again.headers["location"] == "/submissions"
    assert "3 hồ sơ đã có quyết định này từ trước." in browser.get("/submissions").text


def test_the_page_of_an_act_follows_every_item_until_it_is_stored(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "PAGE", 3)
    ids = _many(archive, 5)
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    page_url = browser.post("/decisions", "/submissions", submission=ids, decision="approve").headers["location"]
    assert _rows_of_all_pages(browser, page_url) == sorted(ids)
    _stand(archive, ids[:2], State.STORED)
    with archive.service.database.write() as session:
        session.execute(update(Job).where(Job.subject == ids[2]).values(state=JobState.PARKED))
    status = browser.get(f"{page_url}/status")
    assert status.status_code == 200
    assert "Đã lưu 2 / 5 hồ sơ" in status.text
    assert re.search(r"bị dừng vì lỗi, cần người quản trị: <strong>1</strong>", status.text)
    assert f'class="badge bad" id="state-{ids[2]}"' in status.text
    _stand(archive, ids[3:], State.STORED)
    done = browser.get(f"{page_url}/status")
    assert done.status_code == 286, "nothing is under way: the page need not ask again"
    assert "Đã lưu 4 / 5 hồ sơ" in done.text
    assert "data-refreshing" not in browser.get(page_url).text
    stranger = person(archive, "hoa", RoleName.ARCHIVIST, agency=OTHER_AGENCY)
    assert stranger.get(page_url).status_code == 404
    assert stranger.get(f"{page_url}/status").status_code == 404


def _rows_of_all_pages(browser: Browser, page_url: str) -> list[str]:
    found: list[str] = []
    url: str | None = page_url
    while url:
        page = browser.get(url).text
        found += re.findall(r'class="row-title" href="/submissions/([0-9a-f-]+)"', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        url = following[1] if following else None
    return sorted(found)


def _stand(archive: Archive, ids: list[str], state: State) -> None:
    with archive.service.database.write() as session:
        for submission_id in ids:
            advance(session, session.get_one(Submission, UUID(submission_id)), state, clock.unique_now())


_REFUSE_THE_THIRD = {
    "sqlite": (
        (
            "CREATE TRIGGER refuse_the_third BEFORE INSERT ON decision WHEN (SELECT count(*) FROM decision) >= 2 "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        ),
    ),
    "postgresql": (
        (
            "CREATE FUNCTION refuse_the_third() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF (SELECT count(*) FROM decision) >= 2 THEN RAISE EXCEPTION 'no room'; END IF; RETURN NEW; END $$"
        ),
        "CREATE TRIGGER refuse_the_third BEFORE INSERT ON decision FOR EACH ROW EXECUTE FUNCTION refuse_the_third()",
    ),
}


def test_a_database_that_fails_on_the_way_leaves_the_rest_waiting_and_says_so(archive: Archive) -> None:
    ids = _many(archive, 4)
    engine = archive.service.database.engine
    with engine.begin() as connection:
        for statement in _REFUSE_THE_THIRD[engine.dialect.name]:
            connection.exec_driver_sql(statement)
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    answer = browser.post("/decisions", "/submissions", submission=ids, decision="approve")
    page = browser.get(answer.headers["location"]).text
    assert "Đã duyệt 2 hồ sơ. 2 hồ sơ không xử lý được." in page
    assert f"{_code(4)}: Cơ sở dữ liệu tạm thời không dùng được" in page
    assert [state_of(archive, submission_id) for submission_id in ids] == [State.APPROVED] * 2 + [
        State.AWAITING_APPROVAL
    ] * 2
