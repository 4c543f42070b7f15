"""The engine: a queue of nodes that have work, and carriers that drain it.

A *carrier* is an asyncio task. One carrier at a time takes nodes off the queue and runs their functions inline, so a
hop costs no task and no switch. When a function has to wait, its carrier waits with it and another one goes on with
the queue: an invocation has its carrier, and therefore `current_task()`, `asyncio.timeout` and cancellation, to itself.
Each invocation runs in its own copy of the context variables.

Timers and the registration for cancellation are paid only by invocations that really wait.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from penguiflow.context import Context, Port
from penguiflow.coroutines import resume
from penguiflow.ids import send_id
from penguiflow.invocation import Invoker
from penguiflow.node import Node
from penguiflow.traces import STUBBORN_GRACE_S
from penguiflow.turns import take_turn
from penguiflow.validation import NodeValidators

if TYPE_CHECKING:
    from penguiflow.channels import Floe, Item
    from penguiflow.core import PenguiFlow
    from penguiflow.registry import ModelRegistry

logger = logging.getLogger("penguiflow.core")

FAIRNESS = 64
"""Messages that a carrier handles before it lets the rest of the loop run."""
BURST = 32
"""Messages that one node handles before the next one's turn."""
MAX_IDLE_CARRIERS = 64
LISTENER_GRACE_S = 1.0
"""How long `stop` waits for middlewares, in seconds, before it cancels them too."""
_MAX_REMEMBERED = 4096
GATHERS = "__gathers__"
"""Attribute of a node's function that says: it does nothing but append messages to a list, `bucket` of what it keeps
for the trace, until there are so many."""


class Worker:
    """One node in the engine: its inbox, its checks, and how many invocations are under way."""

    __slots__ = (
        "func",
        "gathers",
        "items",
        "limit",
        "listed",
        "loop",
        "node",
        "plain_out",
        "policy",
        "port",
        "running",
        "sent",
        "trusted_in",
        "unchecked",
        "unwraps",
        "validators",
        "waits",
    )

    def __init__(self, port: Port, registry: ModelRegistry | None) -> None:
        node = cast("Node", port.owner)
        self.node = node
        # A class of nodes that calls its function in a way of its own checks what it wants to have checked, too.
        own_way = type(node).invoke is not Node.invoke
        func: Any = functools.partial(node.invoke, registry=registry) if own_way else node.func
        self.func = cast("Callable[[Any, Context], Coroutine[Any, Any, Any]]", func)
        self.port = port
        self.policy = node.policy
        self.limit = node.policy.max_concurrency
        self.items = port.inbox.items
        self.loop = [floe for floe in port.outgoing if floe.target is node]
        """The edge by which a controller sends to itself."""
        self.sent: dict[str, str] = {}
        """What the first message by the first edge is called that is sent on account of a message, by that one's id."""
        self.running = 0
        self.waits = False
        """Whether its function had to wait the last time."""
        self.listed = False
        """Whether it stands in the queue of nodes that have work."""
        self.validators = validators = NodeValidators(node, None if own_way else registry)
        self.trusted_in = validators.trusted_in
        self.plain_out = validators.plain_out
        self.unwraps = validators.unwraps
        self.gathers = 0 if own_way else getattr(node.func, GATHERS, 0)
        """How many messages of a trace the node puts together before it sends anything."""
        self.unchecked = validators.check_in is None and validators.check_out is None and not validators.expects_message

    def send_id(self, origin: str, floe: Floe, ordinal: int) -> str:
        """The id of a message that is sent by the first edge on account of message `origin`."""
        message_id = send_id(self.port.name, origin, floe.name, ordinal)
        if not ordinal:
            if len(self.sent) >= _MAX_REMEMBERED:
                self.sent.clear()
            self.sent[origin] = message_id
        return message_id


