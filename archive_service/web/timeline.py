"""Events as a person reads them: what happened, who did it, and the one or two facts that matter."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from archive_service import i18n
from archive_service.i18n import N_
from archive_service.models import Event

_WARNING_EVENTS = frozenset(
    {"submission.rejected", "submission.refused", "submission.returned", "record.copy-damaged", "copy.cancelled"}
)
_GOOD_EVENTS = frozenset({"submission.approved", "submission.stored", "record.accessioned", "copy.issued"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One event."""

    at: datetime
    token: str
    who: str
    notes: tuple[str, ...]
    tone: str
    """good, bad or plain."""


def timeline(events: Sequence[Event], language: str) -> list[TimelineEntry]:
    """Returns the entries for events, in their order."""
    return [
        TimelineEntry(
            at=event.at,
            token=event.type.value,
            who=_who(event, language),
            notes=tuple(_notes(event.detail, language)),
            tone=_tone(event.type.value),
        )
        for event in events
    ]


def _who(event: Event, language: str) -> str:
    """Returns the person or system by name; a part of this software is the system itself to a reader."""
    return i18n.translate(N_("Hệ thống"), language) if event.agent_id.startswith("software:") else event.agent_name


def _tone(token: str) -> str:
    if token in _WARNING_EVENTS:
        return "bad"
    return "good" if token in _GOOD_EVENTS else "plain"


_NOTES: Final = (
    ("reason", N_("Lý do: %(reason)s")),
    ("purpose", N_("Mục đích: %(purpose)s")),
    ("number", N_("Số %(number)s/%(year)s")),
    ("component_id", N_("Tài liệu %(component_id)s")),
    ("errors", N_("%(errors)s lỗi, %(warnings)s cảnh báo")),
    ("location", N_("Nơi lưu %(location)s")),
    ("rule_id", N_("Quy tắc %(rule_id)s")),
)
"""What is said of an event's detail: the key that must be there, and the text filled with the detail."""


def _notes(detail: dict[str, Any], language: str) -> Iterator[str]:
    values: defaultdict[str, Any] = defaultdict(str, detail)  # any JSON value
    for key, text in _NOTES:
        if isinstance(detail.get(key), str | int) and detail[key] != "":
            yield i18n.translate(text, language) % values
    if isinstance(detail.get("components"), int):
        yield i18n.translate(N_("%(n)s tệp"), language) % {"n": detail["components"]}
    copies = detail.get("copies")
    if isinstance(copies, list):
        names = ", ".join(str(copy.get("location")) for copy in copies if isinstance(copy, dict))
        yield i18n.translate(N_("Đã đọc lại %(n)s bản: %(names)s"), language) % {"n": len(copies), "names": names}
