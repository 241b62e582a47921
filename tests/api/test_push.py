"""Pushing dossiers: the same content once, other content refused with the difference, bad bytes refused with nothing kept."""

import io
import json
import threading
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from archive_service.models import Component, Event, EventType, RoleName, Submission
from archive_service.samples.small import eight_file_dossier, minimal_dossier, write_json
from tests.pipeline import Archive

STRANGER = {"name": "Người khác", "identifier": None, "kind": "citizen"}


@pytest.fixture
def dossier(tmp_path: Path) -> Path:
    return minimal_dossier(tmp_path / "dossiers").folder


def _zip(folder: Path, *, top: str = "") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, top + path.relative_to(folder).as_posix())
    return target.getvalue()


def _changed(folder: Path, **changes: Any) -> bytes:
    return json.dumps({**json.loads((folder / "dossier.json").read_bytes()), **changes}).encode()


def _submissions(archive: Archive) -> int:
    with archive.service.database.read() as session:
        return session.scalar(select(func.count()).select_from(Submission)) or 0


def test_a_dossier_goes_from_push_to_the_archive(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    record = archive.call("GET", f"records/{record_id}", role=RoleName.OFFICER).json()
    assert record["state"] == "STORED"
    assert record["dossier_code"] == json.loads((dossier / "dossier.json").read_bytes())["dossier_code"]
    copies = record["aips"][0]["copies"]
    assert [copy["location"] for copy in copies] == ["kho-1", "kho-2"]
    assert {copy["read_back_sha256"] for copy in copies} == {record["aips"][0]["sha256"]}


def test_opening_twice_gives_the_same_submission(archive: Archive, dossier: Path) -> None:
    first, second = archive.open(dossier), archive.open(dossier)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert [upload["component_id"] for upload in first.json()["uploads"]] == ["c01", "c02", "c03"]


def test_pushing_again_after_storing_changes_nothing(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    again = archive.open(dossier)
    assert (again.status_code, again.json()["state"], again.json()["record_id"]) == (200, "STORED", record_id)
    assert again.json()["uploads"] == []
    archive.upload(dossier, again.json()["id"])
    assert archive.call("POST", f"submissions/{again.json()['id']}/complete").status_code == 202
    assert _submissions(archive) == 1


def test_concurrent_pushes_give_one_submission(archive: Archive, dossier: Path) -> None:
    archive.headers(RoleName.SUBMITTER)
    gate = threading.Barrier(6)

    def push(_: int) -> tuple[int, str]:
        gate.wait()
        answer = archive.open(dossier)
        return answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(push, range(6)))
    assert sorted(status for status, _ in answers) == [200] * 5 + [201]
    assert len({submission_id for _, submission_id in answers}) == 1
    assert _submissions(archive) == 1


def test_other_content_under_the_same_code_is_refused_with_the_difference(archive: Archive, dossier: Path) -> None:
    archive.open(dossier)
    answer = archive.call("POST", "submissions", content=_changed(dossier, title="Tiêu đề khác"))
    assert (answer.status_code, answer.json()["code"]) == (409, "DOSSIER_CONTENT_DIFFERS")
    assert [place["pointer"] for place in answer.json()["difference"]] == ["/title"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert _submissions(archive) == 1


@pytest.mark.parametrize("form", ["dossier", "package"])
def test_what_another_agency_sent_is_not_told_to_who_names_its_code(archive: Archive, dossier: Path, form: str) -> None:
    held = {**archive.open(dossier).json(), **json.loads(_changed(dossier))}
    other = "000.00.99.H99"
    body = json.loads(_changed(dossier, settling_agency=other, title="Tiêu đề khác", applicant=STRANGER))
    write_json(dossier, body)
    path, content = ("submissions", _changed(dossier)) if form == "dossier" else ("packages", _zip(dossier))
    answer = archive.call("POST", path, content=content, agency=other)
    assert (answer.status_code, answer.json()["code"]) == (409, "DOSSIER_CONTENT_DIFFERS")
    assert set(answer.json()) == {"type", "title", "status", "code", "detail"}
    assert held["id"] not in answer.text
    for agency in (body["archiving_agency"], held["settling_agency"], None):
        answer = archive.call("POST", path, content=content, agency=agency)
        if agency == held["settling_agency"]:  # nothing of what is pushed is its own
            assert answer.status_code == 403
        else:
            assert answer.json()["submission_id"] == held["id"]
            assert "/title" in {place["pointer"] for place in answer.json()["difference"]}


def test_other_content_after_storing_is_refused_too(archive: Archive, dossier: Path) -> None:
    archive.archive(dossier)
    answer = archive.call("POST", "submissions", content=_changed(dossier, title="Tiêu đề khác"))
    assert (answer.status_code, answer.json()["code"]) == (409, "DOSSIER_CONTENT_DIFFERS")
    assert [place["pointer"] for place in answer.json()["difference"]] == ["/title"]


def test_wrong_bytes_are_refused_and_right_ones_still_accepted(archive: Archive, dossier: Path) -> None:
    submission_id = archive.open(dossier).json()["id"]
    url = f"submissions/{submission_id}/components/c01"
    wrong = archive.call("PUT", url, content=b"x")
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["component_id"]) == (422, "DIGEST_MISMATCH", "c01")
    staged = archive.service.settings.staging_dir / submission_id
    assert [path.name for path in staged.iterdir()] == ["dossier.json"]
    archive.upload(dossier, submission_id)


def test_refused_bytes_stay_on_record_until_the_right_ones_arrive(archive: Archive, dossier: Path) -> None:
    submission_id = archive.open(dossier).json()["id"]
    parts = json.loads((dossier / "dossier.json").read_bytes())["components"]
    for content in (b"x", b"x", bytes(parts[0]["size_bytes"]), bytes(parts[0]["size_bytes"] + 1)):
        answer = archive.call("PUT", f"submissions/{submission_id}/components/c01", content=content)
        assert (answer.status_code, answer.json()["path"]) == (422, parts[0]["path"])
        assert parts[0]["path"] in answer.json()["detail"]
        assert "component-000" not in answer.text
    archive.call("PUT", f"submissions/{submission_id}/components/c02", content=b"x")
    state = archive.submission(submission_id)
    found = [(finding["code"], finding["location"]) for finding in state["findings"]]
    assert found == [("COMPONENT_DIGEST_MISMATCH", "c01"), ("COMPONENT_DIGEST_MISMATCH", "c02")]
    assert (state["state"], state["errors"], state["decision"]) == ("RECEIVING", 2, None)
    assert parts[0]["path"] in state["findings"][0]["message"]
    assert "nhiều hơn" in state["findings"][0]["message"], "the newest reason stands, in Vietnamese"
    assert all("ghi chú kỹ thuật" not in finding["message"] for finding in state["findings"])

    content = (dossier / parts[0]["path"]).read_bytes()
    assert archive.call("PUT", f"submissions/{submission_id}/components/c01", content=content).status_code == 204
    assert archive.call("PUT", f"submissions/{submission_id}/components/c01", content=b"x").status_code == 422
    state = archive.submission(submission_id)
    assert ([finding["location"] for finding in state["findings"]], state["errors"]) == (["c02"], 1)

    archive.upload(dossier, submission_id)
    assert archive.submission(submission_id)["findings"] == []
    assert archive.call("POST", f"submissions/{submission_id}/complete").status_code == 202
    archive.work()
    state = archive.submission(submission_id)
    assert (state["state"], state["errors"]) == ("AWAITING_APPROVAL", 0)
    assert "COMPONENT_DIGEST_MISMATCH" not in {finding["code"] for finding in state["findings"]}


def test_a_withdrawn_submission_says_why(archive: Archive, dossier: Path) -> None:
    submission_id = archive.open(dossier).json()["id"]
    archive.call("PUT", f"submissions/{submission_id}/components/c03", content=b"x")
    archive.call("POST", f"submissions/{submission_id}/withdraw", json={"reason": "tệp không khớp"})
    archive.work()
    state = archive.submission(submission_id)
    assert (state["state"], state["errors"]) == ("REJECTED", 1)
    assert [(finding["code"], finding["location"]) for finding in state["findings"]] == [
        ("COMPONENT_DIGEST_MISMATCH", "c03")
    ]
    assert (state["decision"]["decision"], state["decision"]["reason"]) == ("withdrawn", "tệp không khớp")
    assert state["decision"]["at"] == state["decided_at"]
    with archive.service.database.read() as session:
        (event,) = session.scalars(select(Event).where(Event.type == EventType.SUBMISSION_WITHDRAWN))
    assert event.detail["refused"] == [{"component_id": "c03", "code": "COMPONENT_DIGEST_MISMATCH"}]


def test_a_component_over_the_limit_is_on_record(archive: Archive, dossier: Path) -> None:
    submission_id = archive.open(dossier).json()["id"]
    limited = archive.service.settings.model_copy(update={"max_component_bytes": 10})
    object.__setattr__(archive.service, "settings", limited)
    answer = archive.call("PUT", f"submissions/{submission_id}/components/c01", content=b"x")
    assert (answer.status_code, answer.json()["code"], answer.json()["component_id"]) == (413, "TOO_LARGE", "c01")
    (finding,) = archive.submission(submission_id)["findings"]
    assert (finding["code"], finding["params"]["limit_bytes"]) == ("COMPONENT_TOO_LARGE", 10)


def test_completing_early_names_what_is_missing(archive: Archive, dossier: Path) -> None:
    submission_id = archive.open(dossier).json()["id"]
    answer = archive.call("POST", f"submissions/{submission_id}/complete")
    assert (answer.status_code, answer.json()["code"]) == (409, "COMPONENTS_MISSING")
    assert answer.json()["missing"] == ["c01", "c02", "c03"]


def test_sending_a_component_again_compares_it(archive: Archive, dossier: Path) -> None:
    submission_id = archive.push(dossier)
    archive.upload(dossier, submission_id)
    answer = archive.call("PUT", f"submissions/{submission_id}/components/c01", content=b"other")
    assert (answer.status_code, answer.json()["code"]) == (422, "DIGEST_MISMATCH")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "DOSSIER_JSON_MALFORMED"),
        (b'{"a": 1, "a": 2}', "DOSSIER_JSON_MALFORMED"),
        (b'{"a": NaN}', "DOSSIER_JSON_MALFORMED"),
        (b"\xff\xfe", "DOSSIER_JSON_MALFORMED"),
        (b"[" * 100_000, "DOSSIER_JSON_MALFORMED"),
        (b"{}", "DOSSIER_FIELD_INVALID"),
        (b"[]", "DOSSIER_FIELD_INVALID"),
    ],
)
def test_malformed_descriptions_are_refused_with_every_reason(archive: Archive, body: bytes, code: str) -> None:
    answer = archive.call("POST", "submissions", content=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "DOSSIER_INVALID")
    assert {finding["code"] for finding in answer.json()["findings"]} == {code}
    assert _submissions(archive) == 0


