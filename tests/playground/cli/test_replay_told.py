"""What `pf replay` and those like it say of what they cannot do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from textwrap import dedent

import pytest

from playground.__main__ import main

WriteTrace = Callable[..., Awaitable[None]]

SOURCE = """
    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node, create


    class Order(BaseModel):
        text: str = "fish"


    async def fetch(prompt: str) -> str:
        return prompt.upper()


    async def ask(order: Order, ctx) -> Order:
        return Order(text=await ctx.record("model", fetch, f"PROMPT: {order.text}"))


    node = Node(ask)
    flow = create(node.to())
    registry = ModelRegistry()
    registry.register("ask", Order, Order)
"""


@pytest.mark.parametrize(
    "command",
    [["replay"], ["test", "-o", "tests/test_x.py"], ["fork", "--at", "1"], ["resume"]],
    ids=lambda each: each[0],
)
def test_a_file_is_taken_in_first(
    project: Path, write_trace: WriteTrace, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    async def write() -> None:
        await write_trace("one")

    asyncio.run(write())
    assert main(["export", "one", "my trace.pftrace"]) == 0
    capsys.readouterr()

    assert main([command[0], "my trace.pftrace", *command[1:]]) == 2

    told = capsys.readouterr().err
    assert "my trace.pftrace is a file" in told
    assert "`pf import 'my trace.pftrace'`" in told
    assert not (project / "tests").exists()


def test_the_record_of_a_divergence_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "flows").mkdir()
    source = project / "flows" / "asking.py"
    source.write_text(dedent(SOURCE))
    assert main(["run", "flows/asking.py", "--json"]) == 0
    recorded = json.loads(capsys.readouterr().out)["trace_id"]
    source.write_text(source.read_text().replace("PROMPT", "QUESTION"))
    assert main(["replay", recorded, "--json"]) == 4
    replayed = json.loads(capsys.readouterr().out)["trace_id"]
    assert main(["inspect", replayed, "--json"]) == 0

    trace = json.loads(capsys.readouterr().out)["trace"]

    place = "ask[0]/attempt[0]/model[0] (event 5 of the recording)"
    assert trace["error"] == (
        f"TRACE_CANCELLED: trace cancelled: the replay diverged at {place}: the request is another one"
    )
