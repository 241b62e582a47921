"""Finding records by what their documents say: the same answers on both engines, within scope, page after page, safely shown."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text
from typer.testing import CliRunner

from archive_service import clock
from archive_service.access import text_index
from archive_service.application import create_app
from archive_service.audit import software
from archive_service.cli import build_app
from archive_service.db import Database
from archive_service.digests import digest_bytes
from archive_service.identity.accounts import Person, create_account
from archive_service.identity.permissions import Grant
from archive_service.ids import new_id
from archive_service.models import (
    Aip,
    ComponentText,
    Job,
    JobKind,
    JobState,
    Record,
    RecordTerm,
    RoleName,
    TextPiece,
    TextStatus,
)
from archive_service.renditions import text as reading
from archive_service.samples.small import minimal_dossier, write_json
from archive_service.service import Service
from archive_service.settings import Settings
from archive_service.textfold import index_terms
from tests.api.test_pages import PASSWORD, Browser, person
from tests.builders import new_record, new_submission
from tests.pipeline import Archive
from tests.unit.formats import format_files as files

SENTENCES = {
    "a": "Giấy chứng nhận đăng ký hộ kinh doanh số 12/2025 của ông Đặng Quốc Ưng",
    "b": "Giầy dép, không phải giấy tờ; chứng từ nhận hàng",
    "c": "Quyết định thu hồi đất số 45/QĐ-UBND. Chứng nhận: giấy phép cũ",
}


@pytest.fixture
def archive(database: Database, settings: Settings) -> Iterator[Archive]:
    """The application without the pause before text is read."""
    service = Service(settings=settings.model_copy(update={"rendition_delay_s": 0}), database=database)
    with TestClient(create_app(service), raise_server_exceptions=False) as http:
        yield Archive(service=service, http=http)


def _docx(words: str) -> bytes:
    body = (
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
        f"<w:p><w:r><w:t>{words}</w:t></w:r></w:p></w:body></w:document>"
    )
    return files.docx({"word/document.xml": body.encode()})


def _with_file(folder: Path, content: bytes, name: str) -> Path:
    dossier = minimal_dossier(folder).folder
    value = json.loads((dossier / "dossier.json").read_bytes())
    part = dict(value["components"][0])
    (dossier / name).write_bytes(content)
    part |= {"id": "c09", "path": name, "role": "submitted", "origin": "uploaded_signed", "title": "Đơn đề nghị"}
    part |= {"sha256": digest_bytes(content).hex, "size_bytes": len(content)}
    value["components"].append(part)
    write_json(dossier, value)
    return dossier


def _stored(archive: Archive, at: datetime, content: str, **values: Any) -> str:
    """Adds a record with one component whose text is `content`, without the way through the pipeline."""
    with archive.service.database.write() as session:
        record = new_record(session, at, **values)
        terms = index_terms(record.dossier_code, record.title, record.applicant_name)
        session.add_all(RecordTerm(term=term, record_id=record.id) for term in terms)
        submission = new_submission(session, at)
        aip = Aip(
            id=new_id(),
            record_id=record.id,
            submission_id=submission.id,
            version=1,
            objid=str(new_id()),
            store_key=f"aip/{record.id}",
            sha256="0" * 64,
            size_bytes=1,
            csip_version="2.0.4",
            packaged_at=at,
        )
        session.add(aip)
        session.flush()
        session.execute(
            text(
                "INSERT INTO component (submission_id, ordinal, component_id, path, role, origin, title, declared_sha256, "
                "declared_size_bytes, aip_id) VALUES (:submission, 1, 'c01', 'a.pdf', 'result', 'issued', 'Kết quả', :sha256, 1, :aip)"
            ),
            {
                "submission": submission.id.hex if archive.service.database.is_sqlite else submission.id,
                "aip": aip.id.hex if archive.service.database.is_sqlite else aip.id,
                "sha256": "0" * 64,
            },
        )
        row = ComponentText(
            aip_id=aip.id,
            component_id="c01",
            status=TextStatus.EXTRACTED,
            reason="",
            characters=len(content),
            complete=True,
            extracted_at=at,
        )
        session.add(row)
        session.flush()
        for ordinal, (piece, words) in enumerate(text_index.pieces_of(content), start=1):
            text_index.add_piece(
                session, TextPiece(text_id=row.id, record_id=record.id, ordinal=ordinal, content=piece), words
            )
        return str(record.id)


def _found(archive: Archive, words: str, *, role: RoleName = RoleName.OFFICER, **rest: Any) -> list[str]:
    answer = archive.call("GET", "records", role=role, params={"text": words}, **rest)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


# ------------------------------------------------------------------ what is found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("giay chung nhan", "abc"),
        ("GIẤY CHỨNG NHẬN", "abc"),
        ('"giay chung nhan"', "a"),
        ('"Giấy chứng nhận"', "a"),
        ('"giấy chứng nhan"', ""),
        ("giầy", "b"),
        ("giay dat", "c"),
        ('"thu hoi dat" giay', "c"),
        ("“hộ kinh doanh”", "a"),
        ("45/QĐ-UBND", "c"),
        ('"so 12/2025"', "a"),
        ("dang", "a"),
        ("đang", ""),
        ("gia", ""),
        ('"giấy"', "abc"),
        ('"chung nhan giay phep cu"', "c"),
        ("' OR 1=1 -- nhan", ""),
        ('kinh doanh" NEAR', ""),
    ],
)
def test_both_engines_find_the_same(archive: Archive, at: datetime, words: str, expected: str) -> None:
    ids = {
        _stored(archive, at + timedelta(minutes=number), content): name
        for number, (name, content) in enumerate(SENTENCES.items())
    }
    assert sorted(ids[found] for found in _found(archive, words)) == sorted(expected)


def test_a_long_text_is_found_from_end_to_end(archive: Archive, at: datetime) -> None:
    """Longer than one piece, with one word far more often than an index keeps places of it."""
    words = [f"tu{number}" if number % 3 else "lặp" for number in range(3 * text_index.MAX_PIECE_WORDS)]
    record_id = _stored(archive, at, " ".join(words))
    with archive.service.database.read() as session:
        pieces = session.scalars(select(TextPiece.content).order_by(TextPiece.ordinal)).all()
    assert len(pieces) > 5
    for start in range(0, len(words) - text_index.MAX_PHRASE_WORDS, 97):
        phrase = " ".join(words[start : start + text_index.MAX_PHRASE_WORDS])
        assert _found(archive, f'"{phrase}"') == [record_id], start
    assert _found(archive, '"lặp lặp"') == []
    assert _found(archive, f'"{words[-1]} {words[0]}"') == []


def test_pages_of_hits_have_no_gap_and_no_repeat(archive: Archive, at: datetime) -> None:
    ids = [_stored(archive, at, "cùng một từ", stored_at=at + timedelta(minutes=number // 2)) for number in range(7)]
    _stored(archive, at, "từ khác", stored_at=at)
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        params = {"text": "cung mot", "limit": 3} | ({"cursor": cursor} if cursor else {})
        answer = archive.call("GET", "records", role=RoleName.OFFICER, params=params).json()
        seen += [item["id"] for item in answer["items"]]
        cursor = answer["next"]
    assert sorted(seen) == sorted(ids)
    assert len(seen) == len(set(seen))


# ------------------------------------------------------------------ who finds it


def test_content_is_found_only_by_those_who_may_read_it(archive: Archive, at: datetime) -> None:
    mine = _stored(archive, at, "bí ẩn", agency="H56.16")
    theirs = _stored(archive, at, "bí ẩn", agency="H40")
    secret = _stored(archive, at, "bí ẩn", agency="H56.16", access_mode="03")
    assert _found(archive, "bi an", agency="H56.16") == [mine]
    assert set(_found(archive, "bi an")) == {mine, theirs}
    assert set(_found(archive, "bi an", role=RoleName.ARCHIVIST, agency="H56.16")) == {mine, secret}
    refused = archive.call("GET", "records", role=RoleName.AUDITOR, params={"text": "bi an"})
    assert (refused.status_code, refused.json()["code"]) == (403, "NOT_PERMITTED")


def test_who_reads_in_one_agency_and_audits_in_another_finds_by_content_in_one(archive: Archive, at: datetime) -> None:
    mine = _stored(archive, at, "bí ẩn", agency="H56.16", title="Hồ sơ đọc được")
    _stored(archive, at, "bí ẩn", agency="H40", title="Hồ sơ chỉ thấy tên")
    browser = person(archive, "kiem-tra", RoleName.AUDITOR)
    assert "Không tìm thấy hồ sơ nào." in browser.get("/records?q=bi+an").text
    assert "Hồ sơ chỉ thấy tên" in browser.get("/records?q=chi+thay").text
    with archive.service.database.write() as session:
        create_account(
            session,
            Person(username="hai-vai", display_name="Hai vai"),
            password=PASSWORD,
            grants=[Grant(role=RoleName.OFFICER, agency="H56.16"), Grant(role=RoleName.AUDITOR, agency="H40")],
            agent=software("tests"),
            at=clock.now(),
            must_change_password=False,
        )
    both = Browser(archive)
    both.sign_in("hai-vai")
    page = both.get("/records?q=bi+an").text
    assert f"/records/{mine}" in page
    assert "Hồ sơ chỉ thấy tên" not in page


@pytest.mark.parametrize("words", ["", "   ", "!?", '""'])
def test_no_word_is_refused(archive: Archive, words: str) -> None:
    answer = archive.call("GET", "records", role=RoleName.OFFICER, params={"text": words})
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")


# ------------------------------------------------------------------ what is shown


def test_a_hit_comes_with_the_words_around_it(archive: Archive, at: datetime) -> None:
    before, after = "trước " * 30, " sau" * 30
    _stored(archive, at, f"{before}<b>Giấy chứng nhận</b>\n\nsố\t1 & <script>alert(1)</script>{after}")
    answer = archive.call("GET", "records", role=RoleName.OFFICER, params={"text": '"giay chung nhan" so'}).json()
    snippet = answer["items"][0]["snippet"]
    assert (snippet["component_id"], snippet["begins_within"], snippet["ends_within"]) == ("c01", True, True)
    assert [part["text"] for part in snippet["parts"] if part["hit"]] == ["Giấy chứng nhận", "số"]
    whole = "".join(part["text"] for part in snippet["parts"])
    assert "Giấy chứng nhận</b> số 1 & <script>alert(1)</script> sau" in whole
    page = person(archive, "can-bo", RoleName.OFFICER).get('/records?q="giay chung nhan"').text
    assert "<mark>Giấy chứng nhận</mark>&lt;/b&gt;" in page
    assert "<script>alert" not in page


def test_the_words_shown_are_where_most_terms_stand_together(archive: Archive, at: datetime) -> None:
    scattered = "giấy " + "khác " * 40 + "chứng " + "khác " * 40
    _stored(archive, at, scattered + "đây là giấy chứng nhận đầu tiên " + "khác " * 3000)
    answer = archive.call("GET", "records", role=RoleName.OFFICER, params={"text": "giay chung nhan"}).json()
    parts = answer["items"][0]["snippet"]["parts"]
    assert [part["text"] for part in parts if part["hit"]] == ["giấy chứng nhận"]


def test_the_words_shown_come_from_the_piece_that_holds_them_all(
    archive: Archive, at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_index, "MAX_PIECE_WORDS", 20)
    _stored(archive, at, "nhận " + "khác " * 60 + "giấy rồi nhận")
    answer = archive.call("GET", "records", role=RoleName.OFFICER, params={"text": "nhan giay"}).json()
    parts = answer["items"][0]["snippet"]["parts"]
    assert [part["text"] for part in parts if part["hit"]] == ["giấy", "nhận"]


def test_the_box_on_the_page_finds_by_name_and_by_content_together(archive: Archive, at: datetime) -> None:
    named = _stored(archive, at, "nội dung", title="Hồ sơ đăng ký kết hôn")
    held = _stored(archive, at, "đơn đăng ký nuôi con nuôi", title="Khác")
    browser = person(archive, "can-bo", RoleName.OFFICER)

    def shown(words: str) -> set[str]:
        page = browser.get(f"/records?q={words}").text
        return {record_id for record_id in (named, held) if f"/records/{record_id}" in page}

    assert shown("dang ky") == {named, held}
    assert shown("ket hon noi dung") == {named}, "one word in the title, one in the document"
    assert shown("con nuoi khac") == {held}
    assert shown('"dang ky nuoi"') == {held}
    assert shown("ly hon") == set()


# ------------------------------------------------------------------ from the package to the index


def test_text_of_stored_components_is_read_once(archive: Archive, tmp_path: Path) -> None:
    record_id = archive.archive(_with_file(tmp_path, _docx("Đơn đề nghị cấp lại giấy phép"), "đơn.docx"))
    assert _found(archive, '"cap lai giay phep"') == [record_id]
    record = archive.call("GET", f"records/{record_id}", role=RoleName.OFFICER).json()
    texts = {part["id"]: part["text"] for part in record["contents"]}
    assert texts["c09"] == {"status": "EXTRACTED", "characters": 30, "complete": True, "reason": ""}
    assert texts["c01"]["status"] == "EXTRACTED"
    with archive.service.database.read() as session:
        aip_id = session.scalars(select(Aip.id).where(Aip.record_id == UUID(record_id))).one()
        assert session.scalars(select(Job.state).where(Job.kind == JobKind.EXTRACT_TEXT)).all() == [JobState.DONE]
    assert reading.extract_texts(archive.service, aip_id) == 0
    assert "tìm được theo nội dung" in person(archive, "can-bo", RoleName.OFFICER).get(f"/records/{record_id}").text


def test_what_cannot_be_read_says_why_and_blocks_nothing(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "TIME_LIMIT_S", 0.0)
    record_id = archive.archive(minimal_dossier(tmp_path).folder)
    contents = archive.call("GET", f"records/{record_id}", role=RoleName.OFFICER).json()["contents"]
    assert {(part["text"]["status"], part["text"]["reason"]) for part in contents} == {("NOT_CHECKED", "timeout: 0 s")}


def test_a_file_without_text_is_told_from_one_that_could_not_be_read(archive: Archive, tmp_path: Path) -> None:
    record_id = archive.archive(_with_file(tmp_path, _docx("  "), "đơn.docx"))
    record = archive.call("GET", f"records/{record_id}", role=RoleName.OFFICER).json()
    texts = {part["id"]: part["text"] for part in record["contents"]}
    assert texts["c09"] == {"status": "NO_TEXT", "characters": 3, "complete": True, "reason": ""}


def test_records_from_before_are_taken_up(archive: Archive, tmp_path: Path) -> None:
    on = archive.service.settings
    object.__setattr__(archive.service, "settings", on.model_copy(update={"text_search": False}))
    archive.archive(_with_file(tmp_path, _docx("lời văn cũ"), "đơn.docx"))
    assert _found(archive, "loi van") == []
    object.__setattr__(archive.service, "settings", on)
    assert reading.enqueue_missing(archive.service.database) == 1
    archive.work()
    assert len(_found(archive, "loi van")) == 1
    assert reading.enqueue_missing(archive.service.database) == 0


def test_sqlite_without_fts5_says_so(archive: Archive, tmp_path: Path) -> None:
    """A database made without FTS5 has no index of words; nothing else suffers."""
    if not archive.service.database.is_sqlite:
        with archive.service.database.read() as session:
            assert text_index.available(session)
        return
    with archive.service.database.write() as session:
        session.execute(text(f"DROP TABLE {text_index.TABLE}"))
    record_id = archive.archive(_with_file(tmp_path, _docx("có chữ"), "đơn.docx"))
    answer = archive.call("GET", "records", role=RoleName.OFFICER, params={"text": "chu"})
    assert (answer.status_code, answer.json()["code"]) == (501, "CONTENT_SEARCH_UNAVAILABLE")
    page = person(archive, "can-bo", RoleName.OFFICER).get("/records?q=dang+ky").text
    assert f"/records/{record_id}" in page
    assert "Không tìm được theo nội dung" in page
    with archive.service.database.read() as session:
        assert session.scalars(select(Record)).all()


def test_the_command_line_queues_what_was_never_read(tmp_path: Path) -> None:
    result = CliRunner().invoke(build_app(("searching",)), ["index-text", "--data", str(tmp_path / "data")])
    assert (result.exit_code, result.output) == (0, "Đã xếp hàng / queued: 0\n")