def test_every_wrong_field_is_told_at_once(archive: Archive, dossier: Path) -> None:
    body = _changed(dossier, closed_at="2025-01-01T00:00:00", access_mode="9", title="a\u0000b")
    answer = archive.call("POST", "submissions", content=body)
    assert {finding["location"] for finding in answer.json()["findings"]} == {"/closed_at", "/access_mode", "/title"}


def test_a_repeated_component_id_is_refused(archive: Archive, dossier: Path) -> None:
    value = json.loads((dossier / "dossier.json").read_bytes())
    value["components"].append({**value["components"][0], "path": "other.pdf"})
    answer = archive.call("POST", "submissions", content=json.dumps(value).encode())
    assert [finding["code"] for finding in answer.json()["findings"]] == ["COMPONENT_ID_DUPLICATE"]


def test_a_one_shot_package_goes_the_same_way(archive: Archive, dossier: Path) -> None:
    first = archive.call("POST", "packages", content=_zip(dossier))
    second = archive.call("POST", "packages", content=_zip(dossier, top="ho-so/"))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"] == archive.open(dossier).json()["id"]
    archive.work()
    assert archive.submission(first.json()["id"])["state"] == "AWAITING_APPROVAL"
    assert _submissions(archive) == 1


def test_a_package_with_wrong_bytes_names_the_file(archive: Archive, dossier: Path) -> None:
    content = json.loads((dossier / "dossier.json").read_bytes())
    content["components"][1]["sha256"] = "0" * 64
    write_json(dossier, content)
    submission_id = archive.call("POST", "packages", content=_zip(dossier)).json()["id"]
    archive.work()
    body = archive.submission(submission_id)
    assert body["state"] == "REJECTED"
    assert ("COMPONENT_DIGEST_MISMATCH", "c02") in {(f["code"], f["location"]) for f in body["findings"]}
    assert not (archive.service.settings.staging_dir / submission_id).exists()


