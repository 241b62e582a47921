"""Vietnamese for reasons that the checks give in English, from `profiles/formats/phrases/<version>.toml`.

Checks and the libraries below them speak English. Reasons of our own have a Vietnamese wording in the catalogue; the words of another
program are shown as a technical note, so that a Vietnamese sentence says whose words they are.
"""

import re
import tomllib
from functools import cache
from typing import Final

from archive_service.errors import ConfigurationInvalid
from archive_service.resources import profiles_dir

PHRASES_VERSION: Final = "1"
"""Version of the catalogue this code is written against."""
TECHNICAL_NOTE: Final = "ghi chú kỹ thuật: {}"


def vietnamese(text: str) -> str:
    """Returns the Vietnamese wording of a reason, or the reason as a technical note."""
    for pattern, wording in _catalogue():
        found = pattern.fullmatch(text)
        if found:
            return wording.format(*found.groups())
    return TECHNICAL_NOTE.format(text) if text else ""


@cache
def _catalogue() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Returns every phrase as a pattern and its wording, the most definite first.

    Raises:
        ConfigurationInvalid: the file is missing or malformed.
    """
    path = profiles_dir() / "formats" / "phrases" / f"{PHRASES_VERSION}.toml"
    try:
        phrases = tomllib.loads(path.read_text(encoding="utf-8"))["phrases"]
        ordered = sorted(phrases.items(), key=lambda item: (item[0].count("{}"), -len(item[0])))
        return tuple((_pattern(english), str(wording)) for english, wording in ordered)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigurationInvalid(f"{path}: {type(exc).__name__}: {exc}") from exc


def _pattern(english: str) -> re.Pattern[str]:
    return re.compile("(.+)".join(map(re.escape, english.split("{}"))), re.DOTALL)
