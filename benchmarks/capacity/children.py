"""Processes that carry messages over a bus, and what they use while they do."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.capacity.deployment import Deployment
from benchmarks.capacity.meter import cpu_of, family, written_bytes
from tests.bus_servers import BusServer

__all__ = ["Used", "use_of"]

ROOT = Path(__file__).parents[2]
START_S = 120.0


@dataclass(frozen=True, slots=True)
class Used:
    """What a deployment did within a while."""

    took_s: float
    sent: int
    """Messages that entered."""
    done: int
    """Messages that were acknowledged, on whatever edge."""
    server_s: float
    """CPU seconds."""
    sender_s: float
    workers_s: float
    written: int
    """Bytes that the server wrote to its disk."""


class _Children:
    """The processes of a run, and what they have counted."""

    def __init__(self, url: str, plan: Deployment, folder: Path) -> None:
        self._plan = plan
        self._counts = folder / "counts"
        self._counts.write_bytes(bytes(8 * (plan.workers + 1)))
        command = [sys.executable, "-m", "benchmarks.capacity.carrier", url, json.dumps(asdict(plan))]
        self._command = [*command, str(self._counts)]
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """The workers, and the sender as the last one."""
        for number in range(self._plan.workers + 1):
            command = [*self._command, str(number)]
            self._processes.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL))

    def counts(self) -> list[int]:
        """What each worker has acknowledged, and what the sender has sent.

        Raises `RuntimeError` when one of the processes has ended.
        """
        if any(each.poll() is not None for each in self._processes):
            raise RuntimeError("a process of the run has ended")
        return [number for (number,) in struct.iter_unpack("q", self._counts.read_bytes())]

    def kill(self) -> None:
        """End them."""
        for each in self._processes:
            each.kill()
        for each in self._processes:
            each.wait()

    def read(self, server: int) -> list[float]:
        """All that is counted, at this moment."""
        *done, sent = self.counts()
        *workers, sender = (each.pid for each in self._processes)
        servers = family(server)
        return [
            time.monotonic(),
            sent,
            sum(done),
            cpu_of(*servers),
            cpu_of(sender),
            cpu_of(*workers),
            written_bytes(*servers),
        ]


@contextmanager
def _started(url: str, plan: Deployment) -> Iterator[_Children]:
    with tempfile.TemporaryDirectory(prefix="capacity-") as folder:
        children = _Children(url, plan, Path(folder))
        try:
            children.start()
            yield children
        finally:
            children.kill()


def use_of(server: BusServer, plan: Deployment, *, warm_s: float, seconds: float) -> Used:
    """What is used within some seconds, after everybody has begun to work and `warm_s` more."""
    assert server.process is not None
    pid = server.process.pid
    with _started(server.url, plan) as children:
        deadline = time.monotonic() + START_S
        while not all(children.counts()):
            if time.monotonic() > deadline:
                raise RuntimeError("not every worker had something to do")
            time.sleep(0.1)
        time.sleep(warm_s)
        before = children.read(pid)
        time.sleep(seconds)
        took_s, sent, done, server_s, sender_s, workers_s, written = (
            after - was for after, was in zip(children.read(pid), before, strict=True)
        )
    return Used(took_s, int(sent), int(done), server_s, sender_s, workers_s, int(written))
