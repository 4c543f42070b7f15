"""Every key of the panes in a real terminal, and what it brings about there."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from benchmarks.hands import (
    BACK_TAB,
    DOWN,
    END,
    ENTER,
    ESCAPE,
    F1,
    HOME,
    LEFT,
    PAGE_DOWN,
    PAGE_UP,
    RIGHT,
    TAB,
    UP,
    Hands,
    ctrl,
)
from benchmarks.terminal import PF

FLOW = '''"""Says something, fails once, and gives a lot."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, NodePolicy, create

tries = 0
with Path(__file__).with_name("loads").open("a") as file:
    file.write("+")


class Word(BaseModel):
    text: str = "quiet"
    tags: list[str] = ["one", "two"]


class Heap(BaseModel):
    text: str


async def says(value: Word, ctx: Context) -> Word:
    print("printed on the way")
    await ctx.emit_chunk(parent=ctx.message, text="**heavy** words", to=[], done=True)
    await ctx.emit_chunk(parent=ctx.message, text="other words", stream_id="aside", to=[], done=True)
    return value


async def shaky(value: Word, ctx: Context) -> Word:
    global tries
    tries += 1
    if tries % 2:
        raise ConnectionError("out of reach")
    return value


async def heaps(value: Word, ctx: Context) -> Heap:
    return Heap(text="x" * 4_200_000)


__flow__ = {"title": "Shaky", "samples": [{"text": "first"}]}
registry = ModelRegistry()
registry.register("says", Word, Word)
registry.register("shaky", Word, Word)
registry.register("heaps", Word, Heap)
one, two, three = Node(says), Node(shaky, policy=NodePolicy(max_retries=1, backoff_base=0.01)), Node(heaps)
flow = create(one.to(two), two.to(three), three.to())
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "keys"\nversion = "0"\n')
    (tmp_path / "shaky.py").write_text(FLOW)
    return tmp_path


@pytest.fixture
def hands(project: Path) -> Iterator[Hands]:
    with Hands([PF, "tui", "shaky.py"], cwd=project, size=(150, 44)) as terminal:
        terminal.until_shown("Shaky", "ready", "sample 1")
        yield terminal


def number(hands: Hands) -> int:
    """The event under the cursor."""
    found = re.match(r"\d+", hands.row())
    return int(found[0]) if found else -1


def goes(hands: Hands, keys: bytes, event: int) -> None:
    """Keys move the cursor to an event."""
    assert number(hands) != event
    hands.press(keys)
    hands.until_so(lambda: number(hands) == event, f"{keys!r} does not lead to event {event}")


def copied(hands: Hands) -> str:
    """What was put on the clipboard last."""
    found = re.findall(rb"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07", bytes(hands.output))
    return base64.b64decode(found[-1]).decode() if found else ""


def focused(hands: Hands) -> str:
    """The name of the pane with the heavy frame."""
    found = re.search(r"┏━ (\w+)", hands.screen())
    return "" if found is None else found[1]


def focuses(hands: Hands, keys: bytes, pane: str) -> None:
    """Keys give a pane the focus."""
    assert focused(hands) != pane
    hands.press(keys)
    hands.until_so(lambda: focused(hands) == pane, f"{keys!r} does not lead to {pane}")


def edges(hands: Hands) -> tuple[int, int]:
    """Where the lists end, and where the lower panes begin."""
    lines = hands.screen().split("\n")
    return hands.line("╭─ FLOWS").find("╮"), next((row for row, line in enumerate(lines) if "─ OUTPUT" in line), -1)


def leads_to(hands: Hands, expected: tuple[int, int]) -> bool:
    """Whether the lists and the lower panes end and begin there."""
    return edges(hands) == expected


def test_rows_are_walked_tabs_turned_and_places_opened(hands: Hands) -> None:
    hands.brings(b"r", "0 running", "✔ shaky")
    # Events have numbers: where the cursor is can be read.
    hands.brings(b"4]z", "[Events]", "esc unzoom")
    hands.moves(b"G", "trace.end")
    last = number(hands)
    for keys, event in ((b"g", 0), (b"j", 1), (DOWN, 2), (b"k", 1), (UP, 0), (END, last), (HOME, 0)):
        goes(hands, keys, event)
    # A page is what is in sight.
    hands.resize(150, 20)
    hands.until_so(lambda: len(hands.screen().split("\n")) == 20, "it stays as high as it was")
    hands.brings(b"5", "OUTPUT")
    hands.brings(b"4", "INSPECT")
    page, half = 15, 7
    for down, up, rows in ((PAGE_DOWN, PAGE_UP, page), (ctrl("f"), ctrl("b"), page), (ctrl("d"), ctrl("u"), half)):
        goes(hands, down, rows)
        goes(hands, up, 0)
    # Outward and inward again.
    hands.brings(b"z", "FLOWS")
    hands.moves(b"G", "trace.end")
    hands.brings(ENTER, "[Detail]", f"INSPECT event {last}")
    hands.brings(ESCAPE, "[Events]")
    hands.brings(b"[", "[Detail]")
    hands.brings(b"]", "[Events]")


