"""What recording costs: against the best that the same bytes could cost, in the same run.

    .venv/bin/python benchmarks/store.py [--messages 4000] [--rounds 5]

Each message is one trace of a chain of five nodes, as the runtime reports it. The first lines are the answer:

- `recording switched on`: events per second of the recorder and the SQLite store, from the first event to the flush,
  and how much that is of a bare group-commit writer: a thread that is handed each of the same events as JSON, as it
  happens, and commits a row for each in groups. The second line says the same of nodes that wait for something, so that
  each of their events is written for itself; others are one record for each node. Wall times say little on a machine
  that has other things to do, CPU times more;
- `recording switched off`: the CPU time of a message through a flow that was recorded before and is not any more,
  against the same flow that never was; `A/A` are two of the latter.

Behind them, in rounds that take turns:

- `one by one`: the bare group-commit writer;
- `in bulk`: the same, handed a trace at a time;
- `as stored`: the same, handed the very rows that the store makes of a trace, ready-made: what SQLite itself costs;
- `store`: the recorder and the SQLite store, from the first event to the flush;
- `waiting`: as `store`, of nodes that wait;
- `recorder`: the recorder alone, with a sink that takes events and drops them: what the loop's thread pays;
- `streams`: as `store`, of traces in which one node sends 250 chunks to somebody who waits for them.

Ratios hold where the machine is busy; absolute figures do not.
"""

from __future__ import annotations

import argparse
import asyncio
import queue
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.observer import TraceRecorder
from penguiflow.recording import EventRecord, Recorder
from penguiflow.recording.lines import event_line
from penguiflow.state import SQLiteStateStore
from penguiflow.state.chunks import pack
from penguiflow.state.traces import TraceQuery

NODES = 5
CHUNKS = 250
"""Of a stream."""
LINGER_S = 0.02
GROUP = 4_000
"""Rows of a commit."""

NAMES = [f"node{index}" for index in range(NODES)]
EDGES = [f"{source}->{target}" for source, target in pairwise(["OpenSea", *NAMES, "Rookery"])]
MESSAGE_ID = "0123456789abcdef"
NODE_ID = MESSAGE_ID * 2
HEADERS = Headers(tenant="acme")
BARE = "a bare group-commit writer given the same rows and bytes"
OURS = ("recorder", "reported", "store", "waiting", "streams")
IN_FLIGHT = 64
"""Messages in the flow at once, where one runs."""

Row = tuple[int, int, bytes]
"""Trace, seq and what is stored."""


class Body(BaseModel):
    """A payload of three fields."""

    text: str
    number: int
    tags: list[str]


class Cost(NamedTuple):
    """Of one round."""

    wall_s: float
    loop_cpu_s: float
    """CPU of the thread that reports the events."""
    cpu_s: float


class Stored(NamedTuple):
    """How it went with the store."""

    reported: Cost
    """Until the last event is reported."""
    committed: Cost
    """Until all is committed."""
    kept: int
    """Events that are in the file."""
    dropped: int


class Drop:
    """A sink that keeps nothing."""

    def write(self, record: EventRecord) -> None:
        """Take one event."""


class Keep:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        """Take one event."""
        self.records.append(record)


def record_message(recorder: TraceRecorder, number: int, prefix: str, *, waits: bool = False) -> None:
    """Report one message's way through the chain; `waits`: each node waits for something."""
    trace_id = f"{prefix}-{number:024d}"
    log = recorder.open(trace_id)
    body = Body(text="the quick brown fox", number=number, tags=["a", "b"])
    envelope = Message(payload=body, headers=HEADERS, trace_id=trace_id)
    message_id = MESSAGE_ID
    log.put(EDGES[0], log.root, message_id, body, envelope)
    for name, edge, following in zip(NAMES, EDGES[:-1], EDGES[1:], strict=True):
        hop = log.begin(edge, message_id, name, NODE_ID)
        if hop is not None and not waits:
            hop.done(following, message_id, body, envelope, given=False)
            continue
        if hop is not None:
            hop.settle()
            node, attempt = hop.span, hop.attempt_span
        else:
            node, attempt = log.taken(edge, log.root, message_id, name, NODE_ID)
        log.end("attempt", name, attempt, node, "ok", {"latency_ms": 0.0123})
        log.put(following, node, message_id, body, envelope)
        log.end("node", name, node, log.root, "ok")
    log.event("message.dequeued", EDGES[-1], log.root, {"message_id": message_id})
    log.close("ok")


def record_waiting(recorder: TraceRecorder, number: int, prefix: str) -> None:
    """The same of nodes that wait."""
    record_message(recorder, number, prefix, waits=True)


