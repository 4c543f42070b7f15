"""The worker's second thread: clients, control and watchdog, alive whatever the user's code does."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import queue
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from penguiflow.recording.events import EventRecord
from playground.debug_frames import DebugRequest
from playground.host.clients import Client, Hub
from playground.host.control import (
    MAX_LINE_BYTES,
    Blocked,
    ControlSender,
    Load,
    ReloadAsked,
    Retire,
    Serve,
    Serving,
    Stop,
    ToWorker,
    Yield,
    Yielded,
    decode_for_worker,
)
from playground.host.server import WebSocketServer
from playground.host.tokens import Tokens
from playground.host.watchdog import Stall, Watchdog
from playground.loader.usercode import blocking_frame
from playground.protocol import (
    Breakpoints,
    Bye,
    Cancel,
    Decide,
    Error,
    Flows,
    Halt,
    Hello,
    LogLine,
    Logs,
    ModuleInfo,
    Run,
    Stats,
)

THREAD_NAME = "penguiflow-wire"
FLUSH_EVERY_S = 0.015
STOP_GRACE_S = 1.0
"""How long user code may take to end before the process does."""
DRAIN_S = 0.3
GUARD_EVERY_S = 0.1
MAX_QUEUED = 100_000
"""Events that wait for this thread before a flow has to."""
SEND_TURNS = 3
"""Turns of the loop from an event in a client's queue to its bytes in the socket."""
VERSION = version("penguiflow")


class Engine(Protocol):
    """The other thread's side. Called on its own loop."""

    loop: asyncio.AbstractEventLoop
    modules: list[ModuleInfo]
    running: int

    @property
    def sole_trace(self) -> str | None:
        """The only run under way, if there is only one. Read from the wire's thread."""
        ...

    def start_run(self, request: Run, client: Client) -> None:
        """Begin a run."""
        ...

    def start_cancel(self, request: Cancel, client: Client) -> None:
        """Cancel a run."""
        ...

    def debug(self, request: DebugRequest, client: Client) -> None:
        """Do what concerns breakpoints, stopped runs, and what is around runs."""
        ...

    def unattended(self) -> None:
        """No client decides upon stopped runs any more."""
        ...

    def note_stall(self, stall: Stall) -> None:
        """Write a stall that is over into the log of the trace that caused it."""
        ...

    def retire(self, grace_s: float) -> None:
        """Take no more runs, and end after those there are."""
        ...

    def stop(self) -> None:
        """End now."""
        ...


