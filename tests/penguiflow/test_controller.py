"""Controller loops: hops, tokens, deadlines, and the answer that ends them."""

from __future__ import annotations

import asyncio
import copy
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from penguiflow import WM, Context, FinalAnswer, Headers, Message, Node, NodePolicy, create
from penguiflow.controller import snapshot
from penguiflow.core import BUDGET_EXCEEDED_TEXT, DEADLINE_EXCEEDED_TEXT, TOKEN_BUDGET_EXCEEDED_TEXT
from penguiflow.metrics import FlowEvent
from penguiflow.validation import rewrap


def memory(**values: Any) -> Message:
    return Message(payload=WM(query="why?", **values), headers=Headers(tenant="test"))


def controller(body: Callable[[Message], Message], seen: list[int]) -> Node:
    async def think(message: Message, ctx: Context) -> Message:
        seen.append(message.payload.hops)
        return body(message)

    return Node(think, name="think", allow_cycle=True)


async def run_one(node: Node, message: Message) -> tuple[Any, list[FlowEvent]]:
    events: list[FlowEvent] = []

    async def listen(event: FlowEvent) -> None:
        events.append(event)

    flow = create(node.to(node), middlewares=[listen])
    flow.run()
    answer = await flow.call(message, timeout=60)
    await flow.stop()
    return answer, events


async def test_a_final_answer_ends_the_loop_and_the_node_is_called_once_for_it() -> None:
    seen: list[int] = []

    def body(message: Message) -> Message:
        if message.payload.hops == 3:
            return message.model_copy(update={"payload": FinalAnswer(text="because")})
        return message

    answer, _ = await run_one(controller(body, seen), memory())
    assert answer.payload == FinalAnswer(text="because")
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize(("budget", "rounds"), [(1, 1), (3, 3), (8, 8)])
async def test_the_hop_budget_is_never_exceeded(budget: int, rounds: int) -> None:
    seen: list[int] = []
    answer, events = await run_one(controller(lambda message: message, seen), memory(budget_hops=budget))
    assert answer.payload.text == BUDGET_EXCEEDED_TEXT
    assert len(seen) == rounds
    (stopped,) = [event for event in events if event.event_type == "budget_exhausted"]
    assert stopped.error_payload is not None
    assert stopped.error_payload["code"] == "HOP_BUDGET_EXHAUSTED"


async def test_a_node_that_counts_its_own_hops_is_believed() -> None:
    seen: list[int] = []

    def leap(message: Message) -> Message:
        wm = message.payload
        return message.model_copy(update={"payload": wm.model_copy(update={"hops": wm.hops + 3})})

    answer, _ = await run_one(controller(leap, seen), memory(budget_hops=8))
    assert answer.payload.text == BUDGET_EXCEEDED_TEXT
    assert seen == [0, 3, 6]


async def test_the_token_budget_ends_the_loop() -> None:
    seen: list[int] = []

    def spend(message: Message) -> Message:
        wm = message.payload
        return message.model_copy(update={"payload": wm.model_copy(update={"tokens_used": wm.tokens_used + 40})})

    answer, _ = await run_one(controller(spend, seen), memory(budget_hops=None, budget_tokens=100))
    assert answer.payload.text == TOKEN_BUDGET_EXCEEDED_TEXT
    assert len(seen) == 3


async def test_the_deadline_ends_the_loop() -> None:
    message = memory(budget_hops=None, budget_tokens=10**9).model_copy(update={"deadline_s": time.time() + 0.05})
    answer, _ = await run_one(controller(lambda message: message, []), message)
    assert answer.payload.text == DEADLINE_EXCEEDED_TEXT


async def test_the_deadline_ends_a_node_that_is_at_it() -> None:
    async def sleeps(message: Message, ctx: Context) -> Message:
        await asyncio.Event().wait()
        return message

    flow = create(Node(sleeps).to())
    flow.run()
    message = Message(payload="x", headers=Headers(tenant="test"), deadline_s=time.time() + 0.05)
    answer = await flow.call(message, timeout=60)
    assert answer.payload == FinalAnswer(text=DEADLINE_EXCEEDED_TEXT)
    await flow.stop()


async def test_a_result_that_comes_after_the_deadline_is_not_delivered() -> None:
    async def blocks(message: Message, ctx: Context) -> Message:
        while time.time() <= (message.deadline_s or 0):
            pass
        return message

    flow = create(Node(blocks).to())
    flow.run()
    answer = await flow.call(Message(payload="x", headers=Headers(tenant="test"), deadline_s=time.time() + 0.02))
    assert answer.payload == FinalAnswer(text=DEADLINE_EXCEEDED_TEXT)
    await flow.stop()


async def test_an_unbounded_controller_delivers_each_round_and_an_echo_is_dropped() -> None:
    seen: list[int] = []
    node = controller(lambda message: message, seen)
    flow = create(node.to(node), queue_maxsize=1)
    flow.run()
    await flow.emit(memory(budget_hops=None))
    for hops in (1, 2, 3, 4):
        delivered = await flow.fetch()
        assert delivered.payload.hops == hops
        await flow.emit(delivered)
    assert seen == sorted(set(seen)), "an echo was taken for a new question"
    await flow.stop()


