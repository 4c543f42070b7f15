"""What penguiflow 3.11 did wrong, done again: each test fails on the behavior that docs/compatibility.md describes."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import WM, Context, FinalAnswer, FlowError, FlowErrorCode, Message, create
from penguiflow.metrics import EventDraft, FlowEvent, StoredEvent

if TYPE_CHECKING:
    from tests.conftest import EventLog, MakeMessage, MakeNode, Start, Until

HERE = Path(__file__).parent


def answering(seen: list[str]) -> Any:
    async def answers(message: Message, ctx: Context) -> Message:
        seen.append(message.payload)
        return message.model_copy(update={"payload": FinalAnswer(text=message.payload)})

    return answers


async def test_d1_a_final_answer_is_given_once(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    """Its node was called for one message until the egress queue was full, and the next fetch got the old answer."""
    seen: list[str] = []
    flow = start(create(make_node(answering(seen)).to(), queue_maxsize=4))
    for text in ("one", "two", "three"):
        await flow.emit(make_message(text))
        assert (await flow.fetch()).payload.text == text
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flow.fetch(), 0.005)
    assert seen == ["one", "two", "three"]


async def test_d1_each_trace_gets_its_own_final_answer(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    seen: list[str] = []
    flow = start(create(make_node(answering(seen)).to(), queue_maxsize=4))
    for text in ("one", "two", "three"):
        await flow.emit(make_message(text), trace_id=text)
    assert [(await flow.fetch(trace_id=text)).payload.text for text in ("three", "one", "two")] == [
        "three",
        "one",
        "two",
    ]
    assert sorted(seen) == ["one", "three", "two"]


@pytest.mark.parametrize("spent", ["hops", "tokens", "deadline"])
async def test_d1_a_spent_budget_ends_the_loop_once(
    start: Start, make_node: MakeNode, make_message: MakeMessage, spent: str
) -> None:
    calls = 0

    async def think(message: Message, ctx: Context) -> Message:
        nonlocal calls
        calls += 1
        wm = message.payload
        if spent == "deadline":
            await asyncio.sleep(0.03)
        return message.model_copy(update={"payload": wm.model_copy(update={"tokens_used": wm.tokens_used + 10})})

    node = make_node(think, allow_cycle=True)
    flow = start(create(node.to(node), queue_maxsize=4))
    budgets: dict[str, Any] = {"budget_hops": 3 if spent == "hops" else 50, "budget_tokens": 30}
    if spent != "tokens":
        budgets["budget_tokens"] = None
    deadline_s = time.time() + 0.02 if spent == "deadline" else None
    await flow.emit(make_message(WM(query="why?", **budgets), deadline_s=deadline_s))
    assert isinstance((await flow.fetch()).payload, FinalAnswer)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flow.fetch(), 0.005)
    # The time may be over before the node is called.
    assert calls <= 1 if spent == "deadline" else calls == 3


@pytest.mark.parametrize("given_up", ["running", "failed"])
@pytest.mark.usefixtures("virtual_time")
async def test_d3_a_fetch_that_was_given_up_does_not_block_its_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, given_up: str
) -> None:
    """The next emit for the trace hung, and `cancel` found nothing to cancel."""
    gate = asyncio.Event()

    async def work(message: Message, ctx: Context) -> Message:
        if message.payload == "first":
            await gate.wait()
            raise ValueError("too late")
        return message

    flow = start(create(make_node(work, max_concurrency=2).to()))
    await flow.emit(make_message("first"), trace_id="job")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flow.fetch(trace_id="job"), 0.002)
    if given_up == "failed":
        gate.set()
        await until(lambda: not flow._traces)
        assert not await flow.cancel("job")
    async with asyncio.timeout(60):
        await flow.emit(make_message("again"), trace_id="job")
        gate.set()
        assert (await flow.fetch(trace_id="job")).payload == "again"
    gate.set()
    await until(lambda: not flow._traces)


async def test_d4_a_cancel_among_blocked_senders_loses_nothing(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    """`cancel` raised `QueueFull`, and messages of other traces were gone."""
    gate = asyncio.Event()

    async def waits(message: Message, ctx: Context) -> Message:
        await gate.wait()
        return message

    async def told(event: FlowEvent) -> None:
        await asyncio.sleep(0.001 if event.event_type == "trace_cancel_start" else 0)

    flow = start(create(make_node(waits).to(), queue_maxsize=2, middlewares=[told]))
    senders = [
        asyncio.create_task(flow.emit(make_message(number, trace_id="v" if number % 2 else f"t{number}")))
        for number in range(12)
    ]
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    assert await flow.cancel("v")
    gate.set()
    assert sorted([(await flow.fetch()).payload for _ in range(6)]) == [0, 2, 4, 6, 8, 10]
    await asyncio.gather(*senders, return_exceptions=True)
    await until(lambda: not flow._traces)


@pytest.mark.parametrize("bare", [False, True])
async def test_d5_a_failure_is_told_without_asking_for_it(
    start: Start, make_node: MakeNode, make_message: MakeMessage, bare: bool
) -> None:
    """Unless `emit_errors_to_rookery` was set, and for bare payloads even then, the caller waited for ever."""

    async def fails(message: Any, ctx: Context) -> Any:
        raise ValueError("no luck")

    flow = start(create(make_node(fails).to()))
    with pytest.raises(FlowError, match="no luck"):
        await flow.call("x" if bare else make_message("x"))


async def test_d8_a_wait_before_a_retry_holds_no_other_message_where_there_is_room(
    start: Start, make_node: MakeNode
) -> None:
    async def flaky(value: str, ctx: Context) -> str:
        if value == "bad":
            raise ConnectionError("no answer")
        return value

    flow = start(create(make_node(flaky, max_concurrency=2, max_retries=1, backoff_base=3600).to()))
    await flow.emit("bad")
    await flow.emit("good")
    assert await flow.fetch() == "good"


async def test_d9_messages_that_wait_for_others_wait_at_once(start: Start, make_node: MakeNode) -> None:
    """20 messages of 50 ms took a second, whatever the policy."""
    barrier = asyncio.Barrier(20)

    async def meets(value: int, ctx: Context) -> int:
        await barrier.wait()
        return value

    flow = start(create(make_node(meets, max_concurrency=20).to()))
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(flow.call(value) for value in range(20))) == list(range(20))


async def test_d16_a_repeated_round_does_not_leave_its_fetch_without_an_answer(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    """An emit that was dropped left the fetch for its trace waiting."""

    async def think(message: Message, ctx: Context) -> Message:
        if message.payload.hops == 3:
            return message.model_copy(update={"payload": FinalAnswer(text="done")})
        return message

    node = make_node(think, allow_cycle=True)
    flow = start(create(node.to(node)))
    await flow.emit(make_message(WM(query="why?", budget_hops=None), trace_id="t"), trace_id="t")
    delivered = await flow.fetch(trace_id="t")
    answers: list[Any] = []
    last = delivered
    async with asyncio.timeout(60):
        while not isinstance(delivered.payload, FinalAnswer):
            last = delivered
            await flow.emit(delivered, trace_id="t")
            delivered = await flow.fetch(trace_id="t")
            answers.append(delivered.payload)
        assert [getattr(answer, "hops", "answer") for answer in answers] == [2, 3, "answer"]
        # When the loop is over, the same round is a question.
        await until(lambda: not flow._traces)
        await flow.emit(last, trace_id="t")
        assert (await flow.fetch(trace_id="t")).payload == FinalAnswer(text="done")
    await until(lambda: not flow._traces)


@pytest.mark.parametrize("fetches", ["before the end", "after the end"])
async def test_d16_a_repeated_round_of_a_loop_that_ends_without_an_answer(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, fetches: str
) -> None:
    gate = asyncio.Event()

    async def think(message: Message, ctx: Context) -> Message | None:
        if message.payload.hops == 1:
            await gate.wait()
            return None
        return message

    node = make_node(think, allow_cycle=True)
    flow = start(create(node.to(node)))
    await flow.emit(make_message(WM(query="why?", budget_hops=None), trace_id="t"), trace_id="t")
    delivered = await flow.fetch(trace_id="t")
    await flow.emit(delivered, trace_id="t")
    if fetches == "after the end":
        gate.set()
        await until(lambda: not flow._traces)
    fetching = asyncio.create_task(flow.fetch(trace_id="t"))
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.wait_for(fetching, 60) is None


@pytest.mark.usefixtures("virtual_time")
async def test_d22_every_code_is_produced(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog, until: Until
) -> None:
    async def work(message: Message, ctx: Context) -> Message:
        payload = message.payload
        if payload == "raise":
            raise ValueError("no luck")
        if payload == "wait":
            await asyncio.Event().wait()
        return message

    begin, loop = make_node(work, name="begin", timeout_s=0.005), make_node(name="loop", allow_cycle=True)
    forever = make_node(work, name="forever")
    flow = start(create(begin.to(loop), loop.to(loop), forever.to(), middlewares=[event_log]))
    codes: dict[str, str] = {}
    for name, payload in (("raises", "raise"), ("times out", "wait")):
        with pytest.raises(FlowError) as caught:
            await flow.call(make_message(payload), to=begin)
        codes[name] = caught.value.code
    waiting = asyncio.create_task(flow.call(make_message("wait", trace_id="t"), to=forever))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    await flow.cancel("t")
    with pytest.raises(FlowError) as caught:
        await waiting
    codes["cancelled"] = caught.value.code
    for name, message in (
        ("late", make_message("x", deadline_s=time.time() - 1)),
        ("hops", make_message(WM(query="", budget_hops=2))),
        ("tokens", make_message(WM(query="", budget_hops=None, budget_tokens=10, tokens_used=10))),
    ):
        assert isinstance((await flow.call(message, to=begin)).payload, FinalAnswer)
        error = event_log.events[-1].error_payload
        assert error is not None
        codes[name] = error["code"]
    assert codes == {
        "raises": FlowErrorCode.NODE_EXCEPTION,
        "times out": FlowErrorCode.NODE_TIMEOUT,
        "cancelled": FlowErrorCode.TRACE_CANCELLED,
        "late": FlowErrorCode.DEADLINE_EXCEEDED,
        "hops": FlowErrorCode.HOP_BUDGET_EXHAUSTED,
        "tokens": FlowErrorCode.TOKEN_BUDGET_EXHAUSTED,
    }
    assert set(codes.values()) == set(FlowErrorCode)


async def test_d27_two_thousand_roundtrips_leave_nothing(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    """A lock for each of them stayed until `stop`."""
    flow = start(create(make_node().to()))
    for number in range(2000):
        await flow.emit(make_message(number), trace_id=f"t{number}")
        await flow.fetch(trace_id=f"t{number}")
    assert not flow._traces
    assert not flow._table.sinks
    assert not flow._table._cancel_events
    assert not flow._roundtrips._open


async def test_d28_no_event_is_built_for_nobody(
    start: Start, make_node: MakeNode, make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def counted(event_type: str, *rest: Any) -> Any:
        built.append(event_type)
        return EventDraft(event_type, *rest)

    monkeypatch.setattr("penguiflow.broadcast.EventDraft", counted)
    flow = start(create(make_node(name="a").to(make_node(name="b"))))
    await flow.call(make_message(1))
    assert built == []

    async def listen(event: FlowEvent) -> None:
        pass

    flow.add_middleware(listen)
    await flow.call(make_message(1))
    assert built == ["node_start", "node_success"] * 2


async def test_d29_a_fetch_from_many_edges_costs_no_task(start: Start, make_node: MakeNode) -> None:
    """There was a task for each incoming edge, made and cancelled for every message."""
    names: set[int] = set()

    async def joins(value: int, ctx: Context) -> int:
        total = value
        for _ in range(99):
            total += await ctx.fetch()
            names.add(len(asyncio.all_tasks()))
        return total

    branches = [make_node(name=f"n{number}") for number in range(100)]
    end = make_node(joins)
    flow = start(create(*(branch.to(end) for branch in branches)))
    assert await flow.call(1) == 100
    waiting = [asyncio.create_task(flow.fetch()) for _ in range(3)]
    await asyncio.sleep(0)
    assert max(names) <= 5
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_d30_a_slow_store_holds_only_the_invocation_that_it_is_told_of(
    start: Start, make_node: MakeNode, until: Until
) -> None:
    gate = asyncio.Event()
    told: list[str] = []

    class Store:
        async def save_event(self, event: StoredEvent) -> None:
            told.append(event.kind)
            if len(told) == 1:
                await gate.wait()

    flow = start(create(make_node(max_concurrency=2).to()), state_store=Store())
    await flow.emit("first")
    await until(lambda: told)
    await flow.emit("second")
    fetched = {await flow.fetch()}
    if "second" not in fetched:
        fetched.add(await flow.fetch())
    assert "second" in fetched
    gate.set()
    if "first" not in fetched:
        assert await flow.fetch() == "first"


class Counted:
    """Says how often it was copied."""

    copies = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Counted:
        Counted.copies += 1
        return self


@pytest.mark.parametrize("bounded", [True, False])
async def test_d31_a_round_copies_no_more_than_it_has_to(
    start: Start, make_node: MakeNode, make_message: MakeMessage, bounded: bool
) -> None:
    """The whole message was copied on each hop, its meta included."""
    Counted.copies = 0

    async def think(message: Message, ctx: Context) -> Message:
        if message.payload.hops == 5:
            return message.model_copy(update={"payload": FinalAnswer(text="done")})
        return message

    node = make_node(think, allow_cycle=True)
    flow = start(create(node.to(node)))
    memory = WM(query="why?", facts=["a"], budget_hops=10 if bounded else None)
    delivered = [item async for item in flow.stream(make_message(memory, meta={"heavy": Counted()}))]
    assert Counted.copies == 0
    rounds = [item.payload for item in delivered if isinstance(item.payload, WM)]
    assert len(rounds) == (0 if bounded else 5)
    # What was delivered is nobody else's to change.
    assert len({id(each.facts) for each in rounds}) == len(rounds)


def named_tests(page: str) -> list[tuple[Path, str]]:
    """The tests that a page names in backticks; one without a file is in that of the one before."""
    found: list[tuple[Path, str]] = []
    # Those of the applications are looked at by tests/house/test_readme.py.
    text = (HERE.parents[1] / page).read_text(encoding="utf-8").partition("\n## PeerAgent\n")[0]
    file = HERE
    for path, name in re.findall(r"`(?:([\w./]+\.py)::)?(test_\w+)`", text):
        file = (HERE / path).resolve() if path else file
        found.append((file, name))
    return found


def test_the_table_names_each_defect_and_tests_that_exist() -> None:
    page = "docs/compatibility.md"
    table = (HERE.parents[1] / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (D\d+) \|.*\|$", table, re.MULTILINE)
    assert rows == [f"D{number}" for number in range(1, 35)]
    tests = named_tests(page)
    assert len(tests) > len(rows)
    missing = [f"{file.name}::{name}" for file, name in tests if f"def {name}(" not in file.read_text(encoding="utf-8")]
    assert missing == []
