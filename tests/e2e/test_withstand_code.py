"""User code that does what nobody should: the dashboard stays, can be read, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Opened

KILL = b"\x0b"

ROUGH = """
from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
import time

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, NodePolicy, create

KEPT = []


class Order(BaseModel):
    do: str = "well"


def deeper(number):
    return deeper(number + 1) + 1


def burn():
    while True:
        pass


async def act(order: Order, ctx: Context) -> Order:
    match order.do:
        case "loop":
            burn()
        case "block":
            while not os.path.exists("go"):
                time.sleep(0.01)
        case "hold":
            # Called without giving the interpreter away.
            ctypes.PyDLL(None).system(b"while [ ! -e go ]; do sleep 0.05; done")
        case "program":
            if not os.fork():
                os.execvp("sleep", ["sleep", "600"])
            subprocess.Popen(["sh", "-c", "sleep 600; true"])
        case "twin":
            os.fork()
        case "print":
            for number in range(20_000):
                print(f"line {number} " + "x" * 100)
            print("y" * 2_000_000)
            sys.stderr.write("z" * 2_000_000)
            os.write(2, b"w" * 2_000_000)
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "deep":
            deeper(0)
        case "vanish":
            os._exit(3)
        case "killed":
            os.kill(os.getpid(), 9)
        case "leak":
            KEPT.append([open(os.devnull) for _ in range(100)])
            KEPT.append([asyncio.create_task(asyncio.sleep(9999)) for _ in range(100)])
            for _ in range(20):
                threading.Thread(target=time.sleep, args=(9999,)).start()
            threading.Thread(target=lambda: 1 / 0).start()
        case "files":
            try:
                while True:
                    KEPT.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                pass
        case "closed":
            for number in (0, 1, 2):
                os.close(number)
        case "stop the loop":
            asyncio.get_running_loop().stop()
        case "memory":
            KEPT.append(bytearray(1 << 60))
        case "segfault":
            ctypes.string_at(0)
    return order


__flow__ = {"title": "Rough", "samples": [{"do": "well"}]}
flow = create(Node(act, policy=NodePolicy(validate="in", max_retries=0)).to())
registry = ModelRegistry()
registry.register("act", Order, Order)
"""


class Row(NamedTuple):
    """What a run is told to do, and how it ends."""

    word: str
    status: str = "✔"
    """One of these."""
    during: tuple[str, ...] = ()
    """What is on the screen meanwhile."""
    end: str = ""
    """How it is ended: the host is killed, or the file is there that it waits for."""
    after: tuple[str, ...] = ()


LIVES = [
    Row("program"),
    Row("twin"),
    Row("print"),
    Row("exit", "✖"),
    Row("interrupt", "✖"),
    Row("deep", "✖", after=("RecursionError",)),
    Row("leak"),
    Row("memory", "✖", after=("MemoryError",)),
    Row("files"),
    Row("closed"),
]
BLOCKS = [
    Row("block", "✔", ("blocked", "rough.py:"), "go", ("ready",)),
    Row("loop", "↯", ("blocked", "rough.py:", "ctrl+k kills it"), "kill", ("ready",)),
    Row("hold", "↯", ("host silent for 2 s", "ctrl+k kills it"), "kill", ("ready",)),
]
DIES = [
    Row("vanish", "↯", after=("ready",)),
    Row("segfault", "↯", after=("ready",)),
    Row("killed", "↯", after=("ready",)),
    Row("stop the loop", "✔↯", after=("ready",)),
]


@pytest.fixture
def project(project: Path) -> Path:
    (project / "rough.py").write_text(ROUGH)
    return project


@pytest.mark.parametrize("rows", [LIVES, BLOCKS, DIES], ids=["lives", "blocks", "dies"])
def test_code_that_does_what_nobody_should(project: Path, opened: Opened, rows: list[Row]) -> None:
    with opened("rough.py") as terminal:
        terminal.until_shown("rough", "ready")
        begun: dict[int, str] = {}
        for row in rows:
            (project / "go").unlink(missing_ok=True)
            trace_id = terminal.begins(row.word)
            terminal.until_shown(*row.during)
            begun |= terminal.processes()
            if row.during:
                terminal.answers()
            if row.end == "kill":
                terminal.press(KILL)
            elif row.end == "go":
                (project / "go").touch()
            terminal.ends(row.status, trace_id)
            terminal.until_shown(*row.after)
            terminal.visit()
            # Another run is well, whatever the one before was.
            terminal.runs("well")
        terminal.visit_screens()
        terminal.leave(more=begun)


def test_modules_that_fail_in_import_cost_only_themselves(project: Path, opened: Opened) -> None:
    failing = {
        "raises": 'raise RuntimeError("no")',
        "leaves": "import sys\nsys.exit(5)",
        "interrupts": "raise KeyboardInterrupt",
        "unwritten": "def (",
        "binary": "\0",
        "vanishes": "import os\nos._exit(3)",
        "segfaults": "import ctypes\nctypes.string_at(0)",
        "chatty": 'print("x" * 5_000_000)\nimport os\nos.write(1, b"y" * 5_000_000)\nraise ValueError',
    }
    for name, source in failing.items():
        (project / f"{name}.py").write_text(source)
    with opened("rough.py", *(f"{name}.py" for name in failing)) as terminal:
        terminal.until_shown("ready", f"{len(failing)} broken", *(f"✖ {name}" for name in failing))
        terminal.shown(b"1gj\r", "✖")
        terminal.answers()
        terminal.press(b"1g")
        terminal.runs("well")
        terminal.visit()
        terminal.leave()


def test_an_import_without_end_holds_neither_keys_nor_the_way_out(project: Path, opened: Opened) -> None:
    (project / "endless.py").write_text("import os\nos.open('begun', os.O_CREAT)\nwhile True:\n    pass\n")
    with opened("rough.py", "endless.py") as terminal:
        terminal.wait_for((project / "begun").exists, "the import has not begun")
        terminal.visit()
        terminal.leave()
