"""How invocations share the loop: at once or one by one, fairly, each with its own variables and its own task."""

from __future__ import annotations

import asyncio
import contextvars
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowEvent, Message, create
from penguiflow.worker import MAX_IDLE_CARRIERS

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, Start, Until

variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default="outside")


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_max_concurrency_is_reached_and_never_passed(
    start: Start, make_node: MakeNode, until: Until, limit: int
) -> None:
    running = 0
    most = 0
    gate = asyncio.Event()

    async def counts(value: int, ctx: Context) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if value < limit:
            await gate.wait()
        else:
            await asyncio.sleep(0)
        running -= 1
        return value

    flow = start(create(make_node(counts, max_concurrency=limit).to(), queue_maxsize=0))
    for value in range(40):
        await flow.emit(value)
    await until(lambda: running == limit)
    gate.set()
    assert sorted([await flow.fetch() for _ in range(40)]) == list(range(40))
    assert most == limit


async def test_one_at_a_time_keeps_the_order(start: Start, make_node: MakeNode) -> None:
    async def uneven(value: int, ctx: Context) -> int:
        for _ in range(value % 4):
            await asyncio.sleep(0)
        return value

    flow = start(create(make_node(uneven).to(make_node(uneven, name="again")), queue_maxsize=3))

    async def feed() -> None:
        for value in range(100):
            await flow.emit(value)

    feeding = asyncio.create_task(feed())
    assert [await flow.fetch() for _ in range(100)] == list(range(100))
    await feeding


@pytest.mark.parametrize("listening", [False, True])
async def test_a_busy_flow_leaves_the_loop_to_others(start: Start, make_node: MakeNode, listening: bool) -> None:
    async def listen(event: FlowEvent) -> None:
        pass

    nodes = [make_node(name=f"n{number}") for number in range(4)]
    chain = [node.to(after) for node, after in pairwise(nodes)]
    flow = create(*chain, queue_maxsize=0, middlewares=[listen] if listening else [])
    for value in range(2000):
        flow.emit_nowait(value)
    start(flow)
    turns = 0
    while flow._rookery.incoming[0].size < 2000:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 50


