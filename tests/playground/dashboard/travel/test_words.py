"""Texts beside each other."""

from __future__ import annotations

import pytest

from playground.dashboard.travel.words import MAX_WORDS, mark_words, side_by_side, wrapped


def test_words_that_differ_are_marked() -> None:
    left, right = mark_words("the quick fox jumps", "the slow fox jumped")
    assert left == [("the ", ""), ("quick", "match"), (" fox ", ""), ("jumps", "match")]
    assert right == [("the ", ""), ("slow", "match"), (" fox ", ""), ("jumped", "match")]
    assert mark_words("a " * MAX_WORDS, "b")[0] == [("a " * MAX_WORDS, "match")]


def test_lines_are_aligned() -> None:
    pairs = list(side_by_side("one\ntwo\nthree\nsame", "one\n2\nsame\nmore"))
    told = [
        (left and "".join(text for text, _ in left), right and "".join(text for text, _ in right), same)
        for left, right, same in pairs
    ]
    assert told == [
        ("one", "one", True),
        ("two", "2", False),
        ("three", None, False),
        ("same", "same", True),
        (None, "more", False),
    ]
    assert [pair.right for pair in side_by_side("a\nb", None)] == [None, None]
    assert [pair.left for pair in side_by_side(None, "a\nb")] == [None, None]


@pytest.mark.parametrize("width", [8, 13, 40])
def test_wrapped_rows_keep_text_and_roles(width: int) -> None:
    row = [("the ", ""), ("quick", "match"), (" fox jumps over the ", ""), ("lazy", "match"), (" dog", "")]
    rows = wrapped(row, width)
    assert "".join(text for each in rows for text, _ in each) == "".join(text for text, _ in row)
    marked = "".join(text for each in rows for text, role in each if role == "match")
    assert marked == "quicklazy"
    assert all(sum(len(text) for text, _ in each) <= width for each in rows)
    assert wrapped(None, width) == []
