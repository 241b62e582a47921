"""Canonical JSON in pieces is canonical JSON."""

from typing import Any

import pytest

from archive_service.digests import canonical_json, canonical_parts


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        [1, 2],
        "ừ",
        {"b": [], "a": {"y": [1], "x": None}, "ă": "Đặng"},
        {"components": [{"n": number, "tên": f"Tệp số {number}"} for number in range(1001)], "a": 1},
        {"components": list(range(500))},
        {"components": [[1, 2], []] * 251},
    ],
)
def test_the_pieces_are_the_whole(value: Any) -> None:
    assert b"".join(canonical_parts(value)) == canonical_json(value)


@pytest.mark.parametrize("value", [{"components": [0] * 900 + [float("nan")]}, {"a": "\ud800"}, {"\ud800": 1}])
def test_what_has_no_canonical_form_has_no_pieces(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the encoder's own words
        list(canonical_parts(value))


def test_long_lists_come_in_several_pieces() -> None:
    whole = canonical_json(value := {"components": ["x" * 100] * 5000})
    assert max(map(len, canonical_parts(value))) < len(whole) / 5
