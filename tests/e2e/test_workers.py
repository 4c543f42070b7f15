"""`pf worker`: nodes of a flow in processes of their own, over real servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow.bus import open_bus
from tests.bus_servers import NatsServer, ValkeyServer

if TYPE_CHECKING:
    from tests.bus_servers import BusServer
    from tests.e2e.conftest import AddFlow, RunCommand

LIMIT_S = 120.0
ORDERS = """
    from __future__ import annotations

    import asyncio
    import os
    from pathlib import Path

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node, create


    class Order(BaseModel):
        n: int
        seen: list[str] = []


    async def price(order: Order, ctx) -> Order:
        return Order(n=order.n, seen=[*order.seen, f"price {os.getpid()}"])


    async def ship(order: Order, ctx) -> Order:
        if order.n < 0:
            Path(f"begun-{-order.n}").touch()
            while not Path("go-on").exists():
                await asyncio.sleep(0.01)
        print("shipped", order.n, flush=True)
        return Order(n=order.n, seen=[*order.seen, f"ship {os.getpid()}"])


    first, second = Node(price, name="price"), Node(ship, name="ship")
    flow = create(first.to(second), second.to())
    registry = ModelRegistry()
    registry.register("price", Order, Order)
    registry.register("ship", Order, Order)
"""
KEPT = """
    from penguiflow import Node, NodePolicy, create
    from penguiflow.state import InMemoryStateStore


    async def keep(message, ctx):
        return message


    flow = create(Node(keep, policy=NodePolicy(validate="none")).to(), state_store=InMemoryStateStore())
"""
CALLER = """
    import asyncio, json, os, sys

    from flows.orders import Order, flow, registry
    from penguiflow import Headers, Message
    from penguiflow.bus import open_bus
    from penguiflow.state.sqlite import SQLiteStateStore


    async def main():
        store = SQLiteStateStore(".penguiflow/state.db")
        flow.run(registry=registry, message_bus=open_bus(os.environ["PENGUIFLOW_BUS"]), state_store=store)
        try:
            for n in map(int, sys.argv[1:]):
                result = await flow.call(Message(payload=Order(n=n), headers=Headers(tenant="t")), timeout=110)
                print(json.dumps(result.payload.model_dump()), flush=True)
        finally:
            await flow.stop()
            await store.close()


    asyncio.run(main())
"""


class WorkerProcess:
    """A `pf worker` that takes messages."""

    def __init__(self, project: Path, *arguments: str, env: dict[str, str]) -> None:
        command = [sys.executable, "-m", "playground", "worker", "flows/orders.py", "--json", *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=project,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        """Of stderr."""
        assert self.process.stderr is not None
        self._reading = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reading.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.told()
        self.about: dict[str, Any] = json.loads(line)

    def _read(self, stream: Any) -> None:
        self.lines += stream  # a list is extended line by line

    def told(self) -> str:
        """All of stderr, once it is over."""
        self.process.wait(LIMIT_S)
        self._reading.join(LIMIT_S)
        return "".join(self.lines)

    def until_told(self, text: str) -> None:
        """Wait for a line of stderr."""
        until(lambda: any(text in line for line in self.lines), lambda: f"{text!r} in {self.lines}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Have it end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)

    def close(self) -> None:
        """Whatever it does."""
        self.process.kill()
        self.process.wait()
        self._reading.join(LIMIT_S)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def until(condition: Any, what: Any) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)


@contextmanager
def workers(project: Path, env: dict[str, str], *arguments: list[str]) -> Iterator[list[WorkerProcess]]:
    """Several, each with its own arguments."""
    started: list[WorkerProcess] = []
    try:
        for each in arguments:
            started.append(WorkerProcess(project, *each, env=env))
        yield started
    finally:
        for worker in started:
            worker.close()


@pytest.fixture
def caller(project: Path, add_flow: AddFlow, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts a program that calls the flow with these numbers, one after the other."""
    for name in ("PENGUIFLOW_BUS", "PENGUIFLOW_STORE"):
        monkeypatch.delenv(name, raising=False)
    add_flow("orders", ORDERS)
    add_flow("__init__", "")
    (project / ".penguiflow").mkdir()
    path = project / "call.py"
    path.write_text("\n".join(line[4:] for line in CALLER.splitlines()))

    def start(url: str, *numbers: int) -> subprocess.Popen[str]:
        here = {**os.environ, "PENGUIFLOW_BUS": url}
        command = [sys.executable, str(path), *map(str, numbers)]
        return subprocess.Popen(command, cwd=project, env=here, stdout=subprocess.PIPE, text=True)

    return start


