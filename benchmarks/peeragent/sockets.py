"""Many conversations over sockets at once, and the memory that they take.

    python -m benchmarks.peeragent.sockets [--sessions 500 --rounds 3]

Opens the sockets, has each conversation do a task in each round, and prints the memory of the server before, with all
sockets open, after each round, and when all are closed. A socket must cost less than 200 kB, and the memory must not
grow by more than a tenth from the first round to the last. Exits with 1 where that does not hold, or a task is not
done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.peeragent.serving import peeragent, resident_mb, serving

TASK = json.dumps({"type": "task", "data": {"task": "Write a SQL query to find top 10 customers by revenue"}})

MOST_KB = 200
MOST_GROWTH = 0.1


async def turn(socket: ClientConnection) -> float:
    """One task; the milliseconds until its result."""
    began = time.perf_counter()
    await socket.send(TASK)
    for wanted in ("ack", "result"):
        frame = json.loads(await socket.recv())
        assert frame["type"] == wanted, frame
    return (time.perf_counter() - began) * 1000


async def run(port: int, pid: int, sessions: int, rounds: int) -> int:
    """Open, talk, close. 0 if all held."""
    before = resident_mb(pid)
    print(f"before: {before:.0f} MB")
    began = time.perf_counter()
    open_them = (connect(f"ws://127.0.0.1:{port}/ws/agent/s-{number}", open_timeout=60) for number in range(sessions))
    sockets = await asyncio.gather(*open_them)
    opened = resident_mb(pid)
    print(f"{sessions} sockets in {time.perf_counter() - began:.1f} s: {opened:.0f} MB")
    after: list[float] = []
    for number in range(rounds):
        began = time.perf_counter()
        took = await asyncio.gather(*map(turn, sockets))
        per_second = sessions / (time.perf_counter() - began)
        after.append(resident_mb(pid))
        print(f"round {number + 1}: p50 {statistics.median(took):.0f} ms, {per_second:.0f}/s, {after[-1]:.0f} MB")
    await asyncio.gather(*(socket.close() for socket in sockets))
    print(f"closed: {resident_mb(pid):.0f} MB")
    each_kb = (opened - before) * 1024 / sessions
    growth = after[-1] / after[0] - 1
    held = each_kb < MOST_KB and growth < MOST_GROWTH
    print(
        f"{each_kb:.0f} kB for a socket, {growth:+.1%} from the first round to the last: {'held' if held else 'MISSED'}"
    )
    return 0 if held else 1


def main() -> int:
    """Start a server and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        serving(peeragent(), Path(name), RATE_LIMITS="false") as (port, server),
    ):
        return asyncio.run(run(port, server.pid, given.sessions, given.rounds))


if __name__ == "__main__":
    sys.exit(main())
