"""Flows over a bus, with workers on the loop of the test: each has a connection of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import pytest

from penguiflow import PenguiFlow
from penguiflow.bus import Limits, MemoryBus
from penguiflow.distributed import Worker
from penguiflow.state import InMemoryStateStore
from tests.bus_servers import bus_at

END_S = 60.0
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


class _Spread:
    def __init__(self, bus_of: Callable[..., Any]) -> None:
        self.workers: list[Worker] = []
        self.store: Any = None
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
        name = f"spread {next(_flows)}"
        self.store = InMemoryStateStore() if store is None else store
        bus = self._bus_of(**limits)
        flow = make(name=name, message_bus=bus, state_store=self.store)
        self._flows.append(flow)
        flow.run(registry=registry)
        within = isinstance(bus, MemoryBus)
        for _ in range(workers - within):
            its_bus = bus if within else self._bus_of(**limits)
            each = Worker(
                make(name=name), bus=its_bus, store=self.store, registry=registry, owns_bus=not within, **(worker or {})
            )
            self.workers.append(each)
            self._running.append(asyncio.create_task(each.run()))
            await each.ready()
        return flow

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
