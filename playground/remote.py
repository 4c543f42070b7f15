"""A host elsewhere: one connection that is made again when it is lost, and the traces of a store that is not here."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import platform
import time
from collections.abc import Callable, Iterable

import pydantic_core

from penguiflow.recording.events import TraceEvent
from penguiflow.state.errors import StoreError
from penguiflow.state.pieces import Pieces
from penguiflow.state.statistics import FlowStatistics, StatisticsQuery
from penguiflow.state.traces import TraceQuery, TraceSummary
from playground.breakpoints import Breakpoint
from playground.host.tokens import TokenProblem
from playground.protocol import (
    HOST_TRACE,
    MAX_PAGE_EVENTS,
    Accepted,
    Answer,
    BaseFrame,
    Breakpoints,
    Cancel,
    Context,
    ContextEdit,
    ContextGet,
    Decide,
    Error,
    Flows,
    FrameError,
    Halt,
    HostStatus,
    Kill,
    Kv,
    KvEdit,
    KvGet,
    LettersEdit,
    LoadEvents,
    Logs,
    Memory,
    MemoryEdit,
    MemoryGet,
    Numbers,
    Page,
    Questions,
    Queues,
    QueuesGet,
    Reload,
    Result,
    Resumed,
    Run,
    Steer,
    Stopped,
    Told,
    Traces,
    decode,
)
from playground.sources import HostState, Inbox, Notice, RunRefused, put_events
from playground.supervisor.batches import PageBytes, read_head, split_batch
from playground.supervisor.client import Connection, ConnectionLost, NotAdmitted, Refused

BACKOFF_S = (0.1, 0.3, 1.0, 2.0, 5.0)
"""Waits before the next try, the last one again and again."""
PING_S = 20.0
FIRST_S = 1.0
TOKEN_EVERY_S = 1.0
"""How often a refused token's file is looked at for another one."""
REFUSED = "the token is refused · copy it anew, then R"
COPY_AGAIN = "it makes new ones at each start: copy its token file anew, then R tries again"
MAX_TRACES = 10_000
"""Traces whose newest event is remembered."""


