"""The engine: a queue of nodes that have work, and carriers that drain it.

A *carrier* is an asyncio task. One carrier at a time takes nodes off the queue and runs their functions inline, so a
hop costs no task and no switch. When a function has to wait, its carrier waits with it and another one goes on with
the queue: an invocation has its carrier, and therefore `current_task()`, `asyncio.timeout` and cancellation, to itself.
Each invocation runs in its own copy of the context variables.

Timers and the registration for cancellation are paid only by invocations that really wait.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, cast

from penguiflow.channels import ROOKERY, Item
from penguiflow.context import Context, Port
from penguiflow.coroutines import resume, resume_in
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.failures import NodeTimeout, flow_error, text_of
from penguiflow.traces import TraceCancelled, cancelled_error, trace_id_of, trace_status
from penguiflow.types import FinalAnswer, Message
from penguiflow.validation import NodeValidators, rewrap

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.node import Node
    from penguiflow.registry import ModelRegistry

FAIRNESS = 64
"""Messages that a carrier handles before it lets the rest of the loop run."""
MAX_IDLE_CARRIERS = 64
DEADLINE_EXCEEDED_TEXT = "Deadline exceeded"

logger = logging.getLogger("penguiflow.core")

_new_context = Context.__new__


class Worker:
    """One node in the engine: its inbox, its checks, and how many invocations are under way."""

    __slots__ = ("func", "items", "limit", "listed", "node", "policy", "port", "running", "validators")

    def __init__(self, port: Port, registry: ModelRegistry | None) -> None:
        node = cast("Node", port.owner)
        self.node = node
        self.func = cast("Callable[[Any, Context], Coroutine[Any, Any, Any]]", node.func)
        self.port = port
        self.policy = node.policy
        self.limit = node.policy.max_concurrency
        self.items = port.inbox.items
        self.running = 0
        self.listed = False
        """Whether it stands in the queue of nodes that have work."""
        self.validators = NodeValidators(node, registry)


class Engine:
    """Runs the nodes of one flow from `start` to `stop`."""

    def __init__(self, flow: PenguiFlow, ports: list[Port], registry: ModelRegistry | None) -> None:
        self.flow = flow
        self.broadcast = flow._broadcast
        self.table = flow._table
        self.told = False
        """Whether anybody listens to the events of successful invocations."""
        self.loop = asyncio.get_running_loop()
        self.base_context = contextvars.copy_context()
        """What every invocation's context variables begin with."""
        self.workers = [Worker(port, registry) for port in ports]
        self.ready: deque[Worker] = deque()
        self.drainer: asyncio.Task[None] | None = None
        """The carrier that drains the queue, or is about to."""
        self.idle: list[tuple[asyncio.Future[None], asyncio.Task[None]]] = []
        self.carriers: set[asyncio.Task[None]] = set()
        self.suspended: set[Context] = set()
        self.stopping = False
        for worker in self.workers:
            worker.port.inbox.worker = worker
            worker.port.inbox.engine = self

    def start(self) -> None:
        """Take up what already waits."""
        for worker in self.workers:
            if worker.items:
                self.list_worker(worker)

    async def stop(self) -> None:
        """Cancel what is under way and wait for it. Messages that wait for a node stay where they are."""
        self.stopping = True
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
        waiting = [task for task in self.carriers if task is not current]
        if waiting:
            await asyncio.wait(waiting)

    def list_worker(self, worker: Worker) -> None:
        """The node has work."""
        worker.listed = True
        self.ready.append(worker)
        if self.drainer is None:
            self._wake()

    def _wake(self) -> None:
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
                self._wake()

    def _notice_shutdown(self) -> None:
        """A carrier was cancelled. If all tasks are, the loop is shutting down, and a new carrier would outlive it."""
        if all(task.cancelling() for task in asyncio.all_tasks()):
            self.stopping = True

    async def _drain(self, task: asyncio.Task[None]) -> None:  # noqa: C901 - the hot loop, written out
        """Handle messages until none is left, or until another carrier has taken over."""
        ready = self.ready
        handled = 0
        self.told = self.broadcast.wanted(logging.INFO)
        while ready and not self.stopping:
            worker = ready.popleft()
            worker.listed = False
            items = worker.items
            if not items or worker.running >= worker.limit:
                continue
            item = items.popleft()
            floe = item[0]
            floe.size -= 1
            if floe.putters:
                floe.wake_putter()
            worker.running += 1
            if items and worker.running < worker.limit:
                worker.listed = True
                ready.append(worker)
            trace = item[2]
            if trace is not None and trace.cancelled:
                trace.passed_over(item)
            else:
                context = _new_context(Context)
                context._port = worker.port
                activation = self._activate(worker, context, item)
                try:
                    pending = activation.send(None)
                except StopIteration:
                    pass
                except BaseException:
                    worker.running -= 1
                    raise
                else:
                    # It waits: somebody else goes on with the queue.
                    self.drainer = None
                    if ready:
                        self._wake()
                    try:
                        await self._wait_with(context, task, resume(activation, pending))
                    except BaseException:
                        worker.running -= 1
                        raise
            worker.running -= 1
            if task.cancelling():
                self._notice_shutdown()
            if items and not worker.listed and not self.stopping:
                self.list_worker(worker)
            if task.cancelling():
                return
            if self.drainer is not task:
                if self.drainer is not None:
                    return
                self.drainer = task
            handled += 1
            if handled >= FAIRNESS:
                handled = 0
                await asyncio.sleep(0)
                self.told = self.broadcast.wanted(logging.INFO)
        if self.drainer is task:
            self.drainer = None

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

    async def _activate(self, worker: Worker, context: Context, item: Item) -> None:  # noqa: C901 - the hot path
        """Handle one message from beginning to end. Raises nothing.

        This is the path that every hop takes: what is written out here (checks, the send to the successors) is
        written out because a call costs as much as the work.
        """
        floe, message, trace, message_id = item
        context._message = message
        log = None
        if trace is not None:
            context._trace = trace
            trace.queued -= 1
            trace.inflight += 1
            log = trace.log
            if log is not None:
                context._message_id = message_id
                log.event("message.dequeued", floe.name, log.root, {"message_id": message_id})
                about = {"message_id": message_id, "node_id": worker.node.node_id}
                context._span = log.start("node", worker.port.name, log.root, about)
        validators = worker.validators
        status = "cancelled"
        error: FlowError | None = None
        attempt = 0
        attempt_span = ""
        expired = isinstance(message, Message) and message.deadline_s is not None and message.deadline_s <= time()
        try:
            if expired:
                error = await self._expired(worker, context, message)
            while not expired:
                started = perf_counter()
                if log is not None:
                    attempt_span = log.start("attempt", worker.port.name, context._span, {"attempt": attempt})
                try:
                    if self.told:
                        await self.broadcast.tell(
                            "node_start", context, attempt=attempt, latency_ms=0.0, level=logging.DEBUG
                        )
                    value = message
                    envelope = None
                    if validators.unwraps and isinstance(message, Message):
                        context._envelope = envelope = message
                        value = message.payload
                    if validators.check_in is not None and type(value) is not validators.trusted_in:
                        value = validators.check_in(value)
                    coro = worker.func(value, context)
                    variables = self.base_context.copy()
                    try:
                        pending = variables.run(coro.send, None)
                    except StopIteration as stop:
                        result = stop.value
                    else:
                        result = await self._await_function(worker, context, variables, coro, pending)
                    if envelope is not None and type(result) is validators.trusted_out:
                        result = rewrap(envelope, result)
                    elif result is not None:
                        result = validators.finish(result, envelope)
                except BaseException as failure:
                    error = await self._attempt_failed(worker, context, failure, attempt, attempt_span, started)
                    if error is not None:
                        break
                    attempt += 1
                    continue
                if log is not None and (log := trace.log) is not None:  # type: ignore[union-attr]
                    latency_ms = (perf_counter() - started) * 1e3
                    log.end("attempt", worker.port.name, attempt_span, context._span, "ok", {"latency_ms": latency_ms})
                if result is not None:
                    if type(result) is Message:
                        own_id: str | None = result.trace_id
                        final = type(result.payload) is FinalAnswer
                    else:
                        own_id = trace_id_of(result)
                        final = False
                    if final:
                        await self.flow._to_rookery(context, result)
                    elif log is not None or (own_id is not None and (trace is None or own_id != trace.id)):
                        await context.emit(result)
                    else:
                        for floe in worker.port.outgoing:
                            if (
                                0 < floe.maxsize <= floe.size
                                or floe.target is ROOKERY
                                or (trace is not None and (trace.cancelled or trace.ended))
                            ):
                                await context._send(floe, result, trace, None)
                                continue
                            if trace is not None:
                                trace.queued += 1
                            floe.size += 1
                            inbox = floe.inbox
                            inbox.items.append((floe, result, trace, ""))
                            target = inbox.worker
                            if target is None or inbox.getters:
                                inbox.arrived(floe)
                            elif not target.listed and target.running < target.limit:
                                target.listed = True
                                self.ready.append(target)
                                if self.drainer is None:
                                    self._wake()
                if self.told:
                    latency_ms = (perf_counter() - started) * 1e3
                    await self.broadcast.tell("node_success", context, attempt=attempt, latency_ms=latency_ms)
                break
            status = "ok" if error is None else trace_status(error)
        except (asyncio.CancelledError, TraceCancelled):
            context._cancel_sent = True
            event = "node_cancelled" if context._cancel_reason == "stop" else "node_trace_cancelled"
            await self.broadcast.tell(event, context, attempt=attempt)
        except Exception as failure:  # whatever goes wrong around a function: the caller is told, the carrier lives on
            error = flow_error(worker.node, context.trace_id, failure, attempt, 0.0)
            if trace is not None and trace.error is None:
                trace.error = error
            status = "error"
            logger.exception("node_failed", extra={"event": "node_failed", "flow_error": error.to_payload()})
        finally:
            if trace is not None:
                if log is not None and log is trace.log:
                    data = None if error is None else {"error": error.to_payload()}
                    log.end("node", worker.port.name, context._span, log.root, status, data)
                if context._held is not None:
                    for held in context._held:
                        self.table.release(held)
                trace.inflight -= 1
                if not trace.inflight and not trace.queued and not trace.ended:
                    self.table.finish(trace)

    async def _await_function(
        self, worker: Worker, context: Context, variables: contextvars.Context, coro: Any, pending: Any
    ) -> Any:
        """Go on with a function that has to wait, within the policy's time."""
        timeout_s = worker.policy.timeout_s
        rest = resume_in(variables, coro, pending)
        if timeout_s is None:
            return await rest
        timer = self.loop.call_later(timeout_s, _expire, context)
        try:
            return await rest
        except asyncio.CancelledError:
            if context._timed_out and context._cancel_reason is None:
                raise NodeTimeout from None
            raise
        finally:
            timer.cancel()

    async def _attempt_failed(
        self, worker: Worker, context: Context, failure: BaseException, attempt: int, span: str, started: float
    ) -> FlowError | None:
        """Report a failed attempt and wait for the next one (None), or give up (the error)."""
        latency_ms = (perf_counter() - started) * 1e3
        trace = context._trace
        log = None if trace is None else trace.log
        cancelled = context._cancel_reason is not None or (
            isinstance(failure, TraceCancelled) and trace is not None and trace.cancelled
        )
        timed_out = isinstance(failure, NodeTimeout)
        shown = text_of(failure, repr)
        if log is not None:
            status = "cancelled" if cancelled else "timeout" if timed_out else "error"
            cause = TimeoutError(f"no answer within {worker.policy.timeout_s} s") if timed_out else failure
            data = {"latency_ms": latency_ms, "error": log.describe(cause)}
            log.end("attempt", worker.port.name, span, context._span, status, data)
        if cancelled or isinstance(failure, GeneratorExit | KeyboardInterrupt):
            raise failure
        task = context._task
        if isinstance(failure, asyncio.CancelledError) and task is not None and task.cancelling() > context._cancels:
            # Not by us: the loop is shutting down, or the node cancelled its own task.
            if trace is not None and trace.error is None:
                trace.error = cancelled_error(trace, f"the task of node '{worker.port.name}' was cancelled")
            raise failure
        if timed_out and task is not None:
            task.uncancel()
            context._cancels -= 1
            context._timed_out = False
        event = "node_timeout" if timed_out else "node_error"
        await self.broadcast.tell(
            event,
            context,
            attempt=attempt,
            latency_ms=latency_ms,
            level=logging.WARNING if timed_out else logging.ERROR,
            extra={"exception": shown},
            exc=failure,
        )
        if attempt < worker.policy.max_retries:
            delay = worker.policy.backoff(attempt + 1)
            retry = {"sleep_s": delay, "exception": shown}
            if log is not None:
                about = {"attempt": attempt + 1, "sleep_s": delay, "error": shown}
                log.event("node.retry", worker.port.name, context._span, about)
            await self.broadcast.tell("node_retry", context, attempt=attempt + 1, extra=retry)
            await asyncio.sleep(delay)
            return None
        error = flow_error(worker.node, context.trace_id, failure, attempt, latency_ms)
        if trace is not None and trace.error is None:
            trace.error = error
        await self.broadcast.tell(
            "node_failed",
            context,
            attempt=attempt,
            latency_ms=latency_ms,
            level=logging.ERROR,
            extra={"exception": shown, "flow_error": error.to_payload()},
            exc=failure,
        )
        if self.table.errors_are_results:
            await self.flow._to_rookery(context, error)
        return error

    async def _expired(self, worker: Worker, context: Context, message: Message) -> FlowError:
        """The trace's time is up before the node began: answer in its place."""
        trace = context._trace
        error = FlowError(
            trace_id=context.trace_id,
            node_name=worker.port.name,
            node_id=worker.node.node_id,
            code=FlowErrorCode.DEADLINE_EXCEEDED,
            message=DEADLINE_EXCEEDED_TEXT,
            metadata={"deadline_s": message.deadline_s},
        )
        if trace is not None:
            trace.error = trace.error or error
            trace.stopped = True
            if trace.log is not None:
                about = {"message_id": context._message_id, "deadline_s": message.deadline_s}
                trace.log.event("deadline.exceeded", worker.port.name, context._span, about)
        extra = {"deadline_s": message.deadline_s, "flow_error": error.to_payload()}
        await self.broadcast.tell("deadline_skip", context, extra=extra)
        payload = message.payload
        if not isinstance(payload, FinalAnswer):
            payload = FinalAnswer(text=DEADLINE_EXCEEDED_TEXT)
        await self.flow._to_rookery(context, rewrap(message, payload))
        return error


def _expire(context: Context) -> None:
    context._timed_out = True
    if context._task is not None:
        context._cancels += 1
        context._task.cancel()
