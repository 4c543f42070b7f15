"""Statistics of flows as rows: percentiles, error rate, tokens and cost over runs, drawn as plots; then every part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from playground.dashboard.bars import Key
from playground.dashboard.text import GLYPHS, ROLES, Row, cells, clip, count, duration, one_line, pad, when
from playground.dashboard.views.base import View

if TYPE_CHECKING:
    from penguiflow.state.statistics import FlowStatistics, PartStatistics, RunPoint

PLOT_ROWS = 8
LABEL_CELLS = 9
PERIODS: tuple[tuple[str, float | None], ...] = (
    ("all runs", None),
    ("last 7 days", 7 * 86400.0),
    ("last 24 hours", 86400.0),
    ("last hour", 3600.0),
)
SORTS = ("time together", "p99", "errors", "tokens", "name")
_FAILED = frozenset({"error", "timeout", "interrupted"})


class NumbersView(View):
    """One flow at a time."""

    label = "Statistics"
    has_cursor = False
    keys = (
        Key("← →", "flow", "side(1)"),
        Key("t", "period", "period"),
        Key("s", "sort", "sort"),
        Key("r", "again", "refresh"),
        Key("esc", "back", "back"),
        Key("?", "help", "help"),
    )
    help = (
        """Numbers over the runs of a flow that the store has. A dot is a run, ✖ one that failed.
