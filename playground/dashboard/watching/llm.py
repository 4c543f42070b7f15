"""The calls of models of a run, one at a time: the exact messages, the raw reply, the decision read from it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from playground.dashboard.bars import Key
from playground.dashboard.details import field
from playground.dashboard.text import one_line
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.detail import DetailView
from playground.dashboard.watching.calls import model_call

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span

REFRESH_S = 0.25


class ModelCallView(DetailView):
    """A document about one call; `(` and `)` walk the calls. A run that goes on shows its newest one."""

    label = "LLM"
    short = "LLM"
    empty = "No call of a model in this run."
    keys = (
        Key("( )", "other calls", "do('watching', 'walk_calls', 1)"),
        Key("⏎", "unfold", "choose"),
        Key("/", "search", "search"),
        Key("y", "copy", "copy"),
    )
    help = (
        """A call of a model: what it was asked for, its parameters, tokens, cost and time; the raw reply, the decision
that was read from it and what had to be repaired; then every message exactly as it was sent.""",
        [
            ("(  )", "the call before, the call after"),
            ("L", "from a row of the tree: the call at it or after it"),
            ("⏎", "unfold a message"),
            ("*", "unfold all"),
            ("y", "copy the message, or the value"),
            ("Y", "copy the whole call as JSON"),
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self.trace: TraceModel | None = None
        self.span: Span | None = None
        self.newest = True
        """Show each new call as it begins."""
        self._seen = -1
        self._due = 0.0

    def show_trace(self, trace: TraceModel | None) -> None:
        """Another run: its last call. The same run at another moment: the call in front, if it began by then."""
        before, known = self.trace, self.span
        self.trace = trace
        self._seen, self._due = -1, 0.0
        same = before is not None and trace is not None and before.trace_id == trace.trace_id
        if same and known is not None and not self.newest:
            self.span = next((call for call in self.calls if call.span_id == known.span_id), None)
            if self.span is not None:
                return
        self.span, self.newest = None, True
        self.show(None, [], [])

    def resize(self, width: int, height: int) -> None:
        """What comes to the front is up to date at once."""
        self.sync()
        super().resize(width, height)

    @property
    def calls(self) -> list[Span]:
        """Every call of the run, in order."""
        return [] if self.trace is None else self.trace.traffic.calls

    def sync(self) -> None:
        """Once per frame while it is in sight."""
        trace = self.trace
        if trace is None or not self.calls or trace.revision == self._seen or time.monotonic() < self._due:
            return
        if self.newest or self.span is None:
            self._show(self.calls[-1])
        elif self._seen < 0 or self._open or len(self.calls) != self._total:
            self._show(self.span)
        self._seen = trace.revision
        self._due = time.monotonic() + REFRESH_S

    def _show(self, span: Span) -> None:
        trace = self.trace
        assert trace is not None
        self.span, self._open, self._total = span, span.end_ns is None, len(self.calls)
        number = next((n for n, call in enumerate(self.calls, 1) if call is span), 0)
        # Boundary: a document is made from whatever was recorded; one that cannot be made says so in its place.
        try:
            heading, nodes = model_call(trace, span, number=number, total=self._total)
        except Exception as error:
            heading = [(one_line(span.name), "error")]
            nodes = [field("error", f"cannot be shown: {type(error).__name__}: {error}", "error")]
        self.show(("call", trace.trace_id, span.span_id), heading, nodes)

    _open = False
    _total = 0

    def walk(self, direction: int) -> None:
        """The call after (1) or before (-1)."""
        calls = self.calls
        if not calls:
            return
        here = next((n for n, call in enumerate(calls) if call is self.span), len(calls) - 1)
        number = min(max(here + direction, 0), len(calls) - 1)
        self.newest = number == len(calls) - 1 and self.trace is not None and not self.trace.over
        self._show(calls[number])

    def pick(self, span: Span | None) -> bool:
        """The call that a span is, or else the first one that begins in it or after it; False when there is none."""
        calls = self.calls
        if not calls:
            return False
        found = calls[-1]
        if span is not None:
            found = next((call for call in calls if call is span or call.start_seq >= span.start_seq), found)
        self.newest = False
        self._show(found)
        return True
