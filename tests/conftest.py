"""What tests of the runtime share: flows that are stopped and checked, a recorder that checks what it is told."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from hypothesis import HealthCheck, settings

from penguiflow import FlowEvent, Headers, Message, Node, NodePolicy, PenguiFlow
from penguiflow.observer import Payload

pytest_plugins = [
    "tests.bus_servers",
    "tests.model_server",
    "tests.rewriting",
    "tests.servers",
    "tests.settling",
    "tests.spreading",
]

RUNTIME_TESTS = Path(__file__).parent / "penguiflow"
HANG_S = 120.0
"""A test of the runtime that takes longer than this hangs."""
MAX_TURNS = 1000

NodeFunction = Callable[..., Awaitable[Any]]

# The same examples everywhere, however slow the machine is: what is to be found is found at home.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")


class MakeMessage(Protocol):
    """Makes a message from a payload; the other fields by name."""

    def __call__(self, payload: Any, **fields: Any) -> Message: ...


class MakeNode(Protocol):
    """Makes a node that is not validated unless `validate` says otherwise; the policy's fields by name."""

    def __call__(
        self, func: NodeFunction | None = None, name: str | None = None, *, allow_cycle: bool = False, **policy: Any
    ) -> Node: ...


class Start(Protocol):
    """Runs a flow that is stopped, and looked over, when the test is done."""

    def __call__(self, flow: PenguiFlow, **run: Any) -> PenguiFlow: ...


class Until(Protocol):
    """Gives the loop turns until the condition holds."""

    async def __call__(self, condition: Callable[[], object]) -> None: ...


class Recorded(NamedTuple):
    """One event that the runtime reported."""

    kind: str
    name: str
    span: str
    parent: str
    data: Mapping[str, Any]
    status: str = ""


class RecordedTrace:
    """A `TraceLog` in memory; notes what a real one would have to refuse."""

    def __init__(self, trace_id: str, root: str) -> None:
        self.trace_id = trace_id
        self.root = root
        self.events: list[Recorded] = []
        self.status: str | None = None
        self.closing: Mapping[str, Any] = {}
        self.problems: list[str] = []
        self._open: dict[str, tuple[str, str]] = {}
        self._spans = 0

    def start(self, kind: str, name: str, parent: str, data: Mapping[str, Any] | None = None) -> str:
        self._spans += 1
        span = str(self._spans)
        if parent != self.root and parent not in self._open:
            self.problems.append(f"{kind}.start {name} in span {parent!r}, which is not open")
        self._open[span] = (kind, parent)
        self._write(Recorded(f"{kind}.start", name, span, parent, dict(data or {})))
        return span

    def end(
        self, kind: str, name: str, span: str, parent: str, status: str, data: Mapping[str, Any] | None = None
    ) -> None:
        if self._open.pop(span, None) != (kind, parent):
            self.problems.append(f"{kind}.end {name} of span {span!r}, which is not open")
        for child, (child_kind, its_parent) in self._open.items():
            if its_parent == span:
                self.problems.append(f"{kind}.end {name} before the end of its {child_kind} {child}")
        self._write(Recorded(f"{kind}.end", name, span, parent, dict(data or {}), status))

    def put(self, edge: str, span: str, message_id: str, content: Any, envelope: Message | None) -> None:
        source, target = edge.split("->", 1)
        data: dict[str, Any] = {"message_id": message_id, "source": source, "target": target}
        data["payload"] = Payload(content)
        if envelope is not None:
            data["headers"] = envelope.headers.model_dump()
            data["meta"] = envelope.meta
            data["deadline_s"] = envelope.deadline_s
        self.event("message.enqueued", edge, span, data)

    def begin(self, edge: str, message_id: str, node: str, node_id: str) -> None:
        """Every event for itself."""

    def taken(self, edge: str, parent: str, message_id: str, node: str, node_id: str) -> tuple[str, str]:
        self.event("message.dequeued", edge, parent, {"message_id": message_id})
        span = self.start("node", node, parent, {"message_id": message_id, "node_id": node_id})
        return span, self.start("attempt", node, span, {"attempt": 0})

    def event(self, kind: str, name: str, span: str, data: Mapping[str, Any] | None = None) -> None:
        if span != self.root and span not in self._open:
            self.problems.append(f"{kind} {name} in span {span!r}, which is not open")
        self._write(Recorded(kind, name, span, "", dict(data or {})))

    def freeze(self, value: Any) -> Any:
        return copy.deepcopy(value)

    def describe(self, error: BaseException) -> Mapping[str, Any]:
        return {"type": type(error).__name__, "message": str(error)}

    def close(self, status: str, data: Mapping[str, Any] | None = None) -> None:
        if self._open:
            self.problems.append(f"trace.end while {list(self._open.values())} are open")
        self._write(Recorded("trace.end", "", self.root, "", dict(data or {}), status))
        self.status = status
        self.closing = dict(data or {})

    def _write(self, event: Recorded) -> None:
        if self.status is not None:
            self.problems.append(f"{event.kind} {event.name} after trace.end")
        self.events.append(event)

    def of_kind(self, *kinds: str) -> list[Recorded]:
        """The events of these kinds, in order."""
        return [event for event in self.events if event.kind in kinds]

    def faults(self) -> list[str]:
        """What is wrong with the log of a trace that is over."""
        faults = list(self.problems)
        if self.status is None:
            faults.append("never closed")
        enqueued = {event.data["message_id"]: event for event in self.of_kind("message.enqueued")}
        if len(enqueued) != len(self.of_kind("message.enqueued")):
            faults.append("a message id was given twice")
        gone = Counter(event.data["message_id"] for event in self.of_kind("message.dequeued", "message.dropped"))
        faults += [f"message {each} left {times} times" for each, times in gone.items() if times > 1]
        faults += [f"message {each} left but never came" for each in gone.keys() - enqueued.keys()]
        for message_id, event in enqueued.items():
            if message_id not in gone and event.data["target"] != "Rookery":
                faults.append(f"message {message_id} on {event.name} was neither taken nor dropped")
            if (original := event.data.get("same_as")) is not None and original not in enqueued:
                faults.append(f"message {message_id} refers to {original}, which never came")
        return faults


