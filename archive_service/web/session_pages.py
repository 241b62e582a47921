"""Signing in and out, the first administrator, choosing a password, switching the language."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from archive_service import clock, i18n
from archive_service.errors import ArchiveError, BadRequest, NotPermitted, NotSignedIn
from archive_service.i18n import N_
from archive_service.identity import setup
from archive_service.identity.accounts import Person, change_own_password
from archive_service.identity.passwords import load_policy
from archive_service.identity.sessions import sign_in, sign_out
from archive_service.web.flash import Flash, Tone, put_flash
from archive_service.web.templating import render
from archive_service.web.visitors import (
    LANGUAGE_COOKIE,
    LANGUAGE_MAX_AGE_S,
    SESSION_COOKIE,
    AnyoneDep,
    SenderDep,
    limits_of,
    local_path,
    see_other,
    set_cookie,
)

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form(max_length=5000)]


@router.get("/sign-in")
def get_sign_in(
    request: Request,
    visitor: AnyoneDep,
    next: str | None = None,  # noqa: A002 - the address's word
    *,
    ended: bool = False,
) -> Response:
    """Shows the sign-in form; who is signed in goes on."""
    if visitor.signed_in is not None:
        return see_other(local_path(next))
    return render(request, visitor, "sign_in.html", refused=False, ended=ended, username="", next=local_path(next))


@router.post("/sign-in")
def post_sign_in(
    request: Request,
    visitor: SenderDep,
    username: Text = "",
    password: Text = "",
    next: Text = "/",  # noqa: A002 - the form's word
) -> Response:
    """Signs in; a refusal never says why."""
    opened = sign_in(
        visitor.service.database,
        username=username,
        password=password,
        at=clock.unique_now(),
        limits=limits_of(visitor.service),
        old_cookie=request.cookies.get(SESSION_COOKIE),
        source=request.client.host if request.client else None,
    )
    if opened is None:
        return render(
            request,
            visitor,
            "sign_in.html",
            status=403,
            refused=True,
            ended=False,
            username=username[:100],
            next=local_path(next),
        )
    response = see_other(local_path(next))
    set_cookie(response, visitor.service, SESSION_COOKIE, opened.cookie)
    return response


@router.post("/sign-out")
def post_sign_out(request: Request, visitor: SenderDep) -> Response:
    """Ends the session."""
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie:
        with visitor.service.database.write() as session:
            sign_out(session, cookie, at=clock.unique_now())
    response = see_other("/sign-in")
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


@router.post("/language")
def post_language(visitor: SenderDep, language: Text = "", next: Text = "/") -> Response:  # noqa: A002 - the form's word
    """Remembers the language for this browser."""
    response = see_other(local_path(next))
    if language in i18n.LANGUAGES:
        set_cookie(response, visitor.service, LANGUAGE_COOKIE, language, max_age_s=LANGUAGE_MAX_AGE_S)
    return response


@router.get("/setup/{secret}")
def get_setup(secret: str, request: Request, visitor: AnyoneDep) -> Response:
    """Shows the form for the first administrator while the one-time link is good."""
    with visitor.service.database.read() as session:
        setup.check_setup_link(session, secret, at=clock.now())
    return render(
        request,
        visitor,
        "setup.html",
        secret=secret,
        problems=[],
        typed={"username": "", "display_name": "", "position": ""},
        policy=load_policy(),
    )


@router.post("/setup/{secret}")
def post_setup(
    secret: str,
    request: Request,
    visitor: SenderDep,
    username: Text = "",
    display_name: Text = "",
    position: Text = "",
    password: Text = "",
    again: Text = "",
) -> Response:
    """Creates the first administrator and uses the link up."""
    typed = {"username": username, "display_name": display_name, "position": position}
    problems: list[str] = []
    if password != again:
        problems.append(i18n.translate(N_("Hai lần nhập mật khẩu không giống nhau."), visitor.language))
    else:
        person = Person(username=username, display_name=display_name, position=position.strip() or None)
        try:
            with visitor.service.database.write() as session:
                setup.consume_setup_link(session, secret, person, password=password, at=clock.unique_now())
        except BadRequest as exc:
            problems = _problem_texts(exc, visitor.language)
    if problems:
        return render(
            request,
            visitor,
            "setup.html",
            status=422,
            secret=secret,
            problems=problems,
            typed=typed,
            policy=load_policy(),
        )
    response = see_other("/sign-in")
    done = i18n.translate(N_("Đã tạo quản trị viên đầu tiên. Xin đăng nhập."), visitor.language)
    put_flash(response, visitor, Flash(tone=Tone.GOOD, text=done))
    return response


@router.get("/password")
def get_password(request: Request, visitor: AnyoneDep) -> Response:
    """Shows the form for a new password."""
    if visitor.signed_in is None:
        raise NotSignedIn("sign in first")
    return render(request, visitor, "password.html", problems=[], policy=load_policy())


@router.post("/password")
def post_password(
    request: Request, visitor: SenderDep, current: Text = "", password: Text = "", again: Text = ""
) -> Response:
    """Changes the person's own password; their other browsers are signed out."""
    if visitor.signed_in is None:
        raise NotSignedIn("sign in first")
    problems: list[str] = []
    if password != again:
        problems.append(i18n.translate(N_("Hai lần nhập mật khẩu không giống nhau."), visitor.language))
    else:
        try:
            change_own_password(
                visitor.service.database,
                _account_id(visitor.principal.id),
                current=current,
                new=password,
                at=clock.unique_now(),
                keep_session=visitor.signed_in.session_id,
            )
        except BadRequest as exc:
            problems = _problem_texts(exc, visitor.language)
    if problems:
        return render(request, visitor, "password.html", status=422, problems=problems, policy=load_policy())
    response = see_other("/")
    text = i18n.translate(N_("Đã đổi mật khẩu."), visitor.language)
    put_flash(response, visitor, Flash(tone=Tone.GOOD, text=text))
    return response


def _account_id(principal_id: str) -> UUID:
    kind, _, account_id = principal_id.partition(":")
    if kind != "account":
        raise NotPermitted("only a person has a password")
    return UUID(account_id)


_FIELD_TEXTS = {
    "username": N_("Tên đăng nhập chỉ gồm chữ thường không dấu, số và . _ @ -, từ 2 ký tự."),
    "display_name": N_("Cần họ và tên."),
}


def _problem_texts(error: ArchiveError, language: str) -> list[str]:
    problems: list[dict[str, Any]] = error.fields.get("problems", [])
    texts = [
        problem.get(language) or i18n.translate(_FIELD_TEXTS.get(str(problem.get("location")), ""), language)
        for problem in problems
    ]
    return [text for text in texts if text] or [i18n.error_text(error.code, language)]