def test_trees_are_folded(hands: Hands) -> None:
    hands.brings(b"r", "0 running", "✔ shaky")
    hands.moves(b"3gjj", "2 attempts")
    for fold, unfold in ((b"h", b"l"), (LEFT, RIGHT), (b" ", b" ")):
        hands.clears(fold, "attempt 2")
        hands.brings(unfold, "attempt 2")
    # In INSPECT everything at once.
    hands.moves(b"4g", "state")
    hands.brings(b"1", "sample 1")
    hands.moves(b"4gjjjj", "sample 1")
    hands.brings(b"*", "▾ sample 1")


def test_panes_are_walked_sized_and_zoomed(hands: Hands) -> None:
    hands.until_so(lambda: focused(hands) == "FLOWS", "FLOWS has no focus")
    names = ["FLOWS", "RUNS", "TRACE", "INSPECT", "OUTPUT"]
    for keys, pane in zip((b"2", b"3", b"4", b"5"), names[1:], strict=True):
        focuses(hands, keys, pane)
    focuses(hands, b"1", "FLOWS")
    for pane in (*names[1:], names[0]):
        focuses(hands, TAB, pane)
    for pane in (*reversed(names[1:]), names[0]):
        focuses(hands, BACK_TAB, pane)
    focuses(hands, b"3", "TRACE")
    focuses(hands, ESCAPE, "RUNS")
    wide, high = edges(hands)
    for keys, expected in (
        (b">", (wide + 2, high)),
        (b"<", (wide, high)),
        (b"+", (wide, high - 1)),
        (b"-", (wide, high)),
    ):
        assert edges(hands) != expected
        hands.press(keys)
        hands.until_so(partial(leads_to, hands, expected), f"{keys!r} does not lead to {expected}")
    hands.clears(b"z", "FLOWS", "OUTPUT")
    hands.brings(b"z", "FLOWS", "OUTPUT")


def test_what_is_shown_is_searched_copied_and_told_of(hands: Hands) -> None:
    hands.brings(b"r", "0 running", "✔ shaky")
    hands.brings(b"3g/", "search tree")
    hands.moves(b"attempt\r", "2 attempts")
    hands.moves(b"nn", "attempt 2")
    hands.moves(b"N", "attempt 1")
    hands.press(b"y")
    hands.until_so(lambda: "out of reach" in copied(hands), "nothing is copied")
    # A stream, as text and as it came; another one; what was printed.
    hands.brings(b"5", "┏━ OUTPUT")
    hands.brings(b"m", "**heavy** words")
    hands.clears(b"m", "**heavy**")
    hands.brings(RIGHT, "other words")
    hands.brings(b"]", "printed on the way")
    # An event that is too large to be decoded before somebody asks for it.
    hands.brings(b"4]", "[Events]")
    hands.brings(b"/kind:message.enqueued\r", "heaps->Rookery", "4 of 27")
    hands.moves(b"G", "heaps->Rookery")
    hands.brings(ENTER, "press D to decode all of it")
    hands.brings(b"D", "xxxxxxxx")
    # Help, twice named; and the commands.
    for keys in (b"?", F1):
        hands.brings(keys, "Everywhere", "DETAIL · keys")
        hands.clears(b"j", "What is selected: a flow")
        hands.brings(b"k", "What is selected: a flow")
        hands.clears(ESCAPE, "DETAIL · keys")
    for close in (b"q", b"?", F1, ENTER):
        hands.brings(b"?", "DETAIL · keys")
        hands.clears(close, "DETAIL · keys")
    for keys in (b":", ctrl("p")):
        hands.brings(keys, "Search for commands")
        hands.clears(ESCAPE, "Search for commands")


def test_code_is_run_and_loaded_again_and_the_newest_run_followed(hands: Hands, project: Path) -> None:
    hands.brings(b"r", "0 running", "✔ shaky")
    focuses(hands, b"2", "RUNS")
    hands.brings(ctrl("r"), "2 · following")
    # Who goes elsewhere in the list stays there; F goes on with what comes.
    hands.clears(b"G", "following")
    hands.brings(b"F", "following")
    assert focused(hands) == "RUNS"
    hands.changes(b"R", lambda: len((project / "loads").read_text()))
    hands.until_shown("ready")
    hands.press(ctrl("k"))
    hands.until_shown("neither silent nor blocked")
    hands.press(ctrl("c"))
    assert hands.wait(60.0) == 0
