"""What tests of flows need: run one message, look at what happened, make a node fail on purpose."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from weakref import WeakSet

from penguiflow.core import PenguiFlow
from penguiflow.errors import FlowErrorCode
from penguiflow.metrics import FlowEvent
from penguiflow.node import Node
from penguiflow.types import Headers, Message

__all__ = [
    "assert_node_sequence",
    "assert_preserves_message_envelope",
    "get_recorded_events",
    "run_one",
    "simulate_error",
]

MAX_TRACES = 64
"""Traces whose events are remembered; the oldest makes room."""
MAX_EVENTS = 10_000
"""Events that are remembered of one trace; the oldest make room."""

_history: OrderedDict[str, deque[FlowEvent]] = OrderedDict()
_recorded: WeakSet[PenguiFlow] = WeakSet()


async def _record(event: FlowEvent) -> None:
    """The middleware behind `get_recorded_events`."""
    if event.trace_id is None:
        return
    events = _history.get(event.trace_id)
    if events is None:
        events = _history[event.trace_id] = deque(maxlen=MAX_EVENTS)
        while len(_history) > MAX_TRACES:
            _history.popitem(last=False)
    events.append(event)


async def run_one(
    flow: PenguiFlow, message: Message, *, registry: Any | None = None, timeout_s: float | None = 1.0
) -> Any:
    """Run the flow for one message, stop it, and return the first result as it was emitted.

    The result is None when the flow is done without one. Raises `TimeoutError` when nothing came within `timeout_s`
    seconds, and the `FlowError` of a trace that failed. The events of this run take the place of those that an earlier
    run of the same trace left.
    """
    if not isinstance(message, Message):
        raise TypeError("run_one expects a penguiflow.types.Message instance")
    if flow not in _recorded:
        flow.add_middleware(_record)
        _recorded.add(flow)
    flow.run(registry=registry, alone=True)
    _history.pop(message.trace_id, None)
    try:
        async with asyncio.timeout(timeout_s):
            return await _first_result(flow, message)
    finally:
        await flow.stop()


async def _first_result(flow: PenguiFlow, message: Message) -> Any:
    """The first result of the message's trace, or of another one: a node may have made a message of its own."""
    results = flow.stream(message)
    own = asyncio.ensure_future(anext(results, None))
    other = asyncio.ensure_future(flow.fetch())
    try:
        await asyncio.wait((own, other), return_when=asyncio.FIRST_COMPLETED)
        if own.done() and (own.result() is not None or not (flow._traces or other.done())):
            return own.result()
        return await other
    finally:
        for waiting in (own, other):
            waiting.cancel()
        await asyncio.gather(own, other, return_exceptions=True)
        await results.aclose()


def get_recorded_events(trace_id: str) -> tuple[FlowEvent, ...]:
    """The events of a trace that `run_one` ran, oldest first; none for a trace that is unknown or forgotten."""
    return tuple(_history.get(trace_id, ()))


def assert_node_sequence(trace_id: str, expected: Sequence[str]) -> None:
    """Check in which order nodes began; a node that begins several times in a row counts once."""
    events = get_recorded_events(trace_id)
    if not events:
        raise AssertionError(f"No recorded events for trace_id={trace_id!r}; run a flow with run_one first.")
    started = [event.node_name for event in events if event.event_type == "node_start"]
    actual = [name for name, _ in itertools.groupby(started)]
    if actual != list(expected):
        raise AssertionError(f"Node sequence mismatch:\n  expected: {list(expected)}\n  actual:   {actual}")


class _Simulation:
    """How often a simulated node was called, and how often it failed."""

    def __init__(self) -> None:
        self.attempts = 0
        self.failures = 0


def simulate_error(
    node_name: str,
    code: FlowErrorCode | str,
    *,
    fail_times: int = 1,
    result: Any | None = None,
    result_factory: Callable[[Any], Awaitable[Any] | Any] | None = None,
    exception_type: type[Exception] = RuntimeError,
) -> Callable[[Any, Any], Awaitable[Any]]:
    """A node function that fails `fail_times` times and then gives `result`, what `result_factory` makes of the
    message, or the message itself.

    Its `simulation` counts `attempts` and `failures`. Raises `ValueError` for `fail_times` below 1 and for a result as
    well as a factory.
    """
    if fail_times < 1:
        raise ValueError("fail_times must be >= 1")
    if result is not None and result_factory is not None:
        raise ValueError("Specify only one of result or result_factory")
    simulation = _Simulation()
    shown = code.value if isinstance(code, FlowErrorCode) else code

    async def simulated(message: Any, ctx: Any) -> Any:
        simulation.attempts += 1
        if simulation.failures < fail_times:
            simulation.failures += 1
            raise exception_type(f"[{shown}] simulated failure in {node_name} (attempt {simulation.attempts})")
        if result_factory is not None:
            made = result_factory(message)
            return await made if inspect.isawaitable(made) else made
        return message if result is None else result

    simulated.__name__ = node_name
    vars(simulated)["simulation"] = simulation
    return simulated


class _StubContext:
    """A context for one call of a node outside any flow: what is emitted goes nowhere."""

    trace_id: str | None = None

    async def emit(self, msg: Any, to: Any = None) -> None:
        """Take a message."""

    def emit_nowait(self, msg: Any, to: Any = None) -> None:
        """Take a message."""

    async def emit_chunk(self, **chunk: Any) -> None:
        """Refuse: there is no stream to count in."""
        raise RuntimeError("emit_chunk is not available here; pass ctx= with a context that takes chunks")


async def assert_preserves_message_envelope(
    node: Callable[[Message, Any], Awaitable[Any]] | Any, *, message: Message | None = None, ctx: Any | None = None
) -> Message:
    """Call a node (or its function) once and check that headers and trace come out as they went in.

    Returns what the node returned. Raises `TypeError` for a function that is not async.
    """
    func = node.func if isinstance(node, Node) else node
    name = node.name if isinstance(node, Node) else getattr(func, "__name__", type(func).__name__)
    if not (inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(getattr(func, "__call__", None))):  # noqa: B004 - a callable object may have an async __call__
        raise TypeError(f"Node '{name}' must be declared with async def")
    if message is None:
        message = Message(payload={}, headers=Headers(tenant="test"))
    # A node that changes the envelope in place must be found out as well.
    headers, trace_id = message.headers.model_copy(deep=True), message.trace_id
    result = await func(message, _StubContext() if ctx is None else ctx)
    if not isinstance(result, Message):
        raise AssertionError(f"Node '{name}' must return a Message but produced {type(result).__name__}")
    changed = {"headers": result.headers != headers, "trace_id": result.trace_id != trace_id}
    if any(changed.values()):
        altered = ", ".join(field for field, differs in changed.items() if differs)
        raise AssertionError(f"Node '{name}' altered Message {altered}; preserve the envelope")
    return result
