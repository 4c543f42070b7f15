"""What the dashboard knows of stopped runs and of breakpoints: no screen, no waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from playground.breakpoints import Breakpoint
    from playground.protocol import Breakpoints, Resumed, Stopped

WORDS = {
    "before_node": "before node",
    "after_node": "after node",
    "before_llm": "before the prompt to",
    "after_decision": "after the decision for",
    "before_tool": "before tool",
    "after_tool": "after tool",
    "before_join": "before the join",
    "before_finish": "before the answer of",
    "on_error": "at the error of",
}
"""What a checkpoint is, in front of its name."""
KINDS = {
    "after_decision": "each decision",
    "before_llm": "each prompt",
    "before_finish": "the final answer",
    "before_join": "each join",
    "after_tool": "each observation",
    "after_node": "each result of a node",
    "before_node": "each node",
    "before_tool": "each tool",
    "on_error": "each error",
}
"""What a breakpoint on a kind of checkpoint stops at."""


def where(stop: Stopped) -> str:
    """Where a run stands, in a few words."""
    return f"{WORDS.get(stop.kind, stop.kind)} {stop.name}".strip()


class Place(NamedTuple):
    """Where a breakpoint may be."""

    on: str
    """As `playground.breakpoints.Breakpoint` has it."""
    name: str | None = None
    kind: str | None = None

    def text(self) -> str:
        """For people: `tool fetch`, `each decision`, `anything`."""
        if self.on == "kind":
            about = KINDS.get(self.kind or "", self.kind or "")
            return f"{about} · {self.name}" if self.name else about
        if self.on == "any":
            return f"anything at {self.name}" if self.name else "anything"
        if self.on == "error":
            return f"error of {self.name}" if self.name else "each error"
        return f"{self.on} {self.name}" if self.name else f"each {self.on}"


def place_of(breakpoint: Breakpoint) -> Place:
    """Where a breakpoint is."""
    return Place(breakpoint.on, breakpoint.name, breakpoint.kind)


class Stops:
    """Runs that have stopped, in the order in which they did."""

    def __init__(self) -> None:
        self.revision = 0
        self._stops: dict[str, Stopped] = {}
        self._arrived: list[Stopped] = []

    def __len__(self) -> int:
        return len(self._stops)

    def take(self, frame: Stopped | Resumed) -> None:
        """A run stopped, went on, or is gone. One that is told again takes the place of what was told."""
        self.revision += 1
        if frame.type == "resumed":
            self._stops.pop(frame.stop, None)
            self._arrived = [stop for stop in self._arrived if stop.stop != frame.stop]
            return
        if frame.stop not in self._stops:
            self._arrived.append(frame)
        self._stops[frame.stop] = frame

    def arrived(self) -> list[Stopped]:
        """Those that stopped since this was last asked, and wait still."""
        taken, self._arrived = self._arrived, []
        return taken

    def get(self, name: str | None) -> Stopped | None:
        """One of them; None when it goes on."""
        return None if name is None else self._stops.get(name)

    def of(self, trace_id: str | None) -> list[Stopped]:
        """Those of one run: several of its branches may have stopped."""
        return [stop for stop in self._stops.values() if stop.trace_id == trace_id]

    def after(self, name: str | None) -> Stopped | None:
        """The next one, around the end; None when there is none."""
        names = list(self._stops)
        if not names:
            return None
        return self._stops[names[(names.index(name) + 1) % len(names) if name in self._stops else 0]]

    def places(self) -> dict[str, str]:
        """For each run that has stopped, where."""
        found: dict[str, str] = {}
        for stop in self._stops.values():
            known = found.get(stop.trace_id)
            found[stop.trace_id] = where(stop) if known is None else f"{known.partition(' and ')[0]} and elsewhere"
        return found


class BreakpointList:
    """The project's breakpoints."""

    def __init__(self) -> None:
        self.revision = 0
        self.all: list[Breakpoint] = []
        self.problem: str | None = None
        self.unfit: dict[str, str] = {}

    def take(self, frame: Breakpoints) -> None:
        """All of them, as a host tells them."""
        self.revision += 1
        self.all = list(frame.breakpoints)
        self.problem = frame.problem
        self.unfit = dict(frame.unfit)

    def get(self, id: str | None) -> Breakpoint | None:
        """One of them."""
        return next((each for each in self.all if each.id == id), None)

    def at(self, place: Place, target: str | None) -> list[Breakpoint]:
        """Those of a place that concern a flow."""
        return [each for each in self.all if place_of(each) == place and each.target in {None, target}]

    def new_id(self) -> str:
        """A short name that is free."""
        taken = {each.id for each in self.all}
        number = len(self.all) + 1
        while str(number) in taken:
            number += 1
        return str(number)
