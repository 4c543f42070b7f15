"""Calls of models, tools and planners as documents: what was sent, what came back, what became of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from playground.dashboard.details import MAX_DECODE, error_nodes, field, text
from playground.dashboard.heads import BadEvent, read_data, read_head
from playground.dashboard.text import GLYPHS, ROLES, Row, count, duration, one_line, size
from playground.dashboard.trace import TraceModel, seconds
from playground.dashboard.views.detail import Node, payload

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span

NEAR = 400
"""Events after a call among which its decision is looked for."""
MAX_MESSAGES = 300
_SETTLED = frozenset({"model", "messages", "purpose", "structured_output", "tools"})
"""Parts of a request that have lines of their own."""


def data_at(trace: TraceModel, seq: int | None, *, whole: bool = False) -> dict[str, Any]:
    """The data of an event; empty when it is not there, cannot be read, or is huge (unless `whole`)."""
    if seq is None:
        return {}
    index = trace.position(seq)
    if index >= len(trace.events):
        return {}
    raw = trace.events[index]
    if len(raw) > MAX_DECODE and not whole:
        return {"too large": len(raw)}
    try:
        return read_data(raw)
    except BadEvent:
        return {}


def value_of(data: dict[str, Any], key: str) -> Any:
    """The plain value of a recorded payload."""
    found = data.get(key)
    return found.get("value") if isinstance(found, dict) and "value" in found else found


def events_after(trace: TraceModel, seq: int | None, kind: str, span_id: str | None) -> Iterator[dict[str, Any]]:
    """Data of the events of a kind that belong to a span, soon after another event; up to the next model call."""
    if seq is None or span_id is None:
        return
    first = trace.position(seq) + 1
    needle = f'"{kind}"'.encode()
    for raw in trace.events[first : first + NEAR]:
        if b'"llm.start"' in raw[:400]:
            return
        if needle in raw[:400]:
            head = read_head(raw)
            if head.kind == kind and head.span_id == span_id:
                yield read_data(raw)


def usage_text(usage: dict[str, Any]) -> str:
    """`612 → 88 tokens (40 cached, 12 reasoning)`."""
    said = f"{_number(usage, 'input_tokens'):,} → {_number(usage, 'output_tokens'):,} tokens"
    more = [
        f"{_number(usage, f'{name}_tokens'):,} {name}"
        for name in ("cached", "reasoning")
        if usage.get(f"{name}_tokens")
    ]
    return said + (f" ({', '.join(more)})" if more else "")


def _number(usage: dict[str, Any], key: str) -> int:
    value = usage.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def cost_text(cost: Any) -> str:
    """US dollars; cents of cents are seen."""
    return f"${cost:.4f}" if isinstance(cost, int | float) else ""


def model_call(trace: TraceModel, span: Span, *, number: int, total: int) -> tuple[Row, list[Node]]:
    """Everything about one call of a model; `number` of `total`, from 1."""
    asked, answered = data_at(trace, span.start_seq), data_at(trace, span.end_seq)
    request = value_of(asked, "request")
    request = request if isinstance(request, dict) else {}
    heading: Row = [(f"{number}/{total} ", "dim"), (one_line(span.name), "accent")]
    nodes = [_state(trace, span)]
    step = trace.parent(span)
    purpose = str(request.get("purpose") or "a call")
    if step is not None:
        where = f"step {step.step}" if step.step is not None else f"{step.kind} {step.name}"
        nodes.append(field("for", f"{purpose} · {where}", "accent"))
    nodes.append(field("model", str(answered.get("model") or request.get("model") or span.name)))
    nodes += _numbers(answered, seconds(span, trace.now_ns()))
    nodes += _parameters(request)
    if "too large" in asked:
        nodes.append(field("request", f"{size(asked['too large'])}: see its event, D decodes it", "warn"))
    if span.error is not None:
        nodes += error_nodes(span.error)
    parent_id = step.span_id if step is not None else None
    for repair in events_after(trace, span.end_seq, "planner.repair", parent_id):
        nodes.append(field("repair", f"attempt {repair.get('attempt', '?')}: {repair.get('problem', '')}", "warn"))
    for decision in events_after(trace, span.end_seq, "planner.decision", parent_id):
        nodes.append(decision_node(decision))
    nodes += _reply(value_of(answered, "response"))
    nodes += _messages(request.get("messages"))
    return heading, nodes


def _state(trace: TraceModel, span: Span) -> Node:
    said = f"{GLYPHS.get(span.status, '?')} {span.status} · {duration(seconds(span, trace.now_ns()))}"
    return field("state", said, ROLES.get(span.status, "plain") or "plain")


def _numbers(answered: dict[str, Any], took_s: float) -> list[Node]:
    nodes: list[Node] = []
    usage = answered.get("usage")
    if isinstance(usage, dict):
        out = _number(usage, "output_tokens")
        rate = f" · {count(out / took_s)} tok/s" if out and took_s > 0.05 else ""
        nodes.append(field("tokens", usage_text(usage) + rate))
    if cost := cost_text(answered.get("cost")):
        nodes.append(field("cost", cost))
    reasons = answered.get("finish_reasons")
    if isinstance(reasons, list) and reasons:
        nodes.append(field("finished", ", ".join(map(str, reasons))))
    if answered.get("response_id"):
        nodes.append(field("response", str(answered["response_id"])))
    return nodes


def _parameters(request: dict[str, Any]) -> list[Node]:
    rest = {key: value for key, value in request.items() if key not in _SETTLED and value not in (None, [], {})}
    plain = {key: value for key, value in rest.items() if not isinstance(value, dict | list)}
    nodes: list[Node] = []
    if plain:
        nodes.append(field("settings", " · ".join(f"{key} {value}" for key, value in plain.items())))
    nodes += [Node(key, value) for key, value in rest.items() if key not in plain]
    if request.get("structured_output"):
        nodes.append(Node("structured output", request["structured_output"]))
    tools = request.get("tools")
    if isinstance(tools, list) and tools:
        nodes.append(Node(f"tools ({len(tools)})", tools))
    return nodes


def _reply(response: Any) -> list[Node]:
    if not isinstance(response, dict):
        return [] if response is None else [payload("raw reply", response)]
    nodes: list[Node] = []
    reasoning = response.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        nodes.append(text("thinking", reasoning, is_open=False))
    elif reasoning:
        nodes.append(Node("thinking", reasoning))
    message = response.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        nodes.append(text("raw reply", content))
    else:
        nodes.append(Node("raw reply", message if message is not None else response))
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if calls:
        nodes.append(Node("tool calls", calls, is_open=True))
    return nodes


def decision_node(decision: dict[str, Any]) -> Node:
    """A decision as it was read from a reply."""
    said: dict[str, Any] = {"next_node": decision.get("next_node"), "args": value_of(decision, "args")}
    for key in ("thought", "source", "alternates"):
        if decision.get(key):
            said[key] = decision[key]
    node = Node(f"decision · {one_line(str(decision.get('next_node')))}", said, is_open=True)
    for child in node.children:
        child.open = isinstance(child.value, dict) and len(child.value) <= 12
    return node


def _messages(messages: Any) -> list[Node]:
    if not isinstance(messages, list):
        return []
    nodes: list[Node] = [field("messages", f"{len(messages)} as they were sent", "strong")]
    if len(messages) > MAX_MESSAGES:
        nodes.append(field("left out", f"{len(messages) - MAX_MESSAGES} older ones: they are in the event", "warn"))
    shown = messages[-MAX_MESSAGES:]
    for number, message in enumerate(shown, len(messages) - len(shown) + 1):
        nodes.append(_message(number, message, is_open=number == len(messages)))
    return nodes


def _message(number: int, message: Any, *, is_open: bool) -> Node:
    if not isinstance(message, dict):
        return Node(f"{number}", message)
    role, content = one_line(str(message.get("role", "message"))), message.get("content")
    rest = {key: value for key, value in message.items() if key not in {"role", "content"} and value}
    if isinstance(content, str) and not rest:
        return text(f"{number} {role} · {len(content):,} chars", content, is_open=is_open)
    return Node(f"{number} {role}", {"content": content, **rest}, is_open=is_open)


def span_nodes(trace: TraceModel, span: Span) -> list[Node]:
    """What a call, a step or a planner adds to the inspector's document about its span."""
    asked, answered = data_at(trace, span.start_seq), data_at(trace, span.end_seq)
    if span.kind == "tool":
        return _tool(asked, answered)
    if span.kind == "branch":
        return [payload("args", asked["args"])] if "args" in asked else []
    if span.kind == "step":
        return [decision_node(decision) for decision in _decisions(trace, span)]
    if span.kind == "planner":
        return _planner(asked, answered)
    if span.kind == "llm":
        request = value_of(asked, "request")
        purpose = request.get("purpose") if isinstance(request, dict) else None
        nodes = [field("for", str(purpose))] if purpose else []
        nodes += _numbers(answered, seconds(span, trace.now_ns()))
        nodes.append(field("more", "L shows what was sent and what came back", "dim"))
        return nodes + _reply(value_of(answered, "response"))
    if span.kind == "remote":
        named = (("request", asked), ("response", answered))
        return [payload(name, data[name]) for name, data in named if name in data]
    return []


