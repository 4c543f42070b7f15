"""All that the dashboard knows, fed from a source's inbox: no screen, no waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from playground.dashboard.clocks import PausingClock
from playground.dashboard.debugging.model import BreakpointList, Stops
from playground.dashboard.heads import BadEvent, Head, read_data, read_head
from playground.dashboard.runs import RunList
from playground.dashboard.text import duration
from playground.dashboard.trace import TraceModel
from playground.sources import MAX_INBOX

if TYPE_CHECKING:
    from playground.protocol import ModuleInfo, Question, Result
    from playground.sources import HostState, Inbox, Notice

HOST_TRACE = "host"
MAX_TRACES = 64
MAX_BYTES = 200_000_000
"""Events and spans kept for all traces together; those that are not looked at are read from the store again."""
SPAN_BYTES = 400
CHECK_CLOCK_EVERY = 32
BUDGET_S = 0.012
"""What a frame spends on events."""
MORE_S = 0.018
"""What it spends more where so many wait that stream chunks are left out: behind is worse than a slow key."""


class Line(NamedTuple):
    """A line for the log pane that the dashboard itself has to say."""

    ts: float
    source: str
    text: str
    level: str | None = None
    trace_id: str | None = None


class Loading:
    """A trace that is being read from the store."""

    def __init__(self, trace: TraceModel, waiting: list[bytes]) -> None:
        self.trace = trace
        self.waiting = waiting
        """Events that arrived, put aside until those before them are read."""
        self.interrupted = False
        """The run's host died meanwhile."""


