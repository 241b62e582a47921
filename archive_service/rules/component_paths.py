"""Component paths a dossier may use: relative, plain, and different from each other on every file system (R016).

Paths come from another system and end up in packages that people unpack on Windows, macOS and Linux. What is checked
here is the name as data; that no write leaves its root is the storage's own business (storage/durable.py).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from archive_service.dossier import DOSSIER_FILE_NAME, Component
from archive_service.findings import Finding

MAX_SEGMENT_BYTES: Final = 255
"""Longest file name of ext4, XFS, NTFS and APFS alike, in UTF-8 bytes."""

MAX_DEPTH: Final = 32
"""Deeper than any real dossier; keeps the collision check linear and unpacking harmless."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_INVISIBLE: Final = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Zero-width and direction-changing characters, with which a name can show another extension than it has."""
_DRIVE: Final = re.compile(r"[A-Za-z]:")


def unsafe_reason(path: str) -> str | None:
    """Returns why `path` may not be used, as a stable token, or None when it may."""
    segments = path.split("/")
    checks = (
        ("absolute", path.startswith("/") or bool(_DRIVE.match(path))),
        ("backslash", "\\" in path),
        ("control_character", bool(_CONTROL.search(path))),
        ("invisible_character", bool(_INVISIBLE.search(path))),
        ("parent_folder", ".." in segments),
        ("empty_segment", "" in segments or "." in segments),
        ("trailing_dot_or_space", any(part.endswith((".", " ")) or part.startswith(" ") for part in segments)),
        ("too_deep", len(segments) > MAX_DEPTH),
        ("name_too_long", any(len(part.encode("utf-8", "surrogatepass")) > MAX_SEGMENT_BYTES for part in segments)),
        ("reserved_name", path.casefold() == DOSSIER_FILE_NAME),
    )
    return next((reason for reason, found in checks if found), None)


def check_component_paths(components: Iterable[Component]) -> Iterator[Finding]:
    """Yields every unsafe path, every path named twice, and every path that another one shadows on some file system."""
    files: dict[str, Component] = {}
    folders: dict[str, Component] = {}
    for part in components:
        reason = unsafe_reason(part.path)
        if reason is not None:
            yield _finding("COMPONENT_PATH_UNSAFE", part, reason=reason)
            continue
        folded = _folded(part.path)
        first = files.setdefault(folded, part)
        if first is not part:
            code = "COMPONENT_PATH_DUPLICATE" if first.path == part.path else "COMPONENT_PATH_COLLISION"
            yield _finding(code, part, other=shown(first.path))
        for end in _folder_ends(folded):
            folders.setdefault(folded[:end], part)
    for folder in folders.keys() & files.keys():
        yield _finding("COMPONENT_PATH_COLLISION", files[folder], other=shown(folders[folder].path))


def _finding(code: str, part: Component, **params: str) -> Finding:
    return Finding(code=code, location=part.id, params={"path": shown(part.path), **params})


def shown(text: str) -> str:
    """Returns `text` shortened and with everything invisible written out, for messages and logs."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text[:200])


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _folder_ends(path: str) -> Iterator[int]:
    return (end for end, char in enumerate(path) if char == "/")
