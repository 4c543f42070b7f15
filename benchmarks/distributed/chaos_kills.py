"""What goes wrong in the chaos test: workers are killed every few seconds, and the bus and the store now and then."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bus_servers import BusServer
from tests.servers import PostgresServer

__all__ = ["Kills"]

ROOT = Path(__file__).parents[2]
KILL_S = (3.0, 7.0)
SERVER_S = (30.0, 50.0)
AWAY_S = (0.2, 2.0)
PROGRESS = 4
"""Calls that are answered between two kills, at least."""
LOOK_S = 0.2


class Kills:
    """Keeps workers, and kills them and the servers that they need."""

    def __init__(
        self,
        bus_server: BusServer,
        store_server: PostgresServer,
        folder: Path,
        *,
        randomness: random.Random,
        workers: int,
        limits: Mapping[str, Any],
        answered: Callable[[], int],
    ) -> None:
        self._bus_server, self._store_server = bus_server, store_server
        self._folder, self._notes = folder, folder / "notes"
        self._random = randomness
        self._workers: list[subprocess.Popen[bytes] | None] = [None] * workers
        self._limits = limits
        self._answered = answered
        self._count = {"workers": 0, "workers by poison": 0, "the bus": 0, "PostgreSQL": 0}

    def tell(self) -> None:
        """Print how often what was killed."""
        print("killed: " + ", ".join(f"{what} {times}" for what, times in self._count.items()))

    @asynccontextmanager
    async def workers(self) -> AsyncIterator[None]:
        """While within, there are workers; a new one for each that has died."""
        keeping = asyncio.create_task(self._keep_workers())
        try:
            yield
        finally:
            try:
                await _end(keeping)
            finally:
                for worker in self._workers:
                    if worker is not None:
                        worker.kill()
                        worker.wait()

    @asynccontextmanager
    async def killing(self, seconds: float) -> AsyncIterator[None]:
        """While within, which is so long about, workers and servers are killed."""
        fates = [asyncio.create_task(self._kill_workers()), asyncio.create_task(self._kill_servers(seconds))]
        try:
            yield
        finally:
            await _end(*fates)

    async def _keep_workers(self) -> None:
        while True:
            for number, worker in enumerate(self._workers):
                if worker is None or worker.poll() is not None:
                    # One that was killed here was taken out of the list; whoever is still in it died by itself.
                    self._count["workers by poison"] += worker is not None
                    self._workers[number] = self._start()
            await asyncio.sleep(LOOK_S / 2)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "benchmarks.distributed.chaos_worker"]
        env = {**os.environ, "CHAOS_NOTES": str(self._notes)}
        with (self._folder / "workers.log").open("ab") as log:
            return subprocess.Popen(
                [*command, self._bus_server.url, self._store_server.url("chaos"), json.dumps(self._limits)],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    async def _progress(self, seconds: float) -> None:
        """Wait so long, and until some calls were answered meanwhile."""
        wanted = self._answered() + PROGRESS
        await asyncio.sleep(seconds)
        while True:
            if self._answered() >= wanted:
                return
            await asyncio.sleep(LOOK_S)

    async def _kill_workers(self) -> None:
        """On a machine so busy that they do not begin within that time, they are let do something first."""
        while True:
            await self._progress(self._random.uniform(*KILL_S))
            number = self._random.randrange(len(self._workers))
            victim = self._workers[number]
            while victim is None or f"here\t{victim.pid}\t" not in self._notes.read_text(encoding="utf-8"):
                await asyncio.sleep(LOOK_S)
                victim = self._workers[number]
            if self._workers[number] is victim:
                self._workers[number] = None
                self._count["workers"] += 1
                victim.kill()
                await asyncio.to_thread(victim.wait)

    async def _kill_servers(self, seconds: float) -> None:
        """The bus and PostgreSQL in turn; each at least once, however little time there is."""
        while True:
            for kill in (self._kill_bus, self._kill_store):
                await self._progress(min(self._random.uniform(*SERVER_S) / 2, seconds / 3))
                killing = asyncio.create_task(kill(self._random.uniform(*AWAY_S)))
                try:
                    await asyncio.shield(killing)
                finally:
                    # Once begun it is brought to an end: a server has to come back.
                    await killing

    async def _kill_bus(self, away_s: float) -> None:
        self._count["the bus"] += 1
        await asyncio.to_thread(self._bus_server.kill)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self._bus_server.start)

    async def _kill_store(self, away_s: float) -> None:
        self._count["PostgreSQL"] += 1
        await asyncio.to_thread(self._store_server.stop, signal.SIGKILL)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self._store_server.start)


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancel them. Raises what one of them has failed of."""
    for task in tasks:
        task.cancel()
    for failure in await asyncio.gather(*tasks, return_exceptions=True):
        if failure is not None and not isinstance(failure, asyncio.CancelledError):
            raise failure
