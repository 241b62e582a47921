"""Who looks at a page: signed in or not, in which language, and whether a form came from one of our own pages."""

import secrets
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final
from urllib.parse import quote, urlsplit

from fastapi import Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from archive_service import clock
from archive_service.errors import ArchiveError, NotPermitted, NotSignedIn
from archive_service.i18n import choose_language
from archive_service.identity.permissions import Principal
from archive_service.identity.sessions import SessionLimits, SignedIn, authenticate_session, check_csrf, touch_session
from archive_service.service import Service

SESSION_COOKIE: Final = "archive_session"
"""The same cookie the API reads."""
LANGUAGE_COOKIE: Final = "archive_language"
FORM_COOKIE: Final = "archive_form"
"""Double-submit token for forms of people who are not signed in yet; signed-in forms carry their session's token."""
LANGUAGE_MAX_AGE_S: Final = 365 * 24 * 3600
_TOKEN_CHARS: Final = 64
_REFUSED_STARTS: Final = ("//", "/\\", "/api/")


class PasswordChangeNeeded(ArchiveError):
    """The account has a first password that must be changed before anything else."""

    code: ClassVar[str] = "PASSWORD_CHANGE_NEEDED"


class FormStale(NotPermitted):
    """A form that is not from this session and browser: the session began anew after it was loaded, or another site made it."""

    code: ClassVar[str] = "FORM_STALE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """One request's person, language and form token."""

    service: Service
    language: str
    path: str
    """Path and query of this request, for coming back after a language switch."""
    signed_in: SignedIn | None
    form_token: str
    form_token_is_new: bool

    @property
    def principal(self) -> Principal:
        """Who is signed in.

        Raises:
            NotSignedIn: nobody.
        """
        if self.signed_in is None:
            raise NotSignedIn("sign in first")
        return self.signed_in.principal


def limits_of(service: Service) -> SessionLimits:
    """Returns how long browser sessions live."""
    return SessionLimits.of(idle_min=service.settings.session_idle_min, max_h=service.settings.session_max_h)


def anyone(request: Request) -> Visitor:
    """Returns the visitor, signed in or not; somebody whose session ended is not."""
    return _visitor(request, touch=True)


def onlooker(request: Request) -> Visitor:
    """Returns a signed-in visitor without counting as use: a page that refreshes itself must not keep its session alive."""
    return _required(_visitor(request, touch=False))


def member(request: Request) -> Visitor:
    """Returns a signed-in visitor.

    Raises:
        NotSignedIn: nobody is signed in.
        PasswordChangeNeeded: a new password must be chosen first.
    """
    return _required(_visitor(request, touch=True))


def _required(visitor: Visitor) -> Visitor:
    if visitor.signed_in is None:
        raise NotSignedIn("sign in first")
    if visitor.signed_in.must_change_password:
        raise PasswordChangeNeeded("choose a new password first")
    return visitor


def sender(request: Request, csrf: Annotated[str, Form()] = "") -> Visitor:
    """Returns the visitor who sent a form, signed in or not.

    Raises:
        FormStale: the form did not come from one of our pages in this browser.
    """
    visitor = _visitor(request, touch=True)
    _check_form(visitor, csrf)
    return visitor


def member_sender(request: Request, csrf: Annotated[str, Form()] = "") -> Visitor:
    """Returns the signed-in visitor who sent a form.

    Raises:
        NotSignedIn: nobody is signed in; asked first, because the form of a session that ended is always stale.
        FormStale: not from one of our pages.
        PasswordChangeNeeded: a new password must be chosen first.
    """
    visitor = _visitor(request, touch=True)
    if visitor.signed_in is None:
        raise NotSignedIn("sign in first")
    _check_form(visitor, csrf)
    return _required(visitor)


def _check_form(visitor: Visitor, csrf: str) -> None:
    if visitor.signed_in is not None:
        try:
            check_csrf(visitor.signed_in, csrf)
        except NotPermitted as exc:
            raise FormStale(exc.message) from exc
    elif visitor.form_token_is_new or not secrets.compare_digest(visitor.form_token.encode(), csrf.encode()):
        raise FormStale("the form is not from this browser; load the page again")


AnyoneDep = Annotated[Visitor, Depends(anyone)]
OnlookerDep = Annotated[Visitor, Depends(onlooker)]
MemberDep = Annotated[Visitor, Depends(member)]
SenderDep = Annotated[Visitor, Depends(sender)]
MemberSenderDep = Annotated[Visitor, Depends(member_sender)]


def _visitor(request: Request, *, touch: bool) -> Visitor:
    stranger_here = stranger(request)
    service = stranger_here.service
    signed_in = _signed_in(service, request.cookies.get(SESSION_COOKIE), touch=touch)
    known = request.cookies.get(FORM_COOKIE, "")
    is_new = signed_in is None and len(known) != _TOKEN_CHARS
    token = signed_in.csrf_token if signed_in else secrets.token_hex(_TOKEN_CHARS // 2) if is_new else known
    return replace(stranger_here, signed_in=signed_in, form_token=token, form_token_is_new=is_new)


def stranger(request: Request) -> Visitor:
    """Returns the visitor without asking the database who it is: for pages about a failure, which hold no form that changes anything."""
    return Visitor(
        service=request.app.state.service,
        language=choose_language(request.cookies.get(LANGUAGE_COOKIE)),
        path=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        signed_in=None,
        form_token=secrets.token_hex(_TOKEN_CHARS // 2),
        form_token_is_new=False,
    )


def _signed_in(service: Service, cookie: str | None, *, touch: bool) -> SignedIn | None:
    if not cookie:
        return None
    at = clock.now()
    try:
        with service.database.read() as session:
            signed_in = authenticate_session(session, cookie, at, limits=limits_of(service))
    except NotSignedIn:
        return None
    if touch and signed_in.touch_due:
        with service.database.write() as session:
            touch_session(session, signed_in.session_id, at=at)
    return signed_in


def local_path(text: str | None) -> str:
    """Returns `text` when it is a page of ours to go to, else the home page: never another host (open redirect)."""
    if not text or not text.startswith("/") or text.startswith(_REFUSED_STARTS) or any(char < " " for char in text):
        return "/"
    parts = urlsplit(text)
    return "/" if parts.scheme or parts.netloc else quote(text, safe="/?&=%#:;,+-_.~")


def see_other(path: str) -> RedirectResponse:
    """Returns the redirect after a form was taken (POST/redirect/GET)."""
    return RedirectResponse(path, status_code=303, headers={"Cache-Control": "no-store"})


def set_cookie(response: Response, service: Service, name: str, value: str, *, max_age_s: int | None = None) -> None:
    """Sets a cookie the way all of ours are: for this site only, out of reach of scripts, over HTTPS where configured."""
    response.set_cookie(
        name, value, max_age=max_age_s, httponly=True, samesite="lax", secure=service.settings.cookie_secure, path="/"
    )
