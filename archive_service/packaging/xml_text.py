"""Writing XML as text: escaping for values that come from outside.

Package XML is written by templates of our own, because building elements costs about ten times as much and METS and
PREMIS must stream; tests hold that every document parses and validates. Reading is done only with `xml_reader`.
"""

import re
from datetime import UTC, date, datetime
from typing import Final

DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'

_SPECIAL: Final = re.compile('[&<>"\t\n\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}


def xml(value: str) -> str:
    """Returns `value` for an attribute in double quotes or for text: read back, it is the same string.

    A character XML cannot carry becomes U+FFFD; the JSON files of the package keep the original.
    """
    if _SPECIAL.search(value) is None:
        return value
    return _SPECIAL.sub(lambda match: _ESCAPES.get(match[0], "\ufffd"), value)


def xml_time(at: datetime) -> str:
    """Returns xs:dateTime in UTC, with the microseconds `at` has."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def civil(on: date) -> str:
    """Returns DD/MM/YYYY, the date form of TT 05/2025 (R040)."""
    return f"{on.day:02d}/{on.month:02d}/{on.year:04d}"
