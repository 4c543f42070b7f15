"""A window of time on an axis of cells: ticks, zoom, and bars whose shape tells what happened."""

from __future__ import annotations

from collections.abc import Iterable

from playground.dashboard.text import NS, Row, cells, duration
from playground.dashboard.watching.timing import FAILED, LIVE, QUEUED, RUNNING, WAITING, Piece

MIN_WINDOW_NS = 1_000
ZOOM = 3
TICK_CELLS = 14
"""Ticks are about this far apart, or farther; nearer where there is little room."""
FILL = {QUEUED: "░", WAITING: "┄", RUNNING: "━", LIVE: "━", FAILED: "━"}
ROLE = {QUEUED: "dim", WAITING: "warn", RUNNING: "bar", LIVE: "bar-busy", FAILED: "bar-error"}
_ORDER = (QUEUED, WAITING, RUNNING, LIVE, FAILED)
"""Where two share a cell, the later one is seen."""


class Window:
    """Which part of a trace's time is in sight; without zoom all of it."""

    def __init__(self) -> None:
        self.start_ns = 0
        self.end_ns = 0
        self.zoomed = False

    def fit(self, total_ns: int, *, follow: bool = False) -> None:
        """The trace is this long now; while it is followed, a zoomed window stays at its end."""
        total_ns = max(total_ns, MIN_WINDOW_NS)
        if not self.zoomed:
            self.start_ns, self.end_ns = 0, total_ns
        elif follow:
            self.pan_to(total_ns - self.width_ns)

    @property
    def width_ns(self) -> int:
        """Nanoseconds in sight."""
        return max(self.end_ns - self.start_ns, MIN_WINDOW_NS)

    def all(self) -> None:
        """No zoom."""
        self.zoomed = False

    def show(self, start_ns: int, end_ns: int) -> None:
        """Zoom so that this is in sight, with a little around it."""
        margin = max((end_ns - start_ns) // 20, MIN_WINDOW_NS // 2)
        self.start_ns, self.end_ns = max(start_ns - margin, 0), end_ns + margin
        self.zoomed = True

    def zoom(self, around_ns: int, *, closer: bool, total_ns: int) -> None:
        """Closer, or farther until everything is in sight; `around_ns` stays where it is."""
        width = self.width_ns
        wanted = max(width // ZOOM, MIN_WINDOW_NS) if closer else width * ZOOM
        if wanted >= total_ns:
            self.zoomed = False
            self.fit(total_ns)
            return
        around_ns = min(max(around_ns, self.start_ns), self.end_ns)
        share = (around_ns - self.start_ns) / width
        self.zoomed = True
        self.end_ns = self.start_ns + wanted
        self.pan_to(min(around_ns - int(wanted * share), total_ns - wanted))

    def pan_to(self, start_ns: int) -> None:
        """Begin there; the width stays."""
        width = self.width_ns
        self.start_ns = max(start_ns, 0)
        self.end_ns = self.start_ns + width

    def cell(self, at_ns: int, width: int) -> float:
        """Where a moment lies on an axis of `width` cells."""
        return (at_ns - self.start_ns) / self.width_ns * width


def step_of(window: Window, width: int) -> int:
    """Nanoseconds between two ticks: 1, 2 or 5 times a power of ten."""
    wanted = window.width_ns * min(TICK_CELLS, max(width / 3, 8)) / max(width, 1)
    power = 1
    while power * 10 <= wanted:
        power *= 10
    return next((power * factor for factor in (1, 2, 5) if power * factor >= wanted), power * 10)


def ticks(window: Window, width: int) -> dict[int, int]:
    """Columns with a tick, and the moment that each stands for."""
    step = step_of(window, width)
    first = -(-window.start_ns // step) * step
    found: dict[int, int] = {}
    for at_ns in range(first, window.end_ns + 1, step):
        column = int(window.cell(at_ns, width))
        if column < width:
            found[column] = at_ns
    return found


def ruler(window: Window, width: int) -> Row:
    """The ticks' times over their columns."""
    row: Row = []
    used = 0
    for column, at_ns in ticks(window, width).items():
        label = tick_text(at_ns, step_of(window, width))
        if column < used or column + cells(label) > width:
            continue
        row += [(" " * (column - used), ""), (label, "dim")]
        used = column + cells(label)
    row.append((" " * (width - used), ""))
    return row


def tick_text(at_ns: int, step_ns: int) -> str:
    """A moment, as exact as neighboring ticks differ."""
    if at_ns == 0:
        return "0"
    if at_ns >= 100 * NS and step_ns >= NS:
        return duration(at_ns / NS)
    for unit, name in ((NS, "s"), (NS // 1000, "ms"), (NS // 1_000_000, "µs")):
        if step_ns >= unit or unit == 1000:
            return f"{at_ns / unit:,.0f} {name}"
        if step_ns * 10 >= unit:
            return f"{at_ns / unit:,.1f} {name}"
    return duration(at_ns / NS)


def draw(found: Iterable[Piece], window: Window, width: int) -> Row:
    """The pieces as one row of exactly `width` cells."""
    cells_of: list[tuple[str, str]] = [(" ", "")] * width
    for column in ticks(window, width):
        cells_of[column] = ("┊", "frame")
    shown = [piece for piece in found if piece.end_ns >= window.start_ns and piece.start_ns <= window.end_ns]
    known = list(found) if not shown else []
    for piece in sorted(shown, key=lambda piece: _ORDER.index(piece.state)):
        _put(cells_of, piece, window, width)
    if known and width:
        # All of it lies outside: say on which side.
        before = known[-1].end_ns < window.start_ns
        cells_of[0 if before else width - 1] = ("◂" if before else "▸", "dim")
    return _merge(cells_of)


def _put(cells_of: list[tuple[str, str]], piece: Piece, window: Window, width: int) -> None:
    halves = 2 * width
    first = min(max(int(window.cell(piece.start_ns, halves)), 0), halves - 1)
    last = min(max(round(window.cell(piece.end_ns, halves)), first + 1), halves)
    role = ROLE[piece.state]
    for column in range(first // 2, (last - 1) // 2 + 1):
        fill = FILL[piece.state]
        if fill == "━" and column * 2 < first:
            fill = "╺"
        elif fill == "━" and column * 2 + 1 >= last:
            fill = "╸"
        cells_of[column] = (fill, role)
    if piece.state == FAILED and piece.end_ns <= window.end_ns:
        cells_of[(last - 1) // 2] = ("✖", role)
    elif piece.state == LIVE and piece.end_ns <= window.end_ns:
        cells_of[(last - 1) // 2] = ("▶", role)


def _merge(cells_of: list[tuple[str, str]]) -> Row:
    row: Row = []
    for text, role in cells_of:
        if row and row[-1][1] == role:
            row[-1] = (row[-1][0] + text, role)
        else:
            row.append((text, role))
    return row