def changes_nodes(taken: dict[str, Any], given: dict[str, Any]) -> list[Node]:
    """How the payload that a node gave differs from the one that it took: a line for each place."""
    from penguiflow.recording.evidence import changes

    before, after = value_of(taken, "payload"), value_of(given, "payload")
    if not isinstance(before, dict | list) or type(before) is not type(after):
        return []
    lines: list[str] = []
    for change in changes(before, after):
        if change.only != "b":
            lines.append(f"- {change.pointer}  {json.dumps(change.a, ensure_ascii=False)}")
        if change.only != "a":
            lines.append(f"+ {change.pointer}  {json.dumps(change.b, ensure_ascii=False)}")
    if not lines:
        return [field("changes", "none: what came in went out", "dim")]
    return [text("input → output", "\n".join(lines), is_open=False)]


def _tool(asked: dict[str, Any], answered: dict[str, Any]) -> list[Node]:
    request, response = value_of(asked, "request"), value_of(answered, "response")
    nodes: list[Node] = []
    if isinstance(request, dict):
        nodes.append(payload("args", request.get("args")))
    elif request is not None:
        nodes.append(payload("request", request))
    if isinstance(response, dict) and "observation" in response:
        nodes.append(payload("observation", response["observation"]))
        nodes += [Node(key, value) for key, value in response.items() if key != "observation" and value]
    elif response is not None:
        nodes.append(payload("response", response))
    for key, data in (("request", asked), ("response", answered)):
        if "too large" in data:
            nodes.append(field(key, f"{size(data['too large'])}: see its event, D decodes it", "warn"))
    return nodes


