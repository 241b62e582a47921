"""How far the check of a file's signatures reaches: so that of a package of many gigabytes only what is needed is taken out.

Goes by the same marks as `validate_file`, and in doubt further: what is not taken out would come out as another verdict than the stored one.
"""

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Final

from archive_service.signatures import mail
from archive_service.signatures.validate import PDF_MIMES, XML_MIMES

_NAMESPACE: Final = b"http://www.w3.org/2000/09/xmldsig#"
_HIDING: Final = (b"&#", b"<!DOCTYPE", b"\0")
"""What the namespace could be written with so that its letters do not stand in the file: references, a document type, UTF-16."""
_MARKS: Final = (_NAMESPACE, *_HIDING)
_OVERLAP_BYTES: Final = len(_NAMESPACE) - 1


class Reach(Enum):
    """What is read."""

    NOTHING = auto()
    """The format has no signatures."""
    ITSELF = auto()
    """The file."""
    NEIGHBOURS = auto()
    """The file and what lies beside it: a detached signature may speak of any of them."""


def reach_of(mime: str, suffix: str, content: Callable[[], Iterable[bytes]]) -> Reach:
    """Returns what `validate_file` reads for a file.

    Args:
        mime: its media type.
        suffix: of its name, with the dot.
        content: gives its bytes in chunks, from the start at every call; called where media type and name leave it open.
    """
    from archive_service.signatures.cades import begins_like_cms
    from archive_service.signatures.containers import CONTAINER_MIMES

    if mime in PDF_MIMES:
        return Reach.ITSELF
    if mime in XML_MIMES or mime.endswith("+xml"):
        return Reach.NEIGHBOURS if _may_hold_xml_signature(content()) else Reach.ITSELF
    if mime.startswith(CONTAINER_MIMES):
        return Reach.ITSELF
    return Reach.NEIGHBOURS if begins_like_cms(lambda: _head(content()), suffix, mime) else Reach.NOTHING


def _may_hold_xml_signature(chunks: Iterable[bytes]) -> bool:
    before = b""
    for chunk in chunks:
        text = before + chunk
        if any(mark in text for mark in _MARKS):
            return True
        before = text[-_OVERLAP_BYTES:]
    return False


def _head(chunks: Iterable[bytes]) -> bytes:
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= mail.HEAD_BYTES:
            break
    return head[: mail.HEAD_BYTES]
