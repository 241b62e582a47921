"""Vietnamese for what is wrong with a field of dossier.json, from `profiles/dossier/phrases/<version>.toml`.

The reader of JSON speaks English; its kinds of error have a Vietnamese wording in the catalogue, as have the rules of our own. Anything else is
shown in its own words as a technical note, so that a Vietnamese sentence says whose words they are.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from archive_service.errors import ConfigurationInvalid
from archive_service.resources import profiles_dir

PHRASES_VERSION: Final = "1"
"""Version of the catalogue this code is written against."""
_VALUE_ERROR: Final = "Value error, "
"""What the reader of JSON puts before the words of our own rules."""
_OTHER: Final = "giá trị không đúng quy định (ghi chú kỹ thuật: {})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Catalogue:
    """Wordings by kind of error, and by the words of a rule."""

    types: Mapping[str, str]
    values: tuple[tuple[re.Pattern[str], str], ...]


def field_reason(reason: str, kind: str = "", limits: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Returns the params `reason` (English) and `reason_vi` of a finding on a field.

    Args:
        reason: The reason in English.
        kind: The kind of error, as the reader of JSON names it; empty for a rule of our own.
        limits: What the wording of the kind names.
    """
    reason = reason.removeprefix(_VALUE_ERROR)
    return {"reason": reason, "reason_vi": _vietnamese(reason, kind, limits or {})}


def _vietnamese(reason: str, kind: str, limits: Mapping[str, Any]) -> str:
    catalogue = _catalogue()
    wording = catalogue.types.get(kind)
    if wording is not None:
        return wording.format_map({name: str(value).replace(" or ", " hoặc ") for name, value in limits.items()})
    for pattern, words in catalogue.values:
        if found := pattern.fullmatch(reason):
            return words.format(*found.groups())
    return _OTHER.format(reason)


@cache
def _catalogue() -> _Catalogue:
    """Returns the catalogue.

    Raises:
        ConfigurationInvalid: the file is missing or malformed.
    """
    path = profiles_dir() / "dossier" / "phrases" / f"{PHRASES_VERSION}.toml"
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
        values = tuple((_pattern(english), str(words)) for english, words in read["values"].items())
        return _Catalogue(types={kind: str(words) for kind, words in read["types"].items()}, values=values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigurationInvalid(f"{path}: {type(exc).__name__}: {exc}") from exc


def _pattern(english: str) -> re.Pattern[str]:
    return re.compile("(.+)".join(map(re.escape, english.split("{}"))), re.DOTALL)
