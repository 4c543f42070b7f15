"""A worker that is to end waits for somebody to decide upon its stopped runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from playground.breakpoints import Breakpoint
from playground.host.control import Held, Retire
from playground.protocol import Accepted, Breakpoints, Decide, Error, Hello, Result, Run, Stopped

FLOW = """
from penguiflow import Node, create


async def give(message, ctx):
    return message


flow = create(Node(give).to())
"""
LIMIT_S = 60.0


async def test_the_grace_begins_when_no_run_is_stopped(tmp_path: Path, serving: Any) -> None:
    (tmp_path / "app.py").write_text(FLOW)
    heard: list[Any] = []
    async with serving(tmp_path, hear_all=heard.append) as served:
        async with served.connect() as socket:
            client = served.peer(socket)
            await client.until(Hello)
            await client.send(Breakpoints(put=[Breakpoint(id="1", on="kind", kind="before_node")]))
            await client.send(Run(target="app.py", input=1, trace_id="one"))
            stopped = await client.until(Stopped)
            served.worker.expect_end()
            served.worker.send(Retire(grace_s=0.0))
            refused = False
            while not refused:  # until it has heard that it is to end
                await client.send(Run(id=2, target="app.py", input=1))
                refused = isinstance(await client.until(Accepted, Error), Error)
            await client.send(Decide(id=3, stop="no such stop"))
            assert (await client.until(Error)).reply_to == 3
            assert served.worker.death is None
            await client.send(Decide(id=4, stop=stopped.stop))
            while (await client.until(Result)).trace_id != "one":
                pass
        async with asyncio.timeout(LIMIT_S):
            await served.worker.ended.wait()
    held = [message.traces for message in heard if isinstance(message, Held)]
    assert held[0] == ["one"]
    assert [] in held
