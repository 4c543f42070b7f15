"""Key to repaint in the dashboard, idle and while a node blocks the event loop of its host with `time.sleep(5)`.

Run with the environment's Python: `python benchmarks/key_latency.py`. Keys are typed into a pty; a key counts as
answered when the row that it moves to is drawn. Exit code 1 when the p99 is more than three times that of the idle
dashboard in the same run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.first_paint import MODULES, make_project
from benchmarks.terminal import PF, Terminal, quantile

MAX_RATIO = 3.0
KEYS = 100
GAP_S = 0.04
SLEEPER = '''"""Blocks its event loop."""

from __future__ import annotations

import time

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, create


class Rest(BaseModel):
    seconds: float = 5.0


async def doze(message: Rest, ctx: Context) -> Rest:
    time.sleep(message.seconds)
    return message


registry = ModelRegistry()
registry.register("doze", Rest, Rest)
flow = create(Node(doze).to())
'''


def type_keys(terminal: Terminal, count: int, deadline: float) -> list[float]:
    """Move down and up the list of flows; seconds from each key to the row it moves to."""
    waits: list[float] = []
    for number in range(count):
        row = number % (2 * (MODULES - 1))
        down = row < MODULES - 1
        target = row + 1 if down else 2 * (MODULES - 1) - row - 1
        if time.perf_counter() > deadline:
            break
        terminal.settle(GAP_S, GAP_S)
        start = len(terminal.output)
        pressed = time.perf_counter()
        terminal.press(b"j" if down else b"k")
        needle = f"zflow{target}".encode()
        while needle not in terminal.output[start:]:
            terminal.read(1.0)
            if time.perf_counter() - pressed > 10:
                raise TimeoutError("a key was not answered")
        waits.append(time.perf_counter() - pressed)
    return waits


def main() -> int:
    """Print p50 and p99 of both, and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_project(folder)
        (folder / "flows" / "asleep.py").write_text(SLEEPER)
        with Terminal([PF, "tui"], cwd=folder, size=(120, 40)) as terminal:
            terminal.until("asleep", *(f"zflow{number}" for number in range(MODULES)))
            # Two quiet seconds: what the dashboard does once after its start is over.
            terminal.settle(3.0, 4.0)
            terminal.press(b"j")
            idle = type_keys(terminal, KEYS, time.perf_counter() + 60)
            terminal.press(b"g")
            terminal.settle(0.3, 1.0)
            start = len(terminal.output)
            terminal.press(b"rj")
            terminal.until("blocked", start=start)
            blocked = type_keys(terminal, KEYS, time.perf_counter() + 3.5)
            where = "asleep.py:" in terminal.text(start)
    ratio = quantile(blocked, 0.99) / quantile(idle, 0.99)
    for label, values in (("idle", idle), ("blocked", blocked)):
        p50, p99 = quantile(values, 0.5) * 1000, quantile(values, 0.99) * 1000
        print(f"{label:<8} {len(values):3} keys  p50 {p50:5.1f} ms  p99 {p99:5.1f} ms")
    print(f"p99 ratio {ratio:.2f}  limit {MAX_RATIO:.1f}  place of the block shown: {'yes' if where else 'no'}")
    return 0 if ratio <= MAX_RATIO and where else 1


if __name__ == "__main__":
    sys.exit(main())
