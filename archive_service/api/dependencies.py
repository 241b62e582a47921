"""What endpoints are given: the service, the caller, and the caller's address for the log."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request

from archive_service import clock
from archive_service.access.pages import DEFAULT_LIMIT, MAX_LIMIT, MAX_NUMBER
from archive_service.errors import NotPermitted, NotSignedIn
from archive_service.identity.permissions import Principal
from archive_service.identity.sessions import (
    SessionLimits,
    SignedIn,
    authenticate_session,
    check_csrf,
    touch_session,
)
from archive_service.identity.tokens import authenticate_token
from archive_service.service import Service

SESSION_COOKIE = "archive_session"
CSRF_HEADER = "X-CSRF-Token"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def service_of(request: Request) -> Service:
    """Returns the parts of this process."""
    service: Service = request.app.state.service
    return service


async def _service(request: Request) -> Service:
    """Gives endpoints the parts of this process; asynchronous, since FastAPI sends a plain function to another thread."""
    return service_of(request)


def principal_of(request: Request) -> Principal:
    """Returns who calls: a bearer token, or a browser session (then unsafe methods need the session's CSRF token).

    Raises:
        NotSignedIn: neither is valid.
        NotPermitted: a session without its CSRF token on an unsafe method.
    """
    service = service_of(request)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        with service.database.read_prepared() as work:
            return authenticate_token(work, token.strip(), at=clock.now())
    cookie = request.cookies.get(SESSION_COOKIE)
    if not cookie:
        raise NotSignedIn("a bearer token or a session is needed")
    signed_in = signed_in_of(service, cookie)
    if request.method not in _SAFE_METHODS:
        check_csrf(signed_in, request.headers.get(CSRF_HEADER))
    if signed_in.must_change_password:
        raise NotPermitted("the password must be changed first")
    return signed_in.principal


def session_limits(service: Service) -> SessionLimits:
    """Returns how long browser sessions live."""
    return SessionLimits.of(idle_min=service.settings.session_idle_min, max_h=service.settings.session_max_h)


def signed_in_of(service: Service, cookie: str) -> SignedIn:
    """Returns who a browser's cookie stands for, and notes now and then that the session is in use.

    Raises:
        NotSignedIn: no such session, or it ended.
    """
    at = clock.now()
    with service.database.read() as session:
        signed_in = authenticate_session(session, cookie, at, limits=session_limits(service))
    if signed_in.touch_due:
        with service.database.write() as session:
            touch_session(session, signed_in.session_id, at=at)
    return signed_in


ServiceDep = Annotated[Service, Depends(_service)]
PrincipalDep = Annotated[Principal, Depends(principal_of)]

_MAX_VERSION = 2**31 - 1
"""Largest number an INTEGER column takes."""

_BOUNDS: dict[str, Any] = {"minimum": 1, "maximum": MAX_LIMIT}
ListSize = Annotated[
    int | None, Query(description=f"Most items of the page; {DEFAULT_LIMIT} if none.", json_schema_extra=_BOUNDS)
]
"""Judged where pages are cut, which pages of the web share."""
PageSize = Annotated[int, Query(ge=1, le=1000, description="Most items of the page.")]
After = Annotated[int, Query(ge=0, le=MAX_NUMBER, description="`next` of the page before; 0 for the first.")]
VersionNumber = Annotated[int | None, Query(ge=1, le=_MAX_VERSION, description="Package version; the newest if none.")]
