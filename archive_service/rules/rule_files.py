"""Versioned TOML files of law-as-data: find one by id and version, digest its bytes, validate it.

Every decision pins id, version and digest of the file it used (R145), so a file is never edited in place: a change is a
new version.
"""

import re
import tomllib
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from archive_service.digests import Digest, digest_bytes
from archive_service.errors import ConfigurationInvalid

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
"""Ids and versions of rule files: they become path segments, so nothing that could leave the folder."""

MAX_FILE_BYTES: Final = 8 * 1024 * 1024
"""A rule file is written by people; a larger one is a mistake, not a rule set."""

Model = TypeVar("Model", bound=BaseModel)


def versioned_path(folder: Path, version: str | None) -> Path:
    """Returns `folder`/`version`.toml, or the newest version when none is named.

    Versions compare by their numbers ("10" is newer than "9", "2026.2" newer than "2026.1").

    Raises:
        ConfigurationInvalid: no such file, or the version is not a plain name.
    """
    if version is not None:
        if not NAME.fullmatch(version):
            raise ConfigurationInvalid(f"not a version name: {version[:80]!r}")
        path = folder / f"{version}.toml"
        if not path.is_file():
            raise ConfigurationInvalid(f"no file {path}")
        return path
    candidates = [path for path in folder.glob("*.toml") if NAME.fullmatch(path.stem)]
    if not candidates:
        raise ConfigurationInvalid(f"no version in {folder}")
    return max(candidates, key=lambda path: (_numbers(path.stem), path.stem))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", version))


def read(path: Path, model: type[Model]) -> tuple[Model, Digest]:
    """Reads one file; the digest is of its bytes as they lie on disk.

    Raises:
        ConfigurationInvalid: unreadable, too large, not TOML or not valid; the message names file and every place.
    """
    try:
        with path.open("rb") as source:
            content = source.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise ConfigurationInvalid(f"{path}: {exc.strerror or exc}") from exc
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationInvalid(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    try:
        value = model.model_validate(tomllib.loads(content.decode("utf-8")))
    except ValidationError as exc:
        problems = exc.errors(include_url=False, include_context=False)
        places = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
        raise ConfigurationInvalid(f"{path}: {places}") from exc
    except ValueError as exc:  # not UTF-8, not TOML
        raise ConfigurationInvalid(f"{path}: {exc}") from exc
    return value, digest_bytes(content)


@lru_cache(maxsize=1024)  # the words of rules, and of steps and fields, come again with every dossier
def fold(text: str) -> str:
    """Returns `text` for comparing words people type: no marks, no case, đ as d, single spaces.

    "Yêu cầu bổ sung", "YÊU CẦU BỔ SUNG" and "yeu cau  bo sung" fold to the same.
    """
    decomposed = unicodedata.normalize("NFD", text.casefold()).replace("đ", "d")
    return " ".join("".join(char for char in decomposed if not unicodedata.combining(char)).split())
