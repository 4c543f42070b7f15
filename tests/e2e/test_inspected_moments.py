"""`pf inspect --at SEQ`: a run as it stood, the twin of the dashboard's timeline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from playground.cli.moment import MomentOutput

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import AddFlow, RunCommand

CHAIN = """
    from __future__ import annotations

    from penguiflow import Node, NodePolicy, create


    async def split(message, ctx):
        for part in "ab":
            await ctx.emit(message.model_copy(update={"payload": part}))
        await ctx.emit_chunk(parent=message, text="all of it")


    async def tell(message, ctx):
        return str(message.payload)


    plain = NodePolicy(validate="none")
    one, two = Node(split, name="split", policy=plain), Node(tell, name="tell", policy=plain)
    flow = create(one.to(two), two.to())
"""


def test_each_pane_of_a_moment_is_told(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    add_flow("chain", CHAIN)
    assert pf("run", "flows/chain.py", "--input", '"q"').returncode == 0
    events = json.loads(pf("inspect", "last", "--json").stdout)["events"]

    def at(seq: int) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(pf("inspect", "last", "--at", str(seq), "--json").stdout)
        MomentOutput.model_validate(told)
        assert told["event"] == events[seq]
        return told

    sent = [each["seq"] for each in events if each["name"] == "split->tell" and each["kind"] == "message.enqueued"]
    chunk = next(each["seq"] for each in events if each["kind"] == "stream.chunk")
    begun = at(sent[0])
    assert (begun["status"], begun["waiting"], begun["streams"]) == ("running", {"tell": 1}, [])
    assert {each["name"]: each["status"] for each in begun["spans"]} == {"chain": "running", "split": "running"}
    assert [each["text"] for each in at(chunk)["streams"]] == ["all of it"]
    end = at(len(events) - 1)
    assert (end["status"], end["waiting"], end["stopped"]) == ("ok", {}, [])
    assert {each["status"] for each in end["spans"]} == {"ok"}
    read = pf("inspect", "last", "--at", str(sent[0])).stdout
    assert f"after event {sent[0]} of {len(events)}" in read
    assert "waiting  1 before tell" in read


def test_where_it_had_stopped_is_told(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    add_flow("chain", CHAIN)
    run = pf(
        "run", "flows/chain.py", "--input", '"q"', "--break", "node:tell", "--json", input='{"action": "proceed"}\n'
    )
    assert run.returncode == 0
    events = json.loads(pf("inspect", "last", "--json").stdout)["events"]
    hit = next(each["seq"] for each in events if each["kind"] == "checkpoint.hit")
    told = json.loads(pf("inspect", "last", "--at", str(hit), "--json").stdout)
    assert [(each["checkpoint"], each["name"]) for each in told["stopped"]] == [("before_node", "tell")]
    assert "stopped  before node tell" in pf("inspect", "last", "--at", str(hit)).stdout


def test_what_there_is_not_is_one_message(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    add_flow("chain", CHAIN)
    assert pf("run", "flows/chain.py", "--input", '"q"').returncode == 0
    for arguments, told in (
        (("--at", "9999"), "has the events 0 to"),
        (("--at", "1", "--events"), "--at shows the run"),
    ):
        done = pf("inspect", "last", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