class Engine:
    """Runs the nodes of one flow from `start` to `stop`."""

    def __init__(self, flow: PenguiFlow, ports: list[Port], registry: ModelRegistry | None) -> None:
        self.broadcast = flow._broadcast
        self.invoker = Invoker(self, flow)
        self.loop = asyncio.get_running_loop()
        self.workers = [Worker(port, registry) for port in ports]
        self.ready: deque[Worker] = deque()
        self.drainer: asyncio.Task[None] | None = None
        """The carrier that drains the queue, or is about to."""
        self.idle: list[tuple[asyncio.Future[None], asyncio.Task[None]]] = []
        self.carriers: set[asyncio.Task[None]] = set()
        self.suspended: set[Context] = set()
        self.stopping = False
        self.awaited_quiet: list[asyncio.Future[None]] = []
        """Who waits until nothing is left to do."""
        for worker in self.workers:
            worker.port.inbox.worker = worker
            worker.port.inbox.engine = self

    def start(self) -> None:
        """Take up what already waits."""
        for worker in self.workers:
            if worker.items:
                self.list_worker(worker)
        self.invoker.table.deadlines.start(self)

    async def stop(self) -> None:
        """Cancel what is under way and wait for it. Messages that wait for a node stay where they are.

        A node that goes on in spite of its cancellation is left behind after a while.
        """
        self.stopping = True
        self.invoker.table.deadlines.stop()
        self._came_to_rest()
        for worker in self.workers:
            worker.port.inbox.worker = worker.port.inbox.engine = None
        current = asyncio.current_task()
        for context in list(self.suspended):
            if context._task is not current:
                context._cancel("stop")
        for future, _ in self.idle:
            if not future.done():
                future.set_result(None)
        self.idle.clear()
        waiting = {task for task in self.carriers if task is not current}
        if waiting:
            # Carriers that had nothing to do end in their next step.
            await asyncio.sleep(0)
            waiting = {task for task in waiting if not task.done()}
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=LISTENER_GRACE_S)
        for context in list(self.suspended):
            if context._task in waiting and context._shielded:
                context._shielded = False
                context._forced = True
                context._deliver_cancel()
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=STUBBORN_GRACE_S)
        for context in list(self.suspended):
            if context._task in waiting:
                # It cannot be ended. Whoever waits for it is answered, and the flow goes on without it.
                about = {"event": "node_ignores_cancellation", "node_name": context._port.name}
                logger.error("node_ignores_cancellation", extra={**about, "trace_id": context.trace_id})
                if context._trace is not None:
                    self.invoker.table.answer(context._trace)

    async def quiet(self) -> None:
        """Return once no message waits for a node, none is being handled, and no sender from outside waits for room.

        At once when the engine stops.
        """
        calm = False
        while not self.stopping:
            if not self._is_quiet():
                calm = False
                waiter = self.loop.create_future()
                self.awaited_quiet.append(waiter)
                await waiter
            elif calm:
                return
            else:
                # A sender whose turn has come may not have run yet.
                calm = True
                await asyncio.sleep(0)

    def _is_quiet(self) -> bool:
        if self.drainer is not None or self.ready or self.suspended:
            return False
        return not any(worker.items or floe.putters for worker in self.workers for floe in worker.port.incoming)

    def _came_to_rest(self) -> None:
        """Have those look again who wait for quiet."""
        for waiter in self.awaited_quiet:
            if not waiter.done():
                waiter.set_result(None)
        self.awaited_quiet.clear()

    def list_worker(self, worker: Worker) -> None:
        """The node has work."""
        worker.listed = True
        self.ready.append(worker)
        if self.drainer is None:
            self.wake()

    def wake(self) -> None:
        """Have a carrier drain the queue."""
        while self.idle:
            future, task = self.idle.pop()
            if not future.done():
                self.drainer = task
                future.set_result(None)
                return
        task = self.loop.create_task(self._carry(), name="penguiflow:carrier")
        self.drainer = task
        self.carriers.add(task)
        task.add_done_callback(self.carriers.discard)

    async def _carry(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            while True:
                if self.drainer is None:
                    self.drainer = task
                if self.drainer is task:
                    await self._drain(task)
                if self.stopping or task.cancelling() or not await self._rest(task):
                    return
        finally:
            if self.drainer is task:
                self.drainer = None
            if task.cancelling():
                self._notice_shutdown()
            if self.drainer is None and self.ready and not self.stopping:
                self.wake()
            elif self.drainer is None and self.awaited_quiet:
                self._came_to_rest()

    def _notice_shutdown(self) -> None:
        """A carrier was cancelled. If all tasks are, the loop is shutting down, and a new carrier would outlive it."""
        if all(task.cancelling() for task in asyncio.all_tasks()):
            self.stopping = True

    async def _drain(self, task: asyncio.Task[None]) -> None:  # noqa: C901 - the hot loop, written out
        """Handle messages until none is left, or until another carrier has taken over."""
        ready = self.ready
        invoker = self.invoker
        cancelling = task.cancelling
        handled = 0
        self.invoker.refresh()
        while ready and not self.stopping:
            worker = ready.popleft()
            items = worker.items
            step = invoker.gather if worker.gathers else invoker.step
            rest: tuple[Context, Coroutine[Any, Any, None]] | None = None
            broken = False
            if worker.running < worker.limit:
                # It stays listed meanwhile, so that what it sends to itself does not list it again.
                while items:
                    item = items.popleft()
                    floe = item[0]
                    floe.size -= 1
                    if floe.putters:
                        floe.wake_putter()
                    handled += 1
                    trace = item[3]
                    if trace is not None and trace.cancelled:
                        trace.passed_over(item)
                        if self.invoker.told:
                            dropped = self.broadcast.event("trace_cancel_drop", Context._of(worker.port), trace)
                            self.broadcast.publish_later(dropped)
                    else:
                        try:
                            rest = step(worker, item)
                        except Exception as failure:  # a recorder's: the flow must not stand still for it
                            self.invoker.lose(trace, failure)
                        if rest is not None:
                            break
                        if cancelling() or self.stopping:
                            broken = True
                            break
                    if not items or not handled % BURST:
                        break
            worker.listed = False
            if rest is not None:
                worker.running += 1
                if items and worker.running < worker.limit:
                    self.list_worker(worker)
                try:
                    await self._go_on(worker, task, *rest)
                finally:
                    worker.running -= 1
                broken = cancelling() > 0
            if broken and cancelling():
                self._notice_shutdown()
            if items and not worker.listed and worker.running < worker.limit and not self.stopping:
                self.list_worker(worker)
            if broken and cancelling():
                return
            if rest is not None and self.drainer is not task:
                if self.drainer is not None:
                    return
                self.drainer = task
            if handled >= FAIRNESS:
                handled = 0
                await asyncio.sleep(0)
                self.invoker.refresh()
        if self.drainer is task:
            self.drainer = None
            if self.awaited_quiet:
                self._came_to_rest()

    async def _go_on(
        self, worker: Worker, task: asyncio.Task[None], context: Context, activation: Coroutine[Any, Any, None]
    ) -> None:
        """Do what is left of an invocation. While it waits, somebody else goes on with the queue."""
        try:
            pending = activation.send(None)
        except StopIteration:
            return
        trace = context._trace
        if worker.limit > 1 and trace is not None and context._turn is None:
            context._turn = take_turn(trace, worker.node.node_id)
        self.drainer = None
        if self.ready:
            self.wake()
        await self._wait_with(context, task, resume(activation, pending))

    async def _wait_with(self, context: Context, task: asyncio.Task[None], rest: Awaitable[None]) -> None:
        """Wait for the rest of an activation, which can now be cancelled."""
        context._task = task
        self.suspended.add(context)
        trace = context._trace
        if trace is not None:
            if trace.suspended is None:
                trace.suspended = set()
            trace.suspended.add(context)
        if context._cancel_reason is None and (self.stopping or (trace is not None and trace.cancelled)):
            context._cancel_reason = "stop" if self.stopping else "cancel"
        if context._cancel_reason is not None:
            self.loop.call_soon(context._deliver_cancel)
        try:
            await rest
        finally:
            context._task = None
            self.suspended.discard(context)
            if trace is not None and trace.suspended is not None:
                trace.suspended.discard(context)
            for _ in range(context._cancels):
                task.uncancel()

    def skip(self, worker: Worker, item: Item) -> None:
        """Answer a message whose deadline has passed, in place of its node, however busy that is."""
        context = Context._of(worker.port)
        context._item = item
        context._late = True
        trace = item[3]
        if trace is not None:
            trace.queued -= 1
            trace.inflight += 1
        # It counts as under way before its task has begun.
        self.suspended.add(context)
        task = self.loop.create_task(self._skip(worker, context), name="penguiflow:carrier")
        self.carriers.add(task)
        task.add_done_callback(self.carriers.discard)

    async def _skip(self, worker: Worker, context: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        await self._wait_with(context, task, self.invoker.activate(worker, context))
        if self.awaited_quiet:
            self._came_to_rest()

    async def _rest(self, task: asyncio.Task[None]) -> bool:
        """Wait to be needed again; False when this carrier should end."""
        if len(self.idle) >= MAX_IDLE_CARRIERS:
            return False
        future = self.loop.create_future()
        self.idle.append((future, task))
        try:
            await future
        except asyncio.CancelledError:
            # Whoever shuts the loop down cancels every task. Another carrier is made when one is needed.
            if (future, task) in self.idle:
                self.idle.remove((future, task))
            return False
        return not self.stopping
