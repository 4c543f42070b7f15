"""The tabs of debugging: the run that has stopped, and where runs stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playground.dashboard.bars import Key
from playground.dashboard.debugging.model import BreakpointList, place_of
from playground.dashboard.text import Row, cells, clip, one_line, pad
from playground.dashboard.views.base import View
from playground.dashboard.views.detail import DetailView

if TYPE_CHECKING:
    from playground.breakpoints import Breakpoint

MIN_TARGET = 12
"""Cells that the name of a flow needs to say something."""
STEP_KEYS = [
    ("c", "continue"),
    ("s  o  O", "step into, over (a plan as a whole), out"),
    ("t", "run to what the cursor of the trace is on"),
    ("e", "edit; the next step takes along what was edited"),
    ("A", "replace the decision: tool, arguments, answer"),
    ("K", "skip it, and give its result"),
    ("M", "one message more: to the planner, or from the node"),
    ("u", "try again what failed, or what returned"),
    ("x", "abort the run"),
    (".", "go to the next run that has stopped"),
]
GENERAL = [
    ("b  B", "breakpoint where the cursor is;  with a condition"),
    ("S  H", "run, and stop at first;  stop the run that is shown"),
    ("c  s o O  t", "a stopped run: continue, into, over, out, to here"),
    ("e A K M u x  .", "edit, replace, skip, put in, try again, abort;  the next one"),
]


class StoppedView(DetailView):
    """The document of the stop that is looked at."""

    label = "Stopped"
    short = "Stop"
    empty = (
        "No run that is shown here has stopped.\n\n"
        "b on a flow, a node or a tool sets a breakpoint; S runs a flow and stops at its first checkpoint; "
        "H stops the run that is shown."
    )
    help = (
        """A run that has stopped: what is about to happen, what led to it, and what can be done.
Only the line of the run that stopped waits; its other branches go on, and so do its deadlines.""",
        STEP_KEYS,
    )


class BreakpointsView(View):
    """Where runs of this project stop."""

    label = "Breakpoints"
    short = "Brk"
    empty = (
        "No breakpoints.\n\n"
        "b sets one where the cursor is, or asks where; B sets one with a condition. They are kept for the project."
    )
    keys = (
        Key("space", "on/off", "fold"),
        Key("e", "edit", "do('debugging', 'edit')"),
        Key("a", "once", "do('debugging', 'once')"),
        Key("del", "remove", "do('debugging', 'remove')"),
    )
    help = (
        """Where runs of this project stop: ◉ on  ○ off.  ¹ stops once, and is then off.
A breakpoint may have a condition over what is about to happen, such as "b" in args.url.""",
        [
            ("space  ⏎", "on, off"),
            ("e", "edit its condition and its place"),
            ("a", "stop once, or always"),
            ("del", "remove it"),
            ("b  B", "another one: where the cursor of the trace is, or somewhere else"),
        ],
    )

    def __init__(self, points: BreakpointList) -> None:
        super().__init__()
        self.points = points
        self.wants: str | None = None
        """A breakpoint that is to be switched on or off."""
        self._seen = -1

    def __len__(self) -> int:
        return len(self.points.all)

    @property
    def breakpoint(self) -> Breakpoint | None:
        """The one under the cursor."""
        return self.points.all[self.cursor] if 0 <= self.cursor < len(self.points.all) else None

    def sync(self) -> None:
        """Take up what changed."""
        if self._seen != self.points.revision:
            self._seen = self.points.revision
            self.settle()
            self.touch()

    def title(self) -> Row:
        """Whether something is wrong with the file that keeps them."""
        return [("⚠", "error")] if self.points.problem else []

    def note(self) -> str:
        """How many are on, or what is wrong with their file, or with the one under the cursor."""
        if self.points.problem:
            return f"⚠ {one_line(self.points.problem)}"
        unfit = self.points.unfit.get(self.breakpoint.id) if self.breakpoint is not None else None
        if unfit is not None:
            return f"⚠ {one_line(unfit)}"
        enabled = sum(each.enabled for each in self.points.all)
        return f"{enabled} of {len(self)} on" if len(self) else ""

    def activate(self) -> bool:
        """Space and Enter switch it on and off."""
        if self.breakpoint is None:
            return False
        self.wants = self.breakpoint.id
        return True

    def row(self, index: int, width: int) -> Row:
        """On or off, where, its condition, its flow, its hits."""
        each = self.points.all[index]
        row: Row = [("◉ " if each.enabled else "○ ", "error" if each.enabled else "dim")]
        row.append((one_line(place_of(each).text()) + ("¹" if each.once else ""), "strong" if each.enabled else "dim"))
        hits = f" {each.hits} hit{'s' if each.hits != 1 else ''}" if each.hits else ""
        rest: Row = []
        if each.condition is not None:
            rest += [("  if ", "dim"), (one_line(each.condition), "")]
        if (unfit := self.points.unfit.get(each.id)) is not None:
            rest.append(("  ⚠", "warn"))
        room = width - sum(cells(piece) for piece, _ in row) - cells(hits)
        if unfit is not None and room - sum(cells(piece) for piece, _ in rest) > cells(unfit):
            # Where there is no room for it, the lower edge of the pane has it.
            rest.append((f" {one_line(unfit)}", "warn"))
        if each.target is not None and room - sum(cells(piece) for piece, _ in rest) >= MIN_TARGET:
            rest += [("  in ", "dim"), (one_line(each.target), "dim")]
        for piece, role in rest:
            shown = clip(piece, max(room, 0))
            row.append((shown, role if each.enabled else "dim"))
            room -= cells(shown)
        return [*row, (pad("", max(room, 0)), ""), (hits, "accent")]
