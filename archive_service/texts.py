"""Free text that people and systems hand in: what XML, both databases and a printed page can carry, and nothing else."""

import re
from typing import Final

from archive_service.errors import BadRequest

NOT_PLAIN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML 1.0 cannot carry (and DEL); PostgreSQL refuses NUL besides."""


def require_plain(value: str, location: str) -> str:
    """Returns the text without blanks around it.

    Raises:
        BadRequest: it holds a control character or half a surrogate pair.
    """
    if NOT_PLAIN.search(value):
        reason = "control characters are not allowed"
        raise BadRequest(f"{location}: {reason}", problems=[{"location": location, "reason": reason}])
    return value.strip()
