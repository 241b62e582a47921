"""RFC 9457 problem+json from the one exception tree: which HTTP status each error is answered with (DESIGN D15)."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DataError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from archive_service import errors
from archive_service.access.records import ContentSearchUnavailable
from archive_service.copies.originals import CopyNotPossible
from archive_service.identity.brake import SignInsPaused
from archive_service.ingest.submissions import DossierInvalid

PROBLEM_TYPE: Final = "application/problem+json"

STATUS: Final[Mapping[type[errors.ArchiveError], HTTPStatus]] = MappingProxyType(
    {
        errors.NotFound: HTTPStatus.NOT_FOUND,
        errors.NotSignedIn: HTTPStatus.UNAUTHORIZED,
        errors.NotPermitted: HTTPStatus.FORBIDDEN,
        errors.BadRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
        errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        errors.Conflict: HTTPStatus.CONFLICT,
        errors.DigestMismatch: HTTPStatus.UNPROCESSABLE_ENTITY,
        errors.PackageInvalid: HTTPStatus.UNPROCESSABLE_ENTITY,
        errors.UnsafeKey: HTTPStatus.UNPROCESSABLE_ENTITY,
        CopyNotPossible: HTTPStatus.UNPROCESSABLE_ENTITY,
        DossierInvalid: HTTPStatus.UNPROCESSABLE_ENTITY,
        errors.StoreFull: HTTPStatus.INSUFFICIENT_STORAGE,
        errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
        errors.StoredObjectMissing: HTTPStatus.SERVICE_UNAVAILABLE,
        errors.Retained: HTTPStatus.CONFLICT,
        SignInsPaused: HTTPStatus.TOO_MANY_REQUESTS,
        ContentSearchUnavailable: HTTPStatus.NOT_IMPLEMENTED,
    }
)
"""Status by class; a subclass without an entry has its nearest ancestor's. Everything else is 500: our fault."""

_log = logging.getLogger(__name__)


def status_of(error: errors.ArchiveError) -> HTTPStatus:
    """Returns the HTTP status an error is answered with."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def problem(
    status: int,
    code: str,
    detail: str,
    fields: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Returns a problem+json answer; `fields` become further members."""
    body = {"type": f"urn:archive-service:problem:{code.lower()}", "title": HTTPStatus(status).phrase, "status": status}
    return JSONResponse(
        {**(fields or {}), **body, "code": code, "detail": detail},
        status_code=status,
        media_type=PROBLEM_TYPE,
        headers=dict(headers) if headers else None,
    )


def add_error_handlers(app: FastAPI) -> None:
    """Makes every failure of an endpoint a problem+json answer without a stack trace."""
    app.add_exception_handler(errors.ArchiveError, _archive_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(SQLAlchemyError, _database_error)
    app.add_exception_handler(Exception, _unexpected)


async def _archive_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.ArchiveError):
        raise error
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s %s: %s %s", request.method, request.url.path, error.code, error.message)
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    if "retry_after_s" in error.fields:
        headers["Retry-After"] = str(error.fields["retry_after_s"])
    return problem(status, error.code, error.message, error.fields, headers)


async def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [{"location": "/".join(map(str, p["loc"])), "reason": p["msg"]} for p in error.errors()]
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "BAD_REQUEST",
        f"the request has {len(problems)} problems",
        {"problems": problems},
    )


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    headers = error.headers
    if (
        error.status_code == HTTPStatus.BAD_REQUEST
    ):  # a body that cannot be read at all; like every other that is malformed
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, errors.BadRequest.code, str(error.detail))
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_methods(request))}
    too_large = error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = errors.TooLarge.code if too_large else HTTPStatus(error.status_code).name
    return problem(error.status_code, code, str(error.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """Returns every method the path takes (RFC 9110 15.5.6); the error itself knows the first route's only."""
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.path_format and compile_path(route.path_format)[0].fullmatch(request.url.path):
            methods |= route.methods or set()
    return sorted(methods)


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, DataError):  # of the values and not of the moment: PostgreSQL takes no NUL in a text, for one
        _log.warning("%s %s: %s", request.method, request.url.path, error)
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, errors.BadRequest.code, "a value that the database cannot hold")
    _log.error("%s %s: database error", request.method, request.url.path, exc_info=error)
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE", "the database could not do this now; try again"
    )


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s: unexpected error", request.method, request.url.path, exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "INTERNAL_ERROR",
        "unexpected error; the operator's log has the details",
        # This answer is made outside all middleware, which would have added them.
        headers={"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"},
    )
