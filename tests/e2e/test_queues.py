"""`pf queues`, `pf dead-letters` and `pf workers`, against real servers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.terminal import Terminal
from penguiflow.bus import BusMessage, Limits, open_bus
from penguiflow.state.shared import WorkerRow
from penguiflow.state.sqlite import SQLiteStateStore

if TYPE_CHECKING:
    from tests.bus_servers import BusServer
    from tests.e2e.conftest import AddFlow, RunCommand

SECRET = "hunter22-of-ada"
ORDERS = """
    from __future__ import annotations

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node, create


    class Order(BaseModel):
        n: int
        password: str = ""


    async def price(order: Order, ctx) -> Order:
        return order


    async def ship(order: Order, ctx) -> Order:
        return order


    first, second = Node(price, name="price"), Node(ship, name="ship")
    flow = create(first.to(second), second.to())
    registry = ModelRegistry()
    registry.register("price", Order, Order)
    registry.register("ship", Order, Order)
"""
EDGES = ["OpenSea->price", "price->ship"]


def put(url: str, messages: int, dead: int) -> None:
    """Put messages on the first edge, some of which nobody can handle."""

    async def work() -> None:
        bus = open_bus(url, Limits(max_deliveries=1))
        await bus.open("price", EDGES)
        for number in range(messages):
            head = json.dumps({"format": 1, "type": "json", "flow": {"trace": f"trace-{number}"}})
            body = json.dumps({"n": number, "password": SECRET})
            await bus.put(EDGES[0], BusMessage(f"trace-{number}/m{number}", f"{head}\n{body}".encode()))
        for delivery in await bus.get(EDGES[0], limit=dead) if dead else []:
            assert await bus.dead_letter(delivery, "ValueError: poison")
        await bus.close()

    asyncio.run(work())


@pytest.fixture(params=["nats", "redis"])
def server(request: pytest.FixtureRequest) -> BusServer:
    found: BusServer = request.getfixturevalue("nats_server" if request.param == "nats" else "valkey_server")
    return found


@pytest.fixture
def flow(add_flow: AddFlow, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("PENGUIFLOW_BUS", raising=False)
    monkeypatch.delenv("PENGUIFLOW_STORE", raising=False)
    return add_flow("orders", ORDERS)


def test_edges_and_letters_of_a_flow(guarded_server: BusServer, flow: str, pf: RunCommand, project: Path) -> None:
    put(guarded_server.url, messages=4, dead=3)
    there = {"PENGUIFLOW_BUS": guarded_server.url}
    password = guarded_server.url.split("@", maxsplit=1)[0].rpartition(":")[2]
    seen = pf("queues", env=there)
    assert seen.returncode == 0, seen.stderr
    rows = {line.split()[0]: line.split()[1:] for line in seen.stdout.splitlines()}
    assert rows["OpenSea->price"] == ["1", "0", "3", "64", "nobody"]
    assert rows["price->ship"] == ["0", "0", "0", "64"]
    assert "nobody consumes OpenSea->price: `pf worker flows/orders.py` does" in seen.stderr
    assert not (project / ".penguiflow").exists()

    listed = pf("dead-letters", flow, "--json", env=there)
    letters = json.loads(listed.stdout)["letters"]
    assert [letter["id"] for letter in letters] == ["trace-0/m0", "trace-1/m1", "trace-2/m2"]
    assert {letter["trace_id"] for letter in letters} == {"trace-0", "trace-1", "trace-2"}
    assert letters[0]["reason"] == "ValueError: poison"
    assert SECRET not in listed.stdout
    told = pf("dead-letters", flow, EDGES[0], "--limit", "1", env=there)
    assert "ValueError: poison" in told.stdout
    assert "and 2 more: --limit shows them" in told.stderr

    back = pf("dead-letters", "retry", "m0", "--json", env=there)
    assert [letter["id"] for letter in json.loads(back.stdout)["letters"]] == ["trace-0/m0"]
    ambiguous = pf("dead-letters", "retry", "trace", env=there)
    assert (ambiguous.returncode, "several dead letters" in ambiguous.stderr) == (3, True)
    assert pf("dead-letters", "drop", "m9", env=there).returncode == 3
    assert pf("dead-letters", "drop", env=there).returncode == 2
    refused = pf("dead-letters", "drop", "--all", env=there)
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    dropped = pf("dead-letters", "drop", "--all", "--yes", "--edge", EDGES[0], "--target", flow, env=there)
    assert dropped.stdout.splitlines() == [f"dropped trace-1/m1 on {EDGES[0]}", f"dropped trace-2/m2 on {EDGES[0]}"]
    again = json.loads(pf("queues", flow, "--json", env=there).stdout)
    assert [(edge["waiting"], edge["dead"]) for edge in again["edges"]] == [(2, 0), (0, 0)]
    for each in (seen, listed, told, back, dropped):
        assert password not in each.stdout + each.stderr


def test_what_can_be_wrong(guarded_server: BusServer, flow: str, pf: RunCommand, project: Path) -> None:
    url = guarded_server.url
    refused = pf("queues", "--bus", url.replace(url.split("@", maxsplit=1)[0].rpartition(":")[2], "mistaken"))
    assert refused.returncode == 2
    assert "does not let us in" in refused.stderr
    assert "mistaken" not in refused.stderr
    (project / "pyproject.toml").write_text('[project]\nname = "sample"\n[tool.penguiflow]\nbus = "${EDGES_AT}"\n')
    unset = pf("queues")
    assert unset.returncode == 2
    assert "needs the variable EDGES_AT" in unset.stderr
    assert pf("queues", env={"EDGES_AT": url}).returncode == 0
    wrong = pf("queues", "--bus", "kafka://ada:mistaken@host")
    assert wrong.returncode == 2
    assert "'kafka://host' is no address of a bus: redis://" in wrong.stderr
    assert "mistaken" not in wrong.stderr
    guarded_server.kill()
    away = pf("queues", flow, "--bus", url)
    assert away.returncode == 2
    assert "answers at" in away.stderr
    assert "is the server running?" in away.stderr
    nowhere = pf(
        "queues", flow, "--bus", f"{'nats' if url.startswith('nats') else 'redis'}://ada:mistaken@nowhere.invalid"
    )
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert "nowhere.invalid, for 5 s: the host's name leads nowhere (" in nowhere.stderr
    assert nowhere.stderr.count("pf: ") == 1
    assert "mistaken" not in nowhere.stderr


def test_a_flow_that_runs_in_one_process(flow: str, pf: RunCommand) -> None:
    for command in (["queues", flow], ["queues"], ["dead-letters", flow], ["workers", flow]):
        told = pf(*command)
        assert told.returncode == 2, (command, told.stdout, told.stderr)
        assert "--bus" in told.stderr
    assert pf("queues", "flows/nothing.py").returncode == 3


def test_a_project_without_flows_says_how_to_name_one(pf: RunCommand) -> None:
    for command in (("queues",), ("dead-letters", "retry", "4f2a")):
        done = pf(*command, env={"PENGUIFLOW_BUS": "redis://127.0.0.1:1"})
        assert (done.returncode, done.stdout) == (2, "")
        assert "no flow is loaded here" in done.stderr
        assert "--target" in done.stderr


def test_another_flow_of_that_name(server: BusServer, add_flow: AddFlow, pf: RunCommand) -> None:
    source = ORDERS.replace('"price"', '"rank"')
    add_flow("other", source)
    there = {"PENGUIFLOW_BUS": server.url}

    async def occupy() -> None:
        bus = open_bus(server.url)
        await bus.open("rank", ["OpenSea->b", "b->c"])
        await bus.close()

    asyncio.run(occupy())
    foreign = pf("queues", env=there)
    assert foreign.returncode == 2
    assert "another flow" in foreign.stderr


def test_workers_that_told_of_themselves(flow: str, pf: RunCommand, project: Path) -> None:
    assert "pf worker TARGET" in pf("workers").stderr

    async def tell() -> None:
        store = SQLiteStateStore(project / ".penguiflow" / "state.db")
        for name, nodes, state in (("w-one", ["price", "ship"], "running"), ("w-two", ["ship"], "ended")):
            about = {"slots": dict.fromkeys(nodes, 2), "under_way": 1, "done": 12, "redelivered": 3}
            await store.save_worker(
                WorkerRow(name, "price", "box", 7, nodes, 1.0, 0.0, alive=state != "ended", state=state, about=about)
            )
        await store.close()

    asyncio.run(tell())
    listed = pf("workers", flow, "--bus", "redis://nowhere.invalid")
    assert listed.returncode == 0, listed.stderr
    first = listed.stdout.splitlines()[1].split()
    assert first[:8] == ["w-one", "price", "box", "7", "running", "4", "1", "12"]
    found = json.loads(pf("workers", "--json").stdout)["workers"]
    assert [(each["worker_id"], each["alive"], each["about"]["redelivered"]) for each in found] == [
        ("w-one", True, 3),
        ("w-two", False, 3),
    ]


def test_watching_says_what_changes(valkey_server: BusServer, flow: str, project: Path) -> None:
    put(valkey_server.url, messages=0, dead=0)
    command = [sys.executable, "-m", "playground", "queues", flow, "--watch", "--json", "--bus", valkey_server.url]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None

        def next_waiting() -> int:
            assert process.stdout is not None
            waiting: int = json.loads(process.stdout.readline())["edges"][0]["waiting"]
            return waiting

        before = next_waiting()
        put(valkey_server.url, messages=2, dead=0)
        while (now := next_waiting()) < before + 2:
            pass
        assert now == before + 2
        process.terminate()


def test_all_letters_are_asked_about_at_a_terminal(
    valkey_server: BusServer, add_flow: AddFlow, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENGUIFLOW_BUS", valkey_server.url)
    add_flow("orders", ORDERS.replace('"price"', '"asked"'))

    async def bury() -> None:
        bus: Any = open_bus(valkey_server.url, Limits(max_deliveries=1))
        await bus.open("asked", ["OpenSea->asked", "asked->ship"])
        await bus.put("OpenSea->asked", BusMessage("t/m", b"{}\n{}"))
        [delivery] = await bus.get("OpenSea->asked")
        await bus.dead_letter(delivery, "poison")
        await bus.close()

    asyncio.run(bury())
    with Terminal([sys.executable, "-m", "playground", "dead-letters", "drop", "--all"], cwd=project) as terminal:
        terminal.until_shown("Forget for good 1 dead letter of OpenSea->asked (1)? [y/N]", timeout=60)
        terminal.press(b"n\r")
        terminal.until_shown("nothing was changed", timeout=60)
    with Terminal([sys.executable, "-m", "playground", "dead-letters", "drop", "--all"], cwd=project) as terminal:
        terminal.until_shown("[y/N]", timeout=60)
        terminal.press(b"y\r")
        terminal.until_shown("dropped t/m on OpenSea->asked", timeout=60)
