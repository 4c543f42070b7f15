"""Workers at a node that keeps something for its traces: one after the other, and nothing is done twice."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import pytest
from pydantic_core import to_json

from penguiflow import Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.bus import BusMessage, Codec, Limits, MemoryBus
from penguiflow.distributed import Worker, edges_of
from penguiflow.distributed.header import Header
from penguiflow.distributed.names import COUNT, IDS, bus_id, handled_key, number_of, turn_scope
from penguiflow.distributed.turns import Turn, names_state
from penguiflow.ids import send_id
from penguiflow.state import InMemoryStateStore
from penguiflow.state.shared import SharedChange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

WAIT_S = 60.0
NEVER_S = 600.0
"""A lease that does not end while a test runs."""
PLAIN = NodePolicy(validate="none")
TURN = turn_scope("keep")


class Office:
    """One bus, one store, and who works there, each with as many slots as are said."""

    def __init__(self, keep: Any, lease_s: float) -> None:
        self.bus = MemoryBus(Limits(lease_s=lease_s))
        self.store = InMemoryStateStore()
        self.workers: list[Worker] = []
        self._running: list[asyncio.Task[None]] = []
        self._keep = keep

    def flow(self) -> PenguiFlow:
        """One that keeps, and nothing else."""
        first, keeping = Node(_same, name="first", policy=PLAIN), Node(self._keep, name="keep", policy=PLAIN)
        return create(first.to(keeping), keeping.to(), name="f")

    async def hire(self, slots: int = 1) -> Worker:
        worker = Worker(self.flow(), bus=self.bus, store=self.store, owns_bus=False, nodes=["keep"], concurrency=slots)
        self.workers.append(worker)
        self._running.append(asyncio.create_task(worker.run()))
        await worker.ready()
        return worker

    async def put(self, trace_id: str, numbers: Sequence[int]) -> list[str]:
        """Have messages of a trace wait for the node; their ids."""
        flow = self.flow()
        header = Header(trace_id, trace_id, "Rookery@nobody", asked=False)
        ids = [send_id("first", trace_id, "first->keep", number) for number in numbers]
        add = {COUNT: len(ids), IDS: sum(map(number_of, ids))}
        await self.store.commit_shared(SharedChange(trace_id=trace_id, add=add))
        await self.bus.open(flow.name, edges_of(flow))
        for number, message_id in zip(numbers, ids, strict=True):
            message = Message(payload=number, headers=Headers(tenant="acme"), trace_id=trace_id)
            body = Codec().encode(message, "somebody", about=header.about())
            await self.bus.put("first->keep", BusMessage(bus_id(trace_id, message_id), body))
        return ids

    async def is_turn_of(self, trace_id: str, worker: str, message_id: str) -> None:
        """Somebody has the turn who is not here."""
        value = to_json({"worker": worker, "message": handled_key("keep", message_id)})
        await self.store.commit_shared(SharedChange(trace_id=trace_id, put={TURN: value}))

    async def over(self, trace_id: str) -> None:
        """Wait until all messages of a trace are handled."""
        async with asyncio.timeout(WAIT_S):
            while (await self.store.load_shared(trace_id)).ended is None:  # noqa: ASYNC110 - of a store
                await asyncio.sleep(0.001)

    def redelivered(self) -> int:
        """Leases that were lost."""
        return sum(worker.status().about["redelivered"] for worker in self.workers)

    async def end(self) -> None:
        async with asyncio.timeout(WAIT_S):
            for worker in self.workers:
                await worker.drain(0.0)
            await asyncio.gather(*self._running)


@pytest.fixture
async def office() -> AsyncIterator[Callable[..., Office]]:
    offices: list[Office] = []

    def open_one(keep: Any, lease_s: float = NEVER_S) -> Office:
        offices.append(Office(keep, lease_s))
        return offices[-1]

    yield open_one
    for each in offices:
        await each.end()


async def _same(msg: Message, ctx: Any) -> Message:
    return msg


def _seen(ctx: Any) -> list[int]:
    """What the node has got: its code does not name where it is kept."""
    seen: list[int] = ctx.trace_state.setdefault("seen", [])
    return seen


async def _while_others_could_begin() -> None:
    """Everything is in this process: whoever may begin has begun after so many rounds of the loop."""
    for _ in range(200):
        await asyncio.sleep(0)


@pytest.mark.parametrize("slots", [1, 3])
async def test_nothing_is_done_twice_while_nobody_loses_a_lease(office: Callable[..., Office], slots: int) -> None:
    begun: list[int] = []

    async def keep(msg: Message, ctx: Any) -> None:
        seen = ctx.trace_state.setdefault("seen", [])
        begun.append(msg.payload)
        await _while_others_could_begin()
        seen.append(msg.payload)

    at = office(keep)
    await at.put("t", range(12))
    for _ in range(4):
        await at.hire(slots)
    await at.over("t")
    assert sorted(begun) == list(range(12))
    row = (await at.store.load_shared("t", ("node:keep",))).rows["node:keep"]
    assert all(str(number).encode() in row.value for number in range(12))


async def test_what_is_not_seen_in_its_code_is_known_once_it_has_happened(office: Callable[..., Office]) -> None:
    begun: list[int] = []

    async def keep(msg: Message, ctx: Any) -> None:
        seen = _seen(ctx)
        begun.append(msg.payload)
        await _while_others_could_begin()
        seen.append(msg.payload)

    at = office(keep)
    await at.put("before", [0])
    for _ in range(2):
        await at.hire()
    await at.over("before")
    begun.clear()
    await at.put("t", range(12))
    await at.over("t")
    assert set(begun) == set(range(12))
    # The worker that did not know yet has lost at most what it began before it knew.
    assert len(begun) <= 13


async def test_a_message_that_is_alone_needs_no_turn(
    office: Callable[..., Office], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keep(msg: Message, ctx: Any) -> None:
        ctx.trace_state["last"] = msg.payload

    at = office(keep)
    scopes: list[str] = []
    commit = at.store.commit_shared

    async def noted(*changes: SharedChange) -> Any:
        for change in changes:
            scopes.extend(change.put)
        return await commit(*changes)

    monkeypatch.setattr(at.store, "commit_shared", noted)
    await at.hire()
    for number in range(3):
        await at.put(f"t{number}", [number])
        await at.over(f"t{number}")
    assert scopes.count("node:keep") == 3
    assert TURN not in scopes


async def test_a_turn_is_held_for_as_long_as_the_work_takes(office: Callable[..., Office]) -> None:
    begun: list[int] = []

    async def keep(msg: Message, ctx: Any) -> None:
        seen = ctx.trace_state.setdefault("seen", [])
        begun.append(msg.payload)
        if len(begun) == 1:
            versions: set[int] = set()
            while len(versions) < 7:
                row = (await at.store.load_shared("t", (TURN,))).rows.get(TURN)
                versions.add(0 if row is None else row.version)
                await asyncio.sleep(0.01)
        seen.append(msg.payload)

    at = office(keep, lease_s=0.5)
    await at.put("t", range(4))
    for _ in range(2):
        await at.hire()
    await at.over("t")
    assert set(begun) == set(range(4))
    assert len(begun) - 4 <= at.redelivered()


async def test_the_turn_of_somebody_who_is_gone_ends_after_a_lease(office: Callable[..., Office]) -> None:
    begun: list[int] = []

    async def keep(msg: Message, ctx: Any) -> None:
        ctx.trace_state["last"] = msg.payload
        begun.append(msg.payload)

    at = office(keep, lease_s=0.5)
    await at.put("t", range(3))
    await at.is_turn_of("t", "somebody", "0" * 16)
    for _ in range(2):
        await at.hire()
    await at.over("t")
    assert set(begun) == set(range(3))
    assert len(begun) - 3 <= at.redelivered()


async def test_whose_message_came_here_has_no_turn_any_more(office: Callable[..., Office]) -> None:
    async def keep(msg: Message, ctx: Any) -> None:
        ctx.trace_state["last"] = msg.payload

    at = office(keep)
    ids = await at.put("t", range(3))
    await at.is_turn_of("t", "somebody", ids[0])
    await at.hire(slots=3)
    await at.over("t")
    ids = await at.put("u", range(3))
    await at.is_turn_of("u", "somebody", ids[2])
    await at.over("u")


async def test_who_waits_for_a_turn_holds_up_no_other_trace(office: Callable[..., Office]) -> None:
    begun: list[int] = []

    async def keep(msg: Message, ctx: Any) -> None:
        ctx.trace_state["last"] = msg.payload
        begun.append(msg.payload)

    at = office(keep)
    await at.put("waits", range(5))
    await at.is_turn_of("waits", "somebody", "0" * 16)
    await at.put("goes on", [5, 6])
    worker = await at.hire()
    await at.over("goes on")
    assert sorted(begun) == [5, 6]
    assert worker.status().about["under_way"] >= 5
    await at.store.commit_shared(SharedChange(trace_id="waits", put={TURN: None}))
    await at.over("waits")
    assert sorted(begun) == list(range(7))


async def test_a_worker_that_leaves_lets_others_have_its_turn(office: Callable[..., Office]) -> None:
    begun: list[int] = []
    first_begun = asyncio.Event()

    async def keep(msg: Message, ctx: Any) -> None:
        ctx.trace_state["last"] = msg.payload
        begun.append(msg.payload)
        if len(begun) == 1:
            first_begun.set()
            await asyncio.Event().wait()

    at = office(keep)
    await at.put("t", range(4))
    leaving = await at.hire()
    async with asyncio.timeout(WAIT_S):
        await first_begun.wait()
    staying = await at.hire()
    # One whose message is not the one that the turn is for has it, and waits.
    async with asyncio.timeout(WAIT_S):
        while not staying.status().about["under_way"]:  # noqa: ASYNC110 - of a worker
            await asyncio.sleep(0.001)
    await leaving.drain(0.0)
    await at.over("t")
    assert sorted(begun) == sorted([*range(4), begun[0]])


async def test_a_turn_is_not_over_because_its_store_was_away() -> None:
    turn = Turn()
    assert not turn.is_dead(7, 10.0)
    turn._seen_at -= 1000.0  # no answer for long: nobody could say that he is at work
    assert not turn.is_dead(7, 10.0)
    for _ in range(7):
        turn._seen_at -= 1000.0
        assert not turn.is_dead(7, 10.0)
    turn._seen_at -= 1000.0
    assert turn.is_dead(7, 10.0)
    assert not turn.is_dead(8, 10.0)


def test_a_nodes_code_tells_whether_it_keeps_something() -> None:
    class Keeps:
        async def __call__(self, msg: Any, ctx: Any) -> None:
            ctx.trace_state["it"] = msg

        async def method(self, msg: Any, ctx: Any) -> None:
            ctx.trace_state["it"] = msg

    async def inside(msg: Any, ctx: Any) -> None:
        def put() -> None:
            ctx.trace_state["it"] = msg

        put()

    @functools.wraps(inside)
    async def wrapped(*args: Any) -> None:
        await inside(*args)

    keeping = (Keeps(), Keeps().method, inside, wrapped, functools.partial(inside, 1))
    assert [names_state(each) for each in keeping] == [True] * 5
    assert not any(names_state(each) for each in (_same, _while_others_could_begin, print))
