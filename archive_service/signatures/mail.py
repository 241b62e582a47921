"""S/MIME (RFC 8551): a CMS signature in the form of a mail message.

Only a message that is nothing but its armour is taken for the CMS inside it. One with mail headers shows a sender and a subject that
nobody signed, and one of several parts may show parts that nobody signed: both are recognised, not validated.
"""

import binascii
import re
from email import message_from_bytes
from typing import Final

HEAD_BYTES: Final = 16 * 1024
"""Headers are looked for up to here."""
MAIL_MIMES: Final = frozenset({"message/rfc822", "text/plain"})
"""What a message is taken for by its content."""
_SIGNED: Final = re.compile(
    rb"^content-type:[ \t]*(multipart/signed|application/(x-)?pkcs7-(mime|signature))", re.IGNORECASE | re.MULTILINE
)
_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")
_HEADERS: Final = re.compile(rb"[!-9;-~]+:[^\n]*(\n([!-9;-~]+:|[ \t])[^\n]*)*")
"""Lines that are all fields or their continuations (RFC 5322 clause 2.2)."""
_ARMOUR: Final = re.compile(r"mime-version|content-.*|x-.*", re.IGNORECASE)
_OPAQUE: Final = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})


class MailNotSupportedError(ValueError):
    """The message shows more than the CMS structure in it, or another thing."""


def looks_like_signed_mail(head: bytes) -> bool:
    """Returns whether the beginning of a file is that of a signed message."""
    headers = _BLANK_LINE.split(head[:HEAD_BYTES], maxsplit=1)[0]
    return _HEADERS.fullmatch(headers) is not None and _SIGNED.search(headers) is not None


def opened(content: bytes) -> bytes:
    """Returns the CMS structure of a message that is nothing but its armour.

    Raises:
        MailNotSupportedError: there is more to the message.
        ValueError: the base64 is malformed.
    """
    message = message_from_bytes(content)
    if message.get_content_type() not in _OPAQUE or not all(_ARMOUR.fullmatch(name) for name in message):
        raise MailNotSupportedError
    payload = message.get_payload()
    if not isinstance(payload, str) or (message.get("content-transfer-encoding") or "").strip().lower() != "base64":
        raise MailNotSupportedError
    return binascii.a2b_base64("".join(payload.split()), strict_mode=True)
