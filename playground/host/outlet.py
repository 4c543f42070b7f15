"""A host's second thread: events, frames and requests between the loop of the runs and the clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Protocol

from penguiflow.recording.events import EventRecord
from playground.debug_frames import DebugRequest
from playground.host.clients import Client, Hub
from playground.host.watchdog import Stall, Watchdog
from playground.protocol import (
    Answer,
    Breakpoints,
    Cancel,
    Decide,
    Error,
    Halt,
    LogLine,
    ModuleInfo,
    Questions,
    Run,
    Stats,
)

THREAD_NAME = "penguiflow-wire"
FLUSH_EVERY_S = 0.015
MAX_QUEUED = 100_000
"""Events that wait for this thread before a flow has to."""
SEND_TURNS = 3
"""Turns of the loop from an event in a client's queue to its bytes in the socket."""


class Engine(Protocol):
    """The other thread's side. Called on its own loop."""

    loop: asyncio.AbstractEventLoop
    modules: list[ModuleInfo]

    @property
    def running(self) -> int:
        """How many runs are under way. Read from the wire's thread."""
        ...

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

    def unanswered(self) -> None:
        """No client answers questions any more."""
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


class Outlet:
    """Owns the thread, its loop, and everything on it; the requests of clients go from here to the loop of the runs."""

    def __init__(self) -> None:
        self.hub = Hub()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: deque[EventRecord | Callable[[Hub], None]] = deque()
        self._scheduled = False
        self._flushed_at = 0.0
        self._engine: Engine | None = None
        self._watchdog: Watchdog | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name=THREAD_NAME, daemon=True)

    # -- called on the loop of the runs -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; returns when it is there."""
        self._thread.start()
        self._started.wait()

    def attach(self, engine: Engine, root: Path) -> None:
        """The user's loop runs: requests go to it, and the watchdog asks for it."""
        self._engine = engine
        watchdog = self._watchdog = Watchdog(engine.loop, root, self._stalled, threading.get_ident())
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

    # -- the thread ---------------------------------------------------------------------------------------------------

    async def _main(self) -> None:
        """What the thread does: sets `_loop` and `_started`, and returns when it is to end."""
        raise NotImplementedError

    def _stalled(self, stall: Stall) -> None:
        """The loop of the runs does not answer, or answers again."""
        raise NotImplementedError

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

    def _ask(self, request: Callable[[Engine], None]) -> None:
        engine = self._engine
        if engine is None:
            return
        try:
            engine.loop.call_soon_threadsafe(request, engine)
        except RuntimeError:  # the user's loop is closed: the process is about to end
            return

    # -- what clients ask for (this is the server's `Host`) -----------------------------------------------------------

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
            self._undecided(client)
        else:
            client.decides = client.decides or isinstance(request, Breakpoints | Decide | Halt)
            client.answers = client.answers or (client.controls and isinstance(request, Questions | Answer))
            if isinstance(request, Questions) and request.look:
                self._unanswered(client)
        self._ask(lambda engine: engine.debug(request, client))

    def joined(self, client: Client) -> None:
        """Who is there asks for what it wants to know."""

    def left(self, client: Client) -> None:
        """A client is gone."""
        self._undecided(client)
        self._unanswered(client)

    def _unanswered(self, client: Client) -> None:
        """A client does not answer questions any more."""
        client.answers = False
        if not any(other.answers for other in self.hub.clients):
            self._ask(lambda engine: engine.unanswered())

    def _undecided(self, client: Client) -> None:
        """A client does not decide upon stopped runs any more."""
        if not any(other.decides for other in self.hub.clients if other is not client):
            self._ask(lambda engine: engine.unattended())


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
