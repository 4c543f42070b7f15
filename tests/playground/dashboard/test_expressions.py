"""What every match of an expression holds."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from playground.dashboard.expressions import certain


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("needle [0-9]{4}", "needle "),
        ("n.*eedle", "eedle"),
        ("needles?", "needle"),
        ("needle+", "needle"),
        ("(needle)? hay", " hay"),
        ("needle|hay", ""),
        ("(?x) needle", ""),
        (r"\x6eeedle", ""),
        (r"\dneedle\.hays", "needle"),
        ("[needle]hay", "hay"),
        ("need{0}", "nee"),
        ("ab", ""),
    ],
)
def test_the_longest_text_that_is_sure(expression: str, expected: str) -> None:
    assert certain(expression) == expected


parts = st.sampled_from(
    ["a", "b", "c", "x", "abc", "(", ")", "[", "]", "^", "$", ".", "*", "+", "?", "{2}", "{0}", "|", r"\d", r"\.", " "]
)


@given(st.lists(parts, max_size=9).map("".join), st.text(alphabet="abcx. 1", max_size=12))
def test_no_match_is_without_it(expression: str, text: str) -> None:
    try:
        found = regex.compile(expression).search(text, timeout=1)
    except (regex.error, TimeoutError):
        return
    assert found is None or certain(expression) in text
