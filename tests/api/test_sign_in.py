"""At the door: where callers without a session are sent, and how long those wait who guess passwords."""

import pytest

from archive_service.identity.passwords import load_policy
from archive_service.models import RoleName
from tests.api.test_pages import person
from tests.pipeline import Archive


@pytest.mark.parametrize("accept", ["*/*", "text/html", "image/png,*/*;q=0.5"])
def test_a_page_leads_to_sign_in_whatever_is_accepted_and_the_api_never_does(archive: Archive, accept: str) -> None:
    for path in ("/", "/records", "/jobs"):
        answer = archive.http.get(path, headers={"Accept": accept}, follow_redirects=False)
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/sign-in?next=")
    refused = archive.http.get("/api/v1/records", headers={"Accept": accept}, follow_redirects=False)
    assert (refused.status_code, refused.json()["code"]) == (401, "NOT_SIGNED_IN")
    asked = archive.http.get("/records", headers={"Accept": "application/json"}, follow_redirects=False)
    assert (asked.status_code, asked.json()["code"]) == (401, "NOT_SIGNED_IN")


@pytest.mark.parametrize("path", ["/api/v1/records/", "/records/", "/sign-in/"])
def test_a_slash_too_many_leads_nowhere(archive: Archive, path: str) -> None:
    answer = archive.call("GET", path, role=RoleName.OFFICER, headers={"Host": "evil.example"}, follow_redirects=False)
    assert answer.status_code == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize("name", ["lan", "ai-do"])
def test_after_wrong_passwords_even_the_right_one_waits(archive: Archive, name: str) -> None:
    browser = person(archive, "lan", RoleName.OFFICER)
    browser.http.cookies.clear()
    allowed = load_policy().failures_before_lock
    assert [browser.sign_in(name, f"sai-{number}").status_code for number in range(allowed)] == [403] * allowed
    answer = browser.sign_in(name)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= load_policy().lock_s
    assert "Sai mật khẩu quá nhiều lần" in answer.text
    assert browser.get("/").status_code == 303