class Workspace:
    """Modules, runs, traces and output."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.modules: list[ModuleInfo] = []
        self.host: HostState | None = None
        self.runs = RunList()
        self.stops = Stops()
        self.breakpoints = BreakpointList()
        self.traces: dict[str, TraceModel] = {}
        self.loading: dict[str, Loading] = {}
        """Traces that are being read from the store."""
        self.current: TraceModel | None = None
        self.searching = False
        """A filter looks through the events of the trace that is shown."""
        self.moment: TraceModel | None = None
        """What is shown of a run in its place: the run as it stood once."""
        self.newest: str | None = None
        """The run that started last, until it is taken."""
        self.logs: deque[object] = deque(maxlen=20_000)
        """Log lines not yet taken by their view."""
        self.notices: deque[Notice] = deque(maxlen=20)
        self.questions: list[Question] = []
        """What runs ask somebody, oldest first."""
        self.reports: deque[Result] = deque(maxlen=100)
        """How forks and replays went, not yet taken."""
        self.not_recorded: str | None = None
        """As in the inbox, until it is taken."""
        self.broke: list[ModuleInfo] = []
        """Modules that broke while we looked, since this was last emptied."""
        self.modules_changed = False
        self.listed = False
        """True once the source has told its modules."""
        self.dropped = 0
        self.clock = PausingClock(clock)
        """Of what runs: it stands while the host is offline, for nobody knows what became of it since."""
        self._clock = clock
        self._host_since = clock()
        """When the host came into the state that it is in."""
        self._rates: deque[tuple[float, int]] = deque()

    # -- the inbox ------------------------------------------------------------------------------------------------

    def drain(self, inbox: Inbox) -> bool:
        """Take what arrived, for a part of a frame (a larger one, the more there is); True when something did."""
        moved = False
        budget_s = BUDGET_S + min(1.0, len(inbox.events) / MAX_INBOX) * MORE_S
        if inbox.host is not None:
            self._host_state(inbox.host)
            inbox.host, moved = None, True
        if inbox.modules is not None:
            self._take_modules(inbox.modules)
            inbox.modules, moved = None, True
        if inbox.opened is not None:
            self.newest, inbox.opened, moved = inbox.opened, None, True
        if inbox.logs or inbox.notices:
            moved = True
        moved = self._debugging(inbox) or moved
        while inbox.logs:
            self.logs.append(inbox.logs.popleft())
        while inbox.notices:
            self.notices.append(inbox.notices.popleft())
        if inbox.not_recorded is not None:
            self.not_recorded, inbox.not_recorded = inbox.not_recorded, None
            moved = True
        self.dropped = inbox.dropped
        events, deadline, taken = inbox.events, self._clock() + budget_s, 0
        while events:
            self._event(events.popleft())
            taken += 1
            if taken % CHECK_CLOCK_EVERY == 0 and self._clock() > deadline:
                break
        if taken:
            self._rates.append((self._clock(), taken))
        if not events:
            # Results follow the events of their run.
            while inbox.results:
                result = inbox.results.popleft()
                self._over(result.trace_id, result.status)
                if result.replay is not None or result.restore is not None:
                    self.reports.append(result)
                moved = True
        return moved or taken > 0

    def _debugging(self, inbox: Inbox) -> bool:
        """Take what stopped and went on, and where runs stop."""
        moved = bool(inbox.stops) or inbox.breakpoints is not None or inbox.questions is not None
        if inbox.questions is not None:
            self.questions, inbox.questions = inbox.questions.questions, None
        while inbox.stops:
            self.stops.take(inbox.stops.popleft())
        if inbox.breakpoints is not None:
            self.breakpoints.take(inbox.breakpoints)
            inbox.breakpoints = None
        return moved

    def events_per_second(self) -> float:
        """Over the last second."""
        now = self._clock()
        while self._rates and self._rates[0][0] < now - 1.0:
            self._rates.popleft()
        return float(sum(taken for _, taken in self._rates))

    def _take_modules(self, modules: list[ModuleInfo]) -> None:
        before = {module.path: module.error for module in self.modules}
        known = {module.path: module.flows for module in self.modules}
        # While a host starts again its flows stay on the screen.
        self.modules = [
            module.model_copy(update={"flows": known[module.path]})
            if module.state == "loading" and not module.flows and module.path in known
            else module
            for module in modules
        ]
        self.modules_changed = self.listed = True
        for module in modules:
            if module.error is not None and before.get(module.path, module.error) != module.error:
                self.broke.append(module)

    def _host_state(self, state: HostState) -> None:
        if state.state in {"stalled", "silent", "dead", "restarting"} and state.text and state != self.host:
            level = "WARNING" if state.state in {"stalled", "silent"} else "ERROR"
            if self.host is None or state.state != self.host.state:
                self.logs.append(Line(time.time(), "host", state.text, level))
        if self.host is not None and state.state != self.host.state:
            self._host_since = self._clock()
        self.host = state
        self.runs.set_away(state.since)
        self.clock.pause(state.since is not None)

    def host_for_s(self) -> float:
        """How long the host has been in its state."""
        return self._clock() - self._host_since

    def _event(self, raw: bytes) -> None:
        try:
            head = read_head(raw)
        except BadEvent as error:
            self.logs.append(Line(time.time(), "host", f"an event could not be read: {error}", "ERROR"))
            return
        if head.trace_id == HOST_TRACE:
            self._host_event(head, raw)
            return
        line = self.runs.get(head.trace_id)
        if line is not None:
            line.elsewhere = False
        loading = self.loading.get(head.trace_id)
        if loading is not None:
            if head.kind != "trace.start" or head.seq > 0 or loading.waiting:
                loading.waiting.append(raw)
                return
            # It begins before our eyes: nothing of it has to be read, however long the store takes to say so.
            del self.loading[head.trace_id]
        trace = self.traces.get(head.trace_id)
        if trace is None:
            trace = self._new_trace(head.trace_id)
        self._take(trace, raw, head)

    def _take(self, trace: TraceModel, raw: bytes, head: Head) -> None:
        """An event that arrived goes into its trace; its run is listed as it begins and ends."""
        trace.add(raw, head)
        if head.kind == "trace.start":
            self.runs.began(trace)
            self.newest = trace.trace_id
            trace.live = True
        elif head.kind == "trace.end":
            self.runs.ended(trace)

    def _host_event(self, head: Head, raw: bytes) -> None:
        if head.kind == "stall":
            try:
                data = read_data(raw)
            except BadEvent:
                data = {}
            where = f" at {data['file']}:{data.get('line', '?')}" if data.get("file") else ""
            within = data.get("function") or head.name
            took = duration(float(data.get("ms", 0)) / 1000)
            said = f"the event loop was blocked {took}{where}" + (f" in {within}" if within else "")
            self.logs.append(Line(head.ts, "host", said, "WARNING"))
        elif head.kind == "host.died":
            self.logs.append(Line(head.ts, "host", "the host died", "ERROR"))

    def _over(self, trace_id: str, status: str) -> None:
        """A run's result: closes what an interruption left open."""
        trace = self.traces.get(trace_id)
        if status == "interrupted":
            if trace_id in self.loading:
                self.loading[trace_id].interrupted = True
            if trace is not None:
                trace.interrupt()
            self.runs.interrupt(trace_id, status)

    # -- traces ---------------------------------------------------------------------------------------------------

    def _new_trace(self, trace_id: str) -> TraceModel:
        trace = self.traces[trace_id] = TraceModel(trace_id, clock=self.clock)
        self._make_room(trace)
        return trace

    def _make_room(self, new: TraceModel) -> None:
        size = sum(kept.events.bytes + SPAN_BYTES * len(kept.spans) for kept in self.traces.values())
        if len(self.traces) > MAX_TRACES or size > MAX_BYTES:
            for other in list(self.traces.values()):
                if other is not new and other is not self.current and other.over:
                    del self.traces[other.trace_id]
                    break

    def known(self, trace_id: str) -> TraceModel | None:
        """A trace whose events are all here; None when it has to be read from the store."""
        if self.moment is not None and self.moment.trace_id == trace_id:
            return self.moment
        trace = self.traces.get(trace_id)
        return (
            trace
            if trace is not None and trace.spans and trace.root is not None and trace.root.kind == "trace"
            else None
        )

    def begin_loading(self, trace_id: str) -> TraceModel:
        """From now on keep aside what arrives of this trace; returns the model to fill."""
        trace = TraceModel(trace_id, clock=self.clock)
        trace.loading = True
        line = self.runs.get(trace_id)
        trace.expected = line.events if line is not None else 0
        # Of a trace whose beginning was never here, what did arrive is as good as what arrives from now on.
        before = self.traces.pop(trace_id, None)
        self.loading[trace_id] = Loading(trace, [] if before is None else list(before.events))
        return trace

    def begin_anew(self, known: TraceModel) -> TraceModel:
        """A model to be filled from the store, in place of one of a run that is over and has not all of its events."""
        trace = TraceModel(known.trace_id, clock=self.clock)
        trace.loading, trace.live = True, known.live
        trace.expected = known.last_seq + 1
        self.loading[known.trace_id] = Loading(trace, [])
        return trace

    def is_loading(self, trace: TraceModel) -> bool:
        """Whether this model is still to be filled; not when its run began before our eyes meanwhile."""
        loading = self.loading.get(trace.trace_id)
        return loading is not None and loading.trace is trace

    def end_loading(self, trace: TraceModel, *, complete: bool) -> None:
        """Add what was kept aside, and take the trace in.

        One that was given up midway is read anew when it is asked for; until then, what arrived is kept.
        """
        if not self.is_loading(trace):
            return
        loading = self.loading.pop(trace.trace_id)
        kept = trace if complete else TraceModel(trace.trace_id, clock=self.clock)
        kept.loading = False
        kept.revision += 1
        if not complete and not loading.waiting:
            return
        self.traces[kept.trace_id] = kept
        for raw in loading.waiting:
            self._take(kept, raw, read_head(raw))
        if loading.interrupted:
            kept.interrupt()
        self._make_room(kept)
        if kept.over and complete:
            self.runs.ended(kept)

    def missing(self, trace: TraceModel) -> bool:
        """True while events lie between what was read and what arrived meanwhile."""
        loading = self.loading.get(trace.trace_id)
        return loading is not None and bool(loading.waiting) and read_head(loading.waiting[0]).seq > trace.last_seq + 1
