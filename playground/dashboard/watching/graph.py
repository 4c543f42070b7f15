"""The flow's topology, live: which node works, waits, is stopped or failed, and where the messages are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from playground.dashboard.bars import Key
from playground.dashboard.details import field
from playground.dashboard.text import Row, cells, count, one_line
from playground.dashboard.trace import TraceModel
from playground.dashboard.traffic import ENDS, Planner, Work
from playground.dashboard.views.base import View
from playground.dashboard.views.detail import Node
from playground.dashboard.watching.painting import Written, paint
from playground.dashboard.watching.topology import Edge, Item, Picture, draw

if TYPE_CHECKING:
    from playground.protocol import FlowInfo, Stopped

STOPPED = "⏸"
MARGIN = 2
"""Columns kept in sight beside the node under the cursor."""
_HEAVY = str.maketrans("┌┐└┘─│├┤┬┴┼", "┏┓┗┛━┃┣┫┳┻╋")


class GraphView(View):
    """Boxes and lines; the cursor goes from node to node."""

    label = "Graph"
    has_cursor = False
    empty = "No graph yet. Run a flow: its nodes show here what they do."
    keys = (
        Key("⏎", "inspect", "choose"),
        Key("b", "break", "do('debugging', 'break_here')"),
        Key("/", "search", "search"),
        Key("z", "zoom", "zoom"),
    )
    help = (
        """The nodes of the flow, and what they do at this moment. Messages go from top to bottom.
