"""Chat in a real terminal: an answer that streams, a question and its answer, the session on another day."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.terminal import PF, Terminal

FLOWS = Path(__file__).parents[2] / "flows"
ESCAPE = b"\x1b"


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
