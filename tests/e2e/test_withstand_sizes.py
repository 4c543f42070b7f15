"""Every screen in a terminal of 40x10, and while the terminal changes its size all the time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from benchmarks.hands import DOWN, ESCAPE, F1, HOME, PAGE_DOWN, PAGE_UP, RIGHT, TAB, UP, ctrl

if TYPE_CHECKING:
    from tests.e2e.conftest import Opened, Steady

FLOW = """
from __future__ import annotations

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, create


class Word(BaseModel):
    text: str


async def first(word: Word, ctx: Context) -> Word:
    return word


async def last(word: Word, ctx: Context) -> Word:
    return Word(text="heard " + word.text)


__flow__ = {"title": "Heard", "samples": [{"text": "well"}]}
registry = ModelRegistry()
for name in ("first", "last"):
    registry.register(name, Word, Word)
one, two = Node(first), Node(last)
flow = create(one.to(two), two.to())
"""


@pytest.fixture
def project(project: Path) -> Path:
    (project / "heard.py").write_text(FLOW)
    return project


def leaves(terminal: Steady, needle: str) -> None:
    """Escape takes a screen away; what follows it at once would be another key."""
    terminal.press(ESCAPE)
    terminal.wait_for(lambda: needle not in terminal.screen(), f"{needle} does not go away")
    terminal.is_whole()


def ran(terminal: Steady) -> None:
    """One more run of the flow, to its end."""
    before = terminal.run_shown[0]
    terminal.press(b"1gr")
    terminal.shown(b"3", "TRACE")
    terminal.wait_for(lambda: terminal.run_shown[0] not in {"", before}, "no run")
    terminal.ends("✔")


def test_chat_in_a_terminal_of_40_by_10(opened: Opened) -> None:
    with opened("heard.py", size=(40, 10)) as terminal:
        terminal.until_shown("heard")
        terminal.shown(b"w", "chat heard", "say something")
        terminal.shown(b"one", " one")
        terminal.shown(b"\r", "heard one", "✔")
        terminal.shown(b"two", " two")
        terminal.shown(b"\r", "heard two")
        terminal.shown(PAGE_UP * 3, "you ")
        terminal.shown(PAGE_DOWN * 3, "heard two")
        terminal.shown(UP + UP, " one")
        terminal.shown(TAB, "┏━ CHAT")
        terminal.opens(F1, "keys")
        leaves(terminal, "chat heard")
        terminal.leave()


def test_a_stop_and_the_editor_in_a_terminal_of_40_by_10(opened: Opened) -> None:
    with opened("heard.py", size=(40, 10)) as terminal:
        terminal.until_shown("heard")
        terminal.shown(b"1S", "1 stopped")
        terminal.shown(b"4g", "INSPECT", "stopped   ⏸ before")
        terminal.shown(b"e", "edit before node first", '"text": "well"', "unchanged")
        terminal.shown(DOWN + HOME + RIGHT * 9 + b"very ", '"very well"', "changed")
        terminal.shown(ctrl("d"), '+   "text": "very well"')
        terminal.shown(ctrl("d"), "changed")
        # What completes is in sight too, wherever the cursor is.
        terminal.press(ctrl("@"))
        terminal.is_whole()
        terminal.press(ESCAPE)
        terminal.shown(ctrl("s"), "edited")
        terminal.press(b"c")
        terminal.shown(b"3", "TRACE")
        terminal.ends("✔")
        terminal.shown(b"1gB", "Breakpoint")
        leaves(terminal, "Breakpoint")
        terminal.leave()


def test_a_comparison_and_the_timeline_in_a_terminal_of_40_by_10(opened: Opened) -> None:
    with opened("heard.py", size=(40, 10)) as terminal:
        terminal.until_shown("heard")
        ran(terminal)
        ran(terminal)
        terminal.shown(b"2gdjd", "diff", "DIFFERENCES")
        for keys in (b"n", b"N", b"a", b"]", b"[", TAB, b"]", TAB):
            terminal.press(keys)
        terminal.answers("keys")
        leaves(terminal, "DIFFERENCES")
        terminal.shown(b"3,", "TIMELINE")
        for keys in (b"0", b"n", b"l", b"$"):
            terminal.press(keys)
        terminal.answers("keys")
        leaves(terminal, "TIMELINE")
        terminal.shown(b"3gp", "REPLAY")
        leaves(terminal, "REPLAY")
        terminal.shown(ctrl("t"), "TOUR ")
        terminal.leave()


class Place(NamedTuple):
    """A screen, how it is come to and left, and what is typed there meanwhile."""

    needle: str
    opens: bytes
    typed: tuple[bytes, ...]
    leaves: bytes = ESCAPE
    """Pressed until it is gone."""


PLACES = {
    "chat": Place("◆ chat", b"3w", (b"x", PAGE_UP, TAB, PAGE_DOWN, UP, TAB, b"y")),
    "editor": Place("fork", b"3gf", (b"x", DOWN, ctrl("d"), PAGE_DOWN, ctrl("d"), ctrl("z"), b"[")),
    "comparison": Place("◆ diff", b"2gdjd", (b"n", b"]", TAB, b"a", b"G", b"[", b"N")),
    "timeline": Place("TIMELINE", b"3,", (b"0", b"n", b" ", b"l", b"+", b"$", b"h")),
    "form": Place("run heard", b"1g\r", (b"x", TAB, ctrl("o"), TAB, b"y", TAB)),
    "statistics": Place("STATISTICS", b"1%", (b"t", b"s", DOWN, b"t")),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_storm_of_sizes_while_a_screen_is_open(opened: Opened, name: str) -> None:
    place, sizes = PLACES[name], random.Random(name)
    with opened("heard.py") as terminal:
        terminal.until_shown("heard", "ready")
        ran(terminal)
        ran(terminal)
        terminal.shown(place.opens, place.needle)
        for number in range(100):
            terminal.resize(sizes.randint(1, 200), sizes.randint(1, 60))
            if number % 5 == 0:
                terminal.press(place.typed[number // 5 % len(place.typed)])
                terminal.read_all(0.02)
        terminal.resize(120, 40)
        terminal.until_shown(place.needle)
        terminal.is_whole()
        while place.needle in terminal.screen():
            terminal.press(place.leaves)
            # Escape once more at once would be one key with it; a text that has changed is asked about once.
            terminal.settle(0.2, 2.0)
        terminal.until_shown("FLOWS", "RUNS", "TRACE", "INSPECT", "OUTPUT")
        terminal.visit()
        terminal.leave()
