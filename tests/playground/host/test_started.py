"""What a host has started is found by its mark, and nothing else is: real processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from playground.host.started import MARK, end_started, new_mark

LIMIT_S = 60.0
WAITS = "import sys; print('ready', flush=True); sys.stdin.read()"
FORKS = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
sys.stdin.read()
"""
ENDS_ITS_OWN = """
import atexit, os, subprocess, sys
from playground.host.started import end_own
atexit.register(end_own)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
if os.fork():
    os.wait()
    print("alive" if child.poll() is None else "dead", flush=True)
else:
    sys.exit()
"""


class Begin(Protocol):
    """Starts a process of this code and mark, in a session of its own; it waits until its input ends."""

    def __call__(self, code: str, mark: str | None) -> subprocess.Popen[str]: ...


@pytest.fixture
def begin() -> Iterator[Begin]:
    with ExitStack() as stack:

        def start(code: str, mark: str | None) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                env={**os.environ, **({} if mark is None else {MARK: mark})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            # What is still there ends with its input.
            stack.enter_context(process)
            return process

        yield start


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_what_has_the_mark_is_killed_and_nothing_else(begin: Begin) -> None:
    mark = new_mark()
    ours, others, plain = begin(WAITS, mark), begin(WAITS, new_mark()), begin(WAITS, None)
    for process in (ours, others, plain):
        assert line(process) == "ready"
    end_started(mark)
    assert ours.wait(LIMIT_S) == -signal.SIGKILL
    assert others.poll() is None
    assert plain.poll() is None
    end_started(mark)


def ends(process: subprocess.Popen[str]) -> bool:
    """Whether nobody has its output any more: whoever adopts a process need not say that it has ended."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], LIMIT_S)
    return bool(ready) and line(process) == ""


def test_a_daemon_is_found(begin: Begin) -> None:
    mark = new_mark()
    process = begin(FORKS, mark)
    assert int(line(process)) != process.pid
    assert process.wait(LIMIT_S) == 0
    end_started(mark)
    assert ends(process)


def test_a_process_ends_what_it_has_started_and_a_fork_of_it_nobody(begin: Begin) -> None:
    process = begin(ENDS_ITS_OWN, new_mark())
    assert line(process) == "alive"
    assert process.wait(LIMIT_S) == 0
    assert ends(process)