def _planner(asked: dict[str, Any], answered: dict[str, Any]) -> list[Node]:
    nodes = [field(key, str(asked[key])) for key in ("model", "mode", "session") if asked.get(key)]
    tools = asked.get("tools")
    if isinstance(tools, list) and tools:
        nodes.append(field("tools", " · ".join(one_line(str(tool)) for tool in tools)))
    if answered.get("reason"):
        nodes.append(field("ended", f"{answered['reason']} after {answered.get('steps', '?')} steps"))
    usage = answered.get("usage")
    if isinstance(usage, dict):
        nodes.append(field("tokens", usage_text(usage)))
    if cost := cost_text(answered.get("cost")):
        nodes.append(field("cost", cost))
    return nodes


def _decisions(trace: TraceModel, span: Span) -> Iterator[dict[str, Any]]:
    for _, raw in trace.events_of(span, most=NEAR):
        if b'"planner.decision"' in raw[:400]:
            yield read_data(raw)


def raw_document(trace: TraceModel, about: int | str) -> tuple[Row, list[Node]]:
    """An event (by index), or the events of a span (by id), as JSON text."""
    if isinstance(about, int):
        return [(f"event {about} as JSON", "accent")], [text("JSON", _indented(trace.events[about]))]
    span = trace.spans[about]
    nodes: list[Node] = []
    for seq in (span.start_seq, span.end_seq):
        index = len(trace.events) if seq is None else trace.position(seq)
        if index < len(trace.events):
            nodes.append(text(f"event {seq}", _indented(trace.events[index])))
    return [(f"{span.kind} {one_line(span.name)} as JSON", "accent")], nodes


def _indented(raw: bytes) -> str:
    if len(raw) > MAX_DECODE:
        # Taking it apart would take seconds.
        return raw.decode("utf-8", "replace")
    return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)


def as_json(trace: TraceModel, span: Span) -> str:
    """Request and response of a call, whole."""
    asked, answered = data_at(trace, span.start_seq, whole=True), data_at(trace, span.end_seq, whole=True)
    said = {"name": span.name, "request": value_of(asked, "request"), "response": value_of(answered, "response")}
    return json.dumps(said, indent=2, ensure_ascii=False)