class MemoryRecorder:
    """A `TraceRecorder` that keeps everything and can be made congested."""

    def __init__(self) -> None:
        self.logs: list[RecordedTrace] = []
        self.commit: Callable[[], Awaitable[None] | None] | None = None
        self.ready = asyncio.Event()
        self.ready.set()

    @property
    def congested(self) -> bool:
        return not self.ready.is_set()

    def open(self, trace_id: str, data: Mapping[str, Any] | None = None) -> RecordedTrace:
        # Each time a trace is taken up it has another root, as in a store.
        earlier = sum(log.trace_id == trace_id for log in self.logs)
        log = RecordedTrace(trace_id, f"root{earlier}")
        self.logs.append(log)
        return log

    async def wait_ready(self) -> None:
        await self.ready.wait()

    async def flush(self) -> None:
        """Everything is there already."""

    def durable(self) -> Awaitable[None] | None:
        return self.commit() if self.commit is not None else None

    def only(self) -> RecordedTrace:
        """The log of the one trace there was."""
        (log,) = self.logs
        return log

    def of(self, trace_id: str) -> RecordedTrace:
        """The log of a trace that was opened once."""
        (log,) = [log for log in self.logs if log.trace_id == trace_id]
        return log

    def check(self) -> None:
        """Every trace is whole: spans end where they should, no message is lost."""
        faults = {log.trace_id: log.faults() for log in self.logs if log.faults()}
        assert not faults


class EventLog:
    """A middleware that keeps what it sees."""

    def __init__(self) -> None:
        self.events: list[FlowEvent] = []

    async def __call__(self, event: FlowEvent) -> None:
        self.events.append(event)

    @property
    def types(self) -> list[str]:
        return [event.event_type for event in self.events]

    def of_type(self, event_type: str) -> list[FlowEvent]:
        """The events of one type, in order."""
        return [event for event in self.events if event.event_type == event_type]


def runtime_tasks() -> list[str]:
    """Names of the tasks that flows have on this loop."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("penguiflow")]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Two for each processor, where no variable says otherwise: tests that start processes wait most of the time."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return 2 * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    """What is there before the first test stays: no collection of garbage has to look at it again."""
    gc.collect()
    gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test of the runtime that hangs fails, and says so, in a few seconds."""
    if not isinstance(item, pytest.Function) or item.path.parent != RUNTIME_TESTS:
        return
    test = item.obj
    if not inspect.iscoroutinefunction(test):
        return

    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(HANG_S):
            await test(*args, **kwargs)

    item.obj = bounded


@pytest.fixture
def make_message() -> MakeMessage:
    def make(payload: Any, **fields: Any) -> Message:
        fields.setdefault("headers", Headers(tenant="acme"))
        return Message(payload=payload, **fields)

    return make


@pytest.fixture
def make_node() -> MakeNode:
    async def echo(message: Any, ctx: Any) -> Any:
        return message

    def make(
        func: NodeFunction | None = None, name: str | None = None, *, allow_cycle: bool = False, **policy: Any
    ) -> Node:
        policy.setdefault("validate", "none")
        return Node(func or echo, name=name, policy=NodePolicy(**policy), allow_cycle=allow_cycle)

    return make


@pytest.fixture
def until() -> Until:
    async def wait(condition: Callable[[], object]) -> None:
        for _ in range(MAX_TURNS):
            if condition():
                return
            await asyncio.sleep(0)
        # What depends on time needs more than turns.
        deadline = asyncio.get_running_loop().time() + HANG_S
        while not condition() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.002)
        assert condition()

    return wait


@pytest.fixture
async def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's clock stands while there is something to do, and jumps to the next timer when there is nothing.

    So a busy machine makes no timeout strike that a test does not wait for. Nobody would wait for threads or sockets.
    """
    loop: Any = asyncio.get_running_loop()
    now, select = loop.time(), loop._selector.select

    def jump(timeout: float | None = None) -> Any:
        nonlocal now
        if timeout is None:
            return select(None)
        now += max(timeout, 0.0)
        return select(0)

    monkeypatch.setattr(loop, "time", lambda: now)
    monkeypatch.setattr(loop._selector, "select", jump)


@pytest.fixture
async def start(until: Until) -> AsyncIterator[Start]:
    flows: list[PenguiFlow] = []

    def run(flow: PenguiFlow, **run: Any) -> PenguiFlow:
        flow.run(**run)
        flows.append(flow)
        return flow

    yield run
    async with asyncio.timeout(HANG_S):
        for flow in flows:
            await flow.stop()
            assert not flow._traces
    assert runtime_tasks() == []


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


@pytest.fixture
def event_log() -> EventLog:
    return EventLog()
