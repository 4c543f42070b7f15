"""What the dashboard must withstand, in a real terminal: it stays, it can be read, and it leaves nothing behind."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.terminal import PF, Terminal

LIMIT_S = 60.0
ESCAPE = b"\x1b"
KILL = b"\x0b"
EVIL = (
    "a\\x1b]0;pwned\\x07b\\x1b[2Jc\\x1b[6nd\\x00e\\x08f\\x9b31mg\\x1bch\\x1bP1$r\\x1b\\\\i\\u202ej\\x0ek\\rl\\x7fm"
    "\\x1b]52;c;cHdu\\x07"
)
"""As a Python literal: sets the title, clears, asks for the cursor, resets, turns the writing around, takes the
clipboard."""
OWN = re.compile(
    rb"\x1b(?:\[[0-9;]*[mH]|\[\?[0-9]+[hl]|\[>[0-9]*u|\[<u|\[\?[0-9]+\$p|\[[0-9]* ?q|\]22;[a-z]+\x07|"
    rb"\]52;c;[A-Za-z0-9+/=]*\x07)"
)
"""What the dashboard itself says to a terminal: colors, places, modes, the pointer's shape, the clipboard."""
CONTROLS = re.compile(rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|pwned\x07")
WORD = b"cHdu"
"""What the payload's own order to the clipboard would put there."""

ROUGH = f'''
from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
import threading
import time

from pydantic import BaseModel, Field

from penguiflow import Context, ModelRegistry, Node, NodePolicy, create

EVIL = "{EVIL}"
KEPT = []


class Order(BaseModel):
    do: str = Field("well", description=EVIL, title="do" + EVIL)


async def act(order: Order, ctx: Context):
    match order.do:
        case "loop":
            while True:
                pass
        case "block":
            while not os.path.exists("go"):
                time.sleep(0.01)
        case "hold":
            # Called without giving the interpreter away.
            ctypes.PyDLL(None).system(b"while [ ! -e go ]; do sleep 0.05; done")
        case "program":
            if not os.fork():
                os.execvp("sleep", ["sleep", "600"])
        case "twin":
            os.fork()
        case "print":
            for number in range(20_000):
                print(f"line {{number}} " + "x" * 100)
            print("y" * 2_000_000)
        case "exit":
            sys.exit(3)
        case "vanish":
            os._exit(3)
        case "leak":
            KEPT.append([open(os.devnull) for _ in range(100)])
            KEPT.append([asyncio.create_task(asyncio.sleep(9999)) for _ in range(100)])
            threading.Thread(target=time.sleep, args=(9999,)).start()
        case "memory":
            KEPT.append(bytearray(1 << 60))
        case "segfault":
            ctypes.string_at(0)
        case "huge":
            return {{"text": "x" * 50_000_000}}
        case "wide":
            return {{f"key {{number}}": number for number in range(10_000)}}
        case "odd":
            print(EVIL)
            os.write(1, EVIL.encode() + b"\\xff\\xfe\\n")
            logging.getLogger(EVIL).warning(EVIL)
            text = f"# {{EVIL}}\\n{{EVIL}}\\n```{{EVIL}}\\n{{EVIL}}\\n```\\n|a|\\n|-|\\n|{{EVIL}}|\\n- {{EVIL}}\\n"
            await ctx.emit_chunk(parent=ctx.message, text=text, meta={{"channel": EVIL}}, done=True)
            return {{EVIL: EVIL, "list": [EVIL, EVIL.encode()]}}
        case "raise":
            raise ValueError(EVIL)
    return {{"text": "did " + order.do}}


__flow__ = {{"title": "Rough " + EVIL, "samples": [{{"do": "well"}}]}}
flow = create(Node(act, name="act " + EVIL, policy=NodePolicy(validate="in", max_retries=0)).to())
registry = ModelRegistry()
registry.register("act " + EVIL, Order, Order)
'''


class Row(NamedTuple):
    """What a run is told to do, and what is on the screen then."""

    word: str
    shown: tuple[str, ...]
    end: str = ""
    """How it is ended: the host is killed, or the file is there that it waits for."""
    after: tuple[str, ...] = ()


ROWS = [
    Row("loop", ("blocked", "rough.py:", "ctrl+k kills it"), "kill", ("interrupted", "ready")),
    Row("block", ("blocked", "rough.py:"), "go", ("✔", "ready")),
    Row("hold", ("host silent for 2 s", "ctrl+k kills it"), "kill", ("interrupted", "ready")),
    Row("program", ("✔ rough",)),
    Row("twin", ("✔ rough",)),
    Row("print", ("✔ rough",)),
    Row("exit", ("✖ rough",)),
    Row("vanish", ("interrupted", "exit code 3"), after=("ready",)),
    Row("leak", ("✔ rough",)),
    Row("memory", ("✖ rough", "MemoryError")),
    Row("segfault", ("interrupted", "SIGSEGV"), after=("ready",)),
    Row("huge", ("✔ rough",)),
    Row("wide", ("✔ rough",)),
    Row("odd", ("✔ rough",)),
    Row("raise", ("✖ rough",)),
]


def stat(pid: int) -> list[str]:
    """What the system knows of a process, from its state on; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def descendants(pid: int) -> dict[int, str]:
    """Processes that come from `pid`, and when they began: a number may be used again."""
    known = {int(entry.name): stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
    found: dict[int, str] = {}
    parents = {pid}
    while parents:
        children = {child for child, about in known.items() if about and int(about[1]) in parents}
        found |= {child: known[child][19] for child in children}
        parents = children
    return found


def wait_until_gone(processes: dict[int, str]) -> None:
    """Until each of them has ended; whoever adopted it may leave it in the table of processes."""
    deadline = time.monotonic() + LIMIT_S
    while left := [pid for pid, begun in processes.items() if (at := stat(pid)) and at[19] == begun and at[0] != "Z"]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.01)


def foreign(output: bytes) -> list[bytes]:
    """What reached the terminal that the dashboard does not say of its own accord."""
    whole = output[: output.rfind(b"\x1b")]  # the last escape sequence may not have come as a whole yet
    own = [match.group() for match in OWN.finditer(whole)]
    rest = OWN.sub(b"", whole)
    found = [rest[max(match.start() - 20, 0) : match.end() + 20] for match in CONTROLS.finditer(rest)]
    return found + [each for each in own if each.endswith(b";" + WORD + b"\x07")]


def shown(terminal: Terminal, keys: bytes, *needles: str) -> None:
    """Press keys and wait for what they bring onto the screen."""
    terminal.press(keys)
    terminal.until_shown(*needles)


def opens(terminal: Terminal, keys: bytes, needle: str) -> None:
    """Keys bring up a screen, and escape takes it away."""
    shown(terminal, keys, needle)
    terminal.press(ESCAPE)
    deadline = time.monotonic() + LIMIT_S
    # What follows an escape at once would be another key.
    while needle in terminal.screen():
        assert time.monotonic() < deadline, f"{needle} does not go away:\n{terminal.screen()}"
        terminal.read(0.05)


def answers(terminal: Terminal) -> None:
    """Keys bring up what they should, and the screen is whole again after it."""
    opens(terminal, b"?", "Everywhere")
    screen = terminal.screen()
    assert "did not work" not in screen
    assert "cannot be shown" not in screen
    assert foreign(bytes(terminal.output)) == []


def order(terminal: Terminal, word: str) -> None:
    """Open the form of the flow, type, run."""
    shown(terminal, b"1g\r", "headers and more")
    terminal.press(word.encode() + b"\r")


def visit(terminal: Terminal) -> None:
    """Every tab and screen that there is for a run, as fast as somebody types; then the lists again."""
    for keys in (b"3]", b"j]", b"j]j", b"4[", b"j\r*", b"J", b"4]]", b"j", b"]", b"5]", b"G", b"]", b"]", b"z", b"z"):
        terminal.press(keys)
    answers(terminal)
    for keys, needle in ((b"%", "STATISTICS"), (b"3w", "─ CHAT"), (b"3Y", "COPY"), (b"3B", "where · type to find")):
        opens(terminal, keys, needle)
        answers(terminal)
    terminal.press(b"b")
    answers(terminal)
    terminal.press(b"b")
    answers(terminal)


def leave(terminal: Terminal, *, more: dict[int, str] | None = None) -> None:
    """`q` gives the terminal back and leaves no process."""
    begun = descendants(terminal.process.pid) | (more or {})
    deadline = time.monotonic() + LIMIT_S
    code = None
    while code is None:
        assert time.monotonic() < deadline, terminal.screen()
        # On a busy machine it may follow an escape so closely that both are one key.
        terminal.press(b"q")
        with suppress(TimeoutError):
            code = terminal.wait(LIMIT_S / 6)
    assert code == 0
    assert b"\x1b[?1049l" in terminal.output
    assert foreign(bytes(terminal.output)) == []
    wait_until_gone(begun)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "rough"\nversion = "0"\n')
    (tmp_path / "rough.py").write_text(ROUGH)
    return tmp_path


@contextmanager
def opened(project: Path, *targets: str) -> Iterator[Terminal]:
    with Terminal([PF, "tui", *(targets or ("rough.py",))], cwd=project, size=(140, 44)) as terminal:
        terminal.until_shown("rough", "ready")
        yield terminal
    (project / "go").touch()


@pytest.mark.parametrize("row", ROWS, ids=[row.word for row in ROWS])
def test_code_that_does_what_nobody_should(project: Path, row: Row) -> None:
    with opened(project) as terminal:
        order(terminal, row.word)
        terminal.until(*row.shown)
        begun = descendants(terminal.process.pid)
        answers(terminal)
        if row.end == "kill":
            terminal.press(KILL)
        elif row.end == "go":
            (project / "go").touch()
        terminal.until_shown(*row.after)
        visit(terminal)
        # Another run is well, whatever the first one was.
        done = terminal.screen().count("✔")
        order(terminal, "well")
        deadline = time.monotonic() + LIMIT_S
        while terminal.screen().count("✔") <= done:
            assert time.monotonic() < deadline, terminal.screen()
            terminal.read(0.05)
        leave(terminal, more=begun)


def test_a_module_that_raises_in_import_costs_only_itself(project: Path) -> None:
    (project / "raises.py").write_text(f'raise RuntimeError("{EVIL}")\n')
    (project / "leaves.py").write_text("import sys\nsys.exit(5)\n")
    with opened(project, "rough.py", "raises.py", "leaves.py") as terminal:
        terminal.until_shown("✖ raises", "✖ leaves", "2 broken")
        shown(terminal, b"1Gk\r", "RuntimeError")
        order(terminal, "well")
        terminal.until("✔ rough")
        visit(terminal)
        leave(terminal)


def test_a_store_that_is_locked_leaves_the_dashboard(project: Path) -> None:
    with opened(project) as terminal:
        order(terminal, "well")
        terminal.until("✔ rough")
        leave(terminal)
    with closing(sqlite3.connect(project / ".penguiflow" / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with Terminal([PF, "tui", "rough.py"], cwd=project, size=(140, 44)) as terminal:
            terminal.until_shown("rough", "FLOWS")
            answers(terminal)
            leave(terminal)


def test_two_dashboards_on_one_project(project: Path) -> None:
    with opened(project) as one, opened(project) as other:
        order(one, "block")
        one.until_shown("blocked")
        other.until_shown("1 running")
        order(other, "well")
        other.until("✔ rough")
        leave(other)
        answers(one)
        (project / "go").touch()
        one.until_shown("0 running", "ready")
        leave(one)


def test_a_clock_that_jumps(project: Path) -> None:
    """The host's clock and the dashboard's own differ by years, both ways, from one reading to the next."""
    (project / "sitecustomize.py").write_text(
        "import itertools, time\n"
        "real, jumps = time.time, itertools.cycle((0.0, 9e7, -9e7, 4e3, -4e3))\n"
        "time.time = lambda: real() + next(jumps)\n"
    )
    with Terminal([PF, "tui", "rough.py"], cwd=project, size=(140, 44), env={"PYTHONPATH": str(project)}) as terminal:
        terminal.until_shown("rough", "ready")
        order(terminal, "well")
        terminal.until("✔ rough")
        visit(terminal)
        leave(terminal)
