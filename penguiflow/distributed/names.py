"""How things of a distributed flow are called: edges, messages, rows of a trace's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penguiflow.channels import ROOKERY

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow

__all__ = [
    "CALLER",
    "COUNT",
    "FAULT",
    "HOLDS",
    "IDS",
    "LAST",
    "answer_edge",
    "bus_id",
    "dead_scope",
    "edges_of",
    "handled_key",
    "id_on_bus",
    "number_of",
    "outbox",
    "run_id",
    "state_scope",
    "stream_scope",
    "turn_scope",
]

FAULT = "fault"
"""Scope of what went wrong in a trace, as JSON of a `Fault`."""
LAST = "last"
"""Scope of its last result that is no chunk."""
CALLER = "caller"
"""Scope of who waits for it."""
COUNT = "messages"
"""Counter of messages that are on edges."""
IDS = "ids"
"""Counter that adds up the numbers of their ids."""
HOLDS = "holds"
"""Counter of nodes that wait for more messages of the trace."""
_DIGITS = 11
"""Hexadecimal digits of a message id that make its number: 44 bits, of which a 64-bit sum has room for 500,000."""


def edges_of(flow: PenguiFlow) -> tuple[str, ...]:
    """The edges of a flow that are on the bus: all but those to Rookery, whose messages go to whoever waits."""
    return tuple(floe.name for floe in flow._graph.floes if floe.target is not ROOKERY)


def answer_edge(caller: str) -> str:
    """The edge by which results come to a caller."""
    return f"Rookery@{caller}"


def state_scope(node: str) -> str:
    """Where a node's memory of a trace is kept."""
    return f"node:{node}"


def stream_scope(node: str, edge: str, piece: str) -> str:
    """Where it is kept which piece of a stream is next for a node."""
    return f"stream:{node}:{edge}:{piece}"


def turn_scope(node: str) -> str:
    """Where it is kept whose turn it is at a node that keeps something."""
    return f"turn:{node}"


def outbox(key: str) -> str:
    """Where the outputs of a message are kept that go out after their commit; by its `handled_key`."""
    return f"out:{key}"


def dead_scope(key: str) -> str:
    """Where it is kept that a message became a dead letter; by its `handled_key`."""
    return f"dead:{key}"


def handled_key(node: str, message_id: str) -> str:
    """What is remembered of a message that was handled."""
    return f"{node}:{message_id}"


def bus_id(run: str, message_id: str) -> str:
    """A message's id on the bus: those of one way through a flow are the same in every trace."""
    return f"{run}/{message_id}"


def id_on_bus(bus_id: str) -> str:
    """The message's id in its trace."""
    return bus_id.rpartition("/")[2]


def number_of(message_id: str) -> int:
    """The number of a message: sums of different sets of messages are different."""
    return int(message_id[:_DIGITS], 16)


def run_id(trace_id: str, epoch: int) -> str:
    """Under which name workers share a trace that was taken up for the `epoch`th time."""
    return trace_id if not epoch else f"{trace_id}#{epoch}"
