"""Where the data files that belong to the code live: profiles, retention rules, migrations.

In a checkout they are the top-level folders; in an installed wheel they are under archive_service/_data. An operator may point
`ARCHIVE_PROFILES_DIR` and `ARCHIVE_RETENTION_RULES_DIR` at own versions.
"""

import os
from functools import cache
from pathlib import Path

from archive_service.errors import ConfigurationInvalid

_PACKAGE = Path(__file__).resolve().parent


@cache
def _folder(name: str, override: str | None) -> Path:
    candidates = [Path(override)] if override else [_PACKAGE / "_data" / name, _PACKAGE.parent / name]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise ConfigurationInvalid(f"no folder {name}: looked at {', '.join(map(str, candidates))}")


def profiles_dir() -> Path:
    """Returns the folder of versioned profiles (format policies, finding texts, code lists, trust stores).

    Raises:
        ConfigurationInvalid: no such folder.
    """
    return _folder("profiles", os.environ.get("ARCHIVE_PROFILES_DIR"))


def retention_rules_dir() -> Path:
    """Returns the folder of versioned retention rule files.

    Raises:
        ConfigurationInvalid: no such folder.
    """
    return _folder("retention_rules", os.environ.get("ARCHIVE_RETENTION_RULES_DIR"))


def migrations_dir() -> Path:
    """Returns the folder of the Alembic environment.

    Raises:
        ConfigurationInvalid: no such folder.
    """
    return _folder("alembic", None)
