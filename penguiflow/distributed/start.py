"""What a flow with an `EdgeBus` is in the process that runs it: a caller, and with a `MemoryBus` a worker too."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from penguiflow.bus.codec import Codec
from penguiflow.bus.memory import MemoryBus
from penguiflow.distributed.client import Client
from penguiflow.distributed.worker import Worker
from penguiflow.state.shared import SupportsSharedState

if TYPE_CHECKING:
    from penguiflow.bus.protocol import EdgeBus
    from penguiflow.core import PenguiFlow

__all__ = ["Distribution"]

logger = logging.getLogger("penguiflow.distributed")


class Distribution:
    """The caller's end of a distributed flow. Raises `RuntimeError` without a store that workers can share."""

    def __init__(self, flow: PenguiFlow, bus: EdgeBus, store: Any, recorder: object = None) -> None:
        within = isinstance(bus, MemoryBus)
        if store is None and within:
            from penguiflow.state.in_memory import InMemoryStateStore

            store = InMemoryStateStore()
        if not isinstance(store, SupportsSharedState):
            given = "there is none" if store is None else f"{type(store).__name__} cannot be shared"
            raise RuntimeError(
                f"the flow '{flow.name}' runs in workers, over a {type(bus).__name__}: what they remember together "
                f"(joins, counters, who is done) is in a state store, and {given}; "
                "give create(..., state_store=...) one that they all reach, as SQLiteStateStore or PostgresStateStore"
            )
        codec = Codec.for_flow(flow, flow.registry)
        self.client = Client(flow, bus, store, codec, owns_bus=not within, recorder=recorder)
        self._worker: Worker | None = None
        self._working: asyncio.Task[None] | None = None
        if within:
            # Nobody else can reach it.
            self._worker = Worker(flow, bus=bus, store=store, owns_bus=False, recorder=recorder)
            self._working = asyncio.get_running_loop().create_task(self._worker.run(), name="penguiflow:worker")

    async def close(self) -> None:
        """Leave; who waits is told that the flow was stopped."""
        await self.client.close()
        if self._worker is not None and self._working is not None:
            await self._worker.drain(0.0)
            await asyncio.wait((self._working,))
            if not self._working.cancelled() and (failure := self._working.exception()) is not None:
                logger.error("worker_failed", exc_info=failure, extra={"event": "worker_failed"})
