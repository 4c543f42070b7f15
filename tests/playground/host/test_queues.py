"""The edges of distributed flows, as a host tells of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import ModelRegistry, Node, create
from penguiflow.bus import BusMessage, Limits, MemoryBus
from penguiflow.bus.protocol import DeadLetter
from penguiflow.recording.masking import Masker
from penguiflow.state import InMemoryStateStore
from penguiflow.state.shared import WorkerRow
from playground.host.letters import AmbiguousLetter, chosen_letters, shown_letter
from playground.host.queues import QueueDesk, distributed, tell_buses
from playground.loader.runnable import Runnable, runnable_of
from playground.project import BUS_VARIABLE, Project
from playground.protocol import Error, LettersEdit, Queues, QueuesGet

SECRET = "hunter22-of-ada"


class Order(BaseModel):
    n: int


async def price(order: Order, ctx: Any) -> Order:
    return order


async def ship(order: Order, ctx: Any) -> Order:
    return order


def body(trace: str, n: int = 0) -> bytes:
    return b'{"format":1,"type":"json","flow":{"trace":"%b"}}\n{"n":%d,"password":"%b"}' % (
        trace.encode(),
        n,
        SECRET.encode(),
    )


def flow_with(bus: Any, name: str = "orders") -> Runnable:
    first, second = Node(price, name="price"), Node(ship, name="ship")
    registry = ModelRegistry()
    for node in ("price", "ship"):
        registry.register(node, Order, Order)
    flow = create(first.to(second), second.to(), message_bus=bus)
    flow._registry = registry
    return runnable_of(flow, name, ModuleType("orders"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv(BUS_VARIABLE, raising=False)
    return Project(tmp_path, tmp_path / ".penguiflow")


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    """Two messages of three are dead."""
    made = MemoryBus(Limits(capacity=3))
    await made.open("price", ["OpenSea->price", "price->ship"])
    for number in range(3):
        await made.put("OpenSea->price", BusMessage(f"run/m{number}", body(f"t{number}", number)))
    for delivery in await made.get("OpenSea->price", limit=2):
        await made.dead_letter(delivery, "it is poison")
    yield made
    await made.close()


async def told(desk: QueueDesk, request: QueuesGet | LettersEdit) -> Queues:
    answer = await desk.do(request, Masker())
    assert isinstance(answer, Queues), answer
    return answer


async def refused(desk: QueueDesk, request: QueuesGet | LettersEdit) -> Error:
    answer = await desk.do(request, None)
    assert isinstance(answer, Error), answer
    return answer


async def test_edges_with_who_consumes_them(bus: MemoryBus, project: Project) -> None:
    store = InMemoryStateStore()
    worker = WorkerRow("w1", "price", "box", 7, ["ship"], 1.0, 0.0, alive=True, state="running", about={"done": 3})
    await store.save_worker(worker)
    desk = QueueDesk(lambda: [flow_with(bus)], project, lambda: store)
    found = await told(desk, QueuesGet())
    assert (found.target, found.flow, found.problem, found.letters) == ("orders", "price", None, [])
    first, second = found.edges
    assert (first.edge, first.waiting, first.leased, first.dead, first.capacity) == ("OpenSea->price", 1, 0, 2, 3)
    assert first.unattended
    assert (second.edge, second.workers, second.unattended) == ("price->ship", ["w1"], False)
    assert [(each.worker_id, each.alive, each.about) for each in found.workers] == [("w1", True, {"done": 3})]
    await desk.close()


async def test_dead_letters_are_told_without_secrets(bus: MemoryBus, project: Project) -> None:
    desk = QueueDesk(lambda: [flow_with(bus)], project, lambda: None)
    found = await told(desk, QueuesGet(target="orders", letters=True, limit=1))
    [letter] = found.letters
    assert (letter.id, letter.trace_id, letter.attempts, letter.reason) == ("run/m0", "t0", 1, "it is poison")
    assert letter.payload["n"] == 0
    assert SECRET not in found.model_dump_json()
    assert found.problem is not None
    assert len((await told(desk, QueuesGet(edge="OpenSea->price"))).letters) == 2
    assert (await told(desk, QueuesGet(edge="price->ship"))).letters == []
    missing = await refused(desk, QueuesGet(edge="a->b"))
    assert missing.code == "not_found"
    assert "price->ship" in missing.message
    await desk.close()


async def test_letters_are_put_back_and_forgotten(bus: MemoryBus, project: Project) -> None:
    desk = QueueDesk(lambda: [flow_with(bus)], project, lambda: None)
    back = await told(desk, LettersEdit(change="retry", ids=["m0"]))
    assert [letter.id for letter in back.changed] == ["run/m0"]
    assert (back.edges[0].waiting, back.edges[0].dead) == (2, 1)
    nothing = await refused(desk, LettersEdit(change="drop", ids=["m1", "m7"]))
    assert (nothing.code, nothing.message) == ("not_found", "there is no dead letter 'm7'")
    assert (await told(desk, QueuesGet())).edges[0].dead == 1
    assert (await told(desk, LettersEdit(change="drop", edge="price->ship"))).changed == []
    gone = await told(desk, LettersEdit(change="drop"))
    assert [letter.id for letter in gone.changed] == ["run/m1"]
    assert gone.edges[0].dead == 0
    await desk.close()


async def test_an_edge_without_room_is_named(bus: MemoryBus, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.host.queues.ROOM_S", 0.01)
    await bus.put("OpenSea->price", BusMessage("run/m8", body("t8")), BusMessage("run/m9", body("t9")))
    desk = QueueDesk(lambda: [flow_with(bus)], project, lambda: None)
    full = await told(desk, LettersEdit(change="retry"))
    assert full.changed == []
    assert full.full == ["OpenSea->price"]
    assert full.edges[0].dead == 2
    await desk.close()


async def test_which_flow_is_meant(bus: MemoryBus, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there, alone = flow_with(bus, "here"), flow_with(bus, "there"), flow_with(None, "alone")
    assert [distributed(each, project) for each in (here, alone)] == [True, False]
    desk = QueueDesk(lambda: [here, there, alone], project, lambda: None)
    several = await refused(desk, QueuesGet())
    assert (several.code, "here, there" in several.message) == ("invalid_input", True)
    assert (await refused(desk, QueuesGet(target="alone"))).code == "invalid_input"
    assert (await refused(desk, QueuesGet(target="nowhere"))).code == "not_found"
    none = await refused(QueueDesk(lambda: [alone], project, lambda: None), QueuesGet())
    assert "create(message_bus=…)" in none.message
    monkeypatch.setenv(BUS_VARIABLE, "kafka://ada:hunter22@host")
    wrong = await refused(desk, QueuesGet(target="alone"))
    assert wrong.code == "bus"
    assert "hunter22" not in wrong.message
    monkeypatch.setenv(BUS_VARIABLE, "nats://ada:hunter22@host:4222")
    tell_buses([here, alone], project)
    assert (here.info.bus, here.info.bus_name, alone.info.bus) == ("nats://host:4222", "price", "nats://host:4222")
    await desk.close()


async def test_a_bus_that_fails(project: Project) -> None:
    class Broken(MemoryBus):
        async def open(self, flow: str, edges: Any) -> None:
            raise OSError("no such place")

    broken = await refused(QueueDesk(lambda: [flow_with(Broken())], project, lambda: None), QueuesGet())
    assert (broken.code, broken.message) == ("bus", "OSError: no such place")


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]\n1", b"{}\n{}", b'{"flow":1}\nx'])
def test_a_body_that_is_none_of_ours(raw: bytes) -> None:
    shown = shown_letter(DeadLetter("a->b", "m", raw, "why", 1, "k"), Masker())
    assert (shown.trace_id, shown.id) == (None, "m")


def test_a_large_payload_is_told_by_its_size() -> None:
    raw = b"{}\n[" + b"1," * 20_000 + b"1]"
    shown = shown_letter(DeadLetter("a->b", "m", raw, "why", 1, "k"), Masker())
    assert (shown.payload, shown.bytes) == (None, 40_003)


def test_letters_are_named_by_beginnings_of_ids() -> None:
    letters = [DeadLetter("a->b", name, b"", "", 1, name) for name in ("r/m1", "r/m10", "q/m2")]
    assert [each.id for each in chosen_letters(letters, ["m1"])] == ["r/m1"]
    assert [each.id for each in chosen_letters(letters, ["q/", "m10"])] == ["r/m10", "q/m2"]
    names = [f"{trace}{'0' * 24}/{'b' * 16}" for trace in ("aaaaaaaa", "cccccccc")]
    same = [DeadLetter("a->b", name, b"", "", 1, name) for name in names]
    assert chosen_letters(same, ["cccccccc/bbbbbbbb"]) == same[1:]
    with pytest.raises(AmbiguousLetter, match="r/m1, r/m10"):
        chosen_letters(letters, ["r/"])
    with pytest.raises(LookupError):
        chosen_letters(letters, [""])
