"""A worker of the chaos test: `python -m benchmarks.distributed.chaos_worker BUS STORE LIMITS`, until it is killed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from benchmarks.distributed import chaos_flow
from penguiflow.bus import Delivery, Limits, NatsBus, RedisBus
from penguiflow.distributed import Worker
from penguiflow.state import PostgresStateStore

CONCURRENCY = 4


class _TellsDeliveries:
    """A bus that notes which stored message was handed out: what is handed out once more was a lease that was lost.

    The number of the delivery does not tell: NATS forgets who had what in its last moments.
    """

    async def get(self, edge: str, *, limit: int = 1, wait_s: float | None = None) -> list[Delivery]:
        """As `EdgeBus.get`."""
        got: list[Delivery] = await super().get(edge, limit=limit, wait_s=wait_s)  # type: ignore[misc]
        for each in got:
            stored = each.receipt[0].decode() if isinstance(each.receipt, tuple) else each.receipt.number
            chaos_flow.note("got", each.id.rpartition("/")[0], edge, stored)
        return got


class _Nats(_TellsDeliveries, NatsBus):
    """On NATS."""


class _Redis(_TellsDeliveries, RedisBus):
    """On Redis."""


async def main(bus_url: str, store_url: str, limits: dict[str, Any]) -> None:
    """Work."""
    kind = _Nats if bus_url.startswith("nats") else _Redis
    store = PostgresStateStore(store_url, patience_s=60.0)
    bus: Any = kind(bus_url, limits=Limits(**limits))
    worker = Worker(chaos_flow.build(), bus=bus, store=store, registry=chaos_flow.registry, concurrency=CONCURRENCY)
    running = asyncio.create_task(worker.run())
    ready = asyncio.create_task(worker.ready())
    await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
    chaos_flow.note("here", os.getpid(), "")
    await running


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
