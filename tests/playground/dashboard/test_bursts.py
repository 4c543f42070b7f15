"""Keys that come all at once go where the ones before them lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual import events

OpenDesk = Callable[..., Any]


async def test_keys_that_come_with_the_enter_of_a_search_go_to_what_it_leads_to(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        names = {"/": "slash", "\r": "enter", "]": "right_square_bracket"}
        # The next match after the first, and then another pane, its tab, and a filter there.
        for char in "3g/r\rn4]/retry\r3":
            desk.app.post_message(events.Key(names.get(char, char), char))
        await desk.until(lambda: desk.app.event_rows.filter.text == "retry", "the filter")
        await desk.until(lambda: desk.app.pane.id == "trace", "the pane that the last key leads to")
        assert desk.app.finder.needle == "r"
        assert desk.app.spans.cursor == 1
        assert len(desk.app.screen_stack) == 1
