"""What recording costs: against the best that the same bytes could cost, in the same run.

    .venv/bin/python benchmarks/store.py [--messages 4000] [--rounds 5]

Each message is one trace of a chain of five nodes, as the runtime reports it. Compared, in rounds that take turns:

- `bare`: a thread that commits the same lines in groups, one row a chunk, and knows nothing of traces;
- `rows`: the same with a row for each event, found by (trace, seq), as chunks are found by (trace, last seq);
- `store`: the recorder and the SQLite store, from the first event to the flush;
- `recorder`: the recorder alone, with a sink that takes events and drops them: what the loop's thread pays.

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

NODES = 5
LINGER_S = 0.02


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


async def run_store(messages: int, path: Path) -> tuple[Cost, Cost]:
    """The recorder and the store; (until the last event is reported, until all is committed)."""
    store = SQLiteStateStore(path)
    recorder = store.recorder()
    wall, loop_cpu, cpu = time.perf_counter(), time.thread_time(), time.process_time()

    def so_far() -> Cost:
        return Cost(time.perf_counter() - wall, time.thread_time() - loop_cpu, time.process_time() - cpu)

    for number in range(messages):
        record_message(recorder, number, "s")
        if recorder.congested:
            await recorder.wait_ready()
    reported = so_far()
    await store.flush()
    committed = so_far()
    await store.close()
    return reported, committed


def run_bare(chunks: list[list[bytes]], path: Path, *, row_per_event: bool = False) -> Cost:
    """A thread that commits the same lines in groups."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"):
        connection.execute(statement)
    connection.execute("CREATE TABLE lines (id INTEGER PRIMARY KEY, trace INTEGER, seq INTEGER, data BLOB NOT NULL)")
    connection.execute("CREATE UNIQUE INDEX lines_seq ON lines (trace, seq)")
    waiting: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
    traces = 0

    def rows_of(group: list[list[bytes]]) -> list[tuple[int, int, bytes]]:
        nonlocal traces
        rows = []
        for chunk in group:
            traces += 1
            if row_per_event:
                rows += [(traces, seq, line) for seq, line in enumerate(chunk)]
            else:
                rows.append((traces, len(chunk) - 1, b"\n".join(chunk)))
        return rows

    def commit_groups() -> None:
        while (first := waiting.get()) is not None:
            group = [first]
            deadline = time.perf_counter() + LINGER_S
            ended = False
            while len(group) < 200 and (rest := deadline - time.perf_counter()) > 0:
                try:
                    chunk = waiting.get(timeout=rest)
                except queue.Empty:
                    break
                if chunk is None:
                    ended = True
                    break
                group.append(chunk)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO lines (trace, seq, data) VALUES (?, ?, ?)", rows_of(group))
            connection.execute("COMMIT")
            if ended:
                return

    def work() -> None:
        thread = threading.Thread(target=commit_groups)
        thread.start()
        for chunk in chunks:
            waiting.put(chunk)
        waiting.put(None)
        thread.join()

    cost = measured(work)
    connection.close()
    return cost


def lines_of(messages: int) -> list[list[bytes]]:
    """The lines that the store writes for them, one list a trace."""
    sink = Keep()
    recorder = Recorder(sink)
    chunks = []
    for number in range(messages):
        sink.records = []
        record_message(recorder, number, "b")
        chunks.append([event_line(record) for record in sink.records])
    return chunks


def main() -> None:
    """Run the rounds and print medians."""
    parser = argparse.ArgumentParser(description="What recording costs.")
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    chunks = lines_of(options.messages)
    events = sum(map(len, chunks))
    size = sum(len(line) + 1 for chunk in chunks for line in chunk)
    bare, rows, alone, reported, committed, grown = [], [], [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            bare.append(run_bare(chunks, Path(folder, f"bare{number}.db")))
            rows.append(run_bare(chunks, Path(folder, f"rows{number}.db"), row_per_event=True))
            alone.append(run_recorder(options.messages))
            path = Path(folder, f"store{number}.db")
            costs = asyncio.run(run_store(options.messages, path))
            reported.append(costs[0])
            committed.append(costs[1])
            grown.append(path.stat().st_size)

    def middle(costs: list[Cost], field: str) -> float:
        return statistics.median([float(getattr(cost, field)) for cost in costs])

    def per_event(costs: list[Cost], field: str) -> float:
        return middle(costs, field) / events * 1e6

    store_s, bare_s = middle(committed, "wall_s"), middle(bare, "wall_s")
    file_size = statistics.median(grown)
    print(f"{options.messages} messages, {events} events, {size / events:.0f} bytes an event, {options.rounds} rounds")
    print(f"bare group commit      {events / bare_s:>10,.0f} events/s")
    rows_s = middle(rows, "wall_s")
    print(f"  a row for each event {events / rows_s:>10,.0f} events/s   {rows_s / bare_s:.2f} x the bare time")
    print(f"recorder and store     {events / store_s:>10,.0f} events/s   {store_s / bare_s:.2f} x the bare time")
    print(f"CPU, bare              {per_event(bare, 'cpu_s'):>10.2f} us/event")
    print(
        f"  a row for each event {per_event(rows, 'cpu_s'):>10.2f} us/event   "
        f"{middle(rows, 'cpu_s') / middle(bare, 'cpu_s'):.2f} x bare"
    )
    print(
        f"CPU, recorder + store  {per_event(committed, 'cpu_s'):>10.2f} us/event   "
        f"{middle(committed, 'cpu_s') / middle(bare, 'cpu_s'):.2f} x bare"
    )
    print(f"loop's thread, alone   {per_event(alone, 'loop_cpu_s'):>10.2f} us/event")
    print(
        f"loop's thread, storing {per_event(reported, 'loop_cpu_s'):>10.2f} us/event   "
        f"{middle(reported, 'loop_cpu_s') / middle(alone, 'loop_cpu_s'):.2f} x the recorder alone"
    )
    print(f"file                   {file_size / size:>10.2f} bytes for each byte of events")


if __name__ == "__main__":
    main()
