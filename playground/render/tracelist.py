"""A list of runs, one line each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

from penguiflow.state.traces import TraceSummary
from playground.dashboard.text import GLYPHS, cells, clip, count, duration, one_line, pad, when
from playground.render.paint import Paint, plain
from playground.render.tree import origin_text

__all__ = ["short_ids", "trace_lines"]

SHORTEST_ID = 8
_HEAD = ("", "TRACE", "FLOW", "STARTED", "TOOK", "EVENTS", "")


def trace_lines(traces: Sequence[TraceSummary], *, paint: Paint = plain, width: int | None = None) -> list[str]:
    """A head and one line for each trace: status, id, flow, start, duration, events, then its error or input."""
    now = time.time()
    ids = short_ids([trace.trace_id for trace in traces])
    rows = []
    for trace, shown in zip(traces, ids, strict=True):
        took = trace.duration_s
        if took is None and trace.status == "running":
            took = max(now - trace.started, 0.0)
        rows.append(
            (
                f"{GLYPHS.get(trace.status, '?')} {trace.status}",
                one_line(shown),
                clip(one_line(trace.flow or "-"), 24),
                when(trace.started, now),
                duration(took),
                count(trace.events),
                _about(trace),
            )
        )
    widths = [max(cells(row[column]) for row in (_HEAD, *rows)) for column in range(len(_HEAD) - 1)]
    lines = [paint("dim", "  ".join(pad(text, size) for text, size in zip(_HEAD, widths, strict=False)).rstrip())]
    for trace, row in zip(traces, rows, strict=True):
        fixed = [pad(text, size) for text, size in zip(row, widths, strict=False)]
        rest = row[-1] if width is None else clip(row[-1], width - sum(widths) - 2 * len(widths))
        fixed[0] = paint(trace.status, fixed[0])
        fixed[4] = _right(row[4], widths[4])
        fixed[5] = _right(row[5], widths[5])
        lines.append("  ".join([*fixed, paint("error" if trace.error else "dim", rest)]).rstrip())
    return lines


def _about(trace: TraceSummary) -> str:
    """What went wrong, else where it comes from, and its input."""
    if trace.error:
        return one_line(trace.error)
    return "  ".join(text for text in (origin_text(trace), one_line(trace.input or "")) if text)


def _right(text: str, width: int) -> str:
    return " " * (width - cells(text)) + text


def short_ids(ids: Sequence[str]) -> list[str]:
    """The beginnings that tell these ids apart, none shorter than eight characters."""
    ordered = sorted(set(ids))
    needed = dict.fromkeys(ordered, SHORTEST_ID)
    for left, right in pairwise(ordered):
        common = _common_prefix(left, right) + 1
        needed[left] = max(needed[left], common)
        needed[right] = max(needed[right], common)
    return [trace_id[: needed[trace_id]] for trace_id in ids]


def _common_prefix(left: str, right: str) -> int:
    length = min(len(left), len(right))
    return next((index for index in range(length) if left[index] != right[index]), length)
