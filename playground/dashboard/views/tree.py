"""The trace as a tree: spans as they happen, each with its time on the trace's axis."""

from __future__ import annotations

import time
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING

from playground.dashboard.text import GLYPHS, ROLES, UNKNOWN, Row, bar, cells, clip, duration, one_line, pad, row_cells
from playground.dashboard.trace import TraceModel, error_line, failed, seconds
from playground.dashboard.views.base import View
from playground.dashboard.views.tree_rows import TreeRow, WholeRows, flatten, shown_children
from playground.dashboard.workers import Crew

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span

MAX_DEPTH = 40
SPEAKING = frozenset({"trace", "node", "attempt", "step"})
"""Kinds that need no word before the name of the span."""
"""Deeper rows are not indented further."""
SINGULAR = frozenset({"trace", "llm"})
"""Kinds whose rows say more than the span itself."""
MAX_KNOWN = 4096
_about = attrgetter("kind", "name", "status", "attempt", "step", "worker_id")
"""What the row of most spans is made of."""
MAX_SPLICES = 8
"""More places than this changed at once: lay the whole tree out again."""
NOTHING_OPEN = """Nothing is open.

Enter on a flow opens its form, r runs it at once; Enter on a run shows it.

ctrl+t is a tour of one minute, ? tells what the keys of a pane do."""
NO_FLOWS = """There is nothing to run here yet.

A file in flows/ is found by itself; pf new NAME writes a small project that runs."""
READING = """Reading {}

The run is shown when all of it was read and found to be whole. q leaves."""
TIME_CELLS = 8
CHEAP_S = 0.005


def shown_parent(trace: TraceModel, span: Span) -> Span | None:
    """The span whose row has this span's row under it."""
    parent = trace.parent(span)
    around = None if parent is None or parent.kind != "attempt" else trace.parent(parent)
    if around is None or parent in shown_children(around):
        return parent
    return around


def spent(usage: tuple[int, float] | None) -> str:
    """Tokens and cost of a call, as far as they are known."""
    if usage is None or not usage[0]:
        return ""
    return f"{usage[0]:,} tok" + (f" · ${usage[1]:.4f}" if usage[1] else "")


