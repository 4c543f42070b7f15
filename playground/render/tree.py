"""The spans of a trace as a tree: what ran within what, how long, how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from penguiflow.recording.spans import Crowd, Span
from penguiflow.state.traces import TraceSummary
from playground.dashboard.text import GLYPHS, bar, cells, clip, duration, one_line, pad, when
from playground.render.failure import describe_error
from playground.render.paint import Paint, plain

__all__ = ["heading_lines", "origin_text", "tree_lines"]

CROWD = 12
"""More siblings of one name than this are summed up; those that failed are shown all the same."""
_SHOWN = 3
_FAILED_SHOWN = 20
_WIDEST_NAME = 72
_BARS_FROM = 70
"""Columns that a terminal needs before bars are drawn."""
_TIME_WIDTH = 8
_SHORT_ID = 12


class _Row(NamedTuple):
    prefix: str
    text: str
    span: Span | None
    below: str
    """What stands in the prefix of a second line."""


def heading_lines(trace: TraceSummary, *, paint: Paint = plain, width: int | None = None) -> list[str]:
    """What a trace is: its flow, status, id, code, input and output."""
    glyph = GLYPHS.get(trace.status, "?")
    title = f"{paint(trace.status, f'{glyph} {trace.status}')}  {paint('bold', one_line(trace.flow or 'trace'))}"
    facts = [duration(trace.duration_s), one_line(trace.trace_id)]
    lines = ["  ".join([title, *(fact for fact in facts if fact)])]
    source = [trace.target, f"version {trace.version[:12]}" if trace.version else None, when(trace.started)]
    source += [f"{trace.events} events", f"session {trace.session}" if trace.session else None]
    source += [f"epoch {trace.epoch}" if trace.epoch else None, origin_text(trace)]
    lines.append(paint("dim", " · ".join(one_line(fact) for fact in source if fact)))
    for label, value in (("input", trace.input), ("output", trace.output)):
        if value:
            text = one_line(value)
            lines.append(f"{paint('dim', f'{label:<6}')}  {clip(text, width - 8) if width else text}")
    return lines


def origin_text(trace: TraceSummary) -> str | None:
    """Which trace it began as, and how; None for one of its own."""
    origin = trace.origin
    if origin is None:
        return None
    name = one_line(str(origin.get("trace_id", "?")))[:_SHORT_ID]
    if origin.get("mode") == "replay":
        return f"replay of {name}"
    if origin.get("mode") == "background":
        return f"in the background of {name}"
    return f"fork of {name} after event {origin['seq']}" if "seq" in origin else f"from {name}"


def tree_lines(
    roots: Sequence[Span],
    *,
    paint: Paint = plain,
    width: int | None = None,
    full: bool = False,
    parts: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """One line for each span, and one below it for what went wrong. Bars where `width` leaves room for them.

    `parts` is what else there is to say of a node, by span.
    """
    rows = list(_rows(roots, parts or {}, full=full))
    total = max((root.end_ns or _latest(root) for root in roots), default=0)
    widest = max((cells(row.prefix + row.text) + 2 for row in rows if row.span is not None), default=0)
    name_width = min(widest, _WIDEST_NAME if width is None else max(min(_WIDEST_NAME, width // 2), 16))
    bar_width = width - name_width - _TIME_WIDTH - 4 if width is not None and width >= _BARS_FROM else 0
    for row in rows:
        yield _line(row, name_width, bar_width, total, paint, width)
        problem = _problem(row.span)
        if problem:
            text = f"{row.below}{problem}"
            cut = clip(text, width) if width is not None else text
            yield paint("dim", cut[: len(row.below)]) + paint("error", cut[len(row.below) :])


def _line(row: _Row, name_width: int, bar_width: int, total: int, paint: Paint, width: int | None) -> str:
    span = row.span
    if span is None:
        text = row.prefix + row.text
        return paint("dim", clip(text, width) if width is not None else text)
    glyph = GLYPHS.get(span.status, "?")
    room = name_width - cells(row.prefix) - 2
    name = pad(row.text, room) if room > 0 else ""
    took = duration(span.duration_ns / 1e9) if span.duration_ns is not None else "…"
    line = f"{paint('dim', row.prefix)}{paint(span.status, glyph)} {name}  {took:>{_TIME_WIDTH}}"
    if bar_width > 0 and total > 0:
        drawn = bar(span.start_ns / 1e9, (span.end_ns or total) / 1e9, total / 1e9, bar_width)
        line += f"  {paint(span.status if span.status != 'ok' else 'bar', drawn)}"
    elif span.status != "ok":
        line += f"  {paint(span.status, span.status)}"
    return line.rstrip()


def _rows(roots: Sequence[Span], parts: Mapping[str, str], *, full: bool) -> Iterator[_Row]:
    """Depth first, without recursion: the depth of a trace is the user's."""
    stack: list[tuple[Iterator[Span | str], str, bool]] = [(_members(roots, (), full=full), "", True)]
    pending: list[Span | str | None] = [next(stack[0][0], None)]
    while stack:
        members, indent, top = stack[-1]
        current = pending[-1]
        if current is None:
            stack.pop()
            pending.pop()
            continue
        following = next(members, None)
        pending[-1] = following
        prefix = "" if top else indent + ("├─ " if following is not None else "└─ ")
        under = "" if top else indent + ("│  " if following is not None else "   ")
        if isinstance(current, str):
            yield _Row(prefix, current, None, under)
            continue
        around = _around(current)
        children = _members(_by_start(around.children), around.crowds, full=full)
        first = next(children, None)
        below = under + ("│ " if first is not None else "  ")
        yield _Row(prefix, _title(current, parts), current, below)
        if first is not None:
            stack.append((children, under, False))
            pending.append(first)


