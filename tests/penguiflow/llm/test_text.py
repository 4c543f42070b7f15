"""Text that comes in pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow.llm.text import Joiner, mended

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@EXAMPLES
@given(st.text(), st.lists(st.integers(0, 40)))
def test_wherever_a_text_is_cut_it_comes_whole(text: str, cuts: list[int]) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    places = sorted({0, len(units), *(cut * 2 for cut in cuts if cut * 2 < len(units))})
    pieces = [units[start:end].decode("utf-16-le", "surrogatepass") for start, end in pairwise(places)]
    joiner = Joiner()

    given_out = [*(joiner.feed(piece) for piece in pieces), joiner.end()]

    assert "".join(given_out) == text
    for piece in given_out:
        piece.encode()


def test_a_half_that_stays_alone_is_replaced() -> None:
    joiner = Joiner()

    assert joiner.feed("a\ud83d") == "a"
    assert joiner.feed("b\ude00c") == "\ufffdb\ufffdc"
    assert joiner.feed("\ud83d") == ""
    assert joiner.end() == "\ufffd"
    assert joiner.end() == ""


def test_whole_texts_are_left_as_they_are() -> None:
    text = "as it is 😀"
    assert mended(text) is text
    assert mended("\ud83d\ude00") == "😀"
