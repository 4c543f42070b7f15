"""Where each pane goes, for any size of the terminal, and what of it is remembered."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

FLOWS, RUNS, TRACE, INSPECT, OUTPUT = "flows", "runs", "trace", "inspect", "output"
PANES = (FLOWS, RUNS, TRACE, INSPECT, OUTPUT)
COMPACT_WIDTH = 64
COMPACT_HEIGHT = 16
WIDE = 100
MAX_INPUTS = 10
MAX_INPUT_CHARS = 20_000


class Box(NamedTuple):
    """A pane's place: column, row, width, height."""

    x: int
    y: int
    width: int
    height: int


@dataclass
class UiState:
    """What the dashboard remembers for a project."""

    theme: str | None = None
    left: int = 0
    """Columns added to the lists' width."""
    lower: int = 0
    """Rows added to the height of the lower panes."""
    raw: bool = False
    toured: bool = False
    """The tour was offered, or taken."""
    inputs: dict[str, list[Any]] = field(default_factory=dict)
    """Inputs of earlier runs by target, newest first."""

    def remember_input(self, target: str, value: Any) -> None:
        """Keep an input for the form, unless it is huge."""
        if len(json.dumps(value)) > MAX_INPUT_CHARS:
            return
        kept = [old for old in self.inputs.get(target, []) if old != value]
        self.inputs[target] = [value, *kept][:MAX_INPUTS]


def place(width: int, height: int, *, flows: int, state: UiState, focus: str, zoomed: bool) -> dict[str, Box]:
    """Boxes of the panes that are shown in `width` x `height` cells; `flows` is how many rows the flows would fill."""
    if zoomed or width < COMPACT_WIDTH or height < COMPACT_HEIGHT:
        return {focus: Box(0, 0, width, height)}
    wide = width >= WIDE
    left = 24 if not wide else max(28, min(width // 5, 40))
    left = min(max(left + state.left, 16), width - 40)
    lower = round(height * (0.5 if height >= 30 else 0.45)) + state.lower
    lower = min(max(lower, 5), height - 8)
    upper = height - lower
    lists = height if wide else upper
    first = min(max(flows + 2, 4), max(lists // 2, 4))
    boxes = {
        FLOWS: Box(0, 0, left, first),
        RUNS: Box(0, first, left, lists - first),
        TRACE: Box(left, 0, width - left, upper),
    }
    start = left if wide else 0
    inspect = (width - start) // 2
    boxes[INSPECT] = Box(start, upper, inspect, lower)
    boxes[OUTPUT] = Box(start + inspect, upper, width - start - inspect, lower)
    return boxes


def load_state(path: Path) -> UiState:
    """Read what was remembered; what cannot be read is forgotten."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return UiState()
    state = UiState()
    if not isinstance(saved, dict):
        return state
    if isinstance(saved.get("theme"), str):
        state.theme = saved["theme"]
    for name in ("left", "lower"):
        if isinstance(saved.get(name), int):
            setattr(state, name, saved[name])
    state.raw = saved.get("raw") is True
    state.toured = saved.get("toured") is True
    inputs = saved.get("inputs")
    if isinstance(inputs, dict):
        state.inputs = {str(key): value[:MAX_INPUTS] for key, value in inputs.items() if isinstance(value, list)}
    return state


def save_state(path: Path, state: UiState) -> None:
    """Write it in one step, so that two dashboards never mix; a read-only project or a full disk is no error."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".ui-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(state), file, indent=1)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink()
