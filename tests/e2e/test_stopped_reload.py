"""A save while runs are stopped: they stay with the code that they began with, and both generations are reached."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from playground.breakpoints import Breakpoint
from playground.protocol import Decide
from playground.sources import RunRefused
from playground.supervisor import supervisor as supervising

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, OpenLive

FLOW = """
    from pydantic import BaseModel
    from penguiflow import ModelRegistry, Node, create

    NUMBER = {number}


    class Number(BaseModel):
        number: int = 0


    async def give(value: Number, ctx) -> Number:
        return Number(number=value.number + NUMBER)


    def build_flow():
        registry = ModelRegistry()
        registry.register("give", Number, Number)
        return create(Node(give).to()), registry
"""
TARGET = "flows/number.py"
BEFORE = Breakpoint(id="1", on="kind", kind="before_node")


def save(project: Path, number: int) -> None:
    (project / TARGET).write_text(dedent(FLOW.format(number=number)).lstrip())


async def test_runs_of_two_generations_are_decided_upon(project: Path, add_flow: AddFlow, open_live: OpenLive) -> None:
    add_flow("number", FLOW.format(number=1))
    live = await open_live()
    await live.source.set_breakpoints([BEFORE], [])
    old = await live.start(TARGET, {"number": 10})
    stopped_old = await live.stop_of(old)
    before = live.modules[TARGET].flows[0].version
    save(project, 2)
    await live.state(TARGET, "loaded", not_version=before)
    new = await live.start(TARGET, {"number": 20})
    stopped_new = await live.stop_of(new)
    assert stopped_old.stop != stopped_new.stop
    with pytest.raises(RunRefused) as refused:
        await live.source.decide(Decide(stop=stopped_old.stop, action="edit", value={"number": "x"}))
    assert refused.value.code == "invalid_input"
    await live.source.decide(Decide(stop=stopped_old.stop, action="edit", edits={"/number": 30}))
    assert (await live.end(old)).output == {"number": 31}
    await live.source.decide(Decide(stop=stopped_new.stop))
    assert (await live.end(new)).output == {"number": 22}


async def test_no_stopped_run_is_killed_for_a_reload(
    project: Path, add_flow: AddFlow, open_live: OpenLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "KILL_AFTER_S", 0.0)
    add_flow("number", FLOW.format(number=1))
    live = await open_live(grace_s=0.0)
    await live.source.set_breakpoints([BEFORE], [])
    old = await live.start(TARGET, {"number": 10})
    stopped = await live.stop_of(old)
    newest = live.source._supervisor.generations.newest
    assert newest is not None
    before = live.modules[TARGET].flows[0].version
    save(project, 2)
    await live.state(TARGET, "loaded", not_version=before)
    await live.source.set_breakpoints([], ["1"])
    assert (await live.run(TARGET, {"number": 20})).output == {"number": 22}
    with pytest.raises(RunRefused) as refused:
        await live.source.decide(Decide(stop=stopped.stop, action="edit", value={"number": "x"}))
    assert refused.value.code == "invalid_input"
    assert newest.worker.death is None
    # There is no grace: the worker may be gone before it has said that it heard.
    with contextlib.suppress(RunRefused):
        await live.source.decide(Decide(stop=stopped.stop))
    await live.end(old)  # as it was, or interrupted
    async with asyncio.timeout(60):
        await newest.worker.ended.wait()