class TreeView(View):
    """Rows are kept as a flat list of spans; what changed is spliced into it once per frame."""

    label = "Tree"
    empty = NOTHING_OPEN

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._not_before = 0.0
        self.trace: TraceModel | None = None
        self.rows: list[TreeRow] = []
        self._whole: WholeRows | None = None
        """Of the trace whose moments are shown."""
        self._toggled: dict[str, bool] = {}
        self._crew = Crew()
        self._seen = -1
        self._reading = False
        """Whether the trace was still being read when this was laid out last."""
        self.loading = False
        self.away = False
        """The host is offline: what went on then is shown as it was known last."""
        self.stopped: dict[str, str] = {}
        """Where the run has stopped, by span."""

    def show(self, trace: TraceModel | None) -> None:
        """Show another trace, from its beginning; the same one at another moment keeps its folds."""
        if trace is None or self.trace is None or self.trace.trace_id != trace.trace_id:
            self._toggled = {}
        self._keep_whole(trace)
        self.trace = trace
        self.cursor = self.top = 0
        self.follow = False
        self._rebuild()
        self.touch()

    def _keep_whole(self, trace: TraceModel | None) -> None:
        """Keep the rows of a trace while its moments are shown: those have most of them too."""
        whole = None if trace is None else trace.whole
        if trace is None or whole is None:
            self._whole = None
        elif self._whole is None or not self._whole.fits(trace):
            same = whole is self.trace and not whole.began and not whole.reshaped
            self._whole = WholeRows(whole, self.rows if same else self._laid_out(whole))

    def set_away(self, away: bool) -> None:
        """The host is offline, or is back."""
        if away != self.away:
            self.away = away
            self.touch()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def span(self) -> Span | None:
        """The span under the cursor."""
        return self.rows[self.cursor][0] if 0 <= self.cursor < len(self.rows) else None

    def _parent(self, span: Span) -> Span | None:
        return None if self.trace is None else shown_parent(self.trace, span)

    # -- keeping up -----------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Take up what changed in the trace since the last frame."""
        trace = self.trace
        if trace is None:
            return
        if trace.revision != self._seen:
            self._seen = trace.revision
            self.touch()
        whole_now, self._reading = self._reading and not trace.loading, trace.loading
        if (trace.began or trace.reshaped) and (self._clock() >= self._not_before or whole_now):
            self._take_up(trace, whole_now)
        if whole_now and self.follow and trace.over:
            self.settle()
            self.follow = False

    def _take_up(self, trace: TraceModel, whole_now: bool) -> None:
        picked = self.span
        if not self.rows or self.rows[0][0] is not trace.root or trace.loading or whole_now:
            # Of a trace that is read, thousands of spans come at once.
            self._rebuild()
        else:
            self._splice(trace)
        if picked is not None and self.span is not picked and not self.follow:
            self._pick(picked)

    def _splice(self, trace: TraceModel) -> None:
        far: dict[str, Span] = dict(trace.reshaped)
        for span in trace.began:
            parent = self._parent(span)
            if parent is None:
                self.rows.append((span, 0))
            elif self._in_sight(parent) and not self._append(span, parent):
                far[parent.span_id] = parent
        if len(far) > MAX_SPLICES:
            self._rebuild()
            return
        trace.began, trace.reshaped = [], {}
        for span in far.values():
            if self._in_sight(span):
                self._lay_out_again(span)

    def _in_sight(self, span: Span) -> bool:
        """True when no fold hides what is under `span`, nor `span` itself."""
        walker: Span | None = span
        while walker is not None:
            if not self.is_open(walker):
                return False
            walker = self._parent(walker)
        return True

    def _append(self, span: Span, parent: Span) -> bool:
        """Put a new span's row at the very end, if that is its place; True when nothing is left to do."""
        last, depth = self.rows[-1]
        walker: Span | None = last
        while walker is not None and walker is not parent:
            walker = self._parent(walker)
            depth -= 1
        if walker is None:
            return False
        if last is not span:
            self.rows.append((span, depth + 1))
        return True

    def _lay_out_again(self, span: Span) -> None:
        index = self._index(span)
        if index is None:
            return
        depth = self.rows[index][1]
        end = index + 1
        while end < len(self.rows) and self.rows[end][1] > depth:
            end += 1
        self.rows[index:end] = flatten(span, depth, self.is_open if self._toggled else None)

    def _index(self, span: Span) -> int | None:
        for index in range(len(self.rows) - 1, -1, -1):
            if self.rows[index][0] is span:
                return index
        return None

    def _rebuild(self) -> None:
        started, trace = self._clock(), self.trace
        self.rows = [] if trace is None else self._laid_out(trace)
        if trace is not None:
            trace.began, trace.reshaped = [], {}
            # A huge tree is laid out again at most for a tenth of the time.
            took = self._clock() - started
            self._not_before = self._clock() + 10 * took if took > CHEAP_S else 0.0

    def _laid_out(self, trace: TraceModel) -> list[TreeRow]:
        is_open = self.is_open if self._toggled else None
        own = trace.own_spans()
        if own is not None and self._whole is not None and self._whole.fits(trace):
            return self._whole.at(trace, own, is_open)
        return [row for root in trace.tree.roots for row in flatten(root, 0, is_open)]

    # -- folding --------------------------------------------------------------------------------------------------

    def is_open(self, span: Span) -> bool:
        """Open unless folded by hand; an attempt that failed opens its node by itself."""
        toggled = self._toggled.get(span.span_id)
        return True if toggled is None else toggled

    def fold(self, span: Span, is_open: bool) -> None:
        """Open or fold a span."""
        self._toggled[span.span_id] = is_open
        self._whole = None
        if self.trace is not None and (self.trace.began or self.trace.reshaped):
            # What is not in the rows yet must come in once, not again with the next frame.
            self._rebuild()
        else:
            self._lay_out_again(span)
        self.settle()
        self.touch()

    def activate(self) -> bool:
        """Enter shows the span; it does not fold."""
        return False

    def toggle(self) -> bool:
        """Fold or unfold the cursor's span."""
        span = self.span
        if span is not None and shown_children(span):
            self.fold(span, not self.is_open(span))
        return True

    def side(self, direction: int) -> None:
        """Left folds, or goes to the parent; right unfolds, or goes to the first child."""
        span = self.span
        if span is None:
            return
        children = shown_children(span)
        if direction > 0 and children:
            if self.is_open(span):
                self.go(self.cursor + 1)
            else:
                self.fold(span, True)
        elif direction < 0:
            if children and self.is_open(span):
                self.fold(span, False)
            elif (parent := self._parent(span)) is not None:
                self._pick(parent)

    def _pick(self, span: Span) -> None:
        index = self._index(span)
        if index is not None:
            self.cursor = index
            self.settle()
            self.touch()

    def visible(self, span_id: str) -> Span | None:
        """A span, or the one around it that has a row; None while its event is not here."""
        span = self.trace.spans.get(span_id) if self.trace else None
        if span is not None and span.kind == "attempt" and self.trace is not None:
            around = self.trace.parent(span)
            return span if around is None or span in shown_children(around) else around
        return span

    def pick(self, span_id: str) -> None:
        """Put the cursor on a span, opening what hides it."""
        span = self.trace.spans.get(span_id) if self.trace else None
        parent = self._parent(span) if span else None
        while parent is not None:
            if not self.is_open(parent):
                self.fold(parent, True)
            parent = self._parent(parent)
        if span is not None:
            self.follow = False
            self._pick(span)

    # -- rows -----------------------------------------------------------------------------------------------------

    def title(self) -> Row:
        """The trace in one line."""
        trace = self.trace
        if trace is None:
            return []
        row: Row = [(trace.trace_id[:8], "accent")]
        if trace.flow:
            row.append((f" {one_line(trace.flow)}", "strong"))
        if self.loading:
            known = trace.events.stored or trace.expected
            row.append((f" loading… {trace.percent} %" if known else " loading…", "dim"))
            return row
        if self.away and not trace.over:
            row += [(f" {UNKNOWN} last known", "warn"), (f" {duration(trace.seconds())}", "dim")]
            return row
        row += [
            (f" {GLYPHS.get(trace.status, '?')}", ROLES.get(trace.status, "")),
            (f" {trace.status}" if trace.status not in {"ok", "running"} else "", ROLES.get(trace.status, "")),
            (f" {duration(trace.seconds())}", ""),
        ]
        if trace.retries:
            row.append((f" ↻{trace.retries}", "warn"))
        if trace.llm_calls:
            row.append((f"  {trace.llm_calls} LLM · {trace.tokens:,} tok", "dim"))
            if trace.cost:
                row.append((f" · ${trace.cost:.4f}", "dim"))
        return row

    def note(self) -> str:
        """How many spans and events there are."""
        trace = self.trace
        if trace is None or not trace.events:
            return ""
        bad = f" · {trace.bad} unreadable" if trace.bad else ""
        crew = f" · {len((trace.whole or trace).workers)} workers" if self._crew.several(trace) else ""
        return f"{len(trace.spans):,} spans · {len(trace.events):,} events{crew}{bad}"

    def row(self, index: int, width: int) -> Row:
        """Fold mark, status, name, what is special about it; then its time and its bar."""
        trace = self.trace
        assert trace is not None
        span, depth = self.rows[index]
        axis = 0 if width < 40 else min(width // 4 if width < 70 else width * 2 // 5, 64)
        label_width = width - axis - TIME_CELLS - (2 if axis else 1)
        now = trace.now_ns()
        row = self.label_row(span, depth, label_width)
        unknown = trace.loading and span.end_ns is None
        time_text = "" if unknown else duration(seconds(span, now))
        row.append(
            (" " + " " * (TIME_CELLS - cells(time_text)) + time_text, "dim" if span.end_ns is not None else "busy")
        )
        if axis:
            total = max(now, 1)
            end = now if span.end_ns is None else span.end_ns
            role = "bar-error" if failed(span) else "bar-busy" if span.end_ns is None and not unknown else "bar"
            row += [(" ", ""), (bar(span.start_ns, end, total, axis), role)]
        return row

    @property
    def unfinished(self) -> str:
        """How far the trace is read."""
        return f"{self.trace.percent} %" if self.trace is not None and self.trace.loading else ""

    def go_last(self) -> None:
        """Put the cursor at the last row; while the trace is read, stay at the end until that is there."""
        super().go_last()
        if self.trace is not None and self.trace.loading:
            self.follow = True

    def finder(self, needle: str) -> Callable[[range], list[int]]:
        """As `holds`; most spans of a long trace are like others, and are looked at once."""
        known: dict[tuple[object, ...], bool] = {}

        def find(rows: range) -> list[int]:
            found, spans, count = [], self.rows, len(self.rows)
            for row in rows:
                if row >= count:
                    continue
                span = spans[row][0]
                about = _about(span)
                holds = known.get(about)
                if holds is None or len(span.children) > 1:
                    holds = self.holds(row, needle)
                    if span.kind not in SINGULAR and len(span.children) <= 1 and not failed(span):
                        known[about] = holds
                if holds:
                    found.append(row)
            if len(known) > MAX_KNOWN:
                known.clear()
            return found

        return find

    def holds(self, index: int, needle: str) -> bool:
        """Whether a span's kind, name, status, worker or error contain `needle`: no row is laid out for that."""
        span = self.rows[index][0]
        name, extra, _ = self._texts(span)
        return needle in f"{span.kind} {span.name} {name} {span.status} {extra} {span.worker_id or ''}".lower()

    def label_row(self, span: Span, depth: int, width: int) -> Row:
        """Fold mark, status, name and what is special about a span, in exactly `width` cells."""
        depth = min(depth, MAX_DEPTH)
        children = shown_children(span)
        mark = ("▾" if self.is_open(span) else "▸") if children else " "
        glyph, role = GLYPHS.get(span.status, "?"), ROLES.get(span.status, "")
        if self.trace is not None and (self.trace.loading or self.away) and span.end_ns is None:
            glyph, role = UNKNOWN, "dim"
        name, extra, extra_role = self._texts(span)
        if self.stopped and (stopped := self._stopped_at(span)):
            glyph, role, extra, extra_role = "⏸", "warn", stopped, "warn"
        used = 2 * depth + 4
        kind = "" if span.kind in SPEAKING else f"{span.kind} "
        name = clip(name, max(width - used - len(kind), 0))
        room = width - used - len(kind) - cells(name)
        told: Row = []
        if self.trace is not None and span.worker_id is not None:
            parts = [] if extra else self._crew.part(self.trace, span)
            told = self._crew.told(self.trace, span, extra or "".join(parts[-1:]), room)
            room -= row_cells(told)
            if parts:
                extra, extra_role = next((part for part in parts if cells(part) + 3 <= room), parts[-1]), "dim"
        row: Row = [("  " * depth + mark + " ", "dim"), (glyph + " ", role), (kind, "dim")]
        row.append((name, "error" if failed(span) else ""))
        if extra and room > 3 + bool(told):
            row += [("  ", ""), (pad(extra, room - 2 - bool(told)) + " " * bool(told), extra_role)]
        else:
            row.append((" " * max(room, 0), ""))
        return row + told

    def _stopped_at(self, span: Span) -> str:
        """Where a span has stopped, or the attempt that is folded into it."""
        found = self.stopped.get(span.span_id, "")
        if not found and span.kind == "node" and len(span.children) == 1:
            return self.stopped.get(span.children[0].span_id, "")
        return found

    def _texts(self, span: Span) -> tuple[str, str, str]:
        if span.kind == "attempt":
            name = f"attempt {(span.attempt or 0) + 1}"
            if failed(span):
                again_s = self.trace.retry_after.get(span.span_id) if self.trace else None
                again = f" ↻ after {duration(again_s)}" if again_s is not None else ""
                return name, one_line(error_line(span) or span.status) + again, "error"
            return name, "", ""
        name = one_line(span.name) if span.step is None else f"step {span.step}"
        if span.kind == "llm" and self.trace is not None and span.end_ns is not None and not failed(span):
            return name, spent((self.trace.whole or self.trace).spent.get(span.span_id)), "dim"
        if span.kind == "trace" and self.trace is not None and (node := self.trace.waiting_for()):
            return name, f"waiting for {one_line(node)}", "warn"
        attempts = sum(child.kind == "attempt" for child in span.children[:50]) if span.kind == "node" else 0
        retried = f"↻ {attempts} attempts" if attempts > 1 else ""
        if failed(span):
            text = one_line(error_line(span) or span.status)
            return name, f"{retried} · {text}" if retried else text, "error"
        return name, retried, "warn"
