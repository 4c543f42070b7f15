"""Key to screen while a flow emits thousands of events a second, beside an idle dashboard and beside stock widgets.

.venv/bin/python -m benchmarks.dashboard_load [--seconds 60] [--rounds 3] [--rates 5000,20000] [--no-stock]

A flow passes messages on and streams 2,000 chunks a second into a real `pf tui` in a pty, recorded in its store, while
keys move the cursor in the list of flows; a key counts as answered when the row that it moves to is drawn. Beside it
stands a Textual app of stock widgets (a `RichLog` and a `Tree`) that a host feeds with the same events. Medians of the
rounds are printed, with the frames that were not drawn, the memory, and what the store has of what was sent.
Exit code 1 when an event is missing; times are printed, not judged.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.first_paint import MODULES, make_project
from benchmarks.terminal import PF, Terminal, quantile
from penguiflow.state.chunks import unpack

CHUNKS = 2000
"""A second."""
EVENTS_PER_HOP = 6
GAP_S = 0.1
FRAMES = 20
"""A second, drawn by `pf tui`."""
SIZE = (120, 40)
STORM = '''"""Emits events: {rate} a second and {chunks} chunks a second, for {seconds} seconds."""

from __future__ import annotations

import asyncio
import time

from pydantic import BaseModel

from penguiflow import Context, Message, Headers, ModelRegistry, Node, create


class Leaf(BaseModel):
    text: str


class Calm(BaseModel):
    hops: int = 0
    chunks: int = 0


pumped: list[int] = []


async def blow(message: Message, ctx: Context) -> Message:
    begun = time.perf_counter()
    chunks = 0
    while (passed := time.perf_counter() - begun) < {seconds} or not pumped:
        while chunks < passed * {chunks}:
            await ctx.emit_chunk(parent=message, text="word " if chunks % 12 else "word\\n")
            chunks += 1
        await asyncio.sleep(0.005)
    await ctx.emit_chunk(parent=message, text="", done=True)
    return message.model_copy(update={{"payload": Calm(hops=pumped.pop(), chunks=chunks + 1)}})


async def pump(message: Message, ctx: Context) -> None:
    begun = time.perf_counter()
    hops = 0
    while (passed := time.perf_counter() - begun) < {seconds}:
        while hops < passed * {rate} / {per_hop}:
            await ctx.emit(message.model_copy(update={{"payload": Leaf(text=f"the quick brown fox {{hops}}")}}))
            hops += 1
        await asyncio.sleep(0.005)
    pumped.append(hops)


async def catch(message: Message, ctx: Context) -> None:
    return None


blower, pumper, leaf = Node(blow), Node(pump), Node(catch, name="leaf")
flow = create(blower.to(), pumper.to(leaf), leaf.to(), queue_maxsize=256)
registry = ModelRegistry()
registry.register("blow", Message, Message)
registry.register("leaf", Message, Message)
registry.register("pump", Message, Message)
__flow__ = {{"title": "storm", "samples": [{{}}]}}
'''


class Round(NamedTuple):
    """One dashboard, and what it did."""

    waits: list[float]
    """Seconds from each key to its row."""
    missed: float
    """Share of the frames that were not drawn."""
    peak_mb: float
    cpu: float
    """Seconds of CPU of the dashboard for each second."""


def make_storm(folder: Path, rate: int, seconds: float) -> None:
    """A project with ten flows to walk through, and one that emits."""
    make_project(folder)
    text = STORM.format(rate=rate, chunks=CHUNKS, seconds=seconds, per_hop=EVENTS_PER_HOP)
    (folder / "flows" / "storm.py").write_text(text)


def status(pid: int, field: str) -> float:
    """A figure of a process, in MB."""
    found = re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def press_keys(terminal: Terminal, seconds: float) -> tuple[list[float], int]:
    """Move up and down the list of flows; seconds from each key to its row, and the bursts that were drawn."""
    waits: list[float] = []
    deadline = time.perf_counter() + seconds
    number = bursts = 0
    last = 0.0
    # The storm's own row is the first one.
    down = True
    row = 0
    while time.perf_counter() < deadline:
        pause = time.perf_counter() + GAP_S
        while (left := pause - time.perf_counter()) > 0:
            if terminal.read(left):
                now = time.perf_counter()
                bursts += now - last > 0.5 / FRAMES
                last = now
        if row == MODULES - 1:
            down = False
        elif row == 0:
            down = True
        row += 1 if down else -1
        start = len(terminal.output)
        pressed = time.perf_counter()
        terminal.press(b"j" if down else b"k")
        needle = f"zflow{row}".encode()
        while needle not in terminal.output[start:]:
            if terminal.read(1.0):
                now = time.perf_counter()
                bursts += now - last > 0.5 / FRAMES
                last = now
            if time.perf_counter() - pressed > 10:
                raise TimeoutError(f"key {number} was not answered:\n{terminal.screen()}")
        waits.append(time.perf_counter() - pressed)
        number += 1
    return waits, bursts


def dashboard(folder: Path, seconds: float, *, storm: bool) -> Round:
    """Keys in a dashboard, while the storm goes on or while nothing happens."""
    with Terminal([PF, "tui"], cwd=folder, size=SIZE) as terminal:
        terminal.until("storm", *(f"zflow{number}" for number in range(MODULES)))
        terminal.settle(3.0, 4.0)
        if storm:
            terminal.press(b"r")
            terminal.until("leaf")
            terminal.press(b"1")
        terminal.press(b"j")
        terminal.settle(0.5, 0.5)
        pid = terminal.process.pid
        before, begun = cpu_seconds(pid), time.perf_counter()
        waits, bursts = press_keys(terminal, seconds - 2.0)
        took = time.perf_counter() - begun
        used = (cpu_seconds(pid) - before) / took
        if storm:
            terminal.press(b"g")
            wait_for_end(folder)
        peak = status(pid, "VmHWM")
        terminal.press(b"q")
        terminal.wait(30)
    return Round(waits, max(0.0, 1 - bursts / (took * FRAMES)), peak, used)


def stock(folder: Path, seconds: float) -> Round:
    """The same keys in an app of stock widgets that the same host feeds."""
    command = [sys.executable, "-m", "benchmarks.stock_widgets"]
    root = str(Path(__file__).resolve().parents[1])
    with Terminal(command, cwd=folder, size=SIZE, env={"PYTHONPATH": root}) as terminal:
        terminal.until("storm", *(f"zflow{number}" for number in range(MODULES)))
        terminal.settle(1.0, 2.0)
        terminal.press(b"r")
        terminal.until("leaf")
        terminal.press(b"j")
        terminal.settle(0.5, 0.5)
        pid = terminal.process.pid
        before, begun = cpu_seconds(pid), time.perf_counter()
        try:
            waits, bursts = press_keys(terminal, seconds - 2.0)
        except TimeoutError:
            waits, bursts = [10.0], 0
        took = time.perf_counter() - begun
        used = (cpu_seconds(pid) - before) / took
        peak = status(pid, "VmHWM")
    return Round(waits, max(0.0, 1 - bursts / (took * FRAMES)), peak, used)


def wait_for_end(folder: Path) -> None:
    """Until the newest trace is over in the store."""
    deadline = time.perf_counter() + 120
    while time.perf_counter() < deadline:
        with sqlite3.connect(folder / ".penguiflow" / "state.db") as connection:
            row = connection.execute("SELECT status FROM traces ORDER BY id DESC LIMIT 1").fetchone()
        if row is not None and row[0] != "running":
            return
        time.sleep(0.2)
    raise TimeoutError("the run did not end")


def stored(folder: Path) -> tuple[int, list[str]]:
    """How many events the store has of the newest trace, and what is wrong with them."""
    wrong = []
    with sqlite3.connect(folder / ".penguiflow" / "state.db") as connection:
        trace, events, status_, output = connection.execute(
            "SELECT id, events, status, output FROM traces ORDER BY id DESC LIMIT 1"
        ).fetchone()
        chunks = leaves = seq = 0
        for first, last, data in connection.execute(
            "SELECT first_seq, last_seq, data FROM event_chunks WHERE trace = ? ORDER BY last_seq", (trace,)
        ):
            chunk = unpack(data)
            if first != seq or last - first + 1 != len(chunk.kinds):
                wrong.append(f"a gap at {seq}")
            seq = last + 1
            chunks += chunk.kinds.count("stream.chunk")
            leaves += sum(
                kind == "node.end" and name == "leaf" for kind, name in zip(chunk.kinds, chunk.names, strict=True)
            )
    if status_ != "ok" or seq != events:
        wrong.append(f"{status_}, {seq} of {events} events")
    told = re.search(r'"hops":\s*(\d+),\s*"chunks":\s*(\d+)', output or "")
    if told is None or (int(told[1]), int(told[2])) != (leaves, chunks):
        wrong.append(f"{leaves} hops and {chunks} chunks stored, but sent: {output}")
    return seq, wrong


def line(name: str, rounds: Sequence[Round]) -> str:
    """Medians of the rounds."""
    p50, p99 = (statistics.median(quantile(each.waits, share) for each in rounds) * 1000 for share in (0.5, 0.99))
    keys = sum(len(each.waits) for each in rounds)
    missed = statistics.median(each.missed for each in rounds)
    peak = max(each.peak_mb for each in rounds)
    cpu = statistics.median(each.cpu for each in rounds)
    return (
        f"{name:<24} {keys:5} keys  p50 {p50:6.1f} ms  p99 {p99:7.1f} ms  frames missed {missed:4.0%}"
        f"  CPU {cpu:4.0%}  at most {peak:4.0f} MB"
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rates", default="5000,20000")
    parser.add_argument("--no-stock", action="store_true")
    options = parser.parse_args()
    missing = False
    for rate in (int(text) for text in options.rates.split(",")):
        results: dict[str, list[Round]] = {"idle": [], f"{rate:,} events/s": [], f"stock, {rate:,} events/s": []}
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                make_storm(folder, rate, options.seconds)
                subprocess.run([PF, "graph", "flows/storm.py"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
                results["idle"].append(dashboard(folder, min(options.seconds, 15.0), storm=False))
                results[f"{rate:,} events/s"].append(dashboard(folder, options.seconds, storm=True))
                events, wrong = stored(folder)
                missing = missing or bool(wrong)
                print(
                    f"stored: {events:,} events ({events / options.seconds:,.0f} a second); {wrong or 'none missing'}"
                )
                if not options.no_stock:
                    results[f"stock, {rate:,} events/s"].append(stock(folder, min(options.seconds, 20.0)))
        for title, rounds in results.items():
            if rounds:
                print(line(title, rounds))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