def _zip_but(folder: Path, *, without: str | None = None, extra: str | None = None) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            if name != without:
                archive.write(path, name)
        if extra is not None:
            archive.writestr(extra, b"x")
    return target.getvalue()


def test_a_package_with_a_missing_and_an_extra_file_is_told_every_reason(archive: Archive, tmp_path: Path) -> None:
    folder = minimal_dossier(tmp_path / "d", procedure_code="x", due_at="2020-01-01T00:00:00+07:00").folder
    described = json.loads((folder / "dossier.json").read_bytes())
    missing = described["components"][1]
    opened = archive.call("POST", "packages", content=_zip_but(folder, without=missing["path"], extra="thừa.txt"))
    assert (opened.status_code, opened.json()["dossier_code"]) == (202, described["dossier_code"])
    archive.work()
    body = archive.submission(opened.json()["id"])
    assert (body["state"], body["title"], body["received"]) == ("REJECTED", described["title"], 2)
    found = [(finding["code"], finding["location"]) for finding in body["findings"]]
    assert found.count(("PACKAGE_FILE_MISSING", missing["id"])) == 1
    assert found.count(("PACKAGE_FILE_UNLISTED", "thừa.txt")) == 1
    codes = {code for code, _ in found}
    assert {"DATE_ORDER", "PROCEDURE_CODE_UNUSUAL"} <= codes, "codes, dates and completeness are judged too"
    with archive.service.database.read() as session:
        formats = session.scalars(select(Component.mime).order_by(Component.ordinal)).all()
    assert formats == ["application/pdf", None, "application/pdf"], "and so are the files that are there"
    assert "COMPONENT_DIGEST_MISMATCH" not in codes
    listed = archive.call("GET", "submissions", params={"dossier_code": described["dossier_code"]}).json()["items"]
    assert [row["id"] for row in listed] == [body["id"]]
    assert not (archive.service.settings.staging_dir / body["id"]).exists()


