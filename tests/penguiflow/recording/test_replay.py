"""A recorded trace runs again without the world, and stops where the code asks something else."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import (
    Context,
    FlowError,
    Headers,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    PenguiFlow,
    create,
    map_concurrent,
)
from penguiflow.recording import Recorder
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import NotReplayable, Replay, SpanNotFound, replay

Ask = Callable[..., Awaitable[tuple[Cassette, list[Any]]]]


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    text: str
    scores: list[float] = []


class World:
    """What is outside: it counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.delays: dict[str, float] = {}
        self.failing: list[Exception] = []
        self.begun = asyncio.Event()

    async def answer(self, text: str) -> Answer:
        self.asked.append(text)
        self.begun.set()
        await asyncio.sleep(self.delays.get(str(text), 0))
        if self.failing:
            raise self.failing.pop(0)
        return Answer(text=f"{text}: {len(self.asked)}", scores=[0.1, 0.2])


@pytest.fixture
def world() -> World:
    return World()


def node(func: Any, name: str | None = None, **policy: Any) -> Node:
    return Node(func, name=name or func.__name__, policy=NodePolicy(validate="none", backoff_base=30, **policy))


async def record(sink: Any, flow: PenguiFlow, *payloads: Any, **run: Any) -> tuple[Cassette, list[Any]]:
    """Run a flow on some inputs; returns the cassette of that trace, and what it delivered."""
    flow.run(recorder=Recorder(sink, name="asking", data={"target": "flows/asking.py"}), **run)
    message = Message(payload=payloads[0], headers=Headers(tenant="acme"), meta={"k": 1})
    results = []
    try:
        async with asyncio.timeout(60):
            async for item in flow.stream(message):
                results.append(item.payload if isinstance(item, Message) else item)
    except FlowError:
        pass
    finally:
        await flow.stop()
    return Cassette.of(sink.events()), results


async def again(flow: PenguiFlow, cassette: Cassette, **options: Any) -> Replay:
    async with asyncio.timeout(60):
        return await replay(flow, cassette, **options)


async def test_a_replay_answers_from_the_recording(sink: Any, world: World) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        first = await ctx.record("model", world.answer, message.payload)
        second = await ctx.record("model", world.answer, first.text)
        assert isinstance(second, Answer)
        return message.model_copy(update={"payload": second})

    flow = create(node(ask).to())
    cassette, results = await record(sink, flow, "why")
    assert world.asked == ["why", "why: 1"]
    outcome = await again(flow, cassette)
    assert len(world.asked) == 2
    assert outcome.output == results[-1] == Answer(text="why: 1: 2", scores=[0.1, 0.2])
    assert (outcome.status, outcome.answered, outcome.made, outcome.same) == ("ok", 2, 0, True)


@pytest.mark.usefixtures("virtual_time")
async def test_the_time_of_the_world_is_not_spent_again(sink: Any, world: World) -> None:
    world.delays = {"0": 5, "1": 5, "2": 5}

    async def ask(message: Message, ctx: Context) -> Any:
        return [(await ctx.record("model", world.answer, number)).text for number in range(3)]

    flow = create(node(ask).to())
    cassette, results = await record(sink, flow, "go")
    begun = asyncio.get_running_loop().time()
    outcome = await again(flow, cassette)
    assert outcome.output == results[-1]
    assert asyncio.get_running_loop().time() - begun < 1


async def test_a_recording_that_ends_early_says_so(sink: Any, world: World) -> None:
    """The process died with a call on its way: that call is not in the log."""

    async def ask(message: Message, ctx: Context) -> Any:
        for number in range(2):
            await ctx.record("model", world.answer, number)
        return message

    flow = create(node(ask).to())
    await record(sink, flow, "go")
    events = sink.events()
    last = max(event.seq for event in events if event.kind == "record")
    cassette = Cassette.of([*events[:last], events[-1]._replace(data={"status": "interrupted"})])
    outcome = await again(flow, cassette)
    assert outcome.diverged is not None
    assert outcome.diverged.path == "ask[0]/attempt[0]/model[1]"
    assert "it ends here, as the recorded run was interrupted" in str(outcome.diverged)


async def test_a_deadline_leaves_as_much_time_as_it_did(sink: Any) -> None:
    left: list[float] = []

    async def ask(message: Message, ctx: Context) -> Any:
        assert message.deadline_s is not None
        left.append(message.deadline_s - time.time())
        return "done"

    flow = create(node(ask).to())
    flow.run(recorder=Recorder(sink, name="asking"))
    await flow.call(Message(payload="go", headers=Headers(tenant="acme"), deadline_s=time.time() + 100))
    await flow.stop()
    long_ago = [
        event._replace(
            ts=event.ts - 1e6,
            data={**event.data, "deadline_s": event.data["deadline_s"] - 1e6}
            if event.data.get("deadline_s")
            else event.data,
        )
        for event in sink.events()
    ]
    outcome = await again(flow, Cassette.of(long_ago))
    assert outcome.same, outcome.difference
    assert abs(left[1] - left[0]) < 90


