"""What user code has started, also what it has detached, ends with its host: after `q`, a kill of either, a reload."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Opened, Steady

FLOW = """
import os
import subprocess

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, create


class Order(BaseModel):
    do: str = "well"


def begun(how, pid):
    # Whole or not there: it is read as soon as it is.
    with open(how + ".draft", "w") as file:
        file.write(str(pid))
    os.rename(how + ".draft", how)


async def act(order: Order, ctx: Context) -> Order:
    if order.do == "begin":
        begun("child", subprocess.Popen(["sleep", "600"]).pid)
        begun("detached", subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
        if not os.fork():
            os.setsid()
            if not os.fork():
                begun("daemon", os.getpid())
                os.execvp("sleep", ["sleep", "600"])
            os._exit(0)
        os.wait()
        free = {name: value for name, value in os.environ.items() if name != "PENGUIFLOW_HOST"}
        begun("free", subprocess.Popen(["sleep", "600"], start_new_session=True, env=free).pid)
    return order


__flow__ = {"title": "Begins"}
flow = create(Node(act).to())
registry = ModelRegistry()
registry.register("act", Order, Order)
"""
ENDS = ("child", "detached", "daemon")


class Begun:
    """A process that a flow has started, held so that its number cannot become another's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.handle = os.pidfd_open(pid)

    @property
    def lives(self) -> bool:
        """Whoever adopts a process that has ended may leave it in the table of processes."""
        state = ""
        with suppress(OSError):
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in {"", "Z", "X"}

    def end(self) -> None:
        """Kill it, if it is there."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        os.close(self.handle)


@pytest.fixture
def project(project: Path) -> Path:
    (project / "begins.py").write_text(FLOW)
    return project


@pytest.fixture
def begun() -> Iterator[dict[str, Begun]]:
    """The processes by how they were started."""
    found: dict[str, Begun] = {}
    yield found
    for each in found.values():
        each.end()


def begin(terminal: Steady, project: Path, begun: dict[str, Begun]) -> None:
    """A run that starts them."""
    terminal.until_shown("Begins", "ready")
    terminal.runs("begin")
    for how in (*ENDS, "free"):
        terminal.wait_for((project / how).exists, f"no {how}")
        begun[how] = Begun(int((project / how).read_text()))
    assert all(each.lives for each in begun.values())


def ended(terminal: Steady, begun: dict[str, Begun]) -> None:
    """Wait until those have ended that are to, and see that the one lives that was let go."""
    deadline = time.monotonic() + terminal.limit_s
    while any(begun[how].lives for how in ENDS):
        assert time.monotonic() < deadline, "a process was left"
        time.sleep(0.01)
    assert begun["free"].lives


def test_leaving_the_dashboard_ends_them(project: Path, opened: Opened, begun: dict[str, Begun]) -> None:
    with opened("begins.py") as terminal:
        begin(terminal, project, begun)
        terminal.leave(besides=[begun["free"].pid])
    # Nobody waits for them any more: they have ended by then.
    assert not any(begun[how].lives for how in ENDS)
    assert begun["free"].lives


def test_a_host_that_is_killed_ends_them(project: Path, opened: Opened, begun: dict[str, Begun]) -> None:
    with opened("begins.py") as terminal:
        begin(terminal, project, begun)
        host = Path(f"/proc/{begun['child'].pid}/stat").read_text().rpartition(")")[2].split()[1]
        start = len(terminal.output)
        os.kill(int(host), signal.SIGKILL)
        terminal.until("the host died", timeout=terminal.limit_s, start=start)
        ended(terminal, begun)
        terminal.until_shown("ready")
        terminal.runs("well")
        terminal.visit()
        terminal.leave()


def test_a_dashboard_that_is_killed_ends_them(project: Path, opened: Opened, begun: dict[str, Begun]) -> None:
    with opened("begins.py") as terminal:
        begin(terminal, project, begun)
        terminal.is_killed(besides=[begun["free"].pid])
        ended(terminal, begun)
