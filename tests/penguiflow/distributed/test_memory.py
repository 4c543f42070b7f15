"""What a node keeps for a trace, as other workers read it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import Headers, Message
from penguiflow.bus import CannotSend, Codec
from penguiflow.distributed.memory import NodeMemory


class Item(BaseModel):
    name: str


CODEC = Codec([("n", Item)])


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": 1, "b": [None, True, 1.5, "text"], "c": {"d": {}}},
        {"bucket": [Message(payload=Item(name="x"), headers=Headers(tenant="t")), Item(name="y")]},
        {"pair": (1, (2, "3")), "seen": {1, 2}},
        {"by number": {1: "one", (2, 3): "two"}, "odd": {"$body": 1, "$set": [2]}},
    ],
)
def test_what_is_kept_comes_back(value: dict[str, Any]) -> None:
    kept = NodeMemory(state=value, hold="waits", streams={"s": 3})
    assert NodeMemory.load(kept.dump(CODEC, "n"), CODEC, "n") == kept


def test_what_json_cannot_carry_is_refused_by_the_nodes_name() -> None:
    with pytest.raises(CannotSend, match=r"Node 'n' keeps a builtins:object in ctx\.trace_state"):
        NodeMemory(state={"it": object()}).dump(CODEC, "n")


def test_nothing_is_nothing() -> None:
    assert NodeMemory().empty
    assert not NodeMemory(hold="waits").empty
    assert not NodeMemory(streams={"s": 1}).empty
