"""What takes time: asking the source to run, to cancel, to load. Failures become notices, never the end of the app."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from playground.dashboard.elsewhere import Elsewhere
from playground.dashboard.event_log import EventLog
from playground.dashboard.model import Workspace
from playground.dashboard.trace import TraceModel

if TYPE_CHECKING:
    from penguiflow.state.traces import TraceSummary
    from playground.protocol import FlowInfo
    from playground.sources import Source

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
PAGE = 2000
"""Events read from the store at a time."""
YIELD_EVERY = 400
SLICE_S = 0.006
"""What reading a stored trace takes at a time."""
SEARCHING_S = 0.03
"""Between two of those while a filter looks through the events: people wait for that first."""
ANEW_TRIES = 3
"""The store may have the end of a run a moment later than the screen, or never."""
GAP_TRIES = 40
GAP_WAIT_S = 0.05
LISTED = 300


class Control:
    """Talks to the source on behalf of the screen."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        spawn: Callable[[Work, str], object],
        notify: Callable[[str, str], None],
        show: Callable[[TraceModel | None, bool], None],
    ) -> None:
        self.workspace = workspace
        self.source: Source | None = None
        self._spawn = spawn
        self._notify = notify
        self._show = show
        self._store_fails_at: set[str] = set()
        """What did not work when it was last tried."""
        self.wanted: str | None = None
        """The trace that is to be shown; loading of others is dropped."""
        self.read_anew: Counter[str] = Counter()
        """How often what had been left out of a trace was looked for."""
        self._unread: set[str] = set()
        """Traces that were not read to their end when that was last tried."""
        self._elsewhere = Elsewhere()
        self._looking = False
        """The store is being asked for the newest runs."""
        self.asking = 0
        """Runs that were asked for, and that the host has not said that it took."""
        self.refused: Callable[[FlowInfo, Any, str, list[dict[str, Any]]], None] = lambda *_: None
        """Called when the host would not start a run: flow, input, message, details by field."""

    def start(self, work: Work, group: str) -> None:
        """Begin something that waits; what goes wrong with it becomes a notice."""
        self._start(work, group)

    def _start(self, work: Work, group: str) -> None:
        # An app that ends just then does not begin it, and nobody may miss that.
        self._spawn(partial(self._guarded, work, group), group)

    async def _guarded(self, work: Work, group: str) -> None:
        # Boundary to the host and the store: whatever goes wrong there, the screen goes on and says so.
        try:
            await work()
        except Exception as error:
            if _is_of_the_store(error):
                self._store_fails(group, str(error))
            else:
                self._notify(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, "error")
        else:
            self._store_fails_at.discard(group)

    def not_recorded(self, why: str) -> None:
        """News of the runs: why they are not recorded; empty when they are again."""
        if why:
            self._store_fails("record", f"runs are not recorded: {why}")
        else:
            self._store_fails_at.discard("record")

    def _store_fails(self, doing: str, message: str) -> None:
        """Say it once: a broken store is met again with every run, and with every look at the list."""
        if not self._store_fails_at:
            self._notify(message, "error")
        self._store_fails_at.add(doing)

    # -- runs -----------------------------------------------------------------------------------------------------

    def run(self, flow: FlowInfo, value: Any, extra: dict[str, Any] | None = None) -> None:
        """Start a run and follow it."""
        if self.source is None or not self.source.can_run:
            self._notify("nothing can be run here: it is only looked at" if self.source else "not ready yet", "warning")
            return
        self._start(partial(self._run, self.source, flow, value, extra), "run")

    async def _run(self, source: Source, flow: FlowInfo, value: Any, extra: dict[str, Any] | None) -> None:
        from playground.protocol import Run
        from playground.sources import RunRefused

        options = extra if extra is not None else run_options(flow)
        self.asking += 1
        try:
            trace_id = await source.run(Run(target=flow.target, input=value, **options))
        except RunRefused as refusal:
            self.refused(flow, value, str(refusal), refusal.details)
            return
        finally:
            self.asking -= 1
        self.wanted = trace_id
        self.select(trace_id)

    def cancel(self, trace_id: str) -> None:
        """Cancel a run."""
        if self.source is not None:
            self._start(partial(self._cancel, self.source, trace_id), "cancel")

    async def _cancel(self, source: Source, trace_id: str) -> None:
        found = await source.cancel(trace_id)
        self._notify(f"{trace_id[:8]} cancelled" if found else f"{trace_id[:8]} was already over", "information")

    def reload(self) -> None:
        """Load the project's code again."""
        if self.source is not None:
            self._start(self.source.reload, "reload")

    def kill_host(self) -> None:
        """End a host that is silent, or blocked for long."""
        if self.source is not None:
            self._start(partial(self._kill_host, self.source), "kill")

    async def _kill_host(self, source: Source) -> None:
        from playground.sources import RunRefused

        try:
            killed = await source.kill_silent()
        except RunRefused as refusal:
            self._notify(str(refusal), "error")
            return
        told = "the host is killed; another one takes its place" if killed else "the host is neither silent nor blocked"
        self._notify(told, "warning" if killed else "information")

    def refresh_runs(self, text: str = "") -> None:
        """Ask the store for runs of this and earlier days, those that a filter means."""
        # Questions to a store that is slow would only wait behind each other.
        if self.source is not None and (text or not self._looking):
            self._start(partial(self._refresh_runs, self.source, text), "runs")

    def read_again(self) -> None:
        """Try again to read the trace that is to be shown, if it could not be read."""
        if self.wanted is not None and self.wanted in self._unread:
            self.select(self.wanted)

    def read_left_out(self) -> None:
        """Read the run that is shown from the store, if it is over and some of it was left out on the way here."""
        shown = self.workspace.current
        if self.source is None or shown is None or not (shown.over and shown.missed) or shown.whole is not None:
            return
        trace_id = shown.trace_id
        if self.wanted != trace_id or trace_id in self.workspace.loading or self.read_anew[trace_id] >= ANEW_TRIES:
            return
        self.read_anew[trace_id] += 1
        self._start(partial(self._load_anew, self.source, shown), "load")

    async def _load_anew(self, source: Source, known: TraceModel) -> None:
        trace = self.workspace.begin_anew(known)
        complete = False
        try:
            # A run that is not recorded, or not to its end, stays as it is.
            complete = await self._read_all(source, trace) and trace.last_seq >= known.last_seq
        finally:
            self.workspace.end_loading(trace, complete=complete)
        if complete:
            source.inbox.dropped = max(0, source.inbox.dropped - known.missed)
        if self.wanted == known.trace_id:
            self._show(trace if complete else known, False)

    async def find_runs(self, text: str, before: float | None = None) -> int:
        """Ask the store for runs that a filter means, and began before then; how many it had."""
        return len(await self._find_runs(text, before))

    async def _find_runs(self, text: str, before: float | None = None) -> list[TraceSummary]:
        from penguiflow.state.traces import TraceQuery
        from playground.dashboard.run_filter import RunFilter

        if self.source is None:
            return []
        found = await self.source.find_traces(TraceQuery(**RunFilter(text).query(LISTED, before=before)))
        self.workspace.runs.merge(found)
        return found

    async def _refresh_runs(self, source: Source, text: str) -> None:
        self._looking = self._looking or not text
        try:
            await self._elsewhere.look(source, await self._find_runs(text), self.workspace.runs)
        finally:
            self._looking = self._looking and bool(text)
        shown = self.workspace.current
        if shown is not None and not (shown.live or shown.over or shown.loading):
            await self._catch_up(source, shown)

    async def _catch_up(self, source: Source, trace: TraceModel) -> None:
        """A run of another process goes on in the store only."""
        for raw in await source.load_event_bytes(trace.trace_id, after=trace.last_seq, limit=PAGE):
            trace.add(raw)

    # -- traces ---------------------------------------------------------------------------------------------------

    def select(self, trace_id: str) -> None:
        """Show a trace: from memory, or read from the store."""
        self.wanted = trace_id
        trace = self.workspace.known(trace_id)
        if trace is not None:
            self._unread.discard(trace_id)
            self._show(trace, False)
        elif self.source is not None and trace_id not in self.workspace.loading:
            self._start(partial(self._load, self.source, trace_id), "load")

    async def _load(self, source: Source, trace_id: str) -> None:
        # Moving fast through the list must not read every trace on the way.
        await asyncio.sleep(0.03)
        if self.wanted != trace_id or trace_id in self.workspace.loading:
            return
        known = self.workspace.known(trace_id)
        if known is not None:
            self._show(known, False)
            return
        trace = self.workspace.begin_loading(trace_id)
        complete = False
        self._unread.add(trace_id)
        try:
            complete = await self._read_all(source, trace)
        finally:
            self.workspace.end_loading(trace, complete=complete)
        if complete:
            self._unread.discard(trace_id)
        if self.wanted == trace_id:
            found = self.workspace.known(trace_id) or (trace if complete else None)
            if found is not None:
                self._show(found, False)

    async def _read_all(self, source: Source, trace: TraceModel) -> bool:
        """Read a trace; False when another one was wanted before its end, or its run began before our eyes."""
        tries = 0
        if not await self._take_stored(source, trace):
            return False
        while True:
            after = trace.last_seq
            page = await source.load_event_bytes(trace.trace_id, after=after, limit=PAGE)
            if not self.workspace.is_loading(trace):
                return False
            for number, raw in enumerate(page, 1):
                trace.add(raw)
                if number % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
            if page and after < 0 and self.wanted == trace.trace_id:
                self._show(trace, True)
            if self.wanted != trace.trace_id and len(page) == PAGE:
                return False
            if len(page) == PAGE and trace.last_seq > after:
                continue
            if not self.workspace.missing(trace) or tries >= GAP_TRIES:
                return True
            tries += 1
            await asyncio.sleep(GAP_WAIT_S)

    async def _take_stored(self, source: Source, trace: TraceModel) -> bool:
        """Read a long trace where it lies: its events are at hand at once, its spans a little later.

        False as in `_read_all`.
        """
        pieces = await source.open_pieces(trace.trace_id)
        if pieces is None or pieces.events <= PAGE:
            return True
        trace.events = EventLog(pieces)
        deadline = 0.0
        for number in range(len(pieces)):
            trace.take_stored(number)
            if time.perf_counter() > deadline:
                if self.wanted != trace.trace_id or not self.workspace.is_loading(trace):
                    return False
                if self.workspace.current is not trace:
                    self._show(trace, True)
                await asyncio.sleep(SEARCHING_S if self.workspace.searching else 0)
                deadline = time.perf_counter() + SLICE_S
        return True


def _is_of_the_store(error: Exception) -> bool:
    from penguiflow.state.errors import StoreError

    return isinstance(error, StoreError)


def run_options(flow: FlowInfo) -> dict[str, Any]:
    """Headers, meta and deadline that the flow's module asks for by default."""
    options: dict[str, Any] = {}
    for name in ("headers", "meta"):
        if isinstance(flow.defaults.get(name), dict):
            options[name] = flow.defaults[name]
    deadline = flow.defaults.get("deadline_s")
    if isinstance(deadline, int | float) and deadline > 0:
        options["deadline_s"] = float(deadline)
    return options
