"""Coroutines that are driven by hand."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, Message, create, join_k
from penguiflow.coroutines import DONE, Runner
from penguiflow.ids import new_id, send_id

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, Start


class Thing:
    """Something that can be watched."""


async def give(value: Any) -> Any:
    return value


def test_a_runner_hands_back_one_result_after_the_other_and_keeps_none() -> None:
    runner = Runner()
    for value in (1, None, "text"):
        assert runner.send(give(value)) is DONE
        assert runner.result == value
    thing = Thing()
    watched = weakref.ref(thing)
    assert runner.send(give(thing)) is DONE
    runner.result = None
    del thing
    gc.collect()
    assert watched() is None


async def test_one_that_waits_is_handed_over() -> None:
    async def later(future: asyncio.Future[str]) -> str:
        return await future + "!"

    runner = Runner()
    assert runner.send(give(1)) is DONE
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    pending = runner.send(later(future))
    assert pending is future
    rest = runner.hand_over()
    future.set_result("done")
    with pytest.raises(StopIteration) as stop:
        rest.send(None)
    assert stop.value.value == "done!"


def test_a_failure_comes_out_as_it_is() -> None:
    async def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Runner().send(fail())


async def test_a_node_may_wait_fail_and_return_in_any_order(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    seen: list[str] = []

    async def work(message: Message, ctx: Context) -> Message:
        for what in message.payload.split():
            if what == "wait":
                await asyncio.sleep(0)
            elif what == "fail":
                raise ValueError(message.payload)
            seen.append(what)
        return message

    flow = start(create(make_node(work, name="work").to()))
    for payload in ("go", "wait go", "go", "fail", "wait fail", "go", "wait go", "wait wait", "fail", "go"):
        if "fail" in payload:
            with pytest.raises(FlowError, match=payload):
                await flow.call(make_message(payload))
        else:
            assert (await flow.call(make_message(payload))).payload == payload
    assert seen.count("go") == 6


async def test_messages_that_are_only_put_with_the_others_are_all_there(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    """Whoever begins to listen in the middle of it sees the rest of a join."""
    heard: list[str] = []

    async def listener(event: Any) -> None:
        if event.node_name == "join" and event.event_type == "node_success":
            heard.append(event.event_type)

    async def one(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": message.payload + 1})

    join = join_k("join", 6)
    flow = start(create(make_node(one, name="one").to(join), join.to()))
    first = make_message(0)
    for number in range(12):
        if number == 9:
            flow.add_middleware(listener)
        await flow.emit(first.model_copy(update={"payload": number}))
        # As many as fit are on their way at once, and some arrive one by one.
        if number % 2:
            await asyncio.sleep(0)
    assert [(await flow.fetch()).payload for _ in range(2)] == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]
    assert heard
    assert not flow._traces


def test_ids_are_told_apart_and_follow_each_other_closely() -> None:
    ids = [new_id() for _ in range(3000)]
    assert len(set(ids)) == 3000
    assert {len(each) for each in ids} == {32}
    assert all(set(each) <= set("0123456789abcdef") for each in ids)
    # Those of one refill, of which 3,000 have a dozen, begin alike.
    assert len({each[:3] for each in ids}) < 20
    assert len({each[3:] for each in ids}) == 3000


def test_the_same_sending_has_the_same_id_again() -> None:
    about = [(name, origin, "a->b", number) for name in "ab" for origin in "xy" for number in range(3)]
    ids = [send_id(*each) for each in about]
    assert len(set(ids)) == len(about)
    assert ids == [send_id(*each) for each in about]
    # However many there were meanwhile.
    for number in range(5000):
        send_id("c", "z", "a->b", number)
    assert ids == [send_id(*each) for each in about]
    # Those of databases and recordings stay as they are.
    assert ids[0] == "6d637ceec7907a7a"
