"""The user's side of the worker: its flows, started once, and the runs that are under way."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from penguiflow.bus.errors import BusError
from penguiflow.bus.opening import another_bus
from penguiflow.endings import Endings
from penguiflow.ids import new_id
from penguiflow.observer import BACKGROUND_TASK
from penguiflow.recording.offline import Offline
from penguiflow.recording.recorder import Recorder
from penguiflow.state.errors import StoreError
from penguiflow.steering.inboxes import inboxes
from playground.debug_frames import DebugRequest
from playground.distribution import bus_of, own_store
from playground.host.clients import Client, Hub
from playground.host.control import Held, Imported, Load, Loaded
from playground.host.debugging import Debugging
from playground.host.outlet import stall_data
from playground.host.queues import tell_buses
from playground.host.records import Records
from playground.host.replays import perform_replay
from playground.host.restores import perform_restore
from playground.host.runs import BUS, RunRecorder, Versions, cancelled, make_message, perform
from playground.host.spread import Mute, SpreadRun
from playground.host.watchdog import Stall
from playground.host.wire import Wire
from playground.loader.inputs import InputRefused, session_of
from playground.loader.project_loader import ProjectLoader
from playground.loader.runnable import Runnable
from playground.project import Project, ProjectError
from playground.protocol import Accepted, BaseFrame, Cancel, Error, LogLine, ModuleInfo, QueuesGet, Result, Run

MAX_RUNS = 1000
"""Runs at once; more are refused."""
FLOW_STOP_S = 0.6
"""How long flows may take to stop; then their traces are closed over their heads."""


class Engine:
    """Runs what a loader found, for whoever asks through the wire."""

    def __init__(
        self, order: Load, loader: ProjectLoader, wire: Wire, records: Records, watched: Offline | None = None
    ) -> None:
        """`watched`: nothing has been able to connect since before the first import."""
        self.loop = asyncio.get_running_loop()
        self.modules: list[ModuleInfo] = []
        self.running = 0
        self._order = order
        self._loader = loader
        self._wire = wire
        self._records = records
        self._watched = watched
        self._runnables: dict[str, Runnable] = {}
        self._recorders: dict[int, RunRecorder] = {}
        self._spread: set[int] = set()
        """Flows that run in workers."""
        self._project = Project(Path(order.root), Path(order.home))
        self._traces: dict[str, Runnable] = {}
        self._performing: dict[str, asyncio.Task[None]] = {}
        """Runs whose result is not known yet."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._retired = False
        self._replayed: str | None = None
        """The trace of the replay that is under way."""
        self._not_recorded: str | None = None
        """What clients were told of a store that cannot be written."""
        self._stopping = asyncio.Event()
        self._debugging = Debugging(
            order,
            wire,
            records,
            begin=self._begin,
            changed=self._ask_debugger,
            stops_changed=self._tell_held,
            target_of=self._debugged_target,
            log_of=self._recorder_of,
            planners=self._planners,
            runnables=self._all,
        )
        self._debugger = self._debugging.debugger
        self._debugged = False
        """Whether the flows ask it."""
        self._grace_s: float | None = None
        """How long runs may go on when it is to end."""
        self._grace: asyncio.TimerHandle | None = None

    async def serve(self, loaded_ms: Callable[[], float]) -> None:
        """Build the flows, report, and run them until told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.stop)
        Endings.interrupts_end_loop = False
        await self._loader.build_all()
        self._wire.loading = None
        self.modules = self._loader.modules
        for module in self.modules:
            for flow in module.flows:
                flow.generation = self._order.generation
        self._runnables = self._loader.runnables
        tell_buses(self._runnables.values(), self._project)
        problem = self._records.complete() if self._runnables else None
        if self._records.store is not None:
            self._wire.hub.read = self._records.read
            self._wire.hub.find = self._records.find
            self._wire.hub.count = self._records.count
        self._wire.attach(self, Path(self._order.root))
        self._wire.post(self._announce)
        files, helpers = self._loader.sources.files, self._loader.helpers
        self._wire.control.send(
            Loaded(modules=self.modules, files=files, helpers=helpers, ms=loaded_ms(), store_problem=problem)
        )
        await self._stopping.wait()
        await self._shut_down()

    # -- asked for by the wire, on this loop --------------------------------------------------------------------------

    def start_run(self, request: Run, client: Client) -> None:
        """Begin a run."""
        refusal = self._refuse(request)
        if refusal is None:
            runnable = self._find(request.target)
            assert runnable is not None
            trace_id = request.trace_id or new_id()
            recorded = request.replay is not None or request.restore is not None
            if self._runs_otherwise(runnable, recorded):
                self._begin(self._run_anew(runnable, request, client))
                return
            try:
                message = None if recorded else make_message(runnable, request, trace_id)
                self._start_flow(runnable, recorded)
            except (BusError, ProjectError) as error:
                refusal = Error(code="bus", message=str(error))
            except InputRefused as error:
                refusal = Error(code="invalid_input", message=str(error), details=error.details)
            except Exception as error:  # validators and the flow's own set-up are user code
                refusal = Error(code="load_error", message=f"{type(error).__name__}: {error}")
            else:
                # From here on it counts as running: a worker that is told to retire waits for it.
                self._traces[trace_id] = runnable
                self._replayed = None if request.replay is None else trace_id
                self.running = len(self._traces)
                self._performing[trace_id] = self._begin(self._run(runnable, message, request, trace_id, client))
                return
        self._reply(client, request, refusal)

    def start_cancel(self, request: Cancel, client: Client) -> None:
        """Cancel a run."""
        self._begin(self._cancel(request, client))

    def debug(self, request: DebugRequest, client: Client) -> None:
        """Do what concerns breakpoints, stopped runs, and what is around runs."""
        self._debugging.do(request, client)

    def unattended(self) -> None:
        """The last client that decides upon stopped runs is gone."""
        self._debugger.unattended()

    def unanswered(self) -> None:
        """The last client that answers questions is gone."""
        self._debugging.desk.unattended()

    def note_stall(self, stall: Stall) -> None:
        """Write a stall that is over into the log of the trace that caused it, if that is known and open."""
        trace_id = stall.trace_id or self.sole_trace
        runnable = self._traces.get(trace_id) if trace_id is not None else None
        if runnable is not None and trace_id is not None:
            log = self._recorders[id(runnable)].open_logs.get(trace_id)
            if log is not None:
                log.event("stall", stall.frame.function if stall.frame else "", log.root, stall_data(stall))

    def retire(self, grace_s: float) -> None:
        """Take no more runs, and end after those there are, or after the grace. It begins when no run is stopped."""
        self._retired = True
        self._grace_s = grace_s
        self._begin_grace()
        self._end_if_retired()

    def stop(self) -> None:
        """End now."""
        self._stopping.set()

    @property
    def sole_trace(self) -> str | None:
        """The only run under way, if there is only one."""
        traces = list(self._traces)
        return traces[0] if len(traces) == 1 else None

    # -- inside -------------------------------------------------------------------------------------------------------

    def _refuse(self, request: Run) -> Error | None:
        if self._retired or self._stopping.is_set():
            return Error(code="busy", message="this host is ending; a newer one serves")
        if len(self._traces) >= MAX_RUNS:
            return Error(code="busy", message=f"{MAX_RUNS} runs are under way")
        if request.trace_id is not None and request.trace_id in self._traces:
            return Error(code="busy", message=f"trace {request.trace_id} is running")
        if self._replayed is not None or (request.replay is not None and self._traces):
            # It blocks connections and answers calls: another run would not be what it is.
            return Error(code="busy", message="a replay and other runs cannot share a process; wait for their end")
        if self._find(request.target) is not None:
            return None
        for module in self.modules:
            if module.path == request.target.rpartition(":")[0] or module.path == request.target:
                if module.error is not None and not module.flows:
                    return Error(code="load_error", message=f"{module.path} {module.error.message}")
                if len(module.flows) > 1:
                    choices = ", ".join(flow.target for flow in module.flows)
                    return Error(code="not_found", message=f"{request.target} has several flows: {choices}")
        return Error(code="not_found", message=f"no flow {request.target!r} is loaded")

    def _find(self, target: str) -> Runnable | None:
        if target in self._runnables:
            return self._runnables[target]
        for runnable in self._runnables.values():
            path = runnable.info.target.rpartition(":")[0] or runnable.info.target
            if target == f"{path}:{runnable.attribute}":
                return runnable
        return None

    def _start_flow(self, runnable: Runnable, recorded: bool) -> None:
        """Run a flow; what goes on from a recording runs in this process, also of a flow whose nodes are in workers."""
        if id(runnable) in self._recorders:
            return
        flow, name = runnable.flow, runnable.info.name
        data = {"flow": name, "target": runnable.info.target}
        masker = self._wire.hub.masker
        bus = None if recorded or runnable.info.kind != "flow" else bus_of(flow, self._project)
        versions = Versions(runnable, self._loader.version)
        if flow._answerer is None:
            flow.answer_with(self._debugging.desk)
        if bus is None:
            inner = Recorder(self._wire, store=self._records.store, name=name, data=data, masker=masker)
            recorder = RunRecorder(inner, versions, self._wire)
            mute = Mute() if runnable.info.bus is not None else None
            flow.run(registry=runnable.registry, recorder=recorder, message_bus=mute)
        else:
            store = own_store(flow) or self._records.store
            inner = Recorder(store=store, name=name, data=data, masker=masker)
            recorder = RunRecorder(inner, versions, self._wire)
            bus = another_bus(bus) or bus
            flow.run(registry=runnable.registry, recorder=inner, message_bus=bus, state_store=store)
            self._spread.add(id(runnable))
        self._recorders[id(runnable)] = recorder
        if self._debugged:
            flow.intercept(self._debugger)

    def _runs_otherwise(self, runnable: Runnable, recorded: bool) -> bool:
        """Whether a flow runs in workers that is to go on here, or the other way round."""
        if id(runnable) not in self._recorders or runnable.info.bus is None:
            return False
        return (id(runnable) in self._spread) == recorded

    async def _run_anew(self, runnable: Runnable, request: Run, client: Client) -> None:
        """Stop a flow, and run it where it is to run now."""
        if runnable in self._traces.values():
            text = f"{runnable.info.target} has runs under way in workers, and others here: wait for their end"
            self._reply(client, request, Error(code="busy", message=text))
            return
        await self._stop_flow(runnable)
        self.start_run(request, client)

    async def _stop_flow(self, runnable: Runnable) -> None:
        self._recorders.pop(id(runnable), None)
        self._spread.discard(id(runnable))
        await runnable.flow.stop()

    async def _call_workers(
        self, runnable: Runnable, message: Any, trace_id: str, recorder: RunRecorder, deadline_s: float | None
    ) -> Result:
        """Run a distributed flow, and tell what its workers write."""
        target = runnable.info.target
        recorder.annotate(trace_id, {"version": self._loader.version(runnable)})

        async def ask() -> BaseFrame:
            return await self._debugging.queues.do(QueuesGet(target=target), None)

        store = recorder.shared.store
        assert store is not None  # a flow without one does not run in workers
        run = SpreadRun(trace_id, store, self._wire, target, ask)
        await run.begin()
        gone = True
        try:
            result = await perform(runnable, message, trace_id, deadline_s)
            gone = (result.error or {}).get("code") == BUS
        finally:
            await run.finish(gone=gone)
            recorder.note(trace_id, run.status)
        if gone and list(self._traces.values()).count(runnable) == 1:
            await self._stop_flow(runnable)  # the next run tries again
        return result

    def _ask_debugger(self) -> None:
        """Have the flows ask the debugger, or not any more: without one they are as quick as they are."""
        if self._debugged == self._debugger.wanted:
            return
        self._debugged = not self._debugged
        for runnable in self._runnables.values():
            if id(runnable) in self._recorders:
                if self._debugged:
                    runnable.flow.intercept(self._debugger)
                else:
                    runnable.flow.release(self._debugger)

    def _recorder_of(self, trace_id: str) -> RunRecorder | None:
        runnable = self._traces.get(trace_id)
        return None if runnable is None else self._recorders.get(id(runnable))

    def _all(self) -> list[Runnable]:
        return list(self._runnables.values())

    def _planners(self) -> list[Any]:
        """The project's planners: those that are run, and those that its modules have."""
        found: dict[int, Any] = {}
        for runnable in self._runnables.values():
            found.update((id(planner), planner) for planner in runnable.planners)
        return list(found.values())

    def _tell_held(self) -> None:
        """The runs that have stopped are others."""
        self._wire.control.send(Held(traces=sorted(self._held)))
        self._begin_grace()

    @property
    def _held(self) -> set[str]:
        """Runs that wait for a client: at a stop, or with a question."""
        return {*self._debugger.stopped, *self._debugging.desk.waiting}

    def _begin_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self._grace_s is not None and not self._held:
            self._grace = self.loop.call_later(self._grace_s, self.stop)

    def _debugged_target(self, trace_id: str) -> str | None:
        """The flow of a trace; None where there is nothing to decide: a replay has its decisions from its recording."""
        runnable = self._traces.get(trace_id)
        return None if runnable is None or trace_id == self._replayed else runnable.info.target

    async def _run(self, runnable: Runnable, message: Any, request: Run, trace_id: str, client: Client) -> None:
        recorder = self._recorders[id(runnable)]
        accepted = Accepted(trace_id=trace_id, version=self._loader.version(runnable))
        self._accept(client, request, accepted, trace_id)
        self._debugger.refresh()
        if request.stop_first and request.replay is None:
            self._debugger.halt(trace_id)
        if request.replay is None:
            inboxes.offer(trace_id)
        session = session_of(request.input) if request.session is None else request.session
        if session is not None:
            recorder.annotate(trace_id, {"session": session})
        try:
            if request.trace_id is not None:
                await recorder.prepare(trace_id)
            store = self._records.store
            if request.replay is not None:
                result = await perform_replay(
                    runnable, request.replay, trace_id, store, recorder.annotate, self._watched
                )
            elif request.restore is not None:
                result = await perform_restore(runnable, request.restore, trace_id, store, recorder.annotate)
            elif id(runnable) in self._spread:
                result = await self._call_workers(runnable, message, trace_id, recorder, request.deadline_s)
            else:
                result = await perform(runnable, message, trace_id, request.deadline_s)
        except asyncio.CancelledError:
            result = cancelled(trace_id)
        del self._performing[trace_id]
        inboxes.withdraw(trace_id)
        self._debugger.forget(trace_id)
        result.version = self._loader.version(runnable)
        if result.version != runnable.info.version:
            self._tell_imports()
        recorder.settle(result)
        # Who hears of the end may look it up at once, or end this process.
        try:
            await recorder.flush()
        except StoreError as error:
            result.not_recorded = self._not_recorded = str(error)
        self._tell_result(result)
        self._traces.pop(trace_id, None)
        self._replayed = None
        self.running = len(self._traces)
        self._end_if_retired()

    async def _cancel(self, request: Cancel, client: Client) -> None:
        trace_id = request.trace_id
        task = self._performing.get(trace_id)
        if task is None:
            self._reply(client, request, Error(code="not_found", message=f"trace {trace_id} is not running"))
            return
        told = False
        with suppress(BusError, StoreError):
            told = await self._traces[trace_id].flow.cancel(trace_id)
        if not told:
            # The flow has no message of it yet, or was told before and a node does not listen: nobody waits for it.
            task.cancel()
        self._reply(client, request, Accepted(trace_id=trace_id))

    def _tell_imports(self) -> None:
        """The supervisor compares versions to know whether a load brings anything new."""
        for runnable in self._runnables.values():
            runnable.info.version = self._loader.version(runnable)
        versions = {target: runnable.info.version for target, runnable in self._runnables.items()}
        self._wire.control.send(Imported(versions=versions, files=self._loader.sources.files))

    def _warn(self, error: StoreError) -> None:
        """Say that the last events are lost, unless a result has said so."""
        if self._not_recorded is None:
            line = LogLine(ts=time.time(), source="log", level="ERROR", text=f"not all is recorded: {error}")
            self._wire.post(lambda hub: hub.add_line(line))

    def _announce(self, hub: Hub) -> None:
        for module in self.modules:
            if module.flows:
                about = {"version": module.flows[0].version, "ms": module.load_ms}
                hub.add_host_event("code.loaded", module.path, about)
            if module.error is not None:
                hub.add_host_event("code.failed", module.path, module.error.model_dump(exclude_none=True))

    def _reply(self, client: Client, request: BaseFrame, frame: BaseFrame) -> None:
        self._wire.post(lambda hub: client.reply(request, frame), urgent=True)

    def _accept(self, client: Client, request: BaseFrame, frame: BaseFrame, trace_id: str) -> None:
        def accept(hub: Hub) -> None:
            client.reply(request, frame)
            client.follow([trace_id])

        self._wire.post(accept)

    def _tell_result(self, result: Result) -> None:
        self._wire.post(lambda hub: hub.add_result(result), urgent=True)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _end_if_retired(self) -> None:
        if self._retired and not self._traces:
            self.stop()

    async def _shut_down(self) -> None:
        self._retired = True
        flows = [runnable.flow for runnable in self._runnables.values() if id(runnable) in self._recorders]
        stopping = [self.loop.create_task(flow.stop()) for flow in flows]
        if stopping:
            await asyncio.wait(stopping, timeout=FLOW_STOP_S)
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=0.1)
        # What planners left to the background: its traces are to have an end.
        left = [task for task in asyncio.all_tasks(self.loop) if task.get_name() == BACKGROUND_TASK]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=FLOW_STOP_S)
        await self._debugging.queues.close()
        for recorder in self._recorders.values():
            for trace_id in recorder.close_all():
                error = {"code": "HOST_ENDED", "message": "the host ended before the run did"}
                result = Result(trace_id=trace_id, status="interrupted", error=error)
                result.not_recorded = self._not_recorded
                self._tell_result(result)
        if self._records.store is not None:
            try:
                await self._records.store.close()
            except StoreError as error:
                self._warn(error)
        self._wire.finish()