def test_a_package_refused_for_its_files_can_be_sent_complete(archive: Archive, dossier: Path) -> None:
    missing = json.loads((dossier / "dossier.json").read_bytes())["components"][2]["path"]
    incomplete = _zip_but(dossier, without=missing)
    refused = archive.call("POST", "packages", content=incomplete).json()["id"]
    archive.work()
    assert archive.call("POST", "packages", content=incomplete).json()["id"] == refused
    complete = archive.call("POST", "packages", content=_zip(dossier)).json()["id"]
    assert complete != refused
    archive.work()
    states = {name: archive.submission(name)["state"] for name in (refused, complete)}
    assert states == {refused: "REJECTED", complete: "AWAITING_APPROVAL"}
    assert archive.call("POST", "packages", content=incomplete).json()["id"] == complete


def test_a_hostile_package_is_refused_at_once_and_is_nobodys_dossier(archive: Archive, dossier: Path) -> None:
    body = _zip_but(dossier, extra="../outside.txt")
    submission_id = archive.call("POST", "packages", content=body).json()["id"]
    archive.work()
    state = archive.submission(submission_id)
    assert (state["state"], state["dossier_code"]) == ("REJECTED", None)
    assert "PACKAGE_PATH_TRAVERSAL" in {finding["code"] for finding in state["findings"]}
    assert _submissions(archive) == 1


