"""What `/openapi.json` says beyond what the endpoints' signatures show: bodies sent as bytes, problem answers, ranges, who must sign in.

A client generated from it can push a dossier. A test compares what it says with what the service really answers.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from archive_service.api.dependencies import SESSION_COOKIE, principal_of
from archive_service.api.errors import PROBLEM_TYPE
from archive_service.dossier import Dossier
from archive_service.models import State

JsonObject = dict[str, Any]

_REF: Final = "#/components/schemas/{model}"
_BINARY: Final[JsonObject] = {"type": "string", "format": "binary"}
_UUID: Final[JsonObject] = {"type": "string", "format": "uuid"}
_OPTIONAL_UUID: Final[JsonObject] = {"anyOf": [_UUID, {"type": "null"}]}

_REST: Final[JsonObject] = {
    "type": ["string", "null"],
    "description": "Address of the others, a page each; null when all are told.",
}

_PROBLEM: Final[JsonObject] = {
    "type": "object",
    "description": "RFC 9457. `code` is stable; further members depend on it, e.g. `problems`, `findings` or `difference`.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
    "additionalProperties": True,
}
_SUBMISSION: Final[JsonObject] = {
    "type": "object",
    "required": ["id", "dossier_code", "state", "record_id"],
    "properties": {
        "id": _UUID,
        "dossier_code": {"type": ["string", "null"]},
        "title": {"type": ["string", "null"]},
        "state": {"enum": [state.value for state in State]},
        "record_id": _OPTIONAL_UUID,
        "findings": {
            "type": "array",
            "description": "The first of them, errors first.",
            "items": {"$ref": _REF.format(model="Finding")},
        },
        "finding_count": {"type": "integer", "description": "How many there are in all."},
        "findings_next": _REST,
        "signatures": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
        "signature_count": {"type": "integer", "description": "How many there are in all."},
        "signatures_next": _REST,
        "uploads": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["component_id", "url"],
                "properties": {"component_id": {"type": "string"}, "url": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}
_FINDING: Final[JsonObject] = {
    "type": "object",
    "required": ["code", "severity", "location", "message"],
    "properties": {
        "code": {"type": "string"},
        "severity": {"enum": ["error", "warning", "info"]},
        "location": {"type": "string"},
        "message": {"type": "string"},
    },
    "additionalProperties": True,
}
_LIST: Final[JsonObject] = {
    "type": "object",
    "required": ["items", "next"],
    "properties": {
        "items": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
        "next": {"type": ["string", "null"], "description": "Cursor of the next page; null at the end."},
    },
}

_BODIES: Final[Mapping[tuple[str, str], Mapping[str, JsonObject]]] = {
    ("post", "/api/v1/submissions"): {"application/json": {"$ref": _REF.format(model="Dossier")}},
    ("put", "/api/v1/submissions/{submission_id}/components/{component_id}"): {"application/octet-stream": _BINARY},
    ("post", "/api/v1/packages"): {"application/zip": _BINARY},
}
"""Bodies that endpoints read as a stream."""

_ASKED_INSIDE: Final = frozenset({("put", "/api/v1/submissions/{submission_id}/components/{component_id}")})
"""Operations that ask who calls in their own body, not as a dependency."""

_RANGED: Final = ("/content", "/aip", "/pdf")
"""Ends of the paths that answer with bytes and honour Range."""
_WHOLE: Final = "/dispute-package"
"""End of the path that answers with a ZIP made for it, always whole."""
_NAMES_OTHERS: Final = frozenset({"/api/v1/holds", "/api/v1/storage/reconciliations"})
"""Paths whose bodies name what may not be there."""


def describe(app: FastAPI) -> None:
    """Makes `/openapi.json` of this application complete; built with the first request and kept."""

    def document() -> JsonObject:
        if app.openapi_schema is None:
            app.openapi_schema = build(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # the way FastAPI documents for extending it


def build(app: FastAPI) -> JsonObject:
    """Returns the OpenAPI document of this application."""
    with warnings.catch_warnings():
        # GET and HEAD share a function; their ids are made distinct below.
        warnings.filterwarnings("ignore", message="Duplicate Operation ID")
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    dossier = Dossier.model_json_schema(ref_template=_REF)
    schemas |= dossier.pop("$defs", {})
    schemas |= {"Dossier": dossier, "Problem": _PROBLEM, "Finding": _FINDING, "Submission": _SUBMISSION, "Page": _LIST}
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "Token of a system, `arch_…`."},
        "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE, "description": "Signed-in browser."},
    }
    for method, path, dependant in _operations(app):
        signed_in = (method, path) in _ASKED_INSIDE or _asks_who(dependant)
        _complete(document["paths"][path][method], method, path, signed_in=signed_in)
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    return document


def _operations(app: FastAPI) -> Iterator[tuple[str, str, Dependant]]:
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute) and route.include_in_schema:
            for method in sorted(route.methods or ()):
                yield method.lower(), str(route.path_format), route.dependant


def _asks_who(dependant: Dependant) -> bool:
    calls: list[Callable[..., Any] | None] = [part.call for part in dependant.dependencies]
    return principal_of in calls or any(_asks_who(part) for part in dependant.dependencies)


def _complete(operation: JsonObject, method: str, path: str, *, signed_in: bool) -> None:
    operation["operationId"] = f"{method}_{_path_name(path)}"
    if (method, path) in _BODIES:
        content = {kind: {"schema": schema} for kind, schema in _BODIES[method, path].items()}
        operation["requestBody"] = {"required": True, "content": content}
    answers = operation["responses"]
    answers.pop("422", None)
    body = "requestBody" in operation
    for status in _problems(method, path, signed_in=signed_in, taken=body or "parameters" in operation, body=body):
        answers[str(status.value)] = _problem(status)
    if signed_in:
        operation["security"] = [{"bearer": []}, {"session": []}]
    if path.endswith(_RANGED):
        _ranged(operation, method)
    elif path.endswith(_WHOLE):
        answers["200"] = {"description": "The ZIP", "content": {"application/zip": {"schema": _BINARY}}}
    elif (schema := _answer(method, path)) is not None:
        for status, answer in answers.items():
            if status in {"200", "201", "202"}:
                answer["content"] = {"application/json": {"schema": schema}}
    if (method, path) == ("post", "/api/v1/submissions"):
        answers["200"] = {**answers["201"], "description": "Known already, with the same content"}


def _path_name(path: str) -> str:
    return path.removeprefix("/api/v1/").strip("/").translate(str.maketrans("/-", "__", "{}"))


def _problems(method: str, path: str, *, signed_in: bool, taken: bool, body: bool) -> Iterator[HTTPStatus]:
    if signed_in:
        yield HTTPStatus.UNAUTHORIZED
        yield HTTPStatus.FORBIDDEN
    if (
        "{" in path or path.startswith("/api/v1/evidence/") or (method == "post" and path in _NAMES_OTHERS)
    ):  # an empty log has no checkpoint
        yield HTTPStatus.NOT_FOUND
    if method in {"post", "put", "delete"}:
        yield HTTPStatus.CONFLICT
    if body:
        yield HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if (method, path) in _BODIES:
        yield HTTPStatus.INSUFFICIENT_STORAGE
    if taken:
        yield HTTPStatus.UNPROCESSABLE_ENTITY
    yield HTTPStatus.SERVICE_UNAVAILABLE


def _ranged(operation: JsonObject, method: str) -> None:
    header = {"name": "Range", "in": "header", "required": False, "schema": {"type": "string"}}
    operation.setdefault("parameters", []).append({**header, "description": "One range of bytes, RFC 9110 section 14."})
    content: JsonObject = {} if method == "head" else {"content": {"application/octet-stream": {"schema": _BINARY}}}
    answers = operation["responses"]
    answers["200"] = {"description": "The bytes, in their own media type", **content}
    answers["206"] = {"description": "The range asked for", **content}
    answers["416"] = _problem(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)


def _problem(status: HTTPStatus) -> JsonObject:
    schema = {"schema": {"$ref": _REF.format(model="Problem")}}
    return {"description": status.phrase, "content": {PROBLEM_TYPE: schema}}


def _answer(method: str, path: str) -> JsonObject | None:
    one_submission = path.startswith("/api/v1/submissions/{submission_id}") and not path.endswith(_PARTS)
    opened = method == "post" and path in {"/api/v1/submissions", "/api/v1/packages"}
    if one_submission or opened:
        return {"$ref": _REF.format(model="Submission")}
    if method == "get" and path.startswith("/api/v1/") and path in _LISTS:
        return {"$ref": _REF.format(model="Page")}
    return None


_PARTS: Final = ("/content", "/components/{component_id}", "/findings", "/signatures")
"""Ends of the paths below a submission that answer with something else than the submission."""
_LISTS: Final = frozenset(
    {
        "/api/v1/submissions/{submission_id}/findings",
        "/api/v1/submissions/{submission_id}/signatures",
        "/api/v1/submissions",
        "/api/v1/records",
        "/api/v1/jobs",
        "/api/v1/audit/events",
        "/api/v1/holds",
        "/api/v1/preservation/incidents",
        "/api/v1/preservation/fixity",
        "/api/v1/preservation/renewals",
        "/api/v1/storage/reconciliations",
        "/api/v1/storage/reconciliations/{run_id}/drifts",
        "/api/v1/retention/reviews",
    }
)
"""Lists a test has read; each has `items` and `next`."""
