"""A planner without a store asks a human: `pf` keeps the run with its record, and another process goes on with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, RunCommand

ASKER = """
    from __future__ import annotations

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node
    from penguiflow.llm.scripted import ScriptedModel
    from penguiflow.planner import ReactPlanner


    class Mail(BaseModel):
        to: str


    class Sent(BaseModel):
        sent: bool


    async def send(args: Mail, ctx) -> Sent:
        return Sent(sent=await ctx.ask(f"Send it to {args.to}?", bool))


    registry = ModelRegistry()
    registry.register("send", Mail, Sent)
    model = ScriptedModel(
        rules=[
            ("Write", {"next_node": "send", "args": {"to": "Pip"}}),
            ("true", {"next_node": "final_response", "args": {"answer": "It is sent."}}),
            ("false", {"next_node": "final_response", "args": {"answer": "It is not sent."}}),
        ]
    )
    planner = ReactPlanner(model, nodes=[Node(send)], registry=registry, name="mailer")
"""


def test_a_paused_run_goes_on_in_another_process(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    add_flow("mailer", ASKER)
    run = pf("run", "flows/mailer.py", "--input", '{"query": "Write to Pip"}', "--json")
    assert run.returncode == 0
    said = json.loads(run.stdout)
    assert said["status"] == "paused"
    assert "it waits for an answer: Send it to Pip?" in run.stderr
    assert f'"pause":"{said["output"]["resume_token"]}"' in run.stderr.replace(" ", "")

    listed = json.loads(pf("traces", "--json").stdout)
    assert [trace["status"] for trace in listed["traces"]] == ["paused"]
    assert [trace["status"] for trace in json.loads(pf("traces", "--status", "paused", "--json").stdout)["traces"]] == [
        "paused"
    ]
    shown = pf("inspect", "last").stdout
    assert [line.split()[2:4] for line in shown.splitlines() if "‖" in line and "tool" in line] == [["tool", "send"]]
    assert shown.startswith("‖ paused")

    again = pf("replay", "last", "--json")
    assert again.returncode == 0, again.stderr

    resume = {"resume": {"pause": said["output"]["resume_token"], "answer": True}}
    second = json.loads(pf("run", "flows/mailer.py", "--input", json.dumps(resume), "--json").stdout)
    assert (second["status"], second["output"]["payload"]["raw_answer"]) == ("ok", "It is sent.")

    listed = json.loads(pf("traces", "--json").stdout)
    assert [trace["status"] for trace in listed["traces"] if not trace["origin"]] == ["ok", "ok"]

    used = pf("run", "flows/mailer.py", "--input", json.dumps(resume), "--json")
    assert used.returncode == 1
    assert "no run waits under the token" in used.stderr
    assert "Traceback" not in used.stderr


def test_without_a_record_nobody_can_answer_and_it_says_so(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    add_flow("mailer", ASKER)
    run = pf("run", "flows/mailer.py", "--input", '{"query": "Write to Pip"}', "--no-store")
    assert run.returncode == 0
    assert "nobody can give it" in run.stderr
    assert "go on:" not in run.stderr