async def test_what_a_node_sends_under_another_id_is_not_answered(sink: Any, world: World) -> None:
    async def begin(message: Message, ctx: Context) -> Any:
        await ctx.emit(Message(payload="own", headers=message.headers))

    async def ask(message: Message, ctx: Context) -> Any:
        return await ctx.record("model", world.answer, message.payload)

    first, second = node(begin), node(ask)
    flow = create(first.to(second), second.to())
    flow.run(recorder=Recorder(sink, name="asking"))
    message = Message(payload="go", headers=Headers(tenant="acme"))
    await flow.emit(message)
    await flow.fetch()
    await flow.stop()
    asked = len(world.asked)
    cassette = Cassette.of(event for event in sink.events() if event.trace_id == message.trace_id)
    outcome = await again(flow, cassette)
    assert len(world.asked) == asked
    assert "which is not the recorded one" in str(outcome.diverged)


async def test_a_changed_prompt_stops_at_exactly_that_call(sink: Any, world: World) -> None:
    suffix = ""
    reached = []

    async def ask(message: Message, ctx: Context) -> Any:
        first = await ctx.record("model", world.answer, {"prompt": f"You are kind.\n{message.payload}"})
        reached.append(1)
        try:
            second = await ctx.record("model", world.answer, {"prompt": f"Shorten{suffix}:\n{first.text}", "n": 1})
        except Exception:  # code that goes on whatever happens gets no further all the same
            await ctx.record("model", world.answer, "other")
            reached.append(2)
            second = first
        return message.model_copy(update={"payload": second})

    flow = create(node(ask, max_retries=3).to())
    cassette, _ = await record(sink, flow, "why")
    asked, suffix = len(world.asked), " it"
    reached.clear()
    outcome = await again(flow, cassette)
    assert outcome.status == "diverged"
    assert outcome.diverged is not None
    assert outcome.diverged.path == "ask[0]/attempt[0]/model[1]"
    changed = [line for line in outcome.diverged.diff.splitlines() if line[:1] in "+-"]
    assert [line.split() for line in changed[2:]] == [
        ["-", '"prompt":', '"Shorten:'],
        ["+", '"prompt":', '"Shorten', "it:"],
    ]
    assert reached == [1]
    assert len(world.asked) == asked


async def test_a_call_too_many_and_a_call_too_few(sink: Any, world: World) -> None:
    calls = 2

    async def ask(message: Message, ctx: Context) -> Any:
        for number in range(calls):
            await ctx.record("model", world.answer, number)
        return message

    flow = create(node(ask).to())
    cassette, _ = await record(sink, flow, "why")
    calls = 3
    more = await again(flow, cassette)
    assert more.diverged is not None
    assert (more.diverged.path, more.diverged.recorded) == ("ask[0]/attempt[0]/model[2]", None)
    assert "no such call" in str(more.diverged)
    calls = 1
    less = await again(flow, cassette)
    assert less.diverged is not None
    assert (less.diverged.path, less.diverged.got) == ("ask[0]/attempt[0]/model[1]", None)
    assert "not made" in str(less.diverged)


async def test_errors_are_raised_again_and_retries_do_not_wait(sink: Any, world: World) -> None:
    class Odd(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"{a} and {b}")

    seen: list[str] = []

    async def ask(message: Message, ctx: Context) -> Any:
        try:
            return await ctx.record("model", world.answer, message.payload)
        except Exception as error:
            seen.append(f"{type(error).__name__}: {error}")
            raise

    flow = create(node(ask, max_retries=2, max_backoff=0.02).to())
    world.failing = [KeyError("gone"), Odd(1, 2)]
    cassette, results = await record(sink, flow, "why")
    slow = create(node(ask, max_retries=2).to())
    recorded, seen[:] = seen[:], []
    outcome = await again(slow, cassette)
    assert outcome.output == results[-1]
    assert outcome.seconds < 30
    assert recorded == ["KeyError: 'gone'", "Odd: 1 and 2"]
    assert seen == ["KeyError: 'gone'", f"RecordedError: {Odd.__qualname__}: 1 and 2"]


