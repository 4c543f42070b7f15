"""The log of interactions: who was asked what, and what came of it. Written beside the work, never in its way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import Any, Protocol

from peeragent.models.tasks import TaskRecord
from peeragent.settings import Settings
from peeragent.store.base import StoreUnavailable, TaskStore

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
BATCH = 200
GATHER_S = 0.05
MAX_TEXT = 4000
"""Characters of a task that are kept."""
SINK_S = 2.0
"""How long the sink may take for a batch."""
REST_S = 5.0
"""After a failure of the sink, before it is tried again."""


Line = dict[str, Any]
"""A line of the log: JSON. The names are those of the earlier collection `agent_logs`."""


def line_of(task: TaskRecord, seconds: float) -> Line:
    """What is kept of a task."""
    result = task.result or {}
    return {
        "timestamp": datetime.now(UTC).isoformat(),
        "agent_type": task.agent_type,
        "session_id": task.session_id,
        "task_id": task.task_id,
        "owner": task.owner,
        "input_data": {"task": task.task[:MAX_TEXT], "answers": len(task.answers), "kind": task.kind},
        "output_data": {name: result[name] for name in ("type", "data") if name in result} or None,
        "error": task.error.code if task.error else None,
        "duration_ms": round(seconds * 1000, 3),
        "llm_model": (result.get("model") or {}).get("model"),
    }


class Sink(Protocol):
    """Takes lines of the log elsewhere."""

    async def write(self, lines: list[Line]) -> None:
        """All of them, or an exception."""

    async def check(self) -> None:
        """Return when it can be reached."""

    async def close(self) -> None:
        """The end."""


class MongoSink:
    """The collection `agent_logs` of a MongoDB server; needs the extra `mongo`."""

    def __init__(self, settings: Settings) -> None:
        from pymongo import AsyncMongoClient

        assert settings.mongodb_url is not None
        milliseconds = int(SINK_S * 1000)
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            settings.mongodb_url.get_secret_value(),
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
            tz_aware=True,
        )
        self._collection = self._client[settings.mongodb_db_name]["agent_logs"]

    async def write(self, lines: list[Line]) -> None:
        """One insert."""
        dated = [{**_storable(line), "timestamp": datetime.fromisoformat(line["timestamp"])} for line in lines]
        await self._collection.insert_many(dated, ordered=False)

    async def check(self) -> None:
        """A ping."""
        await self._client.admin.command("ping")

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()


def _storable(value: Any) -> Any:
    """The value as BSON has it: no zero bytes in names, numbers of 8 bytes. One line would cost all of its batch."""
    if isinstance(value, dict):
        return {name.replace("\0", "\ufffd"): _storable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_storable(each) for each in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


class Interactions:
    """Collects lines and writes them in the background: what does not fit any more is counted, not waited for."""

    def __init__(self, store: TaskStore, sink: Sink | None) -> None:
        self._store, self.sink = store, sink
        self._waiting: list[Line] = []
        self._there = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._sink_again = 0.0
        self.dropped = 0
        """Lines that could not be kept."""

    def add(self, task: TaskRecord, seconds: float) -> None:
        """A task is over."""
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(line_of(task, seconds))
        self._there.set()

    def start(self) -> None:
        """Begin to write."""
        self._writing = asyncio.create_task(self._run(), name="peeragent interactions")

    async def stop(self) -> None:
        """Write what waits, then end."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        while self._waiting:
            await self._write()
        if self.sink is not None:
            with contextlib.suppress(Exception):
                await self.sink.close()

    async def _run(self) -> None:
        while True:
            await self._there.wait()
            # What comes within a moment is written together.
            await asyncio.sleep(GATHER_S)
            self._there.clear()
            while self._waiting:
                await self._write()

    async def _write(self) -> None:
        lines, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        if not lines:
            return
        try:
            await self._store.log_interactions(lines)
        except StoreUnavailable:
            self.dropped += len(lines)
        loop = asyncio.get_running_loop()
        if self.sink is None or loop.time() < self._sink_again:
            return
        try:
            async with asyncio.timeout(SINK_S):
                await self.sink.write(lines)
        except Exception as error:  # a sink is a library's; whatever it raises, the service goes on
            self._sink_again = loop.time() + REST_S
            log.warning("the sink of interactions does not take lines: %s", type(error).__name__)


def make_sink(settings: Settings) -> Sink | None:
    """That of the settings."""
    return None if settings.mongodb_url is None else MongoSink(settings)
