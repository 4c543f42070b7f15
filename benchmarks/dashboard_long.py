"""A recorded trace of a million events in `pf tui`: to open it, scroll, filter, search, and go back in time in it.

.venv/bin/python -m benchmarks.dashboard_long [--events 1000000]

Keys are typed into a pty, and what they ask for counts as there when it is drawn. What is looked for stands at the very
end of the trace. The same keys on a short trace are measured beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.dashboard_load import status
from benchmarks.long_trace import write
from benchmarks.terminal import PF, Terminal, quantile

NEEDLE = "needle 4711"
PAGES = 40
SIZE = (120, 40)


def typed(terminal: Terminal, keys: bytes, *needles: str, also: tuple[str, ...] = (), timeout: float = 60.0) -> float:
    """Seconds from keys to one of these texts, and all of those in `also`."""
    start = len(terminal.output)
    pressed = time.perf_counter()
    terminal.press(keys)
    while True:
        text = terminal.text(start)
        if any(needle in text for needle in needles) and all(needle in text for needle in also):
            break
        terminal.read(0.05)
        if time.perf_counter() - pressed > timeout:
            raise TimeoutError(f"none of {needles}:\n{terminal.screen()}")
    return time.perf_counter() - pressed


def scroll(terminal: Terminal) -> list[float]:
    """Seconds of each page down until something is drawn."""
    waits = []
    for _ in range(PAGES):
        terminal.settle(0.05, 0.2)
        pressed = time.perf_counter()
        terminal.press(b"\x06")
        while not terminal.read(5.0):
            pass
        waits.append(time.perf_counter() - pressed)
    return waits


def jumps(terminal: Terminal, events: int) -> list[tuple[str, float, str]]:
    """Seconds from a key of the timeline until the bar, the tree and its spans are those of that moment."""

    def landed(keys: bytes, place: int) -> float:
        return typed(terminal, keys, f"{place:,} events", also=(f"{place:,} of {events:,}",))

    terminal.press(b",")
    terminal.until_shown("TIMELINE", f"{events:,} of {events:,}")
    terminal.settle(0.5, 2.0)
    tenth = events // 10
    back = [landed(b"\x1b[5~", events - tenth * number) for number in range(1, 10)]
    forward = [landed(b"\x1b[6~", events - tenth * number) for number in range(8, 0, -1)]
    place = events - tenth
    steps = [landed(b"\x1b[D", place - number) for number in range(1, 21)]
    landed(b"\x1b[F", events)
    terminal.press(b",")
    terminal.settle(0.5, 2.0)
    return [
        ("timeline: a tenth back, p50", quantile(back, 0.5), f"worst {max(back) * 1e3:.0f} ms"),
        ("timeline: a tenth forward, p50", quantile(forward, 0.5), f"worst {max(forward) * 1e3:.0f} ms"),
        ("timeline: one event back, p50", quantile(steps, 0.5), f"worst {max(steps) * 1e3:.0f} ms"),
    ]


def look(folder: Path, events: int) -> list[tuple[str, float, str]]:
    """What was done, the seconds, and what the issue of it was."""
    told: list[tuple[str, float, str]] = []
    with Terminal([PF, "tui"], cwd=folder, size=SIZE) as terminal:
        terminal.until_shown("long")
        terminal.press(b"2")
        terminal.settle(1.0, 2.0)
        pressed = time.perf_counter()
        told.append(("open: the tree is drawn", typed(terminal, b"\r", "node4"), ""))
        terminal.until_shown(f"{events:,} events", timeout=120)
        told.append(("open: all events are there", time.perf_counter() - pressed, ""))
        terminal.until_shown(f"{events // 7 * 2 + 1:,} spans", timeout=120)
        told.append(("open: the tree is whole", time.perf_counter() - pressed, ""))
        terminal.settle(2.5, 3.0)
        while "new here?" in terminal.screen():
            # The notice stands where some of what is waited for will be.
            terminal.read(0.2)
        terminal.press(b"3")
        terminal.settle(0.5, 1.0)
        told += jumps(terminal, events)
        terminal.press(b"4]")
        terminal.until_shown("Events")
        terminal.settle(0.5, 1.0)
        pages = scroll(terminal)
        told.append(("events: a page down, p50", quantile(pages, 0.5), f"p99 {quantile(pages, 0.99) * 1e3:.0f} ms"))
        told.append(("events: go to the last", typed(terminal, b"G", f"{events - 1} trace.end"), ""))
        terminal.press(b"g")
        for name, text in (("text", NEEDLE), ("kind", "kind:node.retry"), ("expression", "/needle [0-9]{4}/")):
            terminal.press(b"/")
            terminal.settle(0.2, 0.5)
            took = typed(terminal, text.encode(), "1 of " + f"{events:,}", timeout=60)
            told.append((f"events: filter by {name}, to its only hit", took, ""))
            terminal.press(b"\x1b")
            terminal.settle(0.5, 1.0)
        terminal.press(b"/")
        terminal.settle(0.2, 0.5)
        progress = typed(terminal, b"/zz[0-9]/", "looked at", "0 of")
        told.append(("events: an expression, to a hit or progress", progress, ""))
        told.append(("events: it is cancelled", typed(terminal, b"\x1b", f"1 of {events:,}"), ""))
        terminal.settle(0.5, 1.0)
        terminal.press(b"3g")
        terminal.settle(0.5, 1.0)
        terminal.press(b"/")
        terminal.settle(0.2, 0.5)
        terminal.press(b"zzz")
        terminal.settle(0.2, 0.5)
        start, pressed = len(terminal.output), time.perf_counter()
        told.append(("tree: a search, to a hit or progress", typed(terminal, b"\r", "searching", "is not here"), ""))
        terminal.until("zzz is not here", start=start)
        told.append(("tree: a search through all of it", time.perf_counter() - pressed, ""))
        terminal.settle(2.0, 10.0)
        told.append(("memory at most, MB", status(terminal.process.pid, "VmHWM"), ""))
        terminal.press(b"q")
        terminal.wait(30)
    return told


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    options = parser.parse_args()
    results = []
    for wanted in (1000, options.events):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "pyproject.toml").write_text('[project]\nname = "long"\nversion = "0"\n')
            (folder / "flows").mkdir()
            (folder / ".penguiflow").mkdir()
            path = folder / ".penguiflow" / "state.db"
            asyncio.run(write(path, wanted, needle=NEEDLE))
            events = wanted // 7 * 7 + 3
            results.append((events, look(folder, events)))
    short, long = results
    print(f"{'':<46} {short[0]:>12,} {long[0]:>12,} events")
    for (name, little, note), (_, much, more) in zip(short[1], long[1], strict=True):
        memory = name.endswith("MB")
        first, second = (f"{value:.0f} MB" if memory else f"{value * 1e3:.0f} ms" for value in (little, much))
        print(f"{name.removesuffix(', MB'):<46} {first:>12} {second:>12}  {note} {more}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
