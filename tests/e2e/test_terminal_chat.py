"""Chat in a real terminal: an answer that streams, a question and its answer, the session on another day."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.hands import BACK_TAB, DOWN, ESCAPE, F1, PAGE_DOWN, PAGE_UP, TAB, UP, Hands, ctrl
from benchmarks.terminal import PF, Terminal

FLOWS = Path(__file__).parents[2] / "flows"

WAITS = """
import asyncio

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node, create


class Word(BaseModel):
    text: str


async def hears(value: Word, ctx) -> Word:
    while value.text == "wait":
        await asyncio.sleep(0.01)
    return Word(text="heard " + value.text)


__flow__ = {"title": "Waits"}
registry = ModelRegistry()
registry.register("hears", Word, Word)
flow = create(Node(hears).to())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "talked"\nversion = "0"\n')
    shutil.copytree(FLOWS, tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_conversation_with_a_question_and_its_answer(project: Path) -> None:
    with Terminal([PF, "tui", "flows/research_agent.py"], cwd=project, size=(120, 40)) as terminal:
        terminal.until_shown("Research agent", "ready", "sample 1")
        terminal.press(b"w")
        terminal.until_shown("chat research_agent", "say something")
        terminal.press(b"What do emperor penguins eat?\r")
        terminal.until_shown("✔ compare", "fish, krill and squid", "✔ ok")
        terminal.press(b"Publish a report on krill and its fishery\r")
        terminal.until_shown("⏸ asks", "Publish 'On Krill fishery'", "answer: yes or no")
        terminal.press(b"perhaps\r")
        # What did not fit stays in the line.
        terminal.until_shown("does not fit")
        terminal.press(b"\x7f" * len("perhaps"))
        terminal.until_shown("answer: yes or no ")
        terminal.press(b"yes\r")
        terminal.until_shown("answered: yes", "Published as REPORT-", "2 turns")
        terminal.press(b"What did I ask so far?\r")
        terminal.until_shown("You asked:", "• What do emperor penguins eat?", "3 turns")
        terminal.press(b"\x12")
        terminal.until_shown("RUNS", "TRACE", "step 0")
        terminal.press(b"q")
        assert terminal.wait(30) == 0
    with Terminal([PF, "tui", "flows/research_agent.py"], cwd=project, size=(120, 40)) as terminal:
        terminal.until_shown("Research agent", "ready", "sample 1", "✔ ")
        terminal.press(b"w")
        terminal.until_shown("3 turns", "You asked:")
        terminal.press(ESCAPE)
        terminal.until_shown("FLOWS", "Research agent")
        terminal.press(b"q")
        assert terminal.wait(30) == 0


def line_says(hands: Hands, keys: bytes, text: str) -> None:
    """Keys bring a text into the line."""
    hands.press(keys)
    hands.until_so(lambda: hands.screen().split("\n")[-2].strip().startswith(text), f"{text} is not in the line")


def test_every_key_of_the_conversation(project: Path) -> None:
    (project / "waits.py").write_text(WAITS)
    with Hands([PF, "tui", "waits.py"], cwd=project, size=(120, 14)) as hands:
        hands.until_shown("Waits", "ready")
        hands.brings(b"w", "─ CHAT", "say something")
        for number in range(1, 4):
            text = f"word {number}"
            hands.brings(text.encode(), text)
            hands.brings(b"\r", f"heard {text}")
        # What was said comes back into the line.
        line_says(hands, UP, "word 3")
        line_says(hands, UP, "word 2")
        line_says(hands, DOWN, "word 3")
        line_says(hands, DOWN, "say something")
        # Pages, from the line too.
        hands.brings(PAGE_UP * 2, "heard word 1")
        hands.clears(PAGE_DOWN * 2, "heard word 1")
        for keys, pane in ((TAB, "CHAT"), (TAB, "SESSIONS"), (BACK_TAB, "CHAT")):
            hands.brings(keys, f"┏━ {pane}")
        hands.clears(BACK_TAB, "┏━ CHAT")
        hands.brings(F1, "CONVERSATION · keys")
        hands.clears(ESCAPE, "CONVERSATION · keys")
        # Another session; a run that is cancelled from here; the run of a turn; out.
        hands.clears(ctrl("n"), "heard word 3")
        hands.brings(b"wait\r", "it runs: what you say now steers it")
        hands.brings(ctrl("x"), "⊘ cancelled")
        hands.brings(ctrl("r"), "┏━ TRACE")
        hands.brings(b"w", "─ CHAT")
        hands.clears(ESCAPE, "─ CHAT")
        hands.brings(b"w", "─ CHAT")
        hands.press(ctrl("c"))
        assert hands.wait(60.0) == 0
