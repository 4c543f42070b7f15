"""The workloads on burr: actions over a state, an application for each message over a graph that is built once."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from burr.core import ApplicationBuilder, Condition, State, action
from burr.core.action import streaming_action
from burr.core.graph import Graph, GraphBuilder
from burr.core.parallelism import MapStates
from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister
from burr.lifecycle import PostRunStepHookAsync, PreRunStepHookAsync

from benchmarks.runtime.drivers import measure_call_latency, measure_calls, measure_cancel, measure_crowd
from benchmarks.runtime.measure import (
    CHUNKS,
    FAN,
    HOPS,
    NODES,
    ROUNDS_IN_FLIGHT,
    ROUTES,
    Chunk,
    Nap,
    Payload,
    Run,
    payload,
)


def counted(run: Run) -> Any:
    """An action that does nothing but count itself."""

    @action(reads=["value"], writes=["value"])
    async def step(state: State) -> State:
        run.calls += 1
        return state.update(value=state["value"])

    return step


def graph_of(actions: Mapping[str, Any], *transitions: tuple[Any, ...]) -> Graph:
    """A graph of named actions."""
    return GraphBuilder().with_actions(**actions).with_transitions(*transitions).build()


def chain_of(run: Run, count: int = NODES) -> Graph:
    """A chain."""
    names = [f"node{index}" for index in range(count)]
    return graph_of({name: counted(run) for name in names}, *itertools.pairwise(names))


def application(graph: Graph, entry: str, value: Payload, *hooks: Any, **state: Any) -> Any:
    """An application that is about to handle one message."""
    builder = ApplicationBuilder().with_graph(graph).with_entrypoint(entry).with_state(value=value, **state)
    return (builder.with_hooks(*hooks) if hooks else builder).build()


def call_of(graph: Graph, entry: str, last: list[str], *hooks: Any, **state: Any) -> Callable[[int], Awaitable[Any]]:
    """Runs an application until one of the last actions is done."""

    async def call(number: int) -> Any:
        return await application(graph, entry, payload(number), *hooks, **state).arun(halt_after=last)

    return call


async def w1(run: Run) -> None:
    """A chain of five, 64 in flight."""
    await measure_calls(run, call_of(chain_of(run), "node0", [f"node{NODES - 1}"]), calls=NODES)


async def w1_one(run: Run) -> None:
    """A chain of five, one in flight."""
    await measure_call_latency(run, call_of(chain_of(run), "node0", [f"node{NODES - 1}"]), calls=NODES)


class FanOut(MapStates):
    """One action over 50 states."""

    def __init__(self, branch: Any) -> None:
        super().__init__()
        self._branch = branch

    def is_async(self) -> bool:
        """It is."""
        return True

    def action(self, state: State, inputs: dict[str, Any]) -> Any:
        """The branch."""
        return self._branch

    async def states(self, state: State, context: Any, inputs: dict[str, Any]) -> AsyncIterator[State]:
        """One for each branch."""
        for index in range(FAN):
            yield state.update(branch=index)

    async def reduce(self, state: State, states: AsyncIterator[State]) -> State:
        """The join."""
        results = [each["value"].number async for each in states]
        assert len(results) == FAN
        return state.update(results=results)

    @property
    def reads(self) -> list[str]:
        """What it reads."""
        return ["value"]

    @property
    def writes(self) -> list[str]:
        """What it writes."""
        return ["results"]


async def w2(run: Run) -> None:
    """One action, 50 in parallel, one action."""
    actions = {"source": counted(run), "fan": FanOut(counted(run)), "sink": counted(run)}
    graph = graph_of(actions, ("source", "fan"), ("fan", "sink"))
    await measure_calls(run, call_of(graph, "source", ["sink"]), calls=FAN + 2, in_flight=ROUNDS_IN_FLIGHT)


async def w3(run: Run) -> None:
    """A streaming action of 1,000 chunks."""

    @streaming_action(reads=["value"], writes=["value"])
    async def source(state: State) -> AsyncIterator[tuple[dict[str, Any], State | None]]:
        run.calls += 1
        for seq in range(CHUNKS):
            yield {"chunk": Chunk(stream_id="stream", seq=seq, text="token ", done=seq == CHUNKS - 1)}, None
        yield {"chunk": None}, state.update(value=state["value"])

    graph = graph_of({"source": source})

    async def drive(count: int) -> None:
        for number in range(count):
            started, chunks = time.perf_counter(), 0
            _, stream = await application(graph, "source", payload(number)).astream_result(halt_after=["source"])
            async for _ in stream:
                if not chunks:
                    run.latencies.append(time.perf_counter() - started)
                chunks += 1
            await stream.get()
            assert chunks >= CHUNKS

    await run.measure(drive, calls=1, smallest=4)


def _numbered(index: int) -> Condition:
    return Condition(["value"], lambda state: state["value"].number % ROUTES == index, name=f"route{index}")


async def w4(run: Run) -> None:
    """A transition with ten conditions."""

    @action(reads=["value"], writes=["value"])
    async def router(state: State) -> State:
        return state.update(value=state["value"])

    names = [f"branch{index}" for index in range(ROUTES)]
    transitions = [("router", name, _numbered(index)) for index, name in enumerate(names)]
    graph = graph_of({"router": router, **{name: counted(run) for name in names}}, *transitions)
    await measure_calls(run, call_of(graph, "router", names), calls=1)


async def w5(run: Run) -> None:
    """An action that goes to itself until it has gone 20 rounds."""

    @action(reads=["hops"], writes=["hops"])
    async def controller(state: State) -> State:
        run.calls += 1
        return state.update(hops=state["hops"] + 1)

    @action(reads=["hops"], writes=["hops"])
    async def answer(state: State) -> State:
        return state.update(hops=state["hops"])

    again = Condition(["hops"], lambda state: state["hops"] < HOPS, name="again")
    graph = graph_of(
        {"controller": controller, "answer": answer},
        ("controller", "controller", again),
        ("controller", "answer"),
    )

    async def call(number: int) -> Any:
        waiting = application(graph, "controller", payload(number), hops=0)
        return await waiting.arun(halt_before=["answer"])

    await measure_calls(run, call, calls=HOPS)


def _napping() -> Callable[[int, Nap], Awaitable[Any]]:
    naps: list[Nap] = []

    @action(reads=["value"], writes=["value"])
    async def sleeper(state: State) -> State:
        await naps[-1]()
        return state.update(value=state["value"])

    call_application = call_of(graph_of({"sleeper": sleeper}), "sleeper", ["sleeper"])

    async def call(number: int, nap: Nap) -> None:
        naps[:] = [nap]
        await call_application(number)

    return call


async def w6(run: Run) -> None:
    """10,000 applications whose action sleeps."""
    await measure_crowd(run, _napping())


async def w7(run: Run) -> None:
    """Cancel one of 1,000 applications."""
    await measure_cancel(run, _napping())


class Listener(PreRunStepHookAsync, PostRunStepHookAsync):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.events = 0

    async def pre_run_step(self, **told: Any) -> None:
        """An action begins."""
        self.events += 1

    async def post_run_step(self, **told: Any) -> None:
        """An action ends."""
        self.events += 1


async def w8(run: Run) -> None:
    """The chain, with hooks around each action."""
    await measure_calls(run, call_of(chain_of(run), "node0", [f"node{NODES - 1}"], Listener()), calls=NODES)


async def w9(run: Run) -> None:
    """The chain, with the state in SQLite after each action."""
    with tempfile.TemporaryDirectory() as folder:
        persister = await AsyncSQLitePersister.from_values(db_path=str(Path(folder, "state.db")))
        await persister.connection.execute("PRAGMA journal_mode = WAL")
        await persister.connection.execute("PRAGMA synchronous = NORMAL")
        await persister.initialize()
        graph = chain_of(run)

        async def call(number: int) -> Any:
            builder = ApplicationBuilder().with_graph(graph).with_entrypoint("node0")
            builder = builder.with_state(value=payload(number).model_dump()).with_state_persister(persister)
            built = await builder.abuild()
            return await built.arun(halt_after=[f"node{NODES - 1}"])

        await measure_calls(run, call, calls=NODES)
        await persister.close()


async def w12(run: Run) -> None:
    """An action that runs an application of two actions."""
    inner = call_of(chain_of(run, 2), "node0", ["node1"])

    @action(reads=["value"], writes=["value"])
    async def caller(state: State) -> State:
        run.calls += 1
        await inner(state["value"].number)
        return state.update(value=state["value"])

    await measure_calls(run, call_of(graph_of({"caller": caller}), "caller", ["caller"]), calls=3)


WORKLOADS = {
    "W1": w1, "W1.one": w1_one, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W7": w7, "W8": w8, "W9": w9,
    "W12": w12,
}  # fmt: skip
