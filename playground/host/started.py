"""What user code has started ends with its host, also what has left the host's process group.

A host and all that comes from it have a mark in their environment, and are found by it: a process that was detached
(`setsid`, a daemon) has neither the parent nor the group by which it could be found otherwise. What is to outlive the
host is started without the mark. Imports nothing but the standard library, for it is needed before anything else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "PENGUIFLOW_HOST"
"""The variable of the environment; each host has a value of its own."""
PASSES = 50
"""How often is looked for more, which may have been started meanwhile."""
PAUSE_S = 0.01
_PROCESSES = Path("/proc")
_OWN = os.environ.get(MARK, "")
_PID = os.getpid()


def new_mark() -> str:
    """A value that no other host has."""
    return os.urandom(8).hex()


def end_own() -> None:
    """As `end_started`, for the host that this process is; not for a copy of it that user code has forked."""
    if _OWN and os.getpid() == _PID:
        end_started(_OWN)


def end_started(mark: str) -> None:
    """Kill every process of this mark besides this one. Systems that do not tell of processes' environments: none."""
    wanted = f"{MARK}={mark}".encode()
    for _ in range(PASSES):
        found = [each for each in _others() if _is_marked(each, wanted)]
        if not found:
            return
        for pid in found:
            _kill(pid, wanted)
        time.sleep(PAUSE_S)


def _others() -> list[int]:
    own = os.getpid()
    with contextlib.suppress(OSError):
        return [pid for each in _PROCESSES.iterdir() if each.name.isdecimal() and (pid := int(each.name)) != own]
    return []


def _is_marked(pid: int, wanted: bytes) -> bool:
    try:
        return wanted in (_PROCESSES / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # it is gone, or somebody else's
        return False


def _kill(pid: int, wanted: bytes) -> None:
    """Its number may be another's by now: it is held before it is looked at once more."""
    with contextlib.suppress(OSError):
        process = os.pidfd_open(pid)
        try:
            if _is_marked(pid, wanted):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)
