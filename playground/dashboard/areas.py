"""What an area of the dashboard is: it brings its own views, keys, commands and help; `gathered` has all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

if TYPE_CHECKING:
    from textual.widget import Widget

    from playground.dashboard.app import DashboardApp
    from playground.dashboard.bars import Key
    from playground.dashboard.layout import Box
    from playground.dashboard.trace import TraceModel
    from playground.dashboard.views.base import View

Command = tuple[str, str, Callable[[], object]]
"""A line of the palette: its name, what it does, and what to call."""


class Area:
    """One concern of the dashboard, such as debugging or time travel.

    Its keys call its methods: `key("b", "debugging", "break_here")` calls `break_here()` of the area that is named
    `debugging`; a method may be a coroutine.
    """

    name: ClassVar[str]
    BINDINGS: ClassVar[list[Binding]] = []
    """Keys that work in every pane."""
    GENERAL: ClassVar[list[tuple[str, str]]] = []
    """Lines for the help of every pane: keys, and what they do."""

    def __init__(self, app: DashboardApp) -> None:
        self.app = app

    def views(self) -> dict[str, list[View]]:
        """Tabs by the name of the pane that they are in. Asked once."""
        return {}

    def widgets(self) -> list[Widget]:
        """What stands among the panes, in the boxes that `place` gives it by id. Asked once."""
        return []

    def place(self, boxes: dict[str, Box]) -> None:
        """Take room from the panes' boxes, and add boxes of its own."""

    def show(self, trace: TraceModel | None) -> None:
        """Another trace is shown, or none."""

    def inspect(self, view: View) -> bool:
        """The cursor moved in `view`: show what it is on. True when `view` is of this area and that was done."""
        return False

    def frame(self) -> None:
        """Once per frame, after what arrived was taken and before the panes are drawn."""

    def cancel(self) -> bool:
        """`x`: True when there was something of its own to cancel."""
        return False

    def clock(self) -> None:
        """A few times a second, for what only time changes."""

    def footer(self) -> list[Key] | None:
        """Keys to show at this moment in place of the pane's own; None when there are none."""
        return None

    def help(self) -> tuple[str, list[tuple[str, str]]] | None:
        """A heading and keys that matter at this moment, for the help of any pane."""
        return None

    def commands(self) -> Iterator[Command]:
        """Lines of the palette that fit the moment."""
        yield from ()


def key(keys: str, area: str, method: str, description: str, *args: object) -> Binding:
    """A key that calls a method of an area."""
    given = "".join(f", {arg!r}" for arg in args)
    return Binding(keys, f"do({area!r}, {method!r}{given})", description, show=False)
