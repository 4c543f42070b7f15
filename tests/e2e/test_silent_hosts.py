"""Native code that holds the interpreter: the supervisor's side says so by itself, and can end it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penguiflow.state.traces import TraceQuery
from playground.protocol import Accepted, Kill
from playground.sources import RunRefused

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, OpenLive

NATIVE = """
    import ctypes
    from penguiflow import Node, create

    libc = ctypes.PyDLL(None)  # its functions are called without giving the interpreter away


    async def give(message, ctx):
        if message.payload:
            libc.system(b"while [ ! -e go ]; do sleep 0.05; done")
        return message.payload


    flow = create(Node(give).to())
"""

LOOP = """

    def loop():
        while True:
            pass
"""


async def test_a_silent_host_is_told_and_killed(add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow("native", NATIVE)
    live = await open_live()
    trace_id = await live.start(target, 1)
    await live.until(lambda: any(state.startswith("silent host silent for 2 s") for state in live.states))
    await live.until(lambda: any(state.startswith("silent host silent for 3 s") for state in live.states))
    assert await live.source.kill_silent()
    result = await live.end(trace_id)
    assert result.status == "interrupted"
    assert result.error is not None
    assert "SIGKILL" in result.error["message"]
    await live.until(lambda: any(state.startswith("ready restarted") for state in live.states))
    assert (await live.run(target, 0)).status == "ok"
    assert live.kinds(trace_id)[-1] == "trace.end"


async def test_one_that_comes_back_is_ready_again(project: Path, add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow("native", NATIVE)
    live = await open_live()
    trace_id = await live.start(target, 1)
    await live.until(lambda: any(state.startswith("silent") for state in live.states))
    (project / "go").touch()
    assert (await live.end(trace_id)).status == "ok"
    await live.until(lambda: live.states[-1] == "ready")
    assert not await live.source.kill_silent()
    with pytest.raises(RunRefused, match="silent"):
        await live.source.relay(Kill())


async def test_one_that_loops_forever_is_killed_too(add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow(
        "native", NATIVE.replace('libc.system(b"while [ ! -e go ]; do sleep 0.05; done")', "loop()") + LOOP
    )
    live = await open_live()
    trace_id = await live.start(target, 1)
    await live.until(
        lambda: any(float(seconds) > 2.1 for seconds in re.findall("blocked ([0-9.]+) s", str(live.states)))
    )
    assert any("in loop" in state for state in live.states)
    assert isinstance(await live.source.relay(Kill()), Accepted)
    assert (await live.end(trace_id)).status == "interrupted"
    assert (await live.run(target, 0)).status == "ok"


async def test_it_ends_with_its_supervisor(project: Path, add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow("native", NATIVE)
    live = await open_live()
    await live.start(target, 1)
    await live.until(lambda: any(state.startswith("silent") for state in live.states))
    async with asyncio.timeout(60):
        await live.source.stop()
    assert live.source.worker_pids == []


async def test_a_second_dashboard_leaves_runs_alone_that_are_alive(
    project: Path, add_flow: AddFlow, open_live: OpenLive
) -> None:
    """One of a host that is silent too: it has a pid and a start time, whatever it does not say."""
    target = add_flow("native", NATIVE)
    live = await open_live()
    trace_id = await live.start(target, 1)
    await live.until(lambda: any(state.startswith("silent") for state in live.states))
    other = await open_live()
    broken = await other.start(target, 1)
    await other.until(lambda: any(state.startswith("silent") for state in other.states))
    assert await other.source.kill_silent()
    assert (await other.end(broken)).status == "interrupted"
    found = {trace.trace_id: trace.status for trace in await other.source.find_traces(TraceQuery())}
    assert found == {trace_id: "running", broken: "interrupted"}
    (project / "go").touch()
    assert (await live.end(trace_id)).status == "ok"