async def test_a_timeout_happens_again_without_waiting(sink: Any, world: World) -> None:
    cleaned: list[int] = []

    async def ask(message: Message, ctx: Context) -> Any:
        try:
            return await ctx.record("model", world.answer, message.payload)
        finally:
            cleaned.append(1)

    world.delays["why"] = 60
    cassette, _ = await record(sink, create(node(ask, timeout_s=0.02).to()), "why")
    assert cassette.status == "timeout"
    assert [call.ending for call in cassette.calls] == ["timeout"]
    outcome = await again(create(node(ask, timeout_s=30.0).to()), cassette)
    assert outcome.status == "timeout"
    assert outcome.same, outcome.difference
    assert outcome.seconds < 30
    assert len(cleaned) == 2


async def test_clock_and_dice_are_the_recorded_ones(sink: Any) -> None:
    async def roll(message: Message, ctx: Context) -> Any:
        return {"at": ctx.now(), "later": ctx.now(), "dice": [ctx.random().randint(1, 10**9) for _ in range(3)]}

    flow = create(node(roll).to())
    cassette, results = await record(sink, flow, "go")
    assert abs(results[0]["at"] - time.time()) < 90
    assert (await again(flow, cassette)).output == results[0]
    other, _ = await record(type(sink)(), flow, "go")
    assert other.outputs != cassette.outputs


@pytest.mark.usefixtures("virtual_time")
async def test_answers_come_in_the_recorded_order(sink: Any, world: World) -> None:
    """Who is first decides what a later node sees."""
    world.delays = {"slow": 6, "middle": 3}
    arrived: list[str] = []

    async def begin(message: Message, ctx: Context) -> Any:
        return message

    def worker(name: str) -> Node:
        async def work(message: Message, ctx: Context) -> Any:
            await ctx.record("model", world.answer, name)
            return name

        return node(work, name)

    async def collect(name: str, ctx: Context) -> Any:
        arrived.append(name)
        seen = ctx.trace_state.setdefault("seen", [])
        seen.append(name)
        return list(seen) if len(seen) == 3 else None

    start, end = node(begin), node(collect)
    workers = [worker(name) for name in ("slow", "middle", "quick")]
    flow = create(start.to(*workers), *(each.to(end) for each in workers), end.to())
    cassette, results = await record(sink, flow, "go")
    assert results == [["quick", "middle", "slow"]]
    begun = asyncio.get_running_loop().time()
    for _ in range(3):
        assert (await again(flow, cassette)).output == ["quick", "middle", "slow"]
    assert asyncio.get_running_loop().time() - begun < 1


async def test_parallel_calls_are_told_apart_by_their_requests(sink: Any, world: World) -> None:
    world.delays = {"a": 0.03, "b": 0.01}
    turned = False

    async def ask(message: Message, ctx: Context) -> Any:
        names = ["a", "b", "c"]
        answers = await asyncio.gather(
            *(ctx.record("model", world.answer, name) for name in (reversed(names) if turned else names))
        )
        return sorted(answer.text for answer in answers)

    flow = create(node(ask).to())
    cassette, results = await record(sink, flow, "go")
    turned = True
    outcome = await again(flow, cassette)
    assert outcome.output == results[-1]


