"""A sender whose code is refused sees where its dossier differs from the one that is held."""

from typing import Any

import pytest

from archive_service.ingest.difference import ABSENT, MAX_DIFFERENCES, TEXT_SHOWN, differences


@pytest.mark.parametrize(
    ("held", "pushed", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("/a", 1, 2)]),
        ({"a": None}, {}, [("/a", None, ABSENT)]),
        ({}, {"a": None}, [("/a", ABSENT, None)]),
        ({"a": 1}, {"a": True}, [("/a", 1, True)]),
        ({"a": 1}, {"a": 1.0}, [("/a", 1, 1.0)]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, [("/a/1", 2, 3), ("/a/2", ABSENT, 4)]),
        ({"a/b~c": 1}, {"a/b~c": 2}, [("/a~1b~0c", 1, 2)]),
        ({"a": {"b": 1}}, {"a": [1]}, [("/a", "dict of 1", "list of 1")]),
        (1, 2, [("", 1, 2)]),
    ],
)
def test_each_place_is_named_with_both_values(held: Any, pushed: Any, expected: list[tuple[str, Any, Any]]) -> None:
    found = [(place["pointer"], place["held"], place["pushed"]) for place in differences(held, pushed)]
    assert found == expected
    assert [type(held) for _, held, _ in found] == [type(held) for _, held, _ in expected]


def test_long_texts_and_many_places_are_cut() -> None:
    (place,) = differences({"a": "x" * 1000}, {"a": "y"})
    assert len(place["held"]) == TEXT_SHOWN
    many = {str(number): number for number in range(MAX_DIFFERENCES * 2)}
    assert len(differences(many, {})) == MAX_DIFFERENCES