async def test_a_node_may_send_to_itself_more_than_its_edge_is_wide() -> None:
    handled: list[int] = []

    async def multiplies(message: int, ctx: Context) -> None:
        handled.append(message)
        if message == 0:
            for value in range(1, 6):
                await ctx.emit(value, to=node)

    node = Node(multiplies, allow_cycle=True)
    flow = create(node.to(node), queue_maxsize=1)
    flow.run()
    await flow.call(0, timeout=60)
    assert handled == [0, 1, 2, 3, 4, 5]
    await flow.stop()


@pytest.mark.parametrize("kept", ["messages", "memories", "values", "contexts", "nothing"])
async def test_what_a_node_keeps_of_earlier_rounds_stays_as_it_was(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are used again from round to round, but only where nobody can see it."""
    seen: list[Any] = []
    copies: list[int] = []

    def counted(envelope: Message, payload: Any) -> Message:
        copies.append(payload.hops)
        return rewrap(envelope, payload)

    monkeypatch.setattr("penguiflow.controller.rewrap", counted)
    before: list[int] = []

    async def look(message: Message, ctx: Context) -> Message:
        if message.payload.hops == 9:
            return message.model_copy(update={"payload": FinalAnswer(text="done")})
        before.append(message.payload.hops)
        memory = message.payload
        seen.append({"messages": message, "memories": memory, "values": vars(memory), "contexts": ctx}.get(kept))
        del memory
        return message

    node = Node(look, name="look", policy=NodePolicy(validate="none"), allow_cycle=True)
    flow = create(node.to(node))
    flow.run()
    mine = memory(budget_hops=20)
    my_memory = mine.payload
    assert (await flow.call(mine)).payload.text == "done"
    await flow.stop()
    assert before == list(range(9))
    assert my_memory.hops == 0
    assert mine.payload is my_memory
    shown = {
        "messages": lambda item: item.payload.hops,
        "memories": lambda item: item.hops,
        "values": lambda item: item["hops"],
        "contexts": lambda item: item.message.payload.hops,
    }
    # The first round's message is the caller's.
    assert len(copies) == (9 if kept in shown or sys.version_info >= (3, 14) else 1)
    if kept in shown:
        assert [shown[kept](item) for item in seen] == before


class Opinion:
    """A fact of a class of its own, which can be a key too."""

    def __init__(self, *about: Any) -> None:
        self.about = list(about)


def shape(value: Any, seen: dict[int, int]) -> Any:
    """What a value is made of, and where the same object comes again."""
    if not isinstance(value, list | dict | tuple | Opinion):
        return value
    if id(value) in seen:
        return f"as number {seen[id(value)]}"
    seen[id(value)] = len(seen)
    if isinstance(value, dict):
        return [type(value).__name__, *((shape(key, seen), shape(item, seen)) for key, item in value.items())]
    parts = value.about if isinstance(value, Opinion) else value
    return [type(value).__name__, *(shape(part, seen) for part in parts)]


def odd_facts() -> list[Any]:
    shared = {"a": [1, 2, {"deep": ["x"]}]}
    itself: list[Any] = [1]
    itself.append({"again": itself})
    opinion = Opinion(shared, itself)
    tuples = (shared, [3])
    counted: Counter[str] = Counter("facts")
    return ["text", shared, [shared, shared["a"]], itself, opinion, tuples, {opinion: 1, (1, 2): tuples}, counted, {}]


def test_what_was_delivered_stays_as_it_was() -> None:
    message = memory(facts=odd_facts())
    wanted = shape(copy.deepcopy(message.payload.facts), {})
    delivered = snapshot(message).payload.facts
    assert shape(delivered, {}) == wanted
    assert [type(fact) for fact in delivered] == [type(fact) for fact in message.payload.facts]
    message.payload.facts[1]["a"][2]["deep"].append("y")
    message.payload.facts[3].clear()
    message.payload.facts[4].about.clear()
    message.payload.facts[8]["new"] = 1
    assert shape(delivered, {}) == wanted


def test_plain_facts_are_copied_deeply_and_one_that_is_there_twice_stays_one() -> None:
    twice = {"deep": [1, {"deeper": {1, 2}}]}
    kept: list[Any] = [twice, "text", 1.5, None, bytearray(b"x"), (1, [2]), twice, frozenset({1})]
    message = memory(facts=kept)
    delivered = snapshot(message).payload.facts
    assert delivered == kept
    assert [type(fact) for fact in delivered] == [type(fact) for fact in kept]
    assert delivered[0] is delivered[6]
    message.payload.facts[0]["deep"][1]["deeper"].add(3)
    message.payload.facts[4].extend(b"y")
    message.payload.facts[5][1].append(4)
    assert (delivered[0], delivered[4], delivered[5]) == ({"deep": [1, {"deeper": {1, 2}}]}, b"x", (1, [2]))
