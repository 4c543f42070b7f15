"""A session with a host, and several hosts on one project, against real worker processes."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow.state.traces import TraceQuery
from playground.host.control import FromWorker, Loading
from playground.live import LiveSource, PortInUse
from playground.project import project_at
from playground.protocol import Logs, Result, Run
from playground.session import AmbiguousTarget, HostSession, LoadFailed
from playground.sources import RunRefused
from playground.supervisor.loading import LoadGuard
from playground.supervisor.process import Worker
from playground.supervisor.spawn import listen

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, OpenLive

LIMIT_S = 120.0

ECHO = """
    from penguiflow import Node, create


    async def give(message, ctx):
        return message.payload


    flow = create(Node(give).to())
"""


async def test_one_that_is_given_up_while_it_loads_leaves_nothing_behind(
    project: Path, add_flow: AddFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    class Guard(LoadGuard):
        def hear(self, worker: Worker, message: FromWorker) -> None:
            super().hear(worker, message)
            if isinstance(message, Loading):
                begun.set()

    monkeypatch.setattr("playground.session.LoadGuard", Guard)
    target = add_flow("slow", "import time\ntime.sleep(600)\n")
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, about: told.append(about))
    session = HostSession(project_at(project), [str(project / target)])
    entering = asyncio.create_task(session.__aenter__())
    async with asyncio.timeout(LIMIT_S):
        await begun.wait()
    entering.cancel()
    await asyncio.wait({entering})
    assert entering.cancelled()
    del session, entering
    gc.collect()
    assert told == []


async def test_frames_come_in_order_and_end_with_the_session(project: Path, add_flow: AddFlow) -> None:
    target = add_flow("echo", ECHO.replace("return", "print('hello'); return"))
    seen: list[str] = []
    async with HostSession(project_at(project), [str(project / target)]) as host:
        flow = host.find_flow(target)
        accepted = await host.run(Run(target=flow.target, input={"a": [1]}))
        assert accepted.version == flow.version
        frames = host.frames()
        async for frame in frames:
            seen.append(type(frame).__name__)
            if isinstance(frame, Result):
                assert (frame.status, frame.output, frame.version) == ("ok", {"a": [1]}, flow.version)
                break
    rest = [frame async for frame in host.frames()]
    assert seen[-1] == "Result"
    assert "Events" in seen
    assert all(isinstance(frame, Logs) for frame in rest)


async def test_a_target_is_found_however_it_is_written(
    project: Path, add_flow: AddFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = add_flow("echo", ECHO)
    add_flow("two", dedent(ECHO) + "other = create(Node(give, name='x').to())\n")
    monkeypatch.chdir(project / "flows")
    async with HostSession(project_at(project), ["echo.py", "flows.echo", ".."]) as host:
        assert host.find_flow("echo.py").target == target
        assert host.find_flow("flows/echo.py").target == target
        assert host.find_flow(str(project / target)).target == target
    async with HostSession(project_at(project), ["two.py"]) as host:
        assert host.find_flow("two.py:other").target == "flows/two.py:other"
        with pytest.raises(AmbiguousTarget) as ambiguous:
            host.find_flow("two.py")
        assert ambiguous.value.candidates == ["flows/two.py:flow", "flows/two.py:other"]
        with pytest.raises(LoadFailed):
            host.find_flow("three.py")


async def test_two_dashboards_on_one_project(add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow("echo", ECHO)
    one, two = await open_live(), await open_live()
    results = await asyncio.gather(*(live.run(target, n) for n in range(5) for live in (one, two)))
    assert {result.status for result in results} == {"ok"}
    stored = await one.source.find_traces(TraceQuery())
    assert {trace.trace_id for trace in stored} == {result.trace_id for result in results}


async def test_input_that_does_not_fit_names_the_fields(add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow("greet")
    live = await open_live()
    with pytest.raises(RunRefused) as refused:
        await live.run(target, {"age": "old"})
    assert {detail["path"] for detail in refused.value.details} == {"/name", "/age"}
    with pytest.raises(RunRefused, match="no flow"):
        await live.run("flows/none.py")
    trace_id = await live.source.run(Run(target=target, input={"name": "Bo"}, trace_id="mine", session="s1"))
    assert trace_id == "mine"
    assert (await live.end("mine")).output == {"text": "hello Bo"}
    (stored,) = await live.source.find_traces(TraceQuery())
    assert (stored.session, stored.target) == ("s1", target)


async def test_a_port_that_is_taken(project: Path) -> None:
    taken = listen()
    try:
        source = LiveSource(project_at(project), port=taken.getsockname()[1])
        with pytest.raises(PortInUse, match="in use"):
            await source.start()
        await source.stop()
    finally:
        taken.close()
