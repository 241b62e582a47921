"""Where two versions of dossier.json differ, as JSON pointers (R002: the sender must see why a code is refused)."""

from collections.abc import Iterator
from typing import Any, Final

MAX_DIFFERENCES: Final = 100
"""Most differences told: enough to act on, bounded for an answer."""
TEXT_SHOWN: Final = 120
"""Characters of a differing text that are shown."""
ABSENT: Final = "(không có / absent)"
"""Shown for a member that one side does not have: not the same as one that is null."""


def differences(held: Any, pushed: Any) -> list[dict[str, Any]]:
    """Returns the places where `pushed` differs from `held`, at most `MAX_DIFFERENCES`, each with both values shortened."""
    found: list[dict[str, Any]] = []
    for pointer, old, new in _walk("", held, pushed):
        if len(found) == MAX_DIFFERENCES:
            break
        found.append({"pointer": pointer, "held": _short(old), "pushed": _short(new)})
    return found


def _walk(pointer: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            escaped = name.replace("~", "~0").replace("/", "~1")
            yield from _walk(f"{pointer}/{escaped}", old.get(name, ABSENT), new.get(name, ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            left = old[index] if index < len(old) else ABSENT
            right = new[index] if index < len(new) else ABSENT
            yield from _walk(f"{pointer}/{index}", left, right)
    elif old != new or type(old) is not type(new):
        yield pointer, old, new


def _short(value: Any) -> Any:
    if isinstance(value, dict | list):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, str) and len(value) > TEXT_SHOWN:
        return value[: TEXT_SHOWN - 1] + "…"
    return value
