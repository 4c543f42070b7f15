"""The status line: project, code, and how the host is doing."""

from __future__ import annotations

from playground.dashboard.model import Workspace
from playground.dashboard.text import Row, clip_row, count, one_line, row_cells, when
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

TROUBLES = frozenset({"stalled", "silent", "dead", "restarting", "offline"})
LOOKS_ON = "looks on"
PASSING = frozenset({"starting", "reloading"})
PASSING_S = 3.0
"""What takes longer than that says for how long it has."""
BRAND = " ◆ penguiflow "


def status_rows(
    project: str, workspace: Workspace, flows: FlowsView, width: int, *, looks_on: bool = False
) -> tuple[Row, Row]:
    """What stands left, which may be cut, and what stands right; `looks_on`: nothing can be run here."""
    host = workspace.host
    troubled = host is not None and host.state in TROUBLES and bool(host.text)
    right = _right(workspace, width, looks_on=looks_on, troubled=troubled)
    room = width - row_cells(right) - 1
    name: Row = [(BRAND, "heading"), (one_line(project), "strong")]
    if not troubled or host is None:
        return _fitting(name, _code(flows), room), right
    glyph, role = HOST_GLYPHS[host.state]
    since = "" if host.since is None else f"offline since {when(host.since)}: "
    trouble: Row = [("  ", ""), (f"{glyph} {since}{one_line(host.text)}", role)]
    offer: Row = [(" · ctrl+k kills it", "strong")] if host.killable else []
    if row_cells([*name, *trouble, *offer]) > room:
        # What can be done stays in sight, whatever else has to go.
        right = []
        name = [] if row_cells([*name, *trouble, *offer]) > width - 1 else name
        trouble = clip_row(trouble, max(width - 1 - row_cells(offer), 0))
    return [*name, *trouble, *offer], right


def _right(workspace: Workspace, width: int, *, looks_on: bool, troubled: bool) -> Row:
    host = workspace.host
    right: Row = []
    running = len(workspace.runs.running())
    if width >= 60:
        if workspace.dropped:
            right.append((f"{count(workspace.dropped)} dropped  ", "warn"))
        rate = workspace.events_per_second()
        if rate:
            right.append((f"{count(rate)} ev/s  ", "dim"))
    known = host is None or host.since is None
    if not known:
        right.append(("last known: ", "dim"))
    if len(workspace.stops):
        right.append((f"⏸ {len(workspace.stops)} stopped  ", "warn" if known else "dim"))
    right.append((f"{running} running  ", "busy" if running and known else "dim"))
    if troubled:
        return right
    state = host.state if host is not None else "starting"
    glyph, role = HOST_GLYPHS.get(state, ("?", "dim"))
    if looks_on and state == "ready":
        right.append((f"{LOOKS_ON}  ", "warn"))
    lasted = workspace.host_for_s()
    told = f"{state} for {lasted:.0f} s" if state in PASSING and lasted > PASSING_S else state
    if state == "reading" and host is not None and host.text:
        told = one_line(f"reading {host.text}")
    right.append((f"{glyph} {told} ", role))
    return right


def _fitting(name: Row, parts: list[Row], room: int) -> Row:
    """As many of the parts, from the first, as fit whole."""
    row = list(name)
    for number, part in enumerate(parts):
        if number and row_cells(row) + row_cells(part) > room:
            break
        row += part
    return row


def _code(flows: FlowsView) -> list[Row]:
    """The module under the cursor: where it is and how, since when, in which version."""
    module, flow = flows.module, flows.flow
    if module is None:
        return []
    glyph, role = STATE_GLYPHS[module.state]
    parts: list[Row] = [[("  ", ""), (one_line(module.path), ""), (f" {glyph} ", role)]]
    if module.error is not None:
        place = error_place(module)
        joint = " in" if place.startswith(" ") else ""
        parts[0].append((f"{module.error.kind} error".replace("_", " ") + joint + place, "error"))
        if module.state == "stale" and flow is not None and flow.version:
            parts.append([(f", v{flow.version[:5]} still runs", "warn")])
        return parts
    if module.state == "loading":
        parts.append([("loading ", "dim")])
    elif module.loaded_at is not None:
        parts.append([(f"loaded {when(module.loaded_at)} ", "dim")])
    if flow is not None and flow.version:
        parts.append([(f"v{flow.version[:5]}", "accent")])
    return parts
