"""Time travel in a real terminal, key by key: the timeline, the comparison, files, and runs that go on."""

from __future__ import annotations

import base64
import re
import subprocess
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
    HOME,
    LEFT,
    PAGE_DOWN,
    PAGE_UP,
    RIGHT,
    TAB,
    Hands,
    ctrl,
)
from benchmarks.terminal import PF

SAVE = ctrl("s")
LIMIT_S = 60.0

FLOW = '''"""Asks outside, and gives up once when it is told to."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, NodePolicy, create

tries = 0


class Word(BaseModel):
    text: str


async def asks(value: Word, ctx: Context) -> Word:
    async def outside(text: str) -> str:
        return text + " answered"

    return Word(text=await ctx.record("outside", outside, value.text))


async def shaky(value: Word, ctx: Context) -> Word:
    global tries
    tries += 1
    if tries == 1:
        raise ConnectionError("out of reach")
    if Path("die").exists():
        Path("die").unlink()
        os._exit(1)
    return value


async def last(value: Word, ctx: Context) -> Word:
    return Word(text=value.text.upper())


__flow__ = {"title": "Travels", "samples": [{"text": "quiet"}]}
registry = ModelRegistry()
for name in ("asks", "shaky", "last"):
    registry.register(name, Word, Word)
one, two, three = Node(asks), Node(shaky, policy=NodePolicy(max_retries=1, backoff_base=0.01)), Node(last)
flow = create(one.to(two), two.to(three), three.to())
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_in(tmp_path / "here")


def project_in(folder: Path) -> Path:
    """A project with the flow."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "travels"\nversion = "0"\n')
    (folder / "travels.py").write_text(FLOW)
    return folder


def position(hands: Hands) -> int:
    """How many events have happened at the moment that the timeline shows."""
    found = re.search(r"(\d+) of \d+ · ", hands.screen())
    return -1 if found is None else int(found[1])


def copied(hands: Hands) -> str:
    """What was put on the clipboard last."""
    found = re.findall(rb"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07", bytes(hands.output))
    return base64.b64decode(found[-1]).decode() if found else ""


def stands(hands: Hands, keys: bytes, place: int) -> None:
    """Keys bring the timeline to a moment."""
    assert position(hands) != place
    hands.press(keys)
    hands.until_so(lambda: position(hands) == place, f"{keys!r} does not lead to {place}")


def test_the_timeline_is_walked_by_every_key_of_its(project: Path) -> None:
    with Hands([PF, "tui", "travels.py"], cwd=project, size=(150, 44)) as hands:
        hands.until_shown("Travels", "ready", "sample 1")
        hands.brings(b"r", "0 running", "✔ travels")
        hands.brings(b"3,", "TIMELINE", "trace.end")
        hands.until_so(lambda: position(hands) > 0, "there is no timeline")
        whole = position(hands)
        tenth = whole // 10
        for back, forth in ((b"0", b"$"), (HOME, END)):
            stands(hands, back, 0)
            stands(hands, forth, whole)
        for back, forth in ((LEFT, RIGHT), (b"h", b"l")):
            stands(hands, back, whole - 1)
            stands(hands, forth, whole)
        stands(hands, PAGE_UP, whole - tenth)
        stands(hands, PAGE_DOWN, whole)
        # The attempt that failed; every node; no decision.
        stands(hands, b"0", 0)
        hands.changes(b"e", lambda: position(hands))
        hands.until_shown("✖ attempt 1")
        failed = position(hands)
        stands(hands, b"0", 0)
        hands.brings(b"n", "node.start asks")
        hands.brings(b"n", "node.start shaky")
        hands.brings(b"N", "node.start asks")
        stands(hands, b"$", whole)
        stands(hands, b"E", failed)
        # Nothing was decided here; whatever stops is found both ways.
        hands.brings(b"c", "no decision or stop after")
        hands.brings(b"C", "no decision or stop before")
        hands.brings(b"g", "go to event")
        hands.clears(ESCAPE, "go to event")
        hands.brings(b"g", "go to event")
        stands(hands, b"3" + ENTER, 4)
        # Every pane is at the moment: of the nodes only the first has begun.
        assert "last" not in hands.screen().split("INSPECT")[0].split("TRACE")[1]
        hands.brings(b"+", " 2x")
        hands.brings(b"-", " 1x")
        hands.brings(b"-", " 0.5x")
        hands.brings(b"++++++++ ", "trace.end")
        for keys in (b"?", F1):
            hands.brings(keys, "TIMELINE · keys")
            hands.clears(ESCAPE, "TIMELINE · keys")
        hands.clears(ESCAPE, "TIMELINE")


def test_runs_are_forked_compared_replayed_and_resumed(project: Path, tmp_path: Path) -> None:
    there = project_in(tmp_path / "there")
    for command in (
        ["run", "travels.py", "-i", '{"text": "from there"}'],
        ["export", "last", str(project / "in.pftrace")],
    ):
        subprocess.run([str(PF), *command], cwd=there, check=True, capture_output=True, timeout=120)
    with Hands([PF, "tui", "travels.py"], cwd=project, size=(150, 44)) as hands:
        hands.until_shown("Travels", "ready", "sample 1")
        hands.brings(b"r", "0 running", "✔ travels")
        # A run of somebody else.
        hands.brings(b"I", "take in the run of this file")
        hands.clears(ESCAPE, "take in the run of this file")
        hands.brings(b"I", "take in the run of this file")
        hands.changes(b"in.pftrace" + ENTER, lambda: len(re.findall("✔ [0-9a-f]{4}", hands.screen())))
        hands.brings(b"3g", 'text: "from there"')
        # A fork with something changed, its origin, and both beside each other.
        hands.brings(b"f", "fork", "ctrl+s applies", '"text": "from there"')
        hands.brings(DOWN * 2 + END + LEFT + b"!", "· changed", '"from there!"')
        # The cursor may have gone along with the run, to its newest part.
        hands.brings(SAVE, "↳")
        hands.press(b"3g")
        hands.until_shown("a fork of", 'text: "FROM THERE! ANSWERED"')
        hands.brings(BACKSPACE, 'text: "FROM THERE ANSWERED"')
        hands.brings(b"d", "is marked")
        hands.brings(b"2gd", "◆ diff", "1 of ", "Side by side")
        for keys, where in ((b"n", "2 of "), (b"N", "1 of "), (b"j", "2 of "), (b"k", "1 of ")):
            hands.brings(keys, where)
        hands.changes(b"a", lambda: hands.line("DIFFERENCES"))
        hands.brings(b"]", "[Numbers]")
        hands.brings(b"[", "[Side by side]")
        for keys in (TAB, BACK_TAB):
            hands.changes(keys, lambda: hands.line("┏━"))
        hands.press(b"y")
        hands.until_so(lambda: "from there" in copied(hands), "nothing is copied")
        for keys in (b"?", F1):
            hands.brings(keys, "Everywhere")
            hands.clears(ESCAPE, "Everywhere")
        hands.clears(b"q", "◆ diff")
        hands.brings(b"2gdjd", "◆ diff", "1 of ")
        hands.clears(ENTER, "◆ diff")
        hands.until_shown("INSPECT event")
        # Offline, and live after a call: what comes after it is made.
        hands.brings(b"3gp", "came out as recorded")
        hands.clears(ESCAPE, "came out as recorded")
        hands.brings(b"3gjP", "REPLAY", "answered from the recording")
        hands.press(b"y")
        hands.until_so(lambda: len(copied(hands)) > 0, "nothing is copied")
        hands.clears(b"q", "answered from the recording")
        hands.brings(b"2gdjd", "◆ diff", "DIFFERENCES")
        hands.clears(ESCAPE, "◆ diff")
        hands.brings(b"gdjd", "◆ diff", "DIFFERENCES")
        hands.press(ctrl("c"))
        assert hands.wait(LIMIT_S) == 0


def test_a_run_that_died_goes_on(project: Path) -> None:
    (project / "die").touch()
    with Hands([PF, "tui", "travels.py"], cwd=project, size=(150, 44)) as hands:
        hands.until_shown("Travels", "ready", "sample 1")
        hands.brings(b"r", "interrupted", "ready", "↯ ")
        hands.brings(b"2C", "0 running", "✔ travels", "✔ ok · after it was taken up again", 'text: "QUIET ANSWERED"')


def test_documents_and_questions_are_left(project: Path) -> None:
    with Hands([PF, "tui", "travels.py"], cwd=project, size=(150, 44)) as hands:
        hands.until_shown("Travels", "ready", "sample 1")
        hands.brings(b"r", "0 running", "✔ travels")
        hands.brings(b"4]", "[Events]")
        # A fork with nothing to change is asked about.
        hands.brings(b"Gf", "ends at once", "runs the fork")
        hands.clears(ESCAPE, "ends at once")
        for count, keys in ((2, ENTER), (3, ctrl("s")), (4, F5)):
            hands.brings(b"f", "ends at once", "runs the fork")
            hands.brings(keys, f" {count} · following")
            hands.moves(b"4G", "trace.end")
        hands.brings(b"2Gp", "REPLAY")
        hands.press(ctrl("c"))
        assert hands.wait(LIMIT_S) == 0
