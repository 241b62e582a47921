"""`/openapi.json` says what the service does: bodies, answers, who must sign in."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.pipeline import Archive

JsonObject = dict[str, Any]
_NOBODY = str(UUID(int=1))


def _operations(document: JsonObject) -> Iterator[tuple[str, str, JsonObject]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield method, path, operation


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _address(path: str) -> str:
    return "/".join(_NOBODY if part.startswith("{") else part for part in path.split("/"))


@pytest.fixture
def document(archive: Archive) -> JsonObject:
    answer: JsonObject = archive.http.get("/openapi.json").json()
    return answer


def test_every_operation_has_its_own_id_and_every_reference_leads_somewhere(document: JsonObject) -> None:
    ids = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(ids) == len(set(ids)) > 50
    schemas = document["components"]["schemas"]
    references = set(_references(document))
    assert references
    assert [name for name in references if name.rsplit("/", 1)[-1] not in schemas] == []
    assert "HTTPValidationError" not in schemas  # no answer of the service looks like it


def test_who_must_sign_in_is_what_is_asked(archive: Archive, document: JsonObject) -> None:
    for method, path, operation in _operations(document):
        answer = archive.http.request(method, _address(path), headers={"Authorization": "Bearer arch_wrong"})
        closed = answer.status_code == 401
        assert closed == ("security" in operation), f"{method} {path}: {answer.status_code}"
        assert str(answer.status_code) in operation["responses"], f"{method} {path}: {answer.status_code}"
        if closed and method != "head":
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert set(document["components"]["schemas"]["Problem"]["required"]) <= answer.json().keys()


def test_a_push_can_be_made_from_it_alone(document: JsonObject) -> None:
    paths = document["paths"]
    opening = paths["/api/v1/submissions"]["post"]
    assert opening["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Dossier")
    assert {"200", "201", "409", "413", "422"} <= opening["responses"].keys()
    dossier = document["components"]["schemas"]["Dossier"]
    assert {"dossier_code", "components", "closed_at", "outcome"} <= set(dossier["required"])
    upload = paths["/api/v1/submissions/{submission_id}/components/{component_id}"]["put"]
    assert upload["requestBody"]["content"]["application/octet-stream"]["schema"]["format"] == "binary"
    assert upload["security"] == [{"bearer": []}, {"session": []}]
    assert "application/zip" in paths["/api/v1/packages"]["post"]["requestBody"]["content"]
    content = paths["/api/v1/records/{record_id}/components/{component_id}/content"]["get"]
    assert {"200", "206", "416"} <= content["responses"].keys()
    assert "Range" in [parameter["name"] for parameter in content["parameters"]]
    lists = [path for _, path, op in _operations(document) if "Page" in str(op["responses"].get("200"))]
    assert "/api/v1/records" in lists


def test_answers_are_described_in_their_own_media_type(archive: Archive, document: JsonObject) -> None:
    for path in ("/healthz", "/metrics", "/api/v1/evidence/key"):
        answer = archive.http.get(path)
        described = document["paths"][path]["get"]["responses"]["200"]["content"]
        assert answer.headers["content-type"].split(";")[0] in described, path
    package = document["paths"]["/api/v1/records/{record_id}/dispute-package"]["get"]
    assert list(package["responses"]["200"]["content"]) == ["application/zip"]
    assert "206" not in package["responses"]  # made for the caller: there are no ranges of it


def test_bounds_of_a_page_are_described(document: JsonObject) -> None:
    for path in ("submissions", "records", "holds", "preservation/incidents", "retention/reviews"):
        parameters = document["paths"][f"/api/v1/{path}"]["get"]["parameters"]
        (limit,) = [parameter["schema"] for parameter in parameters if parameter["name"] == "limit"]
        assert (limit["minimum"], limit["maximum"]) == (1, 200), path
