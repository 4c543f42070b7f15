"""Two traces of a million events each, compared by `pf diff`.

.venv/bin/python benchmarks/long_diff.py [--events 1000000] [--runs 3]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from penguiflow.observer import Payload
from penguiflow.state import SQLiteStateStore

LOOP = 7
"""Events of one round."""


async def write(path: Path, trace_id: str, events: int, *, changed: float = 0.0, ids: str = "") -> None:
    """A loop of five nodes that stream; a share of its rounds says something else."""
    store = SQLiteStateStore(path)
    log = store.recorder(name="loop").open(trace_id)
    every = round(1 / changed) if changed else 0
    for number in range(events // LOOP):
        name = f"node{number % 5}"
        message = {"message_id": f"{ids}{number:016x}"}
        other = every and number % every == every - 1
        text = "the quick brown cat" if other else "the quick brown fox"
        payload = Payload({"text": text, "number": number, "tags": ["a", "b"]})
        log.event("message.dequeued", f"x->{name}", log.root, message)
        node = log.start("node", name, log.root, message)
        attempt = log.start("attempt", name, node, {"attempt": 0})
        log.end("attempt", name, attempt, node, "ok", {"latency_ms": 0.0123})
        log.event("stream.chunk", "s", node, {"stream_id": "s", "chunk_seq": number, "text": "hello", "done": False})
        log.event("message.enqueued", f"{name}->x", node, {**message, "payload": payload, "meta": {}})
        log.end("node", name, node, log.root, "ok")
        if store.congested:
            await store.wait_ready()
    log.close("ok")
    await store.close()


def compare(folder: Path, a: str, b: str) -> tuple[float, float, float, str]:
    """Seconds, CPU seconds and MB of `pf diff`, from the start of the process to its end, and what it found."""
    environment = {**os.environ, "PENGUIFLOW_HOME": str(folder)}
    command = [sys.executable, "-m", "playground", "diff", a, b]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    found = next(line for line in told.splitlines() if "difference" in line)
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, found


def main() -> None:
    """Write the traces, compare, print."""
    parser = argparse.ArgumentParser(description="What comparing long traces costs.")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "state.db")
        asyncio.run(write(path, "one", options.events))
        asyncio.run(write(path, "equal", options.events))
        asyncio.run(write(path, "some", options.events, changed=0.001))
        asyncio.run(write(path, "all", options.events, changed=1.0, ids="o"))
        for title, other in (
            ("equal", "equal"),
            ("a thousandth of the messages changed", "some"),
            ("every message and every message id changed", "all"),
        ):
            runs = [compare(Path(name), "one", other) for _ in range(options.runs)]
            seconds, cpu, memory = [run[0] for run in runs], [run[1] for run in runs], [run[2] for run in runs]
            print(
                f"2 x {options.events:,} events, {title}: {statistics.median(seconds):.1f} s"
                f" ({min(seconds):.1f} to {max(seconds):.1f}), {statistics.median(cpu):.1f} s of CPU,"
                f" {max(memory):.0f} MB, {runs[0][3]!r}",
                flush=True,
            )


if __name__ == "__main__":
    main()
