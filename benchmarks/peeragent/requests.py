"""Requests per second on `/v1/agent/execute`, beside a bare FastAPI route that validates the same.

    python -m benchmarks.peeragent.requests [--seconds 10 --rounds 3 --clients 32]

Both are served by uvicorn in a process of their own, and asked in turns by the same client. PeerAgent runs with the
scripted model, limits off, each task written to SQLite, each run recorded. Prints the ratio for each round; the aim is
0.4. With one client a round shows what one request takes.
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


def main() -> int:
    """Run the rounds and print a table. 0 where the aim is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    given = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = [sys.executable, "-c", BARE]
        with serving(bare, folder) as (limit, _), serving(peeragent(), folder, RATE_LIMITS="false") as (port, _):
            print(f"{'round':>5} {'bare/s':>9} {'ours/s':>9} {'ratio':>6} {'bare ms':>8} {'ours ms':>8}")
            for number in range(given.rounds):
                first, first_ms = asyncio.run(ask(limit, given.clients, given.seconds))
                second, second_ms = asyncio.run(ask(port, given.clients, given.seconds))
                ratios.append(second / first)
                took = f"{first_ms:>8.2f} {second_ms:>8.2f}"
                print(f"{number + 1:>5} {first:>9.0f} {second:>9.0f} {ratios[-1]:>6.2f} {took}")
    print(f"median ratio {statistics.median(ratios):.2f} (aim {AIM})")
    return 0 if statistics.median(ratios) >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