Percentiles are of runs that are over; those of nodes, models and tools are right to within 2 %.
Costs are US dollars, as far as models tell them.""",
        [
            ("← →  h l", "another flow"),
            ("t", "period: all, 7 days, 24 hours, an hour"),
            ("s", "sort the parts: time together, p99, errors, tokens, name"),
            ("r", "count again"),
            ("y", "copy as JSON"),
            ("esc", "back"),
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self.flows: list[FlowStatistics] = []
        self.number = 0
        self.period = 0
        self.sort = 0
        self.empty = "counting …"
        self._rows: list[Row] = []
        self._width = 80

    # -- what is shown --------------------------------------------------------------------------------------------

    def show(self, flows: list[FlowStatistics], wanted: str | None) -> None:
        """New numbers; `wanted` is the flow to show, if it is there."""
        self.flows = flows
        names = [flow.flow for flow in flows]
        self.number = names.index(wanted) if wanted in names else 0
        self.empty = "No runs in this period: t takes another period."
        self._lay_out()

    def tell(self, text: str) -> None:
        """Say why there is nothing, or how far it is."""
        self.empty = text
        if not self.flows:
            self._rows = []
        self.touch()

    @property
    def flow(self) -> FlowStatistics | None:
        """The flow in front."""
        return self.flows[self.number % len(self.flows)] if self.flows else None

    def side(self, direction: int) -> None:
        """Another flow."""
        if self.flows:
            self.number = (self.number + direction) % len(self.flows)
            self.top = 0
            self._lay_out()

    def next_sort(self) -> None:
        """Sort the parts by something else."""
        self.sort = (self.sort + 1) % len(SORTS)
        self._lay_out()

    def next_period(self) -> None:
        """Look at another period; the numbers have to be asked for again."""
        self.period = (self.period + 1) % len(PERIODS)
        self.flows, self._rows = [], []
        self.tell("counting …")

    def copy_text(self) -> str:
        """All that the store told of the flow."""
        return self.flow.model_dump_json(indent=2) if self.flow is not None else ""

    # -- rows -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int, width: int) -> Row:
        """A row that was laid out."""
        return self._rows[index]

    def resize(self, width: int, height: int) -> None:
        """Plots fill the width."""
        if width != self._width:
            self._width = width
            self._lay_out()
        super().resize(width, height)

    def title(self) -> Row:
        """Which flow, and of which period."""
        flow = self.flow
        if flow is None:
            return [(PERIODS[self.period][0], "dim")]
        place = f" {self.number % len(self.flows) + 1}/{len(self.flows)}" if len(self.flows) > 1 else ""
        return [(one_line(flow.flow), "accent"), (place, "dim"), (f" · {PERIODS[self.period][0]}", "")]

    def note(self) -> str:
        """How the parts are sorted."""
        return f"parts by {SORTS[self.sort]}" if self.flow is not None else ""

    def _lay_out(self) -> None:
        flow = self.flow
        self._rows = []
        if flow is not None:
            self._rows = [*_summary(flow), [], *_plots(flow.points, self._width), [], *self._parts(flow)]
        self.settle()
        self.touch()

    def _parts(self, flow: FlowStatistics) -> list[Row]:
        if not flow.parts:
            return [[("no parts were counted", "dim")]]
        sorted_parts = sorted(flow.parts, key=_ORDERS[self.sort])
        longest = max(part.times_ms.p99 for part in flow.parts)
        return [*_table_head(self._width), *(_part(part, longest, self._width) for part in sorted_parts)]


_ORDERS = (
    lambda part: -part.times_ms.mean * part.count,
    lambda part: -part.times_ms.p99,
    lambda part: (-part.error_rate, -part.failed),
    lambda part: -part.tokens,
    lambda part: (part.kind, part.name),
)


def _ms(value: float) -> str:
    return duration(value / 1000)


def _summary(flow: FlowStatistics) -> list[Row]:
    runs: Row = [(f"{flow.runs:,} runs", "strong"), (f"  {when(flow.first)} to {when(flow.last)}", "dim")]
    states: Row = []
    for status, number in sorted(flow.by_status.items(), key=lambda item: -item[1]):
        states += [(f"{GLYPHS.get(status, '?')} {number:,} {status}  ", ROLES.get(status, ""))]
    states.append((f"{100 * flow.error_rate:.1f} % failed", "error" if flow.failed else "dim"))
    rows = [runs, states]
    times = flow.times_ms
    if times is not None:
        said: Row = [("latency  ", "dim")]
        for name in ("p50", "p90", "p99", "max"):
            said += [(f"{name} ", "dim"), (f"{_ms(getattr(times, name))}  ", "strong")]
        rows.append(said)
    spent: Row = [("spent    ", "dim"), (f"{flow.llm_calls:,} calls of models  ", "")]
    per_run = flow.cost / flow.runs if flow.runs else 0.0
    spent += [
        (f"{count(flow.tokens)} tokens  ", ""),
        (f"${flow.cost:.4f}", "strong"),
        (f"  ${per_run:.5f} a run", "dim"),
    ]
    rows.append(spent)
    return rows


def _plots(points: Sequence[RunPoint], width: int) -> list[Row]:
    if not points:
        return []
    from playground.render.plots import axis_top, bars, blocks, dots

    room = max(width - LABEL_CELLS - 2, 10)
    took = [point.duration_s if point.status != "running" else None for point in points]
    known = [value for value in took if value is not None]
    top = axis_top(max(known, default=0.0))
    rows: list[Row] = []
    failed = _failures(points, took, top, room)
    draw = bars if len(points) <= room else dots
    for number, line in enumerate(draw(took, top=top, width=room, height=PLOT_ROWS)):
        label = {0: duration(top), PLOT_ROWS // 2: duration(top / 2), PLOT_ROWS - 1: "0"}.get(number, "")
        marks = failed.get(number, {})
        row: Row = [(f"{label:>{LABEL_CELLS}}", "dim"), (" ┤" if label else " │", "frame")]
        row += _with_marks(line, marks)
        rows.append(row)
    rows.append([(" " * LABEL_CELLS + " └" + "─" * room, "frame")])
    first, last = when(points[0].started), when(points[-1].started)
    gap = max(room - cells(first) - cells(last), 1)
    rows.append([(" " * (LABEL_CELLS + 2) + first + " " * gap + last, "dim")])
    for name, values, role, told in (
        ("errors", [float(point.status in _FAILED) for point in points], "error", ""),
        ("tok", [float(point.tokens) for point in points], "bar", f"≤{count(max(p.tokens for p in points))}"),
        ("$", [point.cost for point in points], "bar", f"≤{max(p.cost for p in points):.4f}"),
    ):
        if any(values):
            line = blocks(values, room, top=1.0 if name == "errors" else None)
            label = clip(f"{name} {told}".strip(), LABEL_CELLS)
            rows.append([(" " * (LABEL_CELLS - cells(label)) + label, "dim"), ("  ", ""), (line, role)])
    return rows


def _failures(
    points: Sequence[RunPoint], took: Sequence[float | None], top: float, room: int
) -> dict[int, dict[int, str]]:
    """Cells with a failed run, by row."""
    from playground.render.plots import columns

    marks: dict[int, dict[int, str]] = {}
    last = max(len(points) - 1, 1)
    places = columns(len(points), room)
    for index, (point, value) in enumerate(zip(points, took, strict=True)):
        if point.status in _FAILED:
            share = min(max((value or 0.0) / top, 0.0), 1.0)
            row = min(int((1 - share) * PLOT_ROWS), PLOT_ROWS - 1)
            first, size = places[index] if places else (round(index / last * (room - 1)), 1)
            marks.setdefault(row, {})[first + size // 2] = GLYPHS["error"]
    return marks


def _with_marks(line: str, marks: dict[int, str]) -> Row:
    row: Row = []
    start = 0
    for column in sorted(marks):
        row += [(line[start:column], "bar"), (marks[column], "error")]
        start = column + 1
    row.append((line[start:], "bar"))
    return row


_COLUMNS = (("calls", 7), ("failed", 7), ("retries", 8), ("p50", 9), ("p90", 9), ("p99", 9), ("tokens", 8), ("cost", 9))
NAME_CELLS = 30


def _columns(width: int) -> tuple[int, list[tuple[str, int]]]:
    """Cells of the name, and the columns that fit beside it."""
    order = ["calls", "p50", "p99", "failed", "p90", "tokens", "cost", "retries"]
    name = max(min(NAME_CELLS, width // 3), 12)
    room = width - name
    kept: set[str] = set()
    for column in order:
        size = dict(_COLUMNS)[column]
        if size <= room:
            kept.add(column)
            room -= size
    return name, [(column, size) for column, size in _COLUMNS if column in kept]


def _table_head(width: int) -> list[Row]:
    name, columns = _columns(width)
    return [[(pad("part", name), "heading"), *((f"{column:>{size}}", "heading") for column, size in columns)]]


def _part(part: PartStatistics, longest: float, width: int) -> Row:
    name, columns = _columns(width)
    values = {
        "calls": count(part.count),
        "failed": f"{100 * part.error_rate:.0f} %" if part.failed else "·",
        "retries": count(part.retries) if part.retries else "·",
        "p50": _ms(part.times_ms.p50),
        "p90": _ms(part.times_ms.p90),
        "p99": _ms(part.times_ms.p99),
        "tokens": count(part.tokens) if part.tokens else "·",
        "cost": f"${part.cost:.4f}" if part.cost else "·",
    }
    shown = clip(f"{part.kind} {one_line(part.name)}", name - 1)
    row: Row = [(pad(shown, name), "")]
    for column, size in columns:
        role = "error" if column == "failed" and part.failed else "warn" if column == "retries" and part.retries else ""
        row.append((f"{values[column]:>{size}}", role if values[column] != "·" else "dim"))
    room = width - name - sum(size for _, size in columns) - 2
    if room >= 8 and longest > 0:
        full = max(round(part.times_ms.p99 / longest * room), 1)
        half = max(round(part.times_ms.p50 / longest * room), 0)
        row += [("  ", ""), ("━" * min(half, full), "bar"), ("─" * max(full - half, 0), "dim")]
    return row
