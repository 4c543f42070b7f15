"""Requests per second on `/v1/agent/execute`, beside a bare FastAPI route that validates the same.

    python -m benchmarks.peeragent.requests [--seconds 10 --rounds 3 --clients 32]

Both are served by uvicorn in a process of their own, and asked in turns by the same client. PeerAgent runs with the
scripted model, limits off, each task written to SQLite, and all else as it comes: the log of interactions is kept, and
so many runs of a second are recorded as `RECORD_PER_SECOND` says (0 in the environment: all). Prints the ratio for each
round; the aim is 0.4. Where others use the machine, the processors' time that a request takes tells more: it stands
beside it, with a ratio of its own. With one client a round shows what one request takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.peeragent.serving import peeragent, serving

TASK = {"task": "Write a SQL query to find top 10 customers by revenue"}
AIM = 0.4
BARE = """
import socket
import sys
import uvicorn
from fastapi import FastAPI
from peeragent.api.bodies import TaskAnswer, TaskExecuteRequest
app = FastAPI()
SAID = {"code": "SELECT 1;", "language": "sql", "explanation": "One row."}
@app.post("/v1/agent/execute", response_model=TaskAnswer)
async def execute(body: TaskExecuteRequest) -> TaskAnswer:
    result = {"agent_type": "code_agent", "type": "code", "data": SAID}
    return TaskAnswer(task_id="task-0", status="completed", agent_type="code_agent", priority=2,
                      session_id="s", type="code", data=SAID, result=result)
listener = socket.socket(proto=socket.IPPROTO_TCP)
listener.bind(("127.0.0.1", 0))
listener.listen(512)
print(f"listens on http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
config = uvicorn.Config(app, log_level="critical", access_log=False)
uvicorn.Server(config).run(sockets=[listener])
"""


async def ask(port: int, clients: int, seconds: float) -> tuple[float, float]:
    """Requests per second, and the median of what one took, in milliseconds.

    Over plain sockets: a client library would take longer than the server, on the same cores.
    """
    body = json.dumps(TASK).encode()
    head = (
        f"POST /v1/agent/execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    request = head.encode() + b"\r\n\r\n" + body
    took: list[float] = []

    async def one(until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = int(answer.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            told = await reader.readexactly(length)
            took.append(time.perf_counter() - began)
            assert b'"language":"sql"' in told
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one(began + seconds) for _ in range(clients)))
    return len(took) / (time.perf_counter() - began), statistics.median(took) * 1000


def used_s(server: subprocess.Popen[str]) -> float:
    """The processors' time that a process has used, in seconds."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(port: int, server: subprocess.Popen[str], clients: int, seconds: float) -> tuple[float, float, float]:
    """Requests per second, the median in milliseconds, and microseconds of the server's time for each."""
    before, began = used_s(server), time.perf_counter()
    per_second, median_ms = asyncio.run(ask(port, clients, seconds))
    asked = per_second * (time.perf_counter() - began)
    return per_second, median_ms, (used_s(server) - before) / asked * 1e6


def main() -> int:
    """Run the rounds and print a table. 0 where the aim is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    given = parser.parse_args()
    ratios, times = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = [sys.executable, "-c", BARE]
        with serving(bare, folder) as limit, serving(peeragent(), folder, RATE_LIMITS="false") as service:
            names = ("bare/s", "ours/s", "ratio", "bare ms", "ours ms", "bare us", "ours us", "ratio")
            print(f"{'round':>5} {' '.join(f'{each:>8}' for each in names)}")
            for number in range(given.rounds):
                first, first_ms, first_us = measured(*limit, given.clients, given.seconds)
                second, second_ms, second_us = measured(*service, given.clients, given.seconds)
                ratios.append(second / first)
                times.append(first_us / second_us)
                told = f"{first:>8.0f} {second:>8.0f} {ratios[-1]:>8.2f} {first_ms:>8.2f} {second_ms:>8.2f}"
                print(f"{number + 1:>5} {told} {first_us:>8.0f} {second_us:>8.0f} {times[-1]:>8.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}, by time {statistics.median(times):.2f} (aim {AIM})")
    return 0 if statistics.median(ratios) >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
