"""Flows over a bus, with workers on the loop of the test: each has a connection of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import runpy
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from penguiflow import PenguiFlow
from penguiflow.bus import Limits, MemoryBus
from penguiflow.bus.opening import open_bus
from penguiflow.distributed import Worker
from penguiflow.state import InMemoryStateStore, PostgresStateStore, SQLiteStateStore
from tests.bus_servers import bus_at

END_S = 60.0
ROOT = Path(__file__).parents[1]
_flows = itertools.count()


class Spread(Protocol):
    """A flow that runs, and is called here: `make(**kwargs)` builds it, for the caller and for each worker."""

    workers: list[Worker]
    store: Any

    async def __call__(
        self,
        make: Callable[..., PenguiFlow],
        *,
        workers: int = 2,
        registry: Any = None,
        store: Any = None,
        worker: dict[str, Any] | None = None,
        **limits: Any,
    ) -> PenguiFlow: ...

    async def hire(self, make: Callable[..., PenguiFlow]) -> None:
        """One more worker."""
        ...


class _Spread:
    def __init__(self, bus_of: Callable[..., Any]) -> None:
        self.workers: list[Worker] = []
        self.store: Any = None
        self._name = ""
        self._shared: MemoryBus | None = None
        self._about: dict[str, Any] = {}
        self._limits: dict[str, Any] = {}
        self._bus_of = bus_of
        self._flows: list[PenguiFlow] = []
        self._running: list[asyncio.Task[None]] = []

    async def __call__(
        self,
        make: Callable[..., PenguiFlow],
        *,
        workers: int = 2,
        registry: Any = None,
        store: Any = None,
        worker: dict[str, Any] | None = None,
        **limits: Any,
    ) -> PenguiFlow:
        self._name = f"spread {next(_flows)}"
        self.store = InMemoryStateStore() if store is None else store
        bus = self._bus_of(**limits)
        flow = make(name=self._name, message_bus=bus, state_store=self.store)
        self._flows.append(flow)
        flow.run(registry=registry)
        self._about = {"registry": registry, **(worker or {})}
        self._limits = limits
        self._shared = bus if isinstance(bus, MemoryBus) else None
        for _ in range(workers - isinstance(bus, MemoryBus)):
            await self.hire(make)
        return flow

    async def hire(self, make: Callable[..., PenguiFlow]) -> None:
        """One more worker."""
        bus = self._shared or self._bus_of(**self._limits)
        each = Worker(make(name=self._name), bus=bus, store=self.store, owns_bus=self._shared is None, **self._about)
        self.workers.append(each)
        self._running.append(asyncio.create_task(each.run()))
        await each.ready()

    async def end(self) -> None:
        """Stop everything; whoever failed says so."""
        async with asyncio.timeout(END_S):
            for flow in self._flows:
                await flow.stop()
            for each in self.workers:
                await each.drain(0.0)
            await asyncio.gather(*self._running)


@pytest.fixture(params=["memory", "redis", "nats"])
async def spread(request: pytest.FixtureRequest) -> AsyncIterator[Spread]:
    """Over each kind of bus."""

    def bus_of(**limits: Any) -> Any:
        if request.param == "memory":
            return MemoryBus(Limits(**limits))
        server = request.getfixturevalue("nats_server" if request.param == "nats" else "valkey_server")
        return bus_at(server, **limits)

    made = _Spread(bus_of)
    yield made
    await made.end()


@dataclass
class Place:
    """A bus and a store that processes share, and who works there."""

    bus: str
    store: str
    limits: dict[str, Any]
    folder: Path
    stores: list[Any] = field(default_factory=list)
    flows: list[PenguiFlow] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def hire(self, path: Path) -> subprocess.Popen[bytes]:
        """Start a worker in a process of its own, for the flow that the module at `path` makes with `make()`."""
        about = json.dumps([str(path), self.bus, self.store, self.limits])
        process = subprocess.Popen([sys.executable, "-c", _WORK, about], env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.processes.append(process)
        return process

    def flow(self, path: Path) -> PenguiFlow:
        """The flow of that module, which runs and is called here."""
        bus, store = open_bus(self.bus, Limits(**self.limits)), store_at(self.store)
        flow: PenguiFlow = runpy.run_path(str(path))["make"](message_bus=bus, state_store=store)
        self.flows.append(flow)
        self.stores.append(store)
        flow.run()
        return flow

    async def end(self) -> None:
        """End everybody."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        async with asyncio.timeout(END_S):
            for flow in self.flows:
                await flow.stop()
            for store in self.stores:
                await store.close()


_WORK = """
import asyncio, json, runpy, signal, sys
from penguiflow.bus import Limits
from penguiflow.bus.opening import open_bus
from penguiflow.distributed import Worker
from tests.spreading import store_at

async def main():
    path, bus, store, limits = json.loads(sys.argv[1])
    worker = Worker(runpy.run_path(path)["make"](), bus=open_bus(bus, Limits(**limits)), store=store_at(store))
    drain = lambda: asyncio.ensure_future(worker.drain(30))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, drain)
    await worker.run()

asyncio.run(main())
"""


def store_at(url: str) -> Any:
    """The store at this address."""
    return PostgresStateStore(url) if url.startswith("postgres") else SQLiteStateStore(url)


@pytest.fixture(params=["redis-sqlite", "nats-postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Where workers in processes of their own share a bus and a store."""
    redis = request.param == "redis-sqlite"
    server = request.getfixturevalue("valkey_server" if redis else "nats_server")
    store = str(tmp_path / "state.db") if redis else request.getfixturevalue("postgres_server").fresh_url()
    made = Place(server.url, store, {"lease_s": 3.0, "max_deliveries": 20}, tmp_path)
    yield made
    await made.end()