class RemoteSource:
    """What a host elsewhere has (this is a `playground.sources.Source`)."""

    local = False

    def __init__(self, url: str, token: Callable[[], str], *, read_only: bool = False) -> None:
        """`token` is asked for each try: a host that was started anew has another one. Raises `TokenProblem`.

        With `read_only` nothing is asked for that would change something, whatever the token is good for.
        """
        self.inbox = Inbox()
        self.can_run = not read_only
        self.can_decide = not read_only
        self._url = url
        self._token = token
        self._read_only = read_only
        self._connection: Connection | None = None
        self._running: set[str] = set()
        self._newest: dict[str, int] = {}
        """Newest `seq` that arrived, by trace."""
        self._newest_line = 0.0
        self._host_pid: int | None = None
        self._status_told = False
        """Whether the host has said how it is: one without a supervisor does not."""
        self._stopped: dict[str, Stopped] = {}
        self._joined = asyncio.Event()
        """Set once it was connected."""
        self._shown = ""
        """The token that was tried last."""
        self._away_since: float | None = None
        self._refused = False
        """Whether the token was refused, and is not tried again by itself."""
        self._again = asyncio.Event()
        """Somebody wants a refused token to be tried again."""
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect; how that goes arrives as a state of the host."""
        self._keeping = asyncio.create_task(self._keep_connected())

    async def stop(self) -> None:
        """Hang up."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    # -- what a dashboard asks ----------------------------------------------------------------------------------------

    async def run(self, request: Run) -> str:
        """Start a run; returns its trace id. Raises `RunRefused`."""
        answer = await self._ask(request)
        assert isinstance(answer, Accepted)
        return str(answer.trace_id)

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a run; False when it was over. Raises `RunRefused` when that is not allowed."""
        return await self._ask_whether(Cancel(trace_id=trace_id))

    async def set_breakpoints(self, put: list[Breakpoint], remove: list[str]) -> Breakpoints:
        """Add or replace breakpoints, and remove others by id; returns all. Raises `RunRefused`."""
        answer = await self._ask(Breakpoints(put=put, remove=remove))
        assert isinstance(answer, Breakpoints)
        self.inbox.breakpoints = answer
        return answer

    async def decide(self, request: Decide) -> None:
        """Let a stopped run go on. Raises `RunRefused`; it waits on."""
        await self._ask(request)

    async def halt(self, trace_id: str) -> bool:
        """Stop a run at its next checkpoint; False when it was over. Raises `RunRefused` when that is not allowed."""
        return await self._ask_whether(Halt(trace_id=trace_id))

    async def context(self, request: ContextGet | ContextEdit) -> Context:
        """What is around a stopped run; with an edit, after it. Raises `RunRefused`."""
        answer = await self._ask(request, reads=isinstance(request, ContextGet))
        assert isinstance(answer, Context)
        return answer

    async def memory(self, request: MemoryGet | MemoryEdit, *, stop: str | None = None) -> Memory:
        """What planners remember; with an edit, after it. Raises `RunRefused`."""
        answer = await self._ask(request, reads=isinstance(request, MemoryGet))
        assert isinstance(answer, Memory)
        return answer

    async def kv(self, request: KvGet | KvEdit, *, stop: str | None = None) -> Kv:
        """What tools keep; with an edit, after it. Raises `RunRefused`."""
        answer = await self._ask(request, reads=isinstance(request, KvGet))
        assert isinstance(answer, Kv)
        return answer

    async def queues(self, request: QueuesGet | LettersEdit) -> Queues:
        """The edges of a distributed flow; with a change of its dead letters, after it. Raises `RunRefused`."""
        answer = await self._ask(request, reads=isinstance(request, QueuesGet))
        assert isinstance(answer, Queues)
        return answer

    async def answer_question(self, request: Answer) -> None:
        """Answer a question of a run. Raises `RunRefused`: it was answered, or the answer does not fit."""
        await self._ask(request)

    async def steer(self, request: Steer) -> None:
        """Steer a planner's run while it goes on. Raises `RunRefused`."""
        await self._ask(request)

    async def reload(self) -> None:
        """Load the project's code again; of a host that refused us, ask once more to be let in. Raises `RunRefused`."""
        if self._refused:
            self._again.set()
            return
        await self._ask(Reload())

    async def kill_silent(self) -> bool:
        """End a worker of the host that is silent, with its runs; False when none is. Raises `RunRefused`."""
        try:
            await self._ask(Kill())
        except RunRefused as refusal:
            if refusal.code != "not_found":
                raise
            return False
        return True

    async def find_traces(self, query: TraceQuery) -> list[TraceSummary]:
        """Runs of this and earlier days, newest first; none while the host is away. Raises `StoreError`."""
        with contextlib.suppress(TimeoutError):  # what is asked for at the start waits for the first connection
            await asyncio.wait_for(self._joined.wait(), FIRST_S)
        if self._connection is None:
            return []
        answer = await self._read(Traces(query=query))
        assert isinstance(answer, Traces)
        return answer.traces

    async def statistics(self, query: StatisticsQuery) -> list[FlowStatistics]:
        """Numbers over runs, by flow. Raises `StoreError`, and `RunRefused` while the host is away."""
        answer = await self._ask(Numbers(query=query.model_dump()), reads=True)
        assert isinstance(answer, Numbers)
        return [FlowStatistics.model_validate(each) for each in answer.flows]

    async def load_events(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[TraceEvent]:
        """Committed events of a trace. Raises `StoreError`."""
        return [
            TraceEvent.from_dict(pydantic_core.from_json(each)) for each in await self._load(trace_id, after, limit)
        ]

    async def open_pieces(self, trace_id: str) -> Pieces | None:
        """The store is somewhere else."""
        return None

    async def load_event_bytes(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        """Committed events of a trace, as JSON bytes. Raises `StoreError`."""
        return await self._load(trace_id, after, limit)

    # -- asking -------------------------------------------------------------------------------------------------------

    async def _ask(self, request: BaseFrame, *, reads: bool = False) -> BaseFrame | PageBytes:
        if self._read_only and not reads:
            raise RunRefused("this dashboard only looks on: it was started with --read-only", code="forbidden")
        connection = self._connection
        if connection is None:
            again = REFUSED if self._refused else "the connection is being made again"
            raise RunRefused(f"the host is away; {again}")
        try:
            answer: BaseFrame | PageBytes = await connection.request(request.model_copy())
        except ConnectionLost as error:
            raise RunRefused(str(error)) from None
        if isinstance(answer, Error):
            raise RunRefused(answer.message, answer.details, code=answer.code)
        return answer

    async def _ask_whether(self, request: BaseFrame) -> bool:
        try:
            await self._ask(request)
        except RunRefused as refused:
            if refused.code != "not_found":
                raise
            return False
        return True

    async def _read(self, request: Traces | LoadEvents) -> BaseFrame | PageBytes:
        try:
            return await self._ask(request, reads=True)
        except RunRefused as refused:
            raise StoreError(str(refused)) from None

    async def _load(self, trace_id: str, after: int, limit: int | None) -> list[bytes]:
        found: list[bytes] = []
        while limit is None or len(found) < limit:
            wanted = MAX_PAGE_EVENTS if limit is None else min(limit - len(found), MAX_PAGE_EVENTS)
            page = _as_bytes(await self._read(LoadEvents(trace_id=trace_id, after=after, limit=wanted)))
            found.extend(page.events)
            if not page.more or not page.events:
                break
            head = read_head(page.events[-1])
            assert head is not None
            after = head[1]
        return found

    # -- the connection -----------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        failures = 0
        self._say("starting")
        while True:
            connection: Connection | None = None
            refusal = ""
            try:
                connection = self._new_connection()
                await self._join(connection)
                failures, self._away_since = 0, None
                await connection.closed.wait()
                problem = "the connection is lost"
            except Refused as error:
                refusal = str(error)
            except (ConnectionLost, TokenProblem) as error:
                problem = str(error)
            finally:
                self._connection = None
                if connection is not None:
                    await connection.close()
            if refusal:
                await self._wait_for_another_token(refusal)
                continue
            wait_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            failures += 1
            self._say("offline", f"next try in {wait_s:g} s: {problem}")
            await asyncio.sleep(wait_s)

    async def _wait_for_another_token(self, refusal: str) -> None:
        """What was refused is not tried again by itself, but another token is, as soon as there is one."""
        self._refused = True
        self._again.clear()
        self._say("offline", REFUSED)
        self.inbox.notices.append(Notice(f"{refusal}; {COPY_AGAIN}", "error"))
        try:
            while not self._again.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._again.wait(), TOKEN_EVERY_S)
                with contextlib.suppress(TokenProblem):
                    if self._token() != self._shown:
                        return
        finally:
            self._refused = False

    def _new_connection(self) -> Connection:
        self._shown = self._token()
        return Connection(self._url, self._shown, on_data=self._receive, name=_own_name(), ping_s=PING_S)

    async def _join(self, connection: Connection) -> None:
        """Connect, and ask for what there is. Raises `ConnectionLost`."""
        followed = {*self._running, HOST_TRACE} & self._newest.keys()
        self._status_told = False
        await connection.open({trace_id: self._newest[trace_id] for trace_id in followed})
        hello = connection.hello
        assert hello is not None
        if hello.pid != self._host_pid:  # it counts anew
            self._host_pid = hello.pid
            self._newest.pop(HOST_TRACE, None)
        self.can_run = self.can_decide = bool(hello.control) and not self._read_only
        self._forget_stops()
        flows = await connection.request(Flows())
        shown = await connection.request(Breakpoints(look=not self.can_decide))
        if isinstance(flows, Flows):
            self.inbox.modules = flows.modules
        if isinstance(shown, Breakpoints):
            self.inbox.breakpoints = shown
        elif isinstance(shown, Error) and shown.code == "forbidden":
            self.can_decide = False
        if self.can_decide:
            asked = await connection.request(Questions())
            self.inbox.questions = asked if isinstance(asked, Questions) else None
        self._connection = connection
        self._joined.set()
        if not self._status_told:
            self._say("ready")

    def _forget_stops(self) -> None:
        """The host tells again which runs have stopped."""
        for stop in self._stopped.values():
            self.inbox.stops.append(Resumed(stop=stop.stop, trace_id=stop.trace_id, action="gone"))
        self._stopped.clear()

    def _say(self, state: str, text: str = "") -> None:
        if state == "offline" and self._away_since is None:
            self._away_since = time.time()
        self.inbox.host = HostState(state, text, since=self._away_since if state == "offline" else None)

    # -- what the host tells ------------------------------------------------------------------------------------------

    async def _receive(self, data: bytes) -> None:
        batch = split_batch(data)
        if batch is not None:
            events, dropped = batch
            self.inbox.dropped += dropped
            put_events(self.inbox, self._note(events))
            return
        with contextlib.suppress(FrameError):  # a newer host may have more to say
            self._take(decode(data))

    def _take(self, frame: BaseFrame) -> None:
        inbox = self.inbox
        match frame:
            case Result():
                self._running.discard(frame.trace_id)
                inbox.results.append(frame)
            case Logs():
                inbox.dropped += frame.dropped
                new = [line for line in frame.lines if line.ts > self._newest_line]
                inbox.logs.extend(new)
                self._newest_line = max((line.ts for line in new), default=self._newest_line)
            case Flows():
                inbox.modules = frame.modules
            case HostStatus():
                self._status_told = True
                inbox.host = HostState(frame.state, frame.text, frame.generation, frame.killable)
            case Breakpoints():
                inbox.breakpoints = frame
            case Questions():
                inbox.questions = frame
            case Stopped():
                self._stopped[frame.stop] = frame
                inbox.stops.append(frame)
            case Resumed():
                self._stopped.pop(frame.stop, None)
                inbox.stops.append(frame)
            case Told():
                inbox.notices.append(Notice(frame.text, frame.severity))

    def _note(self, events: Iterable[bytes]) -> Iterable[bytes]:
        """Leave out what is here already: after a reconnect a host tells some things again."""
        for event in events:
            head = read_head(event)
            if head is None:
                continue
            trace_id, seq = head
            start = event[:400]
            begins = b'"kind":"trace.start"' in start
            if seq <= self._newest.get(trace_id, -1) and not (begins and seq == 0 and trace_id not in self._running):
                continue
            if begins:
                self._running.add(trace_id)
            elif b'"kind":"trace.end"' in start:
                self._running.discard(trace_id)
            self._newest[trace_id] = seq
            if len(self._newest) > MAX_TRACES:
                self._newest.pop(next(iter(self._newest)))
            yield event


def _as_bytes(page: BaseFrame | PageBytes) -> PageBytes:
    """A page, however the host has written it."""
    if isinstance(page, Page):
        return PageBytes(page.reply_to or 0, [pydantic_core.to_json(each) for each in page.events], page.more)
    assert isinstance(page, PageBytes)
    return page


async def probe(url: str, token: str) -> bool:
    """Look who is there: True when the token is for full control. Raises `ConnectionLost`, or `NotAdmitted`."""

    async def ignore(data: bytes) -> None:
        """Nothing is asked for yet."""

    connection = Connection(url, token, on_data=ignore, name=_own_name())
    await connection.open()
    await connection.close()
    assert connection.hello is not None
    return bool(connection.hello.control)


def _own_name() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # nobody of this number is known here
        user = "pf"
    return f"{user}@{platform.node()}"


__all__ = ["NotAdmitted", "RemoteSource", "probe"]
