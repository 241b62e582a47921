"""Errors as pages: what the API answers as problem+json is shown to a browser in the design of the other pages."""

import inspect
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from archive_service import i18n
from archive_service.errors import ArchiveError, NotFound
from archive_service.web.templating import render
from archive_service.web.visitors import (
    SESSION_COOKIE,
    PasswordChangeNeeded,
    Visitor,
    anyone,
    local_path,
    see_other,
    stranger,
)

_KINDS: Final = (ArchiveError, RequestValidationError, HTTPException, SQLAlchemyError, Exception)
Handler = Callable[[Request, Exception], Any]  # sync or async, as Starlette allows


def add_error_pages(app: FastAPI, headers: Mapping[str, str]) -> None:
    """Puts pages in front of the application's problem+json answers, for requests that prefer HTML and are not the API's.

    Args:
        app: The application, with its own error answers in place.
        headers: What every answer carries; an answer to an unexpected error passes no middleware, so they are set here.
    """
    problems: dict[type[Exception], Handler] = {kind: app.exception_handlers[kind] for kind in _KINDS}
    for kind, problem in problems.items():
        app.add_exception_handler(kind, _in_front_of(problem, problems[ArchiveError], headers))


def prefers_page(request: Request) -> bool:
    """Returns whether a person looks at the answer: not the API, and the browser asks for HTML."""
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("Accept", "")


def _is_page(request: Request) -> bool:
    """Returns whether the path is not the API's and the caller did not ask for something else than a page: curl sends `*/*`."""
    accepted = request.headers.get("Accept", "*/*")
    return not request.url.path.startswith("/api/") and ("*/*" in accepted or "text/html" in accepted)


def _in_front_of(problem: Handler, known: Handler, headers: Mapping[str, str]) -> Handler:
    async def answer(request: Request, error: Exception) -> Response:
        if _is_page(request) and isinstance(error, PasswordChangeNeeded):
            return see_other("/password")
        nowhere = prefers_page(request) and _address_names_nothing(error)
        given = known(request, NotFound("no such page")) if nowhere else problem(request, error)
        plain: Response = await given if inspect.isawaitable(given) else given
        if plain.status_code == HTTPStatus.UNAUTHORIZED and _is_page(request):
            return see_other(f"/sign-in?next={quote(_come_back_to(request), safe='')}{_ended(request)}")
        if not prefers_page(request):
            return plain
        page = await run_in_threadpool(_page, request, plain)
        waits = {name: plain.headers[name] for name in ("Retry-After",) if name in plain.headers}
        for name, value in {**headers, **waits}.items():
            page.headers.setdefault(name, value)
        return page

    return answer


def _address_names_nothing(error: Exception) -> bool:
    """Returns whether the address holds what can be no id: a mistyped or cut off link leads nowhere, it is no malformed request."""
    return isinstance(error, RequestValidationError) and any(told["loc"][0] == "path" for told in error.errors())


def _ended(request: Request) -> str:
    """Says to the sign-in page that there was a session: whoever worked a moment ago wonders what became of the form sent last."""
    return "&ended=1" if SESSION_COOKIE in request.cookies else ""


def _come_back_to(request: Request) -> str:
    """Returns the page asked for; for a form, the page it was on."""
    if request.method != "GET":
        seen_on = urlsplit(request.headers.get("Referer", ""))
        if seen_on.netloc != request.headers.get("Host"):
            return "/"
        return local_path(seen_on.path + (f"?{seen_on.query}" if seen_on.query else ""))
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _page(request: Request, plain: Response) -> Response:
    told = json.loads(bytes(plain.body))
    visitor = _visitor(request)
    code = str(told.get("code", ""))
    return render(
        request,
        visitor,
        "error.html",
        status=plain.status_code,
        code=code,
        number=plain.status_code,
        text=i18n.error_text(code, visitor.language),
        wait=i18n.format_wait(told["retry_after_s"], visitor.language) if "retry_after_s" in told else None,
    )


def _visitor(request: Request) -> Visitor:
    """Returns who gets the page; a stranger when the database is what failed."""
    try:
        return anyone(request)
    except (SQLAlchemyError, ArchiveError):
        return stranger(request)
