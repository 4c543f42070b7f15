"""What recording costs: against the best that the same bytes could cost, in the same run.

    .venv/bin/python benchmarks/store.py [--messages 4000] [--rounds 5]

Each message is one trace of a chain of five nodes, as the runtime reports it. Compared, in rounds that take turns:

- `one by one`: a bare group-commit writer: a thread that is handed each event's JSON as it happens, and commits a row
  for each in groups;
- `in bulk`: the same, handed a trace at a time;
- `as stored`: the same, handed the very rows that the store makes of a trace, ready-made: what SQLite itself costs;
- `store`: the recorder and the SQLite store, from the first event to the flush;
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
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from penguiflow.observer import Payload, TraceRecorder
from penguiflow.recording import EventRecord, Recorder
from penguiflow.recording.lines import event_line
from penguiflow.state import SQLiteStateStore
from penguiflow.state.chunks import pack

NODES = 5
CHUNKS = 250
"""Of a stream."""
LINGER_S = 0.02
GROUP = 4_000
"""Rows of a commit."""

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


def record_message(recorder: TraceRecorder, number: int, prefix: str) -> None:
    """Report one message's way through the chain."""
    log = recorder.open(f"{prefix}-{number:024d}")
    root = log.root
    payload = Payload(Body(text="the quick brown fox", number=number, tags=["a", "b"]))
    names = ["OpenSea", *(f"node{index}" for index in range(NODES)), "Rookery"]

    def enqueue(edge: int, span: str) -> None:
        data: dict[str, Any] = {"message_id": "0123456789abcdef", "source": names[edge], "target": names[edge + 1]}
        data["payload"] = payload
        data["headers"] = {"tenant": "acme", "topic": None, "priority": 0}
        data["meta"] = {}
        data["deadline_s"] = None
        log.event("message.enqueued", f"{names[edge]}->{names[edge + 1]}", span, data)

    enqueue(0, root)
    for index in range(NODES):
        name = names[index + 1]
        log.event("message.dequeued", f"{names[index]}->{name}", root, {"message_id": "0123456789abcdef"})
        node = log.start("node", name, root, {"message_id": "0123456789abcdef", "node_id": "0123456789abcdef" * 2})
        attempt = log.start("attempt", name, node, {"attempt": 0})
        log.end("attempt", name, attempt, node, "ok", {"latency_ms": 0.0123})
        enqueue(index + 1, node)
        log.end("node", name, node, root, "ok")
    log.event("message.dequeued", f"{names[NODES]}->Rookery", root, {"message_id": "0123456789abcdef"})
    log.close("ok")


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
) -> tuple[Cost, Cost]:
    """The recorder and the store; (until the last event is reported, until all is committed)."""
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
    await store.close()
    return reported, committed


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
    costs: dict[str, list[Cost]] = {name: [] for name in (*bare, "recorder", "reported", "store", "streams")}
    grown, streamed = [], []
    streams = max(1, options.messages * len(traces[0]) // (3 * CHUNKS))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for name, items in bare.items():
                costs[name].append(run_bare(items, Path(folder, f"{name}{number}.db")))
            costs["recorder"].append(run_recorder(options.messages))
            path = Path(folder, f"store{number}.db")
            reported, committed = asyncio.run(run_store(options.messages, path))
            costs["reported"].append(reported)
            costs["store"].append(committed)
            grown.append(path.stat().st_size)
            path = Path(folder, f"streams{number}.db")
            costs["streams"].append(asyncio.run(run_store(streams, path, record_stream))[1])
            streamed.append(path.stat().st_size)
    size = sum(len(line) + 1 for rows in in_bulk for _, _, line in rows)
    report(costs, list(bare), sum(map(len, traces)), size, statistics.median(grown))
    report_streams(costs["streams"], streams * CHUNKS, statistics.median(streamed))


def report(costs: dict[str, list[Cost]], bare: list[str], events: int, size: int, file_size: float) -> None:
    """Print medians and ratios."""

    def middle(name: str, field: str) -> float:
        return statistics.median([float(getattr(cost, field)) for cost in costs[name]])

    print(f"{events} events, {size / events:.0f} bytes an event, {len(costs['store'])} rounds")
    store = middle("store", "wall_s"), middle("store", "cpu_s")
    print(f"{'recorder and store':<28}{events / store[0]:>10,.0f} events/s {store[1] / events * 1e6:>7.2f} us CPU")
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
