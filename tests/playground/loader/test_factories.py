from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.playground.loader.conftest import Sandbox

HEAD = """
import penguiflow
from penguiflow import ModelRegistry, Node, PenguiFlow, create

async def step(message, ctx):
    return message

def new() -> PenguiFlow:
    return create(Node(step, name="step", policy=penguiflow.NodePolicy(validate="none")).to())

shared = new()
registry = None
"""


def kind_of(sandbox: Sandbox, body: str) -> tuple[str, list[str]]:
    """What `named` is taken for, and the nodes of its flow."""
    sandbox.write({"made.py": HEAD + body})
    module = sandbox.module("made.py:named")
    assert module.error is None, module.error
    (flow,) = module.flows
    return flow.kind, [node.name for node in flow.nodes]


@pytest.mark.parametrize(
    "body",
    [
        'async def named():\n    return create(Node(step, name="step").to())\n',
        'async def named():\n    return penguiflow.create(Node(step, name="step").to())\n',
        'async def named():\n    made = create(Node(step, name="step").to())\n    return made, None\n',
        "async def named():\n    return new()\n",
        "async def named():\n    if registry:\n        return shared\n    return new()\n",
        "async def named():\n    def inner():\n        return 3\n    return shared\n",
    ],
)
def test_a_function_that_returns_a_flow_is_a_factory(sandbox: Sandbox, body: str) -> None:
    assert kind_of(sandbox, body) == ("flow", ["step"])


@pytest.mark.parametrize(
    "body",
    [
        "async def named():\n    return 3\n",
        "async def named():\n    flow = new()\n    flow.run()\n    return await flow.call(1)\n",
        "async def named():\n    if registry:\n        return None\n    return shared\n",
        "async def named() -> object:\n    return shared\n",
        "async def named():\n    def inner():\n        return shared\n    return inner()\n",
        "async def named():\n    made = made_later\n    return made\n",
        "async def named():\n    pass\n",
    ],
)
def test_a_function_that_may_return_something_else_is_not_called(sandbox: Sandbox, body: str) -> None:
    marker = sandbox.root / "called"
    body = body.replace("):\n    ", f"):\n    open({str(marker)!r}, 'w').close()\n    ", 1)

    assert kind_of(sandbox, body) == ("function", ["named"])
    assert not marker.exists()
