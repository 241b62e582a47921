"""Words of signature reports, Vietnamese and English, from `profiles/signatures/texts/<version>.toml`."""

import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from archive_service.errors import ConfigurationInvalid
from archive_service.resources import profiles_dir

TEXTS_VERSION: Final = "1"
"""Version of the text file this code is written against."""


_EMPTY_NOTES: Final = (" (ghi chú kỹ thuật: )", " (ghi chú kỹ thuật:  )", " ()", " (: )")
"""What a text shows when there is no technical detail."""


class _Params(dict[str, Any]):
    """Params for a text; a missing one shows as its name so that a report never fails to render."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


@cache
def catalogue() -> Mapping[str, Mapping[str, str]]:
    """Returns every text by code.

    Raises:
        ConfigurationInvalid: the file is missing or malformed.
    """
    path = profiles_dir() / "signatures" / "texts" / f"{TEXTS_VERSION}.toml"
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigurationInvalid(f"{path}: {exc}") from exc
    for code, entry in entries.items():
        if set(entry) != {"vi", "en"}:
            raise ConfigurationInvalid(f"{path}: {code} needs exactly vi and en")
    return entries


def render(code: str, params: Mapping[str, str], language: str = "vi") -> str:
    """Returns the text of `code` in `language` with `params` filled in.

    Raises:
        ConfigurationInvalid: no such code.
    """
    try:
        template = catalogue()[code]["en" if language == "en" else "vi"]
    except KeyError:
        raise ConfigurationInvalid(f"signature text {code} is not in the catalogue") from None
    text = template.format_map(_Params(params))
    for empty in _EMPTY_NOTES:
        text = text.replace(empty, "")
    return text.replace("(ghi chú kỹ thuật:  ", "(ghi chú kỹ thuật: ").replace("(: ", "(")