def record_stream(recorder: TraceRecorder, number: int, prefix: str) -> None:
    """Report one stream: three events for each chunk."""
    trace_id = f"{prefix}-{number:024d}"
    log = recorder.open(trace_id)
    node = log.start("node", "writer", log.root, {"message_id": "0123456789abcdef", "node_id": "0123456789abcdef" * 2})
    for chunk in range(CHUNKS):
        about = {"stream_id": trace_id, "chunk_seq": chunk}
        sent = {"message_id": f"{number:08x}{chunk:08x}", "source": "writer", "target": "Rookery"}
        log.event("stream.chunk", trace_id, node, {**about, "text": "token ", "done": False, "meta": {}})
        log.event("message.enqueued", "writer->Rookery", node, {**sent, **about})
        log.event("message.dequeued", "writer->Rookery", log.root, {"message_id": sent["message_id"]})
    log.end("node", "writer", node, log.root, "ok")
    log.close("ok")


def measured(work: Callable[[], Any]) -> Cost:
    """What it costs to do it; the caller's thread is the loop's."""
    wall, loop_cpu, cpu = time.perf_counter(), time.thread_time(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.thread_time() - loop_cpu, time.process_time() - cpu)


def run_recorder(messages: int) -> Cost:
    """The recorder alone."""
    recorder = Recorder(Drop())

    def work() -> None:
        for number in range(messages):
            record_message(recorder, number, "r")

    return measured(work)


async def run_store(
    messages: int, path: Path, report_one: Callable[[TraceRecorder, int, str], None] = record_message
) -> Stored:
    """The recorder and the store."""
    store = SQLiteStateStore(path)
    recorder = store.recorder()
    wall, loop_cpu, cpu = time.perf_counter(), time.thread_time(), time.process_time()

    def so_far() -> Cost:
        return Cost(time.perf_counter() - wall, time.thread_time() - loop_cpu, time.process_time() - cpu)

    for number in range(messages):
        report_one(recorder, number, "s")
        if recorder.congested:
            await recorder.wait_ready()
    reported = so_far()
    await store.flush()
    committed = so_far()
    kept = sum(trace.events for trace in await store.find_traces(TraceQuery(limit=messages + 1)))
    dropped = store.dropped
    await store.close()
    return Stored(reported, committed, kept, dropped)


def chain() -> PenguiFlow:
    """Five nodes that give on what they get."""

    async def give_on(message: Message, ctx: Context) -> Message:
        return message

    nodes = [Node(give_on, name=name, policy=NodePolicy(validate="none")) for name in NAMES]
    return create(*(node.to(following) for node, following in pairwise(nodes)), nodes[-1].to())


