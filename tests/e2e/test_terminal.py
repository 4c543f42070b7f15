"""The dashboard in a real terminal, over a real host: what a developer does in the first five minutes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import PF, Terminal

LIMIT_S = 60.0
"""Whatever takes longer does not happen."""

FLOW = '''"""Answers, at the second try."""

from __future__ import annotations

import os
import time

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, NodePolicy, create

ANSWER = "first edition"
tries = 0


class Question(BaseModel):
    word: str


class Answer(BaseModel):
    text: str


async def ask(question: Question, ctx: Context) -> Answer:
    global tries
    if question.word == "exit":
        os._exit(1)
    while question.word == "block" and not os.path.exists("go"): time.sleep(0.01)
    tries += 1
    if tries % 2:
        raise ConnectionError("nobody is at the counter")
    await ctx.emit_chunk(parent=ctx.message, text=ANSWER + " streamed", done=True)
    return Answer(text=ANSWER)


__flow__ = {"title": "Asks twice", "samples": [{"word": "hello"}]}
registry = ModelRegistry()
registry.register("ask", Question, Answer)
flow = create(Node(ask, policy=NodePolicy(max_retries=1, backoff_base=0.01)).to())
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "counter"\nversion = "0"\n')
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "counter.py").write_text(FLOW)
    return tmp_path


@pytest.fixture
def terminal(project: Path) -> Iterator[Terminal]:
    with Terminal([PF, "tui"], cwd=project, size=(160, 50)) as running:
        running.until_shown("Asks twice", "ready")
        yield running


def shown(terminal: Terminal, keys: bytes, *needles: str) -> None:
    """Press keys and wait for what they bring onto the screen."""
    terminal.press(keys)
    terminal.until_shown(*needles)


def ask(terminal: Terminal, word: str) -> None:
    """Open the form of the flow, type, run."""
    shown(terminal, b"1\r", "headers and more")
    terminal.press(word.encode() + b"\r")


def version(terminal: Terminal) -> str:
    """The version of the code, as the status line had it last."""
    found = re.search(r"loaded \S+ +v(\w{5})", terminal.screen())
    return "" if found is None else found[1]


def save(terminal: Terminal, path: Path, text: str) -> None:
    """Save a file, and wait until another version than before is loaded."""
    before = version(terminal)
    path.write_text(text)
    deadline = time.monotonic() + LIMIT_S
    while version(terminal) in ("", before):
        assert time.monotonic() < deadline, "the new version was not loaded"
        terminal.read(0.05)


def stat(pid: int) -> list[str]:
    """What the system knows of a process, from its state on; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def children_of(pid: int) -> dict[int, str]:
    """Processes whose parent is `pid`, and when they began: a number may be used again."""
    known = {int(entry.name): stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
    return {child: about[19] for child, about in known.items() if about and int(about[1]) == pid}


def wait_until_gone(children: dict[int, str]) -> None:
    """Until each of them has ended; whoever adopted it may leave it in the table of processes."""
    deadline = time.monotonic() + LIMIT_S
    while any((about := stat(pid)) and about[19] == begun and about[0] != "Z" for pid, begun in children.items()):
        assert time.monotonic() < deadline, "the host is still there"
        time.sleep(0.01)


def test_a_retry_is_seen_and_its_traceback_and_payload_opened(terminal: Terminal) -> None:
    shown(terminal, b"r", "attempt 1", "ConnectionError", "attempt 2", "first edition streamed")
    shown(terminal, b"3gjj\r", "nobody is at the counter", "Traceback (most recent call last)", "counter.py")
    shown(terminal, b"G", 'word: "hello"')


def test_saves_reach_the_next_run_and_broken_code_leaves_the_last_good_one(project: Path, terminal: Terminal) -> None:
    path = project / "flows" / "counter.py"
    shown(terminal, b"r", "first edition streamed")
    save(terminal, path, FLOW.replace("first edition", "second edition"))
    shown(terminal, b"r", "second edition streamed")
    path.write_text(FLOW.replace("tries = 0", "tries = (0").replace("first edition", "second edition"))
    terminal.until_shown("counter.py:13", "syntax error")
    shown(terminal, b"r", "second edition streamed")
    save(terminal, path, FLOW.replace("first edition", "third edition"))
    shown(terminal, b"r", "third edition streamed")


def test_a_host_that_dies_is_told_and_the_next_run_works(terminal: Terminal) -> None:
    ask(terminal, "exit")
    terminal.until_shown("exit code 1")
    terminal.until_shown("interrupted", "ready")
    ask(terminal, "hello")
    terminal.until_shown("first edition streamed")


def test_a_blocked_loop_is_shown_with_its_place(project: Path, terminal: Terminal) -> None:
    ask(terminal, "block")
    terminal.until_shown("blocked", "counter.py:28")
    # Keys go on working meanwhile.
    shown(terminal, b"?", "Everywhere")
    (project / "go").touch()


def test_quitting_leaves_no_process_and_a_clean_terminal(terminal: Terminal) -> None:
    children = children_of(terminal.process.pid)
    assert children
    terminal.press(b"q")
    assert terminal.wait(LIMIT_S) == 0
    assert "\x1b[?1049l" in terminal.output.decode("utf-8", "replace")
    wait_until_gone(children)


def test_a_terminated_dashboard_restores_the_terminal(terminal: Terminal) -> None:
    terminal.process.terminate()
    assert terminal.wait(LIMIT_S) == 143
    assert "\x1b[?1049l" in terminal.output.decode("utf-8", "replace")


def test_a_killed_dashboard_leaves_no_host(terminal: Terminal) -> None:
    children = children_of(terminal.process.pid)
    os.kill(terminal.process.pid, 9)
    terminal.wait(LIMIT_S)
    wait_until_gone(children)


def test_sizes_change_while_it_runs(terminal: Terminal) -> None:
    for size in [(40, 10), (200, 60), (20, 5), (80, 24)]:
        terminal.resize(*size)
        terminal.until_shown("FLOWS")
    shown(terminal, b"r", "attempt 2")
