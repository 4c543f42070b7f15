"""A real worker on a real socket, loaded with a small project and accepting clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from playground.host.control import FromWorker, Load, Loaded, Serve, Serving
from playground.protocol import BaseFrame, decode, encode
from playground.supervisor.process import Death, Worker
from playground.supervisor.spawn import listen

TOKEN = "a token of this test"
LIMIT_S = 60.0

FLOW = """
import asyncio
from penguiflow import Node, create


async def give(message, ctx):
    payload = message.payload
    if isinstance(payload, dict):
        for number in range(payload.get("chunks", 0)):
            await ctx.emit_chunk(parent=message, text="x" * payload.get("size", 10))
        await asyncio.sleep(payload.get("sleep", 0))
        if "give" in payload:
            return "y" * payload["give"]
    return payload


flow = create(Node(give).to())
"""


class Peer:
    """One client that sends frames, or anything else, and waits for answers."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[Any] = []

    async def send(self, frame: BaseFrame | str | bytes) -> None:
        """Send a frame, or what is none."""
        data: str | bytes = encode(frame).decode() if isinstance(frame, BaseFrame) else frame
        await self.socket.send(data)

    async def until(self, *kinds: type[BaseFrame]) -> Any:
        """The next frame of a kind, or of one of some; the others are kept in `frames`."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                frame = decode(await self.socket.recv())
                self.frames.append(frame)
                if isinstance(frame, kinds):
                    return frame


class Served:
    """A worker that serves."""

    def __init__(self, url: str, worker: Worker) -> None:
        self.url = url
        self.worker = worker
        self.token = TOKEN

    def connect(self, **headers: str) -> connect:
        """A connection with the right token, and other headers too."""
        return connect(
            self.url,
            additional_headers={"Authorization": f"Bearer {self.token}", **headers},
            max_size=None,
            compression=None,
            proxy=None,
            open_timeout=LIMIT_S,
            ping_interval=None,
        )

    def peer(self, socket: ClientConnection) -> Peer:
        """A client on such a connection."""
        return Peer(socket)


@asynccontextmanager
async def serve(
    root: Path, *, hear_all: Callable[[FromWorker], None] = lambda _: None, **options: Any
) -> AsyncIterator[Served]:
    """A worker for the project in a folder; `options` go into its `Load`."""
    loaded, serving = asyncio.Event(), asyncio.Event()

    def hear(worker: Worker, message: FromWorker) -> None:
        hear_all(message)
        if isinstance(message, Loaded):
            loaded.set()
        elif isinstance(message, Serving):
            serving.set()

    def bury(worker: Worker, death: Death) -> None:
        loaded.set()
        serving.set()

    listening = listen()
    worker = Worker.start(listening, on_message=hear, on_death=bury, on_lines=lambda _, logs: None)
    where = {"root": str(root), "home": str(root / "state"), "cwd": str(root), "targets": [str(root)]}
    worker.send(Load.model_validate({"generation": 7, "token": TOKEN, **where, **options}))
    async with asyncio.timeout(LIMIT_S):
        await loaded.wait()
        worker.send(Serve())
        await serving.wait()
    try:
        yield Served(f"ws://127.0.0.1:{listening.getsockname()[1]}/", worker)
        died = worker.death
    finally:
        await worker.stop()
        listening.close()
    assert died is None or died.expected, died


@pytest.fixture(scope="session")
def serving() -> Any:
    """Makes workers for other projects."""
    return serve


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    root: Path = tmp_path_factory.mktemp("served")
    (root / "flow.py").write_text(FLOW)
    async with serve(root) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module")
async def peer(served: Served) -> AsyncIterator[Peer]:
    async with served.connect() as socket:
        yield Peer(socket)