@pytest.mark.parametrize("body", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_an_unreadable_package_becomes_a_refused_submission_and_nothing_more(archive: Archive, body: bytes) -> None:
    opened = archive.call("POST", "packages", content=body, agency="H56.16")
    assert opened.status_code == 202
    archive.work()
    state = archive.call("GET", f"submissions/{opened.json()['id']}", agency="H56.16").json()
    assert (state["state"], state["dossier_code"], state["record_id"]) == ("REJECTED", None, None)
    assert state["findings"]
    again = archive.call("POST", "packages", content=body, agency="H56.16")
    assert again.json()["id"] == opened.json()["id"]
    assert list(archive.service.settings.staging_dir.glob("*/*")) == []


def test_the_same_unreadable_package_is_told_to_each_sender(archive: Archive) -> None:
    first, second = (archive.call("POST", "packages", content=b"no ZIP", agency=agency) for agency in ("H01", "H02"))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] != second.json()["id"]
    again = archive.call("POST", "packages", content=b"no ZIP", agency="H02")
    assert again.json()["id"] == second.json()["id"]


@pytest.mark.parametrize(
    "sent_at",
    ["yesterday", "2025-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"],
)
@pytest.mark.parametrize("form", ["submissions", "packages"])
def test_a_malformed_time_of_sending_is_refused_and_nothing_is_staged(
    archive: Archive, dossier: Path, form: str, sent_at: str
) -> None:
    content = _changed(dossier) if form == "submissions" else _zip(dossier)
    answer = archive.call("POST", form, content=content, headers={"X-Sent-At": sent_at})
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")
    assert _submissions(archive) == 0
    staging = archive.service.settings.staging_dir
    assert not staging.exists() or list(staging.iterdir()) == []


def test_a_sender_may_take_back_an_unfinished_push(archive: Archive, dossier: Path) -> None:
    submission_id = archive.open(dossier).json()["id"]
    answer = archive.call("POST", f"submissions/{submission_id}/withdraw", json={"reason": "gửi nhầm"})
    assert answer.json()["state"] == "REJECTED"
    archive.work()
    other = archive.call("POST", "submissions", content=_changed(dossier, title="Tiêu đề khác"))
    assert other.status_code == 201


def test_a_refused_dossier_is_opened_again_only_when_asked(archive: Archive, dossier: Path) -> None:
    submission_id = archive.push(dossier)
    archive.work()
    archive.decide(submission_id, "return", "thiếu dấu")
    assert archive.open(dossier).json()["id"] == submission_id
    again = archive.call("POST", "submissions?again=true", content=(dossier / "dossier.json").read_bytes())
    assert again.status_code == 201
    assert again.json()["id"] != submission_id


