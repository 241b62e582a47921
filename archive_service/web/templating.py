"""Rendering: one Jinja environment per language, escaping on, undefined names refused."""

import re
from datetime import datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from archive_service import clock, i18n
from archive_service.copies.register import agency_name
from archive_service.identity.permissions import Permission
from archive_service.web.assets import asset_url
from archive_service.web.flash import FLASH_COOKIE, take_flash
from archive_service.web.visitors import FORM_COOKIE, Visitor, set_cookie

TEMPLATE_DIR: Final = Path(__file__).parent / "templates"
_IDENTITY_NUMBER: Final = re.compile(r"(?<![\w.-])(\d{9}|\d{12})(?![\w-]|\.\d)")
"""Citizen numbers have 12 digits, older ones 9."""


@cache
def environment(language: str) -> Environment:
    """Returns the template environment of a language."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATE_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    jinja.install_gettext_translations(  # type: ignore[attr-defined] # added by the i18n extension
        i18n.translations(language), newstyle=True
    )
    jinja.globals.update(language=language, asset_url=asset_url, P=Permission)
    jinja.filters.update(
        datetime=i18n.format_datetime,
        machine_time=lambda at: at.isoformat(timespec="milliseconds"),
        datetime_s=lambda at: i18n.format_datetime(at, seconds=True),
        date=i18n.format_date,
        size=lambda size: i18n.format_size(size, language),
        number=lambda number: i18n.format_number(number, language),
        age=lambda age: i18n.format_age(age, language),
        token=lambda token, vocabulary: i18n.name_of(vocabulary, token, language),
        agency=agency,
        masked=masked,
        moment=moment,
        code4=lambda code: " ".join(code[start : start + 4] for start in range(0, len(code), 4)),
    )
    return jinja


def agency(code: str) -> str:
    """Returns the listed name of an agency; one that is not listed is shown by its code and the listed agency above it."""
    name = agency_name(code)
    above = code
    while name == code and "." in above:
        above = above.rpartition(".")[0]
        listed = agency_name(above)
        if listed != above:
            return f"{code} ({listed})"
    return name


def masked(text: str) -> str:
    """Returns `text` with what looks like an identity number reduced to its last three digits (R141)."""
    return _IDENTITY_NUMBER.sub(lambda match: "•" * (len(match[0]) - 3) + match[0][-3:], text)


def moment(text: str | None) -> str:
    """Returns an ISO 8601 time of a stored report as people read it; one that cannot be read is shown as it is."""
    if not text:
        return ""
    try:
        return i18n.format_datetime(datetime.fromisoformat(text))
    except ValueError:
        return text


def render(
    request: Request, visitor: Visitor, template: str, *, status: int = HTTPStatus.OK, **values: Any
) -> HTMLResponse:
    """Returns a page. `values` are the template's; it also gets the visitor, a message left for it, and the time."""
    flash = take_flash(request, visitor)
    context = {"visitor": visitor, "flash": flash, "settings": visitor.service.settings, "now": clock.now(), **values}
    body = environment(visitor.language).get_template(template).render(context)
    response = HTMLResponse(
        body, status_code=status, headers={"Cache-Control": "no-store", "Content-Language": visitor.language}
    )
    if visitor.form_token_is_new:
        set_cookie(response, visitor.service, FORM_COOKIE, visitor.form_token)
    if FLASH_COOKIE in request.cookies and request.headers.get("HX-Request") is None:
        response.delete_cookie(FLASH_COOKIE, path="/")
    return response
