"""Planners over plain functions, and what is recorded of their runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

from penguiflow import ModelRegistry, Node, NodePolicy
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import ReactPlanner
from penguiflow.recording import EventRecord, Recorder, TraceEvent


class Number(BaseModel):
    """A whole number."""

    n: int


class Text(BaseModel):
    """A text."""

    text: str


class Log:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)

    @property
    def events(self) -> list[TraceEvent]:
        return [record.decode() for record in self.records]

    def recorder(self) -> Recorder:
        return Recorder(self, name="planner")


def planner_of(
    *tools: Callable[..., Any],
    script: Sequence[Any] = (),
    policies: dict[str, NodePolicy] | None = None,
    model: Any = None,
    **options: Any,
) -> ReactPlanner:
    """A planner over async functions `(args, ctx)`, whose models are their annotations; its model follows a script."""
    registry, nodes = ModelRegistry(), []
    for func in tools:
        hints = get_type_hints(func)
        registry.register(func.__name__, hints["args"], hints["return"])
        nodes.append(Node(func, name=func.__name__, policy=(policies or {}).get(func.__name__) or NodePolicy()))
    return ReactPlanner(model or ScriptedModel(script), nodes=nodes, registry=registry, **options)


def call(node: str, **args: Any) -> dict[str, Any]:
    """What a model says to call a tool."""
    return {"next_node": node, "args": args}


def plan(*steps: dict[str, Any], join: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a model says to call several tools at once."""
    listed = [{"node": step["next_node"], "args": step["args"]} for step in steps]
    return {"next_node": "parallel", "args": {"steps": listed, **({} if join is None else {"join": join})}}


def answer(text: str) -> dict[str, Any]:
    """What a model says to end a run."""
    return {"next_node": "final_response", "args": {"answer": text}}


class Kit:
    """All of the above, for tests."""

    Number, Text, Log = Number, Text, Log
    planner_of = staticmethod(planner_of)
    call, plan, answer = staticmethod(call), staticmethod(plan), staticmethod(answer)


@pytest.fixture
def kit() -> type[Kit]:
    return Kit
