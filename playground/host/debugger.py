"""The one interceptor of a host: it stops runs at breakpoints and steps, and waits for what a client decides.

It is asked only while a client is there that decides, and there is a breakpoint or a step to stop for. When the last
such client is gone, stopped runs wait for another one for a while, and then go on as if they had not been stopped.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.recording.masking import Masker
from playground.breakpoints import Breakpoint, BreakpointsProblem, BreakpointStore
from playground.conditions import ConditionError
from playground.host.stepping import Ends, step_from
from playground.host.stopped_values import shown
from playground.host.stops import Stop
from playground.protocol import BaseFrame, Breakpoints, ContextEdit, Decide, Resumed, Stopped, Why

WHY_S = 2.0
"""How long a stop is not told of since it is being read what led to it."""
UNNAMED = "debugger"
"""Who decided, in the log, when the client did not say its name."""


class _Match(NamedTuple):
    """Why a checkpoint stops its run."""

    checkpoint: Checkpoint
    payload: _Lazy
    found: Breakpoint | None
    """None for a step."""


class Debugger:
    """Stops runs and lets them go. Everything is called on the loop of the runs."""

    def __init__(
        self,
        home: Path,
        *,
        tell: Callable[[BaseFrame], None],
        changed: Callable[[], None],
        stops_changed: Callable[[], None] = lambda: None,
        target_of: Callable[[str], str | None],
        masker: Masker | None = None,
        hold_s: float,
        why: Callable[[Checkpoint], Awaitable[Why | None]] | None = None,
    ) -> None:
        """`tell` sends a frame to every client; `changed` is called when `wanted` may be another, `stops_changed` when
        `stopped` is.

        `target_of` gives the flow of a trace, None for one that is not to be stopped. `hold_s` is how long stopped runs
        wait for a client when the last one that decides is gone. `why` tells what led to a checkpoint.
        """
        self._store = BreakpointStore(home)
        self._tell = tell
        self._changed = changed
        self._stops_changed = stops_changed
        self._target_of = target_of
        self._masker = masker
        self._hold_s = hold_s
        self._why = why
        self._attended = False
        """Whether somebody decides, or did a moment ago."""
        self._leaving: asyncio.TimerHandle | None = None
        self._breakpoints: list[Breakpoint] = []
        self._problem: str | None = None
        self._unfit: dict[str, str] = {}
        self._steps: dict[str, list[Ends]] = {}
        """What stops a trace once, besides the breakpoints; the first that does ends them all."""
        self._stops: dict[str, Stop] = {}
        self._told: dict[str, Stopped] = {}
        """What clients were told of each stop."""
        self._matched: _Match | None = None
        """The last one: who is asked whether it wants to stop a run is asked to do so next."""
        self._numbers = itertools.count(1)

    @property
    def wanted(self) -> bool:
        """Whether it has to be asked at checkpoints."""
        return self._attended and (bool(self._steps) or any(each.enabled for each in self._breakpoints))

    @property
    def stopped(self) -> Collection[str]:
        """The traces that have stopped."""
        return {stop.trace_id for stop in self._stops.values()}

    @property
    def stops(self) -> Collection[Stop]:
        """The stopped runs."""
        return self._stops.values()

    def find(self, name: str) -> Stop | None:
        """A stopped run by its name."""
        return self._stops.get(name)

    # -- what clients ask for -----------------------------------------------------------------------------------------

    def attend(self, request: Breakpoints) -> tuple[Breakpoints, list[Stopped]]:
        """A client decides from now on, and may change the breakpoints. Gives these, and the runs that have stopped."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        self._attended = True
        changes = bool(request.put or request.remove)
        self._keep(lambda: self._store.change(request.put, request.remove) if changes else self._store.load())
        self._changed()
        told = self._all()
        if changes:
            self._tell(told)
        return told.model_copy(), [self._told[name] for name in self._stops]

    def look(self) -> tuple[Breakpoints, list[Stopped]]:
        """The breakpoints, and the runs that have stopped, for somebody who only looks."""
        self._keep(self._store.load)
        return self._all(), [self._told[name] for name in self._stops]

    def refresh(self) -> None:
        """A run begins: somebody else may have changed the project's breakpoints."""
        if not self._attended:
            return
        before = [each.model_copy() for each in self._breakpoints]
        self._keep(self._store.load)
        if self._breakpoints != before:
            self._changed()
            self._tell(self._all())

    def unattended(self) -> None:
        """The last client that decides is gone."""
        if self._attended and self._leaving is None:
            self._leaving = asyncio.get_running_loop().call_later(self._hold_s, self._give_up)

    def end(self) -> None:
        """Let every run go on, and stop none any more."""
        if self._leaving is not None:
            self._leaving.cancel()
        self._give_up()

    def halt(self, trace_id: str) -> None:
        """Stop a trace at its next checkpoint."""
        self._attended = True
        self._plan(trace_id, [lambda checkpoint: True])

    def decide(self, request: Decide, by: str | None) -> bool:
        """Let a stopped run go on; False when it does not wait any more. Raises `InputRefused`, and it waits on."""
        stop = self._stops.get(request.stop)
        if stop is None:
            return False
        decision = stop.decide(request, by or UNNAMED)
        ends = [] if (step := step_from(request.then, stop.checkpoint.path)) is None else [step]
        if (to := request.to) is not None:
            ends.append(lambda checkpoint: self._matches(to, checkpoint, _Lazy(checkpoint)))
        if ends:
            self._plan(stop.trace_id, ends)
        self._resume(stop, decision, by)
        return True

    def change(self, request: ContextEdit, by: str | None) -> Stop | None:
        """Change what is around a stopped run; None when it does not wait any more. Raises as `Stop.change`."""
        stop = self._stops.get(request.stop)
        if stop is not None and stop.change(request, by or UNNAMED):
            told = self._told[stop.name]
            self._told[stop.name] = stop.frame(told.target, told.why)
            self._tell(self._told[stop.name])
        return stop

    def forget(self, trace_id: str) -> None:
        """A trace is over."""
        if self._steps.pop(trace_id, None) is not None:
            self._changed()

    # -- the interceptor ----------------------------------------------------------------------------------------------

    def wants(self, checkpoint: Checkpoint) -> bool:
        """Whether the run stops here."""
        return self._match(checkpoint) is not None

    async def __call__(self, checkpoint: Checkpoint) -> Decision | None:
        """Wait here if a client wants that; None to go on."""
        match = self._match(checkpoint)
        self._matched = None
        if match is None:
            return None
        trace_id = checkpoint.trace_id or ""
        self._steps.pop(trace_id, None)
        if match.found is not None:
            self._count(match.found)
        self._changed()
        why = await self._reasons(checkpoint)
        if not self._attended:  # the last client is gone by now
            return None
        stop = self._stop(match, why)
        try:
            return await stop.answer
        finally:
            if self._stops.pop(stop.name, None) is not None:
                del self._told[stop.name]
                self._tell(Resumed(stop=stop.name, trace_id=trace_id, action="gone"))
                self._stops_changed()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _match(self, checkpoint: Checkpoint) -> _Match | None:
        if self._matched is not None and self._matched.checkpoint is checkpoint:
            return self._matched
        self._matched = None
        trace_id = checkpoint.trace_id
        if trace_id is None or not self._attended:
            return None
        payload = _Lazy(checkpoint)
        found = next((each for each in self._breakpoints if self._matches(each, checkpoint, payload)), None)
        if found is None and not any(ends(checkpoint) for ends in self._steps.get(trace_id, ())):
            return None
        self._matched = _Match(checkpoint, payload, found)
        return self._matched

    async def _reasons(self, checkpoint: Checkpoint) -> Why | None:
        if self._why is None:
            return None
        try:
            async with asyncio.timeout(WHY_S):
                return await self._why(checkpoint)
        except TimeoutError:
            return None

    def _stop(self, match: _Match, why: Why | None) -> Stop:
        name = f"stop-{next(self._numbers)}"
        stop = Stop(name, match.checkpoint, match.payload.plain, self._masker, match.found)
        frame = stop.frame(self._target_of(stop.trace_id), why)
        self._stops[name] = stop
        self._told[name] = frame
        self._tell(frame)
        self._stops_changed()
        return stop

    def _resume(self, stop: Stop, decision: Decision, by: str | None) -> None:
        del self._stops[stop.name], self._told[stop.name]
        if not stop.answer.done():
            stop.answer.set_result(decision)
        self._tell(Resumed(stop=stop.name, trace_id=stop.trace_id, action=decision.action, by=by))
        self._stops_changed()

    def _matches(self, found: Breakpoint, checkpoint: Checkpoint, payload: _Lazy) -> bool:
        target = self._target_of(checkpoint.trace_id or "")
        if target is None or not found.fits(checkpoint.kind, checkpoint.name, target):
            return False
        if found.condition is None:
            return True
        try:
            return found.holds(payload.plain)
        except ConditionError as error:
            if self._unfit.get(found.id) != str(error):
                self._unfit[found.id] = str(error)
                self._tell(self._all())
            return False

    def _count(self, found: Breakpoint) -> None:
        self._keep(lambda: self._store.count({found.id: 1}))
        if self._problem is not None:  # it holds all the same, for as long as this process lives
            found.hits += 1
            found.enabled = found.enabled and not found.once
        self._tell(self._all())

    def _keep(self, work: Callable[[], list[Breakpoint]]) -> None:
        """Do something with the file; a file that cannot be read or written is told, and those known stay."""
        before = {each.id: each.condition for each in self._breakpoints}
        try:
            self._breakpoints = work()
            self._problem = None
        except BreakpointsProblem as problem:
            self._problem = str(problem)
        # What did not fit is told of the condition that did not, not of one that took its place.
        same = [each.id for each in self._breakpoints if before.get(each.id) == each.condition]
        self._unfit = {name: self._unfit[name] for name in same if name in self._unfit}

    def _all(self) -> Breakpoints:
        known = [each.model_copy() for each in self._breakpoints]
        return Breakpoints(breakpoints=known, problem=self._problem, unfit=dict(self._unfit))

    def _plan(self, trace_id: str, ends: list[Ends]) -> None:
        self._steps[trace_id] = ends
        self._changed()

    def _give_up(self) -> None:
        self._leaving = None
        self._attended = False
        self._steps.clear()
        for stop in list(self._stops.values()):
            self._resume(stop, stop.decide(Decide(stop=stop.name), UNNAMED), None)
        self._changed()


class _Lazy:
    """A payload that becomes JSON when somebody looks, once."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._made: tuple[Any] | None = None

    @property
    def plain(self) -> Any:
        if self._made is None:
            self._made = (shown(self._checkpoint),)
        return self._made[0]
