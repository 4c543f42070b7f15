from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penguiflow.recording.pointers import assign, parts_of
from playground.dashboard.editing.changes import change, diff

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-1, 1) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES, VALUES)
def test_edits_make_one_value_of_the_other(before: Any, after: Any) -> None:
    edits = change(before, after).edits
    document = deepcopy(before)
    if "" in edits:
        assert list(edits) == [""]
        document = edits[""]
    else:
        for place, value in edits.items():
            assign(document, parts_of(place), deepcopy(value))
    assert repr(sort(document)) == repr(sort(after))


def sort(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sort(value[key]) for key in sorted(value)}
    return [sort(item) for item in value] if isinstance(value, list) else value


def test_only_what_changed_is_given() -> None:
    before = {"args": {"url": "b", "key": "[secret]"}, "call_id": "1", "list": [1, {"x": 2}]}
    after = {"args": {"url": "a", "key": "[secret]"}, "call_id": "1", "list": [1, {"x": 3}]}
    assert change(before, after).edits == {"/args/url": "a", "/list/1/x": 3}
    assert change(before, before).edits == {}
    assert change(True, 1).whole


def test_a_key_that_goes_takes_what_is_around_it_along() -> None:
    assert change({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}).edits == {"/a": {"b": 1}}


def test_lines_that_differ_are_shown_with_some_around_them() -> None:
    before = "\n".join(str(number) for number in range(30))
    lines = diff(before, before.replace("\n4\n", "\nfour\n").replace("\n25\n", "\n"))
    assert ("-", "4") in lines
    assert ("+", "four") in lines
    assert ("-", "25") in lines
    assert lines.count(("…", "")) == 1
    assert diff("a", "a") == []
    assert diff("\n" * 30_000, "x")[0][0] == "…"
