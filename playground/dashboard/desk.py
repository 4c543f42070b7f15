"""The container of the panes: it puts each into the box that `layout.place` computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

from playground.dashboard.layout import Box


class _Boxes(Layout):
    """Places children by their ids."""

    name = "boxes"

    def __init__(self, place: Callable[[int, int], dict[str, Box]]) -> None:
        self._place = place

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        """A placement for each child that has a box."""
        parent.pre_layout(self)
        boxes = self._place(size.width, size.height)
        return [
            WidgetPlacement(Region(*boxes[child.id]), NULL_OFFSET, NULL_SPACING, child)
            for child in children
            if child.id in boxes
        ]


class Desk(Widget):
    """All panes."""

    DEFAULT_CSS = "Desk { height: 1fr; width: 1fr; }"

    def __init__(self, panes: Sequence[Widget], place: Callable[[int, int], dict[str, Box]]) -> None:
        super().__init__(*panes, id="desk")
        self._boxes = _Boxes(place)

    @property
    def layout(self) -> Layout:
        """Our own layout."""
        return self._boxes
