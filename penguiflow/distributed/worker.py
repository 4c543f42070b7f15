"""A worker: a process's share in a distributed flow."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penguiflow.bus.codec import Codec
from penguiflow.bus.errors import BusError
from penguiflow.bus.protocol import EdgeBus
from penguiflow.distributed.cell import Cell
from penguiflow.distributed.desk import Desk
from penguiflow.distributed.graves import Graves
from penguiflow.distributed.names import edges_of
from penguiflow.distributed.share import Share
from penguiflow.distributed.writing import Writing
from penguiflow.ids import new_id
from penguiflow.state.errors import StoreError
from penguiflow.state.shared import SupportsSharedState, WorkerRow

if TYPE_CHECKING:
    from penguiflow.checkpoints import Interceptor
    from penguiflow.core import PenguiFlow
    from penguiflow.registry import ModelRegistry

__all__ = ["Worker"]

logger = logging.getLogger("penguiflow.distributed")
HEARTBEAT_S = 5.0
LOOK_S = 1.0
"""How often a worker looks for dead letters and cancelled traces, in seconds."""
FORGET_EVERY = 60
"""Heartbeats between two looks for what may be forgotten."""
FORGET_S = 3600.0
"""What workers remember together of a trace is forgotten so long after its end, in seconds."""
_STOP_S = 5.0
"""How long giving back and leaving may take at the end, in seconds."""


class Worker:
    """Runs nodes of a flow from the edges of a bus: `await worker.run()`, until `drain`.

    Several workers, in one process or on many machines, share the work; any of them may die at any moment.

    Args:
        flow: Whose nodes; it is not run itself.
        bus: Where its edges are. The worker opens and closes it, unless `owns_bus` says otherwise.
        store: What the workers share; the same for all of them, and for callers.
        registry: The models of the nodes: they are what can travel.
        nodes: Names of the nodes to run; all by default.
        concurrency: Messages at once of each node whose policy names no `max_concurrency`, and at most of the others.
        worker_id: By which it is known; a new one by default.
        interceptors: Are asked at the checkpoints of its nodes, beside the flow's own.
        recorder: Writes to the store what happens in a trace; one of its own by default.

    Raises `ValueError` for a node that the flow does not have, `TypeError` for a store that workers cannot share, and
    `CannotSend` for a model that cannot travel.
    """

    def __init__(
        self,
        flow: PenguiFlow,
        *,
        bus: EdgeBus,
        store: SupportsSharedState,
        registry: ModelRegistry | None = None,
        nodes: Sequence[str] | None = None,
        concurrency: int | None = None,
        worker_id: str | None = None,
        interceptors: Sequence[Interceptor] = (),
        owns_bus: bool = True,
        recorder: object = None,
    ) -> None:
        known = {str(node.name): node for node in flow.nodes}
        wanted = list(known) if nodes is None else list(dict.fromkeys(nodes))
        strangers = [name for name in wanted if name not in known]
        if strangers:
            raise ValueError(f"the flow has no node named {', '.join(strangers)}: it has {', '.join(known)}")
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        if not isinstance(store, SupportsSharedState):
            raise TypeError(
                f"{type(store).__name__} keeps nothing that workers could share: use one of penguiflow.state"
            )
        self.worker_id = worker_id or new_id()[:12]
        self.flow = flow
        self.nodes = wanted
        self.state = "new"
        """`new`, `running`, `draining`, or `ended`."""
        self._bus = bus
        self._owns_bus = owns_bus
        self._store = store
        self._registry = flow.registry if registry is None else registry
        codec = Codec.for_flow(flow, self._registry)
        self._share = Share(bus, store, codec, Writing(store, flow.name, self.worker_id, recorder))
        self._share.nodes = list(known)
        slots = {name: _slots(known[name].policy.at_once, concurrency) for name in wanted}
        self._share.cell = Cell(
            flow,
            [known[name] for name in wanted],
            slots=slots,
            interceptors=interceptors,
            cancel=self._cancel_everywhere,
        )
        edges = {name: [f.name for f in flow._graph.incoming[known[name]]] for name in wanted}
        self._desks = [Desk(self._share, known[name], edges[name], slots[name]) for name in wanted]
        self._started_at = 0.0
        self._stop = asyncio.Event()
        self._drain_s: float | None = 0.0
        self._graves = Graves(self._share, self._desks)
        self._ready = asyncio.Event()

    # What it is

    def status(self) -> WorkerRow:
        """The worker as it tells of itself now."""
        desks = self._desks
        about: dict[str, Any] = {
            "slots": {desk.node: desk.slots for desk in desks},
            "under_way": sum(len(desk.under_way) for desk in desks),
            "done": sum(desk.done for desk in desks),
            "redelivered": sum(desk.redelivered for desk in desks),
        }
        return WorkerRow(
            worker_id=self.worker_id,
            flow=self.flow.name,
            host=platform.node(),
            pid=os.getpid(),
            nodes=self.nodes,
            started_at=self._started_at,
            seen_at=time.time(),
            alive=self.state != "ended",
            state="running" if self.state == "new" else self.state,
            about=about,
        )

    async def ready(self) -> None:
        """Return once it takes messages."""
        await self._ready.wait()

    # From start to end

    async def run(self) -> None:
        """Take messages and have them handled, until `drain`.

        Raises `BusError` when the bus cannot be opened or fails for good. A bus or a store that goes away for a while
        is waited for. Cancelled, it gives back what it has, and leaves.
        """
        self._started_at = time.time()
        try:
            await self._bus.open(self.flow.name, edges_of(self.flow))
        except BaseException:
            if self._owns_bus:
                await self._bus.close()
            raise
        self._share.cell.start(self._registry, self._store)
        self.state = "running"
        keeping = [self._keep_leases(), self._keep_turns(), self._look(), self._beat()]
        serving = [desk.serve(edge) for desk in self._desks for edge in desk.edges]
        tasks = [asyncio.create_task(each, name="penguiflow:worker") for each in (*serving, *keeping)]
        servers, keepers = tasks[: len(serving)], tasks[len(serving) :]
        stop = asyncio.create_task(self._stop.wait(), name="penguiflow:worker")
        self._ready.set()
        try:
            await asyncio.wait((stop, *tasks), return_when=asyncio.FIRST_COMPLETED)
            await _end(servers)
            if self._stop.is_set():
                await self._finish()
        finally:
            await _end([stop, *servers])
            await self._leave(keepers)
        for task in tasks:
            if not task.cancelled() and (failure := task.exception()) is not None:
                raise failure

    async def drain(self, timeout: float | None = None) -> None:
        """Have `run` end: it takes no more messages, finishes those that it has within `timeout` seconds (None:
        however long that takes) and gives the others back. Returns at once; a later call may shorten the time.
        """
        self._drain_s = timeout
        if self.state == "running":
            self.state = "draining"
        self._stop.set()

    async def _finish(self) -> None:
        """Wait for what is under way."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._save()
        while left := [task for desk in self._desks for task in desk.under_way.values()]:
            wait_s = None if self._drain_s is None else began + self._drain_s - loop.time()
            if wait_s is not None and wait_s <= 0:
                return
            await asyncio.wait(left, timeout=LOOK_S if wait_s is None else min(wait_s, LOOK_S))

    async def _leave(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        """Give back what is left, and say good-bye."""
        try:
            async with asyncio.timeout(_STOP_S):
                for desk in self._desks:
                    await desk.give_back()
                await self._share.cell.over()
        except TimeoutError:
            logger.warning("worker_left_early", extra={"event": "worker_left_early", "worker_id": self.worker_id})
        await _end(keepers)
        self.state = "ended"
        await self._share.close()
        await self._save()
        if self._owns_bus:
            await self._bus.close()

    # Beside the work

    async def _keep_leases(self) -> None:
        """Begin the leases of what is under way anew, long before they end."""
        while True:
            await asyncio.sleep(self._bus.limits.lease_s / 3)
            held = [handling for desk in self._desks for handling in desk.under_way]
            if not held:
                continue
            try:
                told = await self._bus.extend(*[each.delivery for each in held])
            except BusError as error:
                logger.warning("leases_not_kept", extra={"event": "leases_not_kept", "reason": str(error)})
                continue
            for handling, holds in zip(held, told, strict=True):
                if not holds and any(handling in desk.under_way for desk in self._desks):
                    handling.abort("its lease was lost", lost=True)

    async def _keep_turns(self) -> None:
        """Say that whoever others wait for is at work, long before they think that he is not."""
        while True:
            await asyncio.sleep(self._bus.limits.lease_s / 3)
            held = [(desk, each) for desk in self._desks for each in desk.under_way if each.turn.held]
            pieces = [each.place for desk in self._desks for each in desk.under_way if each.place.held]
            turns = (desk.turns.keep(each.header.run, each.key) for desk, each in held)
            await asyncio.gather(*turns, *(place.show_life() for place in pieces))

    async def _look(self) -> None:
        """Look for traces that were cancelled, and for dead letters."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._look_for_cancelled()
                await self._graves.look()
            except BusError as error:
                logger.debug("dead letters were not looked for: %s", error)

    async def _look_for_cancelled(self) -> None:
        held = [handling for desk in self._desks for handling in desk.under_way]
        runs = {handling.header.run for handling in held}
        if not runs:
            return
        cancelled = await self._share.cancelled_of(sorted(runs))
        for handling in held:
            if (reason := cancelled.get(handling.header.run)) is not None:
                self._share.cell.told_cancelled(handling.header.trace_id)
                handling.abort(reason)

    async def _beat(self) -> None:
        beats = 0
        while True:
            await self._save()
            if not beats % FORGET_EVERY:
                await self._share.forget(FORGET_S)
            beats += 1
            await asyncio.sleep(HEARTBEAT_S)

    async def _save(self) -> None:
        try:
            await self._store.save_worker(self.status())
        except StoreError as error:
            logger.debug("the worker could not tell of itself: %s", error)

    async def _cancel_everywhere(self, trace_id: str) -> bool:
        return await self._share.cancel(trace_id, trace_id, "cancelled by a node")


def _slots(of_policy: int | None, concurrency: int | None) -> int:
    if of_policy is None:
        return concurrency or 1
    return of_policy if concurrency is None else min(of_policy, concurrency)


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
