"""Where the messages of a trace are, and what each node and tool does: counted as events arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span

ENDS = ("OpenSea", "Rookery")
MAX_NAMES = 2000
"""Nodes, tools and edges that are counted; further names are left out."""
MAX_UP = 12
"""Spans between a tool and its planner."""


class Edge:
    """Messages from one node to another."""

    __slots__ = ("gone", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.gone = 0
        """Taken from the queue, or dropped."""

    @property
    def waiting(self) -> int:
        """Messages that lie in the queue."""
        return max(self.sent - self.gone, 0)


class Work:
    """What a node, a tool or a model has done so far."""

    __slots__ = ("error_id", "failed", "last_id", "ok", "open", "retries")

    def __init__(self) -> None:
        self.open: dict[str, None] = {}
        """Spans under way."""
        self.ok = 0
        self.failed = 0
        self.retries = 0
        self.last_id: str | None = None
        self.error_id: str | None = None
        """The last span that failed."""

    @property
    def running(self) -> int:
        """How many are under way."""
        return len(self.open)

    @property
    def span_id(self) -> str | None:
        """What is worth a look: what runs, else what failed, else what came last."""
        return next(reversed(self.open), None) or self.error_id or self.last_id


class Planner:
    """A planner: its tools, and the step that it is at."""

    def __init__(self) -> None:
        self.tools: dict[str, Work] = {}
        self.models = Work()
        self.step: int | None = None
        self.doing = ""
        """`llm`, `tool`, … of the call that began last."""


class Traffic:
    """All of it, for one trace."""

    def __init__(self) -> None:
        self.edges: dict[str, Edge] = {}
        """By `source->target`."""
        self.nodes: dict[str, Work] = {}
        self.planners: dict[str, Planner] = {}
        """By name of the node that they are in, or their own where there is none."""
        self.calls: list[Span] = []
        """Every call of a model, in order."""
        self._planner_of: dict[str, str] = {}
        """By span id of each planner's run, the name in `planners`."""

    def move(self, name: str, moved: int) -> None:
        """So many messages were put on an edge; less than none: taken from it."""
        edge = self.edges.get(name)
        if edge is None:
            if len(self.edges) >= MAX_NAMES:
                return
            edge = self.edges[name] = Edge()
        if moved > 0:
            edge.sent += moved
        else:
            edge.gone -= moved

    def began(self, span: Span, data: dict[str, Any], parent: Callable[[Span], Span | None]) -> None:
        """A span began."""
        if span.kind == "llm":
            self.calls.append(span)
        if span.kind == "node":
            self._open(self.nodes, span)
        elif span.kind == "planner":
            self._planner(span, data, parent)
        elif span.kind in {"step", "tool", "llm", "join", "branch"}:
            planner = self._around(span, parent)
            if planner is None:
                return
            if span.kind == "step":
                planner.step = span.step
            elif span.kind == "tool":
                self._open(planner.tools, span)
            elif span.kind == "llm":
                _open(planner.models, span)
            planner.doing = span.kind

    def ended(self, span: Span, parent: Callable[[Span], Span | None]) -> None:
        """A span ended."""
        if span.kind == "node":
            _close(self.nodes.get(span.name), span)
        elif span.kind in {"tool", "llm"}:
            planner = self._around(span, parent)
            if planner is not None:
                _close(planner.tools.get(span.name) if span.kind == "tool" else planner.models, span)

    def retried(self, span: Span | None, parent: Callable[[Span], Span | None]) -> None:
        """A node or a tool tries again."""
        if span is None:
            return
        work = self.nodes.get(span.name) if span.kind == "node" else None
        if span.kind == "tool" and (planner := self._around(span, parent)) is not None:
            work = planner.tools.get(span.name)
        if work is not None:
            work.retries += 1

    def interrupt(self) -> None:
        """Nothing is under way any more."""
        works = [
            *self.nodes.values(),
            *(work for p in self.planners.values() for work in (*p.tools.values(), p.models)),
        ]
        for work in works:
            work.failed += len(work.open)
            work.open = {}

    def waiting(self, node: str) -> int:
        """Messages that lie before a node."""
        end = f"->{node}"
        return sum(edge.waiting for name, edge in self.edges.items() if name.endswith(end))

    def sent(self, node: str) -> int:
        """Messages that a node has sent."""
        start = f"{node}->"
        return sum(edge.sent for name, edge in self.edges.items() if name.startswith(start))

    def _open(self, works: dict[str, Work], span: Span) -> None:
        work = works.get(span.name)
        if work is None:
            if len(works) >= MAX_NAMES:
                return
            work = works[span.name] = Work()
        _open(work, span)

    def _planner(self, span: Span, data: dict[str, Any], parent: Callable[[Span], Span | None]) -> None:
        around = parent(span)
        while around is not None and around.kind not in {"node", "trace"}:
            around = parent(around)
        name = around.name if around is not None and around.kind == "node" else span.name
        self._planner_of[span.span_id] = name
        planner = self.planners.setdefault(name, Planner())
        tools = data.get("tools")
        for tool in tools if isinstance(tools, list) else ():
            if isinstance(tool, str) and len(planner.tools) < MAX_NAMES:
                planner.tools.setdefault(tool, Work())

    def _around(self, span: Span, parent: Callable[[Span], Span | None]) -> Planner | None:
        walker: Span | None = span
        for _ in range(MAX_UP):
            walker = parent(walker) if walker is not None else None
            if walker is None:
                return None
            if walker.kind == "planner":
                return self.planners.get(self._planner_of.get(walker.span_id, ""))
        return None


def _open(work: Work, span: Span) -> None:
    work.open[span.span_id] = None
    work.last_id = span.span_id


def _close(work: Work | None, span: Span) -> None:
    if work is None or span.span_id not in work.open:
        return
    del work.open[span.span_id]
    if span.status == "ok":
        work.ok += 1
    elif span.status != "paused":
        work.failed += 1
        work.error_id = span.span_id