async def run_flow(messages: int, path: Path | None) -> float:
    """Microseconds of CPU a message, without a recorder; with a path, in a flow that was recorded there before."""
    flow = chain()

    async def send(number: int, count: int) -> None:
        for index in range(count):
            await flow.emit(Message(payload="x", headers=HEADERS, trace_id=f"{number}-{index}"))
            await flow.fetch()

    if path is not None:
        store = SQLiteStateStore(path)
        flow.run(state_store=store)
        await send(0, 100)
        await flow.stop()
        await store.close()
        flow.run(state_store=None)
    else:
        flow.run()
    await send(0, 100)
    begun = time.thread_time()
    await asyncio.gather(*(send(number, messages // IN_FLIGHT) for number in range(IN_FLIGHT)))
    taken = time.thread_time() - begun
    await flow.stop()
    return taken / (messages // IN_FLIGHT * IN_FLIGHT) * 1e6


def run_bare(items: list[list[Row]], path: Path) -> Cost:
    """A thread that commits rows in groups; each item is what it is handed at once."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"):
        connection.execute(statement)
    connection.execute("CREATE TABLE lines (id INTEGER PRIMARY KEY, trace INTEGER, seq INTEGER, data BLOB NOT NULL)")
    connection.execute("CREATE UNIQUE INDEX lines_seq ON lines (trace, seq)")
    waiting: queue.SimpleQueue[list[Row] | None] = queue.SimpleQueue()

    def gather() -> tuple[list[Row], bool]:
        group: list[Row] = []
        deadline = time.perf_counter() + LINGER_S
        while len(group) < GROUP:
            try:
                item = waiting.get(timeout=max(0.0, deadline - time.perf_counter())) if group else waiting.get()
            except queue.Empty:
                break
            if item is None:
                return group, True
            group += item
        return group, False

    def commit_groups() -> None:
        ended = False
        while not ended:
            group, ended = gather()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO lines (trace, seq, data) VALUES (?, ?, ?)", group)
            connection.execute("COMMIT")

    def work() -> None:
        thread = threading.Thread(target=commit_groups)
        thread.start()
        for item in items:
            waiting.put(item)
        waiting.put(None)
        thread.join()

    cost = measured(work)
    connection.close()
    return cost


def traces_of(messages: int) -> list[list[EventRecord]]:
    """The events that the recorder makes of them, one list a trace."""
    sink = Keep()
    recorder = Recorder(sink)
    traces = []
    for number in range(messages):
        sink.records = []
        record_message(recorder, number, "b")
        traces.append(sink.records)
    return traces


def main() -> None:
    """Run the rounds and print medians."""
    parser = argparse.ArgumentParser(description="What recording costs.")
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    traces = traces_of(options.messages)
    in_bulk = [[(number, record.seq, event_line(record)) for record in trace] for number, trace in enumerate(traces)]
    bare = {
        "one by one": [[row] for rows in in_bulk for row in rows],
        "in bulk": in_bulk,
        "as stored": [[(number, trace[-1].seq, pack(trace))] for number, trace in enumerate(traces)],
    }
    costs: dict[str, list[Cost]] = {name: [] for name in (*bare, *OURS)}
    grown, streamed, lost = [], [], 0
    off: dict[str, list[float]] = {"never": [], "never again": [], "off": []}
    events = sum(map(len, traces))
    streams = max(1, options.messages * len(traces[0]) // (3 * CHUNKS))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for name, items in bare.items():
                costs[name].append(run_bare(items, Path(folder, f"{name}{number}.db")))
            costs["recorder"].append(run_recorder(options.messages))
            path = Path(folder, f"store{number}.db")
            stored = asyncio.run(run_store(options.messages, path))
            costs["reported"].append(stored.reported)
            costs["store"].append(stored.committed)
            lost += max(stored.dropped, events - stored.kept)
            grown.append(path.stat().st_size)
            path = Path(folder, f"waiting{number}.db")
            costs["waiting"].append(asyncio.run(run_store(options.messages, path, record_waiting)).committed)
            path = Path(folder, f"streams{number}.db")
            costs["streams"].append(asyncio.run(run_store(streams, path, record_stream)).committed)
            streamed.append(path.stat().st_size)
            for name, figures in off.items():
                before = Path(folder, f"off{number}.db") if name == "off" else None
                figures.append(asyncio.run(run_flow(4 * options.messages, before)))
    size = sum(len(line) + 1 for rows in in_bulk for _, _, line in rows)
    answer(costs, off, events, lost)
    report(costs, list(bare), events, size, statistics.median(grown))
    report_streams(costs["streams"], streams * CHUNKS, statistics.median(streamed))


def answer(costs: dict[str, list[Cost]], off: dict[str, list[float]], events: int, lost: int) -> None:
    """Print what recording costs, switched on and switched off: medians of the rounds, and the extremes."""

    def told(ratios: list[float]) -> str:
        return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"

    def reached(name: str) -> str:
        pairs = list(zip(costs["one by one"], costs[name], strict=True))
        wall = told([bare.wall_s / ours.wall_s for bare, ours in pairs])
        return f"{wall} of {BARE}, by CPU time {told([bare.cpu_s / ours.cpu_s for bare, ours in pairs])}"

    def speed(name: str) -> str:
        return f"{events / statistics.median(cost.wall_s for cost in costs[name]):,.0f} events/s"

    print(f"recording switched on: {speed('store')}, {reached('store')}; {lost or 'none'} dropped")
    print(f"where every node waits: {speed('waiting')}, {reached('waiting')}")
    switched_off = [one / other for one, other in zip(off["off"], off["never"], strict=True)]
    same = [one / other for one, other in zip(off["never again"], off["never"], strict=True)]
    print(
        f"recording switched off: {statistics.median(off['off']):.1f} us of CPU a message, {told(switched_off)} of a "
        f"flow that was never recorded; A/A {told(same)}\n"
    )


def report(costs: dict[str, list[Cost]], bare: list[str], events: int, size: int, file_size: float) -> None:
    """Print medians and ratios."""

    def middle(name: str, field: str) -> float:
        return statistics.median([float(getattr(cost, field)) for cost in costs[name]])

    print(f"{events} events, {size / events:.0f} bytes an event, {len(costs['store'])} rounds")
    store = middle("store", "wall_s"), middle("store", "cpu_s")
    for name, title in (("store", "recorder and store"), ("waiting", "the same, nodes that wait")):
        wall, cpu = middle(name, "wall_s"), middle(name, "cpu_s")
        print(f"{title:<28}{events / wall:>10,.0f} events/s {cpu / events * 1e6:>7.2f} us CPU")
    for name in bare:
        wall, cpu = middle(name, "wall_s"), middle(name, "cpu_s")
        print(
            f"{'bare, ' + name:<28}{events / wall:>10,.0f} events/s {cpu / events * 1e6:>7.2f} us CPU"
            f"   recording reaches {wall / store[0]:.2f} of it"
        )
    alone, beside = middle("recorder", "loop_cpu_s"), middle("reported", "loop_cpu_s")
    print(
        f"loop's thread: {alone / events * 1e6:.2f} us an event alone, {beside / events * 1e6:.2f} us beside the writer"
    )
    print(f"file: {file_size / size:.2f} bytes for each byte of events as JSON")


def report_streams(costs: list[Cost], chunks: int, file_size: float) -> None:
    """Print medians."""
    wall, cpu = (statistics.median(figures) for figures in ((c.wall_s for c in costs), (c.cpu_s for c in costs)))
    events = 3 * chunks
    print(
        f"{'streams':<28}{events / wall:>10,.0f} events/s {cpu / events * 1e6:>7.2f} us CPU"
        f"   {file_size / chunks:.0f} bytes in the file for each chunk"
    )


if __name__ == "__main__":
    main()