def _by_start(spans: Sequence[Span]) -> Sequence[Span]:
    """Siblings as they began: what several workers tell comes in the order in which they tell it."""
    if len({span.worker_id for span in spans}) < 2:
        return spans
    return sorted(spans, key=attrgetter("start_ns"))


def _members(spans: Sequence[Span], folded: Sequence[Crowd], *, full: bool) -> Iterator[Span | str]:
    """The spans to show of these siblings, and a line for those of a crowd that are not."""
    sizes = Counter(_key(span) for span in spans)
    for crowd in folded:
        sizes[crowd.kind, crowd.name] += len(crowd.durations)
    crowds = {key for key, number in sizes.items() if number > CROWD and not full}
    if not crowds:
        yield from spans
        return
    hidden = {key: Crowd(*key) for key in crowds}
    for crowd in folded:
        hidden[crowd.kind, crowd.name].merge(crowd)
    last = {key: crowd.last_seq for key, crowd in hidden.items()}
    shown: Counter[tuple[tuple[str, str], bool]] = Counter()
    found: list[tuple[int, int, Span | Crowd]] = []
    for span in spans:
        key = _key(span)
        good = span.status == "ok"
        if key in crowds:
            last[key] = max(last[key], span.start_seq)
            if shown[key, good] >= (_SHOWN if good else _FAILED_SHOWN):
                hidden[key].add(span.start_seq, span.duration_ns or 0, span.status)
                continue
            shown[key, good] += 1
        found.append((span.start_seq, 0, span))
    found += [(last[key], 1, crowd) for key, crowd in hidden.items() if crowd.durations]
    for _, _, item in sorted(found, key=itemgetter(0, 1)):
        yield _sum_up(item) if isinstance(item, Crowd) else item


def _key(span: Span) -> tuple[str, str]:
    return span.kind, span.name


def _sum_up(crowd: Crowd) -> str:
    took = sorted(crowd.durations)
    statuses = ", ".join(f"{number:,} {status}" for status, number in crowd.statuses.most_common())
    fastest, middle, slowest = (duration(took[index] / 1e9) for index in (0, len(took) // 2, -1))
    return f"… {len(took):,} more {one_line(crowd.name)}: {statuses}; {fastest} to {slowest}, median {middle}"


def _around(span: Span) -> Span:
    """Whose children to show: a node that succeeded at once is shown without its attempt, but with what ran in it."""
    if len(span.children) == 1 and span.children[0].kind == "attempt" and span.children[0].status == "ok":
        return span.children[0]
    return span


def _title(span: Span, parts: Mapping[str, str]) -> str:
    if span.kind == "attempt":
        return f"attempt {span.attempt + 1}" if span.attempt is not None else "attempt"
    if span.step is not None:
        return f"step {span.step}"
    name = one_line(span.name)
    title = name if span.kind in ("trace", "node", name) else f"{span.kind} {name}"
    if span.kind != "node":
        return title
    part = parts.get(span.span_id)
    return " · ".join([title, *([] if part is None else [part]), *_delivery(span)])


def _delivery(span: Span) -> list[str]:
    """Which worker had the message, how long that had waited for it, and that others had it before."""
    told = [] if span.worker_id is None else [one_line(span.worker_id)]
    if span.queue_wait_s is not None:
        told.append(f"waited {duration(span.queue_wait_s)}")
    if span.delivery is not None and span.delivery > 1:
        told.append(f"delivery {span.delivery}")
    return told


def _problem(span: Span | None) -> str:
    """What went wrong in this span itself: an error is told where it happened, not again by everything around it."""
    if span is None or not span.error or any(_tells_of(child, span.error) for child in span.children):
        return ""
    return describe_error(span.error)


def _tells_of(child: Span, error: dict[str, Any]) -> bool:
    """A call may fail and its node go on; then the node's own error is another one."""
    if child.error is None:
        return False
    return child.kind != "record" or child.error.get("message") == error.get("message")


def _latest(root: Span) -> int:
    latest, stack = root.start_ns, [root]
    while stack:
        span = stack.pop()
        latest = max(latest, span.end_ns or span.start_ns)
        stack.extend(span.children)
    return latest
