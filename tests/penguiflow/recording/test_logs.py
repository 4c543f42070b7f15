"""What nodes log is part of their trace."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

import pytest

from penguiflow import Context, FlowError, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.current import CURRENT
from penguiflow.recording import Recorder, TraceEvent
from penguiflow.recording.logs import MAX_BYTES, MAX_CHARS, TraceLogHandler, note
from penguiflow.recording.masking import Masker
from penguiflow.recording.schema import DATA

logger = logging.getLogger("shop.prices")


class Sink(Protocol):
    def write(self, record: Any) -> None: ...

    def events(self) -> list[TraceEvent]: ...


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Iterator[TraceLogHandler]:
    monkeypatch.setattr(CURRENT, "wanted", False)
    made = TraceLogHandler()
    logger.addHandler(made)
    logger.propagate = False
    yield made
    logger.removeHandler(made)
    logger.propagate = True


Run = Callable[..., Awaitable[list[TraceEvent]]]


@pytest.fixture
def run(sink: Sink, handler: TraceLogHandler) -> Run:
    """Runs one node on one message; gives the events."""

    async def go(node: Node | PenguiFlow, **recording: Any) -> list[TraceEvent]:
        flow = node if isinstance(node, PenguiFlow) else create(node.to())
        flow.run(recorder=Recorder(sink, **recording))
        with contextlib.suppress(FlowError):
            await flow.call(Message(payload="x", headers=Headers(tenant="t")), timeout=60)
        await flow.stop()
        return sink.events()

    return go


def lines(events: list[TraceEvent]) -> list[str]:
    for event in events:
        if event.kind == "log":
            assert not DATA["log"].model_validate(event.data).model_extra
    return [event.data["text"] for event in events if event.kind == "log"]


async def test_a_line_belongs_to_the_attempt_that_wrote_it(run: Run) -> None:
    tries = 0

    async def work(given: Message, ctx: Context) -> Message:
        nonlocal tries
        tries += 1
        logger.warning("try %d", tries)
        if tries == 1:
            raise ValueError("again")
        return given

    events = await run(Node(work, policy=NodePolicy(max_retries=1, backoff_base=0.0)))
    attempts = [event.span_id for event in events if event.kind == "attempt.start"]
    said = [event for event in events if event.kind == "log"]
    assert [event.span_id for event in said] == attempts
    assert [event.name for event in said] == ["shop.prices"] * 2
    assert [(event.data["level"], event.data["text"]) for event in said] == [("WARNING", "try 1"), ("WARNING", "try 2")]
    assert said[0].data["file"] == __file__


async def test_what_a_node_starts_is_part_of_it(run: Run) -> None:
    async def work(given: Message, ctx: Context) -> Message:
        await asyncio.gather(*(part(number) for number in range(3)))
        await asyncio.to_thread(logger.error, "in a thread")
        await asyncio.sleep(0)
        return given

    async def part(number: int) -> None:
        await asyncio.sleep(0)
        logger.warning("part %d", number)

    assert lines(await run(Node(work))) == ["part 0", "part 1", "part 2", "in a thread"]


async def test_each_of_two_traces_has_its_own_lines(sink: Sink, handler: TraceLogHandler) -> None:
    async def work(given: Message, ctx: Context) -> Message:
        logger.warning("before %s", given.payload)
        await asyncio.sleep(0)
        logger.warning("after %s", given.payload)
        return given

    flow = create(Node(work, policy=NodePolicy(max_concurrency=4)).to())
    flow.run(recorder=Recorder(sink))
    names = [f"m{number}" for number in range(4)]
    given = [Message(payload=name, headers=Headers(tenant="t"), trace_id=name) for name in names]
    await asyncio.gather(*(flow.call(each, timeout=60) for each in given))
    await flow.stop()
    for name in names:
        assert lines([e for e in sink.events() if e.trace_id == name]) == [f"before {name}", f"after {name}"]


async def test_an_exception_is_told_with_its_traceback(run: Run) -> None:
    async def work(given: Message, ctx: Context) -> Message:
        try:
            raise ValueError("password=hunter2xyz")
        except ValueError:
            logger.exception("it failed")
        return given

    (event,) = (event for event in await run(Node(work)) if event.kind == "log")
    assert event.data["text"] == "it failed"
    assert event.data["error"]["type"] == "ValueError"
    assert event.data["error"]["line"]
    assert "hunter2xyz" not in str(event.data)


async def test_secrets_are_hidden_before_a_line_is_cut(run: Run) -> None:
    secret = "s3cr3t-value-of-the-environment"

    async def work(given: Message, ctx: Context) -> Message:
        logger.warning("key %s", secret)
        logger.warning("password=%s", "hunter2xyz")
        logger.warning("%s%s", "x" * (MAX_CHARS - 10), secret)
        logger.warning("%s%s", "x" * (4 * MAX_CHARS - 10), secret)
        return given

    events = await run(Node(work), masker=Masker(environment={"SHOP_API_KEY": secret}))
    said = lines(events)
    assert said[0] == "key ⟦$secret env:SHOP_API_KEY⟧"
    assert "hunter2xyz" not in said[1]
    assert all(secret[:4] not in line for line in said)
    assert [len(line) for line in said[2:]] == [MAX_CHARS + 1] * 2


async def test_a_trace_keeps_so_much_and_says_so(run: Run) -> None:
    async def work(given: Message, ctx: Context) -> Message:
        for _ in range(MAX_BYTES // MAX_CHARS + 100):
            logger.warning("x" * MAX_CHARS)
        return given

    said = lines(await run(Node(work)))
    assert sum(map(len, said)) <= MAX_BYTES + MAX_CHARS
    assert said[-1] == "nothing more of what this trace logs is recorded: 4 MB is the most"


async def test_a_broken_line_breaks_nothing(run: Run) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    async def work(given: Message, ctx: Context) -> Message:
        # Straight to `note`: pytest's own handler would raise.
        for text in (Odd(), "lone \ud800"):
            note(logging.LogRecord("shop", logging.WARNING, __file__, 1, "%s", (text,), None))
        return given

    events = await run(Node(work))
    assert lines(events) == ["lone \\ud800"]
    assert events[-1].data["status"] == "ok"


async def test_lines_after_the_end_and_of_nobody_are_left_out(run: Run) -> None:
    left: list[asyncio.Task[None]] = []
    ended = asyncio.Event()

    async def late() -> None:
        await ended.wait()
        logger.warning("too late")

    async def work(given: Message, ctx: Context) -> Message:
        left.append(asyncio.create_task(late()))
        return given

    logger.warning("of nobody")
    events = await run(Node(work))
    ended.set()
    await left[0]
    assert lines(events) == []


async def test_nobody_pays_who_has_not_asked(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CURRENT, "wanted", False)
    found: list[Context | None] = []

    async def work(given: Message, ctx: Context) -> Message:
        found.append(CURRENT.get())
        return given

    flow = create(Node(work).to())
    flow.run(recorder=Recorder(sink))
    await flow.call(Message(payload="x", headers=Headers(tenant="t")), timeout=60)
    await flow.stop()
    assert found == [None]
