"""What the tab of a stopped run says: what is about to happen, why, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playground.dashboard.debugging.model import Place, where
from playground.dashboard.details import error_nodes, field, text
from playground.dashboard.text import Row, one_line, size, when
from playground.dashboard.views.detail import Node

if TYPE_CHECKING:
    from playground.breakpoints import Breakpoint
    from playground.protocol import Stopped, Why

MAX_MESSAGES = 60
ACTIONS = [
    ("edit", "e edit"),
    ("skip", "K skip with a result"),
    ("retry", "u try again"),
    ("abort", "x abort"),
]
ASKS = {
    "before_node": "about to get",
    "after_node": "it returned",
    "before_llm": "the request",
    "after_decision": "it decided",
    "before_tool": "the call",
    "after_tool": "the call and its observation",
    "before_join": "the join",
    "before_finish": "the answer",
    "on_error": "what failed",
}
"""What the payload of a checkpoint is."""
_SHOWN = {"step": "step", "branch": "branch", "join": "join"}


def readable_path(path: list[str]) -> str:
    """`node:ask[…] planner:react[0] step:step[1]` for people: `ask > react > step 1`."""
    parts: list[str] = []
    for part in path:
        kind, _, rest = part.partition(":")
        name, _, ordinal = rest.rpartition("[")
        number = ordinal.rstrip("]")
        name = name or rest
        if kind == "step":
            parts.append(f"step {number}")
        elif kind in _SHOWN:
            parts.append(f"{_SHOWN[kind]} {name.removeprefix('join.')} {number}")
        elif not parts or parts[-1] != name:
            parts.append(name)
    return " > ".join(one_line(part) for part in parts)


def stop_document(
    stop: Stopped,
    breakpoint: Breakpoint | None,
    *,
    number: int,
    count: int,
    edits: dict[str, Any],
    decides: bool = True,
) -> tuple[Row, list[Node]]:
    """All there is to know of a stop. `number` of `count` stops; `edits` are to go with what is decided.

    Who only looks on (not `decides`) is told so.
    """
    several = f"{number} of {count} " if count > 1 else ""
    heading: Row = [(f"⏸ {several}{one_line(where(stop))}", "warn"), (f" {stop.trace_id[:8]}", "accent")]
    nodes = [
        field("stopped", f"⏸ {where(stop)}", "warn"),
        field("in", readable_path(stop.path), "accent"),
    ]
    nodes += [field("✎ edited", f"{place or 'all of it'}  {_short(value)}", "warn") for place, value in edits.items()]
    nodes += _payload(stop)
    may = " · ".join(label for action, label in ACTIONS if action in stop.actions)
    nodes.append(field("you may", (may or "let it go on") if decides else "only look on: somebody else decides"))
    nodes.append(field("by", f"{_by(stop, breakpoint)}, at {when(stop.since)}"))
    if stop.why is not None:
        nodes += _why(stop.why)
    return heading, nodes


def _by(stop: Stopped, breakpoint: Breakpoint | None) -> str:
    if stop.breakpoint is None:
        return "a step"
    if breakpoint is None:
        return f"breakpoint {stop.breakpoint}"
    place = Place(breakpoint.on, breakpoint.name, breakpoint.kind).text()
    return f"breakpoint at {place}" + (f" if {breakpoint.condition}" if breakpoint.condition else "")


def _payload(stop: Stopped) -> list[Node]:
    name = ASKS.get(stop.kind, "payload")
    if stop.payload is None and stop.bytes is not None:
        return [field(name, f"{size(stop.bytes)}: too large to be shown", "warn")]
    shown = stop.payload
    failed: list[Node] = []
    if stop.kind == "on_error" and isinstance(shown, dict) and isinstance(shown.get("error"), dict):
        failed = error_nodes(shown["error"])
        name, shown = "given", {key: value for key, value in shown.items() if key != "error"}
    node = Node(name, shown)
    node.open = True
    for child in node.children:
        child.open = isinstance(child.value, dict | list) and len(child.value) <= 12
    return [*failed, node]


def _why(why: Why) -> list[Node]:
    cut = {"messages": "the prompt", "reply": "the reply", "decision": "the decision"}
    nodes: list[Node] = [field("why", "a model was asked, and this is what came back", "strong")]
    if why.decision is not None:
        thought = why.decision.get("thought")
        if isinstance(thought, str) and thought:
            nodes.append(field("thought", thought, "string"))
        nodes.append(Node("decision", why.decision))
    if why.reply is not None:
        is_text = isinstance(why.reply, str)
        nodes.append(text("raw reply", why.reply, is_open=False) if is_text else Node("raw reply", why.reply))
    shown = why.messages[-MAX_MESSAGES:]
    if shown:
        nodes.append(field("prompt", f"{len(why.messages)} messages, the newest last", "dim"))
    nodes += [_message(message) for message in shown]
    if why.cut:
        where_cut = ", ".join(cut.get(each, each) for each in why.cut)
        seqs = ", ".join(f"{kind} at {seq}" for kind, seq in why.seqs.items())
        nodes.append(field("cut", f"{where_cut}; all of it is in the events ({seqs})", "dim"))
    return nodes


def _message(message: dict[str, Any]) -> Node:
    role, content = str(message.get("role", "message")), message.get("content")
    rest = {key: value for key, value in message.items() if key != "role" and value not in (None, [], {})}
    if isinstance(content, str) and set(rest) <= {"content"}:
        return text(role, content, is_open=False)
    return Node(role, rest)


def _short(value: Any) -> str:
    import json

    return one_line(json.dumps(value, ensure_ascii=False))[:200]
