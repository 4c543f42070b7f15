"""A recorder that raises, against its promise: whoever waits is told, and the flow goes on with other traces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penguiflow import Context, FlowError, Headers, Message, Node, NodePolicy, PenguiFlow, create, join_k
from penguiflow.observer import TraceRecorder
from penguiflow.recording import EventRecord, Recorder
from penguiflow.state import SQLiteStateStore

PATIENCE_S = 60.0


class Full(Exception):
    """What a broken recorder raises."""


class Trouble:
    """Counts what is written, and raises from the `first` time on, or only that once."""

    def __init__(self, first: int, *, once: bool) -> None:
        self.first = first
        self.once = once
        self.count = 0

    def write(self) -> None:
        self.count += 1
        if self.count == self.first or (self.count > self.first and not self.once):
            raise Full("no room")

    @property
    def met(self) -> bool:
        return self.count >= self.first


class Broken:
    """A recorder, its logs, and their hops: each call may fail."""

    def __init__(self, inner: Any, trouble: Trouble) -> None:
        self._inner = inner
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in ("open", "start", "end", "event", "put", "taken", "begin", "settle", "done", "close"):
            return found

        def call(*args: Any, **more: Any) -> Any:
            if name != "open":
                self._trouble.write()
            made = found(*args, **more)
            return Broken(made, self._trouble) if name in ("open", "begin") and made is not None else made

        return call


class Sink(list[EventRecord]):
    """Events in memory, one by one."""

    def write(self, record: EventRecord) -> None:
        self.append(record)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of tracebacks of wanted failures help nobody."""
    logger = logging.getLogger("penguiflow.core")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def flow() -> PenguiFlow:
    """Sends by several edges, waits, keeps something, joins and streams; and one node that is over at once."""
    plain = NodePolicy(validate="none", max_retries=1, backoff_base=0.0)

    async def first(message: Message, ctx: Context) -> Message:
        return message

    async def split(message: Message, ctx: Context) -> None:
        for part in "ab":
            await ctx.emit(message.model_copy(update={"payload": part}))

    async def wait(message: Message, ctx: Context) -> Message:
        await asyncio.sleep(0)
        ctx.trace_state["seen"] = ctx.trace_state.get("seen", 0) + 1
        return message

    async def tell(message: Message, ctx: Context) -> Message:
        await ctx.emit_chunk(parent=message, text="a", done=True)
        return message.model_copy(update={"payload": "told"})

    one, two, three = (
        Node(first, name="first", policy=plain),
        Node(split, name="split", policy=plain),
        join_k("join", 2),
    )
    wide = NodePolicy(validate="none", max_concurrency=2, max_retries=1, backoff_base=0.0)
    four, five = Node(wait, name="wait", policy=wide), Node(tell, name="tell", policy=plain)
    return create(one.to(two), two.to(four), four.to(three), three.to(five), five.to())


def ask(trace_id: str) -> Message:
    return Message(payload="q", headers=Headers(tenant="acme"), trace_id=trace_id)


async def end(running: PenguiFlow, trace_id: str) -> str:
    """Ask, hear it out, and say how it went."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for _ in running.stream(ask(trace_id)):
                pass
    except FlowError as error:
        return str(error.message)
    except Full:
        return "raised"
    return "ok"


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("stored", [True, False])
async def test_wherever_it_fails_nobody_waits_for_ever(tmp_path: Any, *, stored: bool, once: bool) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    recorder = store.recorder() if stored else Recorder(Sink())
    number, ended = 0, 0
    while True:
        number += 1
        trouble = Trouble(number, once=once)
        running = flow()
        broken: Any = Broken(recorder, trouble)
        running.run(recorder=broken)
        told = await end(running, f"t{number}")
        if not trouble.met:
            assert told == "ok"
            break
        # What fails only once within a node is tried again with the node.
        assert once or "no room" in told or told == "raised", f"call {number}: {told}"
        ended += "no room" in told
        # What is not recorded by it goes on, in the same flow.
        trouble.first = 1 << 60
        assert await end(running, f"u{number}") == "ok", f"call {number}"
        async with asyncio.timeout(PATIENCE_S):
            await running.stop()
    await running.stop()
    await store.close()
    assert ended > 5


@pytest.mark.parametrize("method", ["begin", "taken"])
async def test_the_error_names_the_recorder(method: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "penguiflow.core")

    class Log:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def begin(self, *args: Any) -> None:
            if method == "begin":
                raise OSError("disk on fire")

        def taken(self, *args: Any) -> Any:
            raise OSError("disk on fire")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    class Opens:
        def __init__(self, inner: TraceRecorder) -> None:
            self._inner = inner

        def open(self, trace_id: str, data: Any = None) -> Any:
            return Log(self._inner.open(trace_id, data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    opens: Callable[[TraceRecorder], Any] = Opens
    running = flow()
    running.run(recorder=opens(Recorder(Sink())))

    told = await end(running, "t")

    await running.stop()
    assert "OSError: disk on fire" in told
    assert any("disk on fire" in str(record.exc_info) for record in caplog.records)


async def test_what_a_recorder_can_still_write_is_the_end_of_the_trace(tmp_path: Any) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    running = flow()
    trouble = Trouble(3, once=True)
    broken: Any = Broken(store.recorder(), trouble)
    running.run(recorder=broken)
    told = await end(running, "t")
    await running.stop()
    await store.flush()
    events = await store.load_events("t")
    await store.close()
    assert trouble.met
    assert "no room" in told
    assert [event.seq for event in events] == list(range(len(events)))
    assert (events[-1].kind, events[-1].data["status"]) == ("trace.end", "cancelled")
