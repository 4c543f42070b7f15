"""Workers that are killed, that hang, that leave: nothing is lost, nobody waits for ever."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic_core import from_json, to_json

from penguiflow import FlowError, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.bus import MemoryBus
from penguiflow.distributed.names import COUNT
from penguiflow.errors import FlowErrorCode

if TYPE_CHECKING:
    from tests.spreading import Place, Spread

CALL_S = 60.0
"""A machine may be slow; nothing here takes so long."""


def message(payload: Any, **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="acme"), **fields)


async def soon(condition: Callable[[], object]) -> None:
    """Wait until something has happened that other processes do."""
    async with asyncio.timeout(CALL_S):
        while not condition():  # noqa: ASYNC110 - any condition, of files that others write
            await asyncio.sleep(0.01)


async def alone(place: Place, trace_id: str) -> None:
    """Wait until one message is left of a trace: whoever stands still then holds nothing that others wait for."""
    async with asyncio.timeout(CALL_S):
        while not await _alone(place.stores[0], trace_id):  # noqa: ASYNC110 - of a store
            await asyncio.sleep(0.01)


async def _alone(store: Any, trace_id: str) -> bool:
    memory = await store.load_shared(trace_id, ("node:third",))
    row = memory.rows.get("node:third")
    return row is not None and len(from_json(row.value)["state"]["seen"]) == 9 and memory.counters[COUNT] == 1


def module(place: Place, source: str) -> Path:
    path = place.folder / "flow.py"
    head = "import asyncio, os\nfrom pathlib import Path\nfrom penguiflow import Node, NodePolicy, create\n"
    head += f"NOTES = Path({str(place.folder)!r})\nPLAIN = NodePolicy(validate='none')\nNAME = {place.folder.name!r}\n"
    path.write_text(head + textwrap.dedent(source))
    return path


ONE_BY_ONE = """
async def first(msg, ctx):
    for number in range(10):
        await ctx.emit(msg.model_copy(update={"payload": number}))

async def second(msg, ctx):
    if msg.payload == 5:
        with (NOTES / "begun").open("a") as notes:
            notes.write(f"{os.getpid()}\\n")
        while not (NOTES / "go").exists():
            await asyncio.sleep(0.01)
    return msg.model_copy(update={"payload": msg.payload * 2})

async def third(msg, ctx):
    seen = ctx.trace_state.setdefault("seen", [])
    seen.append(msg.payload)
    return msg.model_copy(update={"payload": sorted(seen)}) if len(seen) == 10 else None

def make(**kwargs):
    a, b, c = (Node(each, name=each.__name__, policy=PLAIN) for each in (first, second, third))
    return create(a.to(b), b.to(c), c.to(), name=NAME, **kwargs)
"""


def begun(place: Place) -> list[int]:
    """Who has begun with the message that takes long."""
    notes = place.folder / "begun"
    return [int(line) for line in notes.read_text().split("\n")[:-1]] if notes.exists() else []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_is_killed_or_hangs_loses_nothing(place: Place, how: signal.Signals) -> None:
    path = module(place, ONE_BY_ONE)
    place.hire(path)
    place.hire(path)
    flow = place.flow(path)
    calling = asyncio.ensure_future(flow.call(message(None, trace_id="t"), timeout=CALL_S))
    await soon(lambda: begun(place))
    await alone(place, "t")
    os.kill(begun(place)[0], how)
    await soon(lambda: len(set(begun(place))) == 2)
    (place.folder / "go").touch()
    assert (await calling).payload == list(range(0, 20, 2))
    if how == signal.SIGSTOP:
        # It goes on where it stood, and what it says is said too late.
        os.kill(begun(place)[0], signal.SIGCONT)
    assert (await flow.call(message(None), timeout=CALL_S)).payload == list(range(0, 20, 2))


async def test_a_worker_that_is_told_to_leave_finishes_first(place: Place) -> None:
    path = module(place, ONE_BY_ONE)
    worker = place.hire(path)
    flow = place.flow(path)
    calling = asyncio.ensure_future(flow.call(message(None), timeout=CALL_S))
    await soon(lambda: begun(place))
    worker.terminate()
    place.hire(path)
    (place.folder / "go").touch()
    assert (await calling).payload == list(range(0, 20, 2))
    assert await asyncio.to_thread(worker.wait, CALL_S) == 0


KEEPING = """
def note(file, what):
    with (NOTES / file).open("a") as notes:
        notes.write(f"{what}\\n")

async def fan(msg, ctx):
    for number in range(10):
        await ctx.emit(msg.model_copy(update={"payload": number}))

async def keep(msg, ctx):
    seen = ctx.trace_state.setdefault("seen", [])
    note("ran", msg.payload)
    if len(seen) == 4:
        note("begun", os.getpid())
        while not (NOTES / "go").exists():
            await asyncio.sleep(0.01)
    seen.append(msg.payload)
    return msg.model_copy(update={"payload": sorted(seen)}) if len(seen) == 10 else None

def make(**kwargs):
    policy = NodePolicy(validate="none", max_concurrency=2)
    a, b = (Node(each, name=each.__name__, policy=policy) for each in (fan, keep))
    return create(a.to(b), b.to(), name=NAME, **kwargs)
