"""Searching through the rows of a view."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from playground.dashboard.search import Search
from playground.dashboard.text import Row
from playground.dashboard.views.base import View


class Numbers(View):
    """A row for each number."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def __len__(self) -> int:
        return self.count

    def row(self, index: int, width: int) -> Row:
        return [(f"Row {index}", "")]


def walk(view: View, needle: str, direction: int, *, here: bool = False) -> tuple[int | None, str]:
    search = Search(view, needle, direction, here=here)
    while not search.over:
        search.go_on()
    return search.found, search.told()


def test_matches_are_walked_in_both_directions_and_around_the_end() -> None:
    view = Numbers(30)
    assert walk(view, "row 2", 1) == (2, "match 1 of 11")
    assert walk(view, "row 2", 1) == (20, "match 2 of 11")
    assert walk(view, "row 2", 1, here=True) == (20, "match 2 of 11")
    assert walk(view, "row 2", -1) == (2, "match 1 of 11")
    assert walk(view, "row 2", -1) == (29, "match 11 of 11")
    assert walk(view, "row 2", 1) == (2, "match 1 of 11")
    assert walk(view, "nowhere", 1) == (None, "nowhere is not here")
    assert view.cursor == 2
    assert walk(Numbers(0), "row", 1) == (None, "row is not here")


def test_the_first_match_is_gone_to_at_once_and_the_others_are_counted_later() -> None:
    ticks = itertools.count()
    view = Numbers(100_000)
    search = Search(view, "row 5", 1, clock=lambda: float(next(ticks)))
    assert search.go_on(0.5)
    assert view.cursor == 5
    assert not search.over
    assert search.percent == 0
    assert not search.go_on(1e9)
    assert search.told() == "match of row 5, one of more than 10,000"


def test_rows_that_are_gone_meanwhile_are_no_match() -> None:
    ticks = itertools.count()
    view = Numbers(1000)
    search = Search(view, "row 99", 1, clock=lambda: float(next(ticks)))
    search.go_on(0.5)
    view.count = 500
    search.go_on(1e9)
    assert (search.found, search.over) == (99, True)


class Growing(Numbers):
    """Of which more is still to come."""

    @property
    def unfinished(self) -> str:
        return "45 %" if self.count < 30 else ""


def test_matches_in_what_is_read_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    view = Growing(20)
    assert walk(view, "row 1", 1) == (1, "found row 1; the run was not read to its end yet")
    assert walk(Growing(30), "row 1", 1) == (1, "match 1 of 11")


async def test_what_is_not_there_yet_is_found_when_it_is(open_desk: Callable[..., Any]) -> None:
    async with open_desk() as desk:
        app, view = desk.app, Growing(20)
        app.panes["inspect"].views.append(view)
        app.panes["inspect"].show_view(view)
        await desk.press("4", "slash", *"row 25", "enter")
        await desk.until(lambda: "not in what is read, 45 %" in desk.text(), "the word that it is not there yet")
        view.count = 30
        await desk.until(lambda: "match 1 of 1" in desk.text(), "the match")
        assert view.cursor == 25
        view.count = 20
        await desk.press("slash", *"zz", "enter")
        await desk.until(lambda: "not in what is read, 45 %" in desk.text(), "the search")
        await desk.press("escape")
        await desk.until(lambda: "given up after 20 rows" in desk.text(), "its end")


async def test_a_long_search_tells_how_far_it_is_and_esc_gives_it_up(
    open_desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A few rows at a time: it takes minutes to the last one.
    monkeypatch.setattr("playground.dashboard.search.BUDGET_S", -1.0)
    async with open_desk() as desk:
        app, view = desk.app, Numbers(10_000_000)
        app.panes["inspect"].views.append(view)
        app.panes["inspect"].show_view(view)
        await desk.press("4", "slash", *"zzz", "enter")
        await desk.until(lambda: " % · esc stops" in desk.text(), "the progress")
        await desk.press("escape")
        await desk.until(lambda: "given up after" in desk.text(), "the end of the search")
        assert "searching" not in desk.text()
        assert app.finder.search is None
