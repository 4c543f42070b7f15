"""An embedded host from its opening to its end, and its thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from penguiflow import PenguiFlow
from penguiflow.recording.recorder import Recorder
from penguiflow.state.traces import TraceQuery, TraceSummary
from playground.embedding.engine import EmbeddedEngine, order_for
from playground.host.control import HOLD_S
from playground.host.outlet import Outlet, stall_data
from playground.host.server import WebSocketServer
from playground.host.tokens import TokenFiles, TokenProblem, Tokens
from playground.host.watchdog import Stall
from playground.loader.errors import LoadProblem
from playground.project import find_project
from playground.protocol import Bye, Flows, Hello
from playground.supervisor.spawn import LOOPBACK, PortInUse, listen

logger = logging.getLogger("playground.embed")

DRAIN_S = 0.3
END_S = 5.0


class EmbedProblem(Exception):
    """The flows cannot be served; the text says why, and what to do."""


class EmbeddedWire(Outlet):
    """The thread of an embedded host."""

    def __init__(self, listening: socket.socket, tokens: Tokens, root: Path) -> None:
        super().__init__()
        self._root = root
        self._server = WebSocketServer(listening, tokens, self.hub, self)
        self._finished = asyncio.Event()
        self._told: Callable[[], object] = lambda: None
        """Called when it has ended."""

    async def end(self) -> None:
        """Say goodbye to the clients and end the thread; returns when it has ended."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._told = lambda: loop.call_soon_threadsafe(ended.set)
        self._call(self._finished.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await ended.wait()
        # What is left of it is no more than closing its loop.
        self._thread.join(END_S)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await self._server.start()
            self._started.set()
            await self._finished.wait()
            self._flush()
            self.hub.broadcast(Bye(reason="shutdown"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    for client in list(self.hub.clients):
                        await client.drained()
            await self._server.close()
        finally:
            self._started.set()
            self._told()

    def _stalled(self, stall: Stall) -> None:
        if not stall.over:
            self.hub.add_host_event("stall", stall.frame.function if stall.frame else "", stall_data(stall))

    def hello(self) -> Hello:
        """Who this is."""
        return Hello(generation=0, pid=os.getpid(), project=str(self._root), version=version("penguiflow"))

    def flows(self) -> Flows:
        """What the service has."""
        return Flows(modules=self._engine.modules if self._engine is not None else [])

    def reload(self) -> None:
        """A service has the code that it was started with."""


class Embedding:
    """Serves flows that run in this process: an asynchronous context, or to be awaited and closed."""

    def __init__(
        self,
        flows: PenguiFlow | Mapping[str, PenguiFlow],
        *,
        port: int = 0,
        host: str = LOOPBACK,
        home: Path | str | None = None,
        hold_s: float = HOLD_S,
        allow_remote: bool = False,
        tokens: Path | str | None = None,
    ) -> None:
        """See `playground.embed`.

        `port` 0 takes a free one. `home` is where tokens and breakpoints lie, `.penguiflow` of the project by default.
        `hold_s` is how long stopped runs wait when the last client that decides is gone. `host` is this machine's own
        address, unless others are allowed in. `tokens` is a folder that keeps the tokens, `control` and `view`, from
        one start to the next; without it each start has new ones.
        """
        self.url = ""
        """Where `pf tui --attach` finds it, once it is open."""
        self.token_file: Path | None = None
        """Has the token for full control."""
        self.view_token_file: Path | None = None
        """Has the token for looking on."""
        self._flows = {"flow": flows} if isinstance(flows, PenguiFlow) else dict(flows)
        self._port = port
        self._host = host
        self._allow_remote = allow_remote
        self._project = find_project()
        self._home = Path(home).absolute() if home is not None else self._project.home
        self._hold_s = hold_s
        self._token_folder = None if tokens is None else Path(tokens).absolute()
        self._tokens = Tokens.new()
        self._engine: EmbeddedEngine | None = None
        self._wire: EmbeddedWire | None = None
        self._listening: socket.socket | None = None

    def __await__(self) -> Generator[Any, None, Embedding]:
        """Open it; gives the host, whose `close` ends it."""
        return self._open().__await__()

    async def __aenter__(self) -> Embedding:
        return await self._open()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let stopped runs go on, and leave nothing behind: no thread, task, socket or file. Once is enough."""
        engine, self._engine = self._engine, None
        wire, self._wire = self._wire, None
        listening, self._listening = self._listening, None
        if self.token_file is not None:
            TokenFiles(self.token_file, self.view_token_file or self.token_file).remove(self._tokens)
        if engine is not None:
            await engine.close()
        if wire is not None:
            await wire.end()
        if listening is not None:
            listening.close()

    async def _open(self) -> Embedding:
        if self._wire is not None:
            raise EmbedProblem("it is open already")
        self._check()
        try:
            listening = self._listening = listen(self._port, self._host)
            port = listening.getsockname()[1]
            if self._token_folder is not None:
                self._tokens = Tokens.kept(self._token_folder)
            files = TokenFiles.of(self._home, port)
            files.write(self._tokens)
        except (PortInUse, TokenProblem) as error:
            await self.close()
            raise EmbedProblem(str(error)) from None
        self.token_file, self.view_token_file = files
        wire = self._wire = EmbeddedWire(listening, self._tokens, self._project.root)
        try:
            order = order_for(self._project.root, self._home, self._hold_s)
            engine = self._engine = EmbeddedEngine(self._flows, wire, order)
        except LoadProblem as problem:
            self._wire = None
            await self.close()
            raise EmbedProblem(problem.error.message) from None
        store = engine.records.store
        if store is not None:
            wire.hub.read, wire.hub.find = _reader(engine), _finder(engine)
        wire.start()
        wire.attach(engine, self._project.root)
        self.url = f"ws://{self._host}:{port}/"
        logger.info("serving %s at %s (token in %s)", ", ".join(self._flows), self.url, self.token_file)
        return self

    def _check(self) -> None:
        from playground.cli.addresses import is_loopback

        if not self._allow_remote and not is_loopback(self._host):
            raise EmbedProblem(f"others can reach {self._host}: allow_remote=True says that this is wanted")
        if not self._flows:
            raise EmbedProblem("there is no flow to serve")
        for name, flow in self._flows.items():
            if not isinstance(flow, PenguiFlow):
                raise EmbedProblem(f"{name!r} is of type {type(flow).__name__}, not a flow; a planner has `as_flow()`")
            if not flow.running:
                raise EmbedProblem(f"the flow {name!r} does not run yet: call `flow.run(…)` first")
            if flow.recorder is not None and not isinstance(flow.recorder, Recorder):
                raise EmbedProblem(f"the flow {name!r} has a recorder of its own that nobody else can listen to")


def _reader(engine: EmbeddedEngine) -> Callable[[str, int, int], Awaitable[list[bytes]]]:
    """Reads on the service's loop, where its store lives."""

    async def read(trace_id: str, after: int, limit: int) -> list[bytes]:
        coroutine = engine.records.read(trace_id, after, limit)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, engine.loop))

    return read


def _finder(engine: EmbeddedEngine) -> Callable[[TraceQuery], Awaitable[list[TraceSummary]]]:
    async def find(query: TraceQuery) -> list[TraceSummary]:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(engine.records.find(query), engine.loop))

    return find
