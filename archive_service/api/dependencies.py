"""What endpoints are given: the service, the caller, and the caller's address for the log."""

from typing import Annotated

from fastapi import Depends, Request

from archive_service import clock
from archive_service.errors import NotPermitted, NotSignedIn
from archive_service.identity.permissions import Principal
from archive_service.identity.sessions import authenticate_session
from archive_service.identity.tokens import authenticate_token
from archive_service.service import Service

SESSION_COOKIE = "archive_session"
CSRF_HEADER = "X-CSRF-Token"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def service_of(request: Request) -> Service:
    """Returns the parts of this process."""
    service: Service = request.app.state.service
    return service


def principal_of(request: Request) -> Principal:
    """Returns who calls: a bearer token, or a browser session (then unsafe methods need the session's CSRF token).

    Raises:
        NotSignedIn: neither is valid.
        NotPermitted: a session without its CSRF token on an unsafe method.
    """
    service = service_of(request)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        with service.database.read() as session:
            return authenticate_token(session, token.strip(), at=clock.now())
    cookie = request.cookies.get(SESSION_COOKIE)
    if not cookie:
        raise NotSignedIn("a bearer token or a session is needed")
    signed_in = authenticate_session(service.database, cookie, settings=service.settings, at=clock.now())
    if request.method not in _SAFE_METHODS and request.headers.get(CSRF_HEADER) != signed_in.csrf_token:
        raise NotPermitted("the CSRF token is missing or wrong")
    return signed_in.principal


ServiceDep = Annotated[Service, Depends(service_of)]
PrincipalDep = Annotated[Principal, Depends(principal_of)]
