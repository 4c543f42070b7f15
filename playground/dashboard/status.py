"""The status line: project, code, and how the host is doing."""

from __future__ import annotations

from playground.dashboard.model import Workspace
from playground.dashboard.text import Row, count, one_line, when
from playground.dashboard.views.lists import STATE_GLYPHS, FlowsView, error_place

HOST_GLYPHS = {
    "starting": ("◌", "dim"),
    "reading": ("◌", "busy"),
    "recorded": ("●", "accent"),
    "ready": ("●", "ok"),
    "reloading": ("◌", "busy"),
    "stalled": ("◷", "warn"),
    "silent": ("◷", "error"),
    "dead": ("✖", "error"),
    "restarting": ("↯", "warn"),
    "offline": ("○", "dim"),
}


def status_rows(project: str, workspace: Workspace, flows: FlowsView, width: int) -> tuple[Row, Row]:
    """What stands left, which may be cut, and what stands right."""
    left: Row = [(" ◆ penguiflow ", "heading"), (one_line(project), "strong")]
    host = workspace.host
    troubled = host is not None and host.state in {"stalled", "silent", "dead", "restarting", "offline"} and host.text
    if troubled and host is not None:
        glyph, role = HOST_GLYPHS[host.state]
        left += [("  ", ""), (f"{glyph} {one_line(host.text)}", role)]
        if host.killable:
            left.append((" · ctrl+k kills it", "strong"))
    else:
        left += _code(flows)
    right: Row = []
    running = len(workspace.runs.running())
    if width >= 60:
        if workspace.dropped:
            right.append((f"{count(workspace.dropped)} dropped  ", "warn"))
        rate = workspace.events_per_second()
        if rate:
            right.append((f"{count(rate)} ev/s  ", "dim"))
    if len(workspace.stops):
        right.append((f"⏸ {len(workspace.stops)} stopped  ", "warn"))
    right.append((f"{running} running  ", "busy" if running else "dim"))
    if not troubled:
        state = host.state if host is not None else "starting"
        glyph, role = HOST_GLYPHS.get(state, ("?", "dim"))
        right.append((f"{glyph} {state} ", role))
    return left, right


def _code(flows: FlowsView) -> Row:
    module, flow = flows.module, flows.flow
    if module is None:
        return []
    glyph, role = STATE_GLYPHS[module.state]
    row: Row = [("  ", ""), (one_line(module.path), ""), (f" {glyph} ", role)]
    if module.error is not None:
        place = error_place(module)
        joint = " in" if place.startswith(" ") else ""
        row.append((f"{module.error.kind} error".replace("_", " ") + joint + place, "error"))
        if module.state == "stale" and flow is not None and flow.version:
            row.append((f", v{flow.version[:5]} still runs", "warn"))
        return row
    if module.state == "loading":
        row.append(("loading", "dim"))
    elif module.loaded_at is not None:
        row.append((f"loaded {when(module.loaded_at)}", "dim"))
    if flow is not None and flow.version:
        row.append((f" v{flow.version[:5]}", "accent"))
    return row
