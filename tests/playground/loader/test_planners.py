"""A planner of a module is something to run, as a flow is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.playground.loader.conftest import Sandbox

MODULE = '''"""Looks things up."""

from __future__ import annotations

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import ReactPlanner


class Topic(BaseModel):
    name: str


class Found(BaseModel):
    text: str


async def look(args: Topic, ctx: object) -> Found:
    return Found(text=args.name)


registry = ModelRegistry()
registry.register("look", Topic, Found)


def made() -> ReactPlanner:
    return ReactPlanner(ScriptedModel([]), nodes=[Node(look, name="look")], registry=registry, name="librarian")
'''


@pytest.mark.parametrize("text", ["planner = made()\ndel made\n", ""])
def test_a_planner_is_a_flow_of_one_node(sandbox: Sandbox, text: str) -> None:
    sandbox.write({"flows/library.py": MODULE + text})
    module = sandbox.module("flows/library.py")
    assert module.error is None
    (flow,) = module.flows
    assert (flow.target, flow.kind, flow.doc) == ("flows/library.py", "planner", "Looks things up.")
    assert flow.input_type == "PlannerRequest"
    assert flow.input_schema is not None
    assert "query" in flow.input_schema["properties"]
    assert [node.name for node in flow.nodes] == ["librarian"]
    assert flow.edges == [("OpenSea", "librarian"), ("librarian", "Rookery")]


def test_it_may_be_named(sandbox: Sandbox) -> None:
    sandbox.write({"library.py": MODULE + "planner = made()\nother = made()\n"})
    module = sandbox.module("library.py:other")
    assert [(flow.name, flow.kind) for flow in module.flows] == [("other", "planner")]


def test_a_module_that_only_uses_one_offers_none(sandbox: Sandbox) -> None:
    sandbox.write({"library.py": MODULE.replace("-> ReactPlanner", "-> object")})
    module = sandbox.module("library.py")
    assert module.flows == []