class Wire:
    """Owns the thread, its loop, and everything on it."""

    def __init__(self, control: socket.socket, listening: socket.socket) -> None:
        self.control = ControlSender(control.dup())
        self.load: queue.SimpleQueue[Load] = queue.SimpleQueue()
        """The supervisor's orders to load, for the main thread."""
        self.hub = Hub()
        self.loading: tuple[str, float] | None = None
        """What the main thread is loading, and since when (monotonic)."""
        self._control = control
        self._listening = listening
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: deque[EventRecord | Callable[[Hub], None]] = deque()
        self._scheduled = False
        self._flushed_at = 0.0
        self._engine: Engine | None = None
        self._watchdog: Watchdog | None = None
        self._server: WebSocketServer | None = None
        self._order: Load | None = None
        self._modules: list[ModuleInfo] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished = threading.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name=THREAD_NAME, daemon=True)

    # -- called on the main thread ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; returns when it is there."""
        self._thread.start()
        self._started.wait()

    def attach(self, engine: Engine, root: Path) -> None:
        """The user's loop runs: requests go to it, and the watchdog asks for it."""
        self._engine = engine
        watchdog = self._watchdog = Watchdog(engine.loop, root, self._stalled)
        self._call(lambda: self._begin(watchdog.watch()))

    def write(self, record: EventRecord) -> None:
        """Take an event (this is an `EventSink`)."""
        self.post(record)

    def post(self, item: EventRecord | Callable[[Hub], None], *, urgent: bool = False) -> None:
        """Pass something to the wire's loop, in order; what is urgent does not wait for a batch to fill."""
        self._queue.append(item)
        if urgent:
            self._call(self._flush)
        elif not self._scheduled:
            self._scheduled = True
            self._call(self._schedule_flush)

    @property
    def congested(self) -> bool:
        """True while this thread cannot keep up with the events."""
        return len(self._queue) > MAX_QUEUED

    async def wait_ready(self) -> None:
        """Return once it has caught up."""
        while self.congested:
            await self.sent()

    async def sent(self) -> None:
        """Return once everything posted so far was handed to the connections that take it."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def answer() -> None:
            if not done.done():
                done.set_result(None)

        async def hand_over() -> None:
            for _ in range(SEND_TURNS):
                await asyncio.sleep(0)
            with contextlib.suppress(RuntimeError):  # the other loop may be closed by now
                loop.call_soon_threadsafe(answer)

        self.post(lambda hub: self._begin(hand_over()), urgent=True)
        await done

    def finish(self) -> None:
        """Send what is left and say goodbye. The thread stays: what user code left running may not keep the process."""
        self._call(lambda: self._begin(self._finish()))
        self._finished.wait(DRAIN_S + STOP_GRACE_S)

    # -- the thread ---------------------------------------------------------------------------------------------------

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started.set()
        reader, _ = await asyncio.open_connection(sock=self._control, limit=MAX_LINE_BYTES)
        self._begin(self._obey(reader))
        self._begin(self._guard_loading())
        await asyncio.Event().wait()

    def _call(self, function: Callable[[], object]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the thread has ended, and so will the process
            return

    def _begin(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _schedule_flush(self) -> None:
        """The first event after a pause goes out at once, the others in batches."""
        wait = self._flushed_at + FLUSH_EVERY_S - time.monotonic()
        if wait <= 0:
            self._flush()
        else:
            asyncio.get_running_loop().call_later(wait, self._flush)

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        self._scheduled = False
        for _ in range(len(self._queue)):
            item = self._queue.popleft()
            # Boundary: whatever is in a payload or a result, the others go out, and it is said which did not.
            try:
                if isinstance(item, EventRecord):
                    self.hub.add_record(item)
                else:
                    item(self.hub)
            except Exception as error:
                what = f"event {item.seq} of trace {item.trace_id}" if isinstance(item, EventRecord) else "a frame"
                text = f"{what} was not sent: {type(error).__name__}: {error}"
                self.hub.add_line(LogLine(ts=time.time(), source="log", text=text, level="ERROR"))

    async def _obey(self, reader: asyncio.StreamReader) -> None:
        """Do what the supervisor says until it is gone; however it went, this process goes too."""
        try:
            while line := await reader.readline():
                with contextlib.suppress(ValidationError):
                    await self._do(decode_for_worker(line))
        except ConnectionError:
            pass
        finally:
            self._end()

    async def _do(self, order: ToWorker) -> None:
        match order:
            case Load():
                self._order = order
                self._server = WebSocketServer(self._listening, Tokens(order.token), self.hub, self)
                self.load.put(order)
            case Serve() if self._server is not None:
                await self._server.start()
                self.control.send(Serving())
            case Yield():
                self._yield()
            case Retire(grace_s=grace_s):
                self._yield()
                self._ask(functools.partial(_retire, grace_s=grace_s))
            case Stop():
                self._end()
            case Flows():
                self._modules = order.modules
                self.hub.broadcast(order)
            case Logs():
                for line in order.lines:
                    self.hub.add_line(self._attribute(line))

    def _yield(self) -> None:
        if self._server is not None:
            self._server.stop_accepting()
        self.control.send(Yielded())

    def _end(self) -> None:
        """End the process: in order if the user's code lets us, else after a grace without it."""
        if self._engine is None:
            die()
        self._ask(lambda engine: engine.stop())
        asyncio.get_running_loop().call_later(STOP_GRACE_S, die)

    async def _finish(self) -> None:
        asyncio.get_running_loop().call_later(STOP_GRACE_S, die)
        self._flush()
        self.hub.broadcast(Bye(reason="shutdown"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                for client in list(self.hub.clients):
                    await client.drained()
        self._finished.set()

    async def _guard_loading(self) -> None:
        """An import that does not end is reported, once; it is the supervisor who ends it."""
        thread_id = threading.main_thread().ident or 0
        while True:
            await asyncio.sleep(GUARD_EVERY_S)
            if self.loading is None or self._order is None:
                continue
            path, since = self.loading
            seconds = time.monotonic() - since
            if seconds > self._order.timeout_s:
                frame = blocking_frame(thread_id, Path(self._order.root))
                self.control.send(Blocked(ms=seconds * 1e3, frame=frame, loading=path))
                return

    def _stalled(self, stall: Stall) -> None:
        if stall.over:
            self.control.send(Blocked(ms=0))
            self._ask(lambda engine: engine.note_stall(stall))
            return
        self.control.send(Blocked(ms=stall.ms, frame=stall.frame))
        self.hub.add_host_event("stall", stall.frame.function if stall.frame else "", stall_data(stall))

    def _attribute(self, line: LogLine) -> LogLine:
        """While only one run is under way, what is printed is its."""
        trace_id = self._engine.sole_trace if self._engine is not None else None
        return line.model_copy(update={"trace_id": trace_id}) if trace_id is not None else line

    def _ask(self, request: Callable[[Engine], None]) -> None:
        engine = self._engine
        if engine is None:
            return
        try:
            engine.loop.call_soon_threadsafe(request, engine)
        except RuntimeError:  # the user's loop is closed: the process is about to end
            return

    # -- what clients ask for (this is the server's `Host`) -----------------------------------------------------------

    def hello(self) -> Hello:
        """Who this is."""
        assert self._order is not None
        return Hello(generation=self._order.generation, pid=os.getpid(), project=self._order.root, version=VERSION)

    def flows(self) -> Flows:
        """What can be run: as the supervisor sees it, who knows of other generations, else as this worker does."""
        if self._modules is not None:
            return Flows(modules=self._modules)
        return Flows(modules=self._engine.modules if self._engine is not None else [])

    def stats(self) -> Stats:
        """How the worker is doing."""
        running = self._engine.running if self._engine is not None else 0
        lag_ms = self._watchdog.lag_ms if self._watchdog is not None else 0.0
        return Stats(running=running, events=self.hub.events, rss_bytes=resident_bytes(), loop_lag_ms=lag_ms)

    def run(self, client: Client, request: Run) -> None:
        """Pass a run on to the user's loop."""
        if self._engine is None:
            client.reply(request, Error(code="busy", message="the code is not loaded yet"))
        client.decides = client.decides or request.stop_first
        self._ask(lambda engine: engine.start_run(request, client))

    def cancel(self, client: Client, request: Cancel) -> None:
        """Pass a cancellation on to the user's loop."""
        self._ask(lambda engine: engine.start_cancel(request, client))

    def debug(self, client: Client, request: DebugRequest) -> None:
        """Pass on what concerns debugging. Who asks for breakpoints, or decides, is one who decides from then on."""
        if self._engine is None:
            client.reply(request, Error(code="busy", message="the code is not loaded yet"))
        if isinstance(request, Breakpoints) and (request.look or not client.controls):
            request.look = True
            client.decides = False
            self.left(client)
        else:
            client.decides = client.decides or isinstance(request, Breakpoints | Decide | Halt)
        self._ask(lambda engine: engine.debug(request, client))

    def joined(self, client: Client) -> None:
        """Who is there asks for what it wants to know."""

    def left(self, client: Client) -> None:
        """A client is gone, or does not decide any more."""
        if not any(other.decides for other in self.hub.clients if other is not client):
            self._ask(lambda engine: engine.unattended())

    def reload(self) -> None:
        """Pass the wish on to the supervisor."""
        self.control.send(ReloadAsked())


def _retire(engine: Engine, *, grace_s: float) -> None:
    engine.retire(grace_s)


def stall_data(stall: Stall) -> dict[str, object]:
    """A stall as an event's data."""
    place = stall.frame.model_dump() if stall.frame is not None else {}
    return {"ms": round(stall.ms, 1), **place, **({"trace_id": stall.trace_id} if stall.trace_id else {})}


def resident_bytes() -> int:
    """Memory that the process occupies; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def die() -> None:
    """End this process and whatever user code started in its group, at once."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)
