from __future__ import annotations

import json
from typing import Any

import pytest

from playground.render.folded import fold


def lines(value: Any) -> int:
    return len(json.dumps(value, indent=2).splitlines())


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, [1, 2], {"a": {"b": [1, {"c": 2}]}}])
def test_what_fits_is_left_alone(value: Any) -> None:
    assert fold(value, 40) == (value, False)


def test_small_fields_stay_whole_and_a_long_list_shows_its_beginning() -> None:
    entries = [{"path": str(number), "definitions": ["a", "b"]} for number in range(50)]

    shown, folded = fold({"entries": entries, "files": 50, "languages": {"python": 49, "text": 1}}, 25)

    assert folded
    assert shown == {"entries": [*entries[:2], "… 48 more"], "files": 50, "languages": {"python": 49, "text": 1}}
    assert lines(shown) <= 25


def test_what_has_no_room_is_counted() -> None:
    assert fold({"a": [[1, 2, 3], [4]], "b": {"c": {"d": 1}}}, 4) == ({"a": "… 2 items", "b": "… 1 field"}, True)
    assert fold("x" * 2001, 4) == ("x" * 2000 + "… 1 more characters", True)


def test_a_long_flat_value_is_shortened() -> None:
    assert fold(list(range(1000)), 10) == ([0, 1, 2, 3, 4, 5, 6, "… 993 more"], True)
    shown, _ = fold({str(number): number for number in range(1000)}, 10)
    assert lines(shown) == 10
    assert shown["…"] == "993 more"


@pytest.mark.parametrize("limit", [1, 3, 8, 40])
def test_whatever_it_is_it_fits(limit: int) -> None:
    value = {"a": [[[[number] * 9] * 9] * 9 for number in range(9)], "b": {"c": {"d": "x" * 10_000}}}

    shown, folded = fold(value, limit)

    assert folded
    assert lines(shown) <= limit