async def test_a_variable_set_in_one_invocation_is_not_seen_in_another(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    seen: list[Any] = []

    async def sets(message: Message, ctx: Context) -> Message:
        seen.append(variable.get())
        variable.set(message.payload)
        for _ in range(message.payload % 3):
            await asyncio.sleep(0)
            assert variable.get() == message.payload
        await ctx.emit(message)
        assert variable.get() == message.payload
        return message

    variable.set("at run")
    flow = start(create(make_node(sets, max_concurrency=3).to(make_node(sets, name="next", max_concurrency=2))))
    variable.set("after run")
    await asyncio.gather(*(flow.call(make_message(value)) for value in range(1, 10)))
    assert set(seen) == {"at run"}
    assert len(seen) == 9 + 2 * 9
    assert variable.get() == "after run"


async def test_a_retry_begins_with_fresh_variables(start: Start, make_node: MakeNode) -> None:
    seen: list[Any] = []

    async def sets(value: int, ctx: Context) -> int:
        seen.append(variable.get())
        variable.set("from the first attempt")
        if len(seen) == 1:
            raise ValueError("again")
        return value

    flow = start(create(make_node(sets, max_retries=1, backoff_base=0).to()))
    await flow.call(1)
    assert seen == ["outside", "outside"]


async def test_tasks_and_tokens_of_a_node_stay_in_its_variables(start: Start, make_node: MakeNode) -> None:
    async def child() -> Any:
        return variable.get()

    async def parent(value: int, ctx: Context) -> Any:
        token = variable.set(value)
        inherited = await asyncio.create_task(child())
        await asyncio.sleep(0)
        variable.reset(token)
        return inherited, variable.get()

    flow = start(create(make_node(parent, max_concurrency=2).to()))
    results = await asyncio.gather(*(flow.call(value) for value in (1, 2)))
    assert results == [(1, "outside"), (2, "outside")]


@pytest.mark.usefixtures("virtual_time")
async def test_each_invocation_has_its_task_to_itself(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    """Two messages interleave in one node: timeouts, groups and the current task of one never touch the other."""
    outcomes: dict[str, Any] = {}
    both = asyncio.Barrier(2)

    async def tangled(message: Message, ctx: Context) -> Message:
        name = message.payload
        task = asyncio.current_task()
        await both.wait()
        assert asyncio.current_task() is task
        try:
            if name == "times out":
                async with asyncio.timeout(0.005):
                    await asyncio.Event().wait()
            else:
                async with asyncio.TaskGroup() as group:
                    results = [group.create_task(asyncio.sleep(0.002 * number, number)) for number in range(5)]
                outcomes[name] = [result.result() for result in results]
        except TimeoutError:
            outcomes[name] = "timed out"
        assert asyncio.current_task() is task
        outcomes[f"{name} task"] = task
        return message

    flow = start(create(make_node(tangled, max_concurrency=2).to()))
    await asyncio.gather(*(flow.call(make_message(name)) for name in ("times out", "groups")))
    assert outcomes["times out"] == "timed out"
    assert outcomes["groups"] == [0, 1, 2, 3, 4]
    assert outcomes["times out task"] is not outcomes["groups task"]


async def test_a_failing_task_group_fails_its_own_message(start: Start, make_node: MakeNode) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("child")

    async def groups(value: str, ctx: Context) -> str:
        if value == "bad":
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        return value

    flow = start(create(make_node(groups, max_concurrency=3).to(), emit_errors_to_rookery=True))
    results = await asyncio.gather(*(flow.call(value) for value in ("good", "bad", "fine", "bad", "ok")))
    assert [getattr(result, "exception_type", result) for result in results] == [
        *("good", "ExceptionGroup", "fine", "ExceptionGroup", "ok")
    ]


async def test_carriers_do_not_pile_up(start: Start, make_node: MakeNode, until: Until) -> None:
    gate = asyncio.Event()

    async def waits(value: int, ctx: Context) -> int:
        await gate.wait()
        return value

    flow = start(create(make_node(waits, max_concurrency=500).to(), queue_maxsize=0))
    for value in range(500):
        await flow.emit(value)
    engine = flow._engine
    assert engine is not None
    await until(lambda: len(engine.suspended) == 500)
    gate.set()
    assert sorted([await flow.fetch() for _ in range(500)]) == list(range(500))
    await until(lambda: len(engine.carriers) <= MAX_IDLE_CARRIERS)
    assert not engine.suspended
    assert not flow._traces


async def test_a_chain_of_nodes_that_do_not_wait_needs_one_task(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    nodes = [make_node(name=f"n{number}") for number in range(20)]
    flow = start(create(*(node.to(after) for node, after in pairwise(nodes))))
    for value in range(5):
        await flow.call(make_message(value))
    assert flow._engine is not None
    assert len(flow._engine.carriers) <= 2


async def test_two_flows_on_one_loop(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    async def asks(message: Message, ctx: Context) -> Message:
        answer: Message = await inner.call(message.model_copy(update={"trace_id": f"inner {message.trace_id}"}))
        return message.model_copy(update={"payload": answer.payload + 1})

    async def double(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": message.payload * 2})

    shared = make_node(double)
    inner = start(create(shared.to()))
    outer = start(create(make_node(asks, max_concurrency=3).to(shared)))
    results = await asyncio.gather(*(outer.call(make_message(value)) for value in range(10)))
    assert [result.payload for result in results] == [(2 * value + 1) * 2 for value in range(10)]


async def test_what_a_node_starts_may_emit_while_it_runs(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def spawns(message: Message, ctx: Context) -> Message:
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(ctx.emit(message.model_copy(update={"payload": number})))
        return message

    flow = start(create(make_node(spawns).to(make_node(name="next")), queue_maxsize=1))
    items = [item.payload async for item in flow.stream(make_message("end"))]
    assert sorted(items[:-1]) == [0, 1, 2, 3, 4]
    assert items[-1] == "end"
