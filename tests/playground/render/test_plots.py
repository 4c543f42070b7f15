from __future__ import annotations

import math

import pytest

from playground.render.plots import axis_top, bars, binned, blocks, columns, dots


@pytest.mark.parametrize(
    ("highest", "top"), [(0.0, 1.0), (0.43, 0.5), (0.5, 0.5), (1.2, 2.0), (2.1, 2.5), (7, 10), (99, 100), (math.nan, 1)]
)
def test_the_top_of_an_axis_is_round(highest: float, top: float) -> None:
    assert axis_top(highest) == pytest.approx(top)


def test_bars_are_drawn_to_an_eighth_of_a_row() -> None:
    assert bars([8, 4, None, 1], top=8, width=8, height=2) == ["█       ", "█ █   ▂ "]


def test_a_bar_that_is_nearly_nothing_is_seen() -> None:
    assert bars([0.0001, 8], top=8, width=2, height=1) == ["▁█"]


def test_dots_go_from_the_left_to_the_right_edge() -> None:
    rows = dots([0.0, 1.0], top=1.0, width=4, height=2)
    assert rows == ["   ⠈", "⡀   "]
    assert dots([math.inf, None, 5.0], top=1.0, width=2, height=1) == [" ⠈"]


@pytest.mark.parametrize("number", [1, 2, 7, 40, 80])
def test_bars_never_overlap_and_fit(number: int) -> None:
    places = columns(number, 80)
    assert len(places) == number
    ends = [first + size for first, size in places]
    assert ends[-1] <= 80
    assert all(end <= first for end, (first, _) in zip(ends, places[1:], strict=False))


def test_too_many_values_become_their_means() -> None:
    assert binned([1, 3, 5, 7], 2) == [2, 6]
    assert sum(binned(list(range(1000)), 33)) / 33 == pytest.approx(499.5, rel=0.02)
    assert len(blocks(list(range(1000)), 40)) == 40


def test_blocks_have_a_floor() -> None:
    assert blocks([0, 1, 8], 3) == "▁▂█"
    assert blocks([0, 0], 2) == "▁▁"
    assert blocks([], 0) == ""
