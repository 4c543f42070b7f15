"""One trace whose messages all go to a node that keeps something, over several workers: how often is work done twice?

    .venv/bin/python -m benchmarks.distributed.hot_trace [--bus redis|nats] [--store postgres|sqlite] [--workers 4]
        [--concurrency 4] [--parts 200] [--rounds 3] [--work-ms 2] [--join]

Workers are processes of their own. Each invocation, and each change that is committed, is a line in a file; no lease is
lost here, so that every invocation beyond one for each message is a repeat that should not be. With `--join` the node
is a join, which nobody sees at work: only changes are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.capacity.measuring import new_server
from benchmarks.capacity.storing import postgres_server
from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create, join_k
from penguiflow.bus import Limits
from penguiflow.bus.opening import open_bus
from penguiflow.distributed import Worker
from penguiflow.state import PostgresStateStore, SQLiteStateStore

__all__ = ["build", "main"]

CALL_S = 240.0
ROOT = Path(__file__).parents[2]


def _note(file: Path, *words: object) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, (" ".join(map(str, words)) + "\n").encode())
    os.close(handle)


def build(about: dict[str, Any], **given: Any) -> PenguiFlow:
    """`fan` sends many parts to `keep`, which answers with all that it has got when it has them all."""
    notes = Path(about["notes"])

    async def fan(message: Message, ctx: Context) -> None:
        for number in range(message.payload):
            await ctx.emit(message.model_copy(update={"payload": [message.payload, number]}))

    async def keep(message: Message, ctx: Context) -> Message | None:
        many, number = message.payload
        got = ctx.trace_state.setdefault("got", [])
        _note(notes, "ran", message.trace_id, number)
        await asyncio.sleep(about["work_s"])
        got.append(number)
        return message.model_copy(update={"payload": sorted(got)}) if len(got) == many else None

    fanning, keeping = (Node(each, policy=NodePolicy(validate="none")) for each in (fan, keep))
    if about["join"]:
        keeping = join_k("keep", about["join"])
    return create(fanning.to(keeping), keeping.to(), name="hot", **given)


class _Counts:
    """A store that notes how many changes are committed."""

    notes: Path

    async def commit_shared(self, *changes: Any) -> Any:
        """As `SupportsSharedState.commit_shared`."""
        for change in changes:
            _note(self.notes, "commit", change.trace_id)
        return await super().commit_shared(*changes)  # type: ignore[misc]


class _Postgres(_Counts, PostgresStateStore):
    """In PostgreSQL."""


class _SQLite(_Counts, SQLiteStateStore):
    """In a file."""


def _store(url: str, notes: Path) -> Any:
    store: Any = _Postgres(url) if url.startswith("postgres") else _SQLite(url)
    store.notes = notes
    return store


async def _work(about: dict[str, Any]) -> None:
    """Be a worker."""
    store = _store(about["store"], Path(about["notes"]))
    worker = Worker(build(about), bus=open_bus(about["bus"], Limits()), store=store, concurrency=about["concurrency"])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: asyncio.ensure_future(worker.drain(5)))
    running = asyncio.create_task(worker.run())
    await worker.ready()
    _note(Path(about["notes"]), "here", os.getpid())
    await running
    await store.close()


@contextmanager
def _servers(bus: str, store: str, folder: Path) -> Iterator[tuple[str, str]]:
    server = new_server(bus)
    try:
        server.start()
        if store == "sqlite":
            yield server.url, str(folder / "state.db")
        else:
            with postgres_server() as postgres:
                yield server.url, postgres.fresh_url()
    finally:
        server.remove()


def _lines(notes: Path) -> list[list[str]]:
    return [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []


async def _call(about: dict[str, Any], options: argparse.Namespace) -> None:
    """Have the parts of a trace handled, some times, and say what came of it."""
    notes, store = Path(about["notes"]), _store(about["store"], Path(about["notes"]))
    while sum(line[0] == "here" for line in _lines(notes)) < options.workers:  # noqa: ASYNC110 - of other processes
        await asyncio.sleep(0.05)
    flow = build(about, message_bus=open_bus(about["bus"], Limits()), state_store=store)
    flow.run()
    for turn in range(options.rounds):
        began = time.monotonic()
        message = Message(payload=options.parts, headers=Headers(tenant="t"), trace_id=f"t{turn}")
        result = await flow.call(message, timeout=CALL_S)
        numbers = sorted(each[-1] if options.join else each for each in result.payload)
        assert numbers == list(range(options.parts)), "something is missing"
        seconds = time.monotonic() - began
        lines = [line for line in _lines(notes) if line[1] == f"t{turn}"]
        kinds = Counter(line[0] for line in lines)
        repeats = kinds["ran"] - options.parts
        seen = "" if options.join else f"{repeats} repeats ({100 * repeats / kinds['ran']:.1f} %), "
        print(
            f"{options.bus} {options.store} workers={options.workers} x {options.concurrency} parts={options.parts}: "
            f"{seen}{kinds['commit']} changes, {seconds:.2f} s",
            flush=True,
        )
    await flow.stop()
    await store.close()


def main(arguments: list[str] | None = None) -> None:
    """Run it on servers of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bus", choices=("redis", "nats"), default="redis")
    parser.add_argument("--store", choices=("postgres", "sqlite"), default="postgres")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--parts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work-ms", type=float, default=2.0)
    parser.add_argument("--join", action="store_true")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="hot-") as folder,
        _servers(options.bus, options.store, Path(folder)) as (bus, store),
    ):
        about = {
            "bus": bus,
            "store": store,
            "notes": str(Path(folder) / "notes"),
            "concurrency": options.concurrency,
            "join": options.parts if options.join else 0,
            "work_s": options.work_ms / 1000,
        }
        command = [sys.executable, "-m", "benchmarks.distributed.hot_trace", "--work", json.dumps(about)]
        workers = [subprocess.Popen(command, cwd=ROOT) for _ in range(options.workers)]
        try:
            asyncio.run(_call(about, options))
        finally:
            for worker in workers:
                worker.kill()
            for worker in workers:
                worker.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        asyncio.run(_work(json.loads(sys.argv[2])))
    else:
        main()