def answers(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What the caller was answered."""
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(params=["nats", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[BusServer]:
    made = NatsServer() if request.param == "nats" else ValkeyServer()
    try:
        made.start()
        yield made
    finally:
        made.remove()


def test_workers_share_the_nodes_of_a_flow(server: BusServer, caller: Any, project: Path, pf: RunCommand) -> None:
    there = {"PENGUIFLOW_BUS": server.url}
    with workers(project, there, ["--nodes", "price"], ["--nodes", "ship", "--concurrency", "2"]) as (one, two):
        assert (one.about["flow"], one.about["nodes"], two.about["nodes"]) == ("price", ["price"], ["ship"])
        assert one.about["pid"] == one.process.pid
        got = answers(caller(server.url, 1, 2))
        pids = [f"price {one.process.pid}", f"ship {two.process.pid}"]
        assert got == [{"n": n, "seen": pids} for n in (1, 2)]
        consumers = [[one.about["worker_id"]], [two.about["worker_id"]]]

        def seen() -> list[list[str]]:
            edges = json.loads(pf("queues", "--json", env=there).stdout)["edges"]
            return [edge["workers"] for edge in edges]

        until(lambda: seen() == consumers, lambda: f"{seen()}, and not {consumers}")
        assert (one.end(), two.end(signal.SIGINT)) == (0, 0)
        assert "has ended: 2 done, 0 redelivered" in one.told()
        assert two.process.stdout is not None
        assert two.process.stdout.read().splitlines() == ["shipped 1", "shipped 2"]
    listed = json.loads(pf("workers", "flows/orders.py", "--json", env=there).stdout)["workers"]
    assert {each["state"] for each in listed} == {"ended"}
    assert [each["about"]["done"] for each in listed] == [2, 2]


def test_a_worker_finishes_what_it_has(server: BusServer, caller: Any, project: Path) -> None:
    with workers(project, {"PENGUIFLOW_BUS": server.url}, []) as (worker,):
        calling = caller(server.url, -1)
        until((project / "begun-1").exists, lambda: worker.lines)
        worker.process.send_signal(signal.SIGTERM)
        worker.until_told("draining, for at most 30 s")
        assert worker.process.poll() is None
        (project / "go-on").touch()
        assert answers(calling)[0]["n"] == -1
        assert worker.process.wait(LIMIT_S) == 0


def test_what_a_worker_gives_back_another_one_does(server: BusServer, caller: Any, project: Path) -> None:
    with workers(project, {"PENGUIFLOW_BUS": server.url}, ["--drain-s", "0"]) as (worker,):
        calling = caller(server.url, -1)
        until((project / "begun-1").exists, lambda: worker.lines)
        assert worker.end() == 0
    (project / "go-on").touch()
    with workers(project, {"PENGUIFLOW_BUS": server.url}, []) as (worker,):
        [answer] = answers(calling)
        assert f"ship {worker.process.pid}" in answer["seen"]


def test_a_second_signal_leaves_at_once(server: BusServer, caller: Any, project: Path) -> None:
    with workers(project, {"PENGUIFLOW_BUS": server.url}, ["--drain-s", "1000"]) as (worker,):
        calling = caller(server.url, -1)
        until((project / "begun-1").exists, lambda: worker.lines)
        worker.process.send_signal(signal.SIGINT)
        worker.until_told("draining, for at most 1000 s; once more leaves at once")
        assert worker.end(signal.SIGINT) == 130
        calling.kill()
        calling.communicate()


def test_a_server_that_goes_away_is_waited_for(server: BusServer, caller: Any, project: Path) -> None:
    with workers(project, {"PENGUIFLOW_BUS": server.url}, []) as (worker,):
        assert answers(caller(server.url, 1))[0]["n"] == 1
        server.kill()
        worker.until_told("is away")
        server.start()
        worker.until_told("answers again")
        assert answers(caller(server.url, 2))[0]["n"] == 2
        assert worker.end() == 0
        said = worker.told()
        # A machine that is slow for long is another absence.
        assert said.count("is away") == said.count("answers again") >= 1


def test_what_can_be_wrong_with_a_worker(server: BusServer, caller: Any, pf: RunCommand, add_flow: AddFlow) -> None:
    url, target = server.url, "flows/orders.py"
    add_flow("agent", "async def agent(text: str) -> str:\n    return text")
    add_flow("kept", KEPT)

    async def occupy() -> None:
        bus = open_bus(url)
        await bus.open("price", ["OpenSea->b", "b->c"])
        await bus.close()

    asyncio.run(occupy())
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = f"{'nats' if 'nats' in url else 'redis'}://ada:hunter22@127.0.0.1:{nobody.getsockname()[1]}"
        for arguments, code, said in (
            (["flows/none.py", "--bus", url], 3, "no such file: flows/none.py"),
            ([target], 2, "flows/orders.py has no bus"),
            ([target, "--bus", url], 2, "another flow"),
            ([target, "--bus", url, "--nodes", "price,shop"], 2, "no node named shop"),
            ([target, "--bus", url, "--nodes", ","], 2, "--nodes names none"),
            ([target, "--bus", url, "--concurrency", "0"], 2, "--concurrency must be at least 1"),
            ([target, "--bus", url, "--drain-s", "-1"], 2, "--drain-s must not be negative"),
            ([target, "--bus", "memory:"], 2, "in memory"),
            ([target, "--bus", "kafka://ada:hunter22@host"], 2, "'kafka://host' is no address of a bus"),
            ([target, "--bus", away], 2, "the connection is refused; is the server running?"),
            ([target, "--bus", url, "--store", "mysql://host"], 2, "is no address of a store"),
            ([target, "--bus", url, "--store", "memory:"], 2, "is no address of a store"),
            (["flows/agent.py:agent", "--bus", url], 2, "is a function: workers run the nodes of flows"),
            (["flows/kept.py", "--bus", url], 2, "the store of flows/kept.py is in memory"),
        ):
            told = pf("worker", *arguments)
            assert (told.returncode, said in told.stderr) == (code, True), (arguments, told.stderr)
            assert told.stdout == ""
            assert "Traceback" not in told.stderr
            assert "hunter22" not in told.stderr
        store = f"postgresql://ada:hunter22@{away.rpartition('@')[2]}/flows"
        told = pf("worker", target, "--bus", url, "--store", store)
        assert (told.returncode, told.stdout) == (5, "")
        assert told.stderr.startswith(f"pf: {store.replace(':hunter22', '')} cannot be reached: ")
        assert "Traceback" not in told.stderr


def test_a_wrong_password(guarded_server: BusServer, caller: Any, pf: RunCommand) -> None:
    right = guarded_server.url.split("@", maxsplit=1)[0].rpartition(":")[2]
    told = pf("worker", "flows/orders.py", "--bus", guarded_server.url.replace(right, "mistaken"))
    assert told.returncode == 2
    assert "does not let us in" in told.stderr
    assert "mistaken" not in told.stderr


@pytest.mark.parametrize(
    ("scheme", "greeting", "said"),
    [
        ("nats", b'INFO {"server_id":"x","version":"2.9.1","max_payload":1000,"jetstream":true}\r\n', "is NATS 2.9"),
        ("redis", b"", "is Redis 5.0.7"),
    ],
)
def test_a_server_that_is_too_old(scheme: str, greeting: bytes, said: str, caller: Any, pf: RunCommand) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_old, args=(listening, greeting), daemon=True).start()
        told = pf("worker", "flows/orders.py", "--bus", f"{scheme}://127.0.0.1:{listening.getsockname()[1]}")
    assert told.returncode == 2
    assert said in told.stderr


def _old(listening: socket.socket, greeting: bytes) -> None:
    """Says what servers of long ago said, until nobody listens any more."""
    about = b"redis_version:5.0.7\r\n"
    answers = {
        b"PING": b"PONG\r\n",
        b"INFO": b"$%d\r\n%b\r\n" % (len(about), about),
        b"CLIENT": b"+OK\r\n",
        b"HELLO": b"+OK\r\n",
    }
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            with client, client.makefile("rb") as lines, suppress(OSError):
                client.sendall(greeting)
                for line in lines:
                    client.sendall(answers.get(line.upper().strip(), b""))


def test_a_run_is_told_what_its_workers_do(server: BusServer, caller: Any, project: Path, pf: RunCommand) -> None:
    there = {"PENGUIFLOW_BUS": server.url}
    target, given = "flows/orders.py", ["--input", '{"n": 3}']
    with workers(project, there, ["--nodes", "price"], ["--nodes", "ship"]) as (one, two):
        ran = pf("run", target, *given, "--trace-id", "spread", env=there)
        assert ran.returncode == 0, ran.stderr
        pids = [f"price {one.process.pid}", f"ship {two.process.pid}"]
        assert json.loads(ran.stdout) == {"n": 3, "seen": pids}
        tree = pf("inspect", "spread").stdout
        assert one.about["worker_id"] in tree
        assert two.about["worker_id"] in tree
        kinds = [event["kind"] for event in json.loads(pf("inspect", "spread", "--json").stdout)["events"]]
        assert kinds[0] == "trace.start"
        assert kinds.count("trace.end") == 1
        assert (one.end(), two.end()) == (0, 0)
    # What goes on from a recording does that in a process of its own, where no worker is.
    replayed = pf("replay", "spread", "--json", env=there)
    assert json.loads(replayed.stdout)["status"] == "ok", replayed.stdout
    forked = pf("fork", "spread", "--at", "1", "--json", env=there)
    assert json.loads(forked.stdout)["status"] == "ok", forked.stdout
    command = [sys.executable, "-m", "playground", "run", target, *given]
    late = subprocess.Popen(command, cwd=project, env={**os.environ, **there}, stderr=subprocess.PIPE, text=True)
    try:
        assert late.stderr is not None
        said = "messages wait on OpenSea->price, and no worker consumes them: `pf worker flows/orders.py`"
        assert any(said in line for line in late.stderr)
        late.send_signal(signal.SIGINT)
        assert late.wait(LIMIT_S) == 130
    finally:
        late.kill()
        late.communicate()


def test_a_run_whose_bus_is_away(server: BusServer, caller: Any, pf: RunCommand) -> None:
    there = {"PENGUIFLOW_BUS": server.url}
    server.kill()
    away = pf("run", "flows/orders.py", "--input", '{"n": 3}', "--json", env=there)
    assert away.returncode == 1
    assert json.loads(away.stdout)["error"]["code"] == "BUS"
    assert "answers at" in away.stderr
    alone = pf("run", "flows/orders.py", "--input", '{"n": 3}', "--no-store", env=there)
    assert alone.returncode != 0
    assert "state store" in alone.stderr
    wrong = pf("run", "flows/orders.py", "--input", '{"n": 3}', "--bus", "kafka://ada:hunter22@host")
    assert wrong.returncode == 2
    assert "'kafka://host' is no address of a bus" in wrong.stderr
