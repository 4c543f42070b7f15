"""How two traces compare, as text: below each other, or side by side."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from penguiflow.recording.diff import Change, Difference, TraceDiff
from penguiflow.state.traces import TraceSummary
from playground.dashboard.text import GLYPHS, cells, clip, duration, many_lines, one_line, pad, wrap
from playground.render.paint import Paint, plain

__all__ = ["diff_lines", "side_by_side_lines"]

PIPE_WIDTH = 130
"""Columns of the side-by-side form where there is no terminal, as those of `diff`."""
_VALUE_LINES = 12
"""Of one value on a terminal; on a pipe nothing is cut."""
_TIMES_SHOWN = 8
_NAME_WIDTH = 32
_NUMBER_WIDTH = 12
_TITLES = {
    "input": "inputs",
    "prompt": "prompts and other requests",
    "decision": "decisions",
    "output": "outputs",
    "status": "statuses",
    "invocation": "work that only one of them has",
}


def diff_lines(
    diff: TraceDiff, a: TraceSummary, b: TraceSummary, *, paint: Paint = plain, width: int | None = None
) -> Iterator[str]:
    """The first divergence, then the others by what they are about, then counts, totals and times."""
    room = width or sys.maxsize
    most = _VALUE_LINES if width else sys.maxsize
    yield from _heading(diff, a, b, paint)
    for title, difference in _in_order(diff):
        if title:
            yield ""
            yield paint("bold", title)
        yield f"  {paint('busy', clip(one_line(_where(difference)), room - 2))}"
        for line in _difference(difference, most):
            role = "error" if line.startswith("- ") else "ok" if line.startswith("+ ") else "dim"
            yield f"    {paint(role, clip(line, room - 4))}"
    yield from _ending(diff, paint, width)


def side_by_side_lines(
    diff: TraceDiff, a: TraceSummary, b: TraceSummary, *, paint: Paint = plain, width: int | None = None
) -> Iterator[str]:
    """As `diff_lines`, with what the two traces have beside each other."""
    column = max(10, ((width or PIPE_WIDTH) - 3) // 2)
    most = _VALUE_LINES if width else sys.maxsize
    yield from _heading(diff, a, b, paint)
    for title, difference in _in_order(diff):
        if title:
            yield ""
            yield paint("bold", title)
        yield f"  {paint('busy', clip(one_line(_where(difference)), 2 * column))}"
        for pointer, ours, theirs in _rows(difference):
            if pointer:
                yield paint("dim", clip(one_line(pointer), 2 * column))
            mark = "<" if theirs is None else ">" if ours is None else "|"
            left, right = _column(ours, column, most), _column(theirs, column, most)
            for index in range(max(len(left), len(right))):
                one = left[index] if index < len(left) else ""
                other = right[index] if index < len(right) else ""
                yield f"{paint('error', pad(one, column))} {mark} {paint('ok', other)}".rstrip()
    yield from _ending(diff, paint, width)


def _heading(diff: TraceDiff, a: TraceSummary, b: TraceSummary, paint: Paint) -> Iterator[str]:
    for name, trace in (("A", a), ("B", b)):
        status = paint(trace.status, f"{GLYPHS.get(trace.status, '?')} {trace.status}")
        facts = [one_line(trace.trace_id), one_line(trace.flow or ""), duration(trace.duration_s)]
        facts += [f"version {trace.version[:12]}"] if trace.version else []
        yield "  ".join([paint("bold", name), status, *(fact for fact in facts if fact)])
    if diff.forked is not None:
        fork, other = ("A", "B") if diff.forked.fork == "a" else ("B", "A")
        yield paint("dim", f"{fork} is a fork of {other} after event {diff.forked.seq}: what came before is left out")


def _in_order(diff: TraceDiff) -> Iterator[tuple[str, Difference]]:
    """Each difference with the title that stands before it."""
    if diff.first is not None:
        yield "first divergence", diff.first
    told = ""
    for difference in diff.differences:
        if difference == diff.first:
            continue
        yield "" if difference.aspect == told else _TITLES[difference.aspect], difference
        told = difference.aspect


def _where(difference: Difference) -> str:
    if difference.b is None:
        return f"{difference.path}: only in A"
    if difference.a is None:
        return f"{difference.path}: only in B"
    return f"{difference.path}: {difference.aspect}"


def _rows(difference: Difference) -> Iterator[tuple[str, Any, Any]]:
    """Pointer and the values of both; None for nothing."""
    if difference.a is not None and difference.b is not None:
        for change in difference.changes:
            yield change.pointer, _told(change, "a"), _told(change, "b")
    else:
        yield (
            "",
            None if difference.a is None else _text(difference.a.value),
            None if difference.b is None else _text(difference.b.value),
        )


def _told(change: Change, side: str) -> str | None:
    if change.only is not None and change.only != side:
        return None
    return _text(change.a if side == "a" else change.b)


def _difference(difference: Difference, most: int) -> Iterator[str]:
    for pointer, ours, theirs in _rows(difference):
        if pointer:
            yield one_line(pointer)
        for sign, value in (("-", ours), ("+", theirs)):
            if value is not None:
                lines = value.split("\n")
                yield from (f"{sign} {line}" for line in lines[:most])
                if len(lines) > most:
                    yield f"{sign} … {len(lines) - most} more lines"


def _text(value: Any) -> str:
    """A value that is safe to show: texts as they are, anything else as JSON."""
    if isinstance(value, str):
        return many_lines(value) or '""'
    return one_line(json.dumps(value, ensure_ascii=False))


def _column(value: str | None, width: int, most: int) -> list[str]:
    if value is None:
        return []
    lines = [piece.rstrip() for line in value.split("\n") for piece in wrap(line, width)]
    return [*lines[:most], *(["…"] if len(lines) > most else [])]


def _ending(diff: TraceDiff, paint: Paint, width: int | None) -> Iterator[str]:
    yield ""
    if diff.equal:
        yield paint("ok", "no differences")
    elif diff.total > len(diff.differences):
        yield paint("dim", f"{diff.total:,} differences; the first {len(diff.differences)} are shown")
    else:
        yield f"{diff.total:,} difference{'' if diff.total == 1 else 's'}"
    if diff.counts:
        yield ""
        yield paint("bold", "counts")
        for counted in diff.counts:
            name = f"{counted.kind} {counted.name}".strip()
            yield _numbers(name, f"{counted.a:,}", f"{counted.b:,}", width)
    changed = [total for total in diff.totals if total.a != total.b]
    if changed:
        yield ""
        yield paint("bold", "totals")
        yield from (_numbers(each.name, f"{each.a:,.6g}", f"{each.b:,.6g}", width) for each in changed)
    yield ""
    yield paint("bold", "time")
    for time in diff.times[: 1 + _TIMES_SHOWN]:
        yield _numbers(time.name, duration(time.a), duration(time.b), width)


def _numbers(name: str, a: str, b: str, width: int | None) -> str:
    shown = one_line(name)
    left = sys.maxsize if width is None else width - 2 * _NUMBER_WIDTH - 4
    room = max(4, min(max(cells(shown), _NAME_WIDTH) if width is None else _NAME_WIDTH, left))
    return f"  {pad(shown, room)} {a:>{_NUMBER_WIDTH}} {b:>{_NUMBER_WIDTH}}"
