"""Two requests side by side: what the recording has, and what the code asks now."""

from __future__ import annotations

import json
from difflib import unified_diff
from typing import Any

from penguiflow.traces import TraceCancelled

__all__ = ["ReplayDiverged", "difference", "shown_lines"]

MAX_LINES = 400
"""Lines of one side that are compared, from shortly before the first difference on."""
MAX_LINE_CHARS = 400
_CONTEXT = 3


class ReplayDiverged(TraceCancelled):
    """The code no longer asks the world what it asked when it was recorded. The trace is stopped at that call.

    It is a kind of `TraceCancelled`: nothing tries the call again, and code that catches it gets no further.
    """

    def __init__(
        self, path: str, recorded: Any, got: Any, *, trace_id: str | None = None, why: str = "", seq: int | None = None
    ) -> None:
        super().__init__(trace_id)
        self.path = path
        """Where the call stands: `summarize[0]/attempt[0]/fetch[1]`."""
        self.recorded = recorded
        """The request in the recording, masked; None when it has no such call."""
        self.got = got
        """The request as it is now, masked; None when the call was not made."""
        self.seq = seq
        """The event of the recording that has the call."""
        self.why = why
        self.diff = difference(recorded, got) if recorded is not None and got is not None else ""
        at = "" if seq is None else f" (event {seq} of the recording)"
        self.headline = f"the replay diverged at {path}{at}: {why or 'the request is another one'}"

    def __str__(self) -> str:
        return f"{self.headline}\n{self.diff}" if self.diff else self.headline

    def to_payload(self) -> dict[str, Any]:
        """As JSON: `path, seq, why, recorded, got, diff`."""
        return {
            "path": self.path,
            "seq": self.seq,
            "why": self.why or "the request is another one",
            "recorded": self.recorded,
            "got": self.got,
            "diff": self.diff,
        }


def difference(recorded: Any, got: Any) -> str:
    """A unified diff of two values, for people; empty when they look the same."""
    before, after = shown_lines(recorded), shown_lines(got)
    same = 0
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        same += 1
    skipped = max(0, same - _CONTEXT)
    before, after = before[skipped:], after[skipped:]
    cut = max(len(before), len(after)) > MAX_LINES
    lines = unified_diff(before[:MAX_LINES], after[:MAX_LINES], "recorded", "now", lineterm="", n=_CONTEXT)
    text = "\n".join(_short(line) for line in lines)
    return f"{text}\n… and more" if cut and text else text


def shown_lines(value: Any) -> list[str]:
    """A value as lines: JSON, with texts of several lines spread out."""
    lines: list[str] = []
    for line in json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        parts = line.split("\\n")
        lines.append(parts[0])
        lines.extend(f"{indent}  {part}" for part in parts[1:])
    return lines


def _short(line: str) -> str:
    return line if len(line) <= MAX_LINE_CHARS else line[:MAX_LINE_CHARS] + "…"
