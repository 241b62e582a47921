"""The two ways to the leaves of an event, made from its fields when sealing and read from its line when checking, agree."""

from uuid import UUID

import pytest

from archive_service.digests import canonical_json
from archive_service.ids import derived_id
from archive_service.preservation.log_objects import derived_id_text, leaves_of_event, read_line

STORED = {
    "aip": "urn:uuid:1",
    "record_id": str(UUID(int=7)),
    "version": 2,
    "sha256": "ab" * 32,
    "size_bytes": 5,
}


@pytest.mark.parametrize(
    ("kind", "detail"), [("record.viewed", {"tên": "Hồ sơ \u2028 \"'\\"}), ("record.accessioned", STORED)]
)
def test_leaves_from_fields_and_from_the_line(kind: str, detail: dict[str, object]) -> None:
    fields = {"at": "2026-11-22T09:30:00.000001Z", "type": kind, "agent_name": "Đức", "detail": detail}
    line = canonical_json({"seq": 12, "event": fields})
    read = read_line("log.example/1", line)
    assert leaves_of_event("log.example/1", 12, fields, line) == (read.leaf, read.place)
    assert (read.place is not None) is (kind == "record.accessioned")


@pytest.mark.parametrize("parts", [("log-event", "nhật ký", "1"), ("a", "bc"), ("ab", "c"), ("x", "")])
def test_the_text_of_a_derived_id(parts: tuple[str, ...]) -> None:
    assert derived_id_text(*parts) == str(derived_id(*parts))
