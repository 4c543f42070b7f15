"""How `/ping` and requests are answered while Redis cannot be reached.

    python -m benchmarks.peeragent.store_away [--seconds 10]

Two cases: nobody listens (refused at once), and somebody listens who never answers. While eight clients keep asking for
tasks, `/ping` is asked every 10 ms. Its p99 must stay under 50 ms; tasks are refused with 503, the slowest of them soon
after STORE_TIMEOUT. Exits with 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.peeragent.serving import peeragent, serving

AIM_MS = 50.0
SLOWEST_MS = 3000.0
"""STORE_TIMEOUT is 2 s unless it is set."""
TASK = b'{"task": "Write a SQL query to find top 10 customers by revenue"}'


async def ask(port: int, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of pings, and of requests that were refused."""
    pings: list[float] = []
    refused: list[float] = []
    until = time.perf_counter() + seconds

    async def keep_asking(request: bytes, took: list[float], status: bytes, says: bytes, pause: float) -> None:
        # Over plain sockets: a client library would keep the same loop busy, and pings would wait for that.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            told = await reader.readexactly(int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
            took.append((time.perf_counter() - began) * 1000)
            assert head.startswith(b"HTTP/1.1 " + status), head
            assert says in told, told
            await asyncio.sleep(pause)
        writer.close()

    about = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(TASK)}\r\n\r\n".encode()
    post = b"POST /v1/agent/execute HTTP/1.1\r\n" + about + TASK
    get = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    asking = (keep_asking(post, refused, b"503", b'"STORAGE_ERROR"', 0.0) for _ in range(8))
    await asyncio.gather(keep_asking(get, pings, b"200", b"pong", 0.01), *asking)
    return pings, refused


def main() -> int:
    """Run both cases. 0 if all held."""
    held = True
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    with socket.socket() as deaf, tempfile.TemporaryDirectory() as name:
        deaf.bind(("127.0.0.1", 0))
        closed = deaf.getsockname()[1]
        for case in ("refused", "silent"):
            if case == "silent":
                deaf.listen(1000)
            with serving(peeragent(), Path(name), REDIS_URL=f"redis://127.0.0.1:{closed}/0") as (port, _):
                pings, refused = asyncio.run(ask(port, given.seconds))
            told: dict[str, Any] = {
                "case": case,
                "pings": len(pings),
                "ping p50 ms": round(statistics.median(pings), 2),
                "ping p99 ms": round(statistics.quantiles(pings, n=100)[98], 2),
                "aim": AIM_MS,
                "refused": len(refused),
                "refused p50 ms": round(statistics.median(refused), 2),
                "refused max ms": round(max(refused), 1),
            }
            kept = told["ping p99 ms"] < AIM_MS and max(refused) < SLOWEST_MS
            print(json.dumps({**told, "held": kept}))
            held = held and kept
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
