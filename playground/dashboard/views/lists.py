"""The lists on the left: flows with their state, runs with their fate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playground.dashboard.runs import RunLine, RunList
from playground.dashboard.text import (
    GLYPHS,
    ROLES,
    UNKNOWN,
    Row,
    cells,
    clip,
    clip_start,
    duration,
    now_s,
    one_line,
    pad,
    when,
    when_short,
)
from playground.dashboard.views.base import View

if TYPE_CHECKING:
    from playground.protocol import FlowInfo, ModuleInfo

NO_FLOWS = "No flows here. Put one in flows/, or name a file: pf tui FILE.py"
RECORDED = "A recorded run: no code is loaded."
TIGHT = 28
"""Cells below which times are written without their space: the name of the flow needs the room."""
STATE_GLYPHS = {"loading": ("◌", "dim"), "loaded": ("●", "ok"), "error": ("✖", "error"), "stale": ("▲", "warn")}


def error_place(module: ModuleInfo) -> str:
    """Where a module is broken: `:12` in its own file, ` helpers.py:12` in one that it imports."""
    error = module.error
    if error is None:
        return ""
    line = f":{error.line}" if error.line else ""
    own = {module.path, module.path.replace(".", "/") + ".py", module.path.replace(".", "/") + "/__init__.py"}
    return line if error.file is None or error.file in own else f" {one_line(error.file)}{line}"


class FlowsView(View):
    """One row for each flow; a module that offers none has a row with its error."""

    label = "Flows"
    empty = "Looking for flows…"

    def __init__(self) -> None:
        super().__init__()
        self.recorded = False
        """What is shown are files of traces: there is no code."""
        self.rows: list[tuple[ModuleInfo, FlowInfo | None]] = []
        self.running: dict[str, int] = {}

    def show(self, modules: list[ModuleInfo]) -> None:
        """Take the newest modules; the cursor stays on what it was on."""
        before = self._key()
        self.rows = []
        for module in modules:
            if module.flows:
                self.rows.extend((module, flow) for flow in module.flows)
            else:
                self.rows.append((module, None))
        if not self.rows:
            self.empty = RECORDED if self.recorded else NO_FLOWS
        for index, (module, flow) in enumerate(self.rows):
            if before in {(module.path, flow.target if flow else None), (module.path, None)}:
                self.cursor = index
                break
        self.settle()
        self.touch()

    def _key(self) -> tuple[str, str | None] | None:
        if self.module is None:
            return None
        return self.module.path, self.flow.target if self.flow else None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def module(self) -> ModuleInfo | None:
        """The module under the cursor."""
        return self.rows[self.cursor][0] if 0 <= self.cursor < len(self.rows) else None

    @property
    def flow(self) -> FlowInfo | None:
        """The flow under the cursor; None for a module that offers none."""
        return self.rows[self.cursor][1] if 0 <= self.cursor < len(self.rows) else None

    def pick(self, target: str) -> bool:
        """Put the cursor on a flow."""
        for index, (_, flow) in enumerate(self.rows):
            if flow is not None and flow.target == target:
                self.go(index)
                return True
        return False

    def note(self) -> str:
        """How many modules are broken."""
        broken = len({module.path for module, _ in self.rows if module.error is not None})
        return f"{broken} broken" if broken else ""

    def row(self, index: int, width: int) -> Row:
        """State, name, running count; or where the module is broken."""
        module, flow = self.rows[index]
        glyph, role = STATE_GLYPHS[module.state]
        name = one_line(flow.name if flow else module.path.removesuffix(".py").rpartition("/")[2])
        row: Row = [(f"{glyph} ", role)]
        if module.error is not None:
            error = module.error
            place = error_place(module)
            kept = min(cells(place), max(width // 2, 4))
            row.append((clip(name, max(width - 2 - kept, 4)), "error" if flow is None else ""))
            if place.startswith(" "):
                row.append((" ", ""))
            row.append((clip_start(place.strip(), width - sum(cells(piece) for piece, _ in row)), "error"))
            rest = width - sum(cells(piece) for piece, _ in row) - 1
            if rest > 4:
                row += [(" ", ""), (clip(one_line(error.message), rest), "dim")]
            return row
        running = self.running.get(flow.target, 0) if flow else 0
        tail = f" {running}●" if running else ""
        room = width - 2 - len(tail)
        kind = f"  {flow.kind}" if flow is not None and flow.kind != "flow" else ""
        if kind and room >= cells(name) + cells(kind):
            room -= cells(kind)
        else:
            kind = ""
        if flow is not None and flow.title and room > len(name) + 8:
            title = clip(one_line(flow.title), room - len(name) - 2)
            row += [(name, "strong"), ("  ", ""), (pad(title, room - cells(name) - 2), "dim")]
        else:
            row.append((pad(name, room), "strong"))
        row += [(kind, "accent"), (tail, "busy")]
        return row


class RunsView(View):
    """Runs, newest first; one being followed keeps the cursor."""

    label = "Runs"
    empty = "No runs yet."

    def __init__(self, runs: RunList) -> None:
        super().__init__()
        self.runs = runs
        self.filter = ""
        self.rows: list[RunLine] = []
        self._seen = -1
        self.follow_newest = True
        """The newest run is shown as it starts, until the user moves."""
        self.by_session = True
        """Runs of a session stand together."""
        self.marked: str | None = None
        """The run that another one is to be compared with."""

    def sync(self) -> None:
        """Take up what changed; the cursor stays on its run."""
        if self._seen == self.runs.revision:
            return
        picked = self.line
        self._seen = self.runs.revision
        self.rows = self.runs.matching(self.filter, by_session=self.by_session)
        if self.follow_newest or picked is None:
            self.cursor = 0
        else:
            self.cursor = next((i for i, line in enumerate(self.rows) if line.trace_id == picked.trace_id), self.cursor)
        self.settle()
        self.touch()

    def set_filter(self, text: str) -> None:
        """Show only runs that match all words."""
        self.filter = text.strip()
        self._seen = -1
        self.sync()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def line(self) -> RunLine | None:
        """The run under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def pick(self, trace_id: str) -> bool:
        """Put the cursor on a run."""
        for index, line in enumerate(self.rows):
            if line.trace_id == trace_id:
                self.go(index)
                return True
        return False

    def go(self, index: int) -> None:
        """Moving by hand ends following, except back onto the newest run."""
        super().go(index)
        self.follow_newest = self.cursor == 0

    def scroll(self, delta: int) -> None:
        """Scrolling moves no selection here: the cursor may leave the sight."""
        count = len(self)
        self.top = min(max(self.top + delta, 0), max(count - self.height, 0))
        self.touch()

    def copy_text(self) -> str:
        """The full id of the run."""
        return self.line.trace_id if self.line else ""

    def title(self) -> Row:
        """The filter, and the session of the run under the cursor."""
        row: Row = [(f"/{one_line(self.filter)}", "accent")] if self.filter else []
        if self.by_session and self.line is not None and self.line.session:
            row += [(" " if row else "", ""), (one_line(self.line.session), "dim")]
        return row

    def note(self) -> str:
        """How many, and whether the newest is followed."""
        count = f"{len(self.rows)} of {len(self.runs)}" if self.filter else str(len(self.rows)) if self.rows else ""
        if self.runs.away_since is not None and count:
            return f"{count} · as of {when(self.runs.away_since)}"
        return f"{count} · following" if self.follow_newest and count else count

    def _bracket(self, index: int) -> str:
        """What ties the runs of a session together."""
        session = self.rows[index].session
        if session is None:
            return ""
        above = index > 0 and self.rows[index - 1].session == session
        below = index + 1 < len(self.rows) and self.rows[index + 1].session == session
        return " │" if above and below else " ╰" if above else " ╭" if below else " ╶"

    def row(self, index: int, width: int) -> Row:
        """Status, id, time taken, flow, when: what fits."""
        line = self.rows[index]
        glyph, role = GLYPHS.get(line.status, "?"), ROLES.get(line.status, "")
        seconds = line.duration_s
        away = self.runs.away_since if line.status == "running" else None
        if away is not None:
            glyph, role = UNKNOWN, "dim"
        if seconds is None and line.status == "running":
            seconds = max((now_s() if away is None else away) - line.started, 0.0)
        took = duration(seconds)
        took = f" {took:>7}" if width >= TIGHT else f" {took.replace(' ', ''):>5}"
        row: Row = [(f"{glyph} ", role), (line.trace_id[: 8 if width >= 44 else 6], "accent"), (took, "")]
        used = sum(cells(piece) for piece, _ in row)
        flow = one_line(line.flow or line.target or "")
        stamp = when(line.started)
        room = width - used - 1
        if line.stopped and line.status == "running":
            # Where it stands says more than how long.
            role = "warn" if away is None else "dim"
            row = [("⏸ ", role), row[1], (" ", "")]
            return [*row, (pad(one_line(line.stopped), width - sum(cells(piece) for piece, _ in row)), role)]
        if line.elsewhere and line.stopped_there and line.status == "running":
            # Somebody else has stopped it, and can let it go on.
            room = width - 3 - cells(row[1][0])
            there = one_line(f"elsewhere · {line.stopped_there}")
            return [
                ("⏸ ", "dim"),
                row[1],
                (" ", ""),
                (pad(there if cells(there) <= room else "elsewhere", room), "dim"),
            ]
        if line.elsewhere and line.status == "running" and not line.waits_for:
            row.append((" elsewhere", "dim"))
            room -= len(" elsewhere")
        if line.waits_for and line.status == "running":
            node = one_line(line.waits_for)
            text = f"waiting for {node}"
            if cells(text) > room:
                # What holds it up says more than how long.
                del row[2:]
                room = width - sum(cells(piece) for piece, _ in row) - 1
                text = text if cells(text) <= room else f"waits for {node}"
            return [*row, (" ", ""), (pad(text, room), "warn")]
        if self.by_session and (bracket := self._bracket(index)):
            row.append((bracket, "dim"))
            room -= cells(bracket)
        if line.trace_id == self.marked:
            row.append((" ◧", "accent"))
            room -= 2
        if line.origin is not None and room > 6:
            row += [(" ", ""), (line.origin.short, "accent")]
            room -= cells(line.origin.short) + 1
        if room <= len(stamp) + 9:
            stamp = when_short(line.started)
        if room > len(stamp) + max(min(cells(flow), 12), 7):
            row += [(" ", ""), (pad(flow, room - len(stamp) - 1), "strong"), (" " + stamp, "dim")]
        else:
            row += [(" ", ""), (clip(flow, room), "strong")]
        return row
