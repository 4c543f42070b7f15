"""In which forms what the cursor is on can be copied: as JSON, as Python, as a `pf` command."""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from playground.dashboard.details import edge_message
from playground.dashboard.heads import read_data, read_head
from playground.dashboard.trace import TraceModel
from playground.dashboard.watching import calls

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span
    from playground.protocol import FlowInfo

ID_CHARS = 12
"""Of a trace's id in a command: enough to be its only beginning."""


class Choice(NamedTuple):
    """A form: its key, what it is, and the text, made when it is chosen."""

    key: str
    label: str
    make: Callable[[], str]


def of_value(value: Any) -> list[Choice]:
    """A value of a document."""
    return [
        Choice("j", "the value as JSON", lambda: as_json(value)),
        Choice("p", "the value as Python", lambda: as_python(value)),
    ]


def of_event(trace: TraceModel, index: int) -> list[Choice]:
    """An event."""
    raw = trace.events[index]
    return [
        Choice("e", "the event as JSON", lambda: as_json(json.loads(raw))),
        Choice("d", "its data as JSON", lambda: as_json(read_data(raw))),
        Choice("P", "its data as Python", lambda: as_python(_shown_data(trace, raw))),
        *_of_trace(trace),
    ]


def of_span(trace: TraceModel, span: Span) -> list[Choice]:
    """A span of the tree."""
    choices = [Choice("i", "its input as JSON", lambda: as_json(plain(input_of(trace, span))))]
    choices.append(Choice("P", "its input as Python", lambda: as_python(input_of(trace, span))))
    if span.kind == "llm":
        choices.insert(0, Choice("e", "the call as JSON: request and response", lambda: calls.as_json(trace, span)))
        number = next((n for n, call in enumerate(trace.traffic.calls) if call is span), 0)
        choices.append(Choice("l", "pf inspect of this call", lambda: f"{_inspect(trace)} --llm {number}"))
    return [*choices, *_of_trace(trace)]


def _of_trace(trace: TraceModel) -> list[Choice]:
    choices = [
        Choice("c", "pf inspect", lambda: _inspect(trace)),
        Choice("r", "pf replay: run it again from its recording", lambda: f"pf replay {trace.trace_id[:ID_CHARS]}"),
        Choice("t", "the id of the run", lambda: trace.trace_id),
    ]
    if trace.target:
        choices.insert(1, Choice("f", "pf run with the same input", lambda: _run_again(trace)))
    return choices


def of_flow(flow: FlowInfo, value: Any) -> list[Choice]:
    """A flow, with the input that it would be run with."""
    return [
        Choice("f", "pf run", lambda: run_command(flow.target, value)),
        Choice("c", "pf graph", lambda: f"pf graph {shlex.quote(flow.target)}"),
        Choice("j", "its input as JSON", lambda: as_json(value)),
        Choice("t", "its target", lambda: flow.target),
    ]


def _inspect(trace: TraceModel) -> str:
    return f"pf inspect {trace.trace_id[:ID_CHARS]}"


def _run_again(trace: TraceModel) -> str:
    message = edge_message(trace, "OpenSea") or {}
    return run_command(trace.target or "", plain(message.get("payload")))


def run_command(target: str, value: Any) -> str:
    """`pf run` as a shell takes it."""
    given = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"pf run {shlex.quote(target)} --input {shlex.quote(given)}"


def input_of(trace: TraceModel, span: Span) -> Any:
    """What a span works on, as it was recorded: a node's message, a call's request."""
    holder = span
    while holder.input_id is None:
        data = calls.data_at(trace, holder.start_seq, whole=True)
        for key in ("request", "args"):
            if key in data:
                return data[key]
        parent = trace.parent(holder)
        if parent is None:
            message = edge_message(trace, "OpenSea")
            return None if message is None else message.get("payload")
        holder = parent
    found = trace.find_message(holder.input_id, before=trace.position(holder.start_seq))
    return None if found is None else found[1].get("payload")


def plain(value: Any) -> Any:
    """The value of a recorded payload, or the value itself."""
    return value["value"] if _is_payload(value) else value


def _is_payload(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str) and "value" in value


def _shown_data(trace: TraceModel, raw: bytes) -> Any:
    data = read_data(raw)
    if "payload" in data:
        return data["payload"]
    same = data.get("same_as")
    if isinstance(same, str):
        found = trace.find_message(same, before=trace.position(read_head(raw).seq))
        return data if found is None else found[1].get("payload")
    return data


def as_json(value: Any) -> str:
    """Indented, everything as it is."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def as_python(value: Any) -> str:
    """An expression; a recorded payload of a class is built by it."""
    if not _is_payload(value):
        return _literal(value)
    module, _, name = value["type"].partition(":")
    literal = _literal(value["value"])
    if module in {"", "builtins"} or not all(part.isidentifier() for part in (*module.split("."), name)):
        return literal
    return f"from {module} import {name}\n\nvalue = {name}.model_validate(\n{_indented(literal)}\n)"


def _literal(value: Any) -> str:
    return pprint.pformat(value, width=100, sort_dicts=False)


def _indented(text: str) -> str:
    return "\n".join("    " + line for line in text.split("\n"))
