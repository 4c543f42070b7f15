"""The picture behind the live graph: boxes with room for what happens in them, and where each box is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from playground.dashboard.text import cells, clip, one_line
from playground.dashboard.traffic import ENDS

Edge = tuple[str, str]
STATE_CELLS = 16
"""Room for a node's state, so that boxes do not change their width while a run goes on."""
KEPT = 16
"""Pictures, so that another run or moment of a flow costs no layout."""
MAX_DRAWN = 120
"""Nodes; more of them are a list."""
NAME_CELLS = 30
INDENT = "⚙ "


class Item(NamedTuple):
    """Something that the cursor can be on."""

    kind: str
    """`node`, `tool`, or `end` for where messages enter and leave."""
    name: str
    node: str
    """The node that it is in; its own name for a node."""
    row: int
    column: int
    width: int
    height: int

    @property
    def state_row(self) -> int:
        """Where its state is written."""
        return self.row + 2 if self.kind == "node" and self.height > 1 else self.row


class Picture(NamedTuple):
    """Lines without states, the items in them, and where messages wait before a node."""

    lines: list[str]
    items: list[Item]
    arrows: dict[str, tuple[int, int]]
    drawn: bool
    """False for a list."""


def draw(names: Sequence[str], edges: Sequence[Edge], tools: dict[str, list[str]]) -> Picture:
    """Lay a graph out; `tools` by the node that they are in. The same graph is laid out once."""
    return _drawn(tuple(names), tuple(edges), tuple((name, tuple(inside)) for name, inside in tools.items()))


@lru_cache(maxsize=KEPT)
def _drawn(names: Sequence[str], edges: Sequence[Edge], inside: Sequence[tuple[str, Sequence[str]]]) -> Picture:
    tools = dict(inside)
    if not names:
        return Picture([], [], {}, True)
    if len(names) > MAX_DRAWN:
        return _listing(names, edges, tools)
    # What draws is imported when something is drawn: it would delay the first paint.
    from playground.render.drawing import Drawing
    from playground.render.layers import lay_out

    layout = lay_out(names, edges)
    back: dict[str, list[str]] = {}
    for source, target in layout.back:
        back.setdefault(source, []).append(target)
    texts = {name: _texts(name, back.get(name, []), tools.get(name, [])) for name in names}
    drawing = Drawing(layout, texts)
    lines = drawing.lines()
    items: list[Item] = []
    for row in layout.rows:
        for name in row:
            if name in layout.stand_ins:
                continue
            place = drawing.places[name]
            items.append(Item("end" if name in ENDS else "node", name, name, *place))
            shown = tools.get(name, [])
            first = place.row + place.height - 1 - len(shown)
            items += [
                Item("tool", tool, name, first + number, place.column + 2, place.width - 4, 1)
                for number, tool in enumerate(shown)
            ]
    return Picture(lines, items, drawing.arrows, True)


def _texts(name: str, back: Sequence[str], tools: Sequence[str]) -> list[str]:
    if name in ENDS:
        return [name]
    loops = ", ".join("itself" if target == name else one_line(target) for target in back)
    first = clip(one_line(name), NAME_CELLS) + (f" ↺ {clip(loops, NAME_CELLS)}" if loops else "")
    rows = [first, " " * STATE_CELLS]
    rows += [INDENT + clip(one_line(tool), NAME_CELLS) + " " * (STATE_CELLS - 4) for tool in tools]
    return rows


def _listing(names: Sequence[str], edges: Sequence[Edge], tools: Mapping[str, Sequence[str]]) -> Picture:
    following: dict[str, list[str]] = {}
    for source, target in edges:
        following.setdefault(source, []).append(target)
    width = min(max(cells(one_line(name)) for name in names), NAME_CELLS)
    lines: list[str] = []
    items: list[Item] = []
    for name in names:
        shown = clip(one_line(name), width)
        targets = ", ".join(one_line(target) for target in following.get(name, [])[:20])
        items.append(Item("end" if name in ENDS else "node", name, name, len(lines), 2, width + STATE_CELLS + 2, 1))
        lines.append(
            "  " + shown + " " * (width - cells(shown) + STATE_CELLS + 4) + (f"▶ {targets}" if targets else "")
        )
        for tool in tools.get(name, []):
            items.append(Item("tool", tool, name, len(lines), 4, width + STATE_CELLS, 1))
            lines.append("    " + INDENT + clip(one_line(tool), NAME_CELLS))
    return Picture(lines, items, {}, False)
