"""A project's host for clients elsewhere: one address that stays, whatever becomes of the workers behind it.

A save brings another worker, a crash too. Clients of a gateway see neither: they stay connected, hear how the host is,
and find runs of every worker that still has some. The workers themselves only know the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any, TypeVar

from penguiflow.state.statistics import StatisticsQuery
from playground.debug_frames import DebugRequest
from playground.host.clients import Client, Hub
from playground.host.outbox import FRAME
from playground.host.outlet import resident_bytes
from playground.host.server import WebSocketServer
from playground.host.tail import Sent
from playground.host.tokens import Tokens
from playground.live import LiveSource
from playground.project import Project
from playground.protocol import (
    Accepted,
    Answer,
    BaseFrame,
    Breakpoints,
    Bye,
    Cancel,
    ContextEdit,
    Decide,
    Error,
    Flows,
    Halt,
    Hello,
    HostStatus,
    KvEdit,
    MemoryEdit,
    Questions,
    Resumed,
    Run,
    Stats,
    Stopped,
    Told,
    encode,
)
from playground.sources import HostState, Inbox, RunRefused
from playground.supervisor.batches import is_chunk, read_head

PUMP_S = 0.015
"""How often what workers have sent is passed on."""
DRAIN_S = 0.3
Shown = TypeVar("Shown", bound=BaseFrame)
STOPPING = (Breakpoints, Decide, Halt, ContextEdit, MemoryEdit, KvEdit)
"""What a host refuses that does not stop runs."""
NO_STOPS = "this host does not stop runs: it was started without --debug"


class Gateway:
    """Serves what a live source has (this is the server's `Host`)."""

    def __init__(
        self, source: LiveSource, project: Project, listening: socket.socket, tokens: Tokens, *, stops: bool = True
    ) -> None:
        """`listening` is where clients connect. Without `stops` no client can stop a run, or change a stopped one."""
        self.hub = Hub()
        self.state = HostState("starting")
        self._source = source
        self._project = project
        self._stops_allowed = stops
        self._modules: list[Any] = []
        self._breakpoints = Breakpoints()
        self._questions = Questions()
        self._stopped: dict[str, Stopped] = {}
        self._decided: dict[str, str | None] = {}
        """Who decided upon a stop, until it is told."""
        self._not_recorded = ""
        self._attended = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = listening
        self._server = WebSocketServer(listening, tokens, self.hub, self)

    async def start(self) -> None:
        """Load the project and accept clients; failures to load are told as a state of the host."""
        self.hub.read = self._read
        self.hub.find = self._source.find_traces
        self.hub.count = self._count
        await self._source.start()
        await self._server.start()
        self._begin(self._pump())

    async def _count(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        found = await self._source.statistics(StatisticsQuery.model_validate(query))
        return [flow.model_dump(mode="json") for flow in found]

    async def stop(self) -> None:
        """Say goodbye, and end every worker and connection."""
        self._take(self._source.inbox)
        self.hub.broadcast(Bye(reason="shutdown"))
        clients = [client.drained() for client in self.hub.clients]
        if clients:
            await asyncio.wait([asyncio.ensure_future(each) for each in clients], timeout=DRAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self._server.close(), self._source.stop())
        self._listening.close()

    # -- what workers have sent ---------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        while True:
            self._take(self._source.inbox)
            await asyncio.sleep(PUMP_S)

    def _take(self, inbox: Inbox) -> None:
        hub = self.hub
        if inbox.modules is not None:
            self._modules, inbox.modules = inbox.modules, None
            hub.broadcast(Flows(modules=self._modules))
        if inbox.host is not None:
            self.state, inbox.host = inbox.host, None
            hub.broadcast(_status(self.state))
        while inbox.events:
            data = inbox.events.popleft()
            head = read_head(data)
            if head is not None:
                hub.add_sent(Sent(*head, data, is_chunk(data)))
        if inbox.questions is not None:
            self._questions, inbox.questions = inbox.questions, None
            hub.broadcast(_told(self._questions))
        while inbox.stops:
            self._note_stop(inbox.stops.popleft())
        while inbox.results:
            hub.add_result(inbox.results.popleft())
        while inbox.logs:
            hub.add_line(inbox.logs.popleft())
        if inbox.breakpoints is not None:
            self._breakpoints, inbox.breakpoints = inbox.breakpoints, None
            hub.broadcast(_told(self._breakpoints))
        while inbox.notices:
            notice = inbox.notices.popleft()
            hub.broadcast(Told.model_validate({"text": notice.text, "severity": notice.severity}))
        if inbox.not_recorded is not None:
            why, inbox.not_recorded = inbox.not_recorded, None
            if why and why != self._not_recorded:
                hub.broadcast(Told(text=f"runs are not recorded: {why}", severity="error"))
            self._not_recorded = why

    def _note_stop(self, frame: Stopped | Resumed) -> None:
        if isinstance(frame, Stopped):
            self._stopped[frame.stop] = frame
        else:
            self._stopped.pop(frame.stop, None)
            frame = frame.model_copy(update={"by": self._decided.pop(frame.stop, frame.by)})
        self.hub.broadcast(_told(frame))

    async def _read(self, trace_id: str, after: int, limit: int) -> list[bytes]:
        return await self._source.load_event_bytes(trace_id, after=after, limit=limit)

    # -- what clients ask for -----------------------------------------------------------------------------------------

    def hello(self) -> Hello:
        """Who this is."""
        return Hello(
            generation=self.state.generation,
            pid=os.getpid(),
            project=str(self._project.root),
            version=version("penguiflow"),
        )

    def joined(self, client: Client) -> None:
        """Tell a client how the host is."""
        client.put(FRAME, encode(_status(self.state)))

    def flows(self) -> Flows:
        """What can be run."""
        return Flows(modules=self._modules)

    def stats(self) -> Stats:
        """How it is doing."""
        return Stats(running=self._source.running, events=self.hub.events, rss_bytes=resident_bytes())

    def run(self, client: Client, request: Run) -> None:
        """Start a run in the worker that has its flow."""
        if request.stop_first and not self._stops_allowed:
            client.reply(request, Error(code="forbidden", message=NO_STOPS))
            return
        if request.stop_first:
            client.decides = True
        self._begin(self._run(client, request))

    def cancel(self, client: Client, request: Cancel) -> None:
        """Cancel a run."""
        self._begin(self._cancel(client, request))

    def debug(self, client: Client, request: DebugRequest) -> None:
        """What concerns breakpoints and stopped runs goes to the worker that has them."""
        if isinstance(request, Breakpoints) and (request.look or not client.controls):
            client.decides = False
            self._begin(self._look(client, request))
        elif isinstance(request, STOPPING) and not self._stops_allowed:
            client.reply(request, Error(code="forbidden", message=NO_STOPS))
        else:
            client.decides = client.decides or isinstance(request, Breakpoints | Decide | Halt)
            client.answers = client.answers or (client.controls and isinstance(request, Questions | Answer))
            if isinstance(request, Decide):
                self._decided[request.stop] = client.name
            self._begin(self._debug(client, request))

    def left(self, client: Client) -> None:
        """A client is gone."""
        self._begin(self._attend())

    def reload(self) -> None:
        """Load the code again."""
        self._begin(self._source.reload())

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _run(self, client: Client, request: Run) -> None:
        answer: BaseFrame
        await self._attend()
        try:
            answer = await self._source.start_run(_bare(request))
        except RunRefused as refusal:
            answer = _refused(refusal)
        client.reply(request, answer)
        if isinstance(answer, Accepted) and answer.trace_id is not None and not client.follows(answer.trace_id):
            client.follow([answer.trace_id])
            self.hub.catch_up(client, answer.trace_id, -1)

    async def _cancel(self, client: Client, request: Cancel) -> None:
        found = await self._source.cancel(request.trace_id)
        missing = Error(code="not_found", message=f"trace {request.trace_id} is not running")
        client.reply(request, Accepted(trace_id=request.trace_id) if found else missing)

    async def _debug(self, client: Client, request: DebugRequest) -> None:
        await self._attend()
        if isinstance(request, Questions):
            client.reply(request, _told(self._questions))
            return
        if not isinstance(request, Breakpoints):
            await self._relay(client, request)
            return
        try:
            self._breakpoints = await self._source.set_breakpoints(request.put, request.remove)
        except RunRefused as refusal:
            client.reply(request, _refused(refusal))
        else:
            self._show(client, request)

    async def _look(self, client: Client, request: Breakpoints) -> None:
        await self._attend()
        with contextlib.suppress(RunRefused):  # without a worker there is what is known
            self._breakpoints = await self._source.set_breakpoints([], [])
        self._show(client, request)

    async def _relay(self, client: Client, request: DebugRequest) -> None:
        try:
            answer = await self._source.relay(_bare(request))
        except RunRefused as refusal:
            answer = _refused(refusal)
        if isinstance(answer, Error) and isinstance(request, Decide):
            self._decided.pop(request.stop, None)
        client.reply(request, answer)

    def _show(self, client: Client, request: Breakpoints) -> None:
        client.reply(request, _told(self._breakpoints))
        for frame in self._stopped.values():
            client.put(FRAME, encode(_told(frame)))

    async def _attend(self) -> None:
        """Runs stop and ask as long as there is a client that decides and answers."""
        wanted = any(client.decides or client.answers for client in self.hub.clients)
        if wanted != self._attended:
            self._attended = wanted
            await self._source.attend(wanted)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _status(state: HostState) -> HostStatus:
    return HostStatus(state=state.state, text=state.text, generation=state.generation, killable=state.killable)


def _told(frame: Shown) -> Shown:
    """As it is told to everybody: no answer to anything."""
    return frame.model_copy(update={"id": None, "reply_to": None})


def _bare(request: Shown) -> Shown:
    """To be sent on, under another number."""
    return request.model_copy(update={"id": None})


def _refused(refusal: RunRefused) -> Error:
    code = refusal.code or ("invalid_input" if refusal.details else "not_found")
    return Error.model_validate({"code": code, "message": str(refusal), "details": refusal.details})
