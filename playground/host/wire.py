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
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from playground.host.control import (
    BEAT_EVERY_S,
    MAX_LINE_BYTES,
    Beat,
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
from playground.host.outlet import Engine, Outlet, stall_data
from playground.host.server import WebSocketServer
from playground.host.started import end_own
from playground.host.tokens import Tokens
from playground.host.watchdog import Stall
from playground.loader.usercode import blocking_frame
from playground.protocol import (
    Bye,
    Flows,
    Hello,
    LogLine,
    Logs,
    ModuleInfo,
)

STOP_GRACE_S = 1.0
"""How long user code may take to end before the process does."""
DRAIN_S = 0.3
GUARD_EVERY_S = 0.1
VERSION = version("penguiflow")


class Wire(Outlet):
    """The thread of a worker, which also obeys the supervisor."""

    def __init__(self, control: socket.socket, listening: socket.socket) -> None:
        super().__init__()
        self.control = ControlSender(control.dup())
        self.load: queue.SimpleQueue[Load] = queue.SimpleQueue()
        """The supervisor's orders to load, for the main thread."""
        self.loading: tuple[str, float] | None = None
        """What the main thread is loading, and since when (monotonic)."""
        self._control = control
        self._listening = listening
        self._server: WebSocketServer | None = None
        self._order: Load | None = None
        self._modules: list[ModuleInfo] | None = None
        self._finished = threading.Event()

    # -- called on the main thread ------------------------------------------------------------------------------------

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
        self._begin(self._live())
        await asyncio.Event().wait()

    async def _live(self) -> None:
        """Give signs of life until the end."""
        while True:
            self.control.send(Beat())
            await asyncio.sleep(BEAT_EVERY_S)

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

    def reload(self) -> None:
        """Pass the wish on to the supervisor."""
        self.control.send(ReloadAsked())


def _retire(engine: Engine, *, grace_s: float) -> None:
    engine.retire(grace_s)


def die() -> None:
    """End this process and whatever user code has started, at once."""
    end_own()
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)
