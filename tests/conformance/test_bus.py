"""What every bus of edges does, whatever engine is behind it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow.bus import (
    BusClosed,
    BusEnvelope,
    BusError,
    BusForeign,
    BusMessage,
    Delivery,
    Depth,
    EdgeBus,
    MessageBus,
)

WAIT_S = 60.0
"""For what has to happen."""
EDGE = "a->b"
OTHER = "a->c"
DELAY_S = 0.4
MANY = 10_000
"""Deliveries that no test comes to."""


def messages(*numbers: int) -> list[BusMessage]:
    return [BusMessage(f"m{number}", f"body {number}".encode()) for number in numbers]


def ids(deliveries: list[Delivery]) -> list[str]:
    return [each.id for each in deliveries]


async def take(bus: Any, count: int, edge: str = EDGE) -> list[Delivery]:
    """So many messages, however they come."""
    got: list[Delivery] = []
    async with asyncio.timeout(WAIT_S):
        while len(got) < count:
            got += await bus.get(edge, limit=count - len(got))
    return got


async def handle(bus: Any, edge: str = EDGE) -> Delivery:
    """Take and acknowledge one message; a machine that stands still loses the lease, and takes it again."""
    async with asyncio.timeout(WAIT_S):
        while True:
            (delivery,) = await bus.get(edge)
            if await bus.ack(delivery) == [True]:
                assert isinstance(delivery, Delivery)
                return delivery


async def becomes(bus: Any, edge: str, depth: Depth) -> None:
    """A server counts when it comes to it."""
    async with asyncio.timeout(WAIT_S):
        while await bus.depth(edge) != depth:
            await bus.dead_letters(edge)  # something to wait for


@asynccontextmanager
async def ends(work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """Work that goes on meanwhile, and is over soon after the block."""
    task = asyncio.ensure_future(work)
    try:
        yield task
        async with asyncio.timeout(WAIT_S):
            await task
    finally:
        task.cancel()


async def is_stuck(task: asyncio.Task[Any]) -> bool:
    """Whether it is not done by itself within a moment."""
    await asyncio.wait([task], timeout=0.2)
    return not task.done()


async def test_a_bus_of_edges_is_a_message_bus(open_bus: Any) -> None:
    bus = await open_bus()
    assert isinstance(bus, EdgeBus)
    assert isinstance(bus, MessageBus)


async def test_messages_come_in_order_and_are_gone_when_acknowledged(open_bus: Any) -> None:
    bus = await open_bus()
    before = time.time()
    await bus.put(EDGE, *messages(0, 1))
    await bus.put(EDGE, *messages(2))
    (first,) = await bus.get(EDGE)
    assert (first.edge, first.id, first.body, first.attempt) == (EDGE, "m0", b"body 0", 1)
    assert before - 60 < first.put_at < time.time() + 60
    rest = await take(bus, 2)
    assert ids(rest) == ["m1", "m2"]
    assert await bus.ack(first, *rest) == [True, True, True]
    assert await bus.get(EDGE, wait_s=0) == []
    await becomes(bus, EDGE, Depth(waiting=0, leased=0, dead=0))


async def test_a_repeat_changes_nothing(open_bus: Any) -> None:
    bus, other = await open_bus(), await open_bus()
    await bus.put(EDGE, *messages(0, 1))
    await other.put(EDGE, *messages(1, 2))
    await bus.put(EDGE, *messages(0, 1, 2))
    got = await take(bus, 3)
    assert ids(got) == ["m0", "m1", "m2"]
    await bus.ack(*got)
    await bus.put(EDGE, *messages(0))
    assert await bus.get(EDGE, wait_s=0) == []


async def test_the_same_id_on_another_edge_is_another_message(open_bus: Any) -> None:
    bus = await open_bus(EDGE, OTHER)
    await bus.put(EDGE, *messages(0, 1))
    await bus.put(OTHER, *messages(0, 1))
    assert ids(await take(bus, 2, OTHER)) == ["m0", "m1"]
    assert ids(await take(bus, 2)) == ["m0", "m1"]


async def test_a_full_edge_makes_its_sender_wait_and_nobody_else(open_bus: Any) -> None:
    bus = await open_bus(EDGE, OTHER, capacity=3)
    await bus.put(EDGE, *messages(0, 1))
    async with ends(bus.put(EDGE, *messages(2, 3, 4))) as putting:
        assert await is_stuck(putting)
        await bus.put(OTHER, *messages(0, 1, 2))
        leased = await take(bus, 2)
        assert await is_stuck(putting), "what is leased is on the edge, too"
        await bus.ack(*leased)
    assert ids(await take(bus, 3)) == ["m2", "m3", "m4"]


async def test_a_batch_that_is_more_than_the_edge_takes_comes_in_order(open_bus: Any) -> None:
    bus = await open_bus(capacity=4)
    async with ends(bus.put(EDGE, *messages(*range(30)))):
        got = [await handle(bus) for _ in range(30)]
    assert ids(got) == [f"m{number}" for number in range(30)]


async def test_a_sender_that_waits_can_be_cancelled(open_bus: Any) -> None:
    bus = await open_bus(capacity=1)
    await bus.put(EDGE, *messages(0))
    putting = asyncio.ensure_future(bus.put(EDGE, *messages(1)))
    assert await is_stuck(putting)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await handle(bus)
    await bus.put(EDGE, *messages(2))
    assert ids(await take(bus, 1)) == ["m2"]


async def test_a_repeat_needs_no_room(open_bus: Any) -> None:
    bus = await open_bus(capacity=1)
    await bus.put(EDGE, *messages(0))
    async with asyncio.timeout(WAIT_S):
        await bus.put(EDGE, *messages(0))


async def test_an_edge_without_bounds(open_bus: Any) -> None:
    bus = await open_bus(capacity=0)
    await bus.put(EDGE, *messages(*range(300)))
    assert ids(await take(bus, 300)) == [f"m{number}" for number in range(300)]


async def test_a_receiver_waits_for_what_comes(open_bus: Any) -> None:
    bus, other = await open_bus(), await open_bus()
    assert await bus.get(EDGE, wait_s=0) == []
    assert await bus.get(EDGE, wait_s=0.05) == []
    async with ends(bus.get(EDGE, limit=5)) as getting:
        assert await is_stuck(getting)
        await other.put(EDGE, *messages(0))
    assert ids(getting.result()) == ["m0"]


async def test_receivers_share_an_edge(open_bus: Any) -> None:
    buses = [await open_bus() for _ in range(3)]
    seen: Counter[str] = Counter()

    async def receive(bus: Any) -> None:
        while sum(seen.values()) < 60:
            for delivery in await bus.get(EDGE, limit=4, wait_s=0.05):
                assert await bus.ack(delivery) == [True]
                seen[delivery.id] += 1

    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(buses[0].put(EDGE, *messages(*range(60))), *(receive(bus) for bus in buses))
    assert seen == Counter(f"m{number}" for number in range(60))


async def test_a_receiver_that_is_cancelled_loses_nothing(open_bus: Any) -> None:
    bus = await open_bus(max_deliveries=MANY)
    for number in range(8):
        getting = asyncio.ensure_future(bus.get(EDGE, limit=2))
        if number % 2:
            await asyncio.sleep(0.01)
        putting = asyncio.ensure_future(bus.put(EDGE, *messages(number)))
        for _ in range(number):
            await asyncio.sleep(0)
        getting.cancel()
        await asyncio.wait([getting])
        await putting
        if not getting.cancelled():
            assert await bus.ack(*getting.result()) == [True]
        else:
            assert (await handle(bus)).id == f"m{number}"


async def test_a_lease_that_ran_out_is_nobodys(open_bus: Any) -> None:
    bus, other = await open_bus(lease_s=0.3, max_deliveries=MANY), await open_bus(lease_s=0.3, max_deliveries=MANY)
    await bus.put(EDGE, *messages(0))
    (late,) = await take(bus, 1)
    again = (await take(other, 1))[0]
    assert (again.id, again.body) == ("m0", b"body 0")
    assert again.attempt >= 2
    assert await bus.ack(late) == [False]
    assert await bus.extend(late) == [False]
    assert await bus.nack(late) is False
    assert await bus.dead_letter(late, "late") is False
    assert (await handle(other)).attempt > again.attempt
    assert await bus.dead_letters(EDGE) == []
    assert await bus.get(EDGE, wait_s=0) == []


async def test_what_is_done_is_done_once(open_bus: Any) -> None:
    bus = await open_bus()
    await bus.put(EDGE, *messages(0, 1))
    first, second = await take(bus, 2)
    assert await bus.ack(first) == [True]
    assert await bus.ack(first) == [False]
    assert await bus.nack(second) is True
    assert await bus.ack(second) == [False]
    assert await bus.extend(second) == [False]
    again = await handle(bus)
    assert (again.id, again.attempt) == ("m1", 2)


async def test_a_lease_that_is_extended_is_kept(open_bus: Any) -> None:
    # On a machine that stands still for so long, a longer lease.
    for number, lease_s in enumerate((1.0, 3.0, 9.0, 27.0)):
        flow = f"extended {number} {time.time_ns()}"
        bus, other = await open_bus(flow=flow, lease_s=lease_s), await open_bus(flow=flow, lease_s=lease_s)
        await bus.put(EDGE, *messages(number))
        (delivery,) = await take(bus, 1)
        seen = asyncio.ensure_future(other.get(EDGE, wait_s=lease_s * 1.5))
        kept = True
        while not seen.done() and kept:
            await asyncio.wait([seen], timeout=lease_s / 10)
            kept = await bus.extend(delivery) == [True]
        if not kept:
            seen.cancel()
            await asyncio.wait([seen])
            continue
        assert seen.result() == []
        assert await bus.ack(delivery) == [True]
        return
    pytest.fail("no lease could be kept")


async def test_what_is_given_back_comes_again_after_its_delay(open_bus: Any) -> None:
    bus = await open_bus()
    await bus.put(EDGE, *messages(0, 1))
    (first,) = await bus.get(EDGE)
    began = time.monotonic()
    assert await bus.nack(first, DELAY_S) is True
    second = await handle(bus)
    if time.monotonic() - began < DELAY_S:
        assert second.id == "m1", "meanwhile others have their turn"
        third = await handle(bus)
        assert time.monotonic() - began > 0.9 * DELAY_S
    else:
        third = await handle(bus)
    came = {each.id: (each.attempt, each.put_at) for each in (second, third)}
    assert came == {"m0": (2, first.put_at), "m1": (1, came["m1"][1])}


async def test_a_delay_may_be_longer_than_a_lease(open_bus: Any) -> None:
    bus = await open_bus(lease_s=0.2, max_deliveries=MANY)
    await bus.put(EDGE, *messages(0))
    async with asyncio.timeout(WAIT_S):
        while True:
            (first,) = await take(bus, 1)
            began = time.monotonic()
            if await bus.nack(first, 0.9):
                break
    again = await take(bus, 1)
    assert time.monotonic() - began > 0.85
    assert again[0].attempt == first.attempt + 1


async def test_poison_becomes_a_dead_letter_and_blocks_nobody(open_bus: Any) -> None:
    bus = await open_bus(max_deliveries=3)
    await bus.put(EDGE, *messages(0, 1, 2))
    done: list[str] = []
    attempts: list[int] = []
    async with asyncio.timeout(WAIT_S):
        while len(done) < 2 or len(attempts) < 3:
            for delivery in await bus.get(EDGE):
                if delivery.id == "m0":
                    attempts.append(delivery.attempt)
                    assert await bus.nack(delivery) is True
                else:
                    assert await bus.ack(delivery) == [True]
                    done.append(delivery.id)
    assert attempts == [1, 2, 3]
    assert done == ["m1", "m2"]
    assert await bus.get(EDGE, wait_s=0) == []
    (letter,) = await bus.dead_letters(EDGE)
    assert (letter.edge, letter.id, letter.body, letter.attempts) == (EDGE, "m0", b"body 0", 3)
    assert letter.reason == "given back on its last delivery"
    await becomes(bus, EDGE, Depth(waiting=0, leased=0, dead=1))


async def test_a_dead_letter_may_be_called_and_say_anything(open_bus: Any) -> None:
    bus, message_id, reason = await open_bus(), "tr\u00e9 %41/\u2603", 'caf\u00e9 \u2603 100 %41 "of" it\nall'
    await bus.put(EDGE, BusMessage(message_id, b"body"))
    (delivery,) = await take(bus, 1)
    assert delivery.id == message_id
    assert await bus.dead_letter(delivery, reason) is True
    (letter,) = await bus.dead_letters(EDGE)
    assert (letter.id, letter.reason, letter.body) == (message_id, reason, b"body")
    assert await bus.retry_dead(letter) is True
    (again,) = await take(bus, 1)
    assert again.id == message_id


async def test_poison_that_hangs_its_receivers_becomes_a_dead_letter(open_bus: Any) -> None:
    bus = await open_bus(lease_s=0.2, max_deliveries=2)
    await bus.put(EDGE, *messages(0))
    attempts: list[int] = []
    async with asyncio.timeout(WAIT_S):
        while not (letters := await bus.dead_letters(EDGE)):
            attempts += [each.attempt for each in await bus.get(EDGE, wait_s=0.05)]
    assert attempts == [1, 2]
    assert [(each.id, each.attempts, each.reason) for each in letters] == [("m0", 2, "its lease ran out")]
    assert await bus.get(EDGE, wait_s=0) == []


async def test_dead_letters_are_retried_or_dropped(open_bus: Any) -> None:
    bus = await open_bus(capacity=3)
    await bus.put(EDGE, *messages(0, 1, 2))
    for delivery in await take(bus, 3):
        assert await bus.dead_letter(delivery, f"{delivery.id} is no good") is True
        assert await bus.ack(delivery) == [False]
    letters = await bus.dead_letters(EDGE)
    assert [(each.id, each.reason, each.attempts) for each in letters] == [
        (f"m{number}", f"m{number} is no good", 1) for number in range(3)
    ]
    assert len(await bus.dead_letters(EDGE, limit=2)) == 2
    await bus.put(EDGE, *messages(3, 4, 5))
    async with ends(bus.retry_dead(letters[0])) as retrying:
        assert await is_stuck(retrying), "a full edge is full for those, too"
        await handle(bus)
    assert retrying.result() is True
    assert await bus.drop_dead(letters[1]) is True
    assert await bus.drop_dead(letters[1]) is False
    assert await bus.retry_dead(letters[1]) is False
    got = [await handle(bus) for _ in range(3)]
    assert [(each.id, each.attempt) for each in got] == [("m4", 1), ("m5", 1), ("m0", 1)]
    assert [each.id for each in await bus.dead_letters(EDGE)] == ["m2"]


async def test_the_depth_of_an_edge(open_bus: Any) -> None:
    bus = await open_bus(EDGE, OTHER)
    await becomes(bus, EDGE, Depth(waiting=0, leased=0, dead=0))
    await bus.put(EDGE, *messages(0, 1, 2))
    first, _ = await take(bus, 2)
    await bus.dead_letter(first, "no good")
    await becomes(bus, EDGE, Depth(waiting=1, leased=1, dead=1))
    await becomes(bus, OTHER, Depth(waiting=0, leased=0, dead=0))


async def test_any_name_and_any_bytes(open_bus: Any) -> None:
    edges = ["OpenSea->a b", "a b->c.d", "c.d->é*>", "x" * 300 + "->1", "x" * 300 + "->2"]
    bus = await open_bus(*edges)
    for number, edge in enumerate(edges):
        await bus.put(edge, BusMessage(f"{number}", b"\x00\r\n\xff" + edge.encode()))
    for number, edge in enumerate(edges):
        (delivery,) = await take(bus, 1, edge)
        assert (delivery.edge, delivery.id, delivery.body) == (edge, f"{number}", b"\x00\r\n\xff" + edge.encode())


async def test_only_edges_it_was_opened_with(open_bus: Any) -> None:
    bus = await open_bus()
    with pytest.raises(BusError, match="was not opened for edge a->z: it knows a->b"):
        await bus.put("a->z", *messages(0))
    with pytest.raises(BusError, match="was not opened for edge"):
        await bus.get("a->z")


async def test_an_edge_of_another_flow_is_refused(open_bus: Any) -> None:
    bus = await open_bus("OpenSea->a", "a->b")
    await open_bus("OpenSea->a", "a->c", flow=bus.flow)
    with pytest.raises(BusForeign, match="is another flow"):
        await open_bus("OpenSea->x", "x->y", flow=bus.flow)


async def test_a_flow_of_many_edges_is_opened_by_who_needs_a_few_of_them(open_bus: Any) -> None:
    edges = [f"n{number}->x" for number in range(1100)]
    bus = await open_bus(*edges, start_s=60.0)
    few = await open_bus(edges[-1], edges[700], start_s=60.0)
    await bus.put(edges[700], *messages(1))
    (got,) = await few.get(edges[700])
    assert await few.ack(got) == [True]


async def test_a_bus_that_is_closed_says_so(open_bus: Any) -> None:
    bus = await open_bus(capacity=1)
    await bus.put(EDGE, *messages(0))
    (delivery,) = await take(bus, 1)
    waiting = [asyncio.ensure_future(bus.get(EDGE)), asyncio.ensure_future(bus.put(EDGE, *messages(1)))]
    assert await is_stuck(waiting[0])
    await bus.close()
    for each in waiting:
        with pytest.raises(BusClosed):
            async with asyncio.timeout(WAIT_S):
                await each
    for call in (bus.put(EDGE, *messages(2)), bus.get(EDGE), bus.ack(delivery), bus.depth(EDGE)):
        with pytest.raises(BusClosed):
            await call


async def test_publish_never_waits_for_room(open_bus: Any) -> None:
    bus = await open_bus(capacity=1)
    async with asyncio.timeout(WAIT_S):
        for _ in range(5):
            await bus.publish(BusEnvelope.of("a", "b", {"text": "ü"}, trace_id="t"))


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "repeat", "get", "ack", "nack", "extend"]), st.integers(0, 5)), max_size=30
)


@settings(max_examples=25)
@given(steps=STEPS)
async def test_nothing_is_lost_and_nothing_doubled(open_bus: Any, steps: list[Step]) -> None:
    bus = await open_bus(capacity=40, max_deliveries=MANY)
    try:
        await _go_through(bus, steps)
    finally:
        await bus.close()


async def _go_through(bus: Any, steps: list[Step]) -> None:
    while left := await bus.get(EDGE, limit=100, wait_s=0):  # of an example that failed
        await bus.ack(*left)
    put: list[str] = []
    firsts: list[str] = []
    held: list[Delivery] = []
    done: Counter[str] = Counter()
    example = time.time_ns()

    def note(got: list[Delivery]) -> None:
        firsts.extend(each.id for each in got if each.attempt == 1)
        held.extend(got)

    for what, number in steps:
        if what == "put":
            new = [BusMessage(f"{example}-{len(put) + each}", b"x") for each in range(min(number, 40 - len(put)))]
            await bus.put(EDGE, *new)
            put += [each.id for each in new]
        elif what == "repeat" and put:
            await bus.put(EDGE, BusMessage(put[number % len(put)], b"again"))
        elif what == "get":
            note(await bus.get(EDGE, limit=number + 1, wait_s=0))
        elif held and what == "extend":
            assert await bus.extend(*held) == [True] * len(held)
        elif held and what in ("ack", "nack"):
            delivery = held.pop(number % len(held))
            if what == "nack":
                assert await bus.nack(delivery) is True
            else:
                assert await bus.ack(delivery) == [True]
                done[delivery.id] += 1
    while held or sum(done.values()) < len(put):
        if not held:
            note(await take(bus, 1))
        assert await bus.ack(*held) == [True] * len(held)
        done.update(each.id for each in held)
        held.clear()
    assert done == Counter(put), "each is done once"
    assert firsts == put, "each comes first in the order of putting"
    assert await bus.get(EDGE, wait_s=0) == []
