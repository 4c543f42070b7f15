"""Forms, editors and screens of their own in a real terminal: every key of each, and what comes of it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from benchmarks.hands import (
    BACK_TAB,
    BACKSPACE,
    DOWN,
    END,
    ENTER,
    ESCAPE,
    F1,
    F5,
    LEFT,
    TAB,
    UP,
    Hands,
    ctrl,
)
from benchmarks.terminal import PF

FLOW = '''"""Says it louder."""

from __future__ import annotations

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node, create


class Word(BaseModel):
    text: str
    times: int = 1


async def first(value: Word, ctx) -> Word:
    return value


async def louder(value: Word, ctx) -> Word:
    return Word(text=value.text.upper() * value.times)


__flow__ = {"title": "Louder", "samples": [{"text": "quiet"}]}
registry = ModelRegistry()
for name in ("first", "louder"):
    registry.register(name, Word, Word)
one, two = Node(first), Node(louder)
flow = create(one.to(two), two.to())
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "forms"\nversion = "0"\n')
    (tmp_path / "louder.py").write_text(FLOW)
    return tmp_path


def copied(hands: Hands) -> str:
    """What was put on the clipboard last."""
    found = re.findall(rb"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07", bytes(hands.output))
    return base64.b64decode(found[-1]).decode() if found else ""


def test_the_form_of_a_flow_and_that_of_a_breakpoint(project: Path) -> None:
    with Hands([PF, "tui", "louder.py"], cwd=project, size=(150, 44)) as hands:
        hands.until_shown("Louder", "ready", "sample 1")
        # The form of a flow: fields, more of them, left and taken up again, run by either key.
        hands.brings(ENTER, "headers and more", "times")
        hands.clears(END + BACKSPACE * 5, "quiet  ")
        hands.brings(b"hush", "hush")
        hands.brings(TAB + b"2", "┃  2 ")
        hands.brings(BACK_TAB + END + b"!", "hush!")
        hands.brings(ctrl("o"), "session")
        hands.clears(ESCAPE, "hush!")
        hands.brings(ENTER, "hush!")
        hands.brings(ctrl("r"), "0 running", "✔ louder")
        hands.brings(b"3g", 'text: "HUSH!HUSH!"')
        hands.brings(b"1" + ENTER, "headers and more")
        hands.brings(END + BACKSPACE * 5 + b"well", "well")
        hands.brings(F5, "2 · following")
        hands.brings(b"3g", 'text: "WELLWELL"')
        # The form of a breakpoint: a place, a condition, once, everywhere; left, and set by either key.
        hands.brings(b"1B", "node louder", "each error")
        hands.clears(ESCAPE, "each error")
        hands.brings(b"B", "node louder", "each error")
        hands.press(DOWN * 2 + UP)
        hands.brings(TAB + b'text == "x', "✖ column")
        hands.brings(b'"', "✔ it can be read")
        hands.brings(TAB + b" ", "stops once, and is then off")
        hands.brings(TAB + b" ", "in every flow of the project")
        hands.brings(BACK_TAB + b" ", "stops every time")
        hands.brings(ctrl("s"), "breakpoint at node louder")
        hands.brings(b"5]]", "[Breakpoints]", 'text == "x"')
        # `e` changes it; Enter on a box sets it, as everywhere in the form.
        hands.brings(b"e", "Change a breakpoint")
        hands.press(TAB)
        hands.clears(ENTER, "Change a breakpoint")


def test_the_editor(project: Path) -> None:
    editor = project / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i s/other/elsewhere/ "$1"\n')
    editor.chmod(0o755)
    with Hands([PF, "tui", "louder.py"], cwd=project, size=(150, 44), env={"VISUAL": str(editor)}) as hands:
        hands.until_shown("Louder", "ready", "sample 1")
        hands.brings(b"S", "stopped   ⏸ before node first")
        hands.brings(b"e", "edit before node first", "fits the schema · unchanged")
        hands.brings(DOWN + END + LEFT + BACKSPACE * 7 + b'"other"', "fits the schema · changed")
        hands.brings(ctrl("z"), "a value is missing")
        hands.brings(ctrl("y"), "· changed")
        hands.brings(ctrl("d"), '+   "text": "other"')
        hands.clears(ctrl("d"), '+   "text": "other"')
        hands.brings(ctrl("o"), '"text": "elsewhere"')
        hands.brings(ctrl("s"), "✎ edited")
        hands.brings(b"c", "0 running", "✔ louder")


def test_statistics_and_help(project: Path) -> None:
    with Hands([PF, "tui", "louder.py"], cwd=project, size=(150, 44)) as hands:
        hands.until_shown("Louder", "ready", "sample 1")
        hands.brings(b"r", "0 running", "✔ louder")
        hands.brings(b"%", "STATISTICS louder", "node first")
        hands.changes(b"t", lambda: hands.line("STATISTICS"))
        hands.changes(b"s", hands.screen)
        hands.press(b"y")
        hands.until_so(lambda: '"louder"' in copied(hands), "nothing is copied")
        for keys in (b"?", F1):
            hands.brings(keys, "Everywhere")
            hands.clears(ESCAPE, "Everywhere")
        for keys in (b"q", b"%", ESCAPE):
            hands.clears(keys, "STATISTICS")
            hands.brings(b"%", "STATISTICS")


def test_jumps_copies_and_zoomed_time(project: Path) -> None:
    with Hands([PF, "tui", "louder.py"], cwd=project, size=(150, 44)) as hands:
        hands.until_shown("Louder", "ready", "sample 1")
        hands.brings(b"r", "0 running", "✔ louder")
        for close in (ESCAPE, ctrl("o")):
            hands.brings(ctrl("o"), " f  Waterfall")
            hands.clears(close, " f  Waterfall")
        hands.brings(ctrl("o"), " f  Waterfall")
        hands.brings(b"f", "[Waterfall]")
        hands.changes(b"i", hands.screen)
        hands.changes(b"U", hands.screen)
        hands.brings(b"3Y", "COPY")
        for keys in (b"q", b"Y", ESCAPE):
            hands.clears(keys, "COPY")
            hands.brings(b"Y", "COPY")
        hands.press(DOWN * 2 + UP + ENTER)
        hands.until_so(lambda: copied(hands), "nothing is copied")