async def test_a_replay_makes_no_connection(sink: Any) -> None:
    """Not even one to this machine, and not when the code takes no notice of the error."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    at_home = False

    async def fetch(message: Message, ctx: Context) -> Any:
        async def connect() -> str:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return "connected"

        if at_home:
            try:
                return await connect()
            except OSError as error:
                return str(error)
        return await ctx.record("connect", connect)

    flow = create(node(fetch).to())
    async with server:
        cassette, results = await record(sink, flow, "go")
        assert results == ["connected"]
        assert (await again(flow, cassette)).same
        at_home = True
        outcome = await again(flow, cassette)
        assert [each.to for each in outcome.blocked] == [f"127.0.0.1:{port}"]
        assert outcome.blocked[0].file == __file__
        # Afterwards connections are let through again.
        socket.create_connection(("127.0.0.1", port)).close()


async def test_it_goes_live_after_a_span(sink: Any, world: World) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        return message.model_copy(update={"payload": (await ctx.record("model", world.answer, message.payload)).text})

    async def shorten(message: Message, ctx: Context) -> Any:
        return message.model_copy(update={"payload": await ctx.record("model", world.answer, "shorten")})

    first, second = node(ask), node(shorten)
    flow = create(first.to(second), second.to())
    cassette, _ = await record(sink, flow, "why")
    for wanted in ("ask[0]", "ask/attempt", "ask[0]/attempt[0]/model[0]"):
        before = len(world.asked)
        outcome = await again(flow, cassette, live_after=wanted)
        assert (outcome.answered, outcome.made) == (1, 1)
        assert world.asked[before:] == ["shorten"]
        assert "shorten" in outcome.difference
    with pytest.raises(SpanNotFound) as several:
        await again(flow, cassette, live_after="model")
    assert several.value.candidates == ["ask[0]/attempt[0]/model[0]", "shorten[0]/attempt[0]/model[0]"]
    with pytest.raises(SpanNotFound):
        await again(flow, cassette, live_after="nothing")


async def test_playbooks_replay_too(sink: Any, world: World) -> None:
    async def inner(message: Message, ctx: Context) -> Any:
        answer = await ctx.record("model", world.answer, message.payload)
        return message.model_copy(update={"payload": answer.text})

    def retrieve() -> tuple[PenguiFlow, ModelRegistry | None]:
        return create(node(inner).to()), None

    async def outer(message: Message, ctx: Context) -> Any:
        texts = []
        for word in ("a", "b"):
            texts.append(await ctx.call_playbook(retrieve, message.model_copy(update={"payload": word})))
        return message.model_copy(update={"payload": texts})

    flow = create(node(outer).to())
    cassette, results = await record(sink, flow, "go")
    assert [call.path for call in cassette.calls] == [
        "outer[0]/attempt[0]/retrieve[0]/inner[0]/attempt[0]/model[0]",
        "outer[0]/attempt[0]/retrieve[1]/inner[0]/attempt[0]/model[0]",
    ]
    outcome = await again(flow, cassette)
    assert outcome.output == results[-1] == ["a: 1", "b: 2"]
    assert outcome.same
    assert len(world.asked) == 2


async def test_a_trace_that_cannot_be_replayed_says_why(sink: Any) -> None:
    class Connection:
        pass

    async def ask(message: Message, ctx: Context) -> Any:
        return str(type(await ctx.record("connect", Connection)))

    flow = create(node(ask).to())
    cassette, _ = await record(sink, flow, "go")
    with pytest.raises(NotReplayable, match=r"ask\[0\]/attempt\[0\]/connect\[0\]/response is a .*Connection"):
        await again(flow, cassette)
    with pytest.raises(NotReplayable, match="its input is not in the log"):
        await again(flow, Cassette(schema=1, trace_id="t"))
    with pytest.raises(NotReplayable, match="no entry node 'ask' any more"):
        await again(create(node(ask, "other").to()), cassette)


async def test_what_came_out_otherwise_is_told(sink: Any, world: World) -> None:
    louder = False

    async def ask(message: Message, ctx: Context) -> Any:
        answer = await ctx.record("model", world.answer, message.payload)
        await ctx.emit_chunk(parent=message, text="piece", done=True)
        return answer.text.upper() if louder else answer.text

    flow = create(node(ask).to())
    cassette, _ = await record(sink, flow, "why")
    assert cassette.streams == ["piece"]
    assert (await again(flow, cassette)).same
    louder = True
    outcome = await again(flow, cassette)
    assert "why: 1" in outcome.difference
    assert "WHY: 1" in outcome.difference
    with pytest.raises(AssertionError, match="WHY"):
        outcome.check()


async def test_a_cancelled_run_is_cancelled_at_the_same_call(sink: Any, world: World) -> None:
    world.delays["why"] = 60

    async def ask(message: Message, ctx: Context) -> Any:
        return await ctx.record("model", world.answer, message.payload)

    flow = create(node(ask).to())
    flow.run(recorder=Recorder(sink, name="asking"))
    message = Message(payload="why", headers=Headers(tenant="acme"))
    call = asyncio.ensure_future(flow.call(message))
    async with asyncio.timeout(60):
        await world.begun.wait()
    await flow.cancel(message.trace_id)
    with pytest.raises(FlowError):
        await call
    await flow.stop()
    cassette = Cassette.of(sink.events())
    outcome = await again(flow, cassette)
    assert outcome.status == "cancelled"
    assert outcome.same, outcome.difference


async def test_without_a_recorder_calls_are_just_made(world: World) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        assert isinstance(ctx.now(), float)
        assert 0 <= ctx.random().random() < 1
        return [await ctx.record("length", len, "four"), (await ctx.record("model", world.answer, "why")).text]

    flow = create(node(ask).to())
    flow.run()
    assert await flow.call("go") == [4, "why: 1"]
    await flow.stop()


async def test_secrets_are_compared_masked(sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the environment is filled in again; another one is somebody else's, wherever it goes."""
    monkeypatch.setenv("AGENT_API_KEY", "sk-0123456789abcdef")
    prompts: list[str] = []

    async def login(user: str) -> dict[str, str]:
        return {"access_token": "tok-9876543210", "user": user}

    async def model(headers: dict[str, str], prompt: str) -> str:
        prompts.append(prompt)
        return "ok"

    async def ask(message: Message, ctx: Context) -> Any:
        session = await ctx.record("login", login, "me")
        key = os.environ["AGENT_API_KEY"]
        headers = {"authorization": f"Bearer {session['access_token']}", "api_key": key}
        return await ctx.record("model", model, headers, f"{message.payload} {key}")

    flow = create(node(ask).to())
    cassette, results = await record(sink, flow, "why")
    stored = b"".join(each.data for each in sink.records)
    assert b"sk-0123456789abcdef" not in stored
    assert b"tok-9876543210" not in stored
    outcome = await again(flow, cassette)
    assert outcome.same, outcome.diverged
    assert outcome.output == results[-1]
    assert len(prompts) == 1
    assert "sk-0123456789abcdef" not in cassette.model_dump_json()