def test_a_supplement_makes_a_new_version_and_keeps_the_old(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    refused = archive.call("POST", "submissions", content=_changed(dossier, title="Bổ sung"))
    assert refused.status_code == 409
    (dossier / "dossier.json").write_bytes(_changed(dossier, title="Bổ sung", record_status="SUPPLEMENT"))
    assert archive.archive(dossier) == record_id
    record = archive.call("GET", f"records/{record_id}", role=RoleName.OFFICER).json()
    assert [aip["version"] for aip in record["aips"]] == [2, 1]
    assert len({aip["objid"] for aip in record["aips"]}) == 2


def test_a_supplement_comes_from_the_agencies_of_its_dossier(archive: Archive, dossier: Path) -> None:
    record_id = archive.archive(dossier)
    other = "000.00.99.H99"
    taken_over = _changed(dossier, record_status="SUPPLEMENT", settling_agency=other)
    answer = archive.call("POST", "submissions", content=taken_over, agency=other)
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert record_id not in answer.text
    of_the_archive = json.loads(taken_over)["archiving_agency"]
    assert archive.call("POST", "submissions", content=taken_over, agency=of_the_archive).status_code == 201


def test_a_supplement_of_nothing_is_refused(archive: Archive, dossier: Path) -> None:
    answer = archive.call("POST", "submissions", content=_changed(dossier, record_status="REPLACEMENT"))
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")


def test_a_token_pushes_only_for_its_agency(archive: Archive, dossier: Path) -> None:
    answer = archive.open(dossier, agency="000.00.00.H02")
    assert (answer.status_code, answer.json()["code"]) == (403, "NOT_PERMITTED")
    assert archive.http.post("/api/v1/submissions", content=b"{}").status_code == 401


def test_a_body_over_the_limit_is_refused(archive: Archive, dossier: Path) -> None:
    limited = archive.service.settings.model_copy(update={"max_dossier_json_bytes": 100})
    object.__setattr__(archive.service, "settings", limited)
    answer = archive.open(dossier)
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")


@pytest.mark.parametrize(
    ("change", "location"),
    [
        ({"size_bytes": 2**63}, "/components/0/size_bytes"),
        ({"size_bytes": 10**30}, "/components/0/size_bytes"),
        ({"size_bytes": True}, "/components/0/size_bytes"),
        ({"pages": 10**400}, "/components/0/pages"),
    ],
)
def test_numbers_no_database_holds_are_refused(
    archive: Archive, dossier: Path, change: dict[str, Any], location: str
) -> None:
    value = json.loads((dossier / "dossier.json").read_bytes())
    value["components"][0] |= change
    answer = archive.call("POST", "submissions", content=json.dumps(value).encode())
    assert (answer.status_code, answer.json()["code"]) == (422, "DOSSIER_INVALID")
    assert [finding["location"] for finding in answer.json()["findings"]] == [location]


def test_sizes_that_add_up_to_too_much_are_refused(archive: Archive, dossier: Path) -> None:
    value = json.loads((dossier / "dossier.json").read_bytes())
    for component in value["components"]:
        component["size_bytes"] = 2**50
    answer = archive.call("POST", "submissions", content=json.dumps(value).encode())
    assert [finding["location"] for finding in answer.json()["findings"]] == ["/components"]


@pytest.mark.parametrize("closed_at", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_dates_out_of_reach_are_refused(archive: Archive, dossier: Path, closed_at: str) -> None:
    answer = archive.call("POST", "submissions", content=_changed(dossier, closed_at=closed_at))
    assert (answer.status_code, answer.json()["code"]) == (422, "DOSSIER_INVALID")
    assert [finding["location"] for finding in answer.json()["findings"]] == ["/closed_at"]


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "..\\x", "a/../b.pdf"])
def test_an_unsafe_path_is_refused_before_anything_is_uploaded(archive: Archive, dossier: Path, path: str) -> None:
    value = json.loads((dossier / "dossier.json").read_bytes())
    value["components"][0]["path"] = path
    answer = archive.call("POST", "submissions", content=json.dumps(value).encode())
    assert {finding["code"] for finding in answer.json()["findings"]} == {"COMPONENT_PATH_UNSAFE"}
    assert _submissions(archive) == 0


def test_a_longer_repeat_is_other_bytes(archive: Archive, dossier: Path) -> None:
    submission_id = archive.push(dossier)
    content = (dossier / json.loads((dossier / "dossier.json").read_bytes())["components"][0]["path"]).read_bytes()
    answer = archive.call("PUT", f"submissions/{submission_id}/components/c01", content=content + b"1")
    assert (answer.status_code, answer.json()["code"]) == (422, "DIGEST_MISMATCH")


def test_free_text_holds_no_control_characters(archive: Archive, dossier: Path) -> None:
    submission_id = archive.open(dossier).json()["id"]
    answer = archive.call("POST", f"submissions/{submission_id}/withdraw", json={"reason": "a\u0000b"})
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")
    archive.upload(dossier, submission_id)
    archive.call("POST", f"submissions/{submission_id}/complete")
    archive.work()
    answer = archive.decide(submission_id, "reject", "a\u001bb")
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")
    assert archive.submission(submission_id)["state"] == "AWAITING_APPROVAL"


