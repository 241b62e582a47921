"""What the page after a redirect says about the form before it: kept in a cookie for one page, signed so that nobody plants a text."""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from archive_service.web.visitors import Visitor, set_cookie

FLASH_COOKIE: Final = "archive_flash"
MAX_DETAILS: Final = 12
"""Lines kept below a message; a cookie holds 4 KB."""
_MAX_AGE_S: Final = 120
_MAX_COOKIE_CHARS: Final = 3800


class Tone(StrEnum):
    """How a message is shown."""

    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """One message, already in the reader's language."""

    tone: Tone
    text: str
    details: tuple[str, ...] = ()
    link: str | None = None
    link_text: str = ""


def put_flash(response: Response, visitor: Visitor, flash: Flash) -> None:
    """Leaves a message for the next page this person sees."""
    details = flash.details[:MAX_DETAILS]
    value = ""
    while not value or len(value) > _MAX_COOKIE_CHARS:
        fields = [flash.tone.value, flash.text, details, flash.link, flash.link_text]
        body = base64.urlsafe_b64encode(json.dumps(fields, ensure_ascii=False).encode()).decode().rstrip("=")
        value = f"{body}.{_mac(visitor, body)}"
        if not details:
            break
        details = details[:-1]
    set_cookie(response, visitor.service, FLASH_COOKIE, value, max_age_s=_MAX_AGE_S)


def take_flash(request: Request, visitor: Visitor) -> Flash | None:
    """Returns the message left for this page; one that is not ours is ignored."""
    body, _, mac = request.cookies.get(FLASH_COOKIE, "").partition(".")
    if not body or not hmac.compare_digest(_mac(visitor, body).encode(), mac.encode()):
        return None
    try:
        tone, text, details, link, link_text = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return Flash(tone=Tone(tone), text=text, details=tuple(details), link=link, link_text=link_text)
    except (ValueError, TypeError, binascii.Error):
        return None


def _mac(visitor: Visitor, body: str) -> str:
    return hmac.new(visitor.form_token.encode(), body.encode(), hashlib.sha256).hexdigest()