@pytest.mark.usefixtures("virtual_time")
async def test_a_call_that_the_node_gave_up_is_given_up_again(sink: Any, world: World) -> None:
    """Even where the attempt ran out of time later."""
    world.delays = {"slow": 60, "slower": 60}

    async def ask(message: Message, ctx: Context) -> Any:
        try:
            async with asyncio.timeout(0.02):
                await ctx.record("model", world.answer, "slow")
        except TimeoutError:
            await ctx.record("model", world.answer, "quick")
        await ctx.record("model", world.answer, "slower")

    cassette, _ = await record(sink, create(node(ask, timeout_s=0.2).to()), "go")
    assert [(call.request["value"], call.ending) for call in cassette.calls] == [
        (["slow"], "abandoned"),
        (["quick"], None),
        (["slower"], "timeout"),
    ]
    outcome = await again(create(node(ask, timeout_s=30.0).to()), cassette)
    assert (outcome.status, outcome.same) == ("timeout", True)
    assert outcome.seconds < 30


@pytest.mark.usefixtures("virtual_time")
async def test_the_first_failure_of_many_ends_them_again(sink: Any, world: World) -> None:
    world.delays = {"a": 0.03, "b": 0.01, "c": 60}

    async def one(name: str) -> str:
        answer = await world.answer(name)
        if name == "a":
            raise ValueError("no a")
        return answer.text

    async def ask(message: Message, ctx: Context) -> Any:
        try:
            await map_concurrent("abcd", lambda name: ctx.record("model", one, name), max_concurrency=3)
        except ValueError as error:
            return str(error)

    flow = create(node(ask).to())
    cassette, results = await record(sink, flow, "go")
    outcome = await again(flow, cassette)
    assert outcome.output == results[-1] == "no a"
    assert outcome.same, outcome.diverged
    assert outcome.seconds < 30


@pytest.mark.parametrize("seed", range(8))
async def test_random_flows_come_out_the_same(sink: Any, seed: int) -> None:
    """Layers of nodes that call the world, which takes its time and fails; what arrives first is told."""
    chance = random.Random(seed)
    layers = [[f"n{depth}{index}" for index in range(chance.randint(1, 3))] for depth in range(3)]
    delays: dict[str, list[float]] = {}

    async def world(name: str, number: int) -> float:
        times = delays.setdefault(name, [chance.uniform(0, 0.01) for _ in range(50)])
        await asyncio.sleep(times.pop())
        if chance.random() < 0.2:
            raise OSError(f"{name} is away")
        return chance.random()

    def make(name: str) -> Node:
        calls = chance.randint(0, 3)

        async def work(payload: Any, ctx: Context) -> Any:
            mine = [await ctx.record("world", world, name, number) for number in range(calls)]
            seen = ctx.trace_state.setdefault("seen", [])
            seen.append(payload if isinstance(payload, str) else payload[0])
            return [name, *mine, list(seen), ctx.random().random()]

        return Node(work, name=name, policy=NodePolicy(validate="none", max_retries=20, backoff_base=0.001))

    nodes = [[make(name) for name in layer] for layer in layers]
    pairs = [each.to(*after) for layer, after in zip(nodes, [*nodes[1:], []], strict=True) for each in layer]
    flow = create(*pairs)
    flow.run(recorder=Recorder(sink, name="random"))
    results = [item async for item in flow.stream("go", trace_id="random-trace-0001")]
    await flow.stop()
    assert results
    cassette = Cassette.of(sink.events())
    for _ in range(2):
        outcome = await again(flow, cassette)
        assert outcome.same, outcome.diverged or outcome.difference
