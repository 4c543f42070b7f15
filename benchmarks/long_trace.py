"""A trace of a million events: to write it, to read a page from its middle, to look at it with `pf inspect`.

.venv/bin/python benchmarks/long_trace.py [--events 1000000] [--runs 5]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from penguiflow.observer import Payload
from penguiflow.state import SQLiteStateStore

PAGE = 200
LOOP = 7
"""Events of one round."""


async def write(path: Path, events: int, *, needle: str = "nothing") -> float:
    """A loop of five nodes that stream, with a retry at its end; returns the seconds it took."""
    begun = time.perf_counter()
    store = SQLiteStateStore(path)
    log = store.recorder(name="loop").open("long")
    for number in range(events // LOOP):
        name = f"node{number % 5}"
        message = {"message_id": f"{number:016x}"}
        payload = Payload({"text": "the quick brown fox", "number": number, "tags": ["a", "b"]})
        log.event("message.enqueued", f"x->{name}", log.root, {**message, "payload": payload, "meta": {}})
        log.event("message.dequeued", f"x->{name}", log.root, message)
        node = log.start("node", name, log.root, message)
        attempt = log.start("attempt", name, node, {"attempt": 0})
        log.end("attempt", name, attempt, node, "ok", {"latency_ms": 0.0123})
        log.event("stream.chunk", "s", node, {"stream_id": "s", "chunk_seq": number, "text": "hello", "done": False})
        log.end("node", name, node, log.root, "ok")
        if store.congested:
            await store.wait_ready()
    log.event("node.retry", "node0", log.root, {"attempt": 1, "sleep_s": 0.0, "error": {"message": needle}})
    log.close("ok")
    await store.close()
    return time.perf_counter() - begun


async def page_ms(path: Path, events: int, runs: int) -> list[float]:
    """Milliseconds for pages from the middle, each of a store that was just opened."""
    found = []
    for run in range(runs):
        store = SQLiteStateStore(path, read_only=True)
        begun = time.perf_counter()
        page = await store.load_events("long", after=events // 2 + run * 1000, limit=PAGE)
        found.append((time.perf_counter() - begun) * 1e3)
        assert len(page) == PAGE
        await store.close()
    return found


def inspect(folder: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and MB of `pf inspect last`, from the start of the process to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    environment = {**os.environ, "PENGUIFLOW_HOME": str(folder)}
    command = [sys.executable, "-m", "playground", "inspect", "last"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, after.ru_maxrss / 1024


def main() -> None:
    """Write the trace, measure, print."""
    parser = argparse.ArgumentParser(description="What a long trace costs.")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "state.db")
        took = asyncio.run(write(path, options.events))
        size = path.stat().st_size
        print(f"{options.events:,} events written in {took:.1f} s; {size / 1e6:.0f} MB")
        pages = asyncio.run(page_ms(path, options.events, options.runs))
        print(f"{PAGE} events from the middle: {statistics.median(pages):.1f} ms (at most {max(pages):.1f})")
        looks = [inspect(Path(name)) for _ in range(options.runs)]
        wall, cpu, memory = ([look[index] for look in looks] for index in range(3))
        print(
            f"pf inspect: {statistics.median(wall):.2f} s ({min(wall):.2f} to {max(wall):.2f}), "
            f"{statistics.median(cpu):.2f} s of CPU, {max(memory):.0f} MB"
        )


if __name__ == "__main__":
    main()