"""


async def test_who_is_killed_while_others_wait_for_his_turn_costs_one_repeat(place: Place) -> None:
    path = module(place, KEEPING)
    for _ in range(3):
        place.hire(path)
    flow = place.flow(path)
    calling = asyncio.ensure_future(flow.call(message(None, trace_id="t"), timeout=CALL_S))
    await soon(lambda: begun(place))
    os.kill(begun(place)[0], signal.SIGKILL)
    await soon(lambda: len(set(begun(place))) == 2)
    (place.folder / "go").touch()
    assert (await calling).payload == list(range(10))
    ran = (place.folder / "ran").read_text().split()
    assert set(ran) == {str(number) for number in range(10)}
    again = [
        event
        for event in await place.stores[0].load_events("t")
        if event.kind == "message.dequeued" and event.name == "fan->keep" and event.data["attempt"] > 1
    ]
    # One was at work when its worker was killed; a slow machine may lose leases, too.
    assert 1 <= len(ran) - 10 <= max(1, len(again))


STREAM = """
async def speak(msg, ctx):
    for number in range(10):
        if number == 5:
            with (NOTES / "begun").open("a") as notes:
                notes.write(f"{os.getpid()}\\n")
            while not (NOTES / "go").exists():
                await asyncio.sleep(0.01)
        await ctx.emit_chunk(parent=msg, text=str(number), done=number == 9)

async def shout(msg, ctx):
    return msg.model_copy(update={"payload": msg.payload.model_copy(update={"text": msg.payload.text + "!"})})

def make(**kwargs):
    a, b = (Node(each, name=each.__name__, policy=PLAIN) for each in (speak, shout))
    return create(a.to(b), b.to(), name=NAME, **kwargs)
"""


async def test_a_stream_goes_on_where_its_worker_was_killed(place: Place) -> None:
    path = module(place, STREAM)
    place.hire(path)
    place.hire(path)
    flow = place.flow(path)

    async def texts() -> list[str]:
        return [piece.payload.text async for piece in flow.stream(message(None))]

    async with asyncio.timeout(CALL_S):
        reading = asyncio.ensure_future(texts())
        await soon(lambda: begun(place))
        os.kill(begun(place)[0], signal.SIGKILL)
        await soon(lambda: len(set(begun(place))) == 2)
        (place.folder / "go").touch()
        assert await reading == [f"{number}!" for number in range(10)]


POISON = """
async def eat(msg, ctx):
    if msg.payload == "poison":
        with (NOTES / "begun").open("a") as notes:
            notes.write(f"{os.getpid()}\\n")
        os._exit(1)
    return msg

def make(**kwargs):
    return create(Node(eat, name="eat", policy=PLAIN).to(), name=NAME, **kwargs)
"""


def _died(place: Place, deaths: int) -> bool:
    return len(begun(place)) >= deaths


async def fed_poison(place: Place, source: str) -> FlowError:
    """What a caller gets whose message kills each worker; others are answered afterwards."""
    path = module(place, source)
    place.limits.update(lease_s=1.0, max_deliveries=3)
    flow = place.flow(path)
    calling = asyncio.ensure_future(flow.call(message("poison"), timeout=CALL_S))
    for deaths in range(1, 4):
        place.hire(path)
        await soon(functools.partial(_died, place, deaths))
    place.hire(path)
    with pytest.raises(FlowError) as raised:
        await calling
    assert (await flow.call(message("bread"), timeout=CALL_S)).payload == "bread"
    return raised.value


async def test_a_message_that_kills_its_workers_fails_its_caller(place: Place) -> None:
    error = await fed_poison(place, POISON)
    assert error.code == FlowErrorCode.NODE_EXCEPTION
    assert "became a dead letter" in error.message


SERVED = """
async def serve(msg, ctx):
    return msg
""" + POISON.replace("create(", "create(Node(serve, name='serve', policy=PLAIN).to(eater := ").replace(
    ".to(),", "), eater.to(),"
)


async def test_who_sent_what_kills_is_not_buried_with_it(place: Place) -> None:
    error = await fed_poison(place, SERVED)
    assert "a message for node 'eat' became a dead letter" in error.message


async def test_what_nobody_can_read_fails_its_caller(spread: Spread, monkeypatch: pytest.MonkeyPatch) -> None:
    async def eat(msg: Message, ctx: Any) -> Message:
        return msg

    def make(**kwargs: Any) -> PenguiFlow:
        return create(Node(eat, name="eat", policy=NodePolicy(validate="none")).to(), **kwargs)

    flow = await spread(make, workers=1)

    def strange(message: Any, node: str, *, about: Any) -> bytes:
        return to_json({"format": 1, "type": "x:Y", **about}) + b"\n{}"

    monkeypatch.setattr(flow._client._codec, "encode", strange)  # type: ignore[union-attr]
    with pytest.raises(FlowError, match="which no node of this flow registers"):
        await flow.call(message(1), timeout=CALL_S)


async def test_a_dead_letter_that_is_sent_again_is_handled(spread: Spread) -> None:
    eaten = asyncio.Event()

    async def eat(msg: Message, ctx: Any) -> Message:
        eaten.set()
        return msg

    def make(**kwargs: Any) -> PenguiFlow:
        return create(Node(eat, name="eat", policy=NodePolicy(validate="none")).to(), **kwargs)

    flow = await spread(make, workers=0)
    bus: Any = flow._message_bus
    if isinstance(bus, MemoryBus):
        return  # its own worker is quicker than anybody else
    calling = asyncio.ensure_future(flow.call(message(1), timeout=CALL_S))
    async with asyncio.timeout(CALL_S):
        while not (got := await bus.get("OpenSea->eat", wait_s=0.1) if bus.flow else await asyncio.sleep(0.01, [])):
            pass
        assert await bus.dead_letter(got[0], "somebody did not like it")
        await spread.hire(make)
        with pytest.raises(FlowError, match="somebody did not like it"):
            await calling
        assert not eaten.is_set()
        (letter,) = await bus.dead_letters("OpenSea->eat")
        assert await bus.retry_dead(letter)
        await eaten.wait()
        while (await bus.depth("OpenSea->eat")).leased:  # noqa: ASYNC110 - of a server
            await asyncio.sleep(0.01)
