"""A project that runs: its supervisor, a connection to every worker that serves, and the store of its runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path

import pydantic_core

from penguiflow.recording.events import TraceEvent
from penguiflow.state.database import DatabaseStore
from penguiflow.state.errors import StoreError
from penguiflow.state.pieces import Pieces
from penguiflow.state.statistics import FlowStatistics, StatisticsQuery
from penguiflow.state.traces import TraceQuery, TraceSummary
from playground.breakpoints import Breakpoint
from playground.deciding import Deciding
from playground.host.control import StoreProblem
from playground.loader.limits import LOAD_TIMEOUT_S
from playground.project import Project
from playground.protocol import (
    HOST_TRACE,
    Accepted,
    Answer,
    BaseFrame,
    Breakpoints,
    Cancel,
    Context,
    ContextEdit,
    ContextGet,
    Decide,
    Halt,
    Kill,
    Kv,
    KvEdit,
    KvGet,
    LettersEdit,
    Logs,
    Memory,
    MemoryEdit,
    MemoryGet,
    ModuleInfo,
    Queues,
    QueuesGet,
    Result,
    Run,
    Steer,
    decode,
)
from playground.sources import HostState, Inbox, Notice, RunRefused, put_events
from playground.storing import open_store
from playground.supervisor.batches import read_head, split_batch
from playground.supervisor.client import Connection, ConnectionLost
from playground.supervisor.generations import Generation
from playground.supervisor.process import PRINTED, Death, Worker
from playground.supervisor.recovery import recover
from playground.supervisor.spawn import PortInUse, Prestarted, prestart
from playground.supervisor.supervisor import GRACE_S, Supervisor

CONNECT_S = 30.0
"""How long a worker that serves may take to answer."""
RETRY_S = 0.05
LOADING_S = 30.0
"""How long a run waits for a load that may bring its flow."""
PATIENCE_S = 1.0
"""How long a locked store is waited for: it is asked again soon, and nobody may be kept from leaving."""
MAX_TRACES = 10_000
"""Traces whose newest event is remembered."""


class LiveSource:
    """A project's host, watched and reloaded (this is a `playground.sources.Source`)."""

    can_run = True
    can_decide = True
    local = True

    def __init__(
        self,
        project: Project,
        targets: Sequence[str] = (),
        *,
        port: int = 0,
        prestarted: Prestarted | None = None,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        grace_s: float = GRACE_S,
        attends: bool = True,
    ) -> None:
        """`prestarted` is a first worker that was started before this module was imported.

        `grace_s` is how long runs may go on in a worker that was superseded. Without `attends` no run stops before
        `attend` is called.
        """
        self.inbox = Inbox()
        self._project = project
        self._port = port
        self._prestarted = prestarted
        self._supervisor = Supervisor(
            project, targets, self, cwd=Path.cwd(), grace_s=grace_s, load_timeout_s=load_timeout_s
        )
        self._connections: dict[int, Connection] = {}
        self._deciding = Deciding(self.inbox, self._connections, attends=attends)
        self._running: dict[str, int] = {}
        """Runs under way, and which generation has them."""
        self._newest: dict[str, int] = {}
        """Newest `seq` that arrived, by trace."""
        self._host_seq = 0
        self._errors: dict[str, str] = {}
        self._reader: DatabaseStore | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- from start to stop -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin; failures arrive as a state of the host. Raises `PortInUse` when the port asked for is taken."""
        self._supervisor.start(self._prestarted or prestart(self._port))

    async def stop(self) -> None:
        """End every worker and task."""
        await self._supervisor.stop()
        for connection in list(self._connections.values()):
            await connection.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._reader is not None:
            await self._reader.close()

    @property
    def spare_pid(self) -> int | None:
        """The worker that waits for the next save, if it is there yet."""
        return self._supervisor.spare_pid

    @property
    def running(self) -> int:
        """How many runs are under way."""
        return len(self._running)

    @property
    def worker_pids(self) -> list[int]:
        """Every process there is: those that serve, those that end, and the spare."""
        return self._supervisor.worker_pids

    # -- what a dashboard asks ----------------------------------------------------------------------------------------

    async def run(self, request: Run) -> str:
        """Start a run; returns its trace id. Raises `RunRefused`."""
        return str((await self.start_run(request)).trace_id)

    async def start_run(self, request: Run) -> Accepted:
        """As `run`, with all that the host says of it."""
        if self._supervisor.generations.find(request.target) is None:
            # A save or a restart may be under way that brings it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOADING_S):
                    await self._supervisor.settled.wait()
        refused = RunRefused(self._why_not(request.target))
        tried: set[int] = set()
        while (found := self._supervisor.generations.find(request.target)) is not None:
            generation, flow = found
            connection = self._connections.get(generation.number)
            if connection is None or generation.number in tried:
                break
            tried.add(generation.number)
            try:
                answer = await connection.request(request.model_copy(update={"target": flow.target}))
            except ConnectionLost as error:
                refused = RunRefused(str(error))
                if not generation.worker.ending:
                    break
            else:
                if isinstance(answer, Accepted) and answer.trace_id is not None:
                    return answer
                refused = RunRefused(answer.message, answer.details, code=answer.code)
                if answer.code != "busy":
                    break
            # That worker was being replaced just then: the one in its place takes the run.
        raise refused

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a run; False when it was over."""
        connection = self._connections.get(self._running.get(trace_id, -1))
        if connection is None:
            return False
        try:
            return isinstance(await connection.request(Cancel(trace_id=trace_id)), Accepted)
        except ConnectionLost:
            return False

    async def set_breakpoints(self, put: list[Breakpoint], remove: list[str]) -> Breakpoints:
        """Add or replace breakpoints, and remove others by id; returns all. Raises `RunRefused`."""
        return await self._deciding.set_breakpoints(put, remove)

    async def decide(self, request: Decide) -> None:
        """Let a stopped run go on. Raises `RunRefused`; it waits on."""
        await self._deciding.decide(request)

    async def halt(self, trace_id: str) -> bool:
        """Stop a run at its next checkpoint; False when it was over."""
        connection = self._connections.get(self._running.get(trace_id, -1))
        return await self._deciding.halt(connection, Halt(trace_id=trace_id))

    async def context(self, request: ContextGet | ContextEdit) -> Context:
        """What is around a stopped run; with an edit, after it. Raises `RunRefused`."""
        return await self._deciding.context(request)

    async def memory(self, request: MemoryGet | MemoryEdit, *, stop: str | None = None) -> Memory:
        """What planners remember; with an edit, after it. `stop`: of the host that has it. Raises `RunRefused`."""
        return await self._deciding.memory(request, stop=stop)

    async def kv(self, request: KvGet | KvEdit, *, stop: str | None = None) -> Kv:
        """What tools keep; with an edit, after it. `stop`: of the host that has it. Raises `RunRefused`."""
        return await self._deciding.kv(request, stop=stop)

    async def queues(self, request: QueuesGet | LettersEdit) -> Queues:
        """The edges of a distributed flow; with a change of its dead letters, after it. Raises `RunRefused`."""
        return await self._deciding.queues(request)

    async def answer_question(self, request: Answer) -> None:
        """Answer a question of a run. Raises `RunRefused`: it was answered, or the answer does not fit."""
        await self._deciding.answer(request)

    async def steer(self, request: Steer) -> None:
        """Steer a planner's run while it goes on. Raises `RunRefused`."""
        if request.trace_id not in self._running:
            raise RunRefused("this run is over", code="not_found")
        await self._deciding.relay(request, self._running[request.trace_id])

    async def attend(self, attends: bool) -> None:
        """Have runs stop at breakpoints from now on, or not any more."""
        await self._deciding.attend_all(attends)

    async def relay(self, request: BaseFrame) -> BaseFrame:
        """Pass a request of debugging on to the worker that it concerns; gives its answer. Raises `RunRefused`."""
        if isinstance(request, Kill):
            if self._supervisor.kill_silent():
                return Accepted()
            raise RunRefused("no host is silent or blocked", code="not_found")
        return await self._deciding.relay(request, self._running.get(getattr(request, "trace_id", "")))

    async def reload(self) -> None:
        """Load the project's code again."""
        self._supervisor.reload()

    async def kill_silent(self) -> bool:
        """End a host that is silent, or blocked for 2 s, with its runs; False when none is. Another takes its place."""
        return self._supervisor.kill_silent()

    async def find_traces(self, query: TraceQuery) -> list[TraceSummary]:
        """Runs of this and earlier days, newest first. Raises `StoreError`."""
        return await self._store().find_traces(query)

    async def statistics(self, query: StatisticsQuery) -> list[FlowStatistics]:
        """Numbers over runs, by flow. Raises `StoreError`."""
        return await self._store().statistics(query)

    async def load_events(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[TraceEvent]:
        """Committed events of a trace. Raises `StoreError`."""
        return await self._store().load_events(trace_id, after=after, limit=limit)

    async def open_pieces(self, trace_id: str) -> Pieces | None:
        """What is committed of a trace, piece by piece. Raises `StoreError`."""
        return await self._store().open_pieces(trace_id)

    async def load_event_bytes(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        """Committed events of a trace, as JSON bytes. Raises `StoreError`."""
        return await self._store().load_event_bytes(trace_id, after=after, limit=limit)

    # -- what the supervisor tells (this is its `Listener`) -----------------------------------------------------------

    async def serving(self, generation: Generation) -> None:
        """Connect to a worker before its modules are announced."""
        number = generation.number
        connection = Connection(
            self._supervisor.url, self._supervisor.token, on_data=lambda data: self._receive(data, number)
        )
        limit = time.monotonic() + CONNECT_S
        while time.monotonic() < limit:
            try:
                await connection.open()
            except ConnectionLost:
                if generation.worker.death is not None:
                    return
            else:
                if connection.hello is not None and connection.hello.generation == number:
                    self._connections[number] = connection
                    # Asked before any run that is started from here, without waiting for code that blocks its loop.
                    self._begin(self._deciding.attend(number))
                    return
                # The worker before this one was quicker to accept: it will not be again.
                await connection.close()
            await asyncio.sleep(RETRY_S)

    def modules_changed(self, modules: list[ModuleInfo]) -> None:
        """Show what can be run now; a new error is told once more as an event."""
        self.inbox.modules = modules
        errors = {module.path: module.error.message for module in modules if module.error is not None}
        for module in modules:
            if module.error is not None and self._errors.get(module.path) != module.error.message:
                self._host_event("code.failed", module.path, module.error.model_dump(exclude_none=True))
        self._errors = errors

    def state_changed(self, state: HostState) -> None:
        """Show how the host is."""
        self.inbox.host = state

    def printed(self, logs: Logs) -> None:
        """Show what workers print; while only one run is under way, it is taken for that run's."""
        trace_id = next(iter(self._running)) if len(self._running) == 1 else None
        self.inbox.dropped += logs.dropped
        self.inbox.logs.extend(line.model_copy(update={"trace_id": trace_id}) for line in logs.lines)

    def cannot_record(self, problem: StoreProblem) -> None:
        """Say that runs are not kept."""
        self.inbox.not_recorded = problem.message

    def died(self, worker: Worker, death: Death) -> None:
        """End what the worker had under way."""
        self._begin(self._mourn(worker, death))

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _mourn(self, worker: Worker, death: Death) -> None:
        """First everything that the worker had sent, then how its runs ended."""
        connection = self._connections.pop(worker.generation, None)
        if connection is not None:
            await connection.lost()
            await connection.close()
        if connection is not None and not death.expected:
            self._host_event(
                "host.died", f"generation {worker.generation}", {"exit_code": death.exit_code, "signal": death.signal}
            )
            last_words = death.stderr.strip().splitlines()
            self.inbox.notices.append(Notice(f"the host died: {death.text}", "error"))
            if last_words and death.signal is not None:
                self.inbox.notices.append(Notice(last_words[0][:200], "error"))
        self._deciding.worker_gone(worker.generation)
        lost = [trace_id for trace_id, number in self._running.items() if number == worker.generation]
        if lost or (connection is not None and not death.expected):
            await recover(self._project, death)
        for trace_id in lost:
            await self._close_run(trace_id, death)

    async def _close_run(self, trace_id: str, death: Death) -> None:
        """A run without a host: what the store has of it, and its end."""
        self._running.pop(trace_id, None)
        try:
            missed = await self.load_event_bytes(trace_id, after=self._newest.get(trace_id, -1))
        except StoreError as error:
            self.inbox.notices.append(Notice(f"events of {trace_id[:8]} cannot be read: {error}", "warning"))
            missed = []
        self._put(missed)
        reason = {"code": "HOST_DIED", "message": f"the host died: {death.text}"}
        self.inbox.results.append(Result(trace_id=trace_id, status="interrupted", error=reason))

    async def _receive(self, data: bytes, generation: int) -> None:
        batch = split_batch(data)
        if batch is not None:
            events, dropped = batch
            self.inbox.dropped += dropped
            self._put(self._note(events, generation))
            return
        frame = decode(data)
        if isinstance(frame, Result):
            self._running.pop(frame.trace_id, None)
            if self._supervisor.records:
                self.inbox.not_recorded = frame.not_recorded or ""
            self._deciding.trace_over(frame.trace_id)
            self.inbox.results.append(frame)
        elif isinstance(frame, Logs):
            self.inbox.logs.extend(line for line in frame.lines if line.source not in PRINTED)
        else:
            self._deciding.take(frame, generation)

    def _note(self, events: Iterable[bytes], generation: int) -> Iterable[bytes]:
        """Remember how far each trace has come, and give the host's own events one sequence."""
        for event in events:
            head = read_head(event)
            if head is not None:
                trace_id, seq = head
                if trace_id == HOST_TRACE:
                    if b'"kind":"code.failed"' not in event:  # told by `modules_changed`, for every worker
                        yield self._renumber(event)
                    continue
                if b'"kind":"trace.start"' in event[:400]:
                    self._running[trace_id] = generation
                self._newest[trace_id] = seq
                if len(self._newest) > MAX_TRACES:
                    self._newest.pop(next(iter(self._newest)))
            yield event

    def _renumber(self, event: bytes) -> bytes:
        numbered = b'{"seq":%d' % self._host_seq + event[event.index(b",") :]
        self._host_seq += 1
        return numbered

    def _host_event(self, kind: str, name: str, data: dict[str, object]) -> None:
        event = TraceEvent(self._host_seq, 0, HOST_TRACE, "0", None, time.time(), 0, kind, name, data)
        self._host_seq += 1
        self._put([pydantic_core.to_json(event.to_dict())])

    def _put(self, events: Iterable[bytes]) -> None:
        put_events(self.inbox, events)

    def _why_not(self, target: str) -> str:
        for module in self._supervisor.generations.modules():
            if module.path == target and module.error is not None:
                return f"{module.path}: {module.error.message}"
        return f"no flow {target!r} is loaded"

    def _store(self) -> DatabaseStore:
        if self._reader is None:
            self._reader = open_store(self._project, read_only=True, patience_s=PATIENCE_S)
        return self._reader

    def _begin(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


__all__ = ["LiveSource", "PortInUse"]