● working   ✔ done   ✖ failed   ↻ tried again   ⏸ stopped at a breakpoint   ▼ n: messages that wait before a node
↺ sends back to a node above it, or to itself   ⚙ a tool of a planner""",
        [
            ("↑ ↓  j k", "to the nodes above and below, and through the tools of a planner"),
            ("← →  h l", "to the nodes beside it"),
            ("⏎", "inspect what it does now, what failed, or what it did last"),
            ("b", "break at it"),
            ("/  n  N", "search, next, previous"),
        ],
    )

    def __init__(
        self, flow_of: Callable[[TraceModel], FlowInfo | None], stops: Callable[[str], Sequence[Stopped]]
    ) -> None:
        super().__init__()
        self.trace: TraceModel | None = None
        self._flow_of = flow_of
        self._stops = stops
        self._picture = Picture([], [], {}, True)
        self._shape: tuple[object, ...] = ()
        self._seen: tuple[object, ...] = ()
        self._overlays: dict[int, list[Written]] = {}
        """By row, what is written over the picture."""
        self._items_in: dict[int, list[Item]] = {}
        self._width = 60
        self._widest = 0
        self.left = 0
        """Columns that are scrolled out of sight; negative where the picture stands in the middle."""
        self.number = 0
        """Which item the cursor is on."""

    def show(self, trace: TraceModel | None) -> None:
        """Another trace."""
        if trace is None or self.trace is None or trace.target != self.trace.target:
            self.number = self.left = self.top = 0
            self._picture, self._shape = Picture([], [], {}, True), ()
        self.trace = trace
        self._seen = ()
        self.touch()

    @property
    def item(self) -> Item | None:
        """What the cursor is on."""
        items = self._picture.items
        return items[self.number] if 0 <= self.number < len(items) else None

    def place(self) -> tuple[str, str | None, str | None] | None:
        """What a breakpoint on it would be on."""
        item = self.item
        return None if item is None or item.kind == "end" else (item.kind, item.name, None)

    # -- keeping up -----------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Once per frame while it is in sight: lay out when there are new nodes, and write the states."""
        trace = self.trace
        if trace is None:
            return
        stops = list(self._stops(trace.trace_id))
        state = (trace.revision, trace.status, tuple(stop.stop for stop in stops))
        if state == self._seen:
            return
        self._seen = state
        self._lay_out(trace)
        self._write(trace, {stop.name for stop in stops})
        self._in_sight()
        self.touch()

    def _lay_out(self, trace: TraceModel) -> None:
        traffic = trace.traffic
        flow = self._flow_of(trace)
        seen = (id(flow), len(traffic.edges), len(traffic.nodes), sum(len(p.tools) for p in traffic.planners.values()))
        if seen == self._shape[:4]:
            return
        tools = {name: list(planner.tools) for name, planner in traffic.planners.items()}
        if flow is not None and flow.tools and not tools:
            # Before its planner begins, what it can call.
            tools = {flow.nodes[0].name if flow.nodes else flow.name: list(flow.tools)}
        names, edges = _topology(trace, flow)
        graph = (names, edges, tools)
        before, self._shape = self._shape[4:], (*seen, graph)
        if before == (graph,):
            return
        picked = self.item
        self._picture = draw(names, edges, tools)
        self._widest = max(map(cells, self._picture.lines), default=0)
        self._items_in = {}
        for item in self._picture.items:
            for row in range(item.row, item.row + item.height):
                self._items_in.setdefault(row, []).append(item)
        if picked is not None:
            same = (i for i, item in enumerate(self._picture.items) if item[:3] == picked[:3])
            self.number = next(same, 0)
        else:
            self.number = next((i for i, item in enumerate(self._picture.items) if item.kind == "node"), 0)

    def _write(self, trace: TraceModel, stopped: set[str]) -> None:
        self._overlays = {}
        traffic = trace.traffic
        waiting: dict[str, int] = {}
        for name, edge in traffic.edges.items():
            target = name.rpartition("->")[2]
            waiting[target] = waiting.get(target, 0) + edge.waiting
        for item in self._picture.items:
            planner = traffic.planners.get(item.node)
            if item.kind == "end":
                number = traffic.sent("OpenSea") if item.name == "OpenSea" else _arrived(trace)
                if number:
                    self._put(item.row, item.column + item.width + 1, count(number), "dim")
            elif item.kind == "node":
                work = traffic.nodes.get(item.name)
                text, role = _state(work, item.name in stopped, planner)
                self._frame(item, role)
                self._put(item.state_row, item.column + (2 if self._picture.drawn else item.width - 14), text, role)
                self._queue(item, waiting.get(item.name, 0))
            else:
                text, role = _state(planner.tools.get(item.name) if planner else None, item.name in stopped, None)
                self._put(item.row, item.column + item.width - cells(text), text, role)

    def _put(self, row: int, column: int, text: str, role: str) -> None:
        if text:
            self._overlays.setdefault(row, []).append((column, text, role))

    def _frame(self, item: Item, role: str) -> None:
        """The box in the color of its state."""
        if not self._picture.drawn or not role:
            return
        for row in range(item.row, item.row + item.height):
            line = self._picture.lines[row]
            for column in (item.column, item.column + item.width - 1):
                if row not in (item.row, item.row + item.height - 1):
                    self._put(row, column, line[column : column + 1], role)
            if row in (item.row, item.row + item.height - 1) and line.isprintable() and cells(line) == len(line):
                self._put(row, item.column, line[item.column : item.column + item.width], role)

    def _queue(self, item: Item, waiting: int) -> None:
        if not waiting:
            return
        arrow = self._picture.arrows.get(item.name)
        if arrow is not None:
            self._put(arrow[0], arrow[1], f"▼ {count(waiting)}", "warn")
        elif not self._picture.drawn:
            self._put(item.row, item.column + item.width - 19, f"▼{count(waiting)}", "warn")

    # -- moving ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._picture.lines)

    def resize(self, width: int, height: int) -> None:
        """The cursor stays in sight. What comes to the front is up to date at once."""
        self._width = width
        self.sync()
        super().resize(width, height)
        self._in_sight()

    def settle(self) -> None:
        """Nothing to bring back but the scroll position."""
        self.follow = False
        self.top = min(max(self.top, 0), max(len(self) - self.height, 0))

    def move(self, delta: int) -> None:
        """To the nearest item above or below, as often as asked for."""
        for _ in range(min(abs(delta), 200)):
            found = self._beside(1 if delta > 0 else -1, sideways=False)
            if found is None:
                break
            self.number = found
        self._moved()

    def side(self, direction: int) -> None:
        """To the nearest node beside this one."""
        found = self._beside(direction, sideways=True)
        if found is not None:
            self.number = found
        self._moved()

    def _beside(self, direction: int, *, sideways: bool) -> int | None:
        here, items = self.item, self._picture.items
        if here is None:
            return 0 if items else None
        middle = here.column + here.width // 2
        best: tuple[int, int] | None = None
        found: int | None = None
        for number, item in enumerate(items):
            apart = item.column + item.width // 2 - middle
            if sideways:
                in_line = here.row < item.row + item.height and item.row < here.row + max(here.height, 1)
                if item.node == here.node or apart * direction <= 0 or not (in_line or item.kind != "tool"):
                    continue
                distance = (0 if in_line else 1 + abs(item.row - here.row), abs(apart))
            else:
                down = (item.row - here.row) * direction
                if number == self.number or down <= 0:
                    continue
                distance = (down + abs(apart) // 4, abs(apart))
            if best is None or distance < best:
                best, found = distance, number
        return found

    def go(self, index: int) -> None:
        """To the item in this row, or the nearest one."""
        items = self._picture.items
        if items:
            self.number = min(range(len(items)), key=lambda n: _rows_apart(items[n], index))
        self._moved()

    def point(self, index: int, column: int) -> bool:
        """The mouse: to the item there."""
        for number in reversed(range(len(self._picture.items))):
            item = self._picture.items[number]
            if not _rows_apart(item, index) and 0 <= column + self.left - item.column < item.width:
                self.number = number
                self._moved()
                return True
        return True

    def scroll(self, delta: int) -> None:
        """Scroll; the cursor stays where it is."""
        self.top = min(max(self.top + delta, 0), max(len(self) - self.height, 0))
        self.touch()

    def _moved(self) -> None:
        self._in_sight()
        self.touch()

    def _in_sight(self) -> None:
        item = self.item
        if item is None:
            return
        self.top = min(max(self.top, item.row + item.height - self.height), item.row)
        self.top = max(self.top, 0)
        spare = self._width - self._widest
        if spare >= 0:
            # What fits stands in the middle.
            self.left = -(spare // 2) if self._picture.drawn else 0
            return
        widest = item.column + item.width + MARGIN
        self.left = max(min(max(self.left, widest - self._width), item.column - MARGIN), 0)

    @property
    def position(self) -> int:
        """The row of what the cursor is on."""
        return self.item.row if self.item is not None else 0

    def holds(self, index: int, needle: str) -> bool:
        """Whether an item with such a name begins in this row."""
        return any(item.row == index and needle in item.name.lower() for item in self._picture.items)

    # -- rows -----------------------------------------------------------------------------------------------------

    def title(self) -> Row:
        """Which run, and how many messages are under way."""
        trace = self.trace
        if trace is None:
            return []
        waiting = sum(edge.waiting for name, edge in trace.traffic.edges.items() if not name.endswith("->Rookery"))
        running = sum(work.running for work in trace.traffic.nodes.values())
        row: Row = [(trace.trace_id[:8], "accent"), (f" {one_line(trace.flow or '')}", "strong")]
        if not trace.over:
            row += [(f" ● {running}", "busy"), (f" ▼ {count(waiting)}", "warn" if waiting else "dim")]
        return row

    def note(self) -> str:
        """What is under the cursor."""
        item, trace = self.item, self.trace
        if item is None or trace is None:
            return ""
        nodes = sum(item.kind == "node" for item in self._picture.items)
        kind = "" if item.kind == "end" else f"{item.kind} "
        return f"{kind}{one_line(item.name)} · {nodes} node{'s' if nodes != 1 else ''}"

    def copy_text(self) -> str:
        """The name under the cursor."""
        return self.item.name if self.item is not None else ""

    def row(self, index: int, width: int) -> Row:
        """A line of the picture, with the states in it."""
        picked = self.item
        line = self._picture.lines[index]
        written: list[Written] = [
            (item.column + _indent(item), _shown(item, line), "strong")
            for item in self._items_in.get(index, ())
            if index == _name_row(item)
        ]
        written += self._overlays.get(index, ())
        if picked is not None and not _rows_apart(picked, index):
            written += self._mark(picked, index)
        return paint(line, "dim" if self._picture.drawn else "", written, self.left, width)

    def _mark(self, item: Item, index: int) -> list[Written]:
        """The cursor: heavy lines around a node, a mark before a tool."""
        if item.kind != "node" or not self._picture.drawn:
            return [(max(item.column - 1, 0), "▸", "accent")]
        line = self._picture.lines[index]
        start, end = item.column, item.column + item.width - 1
        if index in (item.row, item.row + item.height - 1) and len(line) == cells(line):
            return [(start, line[start : end + 1].translate(_HEAVY), "accent")]
        return [(start, "┃", "accent"), (end, "┃", "accent")]


def idle_details(item: Item, flow: FlowInfo | None) -> tuple[Row, list[Node]]:
    """What there is to say of a node or a tool that has not worked yet."""
    nodes = [field("state", "has not worked in this run", "dim")]
    node = next((node for node in flow.nodes if node.name == item.name), None) if flow is not None else None
    if node is not None:
        nodes.append(field("takes", node.input_type or "anything"))
        nodes.append(field("gives", node.output_type or "anything"))
        if node.policy:
            nodes.append(Node("policy", node.policy))
    return [(f"{item.kind} {one_line(item.name)}", "accent")], nodes


def _topology(trace: TraceModel, flow: FlowInfo | None) -> tuple[list[str], list[Edge]]:
    """Names in order and edges: the flow's, and what else was seen."""
    edges: dict[Edge, None] = dict.fromkeys((source, target) for source, target in flow.edges) if flow else {}
    for name in trace.traffic.edges:
        source, _, target = name.partition("->")
        edges[source, target] = None
    known = dict.fromkeys(node.name for node in flow.nodes) if flow is not None else {}
    known.update(dict.fromkeys(trace.traffic.nodes))
    known.update(dict.fromkeys(trace.traffic.planners))
    named = dict.fromkeys(name for edge in edges for name in edge)
    first = [name for name in named if name == ENDS[0]]
    last = [name for name in named if name == ENDS[1]]
    between = [name for name in {**known, **named} if name not in ENDS]
    return [*first, *between, *last], list(edges)


def _arrived(trace: TraceModel) -> int:
    return sum(edge.sent for name, edge in trace.traffic.edges.items() if name.endswith("->Rookery"))


def _state(work: Work | None, stopped: bool, planner: Planner | None) -> tuple[str, str]:
    """What is written into a box, and its role."""
    parts: list[str] = []
    role = ""
    if work is not None:
        if work.ok:
            parts.append(f"✔{count(work.ok)}")
            role = "ok"
        if work.failed:
            parts.append(f"✖{count(work.failed)}")
            role = "error"
        if work.retries:
            parts.append(f"↻{count(work.retries)}")
        if work.running:
            parts.insert(0, f"●{count(work.running)}")
            role = "busy"
    if stopped:
        parts.insert(0, STOPPED)
        role = "warn"
    if planner is not None and planner.step is not None:
        doing = f" {planner.doing}" if work is not None and work.running else ""
        parts.append(f"step {planner.step}{doing}")
    return " ".join(parts), role


def _rows_apart(item: Item, row: int) -> int:
    return max(item.row - row, row - (item.row + item.height - 1), 0)


def _name_row(item: Item) -> int:
    return item.row + 1 if item.kind == "node" and item.height > 1 else item.row


def _indent(item: Item) -> int:
    return 2 if item.kind == "node" and item.height > 1 else 0


def _shown(item: Item, line: str) -> str:
    if item.kind == "end" or cells(line) != len(line):
        return ""
    start = item.column + _indent(item)
    return line[start : item.column + item.width - _indent(item)].rstrip()