def _put(archive: Archive, folder: Path, submission_id: str, component_id: str, content: bytes | None = None) -> Any:
    parts = {part["id"]: part["path"] for part in json.loads((folder / "dossier.json").read_bytes())["components"]}
    body = (folder / parts[component_id]).read_bytes() if content is None else content
    return archive.call("PUT", f"submissions/{submission_id}/components/{component_id}", content=body)


def test_what_has_arrived_is_told_before_any_row_says_so(archive: Archive, dossier: Path) -> None:
    submission_id = archive.open(dossier).json()["id"]
    assert _put(archive, dossier, submission_id, "c02").status_code == 204
    with archive.service.database.read() as session:
        assert set(session.scalars(select(Component.received_at))) == {None}
    assert archive.submission(submission_id)["received"] == 1
    listed = archive.call("GET", "submissions").json()["items"]
    assert [row["received"] for row in listed] == [1]
    assert [upload["component_id"] for upload in archive.open(dossier).json()["uploads"]] == ["c01", "c03"]
    answer = archive.call("POST", f"submissions/{submission_id}/complete")
    assert (answer.status_code, answer.json()["missing"]) == (409, ["c01", "c03"])
    for component_id in ("c01", "c03"):
        _put(archive, dossier, submission_id, component_id)
    assert archive.call("POST", f"submissions/{submission_id}/complete").json()["received"] == 3
    with archive.service.database.read() as session:
        assert None not in set(session.scalars(select(Component.received_at)))


def test_a_staged_file_that_is_gone_is_missing_again(archive: Archive, dossier: Path) -> None:
    submission_id = archive.open(dossier).json()["id"]
    archive.upload(dossier, submission_id)
    (archive.service.settings.staging_dir / submission_id / "component-0000002").unlink()
    answer = archive.call("POST", f"submissions/{submission_id}/complete")
    assert (answer.status_code, answer.json()["missing"]) == (409, ["c02"])
    assert _put(archive, dossier, submission_id, "c02").status_code == 204
    assert archive.call("POST", f"submissions/{submission_id}/complete").status_code == 202


@pytest.mark.parametrize("form", ["dossier", "package"])
def test_large_files_stream_and_their_crc_is_kept(archive: Archive, tmp_path: Path, form: str) -> None:
    folder = eight_file_dossier(tmp_path / "large", total_bytes=20 * 1024 * 1024).folder
    if form == "package":
        submission_id = archive.call("POST", "packages", content=_zip(folder)).json()["id"]
        archive.work()
    else:
        submission_id = archive.open(folder).json()["id"]
        other = bytes(2 * 1024 * 1024 + 5)
        assert _put(archive, folder, submission_id, "c01", other).status_code == 422
        archive.upload(folder, submission_id)
        assert _put(archive, folder, submission_id, "c01", other).json()["code"] == "DIGEST_MISMATCH"
        assert _put(archive, folder, submission_id, "c01").status_code == 204
    rows = select(Component.ordinal, Component.crc32).order_by(Component.ordinal)
    with archive.service.database.read() as session:
        noted = {ordinal: crc32 for ordinal, crc32 in session.execute(rows)}  # noqa: C416 - rows are not pairs
    parts = json.loads((folder / "dossier.json").read_bytes())["components"]
    assert noted == {
        number: zlib.crc32((folder / part["path"]).read_bytes()) for number, part in enumerate(parts, start=1)
    }


def test_a_component_of_another_agency_is_not_found(archive: Archive, dossier: Path) -> None:
    submission_id = archive.open(dossier).json()["id"]
    for component_id in ("c01", "no-such"):
        path = f"submissions/{submission_id}/components/{component_id}"
        answer = archive.call("PUT", path, content=b"x", agency="000.00.99.H99")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    answer = archive.call("POST", f"submissions/{submission_id}/complete", agency="000.00.99.H99")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert archive.submission(submission_id)["received"] == 0
