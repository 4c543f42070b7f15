"""How `/ping` and requests are answered while Redis cannot be reached.

    python -m benchmarks.peeragent.store_away [--seconds 10]

Two cases: nobody listens (refused at once), and somebody listens who never answers. While eight clients keep asking for
tasks, `/ping` is asked every 10 ms. Its p99 must stay under 50 ms; tasks are refused with 503.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.peeragent.serving import peeragent, serving

AIM_MS = 50.0
TASK = {"task": "Write a SQL query to find top 10 customers by revenue"}


async def ask(port: int, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of pings, and of requests that were refused."""
    pings: list[float] = []
    refused: list[float] = []
    until = time.perf_counter() + seconds

    async def keep_asking(client: httpx.AsyncClient) -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            answer = await client.post("/v1/agent/execute", json=TASK)
            refused.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 503, answer.text
            assert answer.json()["detail"]["code"] == "STORAGE_ERROR"

    async def ping() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
            pings.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.01)
        writer.close()

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        await asyncio.gather(ping(), *(keep_asking(client) for _ in range(8)))
    return pings, refused


def main() -> None:
    """Run both cases."""
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
            told = {
                "case": case,
                "pings": len(pings),
                "ping p50 ms": round(statistics.median(pings), 2),
                "ping p99 ms": round(statistics.quantiles(pings, n=100)[98], 2),
                "aim": AIM_MS,
                "refused": len(refused),
                "refused p50 ms": round(statistics.median(refused), 2),
                "refused max ms": round(max(refused), 1),
            }
            print(json.dumps(told))


if __name__ == "__main__":
    main()
