"""The side of an embedded host that lives on the service's loop: flows, traces, and what clients ask of them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, cast

from penguiflow import PenguiFlow
from penguiflow.ids import new_id
from penguiflow.recording.events import EventRecord
from penguiflow.recording.recorder import Recorder
from penguiflow.state.database import DatabaseStore
from penguiflow.state.errors import StoreError
from playground.debug_frames import DebugRequest
from playground.host.clients import Client, is_chunk
from playground.host.control import Load
from playground.host.debugging import Debugging
from playground.host.outlet import Outlet
from playground.host.records import Records
from playground.host.runs import cancelled, make_message, perform
from playground.host.watchdog import Stall
from playground.loader.inputs import InputRefused, session_of
from playground.loader.runnable import Runnable, runnable_of
from playground.protocol import Accepted, BaseFrame, Cancel, Error, LogLine, ModuleInfo, Result, Run

MAX_RUNS = 1000
"""Runs of clients at once; more are refused."""
ENDING_S = 1.0
"""How long runs of clients may take to end when the host is closed."""
NOT_HERE = "a host inside of a service runs its flows, and nothing recorded; `pf` does that in the project"


class Tap:
    """Hears the events of one flow (this is an `EventSink`)."""

    def __init__(self, name: str, traces: dict[str, str], outlet: Outlet) -> None:
        self._name = name
        self._traces = traces
        self._outlet = outlet
        self._leaves_out = False

    def write(self, record: EventRecord) -> None:
        """Take an event."""
        if record.kind == "trace.start":
            self._traces[record.trace_id] = self._name
        elif record.kind == "trace.end":
            self._traces.pop(record.trace_id, None)
        if self._outlet.congested and is_chunk(record):
            # The service is neither held back nor filled with what clients cannot take; the store has it.
            if not self._leaves_out:
                self._leaves_out = True
                self._outlet.post(lambda hub: hub.add_line(_left_out(self._name)))
            return
        self._outlet.write(record)


class EmbeddedEngine:
    """Listens to flows that run, and does what clients ask (this is the outlet's `Engine`)."""

    def __init__(self, flows: Mapping[str, PenguiFlow], outlet: Outlet, order: Load) -> None:
        """`order` says where the project is and how long stopped runs wait. Raises `LoadProblem`."""
        self.loop = asyncio.get_running_loop()
        self._outlet = outlet
        self._runnables: dict[str, Runnable] = {}
        self._recorders: dict[str, Recorder] = {}
        self._taps: dict[str, Tap] = {}
        self._own: set[str] = set()
        """Flows that had no recorder before."""
        self._traces: dict[str, str] = {}
        """The flow of each trace that is under way."""
        self._performing: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._debugged = False
        for name, flow in flows.items():
            # Planners among the flow's own names are those whose memory can be looked at.
            self._runnables[name] = runnable_of(flow, name, sys.modules["__main__"])
        self.modules = [ModuleInfo(path=name, state="loaded", flows=[r.info]) for name, r in self._runnables.items()]
        for name, flow in flows.items():
            self._tap(name, flow)
        recorder = next(iter(self._recorders.values()))
        outlet.hub.masker = recorder.masker
        self.records = Records(None)
        # It is asked for what every store of traces has.
        self.records.store = cast("DatabaseStore | None", recorder.store)
        self._debugging = Debugging(
            order,
            outlet,
            self.records,
            begin=self._begin,
            changed=self._ask_debugger,
            stops_changed=lambda: None,
            target_of=self._traces.get,
            log_of=self._recorder_of,
            planners=lambda: [planner for each in self._runnables.values() for planner in each.planners],
            runnables=self._runnables.values,
        )
        self._debugger = self._debugging.debugger

    async def close(self) -> None:
        """Let every run go on, end those that clients began, and listen no more."""
        self._debugger.end()
        self._debugging.desk.unattended()
        await self._debugging.queues.close()
        for name, runnable in self._runnables.items():
            runnable.flow.release(self._debugger)
            self._recorders[name].unlisten(self._taps[name])
            if name in self._own:
                runnable.flow.recorder = None
        for trace_id in self._performing:
            self._begin(self._end(trace_id))
        if self._tasks:
            _, late = await asyncio.wait(list(self._tasks), timeout=ENDING_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # -- asked for by the wire's thread, on this loop -----------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many traces are under way."""
        return len(self._traces)

    @property
    def sole_trace(self) -> str | None:
        """Nobody asks for it: what a service prints is its own."""
        return None

    def start_run(self, request: Run, client: Client) -> None:
        """Begin a run."""
        runnable = self._runnables.get(request.target)
        if runnable is None:
            self._refuse(client, request, "not_found", f"no flow {request.target!r} is served here")
        elif request.replay is not None or request.restore is not None:
            self._refuse(client, request, "invalid_input", NOT_HERE)
        elif not runnable.flow.running:
            self._refuse(client, request, "busy", f"the flow {request.target!r} does not run at the moment")
        elif len(self._performing) >= MAX_RUNS or (request.trace_id or "") in self._traces:
            self._refuse(client, request, "busy", "this trace is running, or too many are")
        else:
            trace_id = request.trace_id or new_id()
            try:
                message = make_message(runnable, request, trace_id)
            except InputRefused as error:
                refusal = Error(code="invalid_input", message=str(error), details=error.details)
                self._reply(client, request, refusal)
                return
            self._performing[trace_id] = self._begin(self._run(runnable, message, request, trace_id, client))

    def start_cancel(self, request: Cancel, client: Client) -> None:
        """Cancel a run, of a client or of the service."""
        self._begin(self._cancel(request, client))

    def debug(self, request: DebugRequest, client: Client) -> None:
        """Do what concerns breakpoints, stopped runs, and what is around runs."""
        self._debugging.do(request, client)

    def unattended(self) -> None:
        """No client decides upon stopped runs any more."""
        self._debugger.unattended()

    def unanswered(self) -> None:
        """No client answers questions any more."""
        self._debugging.desk.unattended()

    def note_stall(self, stall: Stall) -> None:
        """A stall of a service is told to clients only."""

    def retire(self, grace_s: float) -> None:
        """There is no supervisor who could want that."""

    def stop(self) -> None:
        """Nor that."""

    # -- inside -------------------------------------------------------------------------------------------------------

    def _tap(self, name: str, flow: PenguiFlow) -> None:
        recorder = flow.recorder
        if recorder is None:
            recorder = flow.recorder = Recorder(name=name)
            self._own.add(name)
        assert isinstance(recorder, Recorder)
        known = recorder in self._recorders.values()
        self._recorders[name] = recorder
        self._taps[name] = Tap(name, self._traces, self._outlet)
        if not known:  # flows that share one are told of once
            recorder.listen(self._taps[name])

    def _recorder_of(self, trace_id: str) -> Recorder | None:
        return self._recorders.get(self._traces.get(trace_id, ""))

    def _ask_debugger(self) -> None:
        """Have the flows ask the debugger, or not any more: without one they are as quick as they are."""
        if self._debugged == self._debugger.wanted:
            return
        self._debugged = not self._debugged
        for runnable in self._runnables.values():
            if self._debugged:
                runnable.flow.intercept(self._debugger)
            else:
                runnable.flow.release(self._debugger)

    async def _run(self, runnable: Runnable, message: Any, request: Run, trace_id: str, client: Client) -> None:
        recorder = self._recorders[runnable.info.target]

        def accept(hub: object) -> None:
            client.reply(request, Accepted(trace_id=trace_id))
            client.follow([trace_id])

        self._outlet.post(accept)
        session = request.session or session_of(request.input)
        noted = {"target": runnable.info.target, **({"session": session} if session else {})}
        recorder.annotate(trace_id, noted)
        if request.stop_first:
            self._debugger.halt(trace_id)
        try:
            if request.trace_id is not None:
                await recorder.prepare(trace_id)
            result = await perform(runnable, message, trace_id, request.deadline_s)
        except asyncio.CancelledError:
            result = cancelled(trace_id)
        except StoreError as error:
            failure = {"code": "STORE", "message": str(error)}
            result = Result(trace_id=trace_id, status="error", error=failure)
        del self._performing[trace_id]
        self._debugger.forget(trace_id)
        try:
            await recorder.flush()
        except StoreError as error:
            result.not_recorded = str(error)
        self._outlet.post(lambda hub: hub.add_result(result), urgent=True)

    async def _cancel(self, request: Cancel, client: Client) -> None:
        name = self._traces.get(request.trace_id)
        if name is None:
            self._refuse(client, request, "not_found", f"trace {request.trace_id} is not running")
            return
        await self._runnables[name].flow.cancel(request.trace_id)
        self._reply(client, request, Accepted(trace_id=request.trace_id))

    async def _end(self, trace_id: str) -> None:
        runnable = self._runnables.get(self._traces.get(trace_id, ""))
        if runnable is None or not await runnable.flow.cancel(trace_id):
            self._performing[trace_id].cancel()

    def _refuse(self, client: Client, request: BaseFrame, code: str, message: str) -> None:
        self._reply(client, request, Error.model_validate({"code": code, "message": message}))

    def _reply(self, client: Client, request: BaseFrame, frame: BaseFrame) -> None:
        self._outlet.post(lambda hub: client.reply(request, frame), urgent=True)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _left_out(name: str) -> LogLine:
    text = f"stream chunks of {name} are left out: there are more than can be sent"
    return LogLine(ts=time.time(), source="log", text=text, level="WARNING")


def order_for(root: Path, home: Path, hold_s: float) -> Load:
    """What a supervisor would have said: where the project is, and how long stopped runs wait."""
    return Load(generation=0, token="", root=str(root), home=str(home), cwd=str(root), targets=[], hold_s=hold_s)
